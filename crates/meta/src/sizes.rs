//! Sizes that were measured and are kept, so that not every question walks a tree.

use orlop_types::{ContainerId, VolumeName};
use rusqlite::params;

use crate::{Query, Result};

/// A size and when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptSize {
    /// Sum of the sizes of the files.
    pub size_bytes: u64,
    /// Nanoseconds since 1970, from before the look.
    pub taken_ns: i64,
}

fn kept(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeptSize> {
    Ok(KeptSize { size_bytes: row.get("size_bytes")?, taken_ns: row.get("taken_ns")? })
}

impl Query<'_> {
    /// What a container's writable layer came to.
    pub fn container_size(&self, id: &ContainerId) -> Result<Option<KeptSize>> {
        self.row(
            "read a size",
            "SELECT * FROM container_sizes WHERE container = ?1",
            params![id.as_str()],
            kept,
        )
    }

    /// Keeps the size of a container's writable layer; one that is gone has none.
    pub fn container_size_set(&self, id: &ContainerId, size: KeptSize) -> Result<()> {
        self.change(
            "keep a size",
            "INSERT OR REPLACE INTO container_sizes (container, size_bytes, taken_ns)
             SELECT id, ?2, ?3 FROM containers WHERE id = ?1",
            params![id.as_str(), size.size_bytes, size.taken_ns],
        )
        .map(drop)
    }

    /// Forgets the size of a container whose files were changed from outside.
    pub fn container_size_forget(&self, id: &ContainerId) -> Result<()> {
        self.change(
            "forget a size",
            "DELETE FROM container_sizes WHERE container = ?1",
            params![id.as_str()],
        )
        .map(drop)
    }

    /// What a volume came to.
    pub fn volume_size(&self, name: &VolumeName) -> Result<Option<KeptSize>> {
        self.row(
            "read a size",
            "SELECT * FROM volume_sizes WHERE volume = ?1",
            params![name.as_str()],
            kept,
        )
    }

    /// Keeps the size of a volume; one that is gone has none.
    pub fn volume_size_set(&self, name: &VolumeName, size: KeptSize) -> Result<()> {
        self.change(
            "keep a size",
            "INSERT OR REPLACE INTO volume_sizes (volume, size_bytes, taken_ns)
             SELECT name, ?2, ?3 FROM volumes WHERE name = ?1",
            params![name.as_str(), size.size_bytes, size.taken_ns],
        )
        .map(drop)
    }

    /// Forgets the size of a volume whose files were changed from outside.
    pub fn volume_size_forget(&self, name: &VolumeName) -> Result<()> {
        self.change(
            "forget a size",
            "DELETE FROM volume_sizes WHERE volume = ?1",
            params![name.as_str()],
        )
        .map(drop)
    }
}
