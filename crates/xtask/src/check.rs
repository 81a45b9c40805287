//! The order of checks: cheap ones first, each step named, a closing line that counts.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::fuzz;
use crate::leftovers::Snapshot;
use crate::runner::{self, Binary, Outcome, Suite};
use crate::tidy;

/// Example images that the end-to-end tests use.
const EXAMPLES: &[&str] = &["postgres", "mariadb", "nginx"];

/// Format, clippy, tidy, unit tests.
pub(crate) fn check(root: &Path) -> Result<()> {
    static_checks(root)?;
    let binaries = runner::build(root)?;
    let outcome = suite(root, &binaries, Suite::Unit, None)?;
    close(&[(Suite::Unit, outcome)])
}

/// The suites named in `words`, or all of them.
pub(crate) fn test(root: &Path, words: &[String]) -> Result<()> {
    let (names, filter) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], words.get(at + 1).map(String::as_str)),
        None => (words, None),
    };
    let mut suites = Vec::new();
    for name in names {
        match [Suite::Unit, Suite::Root, Suite::EndToEnd]
            .into_iter()
            .find(|suite| suite.name() == name)
        {
            Some(suite) => suites.push(suite),
            None => bail!("unknown suite `{name}`: want unit, root or e2e"),
        }
    }
    if suites.is_empty() {
        suites = vec![Suite::Unit, Suite::Root, Suite::EndToEnd];
    }
    let binaries = runner::build(root)?;
    let mut outcomes = Vec::new();
    for which in suites {
        outcomes.push((which, suite(root, &binaries, which, filter)?));
    }
    close(&outcomes)
}

/// Everything; what `make test` runs.
pub(crate) fn all(root: &Path) -> Result<()> {
    let before = Snapshot::take();
    // Making the images waits for the network and the disk: let it run beside the compiler.
    let mut examples = Examples::start(root)?;
    static_checks(root)?;
    step("compile the tests");
    let binaries = runner::build(root)?;
    let mut outcomes = vec![(Suite::Unit, suite(root, &binaries, Suite::Unit, None)?)];
    outcomes.push((Suite::Root, suite(root, &binaries, Suite::Root, None)?));
    examples.wait()?;
    outcomes.push((Suite::EndToEnd, suite(root, &binaries, Suite::EndToEnd, None)?));
    step("fuzz");
    fuzz::run(root, &[])?;
    step("nothing is left behind");
    let left = before.assert_nothing_new();
    close(&outcomes)?;
    left
}

fn static_checks(root: &Path) -> Result<()> {
    step("format");
    cargo(root, &["fmt", "--all", "--check"])?;
    step("tidy");
    tidy::run(root)?;
    step("clippy");
    cargo(root, &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])
}

fn suite(root: &Path, binaries: &[Binary], which: Suite, filter: Option<&str>) -> Result<Outcome> {
    step(&format!("{} tests", which.name()));
    let started = Instant::now();
    let outcome = runner::run(binaries, which, filter, &root.join("target/test-logs"))?;
    let seconds = started.elapsed().as_secs();
    println!(
        "{}: {} passed, {} failed in {seconds} s",
        which.name(),
        outcome.passed,
        outcome.failed.len()
    );
    Ok(outcome)
}

/// Prints the closing line; fails when a test did, or when a suite that was asked for is empty.
fn close(outcomes: &[(Suite, Outcome)]) -> Result<()> {
    let mut failed = Vec::new();
    let mut parts = Vec::new();
    let mut total = 0;
    for (suite, outcome) in outcomes {
        total += outcome.passed;
        parts.push(format!("{} {}", outcome.passed, suite.name()));
        failed.extend(outcome.failed.iter().cloned());
        if outcome.passed == 0 && outcome.failed.is_empty() {
            failed.push(format!("no {} test was found", suite.name()));
        }
    }
    for name in &failed {
        println!("FAILED {name}");
    }
    println!("tests: {total} passed ({}), {} failed, 0 skipped", parts.join(", "), failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("{} failures", failed.len()) }
}

fn cargo(root: &Path, words: &[&str]) -> Result<()> {
    let status = Command::new(runner::cargo())
        .args(words)
        .current_dir(root)
        .status()
        .context("start cargo")?;
    if status.success() { Ok(()) } else { bail!("`cargo {}` failed", words.join(" ")) }
}

fn step(name: &str) {
    println!("=== {name}");
}

/// The scripts that make the example images, in the background.
struct Examples {
    child: Child,
    log: std::path::PathBuf,
}

impl Examples {
    fn start(root: &Path) -> Result<Self> {
        let log = root.join("target/examples.log");
        std::fs::create_dir_all(root.join("target"))?;
        let file =
            std::fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let lines: Vec<String> =
            EXAMPLES.iter().map(|name| format!("bash examples/base.sh {name}")).collect();
        let child = Command::new("sh")
            .args(["-ec", &lines.join("\n")])
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("start examples/base.sh")?;
        println!("=== example images are made in the background (target/examples.log)");
        Ok(Self { child, log })
    }

    fn wait(&mut self) -> Result<()> {
        step("example images");
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        bail!("examples/base.sh failed; its last lines stand above")
    }
}

impl Drop for Examples {
    /// Ends the script when a check has failed before it was needed.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Gone in between is just as well.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
