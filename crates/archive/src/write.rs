//! Writing trees as tars.
//!
//! The same tree always gives the same bytes: entries sorted by name, no user names, no access times.
//! Sockets are left out. Sparse files are written whole.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use orlop_sys::confined::open_dir_at;
use orlop_sys::tree::{DirStack, Entry, WalkPath, identity, list};
use orlop_sys::xattr;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use tar_core::builder::EntryBuilder;
use tar_core::{EntryType, HEADER_SIZE, HeaderError, SparseEntry};

use crate::error::shown;
use crate::name::{WHITEOUT, WHITEOUT_OPAQUE, join};
use crate::skeleton::SkeletonWriter;
use crate::{Error, Result};

const BUFFER_BYTES: usize = 256 * 1024;
/// Pieces of one sparse file; the map of more is not worth its length.
const PIECES_MAX: usize = 4096;
/// Prefix of attributes in extended headers.
const XATTR_RECORD: &str = "SCHILY.xattr.";

/// How exact times are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Whole seconds, so that digests do not depend on the file system.
    Seconds,
    /// With their fraction.
    Nanoseconds,
}

/// A tar being written.
pub struct TarWriter<W> {
    output: W,
    times: Times,
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    holes: Holes,
    /// Keeps what gives the tar back, when the tree that is written is itself a layer's content.
    record: Option<SkeletonWriter>,
    file_bytes: u64,
}

/// How holes of files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holes {
    /// As zeros, which every reader understands.
    Zeros,
    /// As holes: for an archive that only we read.
    Kept,
}

impl<W: Write> TarWriter<W> {
    /// Begins an archive.
    pub fn new(output: W, times: Times) -> Self {
        Self {
            output,
            times,
            links: HashMap::new(),
            buffer: vec![0; BUFFER_BYTES],
            holes: Holes::Zeros,
            record: None,
            file_bytes: 0,
        }
    }

    /// Begins an archive of a layer's own content, whose skeleton is written beside it: names in the
    /// archive must be the paths below `diff`.
    pub fn recording(output: W, record: SkeletonWriter) -> Self {
        Self { record: Some(record), ..Self::new(output, Times::Seconds) }
    }

    /// Chooses how holes are written.
    #[must_use]
    pub fn with_holes(self, holes: Holes) -> Self {
        Self { holes, ..self }
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Result<W> {
        self.put(&[0; 2 * HEADER_SIZE])?;
        self.output.flush().map_err(Error::Write)?;
        if let Some(record) = self.record {
            record.finish()?;
        }
        Ok(self.output)
    }

    /// Length of the regular files and symbolic links written so far, hard links once.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Writes what is not the content of a file.
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(record) = &mut self.record {
            record.raw(bytes)?;
        }
        self.output.write_all(bytes).map_err(Error::Write)
    }

    fn header(&self, path: &[u8], kind: EntryType, stat: &Stat) -> Result<EntryBuilder> {
        let represent = |source: HeaderError| Error::Represent { path: shown(path), source };
        let mut builder = EntryBuilder::new_ustar();
        builder.path(path).entry_type(kind);
        builder.mode(stat.st_mode & 0o7777).map_err(represent)?;
        builder.uid(u64::from(stat.st_uid)).map_err(represent)?;
        builder.gid(u64::from(stat.st_gid)).map_err(represent)?;
        builder.size(0).map_err(represent)?;
        let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
        builder.mtime(seconds).map_err(represent)?;
        if self.times == Times::Nanoseconds && stat.st_mtime_nsec != 0 && stat.st_mtime >= 0 {
            builder.add_pax("mtime", format!("{seconds}.{:09}", stat.st_mtime_nsec));
        }
        Ok(builder)
    }

    fn emit(&mut self, mut builder: EntryBuilder) -> Result<()> {
        let bytes = builder.finish_bytes();
        self.put(&bytes)
    }

    /// Adds an empty file, as whiteouts are.
    pub fn marker(&mut self, path: &[u8]) -> Result<()> {
        let represent = |source: HeaderError| Error::Represent { path: shown(path), source };
        let mut builder = EntryBuilder::new_ustar();
        builder.path(path).entry_type(EntryType::Regular);
        builder.mode(0o600).map_err(represent)?;
        builder.uid(0).map_err(represent)?;
        builder.gid(0).map_err(represent)?;
        builder.size(0).map_err(represent)?;
        builder.mtime(0).map_err(represent)?;
        self.emit(builder)
    }

    /// Adds the removal of an object.
    pub fn whiteout(&mut self, parent: &[u8], name: &CStr) -> Result<()> {
        self.marker(&join(parent, &[WHITEOUT, name.to_bytes()].concat()))
    }

    /// Adds the mark that hides everything lower layers have in a directory.
    pub fn opaque(&mut self, directory: &[u8]) -> Result<()> {
        self.marker(&join(directory, WHITEOUT_OPAQUE))
    }

    /// Adds an open directory without its entries.
    pub fn directory(&mut self, path: &[u8], directory: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
        let mut builder = self.header(&[path, b"/"].concat(), EntryType::Directory, stat)?;
        let attributes = xattr::all(directory).map_err(|error| at(path, error))?;
        add_attributes(&mut builder, &attributes);
        self.emit(builder)
    }

    /// Adds an object that is no directory. Sockets are skipped.
    pub fn file(
        &mut self,
        path: &[u8],
        parent: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<()> {
        let represent = |source: HeaderError| Error::Represent { path: shown(path), source };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Socket {
            return Ok(());
        }
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&identity(stat))
        {
            let mut builder = self.header(path, EntryType::Link, stat)?;
            builder.link_name(first);
            return self.emit(builder);
        }
        if kind == FileType::RegularFile {
            // Nobody changes what is recorded: one look at it is enough.
            let known = self.record.is_some().then_some(*stat);
            return self.regular(path, parent, name, known);
        }
        let entry_type = match kind {
            FileType::Symlink => EntryType::Symlink,
            FileType::Fifo => EntryType::Fifo,
            FileType::CharacterDevice => EntryType::Char,
            _ => EntryType::Block,
        };
        let mut builder = self.header(path, entry_type, stat)?;
        if kind == FileType::Symlink {
            let target = match rustix::fs::readlinkat(parent, name, Vec::new()) {
                Ok(target) => target,
                // A file took its place.
                Err(error) if has_vanished(error) || error == Errno::INVAL => {
                    skipped(path);
                    return Ok(());
                }
                Err(error) => return Err(at(path, error.into())),
            };
            builder.link_name(target.as_bytes());
            self.file_bytes += target.as_bytes().len() as u64;
        } else if kind != FileType::Fifo {
            let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            builder.device(major, minor).map_err(represent)?;
        }
        match xattr::all_at(parent, name) {
            Ok(attributes) => add_attributes(&mut builder, &attributes),
            Err(error) if Errno::from_io_error(&error).is_some_and(has_vanished) => {
                skipped(path);
                return Ok(());
            }
            Err(error) => return Err(at(path, error)),
        }
        self.note_link(stat, path);
        self.emit(builder)
    }

    /// Later names of the file refer to this one. Only what was written can be referred to.
    fn note_link(&mut self, stat: &Stat, path: &[u8]) {
        if stat.st_nlink > 1 {
            self.links.insert(identity(stat), path.to_vec());
        }
    }

    fn regular(
        &mut self,
        path: &[u8],
        parent: BorrowedFd<'_>,
        name: &CStr,
        known: Option<Stat>,
    ) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(error) if has_vanished(error) => {
                skipped(path);
                return Ok(());
            }
            Err(error) => return Err(at(path, error.into())),
        };
        let stat = match known {
            Some(stat) => stat,
            None => rustix::fs::fstat(&fd).map_err(|error| at(path, error.into()))?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            skipped(path);
            return Ok(());
        }
        self.note_link(&stat, path);
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut file = File::from(fd);
        let has_holes = u64::try_from(stat.st_blocks).unwrap_or(0) * 512 < size;
        let map = match self.holes {
            Holes::Kept if has_holes => data_map(&file, size),
            _ => None,
        };
        let whole = [SparseEntry { offset: 0, length: size }];
        let pieces = map.as_deref().unwrap_or(&whole);
        let stored: u64 = pieces.iter().map(|piece| piece.length).sum();
        let mut builder = self.header(path, EntryType::Regular, &stat)?;
        builder.size(stored).map_err(|source| Error::Represent { path: shown(path), source })?;
        if map.is_some() {
            builder.sparse(pieces, size);
        }
        let attributes = xattr::all(file.as_fd()).map_err(|error| at(path, error))?;
        add_attributes(&mut builder, &attributes);
        self.emit(builder)?;
        self.file_bytes += size;
        if stored > 0
            && let Some(record) = &mut self.record
        {
            record.content(path, pieces)?;
        }
        for piece in pieces {
            if map.is_some() {
                file.seek(io::SeekFrom::Start(piece.offset)).map_err(|error| at(path, error))?;
            }
            self.content(path, &mut file, piece.length)?;
        }
        let padding =
            usize::try_from(stored.next_multiple_of(HEADER_SIZE as u64) - stored).unwrap_or(0);
        self.put(&[0; HEADER_SIZE][..padding])
    }

    /// Writes so many bytes of a file from where it stands.
    fn content(&mut self, path: &[u8], file: &mut File, length: u64) -> Result<()> {
        let mut left = length;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            let got = file.read(&mut self.buffer[..want]).map_err(|error| at(path, error))?;
            if got == 0 && self.record.is_some() {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter");
                return Err(at(path, error));
            }
            if got == 0 {
                // A running container may shorten it meanwhile; the header has promised the length.
                self.buffer[..want].fill(0);
            }
            let got = if got == 0 { want } else { got };
            self.output.write_all(&self.buffer[..got]).map_err(Error::Write)?;
            left -= got as u64;
        }
        Ok(())
    }

    /// Adds everything below an open directory under a path (empty: the root of the archive).
    pub fn tree(&mut self, top: BorrowedFd<'_>, prefix: &[u8]) -> Result<()> {
        walk(top, prefix, |step| match step {
            Step::Directory { path, fd, stat } => self.directory(path, fd, stat),
            Step::File { path, parent, name, stat } => self.file(path, parent, name, stat),
        })
    }
}

/// What a walk comes by, in the order of the archive.
pub(crate) enum Step<'a> {
    /// A directory, before its entries; not the top.
    Directory { path: &'a [u8], fd: BorrowedFd<'a>, stat: &'a Stat },
    /// Anything else.
    File { path: &'a [u8], parent: BorrowedFd<'a>, name: &'a CStr, stat: &'a Stat },
}

/// Walks everything below an open directory, sorted by name within each directory. What vanishes
/// meanwhile is left out.
pub(crate) fn walk(
    top: BorrowedFd<'_>,
    prefix: &[u8],
    mut each: impl FnMut(Step<'_>) -> Result<()>,
) -> Result<()> {
    let top: OwnedFd = open_dir_at(top, c".").map_err(|error| at(prefix, error))?;
    let mut stack = DirStack::new(top).map_err(|error| at(prefix, error))?;
    let mut path = WalkPath::default();
    let in_archive = |path: &WalkPath, name: &CStr| join(prefix, &path.join(name));
    let mut pending: Vec<Vec<(CString, bool)>> = vec![sorted(&stack)?];
    while let Some(entries) = pending.last_mut() {
        let Some((name, is_dir)) = entries.pop() else {
            pending.pop();
            if !pending.is_empty() {
                stack.leave().map_err(|error| at(path.as_bytes(), error))?;
                path.pop();
            }
            continue;
        };
        let full = in_archive(&path, &name);
        if is_dir {
            let stat = match stack.enter(&name) {
                Ok(stat) => stat,
                Err(error) if Errno::from_io_error(&error).is_some_and(has_vanished) => {
                    skipped(&full);
                    continue;
                }
                Err(error) => return Err(at(&full, error)),
            };
            path.push(&name);
            each(Step::Directory { path: &full, fd: stack.current(), stat: &stat })?;
            pending.push(sorted(&stack)?);
        } else {
            let parent = stack.current();
            let stat = match rustix::fs::statat(parent, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(error) if has_vanished(error) => {
                    skipped(&full);
                    continue;
                }
                Err(error) => return Err(at(&full, error.into())),
            };
            each(Step::File { path: &full, parent, name: &name, stat: &stat })?;
        }
    }
    Ok(())
}

/// Where a file has data; nothing if the file system cannot tell or it is in too many pieces.
fn data_map(file: &File, size: u64) -> Option<Vec<SparseEntry>> {
    let mut pieces = Vec::new();
    let mut offset = 0;
    while offset < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(start) if start < size => start,
            // Nothing but a hole up to the end.
            Ok(_) | Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start)).ok()?.min(size);
        if end <= start || pieces.len() == PIECES_MAX {
            return None;
        }
        pieces.push(SparseEntry { offset: start, length: end - start });
        offset = end;
    }
    Some(pieces)
}

/// Whether the error says that an object that was listed is not what it was: a running container
/// removes and replaces files while they are read.
fn has_vanished(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO)
}

/// Whether an operation failed because its object is not there any more.
pub(crate) fn is_gone(error: &Error) -> bool {
    let errno = |error: &std::io::Error| Errno::from_io_error(error).is_some_and(has_vanished);
    matches!(error, Error::Path(error) if errno(&error.source))
}

/// The entries of a directory, sorted; none if it was removed after it was opened.
pub(crate) fn list_or_nothing(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Entry>> {
    match list(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| at(path, error)),
    }
}

fn skipped(path: &[u8]) {
    tracing::debug!(path = %shown(path), "changed while it was archived, and left out");
}

/// Entries of the current directory, last name first.
fn sorted(stack: &DirStack) -> Result<Vec<(CString, bool)>> {
    let mut entries = list_or_nothing(stack.current(), b".")?;
    entries.reverse();
    Ok(entries.into_iter().map(|entry| (entry.name, entry.is_dir)).collect())
}

/// Attributes that belong into an archive: all but those of the overlay file system and labels of the
/// machine the layer happens to be on.
fn add_attributes(builder: &mut EntryBuilder, attributes: &[xattr::Attribute]) {
    for (name, value) in attributes {
        if let Ok(name) = name.to_str()
            && is_portable(name)
        {
            builder.add_pax(&format!("{XATTR_RECORD}{name}"), value);
        }
    }
}

pub(crate) fn is_portable(name: &str) -> bool {
    !name.starts_with("trusted.overlay.")
        && !name.starts_with("user.overlay.")
        && name != "security.selinux"
}

pub(crate) fn at(path: &[u8], error: std::io::Error) -> Error {
    Error::Path(orlop_sys::confined::PathError::new("archive", shown(path), error))
}
