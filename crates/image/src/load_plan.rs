//! What an archive holds: its descriptions read and checked, before anything is unpacked.

use orlop_archive::digest;
use orlop_layer::chain_id;
use orlop_types::image::ImageConfig;
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, DiffId, Digest, ImageId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

use crate::content::NewBlob;
use crate::error::LoadProblem;
use crate::load::LayoutPick;
use crate::load_keep::KeptLayer;
use crate::load_source::{Parts, blob_digest, clean, unique, wrong};
use crate::{Error, Platform, Result};

/// What a manifest is that does not say it.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Indexes within indexes.
const INDEX_DEPTH_MAX: usize = 4;
/// Images of one archive.
const IMAGES_MAX: usize = 10_000;
/// Layers of one image; the kernel puts at most 500 on each other.
const LAYERS_MAX: usize = 500;

/// An image that is to be loaded.
#[derive(Debug)]
pub(crate) struct PlannedImage {
    pub(crate) id: ImageId,
    /// The configuration's bytes as they came: the id is their digest.
    pub(crate) config: String,
    pub(crate) tags: Vec<ImageReference>,
    /// Lowest first.
    pub(crate) layers: Vec<PlannedLayer>,
    /// The manifest's media type and bytes, if the archive has one.
    pub(crate) manifest: Option<(String, Vec<u8>)>,
}

/// A layer of such an image.
#[derive(Clone, Debug)]
pub(crate) struct PlannedLayer {
    pub(crate) diff_id: DiffId,
    pub(crate) chain_id: ChainId,
    pub(crate) parent: Option<ChainId>,
    /// The part with its content.
    pub(crate) part: String,
    /// The digest of the part where it is another than the content's: it is compressed.
    pub(crate) blob: Option<Digest>,
    pub(crate) length: Option<u64>,
    /// Whether the archive says what digest the part has.
    pub(crate) is_named_by_digest: bool,
}

impl PlannedLayer {
    /// The layer's compressed form.
    pub(crate) fn kept(&self, blob: NewBlob) -> KeptLayer {
        KeptLayer { blob, diff_id: self.diff_id.clone(), chain_id: self.chain_id.clone() }
    }
}

/// An element of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestItem {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: Digest,
    size: u64,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    platform: Option<DescribedPlatform>,
}

#[derive(Clone, Debug, Deserialize)]
struct DescribedPlatform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

/// An index or a manifest; which one shows in what it has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

fn json<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| wrong(name, LoadProblem::Json(error)))
}

/// Reads an archive's descriptions.
pub(crate) fn plan(
    parts: &Parts,
    platform: Option<&Platform>,
    only: Option<&LayoutPick>,
) -> Result<Vec<PlannedImage>> {
    let has_layout = parts.has("index.json");
    if let Some(only) = only {
        return Ok(vec![picked(parts, platform, only)?]);
    }
    // Docker's side names one platform only; whoever asks for another one looks at the layout.
    if parts.has("manifest.json") && (platform.is_none() || !has_layout) {
        return docker(parts, platform);
    }
    if has_layout { layout(parts, platform) } else { Err(Error::NoManifest) }
}

fn docker(parts: &Parts, platform: Option<&Platform>) -> Result<Vec<PlannedImage>> {
    const NAME: &str = "manifest.json";
    let bytes = parts.document(NAME)?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        // A directory as skopeo's `dir:` and `podman save --format docker-dir` write it.
        return Ok(vec![of_manifest(parts, NAME, bytes, platform, 0)?]);
    }
    let items: Vec<ManifestItem> = json(NAME, &bytes)?;
    if items.len() > IMAGES_MAX {
        return Err(wrong(NAME, LoadProblem::TooMany(IMAGES_MAX)));
    }
    let mut images = Vec::new();
    for item in items {
        let config_name = parts.follow(&item.config)?;
        let bytes = parts.document(&config_name)?;
        let id = digest::of_bytes(&bytes);
        if let Some(expected) = named_digest(&config_name)
            && expected != id.hex()
        {
            return Err(wrong_digest(&config_name, &expected, id));
        }
        let blobs = item.layers.unwrap_or_default();
        let blobs = blobs.iter().map(|layer| {
            let part = clean(layer)?;
            let blob = blob_digest(&part).and_then(|hex| sha256(&hex));
            Ok(Blob { part, digest: blob, length: None })
        });
        let blobs = blobs.collect::<Result<Vec<_>>>()?;
        let mut tags = Vec::new();
        for tag in item.repo_tags.unwrap_or_default() {
            let reference: ImageReference = tag.parse()?;
            if reference.tag().is_none() || reference.digest().is_some() {
                return Err(orlop_types::ParseError::new(format!("invalid tag {tag:?}")).into());
            }
            tags.push(reference);
        }
        let image = image(&config_name, id, bytes, blobs, unique(tags))?;
        if let Some(platform) = platform {
            check_platform(&image, platform)?;
        }
        images.push(image);
    }
    Ok(images)
}

/// The digest that the last part of a configuration's name claims: `blobs/sha256/<hex>`, `<hex>.json`.
fn named_digest(name: &str) -> Option<String> {
    blob_digest(name)
        .or_else(|| blob_digest(&format!("blobs/sha256/{}", name.strip_suffix(".json")?)))
}

fn sha256(hex: &str) -> Option<Digest> {
    format!("{}{hex}", Digest::PREFIX).parse().ok()
}

fn wrong_digest(name: &str, expected: &str, found: Digest) -> Error {
    match sha256(expected) {
        Some(expected) => wrong(name, LoadProblem::Digest { expected, found }),
        None => wrong(name, LoadProblem::Missing),
    }
}

fn layout(parts: &Parts, platform: Option<&Platform>) -> Result<Vec<PlannedImage>> {
    const NAME: &str = "index.json";
    let index: Document = json(NAME, &parts.document(NAME)?)?;
    let mut images: Vec<PlannedImage> = Vec::new();
    for descriptor in index.manifests.unwrap_or_default() {
        if is_attestation(&descriptor) {
            continue;
        }
        if images.len() >= IMAGES_MAX {
            return Err(wrong(NAME, LoadProblem::TooMany(IMAGES_MAX)));
        }
        let tags = annotated(&descriptor);
        let mut image = described(parts, &descriptor, platform, 0)?;
        // One descriptor for each name is how Docker writes several names.
        if let Some(known) = images.iter_mut().find(|known| known.id == image.id) {
            known.tags.extend(tags);
            known.tags = unique(std::mem::take(&mut known.tags));
        } else {
            image.tags.extend(tags);
            images.push(image);
        }
    }
    if images.is_empty() { Err(Error::NoManifest) } else { Ok(images) }
}

/// One image of a layout, without names.
fn picked(parts: &Parts, platform: Option<&Platform>, only: &LayoutPick) -> Result<PlannedImage> {
    const NAME: &str = "index.json";
    let index: Document = json(NAME, &parts.document(NAME)?)?;
    let mut images = index.manifests.unwrap_or_default();
    images.retain(|descriptor| !is_attestation(descriptor));
    let with_tag = |tag: &str| images.iter().find(|descriptor| is_tagged(descriptor, tag));
    let chosen = match only {
        LayoutPick::Tag(tag) => with_tag(tag),
        LayoutPick::Digest(digest) => images.iter().find(|descriptor| descriptor.digest == *digest),
        LayoutPick::Default => with_tag("latest").or(match images.as_slice() {
            [only] => Some(only),
            _ => None,
        }),
    };
    let chosen = chosen.ok_or(Error::NoManifest)?;
    let mut image = described(parts, chosen, platform, 0)?;
    image.tags.clear();
    Ok(image)
}

/// Whether the index gives a descriptor this tag, alone or behind a name.
fn is_tagged(descriptor: &Descriptor, tag: &str) -> bool {
    let short = descriptor
        .annotations
        .as_ref()
        .and_then(|found| found.get("org.opencontainers.image.ref.name"));
    short.is_some_and(|name| name == tag)
        || annotated(descriptor).is_some_and(|name| name.tag() == Some(tag))
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    let marked = descriptor
        .annotations
        .as_ref()
        .is_some_and(|found| found.contains_key("vnd.docker.reference.type"));
    marked || descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

/// The name that annotations give: a full one, or nothing if there is only a tag.
fn annotated(descriptor: &Descriptor) -> Option<ImageReference> {
    let annotations = descriptor.annotations.as_ref()?;
    let full = annotations.get("io.containerd.image.name");
    let short = annotations
        .get("org.opencontainers.image.ref.name")
        .filter(|name| name.contains(['/', ':']));
    let reference: ImageReference = full.or(short)?.parse().ok()?;
    reference.digest().is_none().then(|| reference.tag_or_latest())
}

/// The part with a blob: layouts have them in a directory, skopeo's directories by digest only.
fn blob_name(parts: &Parts, digest: &Digest) -> String {
    let name = format!("blobs/sha256/{}", digest.hex());
    if !parts.has(&name) && parts.has(digest.hex()) { digest.hex().to_owned() } else { name }
}

/// Reads a blob of a layout and checks it.
fn checked(parts: &Parts, descriptor: &Descriptor) -> Result<(String, Vec<u8>)> {
    let name = blob_name(parts, &descriptor.digest);
    let bytes = parts.document(&name)?;
    if bytes.len() as u64 != descriptor.size {
        let (expected, found) = (descriptor.size, bytes.len() as u64);
        return Err(wrong(&name, LoadProblem::Length { expected, found }));
    }
    let found = digest::of_bytes(&bytes);
    if found != descriptor.digest {
        return Err(wrong(
            &name,
            LoadProblem::Digest { expected: descriptor.digest.clone(), found },
        ));
    }
    Ok((name, bytes))
}

/// The image that a descriptor means: a manifest, or the one of an index that fits.
fn described(
    parts: &Parts,
    descriptor: &Descriptor,
    platform: Option<&Platform>,
    depth: usize,
) -> Result<PlannedImage> {
    let (name, bytes) = checked(parts, descriptor)?;
    of_manifest(parts, &name, bytes, platform, depth)
}

/// The image of a manifest or an index, whose digest is right if it has one.
fn of_manifest(
    parts: &Parts,
    name: &str,
    bytes: Vec<u8>,
    platform: Option<&Platform>,
    depth: usize,
) -> Result<PlannedImage> {
    if depth > INDEX_DEPTH_MAX {
        return Err(wrong(name, LoadProblem::TooMany(INDEX_DEPTH_MAX)));
    }
    let document: Document = json(name, &bytes)?;
    let Some(config) = document.config else {
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let manifests = document.manifests.unwrap_or_default();
        let manifests: Vec<&Descriptor> =
            manifests.iter().filter(|manifest| !is_attestation(manifest)).collect();
        let exact = manifests.iter().find(|manifest| fits(manifest.platform.as_ref(), &wanted));
        // An index of one manifest without a platform is only a wrapping.
        let chosen = exact.or(match manifests.as_slice() {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        });
        let chosen = chosen.ok_or(Error::NoPlatform { platform: wanted.to_string() })?;
        return described(parts, chosen, platform, depth + 1);
    };
    let (config_name, config_bytes) = checked(parts, &config)?;
    let layers = document.layers.unwrap_or_default();
    for layer in
        layers.iter().filter(|layer| layer.urls.as_ref().is_some_and(|urls| !urls.is_empty()))
    {
        let name = blob_name(parts, &layer.digest);
        if !parts.has(&name) {
            return Err(wrong(&name, LoadProblem::Foreign));
        }
    }
    let blobs = layers.into_iter().map(|layer| Blob {
        part: blob_name(parts, &layer.digest),
        digest: Some(layer.digest),
        length: Some(layer.size),
    });
    let mut image = image(&config_name, config.digest, config_bytes, blobs.collect(), Vec::new())?;
    let media_type = document.media_type.unwrap_or_else(|| OCI_MANIFEST.to_owned());
    image.manifest = Some((media_type, bytes));
    if let Some(platform) = platform {
        check_platform(&image, platform)?;
    }
    Ok(image)
}

fn fits(described: Option<&DescribedPlatform>, wanted: &Platform) -> bool {
    described.is_some_and(|described| {
        described.os == wanted.os
            && described.architecture == wanted.architecture
            && (wanted.variant.is_empty() || described.variant == wanted.variant)
    })
}

fn check_platform(image: &PlannedImage, wanted: &Platform) -> Result<()> {
    let config: ImageConfig = json(image.id.as_str(), image.config.as_bytes())?;
    let described = DescribedPlatform {
        architecture: config.architecture,
        os: config.os,
        variant: config.variant,
    };
    if fits(Some(&described), wanted) {
        return Ok(());
    }
    Err(Error::NoPlatform { platform: wanted.to_string() })
}

struct Blob {
    part: String,
    digest: Option<Digest>,
    length: Option<u64>,
}

fn image(
    name: &str,
    id: Digest,
    bytes: Vec<u8>,
    blobs: Vec<Blob>,
    tags: Vec<ImageReference>,
) -> Result<PlannedImage> {
    let text = String::from_utf8(bytes).map_err(|_| wrong(name, LoadProblem::Text))?;
    let config: ImageConfig = json(name, text.as_bytes())?;
    if config.os != "linux" {
        return Err(Error::OperatingSystem(config.os));
    }
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != blobs.len() {
        return Err(Error::LayerCount { expected: blobs.len(), found: diff_ids.len() });
    }
    if diff_ids.len() > LAYERS_MAX {
        return Err(wrong(name, LoadProblem::TooMany(LAYERS_MAX)));
    }
    let mut layers = Vec::new();
    let mut parent: Option<ChainId> = None;
    for (diff_id, blob) in diff_ids.into_iter().zip(blobs) {
        let chain_id = chain_id(parent.as_ref(), &diff_id);
        layers.push(PlannedLayer {
            is_named_by_digest: blob.digest.is_some(),
            blob: blob.digest.filter(|digest| digest != diff_id.digest()),
            diff_id,
            chain_id: chain_id.clone(),
            parent: parent.replace(chain_id),
            part: blob.part,
            length: blob.length,
        });
    }
    Ok(PlannedImage { id: ImageId::new(id), config: text, tags, layers, manifest: None })
}
