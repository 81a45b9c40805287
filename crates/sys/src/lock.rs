//! File locks that the kernel gives back when their holder dies.
//!
//! Two kinds, which exclude each other: [`FileLock`] belongs to an open file (threads of one
//! process exclude each other; a forked child shares it), [`ProcessLock`] to a process (a forked
//! child does not have it, and the kernel tells others the holder's pid). A lock file is never
//! removed while someone may hold it, because a second file of that name would be a second lock.
//!
//! Source: Linux `fcntl(2)`, "Advisory record locking" and "Open file description locks".

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Waiting is done by asking again, as no lock call has a time limit: first after this long …
const RETRY_FIRST: Duration = Duration::from_millis(1);
/// … then twice as long each time up to this.
const RETRY_LONGEST: Duration = Duration::from_millis(50);

/// An exclusive lock that belongs to an open file; dropped, it is free.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock if it is free; `None` if someone holds it. Creates the file, mode 0600.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        Ok(set_lock(&file, libc::F_OFD_SETLK)?.then_some(Self { file }))
    }

    /// Takes the lock, waiting no longer than `limit`; `None` if it was held all the time.
    pub fn acquire(path: &Path, limit: Duration) -> io::Result<Option<Self>> {
        let file = open(path)?;
        Ok(retry(limit, || set_lock(&file, libc::F_OFD_SETLK))?.then_some(Self { file }))
    }
}

impl AsFd for FileLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// An exclusive lock that belongs to the calling process; dropped, it is free.
///
/// Closing *any* descriptor of the file gives it up (POSIX), so a process opens such a file once.
#[derive(Debug)]
pub struct ProcessLock {
    _file: File,
}

impl ProcessLock {
    /// Takes the lock if it is free; `None` if someone holds it. Creates the file, mode 0600.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        Ok(set_lock(&file, libc::F_SETLK)?.then_some(Self { _file: file }))
    }

    /// Takes the lock, waiting no longer than `limit`; `None` if it was held all the time.
    pub fn acquire(path: &Path, limit: Duration) -> io::Result<Option<Self>> {
        let file = open(path)?;
        Ok(retry(limit, || set_lock(&file, libc::F_SETLK))?.then_some(Self { _file: file }))
    }
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The process with this pid, through a [`ProcessLock`].
    Process(i32),
    /// Some open file, through a [`FileLock`]; the kernel does not tell whose.
    OpenFile,
}

/// Tells who holds the lock of a file, without taking it even for a moment; `None` when nobody
/// does or when there is no such file.
pub fn holder(path: &Path) -> io::Result<Option<Holder>> {
    let file = match File::options().read(true).custom_flags(libc::O_CLOEXEC).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lock = whole_file();
    fcntl_lock(&file, libc::F_OFD_GETLK, &mut lock)?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    Ok(Some(if lock.l_pid > 0 { Holder::Process(lock.l_pid) } else { Holder::OpenFile }))
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn retry(limit: Duration, mut attempt: impl FnMut() -> io::Result<bool>) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    let mut pause = RETRY_FIRST;
    loop {
        if attempt()? {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

fn whole_file() -> libc::flock {
    // The constants are 0 and 1: they fit. `l_pid` must be 0 for the open-file commands.
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Tries to take the lock; tells whether it was free.
fn set_lock(file: &File, command: libc::c_int) -> io::Result<bool> {
    match fcntl_lock(file, command, &mut whole_file()) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn fcntl_lock(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the borrow and `lock` is a live, initialised
    // `struct flock`, which these commands read and (F_OFD_GETLK) write.
    #[allow(unsafe_code)]
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_lock_excludes_threads_of_one_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert_eq!(holder(&path).unwrap(), None);
        let held = FileLock::try_acquire(&path).unwrap().unwrap();
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        assert_eq!(holder(&path).unwrap(), Some(Holder::OpenFile));
        let start = Instant::now();
        assert!(FileLock::acquire(&path, Duration::from_millis(30)).unwrap().is_none());
        assert!(start.elapsed() >= Duration::from_millis(30));
        drop(held);
        assert_eq!(holder(&path).unwrap(), None);
        assert!(FileLock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn waiting_ends_when_the_lock_becomes_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = FileLock::try_acquire(&path).unwrap().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                drop(held);
            });
            assert!(FileLock::acquire(&path, Duration::from_secs(30)).unwrap().is_some());
        });
    }

    #[test]
    fn a_process_lock_names_its_holder_and_bars_file_locks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = ProcessLock::try_acquire(&path).unwrap().unwrap();
        let own = std::process::id().cast_signed();
        assert_eq!(get_in_shell(&path), own.to_string());
        drop(held);
        assert_eq!(get_in_shell(&path), "");
    }

    /// Asks `/proc/locks` who holds the file: a query from this process would close a descriptor
    /// of it and so give the lock up.
    fn get_in_shell(path: &Path) -> String {
        use std::os::unix::fs::MetadataExt as _;
        let inode = std::fs::metadata(path).unwrap().ino().to_string();
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let fields = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = fields.filter(|fields| fields[5].rsplit(':').next() == Some(inode.as_str()));
        ours.map(|fields| fields[4]).collect()
    }
}
