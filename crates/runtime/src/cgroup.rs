//! A container's control groups: where they are, who is in them, and how they end.
//!
//! `plan.cgroup` names one directory below the root of each hierarchy. On cgroup v2 that is one
//! directory; on v1 (and hybrid) one per mounted controller. The runtimes make the groups; this is
//! for limits they get wrong, for `pause`, and for cleaning up after them, also when the monitor died.
//!
//! Source: Linux `Documentation/admin-guide/cgroup-v1/`, `cgroup-v2.rst`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// How long dying processes may keep a group busy before removing it is given up.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many attempts to freeze pass before everything is let go for a moment.
const THAW_EVERY: u32 = 10;
/// Pause between two attempts: a killed process is gone within a scheduler tick or two.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// Whether this machine has the one unified hierarchy (cgroup v2) only.
#[must_use]
pub fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Hierarchies of a v1 machine that hold no controller of ours, but groups of external runtimes.
const FOREIGN_HIERARCHIES: [&str; 2] = ["systemd", "unified"];

/// The mounted hierarchies of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hierarchies {
    /// One unified hierarchy.
    Unified(PathBuf),
    /// Mount points of the v1 controllers, without the named ones (`name=systemd`).
    Legacy(Vec<PathBuf>),
}

impl Hierarchies {
    /// Looks at this machine, once: a list of containers asks for each of them.
    pub fn detect() -> io::Result<Self> {
        static FOUND: OnceLock<Hierarchies> = OnceLock::new();
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found = Self::from_mountinfo(&fs::read_to_string("/proc/self/mountinfo")?);
        Ok(FOUND.get_or_init(|| found).clone())
    }

    /// Reads the text of `/proc/<pid>/mountinfo`.
    fn from_mountinfo(text: &str) -> Self {
        let mut legacy = Vec::new();
        for line in text.lines() {
            let Some((front, back)) = line.split_once(" - ") else { continue };
            let Some(target) = front.split(' ').nth(4) else { continue };
            let mut back = back.split(' ');
            let (kind, options) = (back.next().unwrap_or(""), back.nth(1).unwrap_or(""));
            let target = Path::new(target);
            match kind {
                "cgroup2" if target == Path::new(ROOT) => return Self::Unified(target.to_owned()),
                "cgroup"
                    if target.parent() == Some(Path::new(ROOT))
                        && !options.split(',').any(|option| option.starts_with("name=")) =>
                {
                    legacy.push(target.to_owned());
                }
                _ => {}
            }
        }
        legacy.sort();
        legacy.dedup();
        Self::Legacy(legacy)
    }
}

/// The control groups of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerCgroup {
    hierarchies: Hierarchies,
    path: PathBuf,
}

impl ContainerCgroup {
    /// The groups that `plan.cgroup` names on this machine; they need not exist.
    pub fn new(cgroup: &str) -> io::Result<Self> {
        Self::with_hierarchies(Hierarchies::detect()?, cgroup)
    }

    pub(crate) fn with_hierarchies(hierarchies: Hierarchies, cgroup: &str) -> io::Result<Self> {
        let path = PathBuf::from(cgroup.trim_start_matches('/'));
        let plain = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if path.as_os_str().is_empty() || !plain {
            let text = format!("control group `{cgroup}` is not a path below the root");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { hierarchies, path })
    }

    /// The hierarchies of this machine.
    pub(crate) fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// Its path below the root of each hierarchy.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its directories, existing or not: one on v2, one for each controller on v1.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        match &self.hierarchies {
            Hierarchies::Unified(root) => vec![root.join(&self.path)],
            Hierarchies::Legacy(roots) => roots.iter().map(|root| root.join(&self.path)).collect(),
        }
    }

    /// Mount points of the v1 controllers with the container's directory in each; none on v2.
    pub(crate) fn legacy_controllers(&self) -> Vec<(PathBuf, PathBuf)> {
        match &self.hierarchies {
            Hierarchies::Unified(_) => Vec::new(),
            Hierarchies::Legacy(roots) => {
                roots.iter().map(|root| (root.clone(), root.join(&self.path))).collect()
            }
        }
    }

    /// Processes in the container's groups, each once.
    pub fn pids(&self) -> io::Result<Vec<i32>> {
        let mut pids = Vec::new();
        for directory in self.directories() {
            collect_pids(&directory, &mut pids)?;
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Kills every process with `SIGKILL`; does not wait for their end.
    pub fn kill_all(&self) -> io::Result<()> {
        if let Hierarchies::Unified(root) = &self.hierarchies {
            match fs::write(root.join(&self.path).join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                // Before Linux 5.14 there is no such file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for pid in self.pids()? {
            let Some(pid) = Pid::from_raw(pid) else { continue };
            match rustix::process::kill_process(pid, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Stops every process until [`Self::thaw`].
    pub fn freeze(&self) -> io::Result<()> {
        self.set_frozen("1", "FROZEN")
    }

    /// Whether every process is stopped; a group that does not exist is not.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let (file, expected) = match &self.hierarchies {
            Hierarchies::Unified(root) => (root.join(&self.path).join("cgroup.events"), "frozen 1"),
            Hierarchies::Legacy(roots) => {
                let Some(root) = roots.iter().find(|root| root.ends_with("freezer")) else {
                    return false;
                };
                (root.join(&self.path).join("freezer.state"), "FROZEN")
            }
        };
        fs::read_to_string(file).is_ok_and(|text| text.lines().any(|line| line.trim() == expected))
    }

    /// Lets frozen processes go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.set_frozen("0", "THAWED")
    }

    /// Writes the state and waits until the kernel reports it.
    fn set_frozen(&self, unified: &str, legacy: &str) -> io::Result<()> {
        let (control, wanted, report, expected) = match &self.hierarchies {
            Hierarchies::Unified(root) => {
                let directory = root.join(&self.path);
                (
                    directory.join("cgroup.freeze"),
                    unified,
                    directory.join("cgroup.events"),
                    format!("frozen {unified}"),
                )
            }
            Hierarchies::Legacy(roots) => {
                let root = roots.iter().find(|root| root.ends_with("freezer"));
                let root = root.ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::Unsupported,
                        "the freezer controller is not mounted",
                    )
                })?;
                let state = root.join(&self.path).join("freezer.state");
                (state.clone(), legacy, state, legacy.to_owned())
            }
        };
        let end = Instant::now() + REMOVE_TIMEOUT;
        let is_legacy = matches!(self.hierarchies, Hierarchies::Legacy(_));
        for attempt in 1_u32.. {
            // v1 wants the write repeated: a process that is being made escapes the first round.
            fs::write(&control, wanted)?;
            if fs::read_to_string(&report)?.lines().any(|line| line.trim() == expected) {
                return Ok(());
            }
            let is_over = Instant::now() >= end;
            // v1 freezes threads one by one: one that executes a program waits for the others of its
            // process, which are frozen already. Only letting all go on for a moment helps; and a
            // group that stays half frozen could not even be killed.
            if is_legacy && (is_over || attempt.is_multiple_of(THAW_EVERY)) {
                fs::write(&control, "THAWED")?;
            }
            if is_over {
                break;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
        let text = "the control group does not change its state";
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// Limits the number of processes; `None` takes the limit away.
    pub fn set_pids_limit(&self, limit: Option<u64>) -> io::Result<()> {
        let directory = match &self.hierarchies {
            Hierarchies::Unified(root) => root.join(&self.path),
            Hierarchies::Legacy(roots) => {
                let root = roots.iter().find(|root| root.ends_with("pids"));
                root.ok_or_else(|| {
                    io::Error::new(io::ErrorKind::Unsupported, "the pids controller is not mounted")
                })?
                .join(&self.path)
            }
        };
        fs::write(
            directory.join("pids.max"),
            limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string()),
        )
    }

    /// Keeps the out-of-memory killer away; only v1 knows that.
    pub(crate) fn disable_oom_killer(&self) -> io::Result<()> {
        match &self.hierarchies {
            Hierarchies::Unified(_) => Ok(()),
            Hierarchies::Legacy(roots) => {
                let root = crate::host::controller_root(roots, "memory").ok_or_else(|| {
                    let text = "the memory controller is not mounted";
                    io::Error::new(io::ErrorKind::Unsupported, text)
                })?;
                fs::write(root.join(&self.path).join("memory.oom_control"), "1")
            }
        }
    }

    /// Kills what is left and removes the groups; succeeds when there are none.
    ///
    /// The parent (`/orlop-…`) stays: another container may be about to use it.
    pub fn remove(&self) -> io::Result<()> {
        let mut first_error = None;
        let directories: Vec<PathBuf> =
            self.directories().into_iter().filter(|directory| directory.exists()).collect();
        let end = Instant::now() + REMOVE_TIMEOUT;
        for directory in directories {
            while let Err(error) = remove_tree(&directory) {
                if error.raw_os_error() != Some(libc::EBUSY) || Instant::now() >= end {
                    first_error = first_error.or(Some(error));
                    break;
                }
                // A frozen process dies only after it is thawed.
                if let Err(error) = self.thaw() {
                    tracing::debug!(%error, "thawing before removal failed");
                }
                self.kill_all()?;
                std::thread::sleep(RETRY_PAUSE);
            }
        }
        if matches!(self.hierarchies, Hierarchies::Legacy(_)) {
            self.remove_from_foreign();
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Removes the empty groups that runc makes in hierarchies without controllers.
    fn remove_from_foreign(&self) {
        for name in FOREIGN_HIERARCHIES {
            let directory = Path::new(ROOT).join(name).join(&self.path);
            if directory.exists()
                && let Err(error) = remove_tree(&directory)
            {
                tracing::debug!(directory = %directory.display(), %error, "a group stays");
            }
        }
    }
}

/// Adds the processes of a group and of those below it; a missing group has none.
fn collect_pids(directory: &Path, pids: &mut Vec<i32>) -> io::Result<()> {
    let text = match fs::read_to_string(directory.join("cgroup.procs")) {
        Ok(text) => text,
        // ENODEV: the group was removed between opening and reading.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ENODEV) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for child in children(directory)? {
        collect_pids(&child, pids)?;
    }
    Ok(())
}

/// Removes a group after those below it (a container may have made some).
fn remove_tree(directory: &Path) -> io::Result<()> {
    for child in children(directory)? {
        remove_tree(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        31 30 0:27 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
        32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        33 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        35 30 0:27 /x /elsewhere/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn hybrid_and_unified_machines() {
        let hybrid = Hierarchies::from_mountinfo(HYBRID);
        let expected =
            ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"].map(PathBuf::from).to_vec();
        assert_eq!(hybrid, Hierarchies::Legacy(expected));
        let unified = Hierarchies::from_mountinfo(
            "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert_eq!(unified, Hierarchies::Unified(PathBuf::from(ROOT)));
        let group = ContainerCgroup::with_hierarchies(hybrid, "/orlop-1/abc").unwrap();
        let expected =
            ["/sys/fs/cgroup/cpu,cpuacct/orlop-1/abc", "/sys/fs/cgroup/memory/orlop-1/abc"]
                .map(PathBuf::from);
        assert_eq!(group.directories(), expected);
    }

    #[test]
    fn only_paths_below_the_root() {
        for bad in ["", "/", "/../x", "/a/../../b"] {
            let got = ContainerCgroup::with_hierarchies(Hierarchies::Legacy(Vec::new()), bad);
            assert_eq!(got.unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn a_group_that_does_not_exist_is_empty_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let hierarchies = Hierarchies::Unified(root.path().to_owned());
        let group = ContainerCgroup::with_hierarchies(hierarchies, "/a/b").unwrap();
        assert_eq!(group.pids().unwrap(), Vec::<i32>::new());
        group.remove().unwrap();
        group.kill_all().unwrap();
    }

    #[test]
    fn processes_of_groups_below_are_found() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("a/b/inner");
        fs::create_dir_all(&below).unwrap();
        fs::write(root.path().join("a/b/cgroup.procs"), "12\n7\n").unwrap();
        fs::write(below.join("cgroup.procs"), "30\n7\n").unwrap();
        let group =
            ContainerCgroup::with_hierarchies(Hierarchies::Unified(root.path().to_owned()), "/a/b")
                .unwrap();
        assert_eq!(group.pids().unwrap(), [7, 12, 30]);
    }
}
