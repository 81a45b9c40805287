//! `system df`: what images, containers and volumes take up.
//!
//! Sizes of image layers are kept since the layers were made. Those of writable layers and volumes are
//! kept since they were last measured, as long as nothing can have written there: no container that
//! uses them runs or has run since (the database forgets a size when a container starts or ends), and
//! nothing was copied in. Who changes a volume from the host goes unseen for
//! [`KEPT_FOR`] at most. What is not kept is measured, which is exact.

use std::collections::HashMap;
use std::time::Duration;

use orlop_container::ContainerQuery;
use orlop_meta::{ContainerRecord, Durability, KeptSize, VolumeRecord};
use orlop_types::filter::Filters;
use orlop_types::{ChainId, ContainerId};

use crate::{CacheUsage, ContainerSummary, Engine, ImageSummary, Result, VolumeInfo};

/// How long a size is kept at most.
pub const KEPT_FOR: Duration = Duration::from_secs(600);

/// What a store holds and how much of the disk that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of all image layers, each counted once.
    pub layers_bytes: u64,
    /// Bytes of what is kept in the form of registries: packed layers and manifests.
    pub packed_bytes: u64,
    /// Images, newest first.
    pub images: Vec<ImageUsage>,
    /// Containers, newest first.
    pub containers: Vec<ContainerUsage>,
    /// Volumes by name; those with driver options are somebody else's disk and left out, as in Docker.
    pub volumes: Vec<VolumeUsage>,
    /// Records of the build cache, the most recently used first. Cache mounts are among them and
    /// among the volumes.
    pub build_cache: Vec<CacheUsage>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUsage {
    /// What lists show.
    pub summary: ImageSummary,
    /// Bytes of the layers that other images have, too.
    pub shared_bytes: u64,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// What lists show.
    pub summary: ContainerSummary,
    /// Bytes of its writable layer.
    pub writable_bytes: u64,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// What lists show.
    pub info: VolumeInfo,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Containers that refer to it.
    pub references: usize,
}

impl VolumeUsage {
    /// Whether it is a cache mount of builds, whose bytes count for the build cache.
    #[must_use]
    pub fn is_build_cache(&self) -> bool {
        let labels = self.info.labels.as_ref();
        labels.is_some_and(|labels| labels.contains_key(orlop_build::run::cache_mount::LABEL))
    }
}

impl Engine {
    /// Measures what is not known.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let everything = ContainerQuery { all: true, last: None, filters: Filters::default() };
        let mut containers = Vec::new();
        for summary in self.containers().list(&everything)? {
            // One that has gone meanwhile takes up nothing.
            if let Some(writable_bytes) = self.writable_bytes(&summary.id)? {
                containers.push(ContainerUsage { summary, writable_bytes });
            }
        }
        let layers = self.store.read(|query| query.layers())?;
        Ok(DiskUsage {
            layers_bytes: layers.iter().map(|layer| layer.size_bytes).sum(),
            packed_bytes: self.store.read(|query| query.content_bytes())?,
            images: self.image_usages()?,
            containers,
            volumes: self.volume_usages()?,
            build_cache: self.build_cache(&Filters::default())?,
        })
    }

    fn image_usages(&self) -> Result<Vec<ImageUsage>> {
        let summaries = self.images().list(&Filters::default())?;
        self.store.read(|query| {
            let mut chains: Vec<Vec<(ChainId, u64)>> = Vec::new();
            let mut users: HashMap<ChainId, usize> = HashMap::new();
            for summary in &summaries {
                let top = query.image(&summary.id)?.and_then(|image| image.top_layer);
                let chain = match &top {
                    Some(top) => query.layer_chain(top)?,
                    None => Vec::new(),
                };
                for layer in &chain {
                    *users.entry(layer.chain_id.clone()).or_default() += 1;
                }
                chains.push(
                    chain.into_iter().map(|layer| (layer.chain_id, layer.size_bytes)).collect(),
                );
            }
            let shared = |chain: &[(ChainId, u64)]| {
                let is_shared = |id: &ChainId| users.get(id).is_some_and(|count| *count > 1);
                chain.iter().filter(|(id, _)| is_shared(id)).map(|(_, bytes)| bytes).sum()
            };
            Ok(summaries
                .into_iter()
                .zip(&chains)
                .map(|(summary, chain)| ImageUsage { summary, shared_bytes: shared(chain) })
                .collect())
        })
    }

    /// Bytes of a container's writable layer; `None` if there is no such container any more.
    pub(crate) fn writable_bytes(&self, id: &ContainerId) -> Result<Option<u64>> {
        let (record, kept) = self.store.read::<_, crate::Error>(|query| {
            Ok((query.container(id)?, query.container_size(id)?))
        })?;
        let Some(record) = record else { return Ok(None) };
        if let Some(bytes) = still_true(kept) {
            return Ok(Some(bytes));
        }
        let taken_ns = orlop_container::now_ns();
        let size_bytes = match self.layers.writable_usage(id) {
            Ok(usage) => usage.apparent_bytes,
            Err(error) => match self.store.read(|query| query.container(id))? {
                None => return Ok(None),
                Some(_) => return Err(error.into()),
            },
        };
        self.store.write::<_, crate::Error>(Durability::Lazy, |query| {
            if query.container(id)?.is_some_and(|present| is_unchanged(&record, &present)) {
                query.container_size_set(id, KeptSize { size_bytes, taken_ns })?;
            }
            Ok(())
        })?;
        Ok(Some(size_bytes))
    }

    fn volume_usages(&self) -> Result<Vec<VolumeUsage>> {
        let mut usages = Vec::new();
        for info in self.volumes().list(&Filters::default())? {
            if info.options.as_ref().is_some_and(|options| !options.is_empty()) {
                continue;
            }
            let (record, references, kept) = self.store.read::<_, crate::Error>(|query| {
                Ok((
                    query.volume(&info.name)?,
                    query.volume_users(&info.name)?.len(),
                    query.volume_size(&info.name)?,
                ))
            })?;
            let Some(record) = record else { continue };
            let size = match still_true(kept) {
                Some(size_bytes) => Some(size_bytes),
                None => self.measure_volume(&record)?,
            };
            if let Some(size_bytes) = size {
                usages.push(VolumeUsage { info, size_bytes, references });
            }
        }
        Ok(usages)
    }

    /// Measures a volume and keeps the result if nobody can have written meanwhile.
    fn measure_volume(&self, volume: &VolumeRecord) -> Result<Option<u64>> {
        let taken_ns = orlop_container::now_ns();
        let users = |query: &orlop_meta::Query<'_>| {
            let mut users = Vec::new();
            for id in query.volume_users(&volume.name)? {
                users.extend(query.container(&id)?);
            }
            Ok::<_, crate::Error>(users)
        };
        let before = self.store.read(users)?;
        let size_bytes = match self.volumes().usage(volume) {
            Ok(usage) => usage.map(|usage| usage.size_bytes),
            Err(error) => match self.store.read(|query| query.volume(&volume.name))? {
                None => return Ok(None),
                Some(_) => return Err(error.into()),
            },
        };
        let Some(size_bytes) = size_bytes else { return Ok(None) };
        self.store.write(Durability::Lazy, |query| {
            let after = users(query)?;
            let quiet = before.len() == after.len()
                && before.iter().zip(&after).all(|(before, after)| is_unchanged(before, after));
            if quiet {
                query.volume_size_set(&volume.name, KeptSize { size_bytes, taken_ns })?;
            }
            Ok::<_, crate::Error>(())
        })?;
        Ok(Some(size_bytes))
    }
}

/// Whether a container neither ran before a measurement nor was started during it.
fn is_unchanged(before: &ContainerRecord, after: &ContainerRecord) -> bool {
    !before.state.status.is_active()
        && before.id == after.id
        && before.state.status == after.state.status
        && before.state.started_at == after.state.started_at
}

/// A kept size that is not too old; a clock that was set back makes it so.
fn still_true(kept: Option<KeptSize>) -> Option<u64> {
    let kept = kept?;
    let age = orlop_container::now_ns().checked_sub(kept.taken_ns)?;
    let age = Duration::from_nanos(u64::try_from(age).ok()?);
    (age <= KEPT_FOR).then_some(kept.size_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_kept_for_a_while() {
        let now = orlop_container::now_ns();
        let aged = |seconds: i64| {
            still_true(Some(KeptSize { size_bytes: 7, taken_ns: now - seconds * 1_000_000_000 }))
        };
        assert_eq!(aged(0), Some(7));
        assert_eq!(aged(590), Some(7));
        assert_eq!(aged(601), None);
        assert_eq!(aged(-60), None, "the clock was set back");
        assert_eq!(still_true(None), None);
    }
}
