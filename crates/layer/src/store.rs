//! Layers and writable layers of one store.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use orlop_meta::{Durability, StagedDirectory, Store, Sync, TrashKind, TrashRecord};
use orlop_sys::mount::RootfsRecipe;
use orlop_sys::tree::Usage;
use orlop_types::{ChainId, ContainerId};

use crate::choose::choose;
use crate::driver::{LayerKey, StorageDriver, WritableOptions};
use crate::error::file;
use crate::import::{Layer, Unpacked};
use crate::init::{init_key, init_owner};
use crate::{Error, Result};

/// The layers of a store, kept by one driver.
#[derive(Debug)]
pub struct LayerStore {
    store: Arc<Store>,
    driver: Box<dyn StorageDriver>,
    reason: String,
}

/// A writable layer that is there but has no row yet.
#[derive(Debug)]
pub struct NewWritable {
    /// What to mount.
    pub recipe: RootfsRecipe,
    /// Keeps sweeps away: drop it after the container's row is committed.
    pub guard: StagedDirectory,
}

impl LayerStore {
    /// Opens the store's layers with the driver that [`choose`] picks.
    pub fn open(store: Arc<Store>, wanted: Option<&str>) -> Result<Self> {
        let chosen = choose(&store, wanted)?;
        Ok(Self { store, driver: chosen.driver, reason: chosen.reason })
    }

    /// The driver.
    #[must_use]
    pub fn driver(&self) -> &dyn StorageDriver {
        &*self.driver
    }

    /// Why it is this driver.
    #[must_use]
    pub fn driver_reason(&self) -> &str {
        &self.reason
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The driver's key of a layer.
    pub(crate) fn key_of(&self, chain_id: &ChainId) -> Result<LayerKey> {
        let row = self.store.read::<_, Error>(|query| Ok(query.layer(chain_id)?))?;
        let row = row.ok_or_else(|| Error::UnknownLayer(chain_id.clone()))?;
        LayerKey::parse(&row.key).ok_or_else(|| Error::Damaged {
            path: self.driver.home().join(&row.key),
            reason: "its row holds an invalid key",
        })
    }

    /// The keys of a layer and all below it that count for mounting, uppermost first.
    pub(crate) fn chain_keys(&self, chain_id: &ChainId) -> Result<Vec<LayerKey>> {
        let top = self.key_of(chain_id)?;
        let mut keys = self.driver.lowers(&top)?;
        keys.insert(0, top);
        Ok(keys)
    }

    /// What to mount to see a layer with everything below it, read-only.
    pub fn view(&self, chain_id: &ChainId) -> Result<RootfsRecipe> {
        self.driver.view(&self.key_of(chain_id)?)
    }

    /// Makes a container's writable layer on an image's topmost layer.
    ///
    /// A few directories and one rename; nothing is synced. The row is the container's own, which the
    /// caller commits before it drops the guard.
    pub fn create_writable(
        &self,
        id: &ContainerId,
        top: Option<&ChainId>,
        options: WritableOptions,
    ) -> Result<NewWritable> {
        let parent = self.ensure_init(top)?;
        let key = LayerKey::of_container(id);
        let mut guard = self.store.stage()?;
        self.driver.prepare_writable(guard.path(), Some(&parent))?;
        guard.publish("", &self.driver.directory(&key), Sync::Nothing)?;
        Ok(NewWritable { recipe: self.driver.mounts(&key, options)?, guard })
    }

    /// What to mount to run a container.
    pub fn writable_recipe(
        &self,
        id: &ContainerId,
        options: WritableOptions,
    ) -> Result<RootfsRecipe> {
        self.driver.mounts(&LayerKey::of_container(id), options)
    }

    /// What to mount to see what a container stands on: its image and the engine's own files.
    pub fn init_view(&self, top: Option<&ChainId>) -> Result<RootfsRecipe> {
        let key = self.ensure_init(top)?;
        self.driver.view(&key)
    }

    /// The trash row of a container's writable layer: insert it in the transaction that deletes the
    /// container's row, then call [`Store::carry_out`].
    #[must_use]
    pub fn writable_trash(&self, id: &ContainerId, now: &str) -> TrashRecord {
        let path = self.driver.directory(&LayerKey::of_container(id));
        self.store.trash_record(TrashKind::Container, id.as_str(), &path, "null".to_owned(), now)
    }

    /// Removes a container's writable layer: a row and a rename, nothing is deleted here.
    pub fn remove_writable(&self, id: &ContainerId, now: &str) -> Result<()> {
        let record = self.writable_trash(id, now);
        self.store.write::<_, Error>(Durability::Lazy, |query| Ok(query.trash_insert(&record)?))?;
        orlop_sys::fault::point("layer.writable.trashed");
        Ok(self.store.carry_out(&record)?)
    }

    /// What a container has written.
    pub fn writable_usage(&self, id: &ContainerId) -> Result<Usage> {
        self.driver.usage(&LayerKey::of_container(id))
    }

    /// What one layer takes up.
    pub fn usage(&self, chain_id: &ChainId) -> Result<Usage> {
        self.driver.usage(&self.key_of(chain_id)?)
    }

    /// Writes what a container changed as a layer tar.
    pub fn writable_diff(&self, id: &ContainerId, output: &mut dyn Write) -> Result<()> {
        self.driver.diff(&LayerKey::of_container(id), output)
    }

    /// Unpacks what a container changed as a layer that the store does not have yet; see
    /// [`LayerStore::commit`]. Gives up when `stop` says so.
    pub fn unpack_writable(
        &self,
        id: &ContainerId,
        top: Option<&ChainId>,
        stop: &(dyn Fn() -> bool + std::marker::Sync),
    ) -> Result<Unpacked> {
        let (reader, writer) =
            std::io::pipe().map_err(file("make a pipe for", std::path::Path::new("commit")))?;
        let mut writer = Stoppable { writer, stop };
        std::thread::scope(|scope| {
            let written = scope.spawn(move || self.writable_diff(id, &mut writer));
            let unpacked = self.unpack(reader, top, None);
            match written.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                // The reader's error comes first, unless it only saw the writer's end.
                Err(error) if unpacked.is_ok() || stop() => Err(error),
                _ => unpacked,
            }
        })
    }

    /// Makes a layer of what a container changed, on top of its image.
    pub fn commit_writable(
        &self,
        id: &ContainerId,
        top: Option<&ChainId>,
        now: &str,
    ) -> Result<Layer> {
        let unpacked = self.unpack_writable(id, top, &|| false)?;
        let mut layers = self.commit(vec![unpacked], top, now)?;
        Ok(layers.pop().expect("one layer in, one layer out"))
    }

    /// Removes a layer that no image, container or other layer needs. Returns whether it was there.
    pub fn remove_layer(&self, chain_id: &ChainId, now: &str) -> Result<bool> {
        let records = self.store.write::<_, Error>(Durability::Durable, |query| {
            let Some(row) = query.layer(chain_id)? else { return Ok(Vec::new()) };
            if query.layer_is_used(chain_id)? {
                return Err(Error::InUse(chain_id.clone()));
            }
            query.layer_delete(chain_id)?;
            let mut records = Vec::new();
            let initial = LayerKey::parse(&row.key).map(|key| init_key(Some(&key)));
            for key in [Some(row.key.as_str()), initial.as_ref().map(LayerKey::as_str)] {
                let Some(path) = key.map(|key| self.driver.home().join(key)) else { continue };
                if path.exists() {
                    let record = self.store.trash_record(
                        TrashKind::Layer,
                        chain_id.as_str(),
                        &path,
                        "null".to_owned(),
                        now,
                    );
                    query.trash_insert(&record)?;
                    records.push(record);
                }
            }
            Ok(records)
        })?;
        orlop_sys::fault::point("layer.removed");
        for record in &records {
            self.store.carry_out(record)?;
            orlop_sys::fault::point("layer.moved");
        }
        Ok(!records.is_empty())
    }

    /// Directories that no row owns. Only true while the caller holds [`Store::exclusive`]: a layer
    /// that somebody is making appears before its row does.
    pub fn orphans(&self) -> Result<Vec<std::path::PathBuf>> {
        let home = self.driver.home();
        let (keys, containers) = self.store.read::<_, Error>(|query| {
            let keys: HashSet<String> =
                query.layers()?.into_iter().map(|layer| layer.key).collect();
            let containers: HashSet<String> = query
                .containers()?
                .into_iter()
                .map(|container| container.id.as_str().to_owned())
                .collect();
            Ok((keys, containers))
        })?;
        let mut orphans = Vec::new();
        for entry in std::fs::read_dir(home).map_err(file("list", home))? {
            let name = entry.map_err(file("list", home))?.file_name();
            let owned = name.to_str().is_some_and(|name| {
                keys.contains(name)
                    || containers.contains(name)
                    || init_owner(name).is_some_and(|key| key == "none" || keys.contains(key))
            });
            if !owned {
                orphans.push(home.join(name));
            }
        }
        Ok(orphans)
    }

    /// Moves directories that no row owns into the trash and gives their number; does nothing while
    /// somebody is creating something. Run [`Store::sweep`] first.
    pub fn sweep(&self, now: &str) -> Result<usize> {
        let Some(_guard) = self.store.exclusive()? else { return Ok(0) };
        let orphans = self.orphans()?;
        for path in &orphans {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let record =
                self.store.trash_record(TrashKind::Layer, &name, path, "null".to_owned(), now);
            self.store
                .write::<_, Error>(Durability::Lazy, |query| Ok(query.trash_insert(&record)?))?;
            self.store.carry_out(&record)?;
        }
        Ok(orphans.len())
    }
}

/// A writer that somebody may stop.
struct Stoppable<'a, W> {
    writer: W,
    stop: &'a (dyn Fn() -> bool + std::marker::Sync),
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if (self.stop)() {
            // Not `Interrupted`, after which writers try again.
            return Err(std::io::Error::other("interrupted"));
        }
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}
