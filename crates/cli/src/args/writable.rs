//! Commands about what a container has written.

use clap::Args;

/// `commit`
#[derive(Debug, Args)]
pub struct Commit {
    /// Who made the image, for instance `Ann <ann@example.org>`
    #[arg(short, long, value_name = "NAME")]
    pub author: Option<String>,
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,
    /// Comment of the image
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Pause the container meanwhile
    #[arg(
        short,
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub pause: bool,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub name: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

/// `diff`
#[derive(Debug, Args)]
pub struct Diff {
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub name: String,
}

/// `export`
#[derive(Debug, Args)]
pub struct Export {
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<String>,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub name: String,
}
