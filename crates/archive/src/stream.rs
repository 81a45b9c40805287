//! A stream decompressed, hashed and consumed by three threads at once.
//!
//! On machines without SHA instructions hashing is slower than inflating, and both are slower than
//! creating files; so each has its own thread and the chunks are shared, not copied.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use orlop_types::Digest;

use crate::compression::{Compression, decoder};
use crate::digest::Digester;
use crate::{Error, Result};

/// Bytes handed over at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that wait at most, per consumer: 4 MiB bridge a slow file without holding much memory.
const CHUNKS_WAITING: usize = 16;

/// What a decompressed stream may be at most, if the caller knows nothing better: no image is as
/// large, and a bomb of 1 GiB of gzip is stopped before a terabyte is full.
pub const STREAM_MAX_BYTES: u64 = 512 << 30;

type Chunk = Arc<Vec<u8>>;

/// What passed through a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// How it was compressed.
    pub compression: Compression,
    /// Digest of the decompressed bytes.
    pub digest: Digest,
    /// Number of decompressed bytes.
    pub bytes: u64,
}

/// The decompressed bytes of a stream.
#[derive(Debug)]
pub struct StreamReader {
    chunks: Receiver<io::Result<Chunk>>,
    current: Chunk,
    position: usize,
}

impl BufRead for StreamReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() {
            match self.chunks.recv() {
                Ok(chunk) => {
                    self.current = chunk?;
                    self.position = 0;
                }
                Err(_) => return Ok(&[]),
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount;
    }
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        buffer[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

/// Decompresses a stream for a function, and gives what it returned with the digest of everything.
///
/// What the function leaves unread is read to the end, because the digest covers it too. An error of
/// the function comes first, then one of the stream.
pub fn consume<R, T>(
    source: R,
    limit_bytes: u64,
    function: impl FnOnce(&mut StreamReader) -> Result<T>,
) -> Result<(T, StreamInfo)>
where
    R: Read + Send,
{
    let (to_function, chunks) = sync_channel(CHUNKS_WAITING);
    let (to_digest, digest_chunks) = sync_channel::<Chunk>(CHUNKS_WAITING);
    std::thread::scope(|scope| {
        let producer = scope.spawn(move || produce(source, limit_bytes, &to_function, &to_digest));
        let hasher = scope.spawn(move || {
            let mut digester = Digester::default();
            for chunk in digest_chunks {
                digester.update(&chunk);
            }
            digester.finish()
        });
        let mut reader = StreamReader { chunks, current: Chunk::default(), position: 0 };
        let result = function(&mut reader);
        if result.is_ok() {
            // The reason of a failure is what the producer returns.
            while reader.chunks.recv().is_ok_and(|chunk| chunk.is_ok()) {}
        }
        drop(reader);
        let produced = join(producer);
        let digest = join(hasher);
        match (result, produced) {
            (Ok(value), Ok((compression, bytes))) => {
                Ok((value, StreamInfo { compression, digest, bytes }))
            }
            // A stream that breaks looks to the function like one that ends, so its error counts more.
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
        }
    })
}

/// Lets a function write and gives the digest of what it wrote, computed on a second thread.
pub fn hashed<T>(
    output: &mut (dyn Write + Send),
    function: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<(T, Digest)> {
    while_hashing(output, |writer| function(writer))
}

/// Copies everything and gives its digest, computed on a second thread.
pub fn copy_hashed(source: &mut dyn Read, output: &mut (dyn Write + Send)) -> Result<Digest> {
    let copied = while_hashing(output, |writer| {
        while writer.take_from(source).map_err(Error::Write)? {}
        Ok(())
    });
    copied.map(|((), digest)| digest)
}

fn while_hashing<T>(
    output: &mut (dyn Write + Send),
    function: impl FnOnce(&mut HashedWriter<'_>) -> Result<T>,
) -> Result<(T, Digest)> {
    let (to_digest, chunks) = sync_channel::<Vec<u8>>(CHUNKS_WAITING);
    let (give_back, hashed) = channel();
    std::thread::scope(|scope| {
        let hasher = scope.spawn(move || {
            let mut digester = Digester::default();
            for mut chunk in chunks {
                digester.update(&chunk);
                chunk.clear();
                // At the end nobody wants it back.
                let _ = give_back.send(chunk);
            }
            digester.finish()
        });
        let chunk = Vec::with_capacity(CHUNK_BYTES);
        let mut writer = HashedWriter { output, to_digest, hashed, chunk };
        let result = function(&mut writer)
            .and_then(|value| writer.flush().map(|()| value).map_err(Error::Write));
        drop(writer);
        let digest = join(hasher);
        result.map(|value| (value, digest))
    })
}

/// Collects chunks, writes each and hands it to the thread that hashes.
struct HashedWriter<'a> {
    output: &'a mut (dyn Write + Send),
    to_digest: SyncSender<Vec<u8>>,
    /// Chunks that may be filled again: fresh memory costs a page fault for each page.
    hashed: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
}

impl HashedWriter<'_> {
    /// Writes one more chunk of a source; whether there was any.
    fn take_from(&mut self, source: &mut dyn Read) -> io::Result<bool> {
        let room = CHUNK_BYTES - self.chunk.len();
        let length = source.take(room as u64).read_to_end(&mut self.chunk)?;
        self.flush()?;
        Ok(length > 0)
    }
}

impl Write for HashedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let step = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..step]);
        if self.chunk.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(step)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let empty = self.hashed.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES));
        let chunk = std::mem::replace(&mut self.chunk, empty);
        self.output.write_all(&chunk)?;
        // The thread ends only after this sender is gone.
        self.to_digest.send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn produce<R: Read + Send>(
    source: R,
    limit_bytes: u64,
    to_function: &SyncSender<io::Result<Chunk>>,
    to_digest: &SyncSender<Chunk>,
) -> Result<(Compression, u64)> {
    let fail = |compression, error: io::Error| {
        // The function may have given up already; then nobody waits for this.
        let _ = to_function.send(Err(io::Error::from(error.kind())));
        Error::Stream { compression, source: error }
    };
    let (compression, mut decoded) =
        decoder(source).map_err(|error| fail(Compression::None, error))?;
    let mut bytes = 0;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        decoded
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut chunk)
            .map_err(|error| fail(compression, error))?;
        if chunk.is_empty() {
            return Ok((compression, bytes));
        }
        bytes += chunk.len() as u64;
        if bytes > limit_bytes {
            let _ = to_function.send(Err(io::ErrorKind::FileTooLarge.into()));
            return Err(Error::StreamTooLong { limit_bytes });
        }
        let chunk = Arc::new(chunk);
        if to_function.send(Ok(Arc::clone(&chunk))).is_err() {
            // The function ended early; only an error makes it do that.
            return Ok((compression, bytes));
        }
        if to_digest.send(chunk).is_err() {
            return Ok((compression, bytes));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::digest::of_bytes;

    #[test]
    fn the_digest_covers_what_the_function_did_not_read() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let packed = zstd::encode_all(&content[..], 1).unwrap();
        let ((), info) = consume(&packed[..], STREAM_MAX_BYTES, |reader| {
            let mut start = [0; 10];
            reader.read_exact(&mut start).unwrap();
            assert_eq!(start, content[..10]);
            Ok(())
        })
        .unwrap();
        assert_eq!(info.digest, of_bytes(&content));
        assert_eq!((info.bytes, info.compression), (3_000_000, Compression::Zstd));
    }

    #[test]
    fn a_copy_is_whole_and_its_digest_right() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 40 * CHUNK_BYTES + 17] {
            let content: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut copy = Vec::new();
            assert_eq!(copy_hashed(&mut &content[..], &mut copy).unwrap(), of_bytes(&content));
            assert!(copy == content, "{length} bytes");
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let bomb = zstd::encode_all(io::repeat(0).take(64 << 20), 3).unwrap();
        let error = consume(&bomb[..], 1 << 20, |reader| {
            io::copy(reader, &mut io::sink()).map_err(Error::Write)
        })
        .unwrap_err();
        assert!(matches!(error, Error::StreamTooLong { limit_bytes: 1_048_576 }), "{error:?}");
    }

    #[test]
    fn an_early_end_of_the_function_stops_the_threads() {
        let error = consume(io::repeat(1).take(1 << 30), STREAM_MAX_BYTES, |_| {
            Err::<(), _>(Error::Truncated { entry: "x".to_owned() })
        })
        .unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }));
    }
}
