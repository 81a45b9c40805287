//! Restart policies: when a container comes back, when it does not, and that nothing is lost when
//! whoever is at work is cut off.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use orlop_testkit::{Fixture, fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// Waits until a container has been started again so often.
fn wait_for_restarts(fixture: &Fixture, name: &str, least: u32) {
    wait_until(&format!("{least} restarts"), LIMIT, || {
        let seen = fixture.inspect(name, "{{.RestartCount}}");
        if seen.parse::<u32>().unwrap() >= least { Ok(()) } else { Err(seen) }
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn on_failure_tries_so_often_and_keeps_log_and_layer() {
    let fixture = fixture!(busybox);
    let script = "echo run >> /file; echo out; exit 3";
    let words =
        ["run", "-d", "--name", "box", "--restart", "on-failure:2", "busybox", "sh", "-c", script];
    fixture.ok(&words);
    fixture.wait_for(
        "box",
        "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}",
        "exited 3 2",
    );
    assert_eq!(fixture.ok(&["logs", "box"]), "out\nout\nout");
    fixture.ok(&["cp", "box:/file", &fixture.folder().join("file").display().to_string()]);
    assert_eq!(std::fs::read_to_string(fixture.folder().join("file")).unwrap(), "run\n".repeat(3));
    let actions = fixture
        .events(&["container=box", "event=start", "event=die", "event=restart"], "{{.Action}}");
    assert_eq!(actions, "start\ndie\nstart\ndie\nstart\ndie");
    // A start by hand begins to count anew.
    fixture.ok(&["start", "box"]);
    fixture.wait_for("box", "{{.State.Status}} {{.RestartCount}}", "exited 2");
    assert_eq!(fixture.ok(&["logs", "box"]).lines().count(), 6);
    // Success is no failure.
    let words = ["run", "-d", "--name", "fine", "--restart", "on-failure", "busybox", "true"];
    fixture.ok(&words);
    fixture.wait_for("fine", "{{.State.Status}} {{.RestartCount}}", "exited 0");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn always_comes_back_with_its_network_and_mounts_until_it_is_stopped() {
    let fixture = fixture!(busybox);
    let serve = "echo hello > /www/index; mkdir -p /tmp/x; echo pid >> /data/starts; \
                 exec httpd -f -p 80 -h /www";
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--restart",
        "always",
        "-p",
        "127.0.0.1:18099:80",
        "-v",
        "data:/data",
        "--tmpfs",
        "/www",
        "busybox",
        "sh",
        "-c",
        serve,
    ];
    fixture.ok(&words);
    for round in 1..=2 {
        wait_until("an answer", LIMIT, || {
            orlop_testkit::http_get("127.0.0.1:18099", "/index")
                .and_then(|(_, body)| if body == "hello\n" { Ok(()) } else { Err(body) })
        });
        let pid: i32 = fixture.inspect("web", "{{.State.Pid}}").parse().unwrap();
        fixture.kill_now(pid);
        wait_for_restarts(&fixture, "web", round);
        fixture.wait_for("web", "{{.State.Status}}", "running");
    }
    let starts = fixture.root().join("volumes/data/_data/starts");
    wait_until("the third start", LIMIT, || {
        let seen = std::fs::read_to_string(&starts).unwrap();
        if seen == "pid\n".repeat(3) { Ok(()) } else { Err(seen) }
    });
    // An end by the user is an end, whoever looks.
    fixture.ok(&["stop", "-t", "0", "web"]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fixture.inspect("web", "{{.State.Status}}"), "exited");
    // Started by hand, the policy holds again.
    fixture.ok(&["start", "web"]);
    let pid: i32 = fixture.inspect("web", "{{.State.Pid}}").parse().unwrap();
    fixture.kill_now(pid);
    wait_for_restarts(&fixture, "web", 1);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_between_two_runs_is_shown_stopped_killed_and_removed() {
    let fixture = fixture!(busybox);
    for (index, end) in
        [&["stop"][..], &["kill"], &["kill", "-s", "HUP"], &["rm", "-f"]].into_iter().enumerate()
    {
        // Not the beginning of any id.
        let name = format!("turn{index}");
        let words = ["run", "-d", "--name", &name, "--restart", "always", "busybox", "false"];
        fixture.ok(&words);
        // Late enough that the next start is seconds away.
        wait_for_restarts(&fixture, &name, 5);
        fixture.wait_for(&name, "{{.State.Status}}", "restarting");
        let state = "{{.State.Running}} {{.State.Restarting}} {{.State.Pid}} {{.State.ExitCode}}";
        assert_eq!(fixture.inspect(&name, state), "true true 0 1");
        let filter = format!("name={name}");
        let status = fixture.ok(&["ps", "--filter", &filter, "--format", "{{.Status}}"]);
        assert!(status.starts_with("Restarting (1) "), "{status}");
        let id = fixture.inspect(&name, "{{.Id}}");
        let refused = fixture.fails(1, &["exec", &name, "true"]);
        assert!(
            refused.contains(&format!(
                "Container {name} is restarting, wait until the container is running"
            )),
            "{refused}"
        );
        let refused = fixture.fails(1, &["attach", &name]);
        let text = "You cannot attach to a restarting container, wait until it is running";
        assert!(refused.ends_with(text), "{refused}");
        let refused = fixture.fails(1, &["pause", &name]);
        assert!(refused.contains(&format!("Container {id} is restarting")), "{refused}");
        let refused = fixture.fails(1, &["rm", &name]);
        assert!(
            refused.contains("container is restarting: stop the container before"),
            "{refused}"
        );
        fixture.ok(&[end, &[&name]].concat());
        if end[0] != "rm" {
            fixture.wait_for(&name, "{{.State.Status}} {{.State.ExitCode}}", "exited 1");
        } else {
            let refused = fixture.fails(1, &["inspect", &name]);
            assert!(refused.to_lowercase().contains("no such"), "{refused}");
        }
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn any_signal_ends_restarts_unless_the_image_has_a_stop_signal() {
    let fixture = fixture!(busybox);
    let script = "trap : HUP; while :; do sleep 0.1; done";
    let start = |name: &str, extra: &[&str]| {
        let words = ["run", "-d", "--name", name, "--restart", "always"];
        let command = ["busybox", "sh", "-c", script];
        fixture.ok(&[&words[..], extra, &command].concat());
    };
    let end_by_itself = |name: &str| {
        let pid: i32 = fixture.inspect(name, "{{.State.Pid}}").parse().unwrap();
        fixture.kill_now(pid);
    };
    start("plain", &[]);
    fixture.ok(&["kill", "-s", "HUP", "plain"]);
    assert_eq!(fixture.inspect("plain", "{{.State.Status}}"), "running");
    end_by_itself("plain");
    fixture.wait_for("plain", "{{.State.Status}} {{.RestartCount}}", "exited 0");
    start("chosen", &["--stop-signal", "INT"]);
    fixture.ok(&["kill", "-s", "HUP", "chosen"]);
    end_by_itself("chosen");
    wait_for_restarts(&fixture, "chosen", 1);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_attached_command_sees_the_first_run_and_wait_every_end() {
    let fixture = fixture!(busybox);
    let script = "echo run; sleep 0.2; exit 7";
    let words = ["run", "--name", "box", "--restart", "always", "busybox", "sh", "-c", script];
    let output = fixture.orlop(&words);
    assert_eq!((output.code, output.stdout.as_str()), (7, "run\n"), "{output}");
    assert_eq!(fixture.ok(&["wait", "box"]), "7");
    assert_eq!(fixture.ok(&["wait", "box"]), "7");
    fixture.ok(&["stop", "box"]);
    assert_eq!(fixture.ok(&["wait", "box"]), "7");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_update_of_the_policy_holds_from_the_next_end_on() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "-d", "--name", "box", "--restart", "always", "busybox", "sleep", "300"]);
    fixture.ok(&["update", "--restart", "no", "box"]);
    let pid: i32 = fixture.inspect("box", "{{.State.Pid}}").parse().unwrap();
    fixture.kill_now(pid);
    fixture.wait_for("box", "{{.State.Status}} {{.RestartCount}}", "exited 0");
    fixture.ok(&["start", "box"]);
    fixture.ok(&["update", "--restart", "unless-stopped", "box"]);
    let pid: i32 = fixture.inspect("box", "{{.State.Pid}}").parse().unwrap();
    fixture.kill_now(pid);
    wait_for_restarts(&fixture, "box", 1);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn start_all_starts_what_docker_starts_with_its_daemon() {
    let fixture = fixture!(busybox);
    let policies = ["always", "unless-stopped", "on-failure", "no"];
    for policy in policies {
        let name = format!("lost-{policy}");
        let words = ["run", "-d", "--name", &name, "--restart", policy, "busybox", "sleep", "300"];
        fixture.ok(&words);
        let name = format!("stopped-{policy}");
        let words = ["run", "-d", "--name", &name, "--restart", policy, "busybox", "sleep", "300"];
        fixture.ok(&words);
        fixture.ok(&["stop", "-t", "0", &name]);
    }
    fixture.ok(&["create", "--name", "never", "--restart", "always", "busybox", "sleep", "300"]);
    // As when the machine's power goes: the monitors are gone with everything they ran.
    for (pid, words) in fixture.processes() {
        if words.contains(" monitor") {
            fixture.kill_now(pid);
        }
    }
    wait_until("the monitors to be gone", LIMIT, || {
        let left: Vec<_> = fixture.processes();
        let left = left.iter().filter(|(_, words)| words.contains(" monitor")).count();
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    });
    let mut started: Vec<String> =
        fixture.ok(&["system", "start-all"]).lines().map(str::to_owned).collect();
    started.sort();
    let expected = [
        "lost-always",
        "lost-on-failure",
        "lost-unless-stopped",
        "stopped-always",
        // Stopped by a signal: that is a failure, and below the maximum.
        "stopped-on-failure",
    ];
    assert_eq!(started, expected);
    let mut running: Vec<String> =
        fixture.ok(&["ps", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect();
    running.sort();
    assert_eq!(running, expected);
    assert_eq!(fixture.ok(&["system", "start-all"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_auto_remove_container_survives_restart_and_has_no_policy() {
    let fixture = fixture!(busybox);
    let words = ["run", "--rm", "--restart", "always", "busybox", "true"];
    let refused = fixture.fails(125, &words);
    assert!(refused.contains("--restart") && refused.contains("--rm"), "{refused}");
    let script = "echo x >> /file; cat /file; exec sleep 300";
    fixture.ok(&["run", "-d", "--rm", "--name", "box", "busybox", "sh", "-c", script]);
    let id = fixture.inspect("box", "{{.Id}}");
    for _ in 0..3 {
        fixture.ok(&["restart", "-t", "0", "box"]);
        assert_eq!(fixture.inspect("box", "{{.Id}} {{.State.Status}}"), format!("{id} running"));
    }
    wait_until("four starts", LIMIT, || {
        let seen = fixture.ok(&["exec", "box", "cat", "/file"]);
        if seen.lines().count() == 4 { Ok(()) } else { Err(seen) }
    });
    fixture.ok(&["stop", "-t", "0", "box"]);
    wait_until("the removal", LIMIT, || {
        let left = fixture.ok(&["ps", "-aq"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_auto_remove_container_whose_start_was_cut_can_be_started() {
    let fixture = fixture!(busybox);
    for points in ["launch.sent,monitor.created", "launch.sent,monitor.started"] {
        fixture.ok(&["create", "--rm", "--name", "box", "busybox", "sh", "-c", "exit 4"]);
        let mut start = fixture.command(&["start", "box"]);
        let mark = fixture.folder().join("mark");
        let _ = std::fs::remove_file(&mark);
        start.env("ORLOP_FAULT", points).env("ORLOP_FAULT_MARK", &mark);
        assert_eq!(run(&mut start, b"", LIMIT).code, 134, "{points}");
        wait_until("the monitor to be cut off", LIMIT, || {
            let seen = std::fs::read_to_string(&mark).unwrap_or_default();
            if seen.lines().count() == 2 { Ok(()) } else { Err(seen) }
        });
        let output = fixture.orlop(&["start", "-a", "box"]);
        assert_eq!(output.code, 4, "{points}: {output}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn restarts_that_are_cut_off_lose_nothing() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "--rm", "-v", "kept:/data", "busybox", "sh", "-c", "echo kept > /data/f"]);
    for point in [
        "monitor.restart.pending",
        "monitor.restart.due",
        "monitor.restart.started",
        "monitor.deleted:2",
    ] {
        let mut command = fixture.command(&[
            "run",
            "-d",
            "--name",
            "victim",
            "--restart",
            "always",
            "-p",
            "127.0.0.1:18098:80",
            "-v",
            "kept:/data",
            "busybox",
            "sh",
            "-c",
            "sleep 0.1; exit 5",
        ]);
        let mark = fixture.folder().join("mark");
        let _ = std::fs::remove_file(&mark);
        command.env("ORLOP_FAULT", point).env("ORLOP_FAULT_MARK", &mark);
        run(&mut command, b"", LIMIT).ok();
        wait_until(point, LIMIT, || {
            std::fs::read_to_string(&mark).map(drop).map_err(|error| error.to_string())
        });
        fixture.wait_for("victim", "{{.State.Running}}", "false");
        assert_eq!(fixture.orlop(&["system", "check", "--repair"]).code, 0, "{point}");
        fixture.ok(&["system", "check"]);
        let kept = fixture.root().join("volumes/kept/_data/f");
        assert_eq!(std::fs::read_to_string(kept).unwrap(), "kept\n", "{point}");
        // It can be started, and its policy holds.
        fixture.ok(&["start", "victim"]);
        wait_for_restarts(&fixture, "victim", 1);
        fixture.ok(&["rm", "-f", "victim"]);
    }
    // Whoever stops a container is killed after it has said so: the monitor knows already.
    let words = ["run", "-d", "--name", "victim", "--restart", "always", "busybox", "sleep", "300"];
    fixture.ok(&words);
    let mut stop = fixture.command(&["stop", "victim"]);
    stop.env("ORLOP_FAULT", "container.stop.marked");
    assert_eq!(run(&mut stop, b"", LIMIT).code, 134);
    let pid: i32 = fixture.inspect("victim", "{{.State.Pid}}").parse().unwrap();
    fixture.kill_now(pid);
    fixture.wait_for("victim", "{{.State.Status}}", "exited");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_restart_by_hand_whose_monitor_is_killed_meanwhile_comes_to_an_end() {
    let fixture = fixture!(busybox);
    let script = "trap : TERM; echo up; while :; do sleep 0.1; done";
    fixture.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    wait_until("the trap", LIMIT, || {
        let seen = fixture.ok(&["logs", "box"]);
        if seen == "up" { Ok(()) } else { Err(seen) }
    });
    let before = fixture.inspect("box", "{{.State.Pid}}");
    let mut restart = fixture.command(&["restart", "-t", "60", "box"]);
    let mut restart = restart.stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    for (pid, words) in fixture.processes() {
        if words.contains(" monitor") {
            fixture.kill_now(pid);
        }
    }
    // Without its monitor nothing ends the first process before the time is up: somebody does.
    fixture.kill_now(before.parse().unwrap());
    let code = wait_until("the restart", LIMIT, || match restart.try_wait().unwrap() {
        Some(status) => Ok(status.code()),
        None => Err("it waits".to_owned()),
    });
    assert_eq!(code, Some(0));
    assert_eq!(fixture.inspect("box", "{{.State.Status}}"), "running");
    assert_ne!(fixture.inspect("box", "{{.State.Pid}}"), before);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_that_ends_all_the_time_leaves_few_records() {
    let fixture = fixture!(busybox);
    let words = ["run", "-d", "--name", "box", "--restart", "always", "busybox", "true"];
    let id = fixture.ok(&words);
    let records = fixture.run_root().join("containers").join(&id).join("records");
    wait_for_restarts(&fixture, "box", 6);
    let left = || std::fs::read_dir(&records).unwrap().count();
    wait_until("records that are folded to go", LIMIT, || {
        wait_for_restarts(&fixture, "box", 1);
        let left = left();
        if left < 20 { Ok(()) } else { Err(left.to_string()) }
    });
    fixture.ok(&["rm", "-f", "box"]);
}
