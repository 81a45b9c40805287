//! Mounts by file descriptor: overlay, bind and tmpfs through the new mount API.
//!
//! Every function that makes a mount returns a *detached* one: nobody sees it until [`attach`] puts
//! it somewhere, and it vanishes when its descriptor is closed. Paths of layers are opened first and
//! handed over as descriptors, so that `,`, `:` and `\\` in them mean nothing and their number is
//! not limited by the length of an option string.
//!
//! Needs Linux 6.5 (`lowerdir+`); descriptors as layers came with 6.13 and are replaced by
//! `/proc/self/fd` names before that.
//!
//! Source: Linux `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`, `open_tree(2)`, `move_mount(2)`,
//! `mount_setattr(2)`; Documentation/filesystems/overlayfs.rst.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};
use serde::{Deserialize, Serialize};

/// How the root file system of a container or image is put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootfsRecipe {
    /// A kernel overlay of directories.
    Overlay {
        /// Read-only directories, uppermost first; never empty.
        lowers: Vec<PathBuf>,
        /// The writable directory, if there is one.
        upper: Option<OverlayUpper>,
    },
    /// One directory as it is.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Whether it may not be written.
        read_only: bool,
    },
}

/// The writable side of an overlay; both directories are on one file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayUpper {
    /// Receives what is written.
    pub upper: PathBuf,
    /// The kernel's scratch directory.
    pub work: PathBuf,
    /// Skips every sync: for layers that die with their container anyway.
    pub volatile: bool,
}

/// A mount operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op} `{}`{}", target.display(), kernel_suffix(kernel_text))]
pub struct MountError {
    /// What was attempted, for instance `mount overlay on`.
    pub op: &'static str,
    /// The path or name that it was attempted on.
    pub target: PathBuf,
    /// What the kernel said beyond the error number; empty where it said nothing.
    pub kernel_text: String,
    /// The error number.
    #[source]
    pub source: io::Error,
}

fn kernel_suffix(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

impl MountError {
    fn new(op: &'static str, target: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { op, target: target.into(), kernel_text: String::new(), source: source.into() }
    }
}

/// How a mount's changes travel to and from its peers (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// In no direction.
    Private,
    /// In both directions.
    Shared,
    /// Only to the mount.
    Slave,
}

/// What [`set_attributes`] changes; whatever is unset stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Forbids writing through the mount.
    pub read_only: Option<Reach>,
    /// Sets the propagation type.
    pub propagation: Option<(Propagation, Reach)>,
}

/// How far a change of attributes reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The top mount only.
    Top,
    /// The top mount and everything mounted below it.
    Recursive,
}

/// Mounts a root file system as the recipe says; the result is detached and private.
pub fn mount_rootfs(recipe: &RootfsRecipe) -> Result<OwnedFd, MountError> {
    match recipe {
        RootfsRecipe::Directory { path, read_only } => {
            clone_directory(path, read_only.then_some(Reach::Top))
        }
        RootfsRecipe::Overlay { lowers, upper: None } if lowers.len() == 1 => {
            // The kernel refuses an overlay of one directory and no upper.
            clone_directory(&lowers[0], Some(Reach::Top))
        }
        RootfsRecipe::Overlay { lowers, upper } => mount_overlay(lowers, upper.as_ref()),
    }
}

/// Clones a directory's mount, out of the peer group that the host's mount may belong to: what is
/// mounted below the clone must not appear on the host.
fn clone_directory(path: &Path, read_only: Option<Reach>) -> Result<OwnedFd, MountError> {
    let mount = clone_tree(CWD, path, Reach::Top)?;
    let propagation = Some((Propagation::Private, Reach::Top));
    set_attributes(&mount, Attributes { read_only, propagation })
        .map_err(|source| MountError::new("set the attributes of the mount of", path, source))?;
    Ok(mount)
}

/// Options that are forced off, so that what lies in an upper directory is a plain layer which can
/// be read without the overlay. A kernel that was built without one of them refuses the word.
const OVERLAY_OFF: [&str; 3] = ["index", "metacopy", "redirect_dir"];

fn mount_overlay(lowers: &[PathBuf], upper: Option<&OverlayUpper>) -> Result<OwnedFd, MountError> {
    let context = new_context("overlay")?;
    // What `mount` and `/proc/mounts` show as the device.
    let _ = rustix::mount::fsconfig_set_string(&context, "source", "overlay");
    for option in OVERLAY_OFF {
        if rustix::mount::fsconfig_set_string(&context, option, "off").is_err() {
            // The refusal would otherwise be read as the reason of a later failure.
            let _ = kernel_text(&context);
        }
    }
    // Before Linux 6.5 the kernel looks names up only when the file system is created, so what they
    // name stays open until then.
    let mut kept = set_lowers(&context, lowers)?;
    let mut attributes = MountAttrFlags::empty();
    if let Some(upper) = upper {
        kept.push(set_layer(&context, "upperdir", &upper.upper)?);
        kept.push(set_layer(&context, "workdir", &upper.work)?);
        if upper.volatile {
            rustix::mount::fsconfig_set_flag(&context, "volatile").map_err(|errno| {
                context_error(&context, "mount volatile overlay on", &upper.upper, errno)
            })?;
        }
    } else {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let name = upper.map(|upper| upper.upper.as_path()).or(lowers.first().map(PathBuf::as_path));
    let mount =
        create(&context, "mount overlay on", name.unwrap_or(Path::new("overlay")), attributes);
    drop(kept);
    mount
}

/// Most bytes of one value that fsconfig(2) takes.
const VALUE_MAX_BYTES: usize = 255;

/// First kernel whose overlay takes its layers one by one (`lowerdir+`). Earlier ones accept every
/// option and refuse only when the file system is created.
const LAYERS_ONE_BY_ONE: (u32, u32) = (6, 5);

/// Hands the read-only directories to an overlay context, uppermost first.
fn set_lowers(context: &OwnedFd, lowers: &[PathBuf]) -> Result<Vec<OwnedFd>, MountError> {
    let release = rustix::system::uname();
    if kernel_version(&release.release().to_string_lossy()) < LAYERS_ONE_BY_ONE {
        return set_joined_lowers(context, lowers);
    }
    lowers.iter().map(|lower| set_layer(context, "lowerdir+", lower)).collect()
}

/// The first two numbers of a kernel release, for instance `6.1.0-18-amd64`; 0 for what is no number.
fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (next(), next())
}

/// Names every directory by a descriptor, since each name costs some of the 255 bytes.
fn set_joined_lowers(context: &OwnedFd, lowers: &[PathBuf]) -> Result<Vec<OwnedFd>, MountError> {
    let directories =
        lowers.iter().map(|lower| open_layer(lower)).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = directories.iter().map(descriptor_name).collect();
    let text = names.join(":");
    let first = lowers.first().map_or(Path::new("overlay"), PathBuf::as_path);
    if text.len() > VALUE_MAX_BYTES {
        let mut error = MountError::new("use as overlay layer", first, rustix::io::Errno::TOOBIG);
        error.kernel_text =
            format!("{} layers are too many for a kernel before Linux 6.5", lowers.len());
        return Err(error);
    }
    rustix::mount::fsconfig_set_string(context, "lowerdir", text.as_str())
        .map_err(|errno| context_error(context, "use as overlay layers", first, errno))?;
    Ok(directories)
}

fn open_layer(path: &Path) -> Result<OwnedFd, MountError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| MountError::new("open layer", path, errno))
}

fn descriptor_name(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Hands one directory to an overlay context by descriptor, or, before Linux 6.13, by a
/// descriptor's name.
fn set_layer(context: &OwnedFd, key: &str, path: &Path) -> Result<OwnedFd, MountError> {
    let directory = open_layer(path)?;
    if rustix::mount::fsconfig_set_fd(context, key, &directory).is_ok() {
        return Ok(directory);
    }
    let refusal = kernel_text(context);
    let name = descriptor_name(&directory);
    match rustix::mount::fsconfig_set_string(context, key, name.as_str()) {
        Ok(()) => Ok(directory),
        Err(errno) => {
            let mut error = context_error(context, "use as overlay layer", path, errno);
            if error.kernel_text.is_empty() {
                error.kernel_text = refusal;
            }
            Err(error)
        }
    }
}

/// Mounts a new, empty tmpfs; each option is a word of mount(8), for instance `size=64m`,
/// `mode=1777`, `noexec`, `ro`.
pub fn new_tmpfs<S: AsRef<str>>(options: &[S]) -> Result<OwnedFd, MountError> {
    let context = new_context("tmpfs")?;
    let mut attributes = MountAttrFlags::empty();
    for option in options {
        let option = option.as_ref();
        if let Some((set, flag)) = attribute_word(option) {
            attributes.set(flag, set);
            continue;
        }
        let result = match option.split_once('=') {
            Some((key, value)) => rustix::mount::fsconfig_set_string(&context, key, value),
            None => rustix::mount::fsconfig_set_flag(&context, option),
        };
        result.map_err(|errno| {
            context_error(&context, "use tmpfs option", Path::new(option), errno)
        })?;
    }
    create(&context, "mount", Path::new("tmpfs"), attributes)
}

/// Maps words that are attributes of a mount rather than options of a file system.
fn attribute_word(word: &str) -> Option<(bool, MountAttrFlags)> {
    Some(match word {
        "ro" => (true, MountAttrFlags::MOUNT_ATTR_RDONLY),
        "rw" => (false, MountAttrFlags::MOUNT_ATTR_RDONLY),
        "nosuid" => (true, MountAttrFlags::MOUNT_ATTR_NOSUID),
        "suid" => (false, MountAttrFlags::MOUNT_ATTR_NOSUID),
        "nodev" => (true, MountAttrFlags::MOUNT_ATTR_NODEV),
        "dev" => (false, MountAttrFlags::MOUNT_ATTR_NODEV),
        "noexec" => (true, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        "exec" => (false, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        _ => return None,
    })
}

fn new_context(kind: &'static str) -> Result<OwnedFd, MountError> {
    rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|errno| MountError::new("open file system", kind, errno))
}

fn create(
    context: &OwnedFd,
    op: &'static str,
    target: &Path,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, MountError> {
    rustix::mount::fsconfig_create(context)
        .and_then(|()| rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
        .map_err(|errno| context_error(context, op, target, errno))
}

fn context_error(
    context: &OwnedFd,
    op: &'static str,
    target: &Path,
    errno: rustix::io::Errno,
) -> MountError {
    let kernel_text = kernel_text(context);
    MountError { op, target: target.to_owned(), kernel_text, source: errno.into() }
}

/// Reads what the kernel wrote about the last failures; each message is `e `, `w ` or `i ` and text.
fn kernel_text(context: &OwnedFd) -> String {
    /// A context holds at most 8 messages.
    const MESSAGES_MAX: usize = 8;
    let mut texts = Vec::new();
    let mut buffer = [0_u8; 512];
    for _ in 0..MESSAGES_MAX {
        let Ok(length) = rustix::io::read(context, &mut buffer) else { break };
        let text = String::from_utf8_lossy(&buffer[..length]);
        if let Some(text) = text.trim_end().strip_prefix("e ") {
            texts.push(text.to_owned());
        }
    }
    texts.join("; ")
}

/// Clones the mount at `path` (below `directory` unless absolute; empty for `directory` itself) as
/// a detached one; with [`Reach::Recursive`], what is mounted below it comes along.
///
/// A link at the end of `path` is followed.
pub fn clone_tree(directory: impl AsFd, path: &Path, reach: Reach) -> Result<OwnedFd, MountError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if reach == Reach::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    rustix::mount::open_tree(directory, path, flags)
        .map_err(|errno| MountError::new("clone the mount of", path, errno))
}

/// `struct mount_attr` of mount_setattr(2), version 0.
#[repr(C)]
#[derive(Default)]
pub(crate) struct MountAttr {
    pub(crate) attr_set: u64,
    pub(crate) attr_clr: u64,
    pub(crate) propagation: u64,
    pub(crate) userns_fd: u64,
}

/// Changes attributes of a mount, attached or not, given any descriptor of its root.
pub fn set_attributes(mount: impl AsFd, attributes: Attributes) -> io::Result<()> {
    let mount = mount.as_fd();
    if let Some(reach) = attributes.read_only {
        let attr = MountAttr {
            attr_set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(),
            attr_clr: 0,
            propagation: 0,
            userns_fd: 0,
        };
        mount_setattr(mount, reach, &attr)?;
    }
    if let Some((propagation, reach)) = attributes.propagation {
        let propagation = match propagation {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
        };
        let attr = MountAttr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 };
        mount_setattr(mount, reach, &attr)?;
    }
    Ok(())
}

pub(crate) fn mount_setattr(
    mount: BorrowedFd<'_>,
    reach: Reach,
    attr: &MountAttr,
) -> io::Result<()> {
    let recursive = if reach == Reach::Recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::AT_EMPTY_PATH | recursive;
    // SAFETY: the path is an empty NUL-terminated string, `attr` points to a live `struct
    // mount_attr` whose size is passed and which the kernel only reads, and `mount` is open for
    // the length of the borrow.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts a detached mount onto `target`; a link at its end is not followed.
pub fn attach(mount: impl AsFd, target: &Path) -> Result<(), MountError> {
    rustix::mount::move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| MountError::new("mount on", target, errno))
}

/// Takes the mount at `target`, and everything below it, out of the namespace.
pub fn detach(target: &Path) -> Result<(), MountError> {
    rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        .map_err(|errno| MountError::new("unmount", target, errno))
}

/// Gives the calling thread a mount namespace of its own, from which nothing gets out: every mount
/// in it only receives what happens in the old one.
pub fn unshare_mount_namespace() -> Result<(), MountError> {
    let op = "make a mount namespace for";
    crate::process::unshare(crate::process::Namespace::Mount)
        .map_err(|source| MountError::new(op, "/", source))?;
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|errno| MountError::new("make a slave of", "/", errno))
}

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
