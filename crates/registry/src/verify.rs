//! Counting and hashing bytes as they pass.

use orlop_types::Digest;
use ring::digest::{Context, SHA256};

/// Hashes bytes that arrive in pieces.
#[derive(Clone)]
pub struct Verifier {
    hash: Context,
    bytes: u64,
}

impl Default for Verifier {
    fn default() -> Self {
        Self { hash: Context::new(&SHA256), bytes: 0 }
    }
}

impl Verifier {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Number of bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of the bytes so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let value = self.hash.clone().finish();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(value.as_ref());
        Digest::of_sha256(&bytes)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Verifier").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The digest of bytes in memory.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    let mut verifier = Verifier::default();
    verifier.update(bytes);
    verifier.digest()
}
