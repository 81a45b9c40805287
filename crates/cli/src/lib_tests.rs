//! Tests of the whole command line, as far as it goes without an engine.
#![allow(clippy::unwrap_used)]

use super::*;

/// Exit code, standard output, standard error.
fn orlop(words: &str) -> (i32, String, String) {
    let words: Vec<OsString> =
        std::iter::once("orlop").chain(words.split_whitespace()).map(Into::into).collect();
    let (mut input, mut out, mut err) = (&b""[..], Vec::new(), Vec::new());
    let code = run_with(&words, &mut Streams { input: &mut input, out: &mut out, err: &mut err });
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn words_that_are_not_understood() {
    for (words, code, want) in [
        ("ps --nosuch", 125, "orlop: unknown flag: --nosuch\nhint: see 'orlop ps --help'\n"),
        ("run --nosuch=3 x", 125, "orlop: unknown flag: --nosuch\nhint: see 'orlop run --help'\n"),
        (
            "ps x",
            1,
            "orlop: 'orlop ps' does not accept the argument `x`\nhint: see 'orlop ps --help'\n",
        ),
        ("run", 1, "orlop: 'orlop run' requires <IMAGE>...\nhint: see 'orlop run --help'\n"),
        ("rm", 1, "orlop: 'orlop rm' requires <CONTAINER>...\nhint: see 'orlop rm --help'\n"),
        (
            "tag a",
            1,
            "orlop: 'orlop tag' requires <TARGET_IMAGE[:TAG]>\nhint: see 'orlop tag --help'\n",
        ),
        (
            "volume rm",
            1,
            "orlop: 'orlop volume rm' requires <VOLUME>...\nhint: see 'orlop volume rm --help'\n",
        ),
        ("nosuch", 1, "orlop: unknown command: orlop nosuch\nhint: see 'orlop --help'\n"),
        (
            "volume nosuch",
            1,
            "orlop: unknown command: orlop volume nosuch\nhint: see 'orlop volume --help'\n",
        ),
        (
            "stop -t x y",
            125,
            "orlop: invalid argument \"x\" for \"--timeout\" flag: invalid digit found in string\nhint: see 'orlop stop --help'\n",
        ),
        (
            "--log-level loud version",
            1,
            "orlop: unable to parse log level: loud: must be one of error, warn, info, debug or trace\n",
        ),
    ] {
        assert_eq!(orlop(words), (code, String::new(), want.to_owned()), "{words}");
    }
}

#[test]
fn version_needs_no_store() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(orlop("--version"), (0, format!("orlop {version}\n"), String::new()));
    assert_eq!(orlop("version --format {{.Version}}"), (0, format!("{version}\n"), String::new()));
    assert_eq!(
        orlop("version --format {{.Nope}}"),
        (
            1,
            String::new(),
            "orlop: version: template: executing \"\": map has no entry for key \"Nope\"\n"
                .to_owned()
        )
    );
}

/// A command name and its description.
fn commands(help: &str) -> Vec<&str> {
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    listed.filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn every_group_has_docker_s_commands() {
    for (group, want) in [
        (
            "",
            "run create start stop restart kill rm wait rename attach exec logs ps images import tag rmi events info \
             version inspect container image volume system",
        ),
        (
            "container",
            "run create start stop restart kill rm wait rename attach exec logs ps ls inspect",
        ),
        ("image", "ls inspect import tag rm prune"),
        ("volume", "create inspect ls prune rm"),
        ("system", "check events info"),
    ] {
        let (code, help, err) = orlop(&format!("{group} --help"));
        assert_eq!((code, err.as_str()), (0, ""));
        assert_eq!(commands(&help), want.split_whitespace().collect::<Vec<_>>(), "{group}");
    }
    assert_eq!(orlop("volume").0, 0, "a group alone shows its help");
}

#[test]
fn help_shows_switches_without_a_value() {
    assert_eq!(
        orlop("rm --help").1,
        "Remove containers\n\n\
         Usage: orlop rm [OPTIONS] <CONTAINER>...\n\n\
         Arguments:\n  <CONTAINER>...  Names or ids\n\n\
         Options:\n  \
           -f, --force    Kill running containers first\n  \
           -v, --volumes  Remove the containers' anonymous volumes too\n  \
           -h, --help     Print help\n"
    );
    assert_eq!(
        orlop("volume prune --help").1,
        "Remove volumes that no container uses\n\n\
         Usage: orlop volume prune [OPTIONS]\n\n\
         Options:\n  \
           -a, --all              Remove every unused volume, not only anonymous ones\n      \
               --filter <FILTER>  Only what matches, as `name=value`; may be repeated\n  \
           -f, --force            Do not ask\n  \
           -h, --help             Print help\n"
    );
}

#[test]
fn help_of_run_names_every_flag_once() {
    let help = orlop("run --help").1;
    let flags: Vec<&str> = help
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
        .map(|flag| flag.split('[').next().unwrap())
        .collect();
    assert_eq!(
        flags,
        "--detach --detach-keys --sig-proxy --help --interactive --tty --name --rm --cidfile --pull --quiet --env \
         --env-file --workdir --user --entrypoint --label --label-file --stop-signal --stop-timeout --restart \
         --no-healthcheck --volume --mount --tmpfs --volumes-from --volume-driver --read-only --shm-size --publish \
         --publish-all --expose --network --hostname --domainname --cap-add --cap-drop --privileged --security-opt \
         --memory --cpus --pids-limit --runtime"
            .split_whitespace()
            .collect::<Vec<_>>()
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
