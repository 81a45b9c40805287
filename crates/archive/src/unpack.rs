//! Unpacking into a tree that is in use: what `cp` does with an archive.
//!
//! Unlike a layer ([`crate::extract`]), no name means a deletion, what is there stays unless an entry
//! takes its place, and somebody else may change the tree meanwhile. Names are cleaned lexically and
//! resolved inside the root as in a chroot; what is created is created exclusively and without
//! following the last component. A file that replaces another is written first and takes its name
//! when it is complete, so that a full disk or a broken stream does not cost the old one.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use orlop_sys::confined::{FileTime, Node, Owner, Root, open_dir_at};
use orlop_sys::{tree, xattr};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{refuse, shown};
use crate::extract::{ENTRIES_MAX, FILE_MAX_BYTES, fail};
use crate::extract_entry::{HOLE_BYTES, attributes, named_metadata, node, owner_and_mode};
use crate::name;
use crate::read::{Entry, EntryKind, SparseEntry, TarReader};
use crate::{Error, Refusal, Result};

/// Fewer zeros are written like anything else: no file system has smaller holes.
const HOLE_MIN_BYTES: usize = 4096;

/// What an entry may take the place of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replace {
    /// Whatever is there.
    #[default]
    Anything,
    /// A directory takes only the place of a directory, and nothing else does
    /// (`noOverwriteDirNonDir`).
    SameKind,
}

/// Who owns what is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Whom the archive says.
    #[default]
    Archive,
    /// This one.
    Fixed(Owner),
}

/// How names in the archive become names in the tree: a first component goes, another one comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The component that goes; without one, the new one is put before the whole name.
    pub from: Option<Vec<u8>>,
    /// What comes instead.
    pub to: Vec<u8>,
}

impl Rename {
    fn apply(&self, path: &[u8]) -> Vec<u8> {
        match &self.from {
            None => [self.to.as_slice(), path]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(&b'/'),
            Some(from) => match path.strip_prefix(from.as_slice()) {
                Some(b"") => self.to.clone(),
                Some([b'/', rest @ ..]) => name::join(&self.to, rest),
                _ => path.to_vec(),
            },
        }
    }
}

/// Where an archive goes, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    /// The directory below the root, clean and without links.
    pub base: Vec<u8>,
    /// How names change.
    pub rename: Option<Rename>,
    /// What may be replaced.
    pub replace: Replace,
    /// Who owns what is unpacked.
    pub ownership: Ownership,
}

/// Unpacks a tar below a directory of a root; gives how many entries it had.
pub fn unpack(input: impl BufRead, root: &Root, options: &UnpackOptions) -> Result<u64> {
    let mut tar = TarReader::new(input);
    let mut unpacker = Unpacker { root, options, times: BTreeMap::new(), parent: None };
    let mut entries = 0;
    while let Some(mut entry) = tar.next_entry()? {
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(refuse(&entry.name, Refusal::TooManyEntries(ENTRIES_MAX)));
        }
        if let Ownership::Fixed(owner) = options.ownership {
            (entry.uid, entry.gid) = (owner.uid, owner.gid);
        }
        unpacker.entry(&entry, &mut tar)?;
    }
    unpacker.finish();
    Ok(entries)
}

/// What stands where an entry comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Directory,
    File,
    Other,
}

struct Unpacker<'a> {
    root: &'a Root,
    options: &'a UnpackOptions,
    /// Directories by path, which get their times last.
    times: BTreeMap<Vec<u8>, FileTime>,
    /// The last parent used: most entries follow one of the same directory.
    parent: Option<(Vec<u8>, OwnedFd)>,
}

impl Unpacker<'_> {
    /// The path below the root for a name in the archive; `None` for the top itself.
    fn path(&self, raw: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let mut path = name::clean(raw)?;
        if let Some(rename) = &self.options.rename {
            path = rename.apply(&path);
        }
        Ok((!path.is_empty()).then(|| name::join(&self.options.base, &path)))
    }

    fn entry<R: BufRead>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<()> {
        let path = self.path(&entry.name).map_err(|refusal| refuse(&entry.name, refusal))?;
        // What is there keeps its own attributes: the archive's top is only a place.
        let Some(path) = path else { return Ok(()) };
        let (parent_path, last) = name::split(&path);
        let last = CString::new(last).map_err(|_| refuse(&entry.name, Refusal::InvalidName))?;
        let parent = self.directory(entry, parent_path)?;
        let before = look(entry, &parent, &last)?;
        let directory_comes = entry.kind == EntryKind::Directory;
        if self.options.replace == Replace::SameKind
            && before != Before::Nothing
            && directory_comes != (before == Before::Directory)
        {
            let relative = path.strip_prefix(&*self.options.base).unwrap_or(&path);
            let path = shown(relative.strip_prefix(b"/").unwrap_or(relative));
            return Err(Error::OtherKind { path, directory_comes });
        }
        match &entry.kind {
            EntryKind::Directory => self.make_directory(entry, path, &parent, &last, before),
            EntryKind::HardLink(target) => self.hard_link(entry, &path, target, &parent, &last),
            EntryKind::File | EntryKind::SparseFile { .. } if before == Before::File => {
                self.replacement(entry, &parent, &last, tar)
            }
            EntryKind::File | EntryKind::SparseFile { .. } => {
                self.make_room(entry, &parent, &last, before)?;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                content(entry, open(entry, &parent, &last, flags)?, tar).map(drop)
            }
            EntryKind::Symlink(target) => {
                self.make_room(entry, &parent, &last, before)?;
                rustix::fs::symlinkat(OsStr::from_bytes(target), &parent, last.as_c_str())
                    .map_err(|error| fail(entry, "create the link")(error.into()))?;
                named_metadata(entry, &parent, &last)
            }
            EntryKind::Char(..) | EntryKind::Block(..) | EntryKind::Fifo => {
                self.make_room(entry, &parent, &last, before)?;
                let kind = match entry.kind {
                    EntryKind::Char(major, minor) => Node::Char(major, minor),
                    EntryKind::Block(major, minor) => Node::Block(major, minor),
                    _ => Node::Fifo,
                };
                node(entry, kind, &parent, &last)
            }
        }
    }

    /// Opens a directory, making what is missing; keeps it for the next entry.
    fn directory(&mut self, entry: &Entry, path: &[u8]) -> Result<OwnedFd> {
        let duplicate =
            |fd: &OwnedFd| fd.try_clone().map_err(fail(entry, "open the parent directory"));
        if let Some((known, fd)) = &self.parent
            && known == path
        {
            return duplicate(fd);
        }
        // As Docker makes parents that the archive has no entries for.
        let owner = match self.options.ownership {
            Ownership::Fixed(owner) => owner,
            Ownership::Archive => Owner {
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
            },
        };
        let fd = self.root.mkdir_all(Path::new(OsStr::from_bytes(path)), 0o755, owner);
        let fd = fd.map_err(|error| match Errno::from_io_error(&error.source) {
            Some(Errno::NOTDIR | Errno::LOOP) => {
                refuse(&entry.name, Refusal::ParentNotDirectory(shown(path)))
            }
            _ => fail(entry, "open the parent directory")(error.source),
        })?;
        let kept = duplicate(&fd)?;
        self.parent = Some((path.to_vec(), kept));
        Ok(fd)
    }

    fn make_room(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        last: &CStr,
        before: Before,
    ) -> Result<()> {
        if before == Before::Nothing {
            return Ok(());
        }
        // The kept directory may have been below what goes.
        self.parent = None;
        tree::remove_tree(parent.as_fd(), last)
            .map_err(|error| fail(entry, "replace what is there")(error.source))
    }

    fn make_directory(
        &mut self,
        entry: &Entry,
        path: Vec<u8>,
        parent: &OwnedFd,
        last: &CStr,
        before: Before,
    ) -> Result<()> {
        if before != Before::Directory {
            self.make_room(entry, parent, last, before)?;
            rustix::fs::mkdirat(parent, last, Mode::from_raw_mode(0o700))
                .map_err(|error| fail(entry, "create the directory")(error.into()))?;
        }
        let directory =
            open_dir_at(parent.as_fd(), last).map_err(fail(entry, "open the directory"))?;
        owner_and_mode(entry, &directory)?;
        attributes(entry, |key, value| xattr::set(directory.as_fd(), key, value))?;
        self.times.insert(path, entry.mtime);
        Ok(())
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        path: &[u8],
        target: &[u8],
        parent: &OwnedFd,
        last: &CStr,
    ) -> Result<()> {
        let refuse_target = || refuse(&entry.name, Refusal::LinkTarget(shown(target)));
        let target_path = self.path(target).ok().flatten().ok_or_else(refuse_target)?;
        if target_path == path {
            return Ok(());
        }
        let (from, from_name) = self
            .root
            .open_parent(Path::new(OsStr::from_bytes(&target_path)))
            .map_err(|_| refuse_target())?;
        let stat = rustix::fs::statat(&from, from_name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| refuse_target())?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(refuse_target());
        }
        let before = look(entry, parent, last)?;
        self.make_room(entry, parent, last, before)?;
        rustix::fs::linkat(&from, from_name.as_c_str(), parent, last, AtFlags::empty())
            .map_err(|error| fail(entry, "create the hard link")(error.into()))
    }

    /// Writes a nameless file, and gives it the name of the one that it replaces when it is complete.
    fn replacement<R: BufRead>(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        last: &CString,
        tar: &mut TarReader<R>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let nameless = rustix::fs::openat(parent, c".", flags, Mode::from_raw_mode(0o600));
        let Ok(nameless) = nameless else {
            // A file system without nameless files.
            self.make_room(entry, parent, last, Before::File)?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            return content(entry, open(entry, parent, last, flags)?, tar).map(drop);
        };
        let written = content(entry, File::from(nameless), tar)?;
        self.make_room(entry, parent, last, Before::File)?;
        let name = format!("/proc/self/fd/{}", written.as_raw_fd());
        rustix::fs::linkat(CWD, name, parent, last.as_c_str(), AtFlags::SYMLINK_FOLLOW)
            .map_err(|error| fail(entry, "give the file its name")(error.into()))
    }

    /// Sets the times of directories, deepest first. Whoever changes the tree meanwhile may have
    /// removed one.
    fn finish(&self) {
        for (path, time) in self.times.iter().rev() {
            let path = Path::new(OsStr::from_bytes(path));
            if let Err(error) = self.root.set_time(path, *time) {
                tracing::debug!(%error, "a directory keeps its time");
            }
        }
    }
}

fn look(entry: &Entry, parent: &OwnedFd, last: &CStr) -> Result<Before> {
    match rustix::fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Before::Directory,
            FileType::RegularFile => Before::File,
            _ => Before::Other,
        }),
        Err(Errno::NOENT) => Ok(Before::Nothing),
        Err(error) => Err(fail(entry, "look at what is there")(error.into())),
    }
}

fn open(entry: &Entry, parent: &OwnedFd, last: &CStr, flags: OFlags) -> Result<File> {
    let flags = flags | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(parent, last, flags, Mode::from_raw_mode(0o600))
        .map(File::from)
        .map_err(|error| fail(entry, "create the file")(error.into()))
}

/// Writes a file's content and metadata; long zeros become holes.
fn content<R: BufRead>(entry: &Entry, file: File, tar: &mut TarReader<R>) -> Result<OwnedFd> {
    let length = match &entry.kind {
        EntryKind::SparseFile { real_size, .. } => *real_size,
        _ => entry.size,
    };
    if length > FILE_MAX_BYTES {
        return Err(refuse(&entry.name, Refusal::TooLarge(FILE_MAX_BYTES)));
    }
    let whole = [SparseEntry { offset: 0, length }];
    let pieces = match &entry.kind {
        EntryKind::SparseFile { map, .. } => map.as_slice(),
        _ => &whole,
    };
    let failed = |error: io::Error| fail(entry, "write the file")(error);
    let mut reaches = 0;
    for piece in pieces {
        let mut offset = piece.offset;
        while offset < piece.offset + piece.length {
            let left = usize::try_from(piece.offset + piece.length - offset).unwrap_or(usize::MAX);
            let bytes = tar.content()?;
            if bytes.is_empty() {
                break;
            }
            let to_boundary = HOLE_BYTES - usize::try_from(offset % HOLE_BYTES as u64).unwrap_or(0);
            let step = bytes.len().min(left).min(to_boundary);
            // What is not written reads as zeros.
            if step < HOLE_MIN_BYTES || bytes[..step].iter().any(|byte| *byte != 0) {
                file.write_all_at(&bytes[..step], offset).map_err(failed)?;
                reaches = offset + step as u64;
            }
            tar.advance(step);
            offset += step as u64;
        }
    }
    if reaches < length {
        file.set_len(length).map_err(failed)?;
    }
    let fd = OwnedFd::from(file);
    owner_and_mode(entry, &fd)?;
    attributes(entry, |key, value| xattr::set(fd.as_fd(), key, value))?;
    rustix::fs::futimens(&fd, &entry.mtime.both())
        .map_err(|error| fail(entry, "set the time")(error.into()))?;
    Ok(fd)
}
