//! Kernel locks on directories, which end with the process that holds them.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::Result;
use crate::error::file;

/// A held lock; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Held(
    #[allow(dead_code, reason = "closing it gives the lock up")] pub(crate) File,
);

/// Opens a directory that the store itself made.
pub(crate) fn open_directory(path: &Path) -> Result<File> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map(File::from)
        .map_err(file("open", path))
}

/// Waits for the lock of a directory.
pub(crate) fn exclusive(path: &Path) -> Result<Held> {
    let directory = open_directory(path)?;
    flock(&directory, FlockOperation::LockExclusive).map_err(file("lock", path))?;
    Ok(Held(directory))
}

/// Takes the lock of a file, made if missing, unless somebody has it.
pub(crate) fn try_file(path: &Path) -> Result<Option<Held>> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(file("open", path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Held(lock))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(file("lock", path)(error)),
    }
}

/// `flock(2)` that starts again when a signal interrupts it.
pub(crate) fn flock(file: &File, operation: FlockOperation) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))
}
