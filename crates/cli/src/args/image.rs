//! Commands about images.

use clap::{Args, Subcommand};

use super::{
    BuildArgs, EditArgs, FlattenArgs, ImageDiffArgs, ImageTreeArgs, InspectOne, Listing, Pull, Push,
};

/// Commands about images that stand alone.
#[derive(Debug, Subcommand)]
pub enum ImageShortcut {
    /// List images
    Images(ListImages),
    /// Show the history of an image
    History(History),
    /// Import the contents from a tarball to create a filesystem image
    Import(Import),
    /// Load an image from a tar archive or STDIN
    Load(Load),
    /// Download an image from a registry
    Pull(Pull),
    /// Upload an image to a registry
    Push(Push),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(Save),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(Tag),
    /// Remove one or more images
    Rmi(RemoveImages),
}

/// The group `image`.
#[derive(Debug, Subcommand)]
pub enum ImageGroup {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// List images
    #[command(alias = "list")]
    Ls(ListImages),
    /// Display detailed information on one or more images
    Inspect(InspectOne),
    /// Show the history of an image
    History(History),
    /// Import the contents from a tarball to create a filesystem image
    Import(Import),
    /// Load an image from a tar archive or STDIN
    Load(Load),
    /// Download an image from a registry
    Pull(Pull),
    /// Upload an image to a registry
    Push(Push),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(Save),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(Tag),
    /// Remove one or more images
    #[command(alias = "remove")]
    Rm(RemoveImages),
    /// Remove unused images
    Prune(PruneImages),
    /// Show the layers of an image: what each brought, changed, deleted and wastes
    Tree(ImageTreeArgs),
    /// Show how the files and settings of two images differ
    Diff(ImageDiffArgs),
    /// Make an image with the same files and settings in fewer layers
    Flatten(FlattenArgs),
    /// Make an image with the same layers and other settings
    Edit(Box<EditArgs>),
}

/// `images`
#[derive(Debug, Args)]
pub struct ListImages {
    /// Show intermediate images too
    #[arg(short, long)]
    pub all: bool,
    /// Show digests
    #[arg(long)]
    pub digests: bool,
    /// Show everything in full
    #[arg(long)]
    pub no_trunc: bool,
    /// List multi-platform images as a tree (EXPERIMENTAL)
    #[arg(long)]
    pub tree: bool,
    #[command(flatten)]
    pub list: Listing,
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
}

/// `import`
#[derive(Debug, Args)]
pub struct Import {
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,
    /// Comment of the image
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Platform of the image, as `os[/architecture[/variant]]`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Archive to read, its address, or `-` for standard input
    #[arg(value_name = "FILE|URL|-")]
    pub source: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub reference: Option<String>,
    /// Docker takes further words and does nothing with them.
    #[arg(hide = true)]
    pub ignored: Vec<String>,
}

/// `history`
#[derive(Debug, Args)]
pub struct History {
    /// `table`, `table TEMPLATE`, `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Print sizes and times as people read them
    #[arg(
        short = 'H',
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub human: bool,
    /// Show everything in full
    #[arg(long)]
    pub no_trunc: bool,
    /// Print nothing but ids
    #[arg(short, long)]
    pub quiet: bool,
    /// Platform of the image, as `os[/architecture[/variant]]`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Name or id of the image
    #[arg(value_name = "IMAGE")]
    pub name: String,
}

/// `load`
#[derive(Debug, Args)]
pub struct Load {
    /// Archive (or directory with an OCI layout) to read instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<String>,
    /// Platform of the images, as `os[/architecture[/variant]]`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Do not show how far it is
    #[arg(short, long)]
    pub quiet: bool,
}

/// `save`
#[derive(Debug, Args)]
pub struct Save {
    /// File (or directory, with `oci-dir`) to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<String>,
    /// Form: an archive that is both, one that is only `oci` or `docker`, or a directory (`oci-dir`)
    #[arg(
        long,
        value_name = "both|oci|docker|oci-dir",
        default_value = "both",
        hide_default_value = true
    )]
    pub format: String,
    /// Compression of layers: `none`, `gzip`, `zstd`, also with a level; if not given, layers are
    /// written as they came where that is kept
    #[arg(long, value_name = "METHOD[:LEVEL]")]
    pub compression: Option<String>,
    /// Platform of the images, as `os[/architecture[/variant]]`
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub names: Vec<String>,
}

/// `tag`
#[derive(Debug, Args)]
pub struct Tag {
    /// Name or id of the image
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    pub source: String,
    /// Its further name
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    pub target: String,
}

/// `rmi`
#[derive(Debug, Args)]
pub struct RemoveImages {
    /// Remove names and images that containers use
    #[arg(short, long)]
    pub force: bool,
    /// Keep parents without a name (imported images have none)
    #[arg(long)]
    pub no_prune: bool,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub names: Vec<String>,
}

/// `image prune`
#[derive(Debug, Args)]
pub struct PruneImages {
    /// Remove every unused image, not only those without a name
    #[arg(short, long)]
    pub all: bool,
    /// Only what matches, as `name=value`; may be repeated
    #[arg(long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}
