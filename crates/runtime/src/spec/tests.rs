//! Tests of the specification that a plan becomes.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use orlop_sys::mount::RootfsRecipe;
use orlop_types::ContainerId;
use orlop_types::config::{DeviceMapping, ThrottleDevice, Ulimit};
use orlop_types::network::NetworkPlan;
use serde_json::{Value, json};

use super::*;
use crate::plan::{
    LogPlan, MountSource, PLAN_VERSION, Plan, PlannedMount, ProcessPlan, RuntimeChoice,
};

fn plan(config: HostConfig) -> Plan {
    Plan {
        version: PLAN_VERSION,
        container: ContainerId::of_bytes(&[7; 32]),
        run_dir: "/run/orlop/containers/x".into(),
        rootfs: RootfsRecipe::Directory { path: "/image".into(), read_only: false },
        rootfs_read_only: false,
        mounts: Vec::new(),
        process: ProcessPlan { args: vec!["true".to_owned()], ..ProcessPlan::default() },
        hostname: "box".to_owned(),
        domainname: String::new(),
        cgroup: "/orlop-1/abc".to_owned(),
        host_config: config,
        network: NetworkPlan::None,
        log: LogPlan::None,
        health: None,
        shared: Default::default(),
        runtime: RuntimeChoice::Builtin,
        finish: Vec::new(),
        ends_with_starter: false,
    }
}

fn built(plan: &Plan, staged: &[Option<PathBuf>]) -> Result<Value, StartError> {
    built_with(plan, staged, &[])
}

fn built_with(
    plan: &Plan,
    staged: &[Option<PathBuf>],
    legacy: &[(PathBuf, PathBuf)],
) -> Result<Value, StartError> {
    let bundle = Bundle { plan, rootfs: Path::new("/stage/rootfs"), staged };
    let user = ContainerUser { uid: 0, gid: 0, groups: vec![0, 10], home: "/root".to_owned() };
    let input = SpecInput {
        bundle: &bundle,
        user: &user,
        permitted: CapabilitySet::all(),
        legacy_cgroups: legacy,
        devices: DevicePlaces::Anywhere,
    };
    Ok(serde_json::to_value(build(input)?).unwrap())
}

fn default_spec() -> Value {
    built(&plan(HostConfig::default()), &[]).unwrap()
}

fn targets(spec: &Value) -> Vec<&str> {
    spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect()
}

fn namespaces(spec: &Value) -> Vec<&str> {
    spec["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect()
}

fn sorted(value: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn defaults_are_dockers() {
    let spec = default_spec();
    assert_eq!(spec["root"], json!({"path": "/stage/rootfs", "readonly": false}));
    assert_eq!(spec["hostname"], "box");
    assert_eq!(spec.get("domainname"), None);
    assert_eq!(
        targets(&spec),
        ["/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"]
    );
    assert_eq!(namespaces(&spec), ["mount", "uts", "ipc", "pid"]);
    assert_eq!(spec["linux"]["cgroupsPath"], "/orlop-1/abc");
    assert_eq!(spec["linux"]["maskedPaths"].as_array().unwrap().len(), 12);
    assert_eq!(spec["linux"]["readonlyPaths"].as_array().unwrap().len(), 5);
    assert_eq!(spec["linux"].get("devices"), None);
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(
        spec["mounts"][6],
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
        "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]})
    );
    assert_eq!(spec["mounts"][3]["options"], json!(["nosuid", "noexec", "nodev", "ro"]));
}

#[test]
fn the_process_of_root() {
    let spec = default_spec();
    let process = &spec["process"];
    assert_eq!(process["user"], json!({"uid": 0, "gid": 0, "additionalGids": [0, 10]}));
    assert_eq!(process["cwd"], "/");
    assert_eq!(process.get("noNewPrivileges"), None);
    assert_eq!(process.get("rlimits"), None);
    assert_eq!(process.get("oomScoreAdj"), None);
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(process["env"], json!([path, "HOSTNAME=box", "HOME=/root"]));
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(sorted(&process["capabilities"][set]).len(), 14, "{set}");
    }
    assert_eq!(process["capabilities"]["inheritable"], json!([]));
    assert_eq!(process["capabilities"]["ambient"], json!([]));
}

#[test]
fn the_process_of_somebody_else_on_a_terminal() {
    let plan = ProcessPlan {
        args: vec!["sh".to_owned()],
        env: ["PATH=/bin", "A=1", "A=2", "HOSTNAME", "TERM=vt100"].map(str::to_owned).to_vec(),
        cwd: "/srv".to_owned(),
        tty: true,
        console_size: (24, 80),
        ..ProcessPlan::default()
    };
    let user = ContainerUser { uid: 999, gid: 998, groups: vec![998], home: "/".to_owned() };
    let limits = [Ulimit { name: "nofile".to_owned(), soft: 1024, hard: -1 }];
    let context = ProcessContext {
        user: &user,
        hostname: "box",
        capabilities: CapabilitySet::docker_default(),
        no_new_privileges: true,
        highest_limit: None,
        limits: &limits,
    };
    let made = serde_json::to_value(process(&plan, &context).unwrap()).unwrap();
    assert_eq!(made["env"], json!(["PATH=/bin", "TERM=vt100", "A=2", "HOME=/"]));
    assert_eq!(made["terminal"], true);
    assert_eq!(made["consoleSize"], json!({"height": 24, "width": 80}));
    assert_eq!(made["noNewPrivileges"], true);
    assert_eq!(made["cwd"], "/srv");
    assert_eq!(made["rlimits"], json!([{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": u64::MAX}]));
    assert_eq!(sorted(&made["capabilities"]["bounding"]).len(), 14);
    assert_eq!(made["capabilities"]["effective"], json!([]));
    let empty = process(&ProcessPlan::default(), &context).unwrap_err();
    assert_eq!(empty, StartError { exit_code: 125, message: "no command specified".to_owned() });
}

fn bind(target: &str, read_only: bool, propagation: &str) -> PlannedMount {
    PlannedMount {
        target: target.into(),
        source: MountSource::Bind { path: "/data".into(), subpath: None, recursive: true },
        read_only,
        read_only_top_only: false,
        propagation: propagation.to_owned(),
    }
}

#[test]
fn planned_mounts_follow_in_their_order() {
    let mut plan = plan(HostConfig::default());
    let tmpfs = MountSource::Tmpfs { options: vec!["noexec".to_owned(), "size=1m".to_owned()] };
    plan.mounts = vec![
        bind("/b", true, "rprivate"),
        PlannedMount { source: tmpfs, ..bind("/a", false, "") },
        bind("/dev/shm/", false, "rslave"),
    ];
    let staged = [Some("/stage/m0".into()), None, Some("/stage/m2".into())];
    let spec = built(&plan, &staged).unwrap();
    let expected = [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/b",
        "/a",
        "/dev/shm/",
    ];
    assert_eq!(targets(&spec), expected);
    let bound = json!({"destination": "/b", "type": "bind", "source": "/stage/m0", "options": ["rbind", "rprivate", "ro"]});
    assert_eq!(spec["mounts"][6], bound);
    let memory = json!({"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["noexec", "size=1m"]});
    assert_eq!(spec["mounts"][7], memory);
    assert_eq!(spec["linux"]["rootfsPropagation"], "slave");

    let error = built(&plan, &[]).unwrap_err();
    assert_eq!(error.message, "the mount on `/b` was not staged");
}

#[test]
fn a_mount_on_dev_takes_all_of_dev() {
    let mut plan = plan(HostConfig::default());
    plan.mounts = vec![bind("/dev", false, "shared")];
    let spec = built(&plan, &[Some("/stage/m0".into())]).unwrap();
    assert_eq!(targets(&spec), ["/proc", "/sys", "/sys/fs/cgroup", "/dev"]);
    assert_eq!(spec["linux"]["rootfsPropagation"], "shared");
}

#[test]
fn v1_control_groups_are_bound_read_only() {
    let root = Path::new("/sys/fs/cgroup");
    let legacy: Vec<(PathBuf, PathBuf)> = ["cpu,cpuacct", "memory", "misc"]
        .iter()
        .map(|name| (root.join(name), root.join(name).join("orlop-1/abc")))
        .collect();
    let spec = built_with(
        &plan(HostConfig { cgroupns_mode: "private".to_owned(), ..HostConfig::default() }),
        &[],
        &legacy,
    )
    .unwrap();
    let expected =
        ["cpu,cpuacct", "cpu", "cpuacct", "memory"].map(|name| format!("/sys/fs/cgroup/{name}"));
    let shown: Vec<&str> =
        targets(&spec).into_iter().filter(|target| target.starts_with("/sys/fs/cgroup/")).collect();
    assert_eq!(shown, expected);
    assert_eq!(
        spec["mounts"][8],
        json!({"destination": "/sys/fs/cgroup/memory", "type": "bind",
        "source": "/sys/fs/cgroup/memory/orlop-1/abc", "options": ["bind", "ro", "nosuid", "noexec", "nodev"]})
    );
    assert_eq!(
        spec["mounts"][4],
        json!({"destination": "/sys/fs/cgroup", "type": "bind",
        "source": "/run/orlop/containers/x/stage/cgroup", "options": ["bind", "ro", "nosuid", "noexec", "nodev"]})
    );
    assert_eq!(namespaces(&spec), ["mount", "uts", "ipc", "pid", "cgroup"]);
}

#[test]
fn privileged_is_unconfined() {
    let spec = built(&plan(HostConfig { privileged: true, ..HostConfig::default() }), &[]).unwrap();
    assert_eq!(spec["linux"].get("seccomp"), None);
    assert_eq!(spec["linux"].get("maskedPaths"), None);
    assert_eq!(spec["linux"].get("readonlyPaths"), None);
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        json!([{"allow": true, "type": "a", "access": "rwm"}])
    );
    assert_eq!(sorted(&spec["process"]["capabilities"]["effective"]).len(), 41);
    let devices = spec["linux"]["devices"].as_array().unwrap();
    assert!(devices.iter().any(|device| device["path"] == "/dev/null"));
    assert_eq!(spec["mounts"][3]["options"][3], "rw");
}

#[test]
fn namespaces_of_the_host() {
    let host = || "host".to_owned();
    let config = HostConfig {
        pid_mode: host(),
        ipc_mode: host(),
        uts_mode: host(),
        ..HostConfig::default()
    };
    let spec = built(&plan(config), &[]).unwrap();
    assert_eq!(namespaces(&spec), ["mount"]);
    assert_eq!(spec.get("hostname"), None);
    assert_eq!(spec["mounts"][6]["source"], "/dev/shm");
    let config = HostConfig { pid_mode: "container:x".to_owned(), ..HostConfig::default() };
    let mut plan_of_two = plan(config);
    assert_eq!(built(&plan_of_two, &[]).unwrap_err().message, "invalid PID mode: container:x");
    plan_of_two.shared.pid = Some(77);
    let spec = built(&plan_of_two, &[]).unwrap();
    assert_eq!(namespaces(&spec), ["mount", "uts", "ipc", "pid"]);
    assert_eq!(spec["linux"]["namespaces"][3]["path"], "/proc/77/ns/pid");
    let config = HostConfig {
        cgroupns_mode: "private".to_owned(),
        ipc_mode: "none".to_owned(),
        ..HostConfig::default()
    };
    let spec = built(&plan(config), &[]).unwrap();
    assert_eq!(namespaces(&spec), ["mount", "uts", "ipc", "pid", "cgroup"]);
    assert_eq!(targets(&spec).last(), Some(&"/dev/mqueue"));
}

#[test]
fn limits() {
    let config = HostConfig {
        memory: 64 << 20,
        memory_swap: -1,
        memory_reservation: 32 << 20,
        nano_cpus: 1_500_000_000,
        cpu_shares: 512,
        cpuset_cpus: "0-1".to_owned(),
        pids_limit: Some(100),
        ..HostConfig::default()
    };
    let spec = built(&plan(config), &[]).unwrap();
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["memory"]["limit"], 64 << 20);
    assert_eq!(resources["memory"]["reservation"], 32 << 20);
    assert_eq!(
        resources["cpu"],
        json!({"shares": 512, "quota": 150_000, "period": 100_000, "cpus": "0-1"})
    );
    assert_eq!(resources["pids"], json!({"limit": 100}));
    let resources = &default_spec()["linux"]["resources"];
    assert_eq!(
        (resources.get("memory"), resources.get("cpu"), resources.get("pids")),
        (None, None, None)
    );
    let unlimited =
        built(&plan(HostConfig { pids_limit: Some(-1), ..HostConfig::default() }), &[]).unwrap();
    assert_eq!(unlimited["linux"]["resources"].get("pids"), None);
}

#[test]
fn devices_are_denied_but_for_a_few() {
    let mapping = DeviceMapping {
        path_on_host: "/dev/null".to_owned(),
        path_in_container: "/dev/nix".to_owned(),
        cgroup_permissions: "r".to_owned(),
    };
    let spec =
        built(&plan(HostConfig { devices: Some(vec![mapping]), ..HostConfig::default() }), &[])
            .unwrap();
    let rules = spec["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(rules[0], json!({"allow": false, "type": "a", "access": "rwm"}));
    assert!(rules.contains(&json!({"allow": true, "type": "c", "major": 136, "access": "rwm"})));
    assert_eq!(
        rules.last().unwrap(),
        &json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"})
    );
    let device = &spec["linux"]["devices"][0];
    assert_eq!(
        (device["path"].as_str(), device["major"].as_i64(), device["minor"].as_i64()),
        (Some("/dev/nix"), Some(1), Some(3))
    );
    let missing =
        DeviceMapping { path_on_host: "/dev/nonexistent".to_owned(), ..DeviceMapping::default() };
    let error =
        built(&plan(HostConfig { devices: Some(vec![missing]), ..HostConfig::default() }), &[])
            .unwrap_err();
    assert!(error.message.starts_with(
        "error gathering device information while adding custom device \"/dev/nonexistent\""
    ));
}

#[test]
fn security_options() {
    let parse = |options: &[&str]| {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Security::parse(&HostConfig { security_opt: Some(options), ..HostConfig::default() })
    };
    assert!(parse(&["no-new-privileges"]).unwrap().no_new_privileges);
    assert!(parse(&["no-new-privileges:true"]).unwrap().no_new_privileges);
    assert!(
        !parse(&["no-new-privileges=true", "no-new-privileges=false"]).unwrap().no_new_privileges
    );
    assert_eq!(
        parse(&["seccomp=unconfined", "label=disable", "apparmor=x"]).unwrap().profile.as_deref(),
        Some("unconfined")
    );
    assert_eq!(parse(&["fancy"]).unwrap_err().message, "invalid --security-opt 1: \"fancy\"");

    let config = HostConfig::default();
    let filter =
        |option: &str| parse(&[option]).unwrap().seccomp(&config, CapabilitySet::docker_default());
    assert_eq!(filter("seccomp=unconfined").unwrap(), None);
    assert!(filter("seccomp=builtin").unwrap().is_some());
    let own = filter("seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}").unwrap().unwrap();
    assert_eq!(own.default_action(), oci_spec::runtime::LinuxSeccompAction::ScmpActAllow);
    let message = filter("seccomp=/nonexistent.json").unwrap_err().message;
    assert!(
        message.starts_with("opening seccomp profile (/nonexistent.json) failed: No such file"),
        "{message}"
    );
}

#[test]
fn kernel_parameters_are_sorted() {
    let config = |pairs: &[(&str, &str)], network: &str| HostConfig {
        sysctls: Some(
            pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ),
        network_mode: network.to_owned(),
        ..HostConfig::default()
    };
    let sorted =
        sysctls(&config(&[("net.core.somaxconn", "512"), ("kernel.shmmax", "1")], "bridge"))
            .unwrap();
    assert_eq!(
        sorted.network.last().unwrap(),
        &("net.core.somaxconn".to_owned(), "512".to_owned())
    );
    let ports = ("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
    assert!(sorted.network.contains(&ports), "{sorted:?}");
    assert_eq!(sysctls(&config(&[], "host")).unwrap(), Sysctls::default());
    let mut of_ipc = config(&[("kernel.shmmax", "1")], "bridge");
    "host".clone_into(&mut of_ipc.ipc_mode);
    assert_eq!(
        sysctls(&of_ipc).unwrap_err().message,
        "sysctl \"kernel.shmmax\" is not allowed in the hosts ipc namespace"
    );
    assert_eq!(sorted.runtime.get("kernel.shmmax").map(String::as_str), Some("1"));
    let error = sysctls(&config(&[("net.core.somaxconn", "512")], "host")).unwrap_err();
    assert_eq!(
        error.message,
        "sysctl \"net.core.somaxconn\" not allowed in host network namespace"
    );
    assert_eq!(
        sysctls(&config(&[("net..x", "1")], "bridge")).unwrap_err().message,
        "sysctl `net..x` is not a parameter name"
    );
    assert_eq!(
        sysctls(&config(&[("net./../kernel.x", "1")], "bridge")).unwrap_err().exit_code,
        125
    );
}

#[test]
fn a_host_that_withholds_capabilities() {
    let add = HostConfig {
        cap_add: Some(vec!["SYS_RESOURCE".to_owned(), "NET_ADMIN".to_owned()]),
        ..HostConfig::default()
    };
    let permitted =
        CapabilitySet::permitted("CapPrm:\t000001fffeffffff\nCapBnd:\t000001fffeffffff\n");
    let got = capabilities(&add, false, permitted).unwrap();
    assert_eq!(got.bits(), 0xa804_25fb | 1 << 12);
}

#[test]
fn block_devices_rules_and_requests() {
    let device = |path: &str, rate| ThrottleDevice { path: path.to_owned(), rate };
    let config = HostConfig {
        blkio_weight: 300,
        blkio_device_read_bps: Some(vec![device("/dev/null", 1 << 20)]),
        blkio_device_write_iops: Some(vec![device("/dev/zero", 5)]),
        device_cgroup_rules: Some(vec!["c 10:200 rw".to_owned(), "b *:* m".to_owned()]),
        ..HostConfig::default()
    };
    let spec = built(&plan(config), &[]).unwrap();
    let resources = &spec["linux"]["resources"];
    assert_eq!(resources["blockIO"]["weight"], 300);
    assert_eq!(
        resources["blockIO"]["throttleReadBpsDevice"],
        json!([{"major": 1, "minor": 3, "rate": 1 << 20}])
    );
    assert_eq!(resources["blockIO"]["throttleWriteIOPSDevice"][0]["minor"], 5);
    let rules = resources["devices"].as_array().unwrap();
    assert_eq!(
        rules[rules.len() - 2..],
        [
            json!({"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}),
            json!({"allow": true, "type": "b", "access": "m"}),
        ]
    );
    let missing = HostConfig {
        blkio_device_read_bps: Some(vec![device("/dev/nonexistent", 1)]),
        ..HostConfig::default()
    };
    let message = built(&plan(missing), &[]).unwrap_err().message;
    assert!(message.starts_with("stat /dev/nonexistent: No such file"), "{message}");
    let request = orlop_types::config::DeviceRequest {
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..Default::default()
    };
    let wanted = HostConfig { device_requests: Some(vec![request]), ..HostConfig::default() };
    assert_eq!(
        built(&plan(wanted), &[]).unwrap_err().message,
        "could not select device driver \"\" with capabilities: [[gpu]]"
    );
}

#[test]
fn limits_that_this_host_does_not_let_be_raised() {
    let user = ContainerUser::default();
    let limits = [
        Ulimit { name: "nofile".to_owned(), soft: -1, hard: -1 },
        Ulimit { name: "core".to_owned(), soft: 5, hard: 50 },
    ];
    let context = ProcessContext {
        user: &user,
        hostname: "box",
        capabilities: CapabilitySet::docker_default(),
        no_new_privileges: false,
        highest_limit: Some(|_| Some(100)),
        limits: &limits,
    };
    let plan = ProcessPlan { args: vec!["true".to_owned()], ..ProcessPlan::default() };
    let made = serde_json::to_value(process(&plan, &context).unwrap()).unwrap();
    assert_eq!(
        made["rlimits"],
        json!([
            {"type": "RLIMIT_NOFILE", "hard": 100, "soft": 100},
            {"type": "RLIMIT_CORE", "hard": 50, "soft": 5},
        ])
    );
}
