//! Plays a topic against our binary, each scenario on a store of its own, and judges the answers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::case::{Line, Scenario, Topic};
use super::{compat_rows, read, report, verdict};
use crate::Fixture;

/// What a comparison came to.
#[derive(Debug, Default)]
pub struct Compared {
    /// Compared lines with our answers, as they stand in files.
    pub answers: Vec<(Line, String)>,
    /// A report on each line that is wrong.
    pub wrong: Vec<String>,
}

/// Plays all scenarios of a topic against `binary`.
///
/// # Errors
/// When the topic's files cannot be read.
pub fn compare(topic: &str, binary: &str) -> Result<Compared, String> {
    let (cases, golden) = (read(topic, "case")?, read(topic, "golden")?);
    let rows = compat_rows();
    let mut compared = Compared::default();
    for scenario in &cases.scenarios {
        // A fixture that ends badly says so by a panic; the other scenarios are worth playing.
        let played = catch_unwind(AssertUnwindSafe(|| {
            play(topic, scenario, &golden, &rows, binary, &mut compared);
        }));
        if played.is_err() {
            let title = &scenario.title;
            compared.wrong.push(format!("{topic} ({title}): did not end well, see above\n"));
        }
    }
    Ok(compared)
}

fn play(
    topic: &str,
    scenario: &Scenario,
    golden: &Topic,
    rows: &[String],
    binary: &str,
    compared: &mut Compared,
) {
    let fixture = Fixture::new(binary);
    let stage = fixture.stage();
    let mut index = 0;
    for line in &scenario.lines {
        let judged = stage.play(line).and_then(|ours| {
            if !line.checked {
                return Ok(());
            }
            compared.answers.push((line.clone(), ours.to_string()));
            let docker = golden.answer(&scenario.title, index, &line.script);
            index += 1;
            let docker = stage.rules().answer(&docker?);
            verdict(line, &docker, &ours, rows).map_or(Ok(()), Err)
        });
        if let Err(why) = judged {
            compared.wrong.push(report(topic, scenario, line, &why));
        }
    }
}
