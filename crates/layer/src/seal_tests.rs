//! A sealed directory is the layer that unpacking its tar gives.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::fs;
use std::path::PathBuf;

use orlop_archive::digest;
use orlop_archive::extract::WhiteoutForm;
use orlop_sys::confined::{Node, Root};
use orlop_sys::tree::{self, CopyOptions};
use orlop_types::{ChainId, DiffId};

use crate::conformance::{INIT, grow, mutate};
use crate::testing::{Detail, Fixture, NOW, Random, container, mounted, names, snapshot};
use crate::{ImportOptions, Layer, Unpacked, WritableOptions};

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
    a_sealed_directory_is_the_layer_of_its_tar,
    what_a_container_wrote_is_taken_over,
    mount_points_leave_nothing,
    an_empty_directory_is_no_layer,
    sealing_can_be_stopped,
);

fn commit(fixture: &Fixture, unpacked: Unpacked, parent: Option<&ChainId>) -> Layer {
    fixture.layers.commit(vec![unpacked], parent, NOW).unwrap().pop().unwrap()
}

/// The layer's tar, whose digest is its own, and what another store makes of it.
fn elsewhere(fixture: &Fixture, base: Option<&[u8]>, layer: &Layer) -> (Vec<u8>, Fixture, Layer) {
    let mut tar = Vec::new();
    fixture.layers.write_tar(&layer.chain_id, &layer.diff_id, &mut tar).unwrap();
    assert_eq!(DiffId::new(digest::of_bytes(&tar)), layer.diff_id);
    assert_eq!(fixture.layers.tar_length(&layer.chain_id).unwrap(), tar.len() as u64);
    let other = Fixture::new(fixture.layers.driver().name());
    let parent = base.map(|base| other.import(base, None).chain_id);
    let options =
        ImportOptions { parent: parent.as_ref(), diff_id: Some(&layer.diff_id), now: NOW };
    let unpacked = other.layers.import(&tar[..], &options).unwrap();
    assert_eq!(unpacked.size_bytes, layer.size_bytes);
    (tar, other, unpacked)
}

fn a_sealed_directory_is_the_layer_of_its_tar(fixture: &Fixture) {
    for seed in 1..=8_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let low = fixture.tree(&format!("low{seed}"), |tree| grow(tree, &mut random, 30));
        let base_tar = crate::testing::tar_of(&low);
        let base = fixture.import(&base_tar, None);
        let new = fixture.layers.new_directory(Some(&base.chain_id)).unwrap();
        let overlay = new.whiteouts() == WhiteoutForm::Overlay;
        grow(new.content(), &mut random, 40);
        let root = Root::open(new.content()).unwrap();
        // A deletion in a directory that is merged, and one that deletes nothing.
        fs::create_dir(new.content().join("new")).unwrap();
        fs::write(new.content().join("new/file"), vec![7; 100_000]).unwrap();
        fs::hard_link(new.content().join("new/file"), new.content().join("new/same")).unwrap();
        if overlay {
            root.create_node("new/gone", Node::Char(0, 0), 0).unwrap();
        }
        let unpacked = fixture.layers.seal(new, Some(&base.chain_id), &|| false).unwrap().unwrap();
        let layer = commit(fixture, unpacked, Some(&base.chain_id));
        let got = snapshot(fixture.view(&layer.chain_id).fd(), Detail::Layer);
        let (_, other, unpacked) = elsewhere(fixture, Some(&base_tar), &layer);
        let want = snapshot(other.view(&unpacked.chain_id).fd(), Detail::Layer);
        assert_eq!(got, want, "seed {seed}");
        assert!(!got.contains_key("new/gone"));
        assert!(got["new/same"].ends_with("=new/file"), "{}", got["new/same"]);
    }
    assert_eq!(fixture.layers.sweep(NOW).unwrap(), 0);
}

fn what_a_container_wrote_is_taken_over(fixture: &Fixture) {
    for seed in 1..=8_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let low = fixture.tree(&format!("low{seed}"), |tree| grow(tree, &mut random, 40));
        let base_tar = crate::testing::tar_of(&low);
        let base = fixture.import(&base_tar, None);
        let id = container(u8::try_from(seed).unwrap());
        let options = WritableOptions { volatile: true };
        let writable = fixture.layers.create_writable(&id, Some(&base.chain_id), options).unwrap();
        let root = mounted(&writable.recipe);
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
        let seen = |root: &Root| {
            let mut seen = snapshot(root.fd(), Detail::Layer);
            seen.retain(|path, _| !INIT.contains(&path.as_str()));
            seen
        };
        let want = seen(&root);
        drop(root);
        drop(new);
        let unpacked =
            fixture.layers.seal_writable(&id, Some(&base.chain_id), &[], &|| false).unwrap();
        let layer = commit(fixture, unpacked.unwrap(), Some(&base.chain_id));
        drop(writable);
        fixture.layers.remove_writable(&id, NOW).unwrap();
        assert_eq!(seen(&fixture.view(&layer.chain_id)), want, "seed {seed}");
        let (_, other, unpacked) = elsewhere(fixture, Some(&base_tar), &layer);
        assert_eq!(seen(&other.view(&unpacked.chain_id)), want, "seed {seed}, elsewhere");
    }
    assert_eq!(fixture.layers.sweep(NOW).unwrap(), 0);
}

fn mount_points_leave_nothing(fixture: &Fixture) {
    let tree = fixture.tree("tree", |tree| {
        fs::create_dir_all(tree.join("kept/below")).unwrap();
        fs::create_dir_all(tree.join("touched")).unwrap();
    });
    let base = fixture.import_tree(&tree, None);
    let run = |number: u8, work: &dyn Fn(&Root)| {
        let id = container(number);
        let options = WritableOptions::default();
        let writable = fixture.layers.create_writable(&id, Some(&base.chain_id), options).unwrap();
        let root = mounted(&writable.recipe);
        drop(root.mkdir_all("kept/below/cache/go", 0o755, Default::default()).unwrap());
        drop(root.create_file("kept/secret", 0o644).unwrap());
        work(&root);
        drop(root);
        let made = ["kept/below/cache", "kept/below/cache/go", "kept/secret", "nowhere/at/all"];
        let made: Vec<PathBuf> = made.iter().map(PathBuf::from).collect();
        let sealed = fixture.layers.seal_writable(&id, Some(&base.chain_id), &made, &|| false);
        let layer = sealed.unwrap().map(|unpacked| commit(fixture, unpacked, Some(&base.chain_id)));
        drop(writable);
        fixture.layers.remove_writable(&id, NOW).unwrap();
        layer
    };
    // Nothing but mount points is nothing.
    assert_eq!(run(1, &|_| {}), None);
    // What else was written stays, also below a mount point.
    let layer = run(2, &|root| {
        drop(root.create_file("touched/new", 0o644).unwrap());
        drop(root.create_file("kept/below/cache/left", 0o644).unwrap());
    });
    let names = names(&fixture.view(&layer.unwrap().chain_id));
    assert_eq!(
        names,
        [
            "kept",
            "kept/below",
            "kept/below/cache",
            "kept/below/cache/left",
            "touched",
            "touched/new"
        ]
    );
    // A mode that changed is a change, though the directory is empty.
    let layer = run(3, &|root| root.chmod("touched", 0o700).unwrap()).unwrap();
    let view = fixture.view(&layer.chain_id);
    assert_eq!(view.lstat("touched").unwrap().st_mode & 0o7777, 0o700);
    assert_eq!(fixture.layers.sweep(NOW).unwrap(), 0);
}

fn an_empty_directory_is_no_layer(fixture: &Fixture) {
    let new = fixture.layers.new_directory(None).unwrap();
    assert!(fixture.layers.seal(new, None, &|| false).unwrap().is_none());
    let tree = fixture.tree("tree", |tree| fs::write(tree.join("a"), "a").unwrap());
    let base = fixture.import_tree(&tree, None);
    let new = fixture.layers.new_directory(Some(&base.chain_id)).unwrap();
    assert!(fixture.layers.seal(new, Some(&base.chain_id), &|| false).unwrap().is_none());
    let staging = fixture.layers.store().paths.staging();
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
}

fn sealing_can_be_stopped(fixture: &Fixture) {
    let new = fixture.layers.new_directory(None).unwrap();
    fs::write(new.content().join("a"), vec![1; 1 << 20]).unwrap();
    if new.whiteouts() == WhiteoutForm::Overlay {
        assert!(fixture.layers.seal(new, None, &|| true).is_err());
    } else {
        drop(new);
    }
    let staging = fixture.layers.store().paths.staging();
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
}
