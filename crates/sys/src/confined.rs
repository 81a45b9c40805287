//! Paths of hostile trees: every operation is relative to an open directory and cannot leave it.
//!
//! Images, containers and volumes choose their own names and links. A [`Root`] resolves such a path
//! as a process that is chrooted there would see it: an absolute link starts at the root again and
//! `..` stops there (`openat2(2)` with `RESOLVE_IN_ROOT` and `RESOLVE_NO_MAGICLINKS`). What creates,
//! changes or removes an object resolves only its parent and never follows the last component.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

/// Links that one resolution follows before it gives up, as the kernel's own limit.
const LINKS_MAX: usize = 40;
/// Attempts after `EAGAIN`, which `openat2` gives when something was renamed while it looked.
const ATTEMPTS_MAX: usize = 64;

/// A failed operation on a path below a root.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub struct PathError {
    /// What was attempted, as a verb phrase.
    pub action: &'static str,
    /// The path relative to its root.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// Makes the error of a failed action on a path.
    pub fn new(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self { action, path: path.into(), source: source.into() }
    }

    /// The reason as the operating system gave it.
    #[must_use]
    pub fn io_kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// The result of operations on confined paths.
pub type Result<T> = std::result::Result<T, PathError>;

/// Whether the last component of a path is followed when it is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// Resolve it, confined like all others.
    Follow,
    /// Name the link itself.
    Keep,
}

/// A user and a group by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// A special file to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
    /// A character device with its major and minor number.
    Char(u32, u32),
    /// A block device with its major and minor number.
    Block(u32, u32),
}

/// A point in time as files store it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

impl FileTime {
    /// Access and modification time both set to this.
    #[must_use]
    pub fn both(self) -> Timestamps {
        let time = Timespec { tv_sec: self.seconds, tv_nsec: i64::from(self.nanoseconds) };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// An open directory that no path can leave.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// A detached mount ends when the descriptor that it was made with is closed.
    _mount: Option<OwnedFd>,
}

impl Root {
    /// Opens a trusted path as a root.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .map(Self::from_fd)
            .map_err(|error| PathError::new("open the directory", path, error))
    }

    /// Takes a directory that is open for reading as a root.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd, _mount: None }
    }

    /// Takes a detached mount, whose descriptor cannot be read from, as a root.
    pub fn of_mount(mount: OwnedFd) -> Result<Self> {
        let fd = open_dir_at(mount.as_fd(), c".")
            .map_err(|error| PathError::new("open the mount", ".", error))?;
        Ok(Self { fd, _mount: Some(mount) })
    }

    /// The open directory.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens a second handle on the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.fd.try_clone().map(Self::from_fd)
    }

    fn open_raw(&self, path: &Path, flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..ATTEMPTS_MAX {
            match rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Finds an object without opening its content (`O_PATH`).
    pub fn resolve(&self, path: impl AsRef<Path>, last: LastLink) -> Result<OwnedFd> {
        let mut flags = OFlags::PATH;
        if last == LastLink::Keep {
            flags |= OFlags::NOFOLLOW;
        }
        let path = path.as_ref();
        self.open_raw(path, flags).map_err(|error| PathError::new("resolve", path, error))
    }

    /// Opens a directory for reading, following links inside the root.
    pub fn open_dir(&self, path: impl AsRef<Path>) -> Result<OwnedFd> {
        let path = path.as_ref();
        self.open_raw(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|error| PathError::new("open the directory", path, error))
    }

    /// Opens a directory below the root as a root of its own.
    pub fn descend(&self, path: impl AsRef<Path>) -> Result<Self> {
        self.open_dir(path).map(Self::from_fd)
    }

    /// Opens a regular file for reading; devices, pipes and directories are refused without opening them.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let fail = |error: Errno| PathError::new("open the file", path, error);
        // O_NONBLOCK: the name may belong to a pipe; the check below is on what was really opened.
        let fd = self
            .open_raw(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
            .map_err(fail)?;
        let stat = rustix::fs::fstat(&fd).map_err(fail)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(File::from(fd)),
            FileType::Directory => Err(fail(Errno::ISDIR)),
            _ => Err(fail(Errno::INVAL)),
        }
    }

    /// Reads a whole regular file that must not be longer than the limit.
    pub fn read_limited(&self, path: impl AsRef<Path>, limit_bytes: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let fail = |error: io::Error| PathError::new("read", path, error);
        let mut content = Vec::new();
        let file = self.open_file(path)?;
        file.take(limit_bytes.saturating_add(1)).read_to_end(&mut content).map_err(fail)?;
        if content.len() as u64 > limit_bytes {
            let text = format!("longer than the limit of {limit_bytes} bytes");
            return Err(fail(io::Error::new(io::ErrorKind::FileTooLarge, text)));
        }
        Ok(content)
    }

    /// Opens the parent of a path and gives the last component, which is not followed.
    ///
    /// A path whose last component is missing or `..` names no entry of a parent and is refused.
    pub fn open_parent(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, CString)> {
        let path = path.as_ref();
        let invalid = || PathError::new("find the parent of", path, Errno::INVAL);
        let name = path.file_name().ok_or_else(invalid)?;
        let name = CString::new(name.as_bytes()).map_err(|_| invalid())?;
        let parent = path.parent().unwrap_or(Path::new("."));
        let parent = self
            .open_raw(parent, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|error| PathError::new("open the parent of", path, error))?;
        Ok((parent, name))
    }

    fn at_parent<T>(
        &self,
        action: &'static str,
        path: &Path,
        run: impl FnOnce(BorrowedFd<'_>, &CString) -> io::Result<T>,
    ) -> Result<T> {
        let (parent, name) = self.open_parent(path)?;
        run(parent.as_fd(), &name).map_err(|error| PathError::new(action, path, error))
    }

    /// Reads the metadata of the object itself.
    pub fn lstat(&self, path: impl AsRef<Path>) -> Result<Stat> {
        let path = path.as_ref();
        let fd = self.resolve(path, LastLink::Keep)?;
        rustix::fs::fstat(&fd).map_err(|error| PathError::new("read the metadata of", path, error))
    }

    /// Reads the metadata of what the path leads to.
    pub fn stat(&self, path: impl AsRef<Path>) -> Result<Stat> {
        let path = path.as_ref();
        let fd = self.resolve(path, LastLink::Follow)?;
        rustix::fs::fstat(&fd).map_err(|error| PathError::new("read the metadata of", path, error))
    }

    /// Whether something has this name, be it a dangling link.
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool> {
        match self.resolve(path, LastLink::Keep) {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(
                    error.io_kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a link's target.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        self.at_parent("read the link", path.as_ref(), |parent, name| {
            let target = rustix::fs::readlinkat(parent, name.as_c_str(), Vec::new())?;
            Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
        })
    }

    /// Creates a regular file that must not exist yet, with exactly this mode.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: u32) -> Result<File> {
        self.at_parent("create the file", path.as_ref(), |parent, name| {
            let flags =
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd =
                rustix::fs::openat(parent, name.as_c_str(), flags, Mode::from_raw_mode(0o600))?;
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
            Ok(File::from(fd))
        })
    }

    /// Creates one directory that must not exist yet, with exactly this mode.
    pub fn create_dir(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd> {
        self.at_parent("create the directory", path.as_ref(), |parent, name| {
            rustix::fs::mkdirat(parent, name.as_c_str(), Mode::from_raw_mode(0o700))?;
            let fd = open_dir_at(parent, name)?;
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
            Ok(fd)
        })
    }

    /// Creates a symbolic link with the target stored as it is.
    pub fn create_symlink(&self, target: &OsStr, path: impl AsRef<Path>) -> Result<()> {
        self.at_parent("create the link", path.as_ref(), |parent, name| {
            Ok(rustix::fs::symlinkat(target, parent, name.as_c_str())?)
        })
    }

    /// Gives the object at `existing` (itself, not what it leads to) a second name.
    pub fn create_hard_link(
        &self,
        existing: impl AsRef<Path>,
        path: impl AsRef<Path>,
    ) -> Result<()> {
        let (from, from_name) = self.open_parent(existing)?;
        self.at_parent("create the hard link", path.as_ref(), |parent, name| {
            Ok(rustix::fs::linkat(
                &from,
                from_name.as_c_str(),
                parent,
                name.as_c_str(),
                AtFlags::empty(),
            )?)
        })
    }

    /// Creates a pipe, socket or device with exactly this mode.
    pub fn create_node(&self, path: impl AsRef<Path>, node: Node, mode: u32) -> Result<()> {
        self.at_parent("create the node", path.as_ref(), |parent, name| {
            make_node(parent, name, node, mode)
        })
    }

    /// Makes sure that a directory exists and opens it; new ones get this mode and owner.
    ///
    /// Links on the way are followed inside the root, also those whose target does not exist yet: the
    /// target is then created, as container runtimes do for mount points.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32, owner: Owner) -> Result<OwnedFd> {
        let path = path.as_ref();
        match self.open_raw(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => return Ok(fd),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(PathError::new("create the directory", path, error)),
        }
        self.mkdir_all_slow(path, mode, owner)
            .map_err(|error| PathError::new("create the directory", path, error))
    }

    fn mkdir_all_slow(&self, path: &Path, mode: u32, owner: Owner) -> io::Result<OwnedFd> {
        let mut pending: Vec<Vec<u8>> = split(path.as_os_str().as_bytes());
        let mut done = PathBuf::new();
        let mut current = self.open_raw(&done, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == b".." {
                done.pop();
                current = self.open_raw(&done, OFlags::RDONLY | OFlags::DIRECTORY)?;
                continue;
            }
            let name = CString::new(part).map_err(|_| io::Error::from(Errno::INVAL))?;
            match rustix::fs::mkdirat(&current, name.as_c_str(), Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    let made = open_dir_at(current.as_fd(), &name)?;
                    chown_fd(made.as_fd(), owner)?;
                    rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
                    current = made;
                }
                Err(Errno::EXIST) => {
                    let stat =
                        rustix::fs::statat(&current, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                        links += 1;
                        if links > LINKS_MAX {
                            return Err(Errno::LOOP.into());
                        }
                        let target = rustix::fs::readlinkat(&current, name.as_c_str(), Vec::new())?;
                        if target.as_bytes().first() == Some(&b'/') {
                            done.clear();
                            current = self.open_raw(&done, OFlags::RDONLY | OFlags::DIRECTORY)?;
                        }
                        pending.extend(split(target.as_bytes()));
                        continue;
                    }
                    current = open_dir_at(current.as_fd(), &name)?;
                }
                Err(error) => return Err(error.into()),
            }
            done.push(OsStr::from_bytes(name.as_bytes()));
        }
        Ok(current)
    }

    /// Changes the owner of the object itself.
    pub fn chown(&self, path: impl AsRef<Path>, owner: Owner) -> Result<()> {
        let path = path.as_ref();
        let fd = self.resolve(path, LastLink::Keep)?;
        chown_fd(fd.as_fd(), owner)
            .map_err(|error| PathError::new("change the owner of", path, error))
    }

    /// Changes the mode of the object itself; a symbolic link has none and is refused.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        let path = path.as_ref();
        let fd = self.resolve(path, LastLink::Keep)?;
        crate::xattr::chmod_path_fd(fd.as_fd(), mode)
            .map_err(|error| PathError::new("change the mode of", path, error))
    }

    /// Sets access and modification time of the object itself.
    pub fn set_time(&self, path: impl AsRef<Path>, time: FileTime) -> Result<()> {
        self.at_parent("set the time of", path.as_ref(), |parent, name| {
            Ok(rustix::fs::utimensat(
                parent,
                name.as_c_str(),
                &time.both(),
                AtFlags::SYMLINK_NOFOLLOW,
            )?)
        })
    }

    /// Sets an extended attribute of the object itself.
    pub fn set_xattr(
        &self,
        path: impl AsRef<Path>,
        name: &std::ffi::CStr,
        value: &[u8],
    ) -> Result<()> {
        self.at_parent("set an attribute of", path.as_ref(), |parent, entry| {
            crate::xattr::set_at(parent, entry, name, value)
        })
    }

    /// Reads an extended attribute of the object itself.
    pub fn get_xattr(
        &self,
        path: impl AsRef<Path>,
        name: &std::ffi::CStr,
    ) -> Result<Option<Vec<u8>>> {
        self.at_parent("read an attribute of", path.as_ref(), |parent, entry| {
            crate::xattr::get_at(parent, entry, name)
        })
    }

    /// Removes the object and everything below it; an absent one is no error.
    pub fn remove_tree(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match self.open_parent(path) {
            Ok((parent, name)) => crate::tree::remove_tree(parent.as_fd(), &name),
            Err(error) if error.io_kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The components of a path in reverse order, without empty ones and `.`.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

/// Opens a directory by its name in an open one without following a link.
pub fn open_dir_at(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Changes the owner of an open object, also of one opened with `O_PATH`.
pub fn chown_fd(file: BorrowedFd<'_>, owner: Owner) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    Ok(rustix::fs::chownat(file, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
}

/// Creates a special file in an open directory with exactly this mode (the umask does not count).
pub fn make_node(
    parent: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    node: Node,
    mode: u32,
) -> io::Result<()> {
    let (kind, device) = match node {
        Node::Fifo => (FileType::Fifo, 0),
        Node::Socket => (FileType::Socket, 0),
        Node::Char(major, minor) => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
        Node::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
    };
    rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(mode & 0o777), device)?;
    set_mode_at(parent, name, mode)
}

/// Changes the mode of a name in an open directory without following a link; a link is refused.
///
/// After a change of the owner, which clears the set-user-id bit of special files too.
pub fn set_mode_at(parent: BorrowedFd<'_>, name: &std::ffi::CStr, mode: u32) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    if rustix::fs::fstat(&made)?.st_mode & 0o7777 == mode & 0o7777 {
        return Ok(());
    }
    crate::xattr::chmod_path_fd(made.as_fd(), mode & 0o7777)
}
