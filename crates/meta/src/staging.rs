//! A directory that is being built and is not yet part of the store.
//!
//! While one exists (and until it is dropped after its row is committed) it holds a shared lock on
//! `staging/`, so that a sweep, which takes the lock for itself, never sees a directory that is
//! whole but not yet owned by a row.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};

use crate::Result;
use crate::store::{file, random_name};

/// A directory under construction. Dropping it unpublished removes it.
#[derive(Debug)]
pub struct StagedDirectory {
    path: PathBuf,
    published: bool,
    /// `staging/` itself, locked shared.
    lock: OwnedFd,
}

/// What must have reached the disk before a directory becomes part of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Every file below it: one `syncfs`, whatever their number (layers).
    Everything,
    /// The directory entries only (new, empty volumes).
    Directory,
    /// Nothing: it dies with its container anyway, and the way of `run` must not wait for a disk.
    Nothing,
}

impl StagedDirectory {
    pub(crate) fn create(staging: &Path) -> Result<Self> {
        let lock = open_directory(staging)?;
        rustix::fs::flock(&lock, FlockOperation::LockShared)
            .map_err(|error| file("lock", staging)(error.into()))?;
        let path = staging.join(random_name());
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700))
            .map_err(|error| file("make the directory", &path)(error.into()))?;
        Ok(Self { path, published: false, lock })
    }

    /// Where it is being built.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a part of what was built (the whole, if `part` is empty) appear at `target`, which must
    /// not exist.
    ///
    /// Order: sync, rename, sync the directory it was renamed into. Commit the row next, and only
    /// then drop `self`.
    pub fn publish(&mut self, part: &str, target: &Path, sync: Sync) -> Result<()> {
        let source = if part.is_empty() { self.path.clone() } else { self.path.join(part) };
        let directory = open_directory(&source)?;
        let synced = match sync {
            Sync::Everything => rustix::fs::syncfs(&directory),
            Sync::Directory => rustix::fs::fsync(&directory),
            Sync::Nothing => Ok(()),
        };
        synced.map_err(|error| file("sync", &source)(error.into()))?;
        orlop_sys::fault::point("meta.publish.synced");
        rustix::fs::renameat_with(
            rustix::fs::CWD,
            &source,
            rustix::fs::CWD,
            target,
            RenameFlags::NOREPLACE,
        )
        .map_err(|error| file("move into the store", target)(error.into()))?;
        orlop_sys::fault::point("meta.publish.renamed");
        self.published |= part.is_empty();
        if sync != Sync::Nothing
            && let Some(parent) = target.parent()
        {
            rustix::fs::fsync(open_directory(parent)?)
                .map_err(|error| file("sync", parent)(error.into()))?;
        }
        orlop_sys::fault::point("meta.publish.done");
        Ok(())
    }

    /// Puts the whole in the place of what stands at `target`, if anything does; that goes with this
    /// staging directory.
    ///
    /// Order: sync, rename (both at once), sync the directory.
    pub fn replace(&mut self, target: &Path) -> Result<()> {
        if target.symlink_metadata().is_err() {
            return self.publish("", target, Sync::Everything);
        }
        let directory = open_directory(&self.path)?;
        rustix::fs::syncfs(&directory).map_err(|error| file("sync", &self.path)(error.into()))?;
        let (here, flags) = (rustix::fs::CWD, RenameFlags::EXCHANGE);
        rustix::fs::renameat_with(here, &self.path, here, target, flags)
            .map_err(|error| file("move into the store", target)(error.into()))?;
        match target.parent() {
            Some(parent) => rustix::fs::fsync(open_directory(parent)?)
                .map_err(|error| file("sync", parent)(error.into())),
            None => Ok(()),
        }
    }
}

impl StagedDirectory {
    /// Removes everything by descriptor: what was unpacked may hold any name and any link.
    fn remove(&self) -> std::io::Result<()> {
        let name = self.path.file_name().unwrap_or_default().as_encoded_bytes();
        let name = std::ffi::CString::new(name)?;
        orlop_sys::tree::remove_tree(self.lock.as_fd(), &name).map_err(std::io::Error::other)
    }
}

impl Drop for StagedDirectory {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = self.remove()
        {
            // A sweep takes it later.
            tracing::debug!(path = %self.path.display(), %error, "cannot remove a staging directory");
        }
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| file("open", path)(error.into()))
}
