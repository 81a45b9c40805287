//! Commands that show images, and make others of them.

use clap::Args;

/// `image tree`
#[derive(Debug, Args)]
pub struct ImageTreeArgs {
    /// `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Do not cut instructions and lists of names
    #[arg(long)]
    pub no_trunc: bool,
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub name: String,
}

/// `image diff`
#[derive(Debug, Args)]
pub struct ImageDiffArgs {
    /// `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Show the totals only
    #[arg(long)]
    pub summary: bool,
    /// Exit with 1 if the images differ
    #[arg(long)]
    pub exit_code: bool,
    /// The first image
    #[arg(value_name = "IMAGE")]
    pub from: String,
    /// The second image
    #[arg(value_name = "IMAGE")]
    pub to: String,
    /// Only these paths and what is below them
    #[arg(value_name = "PATH")]
    pub paths: Vec<String>,
}

/// `image flatten`
#[derive(Debug, Args)]
pub struct FlattenArgs {
    /// Keep the layers of this image, which the other one stands on
    #[arg(long, value_name = "BASE")]
    pub keep: Option<String>,
    /// Name of the new image
    #[arg(short, long, value_name = "REPOSITORY[:TAG]")]
    pub tag: Option<String>,
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub name: String,
}

/// `image edit`
#[derive(Debug, Args)]
pub struct EditArgs {
    /// Set a variable, as `NAME=value`
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Take a variable away
    #[arg(long, value_name = "NAME")]
    pub unset_env: Vec<String>,
    /// Set a label, as `name=value`
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Take a label away
    #[arg(long, value_name = "NAME")]
    pub unset_label: Vec<String>,
    /// Declare a volume
    #[arg(long, value_name = "PATH")]
    pub volume: Vec<String>,
    /// No longer declare a volume: containers get none for the path
    #[arg(long, value_name = "PATH")]
    pub unset_volume: Vec<String>,
    /// Expose a port
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<String>,
    /// No longer expose a port
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    pub unset_expose: Vec<String>,
    /// Set the command, as a JSON array or a text for the shell
    #[arg(long, value_name = "COMMAND", conflicts_with = "unset_cmd")]
    pub cmd: Option<String>,
    /// Take the command away
    #[arg(long)]
    pub unset_cmd: bool,
    /// Set the entry point, as a JSON array or a text for the shell; the command stays
    #[arg(long, value_name = "COMMAND", conflicts_with = "unset_entrypoint")]
    pub entrypoint: Option<String>,
    /// Take the entry point away
    #[arg(long)]
    pub unset_entrypoint: bool,
    /// Set the user
    #[arg(short, long, value_name = "USER", conflicts_with = "unset_user")]
    pub user: Option<String>,
    /// Take the user away
    #[arg(long)]
    pub unset_user: bool,
    /// Set the working directory
    #[arg(short, long, value_name = "PATH", conflicts_with = "unset_workdir")]
    pub workdir: Option<String>,
    /// Take the working directory away
    #[arg(long)]
    pub unset_workdir: bool,
    /// Take the health check away
    #[arg(long)]
    pub unset_healthcheck: bool,
    /// Apply a Dockerfile instruction, after everything else
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,
    /// Name of the new image
    #[arg(short, long, value_name = "REPOSITORY[:TAG]")]
    pub tag: Option<String>,
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub name: String,
}
