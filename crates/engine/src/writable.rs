//! Operations on what containers have written.

use std::io::Write;

use orlop_types::ImageId;

use crate::{Change, CommitRequest, Engine, Result};

impl Engine {
    /// Lists what a container changed against its image, sorted by path.
    pub fn container_changes(&self, name: &str) -> Result<Vec<Change>> {
        Ok(self.containers().changes(name)?)
    }

    /// Makes an image of a container.
    pub fn container_commit(&self, name: &str, request: CommitRequest) -> Result<ImageId> {
        let id = self.containers().commit(name, request)?;
        self.store.keep_reserve();
        Ok(id)
    }

    /// Writes a container's root as a tar, without what is mounted in it.
    pub fn container_export(&self, name: &str, output: &mut dyn Write) -> Result<()> {
        Ok(self.containers().export(name, output)?)
    }
}
