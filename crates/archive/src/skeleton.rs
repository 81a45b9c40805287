//! What a layer keeps beside its files so that its tar can be given back byte for byte.
//!
//! An image's id covers the digests of its layers' tars, and no second writing of a tree gives the
//! same bytes. So while a layer is unpacked, everything of the tar that is not the content of a file
//! is kept: headers, padding, the end. [`replay`] puts both together again.
//!
//! The file `tar` beside `diff`, version 1, numbers little endian:
//! ```text
//! "orlop-tar 1\n"   length of the tar (8 bytes)
//! then, as one zstd stream, records:
//!   0   length (4), bytes                                     bytes of the tar
//!   1   path length (2), path, pieces (4), then offset (8) and length (8) of each
//!                                                             content of the file `diff/<path>`
//!   255                                                       the end
//! ```
//! Another first line is refused. Contents are numbered from 0 in their order. One whose file a
//! later entry of the same layer replaced or removed lies in `replaced/<number>` beside `diff`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use orlop_sys::confined::Root;

use crate::read::SparseEntry;
use crate::{Error, Result};

/// Name of the file.
pub const FILE_NAME: &str = "tar";
/// Name of the directory of replaced contents.
pub const REPLACED: &str = "replaced";
const HEADER: &[u8; 12] = b"orlop-tar 1\n";
/// Bytes of a tar that one record holds at most.
const RAW_MAX_BYTES: usize = 64 * 1024;
/// Pieces of one content: what the reader of tars allows of a sparse file.
const PIECES_MAX: u32 = 100_000;
const COPY_BYTES: usize = 256 * 1024;
const RAW: u8 = 0;
const CONTENT: u8 = 1;
const END: u8 = 255;

fn fail(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Skeleton { action, source }
}

/// Writes the file while a layer is unpacked.
pub struct SkeletonWriter {
    output: zstd::Encoder<'static, BufWriter<File>>,
    raw: Vec<u8>,
    tar_bytes: u64,
    contents: u64,
}

impl std::fmt::Debug for SkeletonWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SkeletonWriter").field("tar_bytes", &self.tar_bytes).finish()
    }
}

impl SkeletonWriter {
    /// Begins in the directory of a layer.
    pub fn create(layer: &Root) -> Result<Self> {
        let file = layer.create_file(FILE_NAME, 0o600)?;
        let begin = || {
            file.write_all_at(HEADER, 0)?;
            file.write_all_at(&[0; 8], HEADER.len() as u64)?;
            io::Seek::seek(&mut (&file), io::SeekFrom::End(0))?;
            Ok(())
        };
        begin().map_err(fail("write"))?;
        let output = zstd::Encoder::new(BufWriter::new(file), 1).map_err(fail("write"))?;
        Ok(Self { output, raw: Vec::with_capacity(RAW_MAX_BYTES), tar_bytes: 0, contents: 0 })
    }

    /// Keeps bytes of the tar.
    pub fn raw(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.tar_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let step = bytes.len().min(RAW_MAX_BYTES - self.raw.len());
            self.raw.extend_from_slice(&bytes[..step]);
            bytes = &bytes[step..];
            if self.raw.len() == RAW_MAX_BYTES {
                self.flush_raw()?;
            }
        }
        Ok(())
    }

    fn flush_raw(&mut self) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.raw.len()).unwrap_or(u32::MAX);
        let written = self
            .output
            .write_all(&[RAW])
            .and_then(|()| self.output.write_all(&length.to_le_bytes()))
            .and_then(|()| self.output.write_all(&self.raw));
        self.raw.clear();
        written.map_err(fail("write"))
    }

    /// Notes that content of a file follows; gives its number.
    pub fn content(&mut self, path: &[u8], pieces: &[SparseEntry]) -> Result<u64> {
        self.flush_raw()?;
        let mut record = vec![CONTENT];
        let too_long = |_| fail("write")(io::ErrorKind::InvalidFilename.into());
        record.extend_from_slice(&u16::try_from(path.len()).map_err(too_long)?.to_le_bytes());
        record.extend_from_slice(path);
        record.extend_from_slice(&u32::try_from(pieces.len()).map_err(too_long)?.to_le_bytes());
        for piece in pieces {
            record.extend_from_slice(&piece.offset.to_le_bytes());
            record.extend_from_slice(&piece.length.to_le_bytes());
            self.tar_bytes += piece.length;
        }
        self.output.write_all(&record).map_err(fail("write"))?;
        self.contents += 1;
        Ok(self.contents - 1)
    }

    /// Ends the file. It is not synced: a layer is synced as a whole.
    pub fn finish(mut self) -> Result<()> {
        self.flush_raw()?;
        let end = || {
            self.output.write_all(&[END])?;
            let file =
                self.output.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.write_all_at(&self.tar_bytes.to_le_bytes(), HEADER.len() as u64)
        };
        end().map_err(fail("write"))
    }
}

/// Opens the file and gives the length of the tar.
fn open(layer: &Root) -> Result<(File, u64)> {
    let mut file = layer.open_file(FILE_NAME)?;
    let mut header = [0; HEADER.len()];
    let mut length = [0; 8];
    file.read_exact(&mut header)
        .and_then(|()| file.read_exact(&mut length))
        .map_err(fail("read"))?;
    if header != *HEADER {
        return Err(damaged("it has an unknown format"));
    }
    Ok((file, u64::from_le_bytes(length)))
}

fn damaged(reason: &'static str) -> Error {
    fail("read")(io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// Length of a layer's tar.
pub fn tar_length(layer: &Root) -> Result<u64> {
    open(layer).map(|(_, length)| length)
}

/// Writes the tar that a layer came from. Whoever needs to be sure compares the digest: a file that
/// was changed on the disk shows nowhere else.
pub fn replay(layer: &Root, output: &mut dyn Write) -> Result<u64> {
    let (file, length) = open(layer)?;
    let mut input = zstd::Decoder::new(BufReader::new(file)).map_err(fail("read"))?;
    let files = layer.descend("diff")?;
    let replaced = if layer.exists(REPLACED)? { Some(layer.descend(REPLACED)?) } else { None };
    let mut buffer = vec![0; COPY_BYTES];
    let (mut number, mut written) = (0_u64, 0_u64);
    loop {
        match read_number::<1>(&mut input)? as u8 {
            RAW => {
                let length = read_number::<4>(&mut input)? as usize;
                if length > RAW_MAX_BYTES {
                    return Err(damaged("a record is too long"));
                }
                input.read_exact(&mut buffer[..length]).map_err(fail("read"))?;
                output.write_all(&buffer[..length]).map_err(Error::Write)?;
                written += length as u64;
            }
            CONTENT => {
                let content = Content::read(&mut input)?;
                let file = content.open(number, &files, replaced.as_ref())?;
                number += 1;
                written += content.copy(&file, &mut buffer, output)?;
            }
            END => break,
            _ => return Err(damaged("it holds an unknown record")),
        }
    }
    if written != length {
        return Err(damaged("its length is another"));
    }
    Ok(written)
}

/// What a record says; the bytes of [`Record::Raw`] are in the caller's buffer.
pub(crate) enum Record {
    Raw,
    Content { bytes: u64 },
    End,
}

/// Opens the records.
pub(crate) fn records(layer: &Root) -> Result<zstd::Decoder<'static, BufReader<File>>> {
    let (file, _) = open(layer)?;
    zstd::Decoder::with_buffer(BufReader::new(file)).map_err(fail("read"))
}

/// Reads the next record.
pub(crate) fn next_record(input: &mut impl Read, raw: &mut Vec<u8>) -> Result<Record> {
    match read_number::<1>(input)? as u8 {
        RAW => {
            let length = read_number::<4>(input)? as usize;
            if length > RAW_MAX_BYTES {
                return Err(damaged("a record is too long"));
            }
            raw.resize(length, 0);
            input.read_exact(raw).map_err(fail("read"))?;
            Ok(Record::Raw)
        }
        CONTENT => {
            let content = Content::read(input)?;
            let bytes =
                content.pieces.iter().try_fold(0_u64, |sum, piece| sum.checked_add(piece.1));
            bytes.map(|bytes| Record::Content { bytes }).ok_or(damaged("a file is too long"))
        }
        END => Ok(Record::End),
        _ => Err(damaged("it holds an unknown record")),
    }
}

fn read_number<const BYTES: usize>(input: &mut impl Read) -> Result<u64> {
    let mut bytes = [0; 8];
    input.read_exact(&mut bytes[..BYTES]).map_err(fail("read"))?;
    Ok(u64::from_le_bytes(bytes))
}

struct Content {
    path: Vec<u8>,
    pieces: Vec<(u64, u64)>,
}

impl Content {
    fn read(input: &mut impl Read) -> Result<Self> {
        let mut path = vec![0; read_number::<2>(input)? as usize];
        input.read_exact(&mut path).map_err(fail("read"))?;
        let count = read_number::<4>(input)?;
        if count > u64::from(PIECES_MAX) {
            return Err(damaged("a file has too many pieces"));
        }
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push((read_number::<8>(input)?, read_number::<8>(input)?));
        }
        Ok(Self { path, pieces })
    }

    fn open(&self, number: u64, files: &Root, replaced: Option<&Root>) -> Result<File> {
        if let Some(replaced) = replaced
            && replaced.exists(number.to_string())?
        {
            return Ok(replaced.open_file(number.to_string())?);
        }
        Ok(files.open_file(Path::new(OsStr::from_bytes(&self.path)))?)
    }

    fn copy(&self, file: &File, buffer: &mut [u8], output: &mut dyn Write) -> Result<u64> {
        let read_error = |error| crate::write::at(&self.path, error);
        let mut written = 0;
        for (offset, length) in &self.pieces {
            let (mut offset, mut left) = (*offset, *length);
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let got = file.read_at(&mut buffer[..want], offset).map_err(read_error)?;
                if got == 0 {
                    let text = "the file is shorter than when the layer was unpacked";
                    return Err(read_error(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
                }
                output.write_all(&buffer[..got]).map_err(Error::Write)?;
                offset += got as u64;
                left -= got as u64;
                written += got as u64;
            }
        }
        Ok(written)
    }
}

/// Whether every file that the tar's contents are taken from is there and long enough: what can be
/// seen without reading them.
pub fn looks_whole(layer: &Root) -> Result<bool> {
    let (file, length) = open(layer)?;
    let mut input = zstd::Decoder::new(BufReader::new(file)).map_err(fail("read"))?;
    let files = layer.descend("diff")?;
    let replaced = if layer.exists(REPLACED)? { Some(layer.descend(REPLACED)?) } else { None };
    let (mut number, mut seen) = (0_u64, 0_u64);
    let mut raw = vec![0; RAW_MAX_BYTES];
    loop {
        match read_number::<1>(&mut input)? as u8 {
            RAW => {
                let length = read_number::<4>(&mut input)? as usize;
                let Some(raw) = raw.get_mut(..length) else { return Ok(false) };
                input.read_exact(raw).map_err(fail("read"))?;
                seen += length as u64;
            }
            CONTENT => {
                let content = Content::read(&mut input)?;
                if !content.is_there(number, &files, replaced.as_ref())? {
                    return Ok(false);
                }
                number += 1;
                seen += content.pieces.iter().map(|(_, length)| length).sum::<u64>();
            }
            END => return Ok(seen == length),
            _ => return Ok(false),
        }
    }
}

impl Content {
    fn is_there(&self, number: u64, files: &Root, replaced: Option<&Root>) -> Result<bool> {
        let number = number.to_string();
        let stat = match replaced {
            Some(replaced) if replaced.exists(&number)? => replaced.lstat(&number),
            _ => files.lstat(Path::new(OsStr::from_bytes(&self.path))),
        };
        let Ok(stat) = stat else { return Ok(false) };
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        let end = self.pieces.iter().map(|(offset, length)| offset.saturating_add(*length)).max();
        Ok(is_file && u64::try_from(stat.st_size).unwrap_or(0) >= end.unwrap_or(0))
    }
}
