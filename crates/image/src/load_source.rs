//! The parts of an archive that is loaded, wherever they are: in a file, in a directory, or passing
//! by in a stream.
//!
//! A plain file is indexed and its layers are read where they lie. A stream is read once: its small
//! documents are kept in memory and its layers are unpacked as they come, before anybody knows what
//! they are; with a storage driver whose layers need their parents they wait in a file.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use orlop_archive::compression::{Compression, MAGIC_BYTES, decoder};
use orlop_archive::name;
use orlop_archive::read::{ContentReader, EntryKind, TarReader};
use orlop_layer::{Error as LayerError, Unpacked};
use orlop_meta::StagedDirectory;
use orlop_sys::confined::Root;
use orlop_types::{ChainId, DiffId, Digest};

use crate::content::{Content, NewBlob};
use crate::error::LoadProblem;
use crate::load_keep::Keeping;
use crate::{Error, Images, Result};

/// Longest description: a manifest may have 4 MiB by the specification of registries.
pub(crate) const DOCUMENT_MAX_BYTES: u64 = 8 << 20;
/// All descriptions of a stream together: thousands of images.
const DOCUMENTS_MAX_BYTES: u64 = 128 << 20;
/// Entries of an archive: 1,000 images of 100 layers.
const ENTRIES_MAX: usize = 100_000;
/// A part of a stream that is shorter stays in memory, whatever it is.
const SMALL_BYTES: u64 = 64 * 1024;
/// What may come behind an archive's end: writers fill the last block of a tape, 1 MiB at most.
const TRAILER_MAX_BYTES: u64 = 64 << 20;
/// Links that lead to links.
const LINKS_MAX: usize = 16;

/// Where images are loaded from.
pub enum LoadSource {
    /// An open file, a pipe or a terminal.
    File(File),
    /// Anything that can be read.
    Stream(Box<dyn Read + Send>),
    /// A directory with an OCI layout.
    Directory(PathBuf),
}

impl std::fmt::Debug for LoadSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::File(_) => "LoadSource::File",
            Self::Stream(_) => "LoadSource::Stream",
            Self::Directory(_) => "LoadSource::Directory",
        })
    }
}

/// A layer that was met in a stream.
pub(crate) enum Held {
    /// Unpacked, with the digest of the part if that is compressed and its kept form, and its length.
    Unpacked(Box<Unpacked>, Option<(Digest, Option<NewBlob>)>, u64),
    /// The store has its content already, and it was not read.
    Known(ChainId),
    /// It could not be unpacked: no layer, or a damaged one.
    Failed(LayerError),
}

enum Place {
    Memory(Vec<u8>),
    File { file: Arc<File>, offset: u64, length: u64 },
    Link(String),
    Held,
}

/// The parts by their names.
pub(crate) struct Parts {
    entries: HashMap<String, Place>,
    /// Layers of a stream.
    pub(crate) held: HashMap<String, Held>,
    directory: Option<Root>,
    /// Holds the file in which layers wait.
    #[allow(dead_code)] // Dropping it removes the file.
    staged: Option<StagedDirectory>,
}

pub(crate) fn wrong(entry: &str, problem: LoadProblem) -> Error {
    Error::LoadEntry { entry: entry.to_owned(), problem }
}

pub(crate) fn archive(error: orlop_archive::Error) -> Error {
    Error::Layer(error.into())
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::LoadFile { action, source }
}

/// The name of a part, relative and clean.
pub(crate) fn clean(text: &str) -> Result<String> {
    let clean = name::clean(text.as_bytes());
    let clean = clean.map_err(|refusal| wrong(text, LoadProblem::Name(refusal)))?;
    String::from_utf8(clean).map_err(|_| wrong(text, LoadProblem::Text))
}

impl Parts {
    fn new() -> Self {
        Self { entries: HashMap::new(), held: HashMap::new(), directory: None, staged: None }
    }

    fn insert(&mut self, name: String, place: Place) -> Result<()> {
        if self.entries.len() >= ENTRIES_MAX {
            return Err(wrong(&name, LoadProblem::TooMany(ENTRIES_MAX)));
        }
        if self.entries.contains_key(&name) {
            return Err(wrong(&name, LoadProblem::Twice));
        }
        self.entries.insert(name, place);
        Ok(())
    }

    /// Follows links. Gives the name of the part itself.
    pub(crate) fn follow(&self, name: &str) -> Result<String> {
        let mut current = clean(name)?;
        for _ in 0..LINKS_MAX {
            match self.entries.get(&current) {
                Some(Place::Link(target)) => current.clone_from(target),
                _ => return Ok(current),
            }
        }
        Err(wrong(name, LoadProblem::LinkLoop))
    }

    /// Whether there is such a part.
    pub(crate) fn has(&self, name: &str) -> bool {
        match &self.directory {
            Some(directory) => directory.exists(name).unwrap_or(false),
            None => self.follow(name).is_ok_and(|name| self.entries.contains_key(&name)),
        }
    }

    /// Opens a part that was not unpacked already, and tells its length.
    pub(crate) fn open(&self, name: &str) -> Result<(PartReader<'_>, u64)> {
        if let Some(directory) = &self.directory {
            let file =
                directory.open_file(clean(name)?).map_err(|error| match error.io_kind() {
                    io::ErrorKind::NotFound => wrong(name, LoadProblem::Missing),
                    _ => Error::Layer(error.into()),
                })?;
            let length = file.metadata().map_err(failed("read the archive"))?.len();
            return Ok((
                PartReader::File { file: Arc::new(file), offset: 0, left: length },
                length,
            ));
        }
        match self.entries.get(&self.follow(name)?) {
            Some(Place::Memory(bytes)) => Ok((PartReader::Memory(bytes), bytes.len() as u64)),
            Some(Place::File { file, offset, length }) => Ok((
                PartReader::File { file: Arc::clone(file), offset: *offset, left: *length },
                *length,
            )),
            Some(Place::Held) => Err(wrong(name, LoadProblem::TooLong(DOCUMENT_MAX_BYTES))),
            Some(Place::Link(_)) | None => Err(wrong(name, LoadProblem::Missing)),
        }
    }

    /// Reads a description.
    pub(crate) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let (reader, length) = self.open(name)?;
        if length > DOCUMENT_MAX_BYTES {
            return Err(wrong(name, LoadProblem::TooLong(DOCUMENT_MAX_BYTES)));
        }
        let mut content = Vec::new();
        reader.take(length).read_to_end(&mut content).map_err(failed("read the archive"))?;
        if content.len() as u64 != length {
            return Err(wrong(name, LoadProblem::Truncated));
        }
        Ok(content)
    }
}

/// Reads one part.
pub(crate) enum PartReader<'a> {
    Memory(&'a [u8]),
    File { file: Arc<File>, offset: u64, left: u64 },
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(bytes) => bytes.read(buffer),
            Self::File { file, offset, left } => {
                let want = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                if want == 0 {
                    return Ok(0);
                }
                let got = file.read_at(&mut buffer[..want], *offset)?;
                if got == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *offset += got as u64;
                *left -= got as u64;
                Ok(got)
            }
        }
    }
}

impl Images<'_> {
    /// Finds the parts of an archive. Of a stream everything is read here.
    pub(crate) fn parts(
        &self,
        source: LoadSource,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Parts> {
        match source {
            LoadSource::Directory(path) => {
                let directory =
                    Some(Root::open(&path).map_err(|error| Error::Layer(error.into()))?);
                Ok(Parts { directory, ..Parts::new() })
            }
            LoadSource::File(file) => match is_plain(&file) {
                Ok(true) => index(file),
                _ => self.read_stream(file, progress),
            },
            LoadSource::Stream(stream) => self.read_stream(stream, progress),
        }
    }

    fn read_stream(
        &self,
        source: impl Read + Send,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Parts> {
        let counted = Counted { inner: source, progress };
        let (_, decoded) = decoder(counted).map_err(failed("read the archive"))?;
        let mut tar = TarReader::new(BufReader::with_capacity(SMALL_BYTES as usize, decoded));
        let mut parts = Parts::new();
        let mut waiting = Waiting::default();
        let mut documents_bytes = 0;
        let known = self.known_contents()?;
        while let Some(entry) = tar.next_entry().map_err(archive)? {
            let Some((name, link)) = part_name(&entry.name, &entry.kind)? else { continue };
            if let Some(link) = link {
                parts.insert(name, Place::Link(link))?;
                continue;
            }
            let start = tar.content().map_err(archive)?.first().copied();
            let is_text = matches!(start, Some(b'{' | b'['));
            if entry.size <= SMALL_BYTES || (is_text && entry.size <= DOCUMENT_MAX_BYTES) {
                documents_bytes += entry.size;
                if documents_bytes > DOCUMENTS_MAX_BYTES {
                    return Err(wrong(&name, LoadProblem::TooLong(DOCUMENTS_MAX_BYTES)));
                }
                let mut content = Vec::new();
                ContentReader::new(&mut tar)
                    .read_to_end(&mut content)
                    .map_err(failed("read the archive"))?;
                parts.insert(name, Place::Memory(content))?;
                continue;
            }
            if !self.layers.driver().independent_layers() {
                let place = waiting.copy(self, &mut tar)?;
                parts.insert(name, place)?;
                continue;
            }
            parts.insert(name.clone(), Place::Held)?;
            let held = match blob_digest(&name).and_then(|digest| known.get(&digest)) {
                Some(chain_id) => Held::Known(chain_id.clone()),
                None => self.hold(&mut tar, entry.size)?,
            };
            parts.held.insert(name, held);
        }
        // What has no entry is no archive, however long it goes on.
        if !parts.entries.is_empty() {
            tar.drain_at_most(TRAILER_MAX_BYTES).map_err(archive)?;
        }
        parts.staged = waiting.staged;
        Ok(parts)
    }

    /// Unpacks the current entry of a stream.
    fn hold<R: io::BufRead + Send>(&self, tar: &mut TarReader<R>, length: u64) -> Result<Held> {
        let start = tar.content().map_err(archive)?;
        let is_packed = Compression::detect(start) != Compression::None;
        // Whether a failure matters shows when it is known what the part should have been.
        if !is_packed {
            let unpacked = self.layers.unpack(ContentReader::new(tar), None, None);
            return Ok(unpacked
                .map_or_else(Held::Failed, |found| Held::Unpacked(Box::new(found), None, length)));
        }
        let mut reader = Keeping::new(Content::new(self.store), ContentReader::new(tar))?;
        let found = match self.layers.unpack(&mut reader, None, None) {
            Ok(found) => found,
            Err(error) => return Ok(Held::Failed(error)),
        };
        let (digest, _, blob) = reader.finish()?;
        Ok(Held::Unpacked(Box::new(found), Some((digest, blob)), length))
    }

    /// Layers of the store by their content.
    fn known_contents(&self) -> Result<HashMap<String, ChainId>> {
        let layers = self.store.read::<_, Error>(|query| Ok(query.layers()?))?;
        Ok(layers.into_iter().map(|layer| (text(&layer.diff_id), layer.chain_id)).collect())
    }
}

fn text(diff_id: &DiffId) -> String {
    diff_id.digest().hex().to_owned()
}

/// The digest in the name of a part, as layouts name them.
pub(crate) fn blob_digest(name: &str) -> Option<String> {
    let hex = name.strip_prefix("blobs/sha256/")?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (hex.len() == 64 && hex.bytes().all(is_hex)).then(|| hex.to_owned())
}

/// Where layers of a stream wait until their parents are there.
#[derive(Default)]
struct Waiting {
    staged: Option<StagedDirectory>,
    file: Option<Arc<File>>,
    end: u64,
}

impl Waiting {
    fn copy<R: io::BufRead>(
        &mut self,
        images: &Images<'_>,
        tar: &mut TarReader<R>,
    ) -> Result<Place> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => {
                let staged = images.store.stage()?;
                let options = File::options().read(true).write(true).create_new(true).clone();
                let file = options.open(staged.path().join("archive"));
                let file = Arc::new(file.map_err(failed("keep the archive's layers"))?);
                self.staged = Some(staged);
                self.file = Some(Arc::clone(&file));
                file
            }
        };
        let offset = self.end;
        let mut output = &*file;
        let length = io::copy(&mut ContentReader::new(tar), &mut output)
            .map_err(failed("keep the archive's layers"))?;
        self.end += length;
        Ok(Place::File { file, offset, length })
    }
}

/// Whether an archive is a regular file without compression.
fn is_plain(file: &File) -> io::Result<bool> {
    let position = rustix::fs::tell(file)?;
    let mut start = [0; MAGIC_BYTES];
    let length = file.read_at(&mut start, position)?;
    let compression = Compression::detect(start.get(..length).unwrap_or_default());
    Ok(file.metadata()?.is_file() && compression == Compression::None)
}

/// Reads the headers of a plain archive.
pub(crate) fn index(file: File) -> Result<Parts> {
    let end = file.metadata().map_err(failed("read the archive"))?.len();
    let shared = Arc::new(file.try_clone().map_err(failed("read the archive"))?);
    let mut tar = TarReader::new(BufReader::with_capacity(SMALL_BYTES as usize, file));
    let mut parts = Parts::new();
    while let Some(entry) = tar.next_entry().map_err(archive)? {
        let offset = tar.content_offset().map_err(archive)?;
        tar.pass_content().map_err(archive)?;
        let Some((name, link)) = part_name(&entry.name, &entry.kind)? else { continue };
        if offset.checked_add(entry.size).is_none_or(|content_end| content_end > end) {
            return Err(wrong(&name, LoadProblem::Truncated));
        }
        let place = match link {
            Some(target) => Place::Link(target),
            None => Place::File { file: Arc::clone(&shared), offset, length: entry.size },
        };
        parts.insert(name, place)?;
    }
    Ok(parts)
}

/// The clean name of an entry, and where it leads if it is a link; nothing for directories.
fn part_name(raw: &[u8], kind: &EntryKind) -> Result<Option<(String, Option<String>)>> {
    let shown = String::from_utf8_lossy(raw);
    let name = clean(&shown)?;
    let link = match kind {
        EntryKind::Directory => return Ok(None),
        EntryKind::File => None,
        EntryKind::HardLink(target) => Some(clean(&String::from_utf8_lossy(target))?),
        EntryKind::Symlink(target) => {
            let target = String::from_utf8_lossy(target);
            let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
            let full = if target.starts_with('/') {
                return Err(wrong(&name, LoadProblem::Name(orlop_archive::Refusal::Escapes)));
            } else {
                format!("{parent}/{target}")
            };
            Some(clean(&full).map_err(|error| match error {
                Error::LoadEntry { problem, .. } => wrong(&name, problem),
                error => error,
            })?)
        }
        _ => return Err(wrong(&name, LoadProblem::Kind)),
    };
    Ok(Some((name, link)))
}

/// A reader that tells how much passed.
pub(crate) struct Counted<'a, R> {
    pub(crate) inner: R,
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        (self.progress)(length as u64);
        Ok(length)
    }
}

/// Each item once, in order.
pub(crate) fn unique<T: std::hash::Hash + Eq + Clone>(
    items: impl IntoIterator<Item = T>,
) -> Vec<T> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}
