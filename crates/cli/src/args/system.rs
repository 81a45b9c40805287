//! Commands about the engine itself.

use clap::{Args, Subcommand};

/// Commands about the engine that stand alone.
#[derive(Debug, Subcommand)]
pub enum SystemShortcut {
    /// Get real time events from the server
    Events(Events),
    /// Display system-wide information
    Info(Info),
    /// Show the version information
    Version(Info),
    /// Empty the trash now; the engine does this by itself in the background
    #[command(hide = true)]
    Reap,
    /// Tidy up after a container that has ended; its monitor runs this
    #[command(hide = true)]
    ContainerEnded(Ended),
}

/// `container-ended`
#[derive(Debug, Args)]
pub struct Ended {
    /// Full id
    #[arg(value_name = "ID")]
    pub id: String,
}

/// The group `system`.
#[derive(Debug, Subcommand)]
pub enum SystemGroup {
    /// Check that the store is sound
    Check(Check),
    /// Show disk usage
    Df(DiskFree),
    /// Get real time events from the server
    Events(Events),
    /// Display system-wide information
    Info(Info),
    /// Remove unused data
    Prune(SystemPrune),
    /// Start the containers whose restart policy says so; for the machine's init system
    StartAll,
}

/// `system df`
#[derive(Debug, Args)]
pub struct DiskFree {
    /// `table`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show every image, container and volume
    #[arg(short, long)]
    pub verbose: bool,
}

/// `system prune`
#[derive(Debug, Args)]
pub struct SystemPrune {
    /// Remove every unused image, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Only what matches, as `name=value`; may be repeated
    #[arg(long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Remove anonymous volumes, too
    #[arg(long)]
    pub volumes: bool,
}

/// `container prune`
#[derive(Debug, Args)]
pub struct PruneContainers {
    /// Only what matches, as `name=value`; may be repeated
    #[arg(long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// `system check`
#[derive(Debug, Args)]
pub struct Check {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Repair what can be repaired without losing data
    #[arg(long)]
    pub repair: bool,
}

/// `events`
#[derive(Debug, Args)]
pub struct Events {
    /// Only what matches, as `name=value`; may be repeated
    #[arg(short, long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Also what happened since this time or age
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// End at this time or age
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// `info` and `version`
#[derive(Debug, Args)]
pub struct Info {
    /// `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}
