//! Directories below `volumes/` that no row owns.
//!
//! They come from creations that were cut off, from backups and from people's hands; they are taken
//! as volumes and never deleted.

use std::collections::HashSet;

use orlop_meta::{Durability, VolumeRecord};
use orlop_types::VolumeName;

use crate::error::file;
use crate::local::LOCAL;
use crate::volumes::now;
use crate::{Result, VolumeDriver as _, Volumes, lock};

impl Volumes<'_> {
    /// Gives every volume directory that has none a row. Returns the new rows.
    pub fn adopt_unowned(&self) -> Result<Vec<VolumeRecord>> {
        let owned: HashSet<VolumeName> = self
            .store
            .read::<_, crate::Error>(|query| Ok(query.volumes()?))?
            .into_iter()
            .map(|volume| volume.name)
            .collect();
        let volumes = self.store.paths.volumes();
        let mut adopted = Vec::new();
        for entry in std::fs::read_dir(&volumes).map_err(file("list", &volumes))? {
            let entry = entry.map_err(file("list", &volumes))?;
            let name = entry.file_name().to_str().and_then(|name| name.parse::<VolumeName>().ok());
            // Names that no volume can have (`lost+found`) belong to somebody else.
            let Some(name) = name else { continue };
            if !owned.contains(&name) {
                adopted.extend(self.adopt_one(&name)?);
            }
        }
        Ok(adopted)
    }

    /// Directories of volumes that no row owns, seen while nobody makes or removes a volume. What a
    /// removal that was cut off has left is not one of them.
    pub fn unowned(&self) -> Result<Vec<VolumeName>> {
        let volumes = self.store.paths.volumes();
        let _changing = lock::exclusive(&volumes)?;
        let (rows, trash) = self.store.read::<_, crate::Error>(|query| {
            let rows: HashSet<VolumeName> =
                query.volumes()?.into_iter().map(|volume| volume.name).collect();
            Ok((rows, query.trash()?))
        })?;
        let root = &self.store.paths.root;
        let mut unowned = Vec::new();
        for entry in std::fs::read_dir(&volumes).map_err(file("list", &volumes))? {
            let entry = entry.map_err(file("list", &volumes))?;
            let name = entry.file_name().to_str().and_then(|name| name.parse::<VolumeName>().ok());
            let Some(name) = name else { continue };
            let home = entry.path();
            let is_deleted =
                trash.iter().any(|row| root.join(&row.path) == home && self.store.is_cut_off(row));
            if !rows.contains(&name) && !is_deleted && self.local.exists(&name)? {
                unowned.push(name);
            }
        }
        Ok(unowned)
    }

    /// Gives the directory of that name a row, if there is one with data and without a row.
    pub(crate) fn adopt_one(&self, name: &VolumeName) -> Result<Option<VolumeRecord>> {
        if !self.local.exists(name)? {
            return Ok(None);
        }
        // A creation or removal under way holds this; after the wait its outcome counts.
        let _changing = lock::exclusive(&self.store.paths.volumes())?;
        if let Some(volume) = self.store.read(|query| query.volume(name))? {
            return Ok(Some(volume));
        }
        self.finish_removal_of(name)?;
        if !self.local.exists(name)? {
            return Ok(None);
        }
        let volume = self.local.sidecar(name).unwrap_or_else(|| VolumeRecord {
            name: name.clone(),
            driver: LOCAL.to_owned(),
            labels: None,
            options: None,
            anonymous: false,
            created_at: now(),
        });
        self.store.write(Durability::Durable, |query| query.volume_insert(&volume))?;
        tracing::info!(op = "volume adopt", volume = %name);
        Ok(Some(volume))
    }
}
