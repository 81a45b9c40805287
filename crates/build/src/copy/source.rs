//! Finds what the sources of a COPY or ADD name.
//!
//! As BuildKit: a plain path must exist, and links in it (the last one too) are followed inside the
//! tree; a pattern may match nothing; its wildcards match within one name, and links are not followed
//! on their way; of a directory the content is copied. What ignore rules exclude is not there.

use std::ffi::CString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;

use orlop_archive::digest::Digester;
use orlop_dockerfile::{Ignore, glob};
use orlop_types::ErrorKind;
use rustix::fs::FileType;

use crate::context::filter::Filter;
use crate::context::scan::{self, Entry, Scan, What, as_path, go_text, join};
use crate::context::{Ownership, Tree};
use crate::copy::place::split;
use crate::step::{CopyStep, Document};
use crate::{Cancel, Error, Result};

/// Links that one path may lead through.
const LINKS_MAX: usize = 255;

/// One thing that is copied.
#[derive(Debug)]
pub(crate) enum Item {
    /// What is in a directory.
    Directory(Scan),
    /// Anything else: the directory where it was found, and its name at the destination.
    Object { directory: Vec<u8>, entry: Entry, name: Vec<u8> },
    /// A file that the Dockerfile holds.
    Document(Document),
    /// A file or a repository from elsewhere.
    Remote(super::remote::Remote),
}

/// Finds the objects of one source of a tree.
pub(crate) fn find(
    tree: &Tree,
    step: &CopyStep,
    source: &str,
    cancel: &Cancel,
) -> Result<Vec<Item>> {
    let exclude = Ignore::new(&step.exclude).map_err(refused)?;
    if step.parents {
        return with_parents(tree, source, &exclude, cancel).map(|item| vec![item]);
    }
    let clean = cleaned(source);
    if !glob::has_wildcards(&clean) {
        return literal(tree, &clean, &exclude, cancel).map(|item| vec![item]);
    }
    let mut items = Vec::new();
    for path in matches(tree, &clean)? {
        items.push(literal_bytes(tree, &path, &exclude, cancel)?);
    }
    Ok(items)
}

#[allow(clippy::needless_pass_by_value)] // As `map_err` gives it.
fn refused(error: orlop_dockerfile::Error) -> Error {
    Error::invalid(error.to_string())
}

/// A path relative to the root, without `.`, `..` and empty names.
pub(crate) fn cleaned(path: &str) -> String {
    let mut done: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(done.pop()),
            part => done.push(part),
        }
    }
    done.join("/")
}

/// Where the links of a path lead, written as a plain source; the path itself if that is nothing.
pub(crate) fn real_source(tree: &Tree, path: &str) -> Result<String> {
    let clean = cleaned(path);
    let real = resolve(tree, clean.as_bytes())?;
    Ok(real.and_then(|real| String::from_utf8(real).ok()).unwrap_or(clean))
}

/// BuildKit's text for what is not there.
fn not_found(tree: &Tree, path: &[u8]) -> Error {
    let shown = orlop_dockerfile::go_quoted(&format!("/{}", String::from_utf8_lossy(path)));
    Error::failed(
        ErrorKind::NotFound,
        format!(
            "failed to compute cache key: failed to calculate checksum of ref {}: {shown}: not found",
            tree.reference()
        ),
    )
}

fn literal(tree: &Tree, path: &str, exclude: &Ignore, cancel: &Cancel) -> Result<Item> {
    literal_bytes(tree, path.as_bytes(), exclude, cancel)
}

fn literal_bytes(tree: &Tree, path: &[u8], exclude: &Ignore, cancel: &Cancel) -> Result<Item> {
    let missing = || not_found(tree, path);
    let real = resolve(tree, path)?.ok_or_else(missing)?;
    if real.is_empty() {
        return directory(tree, &real, exclude, cancel).map(Item::Directory);
    }
    let (parent, name) = split(&real);
    let shown = visible(tree, &real);
    let parent_fd = tree.root().open_dir(as_path(parent)).map_err(orlop_layer::Error::from)?;
    let real_name = CString::new(name).map_err(|_| missing())?;
    let stat =
        rustix::fs::statat(&parent_fd, real_name.as_c_str(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| missing())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let scan = directory(tree, &real, exclude, cancel)?;
        let empty = scan.directories.first().is_none_or(|top| top.entries.is_empty());
        // An excluded directory is there only for the sake of what is in it.
        return if shown || !empty { Ok(Item::Directory(scan)) } else { Err(missing()) };
    }
    if !shown {
        return Err(missing());
    }
    let entry = scan::entry(tree, parent_fd.as_fd(), &real_name, cancel)
        .map_err(|error| {
            let shown = String::from_utf8_lossy(path);
            let text = format!("error from sender: open {shown}: {}", go_text(&error));
            Error::failed(ErrorKind::of_io(&error), text)
        })?
        .ok_or_else(missing)?;
    // The name is the one that was asked for, also where it is a link's.
    let name = split(path).1.to_vec();
    Ok(Item::Object { directory: parent.to_vec(), entry, name })
}

fn directory(tree: &Tree, path: &[u8], exclude: &Ignore, cancel: &Cancel) -> Result<Scan> {
    let here = String::from_utf8_lossy(path);
    let mut filter = Filter::default().without(exclude, "");
    if let Some(ignore) = tree.ignore() {
        filter = filter.without(ignore, &here);
    }
    scan::scan(tree, path, &filter, cancel)
}

/// Whether ignore rules leave a path in.
fn visible(tree: &Tree, path: &[u8]) -> bool {
    tree.ignore().is_none_or(|ignore| !ignore.ignored(&String::from_utf8_lossy(path)))
}

/// Follows all links of a path inside the tree; `None` if it leads to nothing.
fn resolve(tree: &Tree, path: &[u8]) -> Result<Option<Vec<u8>>> {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        let parts = path.split(|byte| *byte == b'/');
        parts.filter(|part| !part.is_empty() && *part != b".").rev().map(<[u8]>::to_vec).collect()
    };
    let mut pending = parts(path);
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == b".." {
            done.pop();
            continue;
        }
        done.push(part);
        let here = done.join(&b'/');
        let stat = match tree.root().lstat(as_path(&here)) {
            Ok(stat) => stat,
            Err(error) if matches!(error.io_kind(), NotFound | NotADirectory) => return Ok(None),
            Err(error) => return Err(orlop_layer::Error::from(error).into()),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            continue;
        }
        links += 1;
        if links > LINKS_MAX || !visible(tree, &here) {
            return Ok(None);
        }
        let target = tree.root().read_link(as_path(&here)).map_err(orlop_layer::Error::from)?;
        let target = target.as_os_str().as_bytes();
        done.pop();
        if target.first() == Some(&b'/') {
            done.clear();
        }
        pending.extend(parts(target));
    }
    Ok(Some(done.join(&b'/')))
}

/// The paths that a pattern matches, sorted.
fn matches(tree: &Tree, pattern: &str) -> Result<Vec<Vec<u8>>> {
    let parts: Vec<&str> = pattern.split('/').collect();
    let plain = parts.iter().take_while(|part| !glob::has_wildcards(part)).count();
    let (base, rest) = parts.split_at(plain);
    let base = base.join("/");
    let Some(top) = resolve(tree, base.as_bytes())? else {
        let error = std::io::Error::from(rustix::io::Errno::NOENT);
        return Err(super::place::path_failed("lstat", base.as_bytes(), &error));
    };
    // Patterns see names as they are asked for, files are where links lead.
    let mut found = vec![top];
    for (at, part) in rest.iter().enumerate() {
        let last = at + 1 == rest.len();
        let part = glob::Glob::new(part).map_err(refused)?;
        let mut next = Vec::new();
        for path in &found {
            let Ok(fd) = tree.root().open_dir(as_path(path)) else { continue };
            let fail = |error: std::io::Error| super::place::path_failed("open", path, &error);
            for entry in orlop_sys::tree::list(fd.as_fd()).map_err(fail)? {
                let name = entry.name.to_bytes();
                if !part.matches(&String::from_utf8_lossy(name)) {
                    continue;
                }
                let path = join(path, name);
                let there = if entry.is_dir {
                    visible(tree, &path) || may_show_below(tree, &path)
                } else {
                    last && visible(tree, &path)
                };
                if there {
                    next.push(path);
                }
            }
        }
        found = next;
    }
    Ok(found)
}

fn may_show_below(tree: &Tree, path: &[u8]) -> bool {
    tree.ignore().is_some_and(|ignore| ignore.may_hold_included(&String::from_utf8_lossy(path)))
}

/// `--parents`: everything that the pattern matches, with the directories above it up to the pivot.
fn with_parents(tree: &Tree, source: &str, exclude: &Ignore, cancel: &Cancel) -> Result<Item> {
    let (base, pattern) = source.split_once("/./").unwrap_or(("", source));
    let (base, pattern) = (cleaned(base), cleaned(pattern));
    let plain = !glob::has_wildcards(&base) && !glob::has_wildcards(&pattern);
    let wanted = join(base.as_bytes(), pattern.as_bytes());
    let Some(top) = resolve(tree, base.as_bytes())? else {
        return Err(not_found(tree, if plain { &wanted } else { base.as_bytes() }));
    };
    let patterns: &[&str] = if pattern.is_empty() { &[] } else { &[&pattern] };
    let only = Ignore::new(patterns).map_err(refused)?;
    let here = String::from_utf8_lossy(&top).into_owned();
    let mut filter = Filter::default().without(exclude, "");
    if let Some(ignore) = tree.ignore() {
        filter = filter.without(ignore, &here);
    }
    if !only.is_empty() {
        filter = filter.only(&only);
    }
    let scan = scan::scan(tree, &top, &filter, cancel)?;
    if plain && scan.directories.first().is_none_or(|top| top.entries.is_empty()) {
        return Err(not_found(tree, &wanted));
    }
    Ok(Item::Directory(scan))
}

impl Item {
    /// How many objects are copied.
    pub(crate) fn objects(&self) -> usize {
        match self {
            Self::Directory(scan) => {
                scan.directories.iter().map(|directory| directory.entries.len()).sum()
            }
            _ => 1,
        }
    }

    /// Digest of what is copied.
    pub(crate) fn digest(&self, ownership: Ownership) -> [u8; 32] {
        let mut digester = Digester::default();
        match self {
            Self::Directory(scan) => {
                digester.update(b"directory\0");
                digester.update(&scan.directories.first().map_or([0; 32], |top| top.digest));
            }
            Self::Object { entry, name, .. } => {
                digester.update(b"object\0");
                digester.update(name);
                digester.update(&[0]);
                digester.update(&described(entry, ownership));
            }
            Self::Document(document) => {
                digester.update(b"document\0");
                digester.update(document.name.as_bytes());
                digester.update(&[0]);
                digester.update(document.content.as_bytes());
            }
            Self::Remote(remote) => {
                digester.update(b"remote\0");
                digester.update(remote.key().as_bytes());
            }
        }
        digester.finish_raw()
    }

    /// Every object with its own digest.
    pub(crate) fn entries(&self, ownership: Ownership, found: &mut Vec<(Vec<u8>, [u8; 32])>) {
        let of = |text: &[u8]| {
            let mut digester = Digester::default();
            digester.update(text);
            digester.finish_raw()
        };
        match self {
            Self::Directory(scan) => {
                let mut text = Vec::new();
                for directory in &scan.directories {
                    let path = join(&scan.top, &directory.path);
                    let path = if directory.path.is_empty() { scan.top.clone() } else { path };
                    for entry in &directory.entries {
                        text.clear();
                        scan.describe(entry, ownership, &mut text);
                        found.push((join(&path, entry.name.to_bytes()), of(&text)));
                    }
                }
            }
            Self::Object { directory, entry, .. } => {
                let path = join(directory, entry.name.to_bytes());
                found.push((path, of(&described(entry, ownership))));
            }
            Self::Document(document) => {
                found.push((
                    format!("<<{}", document.name).into_bytes(),
                    of(document.content.as_bytes()),
                ));
            }
            Self::Remote(remote) => {
                found.push((remote.source().as_bytes().to_vec(), of(remote.key().as_bytes())));
            }
        }
    }
}

/// Describes an object that is no directory.
fn described(entry: &Entry, ownership: Ownership) -> Vec<u8> {
    debug_assert!(!matches!(entry.what, What::Directory(_)));
    let mut text = Vec::new();
    Scan { directories: Vec::new(), top: Vec::new() }.describe(entry, ownership, &mut text);
    text
}
