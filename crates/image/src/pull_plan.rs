//! What a pull has to do: the manifest for a platform, its configuration, and what the store lacks.

use orlop_layer::chain_id;
use orlop_registry::manifest::{Descriptor, ImageManifest, Manifest};
use orlop_registry::{BlobRequest, FetchedManifest, ManifestKey, Repository, Resolved};
use orlop_types::image::ImageConfig;
use orlop_types::{ChainId, DiffId, Digest, ImageId, Platform};

use crate::transfer::TransferWatch;
use crate::{Error, Images, Result};

/// Longest manifest that is looked for in the store; the client's own limit for those that come.
const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An image as a registry describes it.
#[derive(Debug)]
pub(crate) struct PlannedPull {
    /// What the tag or the digest leads to: an index, or the manifest itself.
    pub(crate) top: Digest,
    /// The index that the manifest was chosen from.
    pub(crate) index: Option<FetchedManifest>,
    /// The manifest.
    pub(crate) manifest: FetchedManifest,
    /// The digest of the configuration.
    pub(crate) id: ImageId,
    /// The configuration exactly as it came.
    pub(crate) config: String,
    /// The platform of the image, if it is not the one that was asked for.
    pub(crate) other_platform: Option<Platform>,
    /// Lowest first.
    pub(crate) layers: Vec<PlannedLayer>,
}

/// One layer of it.
#[derive(Clone, Debug)]
pub(crate) struct PlannedLayer {
    /// Its packed form.
    pub(crate) blob: Descriptor,
    /// Its content.
    pub(crate) diff_id: DiffId,
    /// The layer with everything below it.
    pub(crate) chain_id: ChainId,
    /// The layer right below.
    pub(crate) parent: Option<ChainId>,
}

/// What the store has of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// All of it, as far as can be seen without reading it.
    Whole,
    /// A row, and less on the disk than there should be.
    Damaged,
    /// Nothing.
    Missing,
}

impl Images<'_> {
    /// Asks a registry what an image is made of.
    pub(crate) fn plan_pull(
        &self,
        repository: &Repository,
        key: &ManifestKey,
        platform: Option<&Platform>,
        watch: &TransferWatch,
    ) -> Result<PlannedPull> {
        let resolved = match key {
            ManifestKey::Tag(tag) => repository.resolve(tag, &watch.quiet())?,
            ManifestKey::Digest(_) => Resolved::Fetched(repository.manifest(key, &watch.quiet())?),
        };
        let top = match resolved {
            Resolved::Named(digest) => self.manifest_of(repository, &digest, watch)?,
            Resolved::Fetched(manifest) => manifest,
        };
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let (index, manifest, document) = self.for_platform(repository, top, &wanted, watch)?;
        let id = ImageId::new(document.config.digest.clone());
        // What the store has need not be fetched.
        let known = self.store.read::<_, Error>(|query| Ok(query.image(&id)?))?;
        let text = match known {
            Some(image) => image.config,
            None => fetch_config(repository, &document, watch)?,
        };
        let config: ImageConfig = serde_json::from_str(&text)
            .map_err(|source| Error::Damaged { id: id.clone(), source })?;
        if config.os != "linux" {
            return Err(Error::OtherSystem(config.os));
        }
        if config.rootfs.kind != "layers" || config.rootfs.diff_ids.len() != document.layers.len() {
            return Err(Error::LayersDoNotFit);
        }
        let own = Platform::normal(&config.os, &config.architecture, &config.variant);
        let other_platform = platform.filter(|wanted| wanted.rank(&own).is_none()).map(|_| own);
        let top = index.as_ref().map_or(&manifest.digest, |index| &index.digest).clone();
        let layers = stack(document.layers, config.rootfs.diff_ids);
        Ok(PlannedPull { top, index, manifest, id, config: text, other_platform, layers })
    }

    /// What the store has of each layer, lowest first.
    pub(crate) fn presence(&self, layers: &[PlannedLayer]) -> Result<Vec<Presence>> {
        let mut found = Vec::new();
        for layer in layers {
            let row = self.layers.find(layer.parent.as_ref(), &layer.diff_id)?;
            found.push(match row {
                None => Presence::Missing,
                Some(_) if self.layers.looks_whole(&layer.chain_id)? => Presence::Whole,
                Some(_) => Presence::Damaged,
            });
        }
        Ok(found)
    }

    /// Fetches the manifest for a platform behind an index, which may stand behind another one.
    fn for_platform(
        &self,
        repository: &Repository,
        top: FetchedManifest,
        platform: &Platform,
        watch: &TransferWatch,
    ) -> Result<(Option<FetchedManifest>, FetchedManifest, ImageManifest)> {
        let index = match top.parse()? {
            Manifest::Image(document) => {
                check_kind(&document.config)?;
                return Ok((None, top, document));
            }
            Manifest::Index(index) => index,
        };
        let chosen = index.choose(platform)?;
        let manifest = self.manifest_of(repository, &chosen.digest, watch)?;
        match manifest.parse()? {
            Manifest::Image(document) => {
                check_kind(&document.config)?;
                Ok((Some(top), manifest, document))
            }
            Manifest::Index(_) => {
                let text = "an index that leads to another index is not supported";
                Err(orlop_registry::Error::Unsupported(text.to_owned()).into())
            }
        }
    }

    /// A manifest by its digest: the store's own if it has it, else the registry's.
    fn manifest_of(
        &self,
        repository: &Repository,
        digest: &Digest,
        watch: &TransferWatch,
    ) -> Result<FetchedManifest> {
        let stored = self.content().read(digest, MANIFEST_BYTES_MAX);
        let row = self.store.read(|query| query.content(digest))?;
        match (stored, row) {
            (Ok(bytes), Some(row)) => {
                let digest = digest.clone();
                return Ok(FetchedManifest { media_type: row.media_type, digest, bytes });
            }
            (Err(Error::DamagedBlob(_)), _) => self.content().forget_damaged(digest)?,
            _ => {}
        }
        Ok(repository.manifest(&ManifestKey::Digest(digest.clone()), &watch.quiet())?)
    }
}

/// Not everything in a registry is an image.
fn check_kind(config: &Descriptor) -> Result<()> {
    let kind = config.media_type.as_str();
    match kind {
        "application/vnd.docker.container.image.v1+json"
        | "application/vnd.oci.image.config.v1+json"
        | "application/octet-stream"
        | "text/html"
        | "" => Ok(()),
        "application/vnd.docker.plugin.v1+json" => Err(Error::NotAnImage("plugin".to_owned())),
        other => Err(Error::NotAnImage(other.to_owned())),
    }
}

fn fetch_config(
    repository: &Repository,
    document: &ImageManifest,
    watch: &TransferWatch,
) -> Result<String> {
    let bytes = repository.small_blob(BlobRequest::of(&document.config), &watch.quiet())?;
    String::from_utf8(bytes).map_err(|_| Error::ConfigText)
}

fn stack(blobs: Vec<Descriptor>, diff_ids: Vec<DiffId>) -> Vec<PlannedLayer> {
    let mut parent: Option<ChainId> = None;
    let mut layers = Vec::new();
    for (blob, diff_id) in blobs.into_iter().zip(diff_ids) {
        let chain_id = chain_id(parent.as_ref(), &diff_id);
        layers.push(PlannedLayer { blob, diff_id, chain_id: chain_id.clone(), parent });
        parent = Some(chain_id);
    }
    layers
}
