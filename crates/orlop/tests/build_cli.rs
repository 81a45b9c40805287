//! `build` as a user sees it: flags, progress, results, errors and interrupts.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use orlop_testkit::{Fixture, Output, fixture};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);

/// A context with this Dockerfile and a file `f`.
fn context(fixture: &Fixture, dockerfile: &str) -> PathBuf {
    let directory = fixture.directory("context");
    std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(directory.join("f"), "content\n").unwrap();
    directory
}

fn build(fixture: &Fixture, directory: &Path, flags: &[&str]) -> Output {
    let path = directory.to_str().unwrap();
    fixture.orlop(&[&["build"], flags, &[path]].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a build that must succeed printed on standard error.
fn built(fixture: &Fixture, directory: &Path, flags: &[&str]) -> String {
    let output = build(fixture, directory, flags);
    assert_eq!(output.code, 0, "{}", output.stderr);
    output.stderr
}

/// What a build that must fail printed on standard error.
fn refused(fixture: &Fixture, directory: &Path, flags: &[&str]) -> String {
    let output = build(fixture, directory, flags);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert_eq!(output.stdout, "");
    output.stderr
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn steps_are_shown_and_the_second_time_taken_from_the_cache() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = context(
        &fixture,
        "FROM busybox\nRUN echo some output\nCOPY f /f\nENTRYPOINT [\"cat\"]\nCMD [\"/f\"]\n",
    );
    let shown = built(&fixture, &directory, &["-t", "app:1", "-t", "app:2", "--progress=plain"]);
    for line in [
        "#0 building with \"default\" instance using orlop driver\n\n#1 [internal] load build definition from Dockerfile\n",
        "[2/3] RUN echo some output\n",
        " some output\n",
        "[3/3] COPY f /f\n",
        "naming to docker.io/library/app:2 done\n",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    assert!(!shown.contains("CACHED"), "{shown}");
    assert_eq!(fixture.ok(&["run", "--rm", "app:2"]), "content");
    let again = built(&fixture, &directory, &["-t", "app:1", "--explain"]);
    assert!(again.contains(" WHY: cached\n"), "{again}");
    for step in ["[2/3] RUN echo some output", "[3/3] COPY f /f"] {
        let number = again.lines().find(|line| line.ends_with(step)).unwrap();
        let number = number.split(' ').next().unwrap();
        assert!(again.contains(&format!("{number} CACHED\n")), "{again}");
    }
    let anew = built(&fixture, &directory, &["--no-cache"]);
    assert!(!anew.contains("CACHED"), "{anew}");
    assert!(anew.contains(" some output\n"), "{anew}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn quiet_prints_the_id_and_files_get_it() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = context(&fixture, "FROM busybox\nRUN echo noise\nLABEL a=b\n");
    let (iid, metadata) = (fixture.folder().join("iid"), fixture.folder().join("metadata"));
    std::fs::write(&iid, "of an earlier build").unwrap();
    let files = ["--iidfile", iid.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()];
    let output = build(&fixture, &directory, &[&["-q", "-t", "app"], files.as_slice()].concat());
    assert_eq!((output.code, output.stderr.clone()), (0, String::new()));
    let id = output.stdout;
    let id = id.trim_end();
    assert_eq!(fixture.inspect("app", "{{.Id}}"), id);
    assert_eq!(std::fs::read_to_string(&iid).unwrap(), id);
    let metadata: Value = serde_json::from_slice(&std::fs::read(&metadata).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.config.digest"], id);
    // A build that fails leaves no id that could be taken for its own.
    std::fs::write(directory.join("Dockerfile"), "FROM busybox\nRUN false\n").unwrap();
    let error = refused(&fixture, &directory, &[&["-q"], files.as_slice()].concat());
    assert!(error.ends_with("ERROR: failed to build: failed to solve: process \"/bin/sh -c false\" did not complete successfully: exit code: 1\n"), "{error}");
    assert!(!iid.exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_step_that_fails_is_shown_with_its_output_and_its_line() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = context(&fixture, "FROM busybox\nRUN echo first\nRUN echo why; exit 3\n");
    let error = refused(&fixture, &directory, &[]);
    let process =
        "process \"/bin/sh -c echo why; exit 3\" did not complete successfully: exit code: 3";
    assert!(
        error.contains(&format!(" ERROR: {process}\n------\n > [3/3] RUN echo why; exit 3:\n")),
        "{error}"
    );
    assert!(
        error.ends_with(&format!(
            " why\n------\nDockerfile:3\n--------------------\n   1 |     FROM busybox\n   2 |     RUN echo first\n   3 | >>> RUN echo why; exit 3\n   4 |     \n--------------------\nERROR: failed to build: failed to solve: {process}\n"
        )),
        "{error}"
    );
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_dockerfile_that_is_wrong_is_shown_with_a_caret() {
    let fixture = fixture!();
    let directory = context(&fixture, "FROM scratch\nCOPY --form=a b c\n");
    let error = refused(&fixture, &directory, &[]);
    assert!(
        error.ends_with(
            "Dockerfile:2\n--------------------\n   1 |     FROM scratch\n   2 | >>> COPY --form=a b c\n     |          ^^^^^^\n   3 |     \n--------------------\nERROR: failed to build: failed to solve: dockerfile parse error on line 2: unknown flag: --form (did you mean from?)\n"
        ),
        "{error}"
    );
    for (dockerfile, message) in [
        ("", "the Dockerfile cannot be empty"),
        ("# nothing\n", "file with no instructions"),
        ("RUN a\n", "no build stage in current context"),
        ("FROM ${x}\n", "base name (${x}) should not be blank"),
        ("FROM scratch\nCOPY nope /\n", "\"/nope\": not found"),
    ] {
        std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
        let error = refused(&fixture, &directory, &[]);
        assert!(error.trim_end().ends_with(message), "{dockerfile:?}: {error}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn dockerfiles_and_contexts_come_from_standard_input() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = context(&fixture, "FROM busybox\nCOPY f /\n");
    let path = directory.to_str().unwrap();
    let dockerfile = b"FROM busybox\nRUN echo of stdin > /s\n";
    for words in
        [vec!["build", "-q", "-t", "one", "-"], vec!["build", "-q", "-t", "one", "-f", "-", path]]
    {
        let output = fixture.orlop_with_input(&words, dockerfile);
        assert_eq!(output.code, 0, "{}", output.stderr);
        assert_eq!(fixture.ok(&["run", "--rm", "one", "cat", "/s"]), "of stdin");
        fixture.ok(&["rmi", "one"]);
    }
    let tar = std::process::Command::new("tar").args(["-C", path, "-c", "."]).output().unwrap();
    let output = fixture.orlop_with_input(&["build", "-q", "-t", "two", "-"], &tar.stdout);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(fixture.ok(&["run", "--rm", "two", "cat", "/f"]), "content");
    for (words, message) in [
        (
            ["build", "-f", "-", "-"],
            "invalid argument: can't use stdin for both build context and dockerfile",
        ),
        (
            ["build", "-f", "x", "-"],
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
        ),
    ] {
        let output = fixture.orlop_with_input(&words, dockerfile);
        assert_eq!(output.stderr, format!("ERROR: failed to build: {message}\n"));
        assert_eq!(output.code, 1);
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn flags_reach_the_build() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = context(
        &fixture,
        "FROM busybox AS one\nARG V=default\nRUN --mount=type=secret,id=s cat /run/secrets/s > /s; echo $V > /v; \
         cat /etc/hosts > /h; ulimit -n > /n; df -k /dev/shm | tail -n 1 > /m\nCOPY --from=more x /x\n\
         FROM one AS two\nRUN echo of two\n",
    );
    let more = fixture.directory("more");
    std::fs::write(more.join("x"), "named\n").unwrap();
    let secret = fixture.folder().join("secret");
    std::fs::write(&secret, "hidden").unwrap();
    let shown = built(
        &fixture,
        &directory,
        &[
            "-t",
            "app",
            "--target",
            "one",
            "--build-arg",
            "V=given",
            "--label",
            "k=v",
            "--add-host",
            "other:10.1.2.3",
            "--ulimit",
            "nofile=123:456",
            "--shm-size",
            "8m",
            "--network",
            "none",
            "--secret",
            &format!("id=s,src={}", secret.display()),
            "--build-context",
            &format!("more={}", more.display()),
        ],
    );
    assert!(!shown.contains("of two"), "{shown}");
    let seen = fixture.ok(&[
        "run",
        "--rm",
        "app",
        "sh",
        "-c",
        "cat /s; echo; cat /v /n /x; grep other /h; cat /m",
    ]);
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(&lines[..4], ["hidden", "given", "123", "named"]);
    assert_eq!(lines[4].split_whitespace().collect::<Vec<_>>(), ["10.1.2.3", "other"]);
    assert_eq!(lines[5].split_whitespace().nth(1), Some("8192"), "{seen}");
    assert_eq!(fixture.inspect("app", "{{json .Config.Labels}}"), "{\"k\":\"v\"}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn results_go_where_they_are_asked_to() {
    let fixture = fixture!();
    let directory = context(&fixture, "FROM scratch\nCOPY f /out/f\n");
    let out = fixture.folder().join("out");
    built(&fixture, &directory, &["-o", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(out.join("out/f")).unwrap(), "content\n");
    assert_eq!(fixture.ok(&["images", "-q"]), "");
    let tar = fixture.folder().join("stdout.tar");
    let ended = fixture
        .command(&["build", "-o", "-", directory.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&tar).unwrap())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(ended.success());
    let listed = std::process::Command::new("tar").arg("-tf").arg(&tar).output().unwrap();
    assert!(
        String::from_utf8_lossy(&listed.stdout).lines().any(|line| line == "out/f"),
        "{}",
        String::from_utf8_lossy(&listed.stdout)
    );
    for kind in ["docker", "oci"] {
        let file = fixture.folder().join(format!("{kind}.tar"));
        built(
            &fixture,
            &directory,
            &["-t", "app", "-o", &format!("type={kind},dest={}", file.display())],
        );
        assert_eq!(fixture.ok(&["images", "-q"]), "");
        let loaded = fixture.ok(&["load", "-i", file.to_str().unwrap()]);
        assert!(loaded.contains("app:latest"), "{loaded}");
        fixture.ok(&["rmi", "app"]);
    }
    built(&fixture, &directory, &["-t", "app", "--load", "-o", out.to_str().unwrap()]);
    assert_eq!(fixture.ok(&["images", "--format", "{{.Repository}}"]), "app");
    // What fails leaves no file behind.
    std::fs::write(directory.join("Dockerfile"), "FROM scratch\nCOPY nope /\n").unwrap();
    let file = fixture.folder().join("never.tar");
    refused(&fixture, &directory, &["-o", &format!("type=tar,dest={}", file.display())]);
    assert!(!file.exists());
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn checks_and_outlines_are_printed() {
    let fixture = fixture!();
    let directory = context(
        &fixture,
        "# base is below\nFROM scratch AS base\n# V is a version\nARG V=1\nFROM base AS App\nENV a b\n",
    );
    let output = build(&fixture, &directory, &["--check"]);
    assert_eq!((output.code, output.stderr.clone()), (1, String::new()));
    let found = output.stdout;
    assert!(found.starts_with("Check complete, 2 warnings have been found!\n\nWARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\nStage name 'App' should be lowercase\nDockerfile:5\n--------------------\n"), "{found}");
    assert!(found.contains("\nWARNING: LegacyKeyValueFormat - "), "{found}");
    let output = build(&fixture, &directory, &["--call=targets"]);
    assert_eq!(
        output.stdout,
        "TARGET        DESCRIPTION\nbase          is below\napp (default) \n"
    );
    let output = build(&fixture, &directory, &["--call=outline,format=json", "--target=base"]);
    let outline: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(outline["args"][0]["name"], "V");
    let shown = built(&fixture, &directory, &[]);
    assert!(shown.contains("\n 2 warnings found (use orlop --debug to expand):\n - "), "{shown}");
    assert!(
        shown.contains(" - StageNameCasing: Stage name 'App' should be lowercase (line 5)\n"),
        "{shown}"
    );
    std::fs::write(directory.join("Dockerfile"), "FROM scratch\nCMD [\"x\"]\n").unwrap();
    let output = build(&fixture, &directory, &["--check"]);
    assert_eq!(
        (output.code, output.stdout.clone()),
        (0, "Check complete, no warnings found.\n".to_owned())
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn words_that_make_no_sense_are_refused_before_anything_is_built() {
    let fixture = fixture!();
    let directory = context(&fixture, "FROM scratch\nCOPY f /\n");
    for (flags, message) in [
        (&["--progress=fancy"] as &[&str], "invalid progress mode fancy"),
        (&["--progress=tty"], "failed to get console: provided file is not a console"),
        (&["-q", "--progress=plain"], "progress=plain and quiet cannot be used together"),
        (
            &["--no-cache", "--no-cache-filter=x"],
            "failed to build: --no-cache and --no-cache-filter cannot currently be used together",
        ),
        (&["--build-arg", "=x"], "invalid key-value pair \"=x\": empty key"),
        (&["--label", "=x"], "invalid key-value pair \"=x\": empty key"),
        (&["--add-host", "x"], "failed to build: invalid host x"),
        (&["--secret", "src=x"], "failed to build: secret missing ID"),
        (
            &["--secret", "id=x,src=/no/such/file"],
            "failed to build: failed to stat /no/such/file: stat /no/such/file: no such file or directory",
        ),
        (
            &["--ssh", "default=/no/such/file"],
            "failed to build: failed to stat /no/such/file: no such file or directory",
        ),
        (&["--build-context", "x"], "invalid context value: x, expected key=value"),
        (&["-o", "dest=x,a=b"], "type is required for output"),
        (
            &["-o", "type=fancy"],
            "failed to build: failed to solve: exporter \"fancy\" could not be found",
        ),
        (&["-o", "type=local"], "failed to build: dest is required for local exporter"),
        (&["-o", "type=local,dest=-"], "failed to build: dest cannot be stdout for local exporter"),
        (
            &["-o", "-", "-o", "type=oci"],
            "failed to build: multiple outputs configured to write to stdout",
        ),
        (
            &["-o", "-", "--iidfile", "/tmp/never"],
            "local and tar exporters are incompatible with image ID file",
        ),
        (&["--cache-from", "src=x"], "type required for \"src=x\""),
        (
            &["--call=fancy"],
            "invalid call \"fancy\": must be one of build, check, outline and targets",
        ),
    ] {
        assert_eq!(
            refused(&fixture, &directory, flags),
            format!("ERROR: {message}\n"),
            "{flags:?}"
        );
    }
    for (flags, beginning) in [
        (&["--squash"] as &[&str], "ERROR: --squash is not supported\nhint: "),
        (
            &["-f", "https://localhost/Dockerfile"],
            "ERROR: failed to build: cannot read the Dockerfile from the address https://localhost/Dockerfile\nhint: ",
        ),
        (&["--sbom=true"], "ERROR: --sbom=true is not supported: "),
        (&["--attest=type=sbom"], "ERROR: --attest=type=sbom is not supported: "),
        (&["--builder=other"], "ERROR: no builder \"other\" found\nhint: "),
        (&["-t", "UPPER"], "ERROR: failed to build: invalid tag \"UPPER\": "),
    ] {
        let error = refused(&fixture, &directory, flags);
        assert!(error.starts_with(beginning), "{flags:?}: {error}");
    }
    let error = fixture.fails(125, &["build", "-m", "x", directory.to_str().unwrap()]);
    assert!(
        error.contains("invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'"),
        "{error}"
    );
    let error = fixture.fails(1, &["build", "/no/such/directory"]);
    assert_eq!(
        error.trim_end(),
        "ERROR: failed to build: unable to prepare context: path \"/no/such/directory\" not found"
    );
    // These are taken, as scripts give them.
    built(
        &fixture,
        &directory,
        &[
            "--rm=false",
            "--force-rm",
            "--compress",
            "--sbom=false",
            "--provenance=false",
            "--pull=false",
        ],
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn every_name_of_the_command_builds_and_progress_has_its_forms() {
    let fixture = fixture!();
    let directory = context(&fixture, "FROM scratch\nCOPY f /\n");
    let path = directory.to_str().unwrap();
    let first = fixture.ok(&["build", "-q", path]);
    for group in ["image", "builder", "buildx"] {
        assert_eq!(fixture.ok(&[group, "build", "-q", path]), first, "{group}");
    }
    let shown = built(&fixture, &directory, &["--progress=rawjson", "--no-cache"]);
    let messages: Vec<Value> =
        shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let vertices: Vec<&Value> =
        messages.iter().filter_map(|message| message["vertexes"].get(0)).collect();
    let copy = vertices
        .iter()
        .find(|vertex| vertex["name"] == "[1/1] COPY f /" && !vertex["completed"].is_null());
    assert!(copy.is_some(), "{shown}");
    assert_eq!(built(&fixture, &directory, &["--progress=quiet"]), "");
    let help = fixture.ok(&["build", "--help"]);
    assert!(
        help.starts_with(
            "Usage:  orlop build [OPTIONS] PATH | URL | -\n\nBuild an image from a Dockerfile\n"
        ),
        "{help}"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_interrupt_ends_the_build_and_leaves_nothing() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = context(&fixture, "FROM busybox\nRUN echo kept\nRUN echo begun; sleep 600\n");
    let child = fixture
        .command(&["build", "-t", "never", directory.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let sleeps = || fixture.processes().iter().any(|(_, line)| line.contains("sleep 600"));
    while !sleeps() {
        assert!(begun.elapsed() < LIMIT, "the step does not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = i32::try_from(child.id()).unwrap();
    // The command stands below helpers that enter a network; all of them get the terminal's signal.
    let mut pids = vec![pid];
    pids.extend(
        fixture
            .processes()
            .iter()
            .filter(|(_, line)| line.contains(" build -t never"))
            .map(|(pid, _)| *pid),
    );
    for pid in pids {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    }
    let output = child.wait_with_output().unwrap();
    let shown = text(&output.stderr);
    assert!(
        shown.ends_with("ERROR: failed to build: failed to solve: Canceled: context canceled\n"),
        "{shown}"
    );
    assert!(shown.contains(" CANCELED\n"), "{shown}");
    assert_eq!(output.status.code(), Some(130), "{shown}");
    let begun = Instant::now();
    while sleeps() {
        assert!(begun.elapsed() < LIMIT, "the step goes on");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    assert_eq!(fixture.ok(&["images", "-q", "never"]), "");
    fixture.ok(&["system", "check"]);
    // The step that was done is not done again.
    std::fs::write(directory.join("Dockerfile"), "FROM busybox\nRUN echo kept\n").unwrap();
    let shown = built(&fixture, &directory, &[]);
    assert!(shown.contains(" CACHED\n"), "{shown}");
}
