//! Flags about what a container may do and which of the host's namespaces it shares.

use std::collections::BTreeMap;
use std::path::Path;

use orlop_types::ParseError;
use orlop_types::config::HostConfig;

use super::{Surroundings, check_all};
use crate::args::SecurityFlags;
use crate::failure::Failure;

/// Kernel parameters that belong to a namespace, apart from `net.` and `fs.mqueue.`.
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Puts the flags into the configuration.
pub(super) fn apply(
    flags: &SecurityFlags,
    host: &mut HostConfig,
    around: &Surroundings<'_>,
) -> Result<(), Failure> {
    let (add, drop) = (capabilities(&flags.cap_add), capabilities(&flags.cap_drop));
    // Adding wins over dropping, as in Docker.
    let drop: Vec<String> = drop.into_iter().filter(|name| !add.contains(name)).collect();
    host.cap_add = Some(add).filter(|names| !names.is_empty());
    host.cap_drop = Some(drop).filter(|names| !names.is_empty());
    host.privileged = flags.privileged;
    host.group_add = Some(flags.group_add.clone()).filter(|groups| !groups.is_empty());
    let parameters: BTreeMap<String, String> =
        check_all(&flags.sysctl, "--sysctl", sysctl)?.into_iter().collect();
    host.sysctls = Some(parameters).filter(|parameters| !parameters.is_empty());
    apply_namespaces(flags, host)?;
    let mut options = Vec::new();
    for raw in &flags.security_opt {
        if raw == "systempaths=unconfined" {
            host.masked_paths = Some(Vec::new());
            host.readonly_paths = Some(Vec::new());
            continue;
        }
        options.push(security_option(raw, around)?);
    }
    host.security_opt = Some(options).filter(|options| !options.is_empty());
    Ok(())
}

/// The modes that Docker's command line looks at; the engine looks at the others.
fn apply_namespaces(flags: &SecurityFlags, host: &mut HostConfig) -> Result<(), Failure> {
    let mode = |given: &Option<String>, allowed: &[&str], wrong: &str| {
        let mode = given.clone().unwrap_or_default();
        let of_container =
            mode.strip_prefix("container:").is_some_and(|container| !container.is_empty());
        if allowed.contains(&mode.as_str()) || (of_container && allowed.contains(&"container")) {
            Ok(mode)
        } else {
            Err(Failure::new(wrong))
        }
    };
    // `container` stands for `container:NAME` only.
    if flags.pid.as_deref() == Some("container") {
        return Err(Failure::new("--pid: invalid PID mode"));
    }
    host.pid_mode = mode(&flags.pid, &["", "host", "container"], "--pid: invalid PID mode")?;
    host.uts_mode = mode(&flags.uts, &["", "host"], "--uts: invalid UTS mode")?;
    host.userns_mode = mode(&flags.userns, &["", "host"], "--userns: invalid USER mode")?;
    host.cgroupns_mode =
        mode(&flags.cgroupns, &["", "host", "private"], "--cgroupns: invalid CGROUP mode")?;
    host.ipc_mode = flags.ipc.clone().unwrap_or_default();
    host.isolation = flags.isolation.clone().unwrap_or_default();
    Ok(())
}

fn sysctl(raw: &str) -> Result<(String, String), ParseError> {
    let pair = raw.split_once('=').filter(|(name, _)| {
        SYSCTLS.contains(name) || name.starts_with("net.") || name.starts_with("fs.mqueue.")
    });
    let (name, value) =
        pair.ok_or_else(|| ParseError::new(format!("sysctl '{raw}' is not allowed")))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// One option as the engine gets it: a seccomp profile's file is the caller's, so its text is handed on.
fn security_option(raw: &str, around: &Surroundings<'_>) -> Result<String, Failure> {
    let pair = raw.split_once('=').or_else(|| raw.split_once(':'));
    match pair.filter(|(_, value)| !value.is_empty()) {
        Some(("seccomp", profile)) if !matches!(profile, "unconfined" | "builtin") => {
            Ok(format!("seccomp={}", seccomp_profile(profile, around)?))
        }
        None if raw.split(['=', ':']).next() != Some("no-new-privileges") => {
            Err(Failure::new(format!("Invalid --security-opt: \"{raw}\"")))
        }
        _ => Ok(raw.to_owned()),
    }
}

fn seccomp_profile(path: &str, around: &Surroundings<'_>) -> Result<String, Failure> {
    let text = (around.read)(Path::new(path))
        .map_err(|why| Failure::new(format!("opening seccomp profile ({path}) failed: {why}")))?;
    let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("compacting json for seccomp profile ({path}) failed: {error}"))
    })?;
    Ok(profile.to_string())
}

/// Capability names in upper case with `CAP_`, sorted, each once; `ALL` stays `ALL`.
fn capabilities(names: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        names
            .iter()
            .map(|name| name.trim().to_ascii_uppercase())
            .map(|name| {
                if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
            })
            .collect();
    names.sort();
    names.dedup();
    names
}
