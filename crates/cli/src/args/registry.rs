//! Commands about registries and their accounts.

use clap::{Args, Subcommand};

/// `login`, `logout`, `search`: they need no store.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Authenticate to a registry
    Login(Login),
    /// Log out from a registry
    Logout(Logout),
    /// Search Docker Hub (or another registry) for images
    Search(Search),
}

/// `login`
#[derive(Debug, Args)]
pub struct Login {
    /// Password or personal access token; it can be seen by others: better `--password-stdin`
    #[arg(short, long, value_name = "TEXT", hide_env_values = true)]
    pub password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Name of the account
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// The registry, as `host[:port]`; Docker Hub if absent
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// `logout`
#[derive(Debug, Args)]
pub struct Logout {
    /// The registry, as `host[:port]`; Docker Hub if absent
    #[arg(value_name = "SERVER")]
    pub server: Option<String>,
}

/// `search`
#[derive(Debug, Args)]
pub struct Search {
    /// Only repositories like this: is-official=BOOL, stars=NUMBER
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// A Go template for each repository
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Most repositories to show (1 to 100)
    #[arg(long, value_name = "N")]
    pub limit: Option<u32>,
    /// Show descriptions in full
    #[arg(long)]
    pub no_trunc: bool,
    /// The words, with `host[:port]/` in front for another registry
    #[arg(value_name = "TERM")]
    pub term: String,
}
