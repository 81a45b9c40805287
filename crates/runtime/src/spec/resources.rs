//! Limits and devices of a container in the form of the runtime specification.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup,
    LinuxDeviceCgroupBuilder, LinuxDeviceType, LinuxMemory, LinuxPidsBuilder, LinuxResources,
    LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};
use orlop_types::config::{DeviceMapping, HostConfig, ThrottleDevice};

use super::{DevicePlaces, refused};
use crate::StartError;

/// Microseconds that `--cpus` is measured in.
const CPU_PERIOD_US: u64 = 100_000;

/// Devices that every container may use: type, major, minor (`None` is all), access.
const DEFAULT_DEVICES: [(LinuxDeviceType, Option<i64>, Option<i64>, &str); 11] = [
    (LinuxDeviceType::C, None, None, "m"),
    (LinuxDeviceType::B, None, None, "m"),
    (LinuxDeviceType::C, Some(1), Some(3), "rwm"), // null
    (LinuxDeviceType::C, Some(1), Some(5), "rwm"), // zero
    (LinuxDeviceType::C, Some(1), Some(7), "rwm"), // full
    (LinuxDeviceType::C, Some(1), Some(8), "rwm"), // random
    (LinuxDeviceType::C, Some(1), Some(9), "rwm"), // urandom
    (LinuxDeviceType::C, Some(5), Some(0), "rwm"), // tty
    (LinuxDeviceType::C, Some(5), Some(1), "rwm"), // console
    (LinuxDeviceType::C, Some(5), Some(2), "rwm"), // ptmx
    (LinuxDeviceType::C, Some(136), None, "rwm"),  // pts
];

/// Directories and files of the host's `/dev` that a privileged container does not get.
const NOT_SHARED: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", "lxc"];

/// The limits.
pub(super) fn resources(config: &HostConfig) -> Result<LinuxResources, StartError> {
    let mut resources = LinuxResources::default();
    resources
        .set_devices(Some(device_rules(config)?))
        .set_memory(memory(config))
        .set_cpu(cpu(config)?)
        .set_block_io(block_io(config)?);
    if let Some(limit) = config.pids_limit.filter(|&limit| limit > 0) {
        resources
            .set_pids(Some(LinuxPidsBuilder::default().limit(limit).build().map_err(refused)?));
    }
    Ok(resources)
}

fn memory(config: &HostConfig) -> Option<LinuxMemory> {
    let mut memory = LinuxMemory::default();
    if config.memory > 0 {
        // Docker allows as much swap as memory unless told otherwise.
        let both = if config.memory_swap == 0 {
            config.memory.saturating_mul(2)
        } else {
            config.memory_swap
        };
        memory.set_limit(Some(config.memory)).set_swap(swap_is_accounted().then_some(both));
    }
    if config.memory_reservation > 0 {
        memory.set_reservation(Some(config.memory_reservation));
    }
    memory.set_swappiness(config.memory_swappiness.and_then(|value| u64::try_from(value).ok()));
    if config.oom_kill_disable == Some(true) {
        memory.set_disable_oom_killer(Some(true));
    }
    (memory != LinuxMemory::default()).then_some(memory)
}

/// Whether the kernel counts swap; asking for a limit where it does not fails the start.
fn swap_is_accounted() -> bool {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    !v1.exists() || v1.join("memory.memsw.limit_in_bytes").exists()
}

fn cpu(config: &HostConfig) -> Result<Option<LinuxCpu>, StartError> {
    // Without this, the kernel would take the nearest number that it can have.
    match config.cpu_shares {
        1 => return Err(refused("the minimum allowed cpu-shares is 2")),
        262_145.. => return Err(refused("the maximum allowed cpu-shares is 262144")),
        _ => {}
    }
    let mut cpu = LinuxCpu::default();
    let positive = |value: i64| u64::try_from(value).ok().filter(|&value| value > 0);
    cpu.set_shares(positive(config.cpu_shares))
        .set_realtime_period(positive(config.cpu_realtime_period))
        .set_realtime_runtime(Some(config.cpu_realtime_runtime).filter(|&time| time != 0));
    if config.nano_cpus > 0 {
        let quota = i128::from(config.nano_cpus) * i128::from(CPU_PERIOD_US) / 1_000_000_000;
        cpu.set_period(Some(CPU_PERIOD_US)).set_quota(i64::try_from(quota).ok());
    }
    if config.cpu_period > 0 {
        cpu.set_period(positive(config.cpu_period));
    }
    if config.cpu_quota != 0 {
        cpu.set_quota(Some(config.cpu_quota));
    }
    let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    cpu.set_cpus(named(&config.cpuset_cpus)).set_mems(named(&config.cpuset_mems));
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

/// Weights and limits of block devices.
fn block_io(config: &HostConfig) -> Result<Option<LinuxBlockIo>, StartError> {
    let mut limits = LinuxBlockIo::default();
    if config.blkio_weight > 0 {
        limits.set_weight(Some(config.blkio_weight));
    }
    let mut weights = Vec::new();
    for device in config.blkio_weight_device.iter().flatten() {
        let (major, minor) = device_number(&device.path)?;
        let weight = LinuxWeightDeviceBuilder::default().major(major).minor(minor);
        weights.push(weight.weight(device.weight).build().map_err(refused)?);
    }
    let throttle = |devices: &Option<Vec<ThrottleDevice>>| {
        let mut limits = Vec::new();
        for device in devices.iter().flatten() {
            let (major, minor) = device_number(&device.path)?;
            let limit = LinuxThrottleDeviceBuilder::default().major(major).minor(minor);
            limits.push(limit.rate(device.rate).build().map_err(refused)?);
        }
        Ok::<_, StartError>(Some(limits).filter(|limits| !limits.is_empty()))
    };
    limits
        .set_weight_device(Some(weights).filter(|weights| !weights.is_empty()))
        .set_throttle_read_bps_device(throttle(&config.blkio_device_read_bps)?)
        .set_throttle_write_bps_device(throttle(&config.blkio_device_write_bps)?)
        .set_throttle_read_iops_device(throttle(&config.blkio_device_read_iops)?)
        .set_throttle_write_iops_device(throttle(&config.blkio_device_write_iops)?);
    Ok((limits != LinuxBlockIo::default()).then_some(limits))
}

fn device_number(path: &str) -> Result<(i64, i64), StartError> {
    let status = fs::metadata(path).map_err(|error| refused(format!("stat {path}: {error}")))?;
    let number = status.rdev();
    Ok((i64::from(rustix::fs::major(number)), i64::from(rustix::fs::minor(number))))
}

/// Which devices may be used: none but the defaults and those that are asked for.
fn device_rules(config: &HostConfig) -> Result<Vec<LinuxDeviceCgroup>, StartError> {
    if config.privileged {
        return Ok(vec![device_rule(true, LinuxDeviceType::A, None, None, "rwm")?]);
    }
    let mut rules = vec![device_rule(false, LinuxDeviceType::A, None, None, "rwm")?];
    for (kind, major, minor, access) in DEFAULT_DEVICES {
        rules.push(device_rule(true, kind, major, minor, access)?);
    }
    for mapping in config.devices.iter().flatten() {
        let access =
            if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
        for device in mapped_devices(mapping)? {
            rules.push(device_rule(
                true,
                device.typ(),
                Some(device.major()),
                Some(device.minor()),
                access,
            )?);
        }
    }
    for rule in config.device_cgroup_rules.iter().flatten() {
        rules.push(parse_rule(rule)?);
    }
    Ok(rules)
}

/// `c 1:3 rwm`, with `*` for all numbers.
fn parse_rule(rule: &str) -> Result<LinuxDeviceCgroup, StartError> {
    let wrong = || refused(format!("invalid device cgroup rule format: '{rule}'"));
    let words: Vec<&str> = rule.split(' ').collect();
    let [kind, numbers, access] = words.as_slice() else { return Err(wrong()) };
    let kind = match *kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<i64>().map(Some).map_err(|_| wrong()),
    };
    device_rule(true, kind, number(major)?, number(minor)?, access)
}

fn device_rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup, StartError> {
    let mut builder = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access);
    if let Some(major) = major {
        builder = builder.major(major);
    }
    if let Some(minor) = minor {
        builder = builder.minor(minor);
    }
    builder.build().map_err(refused)
}

/// Device nodes that are made in the container, besides those that every container has.
pub(super) fn devices(
    config: &HostConfig,
    places: DevicePlaces,
) -> Result<Vec<LinuxDevice>, StartError> {
    let mut devices = Vec::new();
    if config.privileged {
        collect_devices(Path::new("/dev"), Path::new("/dev"), &mut devices)?;
    }
    for mapping in config.devices.iter().flatten() {
        // It is there already, among all others.
        let is_there = config.privileged && mapping.path_on_host == mapping.path_in_container;
        if !is_there && !is_bound(mapping, places) {
            devices.extend(mapped_devices(mapping)?);
        }
    }
    // Of two devices with one path the last one counts.
    let mut kept: Vec<LinuxDevice> = Vec::with_capacity(devices.len());
    for device in devices {
        kept.retain(|earlier| earlier.path() != device.path());
        kept.push(device);
    }
    Ok(kept)
}

/// Whether a device is bound from the host because the runtime cannot make it in its place.
fn is_bound(mapping: &DeviceMapping, places: DevicePlaces) -> bool {
    places == DevicePlaces::BelowDev && !super::clean(place_of(mapping)).starts_with("/dev")
}

/// Where a device is in the container.
fn place_of(mapping: &DeviceMapping) -> &Path {
    Path::new(if mapping.path_in_container.is_empty() {
        &mapping.path_on_host
    } else {
        &mapping.path_in_container
    })
}

/// Devices that are bound: place in the container and path on the host.
pub(super) fn bound_devices(
    config: &HostConfig,
    places: DevicePlaces,
) -> Result<Vec<(PathBuf, PathBuf)>, StartError> {
    let mut bound = Vec::new();
    for mapping in config.devices.iter().flatten().filter(|mapping| is_bound(mapping, places)) {
        let is_device = mapped_devices(mapping)?.len() == 1;
        if is_device {
            bound.push((place_of(mapping).to_owned(), PathBuf::from(&mapping.path_on_host)));
        }
    }
    Ok(bound)
}

/// The nodes of one `--device`: a node, or every node below a directory.
fn mapped_devices(mapping: &DeviceMapping) -> Result<Vec<LinuxDevice>, StartError> {
    let host = Path::new(&mapping.path_on_host);
    let container = if mapping.path_in_container.is_empty() {
        host
    } else {
        Path::new(&mapping.path_in_container)
    };
    let unusable = |reason: &dyn std::fmt::Display| {
        refused(format!(
            "error gathering device information while adding custom device \"{}\": {reason}",
            host.display()
        ))
    };
    let resolved = fs::canonicalize(host).map_err(|error| unusable(&error))?;
    let mut devices = Vec::new();
    if resolved.is_dir() {
        collect_devices(&resolved, container, &mut devices)?;
    } else {
        devices.push(
            device(&resolved, container.to_owned())?
                .ok_or_else(|| unusable(&"not a device node"))?,
        );
    }
    Ok(devices)
}

/// Refuses requests for devices by what they can do: there is no driver that would find them.
pub(super) fn check_requests(config: &HostConfig) -> Result<(), StartError> {
    let Some(request) = config.device_requests.iter().flatten().next() else { return Ok(()) };
    if request.driver == "cdi" {
        let names = request.device_ids.iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        return Err(refused(format!(
            "CDI device injection failed: unresolvable CDI devices {names}"
        )));
    }
    let sets: Vec<String> =
        request.capabilities.iter().flatten().map(|set| format!("[{}]", set.join(" "))).collect();
    Err(refused(format!(
        "could not select device driver \"{}\" with capabilities: [{}]",
        request.driver,
        sets.join(" ")
    )))
}

/// Adds every device node below a directory of the host.
fn collect_devices(
    host: &Path,
    container: &Path,
    devices: &mut Vec<LinuxDevice>,
) -> Result<(), StartError> {
    let entries = fs::read_dir(host)
        .map_err(|error| refused(format!("cannot list `{}`: {error}", host.display())))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if host == Path::new("/dev") && NOT_SHARED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            collect_devices(&entry.path(), &container.join(&name), devices)?;
        } else if let Some(found) = device(&entry.path(), container.join(&name))? {
            devices.push(found);
        }
    }
    Ok(())
}

/// The node at a path of the host, unless that is something else or gone.
fn device(host: &Path, container: PathBuf) -> Result<Option<LinuxDevice>, StartError> {
    let Ok(metadata) = fs::symlink_metadata(host) else { return Ok(None) };
    let kind = if metadata.file_type().is_char_device() {
        LinuxDeviceType::C
    } else if metadata.file_type().is_block_device() {
        LinuxDeviceType::B
    } else {
        return Ok(None);
    };
    let device = LinuxDeviceBuilder::default()
        .path(container)
        .typ(kind)
        .major(i64::from(rustix::fs::major(metadata.rdev())))
        .minor(i64::from(rustix::fs::minor(metadata.rdev())))
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build()
        .map_err(refused)?;
    Ok(Some(device))
}
