//! Bringing layers into the store.
//!
//! Order: unpack into `staging/`, verify, write `lower`, one `syncfs` for all layers of the call,
//! rename each, sync the directory, then the rows in one transaction. Cut anywhere, what is left has
//! no row and a sweep removes it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use orlop_archive::extract::{ExtractOptions, ExtractStats, extract_layer};
use orlop_archive::{digest, stream};
use orlop_meta::{Durability, LayerRecord, StagedDirectory, Sync};
use orlop_sys::confined::Root;
use orlop_sys::fault;
use orlop_types::image::chain_text;
use orlop_types::{ChainId, DiffId};

use crate::below::link_below;
use crate::driver::{LayerKey, write_lower};
use crate::error::file;
use crate::prune::prune_whiteouts;
use crate::store::LayerStore;
use crate::{Error, Result};

/// One layer of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The layer with everything below it.
    pub chain_id: ChainId,
    /// Its own content.
    pub diff_id: DiffId,
    /// Sum of the sizes of the files it brings.
    pub size_bytes: u64,
    /// Whether the store had it already.
    pub existed: bool,
}

/// What is known about a layer before it is read.
#[derive(Clone, Debug)]
pub struct ImportOptions<'a> {
    /// The layer right below.
    pub parent: Option<&'a ChainId>,
    /// What the image's configuration says the content is; checked.
    pub diff_id: Option<&'a DiffId>,
    /// The time of the row, RFC 3339.
    pub now: &'a str,
}

/// A layer that is unpacked and not yet part of the store. Dropping it removes it.
#[derive(Debug)]
pub struct Unpacked {
    pub(crate) staged: StagedDirectory,
    pub(crate) diff_id: DiffId,
    pub(crate) stats: ExtractStats,
}

impl Unpacked {
    /// The digest of what was unpacked.
    #[must_use]
    pub fn diff_id(&self) -> &DiffId {
        &self.diff_id
    }

    /// Where it lies.
    pub(crate) fn directory(&self) -> &Path {
        self.staged.path()
    }
}

/// Layers that are being put on each other.
pub(crate) struct Stack {
    /// The keys below the next layer, uppermost first.
    below: Vec<LayerKey>,
    /// Where their contents are; those of new layers are still in staging.
    contents: Vec<PathBuf>,
    parent: Option<ChainId>,
    made: Vec<(Unpacked, LayerRecord)>,
    result: Vec<Layer>,
}

/// The chain id of a layer on a parent.
#[must_use]
pub fn chain_id(parent: Option<&ChainId>, diff_id: &DiffId) -> ChainId {
    match parent {
        None => ChainId::new(diff_id.digest().clone()),
        Some(parent) => ChainId::new(digest::of_bytes(chain_text(parent, diff_id).as_bytes())),
    }
}

impl LayerStore {
    /// Unpacks a layer tar of any compression and checks it; the store does not have it yet.
    ///
    /// Layers may be unpacked at the same time if the driver says that they are independent; else the
    /// parent must be in the store.
    pub fn unpack(
        &self,
        source: impl Read + Send,
        parent: Option<&ChainId>,
        expected: Option<&DiffId>,
    ) -> Result<Unpacked> {
        let parent = match parent {
            Some(parent) if !self.driver().independent_layers() => Some(self.key_of(parent)?),
            _ => None,
        };
        let staged = self.store().stage()?;
        let content = self.driver().prepare(staged.path(), parent.as_ref())?;
        debug_assert_eq!(content, staged.path().join("diff"));
        let layer = Root::open(staged.path())?;
        let options = ExtractOptions::new(self.driver().whiteouts());
        let (stats, info) = stream::consume(source, stream::STREAM_MAX_BYTES, |reader| {
            extract_layer(reader, &layer, options)
        })?;
        fault::point("layer.unpacked");
        let found = DiffId::new(info.digest);
        if let Some(expected) = expected
            && *expected != found
        {
            return Err(Error::WrongDiffId { expected: expected.clone(), found });
        }
        Ok(Unpacked { staged, diff_id: found, stats })
    }

    /// Makes unpacked layers, lowest first, part of the store on top of a parent.
    ///
    /// Layers that the store has already are dropped; the others become visible all at once.
    pub fn commit(
        &self,
        layers: Vec<Unpacked>,
        parent: Option<&ChainId>,
        now: &str,
    ) -> Result<Vec<Layer>> {
        let mut stack = self.stack_on(parent)?;
        for layer in layers {
            self.put_on(&mut stack, layer, now)?;
        }
        self.finish(stack)
    }

    /// An empty stack on a parent.
    pub(crate) fn stack_on(&self, parent: Option<&ChainId>) -> Result<Stack> {
        let below = match parent {
            Some(parent) => self.chain_keys(parent)?,
            None => Vec::new(),
        };
        Ok(Stack {
            contents: self.contents(&below),
            below,
            parent: parent.cloned(),
            made: Vec::new(),
            result: Vec::new(),
        })
    }

    /// Makes what of a stack is new part of the store.
    pub(crate) fn finish(&self, stack: Stack) -> Result<Vec<Layer>> {
        let Stack { mut made, mut result, .. } = stack;
        if made.is_empty() {
            return Ok(result);
        }
        let lost = self.publish(&mut made).and_then(|()| {
            fault::point("layer.published");
            self.insert_rows(&made, &mut result)
        });
        let lost = match lost {
            Ok(lost) => lost,
            Err(error) => {
                self.take_back(&made);
                return Err(error);
            }
        };
        fault::point("layer.committed");
        for key in lost {
            // Another process was faster; its copy has the row and this one nobody knows.
            if let Some(key) = LayerKey::parse(&key) {
                remove_directory(self.driver().home(), &key)?;
            }
        }
        Ok(result)
    }

    /// Removes directories of layers whose rows did not come in, as on a full disk.
    fn take_back(&self, made: &[(Unpacked, LayerRecord)]) {
        for (_, record) in made {
            let row = self.store().read::<_, Error>(|query| Ok(query.layer(&record.chain_id)?));
            let Some(key) = LayerKey::parse(&record.key) else { continue };
            let is_owned = |row: &LayerRecord| row.key == record.key;
            let taken = match row {
                Ok(row) if row.as_ref().is_some_and(is_owned) => continue,
                Ok(_) => remove_directory(self.driver().home(), &key),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                tracing::debug!(%error, key = %record.key, "a layer without a row is left");
            }
        }
    }

    fn contents(&self, keys: &[LayerKey]) -> Vec<PathBuf> {
        keys.iter().map(|key| self.driver().content(key)).collect()
    }

    /// Completes one unpacked layer by what lies below it.
    pub(crate) fn put_on(&self, stack: &mut Stack, mut layer: Unpacked, now: &str) -> Result<()> {
        let chain_id = chain_id(stack.parent.as_ref(), &layer.diff_id);
        let diff_id = layer.diff_id.clone();
        let present = self.store().read::<_, Error>(|query| Ok(query.layer(&chain_id)?))?;
        let existed = present.is_some();
        let size_bytes = if let Some(present) = present {
            stack.below = self.chain_keys(&present.chain_id)?;
            stack.contents = self.contents(&stack.below);
            present.size_bytes
        } else {
            if layer.stats.opaque_root {
                stack.below.clear();
                stack.contents.clear();
            }
            let content = layer.staged.path().join("diff");
            let links = std::mem::take(&mut layer.stats.links_below);
            layer.stats.file_bytes += link_below(&content, &stack.contents, &links)?;
            let size_bytes = layer.stats.file_bytes;
            prune_whiteouts(&content, &stack.contents, &layer.stats.whiteouts)?;
            stack.contents.insert(0, content);
            write_lower(layer.staged.path(), &stack.below)?;
            let key = LayerKey::random();
            stack.below.insert(0, key.clone());
            let record = LayerRecord {
                chain_id: chain_id.clone(),
                diff_id: diff_id.clone(),
                parent: stack.parent.clone(),
                key: key.as_str().to_owned(),
                size_bytes,
                created_at: now.to_owned(),
            };
            stack.made.push((layer, record));
            size_bytes
        };
        stack.result.push(Layer { chain_id: chain_id.clone(), diff_id, size_bytes, existed });
        stack.parent = Some(chain_id);
        Ok(())
    }

    fn publish(&self, made: &mut [(Unpacked, LayerRecord)]) -> Result<()> {
        // One `syncfs` reaches every layer of this call: all are unpacked by now.
        let mut sync = Sync::Everything;
        let last = made.len().saturating_sub(1);
        for (at, (layer, record)) in made.iter_mut().enumerate() {
            if at == last && at > 0 {
                // Syncing the home directory once covers the renames before this one.
                sync = Sync::Directory;
            }
            let target = self.driver().home().join(&record.key);
            layer.staged.publish("", &target, sync)?;
            sync = Sync::Nothing;
        }
        Ok(())
    }

    /// Inserts the rows; gives the keys of layers that another process inserted meanwhile.
    ///
    /// If one was, the layers above it must stand on the other process's copy: their `lower` files are
    /// written again (nobody knows these layers yet) before the rows go in.
    fn insert_rows(
        &self,
        made: &[(Unpacked, LayerRecord)],
        result: &mut [Layer],
    ) -> Result<Vec<String>> {
        let records: Vec<&LayerRecord> = made.iter().map(|(_, record)| record).collect();
        let mut lost: Vec<String> = Vec::new();
        loop {
            let found = self.store().write::<_, Error>(Durability::Durable, |query| {
                let mut found = Vec::new();
                for record in &records {
                    if query.layer(&record.chain_id)?.is_some() {
                        found.push(record.key.clone());
                    }
                }
                if found == lost {
                    for record in records.iter().filter(|record| !found.contains(&record.key)) {
                        query.layer_insert(record)?;
                    }
                }
                Ok(found)
            })?;
            if found == lost {
                break;
            }
            lost = found;
            self.restack(&records, &lost)?;
        }
        for record in records.iter().filter(|record| lost.contains(&record.key)) {
            if let Some(layer) = result.iter_mut().find(|layer| layer.chain_id == record.chain_id) {
                layer.existed = true;
            }
        }
        Ok(lost)
    }

    /// Writes again what each new layer stands on. What that is follows from its parent alone: layers
    /// that the store had all along may lie between new ones.
    fn restack(&self, records: &[&LayerRecord], lost: &[String]) -> Result<()> {
        let mut stacks: BTreeMap<&ChainId, Vec<LayerKey>> = BTreeMap::new();
        for record in records.iter().filter(|record| !lost.contains(&record.key)) {
            let Some(key) = LayerKey::parse(&record.key) else { continue };
            // An opaque root stands on nothing, whoever made what is below.
            let mut below = match &record.parent {
                Some(parent) if !self.driver().lowers(&key)?.is_empty() => {
                    let below = match stacks.get(parent) {
                        Some(own) => own.clone(),
                        None => self.chain_keys(parent)?,
                    };
                    let directory = self.driver().directory(&key);
                    write_lower(&directory, &below)?;
                    sync_file(&directory.join("lower"))?;
                    below
                }
                _ => Vec::new(),
            };
            below.insert(0, key);
            stacks.insert(&record.chain_id, below);
        }
        Ok(())
    }

    /// Unpacks one layer and makes it part of the store. A layer that is there is not read at all if
    /// its digest is known.
    pub fn import(&self, source: impl Read + Send, options: &ImportOptions<'_>) -> Result<Layer> {
        if let Some(diff_id) = options.diff_id
            && let Some(layer) = self.find(options.parent, diff_id)?
        {
            return Ok(layer);
        }
        let unpacked = self.unpack(source, options.parent, options.diff_id)?;
        let mut layers = self.commit(vec![unpacked], options.parent, options.now)?;
        Ok(layers.pop().expect("one layer in, one layer out"))
    }

    /// The layer with this content on this parent, if the store has it.
    pub fn find(&self, parent: Option<&ChainId>, diff_id: &DiffId) -> Result<Option<Layer>> {
        let chain_id = chain_id(parent, diff_id);
        let row = self.store().read::<_, Error>(|query| Ok(query.layer(&chain_id)?))?;
        Ok(row.map(|row| Layer {
            chain_id,
            diff_id: row.diff_id,
            size_bytes: row.size_bytes,
            existed: true,
        }))
    }
}

fn sync_file(path: &Path) -> Result<()> {
    std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(file("sync", path))
}

/// Removes a layer's directory at once.
pub(crate) fn remove_directory(home: &Path, key: &LayerKey) -> Result<()> {
    let home = Root::open(home)?;
    Ok(home.remove_tree(key.as_str())?)
}
