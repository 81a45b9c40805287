//! The headers of a layer's tar without the contents of its files, from what the layer keeps of it.
//!
//! What a layer changes shows in its tar: names, attributes, deletions. The tar's skeleton has all of
//! that in one small file, so nothing of the layer's tree is touched, whatever the storage driver.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use orlop_sys::confined::Root;

use crate::Result;
use crate::read::TarReader;
use crate::skeleton::{self, Record};

/// What stands for the contents of files, many times over.
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];

/// A layer's tar with zeros for the contents of files.
pub struct HeaderStream {
    input: zstd::Decoder<'static, BufReader<File>>,
    raw: Vec<u8>,
    position: usize,
    /// Bytes of content that follow.
    zeros: u64,
    ended: bool,
}

/// Reads the headers of the tar that a layer's directory came from. The content that the reader hands
/// out is zeros; skip it.
pub fn headers(layer: &Root) -> Result<TarReader<HeaderStream>> {
    let input = skeleton::records(layer)?;
    let stream = HeaderStream { input, raw: Vec::new(), position: 0, zeros: 0, ended: false };
    Ok(TarReader::new(stream))
}

impl BufRead for HeaderStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while !self.ended && self.zeros == 0 && self.position == self.raw.len() {
            self.position = 0;
            match skeleton::next_record(&mut self.input, &mut self.raw).map_err(io::Error::other)? {
                Record::Raw => {}
                Record::Content { bytes } => {
                    self.raw.clear();
                    self.zeros = bytes;
                }
                Record::End => {
                    self.raw.clear();
                    self.ended = true;
                }
            }
        }
        if self.position < self.raw.len() {
            return Ok(self.raw.get(self.position..).unwrap_or_default());
        }
        let length = usize::try_from(self.zeros).unwrap_or(usize::MAX).min(ZEROS.len());
        Ok(ZEROS.get(..length).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        if self.position < self.raw.len() {
            self.position += amount;
        } else {
            self.zeros = self.zeros.saturating_sub(amount as u64);
        }
    }
}

impl Read for HeaderStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        let (into, _) = buffer.split_at_mut(length);
        into.copy_from_slice(available.get(..length).unwrap_or_default());
        self.consume(length);
        Ok(length)
    }
}
