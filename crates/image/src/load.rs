//! Loading images from an archive: docker-archive or OCI layout, old or new, packed or not.
//!
//! Order: descriptions are read and checked; missing layers are unpacked into `staging/`, several at
//! once, and their digests compared; only then they are published; images, names and events follow in
//! one commit. Cut anywhere before that, nothing is visible and what is left has no owner.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_layer::{Layer, Unpacked};
use orlop_meta::{Durability, ImageRecord};
use orlop_sys::fault;
use orlop_types::{ChainId, Digest, ImageId};

use crate::content::Content;
use crate::error::LoadProblem;
use crate::images::{event, now, put_tag, stored};
use crate::load_keep::{Keeping, KeptLayer, insert_kept};
use crate::load_plan::{PlannedImage, PlannedLayer, plan};
use crate::load_source::{Counted, Held, LoadSource, Parts, wrong};
use crate::{Error, Images, Platform, Result};

/// Layers that are unpacked at the same time; each has three threads of its own.
const PARALLEL_LAYERS: usize = 4;

/// Unpacked layers, and what of them is kept in compressed form.
type Brought = (HashMap<ChainId, Unpacked>, Vec<KeptLayer>);

/// Tells how many bytes were read since the last call.
type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// How an archive is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// `os[/architecture[/variant]]` (`--platform`).
    pub platform: Option<String>,
    /// Only this image of a layout, and without its names.
    pub only: Option<LayoutPick>,
}

/// Which image of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutPick {
    /// The one that its index gives this tag.
    Tag(String),
    /// The one whose manifest or index has this digest.
    Digest(Digest),
    /// `latest`, or the only one.
    Default,
}

/// A loaded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id: the one that the archive says.
    pub id: ImageId,
    /// Names it got, as people write them.
    pub names: Vec<String>,
    /// Names that another image had until now.
    pub renamed: Vec<(String, ImageId)>,
}

impl Images<'_> {
    /// Loads every image of an archive, or none.
    pub fn load(
        &self,
        source: LoadSource,
        options: &LoadOptions,
        progress: Progress<'_>,
    ) -> Result<Vec<Loaded>> {
        let platform = options.platform.as_deref().filter(|text| !text.is_empty());
        let platform = platform.map(Platform::parse).transpose()?;
        // Keeps others from removing layers before the images that need them have their rows.
        let guard = self.store.stage()?;
        let is_stream = !matches!(source, LoadSource::Directory(_));
        let mut parts = self.parts(source, progress)?;
        let images = plan(&parts, platform.as_ref(), options.only.as_ref())?;
        tracing::debug!(op = "image load", images = images.len(), is_stream);
        let mut made = Vec::new();
        let loaded = self
            .bring_layers(&mut parts, &images, progress, &mut made)
            .and_then(|(sizes, kept)| self.commit_images(&images, &sizes, &kept));
        drop(parts);
        drop(guard);
        if loaded.is_err() {
            for chain in made.iter().rev() {
                // The error that is told is the first one; a sweep takes what stays.
                if let Err(error) = self.remove_chain(std::slice::from_ref(chain)) {
                    tracing::debug!(%chain, %error, "cannot take a layer back");
                }
            }
        }
        loaded
    }

    /// Brings in the layers that the store lacks. `made` gets those that must go if loading fails;
    /// gives the size of every layer, and compressed layers that are kept.
    fn bring_layers(
        &self,
        parts: &mut Parts,
        images: &[PlannedImage],
        progress: Progress<'_>,
        made: &mut Vec<ChainId>,
    ) -> Result<(HashMap<ChainId, u64>, Vec<KeptLayer>)> {
        let mut sizes = HashMap::new();
        let mut missing: Vec<&PlannedLayer> = Vec::new();
        let mut seen = HashSet::new();
        for layer in images.iter().flat_map(|image| &image.layers) {
            if !seen.insert(layer.chain_id.clone()) {
                continue;
            }
            match self.layers.find(layer.parent.as_ref(), &layer.diff_id)? {
                Some(found) => drop(sizes.insert(found.chain_id, found.size_bytes)),
                None => missing.push(layer),
            }
        }
        let mut note = |layers: Vec<Layer>| {
            for layer in layers {
                if !layer.existed {
                    made.push(layer.chain_id.clone());
                }
                sizes.insert(layer.chain_id, layer.size_bytes);
            }
        };
        if !self.layers.driver().independent_layers() {
            let mut kept = Vec::new();
            for layer in missing {
                let (unpacked, blob) = self.unpack_part(parts, layer, progress)?;
                note(self.layers.commit(vec![unpacked], layer.parent.as_ref(), &now())?);
                kept.extend(blob);
            }
            return Ok((sizes, kept));
        }
        let (mut unpacked, mut kept) = self.unpack_held(parts, &missing)?;
        missing.retain(|layer| !unpacked.contains_key(&layer.chain_id));
        let (others, other_blobs) = self.unpack_parallel(parts, &missing, progress)?;
        unpacked.extend(others);
        kept.extend(other_blobs);
        fault::point("image.load.unpacked");
        for image in images {
            let first =
                image.layers.iter().position(|layer| unpacked.contains_key(&layer.chain_id));
            let Some(new) = first.and_then(|first| image.layers.get(first..)) else { continue };
            let layers = new.iter().filter_map(|layer| unpacked.remove(&layer.chain_id)).collect();
            let parent = new.first().and_then(|layer| layer.parent.as_ref());
            note(self.layers.commit(layers, parent, &now())?);
        }
        fault::point("image.load.layers");
        Ok((sizes, kept))
    }

    /// Gives layers that were met in a stream their places. One content may have several.
    fn unpack_held(&self, parts: &mut Parts, missing: &[&PlannedLayer]) -> Result<Brought> {
        let mut done = HashMap::new();
        let mut kept = Vec::new();
        let mut last: HashMap<String, usize> = HashMap::new();
        let mut names = Vec::new();
        for (at, layer) in missing.iter().enumerate() {
            let name = parts.follow(&layer.part)?;
            last.insert(name.clone(), at);
            names.push(name);
        }
        for (at, (layer, name)) in missing.iter().zip(names).enumerate() {
            let unpacked = match parts.held.get(&name) {
                None => continue,
                Some(Held::Known(chain)) => self.layers.unpack_copy(chain, None, &layer.diff_id)?,
                Some(Held::Unpacked(found, blob, length)) => {
                    check_content(layer, found, blob.as_ref().map(|(digest, _)| digest), *length)?;
                    if last.get(&name) == Some(&at) {
                        match parts.held.remove(&name) {
                            Some(Held::Unpacked(found, blob, _)) => {
                                let blob = blob.and_then(|(_, blob)| blob);
                                kept.extend(blob.map(|blob| layer.kept(blob)));
                                *found
                            }
                            _ => continue,
                        }
                    } else {
                        self.layers.unpack_again(found, None)?
                    }
                }
                Some(Held::Failed(_)) => match parts.held.remove(&name) {
                    Some(Held::Failed(error)) => return Err(error.into()),
                    _ => continue,
                },
            };
            done.insert(layer.chain_id.clone(), unpacked);
        }
        Ok((done, kept))
    }

    /// Unpacks layers that can be read at any time, several at once.
    fn unpack_parallel(
        &self,
        parts: &Parts,
        missing: &[&PlannedLayer],
        progress: Progress<'_>,
    ) -> Result<Brought> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(ChainId, Result<_>)>> = Mutex::new(Vec::new());
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let work = || {
            while let Some(layer) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let unpacked = self.unpack_part(parts, layer, progress);
                if unpacked.is_err() {
                    // Nobody needs the others any more.
                    next.store(missing.len(), Ordering::Relaxed);
                }
                let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                done.push((layer.chain_id.clone(), unpacked));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(PARALLEL_LAYERS).min(missing.len()) {
                scope.spawn(work);
            }
            work();
        });
        let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut unpacked, mut kept) = (HashMap::new(), Vec::new());
        for (chain_id, result) in done {
            let (layer, blob) = result?;
            unpacked.insert(chain_id, layer);
            kept.extend(blob);
        }
        Ok((unpacked, kept))
    }

    fn unpack_part(
        &self,
        parts: &Parts,
        layer: &PlannedLayer,
        progress: Progress<'_>,
    ) -> Result<(Unpacked, Option<KeptLayer>)> {
        let (reader, length) = parts.open(&layer.part)?;
        if let Some(expected) = layer.length
            && expected != length
        {
            return Err(wrong(&layer.part, LoadProblem::Length { expected, found: length }));
        }
        let mut reader = Counted { inner: reader, progress };
        let parent = layer.parent.as_ref();
        // A part whose digest is the content's is not compressed.
        if layer.blob.is_none() && layer.is_named_by_digest {
            return Ok((self.layers.unpack(reader, parent, Some(&layer.diff_id))?, None));
        }
        let mut reader = Keeping::new(Content::new(self.store), &mut reader)?;
        let unpacked = self.layers.unpack(&mut reader, parent, Some(&layer.diff_id))?;
        let (found, _, blob) = reader.finish()?;
        if let Some(expected) = layer.blob.as_ref().filter(|expected| **expected != found) {
            let problem = LoadProblem::Digest { expected: expected.clone(), found };
            return Err(wrong(&layer.part, problem));
        }
        Ok((unpacked, blob.map(|blob| layer.kept(blob))))
    }

    /// Makes the images visible, all in one commit.
    fn commit_images(
        &self,
        images: &[PlannedImage],
        sizes: &HashMap<ChainId, u64>,
        kept: &[KeptLayer],
    ) -> Result<Vec<Loaded>> {
        let created = now();
        let tar_lengths = self.tar_lengths(kept)?;
        let manifests = self.keep_manifests(images)?;
        let loaded = self.store.write(Durability::Durable, |query| {
            let mut loaded = Vec::new();
            for image in images {
                let size = image.layers.iter().filter_map(|layer| sizes.get(&layer.chain_id)).sum();
                let record = ImageRecord {
                    id: image.id.clone(),
                    top_layer: image.layers.last().map(|layer| layer.chain_id.clone()),
                    config: image.config.clone(),
                    size_bytes: size,
                    created_at: created.clone(),
                };
                query.image_insert(&record)?;
                let mut result =
                    Loaded { id: image.id.clone(), names: Vec::new(), renamed: Vec::new() };
                for tag in &image.tags {
                    let before = query.tag(&stored(tag))?.map(|before| before.image);
                    if let Some(before) = before.filter(|before| *before != image.id) {
                        result.renamed.push((tag.familiar(), before));
                    }
                    put_tag(query, &record, tag)?;
                    result.names.push(tag.familiar());
                }
                query.event_insert(&event("load", &record, image.id.as_str()))?;
                loaded.push(result);
            }
            insert_kept(query, kept, &tar_lengths, &manifests)?;
            Ok::<_, Error>(loaded)
        })?;
        fault::point("image.load.committed");
        tracing::info!(op = "image load", images = images.len());
        Ok(loaded)
    }
}

fn check_content(
    layer: &PlannedLayer,
    found: &Unpacked,
    blob: Option<&Digest>,
    length: u64,
) -> Result<()> {
    if *found.diff_id() != layer.diff_id {
        let (expected, found) = (layer.diff_id.clone(), found.diff_id().clone());
        return Err(orlop_layer::Error::WrongDiffId { expected, found }.into());
    }
    if let Some(expected) = layer.length
        && expected != length
    {
        return Err(wrong(&layer.part, LoadProblem::Length { expected, found: length }));
    }
    if let Some(expected) = &layer.blob {
        let found = blob.unwrap_or(found.diff_id().digest());
        if found != expected {
            let (expected, found) = (expected.clone(), found.clone());
            return Err(wrong(&layer.part, LoadProblem::Digest { expected, found }));
        }
    }
    Ok(())
}
