//! `image tree`: what each layer of an image brought, changed and took, and what of it is wasted.

use std::collections::{BTreeMap, HashMap, HashSet};

use orlop_meta::{LayerRecord, Query};
use orlop_types::image::HistoryEntry;
use orlop_types::{ChainId, DiffId, ImageId};
use serde::Serialize;

use crate::images::{config, familiar, resolve};
use crate::tree_compare::{Contents, Difference, compare};
use crate::tree_files::{Applied, Files, NodeKind};
use crate::{Error, Images, Result};

/// An image seen layer by layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageTree {
    /// Its id.
    pub id: ImageId,
    /// Its names.
    pub repo_tags: Vec<String>,
    /// `os/architecture[/variant]`
    pub platform: String,
    /// Sum of its layers' sizes.
    pub size: u64,
    /// Files that a container sees; directories do not count.
    pub files: u64,
    /// Directories that a container sees.
    pub directories: u64,
    /// Bytes of files that later layers replaced or deleted.
    pub wasted: u64,
    /// Bytes of layers that other images have, too.
    pub shared: u64,
    /// Its steps, the first one first.
    pub steps: Vec<TreeStep>,
}

/// One step of an image's history, with its layer if it made one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TreeStep {
    /// The instruction.
    pub created_by: String,
    /// Free text.
    pub comment: String,
    /// RFC 3339 time; empty if the image does not say.
    pub created: String,
    /// The layer.
    pub layer: Option<TreeLayer>,
}

/// What a layer did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TreeLayer {
    /// Its number, the lowest is 1.
    pub number: usize,
    /// Its content.
    pub diff_id: DiffId,
    /// It with everything below.
    pub chain_id: ChainId,
    /// Bytes of its files.
    pub size: u64,
    /// Objects that were not there.
    pub added: u64,
    /// Objects with another content, or of another kind.
    pub changed: u64,
    /// Objects of which only mode, owner, time or extended attributes are new.
    pub attributes_only: u64,
    /// Objects that are gone.
    pub deleted: u64,
    /// Files that were written again as they were.
    pub rewritten: u64,
    /// Bytes that it holds again although only attributes, or nothing, changed.
    pub copied: u64,
    /// Bytes of its files that later layers replaced or deleted.
    pub wasted: u64,
    /// Other images that have it: their first names, or ids.
    pub shared_with: Vec<String>,
}

/// The layers of an image, lowest first, with the image.
pub(crate) struct Stack {
    pub(crate) image: orlop_meta::ImageRecord,
    pub(crate) layers: Vec<LayerRecord>,
}

impl Images<'_> {
    /// Looks at an image layer by layer.
    pub fn tree(&self, name: &str) -> Result<ImageTree> {
        // No layer goes while it is read.
        let _changing = self.store.changing()?;
        let (stack, tags, users) = self.store.read::<_, Error>(|query| {
            let stack = stack(query, name)?;
            let tags = query.tags_of(&stack.image.id)?;
            let users = users(query, &stack)?;
            Ok((stack, tags, users))
        })?;
        let contents = self.contents(&stack.layers)?;
        let mut files = Files::new(self.layers.driver().whiteouts());
        let mut layers = Vec::new();
        for (at, record) in stack.layers.iter().enumerate() {
            let applied = files.apply(self.layers.layer_headers(&record.chain_id)?)?;
            let mut layer = empty(at + 1, record);
            count(&mut layer, &files, &applied, &contents)?;
            layer.shared_with = users.get(&record.chain_id).cloned().unwrap_or_default();
            layers.push(layer);
        }
        for (layer, wasted) in layers.iter_mut().zip(&files.wasted) {
            layer.wasted = *wasted;
        }
        let config = config(&stack.image)?;
        let directories = files.nodes.values().filter(|node| node.is_directory()).count() as u64;
        let mut platform = format!("{}/{}", config.os, config.architecture);
        if !config.variant.is_empty() {
            platform = format!("{platform}/{}", config.variant);
        }
        let shared = layers.iter().filter(|layer| !layer.shared_with.is_empty());
        Ok(ImageTree {
            id: stack.image.id.clone(),
            repo_tags: familiar(&tags)?.0,
            platform,
            size: stack.image.size_bytes,
            files: files.nodes.len() as u64 - directories,
            directories,
            wasted: files.wasted.iter().sum(),
            shared: shared.map(|layer| layer.size).sum(),
            steps: steps(config.history, layers),
        })
    }

    /// Bytes of the compressed layers that are kept for each image; one form of each layer.
    pub fn content_bytes(&self) -> Result<HashMap<ImageId, u64>> {
        self.store.read(|query| {
            let mut blobs: HashMap<DiffId, u64> = HashMap::new();
            for blob in query.all_layer_blobs()? {
                blobs.entry(blob.diff_id).or_insert(blob.size_bytes);
            }
            let mut bytes = HashMap::new();
            if blobs.is_empty() {
                return Ok(bytes);
            }
            for image in query.images()? {
                let Some(top) = &image.top_layer else { continue };
                let layers = query.layer_chain(top)?;
                let sum = layers.iter().filter_map(|layer| blobs.get(&layer.diff_id)).sum();
                bytes.insert(image.id, sum);
            }
            Ok(bytes)
        })
    }

    /// The files of layers, for comparing contents.
    pub(crate) fn contents(&self, layers: &[LayerRecord]) -> Result<Contents> {
        let keys = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let roots = layers
            .iter()
            .map(|layer| Ok(self.layers.layer_files(&layer.chain_id)?))
            .collect::<Result<_>>()?;
        Ok(Contents { keys, roots })
    }
}

/// The image that a name means, with its layers.
pub(crate) fn stack(query: &Query<'_>, name: &str) -> Result<Stack> {
    let image = resolve(query, name)?;
    let mut layers = match &image.top_layer {
        Some(top) => query.layer_chain(top)?,
        None => Vec::new(),
    };
    layers.reverse();
    Ok(Stack { image, layers })
}

/// Other images by the layers of this one that they have.
fn users(query: &Query<'_>, stack: &Stack) -> Result<HashMap<ChainId, Vec<String>>> {
    let own: HashSet<&ChainId> = stack.layers.iter().map(|layer| &layer.chain_id).collect();
    let parents: HashMap<ChainId, Option<ChainId>> =
        query.layers()?.into_iter().map(|layer| (layer.chain_id, layer.parent)).collect();
    let mut names: HashMap<ImageId, String> = HashMap::new();
    for tag in query.tags()? {
        let (with_tags, _) = familiar(std::slice::from_ref(&tag))?;
        if let Some(name) = with_tags.into_iter().next() {
            names.entry(tag.image).or_insert(name);
        }
    }
    let mut users: BTreeMap<String, Option<ChainId>> = BTreeMap::new();
    for image in query.images()?.into_iter().filter(|image| image.id != stack.image.id) {
        let short = image.id.digest().hex().chars().take(12).collect();
        users.insert(names.remove(&image.id).unwrap_or(short), image.top_layer);
    }
    let mut shared: HashMap<ChainId, Vec<String>> = HashMap::new();
    for (name, top) in users {
        let mut next = top.as_ref();
        while let Some(chain_id) = next {
            if own.contains(chain_id) {
                shared.entry(chain_id.clone()).or_default().push(name.clone());
            }
            next = parents.get(chain_id).and_then(Option::as_ref);
        }
    }
    Ok(shared)
}

fn empty(number: usize, record: &LayerRecord) -> TreeLayer {
    TreeLayer {
        number,
        diff_id: record.diff_id.clone(),
        chain_id: record.chain_id.clone(),
        size: record.size_bytes,
        added: 0,
        changed: 0,
        attributes_only: 0,
        deleted: 0,
        rewritten: 0,
        copied: 0,
        wasted: 0,
        shared_with: Vec::new(),
    }
}

/// Counts what a layer that was just put on did.
fn count(
    layer: &mut TreeLayer,
    files: &Files,
    applied: &Applied,
    contents: &Contents,
) -> Result<()> {
    for path in &applied.brought {
        let Some(node) = files.nodes.get(path) else { continue };
        let Some(before) = applied.before.get(path) else {
            layer.added += 1;
            continue;
        };
        let bytes = if node.kind == NodeKind::File { node.size } else { 0 };
        match compare(path, (before, contents), (node, contents))? {
            Difference::Content(_) => layer.changed += 1,
            Difference::Attributes(_) => {
                layer.attributes_only += 1;
                layer.copied += bytes;
            }
            // Tars name the directories above what they bring.
            Difference::None if node.is_directory() => {}
            Difference::None => {
                layer.rewritten += 1;
                layer.copied += bytes;
            }
        }
    }
    let gone = applied.before.keys().filter(|path| !files.nodes.contains_key(*path));
    layer.deleted = gone.count() as u64;
    Ok(())
}

/// Gives every layer to the step that made it; layers that no step made come last.
fn steps(history: Vec<HistoryEntry>, layers: Vec<TreeLayer>) -> Vec<TreeStep> {
    let mut layers = layers.into_iter();
    let mut steps: Vec<TreeStep> = history
        .into_iter()
        .map(|entry| TreeStep {
            created_by: entry.created_by,
            comment: entry.comment,
            created: entry.created.unwrap_or_default(),
            layer: if entry.empty_layer { None } else { layers.next() },
        })
        .collect();
    steps.extend(layers.map(|layer| TreeStep {
        created_by: String::new(),
        comment: String::new(),
        created: String::new(),
        layer: Some(layer),
    }));
    steps
}
