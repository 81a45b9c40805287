//! Makes a container's root and its mounts ready where the runtime finds them.
//!
//! `<run_dir>/stage` is a tmpfs in the monitor's own mount namespace: `rootfs`, `m0`, `m1`, … for the
//! plan's mounts by index, and `v0`, `v1`, … for whole file systems of volumes, where the monitors of
//! other containers find them. Sources are opened and cloned *before* the namespace is made,
//! because afterwards nothing is shared with the host any more and a shared mount could not be had.
//! A path below a source is resolved by the kernel, confined to it, and mounted by descriptor.

pub(crate) mod own;
pub mod view;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use orlop_sys::mount::{self, Attributes, Propagation, Reach};
use orlop_sys::mount_filesystem::{FilesystemError, SharedFilesystem, SharedMount, SharedUse};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::StartError;
use crate::error::Error;
use crate::plan::{MountSource, Plan, PlannedMount};

/// The prepared mounts of a container: nobody sees them yet.
#[derive(Debug)]
pub(crate) struct Prepared {
    rootfs: OwnedFd,
    mounts: Vec<Option<OwnedFd>>,
    filesystems: Vec<Opened>,
    /// Keeps others from mounting the writable layer before it is found mounted here.
    _in_use: Option<OwnedFd>,
}

/// A volume's file system, kept from others until this container is noted among its users.
#[derive(Debug)]
struct Opened {
    users: PathBuf,
    mount: OwnedFd,
    shared: SharedMount,
}

/// Where everything is mounted.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The root file system.
    pub(crate) rootfs: PathBuf,
    /// The plan's mounts by index; a tmpfs has none.
    pub(crate) staged: Vec<Option<PathBuf>>,
    /// What others may clone from here, as long as this lives.
    _uses: Vec<SharedUse>,
}

/// Opens and clones every source, in the namespace of the caller.
pub(crate) fn prepare(plan: &Plan) -> Result<Prepared, StartError> {
    let in_use = view::wait_for_copies(&plan.rootfs)?;
    let rootfs = mount::mount_rootfs(&plan.rootfs).map_err(Error::from)?;
    let mounts = plan.mounts.iter().map(|mount| match &mount.source {
        MountSource::Bind { path, subpath, recursive } => {
            prepare_bind(mount, path, subpath.as_deref(), *recursive).map(Some)
        }
        MountSource::Tmpfs { .. }
        | MountSource::Filesystem { .. }
        | MountSource::Init
        | MountSource::Content(_) => Ok(None),
        MountSource::SharedMemory { pid } => own::shared_memory(*pid).map(Some),
        MountSource::Image { recipe, .. } => {
            Ok(Some(mount::mount_rootfs(recipe).map_err(Error::from)?))
        }
    });
    let mounts = mounts.collect::<Result<_, _>>()?;
    Ok(Prepared { rootfs, mounts, filesystems: open_filesystems(plan)?, _in_use: in_use })
}

/// Opens each file system once, in an order that all monitors keep, so that none waits for another
/// that waits for it.
fn open_filesystems(plan: &Plan) -> Result<Vec<Opened>, StartError> {
    let wanted: BTreeMap<&Path, &SharedFilesystem> = plan
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Filesystem { filesystem, .. } => Some((&*filesystem.users, filesystem)),
            _ => None,
        })
        .collect();
    let open = |(users, filesystem): (&Path, &SharedFilesystem)| {
        let (mount, shared) = filesystem.open().map_err(|error| not_mounted(filesystem, &error))?;
        Ok(Opened { users: users.to_owned(), mount, shared })
    };
    wanted.into_iter().map(open).collect()
}

/// Docker's text; its command line takes the words of a missing device for a missing command's.
fn not_mounted(filesystem: &SharedFilesystem, error: &FilesystemError) -> StartError {
    let missing = error.source.kind() == io::ErrorKind::NotFound;
    StartError {
        exit_code: if missing { 127 } else { 125 },
        message: format!(
            "error while mounting volume '{}': failed to mount local volume: {error}: {}",
            filesystem.mountpoint.display(),
            error.reason()
        ),
    }
}

fn prepare_bind(
    planned: &PlannedMount,
    path: &Path,
    subpath: Option<&Path>,
    recursive: bool,
) -> Result<OwnedFd, StartError> {
    let source = open_source(planned, path)?;
    let source = match subpath {
        Some(subpath) => open_beneath(&source, path, subpath)?,
        None => source,
    };
    check_propagation(planned, path, &source)?;
    let reach = if recursive { Reach::Recursive } else { Reach::Top };
    let mount = mount::clone_tree(&source, Path::new(""), reach).map_err(|mut error| {
        error.target = path.to_owned();
        Error::from(error)
    })?;
    set_attributes(planned, path, &mount)?;
    Ok(mount)
}

fn open_source(planned: &PlannedMount, path: &Path) -> Result<OwnedFd, StartError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
        let mut error = StartError::from(Error::file("mount", path)(errno.into()));
        error.message = format!(
            "error mounting \"{}\" to rootfs at \"{}\": {}",
            path.display(),
            planned.target.display(),
            error.message
        );
        error
    })
}

/// Opens a path below a directory; links may lead anywhere inside, never out.
fn open_beneath(root: &OwnedFd, root_path: &Path, path: &Path) -> Result<OwnedFd, StartError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let escape = || StartError {
        exit_code: 125,
        message: format!(
            "path concatenation escapes the base directory, base: {}, subpath: {}",
            root_path.display(),
            path.display()
        ),
    };
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Ok(opened) => return Ok(opened),
            // A rename elsewhere made the kernel unsure about `..`.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::XDEV) => return Err(escape()),
            Err(errno) => {
                let full = root_path.join(path);
                let mut error = StartError::from(Error::file("open", &full)(errno.into()));
                let reason = io::Error::from(errno).to_string().to_lowercase();
                let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
                let full = full.display();
                error.message = format!("cannot access path {full}: lstat {full}: {reason}");
                return Err(error);
            }
        }
    }
}

fn set_attributes(planned: &PlannedMount, path: &Path, mount: &OwnedFd) -> Result<(), StartError> {
    let reach = if planned.read_only_top_only { Reach::Top } else { Reach::Recursive };
    let attributes = Attributes {
        read_only: planned.read_only.then_some(reach),
        propagation: Some(parse_propagation(&planned.propagation)?),
    };
    mount::set_attributes(mount, attributes)
        .map_err(|error| Error::file("set the attributes of the mount of", path)(error).into())
}

fn parse_propagation(word: &str) -> Result<(Propagation, Reach), StartError> {
    let (kind, reach) = match word.strip_prefix('r') {
        Some(kind) => (kind, Reach::Recursive),
        None => (word, Reach::Top),
    };
    let propagation = match kind {
        "shared" => Propagation::Shared,
        "slave" => Propagation::Slave,
        // An empty word is Docker's default, `rprivate`.
        "private" => Propagation::Private,
        "" if word.is_empty() => return Ok((Propagation::Private, Reach::Recursive)),
        _ => {
            let message = format!("invalid propagation mode: {word}");
            return Err(StartError { exit_code: 125, message });
        }
    };
    Ok((propagation, reach))
}

/// A mount cannot be a peer or slave of one that is not shared: the kernel would silently make a
/// group of its own, which is not what was asked for.
fn check_propagation(
    planned: &PlannedMount,
    path: &Path,
    source: &OwnedFd,
) -> Result<(), StartError> {
    let (wanted, _) = parse_propagation(&planned.propagation)?;
    if wanted == Propagation::Private {
        return Ok(());
    }
    let fdinfo = format!("/proc/thread-self/fdinfo/{}", source.as_raw_fd());
    let read = |name: &str| std::fs::read_to_string(name).map_err(Error::file("read", name));
    let fdinfo = read(&fdinfo)?;
    let id = fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or_default();
    let mountinfo = read("/proc/thread-self/mountinfo")?;
    let Some((mount_point, shared, slave)) = find_mount(&mountinfo, id.trim()) else {
        return Ok(());
    };
    let missing = match wanted {
        Propagation::Shared if !shared => "a shared mount",
        Propagation::Slave if !shared && !slave => "a shared or slave mount",
        _ => return Ok(()),
    };
    let path = path.display();
    let message = format!("path {path} is mounted on {mount_point} but it is not {missing}");
    Err(StartError { exit_code: 125, message })
}

/// Finds a line of proc_pid_mountinfo(5): mount point, whether it is shared, whether it is a slave.
fn find_mount<'a>(mountinfo: &'a str, id: &str) -> Option<(&'a str, bool, bool)> {
    let fields = mountinfo.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let fields = fields.into_iter().find(|fields| fields.first() == Some(&id))?;
    let optional = fields.iter().skip(6).take_while(|field| **field != "-");
    let has = |prefix: &str| optional.clone().any(|field| field.starts_with(prefix));
    Some((fields.get(4)?, has("shared:"), has("master:")))
}

impl Prepared {
    /// Mounts everything below `<run_dir>/stage`, in the caller's (private) mount namespace.
    pub(crate) fn mount(self, plan: &Plan) -> Result<Stage, StartError> {
        let directory = directory(&plan.run_dir);
        make_directory(&directory)?;
        let tmpfs = mount::new_tmpfs(&["mode=0700", "nosuid", "nodev", "noexec"]);
        mount::attach(tmpfs.map_err(Error::from)?, &directory).map_err(Error::from)?;
        let rootfs = directory.join("rootfs");
        make_directory(&rootfs)?;
        mount::attach(&self.rootfs, &rootfs).map_err(Error::from)?;
        let (wholes, uses) = stage_filesystems(plan, &directory, self.filesystems)?;
        let mut staged = Vec::with_capacity(self.mounts.len());
        for (index, (mount, planned)) in self.mounts.into_iter().zip(&plan.mounts).enumerate() {
            let target = directory.join(format!("m{index}"));
            match (&planned.source, mount) {
                (MountSource::Image { subpath, .. }, Some(mount)) => {
                    stage_image(planned, &mount, subpath.as_deref(), &target)?;
                }
                (MountSource::Filesystem { filesystem, subpath }, _) => {
                    let whole = wholes.get(&filesystem.users).map(PathBuf::as_path);
                    stage_part(planned, whole, filesystem, subpath.as_deref(), &target)?;
                }
                (MountSource::Init, _) => own::init(&target)?,
                (MountSource::Content(content), _) => own::content(&target, content)?,
                (_, Some(mount)) => attach_to_new(&mount, &target)?,
                (_, None) => {
                    staged.push(None);
                    continue;
                }
            }
            staged.push(Some(target));
        }
        Ok(Stage { rootfs, staged, _uses: uses })
    }
}

/// The places of whole file systems by their users' directory, and the notes that they are there.
type Wholes = (BTreeMap<PathBuf, PathBuf>, Vec<SharedUse>);

/// Mounts whole file systems and lets the next user in.
fn stage_filesystems(
    plan: &Plan,
    directory: &Path,
    filesystems: Vec<Opened>,
) -> Result<Wholes, StartError> {
    let (mut wholes, mut uses) = Wholes::default();
    for (index, opened) in filesystems.into_iter().enumerate() {
        let target = directory.join(format!("v{index}"));
        attach_to_new(&opened.mount, &target)?;
        let noted = opened.shared.register(plan.container.as_str(), &target);
        uses.push(noted.map_err(Error::file("note the user of a volume in", &opened.users))?);
        wholes.insert(opened.users, target);
    }
    Ok((wholes, uses))
}

/// Mounts a file system that is staged as a whole, or a part of it, as one container sees it.
fn stage_part(
    planned: &PlannedMount,
    whole: Option<&Path>,
    filesystem: &SharedFilesystem,
    subpath: Option<&Path>,
    target: &Path,
) -> Result<(), StartError> {
    let failed = |errno: rustix::io::Errno| Error::file("open", target)(errno.into());
    let whole = whole.ok_or_else(|| failed(rustix::io::Errno::NOENT))?;
    let root = rustix::fs::open(whole, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = root.map_err(failed)?;
    let part = match subpath {
        Some(subpath) => open_beneath(&root, &filesystem.mountpoint, subpath)?,
        None => root,
    };
    let part = mount::clone_tree(&part, Path::new(""), Reach::Recursive).map_err(Error::from)?;
    set_attributes(planned, target, &part)?;
    attach_to_new(&part, target)
}

/// Where the root file system of a container is mounted, in its monitor's namespace.
#[must_use]
pub fn rootfs(run_dir: &Path) -> PathBuf {
    directory(run_dir).join("rootfs")
}

/// Where the stage of a run directory is.
pub(crate) fn directory(run_dir: &Path) -> PathBuf {
    run_dir.join("stage")
}

/// Mounts an image or a part of it. A part of a mount can be cloned only where the whole is mounted.
fn stage_image(
    planned: &PlannedMount,
    image: &OwnedFd,
    subpath: Option<&Path>,
    target: &Path,
) -> Result<(), StartError> {
    let Some(subpath) = subpath else {
        set_attributes(planned, target, image)?;
        return attach_to_new(image, target);
    };
    let whole = target.with_extension("image");
    attach_to_new(image, &whole)?;
    let part = open_beneath(image, &whole, subpath)?;
    let part = mount::clone_tree(&part, Path::new(""), Reach::Top).map_err(Error::from)?;
    set_attributes(planned, target, &part)?;
    attach_to_new(&part, target)?;
    mount::detach(&whole).map_err(|error| Error::from(error).into())
}

/// Makes a mount point of the mount's own type and mounts it there.
fn attach_to_new(mount: &OwnedFd, target: &Path) -> Result<(), StartError> {
    let kind = rustix::fs::fstat(mount.as_fd())
        .map(|stat| FileType::from_raw_mode(stat.st_mode))
        .map_err(|errno| Error::file("query", target)(errno.into()))?;
    if kind == FileType::Directory {
        make_directory(target)?;
    } else {
        File::create(target).map_err(Error::file("make", target))?;
    }
    Ok(mount::attach(mount, target).map_err(Error::from)?)
}

fn make_directory(path: &Path) -> Result<(), StartError> {
    match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(Error::file("make", path)(errno.into()).into()),
    }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
