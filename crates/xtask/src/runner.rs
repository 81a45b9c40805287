//! Runs test binaries, the tests that need root each in a process of its own.
//!
//! A root test changes namespaces, becomes a subreaper and starts processes that outlive it if it
//! fails: it must not share a process with another test. Output goes to files, never to pipes, so
//! that a process left behind cannot hold the runner up; a test that does not end is killed.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Time after which a test is taken to hang. The longest ones run two hundred containers.
const TEST_LIMIT: Duration = Duration::from_secs(300);

/// Time after which a binary with unit tests is taken to hang.
const UNIT_LIMIT: Duration = Duration::from_secs(600);

/// Binaries whose tests load the machine so much that they run alone, after all others.
const ALONE: &[&str] = &["many"];

/// Which tests are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Tests without privileges, in every crate.
    Unit,
    /// Ignored tests inside the crates: they need root.
    Root,
    /// The tests below `crates/orlop/tests`, which run the real binary.
    EndToEnd,
}

impl Suite {
    /// The suite's name on the command line and in the closing line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Root => "root",
            Self::EndToEnd => "e2e",
        }
    }
}

/// What a suite came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Tests that passed.
    pub(crate) passed: usize,
    /// Names of those that did not.
    pub(crate) failed: Vec<String>,
}

/// A compiled test binary.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    package: String,
    target: String,
    path: PathBuf,
    folder: PathBuf,
}

impl Binary {
    fn is_end_to_end(&self) -> bool {
        self.folder.ends_with("crates/orlop") && self.target != "orlop"
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command
            .current_dir(&self.folder)
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .stdin(Stdio::null());
        command
    }
}

/// Compiles every test of the workspace.
pub(crate) fn build(root: &Path) -> Result<Vec<Binary>> {
    let output = Command::new(cargo())
        .args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!("the tests do not compile");
    }
    let text = String::from_utf8(output.stdout).context("cargo's messages are no UTF-8")?;
    let messages: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(messages.iter().filter_map(binary).collect())
}

/// The test binary that a message of cargo announces, if it does.
fn binary(message: &Value) -> Option<Binary> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    let package = folder.file_name()?.to_str()?.to_owned();
    let target = message["target"]["name"].as_str()?.to_owned();
    Some(Binary { package, target, path, folder })
}

/// Runs one suite; `filter` keeps the tests whose name contains it.
pub(crate) fn run(
    binaries: &[Binary],
    suite: Suite,
    filter: Option<&str>,
    logs: &Path,
) -> Result<Outcome> {
    std::fs::create_dir_all(logs).with_context(|| format!("create {}", logs.display()))?;
    match suite {
        Suite::Unit => unit(binaries, filter, logs),
        Suite::Root | Suite::EndToEnd => {
            let wanted: Vec<&Binary> = binaries
                .iter()
                .filter(|binary| binary.is_end_to_end() == (suite == Suite::EndToEnd))
                .collect();
            if !rustix::process::geteuid().is_root() {
                bail!("the {} tests need root: run me as root", suite.name());
            }
            alone_and_together(&wanted, filter, logs)
        }
    }
}

fn unit(binaries: &[Binary], filter: Option<&str>, logs: &Path) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for binary in binaries {
        let name = format!("{}::{}", binary.package, binary.target);
        let mut command = binary.command();
        command.args(filter);
        let log = logs.join(format!("unit-{}-{}.log", binary.package, binary.target));
        let status = limited(&mut command, UNIT_LIMIT, &log)?;
        let text = read(&log);
        outcome.passed += passed_count(&text);
        if status.is_none_or(|status| !status.success()) {
            println!("FAIL {name}\n{}", indented(&text));
            outcome.failed.extend(failed_names(&text, &name));
        }
    }
    Ok(outcome)
}

/// One test of one binary.
#[derive(Clone, Debug)]
struct Job<'a> {
    binary: &'a Binary,
    test: String,
}

impl Job<'_> {
    fn name(&self) -> String {
        format!("{}::{} {}", self.binary.package, self.binary.target, self.test)
    }
}

fn alone_and_together(binaries: &[&Binary], filter: Option<&str>, logs: &Path) -> Result<Outcome> {
    let mut together = VecDeque::new();
    let mut alone = VecDeque::new();
    for binary in binaries {
        for test in ignored_tests(binary)? {
            let job = Job { binary, test };
            if filter.is_none_or(|filter| job.name().contains(filter)) {
                let queue = if ALONE.contains(&binary.target.as_str()) {
                    &mut alone
                } else {
                    &mut together
                };
                queue.push_back(job);
            }
        }
    }
    let width = std::thread::available_parallelism().map_or(2, |count| count.get() + 1);
    let mut outcome = Outcome::default();
    for (queue, width) in [(together, width), (alone, 1)] {
        let part = parallel(queue, width, logs)?;
        outcome.passed += part.passed;
        outcome.failed.extend(part.failed);
    }
    Ok(outcome)
}

fn ignored_tests(binary: &Binary) -> Result<Vec<String>> {
    let output = binary
        .command()
        .args(["--list", "--ignored", "--format", "terse"])
        .output()
        .with_context(|| format!("list the tests of {}", binary.path.display()))?;
    if !output.status.success() {
        bail!("{} cannot list its tests", binary.path.display());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

fn parallel(queue: VecDeque<Job<'_>>, width: usize, logs: &Path) -> Result<Outcome> {
    let queue = Mutex::new(queue);
    let outcome = Mutex::new(Outcome::default());
    let worker = || -> Result<()> {
        loop {
            let job = queue.lock().expect("no worker panics").pop_front();
            let Some(job) = job else { return Ok(()) };
            let started = Instant::now();
            let log = logs.join(format!("{}.log", job.name().replace([':', ' '], "_")));
            let mut command = job.binary.command();
            command.args(["--exact", &job.test, "--ignored", "--nocapture"]);
            let status = limited(&mut command, TEST_LIMIT, &log)?;
            let text = read(&log);
            // A name that matches nothing would pass: count the tests that ran.
            let passed = status.is_some_and(|status| status.success()) && passed_count(&text) == 1;
            let seconds = started.elapsed().as_secs_f64();
            let mut outcome = outcome.lock().expect("no worker panics");
            if passed {
                println!("PASS [{seconds:7.2}s] {}", job.name());
                outcome.passed += 1;
            } else {
                let how = if status.is_none() { "did not end" } else { "failed" };
                println!("FAIL [{seconds:7.2}s] {} {how}\n{}", job.name(), indented(&text));
                outcome.failed.push(job.name());
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..width).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    Ok(outcome.into_inner().expect("no worker panics"))
}

/// Runs a command with its output in `log`; `None` when it had to be killed.
fn limited(command: &mut Command, limit: Duration, log: &Path) -> Result<Option<ExitStatus>> {
    use std::os::unix::process::CommandExt;
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut child = command
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            let group = rustix::process::Pid::from_child(&child);
            // The group may be gone already; the wait below tells.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn read(log: &Path) -> String {
    std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Number of passed tests in a test binary's output.
fn passed_count(text: &str) -> usize {
    text.lines()
        .filter_map(|line| line.split_once("test result: ").map(|(_, rest)| rest))
        .filter_map(|rest| rest.split(" passed").next()?.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

/// Names of the failed tests in a test binary's output, or the binary's when it says none.
fn failed_names(text: &str, binary: &str) -> Vec<String> {
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
        .map(|test| format!("{binary} {test}"))
        .collect();
    if names.is_empty() { vec![binary.to_owned()] } else { names }
}

/// The last lines of a log, set off.
fn indented(text: &str) -> String {
    const SHOWN_LINES: usize = 200;
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines[from..].iter().map(|line| format!("    {line}\n")).collect()
}

/// The cargo that runs us, or the one in the path.
pub(crate) fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_a_test_binary_says() {
        let text = "test a ... ok\ntest b::c ... FAILED\n\ntest result: FAILED. 12 passed; 1 failed; 3 ignored;\n";
        assert_eq!(passed_count(text), 12);
        assert_eq!(failed_names(text, "net::net"), ["net::net b::c"]);
        assert_eq!(failed_names("killed", "net::net"), ["net::net"]);
        assert_eq!(passed_count("running 0 tests\n"), 0);
    }

    #[test]
    fn finds_test_binaries_in_cargos_messages() {
        let message = json!({
            "reason": "compiler-artifact", "profile": {"test": true}, "executable": "/t/many-1",
            "manifest_path": "/w/crates/orlop/Cargo.toml", "target": {"name": "many"},
        });
        let found = binary(&message).unwrap();
        assert_eq!((found.package.as_str(), found.target.as_str()), ("orlop", "many"));
        assert!(found.is_end_to_end());
        assert!(binary(&json!({"reason": "compiler-artifact", "profile": {"test": false}, "executable": "/t/a"})).is_none());
    }

    #[test]
    fn kills_what_does_not_end() {
        let log = std::env::temp_dir().join(format!("xtask-runner-{}.log", std::process::id()));
        let ended = limited(Command::new("sh").args(["-c", "echo said; exit 3"]), TEST_LIMIT, &log)
            .unwrap();
        assert_eq!(ended.unwrap().code(), Some(3));
        assert_eq!(read(&log), "said\n");
        let ended =
            limited(Command::new("sleep").arg("60"), Duration::from_millis(50), &log).unwrap();
        assert_eq!(ended, None);
        std::fs::remove_file(&log).unwrap();
    }
}
