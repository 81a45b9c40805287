//! Waiting until something may have happened to the store or its containers.
//!
//! The kernel tells (inotify) when the database is written and when a monitor leaves a record; so a
//! follower sleeps as long as nothing happens. Where the kernel cannot tell (too many watches on the
//! machine), looking again after a short pause does the same.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Longest sleep: what no watch tells of (a machine without free watches) is seen then.
const LONGEST: Duration = Duration::from_secs(2);
/// Pause between two looks without the kernel's help.
const POLL: Duration = Duration::from_millis(50);
/// Room for a batch of events.
const BATCH_BYTES: usize = 16 << 10;

/// Sleeps until there may be something new.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: Option<OwnedFd>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let opened = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        if let Err(error) = opened {
            tracing::debug!(%error, "changes are polled for");
        }
        Self { inotify: opened.ok() }
    }

    /// Watches the database and every container's records; doing it again is harmless. To be called
    /// before looking, so that nothing falls between.
    pub(crate) fn cover(&mut self, database: &Path, containers: &Path) {
        let Some(inotify) = &self.inotify else { return };
        let add = |path: &Path, flags| match inotify::add_watch(inotify, path, flags) {
            // It is not there yet, or no longer.
            Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error),
        };
        let appear = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        let log = database.with_extension("db-wal");
        let mut added = add(&log, WatchFlags::MODIFY)
            .and_then(|()| add(database, WatchFlags::MODIFY))
            .and_then(|()| add(containers, appear));
        for entry in std::fs::read_dir(containers).into_iter().flatten().flatten() {
            let run_dir = entry.path();
            added = added
                .and_then(|()| add(&run_dir, WatchFlags::CREATE))
                .and_then(|()| add(&run_dir.join("records"), WatchFlags::MOVED_TO));
        }
        if let Err(error) = added {
            tracing::debug!(%error, "changes are polled for");
            self.inotify = None;
        }
    }

    /// Sleeps until something may be new, no longer than `limit`.
    pub(crate) fn sleep(&self, limit: Option<Duration>) -> io::Result<()> {
        let limit = limit.unwrap_or(LONGEST).min(LONGEST);
        let Some(inotify) = &self.inotify else {
            std::thread::sleep(limit.min(POLL));
            return Ok(());
        };
        if orlop_sys::process::wait_readable(inotify.as_fd(), Some(limit))? {
            let mut room = [MaybeUninit::uninit(); BATCH_BYTES];
            let mut reader = inotify::Reader::new(inotify, &mut room);
            // Which it was does not matter.
            while reader.next().is_ok() {}
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_new_record_and_a_written_database_end_the_sleep() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("orlop.db");
        std::fs::write(&database, "").unwrap();
        let records = directory.path().join("containers/a/records");
        std::fs::create_dir_all(&records).unwrap();
        let mut watch = Watch::new();
        watch.cover(&database, &directory.path().join("containers"));
        let begin = Instant::now();
        watch.sleep(Some(Duration::from_millis(30))).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(30));
        for change in 0..2 {
            if change == 0 {
                std::fs::write(records.join("new"), "").unwrap();
                std::fs::rename(records.join("new"), records.join("1.json")).unwrap();
            } else {
                std::fs::write(&database, "x").unwrap();
            }
            let begin = Instant::now();
            watch.sleep(None).unwrap();
            assert!(begin.elapsed() < Duration::from_secs(1), "change {change}");
        }
    }
}
