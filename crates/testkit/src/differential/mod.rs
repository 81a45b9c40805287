//! The differential suite: the same command lines against Docker and against us.
//!
//! A topic is one `.case` file below `crates/orlop/tests/differential` with scenarios of command
//! lines; beside it stands its `.golden` file, what Docker 28 answered to each of them. The test
//! `differential.rs` plays every scenario on a store of its own and compares; `cargo xtask
//! differential --record` asks a real Docker again. [`case`] has the format, [`normal`] the rules
//! by which two answers count as the same, [`stage`] how a line is played.

pub mod case;
mod compare;
pub mod normal;
pub mod stage;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub use case::{Answer, Line, Scenario, Topic};
pub use compare::{Compared, compare};
pub use normal::Rules;
pub use stage::Stage;

/// The folder of case files and goldens.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../orlop/tests/differential")
}

/// Names of all topics that have a case file, in order.
///
/// # Panics
/// When the folder cannot be read.
#[must_use]
pub fn topics() -> Vec<String> {
    topics_in(&folder())
}

/// Names of the case files of a folder, without their ending, in order.
pub(crate) fn topics_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("list {}: {error}", folder.display()));
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".case").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// First cells of the rows of `docs/compat.md`: what an annotation may name.
///
/// # Panics
/// When the file cannot be read.
#[must_use]
pub fn compat_rows() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compat.md");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next().map(str::to_owned))
        .collect()
}

/// Reads the case file (`case`) or the golden (`golden`) of a topic.
///
/// # Errors
/// When it cannot be read or makes no sense.
pub fn read(topic: &str, ending: &str) -> Result<Topic, String> {
    let path = folder().join(format!("{topic}.{ending}"));
    let text =
        std::fs::read_to_string(&path).map_err(|why| format!("read {}: {why}", path.display()))?;
    Topic::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
}

/// What is wrong with our answer to one line, or nothing.
#[must_use]
pub fn verdict(line: &Line, docker: &Answer, ours: &Answer, rows: &[String]) -> Option<String> {
    let (expected, whose) = match &line.own {
        None => (docker, "Docker"),
        Some(own) if !rows.contains(&own.row) => {
            return Some(format!("no row of docs/compat.md is called `{}`", own.row));
        }
        Some(own) if own.answer == *docker => {
            return Some(format!("`~ {}` stands here, but the answer is Docker's", own.row));
        }
        Some(own) => (&own.answer, "orlop (a difference on purpose)"),
    };
    if expected == ours {
        return None;
    }
    Some(format!("expected, as {whose} answers:\n{expected}but it is:\n{ours}"))
}

/// A report on one line, for somebody who reads a failed test.
#[must_use]
pub fn report(topic: &str, scenario: &Scenario, line: &Line, wrong: &str) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "{topic}.case:{} ({})\n$ {}\n{wrong}",
        line.number, scenario.title, line.script
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: &str) -> Answer {
        Answer { stdout: stdout.to_owned(), stderr: String::new(), code: 0 }
    }

    fn line(own: Option<(&str, &str)>) -> Line {
        Line {
            checked: true,
            script: "docker ps".to_owned(),
            number: 1,
            own: own.map(|(row, stdout)| case::Own {
                row: row.to_owned(),
                answer: answer(stdout),
                lines: 1..2,
            }),
        }
    }

    #[test]
    fn a_difference_needs_a_row_and_must_be_one() {
        let rows = vec!["Known".to_owned()];
        let judge = |line: &Line, ours: &str| verdict(line, &answer("d\n"), &answer(ours), &rows);
        assert_eq!(judge(&line(None), "d\n"), None);
        assert!(judge(&line(None), "x\n").is_some_and(|text| text.contains("as Docker answers")));
        assert_eq!(judge(&line(Some(("Known", "x\n"))), "x\n"), None);
        assert!(judge(&line(Some(("Known", "x\n"))), "d\n").is_some());
        assert!(judge(&line(Some(("Known", "d\n"))), "d\n").is_some());
        assert!(judge(&line(Some(("Unknown", "x\n"))), "x\n").is_some());
    }
}
