//! Pausing: the kernel's freezer holds every process of a container.
//!
//! The kernel is the one truth about it. Whoever looks at a container whose row says otherwise
//! corrects the row, together with the event, in one transaction; so a command that is cut off
//! between the kernel and the row leaves nothing to repair.

use orlop_meta::{ContainerRecord, ContainerStatus, Durability};
use orlop_runtime::cgroup::ContainerCgroup;
use orlop_types::ContainerId;
use orlop_types::health::HealthStatus;

use crate::settle::container_event;
use crate::{Containers, Error, Result, now_ns};

impl Containers<'_> {
    /// Stops every process of a container until it is unpaused.
    pub fn pause(&self, name: &str) -> Result<()> {
        let id = self.id(name)?;
        let _operation = self.lock_operation(&id)?;
        let container = self.settle_locked(&id)?;
        match container.state.status {
            ContainerStatus::Running => {}
            ContainerStatus::Paused => {
                return Err(Error::conflict(format!("Container {id} is already paused")));
            }
            ContainerStatus::Restarting => return Err(restarting(id.as_str())),
            _ => return Err(not_running(&id)),
        }
        orlop_sys::fault::point("container.pause.locked");
        self.group(&container)
            .and_then(|group| group.freeze())
            .map_err(|source| self.frozen_meanwhile(&id, "pause container", source))?;
        orlop_sys::fault::point("container.pause.frozen");
        self.follow_freezer(container).map(drop)
    }

    /// Lets the processes of a paused container go on.
    pub fn unpause(&self, name: &str) -> Result<()> {
        let id = self.id(name)?;
        let _operation = self.lock_operation(&id)?;
        let container = self.settle_locked(&id)?;
        if container.state.status != ContainerStatus::Paused {
            return Err(Error::conflict(format!("Container {id} is not paused")));
        }
        orlop_sys::fault::point("container.unpause.locked");
        self.group(&container)
            .and_then(|group| group.thaw())
            .map_err(|source| self.frozen_meanwhile(&id, "unpause container", source))?;
        orlop_sys::fault::point("container.unpause.thawed");
        self.follow_freezer(container).map(drop)
    }

    /// Lets the processes go on if they are frozen: what is to act on a signal must run.
    pub(crate) fn thaw(&self, container: &ContainerRecord) {
        let thawed = self
            .group(container)
            .and_then(|group| if group.is_frozen() { group.thaw() } else { Ok(()) });
        if let Err(error) = thawed {
            // It has ended meanwhile, and its groups with it.
            tracing::debug!(container = %container.id, %error, "cannot unpause");
        }
    }

    /// Makes the row say what the kernel says, if it says anything else.
    pub(crate) fn follow_freezer(&self, seen: ContainerRecord) -> Result<ContainerRecord> {
        let differs = |container: &ContainerRecord, frozen: bool| match container.state.status {
            ContainerStatus::Running => frozen,
            ContainerStatus::Paused => !frozen,
            _ => false,
        };
        if !matches!(seen.state.status, ContainerStatus::Running | ContainerStatus::Paused) {
            return Ok(seen);
        }
        let Ok(group) = self.group(&seen) else { return Ok(seen) };
        if !differs(&seen, group.is_frozen()) {
            return Ok(seen);
        }
        self.store.write(Durability::Lazy, |query| {
            let Some(mut present) = query.container(&seen.id)? else { return Ok(seen) };
            // Asked again: meanwhile another process may have said it, or the kernel changed.
            let frozen = group.is_frozen();
            if present.state.run != seen.state.run || !differs(&present, frozen) {
                return Ok(present);
            }
            let action = if frozen { "pause" } else { "unpause" };
            present.state.status =
                if frozen { ContainerStatus::Paused } else { ContainerStatus::Running };
            if let (true, Some(health)) = (frozen, &mut present.state.health) {
                // Nobody probes a paused container; Docker calls that unhealthy.
                health.status = HealthStatus::Unhealthy;
            }
            query.event_insert(&container_event(&present, action, now_ns()))?;
            query.container_set_state(&present.id, &present.state)?;
            Ok(present)
        })
    }

    /// The control groups of a container.
    pub(crate) fn group(&self, container: &ContainerRecord) -> std::io::Result<ContainerCgroup> {
        ContainerCgroup::new(&crate::plan::container_cgroup(&self.store.paths.root, container))
    }

    /// A failure to freeze a container that has ended meanwhile has another reason. The caller holds
    /// the operation lock.
    fn frozen_meanwhile(
        &self,
        id: &ContainerId,
        operation: &'static str,
        source: std::io::Error,
    ) -> Error {
        match self.settle_locked(id) {
            Ok(container) if !container.state.status.is_active() => not_running(id),
            _ => Error::System { operation, subject: id.as_str().to_owned(), source },
        }
    }
}

/// Docker's text.
pub(crate) fn not_running(id: &ContainerId) -> Error {
    Error::conflict(format!("container {id} is not running"))
}

/// Docker's text.
pub(crate) fn restarting(name: &str) -> Error {
    Error::conflict(format!("Container {name} is restarting, wait until the container is running"))
}
