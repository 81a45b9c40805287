//! What only those meet who kill, hurry, or mean ill.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use orlop_testkit::{fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_files_of_a_container_that_was_to_remove_itself_can_be_had() {
    let fixture = fixture!();
    fixture.busybox();
    let mut command = fixture.command(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "brief",
        "busybox",
        "sh",
        "-c",
        "echo kept >/result",
    ]);
    // Its monitor is killed before it has somebody remove the container.
    command.env("ORLOP_FAULT", "monitor.released");
    let started = run(&mut command, b"", LIMIT);
    assert_eq!(started.code, 0, "{started}");
    wait_until("the end of the container", LIMIT, || {
        match fixture.ok(&["ps", "-a", "--format", "{{.State}}"]).as_str() {
            "exited" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let target = fixture.directory("out").join("result");
    let _ = fixture.ok(&["cp", "brief:/result", target.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(target).unwrap(), "kept\n");
    let checked = fixture.orlop(&["system", "check", "--repair"]);
    assert_eq!(checked.code, 0, "{checked}");
    assert_eq!(fixture.ok(&["ps", "-a", "--quiet"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_health_check_that_leaves_printers_behind_does_not_hold_up_its_container() {
    let fixture = fixture!();
    fixture.busybox();
    let _ = fixture.ok(&[
        "run",
        "-d",
        "--name",
        "loud",
        "--health-cmd",
        "yes & yes & yes & true",
        "--health-interval",
        "200ms",
        "busybox",
        "sh",
        "-c",
        "trap 'echo asked; exit 0' USR1; while :; do sleep 0.1; done",
    ]);
    let health = || fixture.ok(&["inspect", "-f", "{{.State.Health.Status}}", "loud"]);
    wait_until("the health to be known", LIMIT, || match health().as_str() {
        "healthy" => Ok(()),
        other => Err(other.to_owned()),
    });
    let _ = fixture.ok(&["kill", "-s", "USR1", "loud"]);
    assert_eq!(fixture.ok(&["wait", "loud"]), "0");
    assert_eq!(fixture.ok(&["logs", "loud"]), "asked");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_restart_that_waits_for_a_copy_can_be_stopped() {
    let fixture = fixture!();
    fixture.busybox();
    let script = "[ -f /big ] || dd if=/dev/zero of=/big bs=1M count=20; \
                  while [ ! -f /go ]; do sleep 0.1; done; exit 1";
    let words = ["run", "-d", "--name", "again", "--restart", "always", "busybox", "sh", "-c"];
    let _ = fixture.ok(&[&words[..], &[script]].concat());
    wait_until("the file to copy", LIMIT, || {
        let output = fixture.orlop(&["exec", "again", "sh", "-c", "[ -f /big ]"]);
        if output.code == 0 { Ok(()) } else { Err(output.stderr) }
    });
    // Nobody reads what the copy writes.
    let mut copy = fixture.command(&["cp", "again:/", "-"]);
    let mut copy = copy.stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(copy.stdout.as_mut().unwrap(), &mut [0; 512]).unwrap();
    let _ = fixture.ok(&["exec", "again", "touch", "/go"]);
    let state = || fixture.ok(&["inspect", "-f", "{{.State.Status}}", "again"]);
    wait_until("the restart to wait", LIMIT, || match state().as_str() {
        "restarting" => Ok(()),
        other => Err(other.to_owned()),
    });
    // Longer than the pause before the restart.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(state(), "restarting");
    let _ = fixture.ok(&["stop", "-t", "1", "again"]);
    assert_eq!(state(), "exited");
    copy.kill().unwrap();
    copy.wait().unwrap();
    let _ = fixture.ok(&["start", "again"]);
    let _ = fixture.ok(&["rm", "-f", "again"]);
}
