//! Deletions that delete nothing.
//!
//! The overlay file system hides whiteouts only in directories that it merges. In a directory that no
//! lower layer has, or that hides the lower ones, they would be listed as names that nobody can open.
//! Archives may hold such deletions, so they are taken out once it is known what lies below.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use orlop_sys::confined::{LastLink, Root};
use orlop_sys::mount::{RootfsRecipe, mount_rootfs};
use rustix::fs::FileType;

use crate::Result;

/// Removes from a layer's content the whiteouts of what the layers below do not show.
pub(crate) fn prune_whiteouts(
    content: &Path,
    below: &[PathBuf],
    whiteouts: &[Vec<u8>],
) -> Result<()> {
    if whiteouts.is_empty() {
        return Ok(());
    }
    let layer = Root::open(content)?;
    let lower = if below.is_empty() {
        None
    } else {
        let recipe = RootfsRecipe::Overlay { lowers: below.to_vec(), upper: None };
        Some(Root::of_mount(mount_rootfs(&recipe)?)?)
    };
    for path in whiteouts {
        let path = Path::new(OsStr::from_bytes(path));
        let Ok(stat) = layer.lstat(path) else { continue };
        let is_whiteout =
            FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0;
        if is_whiteout && !hides_something(&layer, lower.as_ref(), path)? {
            layer.remove_tree(path)?;
        }
    }
    Ok(())
}

/// Whether every directory above is merged with one of the layers below, and there is something to
/// hide.
fn hides_something(layer: &Root, lower: Option<&Root>, path: &Path) -> Result<bool> {
    let Some(lower) = lower else { return Ok(false) };
    let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    for above in above {
        let Ok(stat) = lower.lstat(above) else { return Ok(false) };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_directory || layer.get_xattr(above, c"trusted.overlay.opaque")?.is_some() {
            return Ok(false);
        }
    }
    Ok(lower.resolve(path, LastLink::Keep).is_ok())
}
