//! Operations on images.

use std::io::Read;

use orlop_types::ImageId;
use orlop_types::filter::Filters;
use serde_json::Value;

use crate::{
    Engine, HistoryItem, ImageRemoveOptions, ImageSummary, ImportOptions, Removal, Result,
};

impl Engine {
    /// Makes an image of a tar; `progress` is told how many bytes have been read.
    pub fn image_import(
        &self,
        source: Box<dyn Read + Send>,
        options: &ImportOptions,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<ImageId> {
        let id = self.images().import(source, options, progress)?;
        self.store.keep_reserve();
        Ok(id)
    }

    /// Lists images.
    pub fn image_list(&self, filters: &Filters) -> Result<Vec<ImageSummary>> {
        Ok(self.images().list(filters)?)
    }

    /// Shows everything about an image.
    pub fn image_inspect(&self, name: &str) -> Result<Value> {
        Ok(self.images().inspect(name)?)
    }

    /// Tells how an image came to be, newest step first.
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        Ok(self.images().history(name)?)
    }

    /// Gives an image one more name.
    pub fn image_tag(&self, source: &str, target: &str) -> Result<()> {
        Ok(self.images().tag(source, target)?)
    }

    /// Removes a name of an image, and the image with its last one.
    pub fn image_remove(&self, name: &str, options: ImageRemoveOptions) -> Result<Vec<Removal>> {
        self.store.make_room();
        let removed = self.images().remove(name, options)?;
        self.reap_in_background();
        Ok(removed)
    }

    /// Removes images that nothing needs; what went, and how many bytes it took up.
    pub fn image_prune(&self, filters: &Filters) -> Result<(Vec<Removal>, u64)> {
        self.store.make_room();
        let pruned = self.images().prune(filters)?;
        self.reap_in_background();
        Ok((pruned.images_deleted, pruned.space_reclaimed))
    }
}
