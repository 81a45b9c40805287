//! Layers as the tars they came from, and writable layers as they are seen.

use std::io::Write;

use orlop_archive::write::{TarWriter, Times};
use orlop_archive::{skeleton, stream};
use orlop_sys::confined::Root;
use orlop_sys::mount::mount_rootfs;
use orlop_types::{ChainId, ContainerId, DiffId};

use crate::driver::LayerKey;
use crate::import::Unpacked;
use crate::store::LayerStore;
use crate::{Changes, Error, Result};

impl LayerStore {
    /// Length of the tar that a layer came from.
    pub fn tar_length(&self, chain_id: &ChainId) -> Result<u64> {
        Ok(skeleton::tar_length(&self.layer_root(chain_id)?)?)
    }

    /// Writes the tar that a layer came from, byte for byte. The digest is compared at the end: an
    /// error then means that a file of the layer was changed on the disk.
    pub fn write_tar(
        &self,
        chain_id: &ChainId,
        diff_id: &DiffId,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        let layer = self.layer_root(chain_id)?;
        let ((), digest) =
            stream::hashed(output, |output| skeleton::replay(&layer, output).map(drop))?;
        let found = DiffId::new(digest);
        if found != *diff_id {
            return Err(Error::ChangedLayer { expected: diff_id.clone(), found });
        }
        Ok(())
    }

    pub(crate) fn layer_root(&self, chain_id: &ChainId) -> Result<Root> {
        Ok(Root::open(&self.driver().directory(&self.key_of(chain_id)?))?)
    }

    /// Unpacks once more what is unpacked already: the same content on another parent.
    pub fn unpack_again(&self, unpacked: &Unpacked, parent: Option<&ChainId>) -> Result<Unpacked> {
        let layer = Root::open(unpacked.directory())?;
        self.unpack_replayed(&layer, parent, unpacked.diff_id())
    }

    /// Unpacks a layer that the store has, for another parent.
    pub fn unpack_copy(
        &self,
        of: &ChainId,
        parent: Option<&ChainId>,
        diff_id: &DiffId,
    ) -> Result<Unpacked> {
        self.unpack_replayed(&self.layer_root(of)?, parent, diff_id)
    }

    fn unpack_replayed(
        &self,
        layer: &Root,
        parent: Option<&ChainId>,
        diff_id: &DiffId,
    ) -> Result<Unpacked> {
        let (reader, mut writer) = std::io::pipe()
            .map_err(crate::error::file("make a pipe for", std::path::Path::new("a layer")))?;
        std::thread::scope(|scope| {
            let written =
                scope.spawn(move || skeleton::replay(layer, &mut writer).map_err(Error::from));
            let unpacked = self.unpack(reader, parent, Some(diff_id));
            match written.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                // A broken pipe is only what the reader's error looks like from here.
                Err(error) if unpacked.is_ok() => Err(error),
                _ => unpacked,
            }
        })
    }

    /// Lists what a container changed against its image and the engine's own files.
    pub fn writable_changes(&self, id: &ContainerId) -> Result<Changes> {
        self.driver().changes(&LayerKey::of_container(id))
    }

    /// Writes everything a container sees without its volumes as a tar.
    pub fn writable_export(&self, id: &ContainerId, output: &mut dyn Write) -> Result<()> {
        let recipe = self.driver().view(&LayerKey::of_container(id))?;
        let root = Root::of_mount(mount_rootfs(&recipe)?)?;
        let mut tar = TarWriter::new(output, Times::Seconds);
        tar.tree(root.fd(), b"")?;
        tar.finish()?;
        Ok(())
    }
}
