//! The commands of a container's life on a small image, their exit codes and their messages.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use orlop_testkit::{Fixture, fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

/// Waits until a container's state is `status`.
fn wait_for_state(fixture: &Fixture, name: &str, status: &str) {
    wait_until(&format!("{name} to be {status}"), LIMIT, || {
        let seen = fixture.ok(&["inspect", "--format", "{{.State.Status}}", name]);
        if seen == status { Ok(()) } else { Err(seen) }
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn run_gives_output_and_exit_code() {
    let fixture = fixture!(busybox);
    let output =
        fixture.orlop(&["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (7, "out\n", "err\n")
    );
    assert_eq!(
        fixture.orlop_with_input(&["run", "--rm", "-i", "busybox", "cat"], b"from a pipe\n").ok(),
        "from a pipe"
    );
    // Without -i there is nothing to read.
    assert_eq!(fixture.orlop_with_input(&["run", "--rm", "busybox", "cat"], b"unread\n").ok(), "");
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    fixture.assert_nothing_mounted();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_large_output_arrives_whole_at_the_caller_and_in_the_log() {
    let fixture = fixture!(busybox);
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i of a long text; i=$((i+1)); done";
    let output = fixture.orlop(&["run", "--name", "long", "busybox", "sh", "-c", script]);
    let lines: Vec<&str> = output.ok().lines().collect();
    assert_eq!(
        (lines.len(), lines[0], lines[19_999]),
        (20_000, "line 0 of a long text", "line 19999 of a long text")
    );
    assert_eq!(fixture.ok(&["logs", "long"]), output.ok());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn options_of_run_reach_the_process() {
    let fixture = fixture!(busybox);
    let show = "echo $ONE-$TWO; pwd; id -u; id -g; id -G; hostname | wc -c; tr '\\0' ' ' < /proc/1/cmdline; true";
    let words = [
        "run",
        "--rm",
        "-e",
        "ONE=1",
        "--env",
        "TWO=a b",
        "-w",
        "/made/here",
        "-u",
        "www",
        "--entrypoint",
        "sh",
        "busybox",
        "-c",
        show,
    ];
    let output = fixture.ok(&words);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(&lines[..6], ["1-a b", "/made/here", "1000", "1000", "1000 2000", "13"]);
    assert!(lines[6].starts_with("sh -c"), "{output}");
    assert_eq!(
        fixture.ok(&["run", "--rm", "-u", "7:8", "busybox", "sh", "-c", "id -u; id -g"]),
        "7\n8"
    );
    // A name without a value is taken from the caller.
    let mut command =
        fixture.command(&["run", "--rm", "-e", "GIVEN", "-e", "MISSING", "busybox", "env"]);
    let output = run(command.env("GIVEN", "here").env_remove("MISSING"), b"", LIMIT);
    assert!(output.ok().lines().any(|line| line == "GIVEN=here"), "{output}");
    assert!(!output.stdout.contains("MISSING"), "{output}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_detached_container_is_listed_logged_stopped_and_removed() {
    let fixture = fixture!(busybox);
    let script = "trap 'echo got term; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let id = fixture.ok(&["run", "-d", "--name", "one", "busybox", "sh", "-c", script]);
    assert_eq!(fixture.ok(&["ps", "-q", "--no-trunc"]), id);
    let listed = fixture.ok(&["ps", "--format", "{{.ID}} {{.Image}} {{.Names}}"]);
    assert_eq!(listed, format!("{} busybox one", &id[..12]));
    assert!(fixture.ok(&["ps"]).lines().nth(1).unwrap().contains(" Up "));
    wait_until("the first line in the log", LIMIT, || {
        let log = fixture.ok(&["logs", "one"]);
        if log == "ready" { Ok(()) } else { Err(log) }
    });
    // By name, by id, by a prefix of the id.
    for name in ["one", &id, &id[..8]] {
        assert_eq!(
            fixture.ok(&["inspect", "--format", "{{.Id}} {{.State.Running}}", name]),
            format!("{id} true")
        );
    }
    let refused = fixture.fails(1, &["rm", "one"]);
    assert!(refused.contains("container is running"), "{refused}");
    assert_eq!(fixture.ok(&["stop", "one"]), "one");
    let state = fixture.ok(&[
        "inspect",
        "--format",
        "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}",
        "one",
    ]);
    assert_eq!(state, "exited 5 0");
    assert_eq!(fixture.ok(&["logs", "one"]), "ready\ngot term");
    assert_eq!(fixture.ok(&["ps", "-q"]), "");
    assert!(fixture.ok(&["ps", "-a"]).contains("Exited (5)"));
    assert_eq!(fixture.ok(&["rm", "one"]), "one");
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn stop_kills_what_does_not_listen_when_the_time_is_up() {
    let fixture = fixture!(busybox);
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "deaf",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 0.1; done",
    ]);
    let started = Instant::now();
    fixture.ok(&["stop", "-t", "1", "deaf"]);
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(fixture.ok(&["inspect", "--format", "{{.State.ExitCode}}", "deaf"]), "137");
    // Stopping what is stopped is no error.
    assert_eq!(fixture.ok(&["stop", "deaf"]), "deaf");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn kill_sends_the_signal_that_is_named() {
    let fixture = fixture!(busybox);
    let script = "trap 'echo hup' HUP; trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done";
    fixture.ok(&["run", "-d", "--name", "one", "busybox", "sh", "-c", script]);
    let wait_for_log = |expected: &str| {
        wait_until("the log", LIMIT, || {
            let log = fixture.ok(&["logs", "one"]);
            if log == expected { Ok(()) } else { Err(log) }
        });
    };
    wait_for_log("ready");
    assert_eq!(fixture.ok(&["kill", "-s", "HUP", "one"]), "one");
    wait_for_log("ready\nhup");
    fixture.ok(&["kill", "--signal", "SIGUSR1", "one"]);
    wait_for_state(&fixture, "one", "exited");
    assert_eq!(fixture.ok(&["inspect", "--format", "{{.State.ExitCode}}", "one"]), "9");
    let refused = fixture.fails(1, &["kill", "one"]);
    assert!(refused.contains("is not running"), "{refused}");
    let refused = fixture.fails(1, &["kill", "-s", "NOSUCH", "one"]);
    assert!(refused.to_lowercase().contains("invalid signal"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn exec_joins_the_container_and_gives_its_exit_code() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "-d", "--name", "one", "-e", "FROM=run", "busybox", "sleep", "300"]);
    assert_eq!(
        fixture.ok(&["exec", "one", "sh", "-c", "echo $FROM; cat /proc/1/comm"]),
        "run\nsleep"
    );
    assert_eq!(
        fixture.ok(&[
            "exec",
            "-e",
            "FROM=exec",
            "-w",
            "/tmp",
            "-u",
            "1000",
            "one",
            "sh",
            "-c",
            "echo $FROM; pwd; id -u"
        ]),
        "exec\n/tmp\n1000"
    );
    assert_eq!(
        fixture.orlop_with_input(&["exec", "-i", "one", "cat"], b"through\n").ok(),
        "through"
    );
    let output = fixture.orlop(&["exec", "one", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!(
        (output.code, output.stdout.as_str(), output.stderr.as_str()),
        (3, "out\n", "err\n")
    );
    assert_eq!(fixture.orlop(&["exec", "one", "no-such-command"]).code, 127);
    assert_eq!(fixture.orlop(&["exec", "one", "/etc"]).code, 126);
    // What exec starts in the background stays and dies with the container.
    fixture.ok(&["exec", "-d", "one", "sh", "-c", "echo started > /tmp/mark; sleep 300"]);
    wait_until("the detached command", LIMIT, || {
        let output = fixture.orlop(&["exec", "one", "cat", "/tmp/mark"]);
        if output.stdout == "started\n" { Ok(()) } else { Err(output.to_string()) }
    });
    fixture.ok(&["kill", "one"]);
    wait_for_state(&fixture, "one", "exited");
    let refused = fixture.fails(1, &["exec", "one", "true"]);
    assert!(refused.contains("is not running"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_terminal_is_a_terminal() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "300"]);
    for words in [["run", "--rm", "-it", "busybox"], ["exec", "-i", "-t", "one"]] {
        let line: Vec<String> = fixture
            .command(&words)
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let program = fixture.command(&[]).get_program().to_string_lossy().into_owned();
        let script = format!(
            "stty rows 33 cols 99; exec {program} {} sh -c 'tty; stty size; exit 4'",
            line.join(" ")
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &script, "/dev/null"]);
        let output = run(&mut command, b"", LIMIT);
        assert_eq!(output.code, 4, "{output}");
        // `script` mixes the end of its own input into what it shows.
        let shown = output.stdout.replace("^@", "");
        let lines: Vec<&str> = shown.lines().map(|line| line.trim_end_matches('\r')).collect();
        assert!(lines[0].starts_with("/dev/"), "{output}");
        assert_eq!(lines[1], "33 99", "{output}");
    }
    // A terminal was asked for, but standard input is none.
    let refused = fixture.orlop(&["run", "--rm", "-it", "busybox", "true"]);
    assert_ne!(refused.code, 0, "{refused}");
    assert!(refused.stderr.contains("the input device is not a TTY"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn logs_follow_until_the_container_ends() {
    let fixture = fixture!(busybox);
    let script = "for i in 1 2 3 4 5; do echo step $i; sleep 0.2; done";
    fixture.ok(&["run", "-d", "--name", "one", "busybox", "sh", "-c", script]);
    assert_eq!(fixture.ok(&["logs", "-f", "one"]), "step 1\nstep 2\nstep 3\nstep 4\nstep 5");
    let twice = fixture.orlop(&["logs", "--tail", "2", "one"]);
    assert_eq!(twice.ok(), "step 4\nstep 5");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn commands_that_cannot_start_give_dockers_exit_codes() {
    let fixture = fixture!(busybox);
    for (code, words, reason) in [
        (127, &["run", "--rm", "busybox", "no-such-command"][..], "no-such-command"),
        (127, &["run", "--rm", "busybox", "/no/such/file"], "/no/such/file"),
        (126, &["run", "--rm", "busybox", "/etc/passwd"], "/etc/passwd"),
        (126, &["run", "--rm", "busybox", "/etc"], "/etc"),
        (125, &["run", "--rm", "--pull", "never", "no-such-image"], "no-such-image:latest"),
        (125, &["run", "--rm", "-v", "vol:relative", "busybox"], "mount path must be absolute"),
        (125, &["run", "--rm", "-v", "vol:/", "busybox"], "destination can't be '/'"),
        (125, &["run", "--rm", "-v", "vol:/x:rw,ro", "busybox"], "invalid mode"),
        (125, &["run", "--rm", "-v", "v1:/x", "-v", "v2:/x", "busybox"], "Duplicate mount point"),
        (
            125,
            &["run", "--rm", "--mount", "type=bind,src=/no/such/dir,dst=/x", "busybox"],
            "/no/such/dir",
        ),
        (
            125,
            &["run", "--rm", "--mount", "type=volume,dst=/x,bind-propagation=shared", "busybox"],
            "bind-",
        ),
        (125, &["run", "--rm", "-p", "99999:80", "busybox"], "99999"),
        (125, &["run", "--rm", "-w", "relative", "busybox"], "relative"),
        (125, &["run", "--rm", "-u", "nobody-here", "busybox"], "nobody-here"),
        (125, &["run", "--rm", "--name", "bad/name", "busybox"], "bad/name"),
        (125, &["run", "--rm", "--network", "no-such-net", "busybox"], "no-such-net"),
        (125, &["run", "--no-such-option", "busybox"], "--no-such-option"),
        (1, &["rm", "nothing"], "nothing"),
        (1, &["stop", "nothing"], "nothing"),
        (1, &["inspect", "nothing"], "nothing"),
        (1, &["logs", "nothing"], "nothing"),
        (1, &["exec", "nothing", "true"], "nothing"),
        (1, &["volume", "create", "bad/name"], "bad/name"),
        (1, &["volume", "rm", "nothing"], "nothing"),
        (1, &["rmi", "nothing"], "nothing"),
        (1, &["tag", "busybox", "UPPER:x"], "UPPER"),
        (1, &["import", "/no/such.tar"], "/no/such.tar"),
    ] {
        let output = fixture.orlop(words);
        assert_eq!(output.code, code, "{output}");
        assert!(output.stderr.contains(reason), "want `{reason}` in {output}");
        assert!(output.stderr.trim_end().lines().count() <= 3, "{output}");
        // `inspect` prints the list of what it found, which is empty.
        let printed = if words[0] == "inspect" { "[]\n" } else { "" };
        assert_eq!(output.stdout, printed, "{output}");
    }
    // Nothing half-made is left.
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), "");
    assert_eq!(fixture.ok(&["images", "--format", "{{.Repository}}"]), "busybox");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn names_are_unique_and_come_back_after_removal() {
    let fixture = fixture!(busybox);
    let first = fixture.ok(&["run", "-d", "--name", "taken", "busybox", "sleep", "300"]);
    let refused = fixture.fails(125, &["run", "-d", "--name", "taken", "busybox", "sleep", "300"]);
    assert!(
        refused.contains("is already in use by container") && refused.contains(&first),
        "{refused}"
    );
    assert_eq!(fixture.ok(&["ps", "-aq", "--no-trunc"]), first);
    fixture.ok(&["rm", "-f", "taken"]);
    let second = fixture.ok(&["run", "-d", "--name", "taken", "busybox", "true"]);
    assert_ne!(first, second);
    // Forcing away what is not there is a message, not a failure.
    assert_eq!(fixture.orlop(&["rm", "-f", "nothing"]).code, 0);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn inspect_gives_dockers_document() {
    let fixture = fixture!(busybox);
    let image = fixture.ok(&["image", "inspect", "--format", "{{.Id}}", "busybox"]);
    let id = fixture.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "-e",
        "A=1",
        "-v",
        "data:/data",
        "busybox",
        "sleep",
        "300",
    ]);
    let text = fixture.ok(&["inspect", "one"]);
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let container = &document[0];
    assert_eq!(container["Id"], id.as_str());
    assert_eq!(container["Name"], "/one");
    assert_eq!(container["Image"], image.as_str());
    assert_eq!(container["State"]["Status"], "running");
    assert!(container["State"]["Pid"].as_i64().unwrap() > 1);
    assert_eq!(container["Config"]["Image"], "busybox");
    assert_eq!(container["Config"]["Cmd"], serde_json::json!(["sleep", "300"]));
    assert!(container["Config"]["Env"].as_array().unwrap().contains(&"A=1".into()));
    let mount = &container["Mounts"][0];
    assert_eq!(mount["Type"], "volume");
    assert_eq!(mount["Name"], "data");
    assert_eq!(mount["Destination"], "/data");
    assert_eq!(mount["RW"], true);
    assert_eq!(mount["Source"], fixture.root().join("volumes/data/_data").to_str().unwrap());
    let address = fixture.ok(&[
        "inspect",
        "-f",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        "one",
    ]);
    assert!(address.parse::<std::net::Ipv4Addr>().is_ok(), "{address}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn networks_bridge_host_and_none() {
    let fixture = fixture!(busybox);
    let links = |network: &str| {
        fixture.ok(&["run", "--rm", "--network", network, "busybox", "ls", "/sys/class/net"])
    };
    assert_eq!(links("none"), "lo");
    assert!(links("bridge").lines().eq(["eth0", "lo"]));
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let own = || {
        let output = run(Command::new("ip").args(["-o", "link"]), b"", LIMIT);
        let name =
            |line: &str| line.split(": ").nth(1).unwrap().split('@').next().unwrap().to_owned();
        sorted(output.ok().lines().map(name).collect())
    };
    // The interface of an ended container goes with its namespace, a moment after the command.
    let gone = std::time::Instant::now() + LIMIT;
    while own().iter().any(|name| name.starts_with("orlv")) && std::time::Instant::now() < gone {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let host = links("host").lines().map(str::to_owned).collect();
    assert_eq!(sorted(host), own());
    // Two containers on the bridge reach each other by address.
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "server",
        "busybox",
        "sh",
        "-c",
        "echo hello > /tmp/index.html; httpd -f -p 80 -h /tmp",
    ]);
    let address =
        fixture.ok(&["inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "server"]);
    wait_until("the server to answer its neighbour", LIMIT, || {
        let output = fixture.orlop(&[
            "run",
            "--rm",
            "busybox",
            "wget",
            "-qO-",
            &format!("http://{address}/"),
        ]);
        if output.stdout == "hello\n" { Ok(()) } else { Err(output.to_string()) }
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_has_dockers_capabilities_and_masked_paths() {
    let fixture = fixture!(busybox);
    let status = fixture.ok(&["run", "--rm", "busybox", "cat", "/proc/self/status"]);
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name} in {status}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("CapEff:"), "00000000a80425fb");
    assert_eq!(field("CapBnd:"), "00000000a80425fb");
    assert_eq!(field("Seccomp:"), "2");
    let masked = "for f in /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list /proc/sched_debug; do \
                  [ ! -e $f ] || echo \"$f $(head -c 100 $f | wc -c)\"; done; ls -A /sys/firmware 2>/dev/null";
    let seen = fixture.ok(&["run", "--rm", "busybox", "sh", "-c", masked]);
    assert!(seen.lines().count() > 0 && seen.lines().all(|line| line.ends_with(" 0")), "{seen}");
    let output =
        fixture.orlop(&["run", "--rm", "busybox", "sh", "-c", "echo 1 > /proc/sys/kernel/panic"]);
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    let output = fixture.orlop(&["run", "--rm", "busybox", "mount", "-t", "tmpfs", "none", "/tmp"]);
    assert_ne!(output.code, 0, "{output}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_idle_store_gives_back_what_it_had_in_the_kernel() {
    let fixture = fixture!(busybox);
    let bridges = || {
        let output =
            run(Command::new("ip").args(["-o", "link", "show", "type", "bridge"]), b"", LIMIT);
        output
            .ok()
            .lines()
            .map(|line| line.split(": ").nth(1).unwrap().to_owned())
            .collect::<Vec<String>>()
    };
    let tables =
        || run(Command::new("nft").args(["list", "tables"]), b"", LIMIT).ok().lines().count();
    fixture.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "300"]);
    let found = bridges();
    assert_eq!((found.len(), tables()), (1, 1), "{found:?}");
    let groups = || {
        let words = ["/sys/fs/cgroup", "-maxdepth", "2", "-type", "d", "-name", found[0].as_str()];
        run(Command::new("find").args(words), b"", LIMIT).ok().lines().count()
    };
    assert!(groups() > 0);
    // A container, even a stopped one, keeps them.
    fixture.ok(&["kill", "one"]);
    wait_for_state(&fixture, "one", "exited");
    fixture.ok(&["system", "check", "--repair"]);
    assert_eq!(bridges(), found);
    fixture.ok(&["rm", "one"]);
    fixture.ok(&["system", "check", "--repair"]);
    assert_eq!((bridges().len(), tables(), groups()), (0, 0, 0));
    // The next container finds everything made again.
    assert_eq!(
        fixture.ok(&["run", "--rm", "busybox", "cat", "/sys/class/net/eth0/operstate"]),
        "up"
    );
}
