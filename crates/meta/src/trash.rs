//! Rows of the trash: what was deleted and is not yet gone from the disk.
//!
//! A row is written in the transaction that deletes the object; only then is the directory renamed
//! into `trash/<id>`. After a crash between the two, [`crate::Store::sweep`] does the rename.

use std::path::PathBuf;

use orlop_types::ParseError;
use rusqlite::params;

use crate::database::parsed;
use crate::{Query, Result};

/// What kind of object was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrashKind {
    /// A layer's directory.
    Layer,
    /// A container's directory or writable layer.
    Container,
    /// A volume's directory.
    Volume,
    /// A blob or other content.
    Content,
}

impl TrashKind {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Container => "container",
            Self::Volume => "volume",
            Self::Content => "content",
        }
    }
}

impl std::str::FromStr for TrashKind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(match text {
            "layer" => Self::Layer,
            "container" => Self::Container,
            "volume" => Self::Volume,
            "content" => Self::Content,
            _ => return Err(ParseError::new(format!("invalid kind of trash `{text}`"))),
        })
    }
}

/// One deleted directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrashRecord {
    /// Name of the directory below `trash/`: random.
    pub id: String,
    /// What it was.
    pub kind: TrashKind,
    /// Its name or id.
    pub name: String,
    /// Where it stood, relative to the store's root.
    pub path: PathBuf,
    /// The deleted row as JSON, for whoever brings it back; `null` where nobody can.
    pub record: String,
    /// RFC 3339 time of the deletion.
    pub created_at: String,
}

fn trash(row: &rusqlite::Row<'_>) -> rusqlite::Result<TrashRecord> {
    Ok(TrashRecord {
        id: row.get("id")?,
        kind: parsed(row, "kind")?,
        name: row.get("name")?,
        path: row.get::<_, String>("path")?.into(),
        record: row.get("record")?,
        created_at: row.get("created_at")?,
    })
}

impl Query<'_> {
    /// Marks a directory as deleted; follow with [`crate::Store::carry_out`] after the commit.
    pub fn trash_insert(&self, record: &TrashRecord) -> Result<()> {
        self.change(
            "move to the trash",
            "INSERT INTO trash (id, kind, name, path, record, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                record.id,
                record.kind.as_str(),
                record.name,
                record.path.to_string_lossy(),
                record.record,
                record.created_at
            ],
        )
        .map(drop)
    }

    /// Everything in the trash, oldest first.
    pub fn trash(&self) -> Result<Vec<TrashRecord>> {
        self.rows("list the trash", "SELECT * FROM trash ORDER BY created_at, id", [], trash)
    }

    /// Forgets a directory that is gone from the disk.
    pub fn trash_delete(&self, id: &str) -> Result<bool> {
        self.change("forget trash", "DELETE FROM trash WHERE id = ?1", params![id])
            .map(|changed| changed > 0)
    }
}
