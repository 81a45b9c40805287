//! What this machine can limit: controllers, their features, processors and memory nodes.
//!
//! Docker takes out of a request, with a warning, what the kernel cannot do; this is where it is
//! known.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cgroup::Hierarchies;
use crate::error::Error;

/// What of Docker's limits this kernel has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostResources {
    /// Limit of memory.
    pub memory_limit: bool,
    /// Limit of memory and swap together.
    pub swap_limit: bool,
    /// Soft limit of memory.
    pub memory_reservation: bool,
    /// Swappiness of a group.
    pub memory_swappiness: bool,
    /// A group without the out-of-memory killer.
    pub oom_kill_disable: bool,
    /// Limit of processes.
    pub pids_limit: bool,
    /// Shares of processor time.
    pub cpu_shares: bool,
    /// Quota of processor time.
    pub cpu_cfs: bool,
    /// Processors and memory nodes that may be chosen from, as the kernel lists them.
    pub cpuset: Option<(String, String)>,
    /// Weight of block device time.
    pub blkio_weight: bool,
    /// The same for single devices.
    pub blkio_weight_device: bool,
    /// Limits of bytes and operations of devices.
    pub blkio_throttle: bool,
    /// Processors that this process may use.
    pub processors: usize,
}

impl HostResources {
    /// Looks at this machine.
    pub fn detect() -> Result<Self, Error> {
        let hierarchies = Hierarchies::detect()
            .map_err(Error::file("read", Path::new("/proc/self/mountinfo")))?;
        let mut found = match hierarchies {
            Hierarchies::Unified(root) => Self::unified(&root),
            Hierarchies::Legacy(roots) => Self::legacy(&roots),
        };
        found.processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(found)
    }

    fn unified(root: &Path) -> Self {
        let text = read(&root.join("cgroup.controllers")).unwrap_or_default();
        let has = |name: &str| text.split_whitespace().any(|controller| controller == name);
        let cpuset = has("cpuset").then(|| {
            let list = |name: &str| read(&root.join(name)).unwrap_or_default();
            (list("cpuset.cpus.effective"), list("cpuset.mems.effective"))
        });
        Self {
            memory_limit: has("memory"),
            swap_limit: has("memory") && Path::new("/proc/swaps").exists(),
            memory_reservation: has("memory"),
            memory_swappiness: false,
            oom_kill_disable: false,
            pids_limit: has("pids"),
            cpu_shares: has("cpu"),
            cpu_cfs: has("cpu"),
            cpuset,
            blkio_weight: has("io"),
            blkio_weight_device: has("io"),
            blkio_throttle: has("io"),
            processors: 0,
        }
    }

    fn legacy(roots: &[PathBuf]) -> Self {
        let file = |controller: &str, name: &str| {
            controller_root(roots, controller).map(|root| root.join(name))
        };
        let has =
            |controller: &str, name: &str| file(controller, name).is_some_and(|path| path.exists());
        let list = |name: &str| file("cpuset", name).and_then(|path| read(&path).ok());
        Self {
            memory_limit: has("memory", "memory.limit_in_bytes"),
            swap_limit: has("memory", "memory.memsw.limit_in_bytes"),
            memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
            memory_swappiness: has("memory", "memory.swappiness"),
            oom_kill_disable: has("memory", "memory.oom_control"),
            pids_limit: controller_root(roots, "pids").is_some(),
            cpu_shares: has("cpu", "cpu.shares"),
            cpu_cfs: has("cpu", "cpu.cfs_quota_us"),
            cpuset: list("cpuset.cpus").zip(list("cpuset.mems")),
            blkio_weight: has("blkio", "blkio.weight"),
            blkio_weight_device: has("blkio", "blkio.weight_device"),
            blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
            processors: 0,
        }
    }
}

/// The mount point of a v1 controller; several may share one (`cpu,cpuacct`).
pub(crate) fn controller_root<'a>(roots: &'a [PathBuf], controller: &str) -> Option<&'a Path> {
    let holds = |root: &&PathBuf| {
        root.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.split(',').any(|each| each == controller))
    };
    roots.iter().find(holds).map(PathBuf::as_path)
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_share_a_mount_are_found() {
        let roots = [PathBuf::from("/c/cpu,cpuacct"), PathBuf::from("/c/memory")];
        assert_eq!(controller_root(&roots, "cpu"), Some(Path::new("/c/cpu,cpuacct")));
        assert_eq!(controller_root(&roots, "cpuacct"), Some(Path::new("/c/cpu,cpuacct")));
        assert_eq!(controller_root(&roots, "cpuset"), None);
    }

    #[test]
    fn features_are_files() {
        let root = tempfile::tempdir().unwrap();
        let memory = root.path().join("memory");
        fs::create_dir(&memory).unwrap();
        fs::write(memory.join("memory.limit_in_bytes"), "").unwrap();
        let found = HostResources::legacy(&[memory]);
        assert_eq!(found, HostResources { memory_limit: true, ..HostResources::default() });

        let unified = root.path().join("unified");
        fs::create_dir(&unified).unwrap();
        fs::write(unified.join("cgroup.controllers"), "cpuset cpu pids\n").unwrap();
        fs::write(unified.join("cpuset.cpus.effective"), "0-3\n").unwrap();
        let found = HostResources::unified(&unified);
        assert!(found.cpu_shares && found.pids_limit && !found.memory_limit);
        assert_eq!(found.cpuset, Some(("0-3".to_owned(), String::new())));
    }
}
