//! Blobs that are not all here yet: `content/partial/<digest>`.
//!
//! A download that is cut off leaves what came in; the next one goes on behind it. Nothing of it is
//! believed before the whole has the right digest. Whoever writes to such a file, moves it or removes
//! it holds its lock (`flock`); one that is whole may be read by all. Files that nobody works on are
//! given up after [`KEPT`], and at once when the disk is full.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use orlop_sys::fault;
use orlop_types::Digest;
use rustix::fs::FlockOperation;

use crate::content::{Content, failed, make_directory, place};
use crate::{Error, Result};

/// How long a part of a download is worth keeping: over a weekend.
const KEPT: Duration = Duration::from_secs(4 * 24 * 60 * 60);
/// Between two looks whether somebody else has finished the same download.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const COPY_BYTES: usize = 256 * 1024;

/// A part of a blob, locked for writing.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: File,
    path: PathBuf,
}

impl Partial {
    /// Gives the lock back: the file is whole from here on.
    pub(crate) fn unlock(self) -> Result<File> {
        rustix::fs::flock(&self.file, FlockOperation::Unlock)
            .map_err(|error| failed("unlock", &self.path)(error.into()))?;
        Ok(self.file)
    }

    /// Forgets what came in so far.
    pub(crate) fn empty(&self) -> Result<()> {
        self.file.set_len(0).map_err(failed("empty", &self.path))
    }
}

impl Content<'_> {
    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.store.paths.root.join("content/partial").join(digest.hex())
    }

    /// Opens what there is of a blob, making it if there is nothing. Waits while somebody else writes
    /// to it; `None` if `stop` said so meanwhile.
    pub(crate) fn open_partial(
        &self,
        digest: &Digest,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Partial>> {
        let path = self.partial_path(digest);
        let open = || {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
        };
        loop {
            let file = match open() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_directory(self.store, "content/partial")?;
                    open()
                }
                other => other,
            };
            let partial =
                Partial { file: file.map_err(failed("open", &path))?, path: path.clone() };
            while !try_lock(&partial)? {
                if stop() {
                    return Ok(None);
                }
                std::thread::sleep(LOOK_INTERVAL);
            }
            // Whoever had the lock may have moved the file away.
            if is_at_its_path(&partial)? {
                return Ok(Some(partial));
            }
        }
    }

    /// Gives a whole, verified download its place among the blobs; the row follows by the caller.
    pub(crate) fn place_partial(&self, digest: &Digest, file: File) -> Result<()> {
        let path = self.partial_path(digest);
        file.sync_all().map_err(failed("sync", &path))?;
        let partial = Partial { file, path };
        rustix::fs::flock(&partial.file, FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", &partial.path)(error.into()))?;
        if is_at_its_path(&partial)? {
            place(self.store, &partial.path, digest)?;
        } else if !self.is_placed(digest, &partial.file)? {
            // Somebody else gave it up, for instance on a full disk; it is still open here.
            let mut copy = self.write()?;
            copy_all(&partial.file, &mut copy).map_err(failed("copy", &partial.path))?;
            copy.finish("", Some(digest))?;
        }
        fault::point("content.partial.placed");
        Ok(())
    }

    /// Whether somebody else has given this very file or a verified one its place.
    fn is_placed(&self, digest: &Digest, file: &File) -> Result<bool> {
        if self.store.read(|query| query.content(digest))?.is_some() {
            return Ok(true);
        }
        let path = self.store.paths.content(digest);
        let own = file.metadata().map_err(failed("look at", &path))?;
        Ok(path.metadata().is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())))
    }

    /// Gives up what there is of some blobs: on a full disk nobody can go on with them.
    pub(crate) fn discard_partials<'d>(&self, digests: impl Iterator<Item = &'d Digest>) {
        for digest in digests {
            let path = self.partial_path(digest);
            let discard = || -> Result<()> {
                let Ok(file) = File::options().read(true).write(true).open(&path) else {
                    return Ok(());
                };
                let partial = Partial { file, path: path.clone() };
                if try_lock(&partial)? && is_at_its_path(&partial)? {
                    std::fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
                Ok(())
            };
            if let Err(error) = discard() {
                tracing::debug!(%digest, %error, "a part of a download stays");
            }
        }
    }

    /// Parts of downloads with their lengths and whether they are too old to be kept. Only true while
    /// the caller holds `Store::exclusive`.
    pub fn partials(&self) -> Result<Vec<(PathBuf, u64, bool)>> {
        let directory = self.store.paths.root.join("content/partial");
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed("list", &directory))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("list", &directory))?;
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
            found.push((entry.path(), metadata.len(), age.is_some_and(|age| age > KEPT)));
        }
        Ok(found)
    }
}

fn try_lock(partial: &Partial) -> Result<bool> {
    match rustix::fs::flock(&partial.file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(failed("lock", &partial.path)(error.into())),
    }
}

fn is_at_its_path(partial: &Partial) -> Result<bool> {
    let own = partial.file.metadata().map_err(failed("look at", &partial.path))?;
    let there = partial.path.metadata();
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())))
}

/// Reads a file from its beginning, wherever it is read otherwise.
fn copy_all(file: &File, output: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let got = file.read_at(&mut buffer, at)?;
        let (read, _) = buffer.split_at(got);
        if read.is_empty() {
            return Ok(());
        }
        output.write_all(read)?;
        at += got as u64;
    }
}

impl Error {
    /// Whether there was no space left.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::StorageFull) {
                return true;
            }
            source = error.source();
        }
        false
    }
}
