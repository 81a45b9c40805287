//! Where images are written: a tar, or a directory with an OCI layout.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use orlop_archive::digest::DigestReader;
use orlop_archive::plain::PlainTar;
use rustix::fs::FlockOperation;
use serde_json::Value;

use crate::layout_blobs::Blob;
use crate::layout_documents::{INDEX, LAYOUT, NAME, TAG, index};
use crate::load_source::{DOCUMENT_MAX_BYTES, archive};
use crate::{Error, Result};

/// Writes the content of a blob.
pub(crate) type WriteBlob<'a> = dyn FnMut(&mut (dyn Write + Send)) -> Result<()> + 'a;

/// Something that takes documents and layers under names.
pub(crate) trait Target {
    /// Takes a document.
    fn document(&mut self, name: &str, content: &[u8]) -> Result<()>;
    /// Takes a layer.
    fn blob(&mut self, name: &str, blob: &Blob, write: &mut WriteBlob<'_>) -> Result<()>;
}

/// One tar.
pub(crate) struct Tar<'a>(PlainTar<'a>);

impl<'a> Tar<'a> {
    pub(crate) fn new(output: &'a mut (dyn Write + Send)) -> Self {
        Self(PlainTar::new(output))
    }

    pub(crate) fn directories(&mut self, names: &[&str]) -> Result<()> {
        names.iter().try_for_each(|name| self.0.directory(name)).map_err(archive)
    }

    pub(crate) fn finish(self) -> Result<()> {
        self.0.finish().map_err(archive)
    }
}

impl Target for Tar<'_> {
    fn document(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.0.file(name, content).map_err(archive)
    }

    fn blob(&mut self, name: &str, blob: &Blob, write: &mut WriteBlob<'_>) -> Result<()> {
        self.0
            .stream(name, blob.bytes, |output| write(output).map_err(Wrapped))
            .map_err(|error| error.0)
    }
}

/// Lets errors of the archive pass through errors of images.
struct Wrapped(Error);

impl From<orlop_archive::Error> for Wrapped {
    fn from(error: orlop_archive::Error) -> Self {
        Self(archive(error))
    }
}

/// A directory with an OCI layout.
///
/// Order: every blob is written under another name, synced and renamed; `index.json` last, in the same
/// way. Cut anywhere, the layout is what it was, with at most some blobs more. Who writes holds a lock
/// on the directory.
pub(crate) struct Directory {
    path: PathBuf,
    /// The directory itself: locked, and unlocked when dropped.
    lock: File,
    /// Descriptors that were there.
    manifests: Vec<Value>,
}

impl Directory {
    /// Makes the directory, or opens one that is empty or has a layout.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::SaveFile { path: path.to_owned(), source };
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let lock = File::open(path).map_err(failed)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| failed(error.into()))?;
        let is_layout = path.join(LAYOUT.0).is_file();
        let mut names = std::fs::read_dir(path).map_err(failed)?;
        if !is_layout && names.next().is_some() {
            return Err(Error::NoLayout { path: path.to_owned() });
        }
        let mut directory = Self { path: path.to_owned(), lock, manifests: Vec::new() };
        directory.manifests = directory.present()?;
        let blobs = path.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(failed)?;
        Ok(directory)
    }

    /// The descriptors of the layout that is there.
    fn present(&self) -> Result<Vec<Value>> {
        let path = self.path.join(INDEX);
        let failed = |source| Error::SaveFile { path: path.clone(), source };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file.map_err(failed)?,
        };
        let mut text = Vec::new();
        file.take(DOCUMENT_MAX_BYTES).read_to_end(&mut text).map_err(failed)?;
        let index: Value = serde_json::from_slice(&text)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Ok(index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    fn put(&self, name: &str, write: &mut WriteBlob<'_>) -> Result<()> {
        let target = self.path.join(name);
        let temporary = target.with_file_name(format!(".tmp-{}", std::process::id()));
        let failed = |source| Error::SaveFile { path: target.clone(), source };
        let written = (|| {
            let mut file = File::create(&temporary).map_err(failed)?;
            write(&mut file)?;
            file.sync_all().map_err(failed)?;
            std::fs::rename(&temporary, &target).map_err(failed)
        })();
        if written.is_err()
            && let Err(error) = std::fs::remove_file(&temporary)
        {
            tracing::debug!(path = %temporary.display(), %error, "cannot remove an unfinished file");
        }
        written
    }

    /// Names the images, besides those that were there and whose names stay theirs.
    pub(crate) fn finish(self, added: &[Value]) -> Result<()> {
        let mut manifests: Vec<Value> = self
            .manifests
            .iter()
            .filter(|known| !added.iter().any(|new| replaces(new, known)))
            .cloned()
            .collect();
        manifests.extend(added.iter().cloned());
        let failed = |source| Error::SaveFile { path: self.path.clone(), source };
        File::open(self.path.join("blobs/sha256"))
            .and_then(|blobs| blobs.sync_all())
            .map_err(failed)?;
        self.document(LAYOUT.0, LAYOUT.1)?;
        self.document(INDEX, &index(&manifests)?)?;
        self.lock.sync_all().map_err(failed)
    }

    fn document(&self, name: &str, content: &[u8]) -> Result<()> {
        let failed = |source| Error::SaveFile { path: self.path.join(name), source };
        self.put(name, &mut |output| output.write_all(content).map_err(failed))
    }
}

impl Target for Directory {
    fn document(&mut self, name: &str, content: &[u8]) -> Result<()> {
        Self::document(self, name, content)
    }

    fn blob(&mut self, name: &str, blob: &Blob, write: &mut WriteBlob<'_>) -> Result<()> {
        if is_there(&self.path.join(name), blob) {
            return Ok(());
        }
        self.put(name, write)
    }
}

/// Whether a blob was written before, and is what it should be.
fn is_there(path: &Path, blob: &Blob) -> bool {
    let Ok(file) = File::open(path) else { return false };
    if !file.metadata().is_ok_and(|facts| facts.is_file() && facts.len() == blob.bytes) {
        return false;
    }
    let mut reader = DigestReader::new(file);
    io::copy(&mut reader, &mut io::sink()).is_ok() && reader.finish().0 == blob.digest
}

/// Whether a new descriptor takes the place of another: it has the same name, or none and the same
/// content.
fn replaces(new: &Value, known: &Value) -> bool {
    let annotation = |value: &Value, key: &str| {
        value
            .get("annotations")
            .and_then(|all| all.get(key))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match (annotation(new, NAME), annotation(known, NAME)) {
        (Some(new), Some(known)) => new == known,
        (Some(_), None) => annotation(new, TAG) == annotation(known, TAG),
        (None, None) if annotation(known, TAG).is_none() => {
            new.get("digest") == known.get("digest")
        }
        _ => false,
    }
}
