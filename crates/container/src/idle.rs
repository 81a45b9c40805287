//! What a store keeps in the kernel between containers, and gives back when it has none.
//!
//! The bridges with their rules and the parent of the control groups stay when the last container goes,
//! because making them again costs the next one time. Whoever wants the machine as it was asks for
//! it (`system check --repair`).

use orlop_meta::Durability;
use orlop_runtime::cgroup::ContainerCgroup;

use crate::error::system;
use crate::{Containers, Error, Result};

impl Containers<'_> {
    /// Removes the store's bridges, rules and control groups unless it has a container; says whether
    /// it did.
    ///
    /// It happens inside a write to the database: a container that is created meanwhile waits for
    /// its row, and its start finds its bridges missing and makes it again.
    pub fn release_idle(&self) -> Result<bool> {
        self.store.write(Durability::Lazy, |query| {
            if !query.containers()?.is_empty() {
                return Ok::<_, Error>(false);
            }
            let bridges = query.networks()?;
            let bridges = bridges.iter().filter_map(crate::network_settings::bridge_of);
            let removed: Vec<_> = bridges.map(|bridge| bridge.remove()).collect();
            let name = crate::plan::cgroup_parent(&self.store.paths.root);
            let path = std::path::Path::new(&name);
            let groups = ContainerCgroup::new(&name).and_then(|parent| parent.remove());
            // Both are tried; the first failure is told.
            removed.into_iter().collect::<Result<(), _>>()?;
            groups.map_err(|error| system("remove control group", path)(error))?;
            Ok(true)
        })
    }
}
