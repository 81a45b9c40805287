//! Bringing one blob here: from the store itself, from the rest of an earlier download, or from a
//! registry.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use orlop_registry::manifest::Descriptor;
use orlop_registry::{BlobRequest, Error as RegistryError, Repository, Verifier};
use orlop_sys::fault;

use crate::content::failed;
use crate::content_partial::Partial;
use crate::pull_arrival::Arrival;
use crate::transfer::{LayerState, Tick, TransferWatch};
use crate::{Content, Error, Result};

/// Bytes that are read and written at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where a blob is when it is here.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// Among the blobs of the store.
    Stored,
    /// In a file that is whole and has no place yet.
    Came(File),
}

/// One blob that is to come here.
pub(crate) struct Fetch<'a> {
    pub(crate) content: Content<'a>,
    pub(crate) repository: &'a Repository,
    pub(crate) descriptor: &'a Descriptor,
    /// Its name in messages.
    pub(crate) id: &'a str,
    pub(crate) watch: &'a TransferWatch,
    /// Whoever unpacks it reads from here.
    pub(crate) arrival: &'a Arrival,
}

impl Fetch<'_> {
    /// Fetches the blob. When this returns well, all its bytes have been verified.
    pub(crate) fn run(&self) -> Result<Fetched> {
        let fetched = self.fetch()?;
        self.arrival.is_whole();
        self.watch.layer(self.id, LayerState::DownloadComplete);
        fault::point("pull.downloaded");
        Ok(fetched)
    }

    fn fetch(&self) -> Result<Fetched> {
        if self.is_stored()? {
            return Ok(Fetched::Stored);
        }
        let stop = || self.watch.is_stopped();
        let digest = &self.descriptor.digest;
        let Some(partial) = self.content.open_partial(digest, &stop)? else {
            return Err(RegistryError::Cancelled.into());
        };
        // Somebody else may have finished it while this waited for the file.
        if self.is_stored()? {
            self.content.discard_partials(std::iter::once(digest));
            return Ok(Fetched::Stored);
        }
        loop {
            let already = self.rest_of_earlier(&partial)?;
            let resumed = already.bytes() > 0;
            let fetched = self.download(&partial, already);
            self.watch.layer(self.id, LayerState::VerifyingChecksum);
            match fetched {
                Ok(()) => return Ok(Fetched::Came(partial.unlock()?)),
                Err(error) => {
                    let wrong = is_wrong(&error);
                    if wrong {
                        partial.empty()?;
                    }
                    // What was there before may be what is wrong: once more without it.
                    if !(wrong && resumed) {
                        return Err(error);
                    }
                    tracing::warn!(op = "pull", %digest, "the rest of an earlier download was damaged");
                }
            }
        }
    }

    /// Whether the store has the blob, and it is right.
    fn is_stored(&self) -> Result<bool> {
        let digest = &self.descriptor.digest;
        let mut blob = match self.content.open(digest) {
            Err(Error::NoBlob(_)) => return Ok(false),
            Err(Error::DamagedBlob(_)) => {
                self.content.forget_damaged(digest)?;
                return Ok(false);
            }
            other => other?,
        };
        let path = self.content.store.paths.content(digest);
        self.arrival.begin(Arc::new(blob.file().map_err(failed("open", &path))?));
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut at = 0;
        loop {
            match blob.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(got) => {
                    at += got as u64;
                    self.arrival.reached(at);
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(op = "pull", %digest, "a blob is damaged and fetched again");
                    self.content.forget_damaged(digest)?;
                    return Ok(false);
                }
                Err(error) => return Err(failed("read", &path)(error)),
            }
        }
    }

    /// Reads what an earlier download left, so that this one goes on behind it.
    fn rest_of_earlier(&self, partial: &Partial) -> Result<Verifier> {
        let path = self.content.store.paths.root.join("content/partial");
        let file = partial.file.try_clone().map_err(failed("open", &path))?;
        let length = file.metadata().map_err(failed("look at", &path))?.len();
        if length > self.descriptor.size {
            partial.empty()?;
        }
        let file = Arc::new(file);
        self.arrival.begin(Arc::clone(&file));
        let mut verifier = Verifier::default();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let got = file.read_at(&mut buffer, verifier.bytes()).map_err(failed("read", &path))?;
            let (read, _) = buffer.split_at(got);
            if read.is_empty() {
                return Ok(verifier);
            }
            verifier.update(read);
            self.arrival.reached(verifier.bytes());
        }
    }

    /// Writes what is missing behind what is there.
    fn download(&self, partial: &Partial, already: Verifier) -> Result<()> {
        let Descriptor { digest, size, .. } = self.descriptor;
        let mut at = already.bytes();
        if at == *size && at > 0 {
            if already.digest() == *digest {
                return Ok(());
            }
            return Err(RegistryError::BlobVerification { digest: digest.clone() }.into());
        }
        let request = BlobRequest { already, ..BlobRequest::of(self.descriptor) };
        let mut reader = self.repository.blob(request, &self.watch.of_layer(self.id))?;
        let path = self.content.store.paths.root.join("content/partial").join(digest.hex());
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut tick = Tick::default();
        loop {
            let got =
                reader.read(&mut buffer).map_err(|error| match RegistryError::of_io(error) {
                    Ok(error) => Error::from(error),
                    Err(error) => failed("download", &path)(error),
                })?;
            let (read, _) = buffer.split_at(got);
            if read.is_empty() {
                return Ok(());
            }
            partial.file.write_all_at(read, at).map_err(failed("write", &path))?;
            at += got as u64;
            fault::point("pull.download.written");
            self.arrival.reached(at);
            if tick.is_due() {
                let state = LayerState::Downloading { current: at, total: *size };
                self.watch.layer(self.id, state);
            }
        }
    }
}

/// Whether the bytes that came are not those that were asked for.
fn is_wrong(error: &Error) -> bool {
    matches!(
        error,
        Error::Registry(RegistryError::BlobVerification { .. } | RegistryError::BlobSize { .. })
    )
}
