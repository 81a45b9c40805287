//! Building images.

use orlop_build::Builder;
use orlop_build::progress::Progress;
use orlop_build::request::{BuildOutcome, BuildRequest};

use crate::{Engine, Result};

pub use orlop_build::{Cancel, Error, Location, progress, request};
pub use orlop_dockerfile::{Lines, csv_fields as fields, excerpt};

impl Engine {
    /// Builds what is asked for. Everything that happens is told to `progress` while it happens.
    pub fn build(
        &self,
        request: BuildRequest,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<BuildOutcome> {
        let builder = Builder::new(&self.store, &self.layers, &self.settings);
        let outcome = builder.build(request, progress, cancel);
        // What steps have left is in the trash.
        if self.has_trash() {
            self.reap_in_background();
        }
        self.store.keep_reserve();
        Ok(outcome?)
    }
}
