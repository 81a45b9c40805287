//! `push`.

use clap::{ArgAction, Args};

use super::parse::switch;

/// `push`
#[derive(Debug, Args)]
pub struct Push {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// The platform that the image must be for
    #[arg(long, value_name = "PLATFORM", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    pub platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Has no effect: images are not signed
    #[arg(
        long, hide_possible_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, hide = true,
        default_missing_value = "true", value_parser = switch, action = ArgAction::Set
    )]
    pub disable_content_trust: Option<bool>,
    /// How layers are compressed: gzip[:LEVEL], zstd[:LEVEL] or none; as they came, else gzip
    #[arg(long, value_name = "METHOD")]
    pub compression: Option<String>,
    /// Uploads that go on at once
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub max_concurrent_uploads: u8,
    /// The image
    #[arg(value_name = "NAME[:TAG]")]
    pub name: String,
}
