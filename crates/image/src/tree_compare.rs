//! How two objects differ: in content, or only in attributes.

use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use orlop_sys::confined::Root;

use crate::tree_files::{Node, NodeKind};
use crate::{Error, Result};

const COMPARE_BYTES: usize = 64 * 1024;

/// An attribute that differs, with both values as people read them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeChange {
    /// `mode`, `owner`, `time`, `links` or the name of an extended attribute.
    pub name: String,
    /// The value before; empty if there was none.
    pub before: String,
    /// The value after; empty if there is none.
    pub after: String,
}

/// How an object differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Not at all.
    None,
    /// In these attributes only.
    Attributes(Vec<AttributeChange>),
    /// In what it is or holds.
    Content(Vec<AttributeChange>),
}

/// Files of the layers of an image, lowest first.
pub(crate) struct Contents {
    /// What makes contents equal without reading: the same layer.
    pub(crate) keys: Vec<String>,
    pub(crate) roots: Vec<Root>,
}

impl Contents {
    fn open(&self, path: &[u8], node: &Node) -> Result<std::fs::File> {
        let missing = || Error::LoadFile {
            action: "find a layer's files",
            source: io::ErrorKind::NotFound.into(),
        };
        let root = self.roots.get(node.layer).ok_or_else(missing)?;
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        root.open_file(path).map_err(|error| Error::Layer(error.into()))
    }

    fn key(&self, node: &Node) -> Option<&str> {
        self.keys.get(node.layer).map(String::as_str)
    }
}

/// Compares objects of the same path. Times of directories do not count: every change in them sets one.
pub(crate) fn compare(
    path: &[u8],
    (old, old_contents): (&Node, &Contents),
    (new, new_contents): (&Node, &Contents),
) -> Result<Difference> {
    let attributes = attributes(old, new);
    let same = match (&old.kind, &new.kind) {
        (NodeKind::File, NodeKind::File) => {
            old.size == new.size
                && (old.size == 0
                    || old_contents.key(old) == new_contents.key(new)
                    || same_content(old_contents.open(path, old)?, new_contents.open(path, new)?)?)
        }
        (old, new) => old == new,
    };
    Ok(match (same, attributes.is_empty()) {
        (true, true) => Difference::None,
        (true, false) => Difference::Attributes(attributes),
        (false, _) => Difference::Content(attributes),
    })
}

fn attributes(old: &Node, new: &Node) -> Vec<AttributeChange> {
    let mut changes = Vec::new();
    let mut note = |name: &str, before: String, after: String| {
        if before != after {
            changes.push(AttributeChange { name: name.to_owned(), before, after });
        }
    };
    let mode = |node: &Node| format!("{:04o}", node.mode);
    let owner = |node: &Node| format!("{}:{}", node.uid, node.gid);
    let time = |node: &Node| {
        jiff::Timestamp::from_second(node.mtime.seconds).unwrap_or_default().to_string()
    };
    note("mode", mode(old), mode(new));
    note("owner", owner(old), owner(new));
    if !(old.is_directory() && new.is_directory()) {
        note("time", time(old), time(new));
    }
    let value = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let mut names: Vec<&Vec<u8>> =
        old.xattrs.iter().chain(&new.xattrs).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    for name in names {
        let of = |node: &Node| {
            let found = node.xattrs.iter().find(|(known, _)| known == name);
            found.map(|(_, bytes)| value(bytes)).unwrap_or_default()
        };
        note(&String::from_utf8_lossy(name), of(old), of(new));
    }
    changes
}

fn same_content(mut old: std::fs::File, mut new: std::fs::File) -> Result<bool> {
    let failed = |source| Error::LoadFile { action: "compare files of layers", source };
    let (mut left, mut right) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
    loop {
        let length = fill(&mut old, &mut left).map_err(failed)?;
        if length != fill(&mut new, &mut right).map_err(failed)?
            || left.get(..length) != right.get(..length)
        {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut std::fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}
