//! Tests of the whole command line, as far as it goes without an engine.
#![allow(clippy::unwrap_used)]

use super::*;

/// Exit code, standard output, standard error.
fn orlop(words: &str) -> (i32, String, String) {
    let words: Vec<OsString> =
        std::iter::once("orlop").chain(words.split_whitespace()).map(Into::into).collect();
    call(&words)
}

fn call(words: &[OsString]) -> (i32, String, String) {
    let (mut input, mut out, mut err) = (&b""[..], Vec::new(), Vec::new());
    let code = run_with(words, &mut Streams { input: &mut input, out: &mut out, err: &mut err });
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn words_that_are_not_understood() {
    for (words, code, want) in [
        ("ps --nosuch", 125, "unknown flag: --nosuch\nhint: see 'orlop ps --help'"),
        (
            "ps --no-trnc",
            125,
            "unknown flag: --no-trnc\nhint: did you mean '--no-trunc'? see 'orlop ps --help'",
        ),
        ("ps -z", 125, "unknown shorthand flag: 'z' in -z\nhint: see 'orlop ps --help'"),
        ("run -itz x", 125, "unknown shorthand flag: 'z' in -z\nhint: see 'orlop run --help'"),
        ("run --nosuch=3 x", 125, "unknown flag: --nosuch\nhint: see 'orlop run --help'"),
        ("--nosuch ps", 125, "unknown flag: --nosuch\nhint: see 'orlop --help'"),
        ("ps -", 1, "'orlop ps' accepts no arguments\nusage: orlop ps [OPTIONS]"),
        ("help volume nosuch", 1, "unknown help topic: nosuch\nhint: see 'orlop --help'"),
        ("ps x", 1, "'orlop ps' accepts no arguments\nusage: orlop ps [OPTIONS]"),
        (
            "run",
            1,
            "'orlop run' requires at least 1 argument\nusage: orlop run [OPTIONS] IMAGE [COMMAND] [ARG...]",
        ),
        (
            "rm",
            1,
            "'orlop rm' requires at least 1 argument\nusage: orlop rm [OPTIONS] CONTAINER [CONTAINER...]",
        ),
        (
            "tag a",
            1,
            "'orlop tag' requires 2 arguments\nusage: orlop tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        ),
        (
            "rename a b c",
            1,
            "'orlop rename' requires 2 arguments\nusage: orlop rename CONTAINER NEW_NAME",
        ),
        (
            "exec a",
            1,
            "'orlop exec' requires at least 2 arguments\nusage: orlop exec [OPTIONS] CONTAINER COMMAND [ARG...]",
        ),
        (
            "volume rm",
            1,
            "'orlop volume rm' requires at least 1 argument\nusage: orlop volume rm [OPTIONS] VOLUME [VOLUME...]",
        ),
        (
            "volume create a b",
            1,
            "'orlop volume create' requires at most 1 argument\nusage: orlop volume create [OPTIONS] [VOLUME]",
        ),
        ("logs", 1, "'orlop logs' requires 1 argument\nusage: orlop logs [OPTIONS] CONTAINER"),
        ("nosuch", 1, "unknown command: orlop nosuch\nhint: see 'orlop --help'"),
        (
            "imgaes",
            1,
            "unknown command: orlop imgaes\nhint: did you mean 'orlop images'? see 'orlop --help'",
        ),
        (
            "volume nosuch",
            1,
            "unknown command: orlop volume nosuch\nhint: see 'orlop volume --help'",
        ),
        ("remove x", 1, "unknown command: orlop remove\nhint: see 'orlop --help'"),
        ("help nosuch", 1, "unknown help topic: nosuch\nhint: see 'orlop --help'"),
        ("stop -t", 125, "flag needs an argument: 't' in -t\nhint: see 'orlop stop --help'"),
        ("ps --format", 125, "flag needs an argument: --format\nhint: see 'orlop ps --help'"),
        (
            "stop -t x y",
            125,
            "invalid argument \"x\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"x\": invalid syntax\nhint: see 'orlop stop --help'",
        ),
        (
            "stop --time x y",
            125,
            "invalid argument \"x\" for \"--time\" flag: strconv.ParseInt: parsing \"x\": invalid syntax\nhint: see 'orlop stop --help'",
        ),
        (
            "ps -n x",
            125,
            "invalid argument \"x\" for \"-n, --last\" flag: strconv.ParseInt: parsing \"x\": invalid syntax\nhint: see 'orlop ps --help'",
        ),
        (
            "ps --all=maybe",
            125,
            "invalid argument \"maybe\" for \"-a, --all\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax\nhint: see 'orlop ps --help'",
        ),
        (
            "--log-level loud version",
            1,
            "unable to parse log level: loud: must be one of error, warn, info, debug or trace",
        ),
        (
            "-H tcp://h:1 ps",
            1,
            "cannot connect to tcp://h:1: there is no server\nhint: orlop works in its own process: leave `--host` away",
        ),
        (
            "-c x ps",
            1,
            "context \"x\": context not found\nhint: orlop works in its own process: the only context is `default`",
        ),
        (
            "completion tcsh",
            1,
            "completion: no completion for the shell `tcsh`\nhint: the shells are bash, zsh, fish",
        ),
    ] {
        assert_eq!(orlop(words), (code, String::new(), format!("orlop: {want}\n")), "{words}");
    }
}

#[test]
fn called_as_docker_the_texts_say_docker() {
    let words = ["/usr/local/bin/docker", "exec", "a"].map(OsString::from);
    assert_eq!(
        call(&words),
        (
            1,
            String::new(),
            "docker: 'docker exec' requires at least 2 arguments\nusage: docker exec [OPTIONS] CONTAINER COMMAND [ARG...]\n".to_owned()
        )
    );
    let help = call(&["docker", "help", "rm"].map(OsString::from)).1;
    assert!(help.starts_with("Usage:  docker rm [OPTIONS] CONTAINER [CONTAINER...]\n"), "{help}");
    assert!(help.contains("docker container rm, docker container remove, docker rm\n"), "{help}");
}

#[test]
fn words_that_are_not_utf_8_are_refused_clearly() {
    use std::os::unix::ffi::OsStringExt as _;
    let name = OsString::from_vec(b"caf\xe9".to_vec());
    let told = call(&["orlop".into(), "rm".into(), name]);
    assert_eq!(
        told,
        (
            125,
            String::new(),
            "orlop: `caf\u{FFFD}` is not valid UTF-8\nhint: see 'orlop rm --help'\n".to_owned()
        )
    );
}

#[test]
fn version_needs_no_store() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(orlop("--version"), (0, format!("orlop version {version}\n"), String::new()));
    assert_eq!(
        orlop("version --format {{.Client.Version}}"),
        (0, format!("{version}\n"), String::new())
    );
    assert_eq!(
        orlop("version --format {{.Nope}}"),
        (
            1,
            "\n".to_owned(),
            "orlop: version: template: version:1:2: executing \"version\" at <.Nope>: can't evaluate field Nope in type system.versionInfo\n"
                .to_owned()
        )
    );
}

#[test]
fn options_of_the_engine_reach_it() {
    let words =
        ["orlop", "--root", "/r", "--run-root", "/x", "-s", "vfs", "--log-level", "debug", "ps"];
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let Parsed::Command(cli) = args::parse("orlop", &words).unwrap() else { panic!("help") };
    let options = engine_options(&cli.global);
    assert_eq!(options.root, std::path::Path::new("/r"));
    assert_eq!(options.run_root.as_deref(), Some(std::path::Path::new("/x")));
    assert_eq!(options.storage_driver.as_deref(), Some("vfs"));
}

/// A stream whose reader has left.
struct Gone;

impl std::io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let (mut input, mut err) = (&b""[..], Vec::new());
    let words = ["orlop", "--help"].map(OsString::from);
    let code = run_with(&words, &mut Streams { input: &mut input, out: &mut Gone, err: &mut err });
    assert_eq!((code, err.len()), (BROKEN_PIPE, 0));
}
