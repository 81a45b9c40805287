//! What a layer brings: the headers of its tar, and the contents of its files.

use orlop_archive::headers::{HeaderStream, headers};
use orlop_archive::read::TarReader;
use orlop_sys::confined::Root;
use orlop_types::ChainId;

use crate::Result;
use crate::store::LayerStore;

impl LayerStore {
    /// Reads the headers of the tar that a layer came from, without the contents of its files.
    pub fn layer_headers(&self, chain_id: &ChainId) -> Result<TarReader<HeaderStream>> {
        Ok(headers(&self.layer_root(chain_id)?)?)
    }

    /// Opens the directory that holds a layer's files (and with some drivers those below, too).
    pub fn layer_files(&self, chain_id: &ChainId) -> Result<Root> {
        Ok(self.layer_root(chain_id)?.descend("diff")?)
    }
}
