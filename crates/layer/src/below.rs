//! Hard links of a layer to files of the layers below it.
//!
//! Layers are unpacked before anybody knows what lies below them, so such a link waits until they are
//! put together. Then the file comes up into the layer, under its own name as well, as the kernel
//! would have done it had the link been made in a container.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use orlop_archive::extract::LinkBelow;
use orlop_archive::{Error as ArchiveError, Refusal};
use orlop_sys::confined::{FileTime, LastLink, Owner, Root};
use orlop_sys::mount::{RootfsRecipe, mount_rootfs};
use orlop_sys::tree::copy_file_data;
use orlop_sys::xattr;
use rustix::fs::{FileType, Stat};

use crate::error::file;
use crate::init::copy_directory;
use crate::{Error, Result};

/// Makes the links of a layer's content to what the layers below hold. Gives the bytes of the files
/// that came up.
pub(crate) fn link_below(content: &Path, below: &[PathBuf], links: &[LinkBelow]) -> Result<u64> {
    if links.is_empty() {
        return Ok(0);
    }
    let layer = Root::open(content)?;
    let lower = if below.is_empty() {
        None
    } else {
        let recipe = RootfsRecipe::Overlay { lowers: below.to_vec(), upper: None };
        Some(Root::of_mount(mount_rootfs(&recipe)?)?)
    };
    let mut bytes = 0;
    for link in links {
        let path = Path::new(OsStr::from_bytes(&link.path));
        // A later entry of the layer took its place.
        if layer.exists(path)? {
            continue;
        }
        let target = Path::new(OsStr::from_bytes(&link.target));
        if is_file(&layer, target) {
            layer.create_hard_link(target, path)?;
            continue;
        }
        let stat = lower.as_ref().and_then(|lower| lower.lstat(target).ok());
        let kind = stat.as_ref().map(|stat| FileType::from_raw_mode(stat.st_mode));
        let (Some(lower), Some(stat), Some(kind)) = (&lower, stat, kind) else {
            return Err(refused(link));
        };
        match kind {
            FileType::RegularFile => {
                bytes += u64::try_from(stat.st_size).unwrap_or(0);
                if can_come_up(lower, &layer, target)? {
                    copy_file(lower, &layer, target, target, &stat)?;
                    layer.create_hard_link(target, path)?;
                } else {
                    copy_file(lower, &layer, target, path, &stat)?;
                }
            }
            FileType::Symlink => {
                layer.create_symlink(lower.read_link(target)?.as_os_str(), path)?;
                layer.chown(path, Owner { uid: stat.st_uid, gid: stat.st_gid })?;
                layer.set_time(path, time(&stat))?;
            }
            _ => return Err(refused(link)),
        }
    }
    Ok(bytes)
}

fn refused(link: &LinkBelow) -> Error {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ArchiveError::Refused {
        entry: shown(&link.entry),
        refusal: Refusal::LinkTarget(shown(&link.target)),
    }
    .into()
}

fn is_file(layer: &Root, path: &Path) -> bool {
    layer.lstat(path).is_ok_and(|stat| {
        !matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::Directory | FileType::CharacterDevice
        )
    })
}

/// Whether the layer may hold a path of the lower layers under the same name: nothing of its own is
/// there, and all directories above it are directories in both. Makes those that it lacks.
fn can_come_up(lower: &Root, layer: &Root, path: &Path) -> Result<bool> {
    let is_directory = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let mut missing = Vec::new();
    if layer.resolve(path, LastLink::Keep).is_ok() {
        return Ok(false);
    }
    let above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
    for above in above.collect::<Vec<_>>().into_iter().rev() {
        let Ok(theirs) = lower.lstat(above) else { return Ok(false) };
        match layer.lstat(above) {
            Ok(ours) if is_directory(&ours) && is_directory(&theirs) => {
                if layer.get_xattr(above, c"trusted.overlay.opaque")?.is_some() {
                    return Ok(false);
                }
            }
            Err(error)
                if error.io_kind() == std::io::ErrorKind::NotFound && is_directory(&theirs) =>
            {
                missing.push((above, theirs));
            }
            _ => return Ok(false),
        }
    }
    for (above, stat) in &missing {
        copy_directory(lower, layer, above, stat)?;
    }
    for (above, stat) in missing.iter().rev() {
        layer.set_time(above, time(stat))?;
    }
    Ok(true)
}

fn copy_file(from: &Root, to: &Root, source: &Path, target: &Path, stat: &Stat) -> Result<()> {
    let data = from.open_file(source)?;
    let copy = to.create_file(target, 0o600)?;
    let fail = |error: std::io::Error| file("copy up", source)(error);
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    copy_file_data(&data, &copy, size, &mut true).map_err(fail)?;
    let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
    orlop_sys::confined::chown_fd(copy.as_fd(), owner).map_err(fail)?;
    rustix::fs::fchmod(&copy, rustix::fs::Mode::from_raw_mode(stat.st_mode & 0o7777))
        .map_err(|error| fail(error.into()))?;
    for (name, value) in xattr::all(data.as_fd()).map_err(fail)? {
        if !name.to_bytes().starts_with(b"trusted.overlay.") {
            xattr::set(copy.as_fd(), &name, &value).map_err(fail)?;
        }
    }
    rustix::fs::futimens(&copy, &time(stat).both()).map_err(|error| fail(error.into()))
}

fn time(stat: &Stat) -> FileTime {
    FileTime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}
