//! Times the commands of [`workloads`], ours and the peers', interleaved in one run.
//!
//! Only ratios within one run mean anything: the engines take turns, one command each, so that a
//! busy disk hits all of them alike. Every engine imports the same tar first.

mod builds;
mod workloads;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use workloads::{RUN, Values, WORKLOADS, Workload, expand};

const USAGE: &str = "\
usage: cargo xtask bench [--rounds N] [--only NAME,…] [--ours 'COMMAND …'] [--peer NAME='COMMAND …']… [-- RUN OPTION…]

Without --peer, `docker` and `podman` take part when they are in the path and answer.
Without --only, everything that does not take long is measured; the others, which the table marks as heavy, run when they are named.
`load` wants `save` in the same run.
`cargo xtask bench builds` measures builds and transfers of images.
Words after `--` go to the `run` of the workload `run`, for instance `--network none`.
";

/// Rounds when none are asked for, and the time after which a workload starts no further one.
const DEFAULT_ROUNDS: usize = 20;
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Name under which the image is imported everywhere.
const IMAGE: &str = "orlop-bench:busybox";
/// The same for an image that gets further layers.
const LAYERS: &str = "orlop-bench:layers";
/// Files of the tree that is copied.
const TREE_FILES: usize = 10_000;
/// Size of the large tar's file.
const LARGE_MIB: usize = 300;

/// An engine that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Engine {
    name: String,
    command: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    rounds: usize,
    only: Vec<String>,
    ours: Option<Vec<String>>,
    peers: Vec<Engine>,
    run: Vec<String>,
}

/// Runs the measurement and prints the table.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<()> {
    if let Some(("builds", rest)) = words.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        return builds::run(root, rest);
    }
    let options = parse(words)?;
    let scratch = Scratch::new()?;
    let ours = match options.ours.clone() {
        Some(command) => command,
        None => scratch.ours(root)?,
    };
    let mut engines = vec![Engine { name: "orlop".to_owned(), command: ours }];
    engines.extend(options.peers.iter().cloned());
    if engines.len() == 1 {
        engines.extend(
            ["docker", "podman"]
                .into_iter()
                .filter(|name| answers(name))
                .map(|name| Engine { name: name.to_owned(), command: vec![name.to_owned()] }),
        );
    }
    let chosen = options.workloads()?;
    let large = if chosen.iter().any(|workload| workload.name == "import") {
        scratch.large_tar()?
    } else {
        String::new()
    };
    let folders = scratch.folders(&engines, &chosen)?;
    let image = script(root, "busybox.sh")?;
    for engine in &engines {
        engine.checked(&words_of(&["import", &image, IMAGE]))?;
        engine.checked(&words_of(&["tag", IMAGE, LAYERS]))?;
    }
    for workload in &chosen {
        println!("{:<16} {}", workload.name, workload.what);
    }
    print_head();
    for workload in chosen {
        let mut times = measure(workload, &engines, &options, &large, &folders)?;
        print_times(workload.name, &engines, &mut times);
    }
    for engine in &engines {
        engine.checked(&words_of(&["rmi", "-f", IMAGE, LAYERS]))?;
    }
    // Ours is a store that nobody needs any more: its bridge goes, too.
    engines[0].checked(&words_of(&["system", "check", "--repair"]))
}

/// Times one workload with every engine; what it made is gone afterwards.
fn measure(
    workload: &Workload,
    engines: &[Engine],
    options: &Options,
    tar: &str,
    folders: &[String],
) -> Result<Vec<Vec<Duration>>> {
    let values = Values {
        image: IMAGE,
        layers: LAYERS,
        tar,
        scratch: "",
        round: 0,
        repetition: 0,
        repetitions: workload.repetitions,
    };
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); engines.len()];
    for repetition in 0..workload.repetitions {
        for (engine, scratch) in engines.iter().zip(folders) {
            for words in workload.once {
                engine.checked(&expand(words, Values { repetition, scratch, ..values }))?;
            }
        }
    }
    let end = Instant::now() + TIME_LIMIT;
    // The first round loads programs and makes bridges: it is not one to measure.
    for round in 0..=options.rounds.min(workload.rounds) {
        if Instant::now() > end {
            println!("{}: stopped after {round} rounds: the time is up", workload.name);
            break;
        }
        let values = Values { round, ..values };
        for ((engine, scratch), times) in engines.iter().zip(folders).zip(&mut times) {
            let time = one_round(workload, engine, options, Values { scratch, ..values })?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    if let Some(words) = workload.finally {
        for (engine, scratch) in engines.iter().zip(folders) {
            engine.checked(&expand(words, Values { scratch, ..values }))?;
        }
    }
    Ok(times)
}

fn one_round(
    workload: &Workload,
    engine: &Engine,
    options: &Options,
    values: Values<'_>,
) -> Result<Duration> {
    if let Some(words) = workload.before {
        engine.checked(&expand(words, values))?;
    }
    let mut words = expand(workload.timed, values);
    if workload.name == RUN {
        // After `run --rm`.
        words.splice(2..2, options.run.iter().cloned());
    }
    let started = Instant::now();
    engine.checked(&words)?;
    let time = started.elapsed();
    if let Some(words) = workload.after {
        engine.checked(&expand(words, values))?;
    }
    Ok(time)
}

fn words_of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Engine {
    fn checked(&self, words: &[String]) -> Result<()> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args(words).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("start {}", self.name))?;
        if output.status.success() {
            return Ok(());
        }
        bail!(
            "{} {}: {}",
            self.name,
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )
    }
}

impl Options {
    /// The workloads that are asked for, in the table's order.
    fn workloads(&self) -> Result<Vec<&'static Workload>> {
        if let Some(unknown) =
            self.only.iter().find(|name| WORKLOADS.iter().all(|workload| workload.name != **name))
        {
            let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
            bail!("no workload `{unknown}`; there are {}", names.join(", "));
        }
        let asked = |workload: &&Workload| match self.only.as_slice() {
            [] => !workload.heavy,
            only => only.iter().any(|name| name == workload.name),
        };
        Ok(WORKLOADS.iter().filter(asked).collect())
    }
}

/// A store of our own for the time of the measurement.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let folder = PathBuf::from(format!("/var/tmp/orlop-test-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self(folder))
    }

    fn ours(&self, root: &Path) -> Result<Vec<String>> {
        let program = root.join("target/release/orlop");
        if !program.exists() {
            bail!("{} is missing: `cargo build --release` first", program.display());
        }
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (store, state) = (text(self.0.join("root")), text(self.0.join("run")));
        Ok(vec![text(program), "--root".into(), store, "--run-root".into(), state])
    }
}

impl Scratch {
    /// A folder for each engine with a file, and with a tree if one is asked for.
    fn folders(&self, engines: &[Engine], chosen: &[&Workload]) -> Result<Vec<String>> {
        let uses_tree = |workload: &&Workload| {
            let mut words = workload.once.iter().copied().chain([workload.timed]).flatten();
            words.any(|word| word.contains("{scratch}/tree"))
        };
        let files = if chosen.iter().any(uses_tree) { TREE_FILES } else { 0 };
        let mut folders = Vec::new();
        for engine in engines {
            let folder = self.0.join(format!("with-{}", engine.name));
            for place in 0..files {
                let parent = folder.join(format!("tree/{}", place / 100));
                std::fs::create_dir_all(&parent)?;
                std::fs::write(parent.join(place.to_string()), [b'x'; 1024])?;
            }
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("file"), [b'x'; 4096])?;
            folders.push(folder.to_string_lossy().into_owned());
        }
        Ok(folders)
    }

    /// A tar of one large file that no compression shortens.
    fn large_tar(&self) -> Result<String> {
        let (file, tar) = (self.0.join("large"), self.0.join("large.tar"));
        let mut out = std::io::BufWriter::new(std::fs::File::create(&file)?);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..LARGE_MIB << 17 {
            // Xorshift: as good as random for this.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.write_all(&state.to_le_bytes())?;
        }
        out.flush()?;
        let status = Command::new("tar")
            .arg("-cf")
            .arg(&tar)
            .arg("-C")
            .arg(&self.0)
            .arg("large")
            .status()?;
        if !status.success() {
            bail!("tar failed");
        }
        std::fs::remove_file(&file)?;
        Ok(tar.to_string_lossy().into_owned())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("remove {}: {error}", self.0.display());
        }
    }
}

fn answers(name: &str) -> bool {
    let silent = Command::new(name)
        .arg("info")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    silent.is_ok_and(|status| status.success())
}

fn script(root: &Path, name: &str) -> Result<String> {
    let output = Command::new("bash")
        .arg(root.join("examples").join(name))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("examples/{name} failed");
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn parse(words: &[String]) -> Result<Options> {
    let mut options = Options {
        rounds: DEFAULT_ROUNDS,
        only: Vec::new(),
        ours: None,
        peers: Vec::new(),
        run: Vec::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            options.run = words.cloned().collect();
            break;
        }
        let value = words.next().with_context(|| format!("`{word}` wants a value\n\n{USAGE}"))?;
        let command =
            |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
        match word.as_str() {
            "--rounds" => {
                options.rounds = value.parse().with_context(|| format!("rounds `{value}`"))?;
            }
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            "--ours" => options.ours = Some(command(value)),
            "--peer" => {
                let (name, text) = value
                    .split_once('=')
                    .with_context(|| format!("peer `{value}`: want NAME=COMMAND"))?;
                options.peers.push(Engine { name: name.to_owned(), command: command(text) });
            }
            _ => bail!("unknown option `{word}`\n\n{USAGE}"),
        }
    }
    let empty = options.ours.as_ref().is_some_and(Vec::is_empty)
        || options.peers.iter().any(|peer| peer.command.is_empty());
    if empty {
        bail!("a command is empty\n\n{USAGE}");
    }
    Ok(options)
}

fn print_head() {
    println!(
        "\n{:<16} {:<10} {:>6} {:>10} {:>10} {:>10} {:>10}",
        "workload", "engine", "runs", "median ms", "min ms", "max ms", "orlop ÷ it"
    );
}

fn print_times(workload: &str, engines: &[Engine], times: &mut [Vec<Duration>]) {
    let ours = times.first_mut().and_then(|times| median(times));
    for (engine, times) in engines.iter().zip(times) {
        let (Some(middle), Some(ours)) = (median(times), ours) else { continue };
        let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
        println!(
            "{:<16} {:<10} {:>6} {:>10.1} {:>10.1} {:>10.1} {:>10.3}",
            workload,
            engine.name,
            times.len(),
            ms(Some(&middle)),
            ms(times.first()),
            ms(times.last()),
            ours.as_secs_f64() / middle.as_secs_f64()
        );
    }
}

/// Sorts the times and takes the middle one.
fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn reads_options() {
        let options = parse(&words(&[
            "--rounds",
            "3",
            "--only",
            "exec,run",
            "--peer",
            "d=docker -H unix:///s",
            "--",
            "--network",
            "none",
        ]))
        .unwrap();
        assert_eq!(options.rounds, 3);
        assert_eq!(
            options.peers,
            [Engine { name: "d".into(), command: words(&["docker", "-H", "unix:///s"]) }]
        );
        assert_eq!(options.run, ["--network", "none"]);
        let names: Vec<&str> = options.workloads().unwrap().iter().map(|one| one.name).collect();
        assert_eq!(names, ["run", "exec"]);
    }

    #[test]
    fn refuses_unknown_workloads() {
        let options = parse(&words(&["--only", "run,walk"])).unwrap();
        let error = options.workloads().unwrap_err().to_string();
        assert!(error.starts_with("no workload `walk`; there are run, "), "{error}");
    }

    #[test]
    fn refuses_bad_options() {
        for bad in [
            &["--rounds"][..],
            &["--rounds", "x"],
            &["--peer", "docker"],
            &["--peer", "d="],
            &["--odd", "1"],
        ] {
            assert!(parse(&words(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn takes_the_median() {
        let ms = Duration::from_millis;
        assert_eq!(median(&mut [ms(9), ms(1), ms(5)]), Some(ms(5)));
        assert_eq!(median(&mut []), None);
    }
}
