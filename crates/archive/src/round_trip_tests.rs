//! Well-formed archives: what goes in comes out.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use orlop_sys::confined::Root;
use tar_core::{EntryType, SparseEntry};

use crate::diff;
use crate::extract::{ExtractOptions, ExtractStats, WhiteoutForm, extract};
use crate::testing::Tar;
use crate::write::{TarWriter, Times};

fn unpack(archive: &[u8], into: &Path) -> ExtractStats {
    let root = Root::open(into).unwrap();
    extract(archive, &root, ExtractOptions::new(WhiteoutForm::Apply)).unwrap()
}

fn difference(old: &Path, new: &Path) -> Vec<u8> {
    let (old, new) = (Root::open(old).unwrap(), Root::open(new).unwrap());
    let mut tar = TarWriter::new(Vec::new(), Times::Nanoseconds);
    diff::trees(old.fd(), new.fd(), &mut tar).unwrap();
    tar.finish().unwrap()
}

const EMPTY: [u8; 1024] = [0; 1024];

#[test]
fn every_kind_of_header_is_understood() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    let long = format!("{}file", "directory/".repeat(30));
    let mut sparse = Tar::gnu(b"sparse-gnu");
    let map =
        [SparseEntry { offset: 1 << 20, length: 4 }, SparseEntry { offset: 2 << 20, length: 2 }];
    sparse.size(6).unwrap().sparse(&map, 3 << 20);
    let mut sparse_pax = Tar::builder(b"sparse-pax", EntryType::Regular);
    sparse_pax.size(6).unwrap().sparse(&map, 3 << 20);
    let mut gnu_long = Tar::gnu(format!("gnu/{long}").as_bytes());
    gnu_long.size(1).unwrap();
    let global =
        [Tar::builder(b"g", EntryType::XGlobalHeader).size(512).unwrap().finish_bytes(), {
            let mut content = b"18 path=/elsewhere\n".to_vec();
            content[..2].copy_from_slice(b"19");
            content.resize(512, 0);
            content
        }]
        .concat();
    let archive = Tar::default()
        .raw(&global)
        .dir(b"./")
        .file(format!("pax/{long}").as_bytes(), b"p")
        .add(&mut gnu_long, b"g")
        .add(&mut sparse, b"abcdef")
        .add(&mut sparse_pax, b"abcdef")
        .pax(b"timed", &[("mtime", b"1600000000.000000007")], b"t")
        .hard_link(b"linked", b"timed")
        .symlink(b"symlink", b"/nowhere/at/all")
        .dir(b"sticky/")
        .end();
    let stats = unpack(&archive, path);
    assert_eq!(std::fs::read(path.join(format!("pax/{long}"))).unwrap(), b"p");
    assert_eq!(std::fs::read(path.join(format!("gnu/{long}"))).unwrap(), b"g");
    for name in ["sparse-gnu", "sparse-pax"] {
        let content = std::fs::read(path.join(name)).unwrap();
        assert_eq!(content.len(), 3 << 20, "{name}");
        assert_eq!(&content[1 << 20..][..5], b"abcd\0", "{name}");
        assert_eq!(&content[2 << 20..][..3], b"ef\0", "{name}");
        assert!(
            std::fs::metadata(path.join(name)).unwrap().blocks() < 100,
            "{name} lost its holes"
        );
    }
    let timed = std::fs::metadata(path.join("timed")).unwrap();
    assert_eq!((timed.mtime(), timed.mtime_nsec(), timed.nlink()), (1_600_000_000, 7, 2));
    assert_eq!(std::fs::read_link(path.join("symlink")).unwrap(), Path::new("/nowhere/at/all"));
    assert_eq!(std::fs::symlink_metadata(path.join("symlink")).unwrap().mtime(), 1_700_000_000);
    assert_eq!(std::fs::metadata(path.join("sticky")).unwrap().mtime(), 1_700_000_000);
    assert_eq!(stats.file_bytes, 1 + 1 + 2 * (3 << 20) + 1 + "/nowhere/at/all".len() as u64);
    assert!(!path.join("elsewhere").exists());
}

#[test]
fn a_tree_survives_the_way_through_an_archive() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = from.path();
    std::fs::create_dir_all(path.join("a/b")).unwrap();
    std::fs::write(path.join("a/b/f"), vec![9; 300_000]).unwrap();
    std::fs::hard_link(path.join("a/b/f"), path.join("z")).unwrap();
    std::os::unix::fs::symlink("b/f", path.join("a/s")).unwrap();
    std::fs::set_permissions(path.join("a"), std::fs::Permissions::from_mode(0o2751)).unwrap();
    let root = Root::open(path).unwrap();
    root.set_xattr("a/b", c"user.kept", b"yes").unwrap();
    let mut tar = TarWriter::new(Vec::new(), Times::Nanoseconds);
    tar.tree(root.fd(), b"").unwrap();
    let archive = tar.finish().unwrap();
    unpack(&archive, to.path());
    assert_eq!(difference(path, to.path()), EMPTY);
    let (linked, z) = (to.path().join("a/b/f"), to.path().join("z"));
    assert_eq!(std::fs::metadata(linked).unwrap().ino(), std::fs::metadata(z).unwrap().ino());
    assert_eq!(std::fs::metadata(to.path().join("a")).unwrap().mode() & 0o7777, 0o2751);
    // Another reader agrees about every name.
    let mut names: Vec<String> = Vec::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    assert_eq!(names, ["a/", "a/b/", "a/b/f", "a/s", "z"]);
}

#[test]
fn deletions_are_applied_and_opaque_keeps_this_layers_entries() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    let lower = Tar::default()
        .dir(b"d/")
        .file(b"d/old", b"")
        .dir(b"d/sub/")
        .file(b"d/sub/old", b"")
        .file(b"gone", b"")
        .file(b"turns", b"")
        .dir(b"tree/")
        .file(b"tree/f", b"")
        .end();
    unpack(&lower, path);
    let upper = Tar::default()
        .file(b"d/new", b"n")
        .dir(b"d/sub/")
        .file(b"d/sub/new", b"n")
        .file(b"d/.wh..wh..opq", b"")
        .file(b".wh.gone", b"")
        .file(b".wh.never", b"")
        .file(b"not/there/.wh.x", b"")
        .dir(b"turns/")
        .file(b"turns/f", b"")
        .file(b"tree", b"now a file")
        .file(b".wh..wh.plnk/1.2", b"")
        .end();
    unpack(&upper, path);
    let mut names = Vec::new();
    let root = Root::open(path).unwrap();
    crate::write::walk(root.fd(), b"", |step| {
        let (crate::write::Step::Directory { path, .. } | crate::write::Step::File { path, .. }) =
            step;
        names.push(String::from_utf8(path.to_vec()).unwrap());
        Ok(())
    })
    .unwrap();
    assert_eq!(names, ["d", "d/new", "d/sub", "d/sub/new", "tree", "turns", "turns/f"]);
}

#[test]
fn an_archive_may_end_without_zero_blocks() {
    let scratch = tempfile::tempdir().unwrap();
    unpack(&Tar::default().file(b"f", b"x").0, scratch.path());
    assert!(scratch.path().join("f").exists());
    unpack(b"", scratch.path());
}
