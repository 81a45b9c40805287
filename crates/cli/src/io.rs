//! The command's standard streams: everything is written to what is passed in.

use std::io::{self, Read, Write};

/// Standard input, output and error of one command.
pub struct Streams<'a> {
    /// Read for prompts only.
    pub input: &'a mut dyn Read,
    /// Data.
    pub out: &'a mut dyn Write,
    /// Everything else.
    pub err: &'a mut dyn Write,
}

/// Longer answers are no answers.
const ANSWER_MAX_BYTES: u64 = 1024;

impl Streams<'_> {
    /// Writes a line of data.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref())
    }

    /// Asks a yes-or-no question as Docker does; an end of input is a no.
    pub fn confirm(&mut self, warning: &str) -> io::Result<bool> {
        self.ask(&format!("{warning}\nAre you sure you want to continue?"))
    }

    /// Asks a question that is no more than one line.
    pub fn ask(&mut self, question: &str) -> io::Result<bool> {
        write!(self.out, "{question} [y/N] ")?;
        self.out.flush()?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the line belongs to somebody else.
        #[allow(clippy::unbuffered_bytes)]
        for byte in (&mut *self.input).take(ANSWER_MAX_BYTES).bytes() {
            match byte? {
                b'\n' => break,
                byte => answer.push(byte),
            }
        }
        Ok(matches!(answer.trim_ascii(), b"y" | b"Y"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_y_is_a_yes() {
        for (answer, want) in
            [("y\n", true), ("Y\n", true), ("yes\n", false), ("\n", false), ("", false)]
        {
            let (mut input, mut out, mut err) = (answer.as_bytes(), Vec::new(), Vec::new());
            let mut streams = Streams { input: &mut input, out: &mut out, err: &mut err };
            assert_eq!(streams.confirm("WARNING! All gone.").unwrap(), want, "{answer:?}");
            assert_eq!(
                String::from_utf8(out).unwrap(),
                "WARNING! All gone.\nAre you sure you want to continue? [y/N] "
            );
        }
    }
}
