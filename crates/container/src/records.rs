//! What each of the monitor's records changes in a container, and which events it stands for.

use orlop_meta::{ContainerRecord, ContainerState, ContainerStatus, NewEvent};
use orlop_runtime::record::Record;
use orlop_types::health::{Health, HealthResult, HealthStatus};

use crate::clock::{nanoseconds, text};
use crate::health::check_command;
use crate::settle::container_event;

/// Changes a container by one record; the events that it stands for, in order.
pub(crate) fn apply(
    container: &mut ContainerRecord,
    sequence: u64,
    record: &Record,
) -> Vec<NewEvent> {
    match record {
        Record::Started { pid, start_ticks, at } => {
            let checked = check_command(&container.config).is_some();
            let state = &mut container.state;
            state.status = ContainerStatus::Running;
            state.pid = *pid;
            state.start_ticks = *start_ticks;
            state.started_at = Some(text(*at));
            state.exit_code = 0;
            state.error.clear();
            state.oom_killed = false;
            state.stopped_by_user = false;
            // The first record of a run directory: somebody has started it by hand.
            if sequence == 1 {
                state.restart_count = 0;
            }
            let before = state.health.take();
            state.health = checked.then(|| Health {
                status: HealthStatus::Starting,
                failing_streak: 0,
                log: before.map(|health| health.log).unwrap_or_default(),
            });
            vec![container_event(container, "start", nanoseconds(*at))]
        }
        // The state stays what it was: a container that never ran is still `created`.
        Record::Failed { exit_code, error, at } => {
            container.state.exit_code = i64::from(*exit_code);
            container.state.error.clone_from(error);
            vec![die_event(container, i64::from(*exit_code), *at)]
        }
        Record::Exited { exit_code, oom_killed, at, error, restart_in_ms } => {
            let mut events = Vec::new();
            if *oom_killed {
                events.push(container_event(container, "oom", nanoseconds(*at)));
            }
            events.push(die_event(container, i64::from(*exit_code), *at));
            end(&mut container.state, i64::from(*exit_code), text(*at));
            container.state.oom_killed = *oom_killed;
            container.state.error = error.clone().unwrap_or_default();
            if restart_in_ms.is_some() {
                container.state.status = ContainerStatus::Restarting;
                container.state.restart_count += 1;
            }
            events
        }
        Record::Cancelled { at, error } => {
            container.state.status = ContainerStatus::Exited;
            container.state.finished_at = Some(text(*at));
            if let Some(error) = error {
                container.state.error.clone_from(error);
            }
            Vec::new()
        }
        Record::Resized { rows, columns, at } => {
            let mut event = container_event(container, "resize", nanoseconds(*at));
            event.attributes.insert("height".to_owned(), rows.to_string());
            event.attributes.insert("width".to_owned(), columns.to_string());
            vec![event]
        }
        Record::Probed { .. } => probed(container, record),
    }
}

/// The events of a probe, and those of what it came to.
fn probed(container: &mut ContainerRecord, record: &Record) -> Vec<NewEvent> {
    let Record::Probed { exec_id, start, end, exit_code, output, status, failing_streak } = record
    else {
        return Vec::new();
    };
    let command = check_command(&container.config).unwrap_or_default().join(" ");
    let (started, ended) = (nanoseconds(*start), nanoseconds(*end));
    let mut events = vec![
        exec_event(container, &format!("exec_create: {command}"), exec_id, started),
        exec_event(container, &format!("exec_start: {command}"), exec_id, started),
        exec_event(container, "exec_die", exec_id, ended),
    ];
    if let Some(die) = events.last_mut() {
        die.attributes.insert("exitCode".to_owned(), exit_code.to_string());
    }
    let health = container.state.health.get_or_insert_default();
    let before = std::mem::replace(&mut health.status, *status);
    health.failing_streak = *failing_streak;
    health.log_result(HealthResult {
        start: text(*start),
        end: text(*end),
        exit_code: *exit_code,
        output: output.clone(),
    });
    if before != *status {
        let action = format!("health_status: {}", status.as_str());
        events.push(container_event(container, &action, ended));
    }
    events
}

/// An event about a process that was added to a container.
pub(crate) fn exec_event(
    container: &ContainerRecord,
    action: &str,
    exec_id: &str,
    time_ns: i64,
) -> NewEvent {
    let mut event = container_event(container, action, time_ns);
    event.attributes.insert("execID".to_owned(), exec_id.to_owned());
    event
}

/// The end of a container's first process; how long it ran is told in whole seconds.
pub(crate) fn die_event(
    container: &ContainerRecord,
    exit_code: i64,
    at: jiff::Timestamp,
) -> NewEvent {
    let started =
        container.state.started_at.as_ref().filter(|_| container.state.status.is_active());
    let started = started.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let seconds = started.map_or(0, |started| at.duration_since(started).as_secs().max(0));
    let mut event = container_event(container, "die", nanoseconds(at));
    event.attributes.insert("exitCode".to_owned(), exit_code.to_string());
    event.attributes.insert("execDuration".to_owned(), seconds.to_string());
    event
}

/// The state of a container without a process.
pub(crate) fn end(state: &mut ContainerState, exit_code: i64, at: String) {
    state.status = ContainerStatus::Exited;
    state.pid = 0;
    state.start_ticks = 0;
    state.exit_code = exit_code;
    state.last_exit_code = exit_code;
    state.finished_at = Some(at);
    // Nobody probes any more; Docker calls that unhealthy.
    if let Some(health) = &mut state.health {
        health.status = HealthStatus::Unhealthy;
    }
}
