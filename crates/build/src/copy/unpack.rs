//! ADD of archives.
//!
//! An archive may go through links and over files that are there already, and may delete nothing; that
//! is done in a mount of the layer above the others, in which the kernel brings up what changes.

use std::fs::File;
use std::io::BufReader;

use orlop_archive::read::TarReader;
use orlop_archive::unpack::{Ownership, Replace, UnpackOptions};
use orlop_archive::{compression, stream};
use orlop_sys::confined::{Owner, Root};

use crate::context::Tree;
use crate::context::hash;
use crate::context::scan::{Entry, What, as_path};
use crate::{Cancel, Result};

/// Opens a file of a tree if it is an archive of any compression, which its content tells.
pub(crate) fn open_archive(tree: &Tree, directory: &[u8], entry: &Entry) -> Result<Option<File>> {
    if !matches!(entry.what, What::File(_)) || !hash::is_regular(&entry.stat) {
        return Ok(None);
    }
    let parent = tree.root().open_dir(as_path(directory)).map_err(orlop_layer::Error::from)?;
    let open = || hash::open(std::os::fd::AsFd::as_fd(&parent), &entry.name);
    match open() {
        Ok(Some(file)) if is_archive(&file) => {
            rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
                .map_err(|error| super::place::path_failed("read", directory, &error.into()))?;
            Ok(Some(file))
        }
        Ok(_) => Ok(None),
        Err(error) => Err(super::place::path_failed("open", directory, &error)),
    }
}

/// Whether a first entry can be read.
pub(crate) fn is_archive(file: &File) -> bool {
    let Ok((_, reader)) = compression::decoder(file) else { return false };
    matches!(TarReader::new(BufReader::new(reader)).next_entry(), Ok(Some(_)))
}

/// Unpacks below a directory that exists.
pub(crate) fn unpack(
    file: &File,
    root: &Root,
    base: &[u8],
    owner: Option<Owner>,
    cancel: &Cancel,
) -> Result<()> {
    let options = UnpackOptions {
        base: base.to_vec(),
        rename: None,
        replace: Replace::Anything,
        ownership: owner.map_or(Ownership::Archive, Ownership::Fixed),
    };
    let stoppable = Stoppable { file, cancel };
    stream::consume(stoppable, stream::STREAM_MAX_BYTES, |reader| {
        orlop_archive::unpack::unpack(reader, root, &options)
    })
    .map(drop)
    .map_err(|error| {
        if cancel.is_cancelled() {
            crate::Error::Cancelled
        } else {
            orlop_layer::Error::from(error).into()
        }
    })
}

/// A reader that ends with an error when the build is cancelled.
struct Stoppable<'a> {
    file: &'a File,
    cancel: &'a Cancel,
}

impl std::io::Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(std::io::Error::other("context canceled"));
        }
        self.file.read(buffer)
    }
}
