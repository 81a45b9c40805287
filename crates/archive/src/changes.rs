//! Which paths differ between two trees, as `diff` lists them.
//!
//! Docker's rules: a file is changed if its type, mode, owner, device, size, time or capability is; a
//! directory if mode, owner or capability is, or if something below it is. Below what was added,
//! everything is added; below what was deleted, nothing is listed. Content is not read.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use orlop_sys::confined::{Root, open_dir_at};
use orlop_sys::tree::list;
use orlop_sys::xattr;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use crate::Result;
use crate::diff::{file_changed, is_whiteout};
use crate::name::join;
use crate::write::at;

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is in both trees.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// Changed paths, relative to the root, sorted.
pub type Changes = BTreeMap<Vec<u8>, ChangeKind>;

/// An object of one tree: its attributes, and the directory itself if it is one.
struct Object {
    stat: Stat,
    directory: Option<OwnedFd>,
}

impl Object {
    fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }
}

/// Opens what has a name; `None` if nothing has (any more: containers may be running).
fn object(parent: BorrowedFd<'_>, path: &[u8], name: &CStr) -> Result<Option<Object>> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(at(path, error.into())),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(Some(Object { stat, directory: None }));
    }
    match open_dir_at(parent, name) {
        Ok(directory) => Ok(Some(Object { stat, directory: Some(directory) })),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(at(path, error)),
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn capability(parent: BorrowedFd<'_>, path: &[u8], name: &CStr) -> Result<Option<Vec<u8>>> {
    match xattr::get_at(parent, name, c"security.capability") {
        Ok(value) => Ok(value),
        Err(error) if is_gone(&error) || xattr::is_unsupported(&error) => Ok(None),
        Err(error) => Err(at(path, error)),
    }
}

/// Compares two whole trees.
pub fn trees(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> Result<Changes> {
    let mut changes = Changes::new();
    let mut pending = vec![(Vec::new(), reopen(old)?, reopen(new)?)];
    while let Some((path, old, new)) = pending.pop() {
        let mut names: Vec<CString> = names(old.as_fd(), &path)?;
        names.extend(self::names(new.as_fd(), &path)?);
        names.sort();
        names.dedup();
        for name in names {
            let child = join(&path, name.to_bytes());
            let before = object(old.as_fd(), &child, &name)?;
            let after = object(new.as_fd(), &child, &name)?;
            let pair = compare(&mut changes, &child, &name, (&old, before), (&new, after))?;
            if let Some((before, after)) = pair {
                pending.push((child, before, after));
            }
        }
    }
    note_parents(&mut changes);
    Ok(changes)
}

/// Compares what an overlay shows with what it showed without its upper directory: looks at the upper
/// directory only, because everything else is the same.
pub fn upper(old: &Root, upper: BorrowedFd<'_>) -> Result<Changes> {
    let mut changes = Changes::new();
    let mut pending = vec![(Vec::new(), reopen(old.fd())?, reopen(upper)?, false)];
    while let Some((path, old, upper, hides)) = pending.pop() {
        let mut names = names(upper.as_fd(), &path)?;
        let opaque = xattr::get(upper.as_fd(), c"trusted.overlay.opaque");
        let hides = hides || opaque.map_err(|error| at(&path, error))?.as_deref() == Some(b"y");
        if hides {
            // It or a directory above was made anew: what it does not have is gone.
            names.extend(self::names(old.as_fd(), &path)?);
            names.sort();
            names.dedup();
        }
        for name in names {
            let child = join(&path, name.to_bytes());
            let before = object(old.as_fd(), &child, &name)?;
            let after = object(upper.as_fd(), &child, &name)?;
            let after = after.filter(|after| !is_whiteout(&after.stat));
            let pair = compare(&mut changes, &child, &name, (&old, before), (&upper, after))?;
            if let Some((before, after)) = pair {
                pending.push((child, before, after, hides));
            }
        }
    }
    note_parents(&mut changes);
    Ok(changes)
}

/// Everything in a tree that stands on nothing.
pub fn added_all(new: BorrowedFd<'_>) -> Result<Changes> {
    let mut changes = Changes::new();
    added_below(&mut changes, b"", reopen(new)?)?;
    Ok(changes)
}

/// Notes how an object differs. Gives both directories if what is in them needs comparing.
fn compare(
    changes: &mut Changes,
    path: &[u8],
    name: &CStr,
    (old, before): (&OwnedFd, Option<Object>),
    (new, after): (&OwnedFd, Option<Object>),
) -> Result<Option<(OwnedFd, OwnedFd)>> {
    match (before, after) {
        (None, None) => {}
        (Some(_), None) => drop(changes.insert(path.to_vec(), ChangeKind::Deleted)),
        (None, Some(after)) => added(changes, path, after)?,
        (Some(before), Some(after)) => {
            let same_capability = || -> Result<bool> {
                Ok(capability(old.as_fd(), path, name)? == capability(new.as_fd(), path, name)?)
            };
            let attributes =
                |object: &Object| (object.stat.st_mode, object.stat.st_uid, object.stat.st_gid);
            let is_changed = if before.is_directory() && after.is_directory() {
                attributes(&before) != attributes(&after)
            } else {
                file_changed(&before.stat, &after.stat)
            };
            if is_changed || !same_capability()? {
                changes.insert(path.to_vec(), ChangeKind::Modified);
            }
            return Ok(match (before.directory, after.directory) {
                (Some(before), Some(after)) => Some((before, after)),
                // It was a file: everything in it is new.
                (None, Some(after)) => {
                    added_below(changes, path, after)?;
                    None
                }
                _ => None,
            });
        }
    }
    Ok(None)
}

fn added(changes: &mut Changes, path: &[u8], object: Object) -> Result<()> {
    // Sockets are listed as everything else, although no archive holds them.
    changes.insert(path.to_vec(), ChangeKind::Added);
    object.directory.map_or(Ok(()), |directory| added_below(changes, path, directory))
}

fn added_below(changes: &mut Changes, path: &[u8], directory: OwnedFd) -> Result<()> {
    let mut pending = vec![(path.to_vec(), directory)];
    while let Some((path, directory)) = pending.pop() {
        for name in names(directory.as_fd(), &path)? {
            let child = join(&path, name.to_bytes());
            let Some(object) = object(directory.as_fd(), &child, &name)? else { continue };
            if is_whiteout(&object.stat) {
                continue;
            }
            changes.insert(child.clone(), ChangeKind::Added);
            if let Some(directory) = object.directory {
                pending.push((child, directory));
            }
        }
    }
    Ok(())
}

fn names(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<CString>> {
    match list(directory) {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(at(path, error)),
    }
}

fn reopen(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    open_dir_at(directory, c".").map_err(|error| at(b".", error))
}

/// Directories above a change are changed.
fn note_parents(changes: &mut Changes) {
    let mut parents = Vec::new();
    for path in changes.keys() {
        let above = Path::new(OsStr::from_bytes(path)).ancestors().skip(1);
        parents.extend(above.map(|above| above.as_os_str().as_bytes().to_vec()));
    }
    for parent in parents.into_iter().filter(|parent| !parent.is_empty()) {
        changes.entry(parent).or_insert(ChangeKind::Modified);
    }
}
