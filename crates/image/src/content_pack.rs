//! Layers in packed form, made when they are first asked for and kept from then on.

use std::io::{self, Write};

use orlop_archive::compression::Compression;
use orlop_archive::pack::{PackWriter, Packing};
use orlop_layer::LayerStore;
use orlop_meta::{Durability, LayerBlob};
use orlop_sys::fault;
use orlop_types::{ChainId, DiffId};

use crate::content::{Content, failed};
use crate::{Error, Result};

/// Which packed form of a layer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerForm {
    /// Whatever the store has, else this.
    Any(Packing),
    /// This and no other.
    Exactly(Packing),
}

impl LayerForm {
    fn packing(self) -> Packing {
        match self {
            Self::Any(packing) | Self::Exactly(packing) => packing,
        }
    }

    /// Whether a blob of this media type will do.
    #[must_use]
    pub fn fits(self, media_type: &str) -> bool {
        match self {
            Self::Any(_) => true,
            Self::Exactly(packing) => compression_of(media_type) == Some(packing.compression()),
        }
    }
}

/// How a blob of a layer is compressed, by its media type; `None` if it is no layer that is known.
#[must_use]
pub fn compression_of(media_type: &str) -> Option<Compression> {
    let plain = media_type.rsplit('.').next().unwrap_or(media_type);
    match plain {
        "tar" => Some(Compression::None),
        "tar+gzip" | "gzip" => Some(Compression::Gzip),
        "tar+zstd" | "zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

impl Content<'_> {
    /// A packed form of a layer: one that the store has, or one that is made now and kept.
    ///
    /// `progress` is told how many more bytes of the layer's tar were packed.
    pub fn packed_layer(
        &self,
        layers: &LayerStore,
        chain_id: &ChainId,
        diff_id: &DiffId,
        form: LayerForm,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<LayerBlob> {
        let known = self.layer_blobs(diff_id)?;
        if let Some(blob) = known.into_iter().find(|blob| form.fits(&blob.media_type)) {
            return Ok(blob);
        }
        let packing = form.packing();
        let mut packer = PackWriter::new(packing, self.write()?);
        let mut told = Told { inner: &mut packer, progress };
        layers.write_tar(chain_id, diff_id, &mut told)?;
        let path = self.directory();
        let output = packer.finish().map_err(failed("write a blob for", &path))?;
        let blob = output.finish(packing.oci_layer_type(), None)?;
        let tar_bytes = layers.tar_length(chain_id)?;
        fault::point("content.packed");
        self.store.write::<_, Error>(Durability::Durable, |query| {
            blob.insert(query)?;
            Ok(query.layer_blob_put(diff_id, blob.digest(), tar_bytes)?)
        })?;
        let record = blob.record();
        Ok(LayerBlob {
            diff_id: diff_id.clone(),
            digest: record.digest.clone(),
            media_type: record.media_type.clone(),
            size_bytes: record.size_bytes,
            tar_bytes,
        })
    }
}

/// Tells what passes through to a writer.
struct Told<'a, W> {
    inner: &'a mut W,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<W: Write> Write for Told<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        (self.progress)(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
