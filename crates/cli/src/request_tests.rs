//! Tests of what flags become, through the real command line.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;

use orlop_types::config::{Mount, PortBinding};

use super::*;
use crate::args::{Command, ContainerCommand, Parsed, parse};

fn request(words: &str) -> Result<CreateRequest, Failure> {
    let words: Vec<OsString> =
        ["orlop", "run"].into_iter().chain(words.split(' ')).map(Into::into).collect();
    let Parsed::Command(cli) = parse(&words)? else { panic!("help") };
    let Command::Container(ContainerCommand::Run(run)) = cli.command else { panic!("not run") };
    let attachment = if run.detach { Attachment::Detached } else { Attachment::Attached };
    create_request(&run.create, attachment, &around())
}

fn around() -> Surroundings<'static> {
    Surroundings {
        cwd: "/home/me",
        env: &|name| (name == "TERM").then(|| "xterm".to_owned()),
        read: &|path| match path.to_str() {
            Some("vars") => Ok("A=file\nB=2\n".to_owned()),
            Some("bad") => Ok("X Y=1".to_owned()),
            Some("profile.json") => Ok("{\"defaultAction\":\n \"SCMP_ACT_ALLOW\"}".to_owned()),
            _ => Err(format!("open {}: No such file or directory", path.display())),
        },
    }
}

fn good(words: &str) -> (Config, HostConfig) {
    let request = request(words).unwrap_or_else(|failure| panic!("{words}: {}", failure.why));
    (request.config, request.host_config)
}

fn texts(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|&text| text.to_owned()).collect())
}

#[test]
fn a_plain_run_is_attached_to_output() {
    let request = request("nginx:1").unwrap();
    let want = Config {
        attach_stdout: true,
        attach_stderr: true,
        image: "nginx:1".into(),
        ..Config::default()
    };
    assert_eq!((request.name, request.image.as_str()), (None, "nginx:1"));
    assert_eq!((request.config, request.host_config), (want, HostConfig::default()));
}

#[test]
fn words_after_the_image_are_the_command() {
    let (config, _) = good("-it --rm --name db alpine sh -c -e ls --rm -v");
    assert_eq!(config.cmd, texts(&["sh", "-c", "-e", "ls", "--rm", "-v"]));
    assert!(config.tty && config.open_stdin && config.stdin_once && config.attach_stdin);
    let (config, host) = good("-d -i --rm=false alpine");
    assert!(
        !config.attach_stdin && !config.attach_stdout && config.open_stdin && !config.stdin_once
    );
    assert!(!host.auto_remove);
    let (config, host) = good("-dit --rm=true --name a --name b --entrypoint= alpine -x");
    assert!(config.tty && host.auto_remove);
    assert_eq!((config.entrypoint, config.cmd), (texts(&[""]), texts(&["-x"])));
}

#[test]
fn process_flags() {
    let (config, host) = good(
        "-e A=1 -e TERM -e GONE --env-file vars -w /srv -u 70:70 --entrypoint /e -l a=b -l c --stop-signal INT \
         --stop-timeout 3 -h box --domainname lan x",
    );
    assert_eq!(config.env, texts(&["A=file", "B=2", "A=1", "TERM=xterm", "GONE"]));
    assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/srv", "70:70"));
    assert_eq!(config.entrypoint, texts(&["/e"]));
    assert_eq!(config.labels, Some([("a".into(), "b".into()), ("c".into(), String::new())].into()));
    assert_eq!((config.stop_signal.as_deref(), config.stop_timeout), (Some("INT"), Some(3)));
    assert_eq!((config.hostname.as_str(), config.domainname.as_str()), ("box", "lan"));
    assert_eq!(host.restart_policy.name, "no");
}

#[test]
fn storage_flags() {
    let (config, host) = good(
        "-v db:/data -v ./a:/b:ro -v db:/data -v /anon --mount type=bind,src=.,dst=/src,ro --tmpfs /t:size=1m \
         --tmpfs /u --volumes-from other:ro --read-only --shm-size 1g x",
    );
    assert_eq!(host.binds, texts(&["db:/data", "/home/me/a:/b:ro"]));
    assert_eq!(config.volumes, Some([("/anon".into(), Empty {})].into()));
    let mount = Mount {
        kind: "bind".into(),
        source: "/home/me".into(),
        target: "/src".into(),
        read_only: true,
        ..Mount::default()
    };
    assert_eq!(host.mounts, Some(vec![mount]));
    assert_eq!(
        host.tmpfs,
        Some([("/t".into(), "size=1m".into()), ("/u".into(), String::new())].into())
    );
    assert_eq!(host.volumes_from, texts(&["other:ro"]));
    assert!(host.readonly_rootfs);
    assert_eq!(host.shm_size, 1 << 30);
    assert_eq!(good("--shm-size 0 x").1.shm_size, 64 << 20);
}

#[test]
fn network_flags() {
    let (config, host) = good("-p 8080:80 -p 127.0.0.1:53:53/udp -P --expose 99 --network host x");
    let ports: Vec<_> = config.exposed_ports.unwrap().into_keys().collect();
    assert_eq!(ports, ["53/udp", "80/tcp", "99/tcp"]);
    assert_eq!(
        host.port_bindings["53/udp"],
        Some(vec![PortBinding { host_ip: "127.0.0.1".into(), host_port: "53".into() }])
    );
    assert!(host.publish_all_ports);
    assert_eq!(host.network_mode, "host");
    assert_eq!(good("--net none x").1.network_mode, "none");
    assert_eq!(good("--network default x").1.network_mode, "bridge");
}

#[test]
fn security_and_resource_flags() {
    let (_, host) = good(
        "--cap-add net_admin --cap-add CAP_SYS_TIME --cap-drop ALL --cap-drop net_admin --privileged --security-opt \
         no-new-privileges --security-opt seccomp=profile.json --memory 64m --cpus 1.5 --pids-limit -1 x",
    );
    assert_eq!(host.cap_add, texts(&["CAP_NET_ADMIN", "CAP_SYS_TIME"]));
    assert_eq!(host.cap_drop, texts(&["ALL"]));
    assert!(host.privileged);
    assert_eq!(
        host.security_opt,
        texts(&["no-new-privileges", "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"])
    );
    assert_eq!((host.memory, host.nano_cpus, host.pids_limit), (64 << 20, 1_500_000_000, Some(-1)));
    let (_, host) =
        good("--security-opt systempaths=unconfined --security-opt seccomp=unconfined x");
    assert_eq!((host.masked_paths, host.readonly_paths), (Some(vec![]), Some(vec![])));
    assert_eq!(host.security_opt, texts(&["seccomp=unconfined"]));
}

#[test]
fn wrong_flags_are_told_in_docker_s_words_with_code_125() {
    for (words, want) in [
        ("-p 1:2:3:4 x", "invalid IP address: 1:2"),
        (
            "-e =x x",
            "invalid argument \"=x\" for \"-e, --env\" flag: invalid environment variable: =x",
        ),
        ("--env-file bad x", "invalid env file (bad): variable 'X Y' contains whitespaces"),
        ("--env-file none x", "open none: No such file or directory"),
        (
            "-l =x x",
            "invalid argument \"=x\" for \"-l, --label\" flag: invalid label '=x': empty name",
        ),
        ("-v aa:bb:cc:dd x", "invalid spec: aa:bb:cc:dd: too many colons"),
        (
            "--mount foo=1 x",
            "invalid argument \"foo=1\" for \"--mount\" flag: unknown option 'foo' in 'foo=1'",
        ),
        (
            "--memory foo x",
            "invalid argument \"foo\" for \"-m, --memory\" flag: invalid size: 'foo'",
        ),
        (
            "--cpus x x",
            "invalid argument \"x\" for \"--cpus\" flag: failed to parse x as a rational number",
        ),
        (
            "--cpus 0.0000000001 x",
            "invalid argument \"0.0000000001\" for \"--cpus\" flag: value is too precise",
        ),
        (
            "--pull foo x",
            "invalid pull option: 'foo': must be one of \"always\", \"missing\" or \"never\"",
        ),
        ("--security-opt foo x", "Invalid --security-opt: \"foo\""),
        ("--network a x", "network a not found"),
        ("--restart always x", "flag --restart always is not supported yet"),
        ("--ulimit nofile=1 x", "flag --ulimit is not supported yet"),
        ("-a stdin x", "flag --attach is not supported yet"),
        ("--init x", "flag --init is not supported yet"),
        ("--nosuch x", "unknown flag: --nosuch"),
        ("-z x", "unknown shorthand flag: 'z'"),
        (
            "--stop-timeout x x",
            "invalid argument \"x\" for \"--stop-timeout\" flag: invalid digit found in string",
        ),
    ] {
        let failure = request(words).unwrap_err();
        assert_eq!((failure.why.as_str(), failure.code), (want, 125), "{words}");
    }
    for bad in ["", ".", "-1", "1e3", "1.2.3", "99999999999"] {
        assert!(parse_cpus(bad).is_err(), "{bad}");
    }
    assert_eq!(parse_cpus(".5"), Ok(500_000_000));
    assert_eq!(parse_cpus("2"), Ok(2_000_000_000));
}
