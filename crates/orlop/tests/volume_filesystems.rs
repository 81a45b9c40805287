//! Volumes of the `local` driver with `type`, `o` and `device`: any file system of the kernel, mounted
//! by the first container, shared by those that run at the same time, unmounted by the last.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use orlop_testkit::{Fixture, Output, fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn create(fixture: &Fixture, name: &str, kind: &str, device: &str, options: &str) {
    let (kind, device, o) =
        (format!("type={kind}"), format!("device={device}"), format!("o={options}"));
    let mut words = vec!["volume", "create", "-o", &kind, "-o", &device];
    if !options.is_empty() {
        words.extend(["-o", &o]);
    }
    words.push(name);
    assert_eq!(fixture.ok(&words), name);
}

/// Runs a script in a fresh container with a volume on `/v`.
fn sh(fixture: &Fixture, volume: &str, script: &str) -> Output {
    let volume = format!("{volume}:/v");
    fixture.orlop(&["run", "--rm", "-v", &volume, "busybox", "sh", "-c", script])
}

fn background(fixture: &Fixture, name: &str, volume: &str) {
    let volume = format!("{volume}:/v");
    fixture.ok(&["run", "-d", "--name", name, "-v", &volume, "busybox", "sleep", "1000"]);
}

fn data(fixture: &Fixture, volume: &str) -> PathBuf {
    fixture.root().join("volumes").join(volume).join("_data")
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_volume_in_memory_is_shared_while_it_is_used_and_gone_with_its_last_user() {
    let fixture = fixture!(busybox);
    create(&fixture, "mem", "tmpfs", "tmpfs", "size=1m,mode=1770,uid=7");
    background(&fixture, "first", "mem");
    fixture.ok(&["exec", "first", "sh", "-c", "mkdir /v/sub; echo shared > /v/sub/f"]);
    background(&fixture, "second", "mem");
    assert_eq!(fixture.ok(&["exec", "second", "cat", "/v/sub/f"]), "shared");
    let shown =
        fixture.ok(&["exec", "second", "sh", "-c", "stat -c '%a %u' /v; df -k /v | tail -1"]);
    assert!(shown.starts_with("1770 7\ntmpfs") && shown.contains(" 1024 "), "{shown}");

    // Read-only for one is not read-only for the others, and a part is a part.
    let refused = sh(&fixture, "mem", "true");
    assert_eq!(refused.code, 0, "{refused}");
    let words = ["run", "--rm", "-v", "mem:/v:ro", "busybox", "touch", "/v/x"];
    let refused = fixture.orlop(&words);
    assert!(refused.code == 1 && refused.stderr.contains("Read-only file system"), "{refused}");
    let part = "type=volume,src=mem,dst=/p,volume-subpath=sub";
    assert_eq!(fixture.ok(&["run", "--rm", "--mount", part, "busybox", "cat", "/p/f"]), "shared");
    let twice =
        ["run", "--rm", "-v", "mem:/a", "-v", "mem:/b", "busybox", "cmp", "/a/sub/f", "/b/sub/f"];
    fixture.ok(&twice);

    // `cp` sees what the containers see, also through one that does not run.
    fixture.ok(&["create", "--name", "idle", "-v", "mem:/a", "-v", "mem:/b:ro", "busybox"]);
    let files = fixture.directory("files");
    std::fs::write(files.join("g"), "copied\n").unwrap();
    fixture.ok(&["cp", files.join("g").to_str().unwrap(), "idle:/a/sub/g"]);
    assert_eq!(fixture.ok(&["exec", "second", "cat", "/v/sub/g"]), "copied");
    fixture.ok(&["cp", "idle:/b/sub/f", files.join("f").to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(files.join("f")).unwrap(), "shared\n");
    fixture.ok(&["rm", "idle"]);

    // The first user may go: those who are left keep it, and newcomers find it.
    fixture.ok(&["rm", "-f", "first"]);
    fixture.ok(&["exec", "second", "sh", "-c", "echo more >> /v/sub/f"]);
    assert_eq!(sh(&fixture, "mem", "cat /v/sub/f").ok(), "shared\nmore");
    assert_eq!(std::fs::read_dir(data(&fixture, "mem")).unwrap().count(), 0, "nothing on the disk");
    fixture.assert_nothing_mounted();
    fixture.ok(&["rm", "-f", "second"]);
    assert_eq!(sh(&fixture, "mem", "ls /v").ok(), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn many_containers_that_start_at_once_share_one_file_system() {
    let fixture = fixture!(busybox);
    create(&fixture, "mem", "tmpfs", "tmpfs", "");
    background(&fixture, "keeper", "mem");
    std::thread::scope(|scope| {
        for number in 0..12 {
            let fixture = &fixture;
            scope.spawn(move || {
                sh(fixture, "mem", &format!("echo {number} > /v/{number}")).ok().len()
            });
        }
    });
    assert_eq!(fixture.ok(&["exec", "keeper", "sh", "-c", "ls /v | wc -l"]), "12");

    // A killed monitor takes its container along, not the others' volume.
    background(&fixture, "other", "mem");
    let monitor = fixture
        .processes()
        .into_iter()
        .find(|(_, words)| words.contains("monitor") && words.contains("orlop"));
    let (pid, _) = monitor.unwrap();
    fixture.kill_now(pid);
    wait_until("the loss to be seen", LIMIT, || {
        let left = fixture.ok(&["ps", "--format", "{{.Names}}"]);
        if left.lines().count() == 1 { Ok(()) } else { Err(left) }
    });
    let left = fixture.ok(&["ps", "--format", "{{.Names}}"]);
    assert_eq!(fixture.ok(&["exec", &left, "sh", "-c", "ls /v | wc -l"]), "12");
    assert_eq!(sh(&fixture, "mem", "ls /v | wc -l").ok(), "12");
}

/// A file system in a file, behind a loop device; both go at the end.
struct Disk {
    device: String,
}

impl Disk {
    fn new(directory: &Path) -> Self {
        let image = directory.join("disk.img");
        let path = image.to_str().unwrap();
        run(Command::new("truncate").args(["-s", "32M", path]), b"", LIMIT).ok();
        run(Command::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=0", path]), b"", LIMIT)
            .ok();
        let output = run(Command::new("losetup").args(["--find", "--show", path]), b"", LIMIT);
        Self { device: output.ok().to_owned() }
    }

    /// Whether no file system holds the device.
    fn is_free(&self) -> bool {
        rustix::fs::open(
            self.device.as_str(),
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::EXCL | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .is_ok()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN, loop devices"]
fn a_disk_is_mounted_as_long_as_it_is_used_and_keeps_its_content_when_the_volume_goes() {
    let fixture = fixture!(busybox);
    let disk = Disk::new(&fixture.directory("disk"));
    create(&fixture, "disk", "ext4", &disk.device, "noatime");
    assert!(disk.is_free(), "making a volume mounts nothing");
    assert_eq!(sh(&fixture, "disk", "echo kept > /v/f; ls /v").ok(), "f\nlost+found");
    wait_until("the disk to be free", LIMIT, || {
        if disk.is_free() { Ok(()) } else { Err(String::new()) }
    });
    background(&fixture, "one", "disk");
    background(&fixture, "two", "disk");
    assert!(!disk.is_free());
    fixture.ok(&["exec", "one", "sh", "-c", "echo both > /v/g"]);
    assert_eq!(fixture.ok(&["exec", "two", "cat", "/v/f", "/v/g"]), "kept\nboth");
    let mount = fixture.ok(&["exec", "two", "grep", " /v ", "/proc/mounts"]);
    assert!(mount.contains(" ext4 ") && mount.contains("noatime"), "{mount}");
    fixture.assert_nothing_mounted();
    fixture.ok(&["rm", "-f", "one", "two"]);
    assert_eq!(fixture.ok(&["volume", "rm", "disk"]), "disk");
    let clean = fixture.ok(&["system", "check"]);
    assert!(!clean.contains("disk"), "{clean}");
    create(&fixture, "again", "ext4", &disk.device, "");
    assert_eq!(sh(&fixture, "again", "cat /v/f").ok(), "kept");

    // An empty disk is filled from the image, once; `lost+found` would count as content.
    sh(&fixture, "again", "rm -r /v/*").ok();
    let fill = |path: &str| {
        let volume = format!("again:{path}");
        fixture.orlop(&["run", "--rm", "-v", &volume, "busybox", "ls", path]).ok().to_owned()
    };
    let filled = fill("/etc");
    assert!(filled.contains("passwd"), "{filled}");
    assert_eq!(fill("/root"), filled);
    // What the kernel takes for wrong is said with the device, and the container stays as it was.
    create(&fixture, "wrong", "xfs", &disk.device, "ro");
    let refused = fixture.fails(125, &["run", "-v", "wrong:/v", "busybox", "true"]);
    let place = data(&fixture, "wrong").display().to_string();
    let text = format!(
        "error while mounting volume '{place}': failed to mount local volume: mount {}:{place}, flags: 0x1: \
         invalid argument",
        disk.device
    );
    assert!(refused.contains(&text), "{refused}");
    fixture.ok(&["container", "rm", &fixture.ok(&["ps", "-aq"])]);
    wait_until("the disk to be free", LIMIT, || {
        if disk.is_free() { Ok(()) } else { Err(String::new()) }
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_directory_of_the_host_may_be_a_volume_which_is_filled_and_never_emptied() {
    let fixture = fixture!(busybox);
    let folder = fixture.directory("bound");
    create(&fixture, "bound", "none", folder.to_str().unwrap(), "bind");
    let words = ["run", "--rm", "-v", "bound:/etc", "busybox", "grep", "-c", "root", "/etc/group"];
    let count = fixture.ok(&words);
    assert_eq!(
        std::fs::read_to_string(folder.join("group")).unwrap().matches("root").count().to_string(),
        count
    );
    std::fs::write(folder.join("group"), "changed\n").unwrap();
    assert_eq!(
        fixture.ok(&["run", "--rm", "-v", "bound:/etc", "busybox", "cat", "/etc/group"]),
        "changed"
    );
    fixture.ok(&["volume", "rm", "bound"]);
    assert_eq!(std::fs::read_to_string(folder.join("group")).unwrap(), "changed\n");
    // Never pruned, since what it stands for is not the engine's.
    create(&fixture, "kept", "none", folder.to_str().unwrap(), "bind,ro");
    fixture.ok(&["volume", "prune", "--all", "--force"]);
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), "kept");
    let refused = sh(&fixture, "kept", "touch /v/x");
    assert!(refused.code == 1 && refused.stderr.contains("Read-only file system"), "{refused}");

    // An overlay of the host's directories.
    let [lower, upper, work] =
        ["lower", "upper", "work"].map(|name| fixture.directory(name).to_str().unwrap().to_owned());
    std::fs::write(Path::new(&lower).join("below"), "low\n").unwrap();
    let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    create(&fixture, "layered", "overlay", "overlay", &layers);
    assert_eq!(sh(&fixture, "layered", "cat /v/below; echo up > /v/above").ok(), "low");
    assert_eq!(std::fs::read_to_string(Path::new(&upper).join("above")).unwrap(), "up\n");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn what_cannot_be_mounted_is_told_in_dockers_words_without_the_password() {
    let fixture = fixture!(busybox);
    let missing = fixture.directory("files").join("missing");
    let missing = missing.to_str().unwrap();
    let place = |name: &str| data(&fixture, name).display().to_string();
    let failed = |name: &str| {
        format!(
            "error while mounting volume '{}': failed to mount local volume: mount",
            place(name)
        )
    };
    create(&fixture, "gone", "none", missing, "bind");
    let refused = fixture.fails(127, &["run", "--rm", "-v", "gone:/v", "busybox", "true"]);
    let text = format!(
        "{} {missing}:{}, flags: 0x1000: no such file or directory",
        failed("gone"),
        place("gone")
    );
    assert!(refused.contains(&text), "{refused}");
    // Where the image has a directory the volume would have to be filled at once.
    let refused = fixture.fails(1, &["create", "-v", "gone:/etc", "busybox", "true"]);
    assert!(refused.contains(&format!("failed to populate volume: {text}")), "{refused}");
    let share = "username=me,password=hunter2,vers=3.0";
    create(&fixture, "share", "no-such-type", "//192.0.2.1/share", share);
    let refused = fixture.fails(125, &["run", "--rm", "-v", "share:/v", "busybox", "true"]);
    let text = format!(
        "{} //192.0.2.1/share:{}, data: username=me,password=********,vers=3.0: no such device",
        failed("share"),
        place("share")
    );
    assert!(refused.contains(&text), "{refused}");
    assert!(!refused.contains("hunter2"), "{refused}");
    // Inspect shows options as they were given.
    assert_eq!(fixture.ok(&["volume", "inspect", "-f", "{{.Options.o}}", "share"]), share);
    create(&fixture, "server", "nfs", ":/export", "addr=no-such-host.invalid,rw");
    let refused = fixture.fails(125, &["run", "--rm", "-v", "server:/v", "busybox", "true"]);
    let text = format!(
        "error while mounting volume '{}': error resolving passed in network volume address: lookup \
         no-such-host.invalid",
        place("server")
    );
    assert!(refused.contains(&text), "{refused}");
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    fixture.ok(&["volume", "rm", "gone", "share", "server"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN, loop devices"]
fn killing_whoever_mounts_at_any_moment_leaves_a_disk_that_is_free_and_whole() {
    let fixture = fixture!(busybox);
    let disk = Disk::new(&fixture.directory("disk"));
    create(&fixture, "disk", "ext4", &disk.device, "");
    let started = std::time::Instant::now();
    sh(&fixture, "disk", "true").ok();
    let span = started.elapsed();
    for round in 0..24_u32 {
        let script = format!("echo {round} > /v/{round}; sync; sleep 1000");
        let words = [
            "run",
            "-d",
            "--name",
            &format!("victim{round}"),
            "-v",
            "disk:/v",
            "busybox",
            "sh",
            "-c",
            &script,
        ];
        let mut command = fixture.command(&words);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(span * (round % 12) / 10);
        // The command itself, or the monitor with what it has mounted.
        if round % 2 == 0 {
            child.kill().unwrap();
        }
        let monitors =
            fixture.processes().into_iter().filter(|(_, words)| words.ends_with(" monitor"));
        for (pid, _) in monitors.filter(|_| round % 2 == 1) {
            fixture.kill_now(pid);
        }
        child.wait().unwrap();
        if round % 6 == 5 {
            // Those who are left share it with whoever comes.
            assert_eq!(sh(&fixture, "disk", "echo shared > /v/all; cat /v/all").ok(), "shared");
        }
    }
    let repaired = fixture.orlop(&["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{repaired}");
    let ids = fixture.ok(&["ps", "-aq"]);
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if !ids.is_empty() {
        fixture.ok(&[&["rm", "-f"][..], &ids].concat());
    }
    wait_until("the disk to be free", LIMIT, || {
        if disk.is_free() { Ok(()) } else { Err(String::new()) }
    });
    let clean = fixture.ok(&["system", "check"]);
    assert!(clean.ends_with(": no problems"), "{clean}");
    fixture.assert_nothing_mounted();
    run(Command::new("e2fsck").args(["-f", "-n", &disk.device]), b"", LIMIT).ok();
    assert_eq!(sh(&fixture, "disk", "cat /v/all").ok(), "shared");
}
