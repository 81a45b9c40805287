//! Which volumes containers mount, by their mount plans.

use orlop_meta::ContainerRecord;
use orlop_types::VolumeName;

use crate::Result;
use crate::mount_plan::MountKind;
use crate::plan::entries;

/// The volumes that a container's plan mounts, in the order of its targets.
///
/// # Errors
/// When the stored plan is damaged.
pub fn mounted_volumes(container: &ContainerRecord) -> Result<Vec<VolumeName>> {
    let names = entries(container)?.into_iter().filter(|entry| entry.kind == MountKind::Volume);
    names.map(|entry| Ok(entry.source.parse()?)).collect()
}
