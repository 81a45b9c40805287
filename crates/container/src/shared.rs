//! Namespaces of other containers: `--pid container:NAME`, `--ipc container:NAME`.
//!
//! The name becomes an id when the container is made, so that renaming the other one changes nothing;
//! at each start the other one must run.

use orlop_meta::{ContainerRecord, ContainerStatus};
use orlop_runtime::StartError;
use orlop_runtime::plan::SharedNamespaces;
use orlop_types::config::HostConfig;

use crate::lookup::find;
use crate::{Containers, Error, Result};

const PREFIX: &str = "container:";

impl Containers<'_> {
    /// Puts ids in the place of names.
    pub(crate) fn name_shared_namespaces(&self, host: &mut HostConfig) -> Result<()> {
        for mode in [&mut host.pid_mode, &mut host.ipc_mode] {
            let Some(name) = mode.strip_prefix(PREFIX) else { continue };
            let other = self.store.read(|query| find(query, name))?;
            *mode = format!("{PREFIX}{}", other.id);
        }
        Ok(())
    }

    /// The processes whose namespaces a container joins.
    pub(crate) fn shared_namespaces(&self, host: &HostConfig) -> Result<SharedNamespaces> {
        let mut shared = SharedNamespaces::default();
        if let Some(id) = host.pid_mode.strip_prefix(PREFIX) {
            shared.pid = Some(self.running(id, "PID")?.state.pid);
        }
        if let Some(id) = host.ipc_mode.strip_prefix(PREFIX) {
            let other = self.running(id, "IPC")?;
            let mode = other.host_config.ipc_mode.as_str();
            if !matches!(mode, "shareable") && !mode.starts_with(PREFIX) {
                return Err(failed(format!(
                    "failed to join IPC namespace: container {id}: non-shareable IPC (hint: use IpcMode:shareable for \
                     the donor container)"
                )));
            }
            shared.ipc = Some(other.state.pid);
        }
        Ok(shared)
    }

    /// A container that runs, by its id.
    fn running(&self, id: &str, namespace: &str) -> Result<ContainerRecord> {
        let other = self.get(id).map_err(|error| match error {
            Error::NotFound { name } => {
                failed(format!("failed to join {namespace} namespace: No such container: {name}"))
            }
            other => other,
        })?;
        match other.state.status {
            ContainerStatus::Running | ContainerStatus::Paused => Ok(other),
            ContainerStatus::Restarting => Err(failed(format!(
                "failed to join {namespace} namespace: container {id} is restarting, wait until the container is \
                 running"
            ))),
            _ => Err(failed(format!(
                "failed to join {namespace} namespace: container {id} is not running"
            ))),
        }
    }
}

fn failed(message: String) -> Error {
    Error::Start(StartError { exit_code: 125, message })
}
