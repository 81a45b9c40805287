//! Commands about containers, apart from `run` and what attaches.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use orlop_engine::{
    ContainerQuery, LogEntry, LogOptions, LogPrefix, LogStream, RemoveOptions, StopOptions,
    WaitCondition,
};
use orlop_types::duration::parse_moment;
use serde_json::Value;

use super::{Session, filters, for_each, is_missing, lifecycle, run};
use crate::args::{ContainerCommand, ListContainers, Logs, RemoveContainers, Stop, UpdateFlags};
use crate::failure::{Failure, Outcome};
use crate::request::update_request;
use crate::rows::{self, Width};

/// Carries a command out.
pub fn dispatch(session: &mut Session<'_, '_>, command: ContainerCommand) -> Outcome {
    let named = |name: &'static str| move |failure: Failure| failure.during(name);
    match command {
        ContainerCommand::Run(args) => run::run(session, &args).map_err(named("run")),
        ContainerCommand::Create(args) => run::create(session, &args).map_err(named("create")),
        ContainerCommand::Start(args) => run::start(session, &args).map_err(named("start")),
        ContainerCommand::Attach(args) => run::attach(session, &args).map_err(named("attach")),
        ContainerCommand::Exec(args) => run::exec(session, args).map_err(named("exec")),
        ContainerCommand::Stop(args) => stop(session, "stop", &args),
        ContainerCommand::Restart(args) => stop(session, "restart", &args),
        ContainerCommand::Kill(args) => for_each(session, "kill", &args.names, |session, name| {
            session
                .engine
                .container_kill(name, &args.signal)
                .map_err(|error| told(error, &format!("cannot kill container: {name}: ")))?;
            Ok(session.streams.line(name)?)
        }),
        ContainerCommand::Rm(args) => remove(session, &args),
        ContainerCommand::Pause(args) => lifecycle::pause(session, &args),
        ContainerCommand::Unpause(args) => lifecycle::unpause(session, &args),
        ContainerCommand::Top(args) => lifecycle::top(session, &args).map_err(named("top")),
        ContainerCommand::Stats(args) => lifecycle::stats(session, &args).map_err(named("stats")),
        ContainerCommand::Update(args) => update(session, &args).map_err(named("update")),
        ContainerCommand::Wait(args) => for_each(session, "wait", &args.names, |session, name| {
            let code = session.engine.container_wait(name, WaitCondition::NotRunning)?;
            Ok(session.streams.line(code.to_string())?)
        }),
        ContainerCommand::Rename(args) => {
            let renamed = session.engine.container_rename(&args.name, &args.new_name);
            renamed.map(|()| 0).map_err(|error| Failure::from(error).during("rename"))
        }
        ContainerCommand::Cp(args) => super::copy::copy(session, &args).map_err(named("cp")),
        ContainerCommand::Explain(args) => {
            super::explain::explain(session, &args).map_err(named("explain"))
        }
        ContainerCommand::Commit(args) => {
            super::writable::commit(session, args).map_err(named("commit"))
        }
        ContainerCommand::Diff(args) => {
            super::writable::diff(session, &args).map_err(named("diff"))
        }
        ContainerCommand::Export(args) => {
            super::writable::export(session, &args).map_err(named("export"))
        }
        ContainerCommand::Port(args) => super::network::port(session, &args).map_err(named("port")),
        ContainerCommand::Logs(args) => logs(session, &args).map_err(named("logs")),
        ContainerCommand::Ps(args) => list(session, &args).map_err(named("ps")),
    }
}

fn stop(session: &mut Session<'_, '_>, what: &str, args: &Stop) -> Outcome {
    for_each(session, what, &args.names, |session, name| {
        let options = StopOptions { signal: args.signal.clone(), timeout_seconds: args.timeout };
        match what {
            "restart" => {
                session.engine.container_restart(name, &options).map_err(wrong_signal(name))?;
            }
            _ => session.engine.container_stop(name, &options).map_err(wrong_signal(name))?,
        }
        Ok(session.streams.line(name)?)
    })
}

/// An engine's error behind Docker's words for the attempt, which it may have already.
fn told(error: orlop_engine::Error, attempt: &str) -> Failure {
    let mut failure = Failure::from(error);
    if !failure.why.starts_with(attempt) {
        failure.why.insert_str(0, attempt);
    }
    failure
}

/// What `stop` and `restart` say about a signal that there is not; other errors speak for themselves.
fn wrong_signal(name: &str) -> impl Fn(orlop_engine::Error) -> Failure {
    move |error| match error.to_string().starts_with("invalid signal") {
        true => told(error, &format!("cannot stop container: {name}: ")),
        false => Failure::from(error),
    }
}

/// `update`: what was changed is printed, then warnings, then what went wrong.
fn update(session: &mut Session<'_, '_>, flags: &UpdateFlags) -> Outcome {
    if flags.is_empty() {
        return Err(Failure::new("you must provide one or more flags when using this command"));
    }
    let request = update_request(flags)?;
    let (mut warnings, mut failures) = (Vec::new(), Vec::new());
    for name in &flags.names {
        match session.engine.container_update(name, &request) {
            Ok(more) => {
                session.streams.line(name)?;
                warnings.extend(more);
            }
            Err(error) => failures.push(Failure::from(error).during("update")),
        }
    }
    for warning in warnings {
        session.streams.line(&warning)?;
    }
    for failure in &failures {
        session.tell(failure)?;
    }
    Ok(i32::from(!failures.is_empty()))
}

fn remove(session: &mut Session<'_, '_>, args: &RemoveContainers) -> Outcome {
    for_each(session, "rm", &args.names, |session, name| {
        // Docker accepts the slash that `inspect` shows before a name.
        let name = name.trim_start_matches('/');
        let options = RemoveOptions { force: args.force, volumes: args.volumes };
        match session.engine.container_remove(name, options) {
            // As in Docker: told, but a success, so that `rm -f` can be repeated in scripts.
            Err(error) if args.force && is_missing(&error) => {
                session.tell(&Failure::from(error).during("rm"))
            }
            Err(error) => Err(error.into()),
            Ok(()) => Ok(session.streams.line(name)?),
        }
    })
}

/// `ps`
pub fn list(session: &mut Session<'_, '_>, args: &ListContainers) -> Outcome {
    let last = if args.latest {
        Some(1)
    } else {
        usize::try_from(args.last).ok().filter(|&last| last > 0)
    };
    let query = ContainerQuery {
        all: args.all || last.is_some(),
        last,
        filters: filters(&args.list.filters)?,
    };
    let containers = session.engine.container_list(&query)?;
    let width = if args.no_trunc { Width::Full } else { Width::Short };
    let now = Timestamp::now();
    let mut rows: Vec<Value> =
        containers.iter().map(|container| rows::container(container, width, now)).collect();
    let mut format = session.format(args.list.format.as_deref());
    if args.list.quiet && format.take().is_some_and(|format| !format.is_empty()) {
        let text = "WARNING: Ignoring custom format, because both --format and --quiet are set.";
        writeln!(session.streams.err, "{text}")?;
    }
    if args.size || format.as_deref().is_some_and(shows_sizes) {
        for (container, row) in containers.iter().zip(&mut rows) {
            // One that has gone meanwhile takes up nothing.
            if let Ok(sizes) = session.engine.container_sizes(container.id.as_str()) {
                row["Size"] = rows::container_size(sizes).into();
            }
        }
    }
    let style = if args.size { &rows::CONTAINERS_WITH_SIZES } else { &rows::CONTAINERS };
    session.list(style, format.as_deref(), args.list.quiet, &rows)
}

/// Whether a template shows sizes, which have to be measured for it.
fn shows_sizes(template: &str) -> bool {
    template.contains(".Size") || template.contains("{{json .}}")
}

fn logs(session: &mut Session<'_, '_>, args: &Logs) -> Outcome {
    let options = LogOptions {
        follow: args.follow,
        // Docker shows everything for what is not a number.
        tail: args.tail.parse().ok(),
        since: moment_of("since", args.since.as_deref())?,
        until: moment_of("until", args.until.as_deref())?,
    };
    let prefix = LogPrefix { timestamps: args.timestamps, details: args.details };
    let (out, err) = (&mut *session.streams.out, &mut *session.streams.err);
    session.engine.container_logs(&args.name, options, &mut |entry: &LogEntry| {
        let target: &mut dyn std::io::Write = match entry.stream {
            LogStream::Stdout => &mut *out,
            LogStream::Stderr => &mut *err,
        };
        entry.write_to(target, prefix)?;
        // Somebody may be waiting for each line.
        if args.follow { target.flush() } else { Ok(()) }
    })?;
    session.streams.out.flush()?;
    Ok(0)
}

/// The value of an option of `logs`, whose name its refusal says.
fn moment_of(option: &str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let named =
        |failure: Failure| Failure::new(format!("invalid value for \"{option}\": {}", failure.why));
    text.map(moment).transpose().map_err(named)
}

/// A `--since` or `--until` value.
pub fn moment(text: &str) -> Result<Timestamp, Failure> {
    Ok(parse_moment(text, Timestamp::now(), &TimeZone::system())?)
}
