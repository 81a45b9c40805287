//! Flags of `run` and `create`, seen from inside the container; expectations were also seen from
//! Docker 28.5.
#![allow(clippy::unwrap_used)]

use orlop_testkit::{Fixture, fixture};

/// Runs a script in a container with these flags.
#[track_caller]
fn inside(fixture: &Fixture, flags: &[&str], script: &str) -> String {
    let words = [&["run", "--rm"], flags, &["busybox", "sh", "-c", script]].concat();
    fixture.ok(&words)
}

/// Whether this machine has the controllers of cgroup v1, whose files the tests read.
fn is_v1() -> bool {
    !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The value of a limit of the container's own group, by its name on v1 and on v2.
#[track_caller]
fn limit(fixture: &Fixture, flags: &[&str], v1: &str, v2: &str) -> String {
    let file = if is_v1() { v1 } else { v2 };
    inside(fixture, flags, &format!("cat /sys/fs/cgroup/{file}"))
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN; runc"]
fn limits_are_in_the_containers_control_group() {
    let fixture = fixture!(busybox);
    for runtime in ["builtin", "runc"] {
        let flags = [
            "--runtime",
            runtime,
            "-c",
            "512",
            "--cpus",
            "0.5",
            "-m",
            "64m",
            "--pids-limit",
            "50",
            "--cpuset-cpus",
            "0",
        ];
        for (v1, v2, want_v1, want_v2) in [
            ("cpu/cpu.shares", "cpu.weight", "512", "20"),
            ("cpu/cpu.cfs_quota_us", "cpu.max", "50000", "50000 100000"),
            ("memory/memory.limit_in_bytes", "memory.max", "67108864", "67108864"),
            ("pids/pids.max", "pids.max", "50", "50"),
            ("cpuset/cpuset.cpus", "cpuset.cpus", "0", "0"),
        ] {
            let want = if is_v1() { want_v1 } else { want_v2 };
            assert_eq!(limit(&fixture, &flags, v1, v2), want, "{runtime} {v1}");
        }
    }
    let adjusted = inside(&fixture, &["--oom-score-adj", "100"], "cat /proc/self/oom_score_adj");
    assert_eq!(adjusted, "100");
    let limits = inside(&fixture, &["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn");
    assert_eq!(limits, "100\n200");
    let size = inside(&fixture, &["--shm-size", "10m"], "df /dev/shm | tail -1 | tr -s ' '");
    assert!(size.starts_with("shm 10240 "), "{size}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn what_cannot_be_limited_is_told_and_nothing_is_made() {
    let fixture = fixture!(busybox);
    for (flags, why) in [
        (&["-m", "5m"][..], "Minimum memory limit allowed is 6MB"),
        (
            &["-m", "20m", "--memory-swap", "10m"],
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            &["--cpus", "1", "--cpu-quota", "5000"],
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            &["--cpu-period", "10"],
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (&["--cpuset-cpus", "x"], "Invalid value x for cpuset cpus: invalid format: x"),
        (&["--ipc", "foo"], "invalid IPC mode: foo"),
        (&["--pid", "container:nosuch"], "No such container: nosuch"),
        (&["--uts", "host", "--hostname", "x"], "conflicting options: hostname and the UTS mode"),
        (&["--isolation", "process"], "invalid isolation (process): linux only supports 'default'"),
        (
            &["--restart", "foo"],
            "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or \
             'unless-stopped'",
        ),
        (&["--security-opt", "foo=bar"], "invalid --security-opt 2: \"foo=bar\""),
        (&["--storage-opt", "foo=1"], "Unknown option foo"),
        (&["--health-interval", "1us"], "Interval in Healthcheck cannot be less than 1ms"),
        (&["--cap-add", "foo"], "invalid CapAdd: unknown capability: \"CAP_FOO\""),
        (&["--log-opt", "foo=1"], "unknown log opt 'foo' for json-file log driver"),
        (&["--stop-signal", "foo"], "invalid signal: foo"),
        (&["--stop-signal", "99"], "invalid signal: 99"),
        (&["--platform", "linux/s390x"], "does not match the specified platform (linux/s390x)"),
    ] {
        let words = [&["create", "--name", "wrong"], flags, &["busybox"]].concat();
        let refused = fixture.fails(1, &words);
        assert!(refused.contains(why), "{flags:?}: {refused}");
        let words = [&["run"], flags, &["busybox", "true"]].concat();
        let refused = fixture.fails(125, &words);
        assert!(refused.contains(why), "{flags:?}: {refused}");
    }
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    for (flags, code, why) in [
        (
            &["--gpus", "all"][..],
            125,
            "could not select device driver \"\" with capabilities: [[gpu]]",
        ),
        (&["--cpu-shares", "1"], 125, "the minimum allowed cpu-shares is 2"),
        (
            &["--log-opt", "max-size=x"],
            125,
            "failed to initialize logging driver: invalid size: 'x'",
        ),
        (
            &["--sysctl", "kernel.shmmax=1", "--ipc", "host"],
            125,
            "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace",
        ),
        (&["--cpu-count", "1"], 1, "only supported on a Docker daemon running on windows"),
        (&["--use-api-socket"], 1, "needs the socket of a daemon"),
    ] {
        let words = [&["run", "--rm"], flags, &["busybox", "true"]].concat();
        let refused = fixture.fails(code, &words);
        assert!(refused.contains(why), "{flags:?}: {refused}");
    }
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    let warned = fixture.orlop(&["create", "--dns", "127.0.0.1", "busybox"]);
    let want = "WARNING: Localhost DNS (127.0.0.1) may fail in containers.\n";
    assert_eq!((warned.code, warned.stderr.as_str()), (0, want));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN; runc"]
fn devices_are_given_by_path_and_by_number() {
    let fixture = fixture!(busybox);
    for runtime in ["builtin", "runc"] {
        let flags = [
            "--runtime",
            runtime,
            "--device",
            "/dev/null:/dev/xnull:r",
            "--device",
            "/dev/zero:/dev/d/zero",
            "--device",
            "/dev/null:/etc/mynull",
        ];
        let script =
            "stat -c '%F %t:%T' /dev/xnull /dev/d/zero /etc/mynull; stat -c '%a %u' /dev/d";
        let want = "character special file 1:3\ncharacter special file 1:5\ncharacter special file 1:3\n755 0";
        assert_eq!(inside(&fixture, &flags, script), want, "{runtime}");
    }
    if is_v1() {
        let list = "grep -c '^c 1:11 ' /sys/fs/cgroup/devices/devices.list || true";
        assert_eq!(inside(&fixture, &[], list), "0");
        assert_eq!(inside(&fixture, &["--device-cgroup-rule", "c 1:11 rwm"], list), "1");
    }
    let missing = ["run", "--rm", "--device", "/dev/nosuch", "busybox", "true"];
    let refused = fixture.orlop(&missing);
    assert!(
        refused.stderr.contains(
            "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory"
        ),
        "{refused}"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_mount_on_dev_is_left_as_it_is() {
    let fixture = fixture!(busybox);
    let own = fixture.directory("devices");
    std::fs::write(own.join("ptmx"), "mine\n").unwrap();
    let bind = format!("{}:/dev", own.display());
    for _ in 0..2 {
        assert_eq!(inside(&fixture, &["-v", &bind], "ls -A /dev; cat /dev/ptmx"), "ptmx\nmine");
    }
    let names: Vec<_> = std::fs::read_dir(&own).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["ptmx"]);
    let below = fixture.directory("below");
    std::fs::create_dir(own.join("inner")).unwrap();
    std::fs::write(below.join("f"), "x\n").unwrap();
    let inner = format!("{}:/dev/inner", below.display());
    let seen = inside(&fixture, &["-u", "1000", "-v", &bind, "-v", &inner], "cat /dev/inner/f");
    assert_eq!(seen, "x");
    let script = "test -c /dev/null && echo x >/dev/null && echo ok";
    assert_eq!(inside(&fixture, &["-v", "/dev:/dev"], script), "ok");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN; runc"]
fn namespaces_are_shared_with_other_containers() {
    let fixture = fixture!(busybox);
    let script = "echo shared >/dev/shm/f; exec sleep 300";
    let words =
        ["run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sh", "-c", script];
    let id = fixture.ok(&words);
    let _ = fixture.ok(&["run", "-d", "--name", "closed", "busybox", "sleep", "300"]);
    fixture.ok(&["exec", "donor", "sh", "-c", "while [ ! -s /dev/shm/f ]; do sleep 0.1; done"]);
    for runtime in ["builtin", "runc"] {
        let both = ["--runtime", runtime, "--ipc", "container:donor", "--pid", "container:donor"];
        let seen = inside(&fixture, &both, "cat /dev/shm/f /proc/1/cmdline | tr '\\0' ' '");
        assert_eq!(seen.trim(), "shared\nsleep 300", "{runtime}");
    }
    let refused = ["run", "--rm", "--ipc", "container:closed", "busybox", "true"];
    let refused = fixture.fails(125, &refused);
    assert!(
        refused.contains("non-shareable IPC (hint: use IpcMode:shareable for the donor container)"),
        "{refused}"
    );
    let _ =
        fixture.ok(&["create", "--name", "joined", "--pid", "container:donor", "busybox", "true"]);
    let mode = fixture.ok(&["inspect", "--format", "{{.HostConfig.PidMode}}", "joined"]);
    assert_eq!(mode, format!("container:{id}"));
    let _ = fixture.ok(&["rename", "donor", "other"]);
    let _ = fixture.ok(&["start", "-a", "joined"]);
    let _ = fixture.ok(&["stop", "-t", "0", "other"]);
    let refused = fixture.fails(1, &["start", "joined"]);
    let why = format!("failed to join PID namespace: container {id} is not running");
    assert!(refused.contains(&why), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn namespaces_are_shared_with_the_host() {
    let fixture = fixture!(busybox);
    let host = |file: &str| std::fs::read_to_string(file).unwrap().trim().to_owned();
    assert_eq!(inside(&fixture, &["--uts", "host"], "hostname"), host("/proc/sys/kernel/hostname"));
    let namespace = |name: &str| {
        std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string()
    };
    let read = |name: &str| format!("readlink /proc/self/ns/{name}");
    assert_eq!(inside(&fixture, &["--pid", "host"], &read("pid")), namespace("pid"));
    assert_eq!(inside(&fixture, &["--ipc", "host"], &read("ipc")), namespace("ipc"));
    assert_ne!(inside(&fixture, &[], &read("ipc")), namespace("ipc"));
    assert_eq!(inside(&fixture, &["--ipc", "none"], "grep -c /dev/shm /proc/mounts || true"), "0");
    let paths =
        inside(&fixture, &["--cgroupns", "private"], "cut -d: -f3 /proc/self/cgroup | sort -u");
    assert_eq!(paths, "/");
    let once = inside(&fixture, &[], "grep -c ' /sys/fs/cgroup ' /proc/mounts");
    assert_eq!(once, "1");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN; runc"]
fn an_init_collects_orphans_and_hands_signals_on() {
    let fixture = fixture!(busybox);
    for runtime in ["builtin", "runc"] {
        let flags = ["run", "--rm", "--init", "--read-only", "--runtime", runtime, "busybox"];
        let words = [&flags[..], &["sh", "-c", "cat /proc/1/comm; exit 5"]].concat();
        let output = fixture.orlop(&words);
        assert_eq!((output.code, output.stdout.as_str()), (5, "docker-init\n"), "{output}");
    }
    let script = "trap 'exit 7' TERM; (sleep 0.1 &); touch /up; while :; do sleep 0.1; done";
    let words = ["run", "-d", "--name", "box", "--init", "busybox", "sh", "-c", script];
    let _ = fixture.ok(&words);
    fixture.ok(&["exec", "box", "sh", "-c", "while [ ! -e /up ]; do sleep 0.1; done"]);
    let _ = fixture.ok(&["stop", "box"]);
    assert_eq!(fixture.ok(&["inspect", "--format", "{{.State.ExitCode}}", "box"]), "7");
    assert_eq!(fixture.ok(&["inspect", "--format", "{{.Path}}", "box"]), "sh");
    let _ = fixture.fails(127, &["run", "--init", "--name", "none", "busybox", "nosuchcommand"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn names_and_kernel_parameters_are_set() {
    let fixture = fixture!(busybox);
    let flags = [
        "--add-host",
        "x:192.0.2.7",
        "--add-host",
        "gate:host-gateway",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "a.example",
        "--dns-option",
        "ndots:2",
        "-h",
        "box",
        "--domainname",
        "lan",
    ];
    let hosts = inside(&fixture, &flags, "cat /etc/hosts");
    assert!(hosts.contains("192.0.2.7\tx\n"), "{hosts}");
    let gateway = hosts.lines().find_map(|line| line.strip_suffix("\tgate")).unwrap();
    assert!(gateway.parse::<std::net::Ipv4Addr>().is_ok(), "{hosts}");
    let resolver = inside(&fixture, &flags, "grep -v '^#' /etc/resolv.conf");
    let lines: Vec<&str> = resolver.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["nameserver 192.0.2.53", "search a.example", "options ndots:2"]);
    let names = inside(&fixture, &flags, "hostname; cat /proc/sys/kernel/domainname");
    assert_eq!(names, "box\nlan");
    let flags = ["--sysctl", "net.core.somaxconn=99", "--sysctl", "kernel.msgmax=5000"];
    let script =
        "cd /proc/sys; cat net/core/somaxconn kernel/msgmax net/ipv4/ip_unprivileged_port_start";
    assert_eq!(inside(&fixture, &flags, script), "99\n5000\n0");
    let groups = inside(&fixture, &["-u", "1:2", "--group-add", "5"], "id -G");
    assert_eq!(groups, "2 5");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn security_options_and_privileges() {
    let fixture = fixture!(busybox);
    let status = "grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | tr '\\t\\n' '  '";
    let plain = inside(&fixture, &[], status);
    assert_eq!(plain.trim(), "CapBnd: 00000000a80425fb NoNewPrivs: 0 Seccomp: 2");
    let bare =
        inside(&fixture, &["--security-opt", "no-new-privileges", "--cap-drop", "ALL"], status);
    assert_eq!(bare.trim(), "CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2");
    let open =
        ["--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges=false"];
    assert!(inside(&fixture, &open, status).contains("Seccomp: 0"));
    let make = "mkdir /sys/fs/cgroup/pids/x 2>/dev/null || mkdir /sys/fs/cgroup/x";
    let words = ["run", "--rm", "busybox", "sh", "-c", make];
    assert_ne!(fixture.orlop(&words).code, 0);
    let _ = inside(&fixture, &["--security-opt", "writable-cgroups=true"], make);
    let masked = "grep -cE '^tmpfs /(proc|sys)/' /proc/mounts || true";
    assert_ne!(inside(&fixture, &[], masked), "0");
    assert_eq!(inside(&fixture, &["--security-opt", "systempaths=unconfined"], masked), "0");
    assert_eq!(inside(&fixture, &["--privileged"], masked), "0");
    let all = inside(
        &fixture,
        &["--privileged"],
        "test -c /dev/kmsg && touch /sys/fs/cgroup/x 2>&1; echo $?",
    );
    assert!(!all.contains("Read-only"), "{all}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn streams_are_chosen_and_inspect_shows_every_setting() {
    let fixture = fixture!(busybox);
    let script = "echo out; echo err >&2";
    for (stream, out, err) in [("stdout", "out\n", ""), ("STDERR", "", "err\n")] {
        let words = ["run", "--rm", "-a", stream, "busybox", "sh", "-c", script];
        let output = fixture.orlop(&words);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), (out, err), "{output}");
    }
    let refused = fixture.fails(1, &["run", "-d", "-a", "stdout", "busybox", "true"]);
    assert!(refused.contains("cannot specify both --attach and --detach"), "{refused}");
    let words = [
        "create",
        "--name",
        "all",
        "--device-read-bps",
        "/dev/null:1m",
        "--annotation",
        "a=b",
        "--restart",
        "on-failure:3",
        "--health-cmd",
        "true",
        "--memory",
        "10m",
        "--ulimit",
        "nofile=10:20",
        "--mac-address",
        "02:42:ac:11:00:99",
        "--stop-timeout",
        "3",
        "busybox",
    ];
    let _ = fixture.ok(&words);
    let shown = fixture.ok(&["inspect", "--format", "{{json .HostConfig}}", "all"]);
    for part in [
        "\"BlkioDeviceReadBps\":[{\"Path\":\"/dev/null\",\"Rate\":1048576}]",
        "\"Annotations\":{\"a\":\"b\"}",
        "\"RestartPolicy\":{\"Name\":\"on-failure\",\"MaximumRetryCount\":3}",
        "\"Memory\":10485760",
        "\"MemorySwap\":20971520",
        "\"Ulimits\":[{\"Name\":\"nofile\",\"Hard\":20,\"Soft\":10}]",
        "\"Dns\":[]",
        "\"BlkioDeviceWriteIOps\":[]",
        "\"IpcMode\":\"private\"",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let config = fixture.ok(&["inspect", "--format", "{{json .Config}}", "all"]);
    for part in [
        "\"MacAddress\":\"02:42:ac:11:00:99\"",
        "\"StopTimeout\":3",
        "\"Healthcheck\":{\"Test\":[\"CMD-SHELL\",\"true\"]}",
    ] {
        assert!(config.contains(part), "{part}: {config}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn update_changes_a_container_while_it_runs() {
    let fixture = fixture!(busybox);
    let _ = fixture.ok(&["run", "-d", "--name", "box", "-m", "64m", "busybox", "sleep", "300"]);
    let read = |v1: &str, v2: &str| {
        let file = format!("/sys/fs/cgroup/{}", if is_v1() { v1 } else { v2 });
        fixture.ok(&["exec", "box", "cat", &file])
    };
    let words = ["update", "-m", "96m", "--memory-swap", "256m", "--pids-limit", "20", "box"];
    assert_eq!(fixture.ok(&words), "box");
    assert_eq!(read("memory/memory.limit_in_bytes", "memory.max"), "100663296");
    assert_eq!(read("pids/pids.max", "pids.max"), "20");
    let words = ["container", "update", "--cpus", "0.5", "--restart", "on-failure:2", "box"];
    assert_eq!(fixture.ok(&words), "box");
    let quota = if is_v1() { "50000" } else { "50000 100000" };
    assert_eq!(read("cpu/cpu.cfs_quota_us", "cpu.max"), quota);
    assert_eq!(fixture.ok(&["update", "--pids-limit", "-1", "box"]), "box");
    assert_eq!(read("pids/pids.max", "pids.max"), "max");
    let shown =
        "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.NanoCpus}}";
    let shown = fixture.ok(&["inspect", "--format", shown, "box"]);
    assert_eq!(shown, "100663296 on-failure 500000000");
    for (words, code, why) in [
        (&["box"][..], 1, "you must provide one or more flags when using this command"),
        (&["-m", "5m", "box"], 1, "Minimum memory limit allowed is 6MB"),
        (
            &["--cpu-quota", "5000", "box"],
            1,
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (&["--restart", "foo", "box"], 1, "invalid restart policy: unknown policy 'foo'"),
        (&["-m", "64m", "nosuch"], 1, "No such container: nosuch"),
        (&["-m", "x", "box"], 125, "invalid argument \"x\" for \"-m, --memory\" flag"),
    ] {
        let refused = fixture.fails(code, &[&["update"], words].concat());
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(read("memory/memory.limit_in_bytes", "memory.max"), "100663296");
    // The limits hold for the next run, too.
    let _ = fixture.ok(&["restart", "-t", "0", "box"]);
    assert_eq!(read("memory/memory.limit_in_bytes", "memory.max"), "100663296");
    let events = ["events", "--since", "1", "--until", "0s", "--filter", "event=update"];
    let events = fixture.ok(&events);
    assert_eq!(events.lines().count(), 3, "{events}");
}
