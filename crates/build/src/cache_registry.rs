//! An OCI layout in a directory, and the same behind a name in a registry.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orlop_archive::digest;
use orlop_registry::{
    BlobRequest, BlobUpload, Client, Descriptor, FetchedManifest, Manifest, ManifestKey,
    Repository, Watch,
};
use orlop_sys::confined::Root;
use orlop_types::reference::ImageReference;
use orlop_types::{Digest, ErrorKind};
use serde_json::json;

use crate::{Cancel, Error, Result};

/// Largest index, manifest and configuration that is read.
const DOCUMENT_MAX_BYTES: u64 = 16 << 20;
/// Most chains in one cache.
const CHAINS_MAX: usize = 1_000;
/// Between two looks whether the build was ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

fn malformed(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("the {what} of the cache cannot be read: {error}"))
}

#[allow(clippy::needless_pass_by_value)] // It stands in `map_err`.
fn failed(error: orlop_registry::Error) -> Error {
    Error::failed(error.kind(), error.to_string())
}

fn io(action: &str) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::failed(ErrorKind::of_io(&error), format!("cannot {action}: {error}"))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn read(root: &Root, path: &str) -> Result<Vec<u8>> {
    Ok(root.read_limited(path, DOCUMENT_MAX_BYTES).map_err(orlop_layer::Error::from)?)
}

/// Manifests of a layout, with their bytes.
fn manifests(root: &Root) -> Result<Vec<(Descriptor, Vec<u8>)>> {
    let index = read(root, "index.json")?;
    let Manifest::Index(index) =
        orlop_registry::manifest::parse(&index, "application/vnd.oci.image.index.v1+json")
            .map_err(failed)?
    else {
        return Err(malformed("index", &"it is no index"));
    };
    let mut manifests: Vec<(Descriptor, Vec<u8>)> = Vec::new();
    for descriptor in index.manifests.into_iter().take(CHAINS_MAX) {
        if manifests.iter().all(|(other, _)| other.digest != descriptor.digest) {
            let bytes = read(root, &blob_path(&descriptor.digest))?;
            manifests.push((descriptor, bytes));
        }
    }
    Ok(manifests)
}

/// The configurations of a layout.
pub(crate) fn configs(path: &Path) -> Result<Vec<String>> {
    let root = Root::open(path).map_err(orlop_layer::Error::from)?;
    let mut configs = Vec::new();
    for (descriptor, bytes) in manifests(&root)? {
        if let Manifest::Image(image) =
            orlop_registry::manifest::parse(&bytes, &descriptor.media_type).map_err(failed)?
        {
            let config = read(&root, &blob_path(&image.config.digest))?;
            configs.push(
                String::from_utf8(config).map_err(|error| malformed("configuration", &error))?,
            );
        }
    }
    Ok(configs)
}

/// Does something with a registry that ends with the build.
fn watched<T: Send>(cancel: &Cancel, work: impl FnOnce(&Watch) -> Result<T> + Send) -> Result<T> {
    let stop = Arc::new(AtomicBool::new(false));
    let watch = Watch::new(Arc::clone(&stop), |_| {});
    let result = std::thread::scope(|scope| {
        let working = scope.spawn(move || work(&watch));
        while !working.is_finished() {
            if cancel.is_cancelled() {
                stop.store(true, Ordering::Relaxed);
            }
            std::thread::park_timeout(LOOK_INTERVAL);
        }
        working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    if result.is_err() && cancel.is_cancelled() { Err(Error::Cancelled) } else { result }
}

/// Fetches the chains of a cache whose configuration is lacking, as a layout; whether there were any.
pub(crate) fn fetch(
    client: &Client,
    reference: &ImageReference,
    directory: &Path,
    lacks: &(dyn Fn(&str) -> Result<bool> + Sync),
    cancel: &Cancel,
) -> Result<bool> {
    let repository = client.repository(reference);
    watched(cancel, |watch| {
        let top = repository.manifest(&ManifestKey::of(reference), watch).map_err(failed)?;
        let parsed = top.parse().map_err(failed)?;
        let candidates: Vec<FetchedManifest> = match parsed {
            Manifest::Image(_) => vec![top],
            Manifest::Index(index) => {
                let mut found = Vec::new();
                for descriptor in index.manifests.into_iter().take(CHAINS_MAX) {
                    let key = ManifestKey::Digest(descriptor.digest);
                    found.push(repository.manifest(&key, watch).map_err(failed)?);
                }
                found
            }
        };
        let root = Root::open(directory).map_err(orlop_layer::Error::from)?;
        for name in ["blobs", "blobs/sha256"] {
            root.create_dir(name, 0o700).map_err(orlop_layer::Error::from)?;
        }
        let mut entries = Vec::new();
        for fetched in candidates {
            let Ok(Manifest::Image(image)) = fetched.parse() else { continue };
            let config =
                repository.small_blob(BlobRequest::of(&image.config), watch).map_err(failed)?;
            if !lacks(&String::from_utf8_lossy(&config))? {
                continue;
            }
            put(&root, &image.config.digest, &config)?;
            for layer in &image.layers {
                download(&repository, &root, layer, watch)?;
            }
            put(&root, &fetched.digest, &fetched.bytes)?;
            entries.push(json!({
                "mediaType": fetched.media_type,
                "digest": fetched.digest,
                "size": fetched.bytes.len(),
            }));
        }
        if entries.is_empty() {
            return Ok(false);
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        });
        write(&root, "index.json", index.to_string().as_bytes())?;
        write(&root, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(true)
    })
}

fn put(root: &Root, digest: &Digest, bytes: &[u8]) -> Result<()> {
    write(root, &blob_path(digest), bytes)
}

fn write(root: &Root, path: &str, bytes: &[u8]) -> Result<()> {
    if root.exists(path).map_err(orlop_layer::Error::from)? {
        return Ok(());
    }
    let mut file = root.create_file(path, 0o600).map_err(orlop_layer::Error::from)?;
    file.write_all(bytes).map_err(io("write a part of the cache"))
}

fn download(
    repository: &Repository,
    root: &Root,
    descriptor: &Descriptor,
    watch: &Watch,
) -> Result<()> {
    let path = blob_path(&descriptor.digest);
    if root.exists(&path).map_err(orlop_layer::Error::from)? {
        return Ok(());
    }
    let mut reader = repository.blob(BlobRequest::of(descriptor), watch).map_err(failed)?;
    let mut file = root.create_file(&path, 0o600).map_err(orlop_layer::Error::from)?;
    std::io::copy(&mut reader, &mut file).map_err(io("download a part of the cache"))?;
    Ok(())
}

/// Brings a layout to a registry: every part, then an index under the name.
pub(crate) fn push(
    client: &Client,
    reference: &ImageReference,
    directory: &Path,
    cancel: &Cancel,
) -> Result<()> {
    let repository = client.repository(reference);
    let root = Root::open(directory).map_err(orlop_layer::Error::from)?;
    watched(cancel, |watch| {
        let mut entries = Vec::new();
        for (descriptor, bytes) in manifests(&root)? {
            let Manifest::Image(image) =
                orlop_registry::manifest::parse(&bytes, &descriptor.media_type).map_err(failed)?
            else {
                continue;
            };
            for part in image.layers.iter().chain([&image.config]) {
                upload(&repository, &root, part, watch)?;
            }
            let key = ManifestKey::Digest(digest::of_bytes(&bytes));
            let digest =
                repository.push_manifest(&key, &image.media_type, &bytes, watch).map_err(failed)?;
            entries.push(json!({
                "mediaType": image.media_type,
                "digest": digest,
                "size": bytes.len(),
            }));
        }
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
        repository
            .push_manifest(
                &ManifestKey::of(reference),
                media_type,
                index.to_string().as_bytes(),
                watch,
            )
            .map_err(failed)?;
        Ok(())
    })
}

fn upload(
    repository: &Repository,
    root: &Root,
    descriptor: &Descriptor,
    watch: &Watch,
) -> Result<()> {
    let path = blob_path(&descriptor.digest);
    let open = || -> std::io::Result<Box<dyn Read + Send>> {
        let file: File = root.open_file(&path).map_err(|error| error.source)?;
        Ok(Box::new(file))
    };
    let upload = BlobUpload {
        digest: descriptor.digest.clone(),
        size: descriptor.size,
        mount_from: Vec::new(),
        open: &open,
    };
    repository.push_blob(&upload, watch).map_err(failed).map(drop)
}
