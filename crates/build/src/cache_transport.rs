//! `--cache-to` and `--cache-from`: records of the build cache as images.
//!
//! A cache is a set of images, one for each chain of layers, whose configuration has a member
//! `io.orlop.build.cache.v1` with the keys of its layers: an OCI layout in a directory, the same behind
//! an index in a registry, or (inline) the built image itself. What is imported is verified as any
//! image is, recorded with its keys, and forgotten as an image.
//!
//! ```json
//! {"version": 1, "layers": [null, {"keys": ["sha256:…"], "created": "2026-…", "description": "RUN …"}]}
//! ```
//! One item for each layer, lowest first; `null` for layers that no step made. Another version is
//! not read.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use orlop_archive::Packing;
use orlop_image::{
    LayerPacking, LayoutForm, LayoutImage, LayoutOptions, LayoutTarget, LoadOptions, LoadSource,
};
use orlop_meta::{CacheKey, Durability};
use orlop_types::image::HistoryEntry;
use orlop_types::platform::Platform;
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, ImageId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::Bases;
use crate::builder::Builder;
use crate::cache::{Cache, NewRecord};
use crate::cache_registry as registry;
use crate::document::Document;
use crate::request::BuildRequest;
use crate::vertices::Vertices;
use crate::{Cancel, Error, Result};

/// Version of the member.
const VERSION: u32 = 1;

/// What reads and writes caches of one build.
#[derive(Clone, Copy)]
pub(crate) struct CacheTransport<'t> {
    pub builder: Builder<'t>,
    pub bases: &'t Bases<'t>,
    pub vertices: &'t Vertices<'t>,
    pub cancel: &'t Cancel,
    pub cache: Cache<'t>,
}

/// The member of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CacheMember {
    version: u32,
    layers: Vec<Option<CachedStep>>,
}

/// A layer that a step made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CachedStep {
    keys: Vec<String>,
    created: String,
    description: String,
}

type Attributes = BTreeMap<String, String>;

/// Whether the built image is to hold its keys.
pub(crate) fn is_inline(request: &BuildRequest) -> bool {
    let argument = request.build_args.get("BUILDKIT_INLINE_CACHE").cloned().flatten();
    argument.is_some_and(|value| matches!(value.as_str(), "1" | "true"))
        || request.cache_to.iter().any(|to| kind(to) == "inline")
}

fn kind(attributes: &Attributes) -> &str {
    attributes.get("type").map_or("registry", String::as_str)
}

fn needed<'a>(attributes: &'a Attributes, name: &str, what: &str) -> Result<&'a str> {
    let value = attributes.get(name).map(String::as_str).filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        Error::invalid(format!("{name} is required for {} cache {what}", kind(attributes)))
    })
}

fn reference(attributes: &Attributes, what: &str) -> Result<ImageReference> {
    let text = needed(attributes, "ref", what)?;
    let parsed = text.parse::<ImageReference>();
    Ok(parsed
        .map_err(|error| Error::invalid(format!("invalid cache reference {text:?}: {error}")))?
        .tag_or_latest())
}

impl CacheTransport<'_> {
    /// Checks what was asked for before anything is built.
    pub fn check(&self, from: &[Attributes], to: &[Attributes]) -> Result<()> {
        for attributes in from {
            match kind(attributes) {
                "local" => needed(attributes, "src", "importer").map(drop)?,
                "registry" => reference(attributes, "importer").map(drop)?,
                other => {
                    return Err(Error::invalid(format!("unknown cache importer: {other:?}")));
                }
            }
        }
        for attributes in to {
            match kind(attributes) {
                "inline" => {}
                "local" => needed(attributes, "dest", "exporter").map(drop)?,
                "registry" => reference(attributes, "exporter").map(drop)?,
                other => {
                    return Err(Error::invalid(format!("unknown cache exporter: {other:?}")));
                }
            }
        }
        Ok(())
    }

    /// Reads caches. One that cannot be read is told of and left out: the build only takes longer.
    pub fn import(&self, from: &[Attributes]) -> Result<()> {
        for attributes in from {
            self.cancel.check()?;
            let (name, result) = if kind(attributes) == "local" {
                let source = needed(attributes, "src", "importer")?;
                let name = format!("importing cache manifest from local:{source}");
                let result =
                    self.vertices.during(&name, |_| self.import_directory(Path::new(source)));
                (name, result)
            } else {
                let reference = reference(attributes, "importer")?;
                let name = format!("importing cache manifest from {}", reference.familiar());
                let result = self.vertices.during(&name, |_| self.import_reference(&reference));
                (name, result)
            };
            match result {
                Ok(()) => {}
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => tracing::warn!(%error, what = name, "a cache is left out"),
            }
        }
        Ok(())
    }

    fn import_reference(&self, reference: &ImageReference) -> Result<()> {
        // A local image of the name knows its layers without a registry.
        if let Ok(image) = self.builder.images().resolve(&reference.canonical())
            && let Some(member) = member(&image.config)
        {
            return self.record(image.top_layer.as_ref(), &member);
        }
        let staged = self.builder.store.stage()?;
        let client = self.bases.client()?;
        let lacks = |config: &str| self.lacks(config);
        if registry::fetch(client, reference, staged.path(), &lacks, self.cancel)? {
            self.load(staged.path())?;
        }
        Ok(())
    }

    fn import_directory(&self, path: &Path) -> Result<()> {
        let configs = registry::configs(path)?;
        let mut lacks = false;
        for config in configs {
            lacks |= self.lacks(&config)?;
        }
        if lacks { self.load(path) } else { Ok(()) }
    }

    /// Whether a configuration has keys that are not known here.
    fn lacks(&self, config: &str) -> Result<bool> {
        let Some(member) = member(config) else { return Ok(false) };
        self.builder.store.read::<_, Error>(|query| {
            for step in member.layers.iter().flatten() {
                for key in &step.keys {
                    if query.cache_lookup(key)?.is_none() {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        })
    }

    /// Loads the images of a layout, records their layers and forgets the images.
    fn load(&self, path: &Path) -> Result<()> {
        let before: HashSet<ImageId> = self.builder.store.read::<_, Error>(|query| {
            Ok(query.images()?.into_iter().map(|image| image.id).collect())
        })?;
        let images = self.builder.images();
        let source = LoadSource::Directory(path.to_owned());
        let loaded = images.load(source, &LoadOptions::default(), &|_| ())?;
        for loaded in loaded {
            let image = images.resolve(loaded.id.as_str())?;
            let recorded = match member(&image.config) {
                Some(member) => self.record(image.top_layer.as_ref(), &member),
                None => Ok(()),
            };
            if !before.contains(&loaded.id) {
                // Layers that the cache has no room for lose their only user.
                self.cache.evicted.store(true, std::sync::atomic::Ordering::Relaxed);
                self.builder.store.write::<_, Error>(Durability::Lazy, |query| {
                    Ok(query.image_delete(&loaded.id).map(drop)?)
                })?;
            }
            recorded?;
        }
        Ok(())
    }

    /// Records the layers of a chain with their keys.
    fn record(&self, top: Option<&ChainId>, member: &CacheMember) -> Result<()> {
        let Some(top) = top else { return Ok(()) };
        let mut chain = self.builder.store.read::<_, Error>(|query| Ok(query.layer_chain(top)?))?;
        chain.reverse();
        if chain.len() != member.layers.len() {
            return Err(Error::invalid("the cache names another number of layers than it has"));
        }
        for (layer, step) in chain.iter().zip(&member.layers) {
            let Some(step) = step else { continue };
            let key = |key: &String| CacheKey {
                key: key.clone(),
                layer: layer.chain_id.clone(),
                reason: None,
            };
            let new = NewRecord {
                layer: layer.chain_id.clone(),
                kind: "regular",
                description: step.description.clone(),
                keys: step.keys.iter().map(key).collect(),
            };
            if !self.cache.record_imported(&new, &step.created)? {
                tracing::debug!(layer = %new.layer, "the cache has no room for an imported layer");
            }
        }
        Ok(())
    }

    /// What a configuration says of the layers of a chain.
    pub fn describe(&self, top: Option<&ChainId>) -> Result<Option<Value>> {
        let Some(top) = top else { return Ok(None) };
        let member = self.member_of(top)?;
        let value = serde_json::to_value(member)
            .map_err(|error| Error::invalid(format!("failed to describe the cache: {error}")))?;
        Ok(Some(value))
    }

    fn member_of(&self, top: &ChainId) -> Result<CacheMember> {
        self.builder.store.read::<_, Error>(|query| {
            let mut layers = Vec::new();
            for layer in query.layer_chain(top)? {
                let record = query.cache_record(&layer.chain_id)?;
                layers.push(match record {
                    None => None,
                    Some(cached) => Some(CachedStep {
                        keys: query.cache_keys_of(&layer.chain_id)?,
                        created: cached.record.created_at,
                        description: cached.record.description,
                    }),
                });
            }
            layers.reverse();
            Ok(CacheMember { version: VERSION, layers })
        })
    }

    /// Writes caches: the chain of the result (`mode=min`), or of every step (`mode=max`).
    pub fn export(
        &self,
        to: &[Attributes],
        top: Option<&ChainId>,
        layers: &BTreeSet<ChainId>,
    ) -> Result<()> {
        for attributes in to.iter().filter(|attributes| kind(attributes) != "inline") {
            self.cancel.check()?;
            let tops = match attributes.get("mode").map(String::as_str) {
                None | Some("min") => top.into_iter().cloned().collect(),
                Some("max") => self.tops(top, layers)?,
                Some(other) => {
                    return Err(Error::invalid(format!("invalid cache export mode {other:?}")));
                }
            };
            let name = format!(
                "exporting cache to {}",
                match kind(attributes) {
                    "local" => "client directory",
                    _ => "registry",
                }
            );
            let written = self.vertices.during(&name, |_| self.write(attributes, &tops));
            let ignored = attributes.get("ignore-error").is_some_and(|value| value == "true");
            match written {
                Err(error) if ignored && !matches!(error, Error::Cancelled) => {
                    tracing::warn!(%error, "a cache was not written");
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// The layers on which no other one of the build stands.
    fn tops(&self, top: Option<&ChainId>, layers: &BTreeSet<ChainId>) -> Result<Vec<ChainId>> {
        let mut all = layers.clone();
        all.extend(top.cloned());
        self.builder.store.read::<_, Error>(|query| {
            let mut below = HashSet::new();
            for layer in &all {
                below
                    .extend(query.layer_chain(layer)?.into_iter().filter_map(|layer| layer.parent));
            }
            Ok(all.into_iter().filter(|layer| !below.contains(layer)).collect())
        })
    }

    fn write(&self, attributes: &Attributes, tops: &[ChainId]) -> Result<()> {
        let mut images = Vec::new();
        for (number, top) in tops.iter().enumerate() {
            images.push(self.image(top, number)?);
        }
        let packing = match attributes.get("compression") {
            None => Packing::ZSTD,
            Some(text) => text.parse().map_err(|error: orlop_types::ParseError| {
                Error::invalid(format!("unsupported compression type {text}: {error}"))
            })?,
        };
        let options = LayoutOptions {
            form: LayoutForm::Oci,
            packing: LayerPacking::By(packing),
            ..LayoutOptions::default()
        };
        let store = self.builder.images();
        let plan = store.plan_layout(images, options)?;
        let write = |path: &Path| {
            store.write_layout(&plan, LayoutTarget::Directory(path), &|_| ()).map_err(Error::from)
        };
        if kind(attributes) == "local" {
            return write(Path::new(needed(attributes, "dest", "exporter")?)).map(drop);
        }
        let staged = self.builder.store.stage()?;
        let path = staged.path().join("cache");
        write(&path)?;
        let reference = reference(attributes, "exporter")?;
        registry::push(self.bases.client()?, &reference, &path, self.cancel)
    }

    /// A chain as an image that says what it is made of.
    fn image(&self, top: &ChainId, number: usize) -> Result<LayoutImage> {
        let chain = self.builder.store.read::<_, Error>(|query| Ok(query.layer_chain(top)?))?;
        let host = Platform::host();
        let mut document = Document::scratch(&host.os, &host.architecture, &host.variant);
        document.inline_cache = self.describe(Some(top))?;
        document.history = chain
            .iter()
            .map(|_| HistoryEntry {
                created_by: "build cache".to_owned(),
                ..HistoryEntry::default()
            })
            .collect();
        let diff_ids = chain.into_iter().rev().map(|layer| layer.diff_id).collect();
        document.complete(diff_ids, None);
        let name = format!("build-cache.invalid/cache:{number}");
        let reference =
            name.parse::<ImageReference>().map_err(|error| Error::invalid(error.to_string()))?;
        Ok(LayoutImage {
            config: document.to_text()?,
            top_layer: Some(top.clone()),
            references: vec![reference],
            annotations: BTreeMap::new(),
        })
    }
}

/// The member of a configuration, if it has one that is understood.
fn member(config: &str) -> Option<CacheMember> {
    #[derive(Deserialize)]
    struct Holder {
        #[serde(rename = "io.orlop.build.cache.v1")]
        member: CacheMember,
    }
    let holder: Holder = serde_json::from_str(config).ok()?;
    (holder.member.version == VERSION).then_some(holder.member)
}
