//! `pull`.

use clap::{ArgAction, Args};

use super::parse::switch;

/// `pull`
#[derive(Debug, Args)]
pub struct Pull {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    pub all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "PLATFORM", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    pub platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub quiet: bool,
    /// Has no effect: signatures of images are not looked at
    #[arg(
        long, hide_possible_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, hide = true,
        default_missing_value = "true", value_parser = switch, action = ArgAction::Set
    )]
    pub disable_content_trust: Option<bool>,
    /// Downloads that go on at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub max_concurrent_downloads: u8,
    /// Keep no packed layers: saves disk space, and a push packs the layers anew
    #[arg(long, env = "ORLOP_DISCARD_PACKED", hide_env = true)]
    pub discard_packed: bool,
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub name: String,
}
