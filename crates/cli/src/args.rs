//! The command line: Docker's names and flags, both as `orlop run` and as `orlop container run`.

mod container;
mod create;
mod image;
mod parse;
mod system;
mod unsupported;
mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use container::*;
pub use create::*;
pub use image::*;
pub use parse::{Parsed, parse};
pub use system::*;
pub use volume::*;

/// A container engine centred on persistent storage.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, disable_help_subcommand = true)]
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
}

/// Every command; the first ones are short names for commands of a group.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Container(ContainerCommand),
    #[command(flatten)]
    Image(ImageShortcut),
    #[command(flatten)]
    System(SystemShortcut),
    /// Show details of containers, images or volumes
    Inspect(Inspect),
    /// Work with containers
    #[command(subcommand, name = "container")]
    ContainerGroup(ContainerGroup),
    /// Work with images
    #[command(subcommand, name = "image")]
    ImageGroup(ImageGroup),
    /// Work with volumes
    #[command(subcommand, name = "volume")]
    VolumeGroup(VolumeGroup),
    /// Look after the engine
    #[command(subcommand, name = "system")]
    SystemGroup(SystemGroup),
}

/// `inspect` of any kind of object.
#[derive(Debug, Args)]
pub struct Inspect {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Only objects of this type: container, image or volume
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Names or ids
    #[arg(value_name = "NAME|ID", required = true)]
    pub names: Vec<String>,
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
