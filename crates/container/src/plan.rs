//! Writes the plan that the monitor carries out: every decision of a start in one place.

use std::path::{Path, PathBuf};

use orlop_meta::ContainerRecord;
use orlop_runtime::plan::{
    MountSource, PLAN_VERSION, Plan, PlannedMount, ProcessPlan, RuntimeChoice, SharedNamespaces,
};
use orlop_types::network::NetworkPlan;
use orlop_types::{ContainerId, ParseError};
use orlop_volume::{VolumeSource, Volumes};

use crate::create::writable_options;
use crate::error::system;
use crate::merge::command;
use crate::mount_plan::{MountEntry, MountKind};
use crate::{Containers, Error, Result};

/// Files of the engine that every container sees, unless the user mounts something there.
pub(crate) const ENGINE_FILES: [(&str, &str); 3] =
    [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];
/// Where system programs are, also when the caller's search path leaves them out.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/sbin"];

impl Containers<'_> {
    /// Makes the plan of one start.
    pub(crate) fn make_plan(
        &self,
        container: &ContainerRecord,
        network: NetworkPlan,
        console_size: (u16, u16),
    ) -> Result<Plan> {
        let entries = entries(container)?;
        let config = &container.config;
        let shared = self.shared_namespaces(&container.host_config)?;
        Ok(Plan {
            version: PLAN_VERSION,
            container: container.id.clone(),
            run_dir: self.store.paths.container_run(&container.id),
            rootfs: self
                .layers
                .writable_recipe(&container.id, writable_options(&container.host_config))?,
            rootfs_read_only: container.host_config.readonly_rootfs,
            mounts: with_own_mounts(self.planned_mounts(container, &entries)?, container, shared),
            process: ProcessPlan {
                args: command_words(container),
                env: config.env.clone().unwrap_or_default(),
                cwd: config.working_dir.clone(),
                user: config.user.clone(),
                tty: config.tty,
                console_size,
                open_stdin: config.open_stdin,
                stdin_once: config.stdin_once,
                privileged: false,
            },
            hostname: config.hostname.clone(),
            domainname: config.domainname.clone(),
            cgroup: container_cgroup(&self.store.paths.root, container),
            host_config: container.host_config.clone(),
            network,
            log: crate::log_options::plan(container, &self.store.paths.container(&container.id))?,
            shared,
            health: crate::health::health_plan(config),
            runtime: runtime_choice(&container.host_config.runtime)?,
            finish: self.finish_command(&container.id),
            ends_with_starter: container.purpose == orlop_meta::Purpose::BuildStep,
        })
    }

    pub(crate) fn planned_mounts(
        &self,
        container: &ContainerRecord,
        entries: &[MountEntry],
    ) -> Result<Vec<PlannedMount>> {
        let directory = self.store.paths.container(&self.files_owner(container)?);
        let taken = |target: &str| entries.iter().any(|entry| entry.target == target);
        let files =
            ENGINE_FILES.iter().filter(|(_, target)| !taken(target)).map(|(name, target)| {
                PlannedMount {
                    target: PathBuf::from(target),
                    source: MountSource::Bind {
                        path: directory.join(name),
                        subpath: None,
                        recursive: false,
                    },
                    read_only: container.host_config.readonly_rootfs,
                    read_only_top_only: false,
                    propagation: "rprivate".to_owned(),
                }
            });
        let mut mounts: Vec<PlannedMount> = files.collect();
        for entry in entries {
            mounts.push(PlannedMount {
                target: PathBuf::from(&entry.target),
                source: self.mount_source(entry)?,
                read_only: entry.read_only,
                read_only_top_only: entry.read_only_top_only,
                propagation: if entry.propagation.is_empty() {
                    "rprivate".to_owned()
                } else {
                    entry.propagation.clone()
                },
            });
        }
        // Stable: the engine's files stay before the user's mounts of equal depth.
        mounts.sort_by_key(|mount| mount.target.components().count());
        Ok(mounts)
    }

    fn mount_source(&self, entry: &MountEntry) -> Result<MountSource> {
        let subpath = (!entry.subpath.is_empty()).then(|| PathBuf::from(&entry.subpath));
        Ok(match entry.kind {
            MountKind::Tmpfs => MountSource::Tmpfs { options: entry.tmpfs_options.clone() },
            MountKind::Bind => {
                let path = PathBuf::from(&entry.source);
                if entry.create_source {
                    create_bind_source(&path)?;
                }
                MountSource::Bind { path, subpath, recursive: !entry.non_recursive }
            }
            MountKind::Volume => {
                let volumes = Volumes::new(self.store);
                let record = volumes.find(&entry.source)?;
                match volumes.source(&record)? {
                    VolumeSource::Directory(path) => {
                        MountSource::Bind { path, subpath, recursive: true }
                    }
                    VolumeSource::Filesystem(filesystem) => {
                        MountSource::Filesystem { filesystem, subpath }
                    }
                }
            }
            MountKind::Image => {
                let image =
                    orlop_image::Images::new(self.store, self.layers).resolve(&entry.source)?;
                let top_layer = image.top_layer.ok_or_else(|| {
                    ParseError::new(format!("image `{}` has no layers to mount", entry.source))
                })?;
                let recipe = self.layers.view(&top_layer)?;
                MountSource::Image { recipe, subpath }
            }
        })
    }

    /// The directory that stands for a volume on the host.
    pub(crate) fn volume_directory(&self, name: &str) -> Result<PathBuf> {
        let info = Volumes::new(self.store).inspect(name)?;
        Ok(PathBuf::from(info.mountpoint))
    }

    /// What the monitor runs when the container has ended.
    fn finish_command(&self, id: &ContainerId) -> Vec<String> {
        let program = self.settings.executable.to_string_lossy().into_owned();
        let options =
            self.settings.global_arguments.iter().map(|word| word.to_string_lossy().into_owned());
        std::iter::once(program)
            .chain(options)
            .chain(["container-ended".to_owned(), id.as_str().to_owned()])
            .collect()
    }
}

/// Where the init program is in a container that asked for one.
const INIT_TARGET: &str = "/sbin/docker-init";

/// The command, behind the init program where one was asked for: it makes no sense in a process
/// namespace that has a first process already.
fn command_words(container: &ContainerRecord) -> Vec<String> {
    let mut words = command(&container.config);
    if has_init(container) {
        words.splice(0..0, [INIT_TARGET.to_owned(), "--".to_owned()]);
    }
    words
}

fn has_init(container: &ContainerRecord) -> bool {
    container.host_config.init == Some(true) && container.host_config.pid_mode.is_empty()
}

/// Adds what namespaces and init need, where the user has mounted nothing else.
fn with_own_mounts(
    mut mounts: Vec<PlannedMount>,
    container: &ContainerRecord,
    shared: SharedNamespaces,
) -> Vec<PlannedMount> {
    let own = |target: &str, source, read_only| PlannedMount {
        target: PathBuf::from(target),
        source,
        read_only,
        read_only_top_only: false,
        propagation: "rprivate".to_owned(),
    };
    let init = has_init(container).then(|| own(INIT_TARGET, MountSource::Init, true));
    let memory = shared.ipc.map(|pid| own("/dev/shm", MountSource::SharedMemory { pid }, false));
    for mount in init.into_iter().chain(memory) {
        if mounts.iter().all(|other| other.target != mount.target) {
            mounts.push(mount);
        }
    }
    // Stable: what has the same depth stays as it was.
    mounts.sort_by_key(|mount| mount.target.components().count());
    mounts
}

/// The mount plan as it was kept with the container.
pub(crate) fn entries(container: &ContainerRecord) -> Result<Vec<MountEntry>> {
    serde_json::from_value(container.mounts.clone()).map_err(|error| {
        Error::Store(orlop_meta::Error::Damaged {
            what: format!("the mounts of container {}", container.id),
            reason: error.to_string(),
        })
    })
}

/// The control group of a container: one parent for each store, so that stores do not meet.
pub(crate) fn cgroup(root: &Path, id: &ContainerId) -> String {
    format!("{}/{id}", cgroup_parent(root))
}

/// The control group of a container, which may have asked for another parent.
pub(crate) fn container_cgroup(root: &Path, container: &ContainerRecord) -> String {
    let parent = &container.host_config.cgroup_parent;
    if parent.is_empty() {
        return cgroup(root, &container.id);
    }
    // Never above the root, whatever the words say.
    let mut path = PathBuf::new();
    for part in Path::new(parent).components() {
        match part {
            std::path::Component::Normal(name) => path.push(name),
            std::path::Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    format!("/{}", path.join(container.id.as_str()).display())
}

/// The parent of a store's control groups.
pub(crate) fn cgroup_parent(root: &Path) -> String {
    format!("/{}", orlop_net::names::table_name(root))
}

/// Finds a runtime by name: the linked-in one, or a program by path or in the search path.
///
/// # Errors
/// Docker's text for a runtime that is not there.
pub(crate) fn runtime_choice(name: &str) -> Result<RuntimeChoice, ParseError> {
    if matches!(name, "" | "builtin") {
        return Ok(RuntimeChoice::Builtin);
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&search).chain(SYSTEM_DIRECTORIES.map(PathBuf::from));
    let is_program = |path: &PathBuf| {
        path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
    };
    let found = if name.contains('/') {
        Some(PathBuf::from(name)).filter(is_program)
    } else {
        directories.map(|directory| directory.join(name)).find(is_program)
    };
    found
        .map(RuntimeChoice::External)
        .ok_or_else(|| ParseError::new(format!("unknown or invalid runtime name: {name}")))
}

/// `-v /missing:/x` makes the host directory, as Docker does: mode 0755, owned by root.
fn create_bind_source(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(system("make the bind source", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_found_by_name_or_path() {
        assert_eq!(runtime_choice(""), Ok(RuntimeChoice::Builtin));
        assert_eq!(runtime_choice("builtin"), Ok(RuntimeChoice::Builtin));
        let shell = RuntimeChoice::External("/bin/sh".into());
        assert_eq!(runtime_choice("/bin/sh"), Ok(shell));
        assert!(
            matches!(runtime_choice("sh"), Ok(RuntimeChoice::External(path)) if path.is_absolute())
        );
        for missing in ["no-such-runtime", "/etc/passwd", "./nothing"] {
            let text = runtime_choice(missing).expect_err("not a program").to_string();
            assert_eq!(text, format!("unknown or invalid runtime name: {missing}"));
        }
    }
}
