//! Events of volumes that a container's start and end stand for.

use std::collections::BTreeMap;

use orlop_meta::{ContainerRecord, ContainerStatus, NewEvent};

use crate::mount_plan::{MountEntry, MountKind};
use crate::plan::entries;
use crate::{Result, now_ns};

/// Adds the events of volumes to those of a change of state from `before`: a `mount` for each volume
/// before those of a start, an `unmount` after those of an end.
pub(crate) fn around(
    container: &ContainerRecord,
    before: ContainerStatus,
    events: Vec<NewEvent>,
) -> Result<Vec<NewEvent>> {
    let is_up = |status| matches!(status, ContainerStatus::Running | ContainerStatus::Paused);
    let time_ns = events.first().map_or_else(now_ns, |event| event.time_ns);
    match (is_up(before), is_up(container.state.status)) {
        (false, true) => {
            let mut all = volume_events(container, "mount", time_ns)?;
            all.extend(events);
            Ok(all)
        }
        (true, false) => {
            let mut all = events;
            all.extend(volume_events(container, "unmount", time_ns)?);
            Ok(all)
        }
        _ => Ok(events),
    }
}

fn volume_events(
    container: &ContainerRecord,
    action: &'static str,
    time_ns: i64,
) -> Result<Vec<NewEvent>> {
    let mut mounts = entries(container)?;
    mounts.retain(|entry| entry.kind == MountKind::Volume);
    Ok(mounts.iter().map(|entry| event(container, entry, action, time_ns)).collect())
}

fn event(container: &ContainerRecord, entry: &MountEntry, action: &str, time_ns: i64) -> NewEvent {
    let mut attributes = BTreeMap::from([
        ("container".to_owned(), container.id.as_str().to_owned()),
        ("driver".to_owned(), entry.driver.clone()),
    ]);
    if action == "mount" {
        attributes.extend([
            ("destination".to_owned(), entry.target.clone()),
            ("read/write".to_owned(), (!entry.read_only).to_string()),
            ("propagation".to_owned(), entry.propagation.clone()),
        ]);
    }
    NewEvent {
        time_ns,
        kind: "volume",
        action: action.to_owned(),
        actor: entry.source.clone(),
        attributes,
    }
    .about(container)
}
