//! Commands about the engine itself: `system check`, `events`, `info`, `version`.

use jiff::Timestamp;
use orlop_engine::{CheckReport, EventQuery, EventRecord, Repair, Severity};
use orlop_template::Template;
use orlop_types::{ContainerId, ParseError};
use serde_json::{Value, json};

use super::container::moment;
use super::{Session, disk_usage, facts, filters, system_prune};
use crate::args::{Check, Events, SystemGroup};
use crate::failure::{Failure, Outcome};
use crate::format;

/// Carries a command out.
pub fn dispatch(session: &mut Session<'_, '_>, command: SystemGroup) -> Outcome {
    match command {
        SystemGroup::Check(args) => {
            check(session, &args).map_err(|failure| failure.during("system check"))
        }
        SystemGroup::Events(args) => {
            events(session, &args).map_err(|failure| failure.during("events"))
        }
        SystemGroup::Info(args) => {
            facts::info(session, &args).map_err(|failure| failure.during("info"))
        }
        SystemGroup::Df(args) => {
            disk_usage::run(session, &args).map_err(|failure| failure.during("system df"))
        }
        SystemGroup::StartAll => super::lifecycle::start_all(session)
            .map_err(|failure| failure.during("system start-all")),
        SystemGroup::Prune(args) => system_prune::everything(session, &args)
            .map_err(|failure| failure.during("system prune")),
    }
}

/// `reap`
pub fn reap(session: &mut Session<'_, '_>) -> Outcome {
    session.engine.reap().map(|()| 0).map_err(|error| Failure::from(error).during("reap"))
}

/// `container-ended`
pub fn container_ended(session: &mut Session<'_, '_>, id: &str) -> Outcome {
    let named = |failure: Failure| failure.during("container-ended");
    let id: ContainerId = id.parse().map_err(|error: ParseError| named(error.into()))?;
    session.engine.container_ended(&id).map(|()| 0).map_err(|error| named(error.into()))
}

fn check(session: &mut Session<'_, '_>, args: &Check) -> Outcome {
    let report = session.engine.system_check(if args.repair { Repair::Yes } else { Repair::No })?;
    let chosen = session.format(args.format.as_deref());
    let out = &mut *session.streams.out;
    match chosen.as_deref() {
        None | Some("") => out.write_all(report_text(&report).as_bytes())?,
        Some(format) => {
            let document = serde_json::to_value(&report)
                .map_err(|error| Failure::new(format!("write the report: {error}")))?;
            format::document(out, format, "", &document)?;
        }
    }
    let broken = report
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error && !finding.repaired);
    Ok(i32::from(broken))
}

/// One line for each finding, then what was looked at.
fn report_text(report: &CheckReport) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let repaired = if finding.repaired { " (repaired)" } else { "" };
        text.push_str(&format!("{severity}: {}{repaired}\n", finding.what));
    }
    let checked: Vec<String> =
        report.checked.iter().map(|(what, count)| format!("{count} {what}")).collect();
    text.push_str(&format!(
        "Checked {}: ",
        if checked.is_empty() { "nothing".to_owned() } else { checked.join(", ") }
    ));
    let open = report.findings.iter().filter(|finding| !finding.repaired).count();
    text.push_str(&match open {
        0 => "no problems\n".to_owned(),
        1 => "1 problem\n".to_owned(),
        more => format!("{more} problems\n"),
    });
    text
}

fn events(session: &mut Session<'_, '_>, args: &Events) -> Outcome {
    let chosen = session.format(args.format.as_deref());
    let template = match chosen.as_deref().map(str::trim) {
        None | Some("") => None,
        Some(text) => {
            let text = if text == "json" { "{{json .}}" } else { text };
            Some(Template::parse(text).map_err(|error| {
                Failure::new(format!("Error parsing format: {error}"))
                    .with_code(format::BAD_TEMPLATE)
            })?)
        }
    };
    let query = EventQuery {
        since: args.since.as_deref().map(moment).transpose()?,
        until: args.until.as_deref().map(moment).transpose()?,
        filters: filters(&args.filters)?,
    };
    let out = &mut *session.streams.out;
    let mut failed_template = None;
    let watched = session.engine.events(&query, &mut |event: &EventRecord| {
        let line = match &template {
            None => event_line(event),
            Some(template) => template.render(&event_document(event)).map_err(|error| {
                failed_template = Some(Failure::from(error));
                std::io::Error::other("the template failed")
            })?,
        };
        writeln!(out, "{line}")?;
        out.flush()
    });
    // The template's own words are better than the engine's about a failed write.
    failed_template.map_or(Ok(()), Err)?;
    watched?;
    Ok(0)
}

fn event_time(event: &EventRecord) -> Timestamp {
    Timestamp::from_nanosecond(event.time_ns.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `2026-11-21T10:00:00.000000000Z container create 0123… (image=x, name=y)`
fn event_line(event: &EventRecord) -> String {
    let attributes: Vec<String> =
        event.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let facts =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    let time = event_time(event).strftime("%Y-%m-%dT%H:%M:%S.%9fZ");
    format!("{time} {} {} {}{facts}", event.kind, event.action, event.actor)
}

/// Docker's event object.
fn event_document(event: &EventRecord) -> Value {
    json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": event.attributes},
        "scope": "local",
        "time": event_time(event).as_second(),
        "timeNano": event.time_ns,
    })
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
