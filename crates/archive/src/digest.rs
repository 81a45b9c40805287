//! SHA-256 digests of streams.

use std::io::{self, Read};

use orlop_types::Digest;

/// A SHA-256 being computed.
#[derive(Clone)]
pub struct Digester(ring::digest::Context);

impl Default for Digester {
    fn default() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }
}

impl Digester {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Gives the digest of everything added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest::of_sha256(&self.finish_raw())
    }

    /// Gives the bytes of the digest of everything added.
    #[must_use]
    pub fn finish_raw(self) -> [u8; 32] {
        self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// The digest of bytes in memory.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> Digest {
    let mut digester = Digester::default();
    digester.update(bytes);
    digester.finish()
}

/// A reader that computes the digest of what passes through it.
pub struct DigestReader<R> {
    inner: R,
    digester: Digester,
    bytes: u64,
}

impl<R: Read> DigestReader<R> {
    /// Begins with nothing read.
    pub fn new(inner: R) -> Self {
        Self { inner, digester: Digester::default(), bytes: 0 }
    }

    /// The digest and number of all bytes read.
    #[must_use]
    pub fn finish(self) -> (Digest, u64) {
        (self.digester.finish(), self.bytes)
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.digester.update(&buffer[..length]);
        self.bytes += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standard() {
        let want = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc").as_str(), want);
        let mut reader = DigestReader::new(&b"abc"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.finish(), (want.parse().unwrap(), 3));
    }
}
