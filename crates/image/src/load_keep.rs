//! Compressed layers of an archive that is loaded are kept as they are, so that saving or pushing the
//! image gives the same bytes without compressing anything.

use std::io::{self, Read, Write as _};

use orlop_archive::compression::{Compression, MAGIC_BYTES};
use orlop_archive::{Packing, digest};
use orlop_meta::{ImageManifest, Query};
use orlop_types::{ChainId, DiffId, Digest};

use crate::content::{BlobWriter, Content, NewBlob};
use crate::images::now;
use crate::load_plan::PlannedImage;
use crate::{Error, Images, Result};

/// A compressed layer in its place that has no row yet.
pub(crate) struct KeptLayer {
    pub(crate) blob: NewBlob,
    pub(crate) diff_id: DiffId,
    pub(crate) chain_id: ChainId,
}

/// A reader that keeps what passes if it is compressed as registries know it, and hashes it anyway.
pub(crate) struct Keeping<'a, R> {
    inner: R,
    /// The first bytes, which were read to see how the rest is compressed.
    start: Vec<u8>,
    start_at: usize,
    sink: Sink<'a>,
    bytes: u64,
}

enum Sink<'a> {
    Keep(Box<BlobWriter<'a>>, Packing),
    Hash(Box<digest::Digester>),
}

impl<'a, R: Read> Keeping<'a, R> {
    /// Begins with nothing read but what tells the compression.
    pub(crate) fn new(content: Content<'a>, mut inner: R) -> Result<Self> {
        let mut start = Vec::with_capacity(MAGIC_BYTES);
        inner
            .by_ref()
            .take(MAGIC_BYTES as u64)
            .read_to_end(&mut start)
            .map_err(|source| Error::LoadFile { action: "read the archive", source })?;
        let packing = match Compression::detect(&start) {
            Compression::Gzip => Some(Packing::GZIP),
            Compression::Zstd => Some(Packing::ZSTD),
            _ => None,
        };
        let sink = match packing {
            Some(packing) => Sink::Keep(Box::new(content.write()?), packing),
            None => Sink::Hash(Box::default()),
        };
        Ok(Self { inner, start, start_at: 0, sink, bytes: 0 })
    }

    /// Reads what a decoder left: it belongs to the digest as well. Gives the digest and the length of
    /// everything, and the blob if it was kept.
    pub(crate) fn finish(mut self) -> Result<(Digest, u64, Option<NewBlob>)> {
        io::copy(&mut self, &mut io::sink())
            .map_err(|source| Error::LoadFile { action: "read the archive", source })?;
        Ok(match self.sink {
            Sink::Keep(writer, packing) => {
                let blob = writer.finish(packing.oci_layer_type(), None)?;
                (blob.digest().clone(), self.bytes, Some(blob))
            }
            Sink::Hash(digester) => (digester.finish(), self.bytes, None),
        })
    }
}

impl<R: Read> Read for Keeping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match self.start.get(self.start_at..).filter(|rest| !rest.is_empty()) {
            Some(mut rest) => {
                let length = rest.read(buffer)?;
                self.start_at += length;
                length
            }
            None => self.inner.read(buffer)?,
        };
        let piece = buffer.get(..length).unwrap_or_default();
        match &mut self.sink {
            Sink::Keep(writer, _) => writer.write_all(piece)?,
            Sink::Hash(digester) => digester.update(piece),
        }
        self.bytes += length as u64;
        Ok(length)
    }
}

impl Images<'_> {
    /// Keeps the manifests of images that came with one.
    pub(crate) fn keep_manifests(
        &self,
        images: &[PlannedImage],
    ) -> Result<Vec<(ImageManifest, NewBlob)>> {
        let mut kept = Vec::new();
        for image in images {
            let Some((media_type, bytes)) = &image.manifest else { continue };
            let blob = Content::new(self.store).put(media_type, bytes)?;
            let manifest = ImageManifest {
                image: image.id.clone(),
                manifest: blob.digest().clone(),
                index: None,
            };
            kept.push((manifest, blob));
        }
        Ok(kept)
    }

    /// The length of the tar in each kept layer.
    pub(crate) fn tar_lengths(&self, layers: &[KeptLayer]) -> Result<Vec<u64>> {
        layers.iter().map(|layer| Ok(self.layers.tar_length(&layer.chain_id)?)).collect()
    }
}

/// Adds the rows of what is kept, in the transaction that makes the images.
pub(crate) fn insert_kept(
    query: &Query<'_>,
    layers: &[KeptLayer],
    tar_lengths: &[u64],
    manifests: &[(ImageManifest, NewBlob)],
) -> Result<()> {
    for (layer, tar_bytes) in layers.iter().zip(tar_lengths) {
        layer.blob.insert(query)?;
        query.layer_blob_put(&layer.diff_id, layer.blob.digest(), *tar_bytes)?;
    }
    let now = now();
    for (manifest, blob) in manifests {
        blob.insert(query)?;
        query.image_manifest_put(manifest, &now)?;
    }
    Ok(())
}
