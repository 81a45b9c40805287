//! Words of `explain`.

use clap::Args;

/// `explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Name or id
    #[arg(value_name = "CONTAINER")]
    pub name: String,
    /// Path inside the container; without it, all its mounts and layers
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
}
