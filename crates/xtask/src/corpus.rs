//! Keeps the goldens of the corpus of Dockerfiles: asks a real Docker, or shows where we differ.
//!
//! `--record 'docker -H unix:///some/socket'` builds every case with that engine's BuildKit and with
//! its classic builder and writes what came of it. The engine must have the image `busybox`, made
//! from the tar of `examples/busybox.sh`; only images called `corpus*` are removed. Builds that
//! download do it from this process on loopback, so it must run in the engine's network namespace.
//! Without `--record` the cases are built with our own debug binary, and every difference is shown;
//! `--own` writes our results of those cases that differ on purpose.

use std::path::Path;
use std::process::Command;

use crate::engine::Engine;
use anyhow::{Context, Result, bail};
use orlop_testkit::corpus::{
    self, Golden, IMAGE, Outcome, Player, cases, difference, folder, golden_text, goldens, topics,
};

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    record: Option<String>,
    own: bool,
    only_new: bool,
    binary: Option<String>,
    filter: String,
    topics: Vec<String>,
}

/// Runs `cargo xtask corpus WORDS…`.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<()> {
    let options = options(words)?;
    match &options.record {
        Some(docker) => record(root, docker, &options),
        None => compare(root, &options),
    }
}

fn options(words: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().with_context(|| format!("{word}: which?"));
        match word.as_str() {
            "--record" => options.record = Some(value()?),
            "--own" => options.own = true,
            "--new" => options.only_new = true,
            "--binary" => options.binary = Some(value()?),
            "--case" => options.filter = value()?,
            word if word.starts_with('-') => bail!("corpus: unknown option `{word}`"),
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

fn compare(root: &Path, options: &Options) -> Result<()> {
    let built = || root.join("target/debug/orlop").display().to_string();
    let binary = options.binary.clone().unwrap_or_else(built);
    let (mut all, mut wrong) = (0, 0);
    for topic in &options.topics {
        let compared =
            corpus::compare(topic, &binary, &options.filter).map_err(anyhow::Error::msg)?;
        all += compared.ours.len();
        wrong += compared.wrong.len();
        compared.wrong.iter().for_each(|report| println!("{report}"));
        println!("{topic}: {} cases, {} wrong\n", compared.ours.len(), compared.wrong.len());
        if options.own {
            let mut own: Vec<(String, Golden)> = Vec::new();
            for (case, ours) in compared.ours {
                if case.differs.is_some() {
                    let golden = Golden { buildkit: ours, classic: Vec::new() };
                    own.push((case.title, golden));
                }
            }
            write(topic, "own", "Our own results of the cases that differ on purpose.", &own)?;
        }
    }
    println!("{all} cases, {wrong} wrong");
    if wrong == 0 { Ok(()) } else { bail!("{wrong} cases differ") }
}

fn write(topic: &str, ending: &str, about: &str, goldens: &[(String, Golden)]) -> Result<()> {
    let path = folder().join(format!("{topic}.{ending}"));
    if goldens.is_empty() {
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        return Ok(());
    }
    std::fs::write(&path, golden_text(about, goldens))
        .with_context(|| format!("write {}", path.display()))
}

fn record(root: &Path, docker: &str, options: &Options) -> Result<()> {
    let words: Vec<String> = docker.split_whitespace().map(str::to_owned).collect();
    let engine = Engine { words };
    let busybox = Command::new(root.join("examples/busybox.sh")).output()?;
    let busybox = String::from_utf8(busybox.stdout)?.trim().to_owned();
    let version = engine.ask(&["version", "--format", "{{.Server.Version}}"])?;
    let version = version.split(['+', '-']).next().unwrap_or_default().to_owned();
    let about = format!("Docker {version}; made by `cargo xtask corpus --record`.");
    let scratch = std::env::temp_dir().join(format!("orlop-corpus-{}", std::process::id()));
    let player = |name: &str, buildkit: &str, options: &[&str]| {
        let env = [("DOCKER_BUILDKIT", buildkit), ("BUILDX_NO_DEFAULT_ATTESTATIONS", "1")];
        Player::new(&scratch.join(name), &engine.words, options, &env, &busybox)
            .map_err(anyhow::Error::msg)
    };
    let (buildkit, classic) = (
        player("buildkit", "1", &["--progress plain", "--no-cache"])?,
        player("classic", "0", &["--no-cache"])?,
    );
    let mut failed = Vec::new();
    for topic in &options.topics {
        let old = goldens(topic, "golden").map_err(anyhow::Error::msg)?;
        let mut new = Vec::new();
        for case in cases(topic).map_err(anyhow::Error::msg)? {
            let asked = case.title.contains(&options.filter) && !options.only_new;
            let kept = old.get(&case.title).filter(|_| !asked);
            if let Some(golden) = kept {
                new.push((case.title, golden.clone()));
                continue;
            }
            match record_case(&buildkit, &classic, &engine, &case) {
                Ok(golden) => new.push((case.title, golden)),
                Err(why) => failed.push(format!("{topic} ({}): {why:#}", case.title)),
            }
        }
        write(topic, "golden", &about, &new)?;
        println!("recorded {topic}: {} cases", new.len());
    }
    std::fs::remove_dir_all(&scratch)?;
    if failed.is_empty() { Ok(()) } else { bail!("not recorded:\n{}", failed.join("\n")) }
}

fn record_case(
    buildkit: &Player,
    classic: &Player,
    engine: &Engine,
    case: &corpus::Case,
) -> Result<Golden> {
    let modern = buildkit.play(case).map_err(anyhow::Error::msg)?;
    engine.clear()?;
    if case.classic.as_deref() == Some("no") {
        return Ok(Golden { buildkit: modern, classic: Vec::new() });
    }
    let older = classic.play(case).map_err(anyhow::Error::msg)?;
    engine.clear()?;
    let classic = classic_lines(&modern, &older);
    if classic != ["same"] && case.classic.is_none() {
        println!("{}: the classic builder differs:\n{}", case.title, classic.join("\n"));
    }
    Ok(Golden { buildkit: modern, classic })
}

/// How the classic builder's result differs in what both promise: not in warnings, which it has
/// none of, nor in texts, history and layers, which it makes its own way.
fn classic_lines(modern: &Outcome, older: &Outcome) -> Vec<String> {
    if let (None, Some(failure)) = (&modern.failure, &older.failure) {
        return vec![format!("fails {}: {}", failure.code, failure.reason)];
    }
    if modern.failure.is_some() && older.failure.is_some() {
        return vec!["same".to_owned()];
    }
    let promised = |outcome: &Outcome| {
        // An image of nothing has the root as its directory in the one and none in the other.
        let own = [
            "warn ",
            "at ",
            "history ",
            "layers ",
            "config ArgsEscaped",
            "config Image ",
            "config WorkingDir \"/\"",
            "config created",
        ];
        let mut kept = outcome.clone();
        kept.lines.retain(|line| !own.iter().any(|prefix| line.starts_with(prefix)));
        kept
    };
    let (modern, older) = (promised(modern), promised(older));
    if modern == older {
        return vec!["same".to_owned()];
    }
    difference(&modern, &older).lines().map(|line| line.trim_start().to_owned()).collect()
}

impl Engine {
    /// Removes the images that cases have made.
    fn clear(&self) -> Result<()> {
        let names = self.ask(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])?;
        let made: Vec<&str> =
            names.lines().filter(|name| *name == IMAGE || name.starts_with("corpus")).collect();
        if !made.is_empty() {
            self.ask(&[&["rmi", "--force"], made.as_slice()].concat())?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use orlop_testkit::corpus::play::Failure;

    fn outcome(failure: Option<&str>, lines: &[&str]) -> Outcome {
        Outcome {
            failure: failure.map(|reason| Failure {
                code: 1,
                reason: reason.to_owned(),
                all: String::new(),
            }),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    #[test]
    fn the_classic_builder_is_compared_in_what_both_promise() {
        let modern = outcome(None, &["warn 1 X: y", "layers 1", "history COPY", "dir 0755 0:0 /d"]);
        let same = outcome(None, &["layers 2", "history #(nop)", "dir 0755 0:0 /d"]);
        assert_eq!(classic_lines(&modern, &same), ["same"]);
        let other = outcome(None, &["dir 0755 5:5 /d"]);
        assert_eq!(classic_lines(&modern, &other), ["- dir 0755 0:0 /d", "+ dir 0755 5:5 /d"]);
        assert_eq!(classic_lines(&modern, &outcome(Some("why"), &[])), ["fails 1: why"]);
        assert_eq!(classic_lines(&outcome(Some("a"), &[]), &outcome(Some("b"), &[])), ["same"]);
    }
}
