//! Flags of `run` and `create`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::unsupported::Unsupported;

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
        default_missing_value = "true", action = ArgAction::Set
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
    #[arg(value_name = "IMAGE", required = true, trailing_var_arg = true, num_args = 1..)]
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
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,
    /// When to start the container again; only `no` so far
    #[arg(long, value_name = "POLICY", default_value = "no", hide_default_value = true)]
    pub restart: String,
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
    /// Network: bridge, host or none
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub network: Option<String>,
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
}

/// How much the container may use.
#[derive(Debug, Default, Args)]
pub struct ResourceFlags {
    /// Limit of memory
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Number of processors
    #[arg(long, value_name = "DECIMAL")]
    pub cpus: Option<String>,
    /// Limit of processes; -1 for none
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
    /// What makes the processes: `builtin`, or a program with runc's command line
    #[arg(long, value_name = "NAME")]
    pub runtime: Option<String>,
}
