//! Cache mounts among the records of the build cache: `builder du`, `builder prune`, `system df -v`.
//!
//! A cache mount is a volume, so what is shown of it is what the volume says; its record has the
//! volume's name.

use jiff::Timestamp;
use orlop_meta::VolumeRecord;
use orlop_types::filter::Filters;
use orlop_volume::{Force, Volumes};

use super::cache_mount::{id_of, last_used};
use crate::Result;
use crate::builder::Builder;
use crate::cache_usage::{CachePruneOptions, CachePruned, CacheUsage, Wanted, keep_bytes};

/// BuildKit's word for records that are cache mounts.
pub(crate) const KIND: &str = "exec.cachemount";

impl Builder<'_> {
    /// The cache mounts, the most recently used first.
    pub fn cache_mounts(&self, filters: &Filters) -> Result<Vec<CacheUsage>> {
        let wanted = Wanted::new(filters)?;
        let mut found = Vec::new();
        for volume in self.store.read(|query| query.volumes())? {
            if let Some(id) = id_of(&volume)
                && let Some(usage) = self.describe_mount(&volume, id)?
                && wanted.has(&usage)
            {
                found.push(usage);
            }
        }
        found.sort_by_key(|usage| std::cmp::Reverse(usage.last_used_at));
        Ok(found)
    }

    /// Removes cache mounts that no step uses, the least recently used first, as far as the options
    /// want it; `layer_bytes` is what the rest of the cache takes.
    pub fn cache_mounts_prune(
        &self,
        options: &CachePruneOptions,
        layer_bytes: u64,
    ) -> Result<CachePruned> {
        let everything = self.cache_mounts(&Filters::default())?;
        let mut left: u64 =
            everything.iter().map(|usage| usage.size_bytes).sum::<u64>() + layer_bytes;
        let keep = keep_bytes(options, left, self.free_bytes());
        let wanted = Wanted::new(&options.filters)?;
        let volumes = Volumes::new(self.store);
        let mut pruned = CachePruned::default();
        for usage in everything.into_iter().rev().filter(|usage| wanted.has(usage)) {
            if keep.is_some_and(|keep| left <= keep) {
                break;
            }
            match volumes.remove(&usage.id, Force::Yes) {
                Ok(true) => {
                    left = left.saturating_sub(usage.size_bytes);
                    pruned.space_reclaimed += usage.size_bytes;
                    pruned.deleted.push(usage);
                }
                Ok(false) => {}
                // A step or a container works with it.
                Err(error) if error.kind() == orlop_types::ErrorKind::Conflict => {}
                Err(error) if error.kind() == orlop_types::ErrorKind::InUse => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(pruned)
    }

    fn describe_mount(&self, volume: &VolumeRecord, id: &str) -> Result<Option<CacheUsage>> {
        let usage = match Volumes::new(self.store).usage(volume) {
            Ok(usage) => usage,
            // Removed just now.
            Err(_) if self.store.read(|query| query.volume(&volume.name))?.is_none() => None,
            Err(error) => return Err(error.into()),
        };
        let Some(usage) = usage else { return Ok(None) };
        let created_at: Timestamp = volume.created_at.parse().unwrap_or_default();
        let last_used_at =
            last_used(self.store, volume).and_then(|time| Timestamp::try_from(time).ok());
        Ok(Some(CacheUsage {
            id: volume.name.as_str().to_owned(),
            parents: Vec::new(),
            kind: KIND.to_owned(),
            description: format!("cached mount with id {id:?}"),
            in_use: usage.references > 0,
            shared: false,
            size_bytes: usage.size_bytes,
            created_at,
            last_used_at: last_used_at.unwrap_or(created_at),
            usage_count: 0,
        }))
    }
}

impl CacheUsage {
    /// Whether a build may change it: a cache mount.
    #[must_use]
    pub fn is_mutable(&self) -> bool {
        self.kind == KIND
    }
}
