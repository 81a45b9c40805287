//! Operations on images.

use std::io::Read;

use orlop_types::ImageId;
use orlop_types::filter::Filters;
use serde_json::Value;

use crate::{
    Engine, HistoryItem, ImageRemoveOptions, ImageSummary, ImportOptions, LayoutOptions,
    LayoutTarget, LoadOptions, LoadSource, Loaded, Removal, Result, SavePlan, WrittenImage,
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

    /// Loads every image of an archive; `progress` is told how many more bytes were read.
    pub fn image_load(
        &self,
        source: LoadSource,
        options: &LoadOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Loaded>> {
        let loaded = self.images().load(source, options, progress)?;
        self.store.keep_reserve();
        Ok(loaded)
    }

    /// Finds the images that are to be saved, and checks that they can be.
    pub fn image_plan_save(
        &self,
        names: &[String],
        platform: Option<&str>,
        options: LayoutOptions,
    ) -> Result<SavePlan> {
        Ok(self.images().plan_save(names, platform, options)?)
    }

    /// Writes images as an archive or an OCI layout; `progress` is told how many more bytes of layers
    /// were worked on.
    pub fn image_save(
        &self,
        plan: &SavePlan,
        target: LayoutTarget<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<WrittenImage>> {
        Ok(self.images().save_to(plan, target, progress)?)
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
    pub fn image_history(&self, name: &str, platform: Option<&str>) -> Result<Vec<HistoryItem>> {
        Ok(self.images().history(name, platform)?)
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
