//! Tests of copy-up.

use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use orlop_sys::xattr;

use crate::tests::{Fixture, named, open};
use crate::{Populated, VolumeSource, Volumes, lock};

/// A directory as an image has it: odd mode, old time, an attribute, links, directories.
pub(crate) fn image(at: &Path) -> PathBuf {
    let image = at.join("image");
    std::fs::create_dir_all(image.join("conf/sub")).unwrap();
    std::fs::write(image.join("conf/a"), "content").unwrap();
    std::fs::hard_link(image.join("conf/a"), image.join("b")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", image.join("link")).unwrap();
    let sparse = std::fs::File::create(image.join("sparse")).unwrap();
    sparse.write_at(b"x", 1 << 20).unwrap();
    let directory = lock::open_directory(&image).unwrap();
    xattr::set(directory.as_fd(), c"user.mark", b"value").unwrap();
    set_mode(&image, 0o3750);
    set_time(&image.join("conf"));
    set_time(&image);
    image
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::File::open(path)
        .unwrap()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .unwrap();
}

fn set_time(path: &Path) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Whether the directory holds what [`image`] made, metadata of its root included.
pub(crate) fn assert_whole(data: &Path) {
    let mut names: Vec<_> = data
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["b", "conf", "link", "sparse"]);
    assert_eq!(std::fs::read_to_string(data.join("conf/a")).unwrap(), "content");
    let ino = |name: &str| data.join(name).metadata().unwrap().ino();
    assert_eq!(ino("b"), ino("conf/a"));
    assert_eq!(data.join("link").read_link().unwrap(), Path::new("/etc/passwd"));
    assert_eq!(data.join("sparse").metadata().unwrap().len(), (1 << 20) + 1);
    for directory in [data, &data.join("conf")] {
        let stat = directory.metadata().unwrap();
        assert_eq!(
            (stat.mtime(), stat.mtime_nsec()),
            (1_000_000_000, 123_456_789),
            "{directory:?}"
        );
    }
    assert_eq!(data.metadata().unwrap().mode() & 0o7777, 0o3750);
    let opened = lock::open_directory(data).unwrap();
    assert_eq!(xattr::get(opened.as_fd(), c"user.mark").unwrap(), Some(b"value".to_vec()));
    // Nothing of the copy's own directories is left.
    let mut beside: Vec<_> = data
        .parent()
        .unwrap()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    beside.sort();
    assert_eq!(beside, ["_data", "volume.json"]);
}

#[test]
fn an_empty_volume_takes_over_the_whole_tree() {
    let fixture = Fixture::new();
    let (volume, _) = fixture.volumes().create(named("db")).unwrap();
    let VolumeSource::Directory(data) = fixture.volumes().source(&volume).unwrap() else {
        panic!()
    };
    let before = data.metadata().unwrap().ino();
    let image = image(fixture.directory.path());
    let source = lock::open_directory(&image).unwrap();
    let done = fixture.volumes().populate(&volume, Path::new(""), source.as_fd()).unwrap();
    let Populated::Copied(stats) = done else { panic!("{done:?}") };
    assert_eq!(stats.entries, 6);
    assert_whole(&data);
    assert_eq!(
        data.metadata().unwrap().ino(),
        before,
        "containers that have it mounted see the same"
    );
    // Whatever is there now stays as it is.
    std::fs::remove_file(data.join("b")).unwrap();
    let again = fixture.volumes().populate(&volume, Path::new(""), source.as_fd()).unwrap();
    assert_eq!(again, Populated::NotEmpty);
    assert!(!data.join("b").exists());
}

#[test]
fn an_empty_directory_gives_its_metadata() {
    let fixture = Fixture::new();
    let (volume, _) = fixture.volumes().create(named("db")).unwrap();
    let VolumeSource::Directory(data) = fixture.volumes().source(&volume).unwrap() else {
        panic!()
    };
    let image = fixture.directory.path().join("image");
    std::fs::create_dir(&image).unwrap();
    set_mode(&image, 0o1777);
    let source = lock::open_directory(&image).unwrap();
    let done = fixture.volumes().populate(&volume, Path::new(""), source.as_fd()).unwrap();
    assert_eq!(done, Populated::Metadata);
    assert_eq!(data.metadata().unwrap().mode() & 0o7777, 0o1777);
}

#[test]
fn a_subpath_is_filled_and_a_missing_one_is_not_made() {
    let fixture = Fixture::new();
    let (volume, _) = fixture.volumes().create(named("db")).unwrap();
    let VolumeSource::Directory(data) = fixture.volumes().source(&volume).unwrap() else {
        panic!()
    };
    std::fs::create_dir(data.join("sub")).unwrap();
    std::os::unix::fs::symlink("/", data.join("escape")).unwrap();
    let image = image(fixture.directory.path());
    let source = lock::open_directory(&image).unwrap();
    let populate =
        |path: &str| fixture.volumes().populate(&volume, Path::new(path), source.as_fd()).unwrap();
    assert_eq!(populate("missing"), Populated::NoDirectory);
    assert_eq!(populate("escape/tmp"), Populated::NoDirectory);
    assert!(matches!(populate("sub"), Populated::Copied(_)));
    assert_eq!(std::fs::read_to_string(data.join("sub/b")).unwrap(), "content");
    assert_eq!(data.read_dir().unwrap().count(), 2);
}

#[test]
fn of_many_copies_at_once_one_fills() {
    let fixture = Fixture::new();
    let (volume, _) = fixture.volumes().create(named("db")).unwrap();
    let VolumeSource::Directory(data) = fixture.volumes().source(&volume).unwrap() else {
        panic!()
    };
    let image = image(fixture.directory.path());
    let stores: Vec<_> = (0..6).map(|_| open(fixture.directory.path())).collect();
    let results: Vec<Populated> = std::thread::scope(|scope| {
        let threads: Vec<_> = stores
            .iter()
            .map(|store| {
                let (volume, image) = (&volume, &image);
                scope.spawn(move || {
                    let source = lock::open_directory(image).unwrap();
                    Volumes::new(store).populate(volume, Path::new(""), source.as_fd()).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let filled = results.iter().filter(|done| matches!(done, Populated::Copied(_))).count();
    assert_eq!(filled, 1);
    assert_eq!(results.iter().filter(|done| **done == Populated::NotEmpty).count(), 5);
    assert_whole(&data);
}
