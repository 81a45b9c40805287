//! Proxies of Docker's `config.json` in containers and builds.

use std::path::Path;
use std::time::Duration;

use orlop_testkit::{Fixture, Output, fixture, run};

const LIMIT: Duration = Duration::from_secs(120);

/// A directory with a `config.json`.
fn write_config(directory: &Path, text: &str) {
    std::fs::write(directory.join("config.json"), text).expect("written");
}

/// Runs a command of a user whose `config.json` is in `directory`.
fn with_config(fixture: &Fixture, directory: &Path, words: &[&str], input: &str) -> Output {
    let mut command = fixture.command(words);
    command.env("DOCKER_CONFIG", directory);
    run(&mut command, input.as_bytes(), LIMIT)
}

const CONFIG: &str = r#"{"proxies":{"default":{"httpProxy":"http://one:1","noProxy":"a,b"}}}"#;

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn containers_and_builds_get_the_proxies_of_the_users_file() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = fixture.directory("config");
    write_config(&directory, CONFIG);
    let show = "env | grep -i _proxy | sort";
    let words = ["run", "--rm", "-e", "HTTP_PROXY=own", "busybox", "sh", "-c", show];
    assert_eq!(
        with_config(&fixture, &directory, &words, "").ok(),
        "HTTP_PROXY=own\nNO_PROXY=a,b\nhttp_proxy=http://one:1\nno_proxy=a,b"
    );
    // In the steps of a build, but not in its image.
    let dockerfile =
        format!("FROM busybox\nRUN {show} > /seen\nARG HTTP_PROXY\nENV KEPT=$HTTP_PROXY\n");
    let words = ["build", "-q", "-t", "app", "-"];
    with_config(&fixture, &directory, &words, &dockerfile).ok();
    assert_eq!(
        fixture.ok(&["run", "--rm", "app", "cat", "/seen"]),
        "HTTP_PROXY=http://one:1\nNO_PROXY=a,b\nhttp_proxy=http://one:1\nno_proxy=a,b"
    );
    let environment = fixture.inspect("app", "{{json .Config.Env}}");
    assert!(environment.ends_with("\"KEPT=http://one:1\"]"), "{environment}");
    assert!(!environment.contains("NO_PROXY"), "{environment}");
    // A file that is no JSON is told, and the work goes on.
    write_config(&directory, "{");
    let output = with_config(&fixture, &directory, &["run", "--rm", "busybox", "echo", "on"], "");
    assert_eq!(output.ok(), "on");
    assert!(output.stderr.starts_with("WARNING: Error loading config file: "), "{output}");
}
