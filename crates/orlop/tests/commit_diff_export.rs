//! `commit`, `diff`, `export`, `history`: what becomes of a container's writable layer.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
/// Changes of every kind, with a mark when they are done.
const CHANGES: &str = "echo a > /added; rm /bin/vi; rm -r /var; mkdir /var; echo z > /var/z; \
                       mkdir /dir; touch /dir/f; chmod 700 /tmp; echo > /short; rm /short; touch /done";

fn changes(fixture: &Fixture, name: &str) -> Vec<String> {
    let text = fixture.ok(&["diff", name]);
    text.lines().map(str::to_owned).filter(|line| !line.ends_with("/done")).collect()
}

/// busybox with a few more files.
fn image(fixture: &Fixture) {
    fixture.busybox();
    let script = "mkdir -p /var/old /tmp; echo v > /var/old/v; chmod 1777 /tmp";
    fixture.ok(&["run", "--name", "base", "busybox", "sh", "-c", script]);
    fixture.ok(&["commit", "base", "base"]);
    fixture.ok(&["rm", "base"]);
}

/// Waits until a command succeeds.
fn wait_for(fixture: &Fixture, words: &[&str]) {
    wait_until("what a container does", LIMIT, || {
        let output = fixture.orlop(words);
        if output.code == 0 { Ok(()) } else { Err(output.to_string()) }
    });
}

fn shows_changes(fixture: &Fixture) {
    image(fixture);
    fixture.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "-v",
        "/vol",
        "base",
        "sh",
        "-c",
        &format!("{CHANGES}; touch /vol/f; sleep 600"),
    ]);
    wait_for(fixture, &["exec", "box", "ls", "/done"]);
    let want = [
        "A /added",
        "C /bin",
        "D /bin/vi",
        "A /dir",
        "A /dir/f",
        "C /tmp",
        "C /var",
        "D /var/old",
        "A /var/z",
        "A /vol",
    ];
    assert_eq!(changes(fixture, "box"), want);
    fixture.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(changes(fixture, "box"), want);
    fixture.ok(&["create", "--name", "fresh", "base"]);
    assert_eq!(fixture.ok(&["diff", "fresh"]), "");
    assert!(fixture.fails(1, &["diff", "nobody"]).contains("No such container: nobody"));
    // The commit has them all and nothing of the volume.
    fixture.ok(&["commit", "box", "changed"]);
    let script =
        "cat /added /var/z; ls -d /bin/vi /var/old 2>/dev/null; ls /dir /var /vol; stat -c %a /tmp";
    assert_eq!(
        fixture.ok(&["run", "--rm", "changed", "sh", "-c", script]),
        "a\nz\n/dir:\nf\n\n/var:\nz\n\n/vol:\n700"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn changes_of_running_and_stopped_containers_are_listed_and_committed() {
    shows_changes(&fixture!());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn changes_are_the_same_with_the_vfs_driver() {
    let mut fixture = fixture!();
    fixture.add_option(&["--storage-driver", "vfs"]);
    shows_changes(&fixture);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_commit_takes_the_containers_settings_and_the_changes() {
    let fixture = fixture!(busybox);
    fixture.ok(&[
        "run",
        "--name",
        "box",
        "-e",
        "A=1",
        "-e",
        "B=2",
        "-u",
        "7:8",
        "-w",
        "/work",
        "-l",
        "k=v",
        "-v",
        "/anonymous",
        "-p",
        "80",
        "--hostname",
        "h",
        "busybox",
        "sh",
        "-c",
        "true; echo x",
    ]);
    let id = fixture.ok(&[
        "commit",
        "-a",
        "Ann <a@b.c>",
        "-m",
        "a comment",
        "-c",
        "ENV B=3 C=4",
        "-c",
        "EXPOSE 81",
        "-c",
        "ONBUILD RUN make",
        "-c",
        "HEALTHCHECK --retries=2 CMD true",
        "box",
        "made:1",
    ]);
    let document: serde_json::Value =
        serde_json::from_str(&fixture.ok(&["image", "inspect", "made:1"])).unwrap();
    let image = &document[0];
    assert_eq!(image["Id"], id.as_str());
    assert_eq!((&image["Author"], &image["Comment"]), (&"Ann <a@b.c>".into(), &"a comment".into()));
    let config = &image["Config"];
    let env: Vec<&str> =
        config["Env"].as_array().unwrap().iter().filter_map(|entry| entry.as_str()).collect();
    for pair in ["A=1", "B=3", "C=4"] {
        assert!(env.contains(&pair), "{env:?}");
    }
    assert_eq!(config["User"], "7:8");
    assert_eq!(config["WorkingDir"], "/work");
    assert_eq!(config["Labels"], serde_json::json!({ "k": "v" }));
    assert_eq!(config["Volumes"], serde_json::json!({ "/anonymous": {} }));
    assert_eq!(config["ExposedPorts"], serde_json::json!({ "80/tcp": {}, "81/tcp": {} }));
    assert_eq!(config["Cmd"], serde_json::json!(["sh", "-c", "true; echo x"]));
    assert_eq!(config["OnBuild"], serde_json::json!(["RUN make"]));
    assert_eq!(
        config["Healthcheck"],
        serde_json::json!({ "Test": ["CMD-SHELL", "true"], "Retries": 2 })
    );
    assert_eq!(config.get("Hostname"), None);
    let history = fixture.ok(&[
        "history",
        "--no-trunc",
        "--format",
        "{{.CreatedBy}}|{{.Comment}}|{{.ID}}",
        "made:1",
    ]);
    assert_eq!(history, format!("sh -c true; echo x|a comment|{id}\n|Imported from -|<missing>"));
    // A container that changed nothing makes no layer.
    fixture.ok(&["create", "--name", "same", "busybox", "true"]);
    fixture.ok(&["commit", "same", "same"]);
    let layers =
        |name: &str| fixture.ok(&["image", "inspect", "-f", "{{json .RootFS.Layers}}", name]);
    assert_eq!(layers("same"), layers("busybox"));
    assert_eq!(fixture.ok(&["history", "--format", "{{.Size}}", "same"]), "0B\n1.98MB");
    for (words, text) in [
        (&["commit", "-c", "RUN x", "box"][..], "RUN is not a valid change command"),
        (&["commit", "box", "Bad"], "repository name (library/Bad) must be lowercase"),
        (&["commit", "nobody"], "No such container: nobody"),
    ] {
        let line = fixture.fails(1, words);
        assert!(line.contains(text), "{line}");
    }
    let event = fixture.events(&["event=commit"], "{{.Actor.Attributes.comment}} {{.Actor.Attributes.imageID}} {{.Actor.Attributes.imageRef}}");
    assert_eq!(event.lines().next(), Some(format!("a comment {id} made:1").as_str()));
}

/// A writer keeps two files equal, one after the other; only a pause shows them at one moment.
#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_running_container_is_paused_for_its_commit_and_goes_on() {
    let fixture = fixture!(busybox);
    let script = "mkdir /d; i=0; while true; do i=$((i+1)); for f in a b c d e f; do echo $i > /d/$f; done; done";
    fixture.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    wait_for(&fixture, &["exec", "box", "test", "-s", "/d/f"]);
    for round in 0..5 {
        let name = format!("moment:{round}");
        fixture.ok(&["commit", "box", &name]);
        let text =
            fixture.ok(&["run", "--rm", &name, "sh", "-c", "cat /d/a /d/b /d/c /d/d /d/e /d/f"]);
        let mut numbers: Vec<i64> = text.lines().map(|line| line.parse().unwrap()).collect();
        numbers.dedup();
        // The loop is at one place: at most one step between the first files and the last ones.
        assert!(numbers.len() <= 2 && numbers[0] - numbers[numbers.len() - 1] <= 1, "{text}");
    }
    assert_eq!(fixture.ok(&["inspect", "-f", "{{.State.Status}}", "box"]), "running");
    let before = fixture.ok(&["exec", "box", "cat", "/d/a"]);
    wait_until("the container to go on", LIMIT, || {
        let now = fixture.ok(&["exec", "box", "cat", "/d/a"]);
        if now == before { Err(now) } else { Ok(()) }
    });
    // A paused one stays paused.
    fixture.ok(&["pause", "box"]);
    fixture.ok(&["commit", "box", "paused"]);
    assert_eq!(fixture.ok(&["inspect", "-f", "{{.State.Status}}", "box"]), "paused");
    fixture.ok(&["unpause", "box"]);
    fixture.ok(&["commit", "--pause=false", "box", "unpaused"]);
    // Killed in the middle: paused for everybody to see, and no image.
    let killed = fixture
        .command(&["commit", "box", "never"])
        .env("ORLOP_FAULT", "container.commit.frozen")
        .output()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&killed.status),
        Some(6),
        "{killed:?}"
    );
    assert_eq!(fixture.ok(&["inspect", "-f", "{{.State.Status}}", "box"]), "paused");
    fixture.ok(&["unpause", "box"]);
    assert_eq!(fixture.ok(&["images", "-q", "never"]), "");
    assert_eq!(fixture.ok(&["exec", "box", "echo", "alive"]), "alive");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_export_is_the_whole_root_without_volumes() {
    let fixture = fixture!(busybox);
    let script = "echo content > /file; chown 7:8 /file; chmod 4711 /file; ln /file /linked; \
                  ln -s /nowhere /symlink; echo secret > /vol/secret; mkfifo /pipe; touch /done; sleep 600";
    fixture.ok(&[
        "run", "-d", "--name", "box", "-v", "/vol", "--tmpfs", "/memory", "busybox", "sh", "-c",
        script,
    ]);
    wait_for(&fixture, &["exec", "box", "ls", "/done"]);
    let folder = fixture.directory("export");
    let path = folder.join("running.tar").display().to_string();
    assert_eq!(fixture.ok(&["export", "-o", &path, "box"]), "");
    let list = |path: &str| {
        let mut command = Command::new("tar");
        let text = run(command.args(["--numeric-owner", "-tvf", path]), b"", LIMIT).ok().to_owned();
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .map(|words| [words[..2].join(" "), words[5..].join(" ")].join(" "))
            .collect::<Vec<_>>()
    };
    let running = list(&path);
    for line in [
        "-rws--x--x 7/8 file",
        "hrws--x--x 7/8 linked link to file",
        "lrwxrwxrwx 0/0 symlink -> /nowhere",
        "prw-r--r-- 0/0 pipe",
        "-rwxr-xr-x 0/0 .dockerenv",
        "-rwxr-xr-x 0/0 etc/hosts",
        "lrwxrwxrwx 0/0 etc/mtab -> /proc/mounts",
        "drwxr-xr-x 0/0 vol/",
        "drwxr-xr-x 0/0 memory/",
        "drwxr-xr-x 0/0 proc/",
    ] {
        assert!(running.iter().any(|found| found == line), "{line} is not in {running:#?}");
    }
    assert!(!running.iter().any(|line| line.contains("vol/secret") || line.contains(" ./")));
    fixture.ok(&["stop", "-t", "0", "box"]);
    let stopped = fixture.command(&["export", "box"]).output().unwrap();
    assert!(stopped.status.success());
    assert!(stopped.stdout == std::fs::read(&path).unwrap(), "stopped it is another archive");
    // And back.
    fixture.orlop_with_input(&["import", "-", "back"], &stopped.stdout).ok();
    let text = fixture.ok(&["run", "--rm", "back", "stat", "-c", "%a %u:%g %h %s", "/file"]);
    assert_eq!(text, "4711 7:8 2 8");
    assert!(fixture.fails(1, &["export", "nobody"]).contains("No such container: nobody"));
    let line = fixture.fails(1, &["export", "-o", "/nowhere/x", "box"]);
    assert!(
        line.ends_with("failed to export container: invalid output path: stat /nowhere: no such file or directory"),
        "{line}"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_can_be_committed_after_its_image_is_gone() {
    let fixture = fixture!(busybox);
    fixture.ok(&["run", "--name", "box", "busybox", "sh", "-c", "echo kept > /file"]);
    fixture.ok(&["rmi", "--force", "busybox"]);
    fixture.ok(&["commit", "box", "rescued"]);
    fixture.ok(&["rm", "box"]);
    assert_eq!(fixture.ok(&["run", "--rm", "rescued", "cat", "/file"]), "kept");
    assert_eq!(fixture.ok(&["history", "-q", "rescued"]).lines().count(), 2);
}

fn archives_what_changes(fixture: &Fixture) {
    fixture.busybox();
    let script = "mkdir /w; while true; do for i in 1 2 3 4 5 6; do mkdir -p /w/d$i; echo $i > /w/d$i/f; \
                  ln -s f /w/d$i/l; ln /w/d$i/f /w/d$i/h; mkfifo /w/d$i/p; done; rm -rf /w/d*; done";
    fixture.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
    wait_for(fixture, &["exec", "box", "ls", "/w/d3"]);
    for round in 0..8 {
        let exported = fixture.command(&["export", "box"]).output().unwrap();
        assert!(exported.status.success(), "{round}: {exported:?}");
        run(Command::new("tar").args(["-tf", "-"]), &exported.stdout, LIMIT).ok();
        fixture.ok(&["diff", "box"]);
        fixture.ok(&["commit", "--pause=false", "box", "moving"]);
        fixture.ok(&["run", "--rm", "moving", "ls", "/w"]);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_that_changes_all_the_time_is_archived() {
    archives_what_changes(&fixture!());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_container_that_changes_all_the_time_is_archived_by_vfs() {
    let mut fixture = fixture!();
    fixture.add_option(&["--storage-driver", "vfs"]);
    archives_what_changes(&fixture);
}
