//! Commands about the build cache.

use clap::{Args, Subcommand};

use super::BuildArgs;

/// The groups `builder` and `buildx`.
#[derive(Debug, Subcommand)]
pub enum BuilderGroup {
    /// Build an image from a Dockerfile
    #[command(alias = "b")]
    Build(Box<BuildArgs>),
    /// Disk usage of the build cache
    Du(BuilderUsage),
    /// Remove build cache
    Prune(BuilderPrune),
}

/// `builder du`
#[derive(Debug, Args)]
pub struct BuilderUsage {
    /// Only what matches, as `name=value`; may be repeated
    #[arg(long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show everything that is known of each record
    #[arg(long)]
    pub verbose: bool,
}

/// `builder prune`
#[derive(Debug, Args)]
pub struct BuilderPrune {
    /// Also what images need
    #[arg(short, long)]
    pub all: bool,
    /// Only what matches, as `name=value` (for instance `until=24h`); may be repeated
    #[arg(long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Bytes that stay in any case
    #[arg(long, visible_alias = "keep-storage", value_name = "BYTES", default_value = "")]
    pub reserved_space: String,
    /// Bytes that may stay at most
    #[arg(long, value_name = "BYTES", default_value = "")]
    pub max_used_space: String,
    /// Bytes of the disk that shall be free afterwards
    #[arg(long, value_name = "BYTES", default_value = "")]
    pub min_free_space: String,
    /// Show everything that is known of each record
    #[arg(long)]
    pub verbose: bool,
}
