//! Rows of volumes and of what uses them.

use std::collections::BTreeMap;

use orlop_types::{ContainerId, VolumeName};
use rusqlite::params;

use crate::database::{json_option, parsed, to_json};
use crate::{Query, Result};

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VolumeRecord {
    /// Its name; also the name of its directory.
    pub name: VolumeName,
    /// Volume driver.
    pub driver: String,
    /// Labels; Docker tells `null` (none given) from an empty object.
    pub labels: Option<BTreeMap<String, String>>,
    /// Driver options as given.
    pub options: Option<BTreeMap<String, String>>,
    /// Whether nobody gave it a name.
    pub anonymous: bool,
    /// RFC 3339 time.
    pub created_at: String,
}

fn volume(row: &rusqlite::Row<'_>) -> rusqlite::Result<VolumeRecord> {
    Ok(VolumeRecord {
        name: parsed(row, "name")?,
        driver: row.get("driver")?,
        labels: json_option(row, "labels")?,
        options: json_option(row, "options")?,
        anonymous: row.get("anonymous")?,
        created_at: row.get("created_at")?,
    })
}

impl Query<'_> {
    /// Adds a volume; a taken name is a constraint error.
    pub fn volume_insert(&self, volume: &VolumeRecord) -> Result<()> {
        let map = |map: &Option<BTreeMap<String, String>>| {
            map.as_ref().map(|map| to_json("a volume", map)).transpose()
        };
        self.change(
            "add a volume",
            "INSERT INTO volumes (name, driver, labels, options, anonymous, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                volume.name.as_str(),
                volume.driver,
                map(&volume.labels)?,
                map(&volume.options)?,
                volume.anonymous,
                volume.created_at
            ],
        )
        .map(drop)
    }

    /// The volume of that name.
    pub fn volume(&self, name: &VolumeName) -> Result<Option<VolumeRecord>> {
        self.row(
            "read a volume",
            "SELECT * FROM volumes WHERE name = ?1",
            params![name.as_str()],
            volume,
        )
    }

    /// Every volume, by name.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>> {
        self.rows("list volumes", "SELECT * FROM volumes ORDER BY name", [], volume)
    }

    /// The containers that refer to the volume, by id.
    pub fn volume_users(&self, name: &VolumeName) -> Result<Vec<ContainerId>> {
        self.rows(
            "look for a volume's users",
            "SELECT container FROM container_volumes WHERE volume = ?1 ORDER BY container",
            params![name.as_str()],
            |row| parsed(row, "container"),
        )
    }

    /// Names of volumes that no container refers to.
    pub fn volumes_unused(&self) -> Result<Vec<VolumeRecord>> {
        self.rows(
            "list unused volumes",
            "SELECT * FROM volumes WHERE name NOT IN (SELECT volume FROM container_volumes) ORDER BY name",
            [],
            volume,
        )
    }

    /// Records that a container refers to a volume; doing it twice is fine.
    pub fn volume_reference(&self, container: &ContainerId, name: &VolumeName) -> Result<()> {
        self.change(
            "reference a volume",
            "INSERT OR IGNORE INTO container_volumes (container, volume) VALUES (?1, ?2)",
            params![container.as_str(), name.as_str()],
        )
        .map(drop)
    }

    /// Removes the row; a volume in use is a constraint error. Returns whether there was one.
    pub fn volume_delete(&self, name: &VolumeName) -> Result<bool> {
        self.change(
            "remove a volume",
            "DELETE FROM volumes WHERE name = ?1",
            params![name.as_str()],
        )
        .map(|changed| changed > 0)
    }
}
