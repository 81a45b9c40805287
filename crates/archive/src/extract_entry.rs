//! Creating the object of one entry.
//!
//! Order per object: content, owner, mode, attributes, times; see `orlop_sys::tree`.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use orlop_sys::confined::{Node, PathError, make_node, open_dir_at, set_mode_at};
use orlop_sys::xattr;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::error::{refuse, shown};
use crate::extract::{Before, Extractor, LinkBelow, WhiteoutForm, fail};
use crate::name;
use crate::read::{Entry, EntryKind, SparseEntry, TarReader};
use crate::{Refusal, Result};

/// The attribute of an opaque directory.
const OPAQUE: &CStr = c"trusted.overlay.opaque";
/// Files are looked through for zeros, which are not written, in blocks of this length.
pub(crate) const HOLE_BYTES: usize = 64 * 1024;
/// Attributes by which a layer could steer the overlay file system; never taken from an archive.
const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

impl Extractor<'_> {
    pub(crate) fn object<R: BufRead>(
        &mut self,
        entry: &Entry,
        path: &[u8],
        tar: &mut TarReader<R>,
    ) -> Result<()> {
        let (parent, last) = self.parent(entry, path)?;
        if entry.kind == EntryKind::Directory {
            return self.directory_entry(entry, path, &parent, &last);
        }
        if let EntryKind::HardLink(target) = &entry.kind {
            return self.hard_link(entry, path, target, &parent, &last);
        }
        self.make_room(entry, &parent, &last, false)?;
        self.note_made(path);
        match &entry.kind {
            EntryKind::File | EntryKind::SparseFile { .. } => {
                self.file(entry, path, &parent, &last, tar)
            }
            EntryKind::Symlink(target) => {
                self.stats.file_bytes += target.len() as u64;
                rustix::fs::symlinkat(OsStr::from_bytes(target), &parent, last.as_c_str())
                    .map_err(|error| fail(entry, "create the link")(error.into()))?;
                named_metadata(entry, &parent, &last)
            }
            // Device 0:0 is how the overlay file system stores a deletion.
            EntryKind::Char(0, 0) => match self.options.whiteouts {
                WhiteoutForm::Overlay => self.make_whiteout(entry, path, &parent, &last),
                WhiteoutForm::Apply => Ok(()),
            },
            EntryKind::Char(major, minor) => {
                node(entry, Node::Char(*major, *minor), &parent, &last)
            }
            EntryKind::Block(major, minor) => {
                node(entry, Node::Block(*major, *minor), &parent, &last)
            }
            EntryKind::Fifo => node(entry, Node::Fifo, &parent, &last),
            EntryKind::Directory | EntryKind::HardLink(_) => unreachable!("handled above"),
        }
    }

    fn directory_entry(
        &mut self,
        entry: &Entry,
        path: &[u8],
        parent: &OwnedFd,
        last: &CString,
    ) -> Result<()> {
        let before = self.make_room(entry, parent, last, true)?;
        self.note_made(path);
        if before != Before::Directory {
            rustix::fs::mkdirat(parent, last.as_c_str(), Mode::from_raw_mode(0o700))
                .map_err(|error| fail(entry, "create the directory")(error.into()))?;
        }
        let directory =
            open_dir_at(parent.as_fd(), last).map_err(fail(entry, "open the directory"))?;
        owner_and_mode(entry, &directory)?;
        attributes(entry, |key, value| xattr::set(directory.as_fd(), key, value))?;
        if before == Before::Other {
            // This layer already hid whatever lower layers have here.
            self.make_opaque(entry, &directory)?;
        }
        self.directory_times.insert(path.to_vec(), entry.mtime);
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        path: &[u8],
        target: &[u8],
        parent: &OwnedFd,
        last: &CString,
    ) -> Result<()> {
        let refuse_target = || refuse(&entry.name, Refusal::LinkTarget(shown(target)));
        let target_path = name::clean(target).map_err(|_| refuse_target())?;
        if target_path.is_empty() {
            return Err(refuse_target());
        }
        let shown_path = Path::new(OsStr::from_bytes(&target_path));
        let found = self.root.open_parent(shown_path).and_then(|(from, from_name)| {
            rustix::fs::statat(&from, from_name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
                .map(|stat| (from, from_name, stat))
                .map_err(|error| PathError::new("find", shown_path, error))
        });
        let (from, from_name, stat) = match found {
            Ok(found) => found,
            Err(error)
                if error.io_kind() == io::ErrorKind::NotFound
                    && self.options.whiteouts == WhiteoutForm::Overlay =>
            {
                self.make_room(entry, parent, last, false)?;
                self.stats.links_below.push(LinkBelow {
                    path: path.to_vec(),
                    target: target_path,
                    entry: entry.name.clone(),
                });
                return Ok(());
            }
            Err(_) => return Err(refuse_target()),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
        if kind == FileType::Directory || is_whiteout {
            return Err(refuse_target());
        }
        if target_path == path {
            return Ok(());
        }
        self.make_room(entry, parent, last, false)?;
        self.note_made(path);
        rustix::fs::linkat(&from, from_name.as_c_str(), parent, last.as_c_str(), AtFlags::empty())
            .map_err(|error| match error {
                // It was below what made room.
                Errno::NOENT => refuse_target(),
                error => fail(entry, "create the hard link")(error.into()),
            })
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        path: &[u8],
        parent: &OwnedFd,
        last: &CString,
        tar: &mut TarReader<R>,
    ) -> Result<()> {
        let length = match &entry.kind {
            EntryKind::SparseFile { real_size, .. } => *real_size,
            _ => entry.size,
        };
        if length > self.options.file_max_bytes {
            return Err(refuse(&entry.name, Refusal::TooLarge(self.options.file_max_bytes)));
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, last.as_c_str(), flags, Mode::from_raw_mode(0o600))
            .map_err(|error| fail(entry, "create the file")(error.into()))?;
        let file = File::from(fd);
        let whole = [SparseEntry { offset: 0, length }];
        let pieces = match &entry.kind {
            EntryKind::SparseFile { map, .. } => map.as_slice(),
            _ if length == 0 => &[],
            _ => &whole,
        };
        if entry.size > 0
            && let Some(number) = tar.record_content(path, pieces)?
        {
            self.note_content(entry, &file, number)?;
        }
        let mut reaches = 0;
        for piece in pieces {
            let mut offset = piece.offset;
            while offset < piece.offset + piece.length {
                let left =
                    usize::try_from(piece.offset + piece.length - offset).unwrap_or(usize::MAX);
                let bytes = tar.content()?;
                if bytes.is_empty() {
                    break;
                }
                let step = bytes.len().min(left).min(HOLE_BYTES - offset as usize % HOLE_BYTES);
                // Programs that write archives fill holes with zeros; they become holes again.
                if length < HOLE_BYTES as u64 || !is_zero(&bytes[..step]) {
                    file.write_all_at(&bytes[..step], offset)
                        .map_err(fail(entry, "write the file"))?;
                    reaches = offset + step as u64;
                }
                tar.advance(step);
                offset += step as u64;
            }
        }
        if reaches < length {
            file.set_len(length).map_err(fail(entry, "set the length of the file"))?;
        }
        self.stats.file_bytes += length;
        let fd = OwnedFd::from(file);
        owner_and_mode(entry, &fd)?;
        attributes(entry, |key, value| xattr::set(fd.as_fd(), key, value))?;
        rustix::fs::futimens(&fd, &entry.mtime.both())
            .map_err(|error| fail(entry, "set the time")(error.into()))
    }

    pub(crate) fn make_whiteout(
        &mut self,
        entry: &Entry,
        path: &[u8],
        parent: &OwnedFd,
        last: &CString,
    ) -> Result<()> {
        self.stats.whiteouts.push(path.to_vec());
        make_node(parent.as_fd(), last, Node::Char(0, 0), 0)
            .map_err(fail(entry, "create the whiteout"))
    }

    pub(crate) fn make_opaque(&self, entry: &Entry, directory: &OwnedFd) -> Result<()> {
        if self.options.whiteouts == WhiteoutForm::Apply {
            return Ok(());
        }
        xattr::set(directory.as_fd(), OPAQUE, b"y")
            .map_err(fail(entry, "make the directory opaque"))
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) == 0
}

pub(crate) fn owner_and_mode(entry: &Entry, fd: &OwnedFd) -> Result<()> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(|error| fail(entry, "set the owner")(error.into()))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
        .map_err(|error| fail(entry, "set the mode")(error.into()))
}

pub(crate) fn node(entry: &Entry, node: Node, parent: &OwnedFd, last: &CString) -> Result<()> {
    make_node(parent.as_fd(), last, node, entry.mode).map_err(fail(entry, "create the node"))?;
    named_metadata(entry, parent, last)
}

/// Owner, mode, attributes and times of a link or special file.
pub(crate) fn named_metadata(entry: &Entry, parent: &OwnedFd, last: &CString) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::chownat(parent, last.as_c_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| fail(entry, "set the owner")(error.into()))?;
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        set_mode_at(parent.as_fd(), last, entry.mode).map_err(fail(entry, "set the mode"))?;
    }
    attributes(entry, |key, value| xattr::set_at(parent.as_fd(), last, key, value))?;
    let times = entry.mtime.both();
    rustix::fs::utimensat(parent, last.as_c_str(), &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| fail(entry, "set the time")(error.into()))
}

pub(crate) fn attributes(
    entry: &Entry,
    set: impl Fn(&CStr, &[u8]) -> std::io::Result<()>,
) -> Result<()> {
    for (key, value) in &entry.xattrs {
        if OVERLAY_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            tracing::debug!(entry = %shown(&entry.name), "an attribute of the overlay file system is left out");
            continue;
        }
        let key =
            CString::new(key.as_slice()).map_err(|_| refuse(&entry.name, Refusal::InvalidName))?;
        match set(&key, value) {
            // The file system or the kind of file has no such attributes; Docker goes on as well.
            Err(error)
                if xattr::is_unsupported(&error)
                    || error.raw_os_error() == Some(Errno::PERM.raw_os_error()) =>
            {
                tracing::warn!(entry = %shown(&entry.name), attribute = ?key, %error, "cannot set an attribute");
            }
            result => result.map_err(fail(entry, "set an attribute"))?,
        }
    }
    Ok(())
}
