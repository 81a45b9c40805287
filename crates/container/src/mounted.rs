//! Which volumes containers mount, by their mount plans, and what follows when they are written to.

use orlop_meta::{ContainerRecord, Durability};
use orlop_types::VolumeName;

use crate::mount_plan::MountKind;
use crate::plan::entries;
use crate::{Containers, Error, Result};

/// The volumes that a container's plan mounts, in the order of its targets.
///
/// # Errors
/// When the stored plan is damaged.
pub fn mounted_volumes(container: &ContainerRecord) -> Result<Vec<VolumeName>> {
    let names = entries(container)?.into_iter().filter(|entry| entry.kind == MountKind::Volume);
    names.map(|entry| Ok(entry.source.parse()?)).collect()
}

impl Containers<'_> {
    /// Forgets what the container's files and its volumes came to, because somebody has written there
    /// from outside.
    pub(crate) fn forget_sizes(&self, container: &ContainerRecord) -> Result<()> {
        let volumes = mounted_volumes(container)?;
        self.store.write::<_, Error>(Durability::Lazy, |query| {
            query.container_size_forget(&container.id)?;
            for volume in &volumes {
                query.volume_size_forget(volume)?;
            }
            Ok(())
        })
    }
}
