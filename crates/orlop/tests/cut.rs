//! Every operation is cut off at every fault point; then nothing is lost, nothing leaks, and every
//! name is usable again.
//!
//! `ORLOP_FAULT` also reaches the monitor, the reaper and what the monitor runs at the end.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_testkit::{Fixture, Output, fixture, run, tar::Tar, wait_until};

const LIMIT: Duration = Duration::from_secs(20);
const PORT: &str = "127.0.0.1:18090:80";

/// A store with an image and a volume that holds something precious.
fn prepared() -> Fixture {
    let fixture = fixture!(busybox);
    let script = "echo kept > /data/f";
    fixture.ok(&["run", "--rm", "-v", "precious:/data", "busybox", "sh", "-c", script]);
    fixture
}

/// Runs a command that some process of it does not survive.
fn cut(fixture: &Fixture, points: &str, words: &[&str]) -> Output {
    let mark = fixture.folder().join("mark");
    let _ = std::fs::remove_file(&mark);
    let mut command = fixture.command(words);
    command.env("ORLOP_FAULT", points).env("ORLOP_FAULT_MARK", &mark);
    let output = run(&mut command, b"", LIMIT);
    let expected: BTreeSet<&str> =
        points.split(',').map(|point| point.split(':').next().unwrap()).collect();
    wait_until(&format!("{points} to be reached by {output}"), LIMIT, || {
        let seen = std::fs::read_to_string(&mark).unwrap_or_default();
        if seen.lines().collect::<BTreeSet<_>>() == expected { Ok(()) } else { Err(seen) }
    });
    output
}

/// Heals the store; asserts that a second look finds nothing and that what was there still is.
fn heal(fixture: &Fixture, points: &str) {
    let repaired = fixture.orlop(&["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{points}: {repaired}");
    let clean = fixture.orlop(&["system", "check"]);
    assert_eq!(clean.code, 0, "{points}: {clean}");
    fixture.assert_nothing_mounted();
    assert_precious(fixture, points);
    assert_eq!(entries(&fixture.root().join("staging")), [""; 0], "{points}");
}

fn assert_precious(fixture: &Fixture, points: &str) {
    let path = fixture.root().join("volumes/precious/_data/f");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "kept\n", "{points}");
}

fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until monitors and reapers have ended.
fn quiet(fixture: &Fixture) {
    wait_until("the last process to end", LIMIT, || {
        let left = fixture.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// Asserts that a store without containers holds nothing of one any more, in no place.
fn assert_empty(fixture: &Fixture, points: &str) {
    assert_eq!(fixture.ok(&["ps", "-aq"]), "", "{points}");
    quiet(fixture);
    assert_eq!(entries(&fixture.root().join("containers")), [""; 0], "{points}");
    assert_eq!(entries(&fixture.run_root().join("containers")), [""; 0], "{points}");
    assert_eq!(entries(&fixture.root().join("volumes")), ["precious"], "{points}");
    assert_eq!(entries(&fixture.root().join("trash")), [""; 0], "{points}");
    let layers = entries(&layers(fixture));
    assert!(layers.len() <= 2, "{points}: the image and its initial layer, not {layers:?}");
}

fn layers(fixture: &Fixture) -> PathBuf {
    let home = fixture.root().join("layers");
    let drivers = entries(&home);
    assert_eq!(drivers.len(), 1, "{drivers:?}");
    home.join(&drivers[0])
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_creation_that_is_cut_off() {
    let fixture = prepared();
    let words = [
        "create",
        "--name",
        "victim",
        "-v",
        "precious:/data",
        "-v",
        "fresh:/bin",
        "busybox",
        "true",
    ];
    // How many entries a whole copy has.
    fixture.ok(&words);
    let fresh = fixture.root().join("volumes/fresh/_data");
    let whole = entries(&fresh);
    assert!(whole.len() > 2, "{whole:?}");
    fixture.ok(&["rm", "victim"]);
    fixture.ok(&["volume", "rm", "fresh"]);
    for points in [
        "volume.create.staged",
        "volume.create.built",
        "meta.publish.synced",
        "meta.publish.renamed",
        "meta.publish.done",
        "volume.create.published",
        "volume.create.committed",
        "container.create.volumes",
        "meta.publish.synced:2",
        "meta.publish.renamed:2",
        "container.create.directory",
        "meta.publish.synced:3",
        "meta.publish.renamed:3",
        "container.create.layer",
        "volume.populate.begun",
        "volume.populate.copied",
        "volume.populate.ready",
        "volume.populate.entry",
        "volume.populate.entry:3",
        "volume.populate.moved",
        "container.create.built",
        "container.create.committed",
    ] {
        assert_eq!(cut(&fixture, points, &words).code, 134, "{points}");
        heal(&fixture, points);
        fixture.ok(&["rm", "-f", "victim"]);
        fixture.ok(&words);
        assert_eq!(entries(&fresh), whole, "{points}: half a copy is taken for a whole one");
        fixture.ok(&["rm", "victim"]);
        fixture.ok(&["volume", "rm", "fresh"]);
        assert_empty(&fixture, points);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_start_that_is_cut_off() {
    let fixture = prepared();
    let words = [
        "run",
        "-d",
        "--name",
        "victim",
        "-p",
        PORT,
        "-v",
        "precious:/data",
        "busybox",
        "sleep",
        "300",
    ];
    for points in [
        "container.start.cleared",
        "container.start.directory",
        "container.start.allocated",
        "container.start.planned",
        "launch.spawned",
        "launch.sent",
        "container.start.launched",
        "container.settle.read",
        "container.start.settled",
        "monitor.begun",
        "monitor.network",
        "monitor.created",
        "monitor.started",
        "monitor.started.recorded",
        "launch.sent,monitor.begun",
        "launch.sent,monitor.network",
        "launch.sent,monitor.created",
        "launch.sent,monitor.started",
        "launch.sent,monitor.started.recorded",
    ] {
        cut(&fixture, points, &words);
        heal(&fixture, points);
        fixture.ok(&["rm", "-f", "victim"]);
        // Its name and its port are free.
        fixture.ok(&words);
        fixture.ok(&["rm", "-f", "victim"]);
        assert_empty(&fixture, points);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_start_that_is_cut_off_holds_no_port_and_can_be_repeated_without_repair() {
    let fixture = prepared();
    let words = ["run", "-d", "--name", "victim", "-p", PORT, "busybox", "sleep", "300"];
    for points in [
        "container.start.allocated",
        "container.start.planned",
        "launch.spawned",
        "launch.sent,monitor.begun",
        "launch.sent,monitor.created",
    ] {
        cut(&fixture, points, &words);
        fixture.ok(&["run", "-d", "--name", "other", "-p", PORT, "busybox", "sleep", "300"]);
        fixture.ok(&["rm", "-f", "other"]);
        fixture.ok(&["start", "victim"]);
        let status = fixture.ok(&["inspect", "-f", "{{.State.Status}}", "victim"]);
        assert_eq!(status, "running", "{points}");
        fixture.ok(&["rm", "-f", "victim"]);
        assert_empty(&fixture, points);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_whose_starter_was_killed_is_removed_with_its_processes() {
    let fixture = prepared();
    let words = ["run", "-d", "--name", "victim", "busybox", "sleep", "300"];
    for _ in 0..5 {
        cut(&fixture, "launch.sent", &words);
        // The monitor is on its way: removal waits for what comes of it.
        fixture.ok(&["rm", "-f", "victim"]);
        assert_empty(&fixture, "launch.sent");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_end_that_is_cut_off() {
    let fixture = prepared();
    for points in [
        "monitor.exited",
        "monitor.exited.recorded",
        "monitor.exited.announced",
        "monitor.deleted",
        "monitor.unmounted",
        "monitor.released",
        "container.remove.locked",
        "container.remove.committed",
        "container.remove.moved",
        "container.remove.moved:2",
        "volume.remove.committed",
        "volume.remove.renamed",
    ] {
        // In the foreground: the command removes the container.
        let words = [
            "run",
            "--rm",
            "--name",
            "victim",
            "-p",
            PORT,
            "-v",
            "precious:/data",
            "-v",
            "/anonymous",
            "busybox",
            "true",
        ];
        cut(&fixture, points, &words);
        heal(&fixture, points);
        fixture.ok(&["rm", "-f", "-v", "victim"]);
        assert_eq!(fixture.ok(&words), "", "{points}");
        wait_until("the end", LIMIT, || {
            let left = fixture.ok(&["ps", "-aq"]);
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
        assert_empty(&fixture, points);
    }
    for points in [
        "monitor.exited",
        "monitor.exited.recorded",
        "monitor.released",
        "container.remove.committed",
        "container.remove.volumes",
        "reap.swept",
    ] {
        // In the background: what the monitor starts at the end removes it. Only there is the point.
        let script = "sleep 0.1";
        let words = [
            "run",
            "--rm",
            "-d",
            "--name",
            "victim",
            "-v",
            "/anonymous",
            "busybox",
            "sh",
            "-c",
            script,
        ];
        cut(&fixture, points, &words);
        heal(&fixture, points);
        fixture.ok(&["rm", "-f", "-v", "victim"]);
        fixture.ok(&["volume", "prune", "-f"]);
        assert_empty(&fixture, points);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_removal_that_is_cut_off() {
    let fixture = prepared();
    for points in [
        "container.remove.locked",
        "container.remove.committed",
        "container.remove.moved",
        "container.remove.moved:2",
        "container.remove.renamed",
        "volume.remove.committed",
        "volume.remove.renamed",
        "container.remove.volumes",
    ] {
        let words = [
            "run",
            "-d",
            "--name",
            "victim",
            "-p",
            PORT,
            "-v",
            "precious:/data",
            "-v",
            "/anonymous",
            "busybox",
            "sleep",
            "300",
        ];
        fixture.ok(&words);
        assert_eq!(cut(&fixture, points, &["rm", "-f", "-v", "victim"]).code, 134, "{points}");
        heal(&fixture, points);
        let left = fixture.ok(&["ps", "-aq"]);
        assert_eq!(left.is_empty(), points != "container.remove.locked", "{points}");
        fixture.ok(&["rm", "-f", "-v", "victim"]);
        fixture.ok(&words);
        fixture.ok(&["rm", "-f", "-v", "victim"]);
        assert_empty(&fixture, points);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_killed_monitor_whose_settling_is_cut_off() {
    let fixture = prepared();
    for points in ["container.lost.seen", "container.lost.ended", "container.lost.committed"] {
        let words =
            ["run", "-d", "--rm", "--name", "victim", "-p", PORT, "busybox", "sleep", "300"];
        fixture.ok(&words);
        let monitors = fixture.processes();
        let (pid, _) = monitors.iter().find(|(_, words)| words.ends_with(" monitor")).unwrap();
        fixture.kill_now(*pid);
        wait_until("the monitor to be gone", LIMIT, || {
            let left = fixture.processes();
            if left.iter().any(|(other, _)| other == pid) {
                Err(format!("{left:?}"))
            } else {
                Ok(())
            }
        });
        assert_eq!(cut(&fixture, points, &["inspect", "victim"]).code, 134, "{points}");
        heal(&fixture, points);
        fixture.ok(&["rm", "-f", "-v", "victim"]);
        fixture.ok(&words);
        fixture.ok(&["rm", "-f", "-v", "victim"]);
        assert_empty(&fixture, points);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_volume_made_again_is_never_taken_for_the_one_that_was_removed() {
    let fixture = prepared();
    let again = fixture.root().join("volumes/again/_data/f");
    for points in [
        "volume.remove.locked",
        "volume.remove.committed",
        "volume.remove.renamed",
        "reap.swept",
        "reap.listed",
        "reap.forgotten",
        "reap.removed",
    ] {
        fixture.ok(&["volume", "create", "again"]);
        std::fs::write(&again, "old").unwrap();
        cut(&fixture, points, &["volume", "rm", "again"]);
        if points == "volume.remove.locked" {
            assert_eq!(std::fs::read_to_string(&again).unwrap(), "old");
            fixture.ok(&["volume", "rm", "again"]);
        }
        fixture.ok(&["volume", "create", "again"]);
        assert!(!again.exists(), "{points}: removed data came back");
        std::fs::write(&again, "new").unwrap();
        heal(&fixture, points);
        // Starts a reaper, which sweeps and empties the trash.
        fixture.ok(&["volume", "create", "spare"]);
        fixture.ok(&["volume", "rm", "spare"]);
        quiet(&fixture);
        heal(&fixture, points);
        assert_eq!(std::fs::read_to_string(&again).unwrap(), "new", "{points}");
        fixture.ok(&["volume", "rm", "again"]);
        assert_empty(&fixture, points);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_import_or_removal_of_an_image_that_is_cut_off() {
    let fixture = prepared();
    let tar = fixture.folder().join("small.tar");
    std::fs::write(&tar, Tar::new().file("small", b"content").finish()).unwrap();
    let tar = tar.to_str().unwrap();
    let import = ["import", tar, "small:1"];
    for points in [
        "layer.unpacked",
        "meta.publish.synced",
        "meta.publish.renamed",
        "meta.publish.done",
        "layer.published",
        "layer.committed",
        "image.import.layer",
        "image.import.committed",
    ] {
        assert_eq!(cut(&fixture, points, &import).code, 134, "{points}");
        let there = fixture.orlop(&["image", "inspect", "small:1"]).code == 0;
        assert_eq!(there, points == "image.import.committed", "{points}");
        heal(&fixture, points);
        fixture.ok(&import);
        fixture.ok(&["create", "--name", "one", "small:1", "/none"]);
        fixture.ok(&["rm", "one"]);
        fixture.ok(&["rmi", "small:1"]);
        fixture.orlop(&["image", "prune", "-a", "-f", "--filter", "label=none"]).ok();
        for id in fixture.ok(&["images", "-q", "--filter", "dangling=true"]).lines() {
            fixture.ok(&["rmi", id]);
        }
        assert_empty(&fixture, points);
    }
    for points in ["image.remove.committed", "layer.removed", "layer.moved", "layer.moved:2"] {
        fixture.ok(&import);
        fixture.ok(&["create", "--name", "one", "small:1", "/none"]);
        fixture.ok(&["rm", "one"]);
        // A reaper at work would do it in its stead.
        quiet(&fixture);
        assert_eq!(cut(&fixture, points, &["rmi", "small:1"]).code, 134, "{points}");
        // Imported again before anybody swept: its initial layer is a new one.
        fixture.ok(&import);
        fixture.ok(&["create", "--name", "one", "small:1", "/none"]);
        heal(&fixture, points);
        assert_eq!(
            fixture.orlop(&["start", "one"]).stderr.matches("no such file").count(),
            1,
            "{points}: it is mounted and lacks only its program"
        );
        fixture.ok(&["rm", "one"]);
        fixture.ok(&["rmi", "small:1"]);
        assert_empty(&fixture, points);
    }
}
