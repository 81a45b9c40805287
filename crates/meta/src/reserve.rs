//! A little disk space that is kept for the moment when there is none.
//!
//! Deleting needs a commit, and a commit needs space for the database's log: on a full disk nothing
//! could be deleted any more. So a store keeps a file of a fixed size; who deletes on a full disk
//! gives it up first, and the reaper makes it again when there is space.

use std::path::PathBuf;

use rustix::fs::{FallocateFlags, Mode, OFlags};

use crate::Store;

/// Size of the file: far more than the log of one deletion.
const RESERVE_BYTES: u64 = 2 << 20;
/// Free space below which a deletion gives the file up.
const FULL_BYTES: u64 = 1 << 20;
/// Free space above which the file is made again.
const SPARE_BYTES: u64 = 8 << 20;

impl Store {
    /// Makes room for a deletion if the disk is full. Best effort: a deletion may do without.
    pub fn make_room(&self) {
        if self.free_bytes().is_some_and(|free| free < FULL_BYTES)
            && let Err(error) = std::fs::remove_file(self.reserve_path())
        {
            tracing::debug!(%error, "no reserve to give up on a full disk");
        }
    }

    /// Keeps space for later if there is plenty and none is kept.
    pub fn keep_reserve(&self) {
        let path = self.reserve_path();
        if path.exists() || self.free_bytes().is_none_or(|free| free < SPARE_BYTES) {
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
        self.paths.root.join("reserve")
    }

    /// Bytes that this process may still write.
    fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.paths.root).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
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
        assert!(root.join("reserve").exists(), "this disk is not full");
    }
}
