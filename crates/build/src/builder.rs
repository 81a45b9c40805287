//! The builder: what a face calls.

use orlop_container::{Containers, Settings};
use orlop_image::Images;
use orlop_layer::LayerStore;
use orlop_meta::Store;
use orlop_volume::Volumes;

use crate::progress::Progress;
use crate::request::{BuildOutcome, BuildRequest};
use crate::{Cancel, Result};

/// Builds images in one store.
#[derive(Clone, Copy, Debug)]
pub struct Builder<'a> {
    pub(crate) store: &'a Store,
    pub(crate) layers: &'a LayerStore,
    pub(crate) settings: &'a Settings,
}

impl<'a> Builder<'a> {
    /// Brings together what a build works on.
    #[must_use]
    pub fn new(store: &'a Store, layers: &'a LayerStore, settings: &'a Settings) -> Self {
        Self { store, layers, settings }
    }

    /// Operations on containers.
    pub(crate) fn containers(&self) -> Containers<'a> {
        Containers::new(self.store, self.layers, self.settings)
    }

    /// Operations on images.
    pub(crate) fn images(&self) -> Images<'a> {
        Images::new(self.store, self.layers)
    }

    /// Operations on volumes.
    pub(crate) fn volumes(&self) -> Volumes<'a> {
        Volumes::new(self.store)
    }

    /// Builds what is asked for. Everything that happens is told to `progress` while it happens; an
    /// error is told at its step, too.
    pub fn build(
        &self,
        request: BuildRequest,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<BuildOutcome> {
        let _ = (request, progress, self.containers(), self.images(), self.volumes());
        cancel.check()?;
        Err(crate::Error::failed(
            orlop_types::ErrorKind::Unavailable,
            "the builder is being put together",
        ))
    }
}
