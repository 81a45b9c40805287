//! Commands about containers.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    Commit, Copy, Create, Diff, Explain, Export, InspectContainers, Listing, Run, Stats, Top,
    UpdateFlags,
};

/// Commands that stand alone and in the group `container`.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// Create and run a new container from an image
    Run(Box<Run>),
    /// Create a new container
    Create(Box<Create>),
    /// Start one or more stopped containers
    Start(Start),
    /// Stop one or more running containers
    Stop(Stop),
    /// Restart one or more containers
    Restart(Stop),
    /// Kill one or more running containers
    Kill(Kill),
    /// Remove one or more containers
    Rm(RemoveContainers),
    /// Pause all processes within one or more containers
    Pause(Names),
    /// Unpause all processes within one or more containers
    Unpause(Names),
    /// Display the running processes of a container
    Top(Top),
    /// Display a live stream of container(s) resource usage statistics
    Stats(Stats),
    /// Update configuration of one or more containers
    Update(Box<UpdateFlags>),
    /// Block until one or more containers stop, then print their exit codes
    Wait(Names),
    /// Rename a container
    Rename(Rename),
    /// Attach local standard input, output, and error streams to a running container
    Attach(Attach),
    /// Execute a command in a running container
    Exec(Exec),
    /// Copy files/folders between a container and the local filesystem
    Cp(Copy),
    /// Show where the files of a container come from and what hides what
    Explain(Explain),
    /// Create a new image from a container's changes
    Commit(Commit),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(Diff),
    /// Export a container's filesystem as a tar archive
    Export(Export),
    /// List port mappings or a specific mapping for the container
    Port(super::Port),
    /// Fetch the logs of a container
    Logs(Logs),
    /// List containers
    Ps(ListContainers),
}

/// The group `container`.
#[derive(Debug, Subcommand)]
pub enum ContainerGroup {
    #[command(flatten)]
    Common(ContainerCommand),
    /// List containers
    #[command(alias = "list")]
    Ls(ListContainers),
    /// Display detailed information on one or more containers
    Inspect(InspectContainers),
    /// Remove all stopped containers
    Prune(super::PruneContainers),
}

/// One or more containers.
#[derive(Debug, Args)]
pub struct Names {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub names: Vec<String>,
}

/// `start`
#[derive(Debug, Args)]
pub struct Start {
    /// Show the output and hand signals on
    #[arg(short, long)]
    pub attach: bool,
    /// Feed the container's standard input
    #[arg(short, long)]
    pub interactive: bool,
    /// Keys that detach from the container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub names: Vec<String>,
}

/// `stop` and `restart`
#[derive(Debug, Args)]
pub struct Stop {
    /// Signal to send instead of the container's own
    #[arg(short, long)]
    pub signal: Option<String>,
    /// Seconds until the container is killed; -1 for never
    #[arg(short, long, alias = "time", value_name = "SECONDS", allow_negative_numbers = true)]
    pub timeout: Option<i64>,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub names: Vec<String>,
}

/// `kill`
#[derive(Debug, Args)]
pub struct Kill {
    /// Signal to send
    #[arg(short, long, default_value = "KILL")]
    pub signal: String,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub names: Vec<String>,
}

/// `rm`
#[derive(Debug, Args)]
pub struct RemoveContainers {
    /// Kill running containers first
    #[arg(short, long)]
    pub force: bool,
    /// Remove the containers' anonymous volumes too
    #[arg(short, long)]
    pub volumes: bool,
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub names: Vec<String>,
}

/// `rename`
#[derive(Debug, Args)]
pub struct Rename {
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub name: String,
    /// Its name from now on
    #[arg(value_name = "NEW_NAME")]
    pub new_name: String,
}

/// `attach`
#[derive(Debug, Args)]
pub struct Attach {
    /// Keys that detach from the container
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Leave the container's standard input alone
    #[arg(long)]
    pub no_stdin: bool,
    /// Hand signals on to the container
    #[arg(
        long, hide_possible_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", action = clap::ArgAction::Set
    )]
    pub sig_proxy: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub name: String,
}

/// `exec`
#[derive(Debug, Args)]
pub struct Exec {
    /// Leave the command running in the background
    #[arg(short, long)]
    pub detach: bool,
    /// Keys that detach from the command
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from files
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Feed the command's standard input
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command every privilege
    #[arg(long)]
    pub privileged: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// User, as `<name|uid>[:<group|gid>]`
    #[arg(short, long)]
    pub user: Option<String>,
    /// Directory in which the command starts
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Name or id of the container, then the command and its arguments
    // One list, because the container's name ends the flags: what follows is the command's.
    #[arg(value_name = "CONTAINER COMMAND [ARG...]", required = true, trailing_var_arg = true, num_args = 2..)]
    pub words: Vec<String>,
}

impl Exec {
    /// The container, and the command, which is empty where none was given.
    #[must_use]
    pub fn container_and_command(&self) -> (&str, &[String]) {
        self.words.split_first().map_or(("", &[]), |(name, command)| (name.as_str(), command))
    }
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on until the container ends
    #[arg(short, long)]
    pub follow: bool,
    /// Not before this time (`2026-11-21T10:00:00Z`) or age (`42m`)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Not after this time or age
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only so many lines from the end
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value = "all",
        allow_hyphen_values = true
    )]
    pub tail: String,
    /// Show when each line was written
    #[arg(short, long)]
    pub timestamps: bool,
    /// Show what the log driver's options keep with each line
    #[arg(long)]
    pub details: bool,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub name: String,
}

/// `ps`
#[derive(Debug, Args)]
pub struct ListContainers {
    /// Show stopped containers too
    #[arg(short, long)]
    pub all: bool,
    #[command(flatten)]
    pub list: Listing,
    /// Show the newest so many containers, running or not
    #[arg(short = 'n', long, value_name = "NUMBER", allow_negative_numbers = true, default_value_t = -1, hide_default_value = true)]
    pub last: i64,
    /// Show the newest container, running or not
    #[arg(short, long)]
    pub latest: bool,
    /// Show everything in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Show the sizes of the containers
    #[arg(short, long)]
    pub size: bool,
}
