//! What a test leaves, and what helps to understand why it failed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::note;

/// Lines of the host's mount table that mention `folder`.
pub(crate) fn host_mounts(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy().into_owned();
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

/// Processes that belong to the store below `folder`: they name it in their command line or
/// environment, have something of it mounted, or live in the control group of one of its containers.
pub(crate) fn processes(folder: &Path, containers: &BTreeSet<String>) -> Vec<(i32, String)> {
    let folder = folder.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if u32::try_from(pid) == Ok(std::process::id()) {
            continue;
        }
        let read = |name: &str| {
            let bytes = std::fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let words = read("cmdline");
        let cgroup = read("cgroup");
        let ours = words.contains(&folder)
            || containers.iter().any(|id| cgroup.contains(id.as_str()))
            || read("environ").contains(&folder)
            || read("mountinfo").contains(&folder);
        // A zombie has no command line and holds nothing; whoever is its parent will reap it.
        if ours && !words.is_empty() {
            found.push((pid, words.trim().to_owned()));
        }
    }
    found
}

/// Ids of the containers that a store has or had run state for.
pub(crate) fn containers(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for place in ["root/containers", "run/containers"] {
        for entry in std::fs::read_dir(folder.join(place)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() == 64 {
                found.insert(name);
            }
        }
    }
    found
}

/// Prints the logs of every monitor, newest problems last.
pub(crate) fn show_monitor_logs(folder: &Path) {
    for id in containers(folder) {
        let log: PathBuf = folder.join("run/containers").join(&id).join("monitor.log");
        match std::fs::read_to_string(&log) {
            Ok(text) if !text.is_empty() => note(&format!("monitor log of {id}:\n{text}")),
            _ => {}
        }
    }
}
