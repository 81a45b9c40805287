//! The files of containers: `cp`, the archive API, `explain`.

use orlop_container::ContainerFiles;
use orlop_container::explain::{Explanation, PathExplanation};

use crate::{Engine, Result};

impl Engine {
    /// Opens the files of a container, running or not, for looking at paths and copying.
    pub fn container_files(&self, name: &str) -> Result<ContainerFiles<'_>> {
        Ok(self.containers().files(name)?)
    }

    /// Tells what a container's file system is made of.
    pub fn container_explain(&self, name: &str) -> Result<Explanation> {
        Ok(self.containers().explain(name)?)
    }

    /// Tells where a path of a container comes from.
    pub fn container_explain_path(&self, name: &str, path: &str) -> Result<PathExplanation> {
        Ok(self.containers().explain_path(name, path)?)
    }
}
