//! Rows of content: blobs that are kept under their digest, and what they are needed for.
//!
//! A blob is a file `content/sha256/<digest>` with a row. It is needed by the image that came with it
//! (a manifest, an index) or by a layer whose packed form it is; [`Query::content_unneeded`] lists
//! what nothing needs any more. A layer is named by its [`DiffId`]: the same content on several parents
//! has one packed form.

use std::io;
use std::path::Path;

use orlop_types::{DiffId, Digest, ImageId};
use rusqlite::params;

use crate::database::{parsed, parsed_option};
use crate::store::{file, random_name};
use crate::{LayerRecord, Query, Result, Store};

/// One blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRecord {
    /// Digest of its bytes, and its name.
    pub digest: Digest,
    /// What it is, as a manifest says it.
    pub media_type: String,
    /// Its length.
    pub size_bytes: u64,
    /// RFC 3339 time at which it came into this store.
    pub created_at: String,
}

/// A packed form of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// What is packed.
    pub diff_id: DiffId,
    /// The blob.
    pub digest: Digest,
    /// How it is packed, as a manifest says it.
    pub media_type: String,
    /// Length of the blob.
    pub size_bytes: u64,
    /// Length of the tar in it.
    pub tar_bytes: u64,
}

/// The manifest that an image came with or was pushed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// The image.
    pub image: ImageId,
    /// Its manifest.
    pub manifest: Digest,
    /// The index that the manifest was chosen from.
    pub index: Option<Digest>,
}

fn content(row: &rusqlite::Row<'_>) -> rusqlite::Result<ContentRecord> {
    Ok(ContentRecord {
        digest: parsed(row, "digest")?,
        media_type: row.get("media_type")?,
        size_bytes: row.get("size_bytes")?,
        created_at: row.get("created_at")?,
    })
}

fn layer_blob(row: &rusqlite::Row<'_>) -> rusqlite::Result<LayerBlob> {
    Ok(LayerBlob {
        diff_id: parsed(row, "diff_id")?,
        digest: parsed(row, "digest")?,
        media_type: row.get("media_type")?,
        size_bytes: row.get("size_bytes")?,
        tar_bytes: row.get("tar_bytes")?,
    })
}

fn image_manifest(row: &rusqlite::Row<'_>) -> rusqlite::Result<ImageManifest> {
    Ok(ImageManifest {
        image: parsed(row, "image")?,
        manifest: parsed(row, "manifest")?,
        index: parsed_option(row, "from_index")?,
    })
}

impl Query<'_> {
    /// Adds a blob whose file is in its place; one that is there already stays as it is.
    pub fn content_insert(&self, blob: &ContentRecord) -> Result<()> {
        self.change(
            "add content",
            "INSERT INTO content (digest, media_type, size_bytes, created_at)
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (digest) DO NOTHING",
            params![blob.digest.as_str(), blob.media_type, blob.size_bytes, blob.created_at],
        )
        .map(drop)
    }

    /// The blob of that digest.
    pub fn content(&self, digest: &Digest) -> Result<Option<ContentRecord>> {
        self.row(
            "read content",
            "SELECT * FROM content WHERE digest = ?1",
            params![digest.as_str()],
            content,
        )
    }

    /// Every blob, in order of digests.
    pub fn contents(&self) -> Result<Vec<ContentRecord>> {
        self.rows("list content", "SELECT * FROM content ORDER BY digest", [], content)
    }

    /// Sum of the lengths of all blobs.
    pub fn content_bytes(&self) -> Result<u64> {
        self.row("measure content", "SELECT coalesce(sum(size_bytes), 0) FROM content", [], |row| {
            row.get(0)
        })
        .map(|sum| sum.unwrap_or(0))
    }

    /// Blobs that no image and no layer needs.
    pub fn content_unneeded(&self) -> Result<Vec<ContentRecord>> {
        self.rows(
            "look for unneeded content",
            "SELECT * FROM content WHERE NOT EXISTS
                 (SELECT 1 FROM image_manifests WHERE manifest = digest)
             AND NOT EXISTS (SELECT 1 FROM image_manifests WHERE from_index = digest)
             AND NOT EXISTS (SELECT 1 FROM layer_blobs JOIN layers USING (diff_id)
                  WHERE layer_blobs.blob = digest)
             ORDER BY digest",
            [],
            content,
        )
    }

    /// Removes the row of a blob, with what says that it is a layer or where it can be had.
    /// Returns whether there was one.
    pub fn content_delete(&self, digest: &Digest) -> Result<bool> {
        self.change(
            "remove content",
            "DELETE FROM content WHERE digest = ?1",
            params![digest.as_str()],
        )
        .map(|changed| changed > 0)
    }

    /// Says that a blob, which has a row, is the packed form of a layer.
    pub fn layer_blob_put(&self, diff_id: &DiffId, blob: &Digest, tar_bytes: u64) -> Result<()> {
        self.change(
            "link a layer to its blob",
            "INSERT INTO layer_blobs (diff_id, blob, tar_bytes) VALUES (?1, ?2, ?3)
             ON CONFLICT (diff_id, blob) DO NOTHING",
            params![diff_id.as_str(), blob.as_str(), tar_bytes],
        )
        .map(drop)
    }

    /// The packed forms of a layer, oldest first.
    pub fn layer_blobs(&self, diff_id: &DiffId) -> Result<Vec<LayerBlob>> {
        self.rows(
            "look for a layer's blobs",
            "SELECT content.*, diff_id, tar_bytes FROM layer_blobs JOIN content ON digest = blob
             WHERE diff_id = ?1 ORDER BY created_at, digest",
            params![diff_id.as_str()],
            layer_blob,
        )
    }

    /// Layers of one content, whatever they stand on.
    pub fn layers_of_content(&self, diff_id: &DiffId) -> Result<Vec<LayerRecord>> {
        self.rows(
            "look for layers of a content",
            "SELECT * FROM layers WHERE diff_id = ?1 ORDER BY created_at, chain_id",
            params![diff_id.as_str()],
            crate::layers::layer,
        )
    }

    /// Every packed form of every layer.
    pub fn all_layer_blobs(&self) -> Result<Vec<LayerBlob>> {
        self.rows(
            "list the blobs of layers",
            "SELECT content.*, diff_id, tar_bytes FROM layer_blobs JOIN content ON digest = blob
             ORDER BY diff_id, created_at, digest",
            [],
            layer_blob,
        )
    }

    /// Says which manifest, which has a row in `content`, an image came with; the newest comes first in
    /// [`Query::image_manifests`].
    pub fn image_manifest_put(&self, manifest: &ImageManifest, now: &str) -> Result<()> {
        self.change(
            "link an image to its manifest",
            "INSERT INTO image_manifests (image, manifest, from_index, updated_at)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (image, manifest) DO UPDATE
             SET from_index = coalesce(excluded.from_index, from_index),
                 updated_at = excluded.updated_at",
            params![
                manifest.image.as_str(),
                manifest.manifest.as_str(),
                manifest.index.as_ref().map(Digest::as_str),
                now
            ],
        )
        .map(drop)
    }

    /// The manifests of an image, newest first.
    pub fn image_manifests(&self, image: &ImageId) -> Result<Vec<ImageManifest>> {
        self.rows(
            "look for an image's manifests",
            "SELECT * FROM image_manifests WHERE image = ?1 ORDER BY updated_at DESC, manifest",
            params![image.as_str()],
            image_manifest,
        )
    }

    /// Says that no image has the manifest any more.
    pub fn image_manifest_forget(&self, manifest: &Digest) -> Result<()> {
        self.change(
            "forget a manifest",
            "DELETE FROM image_manifests WHERE manifest = ?1 OR from_index = ?1",
            params![manifest.as_str()],
        )
        .map(drop)
    }

    /// Notes that a blob, which has a row, is in a repository (`host/path`).
    pub fn blob_repository_put(&self, blob: &Digest, repository: &str, now: &str) -> Result<()> {
        self.change(
            "note where a blob is",
            "INSERT INTO blob_repositories (blob, repository, seen_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (blob, repository) DO UPDATE SET seen_at = excluded.seen_at",
            params![blob.as_str(), repository, now],
        )
        .map(drop)
    }

    /// Repositories in which a blob was seen, the latest first.
    pub fn blob_repositories(&self, blob: &Digest) -> Result<Vec<String>> {
        self.rows(
            "look where a blob is",
            "SELECT repository FROM blob_repositories WHERE blob = ?1
             ORDER BY seen_at DESC, repository",
            params![blob.as_str()],
            |row| row.get(0),
        )
    }
}

impl Store {
    /// Moves a file that no row owns into the trash. It needs no trash row: what a cut leaves is still
    /// a file that no row owns. One that is not there counts as done.
    pub fn discard_file(&self, path: &Path) -> Result<()> {
        match std::fs::rename(path, self.paths.trash().join(random_name())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(file("move to the trash", path)(error))
            }
            _ => Ok(()),
        }
    }
}
