//! What a build is asked for. Every face (command line, classic API, BuildKit API) makes one of these.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use orlop_types::config::Ulimit;

/// A build.
#[derive(Debug, Default)]
pub struct BuildRequest {
    /// Where the files come from.
    pub context: ContextSource,
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// More contexts by name (`--build-context NAME=…`), replacing images and stages of that name.
    pub named_contexts: BTreeMap<String, ContextSource>,
    /// Names of the image.
    pub tags: Vec<String>,
    /// Name of the stage to build; empty is the last one.
    pub target: String,
    /// `--build-arg`; `None` where the client has no value either. Proxy variables among them are in
    /// the environment of every RUN.
    pub build_args: BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// Platforms asked for, `os/arch[/variant]`; empty is the host's.
    pub platforms: Vec<String>,
    /// What of the cache must not be used.
    pub no_cache: NoCache,
    /// Whether base images are looked up in their registries first.
    pub pull: bool,
    /// Caches to read from, each `type=…,key=value`.
    pub cache_from: Vec<BTreeMap<String, String>>,
    /// Caches to write to.
    pub cache_to: Vec<BTreeMap<String, String>>,
    /// Where the result goes; empty is the image store.
    pub outputs: Vec<Output>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// SSH agents or keys by id (`default`).
    pub ssh: BTreeMap<String, SshSource>,
    /// Network of RUN: `default`, `none`, `host`, or a network's name.
    pub network: String,
    /// Entitlements: `network.host`, `security.insecure`, `device`.
    pub allow: Vec<String>,
    /// Additional lines of `/etc/hosts`, `name:ip` or `name:host-gateway`.
    pub add_hosts: Vec<String>,
    /// What each RUN may use.
    pub limits: RunLimits,
    /// Whether each step says why it was or was not taken from the cache.
    pub explain: bool,
    /// What is wanted instead of a build.
    pub call: Call,
    /// Seconds since 1970 for everything that the build makes; the face has looked into its
    /// environment, since the builder itself never reads variables.
    pub source_date_epoch: Option<i64>,
    /// Bytes that the build cache may take; the store's setting if absent.
    pub cache_budget_bytes: Option<u64>,
}

/// What each RUN of a build may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunLimits {
    /// `/dev/shm` in bytes; 0 is the default.
    pub shm_size_bytes: i64,
    /// Limits of the processes.
    pub ulimits: Vec<Ulimit>,
    /// Control group above the steps'.
    pub cgroup_parent: String,
    /// Memory in bytes (classic API); 0 is no limit.
    pub memory_bytes: i64,
    /// `--memory-swap`.
    pub memory_swap_bytes: i64,
    /// `--cpu-shares`.
    pub cpu_shares: i64,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: String,
    /// `--cpuset-mems`.
    pub cpuset_mems: String,
    /// `--cpu-period`, `--cpu-quota`.
    pub cpu_period_us: i64,
    /// See `cpu_period_us`.
    pub cpu_quota_us: i64,
}

/// Where a context comes from.
#[derive(Debug, Default)]
pub enum ContextSource {
    /// No files at all (a Dockerfile from standard input without a context).
    #[default]
    Empty,
    /// A directory of this machine.
    Directory(PathBuf),
    /// A tar of any compression, read once.
    Tar(File),
    /// `http(s)://…`: a tar or a single Dockerfile.
    Url(String),
    /// A git address with optional `#ref:subdir`.
    Git(String),
    /// An image (`docker-image://…`).
    Image(String),
    /// An OCI layout directory with optional `:tag` or `@digest` (`oci-layout://…`).
    OciLayout(String),
}

/// Which Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A path in the context; `Dockerfile` normally.
    InContext(String),
    /// A path of this machine outside or inside the context (`-f PATH` of the command line).
    Local(PathBuf),
    /// The text itself (standard input), with the name that messages show.
    Text {
        /// Shown in messages.
        name: String,
        /// The Dockerfile.
        text: String,
    },
}

impl Default for DockerfileSource {
    fn default() -> Self {
        Self::InContext("Dockerfile".to_owned())
    }
}

/// What of the cache must not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// Everything may be used.
    #[default]
    Nothing,
    /// Nothing may be used.
    All,
    /// Nothing of these stages (names, as `--no-cache-filter`).
    Stages(Vec<String>),
}

/// What is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Call {
    /// The build.
    #[default]
    Build,
    /// Only the lints (`--check`).
    Check,
    /// The arguments and stages (`--call=outline`).
    Outline,
    /// The stages (`--call=targets`).
    Targets,
}

/// One `--output`: kind and attributes as typed, destination opened by the face.
#[derive(Debug)]
pub struct Output {
    /// What is written.
    pub kind: OutputKind,
    /// `name`, `compression`, `compression-level`, `force-compression`, `oci-mediatypes`, `push`, `annotation.*`, ….
    pub attributes: BTreeMap<String, String>,
    /// Where.
    pub destination: Destination,
}

/// Form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// The image store (`type=image`, `type=docker` without destination, `--load`); with `push=true`
    /// also its registry.
    Image,
    /// The result's files in a directory.
    Local,
    /// The result's files as a tar.
    Tar,
    /// An OCI layout, as a tar, or a directory with `tar=false`.
    Oci,
    /// A docker archive.
    Docker,
    /// Only the cache.
    CacheOnly,
}

/// Where an output goes.
#[derive(Debug, Default)]
pub enum Destination {
    /// Nowhere but the store.
    #[default]
    Store,
    /// A directory, made if missing.
    Directory(PathBuf),
    /// An open file or pipe.
    File(File),
}

/// Where a secret's value comes from; read when a step first needs it, never kept.
#[derive(Clone)]
pub enum SecretSource {
    /// A file of this machine.
    File(PathBuf),
    /// The value itself (an environment variable's; or what a session answered).
    Value(Arc<[u8]>),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Value(_) => formatter.write_str("Value(…)"),
        }
    }
}

/// Where an SSH mount leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshSource {
    /// An agent's socket.
    Agent(PathBuf),
    /// Private keys that an agent of the build's own serves.
    Keys(Vec<PathBuf>),
}

/// What a build made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildOutcome {
    /// The image, unless the outputs wanted none in the store.
    pub image: Option<orlop_types::ImageId>,
    /// What `--metadata-file` gets (`containerimage.digest`, `containerimage.config.digest`, …).
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Text of `--check`, `--call=outline` and `--call=targets` as JSON.
    pub answer: Option<serde_json::Value>,
}
