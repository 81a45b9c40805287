//! Carries out RUN.
//!
//! A RUN is an ordinary container of the engine: same monitor, network, limits, filter, recovery. It is
//! marked as a step of a build, so that nobody sees it in lists, and ends with the process that builds.
//! When its command has succeeded, its writable layer becomes the new layer where it lies; nothing is
//! copied.

pub mod cache_mount;
mod cache_mount_list;
pub(crate) mod failure;
mod secret;
mod ssh;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;

use orlop_container::{
    BuildStep, Containers, StepEnd, StepInputs, StepMount, StepRequest, StepSource,
};
use orlop_layer::{Layer, LayerStore};
use orlop_meta::Store;
use orlop_runtime::plan::FileContent;
use orlop_sys::mount::RootfsRecipe;
use orlop_types::ChainId;
use orlop_types::config::{Config, HostConfig};

use crate::progress::StepProgress;
use crate::request::{BuildRequest, RunLimits, SecretSource, SshSource};
use crate::step::{Input, RunMountKind, RunStep};
use crate::{Cancel, Error, Result};
pub(crate) use cache_mount_list::KIND as CACHE_MOUNT;

use cache_mount::HeldCache;
use failure::failed;
use ssh::Agents;

/// Host name in the steps unless the build says otherwise.
const HOSTNAME: &str = "buildkitsandbox";
/// Where scripts of here-documents are.
const PIPES: &str = "/dev/pipes";
/// How often a cache that was removed just now is made again.
const CACHE_ATTEMPTS: u32 = 5;

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
    /// What each step may use.
    pub limits: RunLimits,
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
            limits: request.limits.clone(),
        }
    }
}

/// What all RUNs of one build share. Several threads may carry steps out at the same time.
pub struct RunBuild<'a> {
    store: &'a Store,
    containers: Containers<'a>,
    settings: RunSettings,
    secrets: BTreeMap<String, SecretSource>,
    ssh: BTreeMap<String, SshSource>,
    agents: Agents,
}

impl<'a> RunBuild<'a> {
    /// Brings together what the steps of a build work on. What builders that were killed have left
    /// goes first.
    #[must_use]
    pub fn new(layers: &'a LayerStore, containers: Containers<'a>, request: &BuildRequest) -> Self {
        if let Err(error) = containers.remove_abandoned_steps() {
            tracing::debug!(%error, "steps of another builder are left");
        }
        Self {
            store: layers.store(),
            containers,
            settings: RunSettings::of(request),
            secrets: request.secrets.clone(),
            ssh: request.ssh.clone(),
            agents: Agents::default(),
        }
    }
}

/// Runs a step on the layers that end with `parent`; the layer that it made, `None` if it has written
/// nothing.
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
    cancel.check()?;
    check_entitlements(&build.settings, step)?;
    let secrets = secret::collect(&build.secrets, &step.mounts)?;
    let (mut container, caches) = make(build, step, parent, files, progress, cancel)?;
    let (mut inputs, guards) = inputs(step, files)?;
    inputs.mounts.extend(secrets.files);
    inputs.secret_env.extend(secrets.variables);
    let sockets = build.agents.forward(build, step, &container, &mut inputs)?;
    let mut output = |stream: u8, bytes: &[u8]| progress.log(stream, bytes);
    let ended = container.run(inputs, &mut output, &|| cancel.is_cancelled());
    drop((sockets, guards, caches));
    cancel.check()?;
    match ended {
        Ok(StepEnd { exit_code: 0, .. }) => {}
        Ok(end) => return Err(failed(step, &failure::reason(end))),
        Err(error) => return Err(failed(step, &failure::text(&error))),
    }
    let sealed = container.seal(&|| cancel.is_cancelled());
    cancel.check()?;
    Ok(sealed?)
}

/// Makes the step's container with the caches that it mounts.
fn make<'a>(
    build: &RunBuild<'a>,
    step: &RunStep,
    parent: Option<&ChainId>,
    files: &dyn InputFiles,
    progress: StepProgress<'_>,
    cancel: &Cancel,
) -> Result<(BuildStep<'a>, Vec<HeldCache>)> {
    let (config, host_config) = configuration(build, step);
    for attempt in 1.. {
        let caches = cache_mount::take_all(build, step, files, progress, cancel)?;
        let made = build.containers.new_step(StepRequest {
            parent: parent.cloned(),
            config: config.clone(),
            host_config: host_config.clone(),
            volumes: caches.iter().map(HeldCache::mount).collect(),
        });
        match made {
            // Somebody has removed one of them before the step referred to it.
            Err(orlop_container::Error::Store(error))
                if error.is_constraint() && !caches.is_empty() && attempt < CACHE_ATTEMPTS => {}
            other => return Ok((other?, caches)),
        }
    }
    Err(Error::Cancelled)
}

/// The step in the terms of a container.
fn configuration(build: &RunBuild<'_>, step: &RunStep) -> (Config, HostConfig) {
    let settings = &build.settings;
    let hostname = if settings.hostname.is_empty() { HOSTNAME } else { &settings.hostname };
    let known = |name: &str| step.env.iter().any(|entry| entry.split('=').next() == Some(name));
    let proxies = step.proxies.iter().filter(|(name, _)| !known(name));
    let proxies = proxies.map(|(name, value)| format!("{name}={value}"));
    let config = Config {
        cmd: Some(step.args.clone()),
        env: Some(proxies.chain(step.env.iter().cloned()).collect()),
        user: step.user.clone(),
        working_dir: step.cwd.clone(),
        hostname: hostname.to_owned(),
        ..Config::default()
    };
    let host_config = HostConfig {
        network_mode: if step.network.is_empty() { "default" } else { &*step.network }.to_owned(),
        privileged: step.insecure,
        extra_hosts: Some(settings.add_hosts.clone()).filter(|hosts| !hosts.is_empty()),
        shm_size: settings.limits.shm_size_bytes,
        ulimits: Some(settings.limits.ulimits.clone()).filter(|limits| !limits.is_empty()),
        cgroup_parent: settings.limits.cgroup_parent.clone(),
        memory: settings.limits.memory_bytes,
        memory_swap: settings.limits.memory_swap_bytes,
        cpu_shares: settings.limits.cpu_shares,
        cpuset_cpus: settings.limits.cpuset_cpus.clone(),
        cpuset_mems: settings.limits.cpuset_mems.clone(),
        cpu_period: settings.limits.cpu_period_us,
        cpu_quota: settings.limits.cpu_quota_us,
        ..HostConfig::default()
    };
    (config, host_config)
}

/// What a step may not have unless the user allows it.
fn check_entitlements(settings: &RunSettings, step: &RunStep) -> Result<()> {
    let is_allowed = |name: &str| settings.allow.iter().any(|allowed| allowed == name);
    let refused = |name: &str| {
        Err(Error::failed(orlop_types::ErrorKind::Denied, format!("{name} is not allowed")))
    };
    if step.network == "host" && !is_allowed("network.host") {
        return refused("network.host");
    }
    if step.insecure && !is_allowed("security.insecure") {
        return refused("security.insecure");
    }
    for device in &step.devices {
        let (name, required) = parse_device(device);
        if required {
            // Nothing on this machine describes devices for containers (CDI).
            return Err(Error::failed(
                orlop_types::ErrorKind::NotFound,
                format!("device {name} is required by the build but not available"),
            ));
        }
    }
    Ok(())
}

/// The name of `--device`, and whether the step cannot do without.
fn parse_device(text: &str) -> (&str, bool) {
    let (mut name, mut required) = ("", false);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("name", value)) => name = value,
            Some(("required", value)) => required = matches!(value, "true" | "1"),
            None if field == "required" => required = true,
            _ if name.is_empty() => name = field,
            _ => {}
        }
    }
    (name, required)
}

/// Keeps what is mounted as it is until the step has ended.
type Guards = Vec<Box<dyn Any + Send>>;

/// Mounts that need nothing but the step itself and the files of others.
fn inputs(step: &RunStep, files: &dyn InputFiles) -> Result<(StepInputs, Guards)> {
    let mut inputs = StepInputs::default();
    let mut guards = Guards::new();
    for mount in &step.mounts {
        let (source, read_only) = match &mount.kind {
            RunMountKind::Bind { from, source, writable } => {
                let InputMount { recipe, subpath, guard } = files.mount(from, source)?;
                guards.extend(guard);
                (StepSource::Files { recipe, subpath }, !writable)
            }
            RunMountKind::Tmpfs { size_bytes } => {
                let mut options = vec!["nosuid".to_owned()];
                if *size_bytes > 0 {
                    options.push(format!("size={size_bytes}"));
                }
                (StepSource::Memory(options), false)
            }
            RunMountKind::Cache { .. } | RunMountKind::Secret { .. } | RunMountKind::Ssh { .. } => {
                continue;
            }
        };
        inputs.mounts.push(StepMount { target: mount.target.clone(), source, read_only });
    }
    for script in &step.scripts {
        let bytes = script.content.clone().into_bytes();
        let content = FileContent { bytes, mode: 0o755, uid: 0, gid: 0, executable: true };
        inputs.mounts.push(StepMount {
            target: format!("{PIPES}/{}", script.name),
            source: StepSource::Content(content),
            read_only: true,
        });
    }
    Ok((inputs, guards))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements_have_buildkits_words() {
        let check = |step: RunStep, allow: &[&str]| {
            let allow = allow.iter().map(|&word| word.to_owned()).collect();
            let settings = RunSettings { allow, ..RunSettings::default() };
            check_entitlements(&settings, &step).map_err(|error| error.to_string())
        };
        let refused = |text: &str| Err(text.to_owned());
        let host = || RunStep { network: "host".to_owned(), ..RunStep::default() };
        assert_eq!(check(host(), &[]), refused("network.host is not allowed"));
        assert_eq!(check(host(), &["network.host"]), Ok(()));
        let insecure = || RunStep { insecure: true, ..RunStep::default() };
        assert_eq!(
            check(insecure(), &["network.host"]),
            refused("security.insecure is not allowed")
        );
        assert_eq!(check(insecure(), &["security.insecure"]), Ok(()));
        let device = |text: &str| RunStep { devices: vec![text.to_owned()], ..RunStep::default() };
        assert_eq!(check(device("vendor.com/device=a"), &[]), Ok(()));
        assert_eq!(
            check(device("name=vendor.com/device,required"), &["device"]),
            refused("device vendor.com/device is required by the build but not available")
        );
    }

    #[test]
    fn a_request_for_the_hosts_network_allows_it() {
        let mut request = BuildRequest::default();
        assert_eq!(RunSettings::of(&request).allow, [""; 0]);
        "host".clone_into(&mut request.network);
        assert_eq!(RunSettings::of(&request).allow, ["network.host"]);
    }
}
