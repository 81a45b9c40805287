//! Words of `cp`.

use clap::Args;

use super::parse::switch;

/// `cp`
#[derive(Debug, Args)]
pub struct Copy {
    /// Give the files to the container's user
    #[arg(short, long)]
    pub archive: bool,
    /// Copy what a link in SRC_PATH leads to
    #[arg(short = 'L', long)]
    pub follow_link: bool,
    /// Show no progress
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true, value_parser = switch)]
    pub quiet: Option<bool>,
    /// CONTAINER:PATH, a local path, or `-` for a tar archive on standard input
    #[arg(value_name = "SRC_PATH")]
    pub source: String,
    /// A local path, CONTAINER:PATH, or `-` for a tar archive on standard output
    #[arg(value_name = "DEST_PATH")]
    pub destination: String,
}
