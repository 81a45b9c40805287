//! What commands print: tables, formats, sizes and the two streams, from a real store.
#![allow(clippy::unwrap_used)]

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use orlop_testkit::{fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn ps_shows_what_docker_shows() {
    let fixture = fixture!(busybox);
    let words = "create --name made -l a=1 -l com.x.the-name=2 -v data:/data -v /tmp:/host:ro --tmpfs /t busybox sh -c";
    let mut words: Vec<&str> = words.split(' ').collect();
    words.push("echo one two");
    let id = fixture.ok(&words);
    let ps = |format: &str| fixture.ok(&["ps", "-a", "--format", format]);
    for (format, want) in [
        (
            "{{.Names}} {{.Image}} {{.State}} {{.Status}} {{.Networks}}",
            "made busybox created Created bridge",
        ),
        ("{{.Command}}", "\"sh -c 'echo one two'\""),
        ("{{.Mounts}} {{.LocalVolumes}} {{.Platform}} [{{.Ports}}]", "data,/tmp 1 <nil> []"),
        ("{{.Label \"a\"}} {{.Label \"com.x.the-name\"}} {{.Labels}}", "1 2 a=1,com.x.the-name=2"),
        (
            "table {{.Names}}\\t{{.Label \"com.x.the-name\"}}\\t{{.LocalVolumes}}",
            "NAMES     the name   LOCAL VOLUMES\nmade      2          1",
        ),
        ("{{json .Names}}{{len .ID}}", "\"made\"12"),
    ] {
        assert_eq!(ps(format), want, "{format}");
    }
    let table = fixture.ok(&["ps", "-as", "--no-trunc"]);
    let headings = table.lines().next().unwrap();
    assert_eq!(
        headings.split_whitespace().collect::<Vec<_>>().join(" "),
        "CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES SIZE"
    );
    assert!(table.lines().nth(1).unwrap().starts_with(&format!("{id}   busybox   ")), "{table}");
    assert!(table.ends_with("MB)") && table.contains("0B (virtual "), "{table}");
    let quiet = fixture.orlop(&["ps", "-aq", "--format", "{{.Names}}"]);
    assert_eq!(
        (quiet.stdout.as_str(), quiet.stderr.as_str()),
        (
            format!("{}\n", &id[..12]).as_str(),
            "WARNING: Ignoring custom format, because both --format and --quiet are set.\n"
        )
    );
    let refused = fixture.fails(1, &["ps", "-a", "--format", "{{.Nope}}"]);
    assert_eq!(
        refused,
        "orlop: ps: failed to execute template: template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn inspect_mixes_kinds_and_tells_sizes() {
    let fixture = fixture!(busybox);
    fixture.ok(&["create", "--name", "made", "-v", "data:/data", "busybox"]);
    assert_eq!(
        fixture.ok(&["inspect", "-f", "{{.Name}}", "made", "data", "bridge"]),
        "/made\ndata\nbridge"
    );
    let missing = fixture.orlop(&["inspect", "nosuch"]);
    assert_eq!(
        (missing.code, missing.stdout.as_str(), missing.stderr.as_str()),
        (1, "[]\n", "Error: No such object: nosuch\n")
    );
    let mixed = fixture.orlop(&["inspect", "-f", "{{.Driver}}", "nosuch", "data"]);
    assert_eq!((mixed.code, mixed.stdout.as_str()), (1, "local\n"));
    assert_eq!(fixture.ok(&["inspect", "-f", "{{.SizeRw}}", "made"]), "<nil>");
    let sizes =
        fixture.ok(&["inspect", "-s", "-f", "{{.SizeRw}} {{gt .SizeRootFs 1000000}}", "made"]);
    assert_eq!(sizes, "0 true");
    let image = fixture.orlop(&["inspect", "--size", "-f", "{{.Os}}", "busybox"]);
    assert_eq!(
        (image.stdout.as_str(), image.stderr.as_str()),
        ("linux\n", "WARNING: --size ignored for image\n")
    );
    let health = fixture.orlop(&["inspect", "-f", "{{.State.Health.Status}}", "made"]);
    assert_eq!((health.code, health.stdout.as_str()), (1, "\n"));
    assert!(health.stderr.ends_with("map has no entry for key \"Health\"\n"), "{health}");
    assert_eq!(fixture.fails(64, &["inspect", "-f", "{{.Name", "made"]).lines().count(), 1);
    let of_type = fixture.fails(1, &["inspect", "--type", "volume", "made"]);
    assert!(of_type.contains("no such volume"), "{of_type}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn filters_of_ps_judge_running_containers_too() {
    let fixture = fixture!(busybox);
    fixture.ok(&["create", "--name", "first", "busybox"]);
    let words =
        "run -d --name web -p 127.0.0.1:18431:80 --expose 90 -v data:/data busybox sleep 300";
    fixture.ok(&words.split(' ').collect::<Vec<_>>());
    let names = |filter: &str| {
        let words = ["ps", "-a", "--filter", filter, "--format", "{{.Names}}"];
        fixture.ok(&words).replace('\n', " ")
    };
    for (filter, want) in [
        ("publish=18431", "web"),
        ("publish=18000-19000/tcp", "web"),
        ("publish=18431/udp", ""),
        ("expose=90", "web"),
        ("expose=80/tcp", "web"),
        ("health=none", "web first"),
        ("is-task=false", "web first"),
        ("is-task=true", ""),
        ("isolation=default", "web first"),
        ("since=first", "web"),
        ("before=web", "first"),
        ("volume=data", "web"),
        ("volume=/data", "web"),
        ("network=bridge", "web first"),
        ("network=nosuch", ""),
        ("ancestor=busybox:latest", "web first"),
        ("name=^/?web$", "web"),
        ("status=running", "web"),
    ] {
        assert_eq!(names(filter), want, "{filter}");
    }
    assert_eq!(fixture.ok(&["ps", "--format", "{{.Ports}}"]), "90/tcp, 127.0.0.1:18431->80/tcp");
    assert_eq!(
        fixture.fails(1, &["ps", "--filter", "since=nosuch"]),
        "orlop: ps: No such container: nosuch"
    );
    // A filter alone does not bring back what does not run.
    assert_eq!(fixture.ok(&["ps", "-q", "--filter", "exited=0"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn every_verb_goes_by_all_its_names() {
    let fixture = fixture!(busybox);
    let id =
        fixture.ok(&["container", "create", "--name", "one", "-v", "data:/d", "busybox", "true"]);
    for words in [
        &["ps", "-aq", "--no-trunc"][..],
        &["container", "ls", "-aq", "--no-trunc"],
        &["container", "list", "-aq", "--no-trunc"],
        &["container", "ps", "-aq", "--no-trunc"],
    ] {
        assert_eq!(fixture.ok(words), id, "{words:?}");
    }
    let image = fixture.ok(&["images", "-q"]);
    assert_eq!(fixture.ok(&["image", "ls", "-q"]), image);
    assert_eq!(fixture.ok(&["image", "list", "-q"]), image);
    assert_eq!(fixture.ok(&["volume", "list", "-q"]), "data");
    assert_eq!(
        fixture.ok(&["system", "info", "-f", "{{.Driver}}"]),
        fixture.ok(&["info", "-f", "{{.Driver}}"])
    );
    assert_eq!(fixture.ok(&["container", "remove", "one"]), "one");
    assert_eq!(fixture.ok(&["volume", "remove", "data"]), "data");
    fixture.ok(&["image", "remove", "busybox"]);
    assert_eq!(fixture.ok(&["images", "-q"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn data_and_messages_go_to_their_streams() {
    let fixture = fixture!(busybox);
    let output = fixture.orlop(&["rm", "nosuch", "nosuch2"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert_eq!(output.stderr.lines().count(), 2, "{output}");
    // Help that was asked for is data; help for half a command is a message.
    let asked = fixture.orlop(&["volume", "--help"]);
    assert_eq!((asked.code, asked.stderr.as_str()), (0, ""));
    let half = fixture.orlop(&["volume"]);
    assert_eq!((half.code, half.stdout.as_str()), (0, ""));
    assert_eq!(half.stderr, asked.stdout);
    // Nothing is coloured in a pipe, whatever the variables say.
    let mut command = fixture.command(&["--log-level", "debug", "ps"]);
    let output = run(command.env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1"), b"", LIMIT);
    assert!(!output.stderr.contains('\u{1b}'), "{output}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_reader_that_leaves_ends_a_command_without_a_word() {
    let fixture = fixture!(busybox);
    let script = "i=0; while [ $i -lt 30000 ]; do echo line $i of a long text; i=$((i+1)); done";
    fixture.ok(&["run", "-d", "--name", "long", "busybox", "sh", "-c", script]);
    wait_until("the container to end", LIMIT, || {
        let state = fixture.ok(&["ps", "-a", "--format", "{{.State}}"]);
        if state == "exited" { Ok(()) } else { Err(state) }
    });
    let mut command = fixture.command(&["logs", "long"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut start).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!((&start, String::from_utf8(ended.stderr).unwrap().as_str()), (b"line 0 o", ""));
    assert_eq!(ended.status.code(), Some(141));
}

#[test]
#[ignore = "root: makes a store"]
fn called_as_docker_it_is_docker() {
    let fixture = fixture!();
    let docker = fixture.directory("bin").join("docker");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_orlop"), &docker).unwrap();
    // Docker's own settings are not ours.
    let config = fixture.directory("config");
    std::fs::write(config.join("config.json"), "{\"psFormat\": \"{{.Nope}}\"}").unwrap();
    let docker = |words: &[&str]| {
        let mut command = Command::new(&docker);
        command.env("ORLOP_ROOT", fixture.root()).env("ORLOP_RUN_ROOT", fixture.run_root());
        command.env("DOCKER_HOST", "tcp://192.0.2.1:1").env("DOCKER_CONFIG", &config);
        run(command.args(words), b"", LIMIT)
    };
    assert_eq!(
        docker(&["ps"]).ok(),
        "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES"
    );
    assert_eq!(
        docker(&["--context", "default", "--tlsverify=false", "-D=false", "volume", "ls", "-q"])
            .ok(),
        ""
    );
    assert_eq!(
        docker(&["rm"]).fails(1),
        "docker: 'docker rm' requires at least 1 argument\nusage: docker rm [OPTIONS] CONTAINER [CONTAINER...]"
    );
    assert_eq!(
        docker(&["-H", "unix:///run/docker.sock", "ps"]).fails(1),
        "docker: cannot connect to unix:///run/docker.sock: there is no server\nhint: orlop works in its own process: leave `--host` away"
    );
    assert!(
        docker(&["help", "volume", "rm"])
            .ok()
            .starts_with("Usage:  docker volume rm [OPTIONS] VOLUME [VOLUME...]")
    );
}
