//! Writes limits into the control groups of a container that runs (`update`).
//!
//! Zero, empty and unset leave a limit as it is. Both runtimes make groups in the same places, so
//! this serves both. Source: Linux `Documentation/admin-guide/cgroup-v1/`, `cgroup-v2.rst`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use orlop_types::config::HostConfig;

use crate::cgroup::{ContainerCgroup, Hierarchies};
use crate::host::controller_root;

/// Microseconds that `--cpus` is measured in.
pub(crate) const CPU_PERIOD_US: i64 = 100_000;

/// Sets what `wanted` says.
///
/// # Errors
/// The kernel's answer with the name of the file; limits before it are set.
pub fn set(group: &ContainerCgroup, wanted: &HostConfig) -> io::Result<()> {
    match group.hierarchies() {
        Hierarchies::Unified(root) => set_unified(&root.join(group.path()), wanted),
        Hierarchies::Legacy(roots) => set_legacy(&Legacy { roots, path: group.path() }, wanted),
    }
}

fn write(path: &Path, value: impl fmt::Display) -> io::Result<()> {
    let value = format!("{value}");
    fs::write(path, &value).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("failed to write \"{value}\": write {}: {error}", path.display()),
        )
    })
}

/// Period and quota that the request comes to.
fn processor_time(wanted: &HostConfig) -> (i64, i64) {
    if wanted.nano_cpus > 0 {
        let quota = i128::from(wanted.nano_cpus) * i128::from(CPU_PERIOD_US) / 1_000_000_000;
        return (CPU_PERIOD_US, i64::try_from(quota).unwrap_or(i64::MAX));
    }
    (wanted.cpu_period, wanted.cpu_quota)
}

/// The groups of one container on v1.
struct Legacy<'a> {
    roots: &'a [PathBuf],
    path: &'a Path,
}

impl Legacy<'_> {
    fn directory(&self, controller: &str) -> io::Result<PathBuf> {
        let root = controller_root(self.roots, controller).ok_or_else(|| {
            let text = format!("the {controller} controller is not mounted");
            io::Error::new(io::ErrorKind::Unsupported, text)
        })?;
        Ok(root.join(self.path))
    }

    fn write(&self, controller: &str, file: &str, value: impl fmt::Display) -> io::Result<()> {
        write(&self.directory(controller)?.join(file), value)
    }
}

fn set_legacy(group: &Legacy<'_>, wanted: &HostConfig) -> io::Result<()> {
    for (controller, file, value) in [
        ("cpu", "cpu.shares", wanted.cpu_shares),
        ("cpu", "cpu.rt_period_us", wanted.cpu_realtime_period),
        ("cpu", "cpu.rt_runtime_us", wanted.cpu_realtime_runtime),
        ("memory", "memory.soft_limit_in_bytes", wanted.memory_reservation),
    ] {
        if value != 0 {
            group.write(controller, file, value)?;
        }
    }
    let (period, quota) = processor_time(wanted);
    if period != 0 {
        group.write("cpu", "cpu.cfs_period_us", period)?;
    }
    if quota != 0 {
        group.write("cpu", "cpu.cfs_quota_us", quota)?;
    }
    for (file, list) in [("cpuset.cpus", &wanted.cpuset_cpus), ("cpuset.mems", &wanted.cpuset_mems)]
    {
        if !list.is_empty() {
            group.write("cpuset", file, list)?;
        }
    }
    set_legacy_memory(group, wanted)?;
    if let Some(limit) = wanted.pids_limit {
        group.write("pids", "pids.max", pids(limit))?;
    }
    if wanted.blkio_weight != 0 {
        let directory = group.directory("blkio")?;
        let plain = directory.join("blkio.weight");
        let file = if plain.exists() { plain } else { directory.join("blkio.bfq.weight") };
        write(&file, wanted.blkio_weight)?;
    }
    Ok(())
}

/// The limit of memory may never be above that of memory and swap together, so the order depends on
/// whether they grow.
fn set_legacy_memory(group: &Legacy<'_>, wanted: &HostConfig) -> io::Result<()> {
    let (limit, both) = (wanted.memory, wanted.memory_swap);
    if limit == 0 && both == 0 {
        return Ok(());
    }
    let directory = group.directory("memory")?;
    let both_file = directory.join("memory.memsw.limit_in_bytes");
    let write_limit = || match limit {
        0 => Ok(()),
        limit => write(&directory.join("memory.limit_in_bytes"), limit),
    };
    let write_both = || match both {
        0 => Ok(()),
        // Swap is not counted here; Docker has warned about it.
        _ if !both_file.exists() => Ok(()),
        both => write(&both_file, both),
    };
    let present = fs::read_to_string(&both_file).ok();
    let present = present.and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(i64::MAX);
    if both < 0 || both > present {
        write_both()?;
        write_limit()
    } else {
        write_limit()?;
        write_both()
    }
}

fn pids(limit: i64) -> String {
    if limit > 0 { limit.to_string() } else { "max".to_owned() }
}

fn set_unified(group: &Path, wanted: &HostConfig) -> io::Result<()> {
    if wanted.cpu_shares != 0 {
        write(&group.join("cpu.weight"), weight_of_shares(wanted.cpu_shares))?;
    }
    let (period, quota) = processor_time(wanted);
    if period != 0 || quota != 0 {
        let text = fs::read_to_string(group.join("cpu.max"))?;
        let mut present = text.split_whitespace();
        let old_quota = present.next().unwrap_or("max").to_owned();
        let old_period = present.next().unwrap_or("100000").to_owned();
        let quota = match quota {
            0 => old_quota,
            quota if quota < 0 => "max".to_owned(),
            quota => quota.to_string(),
        };
        let period = if period == 0 { old_period } else { period.to_string() };
        write(&group.join("cpu.max"), format!("{quota} {period}"))?;
    }
    for (file, list) in [("cpuset.cpus", &wanted.cpuset_cpus), ("cpuset.mems", &wanted.cpuset_mems)]
    {
        if !list.is_empty() {
            write(&group.join(file), list)?;
        }
    }
    if wanted.memory != 0 {
        write(&group.join("memory.max"), wanted.memory)?;
    }
    if wanted.memory_swap < 0 {
        write(&group.join("memory.swap.max"), "max")?;
    } else if wanted.memory_swap > 0 && wanted.memory > 0 {
        // Here swap is counted alone.
        write(&group.join("memory.swap.max"), wanted.memory_swap - wanted.memory)?;
    }
    if wanted.memory_reservation != 0 {
        write(&group.join("memory.low"), wanted.memory_reservation)?;
    }
    if let Some(limit) = wanted.pids_limit {
        write(&group.join("pids.max"), pids(limit))?;
    }
    if wanted.blkio_weight != 0 {
        write(&group.join("io.weight"), format!("default {}", wanted.blkio_weight))?;
    }
    Ok(())
}

/// The runtimes' conversion: 2 … 262144 shares to a weight of 1 … 10000.
fn weight_of_shares(shares: i64) -> i64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn none() -> HostConfig {
        HostConfig::default()
    }

    #[test]
    fn limits_of_a_v1_group() {
        let root = tempfile::tempdir().unwrap();
        let roots: Vec<PathBuf> =
            ["cpu,cpuacct", "memory", "pids"].map(|name| root.path().join(name)).to_vec();
        for root in &roots {
            fs::create_dir_all(root.join("a/b")).unwrap();
        }
        let file = |name: &str| root.path().join(name);
        fs::write(file("memory/a/b/memory.memsw.limit_in_bytes"), "100\n").unwrap();
        let group = Legacy { roots: &roots, path: Path::new("a/b") };
        let wanted = HostConfig {
            memory: 200,
            memory_swap: 300,
            nano_cpus: 1_500_000_000,
            cpu_shares: 7,
            pids_limit: Some(-1),
            ..none()
        };
        set_legacy(&group, &wanted).unwrap();
        for (name, want) in [
            ("cpu,cpuacct/a/b/cpu.shares", "7"),
            ("cpu,cpuacct/a/b/cpu.cfs_period_us", "100000"),
            ("cpu,cpuacct/a/b/cpu.cfs_quota_us", "150000"),
            ("memory/a/b/memory.limit_in_bytes", "200"),
            ("memory/a/b/memory.memsw.limit_in_bytes", "300"),
            ("pids/a/b/pids.max", "max"),
        ] {
            assert_eq!(fs::read_to_string(file(name)).unwrap(), want, "{name}");
        }
        assert!(!file("memory/a/b/memory.soft_limit_in_bytes").exists());
        let error = set_legacy(&group, &HostConfig { cpuset_cpus: "0".into(), ..none() });
        assert_eq!(error.unwrap_err().to_string(), "the cpuset controller is not mounted");
    }

    #[test]
    fn limits_of_a_v2_group() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cpu.max"), "max 100000\n").unwrap();
        let wanted = HostConfig {
            cpu_quota: 5000,
            cpu_shares: 1024,
            memory: 200,
            memory_swap: 300,
            pids_limit: Some(5),
            blkio_weight: 10,
            ..none()
        };
        set_unified(root.path(), &wanted).unwrap();
        for (name, want) in [
            ("cpu.max", "5000 100000"),
            ("cpu.weight", "39"),
            ("memory.max", "200"),
            ("memory.swap.max", "100"),
            ("pids.max", "5"),
            ("io.weight", "default 10"),
        ] {
            assert_eq!(fs::read_to_string(root.path().join(name)).unwrap(), want, "{name}");
        }
    }
}
