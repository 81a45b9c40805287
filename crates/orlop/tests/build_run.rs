//! RUN: what a step sees, what it leaves, how it fails, and what is left of a builder that was killed.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use orlop_testkit::{Fixture, fixture, run, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

/// A context with a Dockerfile.
fn context(fixture: &Fixture, name: &str, dockerfile: &str) -> PathBuf {
    let directory = fixture.directory(name);
    std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    directory
}

/// Builds with `--progress plain`; what was shown.
#[track_caller]
fn build(fixture: &Fixture, dockerfile: &str, words: &[&str]) -> String {
    let directory = context(fixture, "context", dockerfile);
    let all = [&["build", "--progress", "plain", "-t", "built"], words].concat();
    let output = fixture.orlop(&[all.as_slice(), &[directory.to_str().unwrap()]].concat());
    assert_eq!(output.code, 0, "{output}");
    output.stderr
}

#[track_caller]
fn fails(fixture: &Fixture, dockerfile: &str, words: &[&str]) -> String {
    let directory = context(fixture, "context", dockerfile);
    let all = [&["build", "--progress", "plain"], words].concat();
    let output = fixture.orlop(&[all.as_slice(), &[directory.to_str().unwrap()]].concat());
    assert_eq!(output.code, 1, "{output}");
    output.stderr
}

/// Lines of one step's output, without number and time.
fn said(shown: &str) -> Vec<&str> {
    let lines = shown.lines().filter_map(|line| {
        let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
        number.parse::<u32>().ok()?;
        let (time, text) = rest.split_once(' ')?;
        time.parse::<f64>().ok().map(|_| text)
    });
    lines.collect()
}

#[track_caller]
fn in_built(fixture: &Fixture, script: &str) -> String {
    fixture.ok(&["run", "--rm", "built", "sh", "-c", script])
}

/// Nothing of any step is left, once reapers and monitors have had their time.
#[track_caller]
fn assert_clean(fixture: &Fixture) {
    wait_until("everything to be gone", LIMIT, || {
        let processes = fixture.processes();
        let directories = std::fs::read_dir(fixture.root().join("containers")).unwrap().count();
        if processes.is_empty() && directories == 0 {
            Ok(())
        } else {
            Err(format!("{directories} {processes:?}"))
        }
    });
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    fixture.ok(&["system", "check"]);
    fixture.assert_nothing_mounted();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_step_sees_what_buildkit_shows_and_leaves_what_it_writes() {
    let fixture = fixture!(busybox);
    let shown = build(
        &fixture,
        "FROM busybox\n\
         ARG GIVEN\nENV KEPT=yes\nWORKDIR /srv\n\
         RUN echo somebody:x:1234:1234::/home/somebody:/bin/sh >> /etc/passwd\n\
         USER somebody\n\
         RUN echo \"$(id -un) $HOME $PWD $(hostname) $GIVEN $KEPT $HTTP_PROXY\"; [ -t 0 ] || cat; echo err >&2\n\
         USER 0\nVOLUME /data\n\
         RUN mkdir /data; echo kept > /data/file; sleep 300 & mkdir -p /a/b; mknod /a/null c 1 3; ln /a/null /a/hard; \
         mkfifo /a/pipe; rm -r /srv; mkdir /srv; touch /srv/new\n\
         RUN <<EOF\necho here $0\nEOF\n\
         RUN <<SCRIPT\n#!/bin/sh -e\necho script $0\nSCRIPT\n",
        &["--build-arg", "GIVEN=1", "--build-arg", "HTTP_PROXY=http://proxy"],
    );
    assert_eq!(
        said(&shown),
        [
            "somebody /home/somebody /srv buildkitsandbox 1 yes http://proxy",
            "err",
            "here /bin/sh",
            "script /dev/pipes/SCRIPT"
        ],
        "{shown}"
    );
    let events = fixture.events(&[], "{{.Type}}");
    assert!(!events.contains("network") && !events.contains("container"), "{events}");
    assert_eq!(
        in_built(
            &fixture,
            "cat /data/file; stat -c '%F %h' /a/null /a/pipe; ls /srv; ls /dev/pipes 2>&1; true"
        ),
        "kept\ncharacter special file 2\nfifo 1\nnew\nls: /dev/pipes: No such file or directory"
    );
    fixture.ok(&["rmi", "built"]);
    assert_clean(&fixture);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn secrets_are_seen_by_the_step_and_by_nobody_else() {
    let fixture = fixture!(busybox);
    let secret = fixture.directory("secret").join("file");
    std::fs::write(&secret, "known-to-nobody\n").unwrap();
    let source = format!("id=file,src={}", secret.display());
    let mut command = fixture.command(&[]);
    let directory = context(
        &fixture,
        "context",
        "FROM busybox\n\
         RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=TOKEN \
         --mount=type=secret,id=file,target=/etc/mine,mode=0440,uid=5,gid=6 --mount=type=secret,id=nothing \
         cat /run/secrets/file | tr n-z N-Z; echo $TOKEN | tr n-z N-Z; stat -c '%a %u %g' /run/secrets/file /etc/mine; \
         ls /run/secrets; echo x > /done\n",
    );
    command.args(["build", "--progress", "plain", "-t", "built", "--secret", &source]);
    command.args(["--secret", "id=variable,env=OF_CLIENT"]).arg(&directory);
    command.env("OF_CLIENT", "also-to-nobody");
    let output = run(&mut command, b"", LIMIT);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(
        said(&output.stderr),
        ["kNOWN-TO-NObOdY", "alSO-TO-NObOdY", "400 0 0", "440 5 6", "file"],
        "{output}"
    );
    assert_eq!(
        in_built(&fixture, "ls /run/secrets /etc/mine 2>&1; cat /done").lines().last(),
        Some("x")
    );
    std::fs::remove_file(&secret).unwrap();
    for known in ["known-to-nobody", "also-to-nobody"] {
        let found =
            Command::new("grep").args(["-rl", known]).arg(fixture.folder()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "a secret is on the disk");
    }
    let text = fails(&fixture, "FROM busybox\nRUN --mount=type=secret,id=x,required true\n", &[]);
    assert!(text.contains("secret x: not found"), "{text}");
    let text = fails(&fixture, "FROM busybox\nRUN --mount=type=ssh,required true\n", &[]);
    assert!(text.contains("no SSH key \"default\" forwarded from the client"), "{text}");
    assert_clean(&fixture);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_cache_mount_is_an_ordinary_volume() {
    let fixture = fixture!(busybox);
    let cached = |text: &str, id: &str| {
        format!(
            "FROM busybox\nRUN --mount=type=cache,id={id},target=/var/cache/deep,mode=0750,uid=3 \
             stat -c '%a %u' /var/cache/deep; cat /var/cache/deep/* 2>/dev/null; echo {text} >> /var/cache/deep/f\n"
        )
    };
    assert_eq!(said(&build(&fixture, &cached("one", "go"), &[])), ["750 3"]);
    assert_eq!(said(&build(&fixture, &cached("two", "go"), &[])), ["750 3", "one"]);
    assert_eq!(said(&build(&fixture, &cached("three", "other"), &[])), ["750 3"]);
    let names = fixture.ok(&["volume", "ls", "-q", "--filter", "label=io.orlop.build.cache.id=go"]);
    assert!(names.starts_with("cache-go-") && names.lines().count() == 1, "{names}");
    let mount = format!("{names}:/x");
    assert_eq!(fixture.ok(&["run", "--rm", "-v", &mount, "busybox", "cat", "/x/f"]), "one\ntwo");
    // Neither the files nor the mount point are in the image.
    assert_eq!(
        in_built(&fixture, "ls -d /var/cache 2>&1; true"),
        "ls: /var/cache: No such file or directory"
    );
    // It is no anonymous volume.
    fixture.ok(&["volume", "prune", "-f"]);
    assert_eq!(said(&build(&fixture, &cached("four", "go"), &[])), ["750 3", "one", "two"]);
    // What a namespace keeps apart.
    let words = ["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=mine"];
    assert_eq!(said(&build(&fixture, &cached("five", "go"), &words)), ["750 3"]);
    fixture.ok(&["volume", "rm", &names]);
    assert_eq!(said(&build(&fixture, &cached("six", "go"), &[])), ["750 3"]);
    let from = "FROM busybox AS base\nRUN mkdir /seed && echo seed > /seed/s\nFROM busybox\n\
         RUN --mount=type=cache,target=/c,from=base,source=/seed cat /c/s; echo more >> /c/s\n";
    assert_eq!(said(&build(&fixture, from, &[])), ["seed"]);
    assert_eq!(said(&build(&fixture, from, &["--no-cache"])), ["seed", "more"]);
    assert_clean(&fixture);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_locked_cache_serves_one_step_at_a_time_and_a_private_one_each_alone() {
    let fixture = fixture!(busybox);
    let stages = |sharing: &str, script: &str| {
        let stage = |name: &str| {
            format!(
                "FROM busybox AS {name}\nRUN --mount=type=cache,id=c-{sharing},target=/c,sharing={sharing} \
                 : {name}; {}\n",
                script.replace("STAGE", name)
            )
        };
        format!(
            "{}{}FROM scratch\nCOPY --from=a /bin/sh /a\nCOPY --from=b /bin/sh /b\n",
            stage("a"),
            stage("b")
        )
    };
    let alone = "test ! -e /c/busy || exit 9; touch /c/busy; sleep 2; rm /c/busy";
    let shown = build(&fixture, &stages("locked", alone), &[]);
    assert!(shown.contains("waiting for cache mount \"c-locked\""), "{shown}");
    build(&fixture, &stages("private", alone), &[]);
    let count = |id: &str| {
        let filter = format!("label=io.orlop.build.cache.id={id}");
        fixture.ok(&["volume", "ls", "-q", "--filter", &filter]).lines().count()
    };
    assert_eq!((count("c-locked"), count("c-private")), (1, 2));
    let together = "touch /c/STAGE; for i in $(seq 90); do [ -e /c/a ] && [ -e /c/b ] && exit 0; \
                    sleep 1; done; exit 8";
    build(&fixture, &stages("shared", together), &[]);
    assert_eq!(count("c-shared"), 1);
    assert_clean(&fixture);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn bind_mounts_show_contexts_stages_and_images_and_take_no_writes() {
    let fixture = fixture!(busybox);
    let directory = context(
        &fixture,
        "bound",
        "FROM busybox AS base\nRUN mkdir /made && echo made > /made/f\nFROM busybox\n\
         RUN --mount=target=/src --mount=type=bind,from=base,source=/made,target=/made,rw \
         --mount=from=busybox,source=bin,target=/tools --mount=source=sub/one,target=/one \
         --mount=type=tmpfs,target=/mem,size=1m \
         cat /src/sub/one /one; ls /src; echo x > /made/f; cat /made/f; ls /tools/sh; \
         (echo x > /src/new) 2>/dev/null || echo read-only; df -k /mem | tail -1 | awk '{print $2}'; echo y > /mem/f\n",
    );
    std::fs::create_dir_all(directory.join("sub")).unwrap();
    std::fs::write(directory.join("sub/one"), "1\n").unwrap();
    std::fs::write(directory.join("ignored"), "").unwrap();
    std::fs::write(directory.join(".dockerignore"), "ignored\nDockerfile\n.dockerignore\n")
        .unwrap();
    let words = ["build", "--progress", "plain", "-t", "built", directory.to_str().unwrap()];
    let output = fixture.orlop(&words);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(
        said(&output.stderr),
        ["1", "1", "sub", "x", "/tools/sh", "read-only", "1024"],
        "{output}"
    );
    assert_eq!(in_built(&fixture, "ls -d /src /made /tools /one /mem 2>/dev/null; true"), "");
    assert_clean(&fixture);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn failures_have_buildkits_words() {
    let fixture = fixture!(busybox);
    for (dockerfile, text) in [
        (
            "FROM busybox\nRUN exit 3\n",
            "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
        ),
        (
            "FROM busybox\nUSER nobody-here\nRUN true\n",
            "process \"/bin/sh -c true\" did not complete successfully: unable to find user nobody-here: \
             no matching entries in passwd file",
        ),
        ("FROM busybox\nRUN --network=host true\n", "network.host is not allowed"),
        (
            "# syntax=docker/dockerfile:1-labs\nFROM busybox\nRUN --security=insecure true\n",
            "security.insecure is not allowed",
        ),
        ("FROM busybox\nRUN [\"nothing\"]\n", "executable file not found in $PATH"),
    ] {
        let shown = fails(&fixture, dockerfile, &[]);
        assert!(shown.contains(text), "{dockerfile}{shown}");
    }
    let shown = build(
        &fixture,
        "FROM busybox\nRUN --network=none ip -o link | wc -l\nRUN ip -o route | grep -c default\n",
        &[],
    );
    assert_eq!(said(&shown), ["1", "1"], "{shown}");
    let shown = build(
        &fixture,
        "FROM busybox\nRUN --security=insecure mount -t tmpfs x /tmp && echo ok\n",
        &["--allow", "security.insecure"],
    );
    assert_eq!(said(&shown), ["ok"], "{shown}");
    assert_clean(&fixture);
}

/// Starts a build of a step that waits for ever, and waits until it does.
fn start_waiting(fixture: &Fixture) -> Child {
    let directory = context(
        fixture,
        "waiting",
        "FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked touch /c/up; sleep 300 & sleep 300\n",
    );
    let mut command = fixture.command(&["build", directory.to_str().unwrap()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let volumes = fixture.root().join("volumes");
    wait_until("the step", LIMIT, || {
        let entries = std::fs::read_dir(&volumes).into_iter().flatten().flatten();
        let up = entries.map(|entry| entry.path().join("_data/up")).any(|path| path.exists());
        if up { Ok(()) } else { Err("it is not up".to_owned()) }
    });
    child
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_build_that_is_killed_or_interrupted_leaves_nothing() {
    let fixture = fixture!(busybox);
    let mut child = start_waiting(&fixture);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_clean(&fixture);
    // Nor does it hold the cache.
    for volume in fixture.ok(&["volume", "ls", "-q"]).lines() {
        std::fs::remove_file(
            Path::new(&fixture.root()).join("volumes").join(volume).join("_data/up"),
        )
        .unwrap();
    }
    let mut child = start_waiting(&fixture);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_clean(&fixture);
}
