//! Lists, Docker's volume object, and sizes.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::AsFd as _;

use orlop_meta::VolumeRecord;
use orlop_sys::tree;
use orlop_types::VolumeName;
use orlop_types::filter::Filters;

use crate::{Error, Result, Scope, Volumes};

/// Docker's volume object, in the order in which its command line prints the fields.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeInfo {
    /// RFC 3339 time in whole seconds.
    pub created_at: String,
    /// Driver.
    pub driver: String,
    /// Labels; `null` when none were given.
    pub labels: Option<BTreeMap<String, String>>,
    /// Where its data is on this machine.
    pub mountpoint: String,
    /// Name.
    pub name: VolumeName,
    /// Driver options as given; `null` without any.
    pub options: Option<BTreeMap<String, String>>,
    /// Who can reach it.
    pub scope: Scope,
}

/// What `system df` says about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Sum of the sizes of its files, each counted once.
    pub size_bytes: u64,
    /// Containers that refer to it.
    pub references: usize,
}

/// Filters that a list knows.
const LIST_FILTERS: [&str; 5] = ["dangling", "driver", "label", "label!", "name"];

impl Volumes<'_> {
    /// Docker's object for a volume.
    pub fn inspect(&self, name: &str) -> Result<VolumeInfo> {
        self.info(self.find(name)?)
    }

    /// Docker's objects for the volumes that pass the filters, by name: `dangling`, `driver` (one
    /// of), `label` (all of), `name` (one of; exact, or a regular expression found in the name).
    pub fn list(&self, filters: &Filters) -> Result<Vec<VolumeInfo>> {
        filters.check_names(&LIST_FILTERS)?;
        let dangling = filters.boolean("dangling")?;
        let patterns = patterns(filters);
        self.adopt_unowned()?;
        let (volumes, unused) = self.store.read(|query| {
            let unused = if dangling.is_some() { query.volumes_unused()? } else { Vec::new() };
            Ok::<_, Error>((query.volumes()?, unused))
        })?;
        let unused: HashSet<VolumeName> = unused.into_iter().map(|volume| volume.name).collect();
        let passes = |volume: &VolumeRecord| {
            let name = volume.name.as_str();
            dangling.is_none_or(|wanted| wanted == unused.contains(&volume.name))
                && filters.is_match("driver", &volume.driver)
                && filters.matches_labels(volume.labels.as_ref().unwrap_or(&BTreeMap::new()))
                && (filters.is_match("name", name)
                    || patterns.iter().any(|pattern| pattern.is_match(name)))
        };
        volumes.into_iter().filter(passes).map(|volume| self.info(volume)).collect()
    }

    /// Measures a volume. One on a file system of its own is not mounted here: `None`.
    pub fn usage(&self, volume: &VolumeRecord) -> Result<Option<VolumeUsage>> {
        let users = self.store.read(|query| query.volume_users(&volume.name))?;
        let size = self.size_bytes(volume)?;
        Ok(size.map(|size_bytes| VolumeUsage { size_bytes, references: users.len() }))
    }

    pub(crate) fn size_bytes(&self, volume: &VolumeRecord) -> Result<Option<u64>> {
        let driver = self.driver(volume.name.as_str(), &volume.driver)?;
        if !driver.is_directory(volume) {
            return Ok(None);
        }
        tree::usage(self.open(volume)?.as_fd())
            .map(|usage| Some(usage.apparent_bytes))
            .map_err(|source| Error::Measure { name: volume.name.clone(), source })
    }

    /// Docker's object for a record.
    pub fn info(&self, volume: VolumeRecord) -> Result<VolumeInfo> {
        let driver = self.driver(volume.name.as_str(), &volume.driver)?;
        Ok(VolumeInfo {
            mountpoint: driver.mountpoint(&volume).to_string_lossy().into_owned(),
            scope: driver.scope(),
            created_at: volume.created_at,
            driver: volume.driver,
            labels: volume.labels,
            name: volume.name,
            options: volume.options,
        })
    }
}

/// The values of `name` as expressions; one that is malformed matches only literally, as in Docker.
fn patterns(filters: &Filters) -> Vec<regex::Regex> {
    filters.values("name").filter_map(|value| regex::Regex::new(value).ok()).collect()
}
