//! Tests of [`super`]; those that mount do so in a namespace of their own.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;

use orlop_sys::mount::RootfsRecipe;

use super::*;

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn a_subpath_stays_below_its_source() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("v");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/file"), "inside").unwrap();
    symlink("../a/file", root.join("a/link")).unwrap();
    symlink("../../outside", root.join("a/escape")).unwrap();
    symlink("/", root.join("a/absolute")).unwrap();
    fs::write(directory.path().join("outside"), "outside").unwrap();
    let volume = open(&root);
    for path in ["a/b", "a/file", "a/link", "a/b/../file"] {
        open_beneath(&volume, &root, Path::new(path)).unwrap();
    }
    for path in ["a/escape", "a/absolute", "..", "/a", "a/../../v"] {
        let error = open_beneath(&volume, &root, Path::new(path)).unwrap_err();
        let expected = format!(
            "path concatenation escapes the base directory, base: {}, subpath: {path}",
            root.display()
        );
        assert_eq!(error, StartError { exit_code: 125, message: expected });
    }
    let error = open_beneath(&volume, &root, Path::new("a/none")).unwrap_err();
    let full = root.join("a/none");
    let full = full.display();
    let expected = format!("cannot access path {full}: lstat {full}: no such file or directory");
    assert_eq!(error, StartError { exit_code: 127, message: expected });
}

#[test]
fn propagation_words_are_parsed() {
    let cases = [
        ("", Propagation::Private, Reach::Recursive),
        ("rprivate", Propagation::Private, Reach::Recursive),
        ("private", Propagation::Private, Reach::Top),
        ("rshared", Propagation::Shared, Reach::Recursive),
        ("slave", Propagation::Slave, Reach::Top),
    ];
    for (word, propagation, reach) in cases {
        assert_eq!(parse_propagation(word).unwrap(), (propagation, reach));
    }
    assert_eq!(parse_propagation("r").unwrap_err().message, "invalid propagation mode: r");
}

#[test]
fn mountinfo_tells_how_a_mount_propagates() {
    let text = "22 1 0:1 / / rw - ext4 /dev/vda rw\n\
                23 22 0:2 / /a rw shared:5 master:3 - tmpfs t rw\n\
                24 22 0:3 / /b rw master:9 - tmpfs t rw\n";
    assert_eq!(find_mount(text, "22"), Some(("/", false, false)));
    assert_eq!(find_mount(text, "23"), Some(("/a", true, true)));
    assert_eq!(find_mount(text, "24"), Some(("/b", false, true)));
    assert_eq!(find_mount(text, "2"), None);
}

fn bind(path: &Path, subpath: Option<&str>, read_only: bool) -> PlannedMount {
    let subpath = subpath.map(PathBuf::from);
    PlannedMount {
        target: "/t".into(),
        source: MountSource::Bind { path: path.into(), subpath, recursive: true },
        read_only,
        read_only_top_only: false,
        propagation: "rprivate".into(),
    }
}

/// Runs `body` in a mount namespace with a tmpfs, on a thread of its own.
fn in_namespace(body: impl FnOnce(&Path) + Send) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            mount::unshare_mount_namespace().expect("needs CAP_SYS_ADMIN");
            mount::attach(mount::new_tmpfs(&["mode=755"]).unwrap(), root).unwrap();
            body(root);
        });
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn every_kind_of_mount_is_staged() {
    in_namespace(|root| {
        for name in ["run", "rootfs/etc", "volume/sub", "image/lib"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("hosts"), "127.0.0.1 localhost").unwrap();
        let recipe =
            |name: &str| RootfsRecipe::Directory { path: root.join(name), read_only: false };
        let image = |subpath: Option<&str>| PlannedMount {
            source: MountSource::Image {
                recipe: RootfsRecipe::Overlay { lowers: vec![root.join("image")], upper: None },
                subpath: subpath.map(PathBuf::from),
            },
            ..bind(root, None, true)
        };
        let tmpfs = PlannedMount {
            source: MountSource::Tmpfs { options: vec![] },
            ..bind(root, None, false)
        };
        let mut plan = crate::test_plan::plan(&root.join("run"));
        plan.rootfs = recipe("rootfs");
        plan.mounts = vec![
            bind(&root.join("volume"), Some("sub"), false),
            tmpfs,
            bind(&root.join("hosts"), None, true),
            image(None),
            image(Some("lib")),
        ];
        let stage = prepare(&plan).unwrap().mount(&plan).unwrap();
        assert!(stage.rootfs.join("etc").is_dir());
        let staged = |index: usize| stage.staged[index].clone().unwrap();
        assert_eq!(stage.staged[1], None);
        fs::write(staged(0).join("x"), "written").unwrap();
        assert_eq!(fs::read_to_string(root.join("volume/sub/x")).unwrap(), "written");
        let error = fs::write(staged(2), "x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        assert!(staged(3).join("lib").is_dir());
        let error = fs::write(staged(4).join("x"), "x").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_missing_source_and_an_unshared_one_are_refused() {
    in_namespace(|root| {
        let mut plan = crate::test_plan::plan(root);
        plan.rootfs = RootfsRecipe::Directory { path: root.into(), read_only: false };
        plan.mounts = vec![bind(&root.join("none"), None, false)];
        let error = prepare(&plan).unwrap_err();
        let path = root.join("none");
        let expected = format!(
            "error mounting \"{0}\" to rootfs at \"/t\": cannot mount `{0}`: no such file or directory",
            path.display()
        );
        assert_eq!(error, StartError { exit_code: 127, message: expected });
        plan.mounts =
            vec![PlannedMount { propagation: "rshared".into(), ..bind(root, None, false) }];
        let root = root.display();
        let expected = format!("path {root} is mounted on {root} but it is not a shared mount");
        assert_eq!(prepare(&plan).unwrap_err().message, expected);
    });
}
