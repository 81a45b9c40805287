//! The build cache: what it holds, and emptying it.

use orlop_build::{Builder, CachePruneOptions, CachePruned, CacheUsage};
use orlop_types::filter::Filters;

use crate::{Engine, Result};

impl Engine {
    /// The builder of this store.
    pub(crate) fn builder(&self) -> Builder<'_> {
        Builder::new(&self.store, &self.layers, &self.settings)
    }

    /// Every record of the build cache, cache mounts among them; the most recently used first.
    pub fn build_cache(&self, filters: &Filters) -> Result<Vec<CacheUsage>> {
        let builder = self.builder();
        let mut records = builder.cache_usage(filters)?;
        records.extend(builder.cache_mounts(filters)?);
        // Stable: layers that are as old stay in their order.
        records.sort_by_key(|record| std::cmp::Reverse(record.last_used_at));
        Ok(records)
    }

    /// Bytes that the build cache may take, and those that it takes of layers which nothing else needs.
    pub fn build_cache_budget(&self) -> Result<(u64, u64)> {
        Ok(self.builder().cache_budget()?)
    }

    /// Keeps a budget for the builds to come: bytes, or a part of the disk as `NN%`. What is too much
    /// goes at once.
    pub fn set_build_cache_budget(&self, value: &str) -> Result<()> {
        self.store.make_room();
        self.builder().set_cache_budget(value)?;
        self.reap_in_background();
        Ok(())
    }

    /// Removes records of the build cache: layers first, then cache mounts.
    pub fn build_cache_prune(&self, options: &CachePruneOptions) -> Result<CachePruned> {
        self.store.make_room();
        let builder = self.builder();
        let mut pruned = builder.cache_prune(options)?;
        let (_, layer_bytes) = builder.cache_budget()?;
        let mounts = builder.cache_mounts_prune(options, layer_bytes)?;
        pruned.deleted.extend(mounts.deleted);
        pruned.space_reclaimed += mounts.space_reclaimed;
        self.reap_in_background();
        Ok(pruned)
    }
}
