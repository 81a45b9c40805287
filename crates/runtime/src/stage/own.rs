//! Mounts that are not of the host or of an image: the init program, another container's `/dev/shm`,
//! the directory in which v1 control groups are shown.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use orlop_sys::mount::{self, Attributes, Propagation, Reach};
use orlop_sys::mount_space::MountSpace;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use crate::StartError;
use crate::cgroup::Hierarchies;
use crate::error::Error;
use crate::plan::FileContent;

/// Where shared memory is.
const SHARED_MEMORY: &str = "/dev/shm";

/// Clones `/dev/shm` of a process, which may be in any mount namespace.
pub(super) fn shared_memory(pid: i32) -> Result<OwnedFd, StartError> {
    let path = Path::new(SHARED_MEMORY);
    let clone = || {
        // The other container owns its `/dev`: no link of it is followed.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
                .map_err(|errno| Error::file("open", path)(errno.into()))?;
        mount::clone_tree(directory, Path::new(""), Reach::Top).map_err(Error::from)
    };
    let outcome = MountSpace::of_process(pid)
        .and_then(|space| space.run(clone))
        .map_err(Error::stream("enter the mounts of the container whose memory is shared"))?;
    Ok(outcome?)
}

/// Mounts the init program, read-only, on a new file. It comes from memory: a run directory may be on
/// a file system from which nothing can be executed.
pub(super) fn init(target: &Path) -> Result<(), StartError> {
    let program = orlop_sys::init::PROGRAM;
    let what = MemoryFile { bytes: program, mode: 0o755, owner: None, executable: true };
    in_memory(target, "docker-init", &what)
}

/// Mounts a file, read-only, that has never been anywhere but in memory.
pub(super) fn content(target: &Path, content: &FileContent) -> Result<(), StartError> {
    let what = MemoryFile {
        bytes: &content.bytes,
        mode: content.mode,
        owner: Some((content.uid, content.gid)),
        executable: content.executable,
    };
    in_memory(target, "content", &what)
}

/// What [`in_memory`] makes.
struct MemoryFile<'a> {
    bytes: &'a [u8],
    mode: u32,
    owner: Option<(u32, u32)>,
    executable: bool,
}

fn in_memory(target: &Path, name: &str, what: &MemoryFile<'_>) -> Result<(), StartError> {
    let whole = target.with_extension("memory");
    let size = format!("size={}k", 64 + what.bytes.len() / 1024);
    let mut options = vec!["mode=0755", "nosuid", "nodev", size.as_str()];
    if !what.executable {
        options.push("noexec");
    }
    // Out of the swap as well, where the kernel can (6.4).
    let unswapped: Vec<&str> = options.iter().copied().chain(["noswap"]).collect();
    let tmpfs = mount::new_tmpfs(&unswapped).or_else(|_| mount::new_tmpfs(&options));
    std::fs::create_dir(&whole).map_err(Error::file("make", &whole))?;
    mount::attach(tmpfs.map_err(Error::from)?, &whole).map_err(Error::from)?;
    let path = whole.join(name);
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(what.bytes)?;
        if let Some((uid, gid)) = what.owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        // After the owner, whose change takes bits away; and the umask does not count.
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(what.mode & 0o7777))?)
    };
    write().map_err(Error::file("write", &path))?;
    let part = mount::clone_tree(CWD, &path, Reach::Top).map_err(Error::from)?;
    let attributes = Attributes {
        read_only: Some(Reach::Top),
        propagation: Some((Propagation::Private, Reach::Top)),
    };
    mount::set_attributes(&part, attributes)
        .map_err(Error::file("set the attributes of the mount of", &path))?;
    File::create(target).map_err(Error::file("make", target))?;
    mount::attach(&part, target).map_err(Error::from)?;
    mount::detach(&whole).map_err(|error| Error::from(error).into())
}

/// Makes the directory that is shown as `/sys/fs/cgroup` on v1, with a place for each hierarchy.
///
/// The container gets it read-only as one mount, into which the hierarchies are mounted.
pub(crate) fn cgroup_places(stage: &Path) -> Result<(), StartError> {
    let Hierarchies::Legacy(roots) =
        Hierarchies::detect().map_err(Error::stream("find the control groups"))?
    else {
        return Ok(());
    };
    let directory = cgroup_directory(stage);
    for root in roots {
        let Some(name) = root.file_name().and_then(|name| name.to_str()) else { continue };
        // A hierarchy of several controllers is also shown by the name of each.
        for shown in std::iter::once(name).chain(name.split(',')) {
            let place = directory.join(shown);
            std::fs::create_dir_all(&place).map_err(Error::file("make", &place))?;
        }
    }
    Ok(())
}

/// Where [`cgroup_places`] makes them.
pub(crate) fn cgroup_directory(stage: &Path) -> PathBuf {
    stage.join("cgroup")
}
