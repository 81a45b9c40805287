//! Health checks: what they come to, where it is shown, and that a probe hurts nobody.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use orlop_testkit::{Fixture, fixture, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A store with the busybox image and one of it for each health check.
fn images(checks: &[(&str, &str)]) -> Fixture {
    let fixture = fixture!(busybox);
    let tar = fixture.busybox_tar();
    for (name, check) in checks {
        let change = format!("HEALTHCHECK {check}");
        fixture.ok(&["import", "--change", &change, &tar, name]);
    }
    fixture
}

fn status(fixture: &Fixture) -> String {
    fixture.ok(&["ps", "--format", "{{.Status}}"])
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn probes_decide_what_is_shown_listed_and_told() {
    let check = "--interval=200ms --retries=3 CMD echo looked; test -f /well || exit 3";
    let fixture = images(&[("checked", check)]);
    fixture.ok(&["run", "-d", "--name", "box", "checked", "sleep", "300"]);
    fixture.wait_for("box", "{{.State.Health.Status}}", "unhealthy");
    assert!(status(&fixture).ends_with(" (unhealthy)"), "{}", status(&fixture));
    let streak: u32 = fixture.inspect("box", "{{.State.Health.FailingStreak}}").parse().unwrap();
    assert!(streak >= 3, "{streak}");
    let last = "{{(index .State.Health.Log 0).ExitCode}} {{(index .State.Health.Log 0).Output}}";
    assert_eq!(fixture.inspect("box", last), "3 looked\n");
    fixture.ok(&["exec", "box", "touch", "/well"]);
    let healthy = "{{.State.Health.Status}} {{.State.Health.FailingStreak}}";
    fixture.wait_for("box", healthy, "healthy 0");
    assert!(status(&fixture).ends_with(" (healthy)"), "{}", status(&fixture));
    fixture.wait_for("box", "{{len .State.Health.Log}}", "5");
    for (health, found) in [("healthy", "box"), ("unhealthy", ""), ("none", ""), ("starting", "")] {
        let filter = format!("health={health}");
        let names = fixture.ok(&["ps", "--filter", &filter, "--format", "{{.Names}}"]);
        assert_eq!(names, found, "{health}");
    }
    let refused = fixture.fails(1, &["ps", "--filter", "health=fine"]);
    let text = "invalid filter 'health=fine': invalid value for health (fine): \
                must be one of none, starting, healthy, unhealthy";
    assert!(refused.ends_with(text), "{refused}");
    let told = fixture.events(&["event=health_status"], "{{.Action}}");
    assert_eq!(told, "health_status: unhealthy\nhealth_status: healthy");
    let command = "/bin/sh -c echo looked; test -f /well || exit 3";
    let told =
        fixture.events(&["event=exec_start"], "{{.Action}}|{{len .Actor.Attributes.execID}}");
    assert_eq!(told.lines().next(), Some(format!("exec_start: {command}|64").as_str()));
    // A container that does not run is not well.
    fixture.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(fixture.inspect("box", "{{.State.Health.Status}}"), "unhealthy");
    fixture.ok(&["start", "box"]);
    fixture.wait_for("box", "{{.State.Health.Status}}", "healthy");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_start_period_forgives_failures() {
    let slow = "--interval=1h --start-period=1h --start-interval=200ms --retries=1 \
                CMD test -f /well";
    let fixture = images(&[("slow", slow)]);
    fixture.ok(&["run", "-d", "--name", "box", "slow", "sleep", "300"]);
    fixture.wait_for("box", "{{len .State.Health.Log}}", "5");
    let state = "{{.State.Health.Status}} {{.State.Health.FailingStreak}}";
    assert_eq!(fixture.inspect("box", state), "starting 0");
    assert!(status(&fixture).ends_with(" (health: starting)"), "{}", status(&fixture));
    fixture.ok(&["exec", "box", "touch", "/well"]);
    fixture.wait_for("box", state, "healthy 0");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn probes_that_hang_flood_or_do_not_exist() {
    let fixture = images(&[
        (
            "hangs",
            "--interval=200ms --timeout=300ms --retries=1 CMD [\"sh\", \"-c\", \"echo x; exec sleep 7777\"]",
        ),
        ("floods", "--interval=200ms --retries=1 CMD yes | head -c 1000000"),
        ("missing", "--interval=200ms --retries=1 CMD [\"nosuch\"]"),
    ]);
    let first = "{{with .State.Health.Log}}{{(index . 0).ExitCode}} {{(index . 0).Output}}{{end}}";
    let result = |name: &str| {
        fixture.ok(&["run", "-d", "--name", name, name, "sleep", "300"]);
        wait_until("the first result", LIMIT, || {
            let seen = fixture.inspect(name, first);
            if seen.is_empty() { Err(seen) } else { Ok(seen) }
        })
    };
    assert_eq!(result("hangs"), "-1 Health check exceeded timeout (300ms): x\n");
    fixture.wait_for("hangs", "{{.State.Health.Status}}", "unhealthy");
    // The probe that took too long is gone: never more than the one that runs now.
    let processes = fixture.ok(&["top", "hangs"]);
    assert!(processes.matches("sleep 7777").count() <= 1, "{processes}");
    assert_eq!(result("floods"), format!("0 {}...", "y\n".repeat(2048)));
    let output = result("missing");
    let text = "-1 exec: \"nosuch\": executable file not found in $PATH";
    assert!(output.contains(text), "{output}");
    // A container's end does not wait for its probe.
    for name in ["hangs", "floods", "missing"] {
        let begin = Instant::now();
        fixture.ok(&["rm", "-f", name]);
        assert!(begin.elapsed() < Duration::from_secs(10), "{name}: {:?}", begin.elapsed());
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_hanging_probe_keeps_neither_input_nor_output_open() {
    let hangs = "--interval=100ms --timeout=1h CMD exec sleep 7777";
    let fixture = images(&[("hangs", hangs)]);
    let begin = Instant::now();
    let script = "sleep 1; cat; echo end";
    let output =
        fixture.orlop_with_input(&["run", "-i", "--rm", "hangs", "sh", "-c", script], b"typed\n");
    assert_eq!((output.code, output.stdout.as_str()), (0, "typed\nend\n"), "{output}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn nobody_probes_a_paused_container_or_one_without_a_check() {
    let check = "--interval=100ms CMD echo probe >> /probes";
    let fixture = images(&[("checked", check)]);
    let none = fixture.busybox_tar();
    fixture.ok(&["import", "--change", "HEALTHCHECK NONE", &none, "none"]);
    for image in ["none", "busybox"] {
        fixture.ok(&["run", "-d", "--name", image, image, "sleep", "300"]);
        assert!(!fixture.ok(&["inspect", image]).contains("\"Health\""), "{image}");
        let refused = fixture.fails(1, &["inspect", "-f", "{{.State.Health.Status}}", image]);
        let text = "template parsing error: template: :1:8: executing \"\" at \
                    <.State.Health.Status>: map has no entry for key \"Health\"";
        assert!(refused.ends_with(text), "{refused}");
    }
    let names = fixture.ok(&["ps", "--filter", "health=none", "--format", "{{.Names}}"]);
    assert_eq!(names, "busybox\nnone");
    fixture.ok(&["run", "-d", "--name", "box", "checked", "sleep", "300"]);
    fixture.wait_for("box", "{{.State.Health.Status}}", "healthy");
    fixture.ok(&["pause", "box"]);
    assert_eq!(
        fixture.inspect("box", "{{.State.Status}} {{.State.Health.Status}}"),
        "paused unhealthy"
    );
    assert!(status(&fixture).contains("(Paused)"), "{}", status(&fixture));
    let probes = || fixture.ok(&["cp", "box:/probes", "-"]).matches("probe\n").count();
    // One that was on its way when the container was paused may still be there.
    std::thread::sleep(Duration::from_millis(300));
    let before = probes();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(probes(), before);
    fixture.ok(&["unpause", "box"]);
    fixture.wait_for("box", "{{.State.Health.Status}}", "healthy");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_monitor_that_is_killed_while_it_probes_leaves_nothing() {
    let fixture = images(&[("hangs", "--interval=100ms --timeout=1h CMD exec sleep 7777")]);
    fixture.ok(&["run", "-d", "--name", "box", "hangs", "sleep", "300"]);
    wait_until("a probe", LIMIT, || {
        let seen = fixture.ok(&["top", "box"]);
        if seen.contains("sleep 7777") { Ok(()) } else { Err(seen) }
    });
    // The probe's helper is a copy of the monitor: only the one that is a parent is killed.
    let first: i32 = fixture.inspect("box", "{{.State.Pid}}").parse().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    fixture.kill_now(parent.parse().unwrap());
    fixture.wait_for("box", "{{.State.Status}} {{.State.ExitCode}}", "exited 137");
    wait_until("the last process to end", LIMIT, || {
        let left = fixture.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    fixture.ok(&["start", "box"]);
    fixture.ok(&["rm", "-f", "box"]);
}
