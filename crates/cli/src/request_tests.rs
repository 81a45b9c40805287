//! Tests of what flags become, through the real command line.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;

use orlop_types::config::{DeviceMapping, LogConfig, Mount, PortBinding, ThrottleDevice, Ulimit};

use super::*;
use crate::args::{Command, ContainerCommand, Parsed, parse};

fn request(words: &str) -> Result<CreateRequest, Failure> {
    let words: Vec<OsString> =
        ["orlop", "run"].into_iter().chain(words.split(' ')).map(Into::into).collect();
    let Parsed::Command(cli) = parse("orlop", &words)? else { panic!("help") };
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
    // What Docker's command line sends even where nothing is given.
    let host = HostConfig {
        dns: Some(Vec::new()),
        dns_options: Some(Vec::new()),
        dns_search: Some(Vec::new()),
        ipc_mode: String::new(),
        log_config: LogConfig { kind: String::new(), ..LogConfig::default() },
        devices: Some(Vec::new()),
        ulimits: Some(Vec::new()),
        blkio_weight_device: Some(Vec::new()),
        blkio_device_read_bps: Some(Vec::new()),
        blkio_device_write_bps: Some(Vec::new()),
        blkio_device_read_iops: Some(Vec::new()),
        blkio_device_write_iops: Some(Vec::new()),
        oom_kill_disable: Some(false),
        ..HostConfig::default()
    };
    assert_eq!((request.config, request.host_config), (want, host));
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
    assert_eq!((host.memory, host.nano_cpus, host.pids_limit), (64 << 20, 1_500_000_000, None));
    let (_, host) =
        good("--security-opt systempaths=unconfined --security-opt seccomp=unconfined x");
    assert_eq!((host.masked_paths, host.readonly_paths), (Some(vec![]), Some(vec![])));
    assert_eq!(host.security_opt, texts(&["seccomp=unconfined"]));
}

#[test]
fn wrong_flags_are_told_in_docker_s_words_with_code_125() {
    for (words, want) in [
        ("-p 1:2:3:4 x", "Invalid ip address: 1:2"),
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
        ("--nosuch x", "unknown flag: --nosuch"),
        ("-z x", "unknown shorthand flag: 'z' in -z"),
        (
            "--stop-timeout x x",
            "invalid argument \"x\" for \"--stop-timeout\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
    ] {
        let failure = request(words).unwrap_err();
        assert_eq!((failure.why.as_str(), failure.code), (want, 125), "{words}");
    }
}

#[test]
fn processors_are_rational_numbers() {
    use super::resources::parse_cpus;
    for bad in ["", ".", "x", "1.2.3", "1/0", "1/", "-", "1e", "99999999999999999999"] {
        assert!(parse_cpus(bad).is_err(), "{bad}");
    }
    for (text, want) in [
        (".5", 500_000_000),
        ("2", 2_000_000_000),
        ("1/2", 500_000_000),
        ("1e-1", 100_000_000),
        ("1e3", 1_000_000_000_000),
        ("-1", -1_000_000_000),
        ("0.50", 500_000_000),
    ] {
        assert_eq!(parse_cpus(text), Ok(want), "{text}");
    }
}

#[test]
fn resource_flags() {
    let (_, host) = good(
        "-c 512 --cpu-period 50000 --cpu-quota 25000 --cpuset-cpus 0-1 --cpuset-mems 0 --memory 64m \
         --memory-swap -1 --memory-reservation 32m --memory-swappiness 10 --oom-kill-disable --oom-score-adj -5 \
         --blkio-weight 300 --device-read-bps /dev/sda:1m --device-write-iops /dev/sda:5 --ulimit nofile=10:20 \
         --ulimit core=-1 --ulimit nofile=5 --cgroup-parent /a --kernel-memory 50m x",
    );
    assert_eq!((host.cpu_shares, host.cpu_period, host.cpu_quota), (512, 50_000, 25_000));
    assert_eq!((host.cpuset_cpus.as_str(), host.cpuset_mems.as_str()), ("0-1", "0"));
    assert_eq!((host.memory_swap, host.memory_reservation), (-1, 32 << 20));
    assert_eq!((host.memory_swappiness, host.oom_kill_disable), (Some(10), Some(true)));
    assert_eq!((host.oom_score_adj, host.blkio_weight), (-5, 300));
    let device = |rate| Some(vec![ThrottleDevice { path: "/dev/sda".into(), rate }]);
    assert_eq!(host.blkio_device_read_bps, device(1 << 20));
    assert_eq!(host.blkio_device_write_iops, device(5));
    let limit = |name: &str, hard, soft| Ulimit { name: name.into(), hard, soft };
    assert_eq!(host.ulimits, Some(vec![limit("core", -1, -1), limit("nofile", 5, 5)]));
    assert_eq!(host.cgroup_parent, "/a");
    assert_eq!(good("--memory-swappiness -1 x").1.memory_swappiness, None);
}

#[test]
fn device_and_namespace_flags() {
    let (_, host) = good(
        "--device /dev/null:/dev/x:rw --device /dev/zero:r --device /dev/full --device a.b/c=d --gpus all --gpus \
         driver=d,count=2 --pid host --ipc container:a --uts host --userns host --cgroupns private --group-add 5 \
         --sysctl net.a=1 --sysctl kernel.sem=2 x",
    );
    let mapping = |host: &str, container: &str, mode: &str| DeviceMapping {
        path_on_host: host.into(),
        path_in_container: container.into(),
        cgroup_permissions: mode.into(),
    };
    let want = vec![
        mapping("/dev/null", "/dev/x", "rw"),
        mapping("/dev/zero", "/dev/zero", "r"),
        mapping("/dev/full", "/dev/full", "rwm"),
    ];
    assert_eq!(host.devices, Some(want));
    let requests = host.device_requests.unwrap();
    assert_eq!((requests[0].count, requests[1].count), (-1, 2));
    assert_eq!(requests[0].capabilities, Some(vec![vec!["gpu".to_owned()]]));
    assert_eq!(
        (requests[2].driver.as_str(), &requests[2].device_ids),
        ("cdi", &texts(&["a.b/c=d"]))
    );
    assert_eq!((host.pid_mode.as_str(), host.ipc_mode.as_str()), ("host", "container:a"));
    assert_eq!((host.uts_mode.as_str(), host.userns_mode.as_str()), ("host", "host"));
    assert_eq!((host.cgroupns_mode.as_str(), host.group_add), ("private", texts(&["5"])));
    assert_eq!(host.sysctls.unwrap().len(), 2);
}

#[test]
fn name_and_log_flags() {
    let (config, host) = good(
        "--add-host a:1.2.3.4 --add-host b=[::1] --add-host c:host-gateway --dns 1.1.1.1 --dns-search . --dns-search \
         Lan. --dns-option ndots:1 --dns-opt debug --mac-address 02:42:ac:11:00:99 --log-driver local --log-opt \
         max-size=10k --annotation a=b --annotation c --init --restart on-failure:3 --health-cmd true \
         --health-interval 5s --health-retries 2 -a STDERR -i x",
    );
    assert_eq!(host.extra_hosts, texts(&["a:1.2.3.4", "b:::1", "c:host-gateway"]));
    assert_eq!((host.dns, host.dns_search), (texts(&["1.1.1.1"]), texts(&[".", "Lan"])));
    assert_eq!(host.dns_options, texts(&["ndots:1", "debug"]));
    assert_eq!(config.mac_address, "02:42:ac:11:00:99");
    assert_eq!(
        (host.log_config.kind.as_str(), host.log_config.config["max-size"].as_str()),
        ("local", "10k")
    );
    assert_eq!(
        host.annotations,
        Some([("a".into(), "b".into()), ("c".into(), String::new())].into())
    );
    assert_eq!(host.init, Some(true));
    assert_eq!(
        (host.restart_policy.name.as_str(), host.restart_policy.maximum_retry_count),
        ("on-failure", 3)
    );
    let health = config.healthcheck.unwrap();
    assert_eq!(health.test, texts(&["CMD-SHELL", "true"]));
    assert_eq!((health.interval, health.retries), (5_000_000_000, 2));
    assert!(
        config.attach_stdin && config.attach_stderr && !config.attach_stdout && config.stdin_once
    );
    assert_eq!(good("--init=false x").1.init, Some(false));
    assert_eq!(good("--no-healthcheck x").0.healthcheck.unwrap().test, texts(&["NONE"]));
}

#[test]
fn wrong_values_are_told_in_docker_s_words() {
    for (words, want) in [
        (
            "--memory-swap -5",
            "invalid argument \"-5\" for \"--memory-swap\" flag: invalid size: '-5'",
        ),
        ("--memory-swappiness 101", "invalid value: 101. Valid memory swappiness range is 0-100"),
        (
            "--oom-score-adj x",
            "invalid argument \"x\" for \"--oom-score-adj\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "--blkio-weight 70000",
            "invalid argument \"70000\" for \"--blkio-weight\" flag: strconv.ParseUint: parsing \"70000\": value out of \
             range",
        ),
        (
            "--blkio-weight-device /dev/loop0:5",
            "invalid argument \"/dev/loop0:5\" for \"--blkio-weight-device\" flag: invalid weight for device: \
             /dev/loop0:5",
        ),
        (
            "--device-read-bps loop0:1m",
            "invalid argument \"loop0:1m\" for \"--device-read-bps\" flag: bad format for device path: loop0:1m",
        ),
        (
            "--device-write-iops /dev/loop0:1k",
            "invalid argument \"/dev/loop0:1k\" for \"--device-write-iops\" flag: invalid rate for device: \
             /dev/loop0:1k. The correct format is <device-path>:<number>. Number must be a positive integer",
        ),
        (
            "--ulimit nofile",
            "invalid argument \"nofile\" for \"--ulimit\" flag: invalid ulimit argument: nofile",
        ),
        (
            "--ulimit nofile=20:10",
            "invalid argument \"nofile=20:10\" for \"--ulimit\" flag: ulimit soft limit must be less than or equal to \
             hard limit: 20 > 10",
        ),
        (
            "--ulimit foo=1",
            "invalid argument \"foo=1\" for \"--ulimit\" flag: invalid ulimit type: foo",
        ),
        ("--storage-opt size", "invalid storage option"),
        ("--device /dev/null:/dev/x:q", "bad mode specified: q"),
        ("--device null", "null is not an absolute path"),
        ("--device a:b:c:d", "bad format for path: a:b:c:d"),
        ("--device :x", "bad format for path: :x"),
        (
            "--device-cgroup-rule x",
            "invalid argument \"x\" for \"--device-cgroup-rule\" flag: invalid device cgroup format 'x'",
        ),
        (
            "--gpus x",
            "invalid argument \"x\" for \"--gpus\" flag: invalid count (x): value must be either \"all\" or an \
             integer: invalid syntax",
        ),
        (
            "--gpus 1,count=2",
            "invalid argument \"1,count=2\" for \"--gpus\" flag: gpu request key 'count' can be specified only once",
        ),
        ("--pid foo", "--pid: invalid PID mode"),
        ("--pid container:", "--pid: invalid PID mode"),
        ("--uts foo", "--uts: invalid UTS mode"),
        ("--userns foo", "--userns: invalid USER mode"),
        ("--cgroupns foo", "--cgroupns: invalid CGROUP mode"),
        (
            "--sysctl kernel.foo=1",
            "invalid argument \"kernel.foo=1\" for \"--sysctl\" flag: sysctl 'kernel.foo=1' is not allowed",
        ),
        (
            "--add-host x",
            "invalid argument \"x\" for \"--add-host\" flag: bad format for add-host: \"x\"",
        ),
        (
            "--add-host x:1.2.3",
            "invalid argument \"x:1.2.3\" for \"--add-host\" flag: invalid IP address in add-host: \"1.2.3\"",
        ),
        (
            "--dns x",
            "invalid argument \"x\" for \"--dns\" flag: IP address is not correctly formatted: x",
        ),
        (
            "--dns-search x_y",
            "invalid argument \"x_y\" for \"--dns-search\" flag: x_y is not a valid domain",
        ),
        ("--mac-address x", "x is not a valid mac address"),
        (
            "--link a:b:c",
            "invalid argument \"a:b:c\" for \"--link\" flag: bad format for links: a:b:c",
        ),
        (
            "--network-alias x",
            "network-scoped aliases are only supported for user-defined networks",
        ),
        (
            "--attach foo",
            "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
        ),
        (
            "--health-interval 5",
            "invalid argument \"5\" for \"--health-interval\" flag: time: missing unit in duration \"5\"",
        ),
        ("--health-interval -5s", "--health-interval cannot be negative"),
        ("--health-retries -1", "--health-retries cannot be negative"),
        ("--health-cmd x --no-healthcheck", "--no-healthcheck conflicts with --health-* options"),
        (
            "--restart on-failure:x",
            "invalid restart policy format: maximum retry count must be an integer",
        ),
        ("--restart :3", "invalid restart policy format: no policy provided before colon"),
        ("--restart always --rm", "conflicting options: cannot specify both --restart and --rm"),
        ("--security-opt seccomp=", "Invalid --security-opt: \"seccomp=\""),
        ("--security-opt writable-cgroups", "Invalid --security-opt: \"writable-cgroups\""),
        ("--log-driver none --log-opt a=b", "invalid logging opts for driver none"),
        (
            "--init=x",
            "invalid argument \"x\" for \"--init\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
    ] {
        let failure = request(&format!("{words} busybox")).unwrap_err();
        assert_eq!((failure.why.as_str(), failure.code), (want, 125), "{words}");
    }
}
