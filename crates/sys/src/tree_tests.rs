//! Tests of trees and confined paths that need no privileges.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{
    FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink,
};
use std::path::Path;

use crate::confined::{FileTime, LastLink, Node, Owner, Root};
use crate::tree::{self, CopyOptions, DirStack, Usage};
use crate::xattr;

fn me() -> Owner {
    Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

fn root() -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("root")).unwrap();
    fs::write(directory.path().join("canary"), "safe").unwrap();
    let root = Root::open(&directory.path().join("root")).unwrap();
    (directory, root)
}

#[test]
fn links_are_resolved_as_in_a_chroot() {
    let (directory, root) = root();
    let inside = directory.path().join("root");
    fs::create_dir(inside.join("d")).unwrap();
    fs::write(inside.join("canary"), "inside").unwrap();
    symlink("/canary", inside.join("absolute")).unwrap();
    symlink("../../../canary", inside.join("d/up")).unwrap();
    symlink("/proc/self/root/canary", inside.join("magic")).unwrap();
    for path in ["absolute", "d/up", "/d/../../canary", "../canary"] {
        assert_eq!(root.read_limited(path, 100).unwrap(), b"inside", "{path}");
    }
    assert!(root.open_file("magic").is_err());
    assert_eq!(
        root.read_limited("canary", 5).unwrap_err().io_kind(),
        std::io::ErrorKind::FileTooLarge
    );
    assert_eq!(root.read_limited("canary", 6).unwrap(), b"inside");
    assert_eq!(root.read_link("absolute").unwrap(), Path::new("/canary"));
    assert!(root.open_file("d").is_err());
    assert!(root.exists("magic").unwrap());
    assert!(!root.exists("none/at/all").unwrap());
    assert!(root.resolve("magic", LastLink::Follow).is_err());
}

#[test]
fn changes_never_follow_the_last_component() {
    let (directory, root) = root();
    let inside = directory.path().join("root");
    symlink(directory.path().join("canary"), inside.join("link")).unwrap();
    let before = fs::metadata(directory.path().join("canary")).unwrap();
    assert_eq!(
        root.create_file("link", 0o600).unwrap_err().io_kind(),
        std::io::ErrorKind::AlreadyExists
    );
    root.set_time("link", FileTime { seconds: 5, nanoseconds: 6 }).unwrap();
    root.chown("link", me()).unwrap();
    assert!(root.chmod("link", 0o777).is_err());
    root.create_hard_link("link", "second").unwrap();
    root.remove_tree("link").unwrap();
    assert!(root.open_parent("..").is_err());
    assert!(root.create_dir("a/..", 0o755).is_err());
    let after = fs::metadata(directory.path().join("canary")).unwrap();
    assert_eq!(
        (before.mode(), before.mtime_nsec(), before.nlink()),
        (after.mode(), after.mtime_nsec(), after.nlink())
    );
    assert_eq!(fs::symlink_metadata(inside.join("second")).unwrap().mtime_nsec(), 6);
    root.create_node("pipe", Node::Fifo, 0o1622).unwrap();
    let pipe = fs::metadata(inside.join("pipe")).unwrap();
    assert!(pipe.file_type().is_fifo());
    assert_eq!(pipe.mode() & 0o7777, 0o1622);
    assert!(root.open_file("pipe").is_err());
}

#[test]
fn mkdir_all_creates_what_links_lead_to_inside_the_root() {
    let (directory, root) = root();
    let inside = directory.path().join("root");
    fs::create_dir(inside.join("var")).unwrap();
    symlink("/run/deep", inside.join("var/run")).unwrap();
    symlink("../../../../up", inside.join("var/up")).unwrap();
    symlink("loop", inside.join("loop")).unwrap();
    fs::write(inside.join("file"), "").unwrap();
    root.mkdir_all("var/run/lock", 0o751, me()).unwrap();
    assert_eq!(fs::metadata(inside.join("run/deep/lock")).unwrap().mode() & 0o7777, 0o751);
    root.mkdir_all("/var/up/../x", 0o755, me()).unwrap();
    assert!(inside.join("up").is_dir() && inside.join("x").is_dir());
    assert!(!directory.path().join("up").exists());
    assert!(root.mkdir_all("loop/x", 0o755, me()).is_err());
    assert!(root.mkdir_all("file/x", 0o755, me()).is_err());
    root.mkdir_all("", 0o755, me()).unwrap();
}

/// Makes a chain of directories far deeper than any path may be long, and a file at its end.
fn deep_tree(root: &Root, depth: usize) {
    let name = CString::new("d".repeat(200)).unwrap();
    let mut current = root.fd().try_clone_to_owned().unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&current, &*name, 0o755.into()).unwrap();
        current = crate::confined::open_dir_at(current.as_fd(), &name).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    File::from(rustix::fs::openat(&current, c"f", flags, 0o644.into()).unwrap())
        .write_all(b"deep")
        .unwrap();
}

#[test]
fn depth_is_not_limited() {
    const DEPTH: usize = 1500;
    let (directory, root) = root();
    fs::create_dir(directory.path().join("copy")).unwrap();
    deep_tree(&root, DEPTH);
    let copy = Root::open(&directory.path().join("copy")).unwrap();
    let stats = tree::copy_tree(root.fd(), copy.fd(), CopyOptions::default()).unwrap();
    assert_eq!((stats.entries, stats.bytes), (DEPTH as u64 + 1, 4));
    let usage = tree::usage(copy.fd()).unwrap();
    assert_eq!((usage.inodes, usage.apparent_bytes), (DEPTH as u64 + 2, 4));
    let parent = File::open(directory.path()).unwrap();
    for name in [c"root", c"copy"] {
        tree::remove_tree(parent.as_fd(), name).unwrap();
    }
    tree::remove_tree(parent.as_fd(), c"root").unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_copy_keeps_everything_that_files_carry() {
    let (directory, root) = root();
    let from = directory.path().join("root");
    fs::create_dir(from.join("sub")).unwrap();
    fs::write(from.join("sub/file"), vec![3; 100_000]).unwrap();
    fs::hard_link(from.join("sub/file"), from.join("again")).unwrap();
    symlink("/etc/passwd", from.join("link")).unwrap();
    let sparse = File::create(from.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"middle", 32 << 20).unwrap();
    root.create_node("pipe", Node::Fifo, 0o640).unwrap();
    root.create_node("socket", Node::Socket, 0o700).unwrap();
    xattr::set_at(root.fd(), c"again", c"user.note", b"kept").unwrap();
    for (path, mode) in [("sub/file", 0o4751), ("sub", 0o3770), ("", 0o1755)] {
        fs::set_permissions(from.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (at, path) in ["sub/file", "link", "pipe", "sub"].iter().enumerate() {
        root.set_time(path, FileTime { seconds: 1_000 + at as i64, nanoseconds: 123_456_789 })
            .unwrap();
    }
    rustix::fs::futimens(root.fd(), &FileTime { seconds: 77, nanoseconds: 5 }.both()).unwrap();
    let to = directory.path().join("copy");
    fs::create_dir(&to).unwrap();
    let copy = Root::open(&to).unwrap();
    assert!(tree::is_empty_dir(copy.fd()).unwrap());
    let stats = tree::copy_tree(root.fd(), copy.fd(), CopyOptions::default()).unwrap();
    assert!(!tree::is_empty_dir(copy.fd()).unwrap());
    assert_eq!((stats.entries, stats.bytes), (7, 100_000 + (64 << 20)));
    for path in ["", "sub", "sub/file", "again", "link", "sparse", "pipe", "socket"] {
        let (old, new) = (
            fs::symlink_metadata(from.join(path)).unwrap(),
            fs::symlink_metadata(to.join(path)).unwrap(),
        );
        let carried = |stat: &fs::Metadata| {
            let size = if stat.is_dir() { 0 } else { stat.size() };
            (
                stat.mode(),
                stat.uid(),
                stat.gid(),
                stat.mtime(),
                stat.mtime_nsec(),
                size,
                stat.nlink(),
            )
        };
        assert_eq!(carried(&old), carried(&new), "{path}");
    }
    let ino = |path: &str| fs::metadata(to.join(path)).unwrap().ino();
    assert_eq!(ino("sub/file"), ino("again"));
    assert_eq!(xattr::get_at(copy.fd(), c"again", c"user.note").unwrap(), Some(b"kept".to_vec()));
    assert!(fs::metadata(to.join("sparse")).unwrap().blocks() < 100);
    let mut part = [0; 8];
    File::open(to.join("sparse")).unwrap().read_exact_at(&mut part, (32 << 20) - 1).unwrap();
    assert_eq!(&part, b"\0middle\0");
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
    let mut content = Vec::new();
    File::open(to.join("again")).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, vec![3; 100_000]);
}

#[test]
fn usage_counts_hard_links_once() {
    let (directory, root) = root();
    let inside = directory.path().join("root");
    fs::write(inside.join("a"), vec![1; 5000]).unwrap();
    fs::hard_link(inside.join("a"), inside.join("b")).unwrap();
    File::create(inside.join("hole")).unwrap().set_len(1 << 30).unwrap();
    let blocks: u64 = ["a", "hole", ""]
        .iter()
        .map(|path| fs::metadata(inside.join(path)).unwrap().blocks())
        .sum();
    let want = Usage { apparent_bytes: 5000 + (1 << 30), disk_bytes: blocks * 512, inodes: 3 };
    assert_eq!(tree::usage(root.fd()).unwrap(), want);
}

#[test]
fn a_walk_notices_that_its_way_back_has_moved() {
    let (directory, root) = root();
    deep_tree(&root, 60);
    let name = CString::new("d".repeat(200)).unwrap();
    let mut stack = DirStack::new(root.fd().try_clone_to_owned().unwrap()).unwrap();
    for _ in 0..60 {
        stack.enter(&name).unwrap();
    }
    // The fifth directory goes elsewhere; the walk's own way back from it leads there now.
    let mut fourth = root.fd().try_clone_to_owned().unwrap();
    for _ in 0..4 {
        fourth = crate::confined::open_dir_at(fourth.as_fd(), &name).unwrap();
    }
    let outside = File::open(directory.path()).unwrap();
    rustix::fs::renameat(&fourth, &*name, &outside, c"moved").unwrap();
    let mut result = Ok(());
    for _ in 0..60 {
        result = stack.leave();
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result.unwrap_err().to_string(), "the directory was moved during the walk");
}
