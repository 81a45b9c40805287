//! The command line: Docker's names and flags, both as `orlop run` and as `orlop container run`.

mod build;
mod builder;
mod container;
mod copy;
mod create;
mod docker;
mod explain;
mod image;
mod image_view;
mod lifecycle;
mod network;
mod number;
mod parse;
mod pull;
mod push;
mod registry;
mod system;
mod unsupported;
mod update;
pub mod usage;
mod volume;
mod writable;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use build::*;
pub use builder::*;
pub use container::*;
pub use copy::*;
pub use create::*;
pub use docker::DockerOptions;
pub use explain::*;
pub use image::*;
pub use image_view::*;
pub use lifecycle::*;
pub use network::*;
pub use parse::{Parsed, command, parse, switch};
pub use pull::*;
pub use push::*;
pub use registry::*;
pub use system::*;
pub use update::*;
pub use volume::*;
pub use writable::*;

/// A container engine centred on persistent storage.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, disable_help_subcommand = true, disable_version_flag = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes, before the command's name.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Directory of persistent data
    #[arg(long, env = "ORLOP_ROOT", value_name = "DIR", default_value = orlop_engine::DEFAULT_ROOT, hide_env = true)]
    pub root: PathBuf,
    /// Directory of the state of running containers
    #[arg(long, env = "ORLOP_RUN_ROOT", value_name = "DIR", hide_env = true)]
    pub run_root: Option<PathBuf>,
    /// Storage driver for image layers and containers
    #[arg(short = 's', long, env = "ORLOP_STORAGE_DRIVER", value_name = "NAME", hide_env = true)]
    pub storage_driver: Option<String>,
    /// How much to log: error, warn, info, debug or trace
    #[arg(short = 'l', long, value_name = "LEVEL", default_value = "warn")]
    pub log_level: String,
    /// Format of what a command shows, unless it is told by its own `--format`
    #[arg(long = "format", id = "default_format", value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print the version and quit
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
    #[command(flatten)]
    pub docker: DockerOptions,
}

/// Every command; the first ones are short names for commands of a group.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Container(ContainerCommand),
    #[command(flatten)]
    Image(ImageShortcut),
    #[command(flatten)]
    Registry(RegistryCommand),
    #[command(flatten)]
    System(SystemShortcut),
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Return low-level information on containers, images, networks and volumes
    Inspect(Inspect),
    /// Manage builds
    #[command(subcommand, name = "builder", visible_alias = "buildx")]
    BuilderGroup(BuilderGroup),
    /// Manage containers
    #[command(subcommand, name = "container")]
    ContainerGroup(ContainerGroup),
    /// Manage images
    #[command(subcommand, name = "image")]
    ImageGroup(ImageGroup),
    /// Manage networks
    #[command(subcommand, name = "network")]
    NetworkGroup(NetworkGroup),
    /// Manage volumes
    #[command(subcommand, name = "volume")]
    VolumeGroup(VolumeGroup),
    /// Manage the engine
    #[command(subcommand, name = "system")]
    SystemGroup(SystemGroup),
    /// Print a script that completes commands, flags and names in a shell
    Completion(Completion),
    /// Show the help of a command
    #[command(hide = true)]
    Help(HelpTopic),
}

/// `help`
#[derive(Debug, Args)]
pub struct HelpTopic {
    /// The command's words
    #[arg(value_name = "COMMAND", num_args = 0..)]
    pub words: Vec<String>,
}

/// `completion`
#[derive(Debug, Args)]
pub struct Completion {
    /// bash, zsh or fish
    #[arg(value_name = "SHELL")]
    pub shell: String,
}

/// `inspect` of any kind of object.
#[derive(Debug, Args)]
pub struct Inspect {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show the sizes of containers too
    #[arg(short, long)]
    pub size: bool,
    /// Only objects of this type: container, image, network or volume
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Names or ids
    #[arg(value_name = "NAME|ID", required = true)]
    pub names: Vec<String>,
}

/// `container inspect`
#[derive(Debug, Args)]
pub struct InspectContainers {
    /// Show the sizes of the containers too
    #[arg(short, long)]
    pub size: bool,
    #[command(flatten)]
    pub inspect: InspectOne,
}

/// `inspect` of one kind of object.
#[derive(Debug, Args)]
pub struct InspectOne {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Names or ids
    #[arg(value_name = "NAME|ID", required = true)]
    pub names: Vec<String>,
}

/// What all lists take.
#[derive(Debug, Args)]
pub struct Listing {
    /// Only what matches, as `name=value`; may be repeated
    #[arg(short, long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// `table`, `table TEMPLATE`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print nothing but ids or names
    #[arg(short, long)]
    pub quiet: bool,
}
