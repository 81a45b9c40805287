//! Tests of [`super`], each in a mount namespace of its own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::*;

/// Runs `body` on a thread with a private mount namespace and a tmpfs to work in, so that no mount
/// outlives it, whatever happens.
fn in_namespace(body: impl FnOnce(&Path) + Send) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            unshare_mount_namespace().expect("needs CAP_SYS_ADMIN");
            attach(new_tmpfs(&["mode=755"]).unwrap(), root).unwrap();
            body(root);
        });
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn make_directories(root: &Path, names: &[&str]) {
    for name in names {
        fs::create_dir_all(root.join(name)).unwrap();
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn an_overlay_of_three_hundred_layers_shows_the_uppermost() {
    in_namespace(|root| {
        let lowers: Vec<PathBuf> = (0..300).map(|n| root.join(format!("l{n}"))).collect();
        for (number, lower) in lowers.iter().enumerate() {
            fs::create_dir(lower).unwrap();
            fs::write(lower.join(format!("f{number}")), "x").unwrap();
            fs::write(lower.join("same"), number.to_string()).unwrap();
        }
        make_directories(root, &["u", "w", "m"]);
        let upper = OverlayUpper { upper: root.join("u"), work: root.join("w"), volatile: true };
        let mount = mount_rootfs(&RootfsRecipe::Overlay { lowers, upper: Some(upper) }).unwrap();
        attach(&mount, &root.join("m")).unwrap();
        assert_eq!(fs::read_to_string(root.join("m/same")).unwrap(), "0");
        assert_eq!(fs::read_dir(root.join("m")).unwrap().count(), 301);
        fs::write(root.join("m/new"), "y").unwrap();
        assert_eq!(fs::read_to_string(root.join("u/new")).unwrap(), "y");
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn layer_paths_may_hold_commas_colons_and_backslashes() {
    in_namespace(|root| {
        make_directories(root, &["a,b", "c:d", "e\\f", "u,:", "w,:", "m"]);
        fs::write(root.join("a,b/1"), "1").unwrap();
        fs::write(root.join("c:d/2"), "2").unwrap();
        fs::write(root.join("e\\f/3"), "3").unwrap();
        let upper =
            OverlayUpper { upper: root.join("u,:"), work: root.join("w,:"), volatile: false };
        let lowers = vec![root.join("a,b"), root.join("c:d"), root.join("e\\f")];
        let mount = mount_rootfs(&RootfsRecipe::Overlay { lowers, upper: Some(upper) }).unwrap();
        attach(&mount, &root.join("m")).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(root.join("m")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["1", "2", "3"]);
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn overlays_without_an_upper_are_read_only() {
    in_namespace(|root| {
        make_directories(root, &["a", "b", "m1", "m2"]);
        for (lowers, target) in [(vec!["a"], "m1"), (vec!["a", "b"], "m2")] {
            let lowers = lowers.iter().map(|name| root.join(name)).collect();
            let mount = mount_rootfs(&RootfsRecipe::Overlay { lowers, upper: None }).unwrap();
            attach(&mount, &root.join(target)).unwrap();
            let error = fs::write(root.join(target).join("x"), "").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{target}");
        }
        // The directory itself stays writable.
        fs::write(root.join("a/x"), "").unwrap();
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn read_only_reaches_the_mounts_below_only_if_asked() {
    in_namespace(|root| {
        make_directories(root, &["src/sub", "top", "all"]);
        attach(new_tmpfs::<&str>(&[]).unwrap(), &root.join("src/sub")).unwrap();
        for (target, reach) in [("top", Reach::Top), ("all", Reach::Recursive)] {
            let mount = clone_tree(CWD, &root.join("src"), Reach::Recursive).unwrap();
            let attributes = Attributes {
                read_only: Some(reach),
                propagation: Some((Propagation::Private, Reach::Recursive)),
            };
            set_attributes(&mount, attributes).unwrap();
            attach(&mount, &root.join(target)).unwrap();
            let error = fs::write(root.join(target).join("x"), "").unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{target}");
        }
        fs::write(root.join("top/sub/x"), "").unwrap();
        let error = fs::write(root.join("all/sub/y"), "").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        fs::write(root.join("src/sub/z"), "").unwrap();
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn tmpfs_options_are_applied_and_wrong_ones_refused() {
    in_namespace(|root| {
        make_directories(root, &["t"]);
        attach(new_tmpfs(&["size=64k", "mode=1711", "uid=7"]).unwrap(), &root.join("t")).unwrap();
        let metadata = fs::metadata(root.join("t")).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o1711, 7));
        let error = fs::write(root.join("t/big"), vec![0; 128 << 10]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        let error = new_tmpfs(&["foo"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot use tmpfs option `foo` (tmpfs: Unknown parameter 'foo')"
        );
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_failed_overlay_says_what_the_kernel_said() {
    in_namespace(|root| {
        make_directories(root, &["a"]);
        let lowers = vec![root.join("a"); 501];
        let error = mount_rootfs(&RootfsRecipe::Overlay { lowers, upper: None }).unwrap_err();
        assert_eq!(error.source.raw_os_error(), Some(libc::EINVAL));
        assert!(error.kernel_text.contains("too many lower directories, limit is 500"), "{error}");
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn old_kernels_get_all_layers_in_one_text() {
    in_namespace(|root| {
        make_directories(root, &["a", "b:,", "up", "work", "at"]);
        fs::write(root.join("a/file"), "a").unwrap();
        fs::write(root.join("b:,/file"), "b").unwrap();
        let context = new_context("overlay").unwrap();
        let kept = set_joined_lowers(&context, &[root.join("a"), root.join("b:,")]).unwrap();
        let path = root.join("at");
        let mount = create(&context, "mount", &path, MountAttrFlags::MOUNT_ATTR_RDONLY).unwrap();
        drop(kept);
        attach(mount, &path).unwrap();
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "a");
        let error = set_joined_lowers(&context, &vec![root.join("a"); 40]).unwrap_err();
        assert!(error.to_string().contains("40 layers are too many"), "{error}");
    });
}

#[test]
fn kernel_versions_are_read() {
    assert_eq!(kernel_version("6.1.0-18-amd64"), (6, 1));
    assert_eq!(kernel_version("6.18.44"), (6, 18));
    assert_eq!(kernel_version("7"), (7, 0));
    assert!(kernel_version("6.4.16") < LAYERS_ONE_BY_ONE);
}
