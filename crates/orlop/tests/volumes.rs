//! Volumes, binds and tmpfs as Docker users know them.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use orlop_testkit::tar::{DIRECTORY, Entry, HARD_LINK, Tar};
use orlop_testkit::{Fixture, fixture};

/// Runs a script in a fresh container with extra options.
#[track_caller]
fn sh(fixture: &Fixture, options: &[&str], script: &str) -> String {
    let words = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
    fixture.ok(&words)
}

fn data(fixture: &Fixture, volume: &str) -> PathBuf {
    fixture.root().join("volumes").join(volume).join("_data")
}

/// Names of all volumes, sorted.
fn volumes(fixture: &Fixture) -> Vec<String> {
    let mut names: Vec<String> =
        fixture.ok(&["volume", "ls", "-q"]).lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// An image with a busybox and, below `/seed`, what copy-up has to carry over.
fn seeded_image(fixture: &Fixture) {
    let busybox =
        std::fs::read(std::env::var("BUSYBOX").unwrap_or_else(|_| "/bin/busybox".to_owned()))
            .unwrap();
    let tar = Tar::new()
        .directory("bin/")
        .entry(Entry { name: "bin/busybox", mode: 0o755, content: &busybox, ..Entry::default() })
        .symlink("bin/sh", "busybox")
        .entry(Entry {
            name: "seed/",
            kind: DIRECTORY,
            mode: 0o2770,
            uid: 1000,
            gid: 2000,
            ..Entry::default()
        })
        .entry(Entry {
            name: "seed/file",
            mode: 0o4750,
            uid: 3,
            gid: 4,
            content: b"seeded\n",
            ..Entry::default()
        })
        .entry(Entry {
            name: "seed/again",
            kind: HARD_LINK,
            mode: 0o4750,
            uid: 3,
            gid: 4,
            link: "seed/file",
            ..Entry::default()
        })
        .symlink("seed/link", "/etc/target")
        .directory("seed/deep/")
        .file("seed/deep/er", b"deep\n")
        .entry(Entry {
            name: "empty/",
            kind: DIRECTORY,
            mode: 0o1777,
            uid: 5,
            gid: 6,
            ..Entry::default()
        })
        .finish();
    let words = [
        "import",
        "-c",
        "VOLUME [\"/seed\", \"/empty\"]",
        "-c",
        "CMD [\"/bin/busybox\", \"true\"]",
        "-",
        "seeded",
    ];
    fixture.orlop_with_input(&words, &tar).ok();
}

fn facts(path: &Path) -> (u32, u32, u32) {
    let metadata = path.symlink_metadata().unwrap();
    (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_named_volume_keeps_its_data_over_containers() {
    let fixture = fixture!(busybox);
    assert_eq!(sh(&fixture, &["-v", "data:/data"], "echo kept > /data/f"), "");
    assert_eq!(sh(&fixture, &["--mount", "src=data,dst=/other"], "cat /other/f"), "kept");
    assert_eq!(std::fs::read_to_string(data(&fixture, "data").join("f")).unwrap(), "kept\n");
    assert_eq!(volumes(&fixture), ["data"]);
    let place = fixture.ok(&[
        "volume",
        "inspect",
        "--format",
        "{{.Mountpoint}} {{.Driver}} {{.Scope}}",
        "data",
    ]);
    assert_eq!(place, format!("{} local local", data(&fixture, "data").display()));
    assert_eq!(fixture.ok(&["volume", "rm", "data"]), "data");
    assert!(!data(&fixture, "data").exists());
    let refused = fixture.fails(1, &["volume", "inspect", "data"]);
    assert!(refused.contains("no such volume"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn creating_a_volume_twice_gives_the_same_one() {
    let fixture = fixture!(busybox);
    assert_eq!(fixture.ok(&["volume", "create", "--label", "a=1", "same"]), "same");
    std::fs::write(data(&fixture, "same").join("f"), "x").unwrap();
    assert_eq!(fixture.ok(&["volume", "create", "--label", "a=2", "same"]), "same");
    assert_eq!(fixture.ok(&["volume", "inspect", "-f", "{{index .Labels \"a\"}}", "same"]), "1");
    assert!(data(&fixture, "same").join("f").exists());
    let random = fixture.ok(&["volume", "create"]);
    assert_eq!(random.len(), 64, "{random}");
    let refused = fixture.fails(1, &["volume", "create", "x"]);
    assert!(refused.contains("volume name is too short"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_fresh_volume_takes_over_what_the_image_has_there() {
    let fixture = fixture!();
    seeded_image(&fixture);
    fixture.ok(&["run", "--rm", "-v", "named:/seed", "-v", "bare:/empty", "seeded"]);
    let named = data(&fixture, "named");
    assert_eq!(facts(&named), (0o2770, 1000, 2000));
    assert_eq!(facts(&named.join("file")), (0o4750, 3, 4));
    assert_eq!(std::fs::read_to_string(named.join("file")).unwrap(), "seeded\n");
    assert_eq!(
        named.join("again").metadata().unwrap().ino(),
        named.join("file").metadata().unwrap().ino()
    );
    assert_eq!(std::fs::read_link(named.join("link")).unwrap(), Path::new("/etc/target"));
    assert_eq!(std::fs::read_to_string(named.join("deep/er")).unwrap(), "deep\n");
    // Owner and mode come along although there is nothing to copy.
    assert_eq!(facts(&data(&fixture, "bare")), (0o1777, 5, 6));

    // What is there already is never touched.
    std::fs::write(named.join("file"), "changed\n").unwrap();
    std::fs::remove_file(named.join("link")).unwrap();
    fixture.ok(&["run", "--rm", "-v", "named:/seed", "seeded"]);
    assert_eq!(std::fs::read_to_string(named.join("file")).unwrap(), "changed\n");
    assert!(named.join("link").symlink_metadata().is_err());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn nocopy_and_binds_stay_empty_and_read_only_volumes_are_filled() {
    let fixture = fixture!();
    seeded_image(&fixture);
    let folder = fixture.directory("bound");
    let bind = format!("{}:/seed", folder.display());
    fixture.ok(&["run", "--rm", "-v", "plain:/seed:nocopy", "seeded"]);
    fixture.ok(&["run", "--rm", "--mount", "src=other,dst=/seed,volume-nocopy", "seeded"]);
    fixture.ok(&["run", "--rm", "-v", &bind, "seeded"]);
    fixture.ok(&["run", "--rm", "-v", "filled:/seed:ro", "seeded"]);
    for empty in [data(&fixture, "plain"), data(&fixture, "other"), folder] {
        assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0, "{}", empty.display());
    }
    assert!(data(&fixture, "filled").join("deep/er").exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn anonymous_volumes_go_with_rm_v_and_with_auto_remove_and_stay_otherwise() {
    let fixture = fixture!();
    seeded_image(&fixture);
    // Two by the image, one by the command line; named ones are never taken.
    fixture.ok(&["run", "--rm", "-v", "/more", "-v", "named:/named", "seeded"]);
    assert_eq!(volumes(&fixture), ["named"]);

    fixture.ok(&["run", "--name", "one", "-v", "/more", "-v", "named:/named", "seeded"]);
    let all = volumes(&fixture);
    assert_eq!(all.len(), 4, "{all:?}");
    let random = all.iter().find(|name| name.len() == 64).unwrap();
    let label = "{{index .Labels \"com.docker.volume.anonymous\"}}{{len .Labels}}";
    assert_eq!(fixture.ok(&["volume", "inspect", "-f", label, random]), "1");
    fixture.ok(&["rm", "-v", "one"]);
    assert_eq!(volumes(&fixture), ["named"]);

    fixture.ok(&["run", "--name", "two", "seeded"]);
    fixture.ok(&["rm", "two"]);
    assert_eq!(volumes(&fixture).len(), 3);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_volume_in_use_is_not_removed_not_even_that_of_a_stopped_container() {
    let fixture = fixture!(busybox);
    let id =
        fixture.ok(&["run", "-d", "--name", "one", "-v", "data:/data", "busybox", "sleep", "300"]);
    let refused = fixture.fails(1, &["volume", "rm", "data"]);
    assert!(refused.contains(&format!("volume is in use - [{id}]")), "{refused}");
    fixture.ok(&["kill", "one"]);
    let refused = fixture.fails(1, &["volume", "rm", "-f", "data"]);
    assert!(refused.contains("volume is in use"), "{refused}");
    fixture.ok(&["rm", "one"]);
    fixture.ok(&["volume", "rm", "data"]);
    assert_eq!(volumes(&fixture), Vec::<String>::new());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn prune_takes_unused_anonymous_volumes_only_unless_told_all() {
    let fixture = fixture!(busybox);
    fixture.ok(&["volume", "create", "named"]);
    let random = fixture.ok(&["volume", "create"]);
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "-v",
        "/anonymous",
        "-v",
        "used:/used",
        "busybox",
        "sleep",
        "300",
    ]);
    assert_eq!(volumes(&fixture).len(), 4);
    let output = fixture.ok(&["volume", "prune", "-f"]);
    assert!(output.contains(&random) && output.contains("Total reclaimed space:"), "{output}");
    assert_eq!(volumes(&fixture).len(), 3);
    fixture.ok(&["volume", "prune", "-f", "--all"]);
    let left = volumes(&fixture);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.contains(&"used".to_owned()));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn read_only_mounts_are_not_written() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound");
    std::fs::write(folder.join("f"), "host\n").unwrap();
    let bind = format!("{}:/m:ro", folder.display());
    let long = format!("type=bind,source={},target=/m,readonly", folder.display());
    for options in [["-v", &bind], ["--mount", &long], ["-v", "data:/m:ro"]] {
        let words =
            [&["run", "--rm"], options.as_slice(), &["busybox", "sh", "-c", "echo x > /m/new"]]
                .concat();
        let output = fixture.orlop(&words);
        assert_eq!(output.code, 1, "{output}");
        assert!(output.stderr.contains("Read-only file system"), "{output}");
    }
    assert_eq!(sh(&fixture, &["-v", &bind], "cat /m/f"), "host");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_read_only_bind_covers_the_mounts_below_its_source() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound");
    std::fs::create_dir(folder.join("below")).unwrap();
    let inner = fixture.directory("inner");
    // In a mount namespace of its own, which the command inherits and the host does not see.
    let options = fixture.command(&[
        "run",
        "--rm",
        "-v",
        &format!("{}:/m:ro", folder.display()),
        "busybox",
        "sh",
        "-c",
        "echo x > /m/below/f",
    ]);
    let words: Vec<String> =
        options.get_args().map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let program = options.get_program().to_string_lossy().into_owned();
    let script = format!(
        "mount --bind {} {}/below && {program} {}",
        inner.display(),
        folder.display(),
        words.join(" ")
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
    let output = orlop_testkit::run(&mut command, b"", std::time::Duration::from_secs(30));
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 0);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn binds_of_directories_and_single_files() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound");
    std::fs::write(folder.join("one.conf"), "one\n").unwrap();
    let file = format!("{}:/etc/one.conf", folder.join("one.conf").display());
    assert_eq!(sh(&fixture, &["-v", &file], "cat /etc/one.conf; echo two > /etc/one.conf"), "one");
    assert_eq!(std::fs::read_to_string(folder.join("one.conf")).unwrap(), "two\n");
    // `-v` makes a missing directory on the host; `--mount` refuses.
    let missing = folder.join("a/b");
    sh(&fixture, &["-v", &format!("{}:/made", missing.display())], "echo made > /made/f");
    assert_eq!(std::fs::read_to_string(missing.join("f")).unwrap(), "made\n");
    let gone = format!("type=bind,src={},dst=/x", folder.join("gone").display());
    let refused = fixture.fails(125, &["run", "--rm", "--mount", &gone, "busybox"]);
    assert!(refused.contains("bind source path does not exist"), "{refused}");
    assert!(!folder.join("gone").exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn mounts_nest_from_the_top_down_whatever_their_order() {
    let fixture = fixture!(busybox);
    let options = ["-v", "inner:/m/sub/deep", "-v", "outer:/m"];
    sh(&fixture, &options, "echo o > /m/f; echo i > /m/sub/deep/f");
    assert_eq!(std::fs::read_to_string(data(&fixture, "outer").join("f")).unwrap(), "o\n");
    assert_eq!(std::fs::read_to_string(data(&fixture, "inner").join("f")).unwrap(), "i\n");
    assert_eq!(std::fs::read_dir(data(&fixture, "outer").join("sub/deep")).unwrap().count(), 0);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_link_in_a_volume_or_an_image_does_not_lead_a_mount_out() {
    let fixture = fixture!(busybox);
    let outside = fixture.directory("outside");
    fixture.ok(&["volume", "create", "trap"]);
    std::os::unix::fs::symlink(&outside, data(&fixture, "trap").join("out")).unwrap();
    let mount = "type=volume,src=trap,dst=/m,volume-subpath=out";
    let output =
        fixture.orlop(&["run", "--rm", "--mount", mount, "busybox", "sh", "-c", "echo x > /m/f"]);
    assert_ne!(output.code, 0, "{output}");
    // A target below a link stays inside the container's root.
    let tar = Tar::new().symlink("escape", outside.to_str().unwrap()).finish();
    let base = std::fs::read("/bin/busybox").unwrap();
    let tar = [
        Tar::new()
            .directory("bin/")
            .entry(Entry { name: "bin/busybox", mode: 0o755, content: &base, ..Entry::default() })
            .unfinished(),
        tar,
    ]
    .concat();
    fixture.orlop_with_input(&["import", "-", "linked"], &tar).ok();
    let words =
        ["run", "--rm", "-v", "v1:/escape/in", "linked", "/bin/busybox", "touch", "/escape/in/f"];
    fixture.ok(&words);
    assert!(data(&fixture, "v1").join("f").exists());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn tmpfs_is_memory_of_the_size_and_mode_asked_for() {
    let fixture = fixture!(busybox);
    let show = "grep ' /m ' /proc/mounts | cut -d' ' -f3,4; stat -c %a /m";
    let seen = sh(&fixture, &["--mount", "type=tmpfs,dst=/m,tmpfs-size=1m,tmpfs-mode=700"], show);
    let mut lines = seen.lines();
    let mount = lines.next().unwrap();
    assert!(mount.starts_with("tmpfs ") && mount.contains("size=1024k"), "{seen}");
    for flag in ["nosuid", "nodev", "noexec"] {
        assert!(mount.contains(flag), "{seen}");
    }
    assert_eq!(lines.next(), Some("700"));
    let full = fixture.orlop(&[
        "run",
        "--rm",
        "--mount",
        "type=tmpfs,dst=/m,tmpfs-size=1m",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/m/f",
        "bs=1M",
        "count=2",
    ]);
    assert!(full.stderr.contains("No space left on device"), "{full}");
    assert_eq!(
        sh(
            &fixture,
            &["--tmpfs", "/t:size=2m,exec"],
            "grep -c ' /t tmpfs rw,nosuid,nodev,relatime,size=2048k' /proc/mounts"
        ),
        "1"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_writable_layer_is_kept_until_rm_and_is_private() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "--name", "one", "busybox", "sh", "-c", "echo mine > /f; rm /etc/group"]);
    assert_eq!(sh(&fixture, &[], "ls /f /etc/group 2>/dev/null || true"), "/etc/group");
    fixture.ok(&["rm", "one"]);
    fixture.assert_nothing_mounted();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_vfs_driver_behaves_the_same() {
    let mut fixture = fixture!();
    fixture.add_option(&["--storage-driver", "vfs"]);
    seeded_image(&fixture);
    fixture.busybox();
    fixture.ok(&["run", "--rm", "-v", "named:/seed", "seeded"]);
    assert_eq!(facts(&data(&fixture, "named").join("file")), (0o4750, 3, 4));
    fixture.ok(&["run", "-d", "--name", "one", "busybox", "sh", "-c", "echo mine > /f; sleep 300"]);
    assert_eq!(sh(&fixture, &[], "ls /f 2>/dev/null || echo none"), "none");
    fixture.ok(&["rm", "-f", "one"]);
}
