//! What a container may ask for: Docker's checks of `Config` and `HostConfig`, its warnings, and the
//! settings that it fills in.
//!
//! Checks come in Docker's order, because only the first thing that is wrong is told. What this
//! machine cannot do is taken out with a warning, as Docker does it.

use orlop_runtime::capabilities::{CapabilityRequest, CapabilitySet};
use orlop_runtime::host::HostResources;
use orlop_types::ParseError;
use orlop_types::config::{Config, HealthConfig, HostConfig, RestartPolicy};

/// Least memory that a container can start with.
const MEMORY_MIN_BYTES: i64 = 6 << 20;
/// Longest host name of Linux (`HOST_NAME_MAX`).
const HOSTNAME_MAX_BYTES: usize = 64;
/// Shortest time in a health check, in nanoseconds.
const HEALTH_MIN_NS: i64 = 1_000_000;

type Checked = Result<(), ParseError>;

fn refuse(text: impl Into<String>) -> Checked {
    Err(ParseError::new(text))
}

/// Whether a container is made or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    Create,
    Update,
}

/// Checks what belongs to the image as well as to the container.
pub(crate) fn config(config: &Config) -> Checked {
    let directory = &config.working_dir;
    if !directory.is_empty() && !directory.starts_with('/') {
        return refuse(format!(
            "the working directory '{directory}' is invalid, it needs to be an absolute path"
        ));
    }
    if let Some(signal) = &config.stop_signal {
        signal.parse::<orlop_types::signal::Signal>()?;
    }
    for variable in config.env.iter().flatten() {
        if variable.is_empty() || variable.starts_with('=') {
            return refuse(format!("invalid environment variable: {variable}"));
        }
    }
    config.healthcheck.as_ref().map_or(Ok(()), health)
}

fn health(health: &HealthConfig) -> Checked {
    for (name, value) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if value != 0 && value < HEALTH_MIN_NS {
            return refuse(format!("{name} in Healthcheck cannot be less than 1ms"));
        }
    }
    if health.retries < 0 {
        return refuse("Retries in Healthcheck cannot be negative");
    }
    Ok(())
}

/// Checks what a container gets of the host, and adapts it to this machine; gives warnings.
pub(crate) fn host_config(
    host: &mut HostConfig,
    machine: &HostResources,
    occasion: Occasion,
) -> Result<Vec<String>, ParseError> {
    let mut warnings = Vec::new();
    if host.auto_remove && !is_no_restart(&host.restart_policy) {
        refuse("can't create 'AutoRemove' container with restart policy")?;
    }
    for extra in host.extra_hosts.iter().flatten() {
        extra_host(extra)?;
    }
    restart_policy(&host.restart_policy)?;
    let capabilities = CapabilityRequest {
        privileged: false,
        add: host.cap_add.as_deref().unwrap_or_default(),
        drop: host.cap_drop.as_deref().unwrap_or_default(),
    };
    CapabilitySet::requested(capabilities).map_err(|error| ParseError::new(error.to_string()))?;
    if !matches!(host.isolation.as_str(), "" | "default") {
        refuse(format!("invalid isolation ({}): linux only supports 'default'", host.isolation))?;
    }
    if host.annotations.iter().flatten().any(|(name, _)| name.is_empty()) {
        refuse("invalid Annotations: the empty string is not permitted as an annotation key")?;
    }
    resources(host, machine, occasion, &mut warnings)?;
    modes(host)?;
    if host.shm_size < 0 {
        refuse("SHM size can not be less than 0")?;
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        refuse(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ))?;
    }
    if host.network_mode == "host" && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "host" | "private") {
        refuse(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode))?;
    }
    for path in host.tmpfs.iter().flatten().map(|(path, _)| path) {
        tmpfs_target(path)?;
    }
    Ok(warnings)
}

/// Checks what only a new container has: names and namespaces against each other.
pub(crate) fn together(config: &Config, host: &HostConfig) -> Checked {
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return refuse("conflicting options: hostname and the UTS mode");
    }
    let container_network = host.network_mode.starts_with("container:");
    if container_network && !config.hostname.is_empty() {
        return refuse("conflicting options: hostname and the network mode");
    }
    if config.hostname.len() > HOSTNAME_MAX_BYTES {
        return refuse(format!(
            "hostname \"{}\" is too long (maximum {HOSTNAME_MAX_BYTES} bytes)",
            config.hostname
        ));
    }
    Ok(())
}

/// Docker's rules for `--restart`.
pub(crate) fn restart_policy(policy: &RestartPolicy) -> Checked {
    let wrong = |why: &str| refuse(format!("invalid restart policy: {why}"));
    match policy.name.as_str() {
        "always" | "no" | "unless-stopped" | "" if policy.maximum_retry_count < 0 => {
            wrong("maximum retry count can only be used with 'on-failure' and cannot be negative")
        }
        "always" | "no" | "unless-stopped" if policy.maximum_retry_count > 0 => {
            wrong("maximum retry count can only be used with 'on-failure'")
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            wrong("maximum retry count cannot be negative")
        }
        "" | "always" | "no" | "unless-stopped" | "on-failure" => Ok(()),
        other => wrong(&format!(
            "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

pub(crate) fn is_no_restart(policy: &RestartPolicy) -> bool {
    matches!(policy.name.as_str(), "" | "no")
}

fn extra_host(raw: &str) -> Checked {
    let pair = raw.split_once(':').filter(|(name, _)| !name.is_empty());
    let Some((_, address)) = pair else {
        return refuse(format!("bad format for add-host: \"{raw}\""));
    };
    if address != crate::files::HOST_GATEWAY && address.parse::<std::net::IpAddr>().is_err() {
        return refuse(format!("invalid IP address in add-host: \"{address}\""));
    }
    Ok(())
}

fn tmpfs_target(path: &str) -> Checked {
    if !path.starts_with('/') {
        return refuse(format!("invalid mount path: '{path}' mount path must be absolute"));
    }
    if path.split('/').all(|part| matches!(part, "" | ".")) {
        return refuse("invalid specification: destination can't be '/'");
    }
    Ok(())
}

fn modes(host: &HostConfig) -> Checked {
    let of_container =
        |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    let ipc = host.ipc_mode.as_str();
    if !matches!(ipc, "" | "none" | "private" | "host" | "shareable") && !of_container(ipc) {
        return refuse(format!("invalid IPC mode: {ipc}"));
    }
    let pid = host.pid_mode.as_str();
    if !matches!(pid, "" | "host") && !of_container(pid) {
        return refuse(format!("invalid PID mode: {pid}"));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return refuse(format!("invalid UTS mode: {}", host.uts_mode));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return refuse(format!("invalid USER mode: {}", host.userns_mode));
    }
    Ok(())
}

fn resources(
    host: &mut HostConfig,
    machine: &HostResources,
    occasion: Occasion,
    warnings: &mut Vec<String>,
) -> Checked {
    memory(host, machine, occasion, warnings)?;
    if host.pids_limit.is_some() && !machine.pids_limit {
        if host.pids_limit.is_some_and(|limit| limit > 0) {
            warnings.push(discarded("PIDs limit capabilities", "PIDs limit discarded."));
        }
        host.pids_limit = None;
    }
    processors(host, machine, warnings)?;
    cpusets(host, machine, warnings)?;
    block_devices(host, machine, warnings)
}

fn discarded(what: &str, consequence: &str) -> String {
    format!("Your kernel does not support {what} or the cgroup is not mounted. {consequence}")
}

fn memory(
    host: &mut HostConfig,
    machine: &HostResources,
    occasion: Occasion,
    warnings: &mut Vec<String>,
) -> Checked {
    // What command lines send for "not given".
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    if host.memory != 0 && host.memory < MEMORY_MIN_BYTES {
        return refuse("Minimum memory limit allowed is 6MB");
    }
    if host.memory > 0 && !machine.memory_limit {
        warnings.push(discarded("memory limit capabilities", "Limitation discarded."));
        (host.memory, host.memory_swap) = (0, -1);
    }
    if host.memory > 0 && host.memory_swap != -1 && !machine.swap_limit {
        warnings.push(discarded("swap limit capabilities", "Memory limited without swap."));
        host.memory_swap = -1;
    }
    if host.memory > 0 && host.memory_swap > 0 && host.memory_swap < host.memory {
        return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if host.memory == 0 && host.memory_swap > 0 && occasion == Occasion::Create {
        return refuse(
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        );
    }
    if let Some(value) = host.memory_swappiness {
        if !machine.memory_swappiness {
            let lost = "Memory swappiness discarded.";
            warnings.push(discarded("memory swappiness capabilities", lost));
            host.memory_swappiness = None;
        } else if !(0..=100).contains(&value) {
            return refuse(format!(
                "Invalid value: {value}, valid memory swappiness range is 0-100"
            ));
        }
    }
    if host.memory_reservation > 0 && !machine.memory_reservation {
        warnings.push(discarded("memory soft limit capabilities", "Limitation discarded."));
        host.memory_reservation = 0;
    }
    if host.memory_reservation > 0 && host.memory_reservation < MEMORY_MIN_BYTES {
        return refuse("Minimum memory reservation allowed is 6MB");
    }
    if host.memory > 0 && host.memory_reservation > 0 && host.memory < host.memory_reservation {
        return refuse(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        );
    }
    if host.oom_kill_disable.is_some() && !machine.oom_kill_disable {
        if host.oom_kill_disable == Some(true) {
            let text = "Your kernel does not support OomKillDisable. OomKillDisable discarded.";
            warnings.push(text.to_owned());
        }
        host.oom_kill_disable = None;
    }
    if host.oom_kill_disable == Some(true) && host.memory == 0 {
        warnings.push(
            "OOM killer is disabled for the container, but no memory limit is set, this can result in the system \
             running out of resources."
                .to_owned(),
        );
    }
    Ok(())
}

fn processors(
    host: &mut HostConfig,
    machine: &HostResources,
    warnings: &mut Vec<String>,
) -> Checked {
    if host.nano_cpus > 0 && host.cpu_period > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if host.nano_cpus > 0 && host.cpu_quota > 0 {
        return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if host.nano_cpus > 0 && !machine.cpu_cfs {
        return refuse(
            "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
        );
    }
    let count = machine.processors;
    let all = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if !(0..=all).contains(&host.nano_cpus) {
        return refuse(format!(
            "range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        ));
    }
    if host.cpu_shares < 0 {
        return refuse(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            host.cpu_shares
        ));
    }
    if host.cpu_shares > 0 && !machine.cpu_shares {
        warnings.push(discarded("CPU shares", "Shares discarded."));
        host.cpu_shares = 0;
    }
    if (host.cpu_period != 0 || host.cpu_quota != 0) && !machine.cpu_cfs {
        let text = "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.";
        warnings.push(text.to_owned());
        (host.cpu_period, host.cpu_quota) = (0, 0);
    }
    if host.cpu_period != 0 && !(1000..=1_000_000).contains(&host.cpu_period) {
        return refuse(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if (1..1000).contains(&host.cpu_quota) {
        return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if host.windows.cpu_percent > 0 {
        warnings.push("linux does not support CPU percent. Percent discarded.".to_owned());
        host.windows.cpu_percent = 0;
    }
    Ok(())
}

fn cpusets(host: &mut HostConfig, machine: &HostResources, warnings: &mut Vec<String>) -> Checked {
    let asked = !host.cpuset_cpus.is_empty() || !host.cpuset_mems.is_empty();
    if asked && machine.cpuset.is_none() {
        warnings.push(discarded("cpuset", "Cpuset discarded."));
        host.cpuset_cpus.clear();
        host.cpuset_mems.clear();
    }
    let Some((processors, nodes)) = &machine.cpuset else { return Ok(()) };
    for (what, plural, wanted, available) in [
        ("cpus", "CPUs", &host.cpuset_cpus, processors),
        ("mems", "memory nodes", &host.cpuset_mems, nodes),
    ] {
        let list = number_list(wanted).map_err(|part| {
            ParseError::new(format!(
                "Invalid value {wanted} for cpuset {what}: invalid format: {part}"
            ))
        })?;
        let present = number_list(available).unwrap_or_default();
        if !list.iter().all(|range| contains(&present, range)) {
            return refuse(format!(
                "Requested {plural} are not available - requested {wanted}, available: {available}"
            ));
        }
    }
    Ok(())
}

type Ranges = Vec<std::ops::RangeInclusive<u32>>;

/// Reads `0-3,5`; the error is the part that is wrong.
fn number_list(text: &str) -> Result<Ranges, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.parse::<u32>(), last.parse::<u32>()) {
                (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
                _ => Err(part.to_owned()),
            }
        })
        .collect()
}

/// Whether one of the ranges, which are apart from each other, covers another one.
fn contains(ranges: &Ranges, wanted: &std::ops::RangeInclusive<u32>) -> bool {
    ranges.iter().any(|range| range.contains(wanted.start()) && range.contains(wanted.end()))
}

fn block_devices(
    host: &mut HostConfig,
    machine: &HostResources,
    warnings: &mut Vec<String>,
) -> Checked {
    if host.blkio_weight > 0 && !machine.blkio_weight {
        warnings.push(discarded("Block I/O weight", "Weight discarded."));
        host.blkio_weight = 0;
    }
    if host.blkio_weight > 0 && !(10..=1000).contains(&host.blkio_weight) {
        return refuse("Range of blkio weight is from 10 to 1000");
    }
    if host.windows.io_maximum_bandwidth != 0 || host.windows.io_maximum_iops != 0 {
        return refuse(
            "Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps",
        );
    }
    let is_some = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    if host.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty())
        && !machine.blkio_weight_device
    {
        warnings.push(discarded("Block I/O weight_device", "Weight-device discarded."));
        host.blkio_weight_device = Some(Vec::new());
    }
    if machine.blkio_throttle {
        return Ok(());
    }
    for (list, what, lost) in [
        (
            &mut host.blkio_device_read_bps,
            "BPS Block I/O read limit",
            "Block I/O BPS read limit discarded.",
        ),
        (
            &mut host.blkio_device_write_bps,
            "BPS Block I/O write limit",
            "Block I/O BPS write limit discarded.",
        ),
        (
            &mut host.blkio_device_read_iops,
            "IOPS Block read limit",
            "Block I/O IOPS read limit discarded.",
        ),
        (
            &mut host.blkio_device_write_iops,
            "IOPS Block write limit",
            "Block I/O IOPS write limit discarded.",
        ),
    ] {
        if is_some(list) {
            warnings.push(discarded(what, lost));
            *list = Some(Vec::new());
        }
    }
    Ok(())
}

/// Fills in what Docker fills in when nobody says otherwise.
pub(crate) fn adapt(host: &mut HostConfig, is_unified: bool) {
    if host.memory > 0 && host.memory_swap == 0 {
        // As much swap as memory.
        host.memory_swap = host.memory.saturating_mul(2);
    }
    if host.shm_size == 0 {
        host.shm_size = orlop_types::config::DEFAULT_SHM_SIZE_BYTES;
    }
    if host.ipc_mode.is_empty() {
        "private".clone_into(&mut host.ipc_mode);
    }
    if host.cgroupns_mode.is_empty() {
        // Docker's rule: with v1, a namespace of its own hides too little to be worth it.
        let mode = if is_unified { "private" } else { "host" };
        mode.clone_into(&mut host.cgroupns_mode);
    }
    if host.oom_kill_disable.is_none() && !is_unified {
        host.oom_kill_disable = Some(false);
    }
    if host.restart_policy.name.is_empty() {
        "no".clone_into(&mut host.restart_policy.name);
    }
    if host.log_config.kind.is_empty() {
        "json-file".clone_into(&mut host.log_config.kind);
    }
    if host.pids_limit.is_some_and(|limit| limit <= 0) {
        host.pids_limit = None;
    }
    if host.runtime.is_empty() {
        "builtin".clone_into(&mut host.runtime);
    }
    let defaults = HostConfig::default();
    if host.privileged && host.masked_paths == defaults.masked_paths {
        host.masked_paths = None;
    }
    if host.privileged && host.readonly_paths == defaults.readonly_paths {
        host.readonly_paths = None;
    }
    // Labels of SELinux do not mix within one namespace, and a privileged container has none.
    let shares = host.ipc_mode == "host" || host.pid_mode == "host" || host.privileged;
    let has_label = host.security_opt.iter().flatten().any(|option| option.starts_with("label"));
    if shares && !has_label {
        host.security_opt.get_or_insert_default().push("label=disable".to_owned());
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
