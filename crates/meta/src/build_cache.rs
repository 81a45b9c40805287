//! Rows of the build cache.
//!
//! A record says that a layer is kept for later builds; a key leads to a record. Several keys may lead
//! to one layer: what the step is and what its inputs are by definition, the same by content, and,
//! for layers that do not depend on what is below, by the layer alone. Layers of records are kept by a
//! foreign key, so a record goes before its layer does.

use orlop_types::{ChainId, DiffId};
use rusqlite::params;

use crate::database::{parsed, parsed_option};
use crate::{Query, Result};

/// One layer of the build cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRecord {
    /// Name of the record, as `builder du` shows it.
    pub id: String,
    /// The layer with everything below it.
    pub layer: ChainId,
    /// `regular`, `source.local`, ….
    pub kind: String,
    /// The instruction.
    pub description: String,
    /// RFC 3339 time at which the step last ran.
    pub created_at: String,
    /// Nanoseconds since 1970 at which a build last used it.
    pub last_used_ns: i64,
    /// How many builds used it after the one that made it.
    pub usage_count: u64,
}

/// A record with what its layer's row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedLayer {
    /// The record.
    pub record: CacheRecord,
    /// The layer's own content.
    pub diff_id: DiffId,
    /// The layer right below.
    pub parent: Option<ChainId>,
    /// Sum of the sizes of the files that the layer brings.
    pub size_bytes: u64,
}

/// What leads to a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheKey {
    /// Digest of the step and its inputs.
    pub key: String,
    /// Where it leads.
    pub layer: ChainId,
    /// What the key was made of, for explanations; none for keys that need none.
    pub reason: Option<CacheReason>,
}

/// What a key was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheReason {
    /// Digest of the step's JSON.
    pub operation_digest: String,
    /// The step's JSON.
    pub operation: String,
    /// What it ran on: a chain id, or empty.
    pub parent: String,
    /// Digests of its other inputs, with the files that they are of, as JSON.
    pub inputs: String,
}

const CACHED_LAYER: &str = "SELECT build_cache.id, build_cache.layer, build_cache.kind,
        build_cache.description, build_cache.created_at, build_cache.last_used_ns,
        build_cache.usage_count, layers.diff_id, layers.parent, layers.size_bytes
    FROM build_cache JOIN layers ON layers.chain_id = build_cache.layer";

/// All layers that images and containers stand on.
const BELOW: &str = "WITH RECURSIVE below (id) AS (
        SELECT top_layer FROM images WHERE top_layer IS NOT NULL
        UNION SELECT top_layer FROM containers WHERE top_layer IS NOT NULL
        UNION SELECT parent FROM layers JOIN below ON layers.chain_id = below.id
            WHERE parent IS NOT NULL)";

fn cached_layer(row: &rusqlite::Row<'_>) -> rusqlite::Result<CachedLayer> {
    Ok(CachedLayer {
        record: CacheRecord {
            id: row.get("id")?,
            layer: parsed(row, "layer")?,
            kind: row.get("kind")?,
            description: row.get("description")?,
            created_at: row.get("created_at")?,
            last_used_ns: row.get("last_used_ns")?,
            usage_count: row.get("usage_count")?,
        },
        diff_id: parsed(row, "diff_id")?,
        parent: parsed_option(row, "parent")?,
        size_bytes: row.get("size_bytes")?,
    })
}

fn reason(row: &rusqlite::Row<'_>) -> rusqlite::Result<CacheReason> {
    Ok(CacheReason {
        operation_digest: row.get("operation_digest")?,
        operation: row.get("operation")?,
        parent: row.get("parent")?,
        inputs: row.get("inputs")?,
    })
}

impl Query<'_> {
    /// What a key leads to.
    pub fn cache_lookup(&self, key: &str) -> Result<Option<CachedLayer>> {
        self.row(
            "look into the build cache",
            &format!(
                "{CACHED_LAYER} JOIN build_cache_keys ON build_cache_keys.layer = build_cache.layer
                 WHERE build_cache_keys.key = ?1"
            ),
            params![key],
            cached_layer,
        )
    }

    /// The record of a layer.
    pub fn cache_record(&self, layer: &ChainId) -> Result<Option<CachedLayer>> {
        self.row(
            "read a record of the build cache",
            &format!("{CACHED_LAYER} WHERE build_cache.layer = ?1"),
            params![layer.as_str()],
            cached_layer,
        )
    }

    /// Makes a record, or says of the one that there is that its step ran again.
    pub fn cache_put(&self, record: &CacheRecord) -> Result<()> {
        self.change(
            "add to the build cache",
            "INSERT INTO build_cache
                 (layer, id, kind, description, created_at, last_used_ns, usage_count)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (layer) DO UPDATE SET created_at = excluded.created_at,
                 description = excluded.description, last_used_ns = excluded.last_used_ns",
            params![
                record.layer.as_str(),
                record.id,
                record.kind,
                record.description,
                record.created_at,
                record.last_used_ns,
                record.usage_count
            ],
        )
        .map(drop)
    }

    /// Says when the step of a record ran.
    pub fn cache_created_at(&self, layer: &ChainId, created_at: &str) -> Result<()> {
        self.change(
            "date a record of the build cache",
            "UPDATE build_cache SET created_at = ?2 WHERE layer = ?1",
            params![layer.as_str(), created_at],
        )
        .map(drop)
    }

    /// Makes or moves a key.
    pub fn cache_key_put(&self, key: &CacheKey, now_ns: i64) -> Result<()> {
        let reason = key.reason.as_ref();
        self.change(
            "add a key to the build cache",
            "INSERT INTO build_cache_keys
                 (key, layer, operation_digest, operation, parent, inputs, made_ns)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (key) DO UPDATE SET layer = excluded.layer, inputs = excluded.inputs,
                 made_ns = excluded.made_ns",
            params![
                key.key,
                key.layer.as_str(),
                reason.map(|reason| reason.operation_digest.as_str()),
                reason.map(|reason| reason.operation.as_str()),
                reason.map(|reason| reason.parent.as_str()),
                reason.map(|reason| reason.inputs.as_str()),
                now_ns
            ],
        )
        .map(drop)
    }

    /// The keys that the last run of a layer's step was recorded under, in order: not those that only
    /// were found to be equal since.
    pub fn cache_keys_of(&self, layer: &ChainId) -> Result<Vec<String>> {
        self.rows(
            "list keys of the build cache",
            "SELECT key FROM build_cache_keys WHERE layer = ?1 AND made_ns =
                 (SELECT max(made_ns) FROM build_cache_keys
                  WHERE layer = ?1 AND operation_digest IS NOT NULL)
             ORDER BY key",
            params![layer.as_str()],
            |row| row.get(0),
        )
    }

    /// What the newest keys of a step were made of, newest first.
    pub fn cache_reasons_of(&self, operation_digest: &str) -> Result<Vec<CacheReason>> {
        self.rows(
            "look for what a step was made of",
            "SELECT operation_digest, operation, parent, inputs FROM build_cache_keys
             WHERE operation_digest = ?1 ORDER BY made_ns DESC LIMIT 8",
            params![operation_digest],
            reason,
        )
    }

    /// What the newest keys of the steps on a parent were made of, newest first.
    pub fn cache_reasons_on(&self, parent: &str) -> Result<Vec<CacheReason>> {
        self.rows(
            "look for steps on a layer",
            "SELECT operation_digest, operation, parent, inputs FROM build_cache_keys
             WHERE parent = ?1 AND operation_digest IS NOT NULL ORDER BY made_ns DESC LIMIT 8",
            params![parent],
            reason,
        )
    }

    /// Says that a build used these records.
    pub fn cache_used(&self, layers: &[ChainId], now_ns: i64) -> Result<()> {
        for layer in layers {
            self.change(
                "tell the build cache what was used",
                "UPDATE build_cache SET last_used_ns = max(last_used_ns, ?2),
                     usage_count = usage_count + 1 WHERE layer = ?1",
                params![layer.as_str(), now_ns],
            )?;
        }
        Ok(())
    }

    /// Every record, least recently used first; with it whether images or containers need its layer.
    pub fn cache_records(&self) -> Result<Vec<(CachedLayer, bool)>> {
        self.rows(
            "list the build cache",
            &format!(
                "{BELOW} SELECT listed.*, EXISTS (SELECT 1 FROM below WHERE below.id = listed.layer)
                     AS shared
                 FROM ({CACHED_LAYER}) AS listed ORDER BY last_used_ns, created_at, id"
            ),
            [],
            |row| Ok((cached_layer(row)?, row.get("shared")?)),
        )
    }

    /// Bytes of the layers that only the cache keeps, by its records or below them.
    pub fn cache_size(&self) -> Result<u64> {
        let sql = format!(
            "{BELOW}, kept (id) AS (
                 SELECT layer FROM build_cache
                 UNION SELECT parent FROM layers JOIN kept ON layers.chain_id = kept.id
                     WHERE parent IS NOT NULL)
             SELECT coalesce(sum(layers.size_bytes), 0) FROM kept
             JOIN layers ON layers.chain_id = kept.id
             WHERE kept.id NOT IN (SELECT id FROM below)"
        );
        Ok(self
            .row("measure the build cache", &sql, [], |row| row.get::<_, u64>(0))?
            .unwrap_or_default())
    }

    /// The layers that images or containers stand on.
    pub fn layers_of_images_and_containers(&self) -> Result<Vec<ChainId>> {
        self.rows("list layers in use", &format!("{BELOW} SELECT id FROM below"), [], |row| {
            parsed(row, "id")
        })
    }

    /// Removes a record and its keys; the layer stays until somebody removes what nobody needs.
    /// Returns whether there was one.
    pub fn cache_delete(&self, layer: &ChainId) -> Result<bool> {
        self.change(
            "remove from the build cache",
            "DELETE FROM build_cache WHERE layer = ?1",
            params![layer.as_str()],
        )
        .map(|changed| changed > 0)
    }
}
