//! `info`: what this engine is and what it works on, in Docker's document.

use orlop_container::ContainerQuery;
use orlop_meta::Durability;
use orlop_types::filter::Filters;
use serde_json::{Value, json};

use crate::{Engine, Error, Result};

/// Setting that keeps the store's identity.
const ID_SETTING: &str = "engine-id";
/// Where a system says what it is.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

impl Engine {
    /// Facts about the engine, the store and the machine, with Docker's names where it has them.
    pub fn info(&self) -> Result<Value> {
        let query = ContainerQuery { all: true, last: None, filters: Filters::default() };
        let containers = self.containers().list(&query)?;
        let count =
            |state: &str| containers.iter().filter(|container| container.state == state).count();
        let stopped = containers.len() - count("running") - count("paused");
        let (images, volumes) = self
            .store
            .read(|query| Ok::<_, Error>((query.images()?.len(), query.volumes()?.len())))?;
        let mut document = self.machine();
        let engine = json!({
            "ID": self.id()?,
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "Containers": containers.len(),
            "ContainersRunning": count("running"),
            "ContainersPaused": count("paused"),
            "ContainersStopped": stopped,
            "Images": images,
            "Volumes": volumes,
            "Driver": self.layers.driver().name(),
            "DriverStatus": [
                ["Backing Filesystem", self.backing_filesystem()],
                ["Supports d_type", "true"],
                ["Chosen because", self.layers.driver_reason()],
            ],
            "DriverReason": self.layers.driver_reason(),
            "LoggingDriver": "json-file",
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": null,
                "Log": ["json-file", "local", "none"],
            },
            "Runtimes": runtimes(),
            "DefaultRuntime": "builtin",
            "InitBinary": "docker-init",
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "Swarm": {"LocalNodeState": "inactive", "NodeID": "", "ControlAvailable": false},
            "LiveRestoreEnabled": true,
            "ExperimentalBuild": false,
            "Debug": false,
            "Labels": [],
            "DockerRootDir": self.store.paths.root,
            "RunRoot": self.store.paths.run_root,
            "SystemTime": orlop_container::now_text(),
            "Warnings": null,
        });
        if let (Value::Object(document), Value::Object(engine)) = (&mut document, engine) {
            document.extend(engine);
        }
        Ok(document)
    }

    /// What the store is called, made up when first asked for.
    fn id(&self) -> Result<String> {
        if let Some(id) = self.store.read(|query| query.setting(ID_SETTING))? {
            return Ok(id);
        }
        self.store.write::<_, Error>(Durability::Lazy, |query| {
            if let Some(id) = query.setting(ID_SETTING)? {
                return Ok(id);
            }
            let id = random_id().map_err(|source| Error::System {
                operation: "read",
                subject: "random bytes".to_owned(),
                source,
            })?;
            query.setting_put(ID_SETTING, &id)?;
            Ok(id)
        })
    }

    /// Docker's word for the file system that the store is on.
    fn backing_filesystem(&self) -> &'static str {
        let magic = rustix::fs::statfs(&self.store.paths.root).map(|stat| stat.f_type);
        match magic.map(|magic| u64::try_from(magic).unwrap_or(0)) {
            Ok(0xef53) => "extfs",
            Ok(0x5846_5342) => "xfs",
            Ok(0x9123_683e) => "btrfs",
            Ok(0x0102_1994) => "tmpfs",
            Ok(0x794c_7630) => "overlayfs",
            Ok(0x2fc1_2fc1) => "zfs",
            Ok(0x6969) => "nfs",
            _ => "<unknown>",
        }
    }

    fn machine(&self) -> Value {
        let uname = rustix::system::uname();
        let memory = rustix::system::sysinfo();
        let total = u128::from(memory.totalram) * u128::from(memory.mem_unit);
        let cgroup = if orlop_runtime::cgroup::is_unified() { "2" } else { "1" };
        // What cannot be found out is not there to be used.
        let limits = orlop_runtime::host::HostResources::detect().unwrap_or_default();
        let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
        json!({
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": cgroup,
            "KernelVersion": uname.release().to_string_lossy(),
            "OperatingSystem": operating_system(),
            "OSType": "linux",
            "OSVersion": os_release("VERSION_ID").unwrap_or_default(),
            "Architecture": uname.machine().to_string_lossy(),
            "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            "MemTotal": u64::try_from(total).unwrap_or(u64::MAX),
            "MemoryLimit": limits.memory_limit,
            "SwapLimit": limits.swap_limit,
            "CpuCfsPeriod": limits.cpu_cfs,
            "CpuCfsQuota": limits.cpu_cfs,
            "CPUShares": limits.cpu_shares,
            "CPUSet": limits.cpuset.is_some(),
            "PidsLimit": limits.pids_limit,
            "OomKillDisable": limits.oom_kill_disable,
            "IPv4Forwarding": forwarding.is_ok_and(|text| text.trim() == "1"),
            "Name": uname.nodename().to_string_lossy(),
        })
    }
}

/// The linked-in runtime and the programs that a container may ask for by name.
fn runtimes() -> Value {
    let mut runtimes = serde_json::Map::new();
    runtimes.insert("builtin".to_owned(), json!({"path": "orlop"}));
    let search = std::env::var_os("PATH").unwrap_or_default();
    for name in ["crun", "runc"] {
        let found = std::env::split_paths(&search).any(|directory| directory.join(name).is_file());
        if found {
            runtimes.insert(name.to_owned(), json!({"path": name}));
        }
    }
    Value::Object(runtimes)
}

fn operating_system() -> String {
    os_release("PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned())
}

/// A value of os-release(5).
fn os_release(key: &str) -> Option<String> {
    let text = OS_RELEASE.iter().find_map(|path| std::fs::read_to_string(path).ok())?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

/// Sixteen random bytes in the form of a UUID.
fn random_id() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    Ok(parts.join("-"))
}
