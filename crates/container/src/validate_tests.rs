//! Tests of Docker's checks; the texts were seen from Docker 28.5.
#![allow(clippy::unwrap_used)]

use super::*;

fn machine() -> HostResources {
    HostResources {
        memory_limit: true,
        swap_limit: true,
        memory_reservation: true,
        memory_swappiness: true,
        oom_kill_disable: true,
        pids_limit: true,
        cpu_shares: true,
        cpu_cfs: true,
        cpuset: Some(("0-1".to_owned(), "0".to_owned())),
        blkio_weight: true,
        blkio_weight_device: true,
        blkio_throttle: true,
        processors: 2,
    }
}

fn checked(change: impl FnOnce(&mut HostConfig)) -> Result<Vec<String>, String> {
    let mut host = HostConfig::default();
    change(&mut host);
    host_config(&mut host, &machine(), Occasion::Create).map_err(|error| error.to_string())
}

const MEBI: i64 = 1 << 20;

#[test]
fn limits_that_cannot_be_are_refused_in_docker_s_words() {
    type Change = fn(&mut HostConfig);
    let cases: [(Change, &str); 28] = [
        (|host| host.memory = 5 * MEBI, "Minimum memory limit allowed is 6MB"),
        (
            |host| host.memory_swap = 10 * MEBI,
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            |host| (host.memory, host.memory_swap) = (20 * MEBI, 10 * MEBI),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            |host| host.memory_swappiness = Some(101),
            "Invalid value: 101, valid memory swappiness range is 0-100",
        ),
        (|host| host.memory_reservation = MEBI, "Minimum memory reservation allowed is 6MB"),
        (
            |host| (host.memory, host.memory_reservation) = (10 * MEBI, 20 * MEBI),
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            |host| host.oom_score_adj = 1001,
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
        (
            |host| (host.nano_cpus, host.cpu_quota) = (1_000_000_000, 5000),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            |host| (host.nano_cpus, host.cpu_period) = (1_000_000_000, 5000),
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            |host| host.nano_cpus = 99_000_000_000,
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            |host| host.nano_cpus = -1,
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            |host| host.cpu_period = 10,
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (|host| host.cpu_quota = 10, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (|host| host.cpu_shares = -1, "invalid CPU shares (-1): value must be a positive integer"),
        (
            |host| "99".clone_into(&mut host.cpuset_cpus),
            "Requested CPUs are not available - requested 99, available: 0-1",
        ),
        (
            |host| "x".clone_into(&mut host.cpuset_cpus),
            "Invalid value x for cpuset cpus: invalid format: x",
        ),
        (
            |host| "5".clone_into(&mut host.cpuset_mems),
            "Requested memory nodes are not available - requested 5, available: 0",
        ),
        (|host| host.blkio_weight = 5, "Range of blkio weight is from 10 to 1000"),
        (|host| "foo".clone_into(&mut host.ipc_mode), "invalid IPC mode: foo"),
        (|host| "container".clone_into(&mut host.ipc_mode), "invalid IPC mode: container"),
        (|host| "foo".clone_into(&mut host.pid_mode), "invalid PID mode: foo"),
        (|host| "foo".clone_into(&mut host.uts_mode), "invalid UTS mode: foo"),
        (|host| host.shm_size = -1, "SHM size can not be less than 0"),
        (
            |host| "process".clone_into(&mut host.isolation),
            "invalid isolation (process): linux only supports 'default'",
        ),
        (
            |host| host.annotations = Some([(String::new(), "x".to_owned())].into()),
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ),
        (
            |host| host.tmpfs = Some([("rel".to_owned(), String::new())].into()),
            "invalid mount path: 'rel' mount path must be absolute",
        ),
        (
            |host| host.tmpfs = Some([("/".to_owned(), String::new())].into()),
            "invalid specification: destination can't be '/'",
        ),
        (
            |host| host.extra_hosts = Some(vec!["x:y".to_owned()]),
            "invalid IP address in add-host: \"y\"",
        ),
    ];
    for (change, want) in cases {
        assert_eq!(checked(change), Err(want.to_owned()));
    }
    assert_eq!(checked(|_| {}), Ok(Vec::new()));
    assert_eq!(checked(|host| "0-1,0".clone_into(&mut host.cpuset_cpus)), Ok(Vec::new()));
}

#[test]
fn restart_policies() {
    let policy =
        |name: &str, count| RestartPolicy { name: name.to_owned(), maximum_retry_count: count };
    for (name, count, want) in [
        ("no", 0, None),
        ("always", 0, None),
        ("unless-stopped", 0, None),
        ("on-failure", 3, None),
        ("", 0, None),
        (
            "foo",
            0,
            Some(
                "unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
            ),
        ),
        ("on-failure", -1, Some("maximum retry count cannot be negative")),
        ("always", 3, Some("maximum retry count can only be used with 'on-failure'")),
        ("no", 3, Some("maximum retry count can only be used with 'on-failure'")),
    ] {
        let got = restart_policy(&policy(name, count)).err().map(|error| error.to_string());
        assert_eq!(got, want.map(|why| format!("invalid restart policy: {why}")), "{name}");
    }
    let removed = checked(|host| {
        host.auto_remove = true;
        host.restart_policy = policy("always", 0);
    });
    assert_eq!(removed, Err("can't create 'AutoRemove' container with restart policy".to_owned()));
}

#[test]
fn what_the_kernel_cannot_do_is_taken_out_with_a_warning() {
    let mut host = HostConfig {
        blkio_weight: 100,
        memory: 10 * MEBI,
        pids_limit: Some(5),
        oom_kill_disable: Some(true),
        ..HostConfig::default()
    };
    let machine = HostResources { processors: 2, ..HostResources::default() };
    let warnings = host_config(&mut host, &machine, Occasion::Create).unwrap();
    assert_eq!(
        warnings,
        [
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
        ]
    );
    assert_eq!((host.memory, host.memory_swap, host.blkio_weight), (0, -1, 0));
    assert_eq!((host.pids_limit, host.oom_kill_disable), (None, None));
    let unlimited = checked(|host| host.oom_kill_disable = Some(true)).unwrap();
    assert_eq!(
        unlimited,
        [
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
          running out of resources."
        ]
    );
}

#[test]
fn health_checks_and_names() {
    let with = |health| Config { healthcheck: Some(health), ..Config::default() };
    for (health, want) in [
        (
            HealthConfig { interval: 1000, ..HealthConfig::default() },
            "Interval in Healthcheck cannot be less than 1ms",
        ),
        (
            HealthConfig { start_interval: -1, ..HealthConfig::default() },
            "StartInterval in Healthcheck cannot be less than 1ms",
        ),
        (
            HealthConfig { retries: -1, ..HealthConfig::default() },
            "Retries in Healthcheck cannot be negative",
        ),
    ] {
        assert_eq!(config(&with(health)).unwrap_err().to_string(), want);
    }
    let named = Config { hostname: "x".to_owned(), ..Config::default() };
    let mut host = HostConfig::default();
    together(&named, &host).unwrap();
    let long = Config { hostname: "x".repeat(65), ..Config::default() };
    let why = together(&long, &host).unwrap_err().to_string();
    assert!(why.ends_with("is too long (maximum 64 bytes)"), "{why}");
    "host".clone_into(&mut host.uts_mode);
    assert_eq!(
        together(&named, &host).unwrap_err().to_string(),
        "conflicting options: hostname and the UTS mode"
    );
}

#[test]
fn what_nobody_said_is_filled_in() {
    let mut host = HostConfig {
        memory: 10 * MEBI,
        ipc_mode: String::new(),
        shm_size: 0,
        pids_limit: Some(-1),
        privileged: true,
        ..HostConfig::default()
    };
    adapt(&mut host, false);
    assert_eq!((host.memory_swap, host.shm_size), (20 * MEBI, 64 * MEBI));
    assert_eq!((host.ipc_mode.as_str(), host.cgroupns_mode.as_str()), ("private", "host"));
    assert_eq!((host.pids_limit, host.oom_kill_disable), (None, Some(false)));
    assert_eq!(host.security_opt, Some(vec!["label=disable".to_owned()]));
    assert_eq!((host.masked_paths, host.readonly_paths), (None, None));
    assert_eq!(host.runtime, "builtin");
    let mut host = HostConfig::default();
    adapt(&mut host, true);
    assert_eq!((host.cgroupns_mode.as_str(), host.oom_kill_disable), ("private", None));
    assert_eq!(host.security_opt, None);
}
