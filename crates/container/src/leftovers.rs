//! Control groups of the store in which no container can be running any more.
//!
//! A monitor removes its container's groups as one of its last acts; if it was killed, whoever looks
//! at the container next does. What neither did is found here: groups whose container has no monitor.

use std::collections::BTreeSet;

use orlop_runtime::cgroup::ContainerCgroup;
use orlop_types::ContainerId;

use crate::error::system;
use crate::settle::is_alive;
use crate::{Containers, Result};

impl Containers<'_> {
    /// The containers, or what were some, whose control groups are left. A start that is under way has
    /// a monitor before it has a group.
    pub fn leftover_groups(&self) -> Result<Vec<ContainerId>> {
        let name = crate::plan::cgroup_parent(&self.store.paths.root);
        let failed = system("look for control groups of", &self.store.paths.root);
        let parent = ContainerCgroup::new(&name).map_err(&failed)?;
        let mut found = BTreeSet::new();
        for directory in parent.directories() {
            let entries = match std::fs::read_dir(&directory) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.map_err(&failed)?,
            };
            for entry in entries {
                let name = entry.map_err(&failed)?.file_name();
                found.extend(name.to_str().and_then(|name| name.parse::<ContainerId>().ok()));
            }
        }
        let mut left = Vec::new();
        for id in found {
            if !is_alive(&self.store.paths.container_run(&id))? {
                left.push(id);
            }
        }
        Ok(left)
    }

    /// Ends what still is in a container's control groups and removes them; says whether they are
    /// gone. A container that is being started or removed just now is left alone.
    pub fn remove_group(&self, id: &ContainerId) -> Result<bool> {
        let known = self.store.read(|query| query.container(id))?.is_some();
        let operation = self.try_lock_operation(id)?;
        if (known && operation.is_none()) || is_alive(&self.store.paths.container_run(id))? {
            return Ok(false);
        }
        self.end_processes(id);
        Ok(!self.leftover_groups()?.contains(id))
    }
}
