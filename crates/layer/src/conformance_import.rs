//! Imports that meet each other, that fail and that are cut off.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::fs;
use std::path::Path;
use std::process::Command;

use orlop_types::{DiffId, ErrorKind};

use crate::testing::{Fixture, NOW, container, names, open, tar_of};
use crate::{ImportOptions, WritableOptions};

fn one_file(fixture: &Fixture, name: &str) -> Vec<u8> {
    let tree = fixture.tree(name, |tree| fs::write(tree.join(name), name).unwrap());
    tar_of(&tree)
}

fn entries(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn eight_threads_import_the_same_and_different_layers() {
    let fixture = Fixture::new("overlay");
    let shared: Vec<Vec<u8>> =
        (0..3).map(|at| one_file(&fixture, &format!("shared{at}"))).collect();
    let own: Vec<Vec<u8>> = (0..8).map(|at| one_file(&fixture, &format!("own{at}"))).collect();
    let barrier = std::sync::Barrier::new(8);
    let root = fixture.directory.path().join("store");
    let tops: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = own
            .iter()
            .map(|own| {
                let (shared, barrier, root) = (&shared, &barrier, &root);
                scope.spawn(move || {
                    // A store of its own per thread, as processes have.
                    let layers = open(root, "overlay2");
                    barrier.wait();
                    let all = shared.iter().chain([own]);
                    let unpacked =
                        all.map(|tar| layers.unpack(&tar[..], None, None).unwrap()).collect();
                    layers.commit(unpacked, None, NOW).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(
        fixture.layers.store().read::<_, crate::Error>(|query| Ok(query.layers()?.len())).unwrap(),
        3 + 8
    );
    assert_eq!(entries(fixture.layers.driver().home()), 3 + 8);
    for at in 0..3 {
        let made = tops.iter().filter(|layers| !layers[at].existed).count();
        assert_eq!(made, 1, "shared layer {at}");
    }
    for (at, layers) in tops.iter().enumerate() {
        assert_eq!(layers[2].chain_id, tops[0][2].chain_id);
        let want =
            [format!("own{at}"), "shared0".to_owned(), "shared1".to_owned(), "shared2".to_owned()];
        assert_eq!(names(&fixture.view(&layers[3].chain_id)), want);
    }
    assert_eq!(fixture.layers.store().sweep().unwrap(), Some(orlop_meta::Swept::default()));
    assert_eq!(fixture.layers.sweep(NOW).unwrap(), 0);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn layers_that_appear_in_the_middle_of_an_import_are_stood_on() {
    let fixture = Fixture::new("overlay");
    let tars: Vec<Vec<u8>> =
        ["one", "two", "three", "own"].iter().map(|name| one_file(&fixture, name)).collect();
    let layers = &fixture.layers;
    let unpack = |tar: &Vec<u8>| layers.unpack(&tar[..], None, None).unwrap();
    let mut stack = layers.stack_on(None).unwrap();
    for tar in &tars[..2] {
        layers.put_on(&mut stack, unpack(tar), NOW).unwrap();
    }
    // Another process makes the three lower layers before this one has come to the third.
    layers.commit(tars[..3].iter().map(unpack).collect(), None, NOW).unwrap();
    for tar in &tars[2..] {
        layers.put_on(&mut stack, unpack(tar), NOW).unwrap();
    }
    let made = layers.finish(stack).unwrap();
    let existed: Vec<bool> = made.iter().map(|layer| layer.existed).collect();
    assert_eq!(existed, [true, true, true, false]);
    assert_eq!(names(&fixture.view(&made[3].chain_id)), ["one", "own", "three", "two"]);
    assert_eq!(entries(layers.driver().home()), 4);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn what_is_refused_leaves_nothing() {
    let fixture = Fixture::new("vfs");
    let tar = one_file(&fixture, "file");
    let wrong: DiffId = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let options = ImportOptions { parent: None, diff_id: Some(&wrong), now: NOW };
    let error = fixture.layers.import(&tar[..], &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().starts_with("invalid diffID for layer: expected `sha256:000"),
        "{error}"
    );
    let options = ImportOptions { parent: None, diff_id: None, now: NOW };
    assert_eq!(
        fixture.layers.import(&tar[..700], &options).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let store = fixture.layers.store();
    assert_eq!(entries(&store.paths.staging()), 0);
    assert_eq!(entries(fixture.layers.driver().home()), 0);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn the_driver_of_a_store_is_remembered() {
    let fixture = Fixture::new("vfs");
    let root = fixture.directory.path().join("store");
    let store = || {
        std::sync::Arc::new(orlop_meta::Store::open(&root, &root.with_extension("run")).unwrap())
    };
    let remembered = crate::LayerStore::open(store(), None).unwrap();
    assert_eq!(
        (remembered.driver().name(), remembered.driver_reason()),
        ("vfs", "it was asked for")
    );
    // Nothing in it yet: another driver may take over.
    assert_eq!(
        crate::LayerStore::open(store(), Some("overlay2")).unwrap().driver().name(),
        "overlay"
    );
    fixture.import(&one_file(&fixture, "file"), None);
    let error = crate::LayerStore::open(store(), Some("vfs")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(matches!(
        crate::LayerStore::open(store(), Some("aufs")),
        Err(crate::Error::UnknownDriver(_))
    ));
}

/// Names of the points of an import and of a writable layer, in their order.
const POINTS: [&str; 7] = [
    "layer.unpacked",
    "meta.publish.synced",
    "meta.publish.renamed",
    "meta.publish.done",
    "layer.published",
    "layer.committed",
    "layer.writable.trashed",
];
/// The test that runs itself again.
const NAME: &str =
    "conformance_import::a_process_cut_anywhere_leaves_nothing_that_a_sweep_does_not_remove";
const STORE_VARIABLE: &str = "ORLOP_TEST_LAYER_STORE";

/// What the processes do that are cut: they are this very program again.
fn cut_process(root: &Path) {
    let layers = open(root, "overlay2");
    let tar = fs::read(root.with_extension("tar")).unwrap();
    let options = ImportOptions { parent: None, diff_id: None, now: NOW };
    let layer = layers.import(&tar[..], &options).unwrap();
    drop(
        layers
            .create_writable(&container(1), Some(&layer.chain_id), WritableOptions::default())
            .unwrap(),
    );
    layers.remove_writable(&container(1), NOW).unwrap();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_process_cut_anywhere_leaves_nothing_that_a_sweep_does_not_remove() {
    if let Some(root) = std::env::var_os(STORE_VARIABLE) {
        return cut_process(Path::new(&root));
    }
    for point in POINTS {
        let fixture = Fixture::new("overlay");
        let root = fixture.directory.path().join("store");
        let tar = one_file(&fixture, "file");
        fs::write(root.with_extension("tar"), &tar).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--ignored", "--nocapture"])
            .env(STORE_VARIABLE, &root)
            .env(orlop_sys::fault::VARIABLE, point)
            .output()
            .unwrap();
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(output.status.signal(), Some(6), "{point} was never reached: {output:?}");
        let store = fixture.layers.store();
        assert!(store.sweep().unwrap().is_some(), "{point}");
        fixture.layers.sweep(NOW).unwrap();
        assert_eq!(entries(&store.paths.staging()), 0, "{point}");
        let rows = store.read::<_, crate::Error>(|query| Ok(query.layers()?)).unwrap();
        let committed = matches!(point, "layer.committed" | "layer.writable.trashed");
        assert_eq!(rows.len(), usize::from(committed), "{point}");
        let inits = usize::from(point == "layer.writable.trashed");
        assert_eq!(entries(fixture.layers.driver().home()), rows.len() + inits, "{point}");
        // And the same import works now.
        let layer = fixture.import(&tar, None);
        assert_eq!(layer.existed, committed, "{point}");
        assert_eq!(names(&fixture.view(&layer.chain_id)), ["file"], "{point}");
    }
}
