//! orlop's command line: Docker's commands, flags, tables and texts over the engine.
//!
//! [`run`] is the whole library: words in, exit code out. Commands write to the streams they are
//! given; errors are one line on standard error (`orlop: run: No such image: x`) and perhaps a hint.

mod args;
mod build_progress;
mod commands;
mod completion;
mod failure;
mod format;
mod help;
mod history_rows;
mod io;
pub mod logging;
mod output_file;
mod paint;
mod progress;
mod prompt;
mod proxies;
mod request;
mod rows;
mod transfer_display;

use std::ffi::OsString;
use std::path::Path;
use std::str::FromStr as _;

use orlop_engine::{Engine, EngineOptions};
use tracing::level_filters::LevelFilter;

use args::{Cli, Command, Global, Parsed, SystemShortcut};
use commands::Session;
use failure::{BROKEN_PIPE, Failure, Outcome};
use io::Streams;

/// Runs one command; `args` begins with the program's name. Returns the exit code.
#[must_use]
#[allow(clippy::needless_pass_by_value)] // The words are this command's own.
pub fn run(args: Vec<OsString>) -> i32 {
    // Not locked: `import -` reads standard input itself.
    let mut input = std::io::stdin();
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut err = std::io::stderr();
    run_with(&args, &mut Streams { input: &mut input, out: &mut out, err: &mut err })
}

/// The name that the caller used, where it is one of ours: texts speak of `docker` to those who call
/// it so (by a symbolic link).
fn program_name(words: &[OsString]) -> &'static str {
    let name = words.first().and_then(|word| Path::new(word).file_name());
    if name.is_some_and(|name| name == "docker") { "docker" } else { "orlop" }
}

/// Runs one command on other streams.
fn run_with(words: &[OsString], streams: &mut Streams<'_>) -> i32 {
    let program = program_name(words);
    let borrowed = Streams { input: streams.input, out: streams.out, err: streams.err };
    let outcome = execute(program, words, borrowed);
    let outcome = outcome.and_then(|code| {
        streams.out.flush()?;
        Ok(code)
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            // What was written so far belongs before the error. If either stream is gone there is
            // nobody left to tell.
            let _ = streams.out.flush();
            if failure.code != BROKEN_PIPE {
                let _ = streams.err.write_all(failure.lines(program).as_bytes());
            }
            failure.code
        }
    }
}

fn execute(program: &'static str, words: &[OsString], mut streams: Streams<'_>) -> Outcome {
    if let Some(shell) = std::env::var_os(completion::VARIABLE) {
        return completion::answer(&mut streams, &shell, words);
    }
    let Cli { global, command } = match args::parse(program, words)? {
        Parsed::Command(cli) => *cli,
        Parsed::Text(text) => {
            streams.out.write_all(text.as_bytes())?;
            return Ok(0);
        }
        Parsed::Incomplete(text) => {
            streams.err.write_all(text.as_bytes())?;
            return Ok(0);
        }
    };
    start_logging(if global.docker.debug { "debug" } else { &global.log_level })?;
    global.docker.check()?;
    match &command {
        Command::System(SystemShortcut::Version(args)) => {
            return commands::version(&mut streams, args, global.format.as_deref());
        }
        Command::Registry(command) => {
            let default_format = global.format.as_deref();
            return commands::registry::dispatch(&mut streams, program, command, default_format);
        }
        Command::Completion(args) => return completion::script(&mut streams, program, &args.shell),
        _ => {}
    }
    let engine = Engine::open(engine_options(&global))?;
    let default_format = global.format;
    let mut session = Session { engine: &engine, streams, default_format, program };
    let outcome = commands::dispatch(&mut session, command);
    engine.fold_long_log();
    outcome
}

/// Sends log lines to standard error.
fn start_logging(level: &str) -> Result<(), Failure> {
    let level = match level {
        // Docker has levels above ours.
        "fatal" | "panic" => LevelFilter::ERROR,
        _ => LevelFilter::from_str(level).map_err(|_| {
            Failure::new(format!(
                "unable to parse log level: {level}: must be one of error, warn, info, debug or trace"
            ))
        })?,
    };
    logging::start(level);
    Ok(())
}

fn engine_options(global: &Global) -> EngineOptions {
    let mut global_arguments: Vec<OsString> = vec!["--root".into(), global.root.clone().into()];
    if let Some(run_root) = &global.run_root {
        global_arguments.extend(["--run-root".into(), run_root.clone().into()]);
    }
    if let Some(driver) = &global.storage_driver {
        global_arguments.extend(["--storage-driver".into(), driver.into()]);
    }
    global_arguments.extend(["--log-level".into(), global.log_level.clone().into()]);
    EngineOptions {
        root: global.root.clone(),
        run_root: global.run_root.clone(),
        storage_driver: global.storage_driver.clone(),
        global_arguments,
    }
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
