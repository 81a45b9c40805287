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
    /// Show or set how much the build cache may take
    Budget(BuilderBudget),
    /// List the builders: there is one, this program
    Ls(BuilderList),
    /// Show the builder
    Inspect(BuilderInspect),
    /// Choose a builder: `default` is the only one
    Use(BuilderUse),
    /// Show the builder's version
    Version,
    /// Is refused: there are no builders to make
    #[command(hide = true)]
    Create(BuilderCreate),
}

/// `builder ls`
#[derive(Debug, Args)]
pub struct BuilderList {
    /// `table`, `table TEMPLATE`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show everything in full
    #[arg(long)]
    pub no_trunc: bool,
}

/// `builder inspect`
#[derive(Debug, Args)]
pub struct BuilderInspect {
    /// Has no effect: the builder is always ready
    #[arg(long, hide = true)]
    pub bootstrap: bool,
    /// `default`
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// `builder use`
#[derive(Debug, Args)]
pub struct BuilderUse {
    /// Has no effect: there is one builder
    #[arg(long, hide = true)]
    pub default: bool,
    /// Has no effect: there is one builder
    #[arg(long, hide = true)]
    pub global: bool,
    /// `default`
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// `builder create`
#[derive(Debug, Args)]
pub struct BuilderCreate {
    /// Whatever is asked for
    #[arg(value_name = "WORD", num_args = 0.., allow_hyphen_values = true, trailing_var_arg = true)]
    pub words: Vec<String>,
}

/// `builder budget`
#[derive(Debug, Args)]
pub struct BuilderBudget {
    /// Bytes (`20GB`), or a part of the disk (`10%`); kept for all builds to come
    #[arg(value_name = "SIZE")]
    pub size: Option<String>,
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
