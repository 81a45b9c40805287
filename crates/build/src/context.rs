//! Where COPY, ADD and bind mounts read files from: [`Tree`]s.
//!
//! A tree is an open directory that no path leaves: a build context behind its ignore rules, or the
//! files of a stage or an image. What a context is made of (a directory of this machine, a tar, an
//! address, a git repository, an image) is settled by [`open`]; from then on all are read in the same way.
//!
//! Contexts of directories are read where they are; their hashes are remembered ([`memory`]). All
//! others lie in the store's `staging/` as long as the [`Tree`] exists.

pub(crate) mod crew;
pub(crate) mod filter;
pub mod git;
pub(crate) mod hash;
pub mod memory;
mod open;
pub(crate) mod scan;

use std::any::Any;
use std::path::Path;

use orlop_dockerfile::Ignore;
use orlop_layer::LayerStore;
use orlop_meta::Store;
use orlop_sys::confined::Root;
use orlop_sys::mount::mount_rootfs;
use orlop_types::{ChainId, ErrorKind};

use crate::{Error, Result};
use memory::HashMemory;

pub use open::{Opening, open};

/// Longest Dockerfile and `.dockerignore`.
pub const DOCKERFILE_MAX_BYTES: u64 = 16 << 20;

/// Whose the files of a tree are once they are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Root's: who owns a file on the machine of the client says nothing about the image.
    Root,
    /// Whose they are in the tree.
    Kept,
}

/// Files to read from.
pub struct Tree {
    root: Root,
    ownership: Ownership,
    ignore: Option<Ignore>,
    memory: Option<HashMemory>,
    /// The layer whose files these are with everything below it, if they are those of a layer: they
    /// never change then.
    chain_id: Option<ChainId>,
    /// What must live as long as the files.
    _guard: Option<Box<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tree")
            .field("root", &self.root)
            .field("ownership", &self.ownership)
            .finish_non_exhaustive()
    }
}

impl Tree {
    /// A directory of this machine, with the memory of its hashes in the store.
    pub fn directory(store: &Store, path: &Path) -> Result<Self> {
        let root = Root::open(path).map_err(|error| {
            Error::failed(
                ErrorKind::of_io(&error.source),
                format!("unable to prepare context: path {:?} not found", path.display()),
            )
        })?;
        let memory = HashMemory::open(store, &root)?;
        Ok(Self::new(root, Ownership::Root).with_memory(memory))
    }

    /// A tree without any file.
    pub fn empty(store: &Store) -> Result<Self> {
        let staged = store.stage()?;
        let root = Root::open(staged.path()).map_err(orlop_layer::Error::from)?;
        Ok(Self::new(root, Ownership::Root).with_guard(Box::new(staged)))
    }

    /// The files of a layer with everything below it; no files at all if there is no layer (`scratch`).
    pub fn of_layers(layers: &LayerStore, top: Option<&ChainId>) -> Result<Self> {
        let Some(top) = top else {
            return Ok(Self { ownership: Ownership::Kept, ..Self::empty(layers.store())? });
        };
        let mount = mount_rootfs(&layers.view(top)?).map_err(orlop_layer::Error::from)?;
        let root = Root::of_mount(mount).map_err(orlop_layer::Error::from)?;
        Ok(Self { chain_id: Some(top.clone()), ..Self::new(root, Ownership::Kept) })
    }

    /// An open directory.
    pub(crate) fn new(root: Root, ownership: Ownership) -> Self {
        Self { root, ownership, ignore: None, memory: None, chain_id: None, _guard: None }
    }

    fn with_memory(self, memory: HashMemory) -> Self {
        Self { memory: Some(memory), ..self }
    }

    pub(crate) fn with_guard(self, guard: Box<dyn Any + Send + Sync>) -> Self {
        Self { _guard: Some(guard), ..self }
    }

    /// The files.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Whose copied files are.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// The layer whose files these are.
    #[must_use]
    pub fn chain_id(&self) -> Option<&ChainId> {
        self.chain_id.as_ref()
    }

    pub(crate) fn ignore(&self) -> Option<&Ignore> {
        self.ignore.as_ref()
    }

    pub(crate) fn memory(&self) -> Option<&HashMemory> {
        self.memory.as_ref()
    }

    /// What BuildKit's messages call the tree.
    pub(crate) fn reference(&self) -> String {
        let identity = rustix::fs::fstat(self.root.fd()).map(|stat| (stat.st_dev, stat.st_ino));
        let text = format!("{identity:?}");
        orlop_archive::digest::of_bytes(text.as_bytes()).hex().chars().take(25).collect()
    }

    /// Hides what the rules of a `.dockerignore` exclude from COPY and ADD.
    pub fn set_ignore(&mut self, ignore: Ignore) {
        self.ignore = Some(ignore);
    }

    /// Reads a small file whatever the ignore rules say; `None` if there is none.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        match self.root.read_limited(Path::new(path), DOCKERFILE_MAX_BYTES) {
            Ok(content) => Ok(Some(content)),
            Err(error) if matches!(error.io_kind(), NotFound | NotADirectory) => Ok(None),
            Err(error) => Err(orlop_layer::Error::from(error).into()),
        }
    }

    /// Writes down what was hashed, for the next build. Call it once, when nothing of the tree is
    /// needed any more; a failure only costs time.
    pub fn remember(&self) {
        if let Some(memory) = &self.memory {
            memory.save();
        }
    }
}
