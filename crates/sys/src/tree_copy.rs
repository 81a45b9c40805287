//! Copies of whole trees with everything that files carry.
//!
//! Kept: content (shared with the source where the file system can, else copied with its holes),
//! owner, all twelve mode bits, times to the nanosecond, extended attributes with
//! `security.capability`, hard links inside the tree, symbolic links as they are, devices, pipes and
//! sockets. Order per object: content, owner, mode, attributes, times, because changing the owner
//! clears set-user-id bits and capabilities, and everything changes the times.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use crate::confined::{Node, PathError, Result, make_node, open_dir_at, set_mode_at};
use crate::tree::{DirStack, WalkPath, identity, list};
use crate::xattr;

/// Bytes of one read and write where the kernel cannot copy by itself.
const BUFFER_BYTES: usize = 256 * 1024;
/// Attributes of the overlay file system describe its own layers and mean something else elsewhere.
const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// What a copy does beside copying the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// Gives the destination's top directory the owner, mode, times and attributes of the source's.
    pub root_metadata: bool,
    /// Copies `trusted.overlay.*` too: for layers, which are copied as they are.
    pub overlay_attributes: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { root_metadata: true, overlay_attributes: false }
    }
}

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// Objects created, hard links included.
    pub entries: u64,
    /// Length of the regular files.
    pub bytes: u64,
    /// Of these, how many share their blocks with the source.
    pub shared_bytes: u64,
}

struct Copy {
    options: CopyOptions,
    stats: CopyStats,
    /// Cleared by the first refusal, so that a large tree does not ask for every file.
    reflink: bool,
    links: HashMap<(u64, u64), Vec<u8>>,
    top: OwnedFd,
    source: DirStack,
    target: DirStack,
    path: WalkPath,
}

/// Copies everything below one open directory into another one, which should be empty.
pub fn copy_tree(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    options: CopyOptions,
) -> Result<CopyStats> {
    let start = |error: io::Error| PathError::new("copy", ".", error);
    let reopen = |fd| open_dir_at(fd, c".").map_err(start);
    let mut copy = Copy {
        options,
        stats: CopyStats::default(),
        reflink: true,
        links: HashMap::new(),
        top: reopen(target)?,
        source: DirStack::new(reopen(source)?).map_err(start)?,
        target: DirStack::new(reopen(target)?).map_err(start)?,
        path: WalkPath::default(),
    };
    let top_stat = rustix::fs::fstat(source).map_err(|error| start(error.into()))?;
    let mut pending: Vec<(Vec<CString>, Stat)> = vec![(copy.files()?, top_stat)];
    while let Some((children, stat)) = pending.last_mut() {
        if let Some(name) = children.pop() {
            let stat = copy.enter(&name)?;
            pending.push((copy.files()?, stat));
        } else {
            let at_top = copy.source.depth() == 0;
            if !at_top || options.root_metadata {
                let done = copy.dir_metadata(stat);
                done.map_err(|error| copy.path.error("copy the metadata of", c".", error))?;
            }
            pending.pop();
            if !at_top {
                copy.leave()?;
            }
        }
    }
    Ok(copy.stats)
}

impl Copy {
    fn enter(&mut self, name: &CStr) -> Result<Stat> {
        let fail = |path: &WalkPath, error: io::Error| path.error("copy", name, error);
        let stat = self.source.enter(name).map_err(|error| fail(&self.path, error))?;
        match rustix::fs::mkdirat(self.target.current(), name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(&self.path, error.into())),
        }
        self.target.enter(name).map_err(|error| fail(&self.path, error))?;
        self.path.push(name);
        self.stats.entries += 1;
        Ok(stat)
    }

    fn leave(&mut self) -> Result<()> {
        let done = self.source.leave().and_then(|()| self.target.leave());
        done.map_err(|error| self.path.error("leave", c".", error))?;
        self.path.pop();
        Ok(())
    }

    /// Copies what is no directory and gives the names of the directories.
    fn files(&mut self) -> Result<Vec<CString>> {
        let entries =
            list(self.source.current()).map_err(|error| self.path.error("list", c".", error))?;
        let mut children = Vec::new();
        for entry in entries {
            if entry.is_dir {
                children.push(entry.name);
            } else {
                self.file(&entry.name)
                    .map_err(|error| self.path.error("copy", &entry.name, error))?;
                self.stats.entries += 1;
            }
        }
        children.reverse();
        Ok(children)
    }

    fn file(&mut self, name: &CStr) -> io::Result<()> {
        let stat = rustix::fs::statat(self.source.current(), name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&identity(&stat))
        {
            let (parent, first) = open_parent_by_steps(self.top.as_fd(), first)?;
            rustix::fs::linkat(
                &parent,
                first.as_c_str(),
                self.target.current(),
                name,
                AtFlags::empty(),
            )?;
            return Ok(());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.regular(name)?,
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(self.source.current(), name, Vec::new())?;
                rustix::fs::symlinkat(link.as_c_str(), self.target.current(), name)?;
                self.named_metadata(name, &stat)?;
            }
            kind => {
                let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
                let node = match kind {
                    FileType::Fifo => Node::Fifo,
                    FileType::Socket => Node::Socket,
                    FileType::CharacterDevice => Node::Char(device.0, device.1),
                    FileType::BlockDevice => Node::Block(device.0, device.1),
                    _ => return Err(Errno::INVAL.into()),
                };
                make_node(self.target.current(), name, node, stat.st_mode & 0o7777)?;
                self.named_metadata(name, &stat)?;
            }
        }
        if stat.st_nlink > 1 {
            self.links.insert(identity(&stat), self.path.join(name));
        }
        Ok(())
    }

    fn regular(&mut self, name: &CStr) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let from =
            File::from(rustix::fs::openat(self.source.current(), name, flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&from)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = File::from(rustix::fs::openat(
            self.target.current(),
            name,
            flags,
            Mode::from_raw_mode(0o600),
        )?);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let shared = copy_file_data(&from, &to, size, &mut self.reflink)?;
        self.stats.bytes += size;
        if shared {
            self.stats.shared_bytes += size;
        }
        rustix::fs::fchown(
            &to,
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
        )?;
        rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        self.attributes(&xattr::all(from.as_fd())?, |key, value| {
            xattr::set(to.as_fd(), key, value)
        })?;
        Ok(rustix::fs::futimens(&to, &times(&stat))?)
    }

    fn dir_metadata(&self, stat: &Stat) -> io::Result<()> {
        let (from, to) = (self.source.current(), self.target.current());
        rustix::fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        self.attributes(&xattr::all(from)?, |key, value| xattr::set(to, key, value))?;
        Ok(rustix::fs::futimens(to, &times(stat))?)
    }

    /// Owner, mode, attributes and times of a link or special file.
    fn named_metadata(&self, name: &CStr, stat: &Stat) -> io::Result<()> {
        let (from, to) = (self.source.current(), self.target.current());
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(to, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            set_mode_at(to, name, stat.st_mode & 0o7777)?;
        }
        self.attributes(&xattr::all_at(from, name)?, |key, value| {
            xattr::set_at(to, name, key, value)
        })?;
        Ok(rustix::fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn attributes(
        &self,
        attributes: &[xattr::Attribute],
        set: impl Fn(&CStr, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for (name, value) in attributes {
            let overlay = OVERLAY_PREFIXES.iter().any(|prefix| name.to_bytes().starts_with(prefix));
            if overlay && !self.options.overlay_attributes {
                continue;
            }
            match set(name, value) {
                Err(error) if xattr::is_unsupported(&error) => {
                    tracing::debug!(?name, "the destination takes no such attribute");
                }
                result => result?,
            }
        }
        Ok(())
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Opens the parent of a path name by name, so that its length does not matter and no link counts.
fn open_parent_by_steps(top: BorrowedFd<'_>, path: &[u8]) -> io::Result<(OwnedFd, CString)> {
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let name = CString::new(parts.pop().unwrap_or_default()).map_err(|_| Errno::INVAL)?;
    let mut parent = open_dir_at(top, c".")?;
    for part in parts {
        let part = CString::new(part).map_err(|_| Errno::INVAL)?;
        parent = open_dir_at(parent.as_fd(), &part)?;
    }
    Ok((parent, name))
}

/// Copies a regular file's content: shared blocks, else copied by the kernel, else read and written.
///
/// Holes stay holes. `reflink` is cleared when the file system refuses to share. Returns whether the
/// blocks are shared.
pub fn copy_file_data(from: &File, to: &File, size: u64, reflink: &mut bool) -> io::Result<bool> {
    if size == 0 {
        return Ok(false);
    }
    if *reflink {
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => return Ok(true),
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
                *reflink = false;
            }
            // For instance a swap file or other special content: copy this one in the plain way.
            Err(Errno::TXTBSY | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut offset = 0;
    while offset < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => offset,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(size).min(size);
        copy_range(from, to, start, end)?;
        offset = end.max(start + 1);
    }
    rustix::fs::ftruncate(to, size)?;
    Ok(false)
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let length = usize::try_from(end - read_at).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length)
        {
            // Nothing though the file is longer: some file systems do that; reading settles it.
            Ok(0)
            | Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                return copy_by_reading(from, to, read_at, end);
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_by_reading(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0_u8; BUFFER_BYTES];
    let mut offset = start;
    while offset < end {
        let want = usize::try_from(end - offset).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let got = from.read_at(&mut buffer[..want], offset)?;
        if got == 0 {
            // The file became shorter; what is missing reads as zeros, as for a hole.
            break;
        }
        to.write_all_at(&buffer[..got], offset)?;
        offset += got as u64;
    }
    Ok(())
}
