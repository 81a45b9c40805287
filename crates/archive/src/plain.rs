//! Tars of documents: named bytes, all of one owner and time, so that the same content is the same
//! archive.

use std::io::Write;

use tar_core::builder::EntryBuilder;
use tar_core::{EntryType, HEADER_SIZE, HeaderError};

use crate::{Error, Result};

/// A tar being written.
pub struct PlainTar<'a> {
    output: &'a mut (dyn Write + Send),
}

impl<'a> PlainTar<'a> {
    /// Begins an archive.
    pub fn new(output: &'a mut (dyn Write + Send)) -> Self {
        Self { output }
    }

    fn header(&mut self, name: &str, kind: EntryType, mode: u32, size: u64) -> Result<()> {
        let represent = |source: HeaderError| Error::Represent { path: name.to_owned(), source };
        let mut builder = EntryBuilder::new_ustar();
        builder.path(name.as_bytes()).entry_type(kind);
        builder.mode(mode).map_err(represent)?;
        builder.uid(0).map_err(represent)?;
        builder.gid(0).map_err(represent)?;
        builder.size(size).map_err(represent)?;
        builder.mtime(0).map_err(represent)?;
        self.output.write_all(&builder.finish_bytes()).map_err(Error::Write)
    }

    /// Adds a directory.
    pub fn directory(&mut self, name: &str) -> Result<()> {
        self.header(&format!("{name}/"), EntryType::Directory, 0o755, 0)
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.stream(name, content.len() as u64, |output| {
            output.write_all(content).map_err(Error::Write)
        })
    }

    /// Adds a file whose content a function writes: exactly as many bytes as it says.
    pub fn stream<E: From<Error>>(
        &mut self,
        name: &str,
        size: u64,
        write: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), E>,
    ) -> Result<(), E> {
        self.header(name, EntryType::Regular, 0o644, size)?;
        write(self.output)?;
        let padding =
            usize::try_from(size.next_multiple_of(HEADER_SIZE as u64) - size).unwrap_or(0);
        self.output.write_all(&[0; HEADER_SIZE][..padding]).map_err(Error::Write)?;
        Ok(())
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<()> {
        self.output.write_all(&[0; 2 * HEADER_SIZE]).map_err(Error::Write)?;
        self.output.flush().map_err(Error::Write)
    }
}
