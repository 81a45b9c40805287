//! Removal of images that nothing uses.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use orlop_meta::{Durability, NewEvent, Query};
use orlop_sys::lock::FileLock;
use orlop_types::ChainId;
use orlop_types::filter::Filters;

use crate::describe::created_at;
use crate::images::config;
use crate::list::{labels_pass, until};
use crate::remove::{Plan, Removal, delete};
use crate::{Error, Images, Result};

/// What a prune removed, in Docker's JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pruned {
    /// Names, images and layers.
    pub images_deleted: Vec<Removal>,
    /// Bytes of the layers.
    pub space_reclaimed: u64,
}

impl Images<'_> {
    /// Removes images that no container uses: those without a tag, or with `dangling=false` all.
    /// Further filters: `until`, `label`, `label!`.
    pub fn prune(&self, filters: &Filters) -> Result<Pruned> {
        filters.check_names(&["dangling", "label", "label!", "until"])?;
        let dangling_only = filters.boolean("dangling")?.unwrap_or(true);
        let until = until(filters)?;
        let path = self.store.paths.run_root.join("image-prune.lock");
        let lock = FileLock::try_acquire(&path).map_err(|source| Error::Lock { path, source })?;
        let Some(_pruning) = lock else { return Err(Error::PruneRunning) };
        let (plan, sizes) = self.store.write(Durability::Durable, |query| {
            let sizes: HashMap<ChainId, u64> = query
                .layers()?
                .into_iter()
                .map(|layer| (layer.chain_id, layer.size_bytes))
                .collect();
            Ok::<_, Error>((decide(query, filters, dangling_only, until)?, sizes))
        })?;
        let (images_deleted, layers) = self.carry_out(plan)?;
        let space_reclaimed = layers.iter().filter_map(|layer| sizes.get(layer)).sum();
        self.store.write(Durability::Lazy, |query| {
            query.event_insert(&NewEvent {
                time_ns: i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
                kind: "image",
                action: "prune".to_owned(),
                actor: String::new(),
                attributes: BTreeMap::from([(
                    "reclaimed".to_owned(),
                    u64::to_string(&space_reclaimed),
                )]),
            })
        })?;
        Ok(Pruned { images_deleted, space_reclaimed })
    }
}

fn decide(
    query: &Query<'_>,
    filters: &Filters,
    dangling_only: bool,
    until: Option<Timestamp>,
) -> Result<Plan> {
    let mut plan = Plan::default();
    for image in query.images()? {
        let config = config(&image)?;
        // A name with a digest does not keep an image, one with a tag does.
        let tagged = query.tags_of(&image.id)?.iter().any(|tag| !tag.reference.contains('@'));
        let goes = !(dangling_only && tagged)
            && until.is_none_or(|time| created_at(&image, &config) < time)
            && labels_pass(filters, &config)
            && query.containers_of_image(&image.id)?.is_empty();
        if goes {
            delete(query, &image, &mut plan)?;
        }
    }
    Ok(plan)
}
