//! The layers of images that are written: as they came, as tars, or compressed for the occasion.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use orlop_archive::compression::Compression;
use orlop_archive::digest::Digester;
use orlop_archive::{PackWriter, Packing};
use orlop_meta::{LayerRecord, StagedDirectory};
use orlop_types::{DiffId, Digest};
use serde::Deserialize;

use crate::content_pack::compression_of;
use crate::layout::{Item, LayerPacking, LayoutOptions, MediaTypes, SavePlan};
use crate::{Error, Images, Result};

/// Layers that are compressed at the same time.
const PARALLEL_LAYERS: usize = 4;
/// Longest manifest: what registries take.
const MANIFEST_MAX_BYTES: u64 = 4 << 20;

/// How a layer is going to be written.
#[derive(Clone, Debug)]
pub(crate) enum LayerChoice {
    /// The tar that it came from.
    Tar { bytes: u64 },
    /// A compressed form that the store keeps.
    Kept { digest: Digest, bytes: u64, compression: Compression },
    /// Compressed now.
    Pack { packing: Packing, tar_bytes: u64 },
}

impl LayerChoice {
    /// Bytes that pass while it is made ready and written.
    pub(crate) fn work_bytes(&self) -> u64 {
        match self {
            Self::Tar { bytes } | Self::Kept { bytes, .. } => *bytes,
            Self::Pack { tar_bytes, .. } => *tar_bytes,
        }
    }
}

/// A layer that is ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    pub(crate) compression: Compression,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Tar,
    Kept(PathBuf),
    /// The directory goes with the last of its blobs.
    Packed(PathBuf, #[allow(dead_code)] Arc<StagedDirectory>),
}

impl Blob {
    /// What a manifest calls it.
    pub(crate) fn media_type(&self, types: MediaTypes) -> &'static str {
        let packing = match self.compression {
            Compression::Gzip => Packing::GZIP,
            Compression::Zstd => Packing::ZSTD,
            _ => Packing::None,
        };
        match types {
            MediaTypes::Oci => packing.oci_layer_type(),
            MediaTypes::Docker => {
                packing.docker_layer_type().unwrap_or_else(|| packing.oci_layer_type())
            }
        }
    }
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::LoadFile { action, source }
}

impl Images<'_> {
    /// How a layer is written with these options.
    pub(crate) fn choose(
        &self,
        layer: &LayerRecord,
        options: LayoutOptions,
    ) -> Result<LayerChoice> {
        let wanted = match options.packing {
            LayerPacking::Exactly(packing) => return self.made(layer, packing),
            LayerPacking::By(Packing::None) => return self.made(layer, Packing::None),
            LayerPacking::By(packing) => Some(packing),
            LayerPacking::Kept => None,
        };
        let blobs = self.store.read::<_, Error>(|query| Ok(query.layer_blobs(&layer.diff_id)?))?;
        for blob in blobs {
            let Some(compression) = compression_of(&blob.media_type) else { continue };
            let fits = wanted.is_none_or(|packing| packing.compression() == compression)
                && !(options.types == MediaTypes::Docker && compression == Compression::Zstd);
            // Who removed the file by hand gets the layer all the same.
            let facts = self.store.paths.content(&blob.digest).symlink_metadata();
            if fits && facts.is_ok_and(|facts| facts.is_file() && facts.len() == blob.size_bytes) {
                let (digest, bytes) = (blob.digest, blob.size_bytes);
                return Ok(LayerChoice::Kept { digest, bytes, compression });
            }
        }
        self.made(layer, wanted.unwrap_or(Packing::None))
    }

    fn made(&self, layer: &LayerRecord, packing: Packing) -> Result<LayerChoice> {
        let tar_bytes = self.layers.tar_length(&layer.chain_id)?;
        Ok(match packing {
            Packing::None => LayerChoice::Tar { bytes: tar_bytes },
            packing => LayerChoice::Pack { packing, tar_bytes },
        })
    }

    /// The manifest that an image came with, if every layer that it names is kept.
    pub(crate) fn own_manifest(&self, item: &mut Item) -> Result<Option<(String, Vec<u8>)>> {
        #[derive(Deserialize)]
        struct Part {
            digest: Digest,
        }
        #[derive(Deserialize)]
        struct Manifest {
            config: Part,
            layers: Vec<Part>,
        }
        let manifests = self.store.read::<_, Error>(|query| {
            let mut found = Vec::new();
            for known in query.image_manifests(&item.id)? {
                found.extend(query.content(&known.manifest)?);
            }
            Ok(found)
        })?;
        for known in manifests.into_iter().filter(|known| known.size_bytes <= MANIFEST_MAX_BYTES) {
            let path = self.store.paths.content(&known.digest);
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let parsed: Option<Manifest> = serde_json::from_slice(&bytes).ok();
            let Some(manifest) = parsed.filter(|_| {
                orlop_archive::digest::of_bytes(&bytes) == known.digest
                    && item.image.annotations.is_empty()
            }) else {
                continue;
            };
            if manifest.config.digest != *item.id.digest()
                || manifest.layers.len() != item.layers.len()
            {
                continue;
            }
            let mut choices = Vec::new();
            for ((layer, _), part) in item.layers.iter().zip(&manifest.layers) {
                choices.extend(self.kept(layer, &part.digest)?);
            }
            if choices.len() == item.layers.len() {
                for ((_, choice), kept) in item.layers.iter_mut().zip(choices) {
                    *choice = kept;
                }
                return Ok(Some((known.media_type, bytes)));
            }
        }
        Ok(None)
    }

    /// One certain form of a layer, if the store has it.
    fn kept(&self, layer: &LayerRecord, digest: &Digest) -> Result<Option<LayerChoice>> {
        if digest == layer.diff_id.digest() {
            return self.made(layer, Packing::None).map(Some);
        }
        let blobs = self.store.read::<_, Error>(|query| Ok(query.layer_blobs(&layer.diff_id)?))?;
        let Some(blob) = blobs.into_iter().find(|blob| blob.digest == *digest) else {
            return Ok(None);
        };
        let facts = self.store.paths.content(digest).symlink_metadata();
        let is_there = facts.is_ok_and(|facts| facts.is_file() && facts.len() == blob.size_bytes);
        let compression = compression_of(&blob.media_type).filter(|_| is_there);
        Ok(compression.map(|compression| LayerChoice::Kept {
            digest: blob.digest,
            bytes: blob.size_bytes,
            compression,
        }))
    }

    /// Makes every layer of a plan ready: compresses those that must be.
    pub(crate) fn blobs(
        &self,
        plan: &SavePlan,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Vec<Blob>>> {
        let mut to_pack: Vec<(&LayerRecord, Packing)> = Vec::new();
        for (layer, choice) in plan.images.iter().flat_map(|item| &item.layers) {
            if let LayerChoice::Pack { packing, .. } = choice
                && !to_pack.iter().any(|(known, _)| known.diff_id == layer.diff_id)
            {
                to_pack.push((layer, *packing));
            }
        }
        let packed = self.pack(&to_pack, progress)?;
        let blob = |(layer, choice): &(LayerRecord, LayerChoice)| match choice {
            LayerChoice::Tar { bytes } => Some(Blob {
                digest: layer.diff_id.digest().clone(),
                bytes: *bytes,
                compression: Compression::None,
                source: Source::Tar,
            }),
            LayerChoice::Kept { digest, bytes, compression } => Some(Blob {
                digest: digest.clone(),
                bytes: *bytes,
                compression: *compression,
                source: Source::Kept(self.store.paths.content(digest)),
            }),
            LayerChoice::Pack { .. } => packed.get(&layer.diff_id).cloned(),
        };
        Ok(plan.images.iter().map(|item| item.layers.iter().filter_map(blob).collect()).collect())
    }

    fn pack(
        &self,
        layers: &[(&LayerRecord, Packing)],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<HashMap<DiffId, Blob>> {
        if layers.is_empty() {
            return Ok(HashMap::new());
        }
        let staged = Arc::new(self.store.stage()?);
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = processors.min(PARALLEL_LAYERS).min(layers.len());
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(DiffId, Result<Blob>)>> = Mutex::new(Vec::new());
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((layer, packing)) = layers.get(at) else { return };
                let threads = processors.div_ceil(workers);
                let blob = self.pack_one(layer, *packing, threads, &staged, progress);
                if blob.is_err() {
                    // Nobody needs the others any more.
                    next.store(layers.len(), Ordering::Relaxed);
                }
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((layer.diff_id.clone(), blob));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(work);
            }
            work();
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.into_iter().map(|(diff_id, blob)| Ok((diff_id, blob?))).collect()
    }

    fn pack_one(
        &self,
        layer: &LayerRecord,
        packing: Packing,
        threads: usize,
        staged: &Arc<StagedDirectory>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Blob> {
        let path = staged.path().join(layer.diff_id.digest().hex());
        let keep = failed("keep a compressed layer");
        let file = File::options().write(true).create_new(true).open(&path).map_err(&keep)?;
        let output =
            Hashed { output: io::BufWriter::new(file), digester: Digester::default(), bytes: 0 };
        let mut writer = PackWriter::with_threads(packing, output, threads);
        let mut counted = Counted { output: &mut writer, progress };
        self.layers.write_tar(&layer.chain_id, &layer.diff_id, &mut counted)?;
        let hashed = writer.finish().map_err(&keep)?;
        Ok(Blob {
            digest: hashed.digester.finish(),
            bytes: hashed.bytes,
            compression: packing.compression(),
            source: Source::Packed(path, Arc::clone(staged)),
        })
    }

    /// Writes a layer, and compares what was written with its digest.
    pub(crate) fn write_blob(
        &self,
        layer: &LayerRecord,
        blob: &Blob,
        output: &mut (dyn Write + Send),
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        match &blob.source {
            Source::Tar => {
                let mut counted = Counted { output, progress };
                Ok(self.layers.write_tar(&layer.chain_id, &layer.diff_id, &mut counted)?)
            }
            Source::Kept(path) => copy_checked(path, blob, &mut Counted { output, progress }),
            // It was counted while it was compressed.
            Source::Packed(path, _) => copy_checked(path, blob, output),
        }
    }
}

/// Copies a file whose digest is known; an error means that the archive must not be used.
fn copy_checked(
    path: &std::path::Path,
    blob: &Blob,
    output: &mut (dyn Write + Send),
) -> Result<()> {
    let failed = failed("read a compressed layer");
    let mut file = File::open(path).map_err(&failed)?.take(blob.bytes);
    let found = orlop_archive::stream::copy_hashed(&mut file, output)
        .map_err(|error| Error::Layer(error.into()))?;
    if found == blob.digest {
        return Ok(());
    }
    Err(Error::DamagedBlob(blob.digest.clone()))
}

/// A writer that hashes and counts what passes.
struct Hashed<W> {
    output: W,
    digester: Digester,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.output.write(bytes)?;
        let (written, _) = bytes.split_at(length.min(bytes.len()));
        self.digester.update(written);
        self.bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// A writer that tells how much passed.
struct Counted<'a, W: ?Sized> {
    output: &'a mut W,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<W: Write + ?Sized> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.output.write(bytes)?;
        (self.progress)(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}
