//! What the build cache keeps, as a tree of layers, and what leaves it first.
//!
//! A record keeps its layer and every layer below it. So only a record that no other record stands on
//! gives space back, and of those the least recently used one goes first. Layers that images or
//! containers need, too, cost the cache nothing.

use std::collections::{HashMap, HashSet};

use orlop_meta::{CachedLayer, Query};
use orlop_types::ChainId;

use crate::Result;

/// One layer that the cache keeps.
#[derive(Clone, Debug)]
struct Kept {
    parent: Option<ChainId>,
    size_bytes: u64,
    shared: bool,
    recorded: bool,
    /// Layers right above that the cache keeps.
    above: usize,
}

/// The layers of the cache.
#[derive(Debug, Default)]
pub(crate) struct CacheTree {
    layers: HashMap<ChainId, Kept>,
    /// Records, least recently used first.
    pub records: Vec<CachedLayer>,
    total_bytes: u64,
}

/// A record that leaves the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub layer: ChainId,
    pub id: String,
    /// Bytes that nobody needs any more.
    pub freed_bytes: u64,
}

impl CacheTree {
    /// Reads the tree.
    pub fn read(query: &Query<'_>) -> Result<Self> {
        let shared: HashSet<ChainId> =
            query.layers_of_images_and_containers()?.into_iter().collect();
        let rows: HashMap<ChainId, (Option<ChainId>, u64)> = query
            .layers()?
            .into_iter()
            .map(|row| (row.chain_id, (row.parent, row.size_bytes)))
            .collect();
        let records = query.cache_records()?.into_iter().map(|(record, _)| record).collect();
        Ok(Self::new(&rows, &shared, records))
    }

    fn new(
        rows: &HashMap<ChainId, (Option<ChainId>, u64)>,
        shared: &HashSet<ChainId>,
        records: Vec<CachedLayer>,
    ) -> Self {
        let mut tree = Self { records, ..Self::default() };
        for record in &tree.records {
            let mut next = Some(record.record.layer.clone());
            let mut above = false;
            while let Some(layer) = next.take() {
                if let Some(kept) = tree.layers.get_mut(&layer) {
                    kept.above += usize::from(above);
                    break;
                }
                let Some((parent, size_bytes)) = rows.get(&layer) else { break };
                let is_shared = shared.contains(&layer);
                if !is_shared {
                    tree.total_bytes += size_bytes;
                }
                let kept = Kept {
                    parent: parent.clone(),
                    size_bytes: *size_bytes,
                    shared: is_shared,
                    recorded: false,
                    above: usize::from(above),
                };
                tree.layers.insert(layer, kept);
                next.clone_from(parent);
                above = true;
            }
        }
        for record in &tree.records {
            if let Some(kept) = tree.layers.get_mut(&record.record.layer) {
                kept.recorded = true;
            }
        }
        tree
    }

    /// Bytes of the layers that only the cache keeps.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Whether images or containers need a layer, too.
    pub fn is_shared(&self, layer: &ChainId) -> bool {
        self.layers.get(layer).is_some_and(|kept| kept.shared)
    }

    /// Bytes of those of the layers that only the cache keeps.
    pub fn own_bytes(&self, layers: &HashSet<ChainId>) -> u64 {
        let kept = layers.iter().filter_map(|layer| self.layers.get(layer));
        kept.filter(|kept| !kept.shared).map(|kept| kept.size_bytes).sum()
    }

    /// A layer and everything below it.
    pub fn chain(&self, top: &ChainId) -> HashSet<ChainId> {
        let mut chain = HashSet::new();
        let mut next = Some(top.clone());
        while let Some(layer) = next {
            next = self.layers.get(&layer).and_then(|kept| kept.parent.clone());
            chain.insert(layer);
        }
        chain
    }

    /// Takes records out, the least recently used first, as long as `more` wants it, being told the
    /// bytes that are left. Only records that `may` go are taken.
    pub fn evict(
        &mut self,
        may: impl Fn(&CachedLayer) -> bool,
        more: impl Fn(u64) -> bool,
    ) -> Vec<Evicted> {
        let mut evicted = Vec::new();
        let candidates: Vec<CachedLayer> =
            self.records.iter().filter(|record| may(record)).cloned().collect();
        let mut gone = vec![false; candidates.len()];
        while more(self.total_bytes) {
            // A record may become free by the one above it having gone, so it is looked for anew.
            let free = candidates.iter().zip(&gone).position(|(candidate, gone)| {
                let kept = self.layers.get(&candidate.record.layer);
                !gone && kept.is_some_and(|kept| kept.above == 0 && kept.recorded)
            });
            let Some(at) = free else { break };
            if let (Some(candidate), Some(gone)) = (candidates.get(at), gone.get_mut(at)) {
                *gone = true;
                let layer = candidate.record.layer.clone();
                let freed_bytes = self.remove(&layer);
                evicted.push(Evicted { layer, id: candidate.record.id.clone(), freed_bytes });
            }
        }
        let taken: HashSet<&ChainId> = evicted.iter().map(|evicted| &evicted.layer).collect();
        self.records.retain(|record| !taken.contains(&record.record.layer));
        evicted
    }

    /// Takes a layer out that nothing of the cache stands on, and what only it needed.
    fn remove(&mut self, layer: &ChainId) -> u64 {
        if let Some(kept) = self.layers.get_mut(layer) {
            kept.recorded = false;
        }
        let mut freed = 0;
        let mut next = Some(layer.clone());
        while let Some(layer) = next.take() {
            let Some(kept) = self.layers.get(&layer) else { break };
            if kept.recorded || kept.above > 0 {
                break;
            }
            if !kept.shared {
                freed += kept.size_bytes;
            }
            next.clone_from(&kept.parent);
            self.layers.remove(&layer);
            if let Some(below) = next.as_ref().and_then(|below| self.layers.get_mut(below)) {
                below.above = below.above.saturating_sub(1);
            }
        }
        self.total_bytes = self.total_bytes.saturating_sub(freed);
        freed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use orlop_meta::CacheRecord;
    use orlop_types::DiffId;

    use super::*;

    fn layer(number: u8) -> ChainId {
        format!("sha256:{}", format!("{number:02x}").repeat(32)).parse().unwrap()
    }

    fn record(number: u8, parent: Option<u8>, size_bytes: u64, last_used_ns: i64) -> CachedLayer {
        let diff: DiffId = layer(number).as_str().parse().unwrap();
        CachedLayer {
            record: CacheRecord {
                id: format!("r{number}"),
                layer: layer(number),
                kind: "regular".to_owned(),
                description: String::new(),
                created_at: String::new(),
                last_used_ns,
                usage_count: 0,
            },
            diff_id: diff,
            parent: parent.map(layer),
            size_bytes,
        }
    }

    /// 1 ← 2 ← 3 and 2 ← 4; 1 belongs to an image, 2 has no record.
    fn tree() -> CacheTree {
        let rows = [(1, None, 100), (2, Some(1), 10), (3, Some(2), 20), (4, Some(2), 40)];
        let rows = rows
            .into_iter()
            .map(|(number, parent, size)| (layer(number), (parent.map(layer), size)))
            .collect();
        let shared = [layer(1)].into_iter().collect();
        let records =
            vec![record(1, None, 100, 1), record(3, Some(2), 20, 2), record(4, Some(2), 40, 3)];
        CacheTree::new(&rows, &shared, records)
    }

    fn ids(evicted: &[Evicted]) -> Vec<(&str, u64)> {
        evicted.iter().map(|evicted| (evicted.id.as_str(), evicted.freed_bytes)).collect()
    }

    #[test]
    fn layers_of_images_cost_the_cache_nothing() {
        assert_eq!(tree().total_bytes(), 70);
        assert!(tree().is_shared(&layer(1)) && !tree().is_shared(&layer(3)));
    }

    #[test]
    fn the_least_recently_used_record_on_which_nothing_stands_goes_first() {
        let mut tree = tree();
        let evicted = tree.evict(|_| true, |left| left > 60);
        assert_eq!(ids(&evicted), [("r3", 20)]);
        assert_eq!(tree.total_bytes(), 50);
        let evicted = tree.evict(|_| true, |left| left > 0);
        assert_eq!(ids(&evicted), [("r4", 50)], "the layer below had no other user");
        assert_eq!(tree.total_bytes(), 0);
    }

    #[test]
    fn only_what_may_go_goes() {
        let mut tree = tree();
        let evicted = tree.evict(|record| record.record.id != "r3", |left| left > 0);
        assert_eq!(ids(&evicted), [("r4", 40)]);
        assert_eq!(tree.total_bytes(), 30);
    }
}
