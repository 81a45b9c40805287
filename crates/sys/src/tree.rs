//! Whole trees by descriptor: walk, copy, measure, remove.
//!
//! Trees may be hostile: names are never joined into paths that the kernel resolves, links are never
//! followed, and depth is limited neither by `PATH_MAX`, nor by the stack, nor by the number of
//! descriptors ([`DirStack`] closes outer directories and comes back through `..`, checking that it
//! is the same directory). The caller sees to it that nothing else changes the tree meanwhile; if
//! something does, an error comes back, never a step outside.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, RawDir, SeekFrom, Stat};
use rustix::io::Errno;

use crate::confined::{PathError, Result, open_dir_at};

pub use crate::tree_copy::{CopyOptions, CopyStats, copy_file_data, copy_tree};

/// Directories of one walk that stay open; deeper walks close the outermost ones.
const OPEN_MAX: usize = 48;
/// Bytes of one `getdents64` call.
const DIRENT_BYTES: usize = 32 * 1024;
/// How often a directory that is refilled while it is removed is emptied again.
const REFILLS_MAX: usize = 8;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: CString,
    /// Whether it is a directory (a link to one is not).
    pub is_dir: bool,
}

/// Calls a function for every entry of an open directory except `.` and `..`.
pub fn for_each_entry(
    directory: BorrowedFd<'_>,
    mut each: impl FnMut(&CStr, bool) -> io::Result<()>,
) -> io::Result<()> {
    rustix::fs::seek(directory, SeekFrom::Start(0))?;
    let mut buffer = Box::new([MaybeUninit::<u8>::uninit(); DIRENT_BYTES]);
    let mut entries = RawDir::new(directory, &mut buffer[..]);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            kind => kind == FileType::Directory,
        };
        each(name, is_dir)?;
    }
    Ok(())
}

/// Lists an open directory sorted by name.
pub fn list(directory: BorrowedFd<'_>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for_each_entry(directory, |name, is_dir| {
        entries.push(Entry { name: name.to_owned(), is_dir });
        Ok(())
    })?;
    entries.sort();
    Ok(entries)
}

/// Whether an open directory has no entries at all.
pub fn is_empty_dir(directory: BorrowedFd<'_>) -> io::Result<bool> {
    rustix::fs::seek(directory, SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 1024];
    let mut entries = RawDir::new(directory, &mut buffer[..]);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            return Ok(false);
        }
    }
    Ok(true)
}

#[derive(Debug)]
struct Frame {
    fd: Option<OwnedFd>,
    identity: (u64, u64),
}

/// The directories from the top of a walk down to the current one, few of them open.
#[derive(Debug)]
pub struct DirStack {
    frames: Vec<Frame>,
}

impl DirStack {
    /// Starts a walk at an open directory.
    pub fn new(top: OwnedFd) -> io::Result<Self> {
        let identity = identity(&rustix::fs::fstat(&top)?);
        Ok(Self { frames: vec![Frame { fd: Some(top), identity }] })
    }

    /// The current directory.
    #[must_use]
    pub fn current(&self) -> BorrowedFd<'_> {
        let frame = self.frames.last().expect("the top of a walk is never left");
        frame.fd.as_ref().expect("the current directory is always open").as_fd()
    }

    /// The directory where the walk began.
    #[must_use]
    pub fn top(&self) -> BorrowedFd<'_> {
        let frame = self.frames.first().expect("the top of a walk is never left");
        frame.fd.as_ref().expect("the top is always open").as_fd()
    }

    /// How many directories below the top the current one is.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.frames.len() - 1
    }

    /// Goes down into an entry of the current directory and gives its metadata.
    pub fn enter(&mut self, name: &CStr) -> io::Result<Stat> {
        let fd = open_dir_at(self.current(), name)?;
        let stat = rustix::fs::fstat(&fd)?;
        self.frames.push(Frame { fd: Some(fd), identity: identity(&stat) });
        if let Some(outer) = self.frames.len().checked_sub(OPEN_MAX + 1) {
            // The top stays open: coming back to it must not depend on a name outside the tree.
            if outer > 0 {
                self.frames[outer].fd = None;
            }
        }
        Ok(stat)
    }

    /// Goes back up by one directory.
    pub fn leave(&mut self) -> io::Result<()> {
        let left = self.frames.pop().and_then(|frame| frame.fd).ok_or(Errno::INVAL)?;
        let parent = self.frames.last_mut().ok_or(Errno::INVAL)?;
        if parent.fd.is_none() {
            let fd = open_dir_at(left.as_fd(), c"..")?;
            if identity(&rustix::fs::fstat(&fd)?) != parent.identity {
                return Err(io::Error::other("the directory was moved during the walk"));
            }
            parent.fd = Some(fd);
        }
        Ok(())
    }
}

/// What makes a file the same file.
#[must_use]
pub fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Where a walk is, for error messages and for links: names separated by slashes.
#[derive(Debug, Default)]
pub struct WalkPath {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl WalkPath {
    /// Goes down by one name.
    pub fn push(&mut self, name: &CStr) {
        self.starts.push(self.bytes.len());
        if !self.bytes.is_empty() {
            self.bytes.push(b'/');
        }
        self.bytes.extend_from_slice(name.to_bytes());
    }

    /// Goes up by one name.
    pub fn pop(&mut self) {
        if let Some(length) = self.starts.pop() {
            self.bytes.truncate(length);
        }
    }

    /// The path so far; empty at the top.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The path of an entry of the current directory.
    #[must_use]
    pub fn join(&self, name: &CStr) -> Vec<u8> {
        let mut path = self.bytes.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        path
    }

    /// The failure of an action on an entry of the current directory.
    pub fn error(
        &self,
        action: &'static str,
        name: &CStr,
        source: impl Into<io::Error>,
    ) -> PathError {
        let path = PathBuf::from(OsStr::from_bytes(&self.join(name)));
        PathError::new(action, path, source)
    }
}

/// What a tree takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of the sizes of its files and links, as their lengths say.
    pub apparent_bytes: u64,
    /// What the disk has allocated for all its objects.
    pub disk_bytes: u64,
    /// Its objects, the top directory included.
    pub inodes: u64,
}

impl Usage {
    fn add(&mut self, stat: &Stat) {
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.apparent_bytes += u64::try_from(stat.st_size).unwrap_or(0);
        }
        self.disk_bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES;
        self.inodes += 1;
    }
}

/// Measures a tree; an object with several names counts once.
pub fn usage(top: BorrowedFd<'_>) -> Result<Usage> {
    let start = |error: io::Error| PathError::new("measure the tree", ".", error);
    let top = open_dir_at(top, c".").map_err(start)?;
    let mut usage = Usage::default();
    usage.add(&rustix::fs::fstat(&top).map_err(|error| start(error.into()))?);
    let mut stack = DirStack::new(top).map_err(start)?;
    let mut seen = HashSet::new();
    let mut path = WalkPath::default();
    let mut pending = vec![measure_one(&stack, &path, &mut usage, &mut seen)?];
    while let Some(children) = pending.last_mut() {
        if let Some(name) = children.pop() {
            let stat = stack.enter(&name).map_err(|error| path.error("measure", &name, error))?;
            path.push(&name);
            usage.add(&stat);
            pending.push(measure_one(&stack, &path, &mut usage, &mut seen)?);
        } else {
            pending.pop();
            if !pending.is_empty() {
                stack.leave().map_err(|error| path.error("leave", c".", error))?;
                path.pop();
            }
        }
    }
    Ok(usage)
}

/// Counts the current directory's files and gives the names of its directories.
fn measure_one(
    stack: &DirStack,
    path: &WalkPath,
    usage: &mut Usage,
    seen: &mut HashSet<(u64, u64)>,
) -> Result<Vec<CString>> {
    let mut children = Vec::new();
    let directory = stack.current();
    for_each_entry(directory, |name, is_dir| {
        if is_dir {
            children.push(name.to_owned());
            return Ok(());
        }
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_nlink < 2 || seen.insert(identity(&stat)) {
            usage.add(&stat);
        }
        Ok(())
    })
    .map_err(|error| path.error("measure", c".", error))?;
    Ok(children)
}

/// Removes an entry of an open directory and everything below it; an absent one is no error.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let path = WalkPath::default();
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(path.error("remove", name, error)),
    }
    let top = match open_dir_at(parent, name) {
        Ok(top) => top,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
        Err(error) => return Err(path.error("remove", name, error)),
    };
    empty_dir(top)?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(path.error("remove", name, error)),
    }
}

/// Removes everything in an open directory but not the directory.
pub fn empty_dir(top: OwnedFd) -> Result<()> {
    let mut path = WalkPath::default();
    let mut stack = DirStack::new(top).map_err(|error| path.error("empty", c".", error))?;
    let mut pending = vec![unlink_files(&stack, &path)?];
    let mut refills = 0;
    while let Some(children) = pending.last_mut() {
        if let Some(name) = children.pop() {
            stack.enter(&name).map_err(|error| path.error("remove", &name, error))?;
            path.push(&name);
            pending.push(unlink_files(&stack, &path)?);
            // The name is needed again when its directory is empty.
            let above = pending.len() - 2;
            pending[above].push(name);
        } else {
            pending.pop();
            let Some(parent) = pending.last_mut() else { break };
            let name = parent.pop().expect("pushed back when its directory was entered");
            stack.leave().map_err(|error| path.error("leave", c".", error))?;
            path.pop();
            match rustix::fs::unlinkat(stack.current(), name.as_c_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY) if refills < REFILLS_MAX => {
                    refills += 1;
                    parent.push(name);
                }
                Err(error) => return Err(path.error("remove", &name, error)),
            }
        }
    }
    Ok(())
}

/// Unlinks the files of the current directory and gives the names of its directories.
fn unlink_files(stack: &DirStack, path: &WalkPath) -> Result<Vec<CString>> {
    let mut children = Vec::new();
    let directory = stack.current();
    let mut failed = None;
    for_each_entry(directory, |name, is_dir| {
        if is_dir {
            children.push(name.to_owned());
            return Ok(());
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => {
                failed = Some(path.error("remove", name, error));
                Err(error.into())
            }
        }
    })
    .map_err(|error| failed.unwrap_or_else(|| path.error("remove", c".", error)))?;
    Ok(children)
}
