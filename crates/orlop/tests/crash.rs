//! Killing our own processes at any moment loses no data and leaves nothing that cannot be healed.
#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const ROUNDS: u64 = 50;

/// Heals the store and asserts that a second look finds nothing.
fn repair(fixture: &Fixture) {
    let repaired = fixture.orlop(&["system", "check", "--repair"]);
    assert_eq!(repaired.code, 0, "{repaired}");
    fixture.ok(&["system", "check"]);
    fixture.assert_nothing_mounted();
}

/// Numbers that look random and are the same in every run (Knuth's linear congruential generator).
struct Moments(u64);

impl Moments {
    fn next_within(&mut self, micros: u64) -> Duration {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.0 >> 33) % micros)
    }
}

fn monitors(fixture: &Fixture) -> Vec<i32> {
    let all = fixture.processes();
    all.into_iter().filter(|(_, words)| words.ends_with(" monitor")).map(|(pid, _)| pid).collect()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn killing_run_at_any_moment_loses_nothing() {
    let fixture = fixture!(busybox);
    fixture.ok(&[
        "run",
        "--rm",
        "-v",
        "precious:/data",
        "busybox",
        "sh",
        "-c",
        "echo kept > /data/f; sync",
    ]);
    // How long an undisturbed start takes decides which moments are interesting.
    let started = std::time::Instant::now();
    fixture.ok(&["run", "--rm", "busybox", "true"]);
    let span = u64::try_from(started.elapsed().as_micros()).unwrap().max(10_000) * 2;
    let mut moments = Moments(2026);
    for round in 0..ROUNDS {
        let name = format!("victim-{round}");
        let mut command = fixture.command(&[
            "run",
            "-d",
            "--name",
            &name,
            "-v",
            "precious:/data",
            "-v",
            "/anonymous",
            "busybox",
            "sleep",
            "300",
        ]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let wait = moments.next_within(span);
        std::thread::sleep(wait);
        child.kill().unwrap();
        child.wait().unwrap();
        // The store stays usable at once, without any repair.
        let listed = fixture.orlop(&["ps", "-a"]);
        assert_eq!(listed.code, 0, "round {round}, killed after {wait:?}: {listed}");
        fixture.assert_nothing_mounted();
    }
    repair(&fixture);
    let kept = fixture.ok(&["run", "--rm", "-v", "precious:/data", "busybox", "cat", "/data/f"]);
    assert_eq!(kept, "kept");
    // Whatever came to life can be removed like any other container.
    let ids = fixture.ok(&["ps", "-aq"]);
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if !ids.is_empty() {
        fixture.ok(&[&["rm", "-f", "-v"], ids.as_slice()].concat());
    }
    assert_eq!(
        fixture.ok(&["volume", "ls", "-q"]).lines().filter(|name| *name == "precious").count(),
        1
    );
    repair(&fixture);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn killing_the_monitor_loses_no_data_and_the_container_can_be_removed() {
    let fixture = fixture!(busybox);
    let script = "echo kept > /data/f; echo layer > /f; sync; echo ready; exec sleep 300";
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "-v",
        "data:/data",
        "-p",
        "127.0.0.1:18081:80",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    wait_until("the container to be ready", LIMIT, || {
        let log = fixture.ok(&["logs", "one"]);
        if log == "ready" { Ok(()) } else { Err(log) }
    });
    let pids = monitors(&fixture);
    assert_eq!(pids.len(), 1, "{:?}", fixture.processes());
    fixture.kill_now(pids[0]);
    wait_until("the state to tell", LIMIT, || {
        let seen = fixture.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "one"]);
        if seen == "exited 255" || seen == "exited 137" { Ok(()) } else { Err(seen) }
    });
    fixture.assert_nothing_mounted();
    repair(&fixture);
    // Its name, its volume and its port are free again.
    fixture.ok(&["rm", "-f", "one"]);
    let words = [
        "run",
        "--rm",
        "--name",
        "one",
        "-v",
        "data:/data",
        "-p",
        "127.0.0.1:18081:80",
        "busybox",
        "cat",
        "/data/f",
    ];
    assert_eq!(fixture.ok(&words), "kept");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn killing_import_leaves_no_half_image() {
    let fixture = fixture!(busybox);
    let tar = fixture.folder().join("root.tar");
    let mut archive = orlop_testkit::tar::Tar::new();
    let content = vec![b'x'; 64 * 1024];
    for number in 0..300 {
        archive = archive.file(&format!("file-{number}"), &content);
    }
    std::fs::write(&tar, archive.finish()).unwrap();
    let mut moments = Moments(7);
    for _ in 0..15 {
        let mut command = fixture.command(&["import", tar.to_str().unwrap(), "half:1"]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moments.next_within(400_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let listed = fixture.ok(&["images", "--format", "{{.Repository}}"]);
        // An import that was quick enough moves the tag; the image before it is then without a name.
        assert!(
            listed.lines().all(|name| ["busybox", "half", "<none>"].contains(&name)),
            "{listed}"
        );
    }
    repair(&fixture);
    assert_eq!(fixture.ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine");
    fixture.ok(&["import", tar.to_str().unwrap(), "half:1"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn killing_the_monitor_at_any_moment_of_a_start_leaves_nothing_that_cannot_be_healed() {
    let fixture = fixture!(busybox);
    fixture.ok(&[
        "run",
        "--rm",
        "-v",
        "precious:/data",
        "busybox",
        "sh",
        "-c",
        "echo kept > /data/f; sync",
    ]);
    let mut moments = Moments(41);
    for round in 0..20 {
        let name = format!("victim-{round}");
        wait_until("the monitor before to be gone", LIMIT, || {
            let left = monitors(&fixture);
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        let words =
            ["run", "-d", "--name", &name, "-v", "precious:/data", "busybox", "sleep", "300"];
        let mut child = fixture
            .command(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Wait for the monitor itself, then for a moment of its life.
        let pid = wait_until("the monitor to appear", LIMIT, || {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "round {round}: {status}");
            }
            monitors(&fixture).first().copied().ok_or_else(|| "none".to_owned())
        });
        std::thread::sleep(moments.next_within(40_000));
        fixture.kill_now(pid);
        // Whether it was told of a start or of a failure, the command ends by itself.
        wait_until("run to end", LIMIT, || {
            child.try_wait().unwrap().ok_or_else(|| "it waits".to_owned())
        });
        wait_until("the container to be over", LIMIT, || {
            let seen = fixture.ok(&["ps", "-q", "--filter", &format!("name={name}")]);
            if seen.is_empty() {
                return Ok(());
            }
            Err(format!(
                "{seen}: {pid} was killed in round {round}, there are {:?}",
                fixture.processes()
            ))
        });
        fixture.assert_nothing_mounted();
        assert_eq!(fixture.orlop(&["rm", "-f", "-v", &name]).code, 0, "round {round}");
    }
    repair(&fixture);
    assert_eq!(
        fixture.ok(&["run", "--rm", "-v", "precious:/data", "busybox", "cat", "/data/f"]),
        "kept"
    );
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
}
