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
use orlop_types::config::HostConfig;

use crate::capabilities::{CapabilityRequest, CapabilitySet};
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
    let capabilities = capabilities(config, plan.process.privileged, input.permitted)?;
    let process = process(
        &plan.process,
        &ProcessContext {
            user: input.user,
            hostname: &plan.hostname,
            capabilities,
            no_new_privileges: security.no_new_privileges,
            limits: config.ulimits.as_deref().unwrap_or_default(),
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
        .set_annotations(None)
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
    } else if !input.legacy_cgroups.is_empty() {
        // The tmpfs that carries the bound hierarchies is writable while they are mounted in it.
        read_only.push(mounts::CGROUP_TARGET.to_owned());
    }
    let mut parameters = sysctls(config)?.runtime;
    if !plan.domainname.is_empty() && !is_host(&config.uts_mode) {
        // As Docker does it: older runtimes do not know the specification's field.
        parameters.insert("kernel.domainname".to_owned(), plan.domainname.clone());
    }
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(config, input.legacy_cgroups.is_empty())?))
        .set_cgroups_path(Some(PathBuf::from(&plan.cgroup)))
        .set_resources(Some(resources::resources(config)?))
        .set_devices(Some(resources::devices(config)?).filter(|devices| !devices.is_empty()))
        .set_masked_paths(Some(masked).filter(|paths| !paths.is_empty()))
        .set_readonly_paths(Some(read_only).filter(|paths| !paths.is_empty()))
        .set_rootfs_propagation(mounts::root_propagation(&plan.mounts))
        .set_sysctl(Some(parameters).filter(|parameters| !parameters.is_empty()))
        .set_seccomp(seccomp);
    Ok(linux)
}

/// The namespaces that are made new; `v2` says whether a private control group namespace can be had.
fn namespaces(config: &HostConfig, v2: bool) -> Result<Vec<LinuxNamespace>, StartError> {
    let mut kinds = vec![LinuxNamespaceType::Mount];
    let shared: [(&str, &str, LinuxNamespaceType, &[&str]); 3] = [
        ("UTS", &config.uts_mode, LinuxNamespaceType::Uts, &["", "private"]),
        ("IPC", &config.ipc_mode, LinuxNamespaceType::Ipc, &["", "private", "shareable", "none"]),
        ("PID", &config.pid_mode, LinuxNamespaceType::Pid, &["", "private"]),
    ];
    for (name, mode, kind, own) in shared {
        if own.contains(&mode) {
            kinds.push(kind);
        } else if mode != "host" {
            return Err(refused(format!("{name} mode `{mode}` is not supported")));
        }
    }
    if v2 && config.cgroupns_mode == "private" {
        kinds.push(LinuxNamespaceType::Cgroup);
    }
    kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().map_err(refused))
        .collect()
}

fn is_host(mode: &str) -> bool {
    mode == "host"
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
    for (name, value) in config.sysctls.iter().flatten() {
        let plain =
            !name.is_empty() && !name.contains('/') && name.split('.').all(|part| !part.is_empty());
        if !plain {
            return Err(refused(format!("sysctl `{name}` is not a parameter name")));
        }
        if !name.starts_with("net.") {
            sorted.runtime.insert(name.clone(), value.clone());
        } else if is_host(&config.network_mode) {
            return Err(refused(format!(
                "sysctl \"{name}\" is not allowed in the host's network namespace"
            )));
        } else {
            sorted.network.push((name.clone(), value.clone()));
        }
    }
    Ok(sorted)
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
    /// `unconfined`, `builtin`, a document or the path of one.
    profile: Option<String>,
}

impl Security {
    /// Reads the options; labels and AppArmor profiles are accepted and have no effect.
    pub(crate) fn parse(config: &HostConfig) -> Result<Self, StartError> {
        let mut security = Self::default();
        for option in config.security_opt.iter().flatten() {
            let (key, value) = match option.find(['=', ':']) {
                Some(at) => (&option[..at], &option[at + 1..]),
                None => (option.as_str(), ""),
            };
            match (key, value) {
                ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
                ("no-new-privileges", "false") => security.no_new_privileges = false,
                ("seccomp", profile) if !profile.is_empty() => {
                    security.profile = Some(profile.to_owned());
                }
                ("label" | "apparmor", _) => {}
                _ => return Err(refused(format!("invalid --security-opt: \"{option}\""))),
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
            None | Some("builtin") if config.privileged => Ok(None),
            None | Some("builtin") => Ok(Some(seccomp::docker_default(capabilities))),
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

fn read_limited(path: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(seccomp::MAX_PROFILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
