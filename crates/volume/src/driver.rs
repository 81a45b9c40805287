//! The point where volumes vary: who keeps the data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use orlop_meta::{Query, StagedDirectory, TrashRecord, VolumeRecord};
use orlop_sys::mount_filesystem::SharedFilesystem;
use orlop_types::VolumeName;

use crate::Result;

/// Who can reach a driver's volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This machine.
    Local,
    /// Every machine of a cluster.
    Global,
}

/// What is mounted for a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A file system that the monitor of the first container mounts in its own namespace, as
    /// `mount -t TYPE -o OPTIONS DEVICE` would; those who come meanwhile share it.
    Filesystem(SharedFilesystem),
}

/// Keeps the data of volumes.
///
/// The database row is the caller's; a driver only keeps data. Callers hold the lock on `volumes/`
/// around [`VolumeDriver::create`], [`VolumeDriver::mark_removed`] and
/// [`VolumeDriver::finish_removal`].
pub trait VolumeDriver {
    /// The driver's name, as in `--driver`.
    fn name(&self) -> &str;

    /// Who can reach its volumes.
    fn scope(&self) -> Scope;

    /// Refuses options that the driver does not take; nothing is mounted or looked up.
    fn check_options(&self, name: &str, options: &BTreeMap<String, String>) -> Result<()>;

    /// Whether the driver has data of that name.
    fn exists(&self, name: &VolumeName) -> Result<bool>;

    /// Makes the data of a volume that has none. What is returned is kept until the row is
    /// committed, so that a sweep leaves the new directory alone.
    fn create(&self, volume: &VolumeRecord) -> Result<Option<StagedDirectory>>;

    /// Refuses to remove a volume that cannot go, and marks its data as deleted in the transaction
    /// that deletes the row.
    fn mark_removed(
        &self,
        query: &Query<'_>,
        volume: &VolumeRecord,
        now: &str,
    ) -> Result<Option<TrashRecord>>;

    /// Carries the deletion out after the commit; repeating it after a crash is safe.
    fn finish_removal(&self, trash: &TrashRecord) -> Result<()>;

    /// The path that `inspect` shows.
    fn mountpoint(&self, volume: &VolumeRecord) -> PathBuf;

    /// Whether the data is a directory of this machine that needs no mount.
    fn is_directory(&self, volume: &VolumeRecord) -> bool;

    /// Makes the volume ready for one more user and says what is to be mounted.
    fn mount(&self, volume: &VolumeRecord) -> Result<VolumeSource>;

    /// Ends what [`VolumeDriver::mount`] began.
    fn unmount(&self, volume: &VolumeRecord) -> Result<()>;
}
