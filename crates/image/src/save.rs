//! Images as one archive that is a docker-archive and an OCI layout at once.
//!
//! ```text
//! oci-layout  index.json        the OCI side: one descriptor for each name
//! manifest.json  repositories   Docker's side
//! blobs/sha256/<digest>         configurations and manifests, then layers, uncompressed
//! ```
//! The descriptions come first, so that a reader knows what it needs before the layers pass by.
//! Everything is checked before the first byte is written; each layer's digest is compared while it
//! is written. The same images always give the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::os::fd::OwnedFd;

use orlop_archive::digest;
use orlop_archive::plain::PlainTar;
use orlop_meta::{Durability, ImageRecord, LayerRecord, Query};
use orlop_types::Digest;
use orlop_types::reference::ImageReference;
use serde_json::{Map, Value, json};

use crate::images::{config, event, resolve};
use crate::{Error, Images, Platform, Result};

const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// What is to be saved: found and checked. While it exists, no layer of it goes.
#[derive(Debug)]
pub struct SavePlan {
    images: Vec<Saved>,
    /// Keeps layers from being removed.
    _changing: OwnedFd,
}

#[derive(Debug)]
struct Saved {
    record: ImageRecord,
    references: Vec<ImageReference>,
    /// Lowest first, with the lengths of their tars.
    layers: Vec<(LayerRecord, u64)>,
    manifest: Vec<u8>,
    manifest_digest: Digest,
}

impl SavePlan {
    /// Bytes of all layers: nearly those of the archive.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let mut seen = HashSet::new();
        let layers = self.images.iter().flat_map(|image| &image.layers);
        layers.filter(|(layer, _)| seen.insert(&layer.diff_id)).map(|(_, length)| length).sum()
    }
}

impl Images<'_> {
    /// Finds what names mean: a name with its tag, a repository with all its tags, or an id, under
    /// which the image is saved without a name.
    pub fn plan_save(&self, names: &[String], platform: Option<&str>) -> Result<SavePlan> {
        let platform = platform.filter(|text| !text.is_empty()).map(Platform::parse).transpose()?;
        let changing = self.store.changing()?;
        let found: Vec<(ImageRecord, Vec<ImageReference>, Vec<LayerRecord>)> =
            self.store.read(|query| {
                let mut images: Vec<(ImageRecord, Vec<ImageReference>)> = Vec::new();
                for name in names {
                    for (image, reference) in named(query, name)? {
                        add(&mut images, image, reference);
                    }
                }
                images
                    .into_iter()
                    .map(|(image, references)| {
                        let mut layers = match &image.top_layer {
                            Some(top) => query.layer_chain(top)?,
                            None => Vec::new(),
                        };
                        layers.reverse();
                        Ok((image, references, layers))
                    })
                    .collect::<Result<_>>()
            })?;
        let mut images = Vec::new();
        for (record, references, layers) in found {
            let config = config(&record)?;
            if let Some(platform) = platform.as_ref().filter(|platform| !platform.fits(&config)) {
                return Err(Error::NoExport { platform: platform.to_string() });
            }
            let layers = layers
                .into_iter()
                .map(|layer| Ok((self.layers.tar_length(&layer.chain_id)?, layer)))
                .map(|pair: Result<_>| pair.map(|(length, layer)| (layer, length)))
                .collect::<Result<Vec<_>>>()?;
            let manifest = manifest(&record, &layers)?;
            let manifest_digest = digest::of_bytes(&manifest);
            images.push(Saved { record, references, layers, manifest, manifest_digest });
        }
        Ok(SavePlan { images, _changing: changing })
    }

    /// Writes the archive. `progress` is told how many bytes of layers were written.
    pub fn save(
        &self,
        plan: &SavePlan,
        output: &mut (dyn Write + Send),
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let mut tar = PlainTar::new(output);
        let mut put = |name: &str, content: &[u8]| tar.file(name, content).map_err(archive);
        put("oci-layout", b"{\"imageLayoutVersion\": \"1.0.0\"}")?;
        put("index.json", &text(&index(plan))?)?;
        put("manifest.json", &line(&manifest_list(plan))?)?;
        let repositories = repositories(plan);
        if !repositories.is_empty() {
            put("repositories", &line(&json!(repositories))?)?;
        }
        tar.directory("blobs").map_err(archive)?;
        tar.directory("blobs/sha256").map_err(archive)?;
        let mut written: HashSet<Digest> = HashSet::new();
        for image in &plan.images {
            let documents = [
                (image.record.id.digest(), image.record.config.as_bytes()),
                (&image.manifest_digest, image.manifest.as_slice()),
            ];
            for (digest, content) in documents {
                if written.insert(digest.clone()) {
                    tar.file(&blob(digest), content).map_err(archive)?;
                }
            }
        }
        for (layer, length) in plan.images.iter().flat_map(|image| &image.layers) {
            let digest = layer.diff_id.digest();
            if !written.insert(digest.clone()) {
                continue;
            }
            tar.stream::<orlop_layer::Error>(&blob(digest), *length, |output| {
                let mut counted = Counted { output, progress };
                self.layers.write_tar(&layer.chain_id, &layer.diff_id, &mut counted)
            })?;
        }
        tar.finish().map_err(archive)?;
        self.store.write(Durability::Lazy, |query| {
            plan.images.iter().try_for_each(|image| {
                let name = image.record.id.as_str();
                query.event_insert(&event("save", &image.record, name))
            })
        })?;
        tracing::info!(op = "image save", images = plan.images.len());
        Ok(())
    }
}

fn archive(error: orlop_archive::Error) -> Error {
    Error::Layer(error.into())
}

/// What one name means, with the names it is saved under.
fn named(query: &Query<'_>, name: &str) -> Result<Vec<(ImageRecord, Option<ImageReference>)>> {
    if let Ok(reference) = name.parse::<ImageReference>()
        && reference.digest().is_none()
    {
        let mut found = Vec::new();
        for tag in query.tags()? {
            let known: ImageReference = tag.reference.parse()?;
            let fits = known.canonical_name() == reference.canonical_name()
                && known.tag().is_some()
                && (reference.tag().is_none() || reference.tag() == known.tag());
            if fits && let Some(image) = query.image(&tag.image)? {
                found.push((image, Some(known)));
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let missing = |error: Error| match error {
        // Docker does not put a tag where none was given.
        Error::NotFound { .. } => Error::NotFound { name: name.to_owned() },
        error => error,
    };
    Ok(vec![(resolve(query, name).map_err(missing)?, None)])
}

fn add(
    images: &mut Vec<(ImageRecord, Vec<ImageReference>)>,
    image: ImageRecord,
    reference: Option<ImageReference>,
) {
    let at = images.iter().position(|(known, _)| known.id == image.id).unwrap_or_else(|| {
        images.push((image, Vec::new()));
        images.len() - 1
    });
    if let (Some((_, references)), Some(reference)) = (images.get_mut(at), reference)
        && !references.contains(&reference)
    {
        references.push(reference);
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn text(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        let what = "the description of an image".to_owned();
        orlop_meta::Error::Damaged { what, reason: error.to_string() }.into()
    })
}

/// Docker ends these two with a line break.
fn line(value: &Value) -> Result<Vec<u8>> {
    let mut line = text(value)?;
    line.push(b'\n');
    Ok(line)
}

fn layer_descriptor((layer, length): &(LayerRecord, u64)) -> Value {
    json!({ "mediaType": LAYER_TYPE, "size": length, "digest": layer.diff_id })
}

fn manifest(image: &ImageRecord, layers: &[(LayerRecord, u64)]) -> Result<Vec<u8>> {
    text(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": { "mediaType": CONFIG_TYPE, "digest": image.id, "size": image.config.len() },
        "layers": layers.iter().map(layer_descriptor).collect::<Vec<_>>(),
    }))
}

fn index(plan: &SavePlan) -> Value {
    let mut manifests = Vec::new();
    for image in &plan.images {
        let plain = json!({
            "mediaType": MANIFEST_TYPE,
            "digest": image.manifest_digest,
            "size": image.manifest.len(),
        });
        if image.references.is_empty() {
            manifests.push(plain);
            continue;
        }
        for reference in &image.references {
            let mut named = plain.clone();
            if let Some(object) = named.as_object_mut() {
                let annotations = json!({
                    "io.containerd.image.name": reference.canonical(),
                    "org.opencontainers.image.ref.name": reference.tag(),
                });
                object.insert("annotations".to_owned(), annotations);
            }
            manifests.push(named);
        }
    }
    json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests })
}

fn manifest_list(plan: &SavePlan) -> Value {
    let item = |image: &Saved| {
        let tags: Vec<String> = image.references.iter().map(ImageReference::familiar).collect();
        let layers: Vec<String> =
            image.layers.iter().map(|(layer, _)| blob(layer.diff_id.digest())).collect();
        let sources: Map<String, Value> = image
            .layers
            .iter()
            .map(|pair| (pair.0.diff_id.to_string(), layer_descriptor(pair)))
            .collect();
        let tags = if tags.is_empty() { Value::Null } else { json!(tags) };
        json!({
            "Config": blob(image.record.id.digest()),
            "RepoTags": tags,
            "Layers": layers,
            "LayerSources": sources,
        })
    };
    Value::Array(plan.images.iter().map(item).collect())
}

/// Names, tags and uppermost layers, for old readers.
fn repositories(plan: &SavePlan) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for image in &plan.images {
        let Some((top, _)) = image.layers.last() else { continue };
        for reference in &image.references {
            let tags = repositories.entry(reference.familiar_name()).or_default();
            let tag = reference.tag().unwrap_or_default().to_owned();
            tags.insert(tag, top.diff_id.digest().hex().to_owned());
        }
    }
    repositories
}

/// A writer that tells how much passed.
struct Counted<'a> {
    output: &'a mut (dyn Write + Send),
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.output.write(bytes)?;
        (self.progress)(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}
