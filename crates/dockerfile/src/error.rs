//! What is wrong with a Dockerfile, where, and how it is shown.

use std::fmt::Write as _;

use orlop_types::ErrorKind;

use crate::instruction::Lines;

/// A Dockerfile, an instruction, a word or a pattern that can't be read.
///
/// The message is the one that BuildKit prints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    message: String,
    lines: Option<Lines>,
    word: Option<String>,
}

impl Error {
    /// Makes an error that isn't tied to a line yet.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), lines: None, word: None }
    }

    /// Names the lines that are shown with the error, unless it has some already.
    #[must_use]
    pub fn at(mut self, lines: Lines) -> Self {
        self.lines.get_or_insert(lines);
        self
    }

    /// Names the word that the caret points at, unless it has one already.
    #[must_use]
    pub fn at_word(mut self, word: &str) -> Self {
        if !word.is_empty() {
            self.word.get_or_insert_with(|| word.to_owned());
        }
        self
    }

    /// Puts a text before the message.
    #[must_use]
    pub(crate) fn within(mut self, context: &str) -> Self {
        self.message = format!("{context}{}", self.message);
        self
    }

    /// A malformed Dockerfile is the caller's to correct.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    /// The lines that are wrong.
    #[must_use]
    pub fn lines(&self) -> Option<Lines> {
        self.lines
    }

    /// The word that is wrong.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        self.word.as_deref()
    }

    /// The lines of `text` around the error as BuildKit prints them, with a caret line below the
    /// offending word; empty where the error belongs to no line.
    #[must_use]
    pub fn render(&self, name: &str, text: &str) -> String {
        let Some(lines) = self.lines else { return String::new() };
        excerpt(name, text, lines, self.word())
    }
}

/// Some lines of a Dockerfile as BuildKit shows them: with their surroundings, marked by `>>>`.
#[must_use]
pub fn excerpt(name: &str, text: &str, marked: Lines, word: Option<&str>) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let (mut start, mut end) = (marked.first, marked.last.max(marked.first).min(lines.len()));
    if start < 1 || start > lines.len() {
        return String::new();
    }
    // BuildKit's own way of growing: at least one line on each side, fewer at the edges.
    let padding = if start == end { 4 } else { 2 };
    let mut grown = 0;
    while grown < padding {
        if start > 1 {
            start -= 1;
            grown += 1;
        }
        if end != lines.len() {
            end += 1;
            grown += 1;
        }
        grown += 1;
    }
    let mut out = format!("{name}:{}\n--------------------\n", marked.first);
    let mut pointed = false;
    for (number, line) in (1..).zip(&lines).skip(start - 1).take(end + 1 - start) {
        let inside = (marked.first..=marked.last).contains(&number);
        let mark = if inside { ">>>" } else { "   " };
        let line = line.trim_end_matches('\r');
        let _ = writeln!(out, " {number:>3} | {mark} {line}");
        let caret = word.filter(|_| inside && !pointed).and_then(|word| caret_below(line, word));
        if let Some(caret) = caret {
            let _ = writeln!(out, "     |     {caret}");
            pointed = true;
        }
    }
    out.push_str("--------------------\n");
    out
}

/// The line that goes below: white space as wide as what stands before the word, then carets.
fn caret_below(line: &str, word: &str) -> Option<String> {
    let at = line.find(word)?;
    let before = line.get(..at)?;
    let mut out: String =
        before.chars().map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    out.extend(word.chars().map(|_| '^'));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "FROM a\n\nRUN x\nFOO bar\nRUN y\nRUN z\nCMD q\n";

    #[test]
    fn one_line_is_shown_with_two_on_each_side_and_a_caret() {
        let error = Error::new("unknown").at(Lines::one(4)).at_word("FOO");
        assert_eq!(
            error.render("Dockerfile", TEXT),
            "Dockerfile:4\n--------------------\n   2 |     \n   3 |     RUN x\n   4 | >>> FOO bar\n     |     ^^^\n   5 |     RUN y\n   6 |     RUN z\n--------------------\n"
        );
    }

    #[test]
    fn several_lines_and_the_edges() {
        let error = Error::new("x").at(Lines { first: 1, last: 3 });
        assert_eq!(
            error.render("D", "A\nB\nC\nD"),
            "D:1\n--------------------\n   1 | >>> A\n   2 | >>> B\n   3 | >>> C\n   4 |     D\n--------------------\n"
        );
        assert_eq!(Error::new("x").at(Lines::one(9)).render("D", "A\n"), "");
        assert_eq!(Error::new("x").at(Lines { first: 0, last: 0 }).render("D", "A\n"), "");
        assert_eq!(Error::new("x").render("D", "A\n"), "");
    }

    #[test]
    fn tabs_before_the_word_stay_tabs() {
        assert_eq!(caret_below("\tRUN é bad", "bad").as_deref(), Some("\t      ^^^"));
    }
}
