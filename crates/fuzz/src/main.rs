//! Drives the fuzz targets on the stable compiler: `orlop-fuzz [--seconds N] [--seed N] [TARGET…]`.
//!
//! An input that a target fails on, or takes too long for, is kept in a file; `--input FILE TARGET`
//! feeds it again. `--write-seeds FOLDER` writes the seeds as a corpus for `cargo fuzz`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use orlop_fuzz::mutate::Mutator;
use orlop_fuzz::{TARGETS, Target};

/// Time for each target when none is asked for.
const DEFAULT_SECONDS: u64 = 60;

/// The random number of every run, so that `make test` is the same everywhere.
const DEFAULT_SEED: u64 = 0x0072_6c6f_7021;

/// Time that one input may take on a slow machine with a debug build.
const INPUT_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Options {
    seconds: u64,
    seed: u64,
    input: Option<PathBuf>,
    write_seeds: Option<PathBuf>,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        seconds: DEFAULT_SECONDS,
        seed: DEFAULT_SEED,
        input: None,
        write_seeds: None,
        targets: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word}: which?"));
        match word.as_str() {
            "--seconds" => options.seconds = value()?.parse().context("--seconds")?,
            "--seed" => options.seed = value()?.parse().context("--seed")?,
            "--input" => options.input = Some(value()?.into()),
            "--write-seeds" => options.write_seeds = Some(value()?.into()),
            name => match TARGETS.iter().find(|target| target.name == name) {
                Some(target) => options.targets.push(target),
                None => {
                    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
                    bail!("no target `{name}`; there are {}", names.join(", "));
                }
            },
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

fn run(options: &Options) -> Result<()> {
    if let Some(folder) = &options.write_seeds {
        return write_seeds(folder, &options.targets);
    }
    if let Some(file) = &options.input {
        let input = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        for target in &options.targets {
            (target.run)(&input);
        }
        return Ok(());
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let width = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while let Some(target) = options.targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = fuzz(target, options) {
                        let failure = format!("{}: {error:#}", target.name);
                        failed
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .push(failure);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}

/// Feeds one target for the time that is given.
fn fuzz(target: &Target, options: &Options) -> Result<()> {
    let mut mutator = Mutator::new(options.seed, (target.seeds)(), target.words);
    let started = Instant::now();
    let end = started + Duration::from_secs(options.seconds);
    let (mut round, mut longest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let input = mutator.input(round);
        round += 1;
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let took = began.elapsed();
        longest = longest.max(took);
        if result.is_err() || took > INPUT_LIMIT {
            let file = keep(target, &input)?;
            let why = if result.is_err() { "failed" } else { "took too long" };
            bail!("round {round} {why}: the input is in {}", file.display());
        }
    }
    println!(
        "fuzz {:<18} {round:>9} inputs in {:>3} s, longest {:>6.1} ms, seed {}",
        target.name,
        started.elapsed().as_secs(),
        longest.as_secs_f64() * 1000.0,
        options.seed
    );
    Ok(())
}

fn keep(target: &Target, input: &[u8]) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz-failures");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(target.name);
    std::fs::write(&file, input).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

fn write_seeds(folder: &Path, targets: &[&Target]) -> Result<()> {
    for target in targets {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
