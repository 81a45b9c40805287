//! The build cache: records in the database that lead from keys to layers.
//!
//! A key is the digest of a step and of what it stands on and reads: of their definitions (what they
//! were made by) and of their contents. See `docs/design` for both and for the budget.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use orlop_meta::{CacheKey, CacheReason, CacheRecord, CachedLayer, Durability, Store};
use orlop_sys::fault;
use orlop_types::ChainId;
use serde::{Deserialize, Serialize};

use crate::cache_tree::CacheTree;
use crate::{Error, Result};

/// Setting with the budget in bytes, or with a part of the disk as `NN%`.
pub(crate) const BUDGET_SETTING: &str = "build-cache-budget";
/// Part of the disk that the cache may take if nobody says otherwise, per cent.
const DEFAULT_PER_CENT: u64 = 10;
/// Files of one step whose digests are kept for explanations; a step with more explains by directory
/// only that something changed.
const EXPLAINED_FILES: usize = 2_000;

/// The cache during one build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cache<'a> {
    pub store: &'a Store,
    /// Bytes that the layers which only the cache keeps may take.
    pub budget_bytes: u64,
    /// Set when a record went, or a layer got none: then layers may have lost their last user.
    pub evicted: &'a AtomicBool,
}

/// A step that ran.
#[derive(Clone, Debug)]
pub(crate) struct NewRecord {
    pub layer: ChainId,
    /// `regular` or `source.local`.
    pub kind: &'static str,
    pub description: String,
    pub keys: Vec<CacheKey>,
}

/// What a key was made of beside the operation, as it is kept for explanations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputDigests {
    /// Of each input: its name, the digest of what of it counts, and its files.
    pub inputs: Vec<InputDigest>,
}

/// One input of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputDigest {
    pub name: String,
    pub digest: String,
    /// Digest of each file, shortened; empty if there are too many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl InputDigest {
    /// Keeps the digests of files unless there are too many.
    pub fn new(
        name: String,
        digest: String,
        files: impl Iterator<Item = (String, String)>,
    ) -> Self {
        const SHORT: usize = 12;
        let mut kept = BTreeMap::new();
        for (path, digest) in files {
            if kept.len() == EXPLAINED_FILES {
                kept.clear();
                break;
            }
            let digest = digest.strip_prefix("sha256:").unwrap_or(&digest);
            kept.insert(path, digest.chars().take(SHORT).collect());
        }
        Self { name, digest, files: kept }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

impl<'a> Cache<'a> {
    /// The cache of a store, with the budget that a build was given or that the store has.
    pub fn open(
        store: &'a Store,
        budget_bytes: Option<u64>,
        evicted: &'a AtomicBool,
    ) -> Result<Self> {
        let budget_bytes = match budget_bytes {
            Some(bytes) => bytes,
            None => budget(store)?,
        };
        Ok(Self { store, budget_bytes, evicted })
    }

    /// What keys lead to, in one look at the database.
    pub fn lookup_all(&self, keys: &[String]) -> Result<HashMap<String, CachedLayer>> {
        self.store.read::<_, Error>(|query| {
            let mut found = HashMap::new();
            for key in keys {
                if let Some(layer) = query.cache_lookup(key)? {
                    found.insert(key.clone(), layer);
                }
            }
            Ok(found)
        })
    }

    /// What one key leads to.
    pub fn lookup(&self, key: &str) -> Result<Option<CachedLayer>> {
        self.store.read::<_, Error>(|query| Ok(query.cache_lookup(key)?))
    }

    /// Records a layer that a step has made. First, the least recently used records go until it fits;
    /// one that does not fit at all is not kept. One transaction: the budget holds at every moment.
    /// Returns whether it is kept.
    pub fn record(&self, new: &NewRecord) -> Result<bool> {
        let now = now_ns();
        let kept = self.store.write::<_, Error>(Durability::Lazy, |query| {
            query.cache_put(&CacheRecord {
                id: random_id(),
                layer: new.layer.clone(),
                kind: new.kind.to_owned(),
                description: new.description.clone(),
                created_at: Timestamp::now().to_string(),
                last_used_ns: now,
                usage_count: 0,
            })?;
            for key in &new.keys {
                query.cache_key_put(key, now)?;
            }
            if query.cache_size()? <= self.budget_bytes {
                return Ok(true);
            }
            self.evicted.store(true, Ordering::Relaxed);
            let mut tree = CacheTree::read(query)?;
            // What gives no space back or is needed by the new layer itself stays; that layer goes first
            // if it is too large whatever goes.
            let mut stays = tree.chain(&new.layer);
            let fits = tree.own_bytes(&stays) <= self.budget_bytes;
            if !fits {
                query.cache_delete(&new.layer)?;
                tree = CacheTree::read(query)?;
                stays.clear();
            }
            let records = tree.records.iter().map(|record| &record.record.layer);
            stays.extend(records.filter(|layer| tree.is_shared(layer)).cloned());
            let evicted = tree.evict(
                |record| !stays.contains(&record.record.layer),
                |left| left > self.budget_bytes,
            );
            for record in &evicted {
                query.cache_delete(&record.layer)?;
            }
            if fits && tree.total_bytes() > self.budget_bytes {
                query.cache_delete(&new.layer)?;
                return Ok(false);
            }
            Ok(fits)
        })?;
        fault::point("build.cache.recorded");
        Ok(kept)
    }

    /// Records a layer that came from somewhere else; one that has a record only gets the keys that it
    /// lacks. Returns whether it is kept.
    pub fn record_imported(&self, new: &NewRecord, created_at: &str) -> Result<bool> {
        let known = self.store.read::<_, Error>(|query| {
            if query.cache_record(&new.layer)?.is_none() {
                return Ok(false);
            }
            for key in &new.keys {
                if query.cache_lookup(&key.key)?.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if known {
            return Ok(true);
        }
        let kept = self.record(new)?;
        if kept {
            self.store.write::<_, Error>(Durability::Lazy, |query| {
                Ok(query.cache_created_at(&new.layer, created_at)?)
            })?;
        }
        Ok(kept)
    }

    /// Adds keys that lead to a layer which has a record.
    pub fn alias(&self, keys: &[CacheKey]) -> Result<()> {
        let now = now_ns();
        self.store.write::<_, Error>(Durability::Lazy, |query| {
            for key in keys {
                if query.cache_record(&key.layer)?.is_some() {
                    query.cache_key_put(key, now)?;
                }
            }
            Ok(())
        })
    }

    /// Says that a build has used layers; nothing waits for the disk.
    pub fn used(&self, layers: &[ChainId]) -> Result<()> {
        if layers.is_empty() {
            return Ok(());
        }
        let now = now_ns();
        self.store.write::<_, Error>(Durability::Lazy, |query| Ok(query.cache_used(layers, now)?))
    }

    /// What earlier keys of the same step were made of, newest first.
    pub fn reasons_of(&self, operation_digest: &str) -> Result<Vec<CacheReason>> {
        self.store.read::<_, Error>(|query| Ok(query.cache_reasons_of(operation_digest)?))
    }

    /// What keys of steps on the same parent were made of, newest first.
    pub fn reasons_on(&self, parent: &str) -> Result<Vec<CacheReason>> {
        self.store.read::<_, Error>(|query| Ok(query.cache_reasons_on(parent)?))
    }
}

/// The budget that a store has.
pub(crate) fn budget(store: &Store) -> Result<u64> {
    let setting = store.read::<_, Error>(|query| Ok(query.setting(BUDGET_SETTING)?))?;
    let disk = || {
        rustix::fs::statvfs(&store.paths.root)
            .map_or(u64::MAX, |stat| stat.f_blocks.saturating_mul(stat.f_frsize))
    };
    let per_cent = |part: u64| disk() / 100 * part.min(100);
    Ok(match setting.as_deref() {
        Some(text) => match text.strip_suffix('%').map(str::parse) {
            Some(Ok(part)) => per_cent(part),
            _ => text.parse().unwrap_or_else(|_| per_cent(DEFAULT_PER_CENT)),
        },
        None => per_cent(DEFAULT_PER_CENT),
    })
}

/// A name for a record: 25 characters as BuildKit's.
pub(crate) fn random_id() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    const LENGTH: usize = 25;
    let mut number = rand::random::<u128>();
    let mut id = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        let digit = usize::try_from(number % 36).unwrap_or_default();
        id.push(char::from(*DIGITS.get(digit).unwrap_or(&b'0')));
        number /= 36;
    }
    id
}
