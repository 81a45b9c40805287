//! Blobs: manifests, indexes and packed layers, kept under their digests.
//!
//! `content/sha256/<digest>` is a file whose bytes have that digest, with a row in the table `content`.
//! A blob is written in `staging/`, synced, renamed, and gets its row in the transaction of whatever
//! needs it ([`NewBlob::insert`]); until then the [`NewBlob`] keeps sweeps away. A file without a row is
//! nobody's and goes with the next sweep. Blobs go with the last image or layer that needs them
//! ([`Content::remove_unneeded`]). Whoever reads one learns at its end whether it was damaged.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use orlop_archive::digest::Digester;
use orlop_meta::{ContentRecord, Durability, LayerBlob, Query, StagedDirectory, Store};
use orlop_sys::fault;
use orlop_types::{DiffId, Digest};

use crate::images::now;
use crate::{Error, Result};

/// Name of a blob in its staging directory.
const STAGED: &str = "blob";

/// The blobs of one store.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub(crate) store: &'a Store,
}

impl<'a> Content<'a> {
    /// The blobs of a store.
    #[must_use]
    pub fn new(store: &'a Store) -> Self {
        Self { store }
    }

    /// The packed forms of a layer that the store has, oldest first.
    pub fn layer_blobs(&self, diff_id: &DiffId) -> Result<Vec<LayerBlob>> {
        Ok(self.store.read(|query| query.layer_blobs(diff_id))?)
    }

    /// Begins to write a blob.
    pub fn write(&self) -> Result<BlobWriter<'a>> {
        let staged = self.store.stage()?;
        let path = staged.path().join(STAGED);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(failed("make", &path))?;
        Ok(BlobWriter {
            store: self.store,
            staged,
            file,
            digester: Digester::default(),
            size_bytes: 0,
        })
    }

    /// Puts bytes into the store.
    pub fn put(&self, media_type: &str, bytes: &[u8]) -> Result<NewBlob> {
        let mut writer = self.write()?;
        let path = writer.path();
        writer.write_all(bytes).map_err(failed("write", &path))?;
        writer.finish(media_type, None)
    }

    /// Opens a blob for reading. [`Error::NoBlob`] if the store does not have it.
    pub fn open(&self, digest: &Digest) -> Result<BlobReader> {
        let record = self.store.read(|query| query.content(digest))?;
        let record = record.ok_or_else(|| Error::NoBlob(digest.clone()))?;
        let path = self.store.paths.content(digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::DamagedBlob(digest.clone()));
            }
            other => other.map_err(failed("open", &path))?,
        };
        let length = file.metadata().map_err(failed("look at", &path))?.len();
        if length != record.size_bytes {
            return Err(Error::DamagedBlob(digest.clone()));
        }
        Ok(BlobReader { file, digester: Some(Digester::default()), record })
    }

    /// The bytes of a blob that is no longer than `limit_bytes`.
    pub fn read(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>> {
        let mut reader = self.open(digest)?;
        if reader.record.size_bytes > limit_bytes {
            return Err(Error::LongBlob { digest: digest.clone(), limit_bytes });
        }
        let mut bytes = Vec::new();
        match reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Error::DamagedBlob(digest.clone()))
            }
            Err(error) => Err(failed("read", &self.store.paths.content(digest))(error)),
        }
    }

    /// Reads a blob to its end to see whether it is what it should be.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let mut reader = self.open(digest)?;
        match io::copy(&mut reader, &mut io::sink()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Error::DamagedBlob(digest.clone()))
            }
            Err(error) => Err(failed("read", &self.store.paths.content(digest))(error)),
        }
    }

    /// Forgets a blob that was found to be damaged, with its file.
    pub fn forget_damaged(&self, digest: &Digest) -> Result<()> {
        let path = self.store.paths.content(digest);
        self.store.write(Durability::Durable, |query| {
            // A manifest is what an image is pushed as; without it, a new one is made.
            query.image_manifest_forget(digest)?;
            query.content_delete(digest).map(drop)
        })?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the blobs that nothing needs any more; gives their number and length. Does nothing
    /// while somebody is making something, which may need one of them.
    ///
    /// Order: the rows in one commit, then the files one by one into the trash; a cut leaves files
    /// without rows, which the next sweep takes.
    pub fn remove_unneeded(&self) -> Result<(usize, u64)> {
        if self.store.read(|query| query.content_unneeded())?.is_empty() {
            return Ok((0, 0));
        }
        let Some(_guard) = self.store.exclusive()? else {
            tracing::debug!("blobs stay for now: something is being made");
            return Ok((0, 0));
        };
        let gone = self.store.write(Durability::Durable, |query| {
            let gone = query.content_unneeded()?;
            for blob in &gone {
                query.content_delete(&blob.digest)?;
            }
            Ok::<_, orlop_meta::Error>(gone)
        })?;
        fault::point("content.removed");
        for blob in &gone {
            self.store.discard_file(&self.store.paths.content(&blob.digest))?;
        }
        Ok((gone.len(), gone.iter().map(|blob| blob.size_bytes).sum()))
    }

    /// Where blobs lie.
    pub(crate) fn directory(&self) -> PathBuf {
        self.store.paths.root.join("content/sha256")
    }

    /// Files that no row owns. Only true while the caller holds [`Store::exclusive`].
    pub fn orphans(&self) -> Result<Vec<PathBuf>> {
        let directory = self.directory();
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed("list", &directory))?,
        };
        let known = self.store.read(|query| query.contents())?;
        let known: std::collections::HashSet<&str> =
            known.iter().map(|blob| blob.digest.hex()).collect();
        let mut orphans = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed("list", &directory))?.file_name();
            if !name.to_str().is_some_and(|name| known.contains(name)) {
                orphans.push(directory.join(name));
            }
        }
        Ok(orphans)
    }

    /// Moves files that no row owns into the trash and gives their number; does nothing while
    /// somebody is making something. Run [`Store::sweep`] first.
    pub fn sweep(&self) -> Result<usize> {
        let Some(_guard) = self.store.exclusive()? else { return Ok(0) };
        let mut orphans = self.orphans()?;
        let old = self.partials()?.into_iter().filter(|(_, _, is_old)| *is_old);
        orphans.extend(old.map(|(path, ..)| path));
        for path in &orphans {
            self.store.discard_file(path)?;
        }
        Ok(orphans.len())
    }
}

/// A blob that is being written. Dropped before [`Self::finish`], it never was.
pub struct BlobWriter<'a> {
    store: &'a Store,
    staged: StagedDirectory,
    file: File,
    digester: Digester,
    size_bytes: u64,
}

impl BlobWriter<'_> {
    fn path(&self) -> PathBuf {
        self.staged.path().join(STAGED)
    }

    /// Gives the blob its place. With an expected digest, one of another is refused.
    ///
    /// Order: sync the file, rename it, sync the directory; the row follows by the caller.
    pub fn finish(self, media_type: &str, expected: Option<&Digest>) -> Result<NewBlob> {
        let path = self.path();
        let digest = self.digester.finish();
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(Error::OtherDigest { expected: expected.clone(), found: digest });
        }
        self.file.sync_all().map_err(failed("sync", &path))?;
        fault::point("content.synced");
        place(self.store, &path, &digest)?;
        sync_directory(self.store)?;
        fault::point("content.placed");
        let record = ContentRecord {
            digest,
            media_type: media_type.to_owned(),
            size_bytes: self.size_bytes,
            created_at: now(),
        };
        Ok(NewBlob { record, _staged: self.staged })
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let (done, _) = bytes.split_at(written);
        self.digester.update(done);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Renames a synced file to where the blob belongs; one that is there is replaced by the same bytes,
/// or by good ones if it was damaged.
pub(crate) fn place(store: &Store, path: &Path, digest: &Digest) -> Result<()> {
    let target = store.paths.content(digest);
    match std::fs::rename(path, &target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => {
            make_directory(store, "content/sha256")?;
            std::fs::rename(path, &target).map_err(failed("move into the store", &target))
        }
        other => other.map_err(failed("move into the store", &target)),
    }
}

/// Makes a directory of the store that has not been needed before.
pub(crate) fn make_directory(store: &Store, relative: &str) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = store.paths.root.join(relative);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(failed("make the directory", &path))?;
    for directory in [store.paths.root.as_path(), &store.paths.root.join("content")] {
        File::open(directory)
            .and_then(|opened| opened.sync_all())
            .map_err(failed("sync", directory))?;
    }
    Ok(())
}

/// Makes sure that what was renamed into `content/sha256` is there after a power cut.
pub(crate) fn sync_directory(store: &Store) -> Result<()> {
    let directory = store.paths.root.join("content/sha256");
    File::open(&directory).and_then(|opened| opened.sync_all()).map_err(failed("sync", &directory))
}

/// A blob in its place that has no row yet. Keep it until the row is committed.
#[derive(Debug)]
pub struct NewBlob {
    record: ContentRecord,
    _staged: StagedDirectory,
}

impl NewBlob {
    /// The row that the blob will have.
    #[must_use]
    pub fn record(&self) -> &ContentRecord {
        &self.record
    }

    /// The blob's digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.record.digest
    }

    /// Adds the row, in the transaction that makes what needs the blob.
    pub fn insert(&self, query: &Query<'_>) -> Result<()> {
        Ok(query.content_insert(&self.record)?)
    }
}

/// Reads a blob; in place of its end there is an error (`InvalidData`) if its bytes do not have the
/// digest.
pub struct BlobReader {
    file: File,
    digester: Option<Digester>,
    record: ContentRecord,
}

impl BlobReader {
    /// What the store knows about the blob.
    #[must_use]
    pub fn record(&self) -> &ContentRecord {
        &self.record
    }

    /// The same bytes for somebody who computes their digest himself.
    #[must_use]
    pub fn unverified(self) -> Self {
        Self { digester: None, ..self }
    }

    /// The file itself, for somebody who follows this reader.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        if length > 0 || buffer.is_empty() {
            let (read, _) = buffer.split_at(length);
            if let Some(digester) = &mut self.digester {
                digester.update(read);
            }
            return Ok(length);
        }
        let found = self.digester.take().map(Digester::finish);
        if found.is_some_and(|found| found != self.record.digest) {
            let text = format!("blob `{}` is damaged on the disk", self.record.digest);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(0)
    }
}

/// Makes the error of a failed action on a file of the content store.
pub(crate) fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::ContentFile { action, path: path.to_owned(), source }
}
