//! Docker's `Config` and `HostConfig`: what a container is made from, in Docker's own JSON shapes.
//!
//! They are stored as they are, shown by `inspect`, and later spoken by the API, so field names and
//! null-versus-empty follow Docker Engine 28. Unset lists are `None`, which Docker shows as `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An empty JSON object, the value type of Docker's sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// A set in Docker's JSON: an object whose values are empty objects.
pub type Set = BTreeMap<String, Empty>;

/// What an image proposes and a container uses (Docker's `Config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Host name inside the container.
    pub hostname: String,
    /// Domain name inside the container.
    pub domainname: String,
    /// `user[:group]`, names or numbers; empty is root.
    pub user: String,
    /// Whether the client attached standard input when it made the container.
    pub attach_stdin: bool,
    /// Whether the client attached standard output.
    pub attach_stdout: bool,
    /// Whether the client attached standard error.
    pub attach_stderr: bool,
    /// Ports the image serves, for instance `80/tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<Set>,
    /// Whether the process gets a terminal (`-t`).
    pub tty: bool,
    /// Whether standard input stays open without a client (`-i`).
    pub open_stdin: bool,
    /// Whether standard input closes when the first attached client goes.
    pub stdin_once: bool,
    /// `NAME=value` pairs.
    pub env: Option<Vec<String>>,
    /// Arguments, or the whole command when there is no entry point.
    pub cmd: Option<Vec<String>>,
    /// How the image says its health is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// No meaning on Linux; builders set it with CMD.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// The image as the user named it (containers only).
    pub image: String,
    /// Paths that get an anonymous volume: `VOLUME` of the image and `-v /path`.
    pub volumes: Option<Set>,
    /// Directory in which the process starts.
    pub working_dir: String,
    /// The fixed beginning of the command.
    pub entrypoint: Option<Vec<String>>,
    /// Hardware address that the user asked for; the end point's own setting counts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Instructions that a build on top of this image runs first.
    pub on_build: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal of `stop`; unset means `SIGTERM`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds that `stop` waits; unset means 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Shell for the shell form of instructions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// A health check; times are nanoseconds, zero means "inherit or default".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Nanoseconds between probes.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Nanoseconds one probe may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Nanoseconds at the start in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Nanoseconds between probes during the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row until the container is unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out references.
fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// One address on the host that a container port is published on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    /// Address on the host; empty is all of them.
    pub host_ip: String,
    /// Port on the host; empty lets the engine choose.
    pub host_port: String,
}

/// Published ports by container port (`80/tcp`).
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

/// When a stopped container is started again by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// `no`, `always`, `unless-stopped` or `on-failure`; empty is `no`.
    pub name: String,
    /// Upper bound for `on-failure`; 0 is none.
    pub maximum_retry_count: i64,
}

/// Where the output of a container goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// Driver; `json-file` unless chosen.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Options of the driver.
    pub config: BTreeMap<String, String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { kind: "json-file".to_owned(), config: BTreeMap::new() }
    }
}

/// A mount as `--mount` and the API's `HostConfig.Mounts` describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Mount {
    /// `volume`, `bind`, `tmpfs` or `image`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Volume name, host path or image reference; empty where the kind has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Path inside the container.
    pub target: String,
    /// Whether the container may not write.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Accepted and stored; no effect on Linux.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consistency: String,
    /// Options of a bind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
    /// Options of a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_options: Option<VolumeOptions>,
    /// Options of an image mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_options: Option<ImageOptions>,
    /// Options of a tmpfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs_options: Option<TmpfsOptions>,
}

/// Options of a bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BindOptions {
    /// `rprivate` (the default), `private`, `rshared`, `shared`, `rslave` or `slave`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub propagation: String,
    /// Leaves mounts below the source out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub non_recursive: bool,
    /// Makes a missing source directory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub create_mountpoint: bool,
    /// Read-only for the top mount only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_non_recursive: bool,
    /// Fails where recursive read-only cannot be had.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_force_recursive: bool,
}

/// Options of a volume mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VolumeOptions {
    /// Leaves the volume empty instead of filling it from the image.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_copy: bool,
    /// Labels of a volume that this mount creates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Directory inside the volume that is mounted instead of its root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// Driver of a volume that this mount creates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_config: Option<DriverConfig>,
}

/// A volume driver and its options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DriverConfig {
    /// Driver name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Driver options.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
}

/// Options of an image mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageOptions {
    /// Directory inside the image that is mounted instead of its root.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
}

/// Options of a tmpfs mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TmpfsOptions {
    /// Upper bound in bytes; 0 is the kernel's default.
    #[serde(skip_serializing_if = "is_zero")]
    pub size_bytes: i64,
    /// Permission bits of the root directory; 0 is the default 1777.
    #[serde(skip_serializing_if = "is_zero_u32")]
    pub mode: u32,
    /// Further options, each a word or a word and its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<Vec<String>>>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde hands out references.
fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

/// What of the host a container gets (Docker's `HostConfig`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostConfig {
    /// `-v SRC:DST[:MODE]` as given.
    pub binds: Option<Vec<String>>,
    /// File that the container's id was written to.
    #[serde(rename = "ContainerIDFile")]
    pub container_id_file: String,
    /// Where output goes.
    pub log_config: LogConfig,
    /// `bridge` (or `default`), `host`, `none`.
    pub network_mode: String,
    /// Published ports.
    pub port_bindings: PortMap,
    /// When the container is started again.
    pub restart_policy: RestartPolicy,
    /// Whether the container is removed when it ends (`--rm`).
    pub auto_remove: bool,
    /// Driver for volumes that `-v` creates.
    pub volume_driver: String,
    /// `--volumes-from` as given.
    pub volumes_from: Option<Vec<String>>,
    /// Terminal height and width of the client that made the container.
    pub console_size: [u32; 2],
    /// Notes that are handed on to the runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Capabilities added.
    pub cap_add: Option<Vec<String>>,
    /// Capabilities taken away.
    pub cap_drop: Option<Vec<String>>,
    /// `host` or `private`; empty lets the engine choose.
    pub cgroupns_mode: String,
    /// DNS servers.
    pub dns: Option<Vec<String>>,
    /// DNS options.
    pub dns_options: Option<Vec<String>>,
    /// DNS search domains.
    pub dns_search: Option<Vec<String>>,
    /// `name:address` lines for `/etc/hosts`.
    pub extra_hosts: Option<Vec<String>>,
    /// Further groups of the process.
    pub group_add: Option<Vec<String>>,
    /// Namespace of System V IPC: `private`, `shareable`, `none`, `host` or `container:ID`.
    pub ipc_mode: String,
    /// Ignored; kept because clients send it.
    pub cgroup: String,
    /// `--link` as given.
    pub links: Option<Vec<String>>,
    /// Bias of the out-of-memory killer.
    pub oom_score_adj: i64,
    /// Process namespace: empty, `host` or `container:ID`.
    pub pid_mode: String,
    /// Everything allowed.
    pub privileged: bool,
    /// Publishes every exposed port (`-P`).
    pub publish_all_ports: bool,
    /// Root file system read-only.
    pub readonly_rootfs: bool,
    /// Security options.
    pub security_opt: Option<Vec<String>>,
    /// tmpfs mounts by path (`--tmpfs`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<BTreeMap<String, String>>,
    /// Options of the storage driver for the writable layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_opt: Option<BTreeMap<String, String>>,
    /// UTS namespace: empty or `host`.
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    /// User namespace: empty or `host`.
    pub userns_mode: String,
    /// Bytes of `/dev/shm`.
    pub shm_size: i64,
    /// Kernel parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysctls: Option<BTreeMap<String, String>>,
    /// Runtime by name.
    pub runtime: String,
    /// Always empty or `default` on Linux.
    pub isolation: String,
    /// Shares of processor time.
    pub cpu_shares: i64,
    /// Bytes of memory; 0 is unlimited.
    pub memory: i64,
    /// Processor time in billionths of a processor.
    pub nano_cpus: i64,
    /// Parent control group.
    pub cgroup_parent: String,
    /// Share of block device time, 10 to 1000; 0 is the kernel's default.
    pub blkio_weight: u16,
    /// The same for single devices.
    pub blkio_weight_device: Option<Vec<WeightDevice>>,
    /// Bytes a second that may be read from devices.
    pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
    /// Bytes a second that may be written to devices.
    pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
    /// Reads a second from devices.
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
    /// Writes a second to devices.
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
    /// Processor period in microseconds.
    pub cpu_period: i64,
    /// Processor quota in microseconds.
    pub cpu_quota: i64,
    /// Period of the real-time scheduler in microseconds.
    pub cpu_realtime_period: i64,
    /// Time of the real-time scheduler in microseconds a period.
    pub cpu_realtime_runtime: i64,
    /// Processors that may be used.
    pub cpuset_cpus: String,
    /// Memory nodes that may be used.
    pub cpuset_mems: String,
    /// Devices.
    pub devices: Option<Vec<DeviceMapping>>,
    /// Rules for the device control group, for instance `c 1:3 rwm`.
    pub device_cgroup_rules: Option<Vec<String>>,
    /// Devices by what they can do (`--gpus`).
    pub device_requests: Option<Vec<DeviceRequest>>,
    /// Soft limit of memory in bytes.
    pub memory_reservation: i64,
    /// Bytes of memory and swap; −1 is unlimited.
    pub memory_swap: i64,
    /// 0 to 100; unset is the kernel's default.
    pub memory_swappiness: Option<i64>,
    /// Whether the out-of-memory killer stays away.
    pub oom_kill_disable: Option<bool>,
    /// Number of processes; unset, 0 or −1 is unlimited.
    pub pids_limit: Option<i64>,
    /// Resource limits.
    pub ulimits: Option<Vec<Ulimit>>,
    /// What only Windows has.
    #[serde(flatten)]
    pub windows: WindowsLimits,
    /// `--mount` as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<Mount>>,
    /// Paths that show nothing.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that cannot be written.
    pub readonly_paths: Option<Vec<String>>,
    /// Runs an init process that reaps children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
}

/// Bytes of `/dev/shm` when nobody says otherwise: 64 MiB.
pub const DEFAULT_SHM_SIZE_BYTES: i64 = 64 << 20;

/// Paths that a container sees as empty (Docker's default list).
pub const DEFAULT_MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that a container cannot write (Docker's default list).
pub const DEFAULT_READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn owned(paths: &[&str]) -> Option<Vec<String>> {
    Some(paths.iter().map(|&path| path.to_owned()).collect())
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            binds: None,
            container_id_file: String::new(),
            log_config: LogConfig::default(),
            network_mode: "bridge".to_owned(),
            port_bindings: PortMap::new(),
            restart_policy: RestartPolicy { name: "no".to_owned(), maximum_retry_count: 0 },
            auto_remove: false,
            volume_driver: String::new(),
            volumes_from: None,
            console_size: [0, 0],
            annotations: None,
            cap_add: None,
            cap_drop: None,
            cgroupns_mode: String::new(),
            dns: None,
            dns_options: None,
            dns_search: None,
            extra_hosts: None,
            group_add: None,
            ipc_mode: "private".to_owned(),
            cgroup: String::new(),
            links: None,
            oom_score_adj: 0,
            pid_mode: String::new(),
            privileged: false,
            publish_all_ports: false,
            readonly_rootfs: false,
            security_opt: None,
            tmpfs: None,
            storage_opt: None,
            uts_mode: String::new(),
            userns_mode: String::new(),
            shm_size: DEFAULT_SHM_SIZE_BYTES,
            sysctls: None,
            runtime: String::new(),
            isolation: String::new(),
            cpu_shares: 0,
            memory: 0,
            nano_cpus: 0,
            cgroup_parent: String::new(),
            blkio_weight: 0,
            blkio_weight_device: None,
            blkio_device_read_bps: None,
            blkio_device_write_bps: None,
            blkio_device_read_iops: None,
            blkio_device_write_iops: None,
            cpu_period: 0,
            cpu_quota: 0,
            cpu_realtime_period: 0,
            cpu_realtime_runtime: 0,
            cpuset_cpus: String::new(),
            cpuset_mems: String::new(),
            devices: None,
            device_cgroup_rules: None,
            device_requests: None,
            memory_reservation: 0,
            memory_swap: 0,
            memory_swappiness: None,
            oom_kill_disable: None,
            pids_limit: None,
            ulimits: None,
            windows: WindowsLimits::default(),
            mounts: None,
            masked_paths: owned(&DEFAULT_MASKED_PATHS),
            readonly_paths: owned(&DEFAULT_READONLY_PATHS),
            init: None,
        }
    }
}

/// A device of the host that a container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceMapping {
    /// Path on the host.
    pub path_on_host: String,
    /// Path in the container.
    pub path_in_container: String,
    /// Any of `r`, `w`, `m`.
    pub cgroup_permissions: String,
}

/// Limits of Docker on Windows; they stand in its JSON on Linux, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WindowsLimits {
    /// Number of processors.
    pub cpu_count: i64,
    /// Per cent of the processors.
    pub cpu_percent: i64,
    /// Operations a second.
    #[serde(rename = "IOMaximumIOps")]
    pub io_maximum_iops: u64,
    /// Bytes a second.
    #[serde(rename = "IOMaximumBandwidth")]
    pub io_maximum_bandwidth: u64,
}

/// Devices that a container asks for by what they can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeviceRequest {
    /// Driver by name; empty lets the engine choose.
    pub driver: String,
    /// How many; −1 is all.
    pub count: i64,
    /// Which ones.
    #[serde(rename = "DeviceIDs")]
    pub device_ids: Option<Vec<String>>,
    /// Alternatives of sets of capabilities.
    pub capabilities: Option<Vec<Vec<String>>>,
    /// Options of the driver.
    pub options: Option<BTreeMap<String, String>>,
}

/// The weight of one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightDevice {
    /// The device's node on the host.
    pub path: String,
    /// 10 to 1000; 0 is the kernel's default.
    pub weight: u16,
}

/// A limit for one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ThrottleDevice {
    /// The device's node on the host.
    pub path: String,
    /// Bytes or operations a second.
    pub rate: u64,
}

/// One resource limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ulimit {
    /// Name as in `ulimit`, for instance `nofile`.
    pub name: String,
    /// Hard limit; −1 is none.
    pub hard: i64,
    /// Soft limit; −1 is none.
    pub soft: i64,
}
