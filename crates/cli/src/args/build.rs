//! `build`.

use clap::Args;

/// `build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Add a custom host-to-IP mapping (`host:ip`)
    #[arg(long, value_name = "HOST:IP", value_delimiter = ',')]
    pub add_host: Vec<String>,
    /// Allow extra privileged entitlement (`network.host`, `security.insecure`, `device`)
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,
    /// Add annotation to the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Attestation parameters
    #[arg(long, value_name = "TYPE=…", hide = true)]
    pub attest: Vec<String>,
    /// Set build-time variables
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Additional build contexts (`name=path`)
    #[arg(long, value_name = "NAME=PATH")]
    pub build_context: Vec<String>,
    /// The builder; there is only `default`
    #[arg(long, value_name = "NAME", hide = true)]
    pub builder: Option<String>,
    /// External cache sources (`user/app:cache`, `type=local,src=path/to/dir`)
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<String>,
    /// Cache export destinations (`user/app:cache`, `type=local,dest=path/to/dir`)
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<String>,
    /// Set method for evaluating build (`check`, `outline`, `targets`)
    #[arg(long, value_name = "METHOD", default_value = "build")]
    pub call: String,
    /// Set the parent cgroup for the `RUN` instructions during build
    #[arg(long, value_name = "GROUP")]
    pub cgroup_parent: Option<String>,
    /// Shorthand for `--call=check`
    #[arg(long)]
    pub check: bool,
    /// Compress the build context; contexts aren't sent anywhere here
    #[arg(long, hide = true)]
    pub compress: bool,
    /// Limit the CPU CFS period in microseconds
    #[arg(long, value_name = "MICROSECONDS", hide = true, default_value_t = 0)]
    pub cpu_period: i64,
    /// Limit the CPU CFS quota in microseconds
    #[arg(long, value_name = "MICROSECONDS", hide = true, default_value_t = 0)]
    pub cpu_quota: i64,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "WEIGHT", hide = true, default_value_t = 0)]
    pub cpu_shares: i64,
    /// CPUs in which to allow execution
    #[arg(long, value_name = "LIST", hide = true)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes in which to allow execution
    #[arg(long, value_name = "LIST", hide = true)]
    pub cpuset_mems: Option<String>,
    /// Trust of images, which is not looked at
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, hide = true)]
    pub disable_content_trust: Option<String>,
    /// Say for each step why it was or was not taken from the cache
    #[arg(long)]
    pub explain: bool,
    /// Name of the Dockerfile (default: `PATH/Dockerfile`)
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<String>,
    /// Always remove intermediate containers; nothing else is done here
    #[arg(long, hide = true)]
    pub force_rm: bool,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<String>,
    /// Container isolation technology
    #[arg(long, value_name = "NAME", hide = true)]
    pub isolation: Option<String>,
    /// Set metadata for an image
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Shorthand for `--output=type=docker`
    #[arg(long)]
    pub load: bool,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", hide = true)]
    pub memory: Option<String>,
    /// Memory and swap limit, `-1` for unlimited swap
    #[arg(long, value_name = "BYTES", hide = true)]
    pub memory_swap: Option<String>,
    /// Write build result metadata to a file
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<String>,
    /// Set the networking mode for the `RUN` instructions during build
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub network: String,
    /// Do not use cache when building the image
    #[arg(long)]
    pub no_cache: bool,
    /// Do not cache specified stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub no_cache_filter: Vec<String>,
    /// Output destination (`type=local,dest=path`)
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// Set target platform for build
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<String>,
    /// Set type of progress output (`auto`, `none`, `plain`, `quiet`, `rawjson`, `tty`)
    #[arg(long, value_name = "TYPE")]
    pub progress: Option<String>,
    /// Shorthand for `--attest=type=provenance`
    #[arg(long, value_name = "VALUE", hide = true)]
    pub provenance: Option<String>,
    /// Always attempt to pull all referenced images
    #[arg(long)]
    pub pull: bool,
    /// Shorthand for `--output=type=registry`
    #[arg(long)]
    pub push: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    pub quiet: bool,
    /// Remove intermediate containers after a successful build; there are none to keep
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide = true
    )]
    pub rm: Option<String>,
    /// Shorthand for `--attest=type=sbom`
    #[arg(long, value_name = "VALUE", hide = true)]
    pub sbom: Option<String>,
    /// Secret to expose to the build (`id=mysecret[,src=/local/secret]`)
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// Security options
    #[arg(long, value_name = "OPTION", hide = true)]
    pub security_opt: Vec<String>,
    /// Shared memory size for build containers
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<String>,
    /// Squash newly built layers into a single new layer
    #[arg(long, hide = true)]
    pub squash: bool,
    /// SSH agent socket or keys to expose to the build (`default|ID[=SOCKET|KEY[,KEY]]`)
    #[arg(long, value_name = "SSH")]
    pub ssh: Vec<String>,
    /// Image identifier (`[registry/]repository[:tag]`)
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// Set the target build stage to build
    #[arg(long, value_name = "STAGE", default_value = "", hide_default_value = true)]
    pub target: String,
    /// Ulimit options
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<String>,
    /// The build context
    #[arg(value_name = "PATH | URL | -")]
    pub context: String,
}
