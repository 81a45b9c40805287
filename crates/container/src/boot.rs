//! Starts what is to run: after the machine has started, or after monitors were killed.
//!
//! Nothing runs in the background that could do it, so the machine's init system calls this once
//! (`orlop system start-all`).

use orlop_meta::{ContainerRecord, ContainerStatus};
use orlop_types::ContainerId;

use crate::start::StartOptions;
use crate::{Containers, Error, Result};

/// What became of one container.
#[derive(Debug)]
pub struct BootStart {
    /// Which.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Why it does not run, if so.
    pub error: Option<Error>,
}

impl Containers<'_> {
    /// Starts the containers whose restart policy says so, in the order of their creation; a failure
    /// of one does not stop the others.
    pub fn start_all(&self) -> Result<Vec<BootStart>> {
        self.settle_all()?;
        let mut containers = self.store.read(|query| query.containers())?;
        containers.reverse();
        let mut started = Vec::new();
        for container in containers.into_iter().filter(is_wanted) {
            let id = container.id;
            let error = self.start(id.as_str(), StartOptions::default()).err();
            started.push(BootStart { id, name: container.name.as_str().to_owned(), error });
        }
        Ok(started)
    }
}

/// Docker's rule at the start of its daemon.
fn is_wanted(container: &ContainerRecord) -> bool {
    let (state, policy) = (&container.state, &container.host_config.restart_policy);
    // One that has never run is left alone.
    if state.status != ContainerStatus::Exited || state.started_at.is_none() {
        return false;
    }
    match policy.name.as_str() {
        "always" => true,
        "unless-stopped" => !state.stopped_by_user,
        "on-failure" => {
            let most = policy.maximum_retry_count;
            state.exit_code != 0 && (most == 0 || i64::from(state.restart_count) < most)
        }
        _ => false,
    }
}
