//! Writing images, of the store or just made, as archives and OCI layouts, to any writer or directory.
//!
//! ```text
//! oci-layout  index.json        the OCI side: one descriptor for each name
//! manifest.json  repositories   Docker's side
//! blobs/sha256/<digest>         configurations and manifests, then layers
//! ```
//! An archive has both sides, or one: without the OCI side configurations are `<digest>.json` and
//! layers `<digest>.tar`. In a tar the descriptions come first, so that a reader knows what it needs
//! before the layers pass by; in a directory `index.json` comes last, so that it names nothing that is
//! not there. The digest of every layer is compared while it is written. The same images written in
//! the same way always give the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use orlop_archive::{Packing, digest};
use orlop_meta::LayerRecord;
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, Digest, ImageId, ParseError};

use crate::layout_blobs::{Blob, LayerChoice};
use crate::layout_documents::{self as documents, Written};
use crate::layout_target::{Directory, Tar, Target};
use crate::{Images, Result};

/// Which descriptions an archive has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayoutForm {
    /// Docker's and OCI's.
    #[default]
    Both,
    /// OCI's only.
    Oci,
    /// Docker's only.
    Docker,
}

/// What manifests call their parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaTypes {
    /// The names of the OCI specification.
    #[default]
    Oci,
    /// Docker's names, which have none for Zstandard.
    Docker,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerPacking {
    /// As they came, if that is kept; else not at all.
    #[default]
    Kept,
    /// By this method: a form that is kept is good at whatever level it was made.
    By(Packing),
    /// By this method at this level, made anew.
    Exactly(Packing),
}

/// How images are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayoutOptions {
    /// The descriptions.
    pub form: LayoutForm,
    /// Their words.
    pub types: MediaTypes,
    /// The layers.
    pub packing: LayerPacking,
}

/// An image that is to be written; the store need not have it, only its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutImage {
    /// The configuration's bytes: their digest is the image's id.
    pub config: String,
    /// The uppermost layer.
    pub top_layer: Option<ChainId>,
    /// Names that it is written under.
    pub references: Vec<ImageReference>,
    /// Further annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Where images are written to.
pub enum LayoutTarget<'a> {
    /// One tar.
    Tar(&'a mut (dyn Write + Send)),
    /// A directory with an OCI layout: made, or added to if it is one already.
    Directory(&'a Path),
}

impl std::fmt::Debug for LayoutTarget<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tar(_) => formatter.write_str("LayoutTarget::Tar"),
            Self::Directory(path) => write!(formatter, "LayoutTarget::Directory({path:?})"),
        }
    }
}

/// An image that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenImage {
    /// Its id.
    pub id: ImageId,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// What the manifest calls itself.
    pub media_type: String,
    /// Length of the manifest.
    pub size_bytes: u64,
}

/// What is to be written: found and checked. While it exists, no layer of it goes.
#[derive(Debug)]
pub struct SavePlan {
    pub(crate) images: Vec<Item>,
    options: LayoutOptions,
    /// Keeps layers from being removed.
    _changing: OwnedFd,
}

/// One image of a plan.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) id: ImageId,
    pub(crate) image: LayoutImage,
    /// Lowest first.
    pub(crate) layers: Vec<(LayerRecord, LayerChoice)>,
    /// The manifest that it came with, if all its layers are written as they came.
    pub(crate) manifest: Option<(String, Vec<u8>)>,
}

impl SavePlan {
    /// Bytes of all layers: nearly those of the archive, or those that are compressed for it.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let mut seen = HashSet::new();
        let layers = self.images.iter().flat_map(|image| &image.layers);
        layers
            .filter(|(layer, _)| seen.insert(&layer.diff_id))
            .map(|(_, choice)| choice.work_bytes())
            .sum()
    }
}

impl Images<'_> {
    /// Checks that images can be written, and finds their layers.
    pub fn plan_layout(
        &self,
        images: Vec<LayoutImage>,
        options: LayoutOptions,
    ) -> Result<SavePlan> {
        check(options)?;
        let changing = self.store.changing()?;
        let mut items = Vec::new();
        for image in images {
            let mut records = match &image.top_layer {
                Some(top) => {
                    self.store.read::<_, crate::Error>(|query| Ok(query.layer_chain(top)?))?
                }
                None => Vec::new(),
            };
            records.reverse();
            let layers = records
                .into_iter()
                .map(|layer| Ok((self.choose(&layer, options)?, layer)))
                .map(|pair: Result<_>| pair.map(|(choice, layer)| (layer, choice)))
                .collect::<Result<Vec<_>>>()?;
            let id = ImageId::new(digest::of_bytes(image.config.as_bytes()));
            let mut item = Item { id, image, layers, manifest: None };
            if options.packing == LayerPacking::Kept {
                item.manifest = self.own_manifest(&mut item)?;
            }
            items.push(item);
        }
        Ok(SavePlan { images: items, options, _changing: changing })
    }

    /// Writes what was planned. `progress` is told how many more bytes of layers were worked on.
    ///
    /// Layers that must be compressed are, several at once, into `staging/` before the first byte is
    /// written: manifests name their digests.
    pub fn write_layout(
        &self,
        plan: &SavePlan,
        target: LayoutTarget<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<WrittenImage>> {
        let is_directory = matches!(target, LayoutTarget::Directory(_));
        if is_directory && plan.options.form == LayoutForm::Docker {
            let text = "a directory can hold an OCI layout only, not a docker-archive";
            return Err(ParseError::new(text).into());
        }
        let blobs = self.blobs(plan, progress)?;
        let written = documents::describe(plan, &blobs, plan.options.types)?;
        match target {
            LayoutTarget::Tar(output) => {
                let mut tar = Tar::new(output);
                match plan.options.form {
                    LayoutForm::Docker => self.write_docker(plan, &blobs, &mut tar, progress)?,
                    form => {
                        for (name, content) in documents::heads(plan, &blobs, &written, form)? {
                            tar.document(&name, &content)?;
                        }
                        tar.directories(&["blobs", "blobs/sha256"])?;
                        self.write_blobs(plan, &blobs, &written, &mut tar, progress)?;
                    }
                }
                tar.finish()?;
            }
            LayoutTarget::Directory(path) => {
                let mut directory = Directory::open(path)?;
                self.write_blobs(plan, &blobs, &written, &mut directory, progress)?;
                directory.finish(&documents::index_entries(plan, &written))?;
            }
        }
        Ok(written.into_iter().map(|written| written.image).collect())
    }

    /// Configurations and manifests, then layers, each once.
    fn write_blobs(
        &self,
        plan: &SavePlan,
        blobs: &[Vec<Blob>],
        written: &[Written],
        target: &mut dyn Target,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let mut seen: HashSet<Digest> = HashSet::new();
        for (item, written) in plan.images.iter().zip(written) {
            let parts = [
                (item.id.digest(), item.image.config.as_bytes()),
                (&written.image.manifest, written.manifest.as_slice()),
            ];
            for (digest, content) in parts {
                if seen.insert(digest.clone()) {
                    target.document(&documents::blob_name(digest), content)?;
                }
            }
        }
        for (item, blobs) in plan.images.iter().zip(blobs) {
            for ((layer, _), blob) in item.layers.iter().zip(blobs) {
                if seen.insert(blob.digest.clone()) {
                    let name = documents::blob_name(&blob.digest);
                    let mut write = |output: &mut (dyn Write + Send)| {
                        self.write_blob(layer, blob, output, progress)
                    };
                    target.blob(&name, blob, &mut write)?;
                }
            }
        }
        Ok(())
    }

    fn write_docker(
        &self,
        plan: &SavePlan,
        blobs: &[Vec<Blob>],
        tar: &mut Tar<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        for (name, content) in documents::docker_heads(plan, blobs)? {
            tar.document(&name, &content)?;
        }
        let mut seen: HashSet<String> = HashSet::new();
        for item in &plan.images {
            let name = documents::docker_config(&item.id);
            if seen.insert(name.clone()) {
                tar.document(&name, item.image.config.as_bytes())?;
            }
        }
        for (item, blobs) in plan.images.iter().zip(blobs) {
            for ((layer, _), blob) in item.layers.iter().zip(blobs) {
                let name = documents::docker_layer(blob);
                if seen.insert(name.clone()) {
                    let mut write = |output: &mut (dyn Write + Send)| {
                        self.write_blob(layer, blob, output, progress)
                    };
                    tar.blob(&name, blob, &mut write)?;
                }
            }
        }
        Ok(())
    }
}

fn check(options: LayoutOptions) -> Result<()> {
    let (LayerPacking::By(packing) | LayerPacking::Exactly(packing)) = options.packing else {
        return Ok(());
    };
    if options.types == MediaTypes::Docker && packing.docker_layer_type().is_none() {
        let text = "zstd layers need OCI media types; take gzip";
        return Err(ParseError::new(text).into());
    }
    Ok(())
}
