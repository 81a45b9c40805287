//! Commands about containers, apart from `run` and what attaches.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use orlop_engine::{
    ContainerQuery, LogEntry, LogOptions, LogStream, RemoveOptions, StopOptions, WaitCondition,
};
use orlop_types::duration::parse_moment;
use serde_json::Value;

use super::{Session, filters, for_each, is_missing, run};
use crate::args::{ContainerCommand, ListContainers, Logs, RemoveContainers, Stop};
use crate::failure::{Failure, Outcome};
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
            session.engine.container_kill(name, &args.signal)?;
            Ok(session.streams.line(name)?)
        }),
        ContainerCommand::Rm(args) => remove(session, &args),
        ContainerCommand::Wait(args) => for_each(session, "wait", &args.names, |session, name| {
            let code = session.engine.container_wait(name, WaitCondition::NotRunning)?;
            Ok(session.streams.line(code.to_string())?)
        }),
        ContainerCommand::Rename(args) => {
            let renamed = session.engine.container_rename(&args.name, &args.new_name);
            renamed.map(|()| 0).map_err(|error| Failure::from(error).during("rename"))
        }
        ContainerCommand::Logs(args) => logs(session, &args).map_err(named("logs")),
        ContainerCommand::Ps(args) => list(session, &args).map_err(named("ps")),
    }
}

fn stop(session: &mut Session<'_, '_>, what: &str, args: &Stop) -> Outcome {
    for_each(session, what, &args.names, |session, name| {
        let options = StopOptions { signal: args.signal.clone(), timeout_seconds: args.timeout };
        match what {
            "restart" => session.engine.container_restart(name, &options)?,
            _ => session.engine.container_stop(name, &options)?,
        }
        Ok(session.streams.line(name)?)
    })
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
    let rows: Vec<Value> =
        containers.iter().map(|container| rows::container(container, width, now)).collect();
    let text = rows::CONTAINERS.render(
        session.format(args.list.format.as_deref()).as_deref(),
        args.list.quiet,
        &rows,
    )?;
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

fn logs(session: &mut Session<'_, '_>, args: &Logs) -> Outcome {
    let options = LogOptions {
        follow: args.follow,
        // Docker shows everything for what is not a number.
        tail: args.tail.parse().ok(),
        since: args.since.as_deref().map(moment).transpose()?,
        until: args.until.as_deref().map(moment).transpose()?,
    };
    let (out, err) = (&mut *session.streams.out, &mut *session.streams.err);
    session.engine.container_logs(&args.name, options, &mut |entry: &LogEntry| {
        let target: &mut dyn std::io::Write = match entry.stream {
            LogStream::Stdout => &mut *out,
            LogStream::Stderr => &mut *err,
        };
        entry.write_to(target, args.timestamps)?;
        // Somebody may be waiting for each line.
        if args.follow { target.flush() } else { Ok(()) }
    })?;
    session.streams.out.flush()?;
    Ok(0)
}

/// A `--since` or `--until` value.
pub fn moment(text: &str) -> Result<Timestamp, Failure> {
    Ok(parse_moment(text, Timestamp::now(), &TimeZone::system())?)
}
