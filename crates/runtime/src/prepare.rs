//! What both runtimes do before and after they start a process: directories, checks, `config.json`.
//!
//! Layout below `plan.run_dir` (private to one version of the binary, never synced to disk):
//!
//! ```text
//! runtime/             root directory of the runtime's own state
//! runtime/bundle/      config.json of the container, process-<caller>.json of each exec under way
//! runtime/init.pid     the container's first process
//! runtime/exec-<caller>.pid  the process that an exec under way adds
//! runtime/console-<caller>.sock  receives the terminal of a process being made
//! ```

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};
use orlop_sys::confined::{Owner, Root};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::capabilities::CapabilitySet;
use crate::cgroup::{ContainerCgroup, Hierarchies};
use crate::plan::{MountSource, PlannedMount, ProcessPlan};
use crate::spec::{self, DevicePlaces, SpecInput, refused};
use crate::user::{self, RESOLVE};
use crate::{Bundle, StartError, stage};

/// Most components of a working directory that is made: no longer path can be given to the kernel.
const MAX_COMPONENTS: usize = 2048;

/// Files below `/proc` that runc lets be covered: what they tell is the machine's, not the container's.
const MAY_COVER: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Paths of one container's runtime state.
#[derive(Debug)]
pub(crate) struct Layout {
    /// State of the runtime.
    pub(crate) root: PathBuf,
    /// Directory of `config.json`.
    pub(crate) bundle: PathBuf,
}

impl Layout {
    pub(crate) fn new(bundle: &Bundle<'_>) -> Self {
        let root = bundle.plan.run_dir.join("runtime");
        Self { bundle: root.join("bundle"), root }
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.root.join("init.pid")
    }

    /// What an exec of this process adds; named after the caller, since many may run at once.
    pub(crate) fn process_file(&self) -> PathBuf {
        self.bundle.join(format!("process-{}.json", std::process::id()))
    }

    /// Where the runtime notes the process that it adds.
    pub(crate) fn added_pid_file(&self) -> PathBuf {
        self.root.join(format!("exec-{}.pid", std::process::id()))
    }

    /// Removes what an exec of this process wrote; what cannot be removed goes with the run directory.
    pub(crate) fn remove_added(&self) {
        for path in [self.process_file(), self.added_pid_file()] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::debug!(path = %path.display(), %error, "cannot remove a file of an exec");
            }
        }
    }

    /// The pid of the container's first process, as the runtime noted it.
    pub(crate) fn read_pid(&self) -> Result<i32, StartError> {
        let text = fs::read_to_string(self.pid_file())
            .map_err(|error| failed("read", &self.pid_file(), &error))?;
        text.trim()
            .parse()
            .map_err(|_| refused(format!("`{}` holds no process id", self.pid_file().display())))
    }
}

pub(crate) fn failed(verb: &str, path: &Path, error: &dyn std::fmt::Display) -> StartError {
    refused(format!("cannot {verb} `{}`: {error}", path.display()))
}

/// Whether the runtime shows v1 control groups as the specification asks (read-only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegacyCgroups {
    /// By itself.
    MountedByRuntime,
    /// Only if each hierarchy is a mount of its own.
    Bound,
}

/// Makes the directories and the specification of a container, and what must exist before it starts.
pub(crate) fn specification(
    bundle: &Bundle<'_>,
    legacy: LegacyCgroups,
) -> Result<(Layout, Spec), StartError> {
    let plan = bundle.plan;
    let layout = Layout::new(bundle);
    fs::create_dir_all(&layout.bundle).map_err(|error| failed("create", &layout.bundle, &error))?;
    let rootfs = open_directory(bundle.rootfs)?;
    check_mount_targets(bundle, &rootfs)?;
    make_working_directory(bundle, &rootfs)?;
    set_network_parameters(bundle)?;
    let additional = plan.host_config.group_add.as_deref().unwrap_or_default();
    let user = user::resolve(&rootfs, &plan.process.user, additional).map_err(refused)?;
    let hierarchies = Hierarchies::detect()
        .map_err(|error| refused(format!("cannot find the control groups: {error}")))?;
    let cgroup = ContainerCgroup::with_hierarchies(hierarchies, &plan.cgroup).map_err(refused)?;
    let legacy_cgroups = match legacy {
        LegacyCgroups::Bound => {
            stage::own::cgroup_places(&stage::directory(&plan.run_dir))?;
            cgroup.legacy_controllers()
        }
        LegacyCgroups::MountedByRuntime => Vec::new(),
    };
    let input = SpecInput {
        bundle,
        user: &user,
        permitted: permitted()?,
        legacy_cgroups: &legacy_cgroups,
        devices: match legacy {
            LegacyCgroups::Bound => DevicePlaces::BelowDev,
            LegacyCgroups::MountedByRuntime => DevicePlaces::Anywhere,
        },
    };
    Ok((layout, spec::build(input)?))
}

/// Writes `config.json`; nothing is synced, the state dies with the machine's uptime.
pub(crate) fn write_config(layout: &Layout, spec: &Spec) -> Result<(), StartError> {
    write_json(&layout.bundle.join("config.json"), spec)
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), StartError> {
    let bytes = serde_json::to_vec(value).map_err(|error| failed("encode", path, &error))?;
    fs::write(path, bytes).map_err(|error| failed("write", path, &error))
}

/// A process that is added to a running container.
#[derive(Debug)]
pub(crate) struct AddedProcess {
    pub(crate) layout: Layout,
    pub(crate) process: Process,
    /// What the container's first process has.
    pub(crate) container_capabilities: CapabilitySet,
}

/// Makes the process that `exec` adds and puts the caller into the container's network namespace.
///
/// The caller's file system need not be the monitor's: users are looked up and the working directory
/// is checked through the first process's root.
pub(crate) fn added_process(
    bundle: &Bundle<'_>,
    plan: &ProcessPlan,
) -> Result<AddedProcess, StartError> {
    let config = &bundle.plan.host_config;
    let layout = Layout::new(bundle);
    let pid = layout.read_pid()?;
    let root = open_directory(&PathBuf::from(format!("/proc/{pid}/root")))?;
    let user = user::resolve(&root, &plan.user, config.group_add.as_deref().unwrap_or_default())
        .map_err(refused)?;
    check_working_directory(&root, &plan.cwd)?;
    let permitted = permitted()?;
    let capabilities = spec::capabilities(config, plan.privileged, permitted)?;
    let container_capabilities = spec::capabilities(config, false, permitted)?;
    let process = spec::process(
        plan,
        &spec::ProcessContext {
            user: &user,
            hostname: &bundle.plan.hostname,
            capabilities,
            no_new_privileges: spec::Security::parse(config)?.no_new_privileges,
            limits: config.ulimits.as_deref().unwrap_or_default(),
            highest_limit: spec::highest_limit(permitted),
        },
    )?;
    join_network(pid)?;
    Ok(AddedProcess { layout, process, container_capabilities })
}

/// Writes `process.json`.
pub(crate) fn write_process(layout: &Layout, process: &Process) -> Result<(), StartError> {
    write_json(&layout.process_file(), process)
}

/// Enters the network namespace of a process: specifications do not name it, so no runtime would.
fn join_network(pid: i32) -> Result<(), StartError> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed("open", &path, &error))?;
    rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )
    .map_err(|error| failed("enter", &path, &error))
}

/// What this process may hand on.
fn permitted() -> Result<CapabilitySet, StartError> {
    let path = Path::new("/proc/self/status");
    let status = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
    Ok(CapabilitySet::permitted(&status))
}

fn open_directory(path: &Path) -> Result<OwnedFd, StartError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed("open", path, &error))
}

/// Refuses a directory on a file and a file on a directory with Docker's text: what a runtime says
/// about it is less clear.
fn check_mount_targets(bundle: &Bundle<'_>, rootfs: &OwnedFd) -> Result<(), StartError> {
    for (index, mount) in bundle.plan.mounts.iter().enumerate() {
        check_not_in_proc(mount, bundle.staged.get(index).and_then(Option::as_deref))?;
        check_nested(bundle, index)?;
        let Some(Some(staged)) = bundle.staged.get(index) else { continue };
        let source = fs::metadata(staged).map_err(|error| failed("read", staged, &error))?;
        // What lies below another mount is not in the root file system.
        let nested =
            bundle.plan.mounts[..index].iter().any(|outer| mount.target.starts_with(&outer.target));
        if nested {
            continue;
        }
        let Ok(target) = open_path(rootfs, &mount.target) else {
            if source.is_dir() {
                make_mount_point(rootfs, &mount.target)?;
            }
            continue;
        };
        let Ok(status) = rustix::fs::fstat(&target) else { continue };
        let onto_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        if source.is_dir() != onto_directory {
            let (source, target) = (source_name(mount), mount.target.display());
            return Err(refused(format!(
                "error mounting \"{source}\" to rootfs at \"{target}\": mount {source}:{target}: not a directory: \
                 Are you trying to mount a directory onto a file (or vice-versa)? \
                 Check if the specified host path exists and is the expected type"
            )));
        }
    }
    Ok(())
}

/// Nothing may cover what the kernel tells and is told below `/proc`.
fn check_not_in_proc(mount: &PlannedMount, staged: Option<&Path>) -> Result<(), StartError> {
    let target = spec::clean(&mount.target);
    if !target.starts_with("/proc") || MAY_COVER.iter().any(|path| target == Path::new(path)) {
        return Ok(());
    }
    let is_proc =
        |path| rustix::fs::statfs(path).is_ok_and(|fs| fs.f_type == rustix::fs::PROC_SUPER_MAGIC);
    if target == Path::new("/proc") && staged.is_some_and(is_proc) {
        return Ok(());
    }
    let why = if target == Path::new("/proc") { "not of type proc" } else { "inside /proc" };
    Err(refused(format!(
        "error mounting \"{}\" to rootfs at \"{}\": it cannot be mounted because it is {why}",
        source_name(mount),
        target.display()
    )))
}

/// A mount point that is missing in another mount cannot be made where that is read-only.
fn check_nested(bundle: &Bundle<'_>, index: usize) -> Result<(), StartError> {
    let (Some(mount), Some(outers)) =
        (bundle.plan.mounts.get(index), bundle.plan.mounts.get(..index))
    else {
        return Ok(());
    };
    let target = spec::clean(&mount.target);
    let outer = outers.iter().enumerate().rev().find_map(|(at, outer)| {
        let below = target.strip_prefix(spec::clean(&outer.target)).ok()?;
        Some((at, outer, below)).filter(|_| !below.as_os_str().is_empty())
    });
    let Some((at, outer, below)) = outer.filter(|(_, outer, _)| outer.read_only) else {
        return Ok(());
    };
    let Some(Some(staged)) = bundle.staged.get(at) else { return Ok(()) };
    let Ok(directory) = open_directory(staged) else { return Ok(()) };
    if open_path(directory, below).is_ok() {
        return Ok(());
    }
    let (source, target, outer) = (source_name(mount), target.display(), outer.target.display());
    Err(refused(format!(
        "error mounting \"{source}\" to rootfs at \"{target}\": mkdir {target}: read-only file system: \
         the mount on {outer} is read-only and has no such directory"
    )))
}

/// Makes a missing mount point: a link on the way may lead to what the image does not have
/// (`/var/lock → /run/lock`), and is followed inside the root; runtimes differ about such links.
fn make_mount_point(rootfs: &OwnedFd, target: &Path) -> Result<(), StartError> {
    let root = Root::from_fd(rootfs.try_clone().map_err(refused)?);
    let below = target.strip_prefix("/").unwrap_or(target);
    match root.mkdir_all(below, 0o755, Owner { uid: 0, gid: 0 }) {
        Ok(_) => Ok(()),
        // The runtime says what a read-only root lacks.
        Err(error) if error.io_kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        Err(error) => Err(failed("mkdir", target, &error)),
    }
}

fn source_name(mount: &PlannedMount) -> String {
    match &mount.source {
        MountSource::Bind { path, subpath: None, .. } => path.display().to_string(),
        MountSource::Bind { path, subpath: Some(subpath), .. } => {
            path.join(subpath).display().to_string()
        }
        MountSource::Filesystem { filesystem, .. } => filesystem.mountpoint.display().to_string(),
        MountSource::Tmpfs { .. } => "tmpfs".to_owned(),
        MountSource::Image { .. } => "image".to_owned(),
        MountSource::Init => "init".to_owned(),
        MountSource::SharedMemory { .. } => "shm".to_owned(),
        MountSource::Content(_) => "content".to_owned(),
    }
}

fn open_path(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), RESOLVE)
}

/// Makes the working directory if it is missing, as Docker's runtime does: root's, 0755, in the mount
/// that it lies in.
fn make_working_directory(bundle: &Bundle<'_>, rootfs: &OwnedFd) -> Result<(), StartError> {
    let cwd = spec::clean(Path::new(&bundle.plan.process.cwd));
    let mut base = rootfs.try_clone().map_err(refused)?;
    let mut below = cwd.strip_prefix("/").unwrap_or(&cwd).to_owned();
    // Later mounts lie over earlier ones.
    let covering = bundle.plan.mounts.iter().enumerate().rev().find_map(|(index, mount)| {
        cwd.strip_prefix(spec::clean(&mount.target)).ok().map(|rest| (index, rest.to_owned()))
    });
    if let Some((index, rest)) = covering {
        // A tmpfs does not exist yet; the image of a mount point below it cannot help either.
        let Some(Some(staged)) = bundle.staged.get(index) else { return Ok(()) };
        if rest.as_os_str().is_empty() {
            return Ok(());
        }
        base = open_directory(staged)?;
        below = rest;
    }
    make_directories(&base, &below).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => {
            refused(format!("Cannot mkdir: {} is not a directory", cwd.display()))
        }
        _ => failed("mkdir", &cwd, &error),
    })
}

/// `mkdir -p` below `root`; links resolve inside it.
fn make_directories(root: &OwnedFd, path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || open_path(root, path).is_ok_and(|found| is_directory(&found))
    {
        return Ok(());
    }
    let mut parent = root.try_clone()?;
    let mut done = PathBuf::new();
    for name in path.components().take(MAX_COMPONENTS) {
        done.push(name);
        match rustix::fs::mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            // A read-only file system says so before it says that the directory exists.
            Err(Errno::ROFS) if open_path(root, &done).is_ok() => {}
            Err(error) => return Err(error.into()),
        }
        parent = open_path(root, &done)?;
        if !is_directory(&parent) {
            return Err(Errno::NOTDIR.into());
        }
    }
    Ok(())
}

fn is_directory(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file)
        .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory)
}

/// An added process does not get its working directory made.
fn check_working_directory(root: &OwnedFd, cwd: &str) -> Result<(), StartError> {
    let reason = match open_path(root, &spec::clean(Path::new(cwd))) {
        Ok(found) if is_directory(&found) => return Ok(()),
        Ok(_) => "not a directory".to_owned(),
        Err(Errno::NOENT) => "no such file or directory".to_owned(),
        Err(error) => io::Error::from(error).to_string(),
    };
    if !cwd.starts_with('/') {
        let message = "Cwd must be an absolute path".to_owned();
        return Err(StartError { exit_code: 128, message });
    }
    let message = format!("chdir to cwd (\"{cwd}\") set in config.json failed: {reason}");
    Err(StartError {
        exit_code: if reason == "no such file or directory" { 127 } else { 126 },
        message,
    })
}

/// Sets `net.*` in the namespace that the caller stands in.
fn set_network_parameters(bundle: &Bundle<'_>) -> Result<(), StartError> {
    for (name, value) in spec::sysctls(&bundle.plan.host_config)?.network {
        let path = spec::sysctl_path(&name);
        fs::write(&path, value).map_err(|error| failed("write", &path, &error))?;
    }
    Ok(())
}

/// Biases the out-of-memory killer for a process that has not started its command yet.
///
/// Best effort: lowering the value needs CAP_SYS_RESOURCE, which a confined host withholds.
pub(crate) fn adjust_oom_score(pid: i32, value: i64) {
    if value == 0 {
        return;
    }
    if let Err(error) = fs::write(format!("/proc/{pid}/oom_score_adj"), value.to_string()) {
        tracing::debug!(pid, value, %error, "the out-of-memory score stays as it is");
    }
}

/// Removes what both runtimes leave in the run directory and in the control groups.
pub(crate) fn remove_state(bundle: &Bundle<'_>) -> Result<(), StartError> {
    let cgroup = ContainerCgroup::new(&bundle.plan.cgroup)
        .and_then(|cgroup| cgroup.remove())
        .map_err(|error| {
            refused(format!("cannot remove control group `{}`: {error}", bundle.plan.cgroup))
        });
    let root = Layout::new(bundle).root;
    let state = match fs::remove_dir_all(&root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &root, &error))
        }
        _ => Ok(()),
    };
    cgroup.and(state)
}

/// Opens a stream's descriptor above the standard ones, where a runtime can move it without loss.
pub(crate) fn above_standard(stream: OwnedFd) -> Result<OwnedFd, StartError> {
    use std::os::fd::AsRawFd;
    if stream.as_raw_fd() > 2 {
        return Ok(stream);
    }
    rustix::io::fcntl_dupfd_cloexec(&stream, 3)
        .map_err(|error| refused(format!("cannot duplicate a stream: {error}")))
}

/// Makes `path` if it is missing; used where only its existence matters.
pub(crate) fn ensure_directory(path: &Path) -> Result<(), StartError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(_) => Ok(()),
        Err(_) => fs::create_dir_all(path).map_err(|error| failed("create", path, &error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_are_made_below_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        let open = open_directory(root.path()).unwrap();
        make_directories(&open, Path::new("a/b/c")).unwrap();
        assert!(root.path().join("a/b/c").is_dir());
        make_directories(&open, Path::new("a/b/c")).unwrap();

        symlink(outside.path(), root.path().join("link")).unwrap();
        let error = make_directories(&open, Path::new("link/x")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!outside.path().join("x").exists());

        symlink("/a", root.path().join("inside")).unwrap();
        make_directories(&open, Path::new("inside/new")).unwrap();
        assert!(root.path().join("a/new").is_dir());

        fs::write(root.path().join("file"), "").unwrap();
        let error = make_directories(&open, Path::new("file/x")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }

    #[test]
    fn a_missing_working_directory_of_an_added_process() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let open = open_directory(root.path()).unwrap();
        check_working_directory(&open, "").unwrap();
        check_working_directory(&open, "/").unwrap();
        let error = check_working_directory(&open, "/nowhere").unwrap_err();
        let text =
            "chdir to cwd (\"/nowhere\") set in config.json failed: no such file or directory";
        assert_eq!(error, StartError { exit_code: 127, message: text.to_owned() });
        let text = "chdir to cwd (\"/file\") set in config.json failed: not a directory";
        assert_eq!(
            check_working_directory(&open, "/file").unwrap_err(),
            StartError { exit_code: 126, message: text.to_owned() }
        );
    }
}
