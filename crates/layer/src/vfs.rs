//! The driver that copies: every layer is a whole tree.
//!
//! It works on every file system and is slow and large, except where files can share blocks. For
//! hosts without overlay, and as the yardstick of the others in tests.

use std::io::Write;
use std::path::{Path, PathBuf};

use orlop_archive::changes::{self, Changes};
use orlop_archive::diff;
use orlop_archive::extract::WhiteoutForm;
use orlop_archive::write::{TarWriter, Times};
use orlop_sys::confined::Root;
use orlop_sys::mount::RootfsRecipe;
use orlop_sys::tree::{self, CopyOptions, Usage};

use crate::driver::{
    LayerKey, StorageDriver, WritableOptions, make_content, write_lower, write_parent,
};
use crate::error::file;
use crate::{Error, Result};

/// See the module's documentation.
#[derive(Debug)]
pub struct VfsDriver {
    home: PathBuf,
}

impl VfsDriver {
    /// Name of the driver and of its directory.
    pub const NAME: &'static str = "vfs";

    /// Works on any directory.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self { home }
    }
}

impl StorageDriver for VfsDriver {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn home(&self) -> &Path {
        &self.home
    }

    fn independent_layers(&self) -> bool {
        false
    }

    fn whiteouts(&self) -> WhiteoutForm {
        WhiteoutForm::Apply
    }

    fn prepare(&self, directory: &Path, parent: Option<&LayerKey>) -> Result<PathBuf> {
        let content = make_content(directory)?;
        if let Some(parent) = parent {
            let from = Root::open(&self.content(parent))?;
            let to = Root::open(&content)?;
            tree::copy_tree(from.fd(), to.fd(), CopyOptions::default())?;
        }
        Ok(content)
    }

    fn prepare_writable(&self, directory: &Path, parent: Option<&LayerKey>) -> Result<()> {
        self.prepare(directory, parent)?;
        match parent {
            Some(parent) => write_parent(directory, parent),
            None => write_lower(directory, &[]),
        }
    }

    fn view(&self, key: &LayerKey) -> Result<RootfsRecipe> {
        Ok(RootfsRecipe::Directory { path: self.content(key), read_only: true })
    }

    fn mounts(&self, key: &LayerKey, _options: WritableOptions) -> Result<RootfsRecipe> {
        Ok(RootfsRecipe::Directory { path: self.content(key), read_only: false })
    }

    fn changes(&self, key: &LayerKey) -> Result<Changes> {
        let new = Root::open(&self.content(key))?;
        let old = match self.lowers(key)?.first() {
            Some(parent) => Root::open(&self.content(parent))?,
            None => return Ok(changes::added_all(new.fd())?),
        };
        Ok(changes::trees(old.fd(), new.fd())?)
    }

    fn usage(&self, key: &LayerKey) -> Result<Usage> {
        let root = Root::open(&self.content(key))?;
        Ok(tree::usage(root.fd())?)
    }

    fn diff(&self, key: &LayerKey, output: &mut dyn Write) -> Result<()> {
        let new = Root::open(&self.content(key))?;
        let mut tar = TarWriter::new(output, Times::Seconds);
        match self.lowers(key)?.first() {
            Some(parent) => {
                let old = Root::open(&self.content(parent))?;
                diff::trees(old.fd(), new.fd(), &mut tar)?;
            }
            None => tar.tree(new.fd(), b"")?,
        }
        tar.finish().map_err(Error::from)?.flush().map_err(file("write", Path::new("diff")))
    }
}
