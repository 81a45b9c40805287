//! Flags of `run` and `create`.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use orlop_types::duration::parse_duration;

use super::number::int64;
use super::parse::switch;
use super::unsupported::Unsupported;
use super::update::LimitFlags;

/// `run`
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Run {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    pub detach: bool,
    /// Keys that detach from the container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Hand signals on to the container
    #[arg(
        long, hide_possible_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = switch, action = ArgAction::Set
    )]
    pub sig_proxy: bool,
    #[command(flatten)]
    pub create: Create,
}

/// `create`, and what `run` shares with it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Create {
    /// Print help
    #[arg(long, action = ArgAction::HelpLong)]
    pub help: Option<bool>,
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the container a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Name of the container
    #[arg(long)]
    pub name: Option<String>,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long)]
    pub rm: bool,
    /// Write the container's id to a new file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// When to pull the image: always, missing or never
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub pull: String,
    /// Streams to attach to: stdin, stdout, stderr
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
    /// Platform of the image, as os[/architecture[/variant]]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Has no effect: signatures of images are not looked at
    #[arg(
        long, hide_possible_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, hide = true,
        default_missing_value = "true", value_parser = switch, action = ArgAction::Set
    )]
    pub disable_content_trust: Option<bool>,
    /// Do not show the progress of a pull
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub process: ProcessFlags,
    #[command(flatten)]
    pub storage: StorageFlags,
    #[command(flatten)]
    pub network: NetworkFlags,
    #[command(flatten)]
    pub security: SecurityFlags,
    #[command(flatten)]
    pub resources: ResourceFlags,
    #[command(flatten)]
    pub unsupported: Unsupported,
    /// Image to use, then the command and its arguments instead of the image's
    // One list, because the image's name ends the flags: what follows is the command's, also where
    // it looks like a flag of ours.
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", required = true, trailing_var_arg = true, num_args = 1..)]
    pub words: Vec<String>,
}

impl Create {
    /// The image, and the command where one was given.
    #[must_use]
    pub fn image_and_command(&self) -> (&str, &[String]) {
        self.words.split_first().map_or(("", &[]), |(image, command)| (image.as_str(), command))
    }
}

/// What the process gets.
#[derive(Debug, Default, Args)]
pub struct ProcessFlags {
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from files
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Directory in which the command starts
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User, as `<name|uid>[:<group|gid>]`
    #[arg(short, long)]
    pub user: Option<String>,
    /// Replace the image's entry point
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Set labels
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Read labels from files
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Seconds from that signal until the container is killed
    #[arg(long, value_name = "SECONDS", value_parser = int64)]
    pub stop_timeout: Option<i64>,
    /// When to start the container again: no, on-failure[:NUMBER], always or unless-stopped
    #[arg(long, value_name = "POLICY", default_value = "no", hide_default_value = true)]
    pub restart: String,
    /// Run an init that reaps children and hands signals on
    #[arg(
        long, hide_possible_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_parser = switch, action = ArgAction::Set
    )]
    pub init: Option<bool>,
    /// Add notes that are handed on to the runtime
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub annotation: Vec<String>,
    /// Where output is kept: json-file, local or none
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// Options of the log driver
    #[arg(long, value_name = "NAME=VALUE")]
    pub log_opt: Vec<String>,
    #[command(flatten)]
    pub health: HealthFlags,
}

/// How health is checked.
#[derive(Debug, Default, Args)]
pub struct HealthFlags {
    /// Command that checks the health
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time between two checks
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub health_interval: Option<i64>,
    /// Failures in a row until the container is unhealthy
    #[arg(long, value_name = "NUMBER", value_parser = int64)]
    pub health_retries: Option<i64>,
    /// Time between two checks during the start period
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub health_start_interval: Option<i64>,
    /// Time at the start in which failures do not count
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub health_start_period: Option<i64>,
    /// Time that one check may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub health_timeout: Option<i64>,
    /// Ignore the image's health check
    #[arg(long)]
    pub no_healthcheck: bool,
}

/// What is mounted.
#[derive(Debug, Default, Args)]
pub struct StorageFlags {
    /// Mount a volume or a host directory: [SOURCE:]TARGET[:MODE]
    #[arg(short, long, value_name = "VOLUME")]
    pub volume: Vec<String>,
    /// Mount a volume, host directory, image or tmpfs: key=value,…
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Mount a tmpfs: TARGET[:OPTIONS]
    #[arg(long, value_name = "TARGET")]
    pub tmpfs: Vec<String>,
    /// Mount the volumes of other containers
    #[arg(long, value_name = "CONTAINER[:MODE]")]
    pub volumes_from: Vec<String>,
    /// Volume driver of volumes that -v creates
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
    /// Mount the root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Options of the storage driver for the writable layer
    #[arg(long, value_name = "NAME=VALUE")]
    pub storage_opt: Vec<String>,
}

/// How the container is reached.
#[derive(Debug, Default, Args)]
pub struct NetworkFlags {
    /// Publish ports: [[ADDRESS:]HOST_PORT:]CONTAINER_PORT[/PROTOCOL]
    #[arg(short, long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Publish every exposed port on a free port of the host
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Expose ports
    #[arg(long, value_name = "PORT")]
    pub expose: Vec<String>,
    /// Network: a name, host, none or container:NAME
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Further names on the network
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Link-local addresses
    #[arg(long, value_name = "ADDRESS")]
    pub link_local_ip: Vec<String>,
    /// Hardware address
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,
    /// Make another container known: CONTAINER[:ALIAS]
    #[arg(long, value_name = "LINK")]
    pub link: Vec<String>,
    /// Add lines to /etc/hosts: HOST:ADDRESS, or HOST:host-gateway
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub add_host: Vec<String>,
    /// DNS servers
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Options of /etc/resolv.conf
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Domain name of the container
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
}

/// What the container may do.
#[derive(Debug, Default, Args)]
pub struct SecurityFlags {
    /// Add capabilities
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Take capabilities away
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// Give the container every privilege
    #[arg(long)]
    pub privileged: bool,
    /// Set security options
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Further groups of the process
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Set kernel parameters
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
    /// Process namespace: host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// IPC namespace: private, shareable, none, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// UTS namespace: host
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// User namespace: host
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// Control group namespace: host or private
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// Isolation technology: default
    #[arg(long, value_name = "NAME", hide = true)]
    pub isolation: Option<String>,
    /// Give devices of the host: HOST[:CONTAINER][:rwm]
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Allow devices by number: `c 1:3 rwm`
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,
    /// Give graphics processors
    #[arg(long, value_name = "REQUEST")]
    pub gpus: Vec<String>,
}

/// How much the container may use.
#[derive(Debug, Default, Args)]
pub struct ResourceFlags {
    #[command(flatten)]
    pub limits: LimitFlags,
    /// How readily memory is swapped out, 0 to 100
    #[arg(long, value_name = "NUMBER", value_parser = int64)]
    pub memory_swappiness: Option<i64>,
    /// Keep the out-of-memory killer away
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Bias of the out-of-memory killer, -1000 to 1000
    #[arg(long, value_name = "NUMBER", value_parser = int64)]
    pub oom_score_adj: Option<i64>,
    /// The same for a device: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub blkio_weight_device: Vec<String>,
    /// Limit of bytes a second that are read: DEVICE:BYTES
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_read_bps: Vec<String>,
    /// Limit of reads a second: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_read_iops: Vec<String>,
    /// Limit of bytes a second that are written: DEVICE:BYTES
    #[arg(long, value_name = "DEVICE:BYTES")]
    pub device_write_bps: Vec<String>,
    /// Limit of writes a second: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER")]
    pub device_write_iops: Vec<String>,
    /// Resource limits: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT")]
    pub ulimit: Vec<String>,
    /// Parent control group
    #[arg(long, value_name = "PATH")]
    pub cgroup_parent: Option<String>,
    /// What makes the processes: `builtin`, or a program with runc's command line
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
}
