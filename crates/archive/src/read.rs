//! Reading tars: headers resolved by `tar-core`, content handed out in pieces.
//!
//! Understood: old, ustar, GNU and PAX headers with long names, large numbers, attributes and sparse
//! files (GNU `S`, PAX 0.0, 0.1, 1.0). Global extended headers are ignored. Every value of an extended
//! header that is used must be well-formed: two readers that disagree about a size disagree about
//! where the next header begins, and that is how files are smuggled past checks.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek as _};

use orlop_sys::confined::FileTime;
use tar_core::parse::{Limits, ParseError, ParseEvent, ParsedEntry, Parser};
use tar_core::{EntryType, HEADER_SIZE, PaxExtensions};

pub use tar_core::SparseEntry;

use crate::error::{refuse, shown};
use crate::skeleton::SkeletonWriter;
use crate::{Error, Refusal, Result};

/// Longest name and link target: `PATH_MAX` without its zero byte.
pub const PATH_MAX_BYTES: u32 = 4095;
/// Extended headers of one entry: 64 attributes of the kernel's largest size would be 4 MiB, but all
/// attributes of one inode share one block or a few on every file system.
const METADATA_MAX_BYTES: u32 = 1 << 20;
/// Pieces of a sparse file.
const SPARSE_MAX_ENTRIES: usize = 100_000;
/// What may come behind the last entry of a layer: it is kept, but an endless stream of zeros is none.
const TRAILER_MAX_BYTES: u64 = 1 << 30;
const BLOCK: u64 = HEADER_SIZE as u64;

/// What kind of object an entry makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A regular file with holes; `size` is what the archive holds of it.
    SparseFile {
        /// Where the pieces of the content belong.
        map: Vec<SparseEntry>,
        /// The file's length.
        real_size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// Another name of an earlier entry.
    HardLink(Vec<u8>),
    /// A character device.
    Char(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// An entry's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Mode bits, at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, not before 1970.
    pub mtime: FileTime,
    /// Bytes of content that follow.
    pub size: u64,
    /// Extended attributes by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar being read.
pub struct TarReader<R> {
    input: R,
    parser: Parser,
    /// Bytes that were read for headers and not used for them.
    pending: Vec<u8>,
    pending_at: usize,
    content_left: u64,
    padding: u64,
    name: Vec<u8>,
    ended: bool,
    /// Gets everything but the content that is handed out.
    recorder: Option<SkeletonWriter>,
}

impl<R: BufRead> TarReader<R> {
    /// Begins at the first header.
    pub fn new(input: R) -> Self {
        let limits = Limits {
            max_metadata_size: METADATA_MAX_BYTES,
            max_path_len: Some(PATH_MAX_BYTES),
            max_sparse_entries: SPARSE_MAX_ENTRIES,
            ..Limits::default()
        };
        let mut parser = Parser::new(limits);
        // The strict checks are ours (see `extended`): the parser's own would refuse times before 1970.
        parser.set_ignore_pax_errors(true);
        Self {
            input,
            parser,
            pending: Vec::new(),
            pending_at: 0,
            content_left: 0,
            padding: 0,
            name: Vec::new(),
            ended: false,
            recorder: None,
        }
    }

    /// Begins at the first header and keeps what is needed to write the same tar again.
    pub fn recording(input: R, recorder: SkeletonWriter) -> Self {
        Self { recorder: Some(recorder), ..Self::new(input) }
    }

    /// Notes where the content of the current entry goes; gives its number. Call it before the first
    /// piece of content is taken, and then take all of it.
    pub fn record_content(&mut self, path: &[u8], pieces: &[SparseEntry]) -> Result<Option<u64>> {
        self.recorder.as_mut().map(|recorder| recorder.content(path, pieces)).transpose()
    }

    /// Keeps what comes behind the last entry, too, and ends the record.
    pub fn finish_recording(mut self) -> Result<()> {
        let Some(mut recorder) = self.recorder.take() else { return Ok(()) };
        recorder.raw(&self.pending[self.pending_at..])?;
        let mut left = TRAILER_MAX_BYTES;
        loop {
            let bytes = self.input.fill_buf().map_err(|source| Error::Entry {
                entry: shown(&self.name),
                action: "read the archive",
                source,
            })?;
            if bytes.is_empty() {
                return recorder.finish();
            }
            let too_long = Error::StreamTooLong { limit_bytes: TRAILER_MAX_BYTES };
            left = left.checked_sub(bytes.len() as u64).ok_or(too_long)?;
            recorder.raw(bytes)?;
            let step = bytes.len();
            self.input.consume(step);
        }
    }

    /// Like [`Self::drain`], and an error if that is more than so many bytes.
    pub fn drain_at_most(mut self, limit_bytes: u64) -> Result<()> {
        let mut left = limit_bytes;
        loop {
            let step = match self.input.fill_buf() {
                Ok(bytes) => bytes.len() as u64,
                Err(source) => return Err(self.read_error(source)),
            };
            if step == 0 {
                return Ok(());
            }
            left = left.checked_sub(step).ok_or(Error::StreamTooLong { limit_bytes })?;
            self.input.consume(usize::try_from(step).unwrap_or(usize::MAX));
        }
    }

    /// Reads what comes behind the last entry, so that the writer of a pipe can end well and a damaged
    /// end of a compressed stream shows.
    pub fn drain(mut self) -> Result<()> {
        loop {
            let step = self.input.fill_buf().map_err(|source| Error::Entry {
                entry: shown(&self.name),
                action: "read the archive behind its end",
                source,
            })?;
            let step = step.len();
            if step == 0 {
                return Ok(());
            }
            self.input.consume(step);
        }
    }

    fn record(&mut self, bytes: &[u8]) -> Result<()> {
        self.recorder.as_mut().map_or(Ok(()), |recorder| recorder.raw(bytes))
    }

    fn read_error(&self, source: io::Error) -> Error {
        Error::Entry { entry: shown(&self.name), action: "read the archive", source }
    }

    fn fill(&mut self) -> Result<&[u8]> {
        if self.pending_at < self.pending.len() {
            return Ok(&self.pending[self.pending_at..]);
        }
        match self.input.fill_buf() {
            Ok(bytes) => Ok(bytes),
            Err(source) => {
                Err(Error::Entry { entry: shown(&self.name), action: "read the archive", source })
            }
        }
    }

    fn consume(&mut self, amount: usize) {
        if self.pending_at < self.pending.len() {
            self.pending_at += amount;
        } else {
            self.input.consume(amount);
        }
    }

    /// The next piece of the entry's content; empty at its end. Follow with [`Self::advance`].
    pub fn content(&mut self) -> Result<&[u8]> {
        if self.content_left == 0 {
            return Ok(&[]);
        }
        if self.fill()?.is_empty() {
            return Err(Error::Truncated { entry: shown(&self.name) });
        }
        let limit = usize::try_from(self.content_left).unwrap_or(usize::MAX);
        let piece = self.fill()?;
        Ok(&piece[..piece.len().min(limit)])
    }

    /// Marks bytes of the last piece as used.
    pub fn advance(&mut self, amount: usize) {
        self.consume(amount);
        self.content_left -= amount as u64;
    }

    fn skip(&mut self) -> Result<()> {
        let mut left = self.content_left + self.padding;
        while left > 0 {
            let limit = usize::try_from(left).unwrap_or(usize::MAX);
            let mut recorder = self.recorder.take();
            let bytes = self.fill()?;
            let step = bytes.len().min(limit);
            if step == 0 {
                return Err(Error::Truncated { entry: shown(&self.name) });
            }
            if let Some(recorder) = &mut recorder {
                recorder.raw(&bytes[..step])?;
            }
            self.recorder = recorder;
            self.consume(step);
            left -= step as u64;
        }
        (self.content_left, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads until the buffer has that many bytes; false if the input ends before.
    fn read_up_to(&mut self, buffer: &mut Vec<u8>, length: usize) -> Result<bool> {
        while buffer.len() < length {
            let available = self.fill()?;
            if available.is_empty() {
                return Ok(false);
            }
            let step = available.len().min(length - buffer.len());
            buffer.extend_from_slice(&available[..step]);
            self.consume(step);
        }
        Ok(true)
    }

    /// Goes to the next entry; what is left of the content is skipped. `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        self.skip()?;
        let mut header = Vec::with_capacity(4 * HEADER_SIZE);
        let mut wanted = HEADER_SIZE;
        while !self.ended {
            if !self.read_up_to(&mut header, wanted)? {
                // Archives without the two zero blocks are common; half a header is not.
                if header.iter().all(|byte| *byte == 0) {
                    self.ended = true;
                    self.record(&header)?;
                    break;
                }
                return Err(Error::Truncated { entry: shown(&self.name) });
            }
            let event = self.parser.parse(&header).map_err(|source| self.damaged(source))?;
            let (consumed, entry) = match event {
                ParseEvent::NeedData { min_bytes } => {
                    wanted = min_bytes.max(header.len() + 1);
                    continue;
                }
                ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
                ParseEvent::End { .. } => {
                    self.ended = true;
                    self.record(&header)?;
                    break;
                }
                ParseEvent::Entry { consumed, entry } => (consumed, Some(convert(&entry, None)?)),
                ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                    (consumed, Some(convert(&entry, Some((sparse_map, real_size)))?))
                }
            };
            self.record(&header[..consumed])?;
            // What is left in `pending` comes after what was read for this header.
            let mut rest = header.split_off(consumed);
            rest.extend_from_slice(&self.pending[self.pending_at..]);
            (self.pending, self.pending_at) = (rest, 0);
            header.clear();
            wanted = HEADER_SIZE;
            if let Some(entry) = entry {
                self.content_left = entry.size;
                self.padding = entry.size.next_multiple_of(BLOCK) - entry.size;
                self.name.clone_from(&entry.name);
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn damaged(&self, source: ParseError) -> Error {
        match source {
            ParseError::Io(source) => self.read_error(source),
            source => Error::Damaged { after: shown(&self.name), source },
        }
    }
}

impl TarReader<io::BufReader<File>> {
    /// Where in the file the content of the current entry begins.
    pub fn content_offset(&mut self) -> Result<u64> {
        let position = self.input.stream_position().map_err(|source| self.read_error(source))?;
        Ok(position - (self.pending.len() - self.pending_at) as u64)
    }

    /// Passes over the content without reading it; next is the next entry. Whether the file is long
    /// enough is for the caller to check.
    pub fn pass_content(&mut self) -> Result<()> {
        let mut left = self.content_left + self.padding;
        let pending = (self.pending.len() - self.pending_at) as u64;
        self.pending_at += usize::try_from(pending.min(left)).unwrap_or(0);
        left -= pending.min(left);
        (self.content_left, self.padding) = (0, 0);
        let step =
            i64::try_from(left).map_err(|_| self.read_error(io::ErrorKind::FileTooLarge.into()))?;
        self.input.seek_relative(step).map_err(|source| self.read_error(source))
    }
}

/// The content of a tar's current entry.
pub struct ContentReader<'a, R>(&'a mut TarReader<R>);

impl<'a, R: BufRead> ContentReader<'a, R> {
    /// Reads what is left of the current entry.
    pub fn new(tar: &'a mut TarReader<R>) -> Self {
        Self(tar)
    }
}

impl<R: BufRead> Read for ContentReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.0.content().map_err(io::Error::other)?;
        let step = piece.len().min(buffer.len());
        buffer[..step].copy_from_slice(&piece[..step]);
        self.0.advance(step);
        Ok(step)
    }
}

fn convert(parsed: &ParsedEntry<'_>, sparse: Option<(Vec<SparseEntry>, u64)>) -> Result<Entry> {
    let name: &[u8] = &parsed.path;
    let refuse = |refusal| refuse(name, refusal);
    let extended = extended(parsed.pax.unwrap_or_default()).map_err(refuse)?;
    let target =
        || parsed.link_target.as_ref().map(|link| link.to_vec()).ok_or(refuse(Refusal::NoTarget));
    let device = || match (parsed.dev_major, parsed.dev_minor) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => Err(refuse(Refusal::Device)),
    };
    let kind = match (parsed.entry_type, sparse) {
        (
            EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse,
            Some((map, real_size)),
        ) => {
            check_sparse(&map, real_size, parsed.size).map_err(refuse)?;
            EntryKind::SparseFile { map, real_size }
        }
        // Archives older than ustar mark directories by their name only.
        (EntryType::Regular, None) if name.ends_with(b"/") => EntryKind::Directory,
        (EntryType::Regular | EntryType::Continuous, None) => EntryKind::File,
        (EntryType::Directory, None) => EntryKind::Directory,
        (EntryType::Symlink, None) => EntryKind::Symlink(target()?),
        (EntryType::Link, None) => EntryKind::HardLink(target()?),
        (EntryType::Char, None) => device().map(|(major, minor)| EntryKind::Char(major, minor))?,
        (EntryType::Block, None) => {
            device().map(|(major, minor)| EntryKind::Block(major, minor))?
        }
        (EntryType::Fifo, None) => EntryKind::Fifo,
        (kind, _) => return Err(refuse(Refusal::UnknownType(char::from(kind.to_byte())))),
    };
    let owner = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    let (Some(uid), Some(gid)) = (owner(parsed.uid), owner(parsed.gid)) else {
        return Err(refuse(Refusal::Owner(parsed.uid, parsed.gid)));
    };
    // Only files have content; whatever size the others claim, no reader of images skips it.
    let has_content = matches!(kind, EntryKind::File | EntryKind::SparseFile { .. });
    let size = if has_content { parsed.size } else { 0 };
    if size.checked_next_multiple_of(BLOCK).is_none() {
        return Err(refuse(Refusal::TooLarge(u64::MAX - BLOCK)));
    }
    let seconds = i64::try_from(parsed.mtime).unwrap_or(0);
    Ok(Entry {
        name: name.to_vec(),
        kind,
        mode: parsed.mode & 0o7777,
        uid,
        gid,
        mtime: extended.mtime.unwrap_or(FileTime { seconds, nanoseconds: 0 }),
        size,
        xattrs: parsed.xattrs.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect(),
    })
}

#[derive(Debug, Default)]
struct Extended {
    mtime: Option<FileTime>,
}

/// Checks the extended header's numbers and reads the time with its fraction.
fn extended(records: &[u8]) -> Result<Extended, Refusal> {
    let mut found = Extended::default();
    let invalid = |key: &str| Refusal::ExtendedHeader(key.to_owned());
    for record in PaxExtensions::new(records) {
        let record = record.map_err(|_| invalid("record"))?;
        let key = record.key().map_err(|_| invalid("key"))?;
        match key {
            "size"
            | "uid"
            | "gid"
            | "GNU.sparse.major"
            | "GNU.sparse.minor"
            | "GNU.sparse.size"
            | "GNU.sparse.realsize"
            | "GNU.sparse.offset"
            | "GNU.sparse.numbytes" => {
                let digits = record.value_bytes();
                let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
                if !plain || record.value().ok().and_then(|text| text.parse::<u64>().ok()).is_none()
                {
                    return Err(invalid(key));
                }
            }
            "path" | "linkpath" | "GNU.sparse.name"
                if record.value_bytes().is_empty() || record.value_bytes().contains(&0) =>
            {
                return Err(invalid(key));
            }
            "mtime" => {
                let text = record.value().map_err(|_| invalid(key))?;
                found.mtime = Some(parse_time(text).ok_or_else(|| invalid(key))?);
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Parses decimal seconds; times before 1970 become 1970.
fn parse_time(text: &str) -> Option<FileTime> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let seconds: u64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if negative {
        return Some(FileTime::default());
    }
    let mut nanoseconds = 0;
    for at in 0..9 {
        nanoseconds = nanoseconds * 10
            + fraction.as_bytes().get(at).map_or(0, |digit| u32::from(digit - b'0'));
    }
    Some(FileTime { seconds: i64::try_from(seconds).ok()?, nanoseconds })
}

fn check_sparse(map: &[SparseEntry], real_size: u64, stored: u64) -> Result<(), Refusal> {
    let (mut end, mut total) = (0_u64, 0_u64);
    for piece in map {
        if piece.offset < end {
            return Err(Refusal::SparseMap);
        }
        end = piece.offset.checked_add(piece.length).ok_or(Refusal::SparseMap)?;
        total += piece.length;
    }
    if end > real_size || total != stored || i64::try_from(real_size).is_err() {
        return Err(Refusal::SparseMap);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_nanoseconds_and_are_clamped_to_1970() {
        let time = |seconds, nanoseconds| Some(FileTime { seconds, nanoseconds });
        let cases = [
            ("0", time(0, 0)),
            ("1700000000.5", time(1_700_000_000, 500_000_000)),
            ("1700000000.123456789999", time(1_700_000_000, 123_456_789)),
            ("-3.5", time(0, 0)),
            ("", None),
            ("1.x", None),
            ("--1", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_time(text), want, "{text}");
        }
    }

    #[test]
    fn sparse_maps_must_fit() {
        let piece = |offset, length| SparseEntry { offset, length };
        assert_eq!(check_sparse(&[piece(0, 5), piece(10, 5)], 20, 10), Ok(()));
        for (map, real_size, stored) in [
            (vec![piece(5, 5), piece(0, 5)], 20, 10),
            (vec![piece(0, 5)], 20, 6),
            (vec![piece(18, 5)], 20, 5),
            (vec![piece(u64::MAX, 5)], 20, 5),
        ] {
            assert_eq!(check_sparse(&map, real_size, stored), Err(Refusal::SparseMap));
        }
    }
}
