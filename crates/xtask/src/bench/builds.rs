//! Times builds and transfers of images: `cargo xtask bench builds`, interleaved like the others.
//!
//! A peer is a command that understands `build -t NAME -f FILE CONTEXT`, `pull`, `push`, `save` and
//! `rmi`: `docker` (BuildKit), `env DOCKER_BUILDKIT=0 docker` (the classic builder), `buildah`. A
//! docker whose daemon has a network namespace of its own is measured from inside of it, because the
//! registry listens on loopback.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use orlop_testkit::{RegistryOptions, RegistryServer};

use super::{Engine, Scratch, print_times, script};

const USAGE: &str = "\
usage: cargo xtask bench builds [--rounds N] [--only NAME,…] [--ours 'COMMAND …'] [--peer NAME='COMMAND …']…

For instance --peer buildkit=docker --peer classic='env DOCKER_BUILDKIT=0 docker' --peer buildah=buildah.
";

/// Rounds when none are asked for.
const DEFAULT_ROUNDS: usize = 5;

/// Name of the image that all builds stand on.
const BASE: &str = "orlop-bench:base";
/// Name of what a build makes.
const BUILT: &str = "orlop-bench:built";

/// The image that is pulled: layers, files of each, bytes of each file.
const LAYERS: usize = 10;
const LAYER_FILES: usize = 300;
const FILE_BYTES: usize = 100_000;

/// What is timed, and what stands around it.
struct Workload {
    name: &'static str,
    what: &'static str,
    /// Most rounds.
    rounds: usize,
    before: fn(&Bench<'_>, &Engine, usize) -> Result<()>,
    timed: fn(&Bench<'_>, &Engine, usize) -> Result<Vec<String>>,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "nothing-2000",
        what: "rebuild with nothing changed: 10 steps, a context of 2,000 files",
        rounds: usize::MAX,
        before: |bench, engine, round| bench.warm(engine, round, 2_000),
        timed: |bench, engine, _| Ok(bench.ten_steps(engine, 2_000)),
    },
    Workload {
        name: "nothing-50000",
        what: "the same with 50,000 files",
        rounds: usize::MAX,
        before: |bench, engine, round| bench.warm(engine, round, 50_000),
        timed: |bench, engine, _| Ok(bench.ten_steps(engine, 50_000)),
    },
    Workload {
        name: "one-of-50000",
        what: "rebuild with one changed file of 50,000, which one COPY takes",
        rounds: usize::MAX,
        before: |bench, engine, round| {
            bench.warm(engine, round, 50_000)?;
            bench.change_one(engine, round, 50_000)
        },
        timed: |bench, engine, _| Ok(bench.ten_steps(engine, 50_000)),
    },
    Workload {
        name: "cold-copy",
        what: "COPY of 50,000 files that nobody has seen",
        rounds: 3,
        before: |bench, engine, round| bench.fresh_tree(engine, round, 50_000),
        timed: |bench, engine, round| bench.copy_all(engine, round),
    },
    Workload {
        name: "two-stages",
        what: "two independent stages of 3 seconds",
        rounds: 3,
        before: |_, _, _| Ok(()),
        timed: |bench, engine, round| bench.two_stages(engine, round),
    },
    Workload {
        name: "pull",
        what: "pull of an image with 10 layers, 300 MB, from a registry on loopback",
        rounds: 5,
        before: |bench, engine, _| bench.forget_pulled(engine),
        timed: |bench, engine, _| Ok(bench.pull(engine)),
    },
    Workload {
        name: "push",
        what: "push of that image to an empty registry",
        rounds: 5,
        before: |bench, engine, round| bench.tag_for_push(engine, round),
        timed: |bench, engine, _| Ok(bench.push(engine)),
    },
    Workload {
        name: "save",
        what: "save of that image",
        rounds: 5,
        before: |bench, engine, round| bench.make_sure_of_pulled(engine, round),
        timed: |bench, engine, _| Ok(bench.save(engine)),
    },
];

struct Options {
    rounds: usize,
    only: Vec<String>,
    ours: Option<Vec<String>>,
    peers: Vec<Engine>,
}

/// Runs the measurement and prints the table.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<()> {
    let options = parse(words)?;
    let scratch = Scratch::new()?;
    let ours = options.ours.map_or_else(|| scratch.ours(root), Ok)?;
    let mut engines = vec![Engine { name: "orlop".to_owned(), command: ours }];
    engines.extend(options.peers);
    let asked = |workload: &&Workload| {
        options.only.is_empty() || options.only.iter().any(|name| name == workload.name)
    };
    let chosen: Vec<&Workload> = WORKLOADS.iter().filter(asked).collect();
    let transfers = ["pull", "push", "save"];
    let needs_registry = chosen.iter().any(|workload| transfers.contains(&workload.name));
    let source = needs_registry.then(|| RegistryServer::start(&RegistryOptions::default()));
    let mut bench = Bench {
        scratch: &scratch.0,
        source: source.as_ref().map(|server| server.host().to_owned()).unwrap_or_default(),
        target: String::new(),
    };
    let busybox = script(root, "busybox.sh")?;
    bench.base(&engines, &busybox)?;
    if needs_registry {
        bench.fill_registry(&engines)?;
    }
    for workload in &chosen {
        println!("{:<16} {}", workload.name, workload.what);
    }
    super::print_head();
    for workload in chosen {
        let rounds = options.rounds.min(workload.rounds);
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); engines.len()];
        // The first round loads programs and fills caches that all of them keep.
        for round in 0..=rounds {
            for (engine, times) in engines.iter().zip(&mut times) {
                // Blobs that a registry has need no push.
                let target = (workload.name == "push")
                    .then(|| RegistryServer::start(&RegistryOptions::default()));
                bench.target = target.as_ref().map(|one| one.host().to_owned()).unwrap_or_default();
                let time = bench.round(workload, engine, round)?;
                if round > 0 {
                    times.push(time);
                }
            }
        }
        print_times(workload.name, &engines, &mut times);
    }
    bench.clear(&engines);
    engines[0].checked(&words_of(&["system", "check", "--repair"]))
}

fn words_of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Where everything is.
struct Bench<'a> {
    scratch: &'a Path,
    /// Registry that is pulled from.
    source: String,
    /// Registry that is pushed to.
    target: String,
}

impl Bench<'_> {
    fn round(&self, workload: &Workload, engine: &Engine, round: usize) -> Result<Duration> {
        (workload.before)(self, engine, round)?;
        let mut words = (workload.timed)(self, engine, round)?;
        if is_buildah(engine) && words.first().is_some_and(|word| word == "build") {
            // It has no cache of steps unless it is told.
            words.insert(1, "--layers".to_owned());
        }
        // What others wrote just now shall not be written back while the clock runs.
        Command::new("sync").status()?;
        let started = Instant::now();
        engine.checked(&words)?;
        let time = started.elapsed();
        if workload.name == "push" {
            engine.checked(&words_of(&["rmi", &format!("{}/pushed", self.target)]))?;
        }
        Ok(time)
    }

    fn folder(&self, engine: &Engine, name: &str) -> PathBuf {
        self.scratch.join(format!("with-{}", engine.name)).join(name)
    }

    fn build(&self, file: &Path, context: &Path) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        vec!["build".into(), "-t".into(), BUILT.into(), "-f".into(), text(file), text(context)]
    }

    /// The base image, and for each engine the folder it works in.
    fn base(&self, engines: &[Engine], busybox: &str) -> Result<()> {
        for engine in engines {
            let folder = self.folder(engine, "base");
            std::fs::create_dir_all(&folder)?;
            std::fs::copy(busybox, folder.join("root.tar"))?;
            let file = folder.join("Dockerfile");
            std::fs::write(&file, "FROM scratch\nADD root.tar /\nENV PATH=/bin\nCMD [\"sh\"]\n")?;
            let mut words = self.build(&file, &folder);
            words[2] = BASE.to_owned();
            engine.checked(&words)?;
        }
        Ok(())
    }

    /// In the first round, makes the context and builds it once.
    fn warm(&self, engine: &Engine, round: usize, files: usize) -> Result<()> {
        let context = self.folder(engine, &format!("context-{files}"));
        if round > 0 || context.exists() {
            return Ok(());
        }
        tree(&context, files, "first")?;
        let file = context.with_extension("Dockerfile");
        let mut text = format!("FROM {BASE}\nWORKDIR /app\n");
        for step in 0..4 {
            text.push_str(&format!("RUN echo {step} > /step-{step}\n"));
        }
        text.push_str("COPY 0/0 /one\nCOPY 1 /some\nRUN cat /one > /copy\nCOPY . /all\n");
        text.push_str("CMD [\"sh\"]\n");
        std::fs::write(&file, text)?;
        engine.checked(&self.build(&file, &context))
    }

    fn ten_steps(&self, engine: &Engine, files: usize) -> Vec<String> {
        let context = self.folder(engine, &format!("context-{files}"));
        self.build(&context.with_extension("Dockerfile"), &context)
    }

    /// Changes a file that only the last COPY takes.
    fn change_one(&self, engine: &Engine, round: usize, files: usize) -> Result<()> {
        let context = self.folder(engine, &format!("context-{files}"));
        let (folder, name) = place(files - 1);
        let path = context.join(folder).join(name);
        std::fs::write(&path, format!("changed in round {round}\n"))
            .with_context(|| format!("write {}", path.display()))
    }

    fn fresh_tree(&self, engine: &Engine, round: usize, files: usize) -> Result<()> {
        let folder = |round: usize| self.folder(engine, &format!("fresh-{round}"));
        if round > 0 {
            std::fs::remove_dir_all(folder(round - 1))?;
        }
        tree(&folder(round), files, &format!("round {round}"))?;
        Ok(())
    }

    fn copy_all(&self, engine: &Engine, round: usize) -> Result<Vec<String>> {
        let context = self.folder(engine, &format!("fresh-{round}"));
        let file = context.with_extension("Dockerfile");
        std::fs::write(&file, "FROM scratch\nCOPY . /\n")?;
        Ok(self.build(&file, &context))
    }

    fn two_stages(&self, engine: &Engine, round: usize) -> Result<Vec<String>> {
        let context = self.folder(engine, "stages");
        std::fs::create_dir_all(&context)?;
        let file = context.join("Dockerfile");
        let name = &engine.name;
        let text = format!(
            "FROM {BASE} AS one\nRUN sleep 3 && echo {name} {round} > /one\n\
             FROM {BASE} AS two\nRUN sleep 3 && echo {name} {round} > /two\n\
             FROM {BASE}\nCOPY --from=one /one /\nCOPY --from=two /two /\n"
        );
        std::fs::write(&file, text)?;
        Ok(self.build(&file, &context))
    }

    fn pulled(&self) -> String {
        format!("{}/bench:latest", self.source)
    }

    /// Builds the image that is pulled with our own engine and brings it to the registry.
    fn fill_registry(&self, engines: &[Engine]) -> Result<()> {
        let [ours, ..] = engines else { bail!("no engine") };
        let context = self.folder(ours, "large");
        let mut text = "FROM scratch\n".to_owned();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for layer in 0..LAYERS {
            let folder = context.join(format!("layer-{layer}"));
            std::fs::create_dir_all(&folder)?;
            for number in 0..LAYER_FILES {
                std::fs::write(folder.join(number.to_string()), content(&mut state))?;
            }
            text.push_str(&format!("COPY layer-{layer} /layer-{layer}\n"));
        }
        let file = context.with_extension("Dockerfile");
        std::fs::write(&file, text)?;
        ours.checked(&self.build(&file, &context))?;
        let saved = self.scratch.join("large.tar");
        ours.checked(&words_of(&["save", "-o", &saved.display().to_string(), BUILT]))?;
        let status = Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false"])
            .arg(format!("docker-archive:{}", saved.display()))
            .arg(format!("docker://{}", self.pulled()))
            .stdin(Stdio::null())
            .status()
            .context("start skopeo")?;
        if !status.success() {
            bail!("skopeo cannot fill the registry");
        }
        ours.checked(&words_of(&["rmi", "-f", BUILT]))?;
        // Neither may its layers be there when it is pulled.
        ours.checked(&words_of(&["builder", "prune", "--all", "--force"]))?;
        std::fs::remove_file(&saved)?;
        std::fs::remove_dir_all(&context)?;
        Ok(())
    }

    fn forget_pulled(&self, engine: &Engine) -> Result<()> {
        // It is not there in the first round.
        let _ = engine.checked(&words_of(&["rmi", "-f", &self.pulled()]));
        if engine.name == "orlop" {
            // What is removed is emptied in the background; the next pull shall have the disk.
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    }

    fn pull(&self, engine: &Engine) -> Vec<String> {
        let mut words = words_of(&["pull", "--quiet", &self.pulled()]);
        without_tls(engine, &mut words);
        words
    }

    fn make_sure_of_pulled(&self, engine: &Engine, round: usize) -> Result<()> {
        if round == 0 { engine.checked(&self.pull(engine)) } else { Ok(()) }
    }

    fn tag_for_push(&self, engine: &Engine, round: usize) -> Result<()> {
        self.make_sure_of_pulled(engine, round)?;
        engine.checked(&words_of(&["tag", &self.pulled(), &format!("{}/pushed", self.target)]))
    }

    fn push(&self, engine: &Engine) -> Vec<String> {
        let mut words = words_of(&["push", "--quiet", &format!("{}/pushed", self.target)]);
        without_tls(engine, &mut words);
        words
    }

    fn save(&self, engine: &Engine) -> Vec<String> {
        let file = self.folder(engine, "saved.tar").display().to_string();
        if is_buildah(engine) {
            let _ = std::fs::remove_file(&file);
            return words_of(&[
                "push",
                "--quiet",
                &self.pulled(),
                &format!("docker-archive:{file}"),
            ]);
        }
        words_of(&["save", "-o", &file, &self.pulled()])
    }

    /// Removes what the peers hold of all this.
    fn clear(&self, engines: &[Engine]) {
        for engine in engines {
            for name in [BASE, BUILT, &self.pulled()] {
                // Not every measurement makes each of them.
                let _ = engine.checked(&words_of(&["rmi", "-f", name]));
            }
        }
    }
}

/// Podman's tools want to be told; docker and orlop know loopback.
fn without_tls(engine: &Engine, words: &mut Vec<String>) {
    if is_buildah(engine) {
        words.insert(1, "--tls-verify=false".to_owned());
    }
}

fn is_buildah(engine: &Engine) -> bool {
    engine.command.iter().any(|word| word.ends_with("buildah"))
}

/// Where the file of a number is.
fn place(number: usize) -> (String, String) {
    ((number / 100).to_string(), (number % 100).to_string())
}

/// Makes a context with files of a few hundred bytes, like sources.
fn tree(root: &Path, files: usize, mark: &str) -> Result<()> {
    for number in 0..files {
        let (folder, name) = place(number);
        let folder = root.join(folder);
        if number % 100 == 0 {
            std::fs::create_dir_all(&folder)?;
        }
        let line = format!("file {number}, {mark}\n");
        std::fs::write(folder.join(name), line.repeat(1 + number % 40))?;
    }
    Ok(())
}

/// Half of it cannot be compressed, as in programs.
fn content(state: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FILE_BYTES);
    while bytes.len() < FILE_BYTES {
        // Xorshift: as good as random for this.
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend(state.to_le_bytes());
        bytes.extend(*b"the same");
    }
    bytes.truncate(FILE_BYTES);
    bytes
}

fn parse(words: &[String]) -> Result<Options> {
    let mut options =
        Options { rounds: DEFAULT_ROUNDS, only: Vec::new(), ours: None, peers: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("`{word}` wants a value\n\n{USAGE}"))?;
        let command = |text: &str| -> Result<Vec<String>> {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            if words.is_empty() { bail!("a command is empty\n\n{USAGE}") } else { Ok(words) }
        };
        match word.as_str() {
            "--rounds" => {
                options.rounds = value.parse().with_context(|| format!("rounds `{value}`"))?;
            }
            "--only" => options.only = value.split(',').map(str::to_owned).collect(),
            "--ours" => options.ours = Some(command(value)?),
            "--peer" => {
                let (name, text) = value
                    .split_once('=')
                    .with_context(|| format!("peer `{value}`: want NAME=COMMAND"))?;
                options.peers.push(Engine { name: name.to_owned(), command: command(text)? });
            }
            _ => bail!("unknown option `{word}`\n\n{USAGE}"),
        }
    }
    let known = |name: &String| WORKLOADS.iter().any(|workload| workload.name == *name);
    if let Some(unknown) = options.only.iter().find(|name| !known(name)) {
        let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        bail!("no workload `{unknown}`; there are {}", names.join(", "));
    }
    Ok(options)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_peers_with_variables() {
        let words = ["--rounds", "2", "--peer", "classic=env DOCKER_BUILDKIT=0 docker"];
        let options = parse(&words_of(&words)).unwrap();
        assert_eq!((options.rounds, options.peers[0].name.as_str()), (2, "classic"));
        assert_eq!(options.peers[0].command, ["env", "DOCKER_BUILDKIT=0", "docker"]);
        assert!(parse(&words_of(&["--only", "nope"])).is_err());
        assert!(parse(&words_of(&["--peer", "x="])).is_err());
    }

    #[test]
    fn files_are_spread_over_directories() {
        assert_eq!(place(0), ("0".into(), "0".into()));
        assert_eq!(place(49_999), ("499".into(), "99".into()));
    }
}
