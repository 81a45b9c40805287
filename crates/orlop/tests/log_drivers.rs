//! Log drivers: what is kept, rotated, compressed and shown.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Runs a script to its end in a container of this name.
#[track_caller]
fn finished(fixture: &Fixture, name: &str, flags: &[&str], script: &str) {
    let words = [&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", script]].concat();
    let _ = fixture.ok(&words);
    let _ = fixture.ok(&["wait", name]);
}

#[track_caller]
fn directory(fixture: &Fixture, name: &str) -> PathBuf {
    let id = fixture.ok(&["inspect", "--format", "{{.Id}}", name]);
    fixture.root().join("containers").join(id)
}

fn names(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn json_files_are_rotated_and_compressed() {
    let fixture = fixture!(busybox);
    let script = "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; sleep 0.01; done";
    let flags = ["--log-opt", "max-size=150", "--log-opt", "max-file=3"];
    finished(&fixture, "plain", &flags, script);
    assert_eq!(fixture.ok(&["logs", "plain"]), "line 5\nline 6\nline 7\nline 8\nline 9");
    let flags = [&flags[..], &["--log-opt", "compress=true"]].concat();
    finished(&fixture, "packed", &flags, script);
    assert_eq!(fixture.ok(&["logs", "packed"]), "line 5\nline 6\nline 7\nline 8\nline 9");
    assert_eq!(fixture.ok(&["logs", "--tail", "2", "packed"]), "line 8\nline 9");
    let id = fixture.ok(&["inspect", "--format", "{{.Id}}", "packed"]);
    let kept: Vec<String> = names(&directory(&fixture, "packed"))
        .into_iter()
        .filter_map(|name| name.strip_prefix(&id).map(str::to_owned))
        .collect();
    assert_eq!(kept, ["-json.log", "-json.log.1.gz", "-json.log.2.gz"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn details_and_times_stand_before_the_lines() {
    let fixture = fixture!(busybox);
    let flags = [
        "--label",
        "tier=a b",
        "-e",
        "ZONE=x",
        "--log-opt",
        "labels=tier",
        "--log-opt",
        "env=ZONE",
        "--log-opt",
        "tag={{.Name}}",
    ];
    finished(&fixture, "box", &flags, "echo hello");
    assert_eq!(fixture.ok(&["logs", "box"]), "hello");
    assert_eq!(fixture.ok(&["logs", "--details", "box"]), "ZONE=x,tag=box,tier=a+b hello");
    let timed = fixture.ok(&["logs", "-t", "box"]);
    assert!(timed.ends_with("Z hello") && timed.len() == "hello".len() + 31, "{timed}");
    finished(&fixture, "bare", &[], "echo hello");
    assert_eq!(fixture.orlop(&["logs", "--details", "bare"]).stdout, " hello\n");
    let path = fixture.ok(&["inspect", "--format", "{{.LogPath}}", "box"]);
    let text = std::fs::read_to_string(path).unwrap();
    let attributes = "\"attrs\":{\"ZONE\":\"x\",\"tag\":\"box\",\"tier\":\"a b\"}";
    assert!(
        text.starts_with("{\"log\":\"hello\\n\",\"stream\":\"stdout\",")
            && text.contains(attributes),
        "{text}"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_local_driver_keeps_its_own_format() {
    let fixture = fixture!(busybox);
    let script =
        "for n in 1 2 3 4 5 6; do echo line $n; sleep 0.01; done; echo err >&2; printf part";
    let flags = ["--log-driver", "local", "--log-opt", "max-size=100", "--log-opt", "max-file=3"];
    finished(&fixture, "small", &flags, script);
    let output = fixture.orlop(&["logs", "small"]);
    assert!(output.stdout.ends_with("line 6\npart"), "{output}");
    assert_eq!(output.stderr, "err\n");
    assert_eq!(fixture.orlop(&["logs", "-n", "1", "small"]).stdout, "part");
    let kept = names(&directory(&fixture, "small").join("local-logs"));
    assert_eq!(kept, ["container.log", "container.log.1.gz", "container.log.2.gz"]);
    finished(&fixture, "large", &["--log-driver", "local"], script);
    let all = fixture.orlop(&["logs", "large"]).stdout;
    assert_eq!(all, "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\npart");
    assert_eq!(fixture.ok(&["inspect", "--format", "{{.LogPath}}", "large"]), "");
    // A later run goes on where the last one has ended, also after a torn record.
    let file = directory(&fixture, "large").join("local-logs/container.log");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(&[0, 0, 0, 40, 10, 6]);
    std::fs::write(&file, bytes).unwrap();
    let _ = fixture.ok(&["start", "-a", "large"]);
    assert_eq!(fixture.orlop(&["logs", "large"]).stdout, format!("{all}{all}"));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn no_log_and_other_drivers() {
    let fixture = fixture!(busybox);
    finished(&fixture, "quiet", &["--log-driver", "none"], "echo lost");
    let refused = fixture.fails(1, &["logs", "quiet"]);
    assert!(refused.contains("configured logging driver does not support reading"), "{refused}");
    let refused = fixture.fails(1, &["create", "--log-driver", "nosuch", "busybox"]);
    assert!(
        refused.contains("error looking up logging plugin nosuch: plugin \"nosuch\" not found"),
        "{refused}"
    );
    let flags = ["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=1m"];
    finished(&fixture, "loose", &flags, "echo kept");
    assert_eq!(fixture.ok(&["logs", "loose"]), "kept");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_follower_sees_every_line_once_through_rotation() {
    let fixture = fixture!(busybox);
    for driver in ["json-file", "local"] {
        let script = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo line $n; [ $((n % 20)) != 0 ] || sleep 0.05; done";
        let words = [
            "run",
            "-d",
            "--name",
            driver,
            "--log-driver",
            driver,
            "--log-opt",
            "max-size=2k",
            "--log-opt",
            "max-file=50",
            "--log-opt",
            "compress=true",
            "busybox",
            "sh",
            "-c",
            script,
        ];
        let _ = fixture.ok(&words);
        let followed = fixture.ok(&["logs", "-f", driver]);
        let want: Vec<String> = (1..=300).map(|number| format!("line {number}")).collect();
        assert_eq!(followed.lines().collect::<Vec<_>>(), want, "{driver}");
        wait_until("the end of the container", LIMIT, || {
            let status = fixture.ok(&["inspect", "--format", "{{.State.Status}}", driver]);
            if status == "exited" { Ok(()) } else { Err(status) }
        });
        assert_eq!(fixture.ok(&["logs", driver]).lines().count(), 300);
    }
}
