//! Differences as layer tars: of an overlay's upper directory, and of two whole trees.
//!
//! Applying the difference of two trees to the first gives the second, hard links included, up to
//! fractions of seconds and the times of directories in which nothing else changed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use orlop_sys::confined::open_dir_at;
use orlop_sys::tree::{DirStack, Entry, identity};
use orlop_sys::xattr;
use rustix::fs::{AtFlags, FileType, Stat};

use crate::error::shown;
use crate::name::{WHITEOUT, join};
use crate::write::{Step, TarWriter, at, is_gone, is_portable, list_or_nothing, walk};
use crate::{Error, Result};

/// What an upper directory held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upper {
    /// Objects, deletions included.
    pub entries: u64,
    /// Where deletions are.
    pub whiteouts: Vec<Vec<u8>>,
}

/// Writes what an overlay's upper directory changed.
pub fn upper<W: Write>(top: BorrowedFd<'_>, tar: &mut TarWriter<W>) -> Result<Upper> {
    let mut upper = Upper::default();
    walk(top, b"", |step| {
        upper.entries += 1;
        match step {
            Step::Directory { path, fd, stat } => {
                refuse_reserved(path)?;
                tar.directory(path, fd, stat)?;
                let opaque =
                    xattr::get(fd, c"trusted.overlay.opaque").map_err(|error| at(path, error))?;
                if opaque.as_deref() == Some(b"y") { tar.opaque(path) } else { Ok(()) }
            }
            Step::File { path, parent, name, stat } => {
                refuse_reserved(path)?;
                if is_whiteout(stat) {
                    upper.whiteouts.push(path.to_vec());
                    return tar.whiteout(crate::name::split(path).0, name);
                }
                tar.file(path, parent, name, stat)
            }
        }
    })?;
    Ok(upper)
}

/// Whether it is a deletion as the overlay file system stores it.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn refuse_reserved(path: &[u8]) -> Result<()> {
    if crate::name::split(path).1.starts_with(WHITEOUT) {
        return Err(Error::Reserved(shown(path)));
    }
    Ok(())
}

/// Writes what must happen to the old tree to make it the new one.
pub fn trees<W: Write>(
    old: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    tar: &mut TarWriter<W>,
) -> Result<()> {
    let forced = changed_links(&links(old)?, &links(new)?);
    let reopen =
        |fd| open_dir_at(fd, c".").and_then(DirStack::new).map_err(|error| at(b".", error));
    let mut comparison =
        Comparison { tar, forced, old: reopen(old)?, new: reopen(new)?, levels: Vec::new() };
    comparison.run()
}

type Groups = HashMap<Vec<u8>, Vec<Vec<u8>>>;

/// For every path of a file with several names: all its names, sorted.
fn links(top: BorrowedFd<'_>) -> Result<Groups> {
    let mut by_identity: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    walk(top, b"", |step| {
        if let Step::File { path, stat, .. } = step
            && stat.st_nlink > 1
        {
            by_identity.entry(identity(stat)).or_default().push(path.to_vec());
        }
        Ok(())
    })?;
    let mut groups = Groups::new();
    for mut paths in by_identity.into_values().filter(|paths| paths.len() > 1) {
        paths.sort();
        for path in &paths {
            groups.insert(path.clone(), paths.clone());
        }
    }
    Ok(groups)
}

/// Paths that must be written because the names that share a file changed.
fn changed_links(old: &Groups, new: &Groups) -> HashSet<Vec<u8>> {
    let mut forced = HashSet::new();
    for (path, group) in new {
        if old.get(path) != Some(group) {
            forced.extend(group.iter().cloned());
        }
    }
    // The whole group: a forced name is written as the group's first file or as a link to it.
    let whole: Vec<Vec<u8>> =
        forced.iter().filter_map(|path| new.get(path)).flatten().cloned().collect();
    forced.extend(whole);
    forced.extend(old.keys().filter(|path| !new.contains_key(*path)).cloned());
    forced
}

/// A directory that both trees have.
struct Level {
    path: Vec<u8>,
    stat: Stat,
    written: bool,
    /// Pairs to compare, last name first.
    pairs: Vec<(Option<Entry>, Option<Entry>)>,
}

struct Comparison<'a, W> {
    tar: &'a mut TarWriter<W>,
    forced: HashSet<Vec<u8>>,
    old: DirStack,
    new: DirStack,
    levels: Vec<Level>,
}

impl<W: Write> Comparison<'_, W> {
    fn run(&mut self) -> Result<()> {
        self.push_level(Vec::new(), true)?;
        while let Some(level) = self.levels.last_mut() {
            let Some(pair) = level.pairs.pop() else {
                self.levels.pop();
                if !self.levels.is_empty() {
                    self.old
                        .leave()
                        .and_then(|()| self.new.leave())
                        .map_err(|error| at(b"..", error))?;
                }
                continue;
            };
            let parent = level.path.clone();
            match self.pair(&parent, pair) {
                // The container may be running.
                Err(error) if is_gone(&error) => {
                    tracing::debug!(parent = %shown(&parent), %error, "changed meanwhile, and left out");
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Writes what became of one name.
    fn pair(&mut self, parent: &[u8], pair: (Option<Entry>, Option<Entry>)) -> Result<()> {
        match pair {
            (Some(old), None) => {
                self.write_parents()?;
                self.tar.whiteout(parent, &old.name)
            }
            (Some(old), Some(new)) if old.is_dir && new.is_dir => self.both(parent, &new.name),
            (Some(old), Some(new)) if !new.is_dir => {
                self.file_pair(&join(parent, new.name.to_bytes()), &old, &new)
            }
            (_, Some(new)) => self.added(&join(parent, new.name.to_bytes()), &new),
            (None, None) => Ok(()),
        }
    }

    fn push_level(&mut self, path: Vec<u8>, written: bool) -> Result<()> {
        let read = |stack: &DirStack| list_or_nothing(stack.current(), &path);
        let pairs = pair_up(read(&self.old)?, read(&self.new)?);
        let stat =
            rustix::fs::fstat(self.new.current()).map_err(|error| at(&path, error.into()))?;
        self.levels.push(Level { path, stat, written, pairs });
        Ok(())
    }

    /// Writes the directories above what is about to be written; they are modified by it.
    fn write_parents(&mut self) -> Result<()> {
        if self.levels.iter().all(|level| level.written) {
            return Ok(());
        }
        // Only the current directory is sure to be open; the others are opened from the top.
        let top = open_top(&self.new)?;
        for level in &mut self.levels {
            if !level.written {
                let directory = open_steps(&top, &level.path)?;
                self.tar.directory(&level.path, directory.as_fd(), &level.stat)?;
                level.written = true;
            }
        }
        Ok(())
    }

    fn both(&mut self, parent: &[u8], name: &CStr) -> Result<()> {
        let path = join(parent, name.to_bytes());
        let old = self.old.enter(name).map_err(|error| at(&path, error))?;
        let new = match self.new.enter(name) {
            Ok(new) => new,
            Err(error) => {
                self.old.leave().map_err(|error| at(&path, error))?;
                return Err(at(&path, error));
            }
        };
        let attributes =
            |stack: &DirStack| xattr::all(stack.current()).map_err(|error| at(&path, error));
        let changed = (old.st_mode, old.st_uid, old.st_gid)
            != (new.st_mode, new.st_uid, new.st_gid)
            || portable(attributes(&self.old)?) != portable(attributes(&self.new)?);
        self.push_level(path, false)?;
        if changed { self.write_parents() } else { Ok(()) }
    }

    fn added(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        refuse_reserved(path)?;
        self.write_parents()?;
        if !entry.is_dir {
            let stat = stat_at(&self.new, path, &entry.name)?;
            return self.tar.file(path, self.new.current(), &entry.name, &stat);
        }
        let directory =
            open_dir_at(self.new.current(), &entry.name).map_err(|error| at(path, error))?;
        let stat = rustix::fs::fstat(&directory).map_err(|error| at(path, error.into()))?;
        self.tar.directory(path, directory.as_fd(), &stat)?;
        let tar = &mut *self.tar;
        walk(directory.as_fd(), path, |step| match step {
            Step::Directory { path, fd, stat } => {
                refuse_reserved(path)?;
                tar.directory(path, fd, stat)
            }
            Step::File { path, parent, name, stat } => {
                refuse_reserved(path)?;
                tar.file(path, parent, name, stat)
            }
        })
    }

    fn file_pair(&mut self, path: &[u8], old: &Entry, new: &Entry) -> Result<()> {
        if !old.is_dir && !self.forced.contains(path) {
            let before = stat_at(&self.old, path, &old.name)?;
            let after = stat_at(&self.new, path, &new.name)?;
            if !file_changed(&before, &after) && self.same_content_marks(path, &new.name, &after)? {
                return Ok(());
            }
        }
        self.added(path, new)
    }

    /// Compares what only further calls show: link targets and attributes.
    fn same_content_marks(&self, path: &[u8], name: &CString, stat: &Stat) -> Result<bool> {
        let (old, new) = (self.old.current(), self.new.current());
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let read = |directory| rustix::fs::readlinkat(directory, name.as_c_str(), Vec::new());
            let fail = |error: rustix::io::Errno| at(path, error.into());
            if read(old).map_err(fail)? != read(new).map_err(fail)? {
                return Ok(false);
            }
        }
        let attributes =
            |directory| xattr::all_at(directory, name).map_err(|error| at(path, error));
        Ok(portable(attributes(old)?) == portable(attributes(new)?))
    }
}

fn portable(attributes: Vec<xattr::Attribute>) -> Vec<xattr::Attribute> {
    attributes.into_iter().filter(|(name, _)| name.to_str().is_ok_and(is_portable)).collect()
}

fn stat_at(stack: &DirStack, path: &[u8], name: &CStr) -> Result<Stat> {
    rustix::fs::statat(stack.current(), name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| at(path, error.into()))
}

fn open_top(stack: &DirStack) -> Result<OwnedFd> {
    stack.top().try_clone_to_owned().map_err(|error| at(b".", error))
}

fn open_steps(top: &OwnedFd, path: &[u8]) -> Result<OwnedFd> {
    let mut current = open_dir_at(top.as_fd(), c".").map_err(|error| at(path, error))?;
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        let part = CString::new(part).map_err(|error| at(path, error.into()))?;
        current = open_dir_at(current.as_fd(), &part).map_err(|error| at(path, error))?;
    }
    Ok(current)
}

/// Compares as Docker does: a time without fraction matches any fraction of the same second, since
/// archives keep whole seconds.
pub(crate) fn file_changed(old: &Stat, new: &Stat) -> bool {
    let same_time = old.st_mtime == new.st_mtime
        && (old.st_mtime_nsec == new.st_mtime_nsec
            || old.st_mtime_nsec == 0
            || new.st_mtime_nsec == 0);
    (old.st_mode, old.st_uid, old.st_gid, old.st_rdev, old.st_size)
        != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev, new.st_size)
        || !same_time
}

/// Merges two sorted lists into pairs of equal names, last name first.
fn pair_up(old: Vec<Entry>, new: Vec<Entry>) -> Vec<(Option<Entry>, Option<Entry>)> {
    let mut pairs = Vec::with_capacity(old.len().max(new.len()));
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.name.cmp(&right.name),
        };
        pairs.push(match order {
            Ordering::Less => (old.next(), None),
            Ordering::Greater => (None, new.next()),
            Ordering::Equal => (old.next(), new.next()),
        });
    }
    pairs.reverse();
    pairs
}
