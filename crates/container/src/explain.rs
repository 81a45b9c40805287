//! Why a container sees what it sees: `explain`.
//!
//! Without a path: every mount with its reason and what it hides, every layer with the instruction
//! that made it. With a path: its links one by one, what supplies it, and what lies beneath. It is
//! read where the container itself reads it: through the root of its first process, or, for a stopped
//! one, from the view that `cp` uses; layers are read as the storage driver keeps them.

mod document;
mod layers;
mod reasons;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use orlop_archive::extract::WhiteoutForm;
use orlop_layer::LayerKey;
use orlop_meta::{ContainerRecord, ContainerStatus};
use orlop_sys::confined::{LastLink, Root};
use orlop_sys::mount_space::mount_id;
use rustix::fs::{FileType, Stat};

use crate::copy::resolve::{Resolved, resolve};
use crate::copy::{CopyError, rules};
use crate::error::system;
use crate::mount_plan::{MountEntry, MountKind};
use crate::plan::entries;
use crate::{ContainerFiles, Containers, Error, Result};

pub use document::{
    Explanation, HiddenLine, LayerLine, LinkLine, MountLine, ObjectLine, PathExplanation, Supplier,
    VersionLine,
};
pub use layers::Role;
use layers::Version;

/// File systems of the kernel that every running container has, unless the user mounts there.
const KERNEL_MOUNTS: [(&str, &str); 6] = [
    ("/proc", "proc"),
    ("/dev", "tmpfs"),
    ("/dev/pts", "devpts"),
    ("/dev/mqueue", "mqueue"),
    ("/dev/shm", "tmpfs"),
    ("/sys", "sysfs"),
];

/// A planned mount and where it is in the container's root.
struct Placed {
    line: MountLine,
    /// Its target without links.
    target: PathBuf,
    /// The mount's number; none for what is not mounted just now.
    id: Option<u64>,
}

/// A container whose files are open for being explained.
struct Opened<'a> {
    container: ContainerRecord,
    /// As the container sees it.
    root: Root,
    root_mount: u64,
    /// Text of `/proc/PID/mountinfo`; empty for a stopped container.
    mountinfo: String,
    placed: Vec<Placed>,
    /// The layers' directories and what they are, uppermost first.
    layers: Vec<(LayerLine, Root)>,
    /// How many of them are mounted.
    counted: usize,
    _files: Option<ContainerFiles<'a>>,
}

impl Containers<'_> {
    /// Tells what a container's file system is made of.
    pub fn explain(&self, name: &str) -> Result<Explanation> {
        let opened = self.open_for_explaining(name)?;
        let mut mounts = Vec::new();
        for (at, placed) in opened.placed.iter().enumerate() {
            let mut line = placed.line.clone();
            line.hides = self.hidden_by(&opened, at)?;
            mounts.push(line);
        }
        Ok(Explanation {
            id: opened.container.id.as_str().to_owned(),
            name: opened.container.name.as_str().to_owned(),
            driver: self.layers.driver().name().to_owned(),
            mounts,
            layers: opened.layers.into_iter().map(|(line, _)| line).collect(),
        })
    }

    /// Tells where a path of a container comes from.
    pub fn explain_path(&self, name: &str, path: &str) -> Result<PathExplanation> {
        if path.is_empty() {
            return Err(CopyError::EmptyPath.into());
        }
        let opened = self.open_for_explaining(name)?;
        let inside = rules::inside(path);
        let last =
            if rules::asserts_directory(&inside) { LastLink::Follow } else { LastLink::Keep };
        let resolved = resolve(&opened.root, Path::new(&inside), last).map_err(CopyError::from)?;
        let versions = self.versions(&opened, &resolved.path)?;
        let supplier = self.supplier(&opened, &resolved, &versions)?;
        let hidden = match &supplier {
            Supplier::Layers { .. } => Vec::new(),
            _ => self.beneath(&opened, &resolved.path, supplier_target(&supplier))?,
        };
        let mut object = resolved.stat.as_ref().map(object_line);
        // A stopped container's memory and kernel file systems have nothing in them.
        if opened.mountinfo.is_empty() && matches!(&supplier, Supplier::Other { .. }) {
            object = None;
        }
        let links = resolved.links.iter().map(|step| LinkLine {
            link: step.link.display().to_string(),
            target: step.target.display().to_string(),
        });
        Ok(PathExplanation {
            path: inside.clone(),
            links: links.collect(),
            resolved: resolved.path.display().to_string(),
            object,
            supplier,
            layers: versions.into_iter().map(|version| opened.version_line(&version)).collect(),
            hidden,
        })
    }

    fn open_for_explaining(&self, name: &str) -> Result<Opened<'_>> {
        let container = self.get(name)?;
        let (layers, counted) = self.open_layers(&container)?;
        let pid = container.state.pid;
        let runs =
            matches!(container.state.status, ContainerStatus::Running | ContainerStatus::Paused);
        let running = if runs {
            let root = Root::open(Path::new(&format!("/proc/{pid}/root"))).map_err(|_| {
                Error::conflict(format!("container {name} is just ending; try again"))
            })?;
            let path = PathBuf::from(format!("/proc/{pid}/mountinfo"));
            Some((root, std::fs::read_to_string(&path).map_err(system("read", &path))?))
        } else {
            None
        };
        let (root, mountinfo, files) = match running {
            Some((root, mountinfo)) => (root, mountinfo, None),
            None => {
                let files = self.files(name)?;
                let root = files.root().map_err(system("open the files of", Path::new(name)))?;
                (root, String::new(), Some(files))
            }
        };
        let root_mount = mount_id(root.fd()).map_err(system("look at", Path::new("/")))?;
        let mut opened = Opened {
            container,
            root,
            root_mount,
            mountinfo,
            placed: Vec::new(),
            layers,
            counted,
            _files: files,
        };
        opened.placed = self.place_mounts(&opened)?;
        Ok(opened)
    }

    /// The planned mounts and the engine's files, in the order they are made.
    fn place_mounts(&self, opened: &Opened<'_>) -> Result<Vec<Placed>> {
        let container = &opened.container;
        let entries = entries(container)?;
        let mut lines = Vec::new();
        for entry in &entries {
            lines.push(self.mount_line(container, entry)?);
        }
        let directory = self.store.paths.container(&container.id);
        for (name, target) in crate::plan::ENGINE_FILES {
            if !entries.iter().any(|entry| entry.target == target) {
                lines.push(reasons::engine_line(container, &directory.join(name), target));
            }
        }
        lines.sort_by_key(|line| line.target.matches('/').count());
        let mut placed = Vec::new();
        for line in lines {
            let target = resolve(&opened.root, Path::new(&line.target), LastLink::Follow);
            let target = target.map_err(CopyError::from)?;
            let id = target.stat.and_then(|_| {
                let fd = opened.root.resolve(&target.path, LastLink::Keep).ok()?;
                mount_id(fd).ok().filter(|id| *id != opened.root_mount)
            });
            placed.push(Placed { line, target: target.path, id });
        }
        Ok(placed)
    }

    fn mount_line(&self, container: &ContainerRecord, entry: &MountEntry) -> Result<MountLine> {
        let host_path = match entry.kind {
            MountKind::Volume => self.volume_directory(&entry.source)?.join(&entry.subpath),
            MountKind::Bind => PathBuf::from(&entry.source),
            MountKind::Tmpfs | MountKind::Image => PathBuf::new(),
        };
        let host_path = host_path.display().to_string();
        Ok(MountLine {
            target: entry.target.clone(),
            kind: entry.kind.as_str().to_owned(),
            source: entry.source.clone(),
            host_path: host_path.trim_end_matches('/').to_owned(),
            mode: if entry.read_only { "ro" } else { "rw" }.to_owned(),
            why: self.reason(container, entry),
            hides: String::new(),
        })
    }

    /// The layers of a container, uppermost first, and how many of them are mounted.
    fn open_layers(&self, container: &ContainerRecord) -> Result<(Vec<(LayerLine, Root)>, usize)> {
        let driver = self.layers.driver();
        let own = LayerKey::of_container(&container.id);
        let mounted = driver.lowers(&own)?;
        let open = |key: &LayerKey| Root::open(&driver.content(key)).map_err(CopyError::from);
        let mut layers = vec![(reasons::own_layer("writable"), open(&own)?)];
        let mut keys: HashMap<&str, ()> = mounted.iter().map(|key| (key.as_str(), ())).collect();
        if let Some(initial) = mounted.first() {
            layers.push((reasons::own_layer("engine"), open(initial)?));
            keys.remove(initial.as_str());
        }
        let rows = match &container.top_layer {
            Some(top) => self.store.read(|query| query.layer_chain(top))?,
            None => Vec::new(),
        };
        let history = self.history(container);
        let mut counted = layers.len();
        let count = rows.len();
        for (at, row) in rows.into_iter().enumerate() {
            let Some(key) = LayerKey::parse(&row.key) else { continue };
            let index = count - at;
            if keys.contains_key(key.as_str()) {
                counted = layers.len() + 1;
            }
            let line = LayerLine {
                index: Some(index),
                kind: "image".to_owned(),
                digest: row.diff_id.to_string(),
                size_bytes: Some(row.size_bytes),
                created_by: history.get(index - 1).cloned().unwrap_or_default(),
            };
            layers.push((line, open(&key)?));
        }
        Ok((layers, counted))
    }

    /// What the layers have to do with a path of the root file system.
    fn versions(&self, opened: &Opened<'_>, path: &Path) -> Result<Vec<Version>> {
        let roots: Vec<Root> = opened
            .layers
            .iter()
            .map(|(_, root)| root.try_clone())
            .collect::<std::io::Result<_>>()
            .map_err(system("open the layers of", path))?;
        let found = match self.layers.driver().whiteouts() {
            WhiteoutForm::Overlay => layers::in_differences(&roots, opened.counted, path),
            WhiteoutForm::Apply => layers::in_trees(&roots, path),
        };
        Ok(found.map_err(CopyError::from)?)
    }

    fn supplier(
        &self,
        opened: &Opened<'_>,
        resolved: &Resolved,
        versions: &[Version],
    ) -> Result<Supplier> {
        if let Some(placed) = opened.placed_at(&resolved.path)? {
            let host_path = host_path(placed, &resolved.path);
            return Ok(Supplier::Mount { mount: placed.line.clone(), host_path });
        }
        if let Some((target, filesystem)) = opened.other_mount(&resolved.path)? {
            return Ok(Supplier::Other { target, filesystem });
        }
        let line = |version: &Version| opened.layers.get(version.layer).map(|(line, _)| line);
        let by_role = |role| versions.iter().find(|version| version.role == role);
        let shown = by_role(Role::Supplies);
        let is_file = |version: &&Version| {
            version.stat.as_ref().is_some_and(|stat| !layers::is_directory(stat))
        };
        // Layer 0 is the writable one: what it shares with one below was copied up.
        let copied = shown
            .filter(|version| version.layer == 0)
            .filter(is_file)
            .and_then(|_| versions.iter().filter(|version| version.layer > 0).find(is_file));
        Ok(Supplier::Layers {
            layer: shown.and_then(line).cloned(),
            copied_up_from: copied.and_then(line).cloned(),
            deleted_by: match shown {
                Some(_) => None,
                None => by_role(Role::Deletes).and_then(line).cloned(),
            },
        })
    }

    /// What a mount hides, in a few words.
    fn hidden_by(&self, opened: &Opened<'_>, at: usize) -> Result<String> {
        let Some(placed) = opened.placed.get(at) else { return Ok(String::new()) };
        let beneath = self.beneath(opened, &placed.target, &placed.target)?;
        // An empty place was only made to mount on.
        let mut told = beneath.iter().filter(|line| line.object.size_bytes > 0);
        let Some(first) = told.next() else { return Ok(String::new()) };
        let further = told.filter(|line| line.object.kind == "directory").count();
        let entries = first.object.size_bytes;
        Ok(match first.object.kind.as_str() {
            "directory" if further > 0 => format!("entries of {} layers", further + 1),
            "directory" if entries == 1 => format!("1 entry of {}", first.of),
            "directory" => format!("{entries} entries of {}", first.of),
            kind => format!("{kind} of {}", first.of),
        })
    }

    /// What is at a path beneath the mount on `target`: in outer mounts and in the layers. The size of
    /// a directory is the number of its entries.
    fn beneath(&self, opened: &Opened<'_>, path: &Path, target: &Path) -> Result<Vec<HiddenLine>> {
        let mut hidden = Vec::new();
        let outer = opened.placed.iter().rev().filter(|placed| {
            path.starts_with(&placed.target)
                && target != placed.target
                && target.starts_with(&placed.target)
        });
        for placed in outer {
            let host = host_path(placed, path);
            let Some((root, relative)) = open_host(placed, path) else { continue };
            if let Ok(stat) = root.lstat(&relative) {
                let object = counted(object_line(&stat), &root, &relative);
                let of = format!("{} {}", placed.line.kind, placed.line.source);
                hidden.push(HiddenLine { of, host_path: host, object });
            }
        }
        for version in self.versions(opened, path)? {
            let (Some(stat), Some((line, root))) = (version.stat, opened.layers.get(version.layer))
            else {
                continue;
            };
            let relative = path.strip_prefix("/").unwrap_or(path);
            let object = counted(object_line(&stat), root, relative);
            hidden.push(HiddenLine { of: line.label(), host_path: String::new(), object });
        }
        Ok(hidden)
    }
}

impl Opened<'_> {
    fn version_line(&self, version: &Version) -> VersionLine {
        let layer = match self.layers.get(version.layer) {
            Some((line, _)) => line.clone(),
            None => reasons::own_layer("unknown"),
        };
        VersionLine { layer, role: version.role, object: version.stat.as_ref().map(object_line) }
    }

    /// The planned mount that a path is on, if it is on one.
    fn placed_at(&self, path: &Path) -> Result<Option<&Placed>> {
        let below = |placed: &&Placed| path.starts_with(&placed.target);
        if self.mountinfo.is_empty() {
            // Memory is not mounted while the container is stopped: the longest target decides.
            let nearest = self.placed.iter().filter(below);
            let nearest = nearest.max_by_key(|placed| placed.target.components().count());
            return Ok(nearest);
        }
        let id = self.mount_of(path)?;
        Ok(self.placed.iter().rev().filter(below).find(|placed| placed.id == Some(id)))
    }

    /// The number of the mount that a path, or what of it exists, is on.
    fn mount_of(&self, path: &Path) -> Result<u64> {
        for ancestor in path.ancestors() {
            if let Ok(fd) = self.root.resolve(ancestor, LastLink::Keep) {
                return mount_id(fd).map_err(system("look at", ancestor));
            }
        }
        Ok(self.root_mount)
    }

    /// Target and type of a mount that the plan does not hold.
    fn other_mount(&self, path: &Path) -> Result<Option<(String, String)>> {
        if self.mountinfo.is_empty() {
            let kernel = KERNEL_MOUNTS.iter().filter(|(target, _)| path.starts_with(target));
            let nearest = kernel.max_by_key(|(target, _)| target.len());
            return Ok(nearest.map(|(target, kind)| ((*target).to_owned(), (*kind).to_owned())));
        }
        let id = self.mount_of(path)?;
        if id == self.root_mount {
            return Ok(None);
        }
        Ok(Some(
            mountinfo_line(&self.mountinfo, id)
                .unwrap_or_else(|| (path.display().to_string(), "unknown".to_owned())),
        ))
    }
}

/// Mount point and type of a mount of proc_pid_mountinfo(5).
fn mountinfo_line(text: &str, id: u64) -> Option<(String, String)> {
    let id = id.to_string();
    let line = text.lines().find(|line| line.split(' ').next() == Some(&id))?;
    let (before, after) = line.split_once(" - ")?;
    let target = before.split(' ').nth(4)?;
    Some((target.replace("\\040", " "), after.split(' ').next()?.to_owned()))
}

fn supplier_target(supplier: &Supplier) -> &Path {
    match supplier {
        Supplier::Mount { mount, .. } => Path::new(&mount.target),
        Supplier::Other { target, .. } => Path::new(target),
        Supplier::Layers { .. } => Path::new("/"),
    }
}

/// The path on the host of a path on a mount.
fn host_path(placed: &Placed, path: &Path) -> String {
    if placed.line.host_path.is_empty() {
        return String::new();
    }
    let relative = path.strip_prefix(&placed.target).unwrap_or(Path::new(""));
    let joined = Path::new(&placed.line.host_path).join(relative).display().to_string();
    joined.trim_end_matches('/').to_owned()
}

/// The source of a mount and a path below it, as far as it is a directory of the host.
fn open_host(placed: &Placed, path: &Path) -> Option<(Root, PathBuf)> {
    let root = Root::open(Path::new(&placed.line.host_path)).ok()?;
    Some((root, path.strip_prefix(&placed.target).ok()?.to_owned()))
}

/// A directory's size is how many entries it has.
fn counted(mut object: ObjectLine, root: &Root, path: &Path) -> ObjectLine {
    use std::os::fd::AsFd as _;
    if object.kind == "directory" {
        let entries = root.open_dir(path).ok();
        let entries = entries.and_then(|fd| orlop_sys::tree::list(fd.as_fd()).ok());
        object.size_bytes = entries.map_or(0, |list| i64::try_from(list.len()).unwrap_or(i64::MAX));
    }
    object
}

fn object_line(stat: &Stat) -> ObjectLine {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "link",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "unknown",
    };
    ObjectLine {
        kind: kind.to_owned(),
        size_bytes: stat.st_size,
        mode: format!("{:04o}", stat.st_mode & 0o7777),
        owner: format!("{}:{}", stat.st_uid, stat.st_gid),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_number() {
        let text = "31 30 0:27 / / rw - overlay overlay rw\n40 31 0:5 / /a\\040b rw,nosuid shared:7 - tmpfs tmpfs rw\n";
        let found = mountinfo_line(text, 40).unwrap();
        assert_eq!(found, ("/a b".to_owned(), "tmpfs".to_owned()));
        assert_eq!(mountinfo_line(text, 4), None);
    }
}
