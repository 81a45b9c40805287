//! Keeps the goldens of the differential suite: asks a real Docker, or shows where we differ.
//!
//! `--record 'docker -H unix:///some/socket'` plays every scenario against that engine and writes
//! what it answered. It removes everything that the engine holds after each scenario, so it refuses
//! to begin on one that holds anything but the image `busybox`. Without it the scenarios are played
//! against our own debug binary, and every line that differs is shown; `--own` writes our answers
//! below the lines that are annotated as differences on purpose;
//! `--binary FILE` takes another build of ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::engine::Engine;
use anyhow::{Context, Result, bail};
use orlop_testkit::differential::{self, Line, Rules, Scenario, Stage, folder, topics};

const IMAGE: &str = "busybox:latest";

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    record: Option<String>,
    own: bool,
    binary: Option<String>,
    topics: Vec<String>,
}

/// Runs `cargo xtask differential WORDS…`.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<()> {
    let options = options(words)?;
    match &options.record {
        Some(docker) => record(root, docker, &options.topics),
        None => compare(root, &options),
    }
}

fn options(words: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--record" => {
                options.record =
                    Some(words.next().context("--record: which docker command?")?.clone());
            }
            "--own" => options.own = true,
            "--binary" => options.binary = Some(words.next().context("--binary: which?")?.clone()),
            word if word.starts_with('-') => bail!("differential: unknown option `{word}`"),
            topic => options.topics.push(topic.to_owned()),
        }
    }
    let known = topics();
    if let Some(topic) = options.topics.iter().find(|topic| !known.contains(topic)) {
        bail!("no topic is called `{topic}`; there are: {}", known.join(", "));
    }
    if options.topics.is_empty() {
        options.topics = known;
    }
    Ok(options)
}

fn case_file(topic: &str) -> PathBuf {
    folder().join(format!("{topic}.case"))
}

fn golden_file(topic: &str) -> PathBuf {
    folder().join(format!("{topic}.golden"))
}

fn record(root: &Path, docker: &str, topics: &[String]) -> Result<()> {
    let engine = Engine { words: docker.split_whitespace().map(str::to_owned).collect() };
    let busybox = Command::new(root.join("examples/busybox.sh")).output()?;
    let busybox = String::from_utf8(busybox.stdout)?.trim().to_owned();
    engine.assert_empty()?;
    let data = PathBuf::from(engine.ask(&["info", "--format", "{{.DockerRootDir}}"])?);
    let version = engine.ask(&["version", "--format", "{{.Server.Version}}"])?;
    let version = version.split(['+', '-']).next().unwrap_or_default().to_owned();
    let mut failed = Vec::new();
    for topic in topics {
        let cases = differential::read(topic, "case").map_err(anyhow::Error::msg)?;
        let before = failed.len();
        let mut text =
            format!("# Docker {version}; made by `cargo xtask differential --record`.\n");
        for scenario in &cases.scenarios {
            let folder = std::env::temp_dir().join(format!("orlop-record-{}", std::process::id()));
            engine.empty(&busybox)?;
            let rules = Rules::default().place(&data, "<root>");
            let stage = Stage::new(&folder, &engine.words, &busybox, rules);
            text.push_str(&format!("\n=== {}\n", scenario.title));
            let played = play_for_record(&stage, scenario, &mut text);
            engine.empty(&busybox)?;
            std::fs::remove_dir_all(&folder)?;
            if let Err(why) = played {
                failed.push(format!("{topic}: {}: {why}", scenario.title));
            }
        }
        if failed.len() == before {
            std::fs::write(golden_file(topic), text)?;
            println!("recorded {topic}: {} lines", cases.checked_lines());
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not recorded:\n{}", failed.join("\n")) }
}

fn play_for_record(stage: &Stage, scenario: &Scenario, text: &mut String) -> Result<()> {
    for line in &scenario.lines {
        let answer = stage.play(line).map_err(|why| anyhow::anyhow!("{}: {why}", line.script))?;
        if line.checked {
            text.push_str(&format!("$ {}\n{answer}", line.script));
        }
    }
    Ok(())
}

impl Engine {
    fn images(&self) -> Result<BTreeSet<String>> {
        let names = self.ask(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Refuses an engine that somebody works with: all it holds is removed later.
    fn assert_empty(&self) -> Result<()> {
        let held = [
            self.ask(&["ps", "--all", "--quiet"])?,
            self.ask(&["volume", "ls", "--quiet"])?,
            self.ask(&["network", "ls", "--quiet", "--filter", "type=custom"])?,
        ];
        let images = self.images()?;
        if held.iter().any(|names| !names.is_empty()) || images.iter().any(|name| name != IMAGE) {
            bail!("this Docker holds things, and recording removes everything: use an empty one");
        }
        Ok(())
    }

    /// Removes everything and makes sure of the image.
    fn empty(&self, busybox: &str) -> Result<()> {
        for (list, remove) in [
            (vec!["ps", "--all", "--quiet"], vec!["rm", "--force", "--volumes"]),
            (vec!["volume", "ls", "--quiet"], vec!["volume", "rm", "--force"]),
            (vec!["network", "ls", "--quiet", "--filter", "type=custom"], vec!["network", "rm"]),
        ] {
            let names = self.ask(&list)?;
            if !names.is_empty() {
                let names: Vec<&str> = names.lines().collect();
                self.ask(&[remove, names].concat())?;
            }
        }
        let images = self.images()?;
        for name in images.iter().filter(|name| *name != IMAGE && !name.contains("<none>")) {
            self.ask(&["rmi", "--force", name])?;
        }
        self.ask(&["image", "prune", "--force"])?;
        if !images.contains(IMAGE) {
            self.ask(&["import", "--change", "CMD [\"sh\"]", busybox, IMAGE])?;
        }
        Ok(())
    }
}

fn compare(root: &Path, options: &Options) -> Result<()> {
    let built = || root.join("target/debug/orlop").display().to_string();
    let binary = options.binary.clone().unwrap_or_else(built);
    let (mut lines, mut wrong) = (0, 0);
    for topic in &options.topics {
        let compared = differential::compare(topic, &binary).map_err(anyhow::Error::msg)?;
        lines += compared.answers.len();
        wrong += compared.wrong.len();
        compared.wrong.iter().for_each(|report| println!("{report}"));
        println!("{topic}: {} lines, {} wrong\n", compared.answers.len(), compared.wrong.len());
        if options.own {
            write_own(topic, &compared.answers)?;
        }
    }
    println!("{lines} lines, {wrong} wrong");
    Ok(())
}

/// Writes our answers below the lines that are annotated as differences on purpose.
fn write_own(topic: &str, answers: &[(Line, String)]) -> Result<()> {
    let path = case_file(topic);
    let text = std::fs::read_to_string(&path)?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (line, answer) in answers.iter().rev() {
        if let Some(own) = &line.own {
            let block = format!("  ~ {}\n{answer}", own.row);
            lines.splice(own.lines.clone(), block.lines().map(str::to_owned));
        }
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}
