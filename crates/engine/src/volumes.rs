//! Operations on volumes.

use orlop_types::filter::Filters;

use crate::{Engine, Force, NewVolume, Result, VolumeInfo};

impl Engine {
    /// Creates a volume, or finds the one that exists.
    pub fn volume_create(&self, new: NewVolume) -> Result<VolumeInfo> {
        let (record, _created) = self.volumes().create(new)?;
        Ok(self.volumes().info(record)?)
    }

    /// Lists volumes.
    pub fn volume_list(&self, filters: &Filters) -> Result<Vec<VolumeInfo>> {
        Ok(self.volumes().list(filters)?)
    }

    /// Shows everything about a volume.
    pub fn volume_inspect(&self, name: &str) -> Result<VolumeInfo> {
        Ok(self.volumes().inspect(name)?)
    }

    /// Removes a volume; with [`Force::Yes`] one that does not exist is fine.
    pub fn volume_remove(&self, name: &str, force: Force) -> Result<()> {
        self.store.make_room();
        self.volumes().remove(name, force)?;
        self.reap_in_background();
        Ok(())
    }

    /// Removes volumes that no container refers to; their names and how many bytes they took up.
    pub fn volume_prune(&self, filters: &Filters) -> Result<(Vec<String>, u64)> {
        self.store.make_room();
        let pruned = self.volumes().prune(filters)?;
        self.reap_in_background();
        let names = pruned.volumes_deleted.iter().map(|name| name.as_str().to_owned()).collect();
        Ok((names, pruned.space_reclaimed))
    }
}
