//! What a container finds in its root beside the image: mount points and files of the engine.
//!
//! Docker's list: directories `/dev/pts /dev/shm /proc /sys /etc`, empty files `/dev/console
//! /etc/hostname /etc/hosts /etc/resolv.conf /.dockerenv`, the link `/etc/mtab`. They lie in a layer
//! between the image and the container, so they show in an export and never in a diff or commit. The
//! layer holds only what the image lacks; since the upper directory's attributes win in an overlay,
//! its copies of directories that the image has carry the image's owner, mode, times and attributes.
//! One such layer serves all containers of an image; it is found by the key of the image's topmost
//! layer and goes with it. There is no sync: without it after a power cut, a container cannot be either.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use orlop_meta::Sync;
use orlop_sys::confined::{FileTime, LastLink, Owner, Root};
use orlop_sys::mount::mount_rootfs;
use orlop_sys::xattr;
use orlop_types::{ChainId, ErrorKind};
use rustix::fs::{FileType, Stat};

use crate::driver::{LayerKey, write_lower, write_parent};
use crate::error::file;
use crate::store::LayerStore;
use crate::{Error, Result};

enum Wanted {
    Directory,
    File,
    Link(&'static str),
}

/// In Docker's order; parents come first. Files are 0755 as Docker makes them.
const WANTED: [(&str, Wanted); 11] = [
    ("dev/pts", Wanted::Directory),
    ("dev/shm", Wanted::Directory),
    ("proc", Wanted::Directory),
    ("sys", Wanted::Directory),
    ("etc", Wanted::Directory),
    (".dockerenv", Wanted::File),
    ("etc/resolv.conf", Wanted::File),
    ("etc/hosts", Wanted::File),
    ("etc/hostname", Wanted::File),
    ("dev/console", Wanted::File),
    ("etc/mtab", Wanted::Link("/proc/mounts")),
];
const MODE: u32 = 0o755;

/// The key of the initial layer on an image's topmost layer; an image without layers has one too.
///
/// It holds that layer's random key and not its chain id, so that it never comes back: else the
/// initial layer of an image that was removed and imported again could be taken for the old one.
pub(crate) fn init_key(top: Option<&LayerKey>) -> LayerKey {
    let text = format!("init1-{}", top.map_or("none", LayerKey::as_str));
    LayerKey::parse(&text).expect("a key is a plain file name")
}

/// The layer that an initial layer's key belongs to: `None` if it is no such key.
pub(crate) fn init_owner(key: &str) -> Option<&str> {
    key.strip_prefix("init1-")
}

impl LayerStore {
    /// Makes sure that an image's initial layer exists, and gives its key.
    pub fn ensure_init(&self, top: Option<&ChainId>) -> Result<LayerKey> {
        let parent = top.map(|top| self.key_of(top)).transpose()?;
        let key = init_key(parent.as_ref());
        let target = self.driver().directory(&key);
        if rustix::fs::access(&target, rustix::fs::Access::EXISTS).is_ok() {
            return Ok(key);
        }
        let mut staged = self.store().stage()?;
        let content = self.driver().prepare(staged.path(), parent.as_ref())?;
        match &parent {
            Some(parent) => write_parent(staged.path(), parent)?,
            None => write_lower(staged.path(), &[])?,
        }
        let image = match &parent {
            Some(parent) => Root::of_mount(mount_rootfs(&self.driver().view(parent)?)?)?,
            None => Root::open(&content)?,
        };
        fill(&image, &Root::open(&content)?)?;
        match staged.publish("", &target, Sync::Nothing) {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(key),
            result => result.map(|()| key).map_err(Error::from),
        }
    }
}

/// Creates in `layer` what `image` lacks.
fn fill(image: &Root, layer: &Root) -> Result<()> {
    let mut parents: Vec<(PathBuf, FileTime)> = Vec::new();
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    for (path, wanted) in &WANTED {
        let path = Path::new(path);
        let last =
            if matches!(wanted, Wanted::Link(_)) { LastLink::Keep } else { LastLink::Follow };
        match image.resolve(path, last) {
            Ok(_) => continue,
            Err(error) if is_absent(error.io_kind()) => {}
            Err(error) => return Err(error.into()),
        }
        if !parents_can_hold(image, path, &mut parents, layer)? {
            // The image has a link or a file on the way; the mount point is made where it leads to,
            // when it is mounted.
            continue;
        }
        // With drivers that copy, a link of the image that leads nowhere is still here.
        layer.remove_tree(path)?;
        match wanted {
            Wanted::Directory => drop(layer.create_dir(path, MODE)?),
            Wanted::File => drop(layer.create_file(path, MODE)?),
            Wanted::Link(target) => layer.create_symlink(OsStr::new(target), path)?,
        }
        // A set-group-id directory must not decide about the group.
        layer.chown(path, owner)?;
        // The same layer for everybody: its files have no time of their own.
        layer.set_time(path, FileTime::default())?;
    }
    // Deepest first, after everything in them is made.
    for (path, time) in parents.iter().rev() {
        layer.set_time(path, *time)?;
    }
    Ok(())
}

fn is_absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes the parents of a path in the layer, those of the image with the image's attributes. False if
/// the image has something else than a directory there.
fn parents_can_hold(
    image: &Root,
    path: &Path,
    parents: &mut Vec<(PathBuf, FileTime)>,
    layer: &Root,
) -> Result<bool> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(true);
    };
    let stat = match image.lstat(parent) {
        Ok(stat) => Some(stat),
        Err(error) if error.io_kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(stat) = &stat
        && FileType::from_raw_mode(stat.st_mode) != FileType::Directory
    {
        return Ok(false);
    }
    let time = stat.as_ref().map_or(FileTime::default(), |stat| FileTime {
        seconds: stat.st_mtime,
        nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    });
    if !layer.exists(parent)? {
        match &stat {
            Some(stat) => copy_directory(image, layer, parent, stat)?,
            None => drop(layer.create_dir(parent, MODE)?),
        }
    }
    if !parents.iter().any(|(known, _)| known == parent) {
        parents.push((parent.to_owned(), time));
    }
    Ok(true)
}

pub(crate) fn copy_directory(image: &Root, layer: &Root, path: &Path, stat: &Stat) -> Result<()> {
    let from = image.open_dir(path)?;
    let to = layer.create_dir(path, 0o700)?;
    let fail = |error: io::Error| file("copy the attributes of", path)(error);
    let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
    orlop_sys::confined::chown_fd(to.as_fd(), owner).map_err(fail)?;
    rustix::fs::fchmod(&to, rustix::fs::Mode::from_raw_mode(stat.st_mode & 0o7777))
        .map_err(|error| fail(error.into()))?;
    for (name, value) in xattr::all(from.as_fd()).map_err(fail)? {
        if !name.to_bytes().starts_with(b"trusted.overlay.") {
            xattr::set(to.as_fd(), &name, &value).map_err(fail)?;
        }
    }
    Ok(())
}
