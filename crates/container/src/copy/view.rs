//! Opens the files of a container: mounts everything where nobody else sees it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use orlop_layer::{LayerKey, WritableOptions};
use orlop_meta::{ContainerRecord, ContainerStatus};
use orlop_runtime::plan::{MountSource, PlannedMount};
use orlop_runtime::record::{Liveness, liveness};
use orlop_runtime::stage::view::{self, RunningView, ViewMount};
use orlop_sys::confined::{LastLink, Owner, Root};
use orlop_sys::mount::{self, Attributes, Reach};
use orlop_sys::mount_space::{MountSpace, forbid_devices, mount_id};
use orlop_types::ContainerId;
use rustix::fs::FlockOperation;

use super::{ContainerFiles, CopyError, resolve};
use crate::error::system;
use crate::plan::{ENGINE_FILES, entries};
use crate::start::MONITOR_END_TIMEOUT;
use crate::{Containers, Error, Result};

/// How often a container may end or start again while its files are being opened.
const ATTEMPTS_MAX: u32 = 8;
/// Mode of a mount point that has to be made.
const MOUNT_POINT_MODE: u32 = 0o755;

/// Mounts that are kept by their descriptors.
struct Opened {
    space: MountSpace,
    root: Root,
    root_mount: u64,
    mounts: Vec<OwnedFd>,
}

impl<'a> Containers<'a> {
    /// Opens the files of a container, running or not; see [`ContainerFiles`].
    pub fn files(&self, name: &str) -> Result<ContainerFiles<'a>> {
        let id = self.id(name)?;
        for attempt in 1.. {
            let operation = self.lock_operation(&id)?;
            let container = self.settle_locked(&id)?;
            if container.state.status == ContainerStatus::Dead {
                return Err(Error::conflict(format!("container {name} is dead")));
            }
            let active = container.state.status.is_active();
            let (opened, lock) = if active {
                // Taken before the operation lock is given back: a start takes them in that order.
                let copying = self.lock_layer(&id, FlockOperation::LockShared)?;
                match self.open_running(&container) {
                    Ok(opened) => (opened, copying),
                    // Between two runs nothing is mounted; the next one waits for the lock.
                    Err(_) if container.state.status == ContainerStatus::Restarting => {
                        (self.open_anew(&container)?, copying)
                    }
                    // It ended in between.
                    Err(_) if attempt < ATTEMPTS_MAX && !self.is_unchanged(&container)? => continue,
                    Err(error) => return Err(error),
                }
            } else {
                self.wait_for_monitor(&id, MONITOR_END_TIMEOUT)?;
                (self.open_anew(&container)?, operation)
            };
            let Opened { space, root, root_mount, mounts } = opened;
            return Ok(ContainerFiles {
                containers: *self,
                container,
                name: name.to_owned(),
                root,
                root_mount,
                space,
                _mounts: mounts,
                _lock: lock,
            });
        }
        Err(Error::conflict(format!(
            "container {name} starts and ends all the time; stop it first"
        )))
    }

    /// Tells the next start that the writable layer is in use (see `orlop_runtime::stage::view`).
    fn lock_layer(&self, id: &ContainerId, operation: FlockOperation) -> Result<OwnedFd> {
        use rustix::fs::{Mode, OFlags};
        let path = self.layers.driver().directory(&LayerKey::of_container(id));
        let failed = |errno: rustix::io::Errno| system("lock", &path)(errno.into());
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed)?;
        rustix::fs::flock(&directory, operation).map_err(failed)?;
        Ok(directory)
    }

    fn is_unchanged(&self, container: &ContainerRecord) -> Result<bool> {
        let now = self.get(container.id.as_str())?;
        Ok((now.state.status, now.state.pid) == (container.state.status, container.state.pid))
    }

    fn open_running(&self, container: &ContainerRecord) -> Result<Opened> {
        let run_dir = self.store.paths.container_run(&container.id);
        let Liveness::Alive { pid } = liveness(&run_dir)? else {
            return Err(Error::conflict(format!("container {} is just ending", container.id)));
        };
        let RunningView { rootfs, mut mounts } = view::of_running(pid, &run_dir)?;
        // Not what the engine itself mounts for the process: its memory, its init program.
        let entries = entries(container)?;
        mounts.retain(|mount| {
            entries.iter().any(|entry| Path::new(&entry.target) == mount.target)
                || ENGINE_FILES.iter().any(|(_, target)| Path::new(target) == mount.target)
        });
        self.put_together(container, rootfs, mounts)
    }

    /// Opens everything as a start would.
    fn open_anew(&self, container: &ContainerRecord) -> Result<Opened> {
        // Of one that removes itself, and is not gone yet.
        self.allow_mounting_again(container)?;
        // Never volatile: the kernel would refuse to mount the layer again.
        let options = WritableOptions { volatile: false };
        let recipe = self.layers.writable_recipe(&container.id, options)?;
        let mut mounts = Vec::new();
        for planned in self.planned_mounts(container, &entries(container)?)? {
            if !self.is_engine_file_to_come(container, &planned) {
                mounts.extend(view::open(&planned)?);
            }
        }
        let rootfs = mount::mount_rootfs(&recipe).map_err(|source| Error::System {
            operation: "mount the files of",
            subject: container.id.short().to_owned(),
            source: io::Error::other(source),
        })?;
        self.put_together(container, rootfs, mounts)
    }

    /// Whether it is a file that the engine writes at the first start.
    fn is_engine_file_to_come(&self, container: &ContainerRecord, planned: &PlannedMount) -> bool {
        let directory = self.store.paths.container(&container.id);
        match &planned.source {
            MountSource::Bind { path, .. } => path.starts_with(directory) && !path.exists(),
            _ => false,
        }
    }

    fn put_together(
        &self,
        container: &ContainerRecord,
        rootfs: OwnedFd,
        mounts: Vec<ViewMount>,
    ) -> Result<Opened> {
        let name = Path::new(container.id.short());
        let failed = || system("open the files of", name);
        forbid_devices(&rootfs).map_err(failed())?;
        let space = MountSpace::new().map_err(failed())?;
        // Any directory will do: only this namespace sees what is mounted there.
        let place = self.store.paths.container(&container.id);
        let read_only = container.host_config.readonly_rootfs;
        let attached = space.run(|| -> Result<(Root, u64, Vec<OwnedFd>)> {
            mount::attach(&rootfs, &place).map_err(|error| failed()(error.source))?;
            let keeper = rootfs.try_clone().map_err(failed())?;
            let root = Root::of_mount(rootfs).map_err(CopyError::from)?;
            let root_mount = mount_id(root.fd()).map_err(failed())?;
            let mut kept = Vec::new();
            for mount in mounts {
                let point = mount_point(&root, &mount.target, mount.is_directory()?)?;
                kept.push(mount.attach(point)?);
            }
            if read_only {
                let attributes =
                    Attributes { read_only: Some(Reach::Top), ..Attributes::default() };
                mount::set_attributes(&keeper, attributes).map_err(failed())?;
            }
            Ok((root, root_mount, kept))
        });
        let (root, root_mount, mounts) = attached.map_err(failed())??;
        Ok(Opened { space, root, root_mount, mounts })
    }
}

/// Finds where a mount belongs, and makes the place if there is none, as a start would.
fn mount_point(root: &Root, target: &Path, is_directory: bool) -> Result<OwnedFd> {
    match root.resolve(target, LastLink::Follow) {
        Ok(point) => return Ok(point),
        Err(error) if error.io_kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(CopyError::from(error).into()),
    }
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    if is_directory {
        let made = root.mkdir_all(target, MOUNT_POINT_MODE, owner).map_err(CopyError::from)?;
        return Ok(made);
    }
    let path = resolve::resolve(root, target, LastLink::Follow).map_err(CopyError::from)?.path;
    let parent = path.parent().unwrap_or(Path::new("/"));
    root.mkdir_all(parent, MOUNT_POINT_MODE, owner).map_err(CopyError::from)?;
    root.create_file(&path, MOUNT_POINT_MODE).map_err(CopyError::from)?;
    Ok(root.resolve(&path, LastLink::Keep).map_err(CopyError::from)?)
}
