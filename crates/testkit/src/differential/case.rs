//! The format of case files and goldens, which is the same.
//!
//! ```text
//! # A comment.
//! === title of a scenario: it starts on an empty store with the image `busybox`
//! % echo hello > file            a line of set-up: it must succeed, nobody compares it
//! $ docker run busybox echo hi   a line that is compared; `\` at the end continues it
//!     hi                         four spaces: standard output
//!   ! what went wrong            standard error
//!   = 125                        exit code, when it is not 0
//!   \                            standard output ends without a line break
//!   .                            an empty line of standard output
//! ```
//! In a case file only those lines carry an answer that differ from Docker on purpose. It begins
//! with `  ~ ROW`: the first cell of the row of `docs/compat.md` that gives the reason.

use std::fmt;
use std::ops::Range;

/// One file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its scenarios in order.
    pub scenarios: Vec<Scenario>,
}

/// Command lines that are played one after the other on one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// What stands behind `===`.
    pub title: String,
    /// Its lines in order.
    pub lines: Vec<Line>,
}

/// One line of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whether the answer is compared (`$`) or only has to be a success (`%`).
    pub checked: bool,
    /// The command line for the shell.
    pub script: String,
    /// Where it stands in its file, counted from 1.
    pub number: usize,
    /// The answer that stands below it.
    pub own: Option<Own>,
}

/// An answer in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The row of `docs/compat.md`; empty in goldens.
    pub row: String,
    /// What is answered.
    pub answer: Answer,
    /// The lines of the file that hold it, counted from 0.
    pub lines: Range<usize>,
}

/// How a command line ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code.
    pub code: i32,
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.stdout.lines() {
            if line.is_empty() {
                writeln!(out, "  .")?;
            } else {
                writeln!(out, "    {line}")?;
            }
        }
        if !self.stdout.is_empty() && !self.stdout.ends_with('\n') {
            writeln!(out, "  \\")?;
        }
        for line in self.stderr.lines() {
            writeln!(out, "{}", format!("  ! {line}").trim_end())?;
        }
        if self.code != 0 {
            writeln!(out, "  = {}", self.code)?;
        }
        Ok(())
    }
}

impl Topic {
    /// Reads a case file or a golden.
    ///
    /// # Errors
    /// The first line that makes no sense, with its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut topic = Self::default();
        let lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            let number = at + 1;
            at += 1;
            let wrong = |why: &str| Err(format!("line {number}: {why}: {line}"));
            if let Some(title) = line.strip_prefix("=== ") {
                let title = title.to_owned();
                if topic.scenarios.iter().any(|other| other.title == title) {
                    return wrong("a second scenario with one title");
                }
                topic.scenarios.push(Scenario { title, lines: Vec::new() });
            } else if let Some((kind, script)) =
                line.split_at_checked(2).filter(|(kind, _)| matches!(*kind, "$ " | "% "))
            {
                let Some(scenario) = topic.scenarios.last_mut() else {
                    return wrong("no scenario has begun");
                };
                let mut script = script.to_owned();
                while script.ends_with('\\') {
                    let Some(more) = lines.get(at) else { return wrong("nothing continues it") };
                    script.pop();
                    script.push_str(more.trim_start());
                    at += 1;
                }
                let start = at;
                let answer_lines = lines.iter().skip(at).take_while(|line| is_answer(line)).count();
                at += answer_lines;
                let own = Own::parse(&lines[start..at], start..at)
                    .map_err(|why| format!("line {}: {why}", start + 1))?;
                scenario.lines.push(Line { checked: kind == "$ ", script, number, own });
            } else if !line.is_empty() && !line.starts_with('#') {
                return wrong("it begins with none of `=== `, `$ `, `% `, `#`");
            }
        }
        Ok(topic)
    }

    /// Number of lines that are compared.
    #[must_use]
    pub fn checked_lines(&self) -> usize {
        let lines = self.scenarios.iter().flat_map(|scenario| &scenario.lines);
        lines.filter(|line| line.checked).count()
    }

    /// The answer of a golden to the `index`th compared line of a scenario.
    ///
    /// # Errors
    /// When the golden has no such scenario or another line in its place.
    pub fn answer(&self, title: &str, index: usize, script: &str) -> Result<Answer, String> {
        let scenario = self.scenarios.iter().find(|scenario| scenario.title == title);
        let line = scenario.and_then(|scenario| scenario.lines.get(index));
        match line {
            Some(line) if line.script == script => {
                Ok(line.own.as_ref().map(|own| own.answer.clone()).unwrap_or_default())
            }
            _ => Err("the golden does not know this line: record it with `cargo xtask differential --record`".to_owned()),
        }
    }
}

/// Whether a line belongs to an answer.
fn is_answer(line: &str) -> bool {
    line.starts_with("  ")
}

impl Own {
    fn parse(lines: &[&str], place: Range<usize>) -> Result<Option<Self>, String> {
        if lines.is_empty() {
            return Ok(None);
        }
        let mut row = String::new();
        let mut answer = Answer::default();
        for line in lines {
            if let Some(text) = line.strip_prefix("    ") {
                answer.stdout.push_str(text);
                answer.stdout.push('\n');
            } else if let Some(text) = line.strip_prefix("  !") {
                answer.stderr.push_str(text.strip_prefix(' ').unwrap_or(text));
                answer.stderr.push('\n');
            } else if let Some(text) = line.strip_prefix("  = ") {
                answer.code = text.parse().map_err(|_| format!("`{text}` is no exit code"))?;
            } else if let Some(text) = line.strip_prefix("  ~ ") {
                text.clone_into(&mut row);
            } else if *line == "  \\" {
                answer.stdout.pop();
            } else if *line == "  ." {
                answer.stdout.push('\n');
            } else {
                return Err(format!("no answer looks like this: {line}"));
            }
        }
        Ok(Some(Self { row, answer, lines: place }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TEXT: &str = "# about\n\n=== one\n% echo > f\n$ docker run \\\n  busybox\n    out\n\n=== two\n$ docker x\n  ~ Row\n    a\n  .\n    b\n  \\\n  ! why\n  = 125\n";

    #[test]
    fn reads_what_it_writes() {
        let topic = Topic::parse(TEXT).unwrap();
        assert_eq!(topic.scenarios.len(), 2);
        assert_eq!(topic.checked_lines(), 2);
        assert_eq!(topic.scenarios[0].lines[1].script, "docker run busybox");
        let line = &topic.scenarios[1].lines[0];
        let own = line.own.clone().unwrap();
        assert_eq!((own.row.as_str(), line.number, own.lines), ("Row", 10, 10..17));
        assert_eq!(own.answer.to_string(), "    a\n  .\n    b\n  \\\n  ! why\n  = 125\n");
        assert_eq!(topic.answer("one", 1, "docker run busybox").unwrap().stdout, "out\n");
        assert!(topic.answer("one", 1, "docker run other").is_err());
        assert!(topic.answer("three", 0, "docker x").is_err());
    }

    #[test]
    fn says_which_line_is_wrong() {
        for (text, why) in [
            ("$ docker ps\n", "line 1: no scenario has begun"),
            ("=== a\nx\n", "line 2: it begins with none of"),
            ("=== a\n=== a\n", "line 2: a second scenario"),
            ("=== a\n$ docker ps\n  = x\n", "line 3: `x` is no exit code"),
        ] {
            let error = Topic::parse(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
