//! `exec` and `attach`: exact streams, terminals, who outlives whom, what is told.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use orlop_engine::{Engine, EngineOptions, ExecId};
use orlop_sys::pty::{Pty, set_window_size};
use orlop_testkit::{Fixture, fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

/// A store with a container that runs.
fn with_box() -> Fixture {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "3000"]);
    fixture
}

fn inspect(fixture: &Fixture, template: &str) -> String {
    fixture.ok(&["inspect", "-f", template, "box"])
}

fn exec_ids(fixture: &Fixture) -> Vec<String> {
    let text = inspect(fixture, "{{range .ExecIDs}}{{.}} {{end}}");
    text.split_whitespace().map(str::to_owned).collect()
}

fn wait_for_execs(fixture: &Fixture, count: usize) -> Vec<String> {
    wait_until(&format!("{count} processes"), LIMIT, || {
        let ids = exec_ids(fixture);
        if ids.len() == count { Ok(ids) } else { Err(format!("{ids:?}")) }
    })
}

fn wait_for_exit(mut child: Child) -> i32 {
    wait_until("the command to end", LIMIT, || match child.try_wait().unwrap() {
        Some(status) => Ok(status.code().unwrap_or(-1)),
        None => Err("it runs".to_owned()),
    })
}

/// Bytes of every value, different for each number.
fn bytes(number: u32, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_hundred_execs_at_once_keep_their_streams_apart() {
    let fixture = with_box();
    let directory = fixture.directory("streams");
    let path = |kind: &str, number: u32| -> PathBuf { directory.join(format!("{kind}-{number}")) };
    let children: Vec<(u32, Child)> = (0..100)
        .map(|number| {
            std::fs::write(path("in", number), bytes(number, 100_000)).unwrap();
            let script = format!("cat; echo error {number} >&2; exit {}", number % 100);
            let mut command = fixture.command(&["exec", "-i", "box", "sh", "-c", &script]);
            command.stdin(File::open(path("in", number)).unwrap());
            command.stdout(File::create(path("out", number)).unwrap());
            command.stderr(File::create(path("err", number)).unwrap());
            (number, command.spawn().unwrap())
        })
        .collect();
    for (number, child) in children {
        let code = wait_for_exit(child);
        let error = std::fs::read_to_string(path("err", number)).unwrap();
        assert_eq!((code, error.as_str()), ((number % 100) as i32, &*format!("error {number}\n")));
        let output = std::fs::read(path("out", number)).unwrap();
        assert!(output == bytes(number, 100_000), "output of {number}: {} bytes", output.len());
    }
    assert_eq!(exec_ids(&fixture), Vec::<String>::new());
    let ends = fixture
        .events(&["event=exec_die"], "{{.Actor.Attributes.execID}} {{.Actor.Attributes.exitCode}}");
    let mut codes: Vec<i32> =
        ends.lines().map(|line| line.split_once(' ').unwrap().1.parse().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, (0..100).collect::<Vec<i32>>());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn much_output_of_both_kinds_arrives_whole_and_apart() {
    let fixture = fixture!(busybox);
    let script = "yes out | head -c 40000000 & yes error | head -c 40000000 >&2; wait";
    for words in [
        &["run", "--rm", "--log-driver", "none", "busybox", "sh", "-c", script][..],
        &["run", "-d", "--name", "box", "busybox", "sleep", "3000"],
        &["exec", "box", "sh", "-c", script],
    ] {
        let (out, err) = (fixture.folder().join("out"), fixture.folder().join("err"));
        let mut command = fixture.command(words);
        command.stdin(Stdio::null());
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        assert_eq!(wait_for_exit(command.spawn().unwrap()), 0, "{words:?}");
        if words.contains(&"-d") {
            continue;
        }
        for (path, word) in [(out, "out\n"), (err, "error\n")] {
            let text = std::fs::read(&path).unwrap();
            assert_eq!(text.len(), 40_000_000, "{words:?}");
            let same = text.iter().zip(word.as_bytes().iter().cycle()).all(|(a, b)| a == b);
            assert!(same, "{words:?}: {word:?} is mixed with something else");
        }
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn input_is_binary_and_ends_where_it_ends() {
    let fixture = fixture!(busybox);
    let input = bytes(7, 3_000_000);
    let path = fixture.folder().join("in");
    std::fs::write(&path, &input).unwrap();
    let out = fixture.folder().join("out");
    for words in [
        &["run", "-i", "--rm", "busybox", "cat"][..],
        &["run", "-d", "--name", "box", "busybox", "sleep", "3000"],
        &["exec", "-i", "box", "cat"],
    ] {
        let mut command = fixture.command(words);
        command.stdin(File::open(&path).unwrap()).stdout(File::create(&out).unwrap());
        assert_eq!(wait_for_exit(command.spawn().unwrap()), 0, "{words:?}");
        if !words.contains(&"-d") {
            assert!(std::fs::read(&out).unwrap() == input, "{words:?}");
        }
    }
    // Without -i nothing of the caller's input is taken.
    let output = fixture.orlop_with_input(&["exec", "box", "cat"], b"unheard");
    assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{output}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_detached_process_is_known_by_its_id_until_it_has_ended_and_after() {
    let fixture = with_box();
    assert_eq!(inspect(&fixture, "{{json .ExecIDs}}"), "null");
    assert_eq!(fixture.ok(&["exec", "-d", "box", "sh", "-c", "sleep 2; exit 42"]), "");
    let ids = wait_for_execs(&fixture, 1);
    assert_eq!(ids[0].len(), 64);
    let engine = Engine::open(EngineOptions {
        root: fixture.root(),
        run_root: Some(fixture.run_root()),
        storage_driver: None,
        global_arguments: Vec::new(),
    })
    .unwrap();
    let id: ExecId = ids[0].parse().unwrap();
    let seen = engine.exec_inspect(&id).unwrap();
    assert_eq!(seen["Running"], true);
    assert_eq!(seen["ExitCode"], serde_json::Value::Null);
    assert_eq!(seen["ContainerID"], inspect(&fixture, "{{.Id}}"));
    assert_eq!(seen["ProcessConfig"]["entrypoint"], "sh");
    assert_eq!(seen["ProcessConfig"]["arguments"], serde_json::json!(["-c", "sleep 2; exit 42"]));
    assert!(seen["Pid"].as_i64().unwrap() > 0);
    let seen = wait_until("the end", LIMIT, || {
        let seen = engine.exec_inspect(&id).unwrap();
        if seen["Running"] == false { Ok(seen) } else { Err(seen.to_string()) }
    });
    assert_eq!(seen["ExitCode"], 42);
    assert_eq!(exec_ids(&fixture), Vec::<String>::new());
    let refused = engine.exec_start(&id, orlop_engine::ExecStart::default()).unwrap_err();
    assert_eq!(refused.to_string(), format!("exec command {} has already run", ids[0]));
    let unknown: ExecId = "0".repeat(64).parse().unwrap();
    let refused = engine.exec_inspect(&unknown).unwrap_err().to_string();
    assert_eq!(refused, format!("No such exec instance: {}", "0".repeat(64)));
    drop(engine);
    let refused = fixture.fails(1, &["exec", "-d", "box", "nosuch"]);
    let text = "exec: \"nosuch\": executable file not found in $PATH";
    assert!(refused.contains(text), "{refused}");
    assert_eq!(exec_ids(&fixture), Vec::<String>::new());
    let told = fixture.events(&["container=box"], "{{.Action}}");
    let command = "sh -c sleep 2; exit 42";
    let expected = format!(
        "create\nstart\nexec_create: {command}\nexec_start: {command}\nexec_die\n\
         exec_create: nosuch \nexec_start: nosuch "
    );
    assert_eq!(told, expected);
    // A stopped container has forgotten them.
    fixture.ok(&["exec", "-d", "box", "sleep", "300"]);
    wait_for_execs(&fixture, 1);
    fixture.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(exec_ids(&fixture), Vec::<String>::new());
    let refused = fixture.fails(1, &["exec", "box", "true"]);
    assert!(refused.ends_with(" is not running"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_killed_command_leaves_its_process_running_and_nothing_else() {
    let fixture = with_box();
    let count = || fixture.ok(&["top", "box"]).matches("sleep 777").count();
    let mut plain = fixture.command(&["exec", "box", "sleep", "777"]);
    let mut plain = plain.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pty = Pty::open().unwrap();
    let mut typed = on_terminal(&fixture, &pty, &["exec", "-it", "box", "sleep", "777"]);
    wait_for_execs(&fixture, 2);
    wait_until("both", LIMIT, || if count() == 2 { Ok(()) } else { Err(count().to_string()) });
    for child in [&mut plain, &mut typed] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop(pty);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(count(), 2);
    assert_eq!(exec_ids(&fixture).len(), 2);
    fixture.ok(&["exec", "box", "killall", "sleep"]);
    wait_for_execs(&fixture, 0);
    // Helpers go with what they held.
    wait_until("no helper", LIMIT, || {
        let left = fixture.processes();
        if left.iter().any(|(_, words)| words.contains("exec-run")) {
            Err(format!("{left:?}"))
        } else {
            Ok(())
        }
    });
}

/// Starts a command of ours on a terminal.
fn on_terminal(fixture: &Fixture, pty: &Pty, words: &[&str]) -> Child {
    let slave = || Stdio::from(pty.slave.try_clone().unwrap());
    let mut command = fixture.command(words);
    command.stdin(slave()).stdout(slave()).stderr(slave());
    command.spawn().unwrap()
}

/// Reads from a terminal until it has shown `text`.
fn read_until(master: &OwnedFd, text: &str) -> String {
    let mut file = File::from(master.try_clone().unwrap());
    let mut seen = Vec::new();
    let end = std::time::Instant::now() + LIMIT;
    while !String::from_utf8_lossy(&seen).contains(text) {
        assert!(std::time::Instant::now() < end, "seen: {}", String::from_utf8_lossy(&seen));
        let ready = orlop_sys::process::wait_readable(
            std::os::fd::AsFd::as_fd(master),
            Some(Duration::from_millis(100)),
        );
        if ready.unwrap() {
            let mut block = [0; 4096];
            let count = file.read(&mut block).unwrap();
            seen.extend_from_slice(&block[..count]);
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

fn type_into(pty: &Pty, text: &str) {
    File::from(pty.master.try_clone().unwrap()).write_all(text.as_bytes()).unwrap();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn terminals_of_added_processes_have_sizes_and_can_be_left() {
    let fixture = with_box();
    let pty = Pty::open().unwrap();
    set_window_size(&pty.master, 33, 77).unwrap();
    let child = on_terminal(&fixture, &pty, &["exec", "-it", "box", "sh"]);
    type_into(&pty, "stty size; echo ready\n");
    let seen = read_until(&pty.master, "\nready");
    assert!(seen.contains("33 77"), "{seen}");
    set_window_size(&pty.master, 44, 88).unwrap();
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::WINCH).unwrap();
    let mut tries = 0;
    loop {
        type_into(&pty, "stty size; echo again\n");
        let seen = read_until(&pty.master, "\nagain");
        tries += 1;
        if seen.contains("44 88") {
            break;
        }
        assert!(tries < 50, "{seen}");
    }
    type_into(&pty, "exit 5\n");
    assert_eq!(wait_for_exit(child), 5);
    // The keys leave it running.
    let child = on_terminal(&fixture, &pty, &["exec", "-it", "box", "sh"]);
    type_into(&pty, "echo up\n");
    read_until(&pty.master, "\nup");
    type_into(&pty, "\x10\x11");
    assert_eq!(wait_for_exit(child), 0);
    assert_eq!(exec_ids(&fixture).len(), 1);
    let words = ["exec", "-it", "--detach-keys", "ctrl-x,a", "box", "sh"];
    let child = on_terminal(&fixture, &pty, &words);
    type_into(&pty, "echo here\n");
    read_until(&pty.master, "\nhere");
    type_into(&pty, "\x18a");
    assert_eq!(wait_for_exit(child), 0);
    assert_eq!(exec_ids(&fixture).len(), 2);
    let told = fixture.events(&["event=exec_detach"], "{{.Action}}");
    assert_eq!(told, "exec_detach\nexec_detach");
    for wrong in ["ctrl-1", "ab", "ctrl-p,"] {
        let refused = fixture.orlop(&["exec", "--detach-keys", wrong, "box", "true"]);
        assert_ne!(refused.code, 0);
        let text = format!("Invalid detach keys ({wrong}) provided");
        assert!(refused.stderr.contains(&text), "{refused}");
    }
}

/// Waits until so many commands have attached, now or before.
fn wait_for_attached(fixture: &Fixture, count: usize) {
    wait_until(&format!("{count} to be attached"), LIMIT, || {
        let words = ["events", "--since", "10m", "--until", "0s", "--filter", "event=attach"];
        let told = fixture.ok(&[&words[..], &["--format", "{{.Action}}"]].concat());
        if told.lines().count() == count { Ok(()) } else { Err(told) }
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn several_attach_leave_and_see_the_end() {
    let fixture = fixture!(busybox);
    let words = ["run", "-dit", "--name", "box", "busybox", "sh"];
    fixture.ok(&words);
    let (one, two) = (Pty::open().unwrap(), Pty::open().unwrap());
    let first = on_terminal(&fixture, &one, &["attach", "box"]);
    let second = on_terminal(&fixture, &two, &["attach", "--no-stdin", "box"]);
    wait_for_attached(&fixture, 2);
    type_into(&one, "echo a''b\n");
    read_until(&one.master, "\nab");
    read_until(&two.master, "\nab");
    type_into(&one, "\x10\x11");
    assert_eq!(wait_for_exit(first), 0);
    assert_eq!(inspect(&fixture, "{{.State.Status}}"), "running");
    let refused = fixture.fails(1, &["attach", "box"]);
    assert_eq!(refused, "orlop: attach: the input device is not a TTY");
    let third = on_terminal(&fixture, &one, &["attach", "--detach-keys", "DEL", "box"]);
    type_into(&one, "echo c''d\n");
    read_until(&one.master, "\ncd");
    type_into(&one, "\x7f");
    assert_eq!(wait_for_exit(third), 0);
    let last = on_terminal(&fixture, &one, &["attach", "box"]);
    type_into(&one, "exit 6\n");
    assert_eq!(wait_for_exit(last), 6);
    assert_eq!(wait_for_exit(second), 6);
    let refused = fixture.fails(1, &["attach", "box"]);
    assert!(refused.ends_with("cannot attach to a stopped container, start it first"), "{refused}");
    let told = fixture.events(&["type=container"], "{{.Action}}");
    let count = |action: &str| told.lines().filter(|line| *line == action).count();
    assert_eq!((count("attach"), count("detach")), (4, 2), "{told}");
    assert!(count("resize") > 0, "{told}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_command_that_does_not_read_holds_up_neither_others_nor_the_end() {
    let fixture = fixture!(busybox);
    let script = "read go; yes x | head -c 20000000; echo done";
    fixture.ok(&["run", "-di", "--name", "box", "busybox", "sh", "-c", script]);
    let mut stuck = fixture.command(&["attach", "--no-stdin", "box"]);
    let mut stuck = stuck.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let out = fixture.folder().join("out");
    let mut other = fixture.command(&["attach", "--no-stdin", "box"]);
    let other = other.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).spawn().unwrap();
    wait_for_attached(&fixture, 2);
    let output = fixture.orlop_with_input(&["attach", "box"], b"go\n");
    assert_eq!(output.code, 0, "{} bytes", output.stdout.len());
    assert_eq!(wait_for_exit(other), 0);
    let text = std::fs::read(&out).unwrap();
    assert_eq!(text.len(), 20_000_005);
    assert!(text.ends_with(b"x\ndone\n"));
    assert_eq!(fixture.ok(&["wait", "box"]), "0");
    stuck.kill().unwrap();
    stuck.wait().unwrap();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_exec_that_meets_the_containers_end_says_so() {
    let fixture = fixture!(busybox);
    for round in 0..8 {
        fixture.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "3000"]);
        let children: Vec<Child> = (0..4)
            .map(|_| {
                let mut command = fixture.command(&["exec", "box", "sleep", "3000"]);
                command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_millis(20 * round));
        fixture.ok(&["stop", "-t", "0", "box"]);
        for mut child in children {
            let code =
                wait_until("the command to end", LIMIT, || match child.try_wait().unwrap() {
                    Some(status) => Ok(status.code().unwrap_or(-1)),
                    None => Err("it runs".to_owned()),
                });
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            // Killed with the container, or never begun.
            let fine = code == 137 && text.is_empty()
                || code == 1 && text.trim_end().ends_with(" is not running");
            assert!(fine, "round {round}: {code}: {text}");
        }
        fixture.ok(&["rm", "box"]);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn helpers_that_are_cut_off_leave_a_usable_container() {
    let fixture = with_box();
    for point in ["exec.start.claimed", "exec.spawned", "exec.added", "exec.ended"] {
        let mut command = fixture.command(&["exec", "-d", "box", "sh", "-c", "sleep 0.2"]);
        command.env("ORLOP_FAULT", point);
        // Whichever process is cut off, the container and later commands are not.
        let _ = run(&mut command, b"", LIMIT);
        assert_eq!(fixture.ok(&["exec", "box", "echo", "fine"]), "fine", "{point}");
        assert_eq!(inspect(&fixture, "{{.State.Status}}"), "running", "{point}");
    }
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_events_of_a_run_come_in_dockers_order() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "--rm", "-v", "/anonymous", "--name", "box", "busybox", "true"]);
    let words = ["events", "--since", "10m", "--until", "0s", "--filter", "type=container"];
    let more = ["--filter", "type=volume", "--filter", "type=network"];
    let format = ["--format", "{{.Type}} {{.Action}}"];
    let told = fixture.ok(&[&words[..], &more, &format].concat());
    let expected = [
        "volume create",
        "container create",
        "container attach",
        "network connect",
        "volume mount",
        "container start",
        "container die",
        "network disconnect",
        "volume unmount",
        "volume destroy",
        "container destroy",
    ];
    let mut seen: Vec<&str> = told.lines().collect();
    let mut wanted = expected.to_vec();
    // Removal is one transaction here; which of its two events stands first says nothing.
    seen[9..].sort_unstable();
    wanted[9..].sort_unstable();
    assert_eq!(seen, wanted);
    let format = "{{.Actor.Attributes.exitCode}} {{.Actor.Attributes.execDuration}}";
    let die = fixture.ok(&[&words[..5], &["--filter", "event=die", "--format", format]].concat());
    assert_eq!(die, "0 0");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn events_are_told_as_they_happen_without_anybody_else_looking() {
    let fixture = fixture!(busybox);
    let out = fixture.folder().join("out");
    let mut follow =
        fixture.command(&["events", "--filter", "type=container", "--format", "{{.Action}}"]);
    let mut follow = follow.stdout(File::create(&out).unwrap()).spawn().unwrap();
    // The first event may be gone before it follows.
    wait_until("the follower", LIMIT, || {
        fixture.ok(&["run", "--rm", "busybox", "true"]);
        let seen = std::fs::read_to_string(&out).unwrap();
        if seen.contains("destroy") { Ok(()) } else { Err(seen) }
    });
    let before = std::fs::read_to_string(&out).unwrap().len();
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "-m",
        "16m",
        "busybox",
        "sh",
        "-c",
        "sleep 1; tail /dev/zero",
    ]);
    let seen = wait_until("the end", LIMIT, || {
        let seen = std::fs::read_to_string(&out).unwrap()[before..].to_owned();
        if seen.contains("die") { Ok(seen) } else { Err(seen) }
    });
    assert_eq!(seen, "create\nstart\noom\ndie\n");
    assert_eq!(inspect(&fixture, "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    follow.kill().unwrap();
    follow.wait().unwrap();
}
