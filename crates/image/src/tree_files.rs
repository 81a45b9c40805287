//! The files of an image as its layers' tars say them, without mounting or walking anything.
//!
//! Layers are put on each other as unpacking does it: a directory over a directory keeps what is in
//! it, anything else replaces; deletions take away what is below. What every layer brought and took
//! is noted on the way, so a whole image is looked through once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::BufRead;
use std::ops::Bound;

use orlop_archive::extract::WhiteoutForm;
use orlop_archive::name::{self, EntryName, join, split};
use orlop_archive::read::{Entry, EntryKind, TarReader};
use orlop_sys::confined::FileTime;

use crate::Result;
use crate::load_source::archive;

/// Links that lead to links within one layer.
const LINKS_MAX: usize = 40;
/// Mode of directories that a tar does not name.
const IMPLIED_MODE: u32 = 0o755;

/// What kind of object it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    File,
    Directory,
    Symlink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// One object of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: FileTime,
    pub(crate) size: u64,
    /// Sorted.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The layer that brought it, counted from the lowest.
    pub(crate) layer: usize,
    /// What all names of one file share.
    pub(crate) inode: usize,
}

impl Node {
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }
}

/// The objects of an image by their paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    pub(crate) nodes: BTreeMap<Vec<u8>, Node>,
    /// How many names each file has.
    names: Vec<u32>,
    /// Bytes of each layer's files that nobody sees any more.
    pub(crate) wasted: Vec<u64>,
    /// Whether every layer has directories of its own: one that its tar does not name then hides the
    /// attributes of the one below.
    own_directories: bool,
}

/// What one layer did.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Paths that the layer brought.
    pub(crate) brought: BTreeSet<Vec<u8>>,
    /// Objects of lower layers that it replaced or removed.
    pub(crate) before: BTreeMap<Vec<u8>, Node>,
}

impl Files {
    /// Nothing, for layers that are unpacked in this way.
    pub(crate) fn new(whiteouts: WhiteoutForm) -> Self {
        Self { own_directories: whiteouts == WhiteoutForm::Overlay, ..Self::default() }
    }

    /// How many names the file has.
    pub(crate) fn names_of(&self, node: &Node) -> u32 {
        self.names.get(node.inode).copied().unwrap_or(1)
    }

    /// Puts the next layer on top.
    pub(crate) fn apply<R: BufRead>(&mut self, mut tar: TarReader<R>) -> Result<Applied> {
        let layer = self.wasted.len();
        self.wasted.push(0);
        let mut layering =
            Layering { files: self, layer, applied: Applied::default(), links: HashSet::new() };
        while let Some(entry) = tar.next_entry().map_err(archive)? {
            layering.entry(&entry)?;
        }
        Ok(layering.applied)
    }

    fn new_inode(&mut self) -> usize {
        self.names.push(0);
        self.names.len() - 1
    }

    fn insert(&mut self, path: Vec<u8>, node: Node) {
        if let Some(names) = self.names.get_mut(node.inode) {
            *names += 1;
        }
        self.nodes.insert(path, node);
    }

    /// Takes one object away; the last name of a file takes its bytes along.
    fn remove(&mut self, path: &[u8]) -> Option<Node> {
        let node = self.nodes.remove(path)?;
        if let Some(names) = self.names.get_mut(node.inode) {
            *names = names.saturating_sub(1);
            if *names == 0
                && node.kind == NodeKind::File
                && let Some(wasted) = self.wasted.get_mut(node.layer)
            {
                *wasted += node.size;
            }
        }
        Some(node)
    }

    /// The paths below a directory (empty: the root).
    pub(crate) fn below(&self, directory: &[u8]) -> impl Iterator<Item = (&Vec<u8>, &Node)> {
        let (from, to) = if directory.is_empty() {
            (Bound::Unbounded, Bound::Unbounded)
        } else {
            // `0` is the byte behind `/`.
            let from = [directory, b"/"].concat();
            let to = [directory, b"0"].concat();
            (Bound::Excluded(from), Bound::Excluded(to))
        };
        self.nodes.range::<Vec<u8>, _>((from, to))
    }
}

/// A layer being put on top.
struct Layering<'a> {
    files: &'a mut Files,
    layer: usize,
    applied: Applied,
    /// Symbolic links of this layer, which its later entries may go through.
    links: HashSet<Vec<u8>>,
}

impl Layering<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let refuse = |refusal| {
            let entry = String::from_utf8_lossy(&entry.name).into_owned();
            archive(orlop_archive::Error::Refused { entry, refusal })
        };
        match name::parse(&entry.name).map_err(refuse)? {
            EntryName::Root | EntryName::Ignored => {}
            EntryName::Opaque(directory) => {
                let directory = self.resolve(directory);
                let hidden: Vec<Vec<u8>> = self
                    .files
                    .below(&directory)
                    .filter(|(_, node)| node.layer != self.layer)
                    .map(|(path, _)| path.clone())
                    .collect();
                hidden.iter().for_each(|path| self.take(path));
            }
            EntryName::Whiteout(path) => {
                let path = self.resolve_parent(&path);
                // Where nothing is to be removed, no directory is made for it.
                if self.files.nodes.contains_key(&path) {
                    self.take_tree(&path);
                    self.make_parents(&path);
                }
            }
            EntryName::Object(path) => {
                let path = self.resolve_parent(&path);
                let node = self.node(entry)?;
                self.put(path, node);
            }
        }
        Ok(())
    }

    fn node(&mut self, entry: &Entry) -> Result<Node> {
        let kind = match &entry.kind {
            EntryKind::File | EntryKind::SparseFile { .. } => NodeKind::File,
            EntryKind::Directory => NodeKind::Directory,
            EntryKind::Symlink(target) => NodeKind::Symlink(target.clone()),
            EntryKind::Char(major, minor) => NodeKind::Char(*major, *minor),
            EntryKind::Block(major, minor) => NodeKind::Block(*major, *minor),
            EntryKind::Fifo => NodeKind::Fifo,
            EntryKind::HardLink(target) => {
                let target = name::clean(target).map(|target| self.resolve_parent(&target));
                if let Some(known) = target.ok().and_then(|target| self.files.nodes.get(&target)) {
                    return Ok(Node { layer: self.layer, ..known.clone() });
                }
                NodeKind::File
            }
        };
        let size = match &entry.kind {
            EntryKind::SparseFile { real_size, .. } => *real_size,
            EntryKind::File => entry.size,
            _ => 0,
        };
        let mut xattrs = entry.xattrs.clone();
        xattrs.sort();
        // The kernel has no mode for symbolic links.
        let mode = if matches!(kind, NodeKind::Symlink(_)) { 0o777 } else { entry.mode };
        Ok(Node {
            kind,
            mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size,
            xattrs,
            layer: self.layer,
            inode: self.files.new_inode(),
        })
    }

    /// Puts an object at its place.
    fn put(&mut self, path: Vec<u8>, node: Node) {
        self.make_parents(&path);
        let merges =
            node.is_directory() && self.files.nodes.get(&path).is_some_and(Node::is_directory);
        if merges {
            self.take(&path);
        } else {
            self.take_tree(&path);
        }
        match node.kind {
            NodeKind::Symlink(_) => drop(self.links.insert(path.clone())),
            _ => drop(self.links.remove(&path)),
        }
        self.applied.brought.insert(path.clone());
        self.files.insert(path, node);
    }

    /// Makes directories that the tar does not name, in place of whatever is no directory.
    fn make_parents(&mut self, path: &[u8]) {
        let (parent, _) = split(path);
        let fits = |node: &Node| {
            node.is_directory() && (node.layer == self.layer || !self.files.own_directories)
        };
        if parent.is_empty() || self.files.nodes.get(parent).is_some_and(fits) {
            return;
        }
        let node = Node {
            kind: NodeKind::Directory,
            mode: IMPLIED_MODE,
            uid: 0,
            gid: 0,
            mtime: FileTime { seconds: 0, nanoseconds: 0 },
            size: 0,
            xattrs: Vec::new(),
            layer: self.layer,
            inode: self.files.new_inode(),
        };
        self.put(parent.to_vec(), node);
    }

    /// Takes an object away, and notes it if a lower layer brought it.
    fn take(&mut self, path: &[u8]) {
        let Some(node) = self.files.remove(path) else { return };
        if node.layer == self.layer {
            self.applied.brought.remove(path);
        } else {
            self.applied.before.insert(path.to_vec(), node);
        }
    }

    fn take_tree(&mut self, path: &[u8]) {
        if !self.files.nodes.contains_key(path) {
            return;
        }
        let below: Vec<Vec<u8>> = self.files.below(path).map(|(path, _)| path.clone()).collect();
        below.iter().for_each(|path| self.take(path));
        self.take(path);
    }

    /// Whether nothing can lead elsewhere. Where layers are whole trees, links of lower ones do.
    fn has_no_links(&self) -> bool {
        self.files.own_directories && self.links.is_empty()
    }

    /// Follows the links that this layer made in the way to an object, not the object itself.
    fn resolve_parent(&self, path: &[u8]) -> Vec<u8> {
        if self.has_no_links() {
            return path.to_vec();
        }
        let (parent, last) = split(path);
        join(&self.resolve(parent.to_vec()), last)
    }

    fn resolve(&self, path: Vec<u8>) -> Vec<u8> {
        let mut path = path;
        'links: for _ in 0..LINKS_MAX {
            if self.has_no_links() {
                return path;
            }
            for end in ends(&path) {
                let (link, rest) = path.split_at(end);
                if self.files.own_directories && !self.links.contains(link) {
                    continue;
                }
                let Some(NodeKind::Symlink(target)) =
                    self.files.nodes.get(link).map(|node| &node.kind)
                else {
                    continue;
                };
                path = followed(split(link).0, target, rest);
                continue 'links;
            }
            return path;
        }
        path
    }
}

/// Where the components of a path end, the first one first.
fn ends(path: &[u8]) -> Vec<usize> {
    let mut ends: Vec<usize> =
        path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).collect();
    if !path.is_empty() {
        ends.push(path.len());
    }
    ends
}

/// A path through a link, inside the root as in a chroot.
fn followed(parent: &[u8], target: &[u8], rest: &[u8]) -> Vec<u8> {
    let start: &[u8] = if target.starts_with(b"/") { b"" } else { parent };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in [start, target, rest].into_iter().flat_map(|text| text.split(|byte| *byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}
