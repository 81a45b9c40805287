//! Accounts at registries: `login`, `logout`, helpers, TLS; `search`; `import` of an address.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // Trees of our own making.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use orlop_testkit::{
    Fault, FaultyRegistry, Fixture, Output, RegistryOptions, RegistryServer, fixture, run,
};

const LIMIT: Duration = Duration::from_secs(120);
/// An address that is not the loopback one, so that certificates count.
const ADDRESS: &str = "10.77.0.1";
const SECRET: &str = "s3cr3t-passw0rd";

/// A user's home with an own `config.json`.
struct User<'a> {
    fixture: &'a Fixture,
    config: PathBuf,
    variables: Vec<(String, String)>,
}

impl<'a> User<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        let config = fixture.directory("docker-config");
        Self { fixture, config, variables: Vec::new() }
    }

    fn file(&self) -> PathBuf {
        self.config.join("config.json")
    }

    fn set(&mut self, name: &str, value: &Path) {
        self.variables.push((name.to_owned(), value.display().to_string()));
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.fixture.command(words);
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.env_remove("DOCKER_AUTH_CONFIG").env("DOCKER_CONFIG", &self.config);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.run_with(words, "")
    }

    fn run_with(&self, words: &[&str], input: &str) -> Output {
        run(&mut self.command(words), input.as_bytes(), LIMIT)
    }
}

/// Gives the namespace an address besides the loopback one.
fn add_address() {
    let words = ["addr", "add", "10.77.0.1/32", "dev", "lo"];
    run(Command::new("ip").args(words), b"", LIMIT).ok();
    run(Command::new("ip").args(["link", "set", "lo", "up"]), b"", LIMIT).ok();
}

fn account() -> Option<(String, String)> {
    Some(("ann".to_owned(), SECRET.to_owned()))
}

fn is_free_of_secrets(output: &Output) {
    let Output { stdout, stderr, .. } = output;
    // Also not in the form that headers and files have.
    for secret in [SECRET, "YW5uOnMzY3IzdC1wYXNzdzByZA"] {
        assert!(!stdout.contains(secret) && !stderr.contains(secret), "{output}");
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn an_account_over_tls_is_used_by_push_and_pull_until_logout() {
    let fixture = fixture!(busybox);
    add_address();
    let server = RegistryServer::start(&RegistryOptions {
        address: ADDRESS.to_owned(),
        tls: true,
        account: account(),
        ..RegistryOptions::default()
    });
    let host = server.host();
    let mut user = User::new(&fixture);
    let login = ["-l", "trace", "login", "-u", "ann", "--password-stdin", host];
    // Nobody vouches for the server yet.
    let output = user.run_with(&login, SECRET);
    assert_eq!(output.code, 1, "{output}");
    assert!(
        output.stderr.ends_with(&format!(
            "orlop: login: Get \"https://{host}/v2/\": tls: failed to verify certificate: x509: certificate signed by unknown authority\n"
        )),
        "{output}"
    );
    is_free_of_secrets(&output);
    user.set("SSL_CERT_FILE", &server.authority());
    let output = user.run_with(&["login", "-u", "ann", "--password-stdin", host], "wrong\n");
    assert_eq!(
        output.fails(1),
        format!(
            "orlop: login: login attempt to https://{host}/v2/ failed with status: 401 Unauthorized"
        )
    );
    assert!(!user.file().exists());
    // Without an account nothing goes in or out.
    let image = format!("{host}/team/busybox:1");
    user.run(&["tag", "busybox", &image]).ok();
    let output = user.run(&["push", "-q", &image]);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stderr.contains("no basic auth credentials"), "{output}");
    // Now with one.
    let output = user.run_with(&login, &format!("{SECRET}\n"));
    assert_eq!(output.ok(), "Login Succeeded");
    let warning = format!(
        "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n\n",
        user.file().display()
    );
    assert!(output.stderr.contains(&warning), "{output}");
    is_free_of_secrets(&output);
    assert_eq!(fs::metadata(user.file()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_to_string(user.file()).unwrap(),
        format!(
            "{{\n\t\"auths\": {{\n\t\t\"{host}\": {{\n\t\t\t\"auth\": \"YW5uOnMzY3IzdC1wYXNzdzByZA==\"\n\t\t}}\n\t}}\n}}"
        )
    );
    let again = user.run(&["login", host]);
    assert_eq!(again.ok(), "Login Succeeded");
    assert_eq!(
        again.stderr,
        "Authenticating with existing credentials... [Username: ann]\n\n Info -> To login with a different account, run 'orlop logout' followed by 'orlop login'\n\n\n"
    );
    // What is kept already is not kept again, and not warned of again.
    let again = user.run_with(&["login", "-u", "ann", "--password-stdin", host], SECRET);
    assert_eq!((again.ok(), again.stderr.as_str()), ("Login Succeeded", ""));
    let pushed = user.run(&["-l", "trace", "push", "-q", &image]);
    pushed.ok();
    is_free_of_secrets(&pushed);
    user.run(&["rmi", &image]).ok();
    let pulled = user.run(&["-l", "trace", "pull", "-q", &image]);
    pulled.ok();
    is_free_of_secrets(&pulled);
    assert_eq!(user.run(&["run", "--rm", &image, "echo", "back"]).ok(), "back");
    // Gone is gone.
    let output = user.run(&["logout", host]);
    assert_eq!(output.ok(), format!("Removing login credentials for {host}"));
    assert_eq!(fs::read_to_string(user.file()).unwrap(), "{\n\t\"auths\": {}\n}");
    let output = user.run(&["pull", "-q", &image]);
    let refused = "/v2/team/busybox/manifests/1\": no basic auth credentials";
    assert!(output.code != 0 && output.stderr.contains("Head \"https://"), "{output}");
    assert!(output.stderr.contains(refused), "{output}");
    // And for one command from the environment.
    user.variables.push((
        "DOCKER_AUTH_CONFIG".to_owned(),
        format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"YW5uOnMzY3IzdC1wYXNzdzByZA==\"}}}}}}"),
    ));
    user.run(&["pull", "-q", &image]).ok();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_registry_without_tls_is_refused_unless_it_is_local() {
    let fixture = fixture!();
    add_address();
    let user = User::new(&fixture);
    let options = RegistryOptions { address: ADDRESS.to_owned(), ..RegistryOptions::default() };
    let server = RegistryServer::start(&options);
    let host = server.host();
    let output = user.run_with(&["login", "-u", "u", "--password-stdin", host], "p");
    assert_eq!(
        output.fails(1),
        format!(
            "orlop: login: Get \"https://{host}/v2/\": http: server gave HTTP response to HTTPS client"
        )
    );
    let local = RegistryServer::start(&RegistryOptions::default());
    let output = user.run_with(&["login", "-u", "u", "--password-stdin", local.host()], "p");
    assert_eq!(output.ok(), "Login Succeeded");
    let host = local.host().to_owned();
    drop(local);
    let output = user.run_with(&["login", "-u", "u", "--password-stdin", &host], "p");
    assert_eq!(
        output.fails(1),
        format!(
            "orlop: login: Get \"http://{host}/v2/\": dial tcp {host}: connect: connection refused"
        )
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_helper_keeps_the_secret_and_the_file_only_the_name() {
    let fixture = fixture!();
    let server = RegistryServer::start(&RegistryOptions {
        account: account(),
        ..RegistryOptions::default()
    });
    let host = server.host();
    let mut user = User::new(&fixture);
    let programs = fixture.directory("bin");
    let kept = fixture.directory("kept");
    let program = programs.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\ncd {}\necho \"$*\" >>calls\ncase $1 in\nstore) cat >secret ;;\nget) read -r url; echo \"$url\" >url\n  [ -e secret ] && cat secret || {{ echo 'credentials not found in native keychain'; exit 1; }} ;;\nerase) rm -f secret ;;\nlist) echo '{{}}' ;;\nesac\n",
        kept.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    user.variables.push(("PATH".to_owned(), format!("{}:{path}", programs.display())));
    let config = format!(
        "{{\n\t\"psFormat\": \"x\",\n\t\"credHelpers\": {{\n\t\t\"{host}\": \"test\"\n\t}}\n}}"
    );
    fs::write(user.file(), &config).unwrap();
    let output = user.run_with(&["login", "-u", "ann", "--password-stdin", host], SECRET);
    assert_eq!(output.ok(), "Login Succeeded");
    assert_eq!(output.stderr, "");
    let secret = fs::read_to_string(kept.join("secret")).unwrap();
    assert_eq!(
        secret,
        format!("{{\"ServerURL\":\"{host}\",\"Username\":\"ann\",\"Secret\":\"{SECRET}\"}}")
    );
    let text = fs::read_to_string(user.file()).unwrap();
    assert!(text.contains("psFormat") && !text.contains("auth\":"), "{text}");
    assert_eq!(user.run(&["login", host]).ok(), "Login Succeeded");
    assert_eq!(fs::read_to_string(kept.join("url")).unwrap(), format!("{host}\n"));
    user.run(&["logout", host]).ok();
    assert!(!kept.join("secret").exists());
    // The secret was never an argument.
    let calls = fs::read_to_string(kept.join("calls")).unwrap();
    assert!(calls.lines().all(|call| matches!(call, "store" | "get" | "erase")), "{calls}");
    fs::write(user.file(), config.replace("\"test\"", "\"missing\"")).unwrap();
    let output = user.run(&["login", host]);
    assert!(
        output.fails(1).contains("docker-credential-missing\": executable file not found in $PATH"),
        "{output}"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn login_refuses_what_cannot_be() {
    let fixture = fixture!();
    let user = User::new(&fixture);
    for (words, want) in [
        (
            &["--password-stdin", "r:1"][..],
            "the --password-stdin option requires --username to be set",
        ),
        (
            &["-u", "a", "-p", "b", "--password-stdin", "r:1"],
            "conflicting options: cannot specify both --password and --password-stdin",
        ),
        (&["-u", "a", "-p", "", "r:1"], "password is empty"),
        (&["-u", "", "r:1"], "username is empty"),
    ] {
        let words: Vec<&str> = ["login"].iter().chain(words).copied().collect();
        assert_eq!(user.run(&words).fails(1), format!("orlop: login: {want}"));
    }
    let output = user.run(&["login", "-u", "a", "r:1"]);
    assert_eq!(output.fails(1), "Error: Cannot perform an interactive login from a non TTY device");
    fs::write(user.file(), "{\"auths\":{\"r:1\":{\"auth\":\"not-base64-secret\"}}}").unwrap();
    let output = user.run(&["login", "r:1"]);
    assert!(output.fails(1).contains("config.json: invalid configuration"), "{output}");
    assert!(!output.stderr.contains("not-base64-secret"), "{output}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_prompt_does_not_show_the_password() {
    let fixture = fixture!();
    let server = RegistryServer::start(&RegistryOptions {
        account: account(),
        ..RegistryOptions::default()
    });
    let user = User::new(&fixture);
    let command = user.command(&["login", server.host()]);
    let mut line = command.get_program().to_str().unwrap().to_owned();
    for word in command.get_args() {
        line = format!("{line} '{}'", word.to_str().unwrap());
    }
    // `script` gives the command a terminal; the answers come when they are asked for.
    let log = fixture.directory("log").join("typescript");
    let wait = |question: &str| {
        format!("until grep -q '{question}' {}; do sleep 0.1; done", log.display())
    };
    let script = format!(
        ": >{log}; ({}; echo ann; {}; echo {SECRET}; {}) | script -qefc \"{line}\" {log}",
        wait("Username: "),
        wait("Password: "),
        wait("Login"),
        log = log.display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).env("DOCKER_CONFIG", &user.config);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "DOCKER_AUTH_CONFIG"] {
        shell.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = run(&mut shell, b"", LIMIT);
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stdout.contains("Username: ") && output.stdout.contains("Password: "),
        "{output}"
    );
    assert!(output.stdout.contains("Login Succeeded"), "{output}");
    is_free_of_secrets(&output);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn search_shows_a_table() {
    let fixture = fixture!();
    let user = User::new(&fixture);
    let server = FaultyRegistry::start();
    let results: Vec<String> = [("web", 12, true), ("team/web-x", 3, false)]
        .iter()
        .map(|(name, stars, official)| {
            format!(
                "{{\"name\":\"{name}\",\"description\":\"d of {name}\",\"star_count\":{stars},\"is_official\":{official},\"is_automated\":false}}"
            )
        })
        .collect();
    let body =
        format!("{{\"num_results\":2,\"query\":\"web\",\"results\":[{}]}}", results.join(","));
    server.fault("/v1/search?q=web", Fault::Status { code: 200, retry_after: None, body }, 100);
    let term = format!("{}/web", server.host());
    assert_eq!(
        user.run(&["search", &term]).ok(),
        "NAME         DESCRIPTION       STARS     OFFICIAL\n\
         web          d of web          12        [OK]\n\
         team/web-x   d of team/web-x   3         "
    );
    let names = |words: &[&str]| {
        let words: Vec<&str> =
            ["search", "--format", "{{.Name}}", &term].iter().chain(words).copied().collect();
        user.run(&words).ok().to_owned()
    };
    assert_eq!(names(&["--filter", "is-official=true"]), "web");
    assert_eq!(names(&["--filter", "stars=4"]), "web");
    assert_eq!(names(&["--filter", "is-official=false"]), "team/web-x");
    assert_eq!(names(&["--limit", "7"]), "web\nteam/web-x");
    assert_eq!(server.count("q=web&n=7"), 1);
    assert_eq!(server.count("q=web&n=25"), 4);
    let refused = |words: &[&str]| {
        let words: Vec<&str> = ["search"].iter().chain(words).copied().collect();
        user.run(&words).fails(1).to_owned()
    };
    assert_eq!(refused(&["--filter", "x=y", &term]), "orlop: search: invalid filter 'x'");
    assert_eq!(
        refused(&["--limit", "101", &term]),
        "orlop: search: limit 101 is outside the range of [1, 100]"
    );
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn import_takes_an_address() {
    let fixture = fixture!();
    let user = User::new(&fixture);
    let folder = fixture.directory("files-of-image");
    fs::write(folder.join("hello"), "hi").unwrap();
    let archive = fixture.directory("archives").join("a.tar");
    let mut tar = Command::new("tar");
    run(tar.arg("-C").arg(&folder).arg("-cf").arg(&archive).arg("."), b"", LIMIT).ok();
    let server = FaultyRegistry::start();
    let digest = server.put_blob(&fs::read(&archive).unwrap());
    let url = format!("http://u:{SECRET}@{}/v2/a/blobs/{digest}", server.host());
    server.fault("/blobs/", Fault::CutBody(2000), 1);
    let output = user.run(&["import", &url, "cut"]);
    assert!(output.code == 1 && output.stderr.contains("unexpected EOF"), "{output}");
    assert_eq!(user.run(&["images", "-aq"]).ok(), "");
    let output = user.run(&["import", &url, "whole"]);
    output.ok();
    is_free_of_secrets(&output);
    let comment = user.run(&["history", "--no-trunc", "--format", "{{.Comment}}", "whole"]);
    assert_eq!(comment.ok(), format!("Imported from http://{}/v2/a/blobs/{digest}", server.host()));
    let missing = format!("http://{}/none.tar", server.host());
    assert_eq!(
        user.run(&["import", &missing, "x"]).fails(1),
        format!("orlop: import: failed to GET {missing} with status 404 Not Found: not found")
    );
}
