//! From bytes to instructions' texts: comments, continued lines and here-documents.
//!
//! One [`LogicalLine`] is one instruction with its lines joined, as BuildKit's parser makes it.
//! Rules that are easy to get wrong: a comment inside a continued line vanishes, an empty line
//! inside one is skipped (with a warning), leading white space of continued lines is kept, and the
//! escape character continues a line only if it is not escaped itself.

use crate::directive::{self, DirectiveReader, Directives};
use crate::error::Error;
use crate::heredoc;
use crate::instruction::{Heredoc, Lines};
use crate::word::{self, Arguments, Statement};

/// The longest line that is read, as in BuildKit.
const MAX_LINE_BYTES: usize = 64 * 1024 - 1;

/// One instruction, split into name, flags and rest.
#[derive(Clone, Debug)]
pub(crate) struct LogicalLine {
    pub statement: Statement,
    pub arguments: Arguments,
    pub lines: Lines,
    pub comments: Vec<String>,
    pub heredocs: Vec<Heredoc>,
}

/// All instructions of a file.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    pub directives: Directives,
    pub lines: Vec<LogicalLine>,
    /// Lines on which a continued instruction with an empty line in it ends.
    pub empty_continuations: Vec<usize>,
}

/// Splits a file into its instructions.
///
/// # Errors
/// Bad directives, malformed instructions, here-documents without end, and a file without any
/// instruction.
pub(crate) fn split(text: &str) -> Result<Split, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        rest: text.split_inclusive('\n'),
        number: 0,
        directives: DirectiveReader::default(),
        comments: Vec::new(),
    };
    let mut lines = Vec::new();
    let mut empty_continuations = Vec::new();
    while let Some(joined) = reader.instruction()? {
        if joined.empty_continuation {
            empty_continuations.push(reader.number);
        }
        let comments = std::mem::take(&mut reader.comments);
        let here = Lines { first: joined.first, last: reader.number };
        let escape = reader.directives.escape();
        let statement = word::statement(&joined.text, escape);
        let arguments = word::arguments(&statement, escape).map_err(|error| error.at(here))?;
        let heredocs = if arguments.may_begin_heredoc(&statement) && joined.text.contains("<<") {
            reader.heredocs(&joined)?
        } else {
            Vec::new()
        };
        let here = Lines { first: joined.first, last: reader.number };
        lines.push(LogicalLine { statement, arguments, lines: here, comments, heredocs });
    }
    if lines.is_empty() {
        return Err(Error::new("file with no instructions").at(Lines::one(reader.number)));
    }
    let mut directives = reader.directives.finish();
    directives.check = directive::detect_check(text);
    Ok(Split { directives, lines, empty_continuations })
}

struct Joined {
    text: String,
    first: usize,
    empty_continuation: bool,
}

struct Reader<'a> {
    rest: std::str::SplitInclusive<'a, char>,
    number: usize,
    directives: DirectiveReader,
    comments: Vec<String>,
}

impl<'a> Reader<'a> {
    fn next_line(&mut self) -> Result<Option<&'a str>, Error> {
        let Some(line) = self.rest.next() else { return Ok(None) };
        self.number += 1;
        if line.trim_end_matches('\n').len() > MAX_LINE_BYTES {
            let text = format!("dockerfile line greater than max allowed size of {MAX_LINE_BYTES}");
            return Err(Error::new(text).at(Lines::one(self.number)));
        }
        Ok(Some(line))
    }

    /// The next instruction with its continued lines.
    fn instruction(&mut self) -> Result<Option<Joined>, Error> {
        while let Some(raw) = self.next_line()? {
            let line = without_line_end(raw).trim_start();
            let comment = line.strip_prefix('#');
            let is_directive =
                self.directives.line(line).map_err(|error| error.at(Lines::one(self.number)))?;
            if let Some(comment) = comment {
                if !is_directive {
                    self.comment(comment.trim());
                }
                continue;
            }
            let escape = self.directives.escape();
            let (line, mut continued) = continuation(line, escape);
            if line.is_empty() && !continued {
                continue;
            }
            let first = self.number;
            let mut text = line.to_owned();
            let mut empty_continuation = false;
            while continued {
                let Some(raw) = self.next_line()? else { break };
                let line = without_line_end(raw);
                if line.trim_start().starts_with('#') {
                    continue;
                }
                if line.trim_start().is_empty() {
                    empty_continuation = true;
                    continue;
                }
                let (part, more) = continuation(line, escape);
                text.push_str(part);
                continued = more;
            }
            return Ok(Some(Joined { text, first, empty_continuation }));
        }
        Ok(None)
    }

    fn comment(&mut self, text: &str) {
        if text.is_empty() {
            self.comments.clear();
        } else {
            self.comments.push(text.to_owned());
        }
    }

    /// Reads the here-documents that a line begins.
    fn heredocs(&mut self, joined: &Joined) -> Result<Vec<Heredoc>, Error> {
        let first = joined.first;
        let begun = heredoc::in_line(&joined.text)
            .map_err(|error| error.at(Lines { first, last: self.number }))?;
        let mut done = Vec::with_capacity(begun.len());
        for mut doc in begun {
            loop {
                let Some(raw) = self.next_line()? else {
                    return Err(Error::new("unterminated heredoc")
                        .at(Lines { first, last: self.number })
                        .at_word("<<"));
                };
                let line = raw.trim_end_matches(['\r', '\n']);
                let line = if doc.chomp { line.trim_start_matches('\t') } else { line };
                if line == doc.name {
                    break;
                }
                doc.content.push_str(raw);
            }
            done.push(doc);
        }
        Ok(done)
    }
}

fn without_line_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// A line without the escape character that continues it, and whether there is one.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    let Some(before) = line.trim_end_matches([' ', '\t']).strip_suffix(escape) else {
        return (line, false);
    };
    if before.ends_with(escape) { (line, false) } else { (before, true) }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
