//! Operations that look into images, and make others of their layers.

use std::collections::HashMap;

use orlop_types::ImageId;

use crate::{EditRequest, Engine, FlattenRequest, Flattened, ImageDiff, ImageTree, Result};

impl Engine {
    /// Looks at an image layer by layer.
    pub fn image_tree(&self, name: &str) -> Result<ImageTree> {
        Ok(self.images().tree(name)?)
    }

    /// Compares two images; with paths, only what is at or below one of them.
    pub fn image_diff(&self, from: &str, to: &str, paths: &[String]) -> Result<ImageDiff> {
        Ok(self.images().diff(from, to, paths)?)
    }

    /// Makes an image with the same files in fewer layers.
    pub fn image_flatten(&self, request: &FlattenRequest) -> Result<Flattened> {
        let flattened = self.images().flatten(request)?;
        self.store.keep_reserve();
        Ok(flattened)
    }

    /// Makes an image of the same layers with other settings.
    pub fn image_edit(&self, request: &EditRequest) -> Result<ImageId> {
        Ok(self.images().edit(request)?)
    }

    /// Bytes of the compressed layers that are kept for each image.
    pub fn image_content_bytes(&self) -> Result<HashMap<ImageId, u64>> {
        Ok(self.images().content_bytes()?)
    }
}
