//! The driver for the kernel's overlay file system.
//!
//! A layer is a directory of its own files with deletions as the kernel stores them; mounting puts
//! the directories on each other. Layers are independent: they can be unpacked in any order.

use std::io::Write;
use std::path::{Path, PathBuf};

use orlop_archive::changes::{self, Changes};
use orlop_archive::diff;
use orlop_archive::extract::WhiteoutForm;
use orlop_archive::write::{TarWriter, Times};
use orlop_sys::confined::Root;
use orlop_sys::mount::{OverlayUpper, RootfsRecipe, mount_rootfs};
use orlop_sys::tree::{self, Usage};

use crate::driver::{
    LayerKey, StorageDriver, WritableOptions, make_content, make_dir, write_parent,
};
use crate::{Error, Result};

/// See the module's documentation.
#[derive(Debug)]
pub struct OverlayDriver {
    home: PathBuf,
}

impl OverlayDriver {
    /// Name of the driver and of its directory.
    pub const NAME: &'static str = "overlay";

    /// Works on a directory whose file system can back an overlay.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self { home }
    }

    fn lower_directories(&self, key: &LayerKey) -> Result<Vec<PathBuf>> {
        Ok(self.lowers(key)?.iter().map(|lower| self.content(lower)).collect())
    }
}

impl StorageDriver for OverlayDriver {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn home(&self) -> &Path {
        &self.home
    }

    fn independent_layers(&self) -> bool {
        true
    }

    fn whiteouts(&self) -> WhiteoutForm {
        WhiteoutForm::Overlay
    }

    fn prepare(&self, directory: &Path, _parent: Option<&LayerKey>) -> Result<PathBuf> {
        make_content(directory)
    }

    fn prepare_writable(&self, directory: &Path, parent: Option<&LayerKey>) -> Result<()> {
        make_content(directory)?;
        make_dir(&directory.join("work"), 0o700)?;
        match parent {
            Some(parent) => write_parent(directory, parent),
            None => crate::driver::write_lower(directory, &[]),
        }
    }

    fn view(&self, key: &LayerKey) -> Result<RootfsRecipe> {
        let mut lowers = self.lower_directories(key)?;
        if lowers.is_empty() {
            return Ok(RootfsRecipe::Directory { path: self.content(key), read_only: true });
        }
        lowers.insert(0, self.content(key));
        Ok(RootfsRecipe::Overlay { lowers, upper: None })
    }

    fn mounts(&self, key: &LayerKey, options: WritableOptions) -> Result<RootfsRecipe> {
        let lowers = self.lower_directories(key)?;
        if lowers.is_empty() {
            return Ok(RootfsRecipe::Directory { path: self.content(key), read_only: false });
        }
        let upper = OverlayUpper {
            upper: self.content(key),
            work: self.directory(key).join("work"),
            volatile: options.volatile,
        };
        Ok(RootfsRecipe::Overlay { lowers, upper: Some(upper) })
    }

    fn changes(&self, key: &LayerKey) -> Result<Changes> {
        let upper = Root::open(&self.content(key))?;
        let old = match self.lowers(key)?.first() {
            Some(parent) => Root::of_mount(mount_rootfs(&self.view(parent)?)?)?,
            None => return Ok(changes::added_all(upper.fd())?),
        };
        Ok(changes::upper(&old, upper.fd())?)
    }

    fn usage(&self, key: &LayerKey) -> Result<Usage> {
        let root = Root::open(&self.content(key))?;
        Ok(tree::usage(root.fd())?)
    }

    fn diff(&self, key: &LayerKey, output: &mut dyn Write) -> Result<()> {
        let root = Root::open(&self.content(key))?;
        let mut tar = TarWriter::new(output, Times::Seconds);
        diff::upper(root.fd(), &mut tar)?;
        tar.finish().map(drop).map_err(Error::from)
    }
}
