//! Parser directives: `# syntax=`, `# escape=` and `# check=` at the very top of a file.

use crate::error::Error;
use crate::instruction::Lines;

/// The directives of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `syntax`: the image of a front end.
    pub syntax: Option<String>,
    /// `escape`, `\` by default.
    pub escape: char,
    /// `check`, unread; [`crate::Checks::parse`] reads it.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// Reads directives line by line until the first line that is none.
#[derive(Debug, Default)]
pub(crate) struct DirectiveReader {
    found: Directives,
    seen: Vec<String>,
    done: bool,
}

impl DirectiveReader {
    /// Looks at a line; true where it is a directive.
    ///
    /// # Errors
    /// A directive that was there before, or an escape character that is none.
    pub(crate) fn line(&mut self, line: &str) -> Result<bool, Error> {
        if self.done {
            return Ok(false);
        }
        let Some((key, value)) = line.strip_prefix('#').and_then(key_value) else {
            self.done = true;
            return Ok(false);
        };
        if self.seen.contains(&key) {
            return Err(Error::new(format!("only one {key} parser directive can be used"))
                .at_word(line.trim()));
        }
        match key.as_str() {
            "syntax" => {
                let image = value.split(' ').next().unwrap_or_default();
                self.found.syntax = Some(image.to_owned());
            }
            "check" => self.found.check = Some(value.to_owned()),
            "escape" => {
                self.found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        return Err(Error::new(format!(
                            "invalid escape token '{other}' does not match ` or \\"
                        ))
                        .at_word(other));
                    }
                };
            }
            _ => {
                self.done = true;
                return Ok(false);
            }
        }
        self.seen.push(key);
        Ok(true)
    }

    /// The escape character so far.
    pub(crate) fn escape(&self) -> char {
        self.found.escape
    }

    /// What was found.
    pub(crate) fn finish(self) -> Directives {
        self.found
    }
}

/// `key = value` as directives are written; the key in lower case.
pub(crate) fn key_value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let key_len = text.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let (key, rest) = text.split_at(key_len);
    if !key.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        return None;
    }
    let value = rest.trim_start_matches(BLANKS).strip_prefix('=')?;
    // The value is at least one letter, which may be a blank where nothing else is there.
    let trimmed = value.trim_matches(BLANKS);
    if value.is_empty() {
        return None;
    }
    Some((key.to_lowercase(), if trimmed.is_empty() { value.get(..1)? } else { trimmed }))
}

const BLANKS: [char; 5] = ['\t', '\n', '\x0c', '\r', ' '];

/// Finds the front end that a file names by `# syntax=`, `// syntax=` or `{"syntax": …}`, and the
/// line it stands on.
#[must_use]
pub fn detect_syntax(text: &str) -> Option<(String, Lines)> {
    let (skipped, text) = without_shebang(text);
    for mark in ["#", "//"] {
        if let Some((value, line)) = among_comments(text, mark, "syntax") {
            let image = value.split(' ').next().unwrap_or_default();
            return Some((image.to_owned(), Lines::one(skipped + line)));
        }
    }
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let image = value.get("syntax")?.as_str()?;
    Some((image.to_owned(), Lines::one(skipped)))
}

/// The value of `# check=`, which may also stand below a `#!` line.
pub(crate) fn detect_check(text: &str) -> Option<String> {
    let (_, text) = without_shebang(text);
    among_comments(text, "#", "check").map(|(value, _)| value.to_owned())
}

/// The text without a byte order mark and a first line `#!…`, and how many lines that took.
fn without_shebang(text: &str) -> (usize, &str) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.starts_with("#!") {
        return (0, text);
    }
    (1, text.split_once('\n').map_or("", |(_, rest)| rest))
}

/// The value of one directive and its line.
fn among_comments<'a>(text: &'a str, mark: &str, wanted: &str) -> Option<(&'a str, usize)> {
    let mut seen: Vec<String> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let (key, value) = line.strip_prefix(mark).and_then(key_value)?;
        if !matches!(key.as_str(), "syntax" | "escape" | "check") || seen.contains(&key) {
            return None;
        }
        if key == wanted {
            return Some((value, number));
        }
        seen.push(key);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values() {
        for (text, expected) in [
            ("escape=`", Some(("escape", "`"))),
            (" Syntax  =  a/b:1  x ", Some(("syntax", "a/b:1  x"))),
            ("key9=v", Some(("key9", "v"))),
            ("9key=v", None),
            ("a b=v", None),
            ("escape=", None),
            ("escape", None),
        ] {
            let found = key_value(text);
            assert_eq!(
                found.as_ref().map(|(key, value)| (key.as_str(), *value)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_front_end_is_found_in_every_form() {
        for (text, expected) in [
            ("# syntax=docker/dockerfile:1\nFROM a", Some(("docker/dockerfile:1", 1))),
            ("#!/usr/bin/env x\n# escape=`\n#SYNTAX = a b\n", Some(("a", 3))),
            ("// syntax=a/b\n", Some(("a/b", 1))),
            ("{\"syntax\": \"a\", \"x\": [1]}", Some(("a", 0))),
            ("\u{feff}#syntax=a\n", Some(("a", 1))),
            ("# unknown=1\n# syntax=a\n", None),
            ("\n# syntax=a\n", None),
            ("FROM a\n# syntax=a", None),
        ] {
            let found = detect_syntax(text);
            let found = found.as_ref().map(|(image, lines)| (image.as_str(), lines.first));
            assert_eq!(found, expected, "{text:?}");
        }
    }
}
