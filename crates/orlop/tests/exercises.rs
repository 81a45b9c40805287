//! The exercises of container storage as people learn them, with real servers: what lives in a
//! writable layer, in a volume, in a bind mount, and what becomes of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use orlop_testkit::{Fixture, fixture, http_get, wait_until};

const START_LIMIT: Duration = Duration::from_secs(90);

/// A small app that writes a line into `/data` and shows what is there; its image declares the volume.
fn app(fixture: &Fixture, version: &str) {
    let tar = fixture.busybox_tar();
    let command = format!("CMD [\"sh\", \"-c\", \"echo {version} >> /data/log; cat /data/log\"]");
    let words = ["import", "-c", "VOLUME /data", "-c", &command, &tar, &format!("app:{version}")];
    fixture.ok(&words);
}

/// The one volume that a container has on `/data`.
fn volume_of(fixture: &Fixture, container: &str) -> String {
    let template = "{{range .Mounts}}{{if eq .Destination \"/data\"}}{{.Name}}{{end}}{{end}}";
    fixture.ok(&["inspect", "-f", template, container])
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn writable_layers_are_private_seen_by_diff_and_gone_with_their_container() {
    let fixture = fixture!(busybox);
    for name in ["left", "right"] {
        let script = format!("echo {name} > /root/{name}; rm /etc/group; sleep 1000");
        fixture.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", &script]);
    }
    for (name, other) in [("left", "right"), ("right", "left")] {
        wait_until("the change", START_LIMIT, || {
            let seen = fixture.ok(&["diff", name]);
            let want = format!("C /etc\nD /etc/group\nC /root\nA /root/{name}");
            if seen == want { Ok(()) } else { Err(seen) }
        });
        let output = fixture.orlop(&["exec", name, "cat", &format!("/root/{other}")]);
        assert_eq!(output.code, 1, "{output}");
    }
    // Stopped, it still has them; removed, a new one of its name has not.
    fixture.ok(&["stop", "-t", "0", "left"]);
    assert!(fixture.ok(&["diff", "left"]).contains("A /root/left"));
    fixture.ok(&["rm", "left"]);
    fixture.ok(&["create", "--name", "left", "busybox", "true"]);
    assert_eq!(fixture.ok(&["diff", "left"]), "");
    let output = fixture.ok(&["run", "--rm", "busybox", "sh", "-c", "ls /root; ls /etc/group"]);
    assert_eq!(output, "/etc/group");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_app_with_a_declared_volume_gets_its_own_each_run_until_it_is_given_a_named_one() {
    let fixture = fixture!();
    app(&fixture, "v1");
    app(&fixture, "v2");
    for name in ["one", "two"] {
        assert_eq!(fixture.ok(&["run", "--name", name, "app:v1"]), "v1");
    }
    let (one, two) = (volume_of(&fixture, "one"), volume_of(&fixture, "two"));
    for name in [&one, &two] {
        assert!(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    }
    assert_ne!(one, two);

    // Another container takes it over, and keeps it from being removed with its owner.
    let words =
        ["run", "-d", "--name", "reader", "--volumes-from", "one:ro", "app:v2", "sleep", "1000"];
    fixture.ok(&words);
    assert_eq!(volume_of(&fixture, "reader"), one);
    assert_eq!(fixture.ok(&["exec", "reader", "cat", "/data/log"]), "v1");
    let output = fixture.orlop(&["exec", "reader", "touch", "/data/x"]);
    assert!(output.code == 1 && output.stderr.contains("Read-only file system"), "{output}");
    fixture.ok(&["rm", "-v", "one", "two"]);
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), one);
    assert_eq!(fixture.ok(&["exec", "reader", "cat", "/data/log"]), "v1");
    fixture.ok(&["rm", "-f", "-v", "reader"]);
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), "");

    // A named volume takes the place of the anonymous one and carries the data to the next version.
    assert_eq!(fixture.ok(&["run", "--rm", "-v", "appdata:/data", "app:v1"]), "v1");
    assert_eq!(fixture.ok(&["run", "--rm", "-v", "appdata:/data", "app:v2"]), "v1\nv2");
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), "appdata");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn binds_go_both_ways_hide_directories_and_merge_single_files() {
    let fixture = fixture!();
    fixture.import_example("nginx", "nginx:1", &[]);
    let site = fixture.directory("site");
    std::fs::write(site.join("host"), "from the host\n").unwrap();
    let run = |mount: &str, script: &str| {
        fixture.orlop(&[
            "run",
            "--rm",
            "--mount",
            mount,
            "--entrypoint",
            "sh",
            "nginx:1",
            "-c",
            script,
        ])
    };
    let source = site.display();
    // Over a directory with content: only the host's is there, and what is written goes to the host.
    let both = format!("type=bind,src={source},dst=/etc/nginx");
    assert_eq!(run(&both, "ls /etc/nginx; echo back > /etc/nginx/guest").ok(), "host");
    assert_eq!(std::fs::read_to_string(site.join("guest")).unwrap(), "back\n");
    let hidden =
        run(&format!("{both},readonly"), "cat /etc/nginx/guest; echo x > /etc/nginx/guest");
    assert_eq!(hidden.stdout, "back\n", "{hidden}");
    assert!(hidden.code != 0 && hidden.stderr.contains("Read-only file system"), "{hidden}");
    // What was hidden is as it was.
    let words = ["run", "--rm", "--entrypoint", "sh", "nginx:1", "-c", "ls /etc/nginx/nginx.conf"];
    assert_eq!(fixture.ok(&words), "/etc/nginx/nginx.conf");
    // One file lies among those of the image.
    let file = format!("type=bind,src={source}/host,dst=/etc/nginx/host");
    let merged =
        run(&file, "cat /etc/nginx/host; ls /etc/nginx | grep -c -e nginx.conf -e mime.types");
    assert_eq!(merged.ok(), "from the host\n2");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_fresh_volume_is_filled_from_the_image_once_and_two_servers_show_the_same_changed_page() {
    let fixture = fixture!();
    fixture.import_example("nginx", "nginx:1", &[]);
    let site = "type=volume,src=site,dst=/etc/nginx/sites-enabled";
    let list = |extra: &str| {
        let script = format!("{extra} ls /etc/nginx/sites-enabled");
        fixture.ok(&[
            "run",
            "--rm",
            "--mount",
            site,
            "--entrypoint",
            "sh",
            "nginx:1",
            "-c",
            &script,
        ])
    };
    assert_eq!(list(""), "default");
    assert_eq!(list("mv /etc/nginx/sites-enabled/default /etc/nginx/sites-enabled/mine;"), "mine");
    assert_eq!(list(""), "mine", "filled only once");

    let pages = fixture.directory("pages");
    std::fs::write(pages.join("index.html"), "first\n").unwrap();
    let settings = fixture.directory("settings").join("default");
    std::fs::write(&settings, "server { listen 80; root /srv/site; }\n").unwrap();
    let bind = format!("type=bind,src={},dst=/srv/site,readonly", pages.display());
    let file = format!("{}:/etc/nginx/sites-enabled/default:ro", settings.display());
    let ports = ["127.0.0.1:18181", "127.0.0.1:18182"];
    for (name, port) in ["web1", "web2"].into_iter().zip(ports) {
        let publish = format!("{port}:80");
        fixture.ok(&[
            "run", "-d", "--name", name, "-p", &publish, "--mount", &bind, "-v", &file, "nginx:1",
        ]);
    }
    for text in ["first\n", "changed\n"] {
        std::fs::write(pages.join("index.html"), text).unwrap();
        for port in ports {
            let (_, body) = wait_until("the page", START_LIMIT, || {
                let answer = http_get(port, "/index.html")?;
                if answer.1 == text { Ok(answer) } else { Err(answer.1) }
            });
            assert_eq!(body, text);
        }
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn what_was_copied_into_a_container_is_gone_when_it_is_made_anew() {
    let fixture = fixture!();
    fixture.import_example("nginx", "nginx:1", &[]);
    let page = fixture.directory("files").join("index.html");
    std::fs::write(&page, "copied\n").unwrap();
    let port = "127.0.0.1:18183";
    let publish = format!("{port}:80");
    let start = || fixture.ok(&["run", "-d", "--name", "web", "-p", &publish, "nginx:1"]);
    let body = || wait_until("nginx to answer", START_LIMIT, || http_get(port, "/index.html")).1;
    start();
    let place = fixture.ok(&["exec", "web", "sh", "-c", "ls -d /var/www/html"]);
    let _ = body();
    fixture.ok(&["cp", page.to_str().unwrap(), &format!("web:{place}/index.html")]);
    assert_eq!(body(), "copied\n");
    // It survives a stop and a start, not a removal.
    fixture.ok(&["restart", "-t", "5", "web"]);
    assert_eq!(body(), "copied\n");
    fixture.ok(&["rm", "-f", "web"]);
    start();
    assert_ne!(body(), "copied\n");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_database_keeps_its_volume_from_being_removed_even_when_it_is_stopped() {
    let fixture = fixture!();
    fixture.import_example("postgres", "postgres:15", &[]);
    let words = [
        "run",
        "-d",
        "--name",
        "db",
        "-e",
        "POSTGRES_PASSWORD=secret",
        "-v",
        "pgdata:/var/lib/postgresql/data",
        "postgres:15",
    ];
    let id = fixture.ok(&words);
    wait_until("PostgreSQL to answer", START_LIMIT, || {
        let output =
            fixture.orlop(&["exec", "db", "pg_isready", "-h", "127.0.0.1", "-U", "postgres"]);
        if output.code == 0 { Ok(()) } else { Err(output.to_string()) }
    });
    for command in [&["volume", "rm", "pgdata"][..], &["volume", "rm", "--force", "pgdata"]] {
        let refused = fixture.fails(1, command);
        assert!(
            refused.contains(&format!("remove pgdata: volume is in use - [{id}]")),
            "{refused}"
        );
    }
    fixture.ok(&["stop", "db"]);
    let refused = fixture.fails(1, &["volume", "rm", "pgdata"]);
    assert!(refused.contains(&format!("volume is in use - [{id}]")), "{refused}");
    let pruned = fixture.ok(&["volume", "prune", "--all", "--force"]);
    assert_eq!(pruned, "Total reclaimed space: 0B");
    fixture.ok(&["rm", "db"]);
    assert_eq!(fixture.ok(&["volume", "rm", "pgdata"]), "pgdata");
}
