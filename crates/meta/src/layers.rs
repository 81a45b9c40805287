//! Rows of read-only layers.

use orlop_types::{ChainId, DiffId};
use rusqlite::params;

use crate::database::{parsed, parsed_option};
use crate::{Query, Result};

/// One read-only layer on its parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRecord {
    /// The layer with everything below it.
    pub chain_id: ChainId,
    /// The layer's own content.
    pub diff_id: DiffId,
    /// The layer right below.
    pub parent: Option<ChainId>,
    /// The storage driver's name for it.
    pub key: String,
    /// Sum of the sizes of the files it brings, in bytes.
    pub size_bytes: u64,
    /// RFC 3339 time.
    pub created_at: String,
}

pub(crate) fn layer(row: &rusqlite::Row<'_>) -> rusqlite::Result<LayerRecord> {
    Ok(LayerRecord {
        chain_id: parsed(row, "chain_id")?,
        diff_id: parsed(row, "diff_id")?,
        parent: parsed_option(row, "parent")?,
        key: row.get("key")?,
        size_bytes: row.get("size_bytes")?,
        created_at: row.get("created_at")?,
    })
}

impl Query<'_> {
    /// Adds a layer; a layer that is there already is a constraint error.
    pub fn layer_insert(&self, layer: &LayerRecord) -> Result<()> {
        self.change(
            "add a layer",
            "INSERT INTO layers (chain_id, diff_id, parent, key, size_bytes, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                layer.chain_id.as_str(),
                layer.diff_id.as_str(),
                layer.parent.as_ref().map(ChainId::as_str),
                layer.key,
                layer.size_bytes,
                layer.created_at
            ],
        )
        .map(drop)
    }

    /// The layer of that chain.
    pub fn layer(&self, chain_id: &ChainId) -> Result<Option<LayerRecord>> {
        self.row(
            "read a layer",
            "SELECT * FROM layers WHERE chain_id = ?1",
            params![chain_id.as_str()],
            layer,
        )
    }

    /// The layer and all below it, uppermost first.
    pub fn layer_chain(&self, top: &ChainId) -> Result<Vec<LayerRecord>> {
        self.rows(
            "read a layer chain",
            "WITH RECURSIVE chain (depth, id) AS (
                 SELECT 0, ?1
                 UNION ALL
                 SELECT depth + 1, parent FROM layers JOIN chain ON chain_id = chain.id
                 WHERE parent IS NOT NULL
             )
             SELECT layers.* FROM chain JOIN layers ON chain_id = chain.id ORDER BY depth",
            params![top.as_str()],
            layer,
        )
    }

    /// Every layer, in no order.
    pub fn layers(&self) -> Result<Vec<LayerRecord>> {
        self.rows("list layers", "SELECT * FROM layers", [], layer)
    }

    /// Whether an image, a container, another layer or the build cache needs the layer.
    pub fn layer_is_used(&self, chain_id: &ChainId) -> Result<bool> {
        self.row(
            "look for a layer's users",
            "SELECT EXISTS (SELECT 1 FROM layers WHERE parent = ?1)
                 OR EXISTS (SELECT 1 FROM images WHERE top_layer = ?1)
                 OR EXISTS (SELECT 1 FROM containers WHERE top_layer = ?1)
                 OR EXISTS (SELECT 1 FROM build_cache WHERE layer = ?1)",
            params![chain_id.as_str()],
            |row| row.get(0),
        )
        .map(|used| used.unwrap_or(false))
    }

    /// Removes the row; a layer in use is a constraint error. Returns whether there was one.
    pub fn layer_delete(&self, chain_id: &ChainId) -> Result<bool> {
        self.change(
            "remove a layer",
            "DELETE FROM layers WHERE chain_id = ?1",
            params![chain_id.as_str()],
        )
        .map(|changed| changed > 0)
    }
}
