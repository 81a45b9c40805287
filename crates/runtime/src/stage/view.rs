//! The mounts of a container for somebody who looks at its files from outside: `cp`, `explain`.
//!
//! Of a running container they are cloned from its monitor's stage, so that exactly what the
//! container has is seen and nothing is mounted twice; of a stopped one they are opened anew. Either
//! way they are detached, private and without devices until the caller attaches them somewhere.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use orlop_sys::mount::{self, Attributes, Propagation, Reach, RootfsRecipe};
use orlop_sys::mount_filesystem::SharedMount;
use orlop_sys::mount_space::{MountSpace, attach_on, forbid_devices};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{MountSource, PlannedMount, not_mounted, open_beneath, prepare_bind, set_attributes};
use crate::StartError;
use crate::error::Error;

/// Waits until nobody looks at a writable layer any more: whoever does so while its container runs
/// holds a shared lock on its directory, and one overlay must not be mounted twice. What is returned
/// is kept until the layer is mounted in the stage, where others find it.
pub(crate) fn wait_for_copies(rootfs: &RootfsRecipe) -> Result<Option<OwnedFd>, StartError> {
    let Some(directory) = locked_directory(rootfs) else { return Ok(None) };
    let opened = open_directory(directory)?;
    loop {
        match rustix::fs::flock(&opened, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::file("lock", directory)(errno.into()).into()),
            Ok(()) => return Ok(Some(opened)),
        }
    }
}

/// Whether somebody looks at a writable layer: a copy may take as long as its reader likes.
pub(crate) fn is_looked_at(rootfs: &RootfsRecipe) -> Result<bool, StartError> {
    let Some(directory) = locked_directory(rootfs) else { return Ok(false) };
    let opened = open_directory(directory)?;
    match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(true),
        Err(errno) => Err(Error::file("lock", directory)(errno.into()).into()),
    }
}

/// The directory that is locked by whoever looks at a writable layer.
fn locked_directory(rootfs: &RootfsRecipe) -> Option<&Path> {
    match rootfs {
        RootfsRecipe::Overlay { upper: Some(upper), .. } => upper.upper.parent(),
        _ => None,
    }
}

fn open_directory(directory: &Path) -> Result<OwnedFd, StartError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty());
    Ok(opened.map_err(|errno| Error::file("lock", directory)(errno.into()))?)
}

/// One mount that nobody sees yet.
#[derive(Debug)]
pub struct ViewMount {
    /// Where it belongs, as the plan says it.
    pub target: PathBuf,
    mount: OwnedFd,
    /// A part of the mount that is wanted instead, with what else its attributes need.
    part: Option<(PathBuf, PlannedMount)>,
    /// Keeps others from mounting the same file system a second time.
    _shared: Option<SharedMount>,
}

/// Opens what a plan wants to mount; a tmpfs has nothing to look at.
pub fn open(planned: &PlannedMount) -> Result<Option<ViewMount>, StartError> {
    // Whatever the container's own mount would do, this one tells nobody of its end.
    let planned = PlannedMount { propagation: String::new(), ..planned.clone() };
    let mut shared_mount = None;
    let (mount, part) = match &planned.source {
        MountSource::Tmpfs { .. }
        | MountSource::Init
        | MountSource::Content(_)
        | MountSource::SharedMemory { .. } => {
            return Ok(None);
        }
        MountSource::Bind { path, subpath, recursive } => {
            (prepare_bind(&planned, path, subpath.as_deref(), *recursive)?, None)
        }
        MountSource::Filesystem { filesystem, subpath } => {
            let (mount, shared) =
                filesystem.open().map_err(|error| not_mounted(filesystem, &error))?;
            shared_mount = Some(shared);
            (mount, subpath.clone())
        }
        MountSource::Image { recipe, subpath } => {
            (mount::mount_rootfs(recipe).map_err(Error::from)?, subpath.clone())
        }
    };
    if part.is_none() {
        set_attributes(&planned, &planned.target, &mount)?;
    }
    harden(&mount, &planned.target)?;
    let target = planned.target.clone();
    Ok(Some(ViewMount {
        target,
        mount,
        part: part.map(|part| (part, planned)),
        _shared: shared_mount,
    }))
}

impl ViewMount {
    /// The mount; not for one of which only a part is wanted.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.mount
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> Result<bool, StartError> {
        use rustix::fs::FileType;
        // A part of something is looked at when it is attached; what has parts is a directory.
        let stat = rustix::fs::fstat(&self.mount)
            .map_err(|errno| Error::file("query", &self.target)(errno.into()))?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Puts it onto an open file or directory of the caller's mount namespace; gives what has to be
    /// kept as long as it is looked at.
    pub fn attach(self, target: impl AsFd) -> Result<OwnedFd, StartError> {
        attach_on(&self.mount, &target, &self.target).map_err(Error::from)?;
        let Some((part, planned)) = self.part else { return Ok(self.mount) };
        // A part of a mount can be cloned only where the whole is mounted; it goes on top of that.
        let part = open_beneath(&self.mount, &self.target, &part)?;
        let part =
            mount::clone_tree(&part, Path::new(""), Reach::Recursive).map_err(Error::from)?;
        set_attributes(&planned, &self.target, &part)?;
        harden(&part, &self.target)?;
        attach_on(&part, &target, &self.target).map_err(Error::from)?;
        Ok(part)
    }
}

/// The mounts of a running container.
#[derive(Debug)]
pub struct RunningView {
    /// Its root file system, without what is mounted in it.
    pub rootfs: OwnedFd,
    /// What is mounted in it, in that order; no tmpfs.
    pub mounts: Vec<ViewMount>,
}

/// Clones what a monitor has staged; an error of the kind `NotFound` means that it has just ended.
pub fn of_running(monitor_pid: i32, run_dir: &Path) -> Result<RunningView, StartError> {
    let namespace = MountSpace::of_process(monitor_pid)
        .map_err(Error::file("open the mounts of the monitor of", run_dir))?;
    let staged = staged_mounts(run_dir)?;
    let clone = |path: &Path, reach| -> Result<OwnedFd, StartError> {
        let mount = mount::clone_tree(CWD, path, reach).map_err(Error::from)?;
        let propagation = Some((Propagation::Private, Reach::Recursive));
        mount::set_attributes(&mount, Attributes { read_only: None, propagation })
            .map_err(Error::file("set the attributes of the mount of", path))?;
        harden(&mount, path)?;
        Ok(mount)
    };
    let clones = namespace.run(|| {
        let rootfs = clone(&super::rootfs(run_dir), Reach::Top)?;
        let mounts = staged.into_iter().map(|(target, source)| {
            let mount = clone(&source, Reach::Recursive)?;
            Ok(ViewMount { target, mount, part: None, _shared: None })
        });
        Ok(RunningView { rootfs, mounts: mounts.collect::<Result<_, StartError>>()? })
    });
    clones.map_err(Error::file("enter the mounts of the monitor of", run_dir))?
}

/// Target and staged place of every mount, as the runtime was told them.
fn staged_mounts(run_dir: &Path) -> Result<Vec<(PathBuf, PathBuf)>, StartError> {
    let path = run_dir.join("runtime/bundle/config.json");
    let text = std::fs::read(&path).map_err(Error::file("read", &path))?;
    let spec: oci_spec::runtime::Spec = serde_json::from_slice(&text)
        .map_err(|error| Error::file("read", &path)(std::io::Error::from(error)))?;
    let stage = super::directory(run_dir);
    let mounts = spec.mounts().iter().flatten().filter_map(|mount| {
        let source = mount.source().as_ref().filter(|source| source.starts_with(&stage))?;
        Some((mount.destination().clone(), source.clone()))
    });
    Ok(mounts.collect())
}

fn harden(mount: &OwnedFd, path: &Path) -> Result<(), StartError> {
    Ok(forbid_devices(mount).map_err(Error::file("set the attributes of the mount of", path))?)
}
