//! Layers whose copy on the disk is damaged: seeing it, and putting a good one in its place.

use std::io;

use orlop_archive::skeleton;
use orlop_sys::confined::Root;
use orlop_sys::fault;
use orlop_types::{ChainId, DiffId};

use crate::below::link_below;
use crate::driver::{LayerKey, write_lower};
use crate::import::Unpacked;
use crate::prune::prune_whiteouts;
use crate::store::LayerStore;
use crate::{Error, Result};

impl LayerStore {
    /// Whether a layer looks whole: its directory, its place in the chain and the length of every
    /// file that came with it. Contents are not read, so a changed byte is not seen.
    pub fn looks_whole(&self, chain_id: &ChainId) -> Result<bool> {
        let key = self.key_of(chain_id)?;
        if let Err(error) = self.driver().lowers(&key) {
            tracing::debug!(layer = %chain_id, %error, "a layer does not know what it stands on");
            return Ok(false);
        }
        let layer = match Root::open(&self.driver().directory(&key)) {
            Ok(layer) => layer,
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match skeleton::looks_whole(&layer) {
            Ok(whole) => Ok(whole),
            Err(error) => {
                tracing::debug!(layer = %chain_id, %error, "a layer is damaged");
                Ok(false)
            }
        }
    }

    /// Puts an unpacked layer in the place of the store's copy of it. Whatever stands on the layer
    /// goes on standing on it; nobody may have it mounted.
    ///
    /// Order: complete the good copy, sync it, exchange the two by one rename; the damaged one goes
    /// with the staging directory.
    pub fn replace(&self, chain_id: &ChainId, mut unpacked: Unpacked) -> Result<()> {
        let row = self.store().read::<_, Error>(|query| Ok(query.layer(chain_id)?))?;
        let row = row.ok_or_else(|| Error::UnknownLayer(chain_id.clone()))?;
        if row.diff_id != *unpacked.diff_id() {
            let found: DiffId = unpacked.diff_id().clone();
            return Err(Error::WrongDiffId { expected: row.diff_id, found });
        }
        let key = self.key_of(chain_id)?;
        let below: Vec<LayerKey> = match &row.parent {
            Some(parent) if !unpacked.stats.opaque_root => self.chain_keys(parent)?,
            _ => Vec::new(),
        };
        let contents: Vec<_> = below.iter().map(|key| self.driver().content(key)).collect();
        let content = unpacked.directory().join("diff");
        let links = std::mem::take(&mut unpacked.stats.links_below);
        link_below(&content, &contents, &links)?;
        prune_whiteouts(&content, &contents, &unpacked.stats.whiteouts)?;
        write_lower(unpacked.directory(), &below)?;
        let target = self.driver().directory(&key);
        fault::point("layer.replace.ready");
        unpacked.staged.replace(&target)?;
        fault::point("layer.replaced");
        Ok(())
    }
}
