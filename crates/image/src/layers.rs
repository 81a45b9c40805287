//! Layers that no image needs any more.

use orlop_layer::Error as LayerError;
use orlop_types::ChainId;

use crate::images::now;
use crate::{Images, Result};

impl Images<'_> {
    /// Layers that neither an image, nor a container, nor another layer needs: an import that was cut
    /// off left them, or a removal that happened while something else was being made.
    pub fn unreferenced_layers(&self) -> Result<Vec<ChainId>> {
        self.store.read(|query| {
            let mut unused = Vec::new();
            for layer in query.layers()? {
                if !query.layer_is_used(&layer.chain_id)? {
                    unused.push(layer.chain_id);
                }
            }
            Ok(unused)
        })
    }

    /// Moves those layers to the trash, with the layers that only they needed. Does nothing while
    /// somebody is making something, which may need one of them. Returns what is gone.
    pub fn remove_unreferenced_layers(&self) -> Result<Vec<ChainId>> {
        let mut removed = Vec::new();
        for top in self.unreferenced_layers()? {
            let chain = self.store.read(|query| query.layer_chain(&top))?;
            let chain: Vec<ChainId> = chain.into_iter().map(|layer| layer.chain_id).collect();
            removed.extend(self.remove_chain(&chain)?);
        }
        self.content().remove_unneeded()?;
        Ok(removed)
    }

    /// Removes layers, uppermost first, down to the first one that is needed. Their rows, and then
    /// their directories, go one by one; a cut leaves the rest unreferenced.
    pub(crate) fn remove_chain(&self, chain: &[ChainId]) -> Result<Vec<ChainId>> {
        let mut removed = Vec::new();
        if chain.is_empty() {
            return Ok(removed);
        }
        // Who makes an image or a container holds the other side of this lock until its row is there.
        let Some(_guard) = self.store.exclusive()? else {
            tracing::debug!("layers stay for now: something is being made");
            return Ok(removed);
        };
        for chain_id in chain {
            match self.layers.remove_layer(chain_id, &now()) {
                Ok(_) => removed.push(chain_id.clone()),
                Err(LayerError::InUse(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(removed)
    }
}
