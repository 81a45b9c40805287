//! Small things that users of Docker rely on; each expectation was also seen from Docker 28.5.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use orlop_testkit::{fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_word_after_a_flag_is_its_value() {
    let fixture = fixture!(busybox);
    let output = fixture.ok(&["run", "--rm", "-e", "-a=b", "--name", "", "busybox", "env"]);
    assert!(output.lines().any(|line| line == "-a=b"), "{output}");
    let refused = fixture.fails(125, &["run", "-e"]);
    assert!(refused.contains("flag needs an argument: 'e' in -e"), "{refused}");
    let refused = fixture.fails(127, &["run", "--rm", "--entrypoint", "-x", "busybox"]);
    assert!(refused.contains("exec: \"-x\": executable file not found in $PATH"), "{refused}");
    let refused = fixture.fails(125, &["run", "--rm", "-m", "1k", "busybox", "true"]);
    assert!(refused.contains("Minimum memory limit allowed is 6MB"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn create_fails_with_one_and_bad_flags_with_125() {
    let fixture = fixture!(busybox);
    let _ = fixture.ok(&["create", "--name", "dup", "busybox"]);
    let refused = fixture.fails(1, &["create", "--name", "dup", "busybox"]);
    assert!(refused.contains("is already in use by container"), "{refused}");
    let _ = fixture.fails(1, &["create", "nosuch"]);
    let _ = fixture.fails(125, &["create", "-p", "abc", "busybox"]);
    let refused = fixture.fails(1, &["rename", "dup", "dup"]);
    assert!(refused.contains("same name as its current name"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_range_of_host_ports_gives_a_free_one_of_them() {
    let fixture = fixture!(busybox);
    for name in ["one", "two"] {
        let words = ["run", "-d", "--name", name, "-p", "9001-9002:80", "busybox", "sleep", "300"];
        let _ = fixture.ok(&words);
    }
    let ports = |name| {
        let template = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
        fixture.ok(&["inspect", "--format", template, name])
    };
    assert_eq!([ports("one"), ports("two")], ["9001", "9002"]);
    let words = ["run", "--rm", "-p", "9001-9002:80", "busybox", "true"];
    let refused = fixture.fails(125, &words);
    assert!(refused.contains("Bind for 0.0.0.0:9001-9002 failed"), "{refused}");
    let words = ["run", "--rm", "-p", "[::1]:9009:80", "busybox", "true"];
    let refused = fixture.fails(125, &words);
    assert!(refused.contains("the bridge has IPv4 addresses only"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn ps_filters_by_pattern_and_shows_an_image_that_lost_its_name_by_id() {
    let fixture = fixture!(busybox);
    let _ = fixture.ok(&["tag", "busybox", "moves:1"]);
    for name in ["r1", "r2", "cr1"] {
        let _ = fixture.ok(&["create", "--name", name, "moves:1", "sh", "-c", "exit 3"]);
    }
    let names = |filter: &str| {
        fixture.ok(&["ps", "-a", "--filter", filter, "--format", "{{.Names}}"]).replace('\n', " ")
    };
    assert_eq!(names("name=^r1$"), "r1");
    assert_eq!(names("name=^/r1$"), "r1");
    assert_eq!(names("name=r[12]"), "cr1 r2 r1");
    assert_eq!(names("ancestor=moves:1"), "cr1 r2 r1");
    assert_eq!(names("network=bridge"), "cr1 r2 r1");
    let refused = fixture.fails(1, &["ps", "--filter", "status=bogus"]);
    assert!(refused.contains("invalid value for state (bogus)"), "{refused}");
    let row = ["ps", "-a", "--filter", "name=^r1$", "--format", "{{.Image}} {{.Command}}"];
    assert_eq!(fixture.ok(&row), "moves:1 \"sh -c 'exit 3'\"");
    let id = fixture.ok(&["inspect", "--format", "{{.Image}}", "r1"]);
    let copy = fixture.folder().join("empty.tar");
    std::fs::write(&copy, [0; 1024]).unwrap();
    let other = fixture.ok(&["import", copy.to_str().unwrap(), "moves:1"]);
    assert_ne!(other, id);
    assert_eq!(fixture.ok(&row), format!("{} \"sh -c 'exit 3'\"", &id[7..19]));
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn exec_tells_what_did_not_start_and_takes_variables_away() {
    let fixture = fixture!(busybox);
    let words = ["run", "-d", "--name", "box", "-e", "GONE=1", "busybox", "sleep", "300"];
    let _ = fixture.ok(&words);
    let refused = fixture.fails(1, &["exec", "-d", "box", "nosuchcmd"]);
    assert!(refused.contains("executable file not found in $PATH"), "{refused}");
    let _ = fixture.ok(&["exec", "-d", "box", "touch", "/tmp/made"]);
    wait_until("the detached command", LIMIT, || {
        let seen = fixture.ok(&["exec", "box", "ls", "/tmp"]);
        if seen == "made" { Ok(()) } else { Err(seen) }
    });
    let mut command = fixture.command(&["exec", "-e", "GONE", "box", "env"]);
    let output = run(command.env_remove("GONE"), b"", LIMIT);
    assert!(!output.ok().contains("GONE"), "{output}");
    let refused = fixture.fails(128, &["exec", "-w", "rel", "box", "pwd"]);
    assert!(refused.contains("Cwd must be an absolute path"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn mounts_that_cannot_be_say_why() {
    let fixture = fixture!(busybox);
    let files = fixture.directory("bound");
    std::fs::write(files.join("f"), "data\n").unwrap();
    let device = format!("device={}", files.display());
    let volume = |name, device: &str| {
        let words = ["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", device, name];
        fixture.ok(&words)
    };
    let _ = volume("bound", &device);
    assert_eq!(fixture.ok(&["run", "--rm", "-v", "bound:/b", "busybox", "cat", "/b/f"]), "data");
    let _ = volume("missing", &format!("{device}/missing"));
    let refused = fixture.fails(127, &["run", "--rm", "-v", "missing:/b", "busybox", "true"]);
    assert!(refused.contains("no such file or directory"), "{refused}");
    let words = ["run", "--rm", "-v", "outer:/m:ro", "-v", "inner:/m/sub", "busybox", "true"];
    let refused = fixture.fails(125, &words);
    assert!(refused.contains("mkdir /m/sub: read-only file system"), "{refused}");
    for (target, why) in [("/proc", "not of type proc"), ("/proc/x", "inside /proc")] {
        let mount = format!("inner:{target}");
        let refused = fixture.fails(125, &["run", "--rm", "-v", &mount, "busybox", "true"]);
        assert!(refused.contains(why), "{refused}");
    }
    // A file system in memory has the mode of what it hides.
    let words = ["run", "--rm", "--tmpfs", "/root", "busybox", "stat", "-c", "%u %a", "/root"];
    assert_eq!(fixture.ok(&words), "0 700");
    // Docker makes a volume for a path called `a:/x` of this.
    let refused = fixture.fails(125, &["run", "--rm", "-v", "a:/x", "busybox", "true"]);
    assert!(refused.contains("volume name is too short"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn templates_know_empty_fields_and_missing_labels() {
    let fixture = fixture!(busybox);
    let template =
        "{{.Author}}|{{.Variant}}|{{.Config.Entrypoint}}|{{index .Config.Labels \"x\"}}|";
    assert_eq!(fixture.ok(&["image", "inspect", "--format", template, "busybox"]), "||[]||");
    let refused = fixture.fails(64, &["image", "inspect", "--format", "{{", "busybox"]);
    assert!(refused.contains("template parsing error"), "{refused}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_format_before_the_command_holds_for_every_command() {
    let fixture = fixture!(busybox);
    assert_eq!(fixture.ok(&["--format", "{{.Repository}}", "images"]), "busybox");
    assert_eq!(
        fixture.ok(&["--format", "{{.Repository}}", "images", "--format", "{{.Tag}}"]),
        "latest"
    );
    assert_eq!(fixture.ok(&["--format", "{{.Os}}", "image", "inspect", "busybox"]), "linux");
    let report = fixture.ok(&["--format", "json", "system", "check"]);
    assert!(report.ends_with("\"findings\":[]}"), "{report}");
}
