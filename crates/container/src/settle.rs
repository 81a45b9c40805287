//! Brings what the database says of a container up to date with what its monitor wrote.
//!
//! The monitor needs no database: it appends records to the container's run directory. Whoever looks
//! next folds them into the row, in one transaction with the events they stand for, so that each is
//! counted once however many processes look. A monitor that is gone without an `Exited` record was
//! killed: what it left running is ended and the container is reported as exited.

use std::path::Path;
use std::time::{Duration, Instant};

use orlop_meta::{ContainerRecord, ContainerStatus, Durability, NewEvent};
use orlop_runtime::cgroup::ContainerCgroup;
use orlop_runtime::record::{self, Liveness, Record};
use orlop_sys::lock::FileLock;
use orlop_types::ContainerId;

use crate::network::release;
use crate::records::{apply, die_event, end};
use crate::start::MONITOR_END_TIMEOUT;
use crate::{Containers, Error, RemoveOptions, Result, now_text, volume_events};

/// Exit code of a container whose monitor was killed: its processes were killed with it.
const KILLED_EXIT_CODE: i64 = 137;
/// Exit code of a container that a reboot ended, as Docker has it.
const LOST_EXIT_CODE: i64 = 255;
/// Records of a run directory that are not worth being removed before its end.
const RECORDS_KEPT: u64 = 16;
/// Pause between two looks at a monitor that is about to end.
const POLL: Duration = Duration::from_millis(2);

/// An event about a container, with the facts that all of them carry.
pub(crate) fn container_event(container: &ContainerRecord, action: &str, time_ns: i64) -> NewEvent {
    let mut attributes = container.config.labels.clone().unwrap_or_default();
    attributes.insert("image".to_owned(), container.config.image.clone());
    attributes.insert("name".to_owned(), container.name.as_str().to_owned());
    NewEvent {
        time_ns,
        kind: "container",
        action: action.to_owned(),
        actor: container.id.as_str().to_owned(),
        attributes,
    }
    .about(container)
}

/// What a look at a container came to.
enum Seen {
    /// Its state is up to date.
    Settled(Box<ContainerRecord>),
    /// It should have a monitor and has none.
    Abandoned { id: ContainerId, exit_code: i64, why: &'static str },
}

impl Containers<'_> {
    /// Brings one container up to date.
    pub(crate) fn settle(&self, container: ContainerRecord) -> Result<ContainerRecord> {
        match self.look(container)? {
            Seen::Settled(container) => Ok(*container),
            Seen::Abandoned { id, .. } => {
                // Looked at again under the lock: somebody may be starting it anew just now, and
                // what that start has made must not be taken for a leftover.
                let _operation = self.lock_operation(&id)?;
                self.settle_locked(&id)
            }
        }
    }

    /// Brings one container up to date; the caller holds the operation lock.
    pub(crate) fn settle_locked(&self, id: &ContainerId) -> Result<ContainerRecord> {
        let missing = || Error::NotFound { name: id.short().to_owned() };
        let deadline = Instant::now() + MONITOR_END_TIMEOUT;
        let seen = loop {
            let container = self.store.read(|query| query.container(id))?.ok_or_else(missing)?;
            // Its starter was killed, else the lock would be held: the outcome decides. Asked before
            // the look, which then sees every record that ended the waiting.
            if !self.is_starting(&container)? {
                break self.look(container)?;
            }
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("the start of container {}", container.name),
                    seconds: MONITOR_END_TIMEOUT.as_secs(),
                });
            }
            std::thread::sleep(POLL);
        };
        match seen {
            Seen::Settled(container) => {
                if self.is_cut_start(&container)? {
                    self.undo_start(id)?;
                }
                Ok(*container)
            }
            Seen::Abandoned { exit_code, why, .. } => {
                orlop_sys::fault::point("container.lost.seen");
                self.end_processes(id);
                orlop_sys::fault::point("container.lost.ended");
                self.lost(id, exit_code, why)
            }
        }
    }

    /// Whether somebody began to start the container and neither a starter nor a monitor is left to
    /// bring it to an end, provided that the operation lock is held: a run directory without any
    /// record of this run and without a monitor.
    pub(crate) fn is_cut_start(&self, container: &ContainerRecord) -> Result<bool> {
        let run_dir = self.store.paths.container_run(&container.id);
        Ok(is_without_record(container, &run_dir)? && !is_alive(&run_dir)?)
    }

    /// Whether a monitor is at work on a start of which it has not told anything yet.
    fn is_starting(&self, container: &ContainerRecord) -> Result<bool> {
        let run_dir = self.store.paths.container_run(&container.id);
        // Alive first: it may end meanwhile, but not before it has written what came of it.
        Ok(is_alive(&run_dir)? && is_without_record(container, &run_dir)?)
    }

    /// Takes back what a start that was cut off has left: processes that were never told to begin,
    /// address, ports, run directory. The caller holds the operation lock.
    fn undo_start(&self, id: &ContainerId) -> Result<()> {
        let run_dir = self.store.paths.container_run(id);
        // A monitor that is only just coming up gets no lock; later, it finds no directory.
        let lock = FileLock::try_acquire(&run_dir.join("lock"));
        let Some(_lock) = lock.map_err(crate::error::system("lock", &run_dir))? else {
            return Ok(());
        };
        self.end_processes(id);
        self.store.write::<_, Error>(Durability::Lazy, |query| match query.container(id)? {
            Some(container) => release(query, &container, crate::now_ns()),
            None => Ok(query.endpoints_delete(id)?),
        })?;
        record::remove_run_dir(&run_dir).map_err(crate::error::system("remove", &run_dir))
    }

    /// Undoes starts that were cut off, so that their ports and addresses are free again; those that
    /// are under way are left alone. Gives the containers' ids.
    pub fn undo_cut_starts(&self) -> Result<Vec<ContainerId>> {
        let mut undone = Vec::new();
        for id in self.run_directories() {
            let Some(container) = self.store.read(|query| query.container(&id))? else { continue };
            if !self.is_cut_start(&container)? {
                continue;
            }
            // Held: it is being started or removed just now.
            let Some(_operation) = self.try_lock_operation(&id)? else { continue };
            let container = self.store.read(|query| query.container(&id))?;
            if container.is_some_and(|container| self.is_cut_start(&container).unwrap_or(false)) {
                self.undo_start(&id)?;
                undone.push(id);
            }
        }
        Ok(undone)
    }

    /// Ids of the containers that have run state.
    pub(crate) fn run_directories(&self) -> Vec<ContainerId> {
        let directory = self.store.paths.run_root.join("containers");
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
    }

    /// Folds what the monitor wrote, and tells whether the container still needs one.
    fn look(&self, container: ContainerRecord) -> Result<Seen> {
        let run_dir = self.store.paths.container_run(&container.id);
        if !run_dir.exists() {
            return Ok(if container.state.status.is_active() {
                Seen::Abandoned {
                    id: container.id,
                    exit_code: LOST_EXIT_CODE,
                    why: "the container was lost, probably by a reboot",
                }
            } else {
                Seen::Settled(Box::new(container))
            });
        }
        // The order matters: a monitor writes its last record before it lets go of the lock.
        let alive = is_alive(&run_dir)?;
        let records = record::read_after(&run_dir, container.state.folded_sequence)?;
        let container =
            if records.is_empty() { container } else { self.fold(&container, &records)? };
        if container.state.folded_sequence >= RECORDS_KEPT && !records.is_empty() {
            record::forget(&run_dir, container.state.folded_sequence)?;
        }
        let container = if alive { self.follow_freezer(container)? } else { container };
        Ok(if container.state.status.is_active() && !alive {
            Seen::Abandoned {
                id: container.id,
                exit_code: KILLED_EXIT_CODE,
                why: "the container's monitor was killed",
            }
        } else {
            Seen::Settled(Box::new(container))
        })
    }

    /// Brings every container with run state up to date; failures of one do not stop the others.
    pub fn settle_all(&self) -> Result<()> {
        for container in self.store.read(|query| query.containers_active())? {
            let id = container.id.clone();
            if let Err(error) = self.settle(container) {
                tracing::debug!(container = %id, %error, "cannot bring the container up to date");
            }
        }
        for id in self.run_directories() {
            match self.store.read(|query| query.container(&id))? {
                Some(container) if !container.state.status.is_active() => {
                    if let Err(error) = self.settle(container) {
                        tracing::debug!(container = %id, %error, "cannot bring the container up to date");
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Applies records to the row; those that another process has folded meanwhile are skipped, and
    /// all of them if the container was started anew since `seen` was read: the new run's records
    /// have the same numbers.
    fn fold(&self, seen: &ContainerRecord, records: &[(u64, Record)]) -> Result<ContainerRecord> {
        let id = &seen.id;
        orlop_sys::fault::point("container.settle.read");
        self.store.write(Durability::Lazy, |query| {
            let mut container = query
                .container(id)?
                .ok_or_else(|| Error::NotFound { name: id.short().to_owned() })?;
            if container.state.run != seen.state.run {
                return Ok(container);
            }
            for (sequence, record) in records {
                if *sequence <= container.state.folded_sequence {
                    continue;
                }
                container.state.folded_sequence = *sequence;
                let before = container.state.status;
                let mut events = apply(&mut container, *sequence, record);
                // Docker's order: the end, its networks, its volumes.
                if !container.state.status.is_active() {
                    for event in std::mem::take(&mut events) {
                        query.event_insert(&event)?;
                    }
                    release(query, &container, crate::now_ns())?;
                }
                for event in volume_events::around(&container, before, events)? {
                    query.event_insert(&event)?;
                }
            }
            query.container_set_state(id, &container.state)?;
            Ok(container)
        })
    }

    /// Ends what a killed monitor left behind: processes, published ports, its interface.
    pub(crate) fn end_processes(&self, id: &ContainerId) {
        let root = &self.store.paths.root;
        let group = match self.store.read(|query| query.container(id)) {
            Ok(Some(container)) => crate::plan::container_cgroup(root, &container),
            // Nobody knows any more whether it had asked for another place.
            _ => crate::plan::cgroup(root, id),
        };
        let complain = |what: &str, error: &dyn std::fmt::Display| {
            tracing::debug!(container = %id, what, %error, "cannot clean up after a killed monitor");
        };
        let ended = ContainerCgroup::new(&group).and_then(|group| {
            group.kill_all()?;
            group.remove()
        });
        if let Err(error) = ended {
            complain("processes", &error);
        }
        if let Err(error) = self.end_endpoints(id) {
            complain("end points", &error);
        }
    }

    /// Marks a container that ended without a record; an auto-remove container is removed.
    fn lost(&self, id: &ContainerId, exit_code: i64, why: &str) -> Result<ContainerRecord> {
        let missing = || Error::NotFound { name: id.short().to_owned() };
        let updated = self.store.write(Durability::Lazy, |query| {
            let mut present = query.container(id)?.ok_or_else(missing)?;
            let before = present.state.status;
            // Between two runs there was no process, and its last end has been told.
            if present.state.status == ContainerStatus::Restarting {
                let exit_code = present.state.exit_code;
                end(&mut present.state, exit_code, now_text());
            } else {
                query.event_insert(&die_event(&present, exit_code, jiff::Timestamp::now()))?;
                end(&mut present.state, exit_code, now_text());
            }
            why.clone_into(&mut present.state.error);
            query.container_set_state(id, &present.state)?;
            release(query, &present, crate::now_ns())?;
            for event in volume_events::around(&present, before, Vec::new())? {
                query.event_insert(&event)?;
            }
            Ok::<_, Error>(present)
        })?;
        orlop_sys::fault::point("container.lost.committed");
        if updated.host_config.auto_remove {
            self.remove_locked(id, RemoveOptions { force: true, volumes: true })?;
        }
        Ok(updated)
    }

    /// Waits until no monitor holds the container's run directory.
    pub(crate) fn wait_for_monitor(&self, id: &ContainerId, limit: Duration) -> Result<()> {
        let run_dir = self.store.paths.container_run(id);
        let deadline = Instant::now() + limit;
        while run_dir.exists() && is_alive(&run_dir)? {
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("the end of the monitor of container {}", id.short()),
                    seconds: limit.as_secs(),
                });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Called by the process that the monitor runs at its end.
    pub fn ended(&self, id: &ContainerId) -> Result<()> {
        let Some(container) = self.store.read(|query| query.container(id))? else { return Ok(()) };
        let container = self.settle(container)?;
        if container.host_config.auto_remove
            && !container.state.status.is_active()
            && !self.is_being_built(&container)?
        {
            return match self.remove(id.as_str(), RemoveOptions { force: false, volumes: true }) {
                Err(Error::NotFound { .. }) => Ok(()),
                other => other,
            };
        }
        Ok(())
    }
}

/// Whether a container that does not run has a run directory in which nothing is recorded.
fn is_without_record(container: &ContainerRecord, run_dir: &Path) -> Result<bool> {
    Ok(!container.state.status.is_active()
        && container.state.folded_sequence == 0
        && run_dir.exists()
        && record::read_after(run_dir, 0)?.is_empty())
}

/// Whether the monitor that owns a run directory lives.
pub(crate) fn is_alive(run_dir: &std::path::Path) -> Result<bool> {
    Ok(matches!(record::liveness(run_dir)?, Liveness::Alive { .. }))
}
