//! The mounts of a container: Docker's own, then the planned ones in their order.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};
use rustix::fs::{Mode, OFlags};

use super::{DevicePlaces, SpecInput, is_host, refused, resources};
use crate::plan::{MountSource, Plan, PlannedMount};
use crate::user::RESOLVE;
use crate::{StartError, late, stage};

/// Where control groups are shown.
pub(super) const CGROUP_TARGET: &str = "/sys/fs/cgroup";

/// Controllers that the linked-in runtime makes groups in; only those can be bound.
const LEGACY_CONTROLLERS: [&str; 12] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "hugetlb",
    "memory",
    "pids",
    "perf_event",
    "blkio",
    "net_prio",
    "net_cls",
    "freezer",
];

/// All mounts in the order they are made.
pub(super) fn mounts(input: SpecInput<'_>) -> Result<Vec<Mount>, StartError> {
    let plan = input.bundle.plan;
    let mut mounts = Vec::new();
    let is_late = |planned: &PlannedMount| {
        input.devices == DevicePlaces::BelowDev && late::is_late(plan, planned)
    };
    for default in defaults(plan, input.legacy_cgroups)? {
        if !plan
            .mounts
            .iter()
            .any(|mount| !is_late(mount) && replaces(mount, default.destination()))
        {
            mounts.push(default);
        }
    }
    for (place, device) in resources::bound_devices(&plan.host_config, input.devices)? {
        mounts.push(mount(place, "bind", device, &["bind", "rprivate"])?);
    }
    for (index, planned) in plan.mounts.iter().enumerate() {
        if is_late(planned) {
            continue;
        }
        let staged = input.bundle.staged.get(index).and_then(Option::as_deref);
        mounts.push(planned_mount(planned, staged, input.bundle.rootfs)?);
    }
    Ok(mounts)
}

/// Whether a planned mount takes the place of an engine default; one on `/dev` takes all below it.
fn replaces(mount: &PlannedMount, default: &Path) -> bool {
    let target = clean(&mount.target);
    default == target
        || (target == Path::new("/dev") && default.starts_with("/dev"))
        || (target == Path::new(CGROUP_TARGET) && default.starts_with(CGROUP_TARGET))
}

/// Takes out `.`, `..` and repeated separators without looking at the file system.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => cleaned.push(name),
            std::path::Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

/// Docker's own mounts.
fn defaults(plan: &Plan, legacy_cgroups: &[(PathBuf, PathBuf)]) -> Result<Vec<Mount>, StartError> {
    let config = &plan.host_config;
    let system = if config.privileged { "rw" } else { "ro" };
    let writable = super::Security::parse(config)?.writable_cgroups.unwrap_or(config.privileged);
    let cgroups = if writable { "rw" } else { "ro" };
    let shared_memory = format!("size={}", config.shm_size);
    let host_ipc = is_host(&config.ipc_mode);
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", system])?,
    ];
    if legacy_cgroups.is_empty() {
        mounts.push(mount(
            CGROUP_TARGET,
            "cgroup",
            "cgroup",
            &[cgroups, "nosuid", "noexec", "nodev"],
        )?);
    } else {
        mounts.push(mount(
            CGROUP_TARGET,
            "bind",
            stage::own::cgroup_directory(&stage::directory(&plan.run_dir)),
            &["bind", cgroups, "nosuid", "noexec", "nodev"],
        )?);
        mounts.extend(legacy_binds(legacy_cgroups, cgroups)?);
    }
    mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?);
    if host_ipc {
        mounts.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate"])?);
        return Ok(mounts);
    }
    // Another container's comes with the planned mounts.
    if config.ipc_mode != "none" {
        let options = ["nosuid", "noexec", "nodev", "mode=1777", &shared_memory];
        mounts.push(mount("/dev/shm", "tmpfs", "shm", &options)?);
    }
    Ok(mounts)
}

/// The container's own directory of each v1 hierarchy.
///
/// The linked-in runtime would show them writable, and with that let a container lift its own limits.
/// A hierarchy of several controllers (`cpu,cpuacct`) is also shown by the name of each.
fn legacy_binds(cgroups: &[(PathBuf, PathBuf)], system: &str) -> Result<Vec<Mount>, StartError> {
    let mut mounts = Vec::new();
    for (root, directory) in cgroups {
        let Some(name) = root.file_name().and_then(|name| name.to_str()) else { continue };
        let controllers: Vec<&str> = name.split(',').collect();
        if !controllers.iter().any(|controller| LEGACY_CONTROLLERS.contains(controller)) {
            continue;
        }
        let alone = controllers.len() == 1;
        for shown in std::iter::once(name).chain(controllers.into_iter().filter(|_| !alone)) {
            let target = format!("{CGROUP_TARGET}/{shown}");
            mounts.push(mount(
                &target,
                "bind",
                directory,
                &["bind", system, "nosuid", "noexec", "nodev"],
            )?);
        }
    }
    Ok(mounts)
}

/// A mount of the plan; what was staged is already confined and made read-only as a whole.
fn planned_mount(
    planned: &PlannedMount,
    staged: Option<&Path>,
    rootfs: &Path,
) -> Result<Mount, StartError> {
    let mut options: Vec<&str> = Vec::new();
    let hidden_mode = hidden_mode(planned, rootfs);
    let (kind, source) = match (&planned.source, staged) {
        (MountSource::Tmpfs { options: words }, _) => {
            options.extend(words.iter().map(String::as_str));
            options.extend(hidden_mode.as_deref());
            ("tmpfs", Path::new("tmpfs"))
        }
        (_, Some(staged)) => {
            options.push("rbind");
            options.push(if planned.propagation.is_empty() {
                "rprivate"
            } else {
                &planned.propagation
            });
            ("bind", staged)
        }
        (_, None) => {
            return Err(refused(format!(
                "the mount on `{}` was not staged",
                planned.target.display()
            )));
        }
    };
    if planned.read_only {
        options.push("ro");
    }
    mount(&planned.target, kind, source, &options)
}

/// A tmpfs whose mode nobody names gets that of the directory it hides.
fn hidden_mode(planned: &PlannedMount, rootfs: &Path) -> Option<String> {
    let MountSource::Tmpfs { options } = &planned.source else { return None };
    if options.iter().any(|option| option.starts_with("mode=")) {
        return None;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, flags, Mode::empty()).ok()?;
    let found =
        rustix::fs::openat2(root, clean(&planned.target), flags, Mode::empty(), RESOLVE).ok()?;
    let mode = rustix::fs::fstat(found).ok()?.st_mode & 0o7777;
    Some(format!("mode={mode:o}"))
}

fn mount(
    target: impl Into<PathBuf>,
    kind: &str,
    source: impl Into<PathBuf>,
    options: &[&str],
) -> Result<Mount, StartError> {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    MountBuilder::default()
        .destination(target)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
        .map_err(refused)
}

/// How the root file system must propagate mounts for what its mounts ask for.
pub(super) fn root_propagation(mounts: &[PlannedMount]) -> Option<String> {
    let any =
        |wanted: [&str; 2]| mounts.iter().any(|mount| wanted.contains(&mount.propagation.as_str()));
    if any(["rshared", "shared"]) {
        Some("shared".to_owned())
    } else if any(["rslave", "slave"]) {
        Some("slave".to_owned())
    } else {
        None
    }
}
