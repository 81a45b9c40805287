//! Removes containers.
//!
//! Order: the row goes into the trash together with its references and what marks its directories as
//! deleted, in one commit; then the directories are renamed into the trash; the disk space comes
//! back later, in the background. A rename takes milliseconds where deleting 50,000 files takes
//! seconds, and a crash between the steps is finished by the next sweep.

use orlop_meta::{ContainerRecord, ContainerStatus, Durability, Purpose, TrashKind, TrashRecord};
use orlop_runtime::record;
use orlop_types::{ContainerId, VolumeName};
use orlop_volume::{Removal, Volumes};

use crate::mount_plan::MountEntry;
use crate::plan::entries;
use crate::settle::{container_event, is_alive};
use crate::start::MONITOR_END_TIMEOUT;
use crate::stop::{OperationLock, RestartsAfter};
use crate::{Containers, Error, Result, now_ns, now_text};

/// How often a container that others start all the time is ended before the user is told.
const FORCE_ATTEMPTS: u32 = 5;

/// What to remove and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Ends a running container first.
    pub force: bool,
    /// Removes its anonymous volumes as well.
    pub volumes: bool,
}

/// Who removes the run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunDirectory {
    /// The caller, after the monitor has let go of it.
    Remove,
    /// The monitor, as its last act.
    LeaveToMonitor,
}

impl Containers<'_> {
    /// Removes a container and its writable layer. Named volumes always stay.
    pub fn remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let id = self.id(name)?;
        for attempt in 1.. {
            let container = self.get(id.as_str()).map_err(|error| renamed(error, name))?;
            self.end_before_removal(name, &container, options)?;
            let operation = self.lock_operation(&id)?;
            match self.remove_locked(&id, options) {
                // Somebody has started it since.
                Err(Error::Conflict { .. }) if options.force && attempt < FORCE_ATTEMPTS => {
                    drop(operation);
                }
                other => return other,
            }
        }
        Ok(())
    }

    /// Removes the containers that should have removed themselves at their end, but who was to do it
    /// was killed, and steps of builds whose builder is gone. Gives their ids.
    pub fn remove_ended(&self) -> Result<Vec<ContainerId>> {
        let is_over = |container: &ContainerRecord| {
            container.host_config.auto_remove
                && container.purpose == Purpose::Container
                && container.state.status == ContainerStatus::Exited
                && matches!(is_alive(&self.store.paths.container_run(&container.id)), Ok(false))
        };
        let mut removed = self.remove_abandoned_steps()?;
        for container in self.store.read(|query| query.containers())? {
            if !is_over(&container) {
                continue;
            }
            let Some(_operation) = self.try_lock_operation(&container.id)? else { continue };
            match self.store.read(|query| query.container(&container.id))? {
                Some(present) if is_over(&present) => {
                    let options = RemoveOptions { force: false, volumes: true };
                    self.remove_locked(&present.id, options)?;
                    removed.push(present.id);
                }
                _ => {}
            }
        }
        Ok(removed)
    }

    /// Ends a running container by force, or says why it cannot be removed.
    fn end_before_removal(
        &self,
        name: &str,
        container: &ContainerRecord,
        options: RemoveOptions,
    ) -> Result<()> {
        match container.state.status {
            ContainerStatus::Paused if !options.force => {
                return Err(Error::conflict(format!(
                    "cannot remove container \"{name}\": container is paused and must be unpaused first"
                )));
            }
            status if status.is_active() && !options.force => {
                return Err(Error::conflict(format!(
                    "cannot remove container \"{name}\": container is {}: stop the container before \
                     removing or force remove",
                    status.as_str()
                )));
            }
            status if !status.is_active() => return Ok(()),
            _ => {}
        }
        self.mark_stopped(container, RestartsAfter::Cancelled)?;
        self.end(container, OperationLock::Free, |container, process| {
            self.kill_and_wait(container, process)
        })
        .map(drop)
    }

    /// Removes a container that does not run; the caller holds the operation lock.
    pub(crate) fn remove_locked(&self, id: &ContainerId, options: RemoveOptions) -> Result<()> {
        self.remove_with(id, options, RunDirectory::Remove)
    }

    /// Like [`Containers::remove_locked`], with a say about the run directory.
    pub(crate) fn remove_with(
        &self,
        id: &ContainerId,
        options: RemoveOptions,
        run_directory: RunDirectory,
    ) -> Result<()> {
        let container = self.settle_locked(id)?;
        if container.state.status.is_active() {
            return Err(Error::conflict(format!(
                "cannot remove container \"{}\": container is running: stop the container before removing or \
                 force remove",
                container.name
            )));
        }
        let volumes =
            if options.volumes { anonymous_volumes(&entries(&container)?) } else { Vec::new() };
        let mut removal =
            if volumes.is_empty() { None } else { Some(Volumes::new(self.store).begin_removal()?) };
        // Between the commit and the renames the directories have no owner.
        let _changing = self.store.changing()?;
        orlop_sys::fault::point("container.remove.locked");
        let trash =
            self.forget(&container, removal.as_mut().map(|removal| (removal, &*volumes)))?;
        orlop_sys::fault::point("container.remove.committed");
        self.forget_names(id);
        for record in &trash {
            self.store.carry_out(record)?;
            orlop_sys::fault::point("container.remove.moved");
        }
        orlop_sys::fault::point("container.remove.renamed");
        if let Some(removal) = removal {
            removal.finish()?;
        }
        match run_directory {
            RunDirectory::Remove => self.remove_run_dir(id),
            RunDirectory::LeaveToMonitor => Ok(()),
        }
    }

    /// Commits the removal: no row, no references, directories marked as deleted, and so the volumes
    /// that go with it.
    pub(crate) fn forget(
        &self,
        container: &ContainerRecord,
        volumes: Option<(&mut Removal<'_>, &[VolumeName])>,
    ) -> Result<Vec<TrashRecord>> {
        let now = now_text();
        let directory = self.store.paths.container(&container.id);
        let mut trash = vec![self.store.trash_record(
            TrashKind::Container,
            container.id.as_str(),
            &directory,
            "null".to_owned(),
            &now,
        )];
        trash.push(self.layers.writable_trash(&container.id, &now));
        let durability = if volumes.is_some() { Durability::Durable } else { Durability::Lazy };
        self.store.write(durability, |query| {
            if !query.container_delete(&container.id)? {
                return Err(Error::NotFound { name: container.id.short().to_owned() });
            }
            for record in &trash {
                query.trash_insert(record)?;
            }
            if let Some((removal, names)) = volumes {
                removal.mark_anonymous(query, names)?;
            }
            Ok(query.event_insert(&container_event(container, "destroy", now_ns()))?)
        })?;
        Ok(trash)
    }

    /// Removes the run directory once the monitor has let go; a monitor that still unmounts removes
    /// nothing that matters, so nobody waits long for it.
    fn remove_run_dir(&self, id: &ContainerId) -> Result<()> {
        orlop_sys::fault::point("container.remove.volumes");
        let run_dir = self.store.paths.container_run(id);
        self.wait_for_monitor(id, MONITOR_END_TIMEOUT)?;
        record::remove_run_dir(&run_dir).map_err(crate::error::system("remove", &run_dir))
    }
}

fn anonymous_volumes(entries: &[MountEntry]) -> Vec<VolumeName> {
    entries
        .iter()
        .filter(|entry| entry.is_anonymous_volume())
        .filter_map(|entry| entry.source.parse().ok())
        .collect()
}

/// Speaks of a container by the name that the user gave.
fn renamed(error: Error, name: &str) -> Error {
    match error {
        Error::NotFound { .. } => Error::NotFound { name: name.to_owned() },
        other => other,
    }
}
