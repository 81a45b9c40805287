//! Cut tests: a child process is ended at every fault point; then nothing may be lost or leaked.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use orlop_types::filter::Filters;

use crate::populate_tests::{assert_whole, image};
use crate::tests::{Fixture, named, open};
use crate::{Force, NewVolume, Populated, VolumeSource, Volumes, lock};

const DIRECTORY: &str = "ORLOP_TEST_DIRECTORY";

/// Runs `work` in a child process, which `point` ends. A test calls it with its own name and is
/// started again in the child, where this does the work and never returns.
fn cut(test: &str, point: &str, directory: &Path, work: fn(&Path)) {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        work(Path::new(&directory));
        std::process::exit(0);
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("crash_tests::{test}"), "--nocapture"])
        .env(DIRECTORY, directory)
        .env(orlop_sys::fault::VARIABLE, point)
        .output()
        .unwrap();
    assert!(!output.status.success(), "{point} was not passed: {output:?}");
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&output.status),
        Some(6),
        "{output:?}"
    );
}

#[test]
fn a_creation_that_is_cut_off_leaves_nothing_or_the_volume() {
    let points = [
        ("volume.create.staged", 0),
        ("volume.create.built", 0),
        ("meta.publish.synced", 0),
        ("meta.publish.renamed", 1),
        ("meta.publish.done", 1),
        ("volume.create.published", 1),
        ("volume.create.committed", 1),
    ];
    for (point, expected) in points {
        let fixture = Fixture::new();
        let directory = fixture.directory.path();
        cut(
            "a_creation_that_is_cut_off_leaves_nothing_or_the_volume",
            point,
            directory,
            |directory| {
                let store = open(directory);
                Volumes::new(&store).create(NewVolume::default()).unwrap();
            },
        );
        let swept = fixture.store.sweep().unwrap().unwrap();
        assert_eq!(swept.abandoned, 1 - expected, "{point}");
        assert_eq!(fixture.store.paths.staging().read_dir().unwrap().count(), 0, "{point}");
        let volumes = fixture.volumes();
        assert_eq!(volumes.list(&Filters::default()).unwrap().len(), expected, "{point}");
        // An anonymous volume stays one, so that a prune takes it.
        assert_eq!(
            volumes.prune(&Filters::default()).unwrap().volumes_deleted.len(),
            expected,
            "{point}"
        );
        assert_eq!(fixture.store.paths.volumes().read_dir().unwrap().count(), 0, "{point}");
    }
}

#[test]
fn a_removal_that_is_cut_off_is_carried_out() {
    for (point, by_create) in [
        ("volume.remove.committed", false),
        ("volume.remove.committed", true),
        ("volume.remove.renamed", false),
    ] {
        let fixture = Fixture::new();
        let directory = fixture.directory.path();
        if std::env::var_os(DIRECTORY).is_none() {
            let (volume, _) = fixture.volumes().create(named("db")).unwrap();
            let VolumeSource::Directory(data) = fixture.volumes().source(&volume).unwrap() else {
                panic!()
            };
            std::fs::write(data.join("old"), "data").unwrap();
        }
        cut("a_removal_that_is_cut_off_is_carried_out", point, directory, |directory| {
            let store = open(directory);
            Volumes::new(&store).remove("db", Force::No).unwrap();
        });
        if by_create {
            // The old data must not come back in a new volume of the name.
            let (volume, created) = fixture.volumes().create(named("db")).unwrap();
            assert!(created);
            let VolumeSource::Directory(data) = fixture.volumes().source(&volume).unwrap() else {
                panic!()
            };
            assert_eq!(data.read_dir().unwrap().count(), 0);
        } else {
            let swept = fixture.store.sweep().unwrap().unwrap();
            assert_eq!(swept.finished, usize::from(point == "volume.remove.committed"));
            assert!(fixture.volumes().find("db").is_err(), "{point}");
            assert_eq!(fixture.store.paths.volumes().read_dir().unwrap().count(), 0);
        }
        let trash = fixture.store.read::<_, crate::Error>(|query| Ok(query.trash()?)).unwrap();
        let old = fixture.store.paths.trash().join(&trash[0].id).join("_data/old");
        assert_eq!(std::fs::read_to_string(old).unwrap(), "data", "{point}");
    }
}

#[test]
fn a_removal_that_is_cut_off_is_not_adopted() {
    let fixture = Fixture::new();
    if std::env::var_os(DIRECTORY).is_none() {
        fixture.volumes().create(named("db")).unwrap();
    }
    cut(
        "a_removal_that_is_cut_off_is_not_adopted",
        "volume.remove.committed",
        fixture.directory.path(),
        |directory| {
            let store = open(directory);
            Volumes::new(&store).remove("db", Force::No).unwrap();
        },
    );
    assert!(fixture.volumes().list(&Filters::default()).unwrap().is_empty());
    assert_eq!(fixture.store.paths.volumes().read_dir().unwrap().count(), 0);
}

#[test]
fn a_copy_up_that_is_cut_off_never_looks_whole() {
    // Point, and whether the next user finds the whole copy without copying again.
    let points = [
        ("volume.populate.begun", false),
        ("volume.populate.copied", false),
        ("volume.populate.ready", true),
        ("volume.populate.entry", true),
        ("volume.populate.entry:3", true),
        ("volume.populate.entry:4", true),
        ("volume.populate.moved", true),
    ];
    for (point, whole) in points {
        let fixture = Fixture::new();
        let directory = fixture.directory.path();
        if std::env::var_os(DIRECTORY).is_none() {
            fixture.volumes().create(named("db")).unwrap();
            image(directory);
        }
        cut("a_copy_up_that_is_cut_off_never_looks_whole", point, directory, |directory| {
            let store = open(directory);
            let volumes = Volumes::new(&store);
            let source = lock::open_directory(&directory.join("image")).unwrap();
            volumes.populate(&volumes.find("db").unwrap(), Path::new(""), source.as_fd()).unwrap();
        });
        let volumes = fixture.volumes();
        let volume = volumes.find("db").unwrap();
        // A container that wants no copy-up still must not get half of one.
        let VolumeSource::Directory(data) = volumes.source(&volume).unwrap() else { panic!() };
        if whole {
            assert_whole(&data);
        } else {
            assert_eq!(data.read_dir().unwrap().count(), 0, "{point}");
            assert_eq!(data.parent().unwrap().read_dir().unwrap().count(), 2, "{point}");
        }
        let source = lock::open_directory(&directory.join("image")).unwrap();
        let done = volumes.populate(&volume, Path::new(""), source.as_fd()).unwrap();
        assert_eq!(done == Populated::NotEmpty, whole, "{point}");
        assert_whole(&data);
        assert!(volumes.settle_all().unwrap().is_empty());
    }
}
