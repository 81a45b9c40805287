//! File systems as `mount -t TYPE -o OPTIONS DEVICE` makes them, without a trace on the host.
//!
//! The classic mount(2) is used on purpose: it takes every file system with every option string up to
//! a page, and its error numbers are those that people know. It happens on a thread with a mount
//! namespace of its own, so only the detached mount that is returned remains of it.
//!
//! Source: Linux `mount(2)`; the option words and the error's text are those of Docker's engine
//! (`moby/sys/mount`).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType};
use rustix::mount::{MountFlags, MountPropagationFlags};
use serde::{Deserialize, Serialize};

use crate::mount::{
    Attributes, Propagation, Reach, clone_tree, set_attributes, unshare_mount_namespace,
};

/// What is mounted and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemRecipe {
    /// Type, for instance `ext4`, `tmpfs`, `nfs`; anything for a bind.
    pub fstype: String,
    /// Comma-separated words of mount(8).
    pub options: String,
    /// Device, host path, server path, or whatever the type calls a source.
    pub device: String,
}

/// A file system that could not be mounted; the text is Docker's, passwords masked.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct FilesystemError {
    /// `mount DEVICE:TARGET, flags: 0x…, data: …`.
    pub text: String,
    /// The kernel's answer.
    #[source]
    pub source: io::Error,
}

impl FilesystemError {
    fn io(text: String) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { text, source }
    }

    /// The kernel's answer as Go writes it: `no such file or directory`.
    #[must_use]
    pub fn reason(&self) -> String {
        let text = self.source.to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        let mut letters = text.chars();
        letters
            .next()
            .map(|first| first.to_lowercase().chain(letters).collect())
            .unwrap_or_default()
    }
}

/// A file system that is mounted as long as somebody uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFilesystem {
    /// What is mounted.
    pub recipe: FilesystemRecipe,
    /// The directory that errors name; see [`FilesystemRecipe::mount`].
    pub mountpoint: PathBuf,
    /// Where its users are noted; see [`SharedMount`].
    pub users: PathBuf,
}

impl SharedFilesystem {
    /// Gives a clone of the mount of those who use it just now, or mounts it. Until the second value
    /// is dropped nobody else gets in: time to [register](SharedMount::register).
    pub fn open(&self) -> Result<(OwnedFd, SharedMount), FilesystemError> {
        let failed = || FilesystemError::io(format!("share the mount of {}", self.recipe.device));
        let shared = SharedMount::lock(&self.users).map_err(failed())?;
        let mount = match shared.find().map_err(failed())? {
            Some(mount) => mount,
            None => self.recipe.mount(&self.mountpoint)?,
        };
        Ok((mount, shared))
    }
}

impl FilesystemRecipe {
    /// Mounts it; `target` is a directory that exists, on which it is mounted for a moment where
    /// nobody sees it, and by which an error names it. The result is detached and private.
    pub fn mount(&self, target: &Path) -> Result<OwnedFd, FilesystemError> {
        let (flags, data) = parse_options(&self.options);
        let mounted = if flags.contains(MountFlags::BIND) {
            self.bind(flags)
        } else {
            self.mount_alone(target, flags, &data)
        };
        mounted.map_err(|source| FilesystemError { text: self.text(target, flags, &data), source })
    }

    /// A bind is a clone of what is mounted in the caller's own namespace.
    fn bind(&self, flags: MountFlags) -> io::Result<OwnedFd> {
        let reach = if flags.contains(MountFlags::REC) { Reach::Recursive } else { Reach::Top };
        let path = Path::new("/").join(&self.device);
        let mount = clone_tree(CWD, &path, reach).map_err(|error| error.source)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&mount)?.st_mode);
        if kind != FileType::Directory {
            return Err(rustix::io::Errno::NOTDIR.into());
        }
        let read_only = flags.contains(MountFlags::RDONLY).then_some(Reach::Top);
        let propagation = Some((Propagation::Private, Reach::Recursive));
        set_attributes(&mount, Attributes { read_only, propagation })?;
        Ok(mount)
    }

    fn mount_alone(&self, target: &Path, flags: MountFlags, data: &str) -> io::Result<OwnedFd> {
        let text = |text: &str| CString::new(text).map_err(|_| rustix::io::Errno::INVAL);
        let (fstype, device, data) = (text(&self.fstype)?, text(&self.device)?, text(data)?);
        on_own_thread(|| {
            unshare_mount_namespace().map_err(|error| error.source)?;
            // A device without a leading slash is looked up where a daemon would.
            rustix::process::chdir("/")?;
            let data = (!data.is_empty()).then_some(data.as_c_str());
            rustix::mount::mount(&*device, target, &*fstype, flags, data)?;
            let mount = clone_tree(CWD, target, Reach::Recursive).map_err(|error| error.source)?;
            let propagation = Some((Propagation::Private, Reach::Recursive));
            set_attributes(mount.as_fd(), Attributes { read_only: None, propagation })?;
            Ok(mount)
        })
    }

    fn text(&self, target: &Path, flags: MountFlags, data: &str) -> String {
        let mut text = format!("mount {}:{}", self.device, target.display());
        if !flags.is_empty() {
            text.push_str(&format!(", flags: 0x{:x}", flags.bits()));
        }
        if !data.is_empty() {
            text.push_str(&format!(", data: {}", without_password(data)));
        }
        text
    }
}

/// How often a mount that is there is tried to be cloned.
const CLONE_ATTEMPTS: u32 = 5;

/// Clones a mount of another process's mount namespace; `None` if there is none at that path (any
/// more). The result is detached and private.
pub fn clone_from_process(pid: i32, path: &Path) -> io::Result<Option<OwnedFd>> {
    let namespace = match std::fs::File::open(format!("/proc/{pid}/ns/mnt")) {
        Ok(namespace) => namespace,
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    on_own_thread(|| {
        leave_shared_directories()?;
        crate::process::enter_namespace(&namespace)?;
        let Some(mount) = clone_while_there(path)? else { return Ok(None) };
        if !is_mount_root(path)? {
            return Ok(None);
        }
        let propagation = Some((Propagation::Private, Reach::Recursive));
        set_attributes(mount.as_fd(), Attributes { read_only: None, propagation })?;
        Ok(Some(mount))
    })
}

/// Clones what is mounted at a path; `None` if nothing is, any more. Its user may be unmounting it just
/// now: the kernel refuses to clone what has left the namespace since it was looked up (EINVAL of
/// `open_tree(2)`), so it is looked up again.
fn clone_while_there(path: &Path) -> io::Result<Option<OwnedFd>> {
    for _ in 1..CLONE_ATTEMPTS {
        match clone_tree(CWD, path, Reach::Recursive) {
            Ok(mount) => return Ok(Some(mount)),
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.source.raw_os_error() == Some(libc::EINVAL) => {
                if !is_mount_root(path)? {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error.source),
        }
    }
    clone_tree(CWD, path, Reach::Recursive).map(Some).map_err(|error| error.source)
}

/// Whether something is mounted exactly at a path of the calling thread's namespace.
fn is_mount_root(path: &Path) -> io::Result<bool> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Runs `work` on a thread that ends with it, so that what it does to its namespaces ends, too.
fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the mounting thread has failed")))
    })
}

/// Gives the calling thread a root and a working directory of its own, without which a thread among
/// others may not enter another mount namespace.
fn leave_shared_directories() -> io::Result<()> {
    // SAFETY: `UnshareFlags::FILES` is not among the flags, so no descriptor changes its meaning.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS)?;
    }
    Ok(())
}

/// Words of `-o` that are flags: what they set (true) or clear.
const WORDS: [(&str, bool, MountFlags); 20] = [
    ("async", false, MountFlags::SYNCHRONOUS),
    ("atime", false, MountFlags::NOATIME),
    ("bind", true, MountFlags::BIND),
    ("dev", false, MountFlags::NODEV),
    ("diratime", false, MountFlags::NODIRATIME),
    ("dirsync", true, MountFlags::DIRSYNC),
    ("exec", false, MountFlags::NOEXEC),
    ("noatime", true, MountFlags::NOATIME),
    ("nodev", true, MountFlags::NODEV),
    ("nodiratime", true, MountFlags::NODIRATIME),
    ("noexec", true, MountFlags::NOEXEC),
    ("norelatime", false, MountFlags::RELATIME),
    ("nosuid", true, MountFlags::NOSUID),
    ("rbind", true, MountFlags::BIND.union(MountFlags::REC)),
    ("relatime", true, MountFlags::RELATIME),
    ("ro", true, MountFlags::RDONLY),
    ("rw", false, MountFlags::RDONLY),
    ("strictatime", true, MountFlags::STRICTATIME),
    ("suid", false, MountFlags::NOSUID),
    ("sync", true, MountFlags::SYNCHRONOUS),
];
/// Words that say how the mount propagates. Containers see a private clone in any case.
const PROPAGATION_WORDS: [(&str, MountPropagationFlags); 8] = [
    ("private", MountPropagationFlags::PRIVATE),
    ("rprivate", MountPropagationFlags::PRIVATE),
    ("rshared", MountPropagationFlags::SHARED),
    ("rslave", MountPropagationFlags::DOWNSTREAM),
    ("runbindable", MountPropagationFlags::UNBINDABLE),
    ("shared", MountPropagationFlags::SHARED),
    ("slave", MountPropagationFlags::DOWNSTREAM),
    ("unbindable", MountPropagationFlags::UNBINDABLE),
];

/// Splits options into flags and what the file system itself gets.
fn parse_options(options: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in options.split(',').filter(|word| !word.is_empty()) {
        if let Some((_, set, flag)) = WORDS.iter().find(|(known, ..)| *known == word) {
            flags.set(*flag, *set);
        } else if word != "defaults" && !PROPAGATION_WORDS.iter().any(|(known, _)| *known == word) {
            data.push(word);
        }
    }
    (flags, data.join(","))
}

/// Masks the value of `password=`.
fn without_password(data: &str) -> String {
    let words = data
        .split(',')
        .map(|word| if word.starts_with("password=") { "password=********" } else { word });
    words.collect::<Vec<_>>().join(",")
}

/// A place below a run directory where the users of one shared mount are noted, so that the next
/// user gets the very same mount, and the kernel unmounts it when the last one is gone.
///
/// ```text
/// <directory>/lock            held by whoever looks or mounts
/// <directory>/<user>-<pid>-…  `<pid> <start ticks>`, a line break, the mount's path in that
///                             process's mount namespace
/// ```
///
/// A user that was killed leaves its file behind: the next look finds no such process, and removes it.
#[derive(Debug)]
pub struct SharedMount {
    directory: PathBuf,
    /// None where this thread holds it already: one container may mount a volume twice, and would
    /// wait for itself.
    lock: Option<crate::lock::FileLock>,
}

/// Directories whose lock a thread holds.
static HELD: std::sync::Mutex<Vec<(std::thread::ThreadId, PathBuf)>> =
    std::sync::Mutex::new(Vec::new());

fn held() -> std::sync::MutexGuard<'static, Vec<(std::thread::ThreadId, PathBuf)>> {
    HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Drop for SharedMount {
    fn drop(&mut self) {
        if self.lock.take().is_some() {
            // It may have been handed to another thread: whoever took it, it is free now.
            held().retain(|(_, directory)| *directory != self.directory);
        }
    }
}

/// How long others may take to mount; a network file system may be slow.
const LOCK_LIMIT: std::time::Duration = std::time::Duration::from_secs(180);
const LOCK_NAME: &str = "lock";
/// Uses that this process has noted.
static REGISTERED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

impl SharedMount {
    /// Keeps other users out until this is dropped.
    pub fn lock(directory: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let own = (std::thread::current().id(), directory.to_owned());
        if held().contains(&own) {
            return Ok(Self { directory: own.1, lock: None });
        }
        let lock = crate::lock::FileLock::acquire(&directory.join(LOCK_NAME), LOCK_LIMIT)?;
        let lock = lock.ok_or(io::ErrorKind::TimedOut)?;
        held().push(own);
        Ok(Self { directory: directory.to_owned(), lock: Some(lock) })
    }

    /// A clone of the mount that somebody uses just now; `None` if nobody does.
    pub fn find(&self) -> io::Result<Option<OwnedFd>> {
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.ends_with(LOCK_NAME) {
                continue;
            }
            let found = match read_use(&path)? {
                Some((pid, mount)) => clone_from_process(pid, &mount)?,
                None => None,
            };
            if found.is_some() {
                return Ok(found);
            }
            remove_use(&path)?;
        }
        Ok(None)
    }

    /// How many users are noted that live no more; nothing is locked or changed.
    pub fn stale(directory: &Path) -> io::Result<usize> {
        let mut stale = 0;
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if !path.ends_with(LOCK_NAME) && read_use(&path)?.is_none() && path.exists() {
                stale += 1;
            }
        }
        Ok(stale)
    }

    /// Forgets users that live no more.
    pub fn forget_stale(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if !path.ends_with(LOCK_NAME) && read_use(&path)?.is_none() {
                remove_use(&path)?;
            }
        }
        Ok(())
    }

    /// Notes that the calling process has it mounted at a path of its own namespace.
    pub fn register(&self, user: &str, mount: &Path) -> io::Result<SharedUse> {
        use std::os::unix::ffi::OsStrExt as _;
        let pid = std::process::id();
        // A process may mount it again before it has forgotten the last time.
        let count = REGISTERED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = self.directory.join(format!("{user}-{pid}-{count}"));
        let ticks = crate::process::start_ticks(pid.cast_signed())?.unwrap_or(0);
        let mut text = format!("{pid} {ticks}\n").into_bytes();
        text.extend_from_slice(mount.as_os_str().as_bytes());
        std::fs::write(&path, text)?;
        Ok(SharedUse { path })
    }
}

/// One process's use of a [`SharedMount`]; dropped, nobody looks for the mount there any more.
#[derive(Debug)]
pub struct SharedUse {
    path: PathBuf,
}

impl Drop for SharedUse {
    fn drop(&mut self) {
        // What is left is found out by the next look.
        let _ = remove_use(&self.path);
    }
}

fn remove_use(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The process and path of a user that lives.
fn read_use(path: &Path) -> io::Result<Option<(i32, PathBuf)>> {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (Some((pid, ticks)), Some(mount)) = (first.split_once(' '), lines.next()) else {
        return Ok(None);
    };
    let (Ok(pid), Ok(ticks)) = (pid.parse::<i32>(), ticks.parse::<u64>()) else { return Ok(None) };
    let lives = crate::process::start_ticks(pid)? == Some(ticks);
    Ok(lives.then(|| (pid, PathBuf::from(std::ffi::OsStr::from_bytes(mount)))))
}

#[cfg(test)]
#[path = "mount_filesystem_tests.rs"]
mod tests;
