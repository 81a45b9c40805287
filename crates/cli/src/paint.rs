//! Colours, on terminals only.

use std::io::IsTerminal as _;

/// A colour or weight of text, as terminals number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Headings and names.
    Bold,
    /// What matters less.
    Dim,
    /// What is gone.
    Red,
    /// What is new.
    Green,
    /// What changed.
    Yellow,
    /// What is a name of an image.
    Blue,
    /// What is wasted.
    Magenta,
    /// What changed in attributes only.
    Cyan,
}

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    colours: bool,
}

impl Paint {
    /// Colours where standard output is a terminal and nobody forbids them.
    pub fn of_stdout() -> Self {
        let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { colours: std::io::stdout().is_terminal() && !forbidden }
    }

    /// No colours.
    #[cfg(test)]
    pub const fn plain() -> Self {
        Self { colours: false }
    }

    /// The text in a colour.
    pub fn ink(self, ink: Ink, text: &str) -> String {
        if !self.colours || text.is_empty() {
            return text.to_owned();
        }
        let number = match ink {
            Ink::Bold => 1,
            Ink::Dim => 2,
            Ink::Red => 31,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Blue => 34,
            Ink::Magenta => 35,
            Ink::Cyan => 36,
        };
        format!("\x1b[{number}m{text}\x1b[0m")
    }
}

/// Text of images without what could steer a terminal.
pub fn harmless(text: &str) -> String {
    text.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_numbers_around_a_text() {
        assert_eq!(Paint { colours: true }.ink(Ink::Green, "new"), "\x1b[32mnew\x1b[0m");
        assert_eq!(Paint::plain().ink(Ink::Green, "new"), "new");
        assert_eq!(harmless("a\x1b[2Jb\n"), "a?[2Jb?");
    }
}
