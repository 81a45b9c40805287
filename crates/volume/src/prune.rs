//! Removal of volumes that nothing uses.

use std::collections::BTreeMap;

use orlop_meta::{Durability, NewEvent, VolumeRecord};
use orlop_types::filter::Filters;
use orlop_types::{ParseError, VolumeName};

use crate::local::LOCAL;
use crate::volumes::{OnRefusal, now_ns};
use crate::{ANONYMOUS_LABEL, Error, Result, Volumes, lock};

/// What a prune removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pruned {
    /// Names.
    pub volumes_deleted: Vec<VolumeName>,
    /// Bytes of their files.
    pub space_reclaimed: u64,
}

impl Volumes<'_> {
    /// Removes volumes of the driver `local` that no container refers to and that have no options:
    /// the anonymous ones, or with the filter `all=true` the named ones too. Further filters:
    /// `label`, `label!`.
    pub fn prune(&self, filters: &Filters) -> Result<Pruned> {
        filters.check_names(&["all", "label", "label!"])?;
        let all = all(filters)?;
        let path = self.store.paths.run_root.join("volume-prune.lock");
        let Some(_pruning) = lock::try_file(&path)? else { return Err(Error::PruneRunning) };
        self.adopt_unowned()?;
        let none = BTreeMap::new();
        let is_candidate = |volume: &VolumeRecord| {
            let labels = volume.labels.as_ref().unwrap_or(&none);
            volume.driver == LOCAL
                && volume.options.as_ref().is_none_or(BTreeMap::is_empty)
                && (all || labels.contains_key(ANONYMOUS_LABEL))
                && filters.matches_labels(labels)
        };
        let mut candidates =
            self.store.read::<_, crate::Error>(|query| Ok(query.volumes_unused()?))?;
        candidates.retain(is_candidate);
        let mut sizes: BTreeMap<VolumeName, u64> = BTreeMap::new();
        candidates.retain(|volume| match self.size_bytes(volume) {
            Ok(size) => {
                sizes.insert(volume.name.clone(), size.unwrap_or(0));
                true
            }
            Err(error) => {
                tracing::warn!(volume = %volume.name, %error, "volume is left out of the prune");
                false
            }
        });
        let removed = self.remove_all(&candidates, OnRefusal::Skip)?;
        let reclaimed = removed.iter().filter_map(|name| sizes.get(name)).sum();
        self.store.write(Durability::Lazy, |query| {
            query.event_insert(&NewEvent {
                time_ns: now_ns(),
                kind: "volume",
                action: "prune".to_owned(),
                actor: String::new(),
                attributes: BTreeMap::from([("reclaimed".to_owned(), u64::to_string(&reclaimed))]),
            })
        })?;
        Ok(Pruned { volumes_deleted: removed, space_reclaimed: reclaimed })
    }
}

/// Go's words for a boolean.
fn all(filters: &Filters) -> Result<bool, ParseError> {
    let values: Vec<&str> = filters.values("all").collect();
    match values.as_slice() {
        ["1" | "t" | "T" | "true" | "TRUE" | "True"] => Ok(true),
        [] | ["0" | "f" | "F" | "false" | "FALSE" | "False"] => Ok(false),
        [value] => Err(ParseError::new(format!("invalid filter 'all': invalid value '{value}'"))),
        _ => Err(ParseError::new(format!(
            "invalid filter 'all=[{}]': only one value is expected",
            values.join(" ")
        ))),
    }
}
