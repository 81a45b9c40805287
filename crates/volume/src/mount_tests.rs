//! Volumes on mounts of their own; in a mount namespace of the test's own thread.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use orlop_sys::mount;

use crate::populate_tests::image;
use crate::tests::{Fixture, named};
use crate::{Force, Populated, VolumeSource, lock};

/// Runs a test on a thread that sees its own mounts, with a volume whose data is a tmpfs.
fn on_a_mount(test: impl FnOnce(&Fixture, &Path) + Send) {
    std::thread::scope(|scope| {
        let run = || {
            mount::unshare_mount_namespace().expect("needs CAP_SYS_ADMIN");
            let fixture = Fixture::new();
            let (volume, _) = fixture.volumes().create(named("db")).unwrap();
            let VolumeSource::Directory(data) = fixture.volumes().source(&volume).unwrap() else {
                panic!()
            };
            mount::attach(mount::new_tmpfs(&["size=16m"]).unwrap(), &data).unwrap();
            test(&fixture, &data);
            mount::detach(&data).unwrap();
        };
        scope.spawn(run).join().unwrap();
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN for a mount namespace"]
fn a_volume_with_something_mounted_on_it_is_not_removed() {
    on_a_mount(|fixture, data| {
        std::fs::write(data.join("file"), "precious").unwrap();
        let error = fixture.volumes().remove("db", Force::Yes).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "remove db: volume has active mounts: `{}` is a mount point; unmount it first",
                data.display()
            )
        );
        assert_eq!(error.kind(), orlop_types::ErrorKind::InUse);
        assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "precious");
        assert!(fixture.volumes().find("db").is_ok());
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN for a mount namespace"]
fn a_volume_on_a_mount_of_its_own_is_filled() {
    on_a_mount(|fixture, data| {
        let image = image(fixture.directory.path());
        let source = lock::open_directory(&image).unwrap();
        let volume = fixture.volumes().find("db").unwrap();
        let populate =
            || fixture.volumes().populate(&volume, Path::new(""), source.as_fd()).unwrap();
        // What a cut left behind does not count as content.
        std::fs::create_dir_all(data.join(".orlop-copy-up.partial/entries")).unwrap();
        assert!(matches!(populate(), Populated::Copied(_)));
        let mut names: Vec<PathBuf> =
            data.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into()).collect();
        names.sort();
        assert_eq!(names, ["b", "conf", "link", "sparse"].map(PathBuf::from));
        assert_eq!(std::fs::read_to_string(data.join("conf/a")).unwrap(), "content");
        assert_eq!(populate(), Populated::NotEmpty);
    });
}
