//! Gets the kernel ready for moving a process into a container's control groups.
//!
//! The first such move after a pause waits for a grace period of the whole machine (measured:
//! 10–25 ms), because the lock that keeps processes from forking meanwhile is of the kind that is free
//! for readers and dear for writers; a move within the next grace period waits for nothing. So a
//! command that is about to start a container has the wait done in a thread of its own, while it
//! reads the database and starts the monitor, and keeps the kernel from falling back until the
//! container runs.
//!
//! What is written moves nothing: this process goes to the group that it is in.
//!
//! Source: Linux `kernel/cgroup/cgroup.c` (`cgroup_threadgroup_rwsem`), `kernel/rcu/sync.c`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use orlop_sys::process::SignalFd;

/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Highest number of a classic signal.
const LAST_SIGNAL: i32 = 31;
/// Pause between two moves: well below a grace period.
const PAUSE: Duration = Duration::from_millis(4);
/// A start that takes longer than this does not wait for the kernel's lock.
const LIMIT: Duration = Duration::from_millis(500);

/// The kernel is kept ready as long as this lives, and no longer than half a second.
#[derive(Debug)]
pub struct Expected {
    over: Arc<AtomicBool>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Begins the wait in the background. That it cannot be begun only costs the time.
///
/// Not for processes that change namespaces or fork without executing a program: it makes a thread.
#[must_use]
pub fn expect_migration() -> Expected {
    let expected = Expected { over: Arc::default() };
    let over = Arc::clone(&expected.over);
    let begin = || -> io::Result<()> {
        // The thread inherits the mask: signals go to the threads that care for them.
        let all: Vec<i32> = (1..=LAST_SIGNAL).collect();
        let _blocked = SignalFd::open(&all)?;
        std::thread::Builder::new().name("migration".to_owned()).spawn(move || {
            let end = Instant::now() + LIMIT;
            while stay() && !over.load(Ordering::Relaxed) && Instant::now() < end {
                std::thread::sleep(PAUSE);
            }
        })?;
        Ok(())
    };
    if let Err(error) = begin() {
        tracing::debug!(%error, "the first change of control groups is not prepared");
    }
    expected
}

/// Moves this process to where it is; tells whether it could.
fn stay() -> bool {
    // One hierarchy is enough: the lock is one for all.
    fs::read_to_string("/proc/self/cgroup")
        .is_ok_and(|groups| candidates(&groups).iter().any(|file| fs::write(file, "0").is_ok()))
}

/// The lists of processes that this process is on, by the text of `/proc/self/cgroup`.
fn candidates(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        // `/..`: the group lies outside of what this process sees.
        if controllers.starts_with("name=") || path.starts_with("/..") {
            continue;
        }
        let mounts: &[&str] =
            if controllers.is_empty() { &["", "unified"] } else { &[controllers] };
        for mount in mounts {
            let group = Path::new(ROOT).join(mount).join(path.trim_start_matches('/'));
            files.push(group.join("cgroup.procs"));
        }
    }
    files
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn own_groups_on_either_version() {
        let hybrid = "9:name=systemd:/\n4:cpu,cpuacct:/a/b\n1:pids:/../x\n0::/u\n";
        let expected = [
            "/sys/fs/cgroup/cpu,cpuacct/a/b/cgroup.procs",
            "/sys/fs/cgroup/u/cgroup.procs",
            "/sys/fs/cgroup/unified/u/cgroup.procs",
        ];
        assert_eq!(candidates(hybrid), expected.map(PathBuf::from));
        assert_eq!(candidates("broken\n"), Vec::<PathBuf>::new());
    }

    #[test]
    #[ignore = "root: control groups"]
    fn stays_where_it_is() {
        let before = fs::read_to_string("/proc/self/cgroup").unwrap();
        assert!(stay());
        assert_eq!(fs::read_to_string("/proc/self/cgroup").unwrap(), before);
    }
}
