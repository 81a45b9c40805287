//! Walks a directory on all processors: what is there, with the digest of each file's content.
//!
//! A file whose content is remembered ([`super::memory`]) is only looked at. Names are opened relative
//! to the directory where the walk began, by a call that follows no link and leaves nothing, so whatever
//! somebody does to the tree meanwhile, the walk stays in it: what has vanished or has become something
//! else is left out, as if the walk had come a moment later.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_archive::digest::Digester;
use orlop_sys::tree::for_each_entry;
use orlop_sys::xattr;
use orlop_types::ErrorKind;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::crew::{self, Crew};
use super::filter::{Above, Filter};
use super::hash::{self, Hashed};
use super::memory::Identity;
use super::{Ownership, Tree};
use crate::{Cancel, Error, Result};

/// Names of one directory that one thread looks at before another may take over.
const CHUNK_NAMES: usize = 256;
/// Objects of one walk: as many as a layer may have.
const ENTRIES_MAX: usize = 5_000_000;

/// Attempts after `EAGAIN`, which `openat2` gives when something was renamed while it looked.
const ATTEMPTS_MAX: usize = 64;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A regular file. Sockets are empty ones.
    File(Hashed),
    /// A directory, by its number in the scan.
    Directory(usize),
    /// A symbolic link.
    Link(Vec<u8>),
    /// A pipe or a device.
    Node,
}

/// One name of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: CString,
    pub(crate) stat: Stat,
    pub(crate) what: What,
}

/// A directory that was walked.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Relative to where the walk began.
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    pub(crate) attributes: Vec<xattr::Attribute>,
    /// Sorted by name; directories that have neither part in the copy nor anything below that has
    /// are left out.
    pub(crate) entries: Vec<Entry>,
    /// Whether it takes part by itself, and not only because of what is below.
    pub(crate) included: bool,
    /// Of what is in it.
    pub(crate) digest: [u8; 32],
}

/// A directory with all below it; number 0 is where the walk began, parents come before children.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) directories: Vec<Directory>,
    /// Where it began, relative to the tree's root.
    pub(crate) top: Vec<u8>,
}

enum Job {
    /// List a directory.
    List { number: usize, path: Vec<u8>, above: Above, included: bool },
    /// Look at some of its names.
    Look {
        number: usize,
        path: Arc<Vec<u8>>,
        fd: Arc<OwnedFd>,
        names: Vec<CString>,
        above: Arc<Above>,
    },
}

#[derive(Default)]
struct Found {
    directories: Vec<Option<Directory>>,
    entries: usize,
}

struct Walk<'a> {
    tree: &'a Tree,
    top: OwnedFd,
    top_path: &'a [u8],
    filter: &'a Filter<'a>,
    cancel: &'a Cancel,
    found: Mutex<Found>,
}

/// Walks the directory at a path of a tree, which must hold no link.
pub(crate) fn scan(tree: &Tree, path: &[u8], filter: &Filter<'_>, cancel: &Cancel) -> Result<Scan> {
    let top = tree.root().open_dir(as_path(path)).map_err(orlop_layer::Error::from)?;
    let found = Mutex::new(Found { directories: vec![None], entries: 0 });
    let walk = Walk { tree, top, top_path: path, filter, cancel, found };
    let first = Job::List { number: 0, path: Vec::new(), above: filter.top(), included: true };
    crew::work(first, cancel, |crew, job| walk.run(crew, job))?;
    let found = walk.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut scan = Scan { directories: finish(found.directories), top: path.to_vec() };
    scan.digest(tree.ownership());
    Ok(scan)
}

pub(crate) fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// Puts the directories together: vanished and needless ones go, numbers become those that are left.
fn finish(directories: Vec<Option<Directory>>) -> Vec<Directory> {
    let count = directories.len();
    let mut directories = directories;
    // Children come after their parents, so backwards each is settled before its parent asks.
    let mut needed = vec![false; count];
    for number in (0..count).rev() {
        let Some(directory) = directories.get_mut(number).and_then(Option::as_mut) else {
            continue;
        };
        directory.entries.retain(|entry| match entry.what {
            What::Directory(child) => needed.get(child).copied().unwrap_or(false),
            _ => true,
        });
        directory.entries.sort_by(|a, b| a.name.cmp(&b.name));
        needed[number] = number == 0 || directory.included || !directory.entries.is_empty();
    }
    let mut numbers = vec![usize::MAX; count];
    let mut next = 0;
    for (number, slot) in numbers.iter_mut().enumerate() {
        if needed[number] {
            *slot = next;
            next += 1;
        }
    }
    let mut kept = Vec::with_capacity(next);
    for (number, directory) in directories.into_iter().enumerate() {
        let Some(mut directory) = directory.filter(|_| needed[number]) else { continue };
        for entry in &mut directory.entries {
            if let What::Directory(child) = &mut entry.what {
                *child = numbers[*child];
            }
        }
        kept.push(directory);
    }
    // What a listing knew of a directory was only its type.
    for number in 0..kept.len() {
        let stats: Vec<(usize, Stat)> = kept[number]
            .entries
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| match entry.what {
                What::Directory(child) => kept.get(child).map(|child| (at, child.stat)),
                _ => None,
            })
            .collect();
        for (at, stat) in stats {
            kept[number].entries[at].stat = stat;
        }
    }
    kept
}

impl Scan {
    /// Computes the digests of all directories from those of their files.
    pub(crate) fn digest(&mut self, ownership: Ownership) {
        let mut text = Vec::new();
        for number in (0..self.directories.len()).rev() {
            text.clear();
            for entry in &self.directories[number].entries {
                let name = entry.name.to_bytes();
                text.extend_from_slice(
                    &u32::try_from(name.len()).unwrap_or(u32::MAX).to_le_bytes(),
                );
                text.extend_from_slice(name);
                self.describe(entry, ownership, &mut text);
                if let What::Directory(child) = entry.what {
                    text.extend_from_slice(&self.directories[child].digest);
                }
            }
            let mut digester = Digester::default();
            digester.update(&text);
            self.directories[number].digest = digester.finish_raw();
        }
    }

    /// Describes one object without its name and without what is below it.
    pub(crate) fn describe(&self, entry: &Entry, ownership: Ownership, text: &mut Vec<u8>) {
        let included = match entry.what {
            What::Directory(child) => self.directories[child].included,
            _ => true,
        };
        let stat = &entry.stat;
        text.push(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => b'd',
            FileType::Symlink => b'l',
            FileType::Fifo => b'p',
            FileType::CharacterDevice => b'c',
            FileType::BlockDevice => b'b',
            _ => b'f',
        });
        let owner = match ownership {
            Ownership::Root => (0, 0),
            Ownership::Kept => (stat.st_uid, stat.st_gid),
        };
        if included {
            text.extend_from_slice(&(stat.st_mode & 0o7777).to_le_bytes());
            text.extend_from_slice(&owner.0.to_le_bytes());
            text.extend_from_slice(&owner.1.to_le_bytes());
        }
        match &entry.what {
            What::File(hashed) => text.extend_from_slice(&hashed.digest),
            What::Directory(child) if included => {
                hash::describe_attributes(&self.directories[*child].attributes, text);
            }
            What::Directory(_) => {}
            What::Link(target) => {
                text.extend_from_slice(&(target.len() as u64).to_le_bytes());
                text.extend_from_slice(target);
            }
            What::Node => text.extend_from_slice(&stat.st_rdev.to_le_bytes()),
        }
    }
}

impl Walk<'_> {
    fn lock(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, crew: &Crew<Job>, job: Job) -> Result<()> {
        match job {
            Job::List { number, path, above, included } => {
                self.list(crew, number, path, above, included)
            }
            Job::Look { number, path, fd, names, above } => {
                let entries = self.look(&path, fd.as_fd(), &names, &above)?;
                let mut found = self.lock();
                found.entries += entries.len();
                if let Some(directory) = found.directories.get_mut(number).and_then(Option::as_mut)
                {
                    directory.entries.extend(entries);
                }
                Ok(())
            }
        }
    }

    fn list(
        &self,
        crew: &Crew<Job>,
        number: usize,
        path: Vec<u8>,
        above: Above,
        included: bool,
    ) -> Result<()> {
        let fd = match open_below(&self.top, &path) {
            Ok(fd) => fd,
            Err(error) if has_vanished(error) && number > 0 => return Ok(()),
            Err(error) => return Err(self.failed("open", &path, &error.into())),
        };
        let fail = |error: io::Error| self.failed("read", &path, &error);
        let stat = rustix::fs::fstat(&fd).map_err(|error| fail(error.into()))?;
        let attributes = xattr::all(fd.as_fd()).map_err(fail)?;
        let mut names = Vec::new();
        let mut children: Vec<(CString, Above, bool)> = Vec::new();
        for_each_entry(fd.as_fd(), |name, is_dir| {
            if !is_dir {
                names.push(name.to_owned());
                return Ok(());
            }
            if self.filter.is_empty() {
                children.push((name.to_owned(), Above::default(), true));
                return Ok(());
            }
            let (verdict, state) = self.filter.judge(&join(&path, name.to_bytes()), &above);
            if verdict.descend {
                children.push((name.to_owned(), state, verdict.included));
            }
            Ok(())
        })
        .map_err(fail)?;
        let mut directory =
            Directory { path, stat, attributes, entries: Vec::new(), included, digest: [0; 32] };
        let mut jobs = self.enter(number, &mut directory, children)?;
        let path = Arc::new(directory.path.clone());
        if let Some(slot) = self.lock().directories.get_mut(number) {
            *slot = Some(directory);
        }
        let rest = names.split_off(names.len().min(CHUNK_NAMES));
        let (fd, above) = (Arc::new(fd), Arc::new(above));
        jobs.extend(rest.chunks(CHUNK_NAMES).map(|chunk| Job::Look {
            number,
            path: Arc::clone(&path),
            fd: Arc::clone(&fd),
            names: chunk.to_vec(),
            above: Arc::clone(&above),
        }));
        crew.push(jobs);
        self.run(crew, Job::Look { number, path, fd, names, above })
    }

    /// Gives the directories of a directory their numbers.
    fn enter(
        &self,
        number: usize,
        directory: &mut Directory,
        children: Vec<(CString, Above, bool)>,
    ) -> Result<Vec<Job>> {
        let mut found = self.lock();
        found.entries += children.len();
        if found.entries > ENTRIES_MAX {
            return Err(Error::invalid(format!("more than {ENTRIES_MAX} files in the context")));
        }
        debug_assert!(number < found.directories.len());
        let mut jobs = Vec::with_capacity(children.len());
        for (name, above, included) in children {
            let child = found.directories.len();
            found.directories.push(None);
            let path = join(&directory.path, name.to_bytes());
            let what = What::Directory(child);
            directory.entries.push(Entry { name, stat: directory.stat, what });
            jobs.push(Job::List { number: child, path, above, included });
        }
        Ok(jobs)
    }

    fn look(
        &self,
        path: &[u8],
        directory: BorrowedFd<'_>,
        names: &[CString],
        above: &Above,
    ) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            if !self.filter.is_empty() {
                let (verdict, _) = self.filter.judge(&join(path, name.to_bytes()), above);
                if !verdict.included {
                    continue;
                }
            }
            match entry(self.tree, directory, name, self.cancel) {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => {}
                Err(error) => {
                    return Err(self.failed("open", &join(path, name.to_bytes()), &error));
                }
            }
        }
        Ok(entries)
    }

    fn failed(&self, action: &str, path: &[u8], error: &io::Error) -> Error {
        if self.cancel.is_cancelled() {
            return Error::Cancelled;
        }
        let shown = join(self.top_path, path);
        let shown = String::from_utf8_lossy(&shown).into_owned();
        let shown: String = shown.chars().take(300).collect();
        Error::failed(
            ErrorKind::of_io(error),
            format!("error from sender: {action} {shown}: {}", go_text(error)),
        )
    }
}

/// Opens a directory by its path below an open one; no link is followed and nothing is left.
pub(crate) fn open_below(top: &OwnedFd, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.is_empty() { b".".as_slice() } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for _ in 0..ATTEMPTS_MAX {
        match rustix::fs::openat2(top, as_path(path), flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// Looks at one name of an open directory, and hashes it if it is a file that nobody remembers.
pub(crate) fn entry(
    tree: &Tree,
    directory: BorrowedFd<'_>,
    name: &CString,
    cancel: &Cancel,
) -> io::Result<Option<Entry>> {
    let mut stat = match rustix::fs::statat(directory, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(error) if has_vanished(error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let known = tree.memory().and_then(|memory| memory.find(&Identity::of(&stat)));
            if let Some(known) = known {
                let hashed =
                    Hashed { digest: known.digest, attributes: known.attributes, settled: true };
                What::File(hashed)
            } else {
                match hash::file(tree, directory, name, cancel)? {
                    Some((read, hashed)) => {
                        stat = read;
                        What::File(hashed)
                    }
                    None => return Ok(None),
                }
            }
        }
        FileType::Directory => return Ok(None),
        FileType::Symlink => match rustix::fs::readlinkat(directory, name.as_c_str(), Vec::new()) {
            Ok(target) => What::Link(target.into_bytes()),
            Err(error) if has_vanished(error) || error == Errno::INVAL => return Ok(None),
            Err(error) => return Err(error.into()),
        },
        // As BuildKit: nobody listens at its end in an image.
        FileType::Socket => What::File(Hashed::empty()),
        _ => What::Node,
    };
    Ok(Some(Entry { name: name.clone(), stat, what }))
}

/// The kernel's words as Go prints them, which Docker's messages hold.
pub(crate) fn go_text(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => "no such file or directory".to_owned(),
        Some(Errno::ACCESS) => "permission denied".to_owned(),
        Some(Errno::PERM) => "operation not permitted".to_owned(),
        Some(Errno::NOTDIR) => "not a directory".to_owned(),
        Some(Errno::ISDIR) => "is a directory".to_owned(),
        Some(Errno::NAMETOOLONG) => "file name too long".to_owned(),
        Some(Errno::LOOP) => "too many levels of symbolic links".to_owned(),
        Some(Errno::NOSPC) => "no space left on device".to_owned(),
        _ => error.to_string(),
    }
}

pub(crate) fn has_vanished(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO)
}

/// A name below a path, which may be empty.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}
