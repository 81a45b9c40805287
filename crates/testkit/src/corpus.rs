//! The corpus of Dockerfiles: small builds, and what Docker made of them.
//!
//! A topic is one `.case` file below `crates/orlop/tests/builds`; beside it stands its `.golden`
//! file: what BuildKit made of each case, and where the classic builder made something else. A case
//! whose result differs from Docker's on purpose names its row of `docs/compat.md`, and our result
//! stands in the topic's `.own` file. [`case`] has the format of cases, [`play`] how one is played,
//! [`tree`] and [`image`] how a result becomes text.

pub mod case;
mod image;
pub mod play;
mod server;
mod tree;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

pub use case::Case;
pub use play::{IMAGE, Outcome, Player};

use crate::Fixture;
use crate::differential::compat_rows;

/// Marks the lines of a golden that are about the classic builder.
const CLASSIC: &str = "classic ";

/// What Docker made of one case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Golden {
    /// What BuildKit made.
    pub buildkit: Outcome,
    /// How the classic builder's result differs, as lines; `same` if it does not.
    pub classic: Vec<String>,
}

/// The folder of cases and goldens.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../orlop/tests/builds")
}

/// Names of all topics, in order.
///
/// # Panics
/// When the folder cannot be read.
#[must_use]
pub fn topics() -> Vec<String> {
    crate::differential::topics_in(&folder())
}

/// The cases of a topic.
///
/// # Errors
/// When its file cannot be read or makes no sense.
pub fn cases(topic: &str) -> Result<Vec<Case>, String> {
    let path = folder().join(format!("{topic}.case"));
    case::parse(&text(&path)?).map_err(|why| format!("{}: {why}", path.display()))
}

/// What a topic's `golden` or `own` file holds, by title. A file that is not there holds nothing.
///
/// # Errors
/// When it cannot be read or makes no sense.
pub fn goldens(topic: &str, ending: &str) -> Result<BTreeMap<String, Golden>, String> {
    let path = folder().join(format!("{topic}.{ending}"));
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = text(&path)?;
    let mut goldens = BTreeMap::new();
    for block in text.split("\n=== ").skip(1) {
        let mut lines: Vec<&str> = block.lines().filter(|line| !line.is_empty()).collect();
        let title = lines.remove(0).to_owned();
        let classic =
            lines.iter().filter_map(|line| line.strip_prefix(CLASSIC)).map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with(CLASSIC));
        let buildkit =
            Outcome::parse(&lines).map_err(|why| format!("{} ({title}): {why}", path.display()))?;
        goldens.insert(title, Golden { buildkit, classic });
    }
    Ok(goldens)
}

/// The text of a golden file: its first line, then all cases.
#[must_use]
pub fn golden_text(about: &str, goldens: &[(String, Golden)]) -> String {
    let mut text = format!("# {about}\n");
    for (title, golden) in goldens {
        text.push_str(&format!("\n=== {title}\n{}", golden.buildkit));
        for line in &golden.classic {
            text.push_str(&format!("{CLASSIC}{line}\n"));
        }
    }
    text
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|why| format!("read {}: {why}", path.display()))
}

/// What a comparison came to.
#[derive(Debug, Default)]
pub struct Compared {
    /// What we made of each case.
    pub ours: Vec<(Case, Outcome)>,
    /// A report on each case that is wrong.
    pub wrong: Vec<String>,
}

/// Builds all cases of a topic whose title contains `filter` with `binary` on one store.
///
/// # Errors
/// When the topic's files cannot be read.
pub fn compare(topic: &str, binary: &str, filter: &str) -> Result<Compared, String> {
    let (cases, docker, own) = (cases(topic)?, goldens(topic, "golden")?, goldens(topic, "own")?);
    let rows = compat_rows();
    let mut compared = Compared::default();
    // A fixture that ends badly says so by a panic.
    let played = catch_unwind(AssertUnwindSafe(|| -> Result<(), String> {
        let fixture = Fixture::new(binary);
        let player = fixture.player()?;
        for case in cases.iter().filter(|case| case.title.contains(filter)) {
            // A build that hangs ends in a panic.
            let played = catch_unwind(AssertUnwindSafe(|| player.play(case)));
            let wrong = match played {
                Err(_) => Some("it did not end, see above\n".to_owned()),
                Ok(Err(why)) => Some(why),
                Ok(Ok(ours)) => {
                    let wrong =
                        verdict(case, docker.get(&case.title), own.get(&case.title), &ours, &rows);
                    compared.ours.push((case.clone(), ours));
                    wrong
                }
            };
            if let Some(wrong) = wrong {
                let Case { title, number, .. } = case;
                compared.wrong.push(format!("{topic}.case:{number} ({title})\n{wrong}"));
            }
        }
        Ok(())
    }));
    match played {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return Err(why),
        Err(_) => compared.wrong.push(format!("{topic}: did not end well, see above\n")),
    }
    Ok(compared)
}

/// What is wrong with our result, or nothing.
fn verdict(
    case: &Case,
    docker: Option<&Golden>,
    own: Option<&Golden>,
    ours: &Outcome,
    rows: &[String],
) -> Option<String> {
    let Some(docker) = docker else {
        return Some("there is no golden: `cargo xtask corpus --record` makes it\n".to_owned());
    };
    let Some(row) = &case.differs else {
        return (!docker.buildkit.covers(ours)).then(|| difference(&docker.buildkit, ours));
    };
    if !rows.contains(row) {
        return Some(format!("no row of docs/compat.md is called `{row}`\n"));
    }
    if docker.buildkit.covers(ours) {
        return Some(format!("`differs: {row}` stands here, but the result is Docker's\n"));
    }
    match own {
        None => Some("our own result is not kept: `cargo xtask corpus --own`\n".to_owned()),
        Some(own) => (!own.buildkit.covers(ours)).then(|| difference(&own.buildkit, ours)),
    }
}

/// Lines that only one of the two has.
#[must_use]
pub fn difference(expected: &Outcome, ours: &Outcome) -> String {
    let (expected, seen) = (expected.to_string(), ours.to_string());
    let lacks = |text: &str, line: &str| !text.lines().any(|other| other == line);
    let mut text = String::new();
    for line in expected.lines().filter(|line| lacks(&seen, line)) {
        text.push_str(&format!("  - {line}\n"));
    }
    for line in seen.lines().filter(|line| lacks(&expected, line)) {
        text.push_str(&format!("  + {line}\n"));
    }
    if let Some(failure) = &ours.failure {
        for line in failure.all.lines() {
            text.push_str(&format!("  | {line}\n"));
        }
    }
    if text.is_empty() { "  the same lines in another order or number\n".to_owned() } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn outcome(lines: &[&str]) -> Outcome {
        Outcome::parse(lines).unwrap()
    }

    #[test]
    fn a_difference_needs_a_row_and_must_be_one() {
        let rows = ["Known".to_owned()];
        let golden = |line: &str| Golden { buildkit: outcome(&["ok", line]), classic: Vec::new() };
        let judge = |differs: Option<&str>, own: Option<&str>, ours: &str| {
            let case = Case { differs: differs.map(str::to_owned), ..Case::default() };
            let (docker, own) = (golden("d"), own.map(golden));
            verdict(&case, Some(&docker), own.as_ref(), &outcome(&["ok", ours]), &rows)
        };
        assert_eq!(judge(None, None, "d"), None);
        assert_eq!(judge(None, None, "x").unwrap(), "  - d\n  + x\n");
        assert_eq!(judge(Some("Known"), Some("x"), "x"), None);
        assert!(judge(Some("Known"), Some("x"), "y").is_some());
        assert!(judge(Some("Known"), Some("x"), "d").unwrap().contains("but the result is Docker"));
        assert!(judge(Some("Known"), None, "x").unwrap().contains("--own"));
        assert!(judge(Some("Other"), Some("x"), "x").unwrap().contains("no row"));
    }

    #[test]
    fn goldens_are_read_as_they_are_written() {
        let golden = Golden {
            buildkit: outcome(&["fails 1: why", "at 2"]),
            classic: vec!["+ file /f".to_owned()],
        };
        let text = golden_text("About.", &[("a case".to_owned(), golden)]);
        assert_eq!(text, "# About.\n\n=== a case\nfails 1: why\nat 2\nclassic + file /f\n");
    }
}
