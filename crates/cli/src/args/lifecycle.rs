//! Commands that look at, or hold, running containers: `top`, `stats`, `system start-all`.

use clap::Args;

/// `top`
#[derive(Debug, Args)]
pub struct Top {
    /// Name or id, then options of `ps`
    // One list, because the container's name ends the flags: what follows is for `ps`.
    #[arg(value_name = "CONTAINER", required = true, trailing_var_arg = true, num_args = 1..)]
    pub words: Vec<String>,
}

impl Top {
    /// The container and the options of `ps`.
    #[must_use]
    pub fn container_and_options(&self) -> (&str, &[String]) {
        self.words.split_first().map_or(("", &[]), |(name, options)| (name.as_str(), options))
    }
}

/// `stats`
#[derive(Debug, Args)]
pub struct Stats {
    /// Show containers that do not run too
    #[arg(short, long)]
    pub all: bool,
    /// `table`, `table TEMPLATE`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show one measurement and end
    #[arg(long)]
    pub no_stream: bool,
    /// Show ids in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Names or ids; every running container if left out
    #[arg(value_name = "CONTAINER")]
    pub names: Vec<String>,
}
