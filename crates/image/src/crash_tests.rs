//! Cut tests: a child process is ended at every fault point; then nothing may be lost or leaked.

use std::path::Path;
use std::process::Command;

use orlop_types::filter::Filters;

use crate::tests::{Fixture, open, tar};
use crate::{FlattenRequest, Images, ImportOptions, RemoveOptions};

const DIRECTORY: &str = "ORLOP_TEST_DIRECTORY";

/// Runs `work` in a child process, which `point` ends. A test calls it with its own name and is
/// started again in the child, where this does the work and never returns.
fn cut(test: &str, point: &str, directory: &Path, work: fn(&Images<'_>, &Path)) {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        let directory = Path::new(&directory);
        let (store, layers) = open(directory);
        work(&Images::new(&store, &layers), directory);
        std::process::exit(0);
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("crash_tests::{test}"), "--nocapture"])
        .env(DIRECTORY, directory)
        .env(orlop_sys::fault::VARIABLE, point)
        .output()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&output.status),
        Some(6),
        "{point}: {output:?}"
    );
}

fn import(images: &Images<'_>, directory: &Path) {
    let options = ImportOptions { reference: Some("db".to_owned()), ..ImportOptions::default() };
    images.import(&*tar(directory, "content"), &options, |_| {}).unwrap();
}

/// Puts right what a start-up does, and gives the number of layer directories that are left.
fn heal(fixture: &Fixture) -> usize {
    let (store, layers) = open(fixture.directory.path());
    assert!(store.sweep().unwrap().is_some());
    layers.sweep("2026-01-01T00:00:00Z").unwrap();
    Images::new(&store, &layers).remove_unreferenced_layers().unwrap();
    assert_eq!(store.paths.staging().read_dir().unwrap().count(), 0);
    fixture.directory.path().join("root/layers/vfs").read_dir().unwrap().count()
}

#[test]
fn an_import_that_is_cut_off_leaves_nothing_or_the_image() {
    for (point, expected) in [
        ("layer.unpacked", 0),
        ("meta.publish.synced", 0),
        ("meta.publish.renamed", 0),
        ("layer.published", 0),
        ("layer.committed", 0),
        ("image.import.layer", 0),
        ("image.import.committed", 1),
    ] {
        let fixture = Fixture::new();
        cut(
            "an_import_that_is_cut_off_leaves_nothing_or_the_image",
            point,
            fixture.directory.path(),
            import,
        );
        let before = fixture.images().unreferenced_layers().unwrap().len();
        assert_eq!(
            before,
            usize::from(matches!(point, "layer.committed" | "image.import.layer")),
            "{point}"
        );
        assert_eq!(heal(&fixture), expected, "{point}");
        assert_eq!(fixture.images().list(&Filters::default()).unwrap().len(), expected, "{point}");
        // The same import works afterwards.
        import(&fixture.images(), fixture.directory.path());
        assert_eq!(fixture.images().inspect("db").unwrap()["Size"], 7);
    }
}

#[test]
fn a_removal_that_is_cut_off_leaves_nothing() {
    for point in ["image.remove.committed", "layer.removed"] {
        let fixture = Fixture::new();
        if std::env::var_os(DIRECTORY).is_none() {
            import(&fixture.images(), fixture.directory.path());
        }
        cut(
            "a_removal_that_is_cut_off_leaves_nothing",
            point,
            fixture.directory.path(),
            |images, _| {
                images.remove("db", RemoveOptions::default()).unwrap();
            },
        );
        assert!(fixture.images().resolve("db").is_err());
        assert_eq!(heal(&fixture), 0, "{point}");
        assert_eq!(fixture.store.read::<_, crate::Error>(|query| Ok(query.layers()?)).unwrap(), []);
    }
}

fn flatten(images: &Images<'_>) {
    let request =
        FlattenRequest { image: "db".to_owned(), keep: None, reference: Some("flat".to_owned()) };
    images.flatten(&request).unwrap();
}

#[test]
fn a_flattening_that_is_cut_off_leaves_nothing_or_the_image() {
    for (point, expected) in [("layer.unpacked", 1), ("image.flatten.layer", 1), ("image.made", 2)]
    {
        let fixture = Fixture::new();
        if std::env::var_os(DIRECTORY).is_none() {
            import(&fixture.images(), fixture.directory.path());
        }
        cut(
            "a_flattening_that_is_cut_off_leaves_nothing_or_the_image",
            point,
            fixture.directory.path(),
            |images, _| flatten(images),
        );
        heal(&fixture);
        assert_eq!(fixture.images().unreferenced_layers().unwrap(), [], "{point}");
        assert_eq!(fixture.images().list(&Filters::default()).unwrap().len(), expected, "{point}");
        flatten(&fixture.images());
        let difference = fixture.images().diff("db", "flat", &[]).unwrap();
        assert_eq!((difference.files.len(), difference.totals.same), (0, 1), "{point}");
    }
}
