//! The descriptions of images that are written: manifests, the index, Docker's lists. Pure functions.

use std::collections::BTreeMap;

use orlop_archive::compression::Compression;
use orlop_archive::digest;
use orlop_types::reference::ImageReference;
use orlop_types::{Digest, ImageId};
use serde_json::{Map, Value, json};

use crate::Result;
use crate::layout::{Item, LayoutForm, MediaTypes, SavePlan, WrittenImage};
use crate::layout_blobs::Blob;

/// The name of the index, in an archive and in a directory.
pub(crate) const INDEX: &str = "index.json";
/// The mark of an OCI layout, and what is in it.
pub(crate) const LAYOUT: (&str, &[u8]) = ("oci-layout", b"{\"imageLayoutVersion\": \"1.0.0\"}");
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Annotations with the whole name and the tag.
pub(crate) const NAME: &str = "io.containerd.image.name";
/// See [`NAME`].
pub(crate) const TAG: &str = "org.opencontainers.image.ref.name";

/// A manifest, and what is said about it.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) image: WrittenImage,
    pub(crate) manifest: Vec<u8>,
}

/// A document of an archive and its name.
type Document = (String, Vec<u8>);

fn types(types: MediaTypes) -> (&'static str, &'static str) {
    match types {
        MediaTypes::Oci => (
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.config.v1+json",
        ),
        MediaTypes::Docker => (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
        ),
    }
}

pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

pub(crate) fn text(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        let what = "the description of an image".to_owned();
        orlop_meta::Error::Damaged { what, reason: error.to_string() }.into()
    })
}

/// Docker ends some documents with a line break.
fn line(value: &Value) -> Result<Vec<u8>> {
    let mut line = text(value)?;
    line.push(b'\n');
    Ok(line)
}

fn descriptor(blob: &Blob, words: MediaTypes) -> Value {
    json!({ "mediaType": blob.media_type(words), "size": blob.bytes, "digest": blob.digest })
}

/// Makes the manifest of every image, or takes the one that it came with.
pub(crate) fn describe(
    plan: &SavePlan,
    blobs: &[Vec<Blob>],
    words: MediaTypes,
) -> Result<Vec<Written>> {
    let one = |(item, blobs): (&Item, &Vec<Blob>)| {
        let (media_type, manifest) = match &item.manifest {
            Some((media_type, manifest)) => (media_type.clone(), manifest.clone()),
            None => (types(words).0.to_owned(), manifest(item, blobs, words)?),
        };
        let image = WrittenImage {
            id: item.id.clone(),
            manifest: digest::of_bytes(&manifest),
            media_type,
            size_bytes: manifest.len() as u64,
        };
        Ok(Written { image, manifest })
    };
    plan.images.iter().zip(blobs).map(one).collect()
}

fn manifest(item: &Item, blobs: &[Blob], words: MediaTypes) -> Result<Vec<u8>> {
    let (own, config) = types(words);
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": own,
        "config": { "mediaType": config, "digest": item.id, "size": item.image.config.len() },
        "layers": blobs.iter().map(|blob| descriptor(blob, words)).collect::<Vec<_>>(),
    });
    if let Some(object) = manifest.as_object_mut().filter(|_| !item.image.annotations.is_empty()) {
        object.insert("annotations".to_owned(), json!(item.image.annotations));
    }
    text(&manifest)
}

/// One descriptor for each name of each image.
pub(crate) fn index_entries(plan: &SavePlan, written: &[Written]) -> Vec<Value> {
    let mut manifests = Vec::new();
    for (item, written) in plan.images.iter().zip(written) {
        let plain = json!({
            "mediaType": written.image.media_type,
            "digest": written.image.manifest,
            "size": written.image.size_bytes,
        });
        if item.image.references.is_empty() {
            manifests.push(plain);
            continue;
        }
        for reference in &item.image.references {
            let mut named = plain.clone();
            if let Some(object) = named.as_object_mut() {
                let annotations = json!({ NAME: reference.canonical(), TAG: reference.tag() });
                object.insert("annotations".to_owned(), annotations);
            }
            manifests.push(named);
        }
    }
    manifests
}

/// An index of these descriptors.
pub(crate) fn index(manifests: &[Value]) -> Result<Vec<u8>> {
    text(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests }))
}

/// The documents at the beginning of an archive with an OCI side.
pub(crate) fn heads(
    plan: &SavePlan,
    blobs: &[Vec<Blob>],
    written: &[Written],
    form: LayoutForm,
) -> Result<Vec<Document>> {
    let mut heads = vec![
        (LAYOUT.0.to_owned(), LAYOUT.1.to_vec()),
        (INDEX.to_owned(), index(&index_entries(plan, written))?),
    ];
    if form == LayoutForm::Both {
        let list = manifest_list(
            plan,
            blobs,
            |item| blob_name(item.id.digest()),
            |blob| blob_name(&blob.digest),
        );
        heads.extend(docker_side(plan, &list)?);
    }
    Ok(heads)
}

/// The documents at the beginning of an archive with Docker's side only.
pub(crate) fn docker_heads(plan: &SavePlan, blobs: &[Vec<Blob>]) -> Result<Vec<Document>> {
    let list = manifest_list(plan, blobs, |item| docker_config(&item.id), docker_layer);
    docker_side(plan, &list)
}

fn docker_side(plan: &SavePlan, list: &Value) -> Result<Vec<Document>> {
    let mut documents = vec![("manifest.json".to_owned(), line(list)?)];
    let repositories = repositories(plan);
    if !repositories.is_empty() {
        documents.push(("repositories".to_owned(), line(&json!(repositories))?));
    }
    Ok(documents)
}

/// The configuration of an image in an archive without an OCI side.
pub(crate) fn docker_config(id: &ImageId) -> String {
    format!("{}.json", id.digest().hex())
}

/// A layer in an archive without an OCI side.
pub(crate) fn docker_layer(blob: &Blob) -> String {
    let ending = match blob.compression {
        Compression::Gzip => "tar.gz",
        Compression::Zstd => "tar.zst",
        _ => "tar",
    };
    format!("{}.{ending}", blob.digest.hex())
}

fn manifest_list(
    plan: &SavePlan,
    blobs: &[Vec<Blob>],
    config: impl Fn(&Item) -> String,
    layer: impl Fn(&Blob) -> String,
) -> Value {
    let item = |(item, blobs): (&Item, &Vec<Blob>)| {
        let tags: Vec<String> =
            item.image.references.iter().map(ImageReference::familiar).collect();
        let sources: Map<String, Value> = item
            .layers
            .iter()
            .zip(blobs)
            .map(|((layer, _), blob)| {
                (layer.diff_id.to_string(), descriptor(blob, MediaTypes::Oci))
            })
            .collect();
        let tags = if tags.is_empty() { Value::Null } else { json!(tags) };
        json!({
            "Config": config(item),
            "RepoTags": tags,
            "Layers": blobs.iter().map(&layer).collect::<Vec<_>>(),
            "LayerSources": sources,
        })
    };
    Value::Array(plan.images.iter().zip(blobs).map(item).collect())
}

/// Names, tags and uppermost layers, for old readers.
fn repositories(plan: &SavePlan) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for item in &plan.images {
        let Some((top, _)) = item.layers.last() else { continue };
        for reference in &item.image.references {
            let tags = repositories.entry(reference.familiar_name()).or_default();
            let tag = reference.tag().unwrap_or_default().to_owned();
            tags.insert(tag, top.diff_id.digest().hex().to_owned());
        }
    }
    repositories
}
