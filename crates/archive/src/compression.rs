//! Compression of archives, recognised by its first bytes.

use std::io::{self, Read};

/// First bytes that tell the compression.
pub const MAGIC_BYTES: usize = 6;
/// Memory that an xz stream may ask for: `xz -9` needs 65 MiB.
const XZ_MEMORY_BYTES: u64 = 256 << 20;
/// Window that a zstd stream may ask for, as a power of two: 128 MiB, the format's recommendation.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, one or several members.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard, one or several frames.
    Zstd,
}

impl Compression {
    /// Recognises a stream by its beginning, of which fewer than [`MAGIC_BYTES`] may exist.
    #[must_use]
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // The second form is a frame that decoders skip; some writers begin with one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// Its name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

/// Recognises the compression of a stream and gives a reader of what was compressed.
pub fn decoder<'a, R: Read + Send + 'a>(
    mut source: R,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut start = Vec::with_capacity(MAGIC_BYTES);
    source.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut start)?;
    let compression = Compression::detect(&start);
    let whole = io::Cursor::new(start).chain(source);
    let decoded: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(whole))),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered(whole))),
        Compression::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, flags)
                .map_err(io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(buffered(whole), stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(buffered(whole))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    Ok((compression, decoded))
}

fn buffered<R: Read>(source: R) -> io::BufReader<R> {
    const BUFFER_BYTES: usize = 128 * 1024;
    io::BufReader::with_capacity(BUFFER_BYTES, source)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(stream: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
        let (compression, mut reader) = decoder(stream)?;
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        Ok((compression, content))
    }

    #[test]
    fn every_compression_is_recognised_and_read_to_its_last_member() {
        let text = b"the lowest deck".repeat(1000);
        let halves = text.split_at(7000);
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&text).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&text).unwrap();
        let zstd = [zstd::encode_all(halves.0, 1).unwrap(), zstd::encode_all(halves.1, 1).unwrap()]
            .concat();
        let cases = [
            (Compression::None, text.clone()),
            (Compression::Gzip, gzip(&text)),
            (Compression::Gzip, [gzip(halves.0), gzip(halves.1)].concat()),
            (Compression::Bzip2, bzip2.finish().unwrap()),
            (Compression::Xz, xz.finish().unwrap()),
            (Compression::Zstd, zstd),
        ];
        for (want, stream) in cases {
            let (compression, content) = decoded(&stream).unwrap();
            assert_eq!(compression, want);
            assert_eq!(content, text, "{want:?}");
        }
    }

    #[test]
    fn a_stream_cut_short_is_an_error() {
        let stream = gzip(&b"x".repeat(100_000));
        assert!(decoded(&stream[..stream.len() - 9]).is_err());
        assert_eq!(decoded(b"").unwrap(), (Compression::None, Vec::new()));
        assert_eq!(decoded(b"\x1f").unwrap(), (Compression::None, b"\x1f".to_vec()));
    }
}
