//! What tests may leave on a machine and must not: mounts, processes, loop devices, named network
//! namespaces, network links, control groups, firewall tables, test directories.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long the last monitors may take to end.
const SETTLE: Duration = Duration::from_secs(15);

/// How the names of a store's bridge, table and control groups begin.
const PREFIX: &str = "orl-";

/// What there is on the machine, one line each.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Looks at the machine.
    pub(crate) fn take() -> Self {
        let mut found = BTreeSet::new();
        mounts(&mut found);
        processes(&mut found);
        for (what, folder) in [("link", "/sys/class/net"), ("network namespace", "/run/netns")] {
            found.extend(names(Path::new(folder)).into_iter().map(|name| format!("{what} {name}")));
        }
        for name in names(Path::new("/sys/block")) {
            let backing = Path::new("/sys/block").join(&name).join("loop/backing_file");
            if let Ok(file) = std::fs::read_to_string(backing) {
                found.insert(format!("loop device {name} of {}", file.trim()));
            }
        }
        cgroups(Path::new("/sys/fs/cgroup"), 3, &mut found);
        for folder in [std::env::temp_dir(), "/var/tmp".into()] {
            let ours = names(&folder).into_iter().filter(|name| name.starts_with("orlop-test-"));
            found.extend(ours.map(|name| format!("directory {}", folder.join(name).display())));
        }
        if let Ok(output) = Command::new("nft").args(["list", "tables"]).output() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            found.extend(text.lines().map(|line| format!("firewall {line}")));
        }
        Self(found)
    }

    /// Fails when something is there that was not there before; waits for what is just ending.
    pub(crate) fn assert_nothing_new(&self) -> Result<()> {
        wait_until_empty(|| Self::take().0.difference(&self.0).cloned().collect())
    }
}

/// Fails when anything of ours is on the machine.
pub(crate) fn assert_none() -> Result<()> {
    wait_until_empty(|| {
        Snapshot::take()
            .0
            .into_iter()
            .filter(|line| line.contains("orlop") || line.contains(PREFIX))
            .collect()
    })
}

fn wait_until_empty(look: impl Fn() -> Vec<String>) -> Result<()> {
    let end = Instant::now() + SETTLE;
    loop {
        let left = look();
        if left.is_empty() {
            println!("nothing is left on this machine");
            return Ok(());
        }
        if Instant::now() >= end {
            for line in &left {
                println!("left behind: {line}");
            }
            bail!("{} things are left on this machine", left.len());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Mounts of our own namespace: where, and of what kind.
fn mounts(found: &mut BTreeSet<String>) {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in text.lines() {
        let target = line.split(' ').nth(4).unwrap_or_default();
        let kind =
            line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        found.insert(format!("mount {target} ({kind})"));
    }
}

/// Processes that are the binary itself, or that live in one of its control groups.
fn processes(found: &mut BTreeSet<String>) {
    for name in names(Path::new("/proc")) {
        let place = Path::new("/proc").join(&name);
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let program = std::fs::read_link(place.join("exe")).unwrap_or_default();
        let program = program.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        let cgroup = std::fs::read_to_string(place.join("cgroup")).unwrap_or_default();
        if program.ends_with("/orlop") || cgroup.contains(PREFIX) {
            let words = std::fs::read_to_string(place.join("cmdline")).unwrap_or_default();
            found.insert(format!("process {name} of orlop: {}", words.replace('\0', " ").trim()));
        }
    }
}

/// Control groups named after us, in every hierarchy.
fn cgroups(folder: &Path, depth: usize, found: &mut BTreeSet<String>) {
    for name in names(folder) {
        let place = folder.join(&name);
        if !place.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        if name.starts_with(PREFIX) {
            found.insert(format!("control group {}", place.display()));
        } else if depth > 0 {
            cgroups(&place, depth - 1, found);
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_the_root_mount_and_no_change_between_two_looks() {
        let first = Snapshot::take();
        assert!(first.0.iter().any(|line| line.starts_with("mount / (")), "{first:?}");
        assert!(first.0.contains("link lo"));
    }
}
