//! Stores, trees and their descriptions for the conformance suite.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_archive::digest;
use orlop_archive::write::{TarWriter, Times};
use orlop_meta::Store;
use orlop_sys::confined::Root;
use orlop_sys::mount::{RootfsRecipe, mount_rootfs};
use orlop_sys::tree::{self, identity};
use orlop_sys::xattr;
use orlop_types::{ChainId, ContainerId};
use rustix::fs::{AtFlags, FileType};

use crate::{ImportOptions, Layer, LayerStore};

pub(crate) const NOW: &str = "2026-01-02T03:04:05Z";

/// A store of its own and a place for trees.
pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) layers: LayerStore,
}

impl Fixture {
    pub(crate) fn new(driver: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layers = open(&directory.path().join("store"), driver);
        Self { directory, layers }
    }

    /// Makes a tree by a function and gives its directory.
    pub(crate) fn tree(&self, name: &str, make: impl FnOnce(&Path)) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        make(&path);
        path
    }

    pub(crate) fn import(&self, tar: &[u8], parent: Option<&ChainId>) -> Layer {
        self.layers.import(tar, &ImportOptions { parent, diff_id: None, now: NOW }).unwrap()
    }

    /// Imports the difference between two trees, or a whole tree, on a parent.
    pub(crate) fn import_tree(&self, tree: &Path, parent: Option<&ChainId>) -> Layer {
        self.import(&tar_of(tree), parent)
    }

    pub(crate) fn view(&self, chain_id: &ChainId) -> Root {
        mounted(&self.layers.view(chain_id).unwrap())
    }
}

pub(crate) fn open(root: &Path, driver: &str) -> LayerStore {
    let store = Store::open(root, &root.with_extension("run")).unwrap();
    LayerStore::open(Arc::new(store), Some(driver)).unwrap()
}

pub(crate) fn container(number: u8) -> ContainerId {
    ContainerId::of_bytes(&[number; 32])
}

/// Mounts detached: nothing is attached anywhere, and dropping the root unmounts.
pub(crate) fn mounted(recipe: &RootfsRecipe) -> Root {
    Root::of_mount(mount_rootfs(recipe).unwrap()).unwrap()
}

pub(crate) fn tar_of(tree: &Path) -> Vec<u8> {
    let root = Root::open(tree).unwrap();
    let mut tar = TarWriter::new(Vec::new(), Times::Nanoseconds);
    tar.tree(root.fd(), b"").unwrap();
    tar.finish().unwrap()
}

/// What a snapshot leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Nothing.
    Full,
    /// Fractions of seconds, and all times of directories: what a layer tar does not carry.
    Layer,
}

/// Describes every object of a tree but the root itself: one line per path.
pub(crate) fn snapshot(top: BorrowedFd<'_>, detail: Detail) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut groups: HashMap<(u64, u64), String> = HashMap::new();
    describe(top, "", detail, &mut groups, &mut found);
    found
}

fn describe(
    directory: BorrowedFd<'_>,
    prefix: &str,
    detail: Detail,
    groups: &mut HashMap<(u64, u64), String>,
    found: &mut BTreeMap<String, String>,
) {
    for entry in tree::list(directory).unwrap() {
        let path = format!("{prefix}{}", entry.name.to_string_lossy());
        let stat = rustix::fs::statat(directory, entry.name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
            .unwrap();
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut line =
            format!("{kind:?} {:o} {}:{}", stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        if detail == Detail::Full {
            line += &format!(" @{}.{}", stat.st_mtime, stat.st_mtime_nsec);
        } else if kind != FileType::Directory {
            line += &format!(" @{}", stat.st_mtime);
        }
        match kind {
            FileType::RegularFile => {
                let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW;
                let fd =
                    rustix::fs::openat(directory, entry.name.as_c_str(), flags, 0.into()).unwrap();
                let mut content = Vec::new();
                fs::File::from(fd).read_to_end(&mut content).unwrap();
                line += &format!(" {} {}", content.len(), digest::of_bytes(&content).short());
            }
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(directory, entry.name.as_c_str(), Vec::new()).unwrap();
                line += &format!(" -> {}", target.to_string_lossy());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                line += &format!(" {:x}", stat.st_rdev);
            }
            _ => {}
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            line += &format!(" ={}", groups.entry(identity(&stat)).or_insert_with(|| path.clone()));
        }
        for (name, value) in xattr::all_at(directory, &entry.name).unwrap() {
            if !name.to_bytes().starts_with(b"trusted.overlay.") {
                line += &format!(" {}={value:?}", name.to_string_lossy());
            }
        }
        found.insert(path.clone(), line);
        if kind == FileType::Directory {
            let child = orlop_sys::confined::open_dir_at(directory, &entry.name).unwrap();
            describe(child.as_fd(), &format!("{path}/"), detail, groups, found);
        }
    }
}

/// Names only.
pub(crate) fn names(root: &Root) -> Vec<String> {
    snapshot(root.fd(), Detail::Layer).into_keys().collect()
}

/// A small generator, so that a failing seed can be run again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*; good enough to pick among a few shapes.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}
