//! Real MariaDB on a volume, and nginx serving a site from the host.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use orlop_testkit::{Fixture, fixture, http_get, wait_until};

const START_LIMIT: Duration = Duration::from_secs(90);

fn sql(fixture: &Fixture, name: &str, text: &str) -> orlop_testkit::Output {
    fixture.orlop(&["exec", name, "mariadb", "--batch", "--skip-column-names", "-e", text])
}

fn wait_for_mariadb(fixture: &Fixture, name: &str) {
    wait_until("MariaDB to answer", START_LIMIT, || {
        let output = sql(fixture, name, "SELECT 1");
        if output.code == 0 {
            return Ok(());
        }
        let seen = format!("{output}\n{}", fixture.orlop(&["logs", name]));
        let status = fixture.ok(&["inspect", "--format", "{{.State.Status}}", name]);
        assert_eq!(status, "running", "the server has ended: {seen}");
        Err(seen)
    });
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn mariadb_keeps_its_rows_over_stop_start_and_a_new_container() {
    let fixture = fixture!();
    fixture.import_example("mariadb", "mariadb:10", &[]);
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "first",
        "--mount",
        "type=volume,src=tables,dst=/var/lib/mysql",
        "mariadb:10",
    ]);
    wait_for_mariadb(&fixture, "first");
    let script = "CREATE DATABASE deck; CREATE TABLE deck.t (id INT PRIMARY KEY, name VARCHAR(20)) ENGINE=InnoDB; \
                  USE deck; INSERT INTO t SELECT seq, CONCAT('row ', seq) FROM seq_1_to_500";
    assert_eq!(sql(&fixture, "first", script).ok(), "");

    // The same container again: its writable layer and its volume come back.
    fixture.ok(&["exec", "first", "sh", "-c", "echo kept > /root/note"]);
    fixture.ok(&["stop", "-t", "30", "first"]);
    assert_eq!(fixture.ok(&["start", "first"]), "first");
    wait_for_mariadb(&fixture, "first");
    assert_eq!(sql(&fixture, "first", "SELECT COUNT(*) FROM deck.t").ok(), "500");
    assert_eq!(fixture.ok(&["exec", "first", "cat", "/root/note"]), "kept");

    // Another container on the same volume.
    fixture.ok(&["stop", "-t", "30", "first"]);
    fixture.ok(&["rm", "first"]);
    fixture.ok(&["run", "-d", "--name", "second", "-v", "tables:/var/lib/mysql", "mariadb:10"]);
    wait_for_mariadb(&fixture, "second");
    assert_eq!(sql(&fixture, "second", "SELECT MAX(id) FROM deck.t").ok(), "500");
    fixture.ok(&["stop", "-t", "30", "second"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn nginx_serves_a_read_only_site_with_a_configuration_file_from_the_host() {
    let fixture = fixture!();
    fixture.import_example("nginx", "nginx:1", &[]);
    let site = fixture.directory("site");
    std::fs::write(site.join("index.html"), "<h1>the lowest deck</h1>\n").unwrap();
    let settings = fixture.directory("settings").join("site.conf");
    std::fs::write(
        &settings,
        "server { listen 80; root /srv/site; location = /health { return 200 \"from the file\\n\"; } }\n",
    )
    .unwrap();
    let site_mount = format!("type=bind,src={},dst=/srv/site,readonly", site.display());
    let file_mount = format!("{}:/etc/nginx/sites-enabled/default:ro", settings.display());
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1:18080:80",
        "--mount",
        &site_mount,
        "-v",
        &file_mount,
        "nginx:1",
    ]);
    let (status, body) =
        wait_until("nginx to answer", START_LIMIT, || http_get("127.0.0.1:18080", "/index.html"));
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(body, "<h1>the lowest deck</h1>\n");
    assert_eq!(http_get("127.0.0.1:18080", "/health").unwrap().1, "from the file\n");
    assert_eq!(http_get("127.0.0.1:18080", "/none").unwrap().0, "HTTP/1.1 404 Not Found");

    // A change on the host is seen; the container cannot make one.
    std::fs::write(site.join("new.html"), "new\n").unwrap();
    assert_eq!(http_get("127.0.0.1:18080", "/new.html").unwrap().1, "new\n");
    for target in ["/srv/site/index.html", "/etc/nginx/sites-enabled/default"] {
        let output = fixture.orlop(&["exec", "web", "sh", "-c", &format!("echo x > {target}")]);
        assert_ne!(output.code, 0, "{output}");
        assert!(output.stderr.contains("Read-only file system"), "{output}");
    }
    let log = fixture.ok(&["logs", "web"]);
    assert!(log.contains("GET /index.html HTTP/1.0\" 200"), "{log}");

    // The port goes with the container.
    fixture.ok(&["stop", "web"]);
    let refused = http_get("127.0.0.1:18080", "/").unwrap_err();
    assert!(refused.contains("refused"), "{refused}");
}
