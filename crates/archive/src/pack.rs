//! Compression of archives that are written: gzip and Zstandard, on all processors.
//!
//! The stream is cut into blocks of a fixed size and every block is compressed by itself, so the same
//! content at the same level gives the same bytes however many threads worked on it. Of gzip the
//! blocks make one member (they end at byte boundaries); of Zstandard each is one frame. Programs
//! that read either format read these.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Crc, FlushCompress, Status};
use orlop_types::ParseError;

use crate::compression::Compression;

/// Bytes of a block of gzip: its window is 32 KiB, so little is lost where a block begins.
const GZIP_BLOCK_BYTES: usize = 1 << 20;
/// Bytes of a frame of Zstandard, whose usual windows are 1 to 8 MiB.
const ZSTD_BLOCK_BYTES: usize = 8 << 20;
/// What programs that write gzip take, Docker among them.
const GZIP_LEVEL: u8 = 6;
/// What the library takes.
const ZSTD_LEVEL: u8 = 3;
/// Threads that compress one stream at most: each holds a few blocks in memory.
const THREADS_MAX: usize = 8;

/// How an archive is compressed when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Packing {
    /// Not at all.
    None,
    /// gzip at a level from 1 to 9.
    Gzip(u8),
    /// Zstandard at a level from 1 to 22.
    Zstd(u8),
}

impl Packing {
    /// gzip at its usual level.
    pub const GZIP: Self = Self::Gzip(GZIP_LEVEL);
    /// Zstandard at its usual level.
    pub const ZSTD: Self = Self::Zstd(ZSTD_LEVEL);

    /// What a reader recognises it as.
    #[must_use]
    pub fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }

    /// The same method at another level, if it has that level.
    pub fn at_level(self, level: u8) -> Result<Self, ParseError> {
        let (packing, range) = match self {
            Self::None => {
                return Err(ParseError::new("compression `none` has no levels"));
            }
            Self::Gzip(_) => (Self::Gzip(level), 1..=9),
            Self::Zstd(_) => (Self::Zstd(level), 1..=22),
        };
        if range.contains(&level) {
            return Ok(packing);
        }
        Err(ParseError::new(format!(
            "compression level {level} is not from {} to {}",
            range.start(),
            range.end()
        )))
    }

    /// The media type of a layer in an OCI manifest.
    #[must_use]
    pub fn oci_layer_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    /// The media type of a layer in a Docker manifest; Zstandard is in OCI manifests only.
    #[must_use]
    pub fn docker_layer_type(self) -> Option<&'static str> {
        match self {
            Self::None => Some("application/vnd.docker.image.rootfs.diff.tar"),
            Self::Gzip(_) => Some("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            Self::Zstd(_) => None,
        }
    }
}

impl FromStr for Packing {
    type Err = ParseError;

    /// Parses `none`, `gzip`, `gzip:9`, `zstd` or `zstd:19`; `uncompressed` is what buildx says for `none`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        let packing = match name {
            "none" | "uncompressed" => Self::None,
            "gzip" => Self::GZIP,
            "zstd" => Self::ZSTD,
            _ => {
                let text = format!("compression `{text}` is not `none`, `gzip` or `zstd`");
                return Err(ParseError::new(text));
            }
        };
        let Some(level) = level else { return Ok(packing) };
        let level = level.parse().map_err(|_| {
            ParseError::new(format!("compression level `{level}` is not a small number"))
        })?;
        packing.at_level(level)
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Gzip(level) => write!(formatter, "gzip:{level}"),
            Self::Zstd(level) => write!(formatter, "zstd:{level}"),
        }
    }
}

/// A block on its way to a thread, and where its compressed form goes.
type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// A writer that compresses. Call [`Self::finish`]: dropping it leaves the stream without an end.
pub struct PackWriter<W> {
    packing: Packing,
    output: W,
    block: Vec<u8>,
    /// Sends blocks to the threads, which begin with the first full block.
    jobs: Option<SyncSender<Job>>,
    threads: usize,
    /// Blocks that are being compressed, in order.
    waiting: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    crc: Crc,
    begun: bool,
}

impl<W: Write> PackWriter<W> {
    /// Begins a stream.
    pub fn new(packing: Packing, output: W) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with_threads(packing, output, threads.min(THREADS_MAX))
    }

    /// Begins a stream that so many threads work on: for callers that write several at once.
    pub fn with_threads(packing: Packing, output: W, threads: usize) -> Self {
        Self {
            packing,
            output,
            block: Vec::new(),
            jobs: None,
            threads: threads.max(1),
            waiting: VecDeque::new(),
            crc: Crc::new(),
            begun: false,
        }
    }

    fn block_bytes(&self) -> usize {
        if matches!(self.packing, Packing::Zstd(_)) { ZSTD_BLOCK_BYTES } else { GZIP_BLOCK_BYTES }
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun && matches!(self.packing, Packing::Gzip(_)) {
            // Deflate, no flags, no time, an unknown system: nothing that differs from run to run.
            self.output.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])?;
        }
        self.begun = true;
        Ok(())
    }

    /// Hands a full block to the threads.
    fn hand_over(&mut self) -> io::Result<()> {
        self.begin()?;
        let capacity = self.block_bytes();
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(capacity));
        if self.threads == 1 {
            return self.output.write_all(&compressed(self.packing, &block)?);
        }
        let (reply, result) = sync_channel(1);
        let jobs = self.jobs.get_or_insert_with(|| start(self.packing, self.threads));
        jobs.send((block, reply)).map_err(|_| lost())?;
        self.waiting.push_back(result);
        if self.waiting.len() > self.threads { self.take_oldest() } else { Ok(()) }
    }

    fn take_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.waiting.pop_front() else { return Ok(()) };
        self.output.write_all(&oldest.recv().map_err(|_| lost())??)
    }

    /// Writes what is left and the end of the stream; gives the writer behind.
    pub fn finish(mut self) -> io::Result<W> {
        if self.packing == Packing::None {
            self.output.flush()?;
            return Ok(self.output);
        }
        while !self.waiting.is_empty() {
            self.take_oldest()?;
        }
        // An empty stream of Zstandard is one empty frame.
        let is_empty_zstd = !self.begun && matches!(self.packing, Packing::Zstd(_));
        self.begin()?;
        if !self.block.is_empty() || is_empty_zstd {
            let last = compressed(self.packing, &self.block)?;
            self.output.write_all(&last)?;
        }
        if matches!(self.packing, Packing::Gzip(_)) {
            // An empty last block, the checksum and the length, modulo 2³².
            self.output.write_all(&[3, 0])?;
            self.output.write_all(&self.crc.sum().to_le_bytes())?;
            self.output.write_all(&self.crc.amount().to_le_bytes())?;
        }
        self.output.flush()?;
        Ok(self.output)
    }
}

impl<W: Write> Write for PackWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.packing == Packing::None {
            return self.output.write(bytes);
        }
        let room = self.block_bytes() - self.block.len();
        let (now, _) = bytes.split_at(room.min(bytes.len()));
        if matches!(self.packing, Packing::Gzip(_)) {
            self.crc.update(now);
        }
        self.block.extend_from_slice(now);
        if self.block.len() == self.block_bytes() {
            self.hand_over()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // Blocks end where they end: a flush must not change what is written.
        Ok(())
    }
}

fn lost() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

/// Starts threads that end when the sender is dropped.
fn start(packing: Packing, threads: usize) -> SyncSender<Job> {
    let (sender, jobs) = sync_channel::<Job>(1);
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..threads {
        let jobs = Arc::clone(&jobs);
        std::thread::spawn(move || {
            loop {
                let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((block, reply)) = job else { return };
                // Nobody waits if the stream was given up.
                drop(reply.send(compressed(packing, &block)));
            }
        });
    }
    sender
}

fn compressed(packing: Packing, block: &[u8]) -> io::Result<Vec<u8>> {
    match packing {
        Packing::None => Ok(block.to_vec()),
        Packing::Gzip(level) => deflated(block, level),
        Packing::Zstd(level) => {
            let mut compressor = zstd::bulk::Compressor::new(i32::from(level))?;
            compressor.include_checksum(true)?;
            compressor.include_contentsize(true)?;
            compressor.compress(block)
        }
    }
}

/// One block as deflate blocks, of which none is the last, up to a byte boundary.
fn deflated(block: &[u8], level: u8) -> io::Result<Vec<u8>> {
    /// What is left for the end of the block in the first try.
    const SPARE_BYTES: usize = 64;
    let mut deflate = Compress::new(flate2::Compression::new(u32::from(level)), false);
    let mut output = Vec::with_capacity(block.len() / 2 + SPARE_BYTES);
    loop {
        let taken = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = block.get(taken..).unwrap_or_default();
        let status = deflate.compress_vec(rest, &mut output, FlushCompress::Sync)?;
        let all_taken = deflate.total_in() == block.len() as u64;
        // Room that is left means that the flush is complete.
        if all_taken && output.len() < output.capacity() {
            return Ok(output);
        }
        if status == Status::StreamEnd {
            return Err(lost());
        }
        output.reserve(block.len() / 4 + SPARE_BYTES);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::compression::decoder;

    fn packed(packing: Packing, content: &[u8], threads: usize, step: usize) -> Vec<u8> {
        let mut writer = PackWriter::with_threads(packing, Vec::new(), threads);
        for piece in content.chunks(step) {
            writer.write_all(piece).unwrap();
            writer.flush().unwrap();
        }
        writer.finish().unwrap()
    }

    /// Text with some noise in it.
    fn content(bytes: usize) -> Vec<u8> {
        let mut seed = 1_u64;
        let mut noise = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..bytes).map(|at| if at % 5 == 0 { noise() } else { b"orlop"[at % 5] }).collect()
    }

    #[test]
    fn the_same_content_gives_the_same_bytes_whatever_the_threads_and_the_pieces() {
        let sizes =
            [0, 1, 700, GZIP_BLOCK_BYTES, GZIP_BLOCK_BYTES + 1, 2 * ZSTD_BLOCK_BYTES + 12_345];
        for size in sizes {
            let content = content(size);
            for packing in [Packing::None, Packing::Gzip(1), Packing::GZIP, Packing::ZSTD] {
                let one = packed(packing, &content, 1, 1 << 16);
                assert_eq!(one, packed(packing, &content, 3, 77_777), "{packing} of {size}");
                assert!(packing == Packing::None || one.len() < size.max(100), "{packing}");
                let (compression, mut reader) = decoder(one.as_slice()).unwrap();
                let mut back = Vec::new();
                reader.read_to_end(&mut back).unwrap();
                assert!(back == content, "{packing} of {size}");
                if size > 0 {
                    assert_eq!(compression, packing.compression());
                }
            }
        }
    }

    #[test]
    fn a_stream_of_gzip_is_one_member() {
        let content = content(3 * GZIP_BLOCK_BYTES + 5);
        let stream = packed(Packing::GZIP, &content, 2, 1 << 20);
        let mut back = Vec::new();
        let mut reader = flate2::bufread::GzDecoder::new(stream.as_slice());
        reader.read_to_end(&mut back).unwrap();
        assert!(back == content);
    }

    #[test]
    fn a_writer_that_fails_is_an_error() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let content = content(20 * GZIP_BLOCK_BYTES);
        let mut writer = PackWriter::with_threads(Packing::GZIP, Full, 2);
        let error = writer.write_all(&content).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn names_and_levels() {
        for (text, want) in [
            ("none", Packing::None),
            ("uncompressed", Packing::None),
            ("gzip", Packing::Gzip(6)),
            ("gzip:9", Packing::Gzip(9)),
            ("zstd", Packing::Zstd(3)),
            ("zstd:22", Packing::Zstd(22)),
        ] {
            assert_eq!(text.parse(), Ok(want));
        }
        assert_eq!(Packing::Zstd(19).to_string(), "zstd:19");
        for (text, message) in [
            ("xz", "compression `xz` is not `none`, `gzip` or `zstd`"),
            ("gzip:10", "compression level 10 is not from 1 to 9"),
            ("zstd:0", "compression level 0 is not from 1 to 22"),
            ("zstd:-1", "compression level `-1` is not a small number"),
            ("none:1", "compression `none` has no levels"),
        ] {
            assert_eq!(text.parse::<Packing>().unwrap_err().to_string(), message);
        }
    }
}
