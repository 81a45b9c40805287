//! The main job with real PostgreSQL: data on a named volume outlives its container and its image.
//!
//! The steps are those of `make demo`.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, wait_until};

const START_LIMIT: Duration = Duration::from_secs(90);
const DATA: &str = "pgdata:/var/lib/postgresql/data";

/// A store with two tags whose images share their root file system and differ in their settings.
fn postgres() -> Fixture {
    let fixture = fixture!();
    fixture.import_example("postgres", "postgres:15", &[]);
    fixture.import_example("postgres", "postgres:15-v2", &["LABEL org.example.version=2"]);
    fixture
}

fn start_server(fixture: &Fixture, name: &str, image: &str, extra: &[&str]) {
    let mut words = vec!["run", "-d", "--name", name, "-e", "POSTGRES_PASSWORD=secret", "-v", DATA];
    words.extend(extra);
    words.push(image);
    let id = fixture.ok(&words);
    assert_eq!(id.len(), 64, "{id}");
    wait_until("PostgreSQL to answer", START_LIMIT, || {
        let output =
            fixture.orlop(&["exec", name, "pg_isready", "-h", "127.0.0.1", "-U", "postgres"]);
        if output.code == 0 {
            return Ok(());
        }
        let seen = format!("{output}\n{}", fixture.orlop(&["logs", name]));
        let status = fixture.ok(&["inspect", "--format", "{{.State.Status}}", name]);
        assert_eq!(status, "running", "the server has ended: {seen}");
        Err(seen)
    });
}

fn sql(fixture: &Fixture, name: &str, text: &str) -> String {
    fixture.ok(&["exec", "-u", "postgres", name, "psql", "-v", "ON_ERROR_STOP=1", "-qtAc", text])
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn rows_outlive_the_container_and_its_image() {
    let fixture = postgres();
    assert_eq!(fixture.ok(&["volume", "create", "pgdata"]), "pgdata");
    start_server(&fixture, "first", "postgres:15", &[]);
    sql(&fixture, "first", "CREATE TABLE deck (id int PRIMARY KEY, name text)");
    sql(
        &fixture,
        "first",
        "INSERT INTO deck SELECT n, 'row ' || n FROM generate_series(1, 1000) n",
    );
    fixture.assert_nothing_mounted();

    assert_eq!(fixture.ok(&["rm", "-f", "first"]), "first");
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");

    start_server(&fixture, "second", "postgres:15-v2", &[]);
    assert_eq!(
        fixture.ok(&["inspect", "--format", "{{.Config.Image}}", "second"]),
        "postgres:15-v2"
    );
    assert_eq!(sql(&fixture, "second", "SELECT count(*), max(name) FROM deck"), "1000|row 999");

    // A clean stop and a new start on the same volume.
    assert_eq!(fixture.ok(&["stop", "-t", "30", "second"]), "second");
    assert_eq!(fixture.ok(&["inspect", "--format", "{{.State.ExitCode}}", "second"]), "0");
    fixture.ok(&["rm", "second"]);
    start_server(&fixture, "third", "postgres:15", &[]);
    assert_eq!(sql(&fixture, "third", "SELECT sum(id) FROM deck"), "500500");
    let log = fixture.ok(&["logs", "third"]);
    assert!(!log.contains("automatic recovery in progress"), "the stop was not clean: {log}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_killed_server_recovers_its_rows_from_the_volume() {
    let fixture = postgres();
    start_server(&fixture, "first", "postgres:15", &[]);
    sql(&fixture, "first", "CREATE TABLE deck AS SELECT generate_series(1, 100) AS id");
    fixture.ok(&["kill", "first"]);
    wait_until("the kill to be seen", Duration::from_secs(10), || {
        let status =
            fixture.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "first"]);
        if status == "exited 137" { Ok(()) } else { Err(status) }
    });
    fixture.ok(&["rm", "first"]);
    start_server(&fixture, "second", "postgres:15", &[]);
    assert_eq!(sql(&fixture, "second", "SELECT count(*) FROM deck"), "100");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_published_server_answers_on_the_loopback_address_only_there() {
    let fixture = postgres();
    start_server(&fixture, "db", "postgres:15", &["-p", "127.0.0.1:15432:5432"]);
    let mut stream = std::net::TcpStream::connect("127.0.0.1:15432").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // PostgreSQL's SSLRequest: eight bytes, answered with one letter before anything else.
    stream.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).unwrap();
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).unwrap();
    assert!(matches!(answer[0], b'N' | b'S'), "{answer:?}");
    let ports = fixture.ok(&["ps", "--format", "{{.Ports}}"]);
    assert_eq!(ports, "127.0.0.1:15432->5432/tcp");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn two_containers_of_one_image_have_private_writable_layers() {
    let fixture = postgres();
    for name in ["left", "right"] {
        fixture.ok(&["run", "-d", "--name", name, "--entrypoint", "sleep", "postgres:15", "300"]);
    }
    for name in ["left", "right"] {
        fixture.ok(&[
            "exec",
            name,
            "sh",
            "-c",
            &format!("echo {name} > /srv/who && rm /etc/issue"),
        ]);
    }
    assert_eq!(fixture.ok(&["exec", "left", "cat", "/srv/who"]), "left");
    assert_eq!(fixture.ok(&["exec", "right", "cat", "/srv/who"]), "right");
    let fresh =
        ["run", "--rm", "--entrypoint", "sh", "postgres:15", "-c", "ls /srv; ls /etc/issue"];
    assert_eq!(fixture.ok(&fresh), "/etc/issue");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_read_only_bind_mount_is_read_and_not_written() {
    let fixture = postgres();
    let folder = fixture.directory("settings");
    std::fs::write(folder.join("greeting"), "hello from the host\n").unwrap();
    let bind = format!("{}:/settings:ro", folder.display());
    let run = |script: &str| {
        fixture.orlop(&[
            "run",
            "--rm",
            "-v",
            &bind,
            "--entrypoint",
            "sh",
            "postgres:15",
            "-c",
            script,
        ])
    };
    assert_eq!(run("cat /settings/greeting").ok(), "hello from the host");
    let refused = run("echo changed > /settings/greeting");
    assert_eq!(refused.code, 2, "{refused}");
    assert!(refused.stderr.contains("Read-only file system"), "{refused}");
    assert_eq!(std::fs::read_to_string(folder.join("greeting")).unwrap(), "hello from the host\n");
}
