//! `pause`, `unpause`, `top` and `stats`: what they do, say and leave behind.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use orlop_testkit::{Fixture, fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn actions(fixture: &Fixture) -> Vec<String> {
    let words = ["events", "--since", "10m", "--until", "0s", "--filter", "type=container"];
    let text = fixture.ok(&[&words[..], &["--format", "{{.Action}}"]].concat());
    text.lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_paused_container_stands_still_and_goes_on() {
    let fixture = fixture!(busybox);
    let script = "while :; do echo tick; sleep 0.05; done";
    fixture.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    let ticks = || fixture.ok(&["logs", "box"]).lines().count();
    wait_until("ticks", LIMIT, || if ticks() > 2 { Ok(()) } else { Err("few".to_owned()) });
    assert_eq!(fixture.ok(&["pause", "box"]), "box");
    let before = ticks();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(ticks(), before);
    let state = "{{.State.Status}} {{.State.Running}} {{.State.Paused}}";
    assert_eq!(fixture.inspect("box", state), "paused true true");
    let listed = fixture.ok(&["ps", "--filter", "status=paused", "--format", "{{.Status}}"]);
    assert!(listed.starts_with("Up ") && listed.ends_with(" (Paused)"), "{listed}");
    assert_eq!(fixture.ok(&["unpause", "box"]), "box");
    assert_eq!(fixture.inspect("box", state), "running true false");
    wait_until("more ticks", LIMIT, || {
        let seen = ticks();
        if seen > before { Ok(()) } else { Err(seen.to_string()) }
    });
    fixture.ok(&["rm", "-f", "box"]);
    let expected = ["create", "start", "pause", "unpause", "kill", "die", "destroy"];
    assert_eq!(actions(&fixture), expected);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn each_wrong_state_has_dockers_words() {
    let fixture = fixture!(busybox);
    let id = fixture.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "300"]);
    let says = |words: &[&str], text: &str| {
        let refused = fixture.fails(1, words);
        assert!(refused.ends_with(text), "{words:?}: {refused}");
    };
    says(&["unpause", "box"], &format!("Container {id} is not paused"));
    fixture.ok(&["pause", "box"]);
    says(&["pause", "box"], &format!("Container {id} is already paused"));
    let text = "Container box is paused, unpause the container before exec";
    says(&["exec", "box", "true"], text);
    says(&["exec", "-t", "box", "true"], text);
    says(&["exec", "-d", "box", "true"], text);
    says(&["attach", "box"], "You cannot attach to a paused container, unpause it first");
    says(&["start", "box"], "cannot start a paused container, try unpause instead");
    says(&["rm", "box"], "container is paused and must be unpaused first");
    // The first one fails, the second one does not.
    let output = fixture.orlop(&["unpause", "nosuch", "box"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, "box\n"), "{output}");
    assert!(output.stderr.contains("No such container: nosuch"), "{output}");
    fixture.ok(&["stop", "-t", "0", "box"]);
    says(&["pause", "box"], &format!("container {id} is not running"));
    says(&["unpause", "box"], &format!("Container {id} is not paused"));
    says(&["top", "box"], &format!("container {id} is not running"));
    says(&["stats", "--no-stream", "nosuch"], "No such container: nosuch");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_paused_container_is_stopped_killed_restarted_and_removed() {
    let fixture = fixture!(busybox);
    let script = "trap 'exit 9' TERM; while :; do sleep 0.05; done";
    let start = |name: &str| {
        fixture.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", script]);
        // The trap is set before the first line is out, so wait for the shell to sleep.
        std::thread::sleep(Duration::from_millis(300));
        fixture.ok(&["pause", name]);
    };
    start("stopped");
    fixture.ok(&["stop", "-t", "30", "stopped"]);
    // It got the signal, as it was let go for it.
    assert_eq!(fixture.inspect("stopped", "{{.State.Status}} {{.State.ExitCode}}"), "exited 9");
    start("killed");
    fixture.ok(&["kill", "killed"]);
    assert_eq!(fixture.inspect("killed", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    start("again");
    fixture.ok(&["restart", "-t", "30", "again"]);
    assert_eq!(fixture.inspect("again", "{{.State.Status}}"), "running");
    start("removed");
    fixture.ok(&["rm", "-f", "removed"]);
    let names = fixture.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(names, "again\nkilled\nstopped");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_pause_that_is_cut_off_is_seen_and_can_be_taken_back() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "300"]);
    let cut = |point: &str, words: &[&str]| {
        let mut command = fixture.command(words);
        command.env("ORLOP_FAULT", point);
        assert_eq!(run(&mut command, b"", LIMIT).code, 134, "{point}");
    };
    let state = || fixture.inspect("box", "{{.State.Status}}");
    cut("container.pause.locked", &["pause", "box"]);
    assert_eq!(state(), "running");
    cut("container.pause.frozen", &["pause", "box"]);
    // The kernel is the truth, whoever looks.
    assert_eq!(state(), "paused");
    cut("container.unpause.locked", &["unpause", "box"]);
    assert_eq!(state(), "paused");
    cut("container.unpause.thawed", &["unpause", "box"]);
    assert_eq!(state(), "running");
    cut("container.pause.frozen", &["pause", "box"]);
    fixture.ok(&["unpause", "box"]);
    fixture.ok(&["system", "check"]);
    let expected = ["create", "start", "pause", "unpause", "pause", "unpause"];
    assert_eq!(actions(&fixture), expected);
    // The monitor of a frozen container is killed: the next look ends what it left.
    fixture.ok(&["pause", "box"]);
    for (pid, words) in fixture.processes() {
        if words.contains(" monitor") {
            fixture.kill_now(pid);
        }
    }
    wait_until("the end", LIMIT, || if state() == "exited" { Ok(()) } else { Err(state()) });
    fixture.ok(&["start", "box"]);
    assert_eq!(state(), "running");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn many_at_once_pause_and_unpause_one_container() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "300"]);
    let mut children: Vec<_> = (0..24)
        .map(|index| {
            let word = if index % 2 == 0 { "pause" } else { "unpause" };
            let mut command = fixture.command(&[word, "box"]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let mut done = 0;
    for child in children.drain(..) {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let refused = text.contains("is already paused") || text.contains("is not paused");
        assert!(output.status.success() != refused, "{text}");
        done += usize::from(output.status.success());
    }
    let seen = actions(&fixture);
    let changes: Vec<&str> = seen[2..].iter().map(String::as_str).collect();
    // They take turns, and each success is one event.
    assert_eq!(changes.len(), done, "{changes:?}");
    for (index, action) in changes.iter().enumerate() {
        assert_eq!(*action, if index % 2 == 0 { "pause" } else { "unpause" }, "{changes:?}");
    }
    let expected = if done % 2 == 0 { "running" } else { "paused" };
    assert_eq!(fixture.inspect("box", "{{.State.Status}}"), expected);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn top_shows_the_containers_processes_only() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "4321"]);
    fixture.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", "sleep 1234; true"]);
    let rows = wait_until("two processes", LIMIT, || {
        let text = fixture.ok(&["top", "box"]);
        let rows: Vec<String> = text.lines().map(str::to_owned).collect();
        if rows.len() == 3 { Ok(rows) } else { Err(text) }
    });
    let titles: Vec<&str> = rows[0].split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    // Columns of twenty characters, as Docker makes them.
    assert_eq!(rows[0].find("PID"), Some(20), "{}", rows[0]);
    assert_eq!(rows[0].find("CMD"), Some(140), "{}", rows[0]);
    let commands: Vec<&str> = rows[1..].iter().map(|row| &row[140..]).collect();
    assert_eq!(commands, ["sh -c sleep 1234; true", "sleep 1234"]);
    let pid = fixture.inspect("box", "{{.State.Pid}}");
    let chosen = fixture.ok(&["top", "box", "-o", "pid,args"]);
    let first: Vec<&str> = chosen.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(first[..2], [pid.as_str(), "sh"]);
    let forest = fixture.ok(&["top", "box", "-e", "f"]);
    assert_eq!(forest.lines().count(), 3, "{forest}");
    let refused = fixture.fails(1, &["top", "box", "-o", "user=PID"]);
    assert!(refused.ends_with("specifying \"user=PID\" is not allowed"), "{refused}");
    let refused = fixture.fails(1, &["top", "box", "-o", "args"]);
    assert!(refused.ends_with("Couldn't find PID field in ps output"), "{refused}");
    let mut command = fixture.command(&["top", "box"]);
    command.env("PATH", "/nonexistent");
    let output = run(&mut command, b"", LIMIT);
    let refused = output.fails(1);
    assert!(refused.contains("the program `ps` is not installed on this host"), "{refused}");
    assert!(actions(&fixture).contains(&"top".to_owned()));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn stats_measure_work_memory_network_and_processes() {
    let fixture = fixture!(busybox);
    let busy = "dd if=/dev/zero of=/dev/shm/f bs=1M count=16 2>/dev/null; while :; do :; done";
    let words = ["run", "-d", "--name", "busy", "--memory", "256m", "busybox", "sh", "-c", busy];
    let id = fixture.ok(&words);
    fixture.ok(&["run", "-d", "--name", "idle", "--network", "none", "busybox", "sleep", "300"]);
    fixture.ok(&["create", "--name", "made", "busybox"]);
    let percent = |text: &str| text.strip_suffix('%').unwrap().parse::<f64>().unwrap();
    let format = "{{.Name}}|{{.ID}}|{{.CPUPerc}}|{{.MemUsage}}|{{.MemPerc}}|{{.PIDs}}|{{.NetIO}}";
    let row = wait_until("sixteen megabytes and work", LIMIT, || {
        let text = fixture.ok(&["stats", "--no-stream", "--format", format, "busy"]);
        let fields: Vec<String> = text.split('|').map(str::to_owned).collect();
        let enough = percent(&fields[2]) > 5.0 && percent(&fields[4]) > 6.0;
        if enough { Ok(fields) } else { Err(text) }
    });
    assert_eq!(row[..2], ["busy".to_owned(), id[..12].to_owned()]);
    assert!(percent(&row[2]) <= 110.0, "one loop uses one processor: {row:?}");
    assert!(row[3].ends_with("MiB / 256MiB"), "{row:?}");
    assert!(percent(&row[4]) < 50.0, "{row:?}");
    assert_eq!(row[5], "1");
    let idle = fixture.ok(&["stats", "--no-stream", "--format", format, "idle", "made"]);
    let idle: Vec<&str> = idle.lines().collect();
    assert!(idle[0].ends_with("|1|0B / 0B"), "{idle:?}");
    assert!(percent(idle[0].split('|').nth(2).unwrap()) < 5.0, "{idle:?}");
    assert!(idle[1].ends_with("|0.00%|0B / 0B|0.00%|0|0B / 0B"), "{idle:?}");
    let table = fixture.ok(&["stats", "--no-stream"]);
    let titles: Vec<&str> = table.lines().next().unwrap().split("  ").map(str::trim).collect();
    let titles: Vec<&str> = titles.into_iter().filter(|title| !title.is_empty()).collect();
    let expected = [
        "CONTAINER ID",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ];
    assert_eq!(titles, expected);
    assert_eq!(table.lines().count(), 3, "{table}");
    let all = fixture.ok(&["stats", "--no-stream", "--all", "--no-trunc", "--format", "{{.ID}}"]);
    assert_eq!(all.lines().count(), 3, "{all}");
    assert!(all.lines().any(|line| line == id), "{all}");
    let json = fixture.ok(&["stats", "--no-stream", "--format", "json", "idle"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["Name"], "idle");
    assert_eq!(json["Container"], "idle");
}
