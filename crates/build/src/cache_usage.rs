//! `builder du` and `builder prune`: what the build cache holds, and emptying it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use orlop_meta::{CachedLayer, Durability};
use orlop_sys::fault;
use orlop_types::ChainId;
use orlop_types::filter::Filters;

use crate::builder::Builder;
use crate::cache::{BUDGET_SETTING, budget};
use crate::cache_tree::CacheTree;
use crate::{Error, Result};

/// Names of filters.
const FILTERS: [&str; 10] = [
    "until",
    "unused-for",
    "id",
    "parent",
    "type",
    "description",
    "inuse",
    "shared",
    "private",
    "mutable",
];

/// One record as `builder du` and `system df -v` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheUsage {
    /// Its name.
    pub id: String,
    /// Names of the records that it stands on.
    pub parents: Vec<String>,
    /// `regular`, `source.local`, ….
    pub kind: String,
    /// The instruction.
    pub description: String,
    /// Whether a build works on it.
    pub in_use: bool,
    /// Whether images or containers need its layer, too.
    pub shared: bool,
    /// Bytes of its layer.
    pub size_bytes: u64,
    /// When the step ran.
    pub created_at: Timestamp,
    /// When a build last used it.
    pub last_used_at: Timestamp,
    /// How many builds used it after the first.
    pub usage_count: u64,
}

/// What a prune takes.
#[derive(Clone, Debug, Default)]
pub struct CachePruneOptions {
    /// Also what images need.
    pub all: bool,
    /// `until`, `id`, `parent`, `type`, `description`, `inuse`, `shared`, `private`.
    pub filters: Filters,
    /// Bytes that stay in any case (`--keep-storage`, `--reserved-space`).
    pub reserved_bytes: u64,
    /// Bytes that may stay at most.
    pub max_used_bytes: u64,
    /// Bytes of the disk that shall be free afterwards.
    pub min_free_bytes: u64,
}

/// What a prune took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachePruned {
    /// The records.
    pub deleted: Vec<CacheUsage>,
    /// Bytes that are free now.
    pub space_reclaimed: u64,
}

impl Builder<'_> {
    /// Every record, the most recently used first.
    pub fn cache_usage(&self, filters: &Filters) -> Result<Vec<CacheUsage>> {
        let wanted = Wanted::new(filters)?;
        let tree = self.store.read(CacheTree::read)?;
        let mut usage: Vec<CacheUsage> = tree
            .records
            .iter()
            .map(|record| describe(record, &tree))
            .filter(|usage| wanted.has(usage))
            .collect();
        usage.reverse();
        Ok(usage)
    }

    /// Bytes that the cache may take, and those that it takes of layers which nothing else needs.
    pub fn cache_budget(&self) -> Result<(u64, u64)> {
        let used = self.store.read::<_, Error>(|query| Ok(query.cache_size()?))?;
        Ok((budget(self.store)?, used))
    }

    /// Keeps a budget for the builds to come: bytes, or a part of the disk as `NN%`. What is too much
    /// goes at once.
    pub fn set_cache_budget(&self, value: &str) -> Result<()> {
        let number = value.strip_suffix('%').unwrap_or(value);
        if number.parse::<u64>().is_err() {
            return Err(Error::invalid(format!(
                "invalid build cache budget `{value}`: give bytes or a part of the disk as `10%`"
            )));
        }
        self.store.write::<_, Error>(Durability::Durable, |query| {
            Ok(query.setting_put(BUDGET_SETTING, value)?)
        })?;
        let max_used_bytes = budget(self.store)?;
        self.prune_where(|_| true, move |left| left > max_used_bytes).map(drop)
    }

    /// Removes records, the least recently used first, and the layers that nothing else needs.
    pub fn cache_prune(&self, options: &CachePruneOptions) -> Result<CachePruned> {
        let wanted = Wanted::new(&options.filters)?;
        let total = self.store.read::<_, Error>(|query| Ok(query.cache_size()?))?;
        let keep_bytes = keep_bytes(options, total, self.free_bytes());
        let may = |usage: &CacheUsage| {
            let shared_stays = !options.all && usage.shared;
            !shared_stays && wanted.has(usage)
        };
        self.prune_where(may, |left| keep_bytes.is_none_or(|keep| left > keep))
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.store.paths.root)
            .map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// One transaction takes the records; then their layers go, as soon as nobody is making anything.
    fn prune_where(
        &self,
        may: impl Fn(&CacheUsage) -> bool,
        more: impl Fn(u64) -> bool,
    ) -> Result<CachePruned> {
        let pruned = self.store.write::<_, Error>(Durability::Durable, |query| {
            let mut tree = CacheTree::read(query)?;
            let usage: Vec<CacheUsage> =
                tree.records.iter().map(|record| describe(record, &tree)).collect();
            let chosen: Vec<&str> =
                usage.iter().filter(|usage| may(usage)).map(|usage| usage.id.as_str()).collect();
            let evicted = tree.evict(|record| chosen.contains(&record.record.id.as_str()), more);
            let mut pruned = CachePruned::default();
            for record in evicted {
                query.cache_delete(&record.layer)?;
                pruned.space_reclaimed += record.freed_bytes;
                pruned.deleted.extend(usage.iter().find(|usage| usage.id == record.id).cloned());
            }
            Ok(pruned)
        })?;
        fault::point("build.cache.pruned");
        self.remove_evicted()?;
        Ok(pruned)
    }

    /// Removes layers that left the cache, unless somebody is making something just now: whoever comes
    /// next does it then.
    pub(crate) fn remove_evicted(&self) -> Result<Vec<ChainId>> {
        Ok(self.images().remove_unreferenced_layers()?)
    }
}

/// Bytes that stay; `None` where nothing need stay.
pub(crate) fn keep_bytes(options: &CachePruneOptions, total: u64, free: u64) -> Option<u64> {
    let (max_used, reserved) = (options.max_used_bytes, options.reserved_bytes);
    if max_used == 0 && reserved == 0 && options.min_free_bytes == 0 {
        return None;
    }
    let mut keep = max_used;
    let missing = options.min_free_bytes.saturating_sub(free);
    if missing > 0 {
        let left = total.saturating_sub(missing);
        keep = if keep == 0 { left } else { keep.min(left) };
    } else if keep == 0 && options.min_free_bytes > 0 {
        // There is enough free space, so nothing has to go.
        keep = total;
    }
    Some(keep.max(reserved))
}

fn describe(record: &CachedLayer, tree: &CacheTree) -> CacheUsage {
    let CachedLayer { record, parent, size_bytes, .. } = record;
    let below = parent
        .as_ref()
        .and_then(|parent| tree.records.iter().find(|other| other.record.layer == *parent));
    CacheUsage {
        id: record.id.clone(),
        parents: below.iter().map(|below| below.record.id.clone()).collect(),
        kind: record.kind.clone(),
        description: record.description.clone(),
        in_use: false,
        shared: tree.is_shared(&record.layer),
        size_bytes: *size_bytes,
        created_at: record.created_at.parse().unwrap_or_default(),
        last_used_at: Timestamp::from_nanosecond(i128::from(record.last_used_ns))
            .unwrap_or_default(),
        usage_count: record.usage_count,
    }
}

/// What a filter wants of a property, if it does, and the property.
type Flag = (Option<bool>, fn(&CacheUsage) -> bool);

/// Parsed filters.
pub(crate) struct Wanted<'f> {
    filters: &'f Filters,
    before: Option<Timestamp>,
    flags: [Flag; 4],
}

impl<'f> Wanted<'f> {
    pub(crate) fn new(filters: &'f Filters) -> Result<Self> {
        let invalid = |error: orlop_types::ParseError| Error::invalid(error.to_string());
        filters.check_names(&FILTERS).map_err(invalid)?;
        let now = Timestamp::now();
        let mut before = None;
        for text in filters.values("until").chain(filters.values("unused-for")) {
            let time = orlop_types::duration::parse_moment(text, now, &TimeZone::system())
                .map_err(|_| {
                    Error::invalid(format!("failed to parse value as time or duration: {text:?}"))
                })?;
            before = Some(before.map_or(time, |earlier: Timestamp| earlier.min(time)));
        }
        let flag = |name: &str| filters.boolean(name).map_err(invalid);
        Ok(Self {
            filters,
            before,
            flags: [
                (flag("inuse")?, |usage| usage.in_use),
                (flag("shared")?, |usage| usage.shared),
                (flag("private")?, |usage| !usage.shared),
                (flag("mutable")?, |usage| usage.kind == crate::run::CACHE_MOUNT),
            ],
        })
    }

    pub(crate) fn has(&self, usage: &CacheUsage) -> bool {
        let any = |name: &str, matches: &dyn Fn(&str) -> bool| {
            !self.filters.contains(name) || self.filters.values(name).any(matches)
        };
        self.before.is_none_or(|before| usage.last_used_at < before)
            && self.flags.iter().all(|(wanted, is)| wanted.is_none_or(|wanted| wanted == is(usage)))
            && any("id", &|id| usage.id.starts_with(id))
            && any("parent", &|id| usage.parents.iter().any(|parent| parent.starts_with(id)))
            && any("type", &|kind| usage.kind == kind)
            && any("description", &|text| usage.description.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_follows_buildkits_rules() {
        let options = |reserved_bytes, max_used_bytes, min_free_bytes| CachePruneOptions {
            reserved_bytes,
            max_used_bytes,
            min_free_bytes,
            ..CachePruneOptions::default()
        };
        assert_eq!(keep_bytes(&options(0, 0, 0), 100, 50), None);
        assert_eq!(keep_bytes(&options(30, 0, 0), 100, 50), Some(30));
        assert_eq!(keep_bytes(&options(0, 80, 0), 100, 50), Some(80));
        assert_eq!(keep_bytes(&options(0, 80, 90), 100, 50), Some(60));
        assert_eq!(keep_bytes(&options(70, 80, 90), 100, 50), Some(70));
        assert_eq!(keep_bytes(&options(0, 0, 20), 100, 50), Some(100));
    }
}
