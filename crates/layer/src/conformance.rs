//! The suite that every storage driver passes.
//!
//! Mounts are detached and private to the test; they vanish with its descriptors.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use orlop_archive::diff;
use orlop_archive::write::{TarWriter, Times};
use orlop_sys::confined::{FileTime, Node, Owner, Root};
use orlop_sys::tree::{self, CopyOptions};
use orlop_types::ErrorKind;

use crate::testing::{Detail, Fixture, NOW, Random, container, mounted, names, snapshot, tar_of};
use crate::{ImportOptions, WritableOptions};

const NET_BIND: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

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
    deletions_and_replacements,
    everything_files_carry,
    an_opaque_root_hides_all_below,
    writable_layers_become_layers,
    init_layer_changes_nothing_of_the_image,
    many_layers,
    random_trees,
    a_layer_in_use_stays,
    usage_and_sharing,
);

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn deletions_and_replacements(fixture: &Fixture) {
    let base = fixture.tree("base", |tree| {
        for file in [
            "gone",
            "kept",
            "dir/old",
            "dir/sub/old",
            "file-to-dir",
            "dir-to-file/x",
            "dir-to-dir/old",
        ] {
            write(&tree.join(file), file);
        }
    });
    let upper = fixture.tree("upper", |tree| {
        for file in [
            ".wh.gone",
            "dir/.wh..wh..opq",
            "dir/new",
            "dir/sub/new",
            "file-to-dir/inside",
            "dir-to-file",
            ".wh.dir-to-dir",
            "dir-to-dir/new",
            "implied/.wh.nothing",
        ] {
            write(&tree.join(file), "upper");
        }
    });
    let base = fixture.import_tree(&base, None);
    let top = fixture.import_tree(&upper, Some(&base.chain_id));
    let mut want = vec![
        "dir",
        "dir-to-dir",
        "dir-to-dir/new",
        "dir-to-file",
        "dir/new",
        "dir/sub",
        "dir/sub/new",
        "file-to-dir",
        "file-to-dir/inside",
        "implied",
        "kept",
    ];
    want.sort_unstable();
    assert_eq!(names(&fixture.view(&top.chain_id)), want);
    // And back again.
    let third = fixture.tree("third", |tree| {
        write(&tree.join("file-to-dir"), "a file again");
        write(&tree.join("dir-to-file/inside"), "a directory again");
        write(&tree.join("gone"), "back");
    });
    let third = fixture.import_tree(&third, Some(&top.chain_id));
    let view = fixture.view(&third.chain_id);
    assert_eq!(view.read_limited("file-to-dir", 99).unwrap(), b"a file again");
    assert_eq!(view.read_limited("gone", 99).unwrap(), b"back");
    assert_eq!(tree::list(view.open_dir("dir-to-file").unwrap().as_fd()).unwrap().len(), 1);
    // The base is what it was.
    assert!(fixture.view(&base.chain_id).exists("dir/sub/old").unwrap());
}

fn everything(tree: &Path) {
    let root = Root::open(tree).unwrap();
    write(&tree.join("bin/tool"), "tool");
    fs::hard_link(tree.join("bin/tool"), tree.join("bin/alias")).unwrap();
    symlink("../nowhere", tree.join("bin/link")).unwrap();
    fs::File::create(tree.join("sparse")).unwrap().set_len(5 << 20).unwrap();
    root.create_node("null", Node::Char(1, 3), 0o666).unwrap();
    root.create_node("disk", Node::Block(7, 300), 0o640).unwrap();
    root.create_node("pipe", Node::Fifo, 0o1600).unwrap();
    write(&tree.join("deep/er/file"), "x");
    for (path, owner) in
        [("bin/tool", 33), ("deep/er", 999), ("bin/link", 5), ("null", 3_000_000_000)]
    {
        root.chown(path, Owner { uid: owner, gid: owner + 1 }).unwrap();
    }
    root.chmod("bin/tool", 0o6751).unwrap();
    root.chmod("deep", 0o3777).unwrap();
    root.set_xattr("bin/tool", c"security.capability", &NET_BIND).unwrap();
    root.set_xattr("deep/er", c"user.color", b"blue\0green").unwrap();
    root.set_xattr("bin/link", c"trusted.link", b"1").unwrap();
    for (at, path) in
        ["bin/tool", "bin/link", "null", "pipe", "deep/er/file", "deep/er", "deep", "bin"]
            .iter()
            .enumerate()
    {
        let nanoseconds = 987_654_321 - u32::try_from(at).unwrap();
        root.set_time(path, FileTime { seconds: 1_500_000_000, nanoseconds }).unwrap();
    }
}

fn everything_files_carry(fixture: &Fixture) {
    let tree = fixture.tree("tree", everything);
    let layer = fixture.import_tree(&tree, None);
    let view = fixture.view(&layer.chain_id);
    let want = snapshot(Root::open(&tree).unwrap().fd(), Detail::Full);
    assert!(want["bin/tool"].contains("6751 33:34 @1500000000.987654321"), "{want:?}");
    assert_eq!(snapshot(view.fd(), Detail::Full), want);
    // A child that touches nothing shows the same.
    let child = fixture.tree("child", |tree| write(&tree.join("other"), ""));
    let child = fixture.import_tree(&child, Some(&layer.chain_id));
    let mut got = snapshot(fixture.view(&child.chain_id).fd(), Detail::Full);
    got.remove("other");
    assert_eq!(got, want);
}

fn an_opaque_root_hides_all_below(fixture: &Fixture) {
    let base = fixture.tree("base", |tree| write(&tree.join("old"), ""));
    let upper = fixture.tree("upper", |tree| {
        write(&tree.join(".wh..wh..opq"), "");
        write(&tree.join("new"), "");
    });
    let base = fixture.import_tree(&base, None);
    let top = fixture.import_tree(&upper, Some(&base.chain_id));
    let last = fixture.tree("last", |tree| write(&tree.join("last"), ""));
    let last = fixture.import_tree(&last, Some(&top.chain_id));
    assert_eq!(names(&fixture.view(&last.chain_id)), ["last", "new"]);
}

/// Paths of the engine's own that an image without them gets.
pub(crate) const INIT: [&str; 13] = [
    ".dockerenv",
    "dev",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
    "",
];

fn writable_layers_become_layers(fixture: &Fixture) {
    let tree = fixture.tree("tree", |tree| {
        everything(tree);
        for file in ["remove", "dir/a", "dir/b", "replace/x"] {
            write(&tree.join(file), file);
        }
    });
    let image = fixture.import_tree(&tree, None);
    let id = container(7);
    let options = WritableOptions::default();
    let writable = fixture.layers.create_writable(&id, Some(&image.chain_id), options).unwrap();
    assert_eq!(fixture.layers.writable_recipe(&id, options).unwrap(), writable.recipe);
    let root = mounted(&writable.recipe);
    let mut empty = Vec::new();
    fixture.layers.writable_diff(&id, &mut empty).unwrap();
    assert_eq!(empty, [0; 1024], "an untouched container differs from its image");
    root.remove_tree("remove").unwrap();
    root.remove_tree("dir").unwrap();
    drop(root.create_dir("dir", 0o750).unwrap());
    drop(root.create_file("dir/new", 0o600).unwrap());
    root.remove_tree("replace").unwrap();
    root.create_symlink(OsStr::new("elsewhere"), "replace").unwrap();
    root.chmod("sparse", 0o604).unwrap();
    root.chown("deep", Owner { uid: 1, gid: 2 }).unwrap();
    root.create_hard_link("dir/new", "linked").unwrap();
    root.remove_tree(".dockerenv").unwrap();
    let mut seen = snapshot(root.fd(), Detail::Layer);
    drop(root);
    let layer = fixture.layers.commit_writable(&id, Some(&image.chain_id), NOW).unwrap();
    seen.retain(|path, _| !INIT.contains(&path.as_str()));
    let mut got = snapshot(fixture.view(&layer.chain_id).fd(), Detail::Layer);
    got.retain(|path, _| !INIT.contains(&path.as_str()));
    assert_eq!(got, seen);
    drop(writable);
    fixture.layers.remove_writable(&id, NOW).unwrap();
    assert!(fixture.layers.writable_usage(&id).is_err());
    assert!(fixture.view(&image.chain_id).exists("remove").unwrap());
}

fn init_layer_changes_nothing_of_the_image(fixture: &Fixture) {
    let tree = fixture.tree("tree", |tree| {
        write(&tree.join("etc/hosts"), "mine");
        symlink("/run/resolv.conf", tree.join("etc/resolv.conf")).unwrap();
        fs::create_dir_all(tree.join("dev/shm")).unwrap();
        fs::create_dir(tree.join("real")).unwrap();
        symlink("real", tree.join("sys")).unwrap();
        let root = Root::open(tree).unwrap();
        root.set_xattr("etc", c"user.color", b"red").unwrap();
        root.chown("etc", Owner { uid: 7, gid: 8 }).unwrap();
        root.chmod("etc", 0o2710).unwrap();
        root.set_time("etc", FileTime { seconds: 1_234, nanoseconds: 567 }).unwrap();
        root.set_time("dev", FileTime { seconds: 4_321, nanoseconds: 765 }).unwrap();
    });
    let image = fixture.import_tree(&tree, None);
    let want = snapshot(fixture.view(&image.chain_id).fd(), Detail::Full);
    let id = container(1);
    let writable = fixture
        .layers
        .create_writable(&id, Some(&image.chain_id), WritableOptions::default())
        .unwrap();
    let root = mounted(&writable.recipe);
    let mut got = snapshot(root.fd(), Detail::Full);
    let file = "RegularFile 755 0:0 @0.0 0 e3b0c44298fc";
    for path in [".dockerenv", "dev/console", "etc/hostname", "etc/resolv.conf"] {
        assert_eq!(got.remove(path).as_deref(), Some(file), "{path}");
    }
    for path in ["dev/pts", "proc"] {
        assert_eq!(got.remove(path).as_deref(), Some("Directory 755 0:0 @0.0"), "{path}");
    }
    assert_eq!(got.remove("etc/mtab").as_deref(), Some("Symlink 777 0:0 @0.0 -> /proc/mounts"));
    let mut want = want;
    want.remove("etc/resolv.conf");
    assert_eq!(got, want);
    // An image without any layer gets the same files.
    let bare =
        fixture.layers.create_writable(&container(2), None, WritableOptions::default()).unwrap();
    let mut all: Vec<&str> = INIT[..12].to_vec();
    all.sort_unstable();
    assert_eq!(names(&mounted(&bare.recipe)), all);
}

fn many_layers(fixture: &Fixture) {
    // A driver that copies takes the square of the time.
    let count = if fixture.layers.driver().independent_layers() { 300 } else { 20 };
    let mut parent = None;
    let mut unpacked = Vec::new();
    for at in 0..count {
        let tree = fixture.tree(&format!("t{at}"), |tree| {
            write(&tree.join(format!("f{at}")), "");
            write(&tree.join("same"), &at.to_string());
        });
        if fixture.layers.driver().independent_layers() {
            unpacked.push(fixture.layers.unpack(&tar_of(&tree)[..], None, None).unwrap());
        } else {
            parent = Some(fixture.import_tree(&tree, parent.as_ref()).chain_id);
        }
    }
    if !unpacked.is_empty() {
        let layers = fixture.layers.commit(unpacked, None, NOW).unwrap();
        assert_eq!(layers.len(), count);
        parent = layers.last().map(|layer| layer.chain_id.clone());
    }
    let writable = fixture
        .layers
        .create_writable(&container(3), parent.as_ref(), WritableOptions { volatile: true })
        .unwrap();
    let root = mounted(&writable.recipe);
    assert_eq!(root.read_limited("same", 9).unwrap(), (count - 1).to_string().into_bytes());
    assert_eq!(names(&root).len(), count + 1 + 12);
}

fn usage_and_sharing(fixture: &Fixture) {
    let tree = fixture.tree("tree", |tree| {
        write(&tree.join("a"), &"x".repeat(3000));
        fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    });
    let tar = tar_of(&tree);
    let first = fixture.import(&tar, None);
    assert_eq!((first.size_bytes, first.existed), (3000, false));
    let again = fixture.import(&tar, None);
    assert_eq!((again.chain_id.clone(), again.existed), (first.chain_id.clone(), true));
    let known = ImportOptions { parent: None, diff_id: Some(&first.diff_id), now: NOW };
    assert!(fixture.layers.import(&b"never read"[..], &known).unwrap().existed);
    let usage = fixture.layers.usage(&first.chain_id).unwrap();
    assert_eq!((usage.apparent_bytes, usage.inodes), (3000, 2));
    assert_eq!(fs::read_dir(fixture.layers.driver().home()).unwrap().count(), 1);
    assert_eq!(fixture.layers.sweep(NOW).unwrap(), 0);
}

fn a_layer_in_use_stays(fixture: &Fixture) {
    let base = fixture.tree("base", |tree| write(&tree.join("a"), "a"));
    let upper = fixture.tree("upper", |tree| write(&tree.join("b"), "b"));
    let base = fixture.import_tree(&base, None);
    let top = fixture.import_tree(&upper, Some(&base.chain_id));
    let error = fixture.layers.remove_layer(&base.chain_id, NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    drop(
        fixture
            .layers
            .create_writable(&container(9), Some(&top.chain_id), WritableOptions::default())
            .unwrap(),
    );
    assert_eq!(names(&fixture.view(&top.chain_id)), ["a", "b"]);
    assert!(fixture.layers.remove_layer(&top.chain_id, NOW).unwrap());
    assert!(!fixture.layers.remove_layer(&top.chain_id, NOW).unwrap());
    assert_eq!(fixture.layers.view(&top.chain_id).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(fixture.layers.remove_layer(&base.chain_id, NOW).unwrap());
    // The writable layer has no row: a sweep takes it, and then nothing is left.
    assert_eq!(fixture.layers.sweep(NOW).unwrap(), 1);
    assert_eq!(fs::read_dir(fixture.layers.driver().home()).unwrap().count(), 0);
}

/// Fills a directory with a random tree; a second call with another seed changes it.
pub(crate) fn grow(top: &Path, random: &mut Random, entries: u64) {
    let mut directories = vec![top.to_owned()];
    let mut files = Vec::new();
    for _ in 0..entries {
        let parent = directories[random.below(directories.len() as u64) as usize].clone();
        let path = parent.join(format!("n{}", random.below(6)));
        if fs::symlink_metadata(&path).is_ok() {
            if path.is_dir() && !path.is_symlink() {
                directories.push(path);
            }
            continue;
        }
        match random.below(8) {
            0..3 => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
            3 if !files.is_empty() => {
                let target: &std::path::PathBuf = &files[random.below(files.len() as u64) as usize];
                fs::hard_link(target, &path).unwrap();
                continue;
            }
            4 => symlink(format!("to{}", random.below(3)), &path).unwrap(),
            5 => {
                let root = Root::open(&parent).unwrap();
                let name = path.file_name().unwrap();
                let node = if random.below(2) == 0 { Node::Fifo } else { Node::Char(1, 3) };
                root.create_node(Path::new(name), node, 0o600).unwrap();
            }
            6 => {
                let file = fs::File::create(&path).unwrap();
                file.set_len(random.below(3) * 100_000).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 90_000).unwrap();
                files.push(path.clone());
            }
            _ => {
                fs::write(&path, "c".repeat(random.below(2000) as usize)).unwrap();
                files.push(path.clone());
            }
        }
        change_metadata(&parent, &path, random);
    }
}

fn change_metadata(parent: &Path, path: &Path, random: &mut Random) {
    let root = Root::open(parent).unwrap();
    let name = Path::new(path.file_name().unwrap());
    let owner = Owner { uid: random.below(3) as u32, gid: random.below(3) as u32 };
    root.chown(name, owner).unwrap();
    if !path.is_symlink() {
        root.chmod(name, [0o700, 0o644, 0o4755, 0o1777][random.below(4) as usize]).unwrap();
        if random.below(4) == 0 && (path.is_file() || path.is_dir()) {
            root.set_xattr(name, c"user.x", &[random.below(3) as u8]).unwrap();
        }
        if random.below(6) == 0 && path.is_file() {
            root.set_xattr(name, c"security.capability", &NET_BIND).unwrap();
        }
    }
    let seconds = 1_000_000_000 + random.below(3) as i64;
    root.set_time(name, FileTime { seconds, nanoseconds: 0 }).unwrap();
}

/// Changes a tree at random places: removes, replaces, adds, changes metadata.
pub(crate) fn mutate(top: &Path, random: &mut Random) {
    let mut paths = Vec::new();
    let mut pending = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                pending.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        let Ok(stat) = fs::symlink_metadata(&path) else { continue };
        match random.below(8) {
            0 if stat.is_dir() => fs::remove_dir_all(&path).unwrap(),
            0 => fs::remove_file(&path).unwrap(),
            1 if stat.is_dir() => {
                fs::remove_dir_all(&path).unwrap();
                fs::write(&path, "was a directory").unwrap();
            }
            1 => {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
                fs::write(path.join("n0"), "was a file").unwrap();
            }
            2 => change_metadata(path.parent().unwrap(), &path, random),
            3 if stat.is_file() && stat.nlink() > 1 => {
                // Breaks a hard link without any other change.
                let copy = path.with_extension("copy");
                fs::copy(&path, &copy).unwrap();
                fs::set_permissions(&copy, fs::Permissions::from_mode(stat.mode() & 0o7777))
                    .unwrap();
                fs::rename(&copy, &path).unwrap();
                change_metadata(path.parent().unwrap(), &path, random);
            }
            _ => {}
        }
    }
    grow(top, random, 10);
}

#[allow(clippy::print_stdout)] // The seed of a failure.
fn random_trees(fixture: &Fixture) {
    for seed in 1..=40_u64 {
        println!("seed {seed}");
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let old = fixture.tree(&format!("old{seed}"), |tree| grow(tree, &mut random, 40));
        let new = fixture.tree(&format!("new{seed}"), |tree| {
            let (from, to) = (Root::open(&old).unwrap(), Root::open(tree).unwrap());
            tree::copy_tree(from.fd(), to.fd(), CopyOptions::default()).unwrap();
            mutate(tree, &mut random);
        });
        let (old_root, new_root) = (Root::open(&old).unwrap(), Root::open(&new).unwrap());
        let want = snapshot(new_root.fd(), Detail::Layer);
        let base = fixture.import_tree(&old, None);
        assert_eq!(
            snapshot(fixture.view(&base.chain_id).fd(), Detail::Full),
            snapshot(old_root.fd(), Detail::Full)
        );
        let mut tar = TarWriter::new(Vec::new(), Times::Seconds);
        diff::trees(old_root.fd(), new_root.fd(), &mut tar).unwrap();
        let top = fixture.import(&tar.finish().unwrap(), Some(&base.chain_id));
        assert_eq!(
            snapshot(fixture.view(&top.chain_id).fd(), Detail::Layer),
            want,
            "seed {seed}, difference of trees"
        );
        // The same change made in a container.
        let id = container(u8::try_from(seed).unwrap());
        let writable = fixture
            .layers
            .create_writable(&id, Some(&base.chain_id), WritableOptions::default())
            .unwrap();
        let root = mounted(&writable.recipe);
        for entry in tree::list(root.fd()).unwrap() {
            if entry.name.to_bytes().starts_with(b"n") {
                tree::remove_tree(root.fd(), &entry.name).unwrap();
            }
        }
        let options = CopyOptions { root_metadata: false, ..CopyOptions::default() };
        tree::copy_tree(new_root.fd(), root.fd(), options).unwrap();
        drop(root);
        let layer = fixture.layers.commit_writable(&id, Some(&base.chain_id), NOW).unwrap();
        let got = snapshot(fixture.view(&layer.chain_id).fd(), Detail::Layer);
        assert_eq!(got, want, "seed {seed}, difference of a container");
    }
}
