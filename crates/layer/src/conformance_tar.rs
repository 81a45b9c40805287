//! Layers come back as the tars they were; changes are listed the same whatever the driver.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use orlop_archive::changes;
use orlop_sys::confined::Root;
use orlop_sys::tree::{self, CopyOptions};
use orlop_types::ErrorKind;

use crate::conformance::{grow, mutate};
use crate::testing::{Fixture, NOW, Random, container, mounted, names, tar_of};
use crate::{ChangeKind, Changes, Layer, WritableOptions};

macro_rules! for_both_drivers {
    ($($name:ident),* $(,)?) => {
        mod overlay {
            $(#[test] #[ignore = "root: CAP_SYS_ADMIN"] fn $name() { super::$name(&super::Fixture::new("overlay2")); })*
        }
        mod vfs {
            $(#[test] #[ignore = "root: CAP_SYS_ADMIN"] fn $name() { super::$name(&super::Fixture::new("vfs")); })*
        }
    };
}
for_both_drivers!(
    tars_come_back,
    hard_links_reach_into_lower_layers,
    changes_are_dockers,
    random_changes_are_the_difference_of_the_trees,
    zeros_become_holes,
);

fn tar_back(fixture: &Fixture, layer: &Layer) -> Vec<u8> {
    let mut tar = Vec::new();
    fixture.layers.write_tar(&layer.chain_id, &layer.diff_id, &mut tar).unwrap();
    assert_eq!(fixture.layers.tar_length(&layer.chain_id).unwrap(), tar.len() as u64);
    tar
}

fn tars_come_back(fixture: &Fixture) {
    let mut random = Random(0x9E37_79B9);
    let low = fixture.tree("low", |tree| grow(tree, &mut random, 60));
    let high = fixture.tree("high", |tree| {
        grow(tree, &mut random, 60);
        fs::write(tree.join(".wh.n1"), "").unwrap();
    });
    let (low_tar, high_tar) = (tar_of(&low), tar_of(&high));
    let low = fixture.import(&low_tar, None);
    let high = fixture.import(&high_tar, Some(&low.chain_id));
    assert!(tar_back(fixture, &low) == low_tar, "the lower layer");
    assert!(tar_back(fixture, &high) == high_tar, "the upper layer");
    // The same content on another parent.
    let unpacked =
        fixture.layers.unpack_copy(&low.chain_id, Some(&high.chain_id), &low.diff_id).unwrap();
    let top = fixture.layers.commit(vec![unpacked], Some(&high.chain_id), NOW).unwrap();
    assert!(tar_back(fixture, &top[0]) == low_tar, "the copy");
    // A changed file shows.
    let content = fixture.layers.driver().home().to_owned();
    let mut pending = vec![content];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            if stat.is_dir() && !path.ends_with("replaced") {
                pending.push(path);
            } else if stat.is_file() && stat.len() > 0 && path.iter().any(|part| part == "diff") {
                fs::write(&path, "x".repeat(stat.len() as usize)).unwrap();
            }
        }
    }
    let mut tar = Vec::new();
    let error = fixture.layers.write_tar(&low.chain_id, &low.diff_id, &mut tar).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

/// A tar with hard links to a lower layer's files, as builders with another differ write it.
fn links_below() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut link = |name: &str, target: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        header.set_mode(0o644);
        builder.append_link(&mut header, name, target).unwrap();
    };
    link("first", "dir/target");
    link("other/second", "first");
    link("to-symlink", "dir/symlink");
    builder.into_inner().unwrap()
}

fn hard_links_reach_into_lower_layers(fixture: &Fixture) {
    let low = fixture.tree("low", |tree| {
        fs::create_dir(tree.join("dir")).unwrap();
        fs::set_permissions(tree.join("dir"), fs::Permissions::from_mode(0o711)).unwrap();
        fs::write(tree.join("dir/target"), "content").unwrap();
        fs::set_permissions(tree.join("dir/target"), fs::Permissions::from_mode(0o4711)).unwrap();
        std::os::unix::fs::symlink("target", tree.join("dir/symlink")).unwrap();
        let root = Root::open(tree).unwrap();
        root.set_xattr("dir/target", c"user.color", b"red").unwrap();
    });
    let low = fixture.import_tree(&low, None);
    let tar = links_below();
    let high = fixture.import(&tar, Some(&low.chain_id));
    let view = fixture.view(&high.chain_id);
    assert_eq!(
        names(&view),
        ["dir", "dir/symlink", "dir/target", "first", "other", "other/second", "to-symlink"]
    );
    for name in ["first", "other/second", "dir/target"] {
        let stat = view.lstat(name).unwrap();
        assert_eq!((stat.st_mode & 0o7777, stat.st_nlink), (0o4711, 3), "{name}");
        assert_eq!(view.read_limited(name, 99).unwrap(), b"content");
        assert_eq!(view.get_xattr(name, c"user.color").unwrap().as_deref(), Some(&b"red"[..]));
    }
    assert_eq!(view.lstat("dir").unwrap().st_mode & 0o7777, 0o711);
    assert_eq!(view.read_link("to-symlink").unwrap(), Path::new("target"));
    assert_eq!(tar_back(fixture, &high), tar);
    // Without a lower layer there is nothing to link to, and nothing is left.
    let before = fs::read_dir(fixture.layers.driver().home()).unwrap().count();
    let options = crate::ImportOptions { parent: None, diff_id: None, now: NOW };
    let error = fixture.layers.import(&tar[..], &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the archive's entry `first` is refused: the target `dir/target` of the hard link is not a file of this layer"
    );
    assert_eq!(fs::read_dir(fixture.layers.driver().home()).unwrap().count(), before);
}

fn listed(changes: &Changes) -> Vec<String> {
    let line = |(path, kind): (&Vec<u8>, &ChangeKind)| {
        let letter = match kind {
            ChangeKind::Modified => 'C',
            ChangeKind::Added => 'A',
            ChangeKind::Deleted => 'D',
        };
        format!("{letter} {}", String::from_utf8_lossy(path))
    };
    changes.iter().map(line).collect()
}

fn changes_are_dockers(fixture: &Fixture) {
    let tree = fixture.tree("tree", |tree| {
        for file in
            ["gone", "dir/a", "dir/sub/b", "again/old", "again/kept", "turns/x", "file", "mode"]
        {
            fs::create_dir_all(tree.join(file).parent().unwrap()).unwrap();
            fs::write(tree.join(file), file).unwrap();
        }
    });
    let image = fixture.import_tree(&tree, None);
    let id = container(1);
    let options = WritableOptions::default();
    let writable = fixture.layers.create_writable(&id, Some(&image.chain_id), options).unwrap();
    assert_eq!(listed(&fixture.layers.writable_changes(&id).unwrap()), Vec::<String>::new());
    let root = mounted(&writable.recipe);
    root.remove_tree("gone").unwrap();
    root.remove_tree("dir/sub").unwrap();
    root.remove_tree("again").unwrap();
    drop(root.create_dir("again", 0o755).unwrap());
    drop(root.create_file("again/new", 0o644).unwrap());
    drop(root.create_dir("again/sub", 0o755).unwrap());
    root.remove_tree("turns").unwrap();
    drop(root.create_file("turns", 0o644).unwrap());
    root.remove_tree("file").unwrap();
    drop(root.create_dir("file", 0o755).unwrap());
    drop(root.create_file("file/inside", 0o644).unwrap());
    root.chmod("mode", 0o600).unwrap();
    drop(root.create_dir("new", 0o755).unwrap());
    drop(root.create_file("new/inside", 0o644).unwrap());
    // Made and removed again, touched without a change, and the engine's own file removed.
    drop(root.create_file("short", 0o644).unwrap());
    root.remove_tree("short").unwrap();
    let mode = root.lstat("dir/a").unwrap().st_mode & 0o7777;
    root.chmod("dir/a", mode).unwrap();
    root.remove_tree("etc/hosts").unwrap();
    assert_eq!(
        listed(&fixture.layers.writable_changes(&id).unwrap()),
        [
            "C again",
            "D again/kept",
            "A again/new",
            "D again/old",
            "A again/sub",
            "C dir",
            "D dir/sub",
            "C etc",
            "D etc/hosts",
            "C file",
            "A file/inside",
            "D gone",
            "C mode",
            "A new",
            "A new/inside",
            "C turns",
        ]
    );
    drop(writable);
}

fn random_changes_are_the_difference_of_the_trees(fixture: &Fixture) {
    for seed in 1..=25_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let old = fixture.tree(&format!("old{seed}"), |tree| grow(tree, &mut random, 40));
        let base = fixture.import_tree(&old, None);
        let id = container(u8::try_from(seed).unwrap());
        let options = WritableOptions::default();
        let writable = fixture.layers.create_writable(&id, Some(&base.chain_id), options).unwrap();
        let root = mounted(&writable.recipe);
        // `mutate` works by paths: the container's root is attached for a moment's copy instead.
        let new = fixture.tree(&format!("new{seed}"), |tree| {
            let to = Root::open(tree).unwrap();
            tree::copy_tree(root.fd(), to.fd(), CopyOptions::default()).unwrap();
            mutate(tree, &mut random);
        });
        let new = Root::open(&new).unwrap();
        for entry in tree::list(root.fd()).unwrap() {
            tree::remove_tree(root.fd(), &entry.name).unwrap();
        }
        let copy = CopyOptions { root_metadata: false, ..CopyOptions::default() };
        tree::copy_tree(new.fd(), root.fd(), copy).unwrap();
        let parent = mounted(&fixture.layers.init_view(Some(&base.chain_id)).unwrap());
        let want = changes::trees(parent.fd(), root.fd()).unwrap();
        drop(root);
        let got = fixture.layers.writable_changes(&id).unwrap();
        assert_eq!(listed(&got), listed(&want), "seed {seed}");
        assert!(!got.is_empty());
    }
}

fn zeros_become_holes(fixture: &Fixture) {
    let tree = fixture.tree("tree", |tree| {
        let mut content = vec![0; 3 << 20];
        content[1_500_000] = 1;
        fs::write(tree.join("f"), content).unwrap();
        assert!(fs::metadata(tree.join("f")).unwrap().blocks() >= 6000);
    });
    let layer = fixture.import_tree(&tree, None);
    let stat = fixture.view(&layer.chain_id).lstat("f").unwrap();
    assert!(stat.st_blocks <= 256, "{} blocks", stat.st_blocks);
    assert_eq!(stat.st_size, 3 << 20);
    let (_, content) = (0, fixture.view(&layer.chain_id).read_limited("f", 4 << 20).unwrap());
    assert_eq!(content.iter().filter(|byte| **byte != 0).count(), 1);
    assert_eq!(content[1_500_000], 1);
}
