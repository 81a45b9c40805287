//! The files of an image, an archive or a folder as lines of text.
//!
//! Layers are laid over each other here, by the rules of the image format, so that it takes no
//! container to see what a build has made and nothing of the engine under test is needed for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::rc::Rc;

/// Files with more bytes than this are shown by their digest.
const SHOWN_BYTES: usize = 72;

/// What stands in a layer for a path that it takes away, and for all paths of a directory.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// One file, without its name.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    kind: &'static str,
    mode: u32,
    owner: (u64, u64),
    /// Content, target of a link, or numbers of a device.
    what: String,
    mtime: u64,
    attributes: BTreeMap<String, Vec<u8>>,
}

/// Files by path, with a leading `/`. Hard links share a node.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<String, Rc<Node>>);

impl Tree {
    /// Lays a layer over what is there.
    pub(super) fn apply(&mut self, layer: &[u8]) -> Result<(), String> {
        let mut archive = tar::Archive::new(layer);
        let entries = archive.entries().map_err(|why| format!("read a layer: {why}"))?;
        // A layer's whiteouts hide what lies below it, wherever they stand in it.
        let mut added = BTreeMap::new();
        for entry in entries {
            let mut entry = entry.map_err(|why| format!("read a layer: {why}"))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let path = rooted(&name);
            let (parent, last) = path.rsplit_once('/').unwrap_or(("", &path));
            if last == OPAQUE {
                self.take_away(parent, true);
            } else if let Some(hidden) = last.strip_prefix(WHITEOUT) {
                self.take_away(&format!("{parent}/{hidden}"), false);
            } else if path != "/" {
                let node = node(&mut entry, &added, &self.0)
                    .map_err(|why| format!("read {path} of a layer: {why}"))?;
                added.insert(path, node);
            }
        }
        for (path, node) in added {
            if node.kind != "dir" {
                self.take_away(&path, true);
            }
            self.0.insert(path, node);
        }
        Ok(())
    }

    fn take_away(&mut self, path: &str, only_below: bool) {
        let below = format!("{path}/");
        self.0.retain(|name, _| !name.starts_with(&below) && (only_below || name != path));
    }

    /// The files of a folder on disk.
    pub(super) fn of_folder(folder: &Path) -> Result<Self, String> {
        let mut tree = Self::default();
        let mut waiting = vec![folder.to_path_buf()];
        let mut inodes: BTreeMap<u64, Rc<Node>> = BTreeMap::new();
        while let Some(parent) = waiting.pop() {
            let wrong = |why| format!("list {}: {why}", parent.display());
            for entry in std::fs::read_dir(&parent).map_err(wrong)? {
                let path = entry.map_err(wrong)?.path();
                let wrong = |why| format!("read {}: {why}", path.display());
                let data = std::fs::symlink_metadata(&path).map_err(wrong)?;
                let kind = data.file_type();
                let (kind, what) = if kind.is_dir() {
                    waiting.push(path.clone());
                    ("dir", String::new())
                } else if kind.is_symlink() {
                    let target = std::fs::read_link(&path).map_err(wrong)?;
                    ("link", format!("-> {}", target.display()))
                } else if kind.is_file() {
                    ("file", content(&std::fs::read(&path).map_err(wrong)?))
                } else if kind.is_fifo() {
                    ("fifo", String::new())
                } else {
                    ("other", String::new())
                };
                let node = inodes.entry(data.ino()).or_insert_with(|| {
                    Rc::new(Node {
                        kind,
                        mode: data.mode() & 0o7777,
                        owner: (data.uid().into(), data.gid().into()),
                        what,
                        mtime: u64::try_from(data.mtime()).unwrap_or(0),
                        attributes: BTreeMap::new(),
                    })
                });
                let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
                tree.0.insert(rooted(&name), Rc::clone(node));
            }
        }
        Ok(tree)
    }

    /// Whether both have the same files.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// A line for each file that differs from `base`, and for each that is gone.
    pub(super) fn lines(&self, base: &Self, mtime: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut first: BTreeMap<*const Node, &str> = BTreeMap::new();
        for (path, node) in &self.0 {
            // Names may hold line breaks.
            let shown = path.replace('\n', "\\n");
            let known = base.0.get(path).is_some_and(|old| old.same(node, mtime));
            let other = *first.entry(Rc::as_ptr(node)).or_insert(path);
            if other != path {
                lines.push(format!("hard {shown} = {other}"));
            } else if !known {
                node.lines(&shown, mtime, &mut lines);
            }
        }
        let gone = base.0.keys().filter(|path| !self.0.contains_key(*path));
        let outermost = gone.filter(|path| {
            let (parent, _) = path.rsplit_once('/').unwrap_or_default();
            parent.is_empty() || self.0.contains_key(parent)
        });
        lines.extend(outermost.map(|path| format!("gone {path}")));
        lines
    }
}

impl Node {
    /// Directories get a new time with everything that is done in them.
    fn same(&self, other: &Self, mtime: bool) -> bool {
        let times = !mtime || self.kind == "dir" || self.mtime == other.mtime;
        times
            && (self.kind, self.mode, self.owner) == (other.kind, other.mode, other.owner)
            && self.what == other.what
            && self.attributes == other.attributes
    }

    fn lines(&self, path: &str, mtime: bool, lines: &mut Vec<String>) {
        let Self { kind, mode, owner: (uid, gid), what, .. } = self;
        // Nobody can change a link's mode, and programs write different ones.
        let mode = if *kind == "link" { "-".to_owned() } else { format!("{mode:04o}") };
        let mut line = format!("{kind} {mode} {uid}:{gid} {path}");
        if mtime && *kind != "dir" {
            // Writing to a string does not fail.
            let _ = write!(line, " @{}", self.mtime);
        }
        if !what.is_empty() {
            let _ = write!(line, " {what}");
        }
        lines.push(line);
        for (key, value) in &self.attributes {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push(format!("xattr {path} {key} {hex}"));
        }
    }
}

fn node(
    entry: &mut tar::Entry<'_, &[u8]>,
    added: &BTreeMap<String, Rc<Node>>,
    below: &BTreeMap<String, Rc<Node>>,
) -> std::io::Result<Rc<Node>> {
    let header = entry.header().clone();
    let link = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
    let link = link.unwrap_or_default();
    let mut attributes = BTreeMap::new();
    if let Some(records) = entry.pax_extensions()? {
        for record in records {
            let record = record?;
            if let Some(key) = record.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                attributes.insert(key.to_owned(), record.value_bytes().to_vec());
            }
        }
    }
    let device = || {
        let number = |part: std::io::Result<Option<u32>>| part.ok().flatten().unwrap_or(0);
        format!("{}:{}", number(header.device_major()), number(header.device_minor()))
    };
    let (kind, what) = match header.entry_type() {
        tar::EntryType::Link => {
            let target = rooted(&link);
            let found = added.get(&target).or_else(|| below.get(&target));
            return found.cloned().ok_or_else(|| {
                std::io::Error::other(format!("a hard link to {target}, which is not there"))
            });
        }
        tar::EntryType::Directory => ("dir", String::new()),
        tar::EntryType::Symlink => ("link", format!("-> {link}")),
        tar::EntryType::Fifo => ("fifo", String::new()),
        tar::EntryType::Char => ("char", device()),
        tar::EntryType::Block => ("block", device()),
        _ => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            ("file", content(&bytes))
        }
    };
    Ok(Rc::new(Node {
        kind,
        mode: header.mode()? & 0o7777,
        owner: (header.uid()?, header.gid()?),
        what,
        mtime: header.mtime()?,
        attributes,
    }))
}

fn rooted(name: &str) -> String {
    let words: Vec<&str> = name.split('/').filter(|word| !matches!(*word, "" | ".")).collect();
    format!("/{}", words.join("/"))
}

/// Short text as it is, everything else by size and digest.
fn content(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= SHOWN_BYTES => format!("{text:?}"),
        _ => {
            let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
            let hex: String =
                digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("{} bytes {hex}", bytes.len())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tar::Tar;

    fn tree(layers: &[Tar]) -> Tree {
        let mut tree = Tree::default();
        for layer in layers {
            tree.apply(&layer.clone().finish()).unwrap();
        }
        tree
    }

    #[test]
    fn lays_layers_over_each_other() {
        let base = Tar::new().directory("d/").file("d/a", b"1").file("d/b", b"2").file("e", b"3");
        let over = Tar::new()
            .file("d/.wh.a", b"")
            .file("e", b"4")
            .symlink("l", "d")
            .hard_link("h", "d/b")
            .pax(&[("SCHILY.xattr.user.k", "v")])
            .file("x", &[0xff; 3]);
        let below = tree(std::slice::from_ref(&base));
        let lines = tree(&[base, over]).lines(&below, false);
        assert_eq!(
            lines,
            [
                "file 0644 0:0 /e \"4\"",
                "hard /h = /d/b",
                "link - 0:0 /l -> d",
                "file 0644 0:0 /x 3 bytes 3db6a8a1a1c21dd8",
                "xattr /x user.k 76",
                "gone /d/a",
            ]
            .map(|line| line.replace("3db6a8a1a1c21dd8", &digest_of_three()))
        );
    }

    fn digest_of_three() -> String {
        content(&[0xff; 3]).rsplit(' ').next().unwrap().to_owned()
    }

    #[test]
    fn an_opaque_directory_hides_what_is_below_but_not_what_its_layer_adds() {
        let base = Tar::new().directory("d/").file("d/a", b"1");
        let over = Tar::new().directory("d/").file("d/n", b"2").file("d/.wh..wh..opq", b"");
        let below = tree(std::slice::from_ref(&base));
        assert_eq!(
            tree(&[base, over]).lines(&below, true),
            ["file 0644 0:0 /d/n @0 \"2\"", "gone /d/a"]
        );
    }
}
