//! Commands about volumes.

use clap::{Args, Subcommand};

use super::{InspectOne, Listing};

/// The group `volume`.
#[derive(Debug, Subcommand)]
pub enum VolumeGroup {
    /// Create a volume
    Create(CreateVolume),
    /// Display detailed information on one or more volumes
    Inspect(InspectOne),
    /// List volumes
    #[command(alias = "list")]
    Ls(ListVolumes),
    /// Remove unused local volumes
    Prune(PruneVolumes),
    /// Remove one or more volumes
    #[command(alias = "remove")]
    Rm(RemoveVolumes),
}

/// `volume create`
#[derive(Debug, Args)]
pub struct CreateVolume {
    /// Driver of the volume
    #[arg(short, long, value_name = "NAME", default_value = "local")]
    pub driver: String,
    /// Set labels
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Set options of the driver
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub opt: Vec<String>,
    /// Name of the volume; a random one if left out
    #[arg(value_name = "VOLUME")]
    pub name: Option<String>,
    /// Docker's old way to give the name
    #[arg(long = "name", value_name = "VOLUME", hide = true)]
    pub old_name: Option<String>,
}

/// `volume ls`
#[derive(Debug, Args)]
pub struct ListVolumes {
    #[command(flatten)]
    pub list: Listing,
}

/// `volume prune`
#[derive(Debug, Args)]
pub struct PruneVolumes {
    /// Remove every unused volume, not only anonymous ones
    #[arg(short, long)]
    pub all: bool,
    /// Only what matches, as `name=value`; may be repeated
    #[arg(long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// `volume rm`
#[derive(Debug, Args)]
pub struct RemoveVolumes {
    /// Do not mind volumes that are not there
    #[arg(short, long)]
    pub force: bool,
    /// Names
    #[arg(value_name = "VOLUME", required = true)]
    pub names: Vec<String>,
}
