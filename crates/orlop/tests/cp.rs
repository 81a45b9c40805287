//! `cp`: every rule of Docker's table, both ways, whatever the container is doing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use orlop_testkit::tar::{Entry, Tar};
use orlop_testkit::{Fixture, Random, fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A running container `web`.
fn running(options: &[&str]) -> Fixture {
    let fixture = fixture!(busybox);
    let words = [&["run", "-d", "--name", "web"], options, &["busybox", "sleep", "1000"]].concat();
    fixture.ok(&words);
    fixture
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_until(what, LIMIT, || if is_so() { Ok(()) } else { Err("not yet".to_owned()) });
}

/// Runs a script in the container.
#[track_caller]
fn inside(fixture: &Fixture, script: &str) -> String {
    fixture.ok(&["exec", "web", "sh", "-c", script])
}

/// Extracts an archive with the system's tar and gives the names in it.
#[track_caller]
fn archive_of(fixture: &Fixture, path: &str, words: &[&str]) -> (Vec<String>, PathBuf) {
    let into = fixture.directory(&format!("archive-{}", path.replace(['/', '.', ':'], "_")));
    let file = into.join("a.tar");
    let status = fixture
        .command(&[&["cp"], words, &[path, "-"]].concat())
        .stdout(fs::File::create(&file).unwrap())
        .status()
        .unwrap();
    assert!(status.success(), "cp {path} -");
    let listed = run(Command::new("tar").args(["-tPf", text(&file)]), b"", LIMIT);
    let names = listed.ok().lines().map(str::to_owned).collect();
    let out = into.join("out");
    fs::create_dir_all(&out).unwrap();
    let mut extract = Command::new("tar");
    extract.args(["--xattrs", "--xattrs-include=*", "-xpf", text(&file), "-C", text(&out)]);
    let extracted = run(&mut extract, b"", LIMIT);
    extracted.ok();
    (names, out)
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn every_rule_of_the_table_into_a_container() {
    let fixture = running(&[]);
    let host = fixture.directory("src");
    fs::write(host.join("f"), "file\n").unwrap();
    fs::create_dir_all(host.join("d/sub")).unwrap();
    fs::write(host.join("d/sub/x"), "x\n").unwrap();
    symlink("f", host.join("link")).unwrap();
    symlink("d", host.join("dlink")).unwrap();
    inside(
        &fixture,
        "mkdir -p /t/dir && echo old > /t/old && ln -s dir /t/to-dir && ln -s old /t/to-old && ln -s nowhere /t/dangling",
    );
    let src = |name: &str| format!("{}/{name}", text(&host));
    let cp = |from: &str, to: &str| fixture.orlop(&["cp", &src(from), &format!("web:{to}")]);

    // file
    cp("f", "/t/new").ok();
    assert_eq!(inside(&fixture, "cat /t/new"), "file");
    assert!(cp("f", "/t/absent/").fails(1).contains("no such directory"));
    cp("f", "/t/old").ok();
    assert_eq!(inside(&fixture, "cat /t/old"), "file");
    cp("f", "/t/dir").ok();
    cp("f", "t/dir/again").ok();
    assert_eq!(inside(&fixture, "ls /t/dir"), "again\nf");
    // No parent is made.
    let refused = cp("f", "/no/parent/f");
    assert!(refused.fails(1).contains("Could not find the file /no/parent in container web"));

    // directory
    cp("d", "/t/d-new").ok();
    assert_eq!(inside(&fixture, "cat /t/d-new/sub/x"), "x");
    assert!(cp("d", "/t/old").fails(1).contains("cannot copy directory"));
    cp("d", "/t/dir").ok();
    assert_eq!(inside(&fixture, "cat /t/dir/d/sub/x"), "x");
    cp("d/.", "/t/dir").ok();
    assert_eq!(inside(&fixture, "cat /t/dir/sub/x"), "x");
    cp("d/.", "/t/content").ok();
    assert_eq!(inside(&fixture, "cat /t/content/sub/x"), "x");
    cp("d/", "/t/slash").ok();
    assert_eq!(inside(&fixture, "cat /t/slash/sub/x"), "x");

    // links: the source's are copied, unless told otherwise; the destination's are followed once
    cp("link", "/t/copied-link").ok();
    assert_eq!(inside(&fixture, "readlink /t/copied-link"), "f");
    fixture.ok(&["cp", "-L", &src("link"), "web:/t/dir"]);
    assert_eq!(inside(&fixture, "cat /t/dir/link; readlink /t/dir/link || true"), "file");
    cp("dlink/", "/t/dir").ok();
    assert_eq!(inside(&fixture, "cat /t/dir/dlink/sub/x"), "x");
    cp("f", "/t/to-dir/via-link").ok();
    cp("f", "/t/to-dir").ok();
    cp("f", "/t/dangling").ok();
    assert_eq!(inside(&fixture, "cat /t/dir/via-link /t/nowhere"), "file\nfile");
    inside(&fixture, "echo old > /t/old");
    cp("f", "/t/to-old").ok();
    assert_eq!(inside(&fixture, "cat /t/old; readlink /t/to-old"), "file\nold");

    // kinds that do not replace each other
    inside(&fixture, "mkdir -p /t/k/f /t/k2 && echo x > /t/k2/d");
    let refused = cp("f", "/t/k");
    let message = "cannot overwrite directory \"f\" with non-directory \"/t/k\"";
    assert!(refused.fails(1).contains(message), "{refused}");
    let refused = cp("d", "/t/k2");
    let message = "cannot overwrite non-directory \"d\" with directory \"/t/k2\"";
    assert!(refused.fails(1).contains(message), "{refused}");
    let refused = cp("f", "/t/null");
    refused.ok();
    inside(&fixture, "rm /t/null && mknod /t/null c 1 3");
    let refused = cp("f", "/t/null");
    let message = "destination \"web:/t/null\" must be a directory or a regular file: got a device";
    assert!(refused.fails(1).contains(message), "{refused}");
    assert!(cp("absent", "/t").fails(1).contains("no such file or directory"));
    let missing = fixture.orlop(&["cp", &src("f"), "nobody:/x"]);
    assert!(missing.fails(1).contains("No such container: nobody"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn every_rule_of_the_table_out_of_a_container() {
    let fixture = running(&[]);
    inside(
        &fixture,
        "mkdir -p /t/d/sub && echo file > /t/f && echo x > /t/d/sub/x && ln -s f /t/link && ln -s d /t/dlink && ln -s /t/f /t/absolute",
    );
    let host = fixture.directory("dst");
    let to = |name: &str| format!("{}/{name}", text(&host));
    let read = |name: &str| fs::read_to_string(host.join(name)).unwrap();
    let cp = |from: &str, name: &str| fixture.orlop(&["cp", &format!("web:{from}"), &to(name)]);
    fs::create_dir(host.join("dir")).unwrap();
    fs::write(host.join("old"), "old").unwrap();

    cp("/t/f", "new").ok();
    assert_eq!(read("new"), "file\n");
    assert!(cp("/t/f", "absent/").fails(1).contains("no such directory"));
    cp("/t/f", "old").ok();
    assert_eq!(read("old"), "file\n");
    cp("t/f", "dir").ok();
    assert_eq!(read("dir/f"), "file\n");
    let refused = cp("/t/f", "no/parent");
    let message = format!("invalid output path: directory \"{}\" does not exist", to("no"));
    assert!(refused.fails(1).contains(&message), "{refused}");

    cp("/t/d", "d-new").ok();
    assert_eq!(read("d-new/sub/x"), "x\n");
    assert!(cp("/t/d", "old").fails(1).contains("cannot copy directory"));
    cp("/t/d", "dir").ok();
    assert_eq!(read("dir/d/sub/x"), "x\n");
    cp("/t/d/.", "dir").ok();
    assert_eq!(read("dir/sub/x"), "x\n");
    cp("/t/d/.", "content").ok();
    assert_eq!(read("content/sub/x"), "x\n");

    cp("/t/link", "copied-link").ok();
    assert_eq!(fs::read_link(host.join("copied-link")).unwrap(), Path::new("f"));
    fixture.ok(&["cp", "-L", "web:/t/link", &to("dir")]);
    assert!(fs::symlink_metadata(host.join("dir/link")).unwrap().is_file());
    fixture.ok(&["cp", "-L", "web:/t/absolute", &to("followed")]);
    assert_eq!(read("followed"), "file\n");
    cp("/t/dlink/", "dir").ok();
    assert_eq!(read("dir/dlink/sub/x"), "x\n");
    cp("/t/dlink/.", "linked-content").ok();
    assert_eq!(read("linked-content/sub/x"), "x\n");
    symlink("dir", host.join("to-dir")).unwrap();
    cp("/t/f", "to-dir").ok();
    symlink("made", host.join("dangling")).unwrap();
    cp("/t/f", "dangling").ok();
    assert_eq!(read("made"), "file\n");

    let refused = fixture.orlop(&["cp", "web:/t/f", "/dev/null"]);
    let message =
        "invalid output path: \"/dev/null\" must be a directory or a regular file: got a device";
    assert!(refused.fails(1).contains(message), "{refused}");
    let missing = cp("/t/nothing", "x");
    assert!(missing.fails(1).contains("Could not find the file /t/nothing in container web"));
    let words = ["cp", "web:/t/f", "web:/t/g"];
    assert!(fixture.fails(1, &words).contains("copying between containers is not supported"));
    let words = ["cp", "/etc/hosts", "/tmp/x"];
    assert!(fixture.fails(1, &words).contains("must specify at least one container source"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn it_works_whatever_the_container_is_doing() {
    let fixture = fixture!(busybox);
    fixture.ok(&["create", "--name", "web", "-v", "vol:/data", "busybox", "sleep", "1000"]);
    let host = fixture.directory("host");
    let (source, target) = (host.join("in"), host.join("out"));
    let round = |state: &str| {
        fs::write(&source, state).unwrap();
        for path in ["/etc/copied", "/data/copied"] {
            fixture.ok(&["cp", text(&source), &format!("web:{path}")]);
            fixture.ok(&["cp", &format!("web:{path}"), text(&target)]);
            assert_eq!(fs::read_to_string(&target).unwrap(), state, "{path} {state}");
        }
        assert_eq!(
            fs::read_to_string(fixture.root().join("volumes/vol/_data/copied")).unwrap(),
            state
        );
    };
    round("created");
    fixture.ok(&["start", "web"]);
    round("running");
    fixture.ok(&["pause", "web"]);
    round("paused");
    fixture.ok(&["unpause", "web"]);
    assert_eq!(inside(&fixture, "cat /etc/copied /data/copied"), "pausedpaused");
    fixture.ok(&["stop", "-t", "0", "web"]);
    round("exited");
    fixture.ok(&["start", "web"]);
    assert_eq!(inside(&fixture, "cat /etc/copied"), "exited");
    fixture.assert_nothing_mounted();
    let since = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}"];
    let events = fixture.ok(&since);
    assert!(events.contains("archive-path") && events.contains("extract-to-dir"), "{events}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn streams_carry_archives() {
    let fixture = running(&[]);
    inside(&fixture, "mkdir -p /data && echo f > /data/f && ln -s data /dlink");
    for (path, want) in [
        ("web:/data", vec!["data/", "data/f"]),
        ("web:/data/", vec!["data/", "data/f"]),
        ("web:data", vec!["data/", "data/f"]),
        ("web:/data/.", vec!["./", "./f"]),
        ("web:/data/f", vec!["f"]),
        ("web:/dlink", vec!["dlink"]),
        ("web:/dlink/", vec!["dlink/", "dlink/f"]),
        ("web:/dlink/.", vec!["./", "./f"]),
    ] {
        assert_eq!(archive_of(&fixture, path, &[]).0, want, "{path}");
    }
    let tar = Tar::new().entry(Entry {
        name: "new/",
        kind: b'5',
        mode: 0o700,
        uid: 7,
        gid: 8,
        ..Entry::default()
    });
    let tar = tar.entry(Entry {
        name: "new/f",
        mode: 0o4755,
        uid: 7,
        gid: 8,
        content: b"hi",
        ..Entry::default()
    });
    let tar = tar.finish();
    let output = fixture.orlop_with_input(&["cp", "-", "web:/data"], &tar);
    output.ok();
    assert_eq!(inside(&fixture, "stat -c '%a %u:%g' /data/new /data/new/f"), "700 7:8\n4755 7:8");
    let compressed = run(Command::new("gzip").arg("-c"), b"", LIMIT);
    assert_eq!(compressed.code, 0);
    let refused = fixture.orlop_with_input(&["cp", "-", "web:/data/f"], &tar);
    assert!(refused.fails(1).contains("destination \"web:/data/f\" must be a directory"));
    let refused = fixture.orlop_with_input(&["cp", "-", "web:/data"], b"this is no archive at all");
    refused.fails(1);
    // A hostile archive stays inside the container and its directory.
    let canary = fixture.directory("outside").join("canary");
    fs::write(&canary, "alive").unwrap();
    let outside = text(canary.parent().unwrap()).to_owned();
    for hostile in [
        Tar::new().file("../../../../../../etc/evil", b"x"),
        Tar::new().symlink("l", &outside).file("l/canary", b"dead"),
        Tar::new()
            .symlink("l2", "../../../../../../../..")
            .file(&format!("l2{outside}/canary"), b"dead"),
        Tar::new().hard_link("h", "../../../../etc/passwd"),
    ] {
        let _ = fixture.orlop_with_input(&["cp", "-", "web:/data"], &hostile.finish());
    }
    assert_eq!(fs::read_to_string(&canary).unwrap(), "alive");
    assert!(!Path::new("/etc/evil").exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn mounts_are_respected() {
    let fixture = fixture!(busybox);
    let bound = fixture.directory("bound");
    let mut words =
        vec!["run", "-d", "--name", "web", "--read-only", "-v", "rw:/rw", "-v", "ro:/ro:ro"];
    let bind = format!("{}:/bind", text(&bound));
    words.extend(["-v", &bind, "--tmpfs", "/memory", "busybox", "sleep", "1000"]);
    fixture.ok(&words);
    let source = fixture.directory("src").join("f");
    fs::write(&source, "content").unwrap();
    let cp = |to: &str| fixture.orlop(&["cp", text(&source), to]);
    for stopped in [false, true] {
        if stopped {
            fixture.ok(&["stop", "-t", "0", "web"]);
        }
        cp("web:/rw/f").ok();
        cp("web:/bind/f").ok();
        assert!(cp("web:/ro/f").fails(1).contains("mounted volume is marked read-only"));
        assert!(cp("web:/etc/f").fails(1).contains("container rootfs is marked read-only"));
        assert_eq!(fs::read_to_string(bound.join("f")).unwrap(), "content");
        fs::remove_file(bound.join("f")).unwrap();
    }
    fixture.ok(&["start", "web"]);
    // A file that is a mount point in the container must not be taken from under it.
    fixture.ok(&["rm", "-f", "web"]);
    fixture.ok(&["run", "-d", "--name", "web", "-v", "rw:/rw", "busybox", "sleep", "1000"]);
    let hosts = inside(&fixture, "cat /etc/hosts; grep -c /etc/hosts /proc/self/mountinfo");
    cp("web:/etc/hosts").fails(1);
    let tar = Tar::new().file("rw", b"a file over a volume").finish();
    let refused = fixture.orlop_with_input(&["cp", "-", "web:/"], &tar);
    assert!(
        refused.fails(1).contains("cannot overwrite directory \"rw\" with non-directory \"/\"")
    );
    assert_eq!(inside(&fixture, "cat /etc/hosts; grep -c /etc/hosts /proc/self/mountinfo"), hosts);
    assert_eq!(inside(&fixture, "cat /rw/f"), "content");
}

/// Makes a random tree with everything that files carry.
fn random_tree(top: &Path, random: &mut Random) {
    fs::create_dir(top).unwrap();
    let mut directories = vec![top.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    for number in 0..40 + random.below(40) {
        let parent = &directories[usize::try_from(random.below(directories.len() as u64)).unwrap()];
        let odd = ["plain", ".wh.odd", "with space", "nëw", "-dash"];
        let name = odd[usize::try_from(random.below(5)).unwrap()];
        let path = parent.join(format!("{name}{number}"));
        match random.below(10) {
            0..=2 => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
            3 => {
                symlink("../anywhere/at all", &path).unwrap();
                continue;
            }
            4 if !files.is_empty() => {
                let at = usize::try_from(random.below(files.len() as u64)).unwrap();
                fs::hard_link(&files[at], &path).unwrap();
                continue;
            }
            5 => {
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &path,
                    rustix::fs::FileType::Fifo,
                    0o600.into(),
                    0,
                )
                .unwrap();
            }
            6 => {
                // Mostly a hole.
                let file = fs::File::create(&path).unwrap();
                file.set_len(3 << 20).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, b"end", (2 << 20) + 7).unwrap();
                files.push(path.clone());
            }
            _ => {
                let length = usize::try_from(random.below(100_000)).unwrap();
                fs::write(&path, vec![u8::try_from(number).unwrap(); length]).unwrap();
                files.push(path.clone());
            }
        }
        let owner = (
            u32::try_from(random.below(3000)).unwrap(),
            u32::try_from(random.below(3000)).unwrap(),
        );
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).unwrap();
        let mode = u32::try_from(random.below(0o10000)).unwrap() | 0o400;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let is_pipe = path.symlink_metadata().unwrap().mode() & 0o170_000 == 0o010_000;
        if random.below(3) == 0 && !is_pipe {
            rustix::fs::setxattr(&path, c"user.orlop", b"value", rustix::fs::XattrFlags::empty())
                .unwrap();
        }
    }
    // Times last, deepest first: everything before changed those of the directories.
    let mut all = files;
    all.extend(directories.into_iter().rev());
    for path in all {
        let time = rustix::fs::Timespec {
            tv_sec: 1_000_000_000 + i64::try_from(random.below(700_000_000)).unwrap(),
            tv_nsec: i64::try_from(random.below(1_000_000_000)).unwrap(),
        };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty())
            .unwrap();
    }
}

/// One line for each object of a tree; `with_owner` for what keeps its owner.
fn described(top: &Path, with_owner: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![top.to_owned()];
    let mut first_names = std::collections::BTreeMap::new();
    while let Some(path) = pending.pop() {
        let stat = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(top).unwrap().display().to_string();
        let mut line = format!("{name} {:o} {}.{}", stat.mode(), stat.mtime(), stat.mtime_nsec());
        if stat.is_symlink() {
            // Links are made anew; their own time is told to the second by some tools.
            line = format!("{name} -> {:?}", fs::read_link(&path).unwrap());
        }
        if with_owner {
            line += &format!(" {}:{}", stat.uid(), stat.gid());
        }
        let mut value = [0_u8; 100];
        if let Ok(length) = rustix::fs::lgetxattr(&path, c"user.orlop", &mut value[..]) {
            line += &format!(" {:?}", &value[..length]);
        }
        if stat.is_file() {
            let content = fs::read(&path).unwrap();
            let sum = content
                .iter()
                .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            let first = first_names.entry((stat.dev(), stat.ino())).or_insert_with(|| name.clone());
            let sparse = stat.size() >= 3 << 20 && stat.blocks() * 512 < stat.size() / 2;
            line += &format!(" {} {sum} first {first} sparse {sparse}", stat.size());
        }
        lines.push(line);
        if stat.is_dir() {
            let mut below: Vec<PathBuf> =
                fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
            below.sort();
            pending.extend(below.into_iter().rev());
        }
    }
    lines
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn random_trees_come_back_equal() {
    let fixture = running(&["-v", "vol:/vol"]);
    let host = fixture.directory("trees");
    for seed in 1..=6_u64 {
        let mut random = Random(seed * 7_919);
        let tree = host.join(format!("tree-{seed}"));
        random_tree(&tree, &mut random);
        if seed == 4 {
            fixture.ok(&["stop", "-t", "0", "web"]);
        }
        let place = if seed % 2 == 0 { "/vol" } else { "/srv" };
        let back = host.join(format!("back-{seed}"));
        fixture.ok(&["cp", text(&tree), &format!("web:{place}{seed}")]);
        fixture.ok(&["cp", &format!("web:{place}{seed}"), text(&back)]);
        assert_eq!(described(&back, false), described(&tree, false), "seed {seed}");
        // The owners, which a copy to the host gives to the caller, are in the archive.
        let (_, out) = archive_of(&fixture, &format!("web:{place}{seed}/."), &[]);
        let plain = |lines: Vec<String>| -> Vec<String> {
            lines.into_iter().map(|line| line.replace(" sparse true", " sparse false")).collect()
        };
        assert_eq!(
            plain(described(&out, true))[1..],
            plain(described(&tree, true))[1..],
            "seed {seed}"
        );
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_that_swaps_links_leads_no_copy_outside() {
    let fixture = fixture!(busybox);
    let outside = fixture.directory("outside");
    fs::write(outside.join("canary"), "alive").unwrap();
    let out = text(&outside).to_owned();
    // `/w/x` is a directory with a `canary` at one moment and a link to the host's path at the next.
    let script = format!(
        "mkdir -p /w/real{out} && echo mine > /w/real/canary && mkdir -p {out} && echo decoy > {out}/canary && ln -s {out} /w/link; \
         while :; do mv /w/real /w/x; mv /w/x /w/real; mv /w/link /w/x; mv /w/x /w/link; done"
    );
    fixture.ok(&["run", "-d", "--name", "web", "busybox", "sh", "-c", &script]);
    until("the container begins", || {
        fixture.orlop(&["exec", "web", "test", "-d", "/w/real"]).code == 0
    });
    let source = fixture.directory("src").join("canary");
    fs::write(&source, "from the host").unwrap();
    let target = fixture.directory("dst");
    for round in 0..40 {
        let _ = fixture.orlop(&["cp", text(&source), "web:/w/x/canary"]);
        let _ = fixture.orlop(&["cp", text(&source), "web:/w/x"]);
        let tar = Tar::new().file("x/canary", b"archive").finish();
        let _ = fixture.orlop_with_input(&["cp", "-", "web:/w"], &tar);
        for (number, path) in ["web:/w/x/canary", "web:/w/x/.", "web:/w"].into_iter().enumerate() {
            let place = target.join(format!("{round}-{number}"));
            let _ = fixture.orlop(&["cp", "-L", path, text(&place)]);
        }
        assert_eq!(fs::read_to_string(outside.join("canary")).unwrap(), "alive", "round {round}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "round {round}");
    }
    let mut seen = String::new();
    let mut pending = vec![target];
    while let Some(path) = pending.pop() {
        let stat = path.symlink_metadata().unwrap();
        if stat.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if stat.is_file() {
            seen += &fs::read_to_string(&path).unwrap();
        }
    }
    assert!(!seen.contains("alive"), "the host's file came out of the container");
    assert!(seen.contains("mine") || seen.contains("from the host") || seen.contains("decoy"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn killing_a_copy_leaves_nothing_behind() {
    let fixture = fixture!(busybox);
    fixture.ok(&["create", "--name", "web", "-v", "vol:/data", "busybox", "sleep", "1000"]);
    for started in [false, true] {
        if started {
            fixture.ok(&["start", "web"]);
        }
        let mut child = fixture
            .command(&["cp", "-", "web:/data"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let tar = Tar::new().file("begun", b"x").unfinished();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), &tar).unwrap();
        let begun = fixture.root().join("volumes/vol/_data/begun");
        until("the copy begins", || begun.exists());
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(&begun).unwrap();
        fixture.assert_nothing_mounted();
        let left = fixture.processes().into_iter().filter(|(_, words)| words.contains(" cp "));
        assert_eq!(left.collect::<Vec<_>>(), []);
    }
    fixture.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(inside(&fixture, "ls /data; echo lives"), "lives");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn one_copy_may_feed_another_of_the_same_container() {
    let fixture = running(&[]);
    inside(&fixture, "mkdir /a /b && dd if=/dev/urandom of=/a/big bs=1M count=20 2>/dev/null");
    let mut first = fixture
        .command(&["cp", "web:/a", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut second = fixture
        .command(&["cp", "-", "web:/b"])
        .stdin(first.stdout.take().unwrap())
        .spawn()
        .unwrap();
    until("both copies end", || {
        second.try_wait().unwrap().is_some() && first.try_wait().unwrap().is_some()
    });
    assert_eq!(inside(&fixture, "cmp /a/big /b/a/big && echo same"), "same");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn owners_and_the_last_line() {
    let fixture = running(&["--user", "7:8"]);
    let source = fixture.directory("src").join("f");
    fs::write(&source, "x").unwrap();
    std::os::unix::fs::chown(&source, Some(1234), Some(5678)).unwrap();
    fixture.ok(&["exec", "-u", "0", "web", "mkdir", "/t"]);
    fixture.ok(&["cp", text(&source), "web:/t/kept"]);
    fixture.ok(&["cp", "-a", text(&source), "web:/t/given"]);
    let owners = inside(&fixture, "stat -c '%u:%g' /t/kept /t/given");
    assert_eq!(owners, "1234:5678\n7:8");
    let out = fixture.directory("out").join("f");
    fixture.ok(&["cp", "web:/t/kept", text(&out)]);
    assert_eq!(fs::metadata(&out).unwrap().uid(), 0);
    // Nobody looks at standard output: no last line, unless asked for.
    let quiet = fixture.orlop(&["cp", text(&source), "web:/t/kept"]);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let told = fixture.orlop(&["cp", "-q=false", text(&source), "web:/t/kept"]);
    assert_eq!(told.stderr, "Successfully copied 2.05kB to web:/t/kept\n");
    let told = fixture.orlop(&["cp", "--quiet=false", "web:/t/kept", text(&out)]);
    assert_eq!(told.stderr, format!("Successfully copied 2.05kB to {}\n", text(&out)));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn sockets_are_no_files() {
    let fixture = fixture!(busybox);
    let bound = fixture.directory("bound");
    let bind = format!("{}:/bind", text(&bound));
    fixture.ok(&["run", "-d", "--name", "web", "-v", &bind, "busybox", "sleep", "1000"]);
    let socket = bound.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let refused = fixture.fails(1, &["cp", text(&socket), "web:/copy"]);
    assert!(refused.contains("it is a socket, which archives cannot hold"), "{refused}");
    let file = fixture.directory("src").join("f");
    fs::write(&file, "x").unwrap();
    let refused = fixture.fails(1, &["cp", text(&file), "web:/bind/socket"]);
    let message =
        "destination \"web:/bind/socket\" must be a directory or a regular file: got a socket";
    assert!(refused.contains(message), "{refused}");
    let refused = fixture.fails(1, &["cp", "web:/etc/passwd", text(&socket)]);
    assert!(refused.contains("must be a directory or a regular file: got a socket"), "{refused}");
    // Beside other files it is left out, as Docker does.
    fs::write(bound.join("g"), "g").unwrap();
    fixture.ok(&["cp", text(&bound), "web:/copy"]);
    assert_eq!(inside(&fixture, "ls /copy"), "g");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_may_start_again_and_again_meanwhile() {
    let fixture = fixture!(busybox);
    let script = "cat /etc/copied >> /log 2>/dev/null; exit 1";
    let words = ["run", "-d", "--name", "web", "--restart", "always", "-v", "vol:/vol", "busybox"];
    fixture.ok(&[&words[..], &["sh", "-c", script]].concat());
    let source = fixture.directory("src").join("f");
    let target = source.with_file_name("back");
    for round in 0..30 {
        fs::write(&source, format!("{round}")).unwrap();
        for path in ["web:/etc/copied", "web:/vol/copied"] {
            fixture.ok(&["cp", text(&source), path]);
            fixture.ok(&["cp", path, text(&target)]);
            assert_eq!(fs::read_to_string(&target).unwrap(), format!("{round}"), "{path}");
        }
        std::thread::sleep(Duration::from_millis(37 * (round % 5)));
    }
    fixture.ok(&["rm", "-f", "web"]);
}
