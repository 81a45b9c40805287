//! `build`: the request, its progress, and what is told when it is over.

mod answer;
mod output;
mod request;
mod source;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orlop_engine::build::request::{BuildOutcome, Call};
use orlop_engine::build::{Cancel, Error as BuildError, excerpt};
use serde_json::{Map, Value};

use super::Session;
use crate::args::BuildArgs;
use crate::build_progress::{Display, Mode, Warning};
use crate::failure::{Failure, Outcome, hint_line};
use output::Files;

/// 128 + `SIGINT`, also for other signals that end a build, as in Docker.
const CANCELLED: i32 = 130;
/// Interrupts after which the command ends although its steps have not, as in Docker.
const INSISTENCE: u32 = 3;
/// How often signals are looked for.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Carries `build` out.
pub fn build(session: &mut Session<'_, '_>, args: &BuildArgs) -> Outcome {
    let built = prepare(session, args).and_then(|prepared| run(session, args, prepared));
    match built {
        Err(failure) if failure.code == 1 => {
            session.streams.out.flush()?;
            // Docker's own form: scripts look for the line.
            writeln!(session.streams.err, "ERROR: {}", failure.reason())?;
            if let Some(hint) = &failure.hint {
                write!(session.streams.err, "{}", hint_line(hint, session.program))?;
            }
            Ok(1)
        }
        other => other.map_err(|failure| failure.during("build")),
    }
}

/// What is known before the build begins.
struct Prepared {
    request: orlop_engine::build::request::BuildRequest,
    files: Files,
    mode: Mode,
    method: request::Method,
}

fn prepare(session: &mut Session<'_, '_>, args: &BuildArgs) -> Result<Prepared, Failure> {
    request::refuse(args)?;
    let mode = mode(args)?;
    let method = request::method(args)?;
    if let Some(path) = &args.iidfile {
        // Nobody shall take the file of an earlier build for this one's.
        remove_if_there(path)
            .map_err(|error| Failure::new(format!("removing image ID file: {path}: {error}")))?;
    }
    for text in request::notices(args) {
        writeln!(session.streams.err, "WARNING: {text}")?;
    }
    let (request, files) = request::request(session, args, &method)?;
    Ok(Prepared { request, files, mode, method })
}

fn mode(args: &BuildArgs) -> Result<Mode, Failure> {
    let variable = std::env::var("BUILDKIT_PROGRESS").ok();
    let asked = args.progress.as_deref().or(variable.as_deref()).unwrap_or("auto");
    let mode = Mode::parse(asked)?;
    if !args.quiet {
        return Ok(mode);
    }
    if args.progress.is_some() && !matches!(mode, Mode::Auto | Mode::Quiet) {
        return Err(Failure::new(format!("progress={asked} and quiet cannot be used together")));
    }
    Ok(Mode::Quiet)
}

fn remove_if_there(path: &str) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn run(session: &mut Session<'_, '_>, args: &BuildArgs, prepared: Prepared) -> Outcome {
    let Prepared { request, files, mode, method } = prepared;
    let cancel = Cancel::default();
    let engine = session.engine;
    // From here on an interrupt ends the build and not the command: steps are cleaned up.
    let signals = orlop_engine::hold_signals()?;
    let display = Display::start(if method.call == Call::Build { mode } else { quiet(mode) })?;
    let feed = display.feed(&cancel);
    let over = AtomicBool::new(false);
    let built = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                if let Ok(Some(signal)) = signals.next()
                    && is_fatal(signal)
                {
                    cancel.cancel();
                    asked += 1;
                    if asked >= INSISTENCE {
                        // Steps end with their starter; the next command sweeps up.
                        std::process::exit(CANCELLED);
                    }
                }
                std::thread::park_timeout(SIGNAL_INTERVAL);
            }
        });
        let built = engine.build(request, &feed, &cancel);
        over.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        built
    });
    drop(feed);
    let warnings = if cancel.is_cancelled() {
        let Some(warnings) = display.finish_soon() else { return Ok(CANCELLED) };
        warnings
    } else {
        display.finish()
    };
    drop(signals);
    let told = matches!(mode, Mode::Quiet | Mode::RawJson) || method.call != Call::Build;
    if !told {
        tell_warnings(session, &warnings)?;
    }
    match built {
        Ok(outcome) => finish(session, args, &method, files, &outcome, &warnings),
        Err(error) => tell_error(session, &error),
    }
}

/// Answers of `--check` and the like are for standard output: no steps are shown beside them unless
/// that was asked for.
fn quiet(mode: Mode) -> Mode {
    if mode == Mode::Auto { Mode::Quiet } else { mode }
}

fn is_fatal(signal: i32) -> bool {
    use rustix::process::Signal;
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].map(Signal::as_raw).contains(&signal)
}

/// Writes the files that were asked for and the id.
fn finish(
    session: &mut Session<'_, '_>,
    args: &BuildArgs,
    method: &request::Method,
    files: Files,
    outcome: &BuildOutcome,
    warnings: &[Warning],
) -> Outcome {
    files.publish()?;
    if method.call != Call::Build {
        return answer::print(session, method, outcome.answer.as_ref());
    }
    let id = image_id(outcome);
    if args.quiet {
        session.streams.line(&id)?;
    }
    if let Some(path) = &args.iidfile {
        std::fs::write(path, &id)
            .map_err(|error| Failure::new(format!("writing image ID file: {path}: {error}")))?;
    }
    if let Some(path) = &args.metadata_file {
        let metadata = metadata(outcome, warnings);
        let text = serde_json::to_string_pretty(&metadata).unwrap_or_default();
        std::fs::write(Path::new(path), text)
            .map_err(|error| Failure::new(format!("writing metadata file: {path}: {error}")))?;
    }
    Ok(0)
}

/// The image's id, also of one that went elsewhere than to the store; empty where there is no image.
fn image_id(outcome: &BuildOutcome) -> String {
    if let Some(id) = &outcome.image {
        return id.as_str().to_owned();
    }
    let told = |key: &str| outcome.metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    told("containerimage.config.digest")
        .or_else(|| told("containerimage.digest"))
        .unwrap_or_default()
}

fn metadata(outcome: &BuildOutcome, warnings: &[Warning]) -> Map<String, Value> {
    let mut metadata = outcome.metadata.clone();
    let wanted = std::env::var("BUILDX_METADATA_WARNINGS")
        .is_ok_and(|value| value == "1" || value == "true");
    if wanted && !warnings.is_empty() {
        let list = warnings.iter().map(|warning| warning.short.clone()).collect::<Vec<_>>();
        metadata.insert("buildx.build.warnings".to_owned(), list.into());
    }
    metadata
}

/// ` 1 warning found …` and each in a line; with `--debug` also what there is to read about it.
fn tell_warnings(session: &mut Session<'_, '_>, warnings: &[Warning]) -> Result<(), Failure> {
    if warnings.is_empty() {
        return Ok(());
    }
    let debug = tracing::enabled!(tracing::Level::DEBUG);
    let count = match warnings.len() {
        1 => "1 warning".to_owned(),
        many => format!("{many} warnings"),
    };
    let more =
        if debug { String::new() } else { format!(" (use {} --debug to expand)", session.program) };
    writeln!(session.streams.err, "\n {count} found{more}:")?;
    for warning in warnings {
        writeln!(session.streams.err, " - {}", warning.short)?;
        if !debug {
            continue;
        }
        for text in [warning.detail.clone(), more_info(&warning.url)] {
            if !text.is_empty() {
                writeln!(session.streams.err, "{text}")?;
            }
        }
        writeln!(session.streams.err)?;
    }
    Ok(())
}

fn more_info(url: &str) -> String {
    if url.is_empty() { String::new() } else { format!("More info: {url}") }
}

/// The lines of the Dockerfile and Docker's line about a build that failed.
fn tell_error(session: &mut Session<'_, '_>, error: &orlop_engine::Error) -> Outcome {
    session.streams.out.flush()?;
    let err = &mut session.streams.err;
    let orlop_engine::Error::Build(build) = error else {
        let failure = Failure::new(error.to_string());
        return Err(Failure { why: format!("failed to build: {}", failure.why), ..failure });
    };
    if is_cancelled(build) {
        writeln!(err, "ERROR: failed to build: failed to solve: Canceled: context canceled")?;
        return Ok(CANCELLED);
    }
    if let Some(place) = build.location() {
        let lines = orlop_engine::build::Lines { first: place.first, last: place.last };
        let word = Some(place.word.as_str()).filter(|word| !word.is_empty());
        write!(err, "{}", excerpt(&place.file, &place.text, lines, word))?;
    }
    let failure = Failure::new(crate::failure::chain(build));
    writeln!(err, "ERROR: failed to build: failed to solve: {}", failure.reason())?;
    if let Some(hint) = error.hint() {
        write!(err, "{}", hint_line(&hint, session.program))?;
    }
    Ok(1)
}

fn is_cancelled(error: &BuildError) -> bool {
    match error {
        BuildError::Cancelled => true,
        BuildError::At { source, .. } => is_cancelled(source),
        _ => false,
    }
}
