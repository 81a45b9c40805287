//! Development tasks of the workspace: `cargo xtask TASK`.
//!
//! Everything that `make test` does apart from installing Debian packages lives here, so that one
//! command works the same on a desk and in a build farm.

mod bench;
mod check;
mod corpus;
mod differential;
mod engine;
mod fuzz;
mod leftovers;
mod runner;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask TASK

tasks
  tidy                    the house rules that no compiler checks
  check                   format, clippy, tidy, unit tests
  test [SUITE…] [-- NAME] suites: unit, root, e2e (default: all); NAME filters by substring
  all                     what `make test` runs: check, root and e2e tests, nothing left behind
  leftovers               lists what tests have left on this machine; fails if there is anything
  differential [TOPIC…]   shows where our debug binary's answers differ from Docker's
      --own               and writes our answers below the lines that differ on purpose
      --binary FILE       of another build of ours than target/debug/orlop
      --record DOCKER     records Docker's answers with that command; it removes all that the
                          engine behind it holds
  corpus [TOPIC…]         builds the corpus of Dockerfiles with our debug binary and shows what differs
      --case TEXT         only the cases whose title contains it
      --own               and writes our results of the cases that differ on purpose
      --binary FILE       with another build of ours than target/debug/orlop
      --record DOCKER     records Docker's results with that command, from its network namespace
      --new               but only of cases that have none yet
  fuzz [TARGET…]          feeds the readers of foreign bytes with changed seeds, a minute each
      --seconds N         for another time
      --seed N            with another random number
  bench [options]         times `run --rm IMAGE true`, interleaved with the peers that are there
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<()> {
    let root = workspace_root()?;
    let Some((task, rest)) = words.split_first() else { bail!("no task given\n\n{USAGE}") };
    match task.as_str() {
        "tidy" => tidy::run(&root),
        "check" => check::check(&root),
        "test" => check::test(&root, rest),
        "all" => check::all(&root),
        "leftovers" => leftovers::assert_none(),
        "differential" => differential::run(&root, rest),
        "corpus" => corpus::run(&root, rest),
        "fuzz" => fuzz::run(&root, rest),
        "bench" => bench::run(&root, rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown task `{other}`\n\n{USAGE}"),
    }
}

/// The directory with the workspace's `Cargo.toml`: two above this crate, wherever it was built.
fn workspace_root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run me as `cargo xtask`")?;
    let root = Path::new(&manifest).ancestors().nth(2).context("unexpected place of the crate")?;
    Ok(root.to_path_buf())
}
