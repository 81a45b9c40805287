//! The runtime specification (`config.json`) of a container, made from its [`Bundle`].
//!
//! Pure except for device nodes and security files, which are looked up on the host. The network is
//! not in it: the caller already stands in the container's network namespace, which is inherited.
//!
//! Source: OCI runtime-spec 1.2; Docker's defaults.

mod mounts;
mod process;
mod resources;

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxSeccomp, RootBuilder,
    Spec,
};
use orlop_types::ParseError;
use orlop_types::config::HostConfig;

use crate::capabilities::{CapabilityRequest, CapabilitySet};
use crate::plan::Plan;
use crate::user::ContainerUser;
use crate::{Bundle, StartError, seccomp};

pub(crate) use mounts::clean;
pub(crate) use process::{ProcessContext, process};

/// What a specification is made from.
#[derive(Clone, Copy, Debug)]
pub struct SpecInput<'a> {
    /// The container.
    pub bundle: &'a Bundle<'a>,
    /// Who the first process runs as.
    pub user: &'a ContainerUser,
    /// What this process may hand on.
    pub permitted: CapabilitySet,
    /// Mount point and container directory of each v1 hierarchy that is bound by itself; where this is
    /// empty the runtime mounts the hierarchies.
    pub legacy_cgroups: &'a [(PathBuf, PathBuf)],
    /// Where the runtime makes devices.
    pub devices: DevicePlaces,
}

/// Where a runtime makes devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePlaces {
    /// Wherever it is told to, and nowhere if something is mounted on `/dev`.
    Anywhere,
    /// Below `/dev` only, and always: other places get binds, and what is to be mounted on `/dev` has
    /// to wait.
    BelowDev,
}

/// An error for which Docker's exit code is 125.
pub(crate) fn refused(message: impl std::fmt::Display) -> StartError {
    StartError { exit_code: 125, message: message.to_string() }
}

/// Makes the specification.
pub fn build(input: SpecInput<'_>) -> Result<Spec, StartError> {
    let plan = input.bundle.plan;
    let config = &plan.host_config;
    let security = Security::parse(config)?;
    resources::check_requests(config)?;
    let capabilities = capabilities(config, plan.process.privileged, input.permitted)?;
    let process = process(
        &plan.process,
        &ProcessContext {
            user: input.user,
            hostname: &plan.hostname,
            capabilities,
            no_new_privileges: security.no_new_privileges,
            limits: config.ulimits.as_deref().unwrap_or_default(),
            highest_limit: highest_limit(input.permitted),
        },
    )?;
    let root =
        RootBuilder::default().path(input.bundle.rootfs).readonly(plan.rootfs_read_only).build();
    let own_host_name = !is_host(&config.uts_mode);

    let mut spec = Spec::default();
    spec.set_version("1.0.2".to_owned())
        .set_root(Some(root.map_err(refused)?))
        .set_mounts(Some(mounts::mounts(input)?))
        .set_process(Some(process))
        .set_hostname(own_host_name.then(|| plan.hostname.clone()))
        .set_annotations(annotations(config))
        .set_linux(Some(linux(input, security.seccomp(config, capabilities)?)?));
    Ok(spec)
}

/// The part for Linux.
fn linux(input: SpecInput<'_>, seccomp: Option<LinuxSeccomp>) -> Result<Linux, StartError> {
    let plan = input.bundle.plan;
    let config = &plan.host_config;
    let mut masked = config.masked_paths.clone().unwrap_or_default();
    let mut read_only = config.readonly_paths.clone().unwrap_or_default();
    if config.privileged {
        masked.clear();
        read_only.clear();
    }
    let mut parameters = sysctls(config)?.runtime;
    if !plan.domainname.is_empty() && !is_host(&config.uts_mode) {
        // As Docker does it: older runtimes do not know the specification's field.
        parameters.insert("kernel.domainname".to_owned(), plan.domainname.clone());
    }
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(plan)?))
        .set_cgroups_path(Some(PathBuf::from(&plan.cgroup)))
        .set_resources(Some(resources::resources(config)?))
        .set_devices(
            Some(resources::devices(config, input.devices)?).filter(|devices| !devices.is_empty()),
        )
        .set_masked_paths(Some(masked).filter(|paths| !paths.is_empty()))
        .set_readonly_paths(Some(read_only).filter(|paths| !paths.is_empty()))
        .set_rootfs_propagation(mounts::root_propagation(&plan.mounts))
        .set_sysctl(Some(parameters).filter(|parameters| !parameters.is_empty()))
        .set_seccomp(seccomp);
    Ok(linux)
}

fn annotations(config: &HostConfig) -> Option<HashMap<String, String>> {
    let annotations = config.annotations.as_ref()?;
    Some(annotations.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// The namespaces that are made new or joined.
fn namespaces(plan: &Plan) -> Result<Vec<LinuxNamespace>, StartError> {
    let config = &plan.host_config;
    let mut namespaces = vec![(LinuxNamespaceType::Mount, None)];
    let joined = |pid: Option<i32>, name: &str| {
        pid.map(|pid| PathBuf::from(format!("/proc/{pid}/ns/{name}")))
    };
    let own: [&str; 4] = ["", "private", "shareable", "none"];
    for (name, mode, kind, path) in [
        ("UTS", &config.uts_mode, LinuxNamespaceType::Uts, None),
        ("IPC", &config.ipc_mode, LinuxNamespaceType::Ipc, joined(plan.shared.ipc, "ipc")),
        ("PID", &config.pid_mode, LinuxNamespaceType::Pid, joined(plan.shared.pid, "pid")),
    ] {
        if own.contains(&mode.as_str()) || path.is_some() {
            namespaces.push((kind, path));
        } else if !is_host(mode) {
            return Err(refused(format!("invalid {name} mode: {mode}")));
        }
    }
    if config.cgroupns_mode == "private" {
        namespaces.push((LinuxNamespaceType::Cgroup, None));
    }
    namespaces
        .into_iter()
        .map(|(kind, path)| {
            let builder = LinuxNamespaceBuilder::default().typ(kind);
            let builder = match path {
                Some(path) => builder.path(path),
                None => builder,
            };
            builder.build().map_err(refused)
        })
        .collect()
}

fn is_host(mode: &str) -> bool {
    mode == "host"
}

/// What Docker sets in each new network namespace: echo requests and low ports for everybody.
const DEFAULT_NETWORK_SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ping_group_range", "0 2147483647"), ("net.ipv4.ip_unprivileged_port_start", "0")];

/// The file of a kernel parameter.
pub(crate) fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name.replace('.', "/"))
}

/// Kernel parameters, by who sets them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Sysctls {
    /// `net.*`: by the caller, who stands in the network namespace. A runtime refuses them, because
    /// the specification does not name a network namespace.
    pub(crate) network: Vec<(String, String)>,
    /// Everything else.
    pub(crate) runtime: HashMap<String, String>,
}

/// Sorts the kernel parameters of a container.
pub(crate) fn sysctls(config: &HostConfig) -> Result<Sysctls, StartError> {
    let mut sorted = Sysctls::default();
    let own_network =
        !is_host(&config.network_mode) && !config.network_mode.starts_with("container:");
    for (name, value) in DEFAULT_NETWORK_SYSCTLS {
        let chosen = config.sysctls.as_ref().is_some_and(|chosen| chosen.contains_key(name));
        if own_network && !chosen && sysctl_path(name).exists() {
            sorted.network.push((name.to_owned(), value.to_owned()));
        }
    }
    for (name, value) in config.sysctls.iter().flatten() {
        let plain =
            !name.is_empty() && !name.contains('/') && name.split('.').all(|part| !part.is_empty());
        if !plain {
            return Err(refused(format!("sysctl `{name}` is not a parameter name")));
        }
        if !name.starts_with("net.") {
            let of_ipc = name.starts_with("kernel.") || name.starts_with("fs.mqueue.");
            if of_ipc && is_host(&config.ipc_mode) {
                return Err(refused(format!(
                    "sysctl \"{name}\" is not allowed in the hosts ipc namespace"
                )));
            }
            sorted.runtime.insert(name.clone(), value.clone());
        } else if is_host(&config.network_mode) {
            return Err(refused(format!(
                "sysctl \"{name}\" not allowed in host network namespace"
            )));
        } else {
            sorted.network.push((name.clone(), value.clone()));
        }
    }
    Ok(sorted)
}

/// Raising a hard limit takes a capability that a confined host withholds; as with other things of
/// that kind, the container then gets as much as there is.
pub(crate) fn highest_limit(permitted: CapabilitySet) -> Option<fn(&str) -> Option<u64>> {
    (!permitted.contains("SYS_RESOURCE")).then_some(crate::user::own_hard_limit)
}

/// What the container's processes may at most do.
pub(crate) fn capabilities(
    config: &HostConfig,
    privileged_process: bool,
    permitted: CapabilitySet,
) -> Result<CapabilitySet, StartError> {
    let request = CapabilityRequest {
        privileged: config.privileged || privileged_process,
        add: config.cap_add.as_deref().unwrap_or_default(),
        drop: config.cap_drop.as_deref().unwrap_or_default(),
    };
    let requested = CapabilitySet::requested(request).map_err(refused)?;
    let missing = requested.difference(permitted);
    if missing != CapabilitySet::default() {
        tracing::debug!(missing = missing.bits(), "this host withholds capabilities");
    }
    Ok(requested.intersection(permitted))
}

/// What `--security-opt` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Security {
    /// Whether set-user-id programs give nothing.
    pub(crate) no_new_privileges: bool,
    /// Whether control groups are shown writable, if that is said.
    pub(crate) writable_cgroups: Option<bool>,
    /// `unconfined`, `builtin`, a document or the path of one.
    profile: Option<String>,
}

/// Checks `--security-opt` before a container is made.
///
/// # Errors
/// Docker's text for an option that is none.
pub fn check_security(config: &HostConfig) -> Result<(), ParseError> {
    Security::parse(config).map(drop).map_err(|error| ParseError::new(error.message))
}

impl Security {
    /// Reads the options; labels and AppArmor profiles are accepted and have no effect.
    pub(crate) fn parse(config: &HostConfig) -> Result<Self, StartError> {
        let mut security = Self::default();
        for option in config.security_opt.iter().flatten() {
            let wrong = |number| refused(format!("invalid --security-opt {number}: \"{option}\""));
            match option.as_str() {
                "no-new-privileges" => security.no_new_privileges = true,
                "writable-cgroups" => security.writable_cgroups = Some(true),
                "disable" => {}
                pair => {
                    let pair = pair.split_once('=').or_else(|| pair.split_once(':'));
                    let (key, value) = pair.ok_or_else(|| wrong(1))?;
                    let switch = || go_boolean(value).ok_or_else(|| wrong(2));
                    match key {
                        "no-new-privileges" => security.no_new_privileges = switch()?,
                        "writable-cgroups" => security.writable_cgroups = Some(switch()?),
                        "seccomp" => security.profile = Some(value.to_owned()),
                        "label" | "apparmor" => {}
                        _ => return Err(wrong(2)),
                    }
                }
            }
        }
        Ok(security)
    }

    /// The system call filter of a process with these capabilities.
    pub(crate) fn seccomp(
        &self,
        config: &HostConfig,
        capabilities: CapabilitySet,
    ) -> Result<Option<LinuxSeccomp>, StartError> {
        match self.profile.as_deref() {
            Some("unconfined") => Ok(None),
            None | Some("builtin" | "") if config.privileged => Ok(None),
            None | Some("builtin" | "") => Ok(Some(seccomp::docker_default(capabilities))),
            Some(document) if document.trim_start().starts_with('{') => {
                seccomp::parse(document.as_bytes(), capabilities).map(Some).map_err(refused)
            }
            Some(path) => {
                let document = read_limited(path).map_err(|error| {
                    refused(format!("opening seccomp profile ({path}) failed: {error}"))
                })?;
                seccomp::parse(&document, capabilities).map(Some).map_err(refused)
            }
        }
    }
}

/// What Go's `strconv.ParseBool` knows.
fn go_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn read_limited(path: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(seccomp::MAX_PROFILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
