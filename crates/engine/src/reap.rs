//! Empties the trash in the background and folds the database's log.
//!
//! `orlop reap` is started by whoever has deleted something or has seen that the log is long; one
//! runs at a time (a lock), and a second one that finds the lock taken leaves the work to the first.

use std::os::fd::AsFd as _;
use std::path::Path;

use orlop_meta::TrashKind;
use orlop_sys::lock::FileLock;
use orlop_sys::process::{Detached, spawn_detached};
use orlop_types::ErrorKind;

use crate::{Engine, Error, Result};

/// Bytes of write-ahead log above which it is worth a sync to fold it.
const LOG_BYTES: u64 = 256 << 10;
/// Bytes of write-ahead log that are worth a process: whoever opens the database while nobody else
/// has it open reads and sums up the whole log first (measured: 1 ms for each MiB or two).
const LONG_LOG_BYTES: u64 = 1 << 20;

impl Engine {
    /// Deletes what is in the trash for good and tidies up after crashes.
    pub fn reap(&self) -> Result<()> {
        let path = self.store.paths.run_root.join("reap.lock");
        // Again, since somebody may have left to this process what came after its last look.
        while let Some(lock) = FileLock::try_acquire(&path).map_err(system("lock", &path))? {
            if self.has_trash() {
                self.store.make_room();
            }
            self.containers().remove_ended()?;
            if self.store.sweep()?.is_some() {
                self.layers.sweep(&orlop_container::now_text())?;
                self.images().remove_unreferenced_layers()?;
                self.images().content().sweep()?;
            }
            orlop_sys::fault::point("reap.swept");
            self.empty_trash()?;
            if self.log_bytes() > LOG_BYTES {
                self.store.database().checkpoint()?;
            }
            self.store.keep_reserve();
            drop(lock);
            if self.trash_names()?.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Order: list, forget the rows, delete what was listed; see [`orlop_meta::Store::forget_trash`].
    fn empty_trash(&self) -> Result<()> {
        let trash = self.store.paths.trash();
        let directory = std::fs::File::open(&trash).map_err(system("open", &trash))?;
        // Again until nothing is left: more may come while this is at work.
        loop {
            let mut names = self.trash_names()?;
            orlop_sys::fault::point("reap.listed");
            if let Err(error) = self.store.forget_trash() {
                // On a full disk nothing can be written before something is deleted: what has a path
                // that never comes back may go before its row.
                names.retain(|name| !self.is_volume(name).unwrap_or(true));
                if names.is_empty() || error.kind() != ErrorKind::Unavailable {
                    return Err(error.into());
                }
            }
            orlop_sys::fault::point("reap.forgotten");
            for name in &names {
                use std::os::unix::ffi::OsStrExt as _;
                // A name from the directory itself holds no zero byte.
                let Ok(name) = std::ffi::CString::new(name.as_bytes()) else { continue };
                orlop_sys::tree::remove_tree(directory.as_fd(), &name)
                    .map_err(|error| system("empty", &trash)(std::io::Error::other(error)))?;
                orlop_sys::fault::point("reap.removed");
            }
            if names.is_empty() {
                return Ok(());
            }
        }
    }

    fn is_volume(&self, name: &std::ffi::OsStr) -> Result<bool> {
        let rows = self.store.read(|query| query.trash())?;
        Ok(rows.iter().any(|row| row.kind == TrashKind::Volume && *row.id == *name))
    }

    /// Whether something waits to be deleted for good.
    pub(crate) fn has_trash(&self) -> bool {
        std::fs::read_dir(self.store.paths.trash())
            .is_ok_and(|mut entries| entries.next().is_some())
    }

    fn trash_names(&self) -> Result<Vec<std::ffi::OsString>> {
        let trash = self.store.paths.trash();
        std::fs::read_dir(&trash)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(system("list", &trash))
    }

    /// To be called at the end of a command: sees to it that those who only add things, too, leave
    /// no long log to the next.
    pub fn fold_long_log(&self) {
        if self.log_bytes() > LONG_LOG_BYTES {
            self.reap_in_background();
        }
    }

    /// Length of the write-ahead log.
    fn log_bytes(&self) -> u64 {
        let log = self.store.paths.database().with_extension("db-wal");
        log.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Starts [`Engine::reap`] in a process of its own; that it cannot be started hurts nobody.
    pub(crate) fn reap_in_background(&self) {
        let start = || -> std::io::Result<()> {
            let null = || {
                Ok::<_, std::io::Error>(
                    std::fs::File::options().read(true).write(true).open("/dev/null")?.into(),
                )
            };
            let mut args = self.settings.global_arguments.clone();
            args.push("reap".into());
            spawn_detached(Detached {
                program: self.settings.executable.clone(),
                args,
                stdin: null()?,
                stdout: null()?,
                stderr: null()?,
            })
        };
        if let Err(error) = start() {
            tracing::debug!(%error, "cannot start the reaper");
        }
    }
}

fn system<'a>(operation: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> Error + 'a {
    move |source| Error::System { operation, subject: path.display().to_string(), source }
}
