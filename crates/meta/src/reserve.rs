//! A little disk space that is kept for the moment when there is none.
//!
//! Deleting needs a commit, and a commit needs space for the database's log: on a full disk nothing
//! could be deleted any more, and whatever fills it could not be stopped; the database itself needs
//! some to be opened. So a store keeps a file of a fixed size. Who needs space on a full disk gives
//! up a part of it first, since a container may take what becomes free; the reaper makes it whole
//! again when there is space.

use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};

use crate::Store;

/// Size of the file.
const RESERVE_BYTES: u64 = 2 << 20;
/// What is given up at once: far more than the log of one deletion.
const PART_BYTES: u64 = 512 << 10;
/// Free space below which a deletion gives the file up.
const FULL_BYTES: u64 = 1 << 20;
/// Free space above which the file is made again.
const SPARE_BYTES: u64 = 8 << 20;

impl Store {
    /// Makes room for a deletion if the disk is full. Best effort: a deletion may do without.
    pub fn make_room(&self) {
        if self.is_full() {
            give_up_part(&self.paths.root);
        }
    }

    /// Whether there is hardly any space left.
    #[must_use]
    pub fn is_full(&self) -> bool {
        free_bytes(&self.paths.root).is_some_and(|free| free < FULL_BYTES)
    }

    /// Keeps space for later if there is plenty and none is kept.
    pub fn keep_reserve(&self) {
        let path = self.reserve_path();
        let is_whole = path.metadata().is_ok_and(|metadata| metadata.len() >= RESERVE_BYTES);
        if is_whole || free_bytes(&self.paths.root).is_none_or(|free| free < SPARE_BYTES) {
            return;
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let made = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).and_then(|file| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)
        });
        if let Err(error) = made {
            tracing::debug!(%error, "no reserve for a full disk");
        }
    }

    fn reserve_path(&self) -> PathBuf {
        reserve_path(&self.paths.root)
    }
}

fn reserve_path(root: &Path) -> PathBuf {
    root.join("reserve")
}

/// Gives up a part of what is kept in a store.
pub(crate) fn give_up_part(root: &Path) {
    let give_up = || -> std::io::Result<()> {
        let file = std::fs::File::options().write(true).open(reserve_path(root))?;
        match file.metadata()?.len().checked_sub(PART_BYTES) {
            Some(left @ 1..) => file.set_len(left),
            _ => std::fs::remove_file(reserve_path(root)),
        }
    };
    if let Err(error) = give_up() {
        tracing::debug!(%error, "no reserve to give up on a full disk");
    }
}

/// Bytes that this process may still write where a path is.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_store_with_space_keeps_some_and_gives_it_up_only_when_full() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let store = Store::open(&root, &directory.path().join("run")).unwrap();
        store.keep_reserve();
        let kept = std::fs::metadata(root.join("reserve")).unwrap();
        assert_eq!(kept.len(), RESERVE_BYTES);
        store.make_room();
        let length = || std::fs::metadata(root.join("reserve")).map_or(0, |kept| kept.len());
        assert_eq!(length(), RESERVE_BYTES, "this disk is not full");
        for parts in (0..4).rev() {
            give_up_part(&root);
            assert_eq!(length(), parts * PART_BYTES);
        }
        give_up_part(&root);
        store.keep_reserve();
        give_up_part(&root);
        store.keep_reserve();
        assert_eq!(length(), RESERVE_BYTES);
    }
}
