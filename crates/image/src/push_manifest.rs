//! Which manifest an image is pushed with: the one that it came with, or a new one.

use orlop_archive::compression::Compression;
use orlop_archive::pack::Packing;
use orlop_meta::{ImageRecord, LayerBlob};
use orlop_registry::manifest::{
    self, DOCKER_MANIFEST, Descriptor, ImageManifest, Manifest, OCI_MANIFEST,
};
use orlop_types::{ChainId, DiffId, Digest};
use serde_json::json;

use crate::content_pack::{LayerForm, compression_of};
use crate::images::config;
use crate::{Error, Images, Result};

/// Length that a manifest may have: what registries accept.
const MANIFEST_MAX_BYTES: u64 = 4 << 20;

/// A manifest as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PushManifest {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

/// A layer of an image that is pushed.
#[derive(Clone, Debug)]
pub(crate) struct PushLayer {
    pub(crate) chain_id: ChainId,
    pub(crate) diff_id: DiffId,
    /// The blob that the manifest names; without a manifest, one is made or found.
    pub(crate) blob: Option<Descriptor>,
}

/// One way to push an image.
#[derive(Clone, Debug)]
pub(crate) struct PushPlan {
    /// The manifest that the image has; a new one is made after the layers otherwise.
    pub(crate) manifest: Option<PushManifest>,
    /// Lowest first.
    pub(crate) layers: Vec<PushLayer>,
}

impl Images<'_> {
    /// The ways to push an image, best first. The last one always works: it packs what is not packed.
    pub(crate) fn plan_push(
        &self,
        image: &ImageRecord,
        packing: Option<Packing>,
    ) -> Result<Vec<PushPlan>> {
        let layers = self.layers_of(image)?;
        let kept = self.store.read(|query| query.image_manifests(&image.id))?;
        let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
        for kept in kept {
            let Some((manifest, document)) = self.kept_manifest(&kept.manifest)? else { continue };
            if document.layers.len() != layers.len() || self.is_false(&layers, &document)? {
                continue;
            }
            let form = packing.map(LayerForm::Exactly);
            if form.is_some_and(|form| {
                document.layers.iter().any(|layer| !form.fits(&layer.media_type))
            }) {
                continue;
            }
            let is_here = self.store.read(|query| {
                let missing = |layer: &Descriptor| Ok(query.content(&layer.digest)?.is_none());
                document.layers.iter().map(missing).collect::<orlop_meta::Result<Vec<_>>>()
            })?;
            let plan = PushPlan {
                manifest: Some(manifest),
                layers: layers
                    .iter()
                    .zip(document.layers)
                    .map(|(layer, blob)| PushLayer { blob: Some(blob), ..layer.clone() })
                    .collect(),
            };
            if is_here.contains(&true) { &mut elsewhere } else { &mut here }.push(plan);
        }
        here.append(&mut elsewhere);
        here.push(PushPlan { manifest: None, layers });
        Ok(here)
    }

    /// Whether a manifest names a blob of the store that is not the packed form of its layer, or is of
    /// another length. Layers that were here when it came were not fetched, so nobody has looked.
    fn is_false(&self, layers: &[PushLayer], document: &ImageManifest) -> Result<bool> {
        self.store.read(|query| {
            for (layer, named) in layers.iter().zip(&document.layers) {
                let Some(blob) = query.content(&named.digest)? else { continue };
                let packed = query.layer_blobs(&layer.diff_id)?;
                let is_packed_form = packed.iter().any(|packed| packed.digest == named.digest);
                if blob.size_bytes != named.size || !is_packed_form {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    fn layers_of(&self, image: &ImageRecord) -> Result<Vec<PushLayer>> {
        let chain = match &image.top_layer {
            Some(top) => self.store.read(|query| query.layer_chain(top))?,
            None => Vec::new(),
        };
        let one = |layer: orlop_meta::LayerRecord| PushLayer {
            chain_id: layer.chain_id,
            diff_id: layer.diff_id,
            blob: None,
        };
        Ok(chain.into_iter().rev().map(one).collect())
    }

    /// A manifest of the store; a damaged one is forgotten.
    fn kept_manifest(&self, digest: &Digest) -> Result<Option<(PushManifest, ImageManifest)>> {
        let content = self.content();
        let bytes = match content.read(digest, MANIFEST_MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(Error::NoBlob(_)) => return Ok(None),
            Err(Error::DamagedBlob(_)) => {
                tracing::warn!(op = "push", %digest, "a manifest is damaged and forgotten");
                content.forget_damaged(digest)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let record = self.store.read(|query| query.content(digest))?;
        let media_type = record.map(|record| record.media_type).unwrap_or_default();
        match manifest::parse(&bytes, &media_type)? {
            Manifest::Image(document) => {
                Ok(Some((PushManifest { media_type, digest: digest.clone(), bytes }, document)))
            }
            Manifest::Index(_) => Ok(None),
        }
    }
}

/// Makes the manifest of an image: Docker's form, unless a layer is compressed in a way that only the
/// other form has a word for.
pub(crate) fn new_manifest(image: &ImageRecord, layers: &[LayerBlob]) -> Result<PushManifest> {
    // What cannot be read as a configuration is not pushed.
    config(image)?;
    let compressions: Vec<_> =
        layers.iter().map(|layer| compression_of(&layer.media_type)).collect();
    let is_docker = compressions
        .iter()
        .all(|known| matches!(known, Some(Compression::None | Compression::Gzip)));
    let (own, config_type) = if is_docker {
        (DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json")
    } else {
        (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json")
    };
    let layer = |(layer, known): (&LayerBlob, &Option<Compression>)| {
        let packing = match known {
            Some(Compression::None) => Packing::None,
            Some(Compression::Zstd) => Packing::ZSTD,
            _ => Packing::GZIP,
        };
        let media_type = match packing.docker_layer_type().filter(|_| is_docker) {
            Some(media_type) => media_type,
            None => packing.oci_layer_type(),
        };
        json!({ "mediaType": media_type, "size": layer.size_bytes, "digest": layer.digest })
    };
    let value = json!({
        "schemaVersion": 2,
        "mediaType": own,
        "config": { "mediaType": config_type, "size": image.config.len(), "digest": image.id },
        "layers": layers.iter().zip(&compressions).map(layer).collect::<Vec<_>>(),
    });
    let bytes = serde_json::to_vec_pretty(&value)
        .map_err(|source| Error::Damaged { id: image.id.clone(), source })?;
    let digest = orlop_archive::digest::of_bytes(&bytes);
    Ok(PushManifest { media_type: own.to_owned(), digest, bytes })
}
