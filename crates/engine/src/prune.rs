//! Removal of containers that do not run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use orlop_meta::{ContainerRecord, Durability, NewEvent};
use orlop_sys::lock::FileLock;
use orlop_types::duration::parse_moment;
use orlop_types::filter::Filters;
use orlop_types::{ContainerId, ErrorKind};

use crate::{Engine, Error, RemoveOptions, Result};

/// What a prune of containers removed, in Docker's JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainersPruned {
    /// Ids.
    pub containers_deleted: Vec<ContainerId>,
    /// Bytes of their writable layers.
    pub space_reclaimed: u64,
}

impl Engine {
    /// Removes every container that does not run, without its volumes. Filters: `until` (made before
    /// that time), `label`, `label!`. One that cannot go, or is started meanwhile, is left.
    pub fn container_prune(&self, filters: &Filters) -> Result<ContainersPruned> {
        filters.check_names(&["label", "label!", "until"])?;
        let until = until(filters)?;
        let path = self.store.paths.run_root.join("container-prune.lock");
        let lock = FileLock::try_acquire(&path).map_err(|source| Error::System {
            operation: "lock",
            subject: path.display().to_string(),
            source,
        })?;
        let Some(_pruning) = lock else { return Err(Error::PruneRunning) };
        self.store.make_room();
        self.containers().settle_all()?;
        let mut pruned = ContainersPruned::default();
        for container in self.store.read(|query| query.containers())? {
            if !is_candidate(&container, filters, until) {
                continue;
            }
            let Some(bytes) = self.writable_bytes(&container.id).unwrap_or(Some(0)) else {
                continue;
            };
            match self.containers().remove(container.id.as_str(), RemoveOptions::default()) {
                Ok(()) => {
                    pruned.containers_deleted.push(container.id);
                    pruned.space_reclaimed += bytes;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(container = %container.id, %error, "container is left out of the prune");
                }
            }
        }
        let reclaimed = pruned.space_reclaimed.to_string();
        self.store.write::<_, Error>(Durability::Lazy, |query| {
            Ok(query.event_insert(&NewEvent {
                time_ns: orlop_container::now_ns(),
                kind: "container",
                action: "prune".to_owned(),
                actor: String::new(),
                attributes: BTreeMap::from([("reclaimed".to_owned(), reclaimed)]),
            })?)
        })?;
        self.reap_in_background();
        Ok(pruned)
    }
}

fn is_candidate(container: &ContainerRecord, filters: &Filters, until: Option<Timestamp>) -> bool {
    let none = BTreeMap::new();
    let created = container.created_at.parse::<Timestamp>().ok();
    !container.state.status.is_active()
        && container.purpose == orlop_meta::Purpose::Container
        && filters.matches_labels(container.config.labels.as_ref().unwrap_or(&none))
        && until.is_none_or(|until| created.is_some_and(|created| created <= until))
}

/// The one time of `until`, as in Docker.
fn until(filters: &Filters) -> Result<Option<Timestamp>> {
    let values: Vec<&str> = filters.values("until").collect();
    match values.as_slice() {
        [] => Ok(None),
        [value] => Ok(Some(parse_moment(value, Timestamp::now(), &TimeZone::system())?)),
        _ => Err(orlop_types::ParseError::new("more than one until filter specified").into()),
    }
}
