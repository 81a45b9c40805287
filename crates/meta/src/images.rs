//! Rows of images and of the names that point to them.

use orlop_types::{ChainId, ImageId};
use rusqlite::params;

use crate::database::{parsed, parsed_option};
use crate::{Query, Result};

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRecord {
    /// Digest of `config`.
    pub id: ImageId,
    /// The uppermost layer; an image of `scratch` has none.
    pub top_layer: Option<ChainId>,
    /// The configuration's bytes, exactly as their digest was taken.
    pub config: String,
    /// Sum of its layers' sizes in bytes.
    pub size_bytes: u64,
    /// RFC 3339 time at which it came into this store.
    pub created_at: String,
}

/// One name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRecord {
    /// Canonical reference with tag or digest.
    pub reference: String,
    /// What it points to.
    pub image: ImageId,
    /// RFC 3339 time at which it last came to point there.
    pub updated_at: String,
}

fn image(row: &rusqlite::Row<'_>) -> rusqlite::Result<ImageRecord> {
    Ok(ImageRecord {
        id: parsed(row, "id")?,
        top_layer: parsed_option(row, "top_layer")?,
        config: row.get("config")?,
        size_bytes: row.get("size_bytes")?,
        created_at: row.get("created_at")?,
    })
}

fn tag(row: &rusqlite::Row<'_>) -> rusqlite::Result<TagRecord> {
    Ok(TagRecord {
        reference: row.get("reference")?,
        image: parsed(row, "image")?,
        updated_at: row.get("updated_at")?,
    })
}

impl Query<'_> {
    /// Adds an image; one that is there already stays as it is. Returns whether it is new.
    pub fn image_insert(&self, image: &ImageRecord) -> Result<bool> {
        self.change(
            "add an image",
            "INSERT INTO images (id, top_layer, config, size_bytes, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO NOTHING",
            params![
                image.id.as_str(),
                image.top_layer.as_ref().map(ChainId::as_str),
                image.config,
                image.size_bytes,
                image.created_at
            ],
        )
        .map(|changed| changed > 0)
    }

    /// The image of that id.
    pub fn image(&self, id: &ImageId) -> Result<Option<ImageRecord>> {
        self.row("read an image", "SELECT * FROM images WHERE id = ?1", params![id.as_str()], image)
    }

    /// Images whose id begins with `prefix` (hexadecimal digits), two at most.
    pub fn images_by_prefix(&self, prefix: &str) -> Result<Vec<ImageRecord>> {
        self.rows(
            "look up an image",
            "SELECT * FROM images WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2",
            params![format!("sha256:{prefix}")],
            image,
        )
    }

    /// Every image, newest first.
    pub fn images(&self) -> Result<Vec<ImageRecord>> {
        self.rows("list images", "SELECT * FROM images ORDER BY created_at DESC, id", [], image)
    }

    /// Removes the image and its names; containers keep their layers. Returns whether there was one.
    pub fn image_delete(&self, id: &ImageId) -> Result<bool> {
        self.change("remove an image", "DELETE FROM images WHERE id = ?1", params![id.as_str()])
            .map(|changed| changed > 0)
    }

    /// Points a name to an image, away from any other.
    pub fn tag_put(&self, tag: &TagRecord) -> Result<()> {
        self.change(
            "tag an image",
            "INSERT INTO tags (reference, image, updated_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (reference) DO UPDATE SET image = excluded.image, updated_at = excluded.updated_at",
            params![tag.reference, tag.image.as_str(), tag.updated_at],
        )
        .map(drop)
    }

    /// What a canonical reference points to.
    pub fn tag(&self, reference: &str) -> Result<Option<TagRecord>> {
        self.row("read a tag", "SELECT * FROM tags WHERE reference = ?1", params![reference], tag)
    }

    /// Every name, in order.
    pub fn tags(&self) -> Result<Vec<TagRecord>> {
        self.rows("list tags", "SELECT * FROM tags ORDER BY reference", [], tag)
    }

    /// The names of one image, in order.
    pub fn tags_of(&self, image: &ImageId) -> Result<Vec<TagRecord>> {
        self.rows(
            "list an image's tags",
            "SELECT * FROM tags WHERE image = ?1 ORDER BY reference",
            params![image.as_str()],
            tag,
        )
    }

    /// Removes a name. Returns whether there was one.
    pub fn tag_delete(&self, reference: &str) -> Result<bool> {
        self.change("remove a tag", "DELETE FROM tags WHERE reference = ?1", params![reference])
            .map(|changed| changed > 0)
    }
}
