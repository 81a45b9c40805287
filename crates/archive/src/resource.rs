//! The archive of one object of a tree, as copies send it: a file, or a directory with everything
//! below it, under a name of the caller's choice.
//!
//! Docker's names: `data/`, `data/f` for a directory `data`; `./`, `./f` for its content alone; `/`,
//! `/f` for the root.

use std::io::Write;
use std::os::fd::AsFd as _;
use std::path::Path;

use orlop_sys::confined::{LastLink, Root};
use orlop_sys::tree::identity;
use rustix::fs::{AtFlags, FileType, Stat};
use tar_core::HEADER_SIZE;

use crate::write::{Step, TarWriter, at, walk};
use crate::{Error, Result};

/// What went into an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Its entries.
    pub entries: u64,
    /// Its length without extended headers, which is what Docker tells as the size of a copy.
    pub plain_bytes: u64,
}

impl Packed {
    fn add(&mut self, stat: &Stat, again: bool) {
        let block = HEADER_SIZE as u64;
        self.entries += 1;
        self.plain_bytes += block;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && !again {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            self.plain_bytes += size.next_multiple_of(block);
        }
    }
}

/// Which object of a tree, and what it is called in the archive.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// Where it is, relative to the root.
    pub path: &'a Path,
    /// Whether a link at the end of the path stands for what it leads to, a directory.
    pub last: LastLink,
    /// Its name: `.` for the content of a directory, `/` for that of the root.
    pub name: &'a [u8],
}

/// Writes a whole archive of one object.
pub fn pack<W: Write>(
    root: &Root,
    resource: Resource<'_>,
    mut tar: TarWriter<W>,
) -> Result<Packed> {
    let Resource { path, last, name } = resource;
    let stat = match last {
        LastLink::Follow => root.stat(path)?,
        LastLink::Keep => root.lstat(path)?,
    };
    let mut packed = Packed { entries: 0, plain_bytes: 2 * HEADER_SIZE as u64 };
    if last == LastLink::Follow || FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let directory = root.open_dir(path)?;
        let stat = rustix::fs::fstat(&directory).map_err(|error| at(name, error.into()))?;
        // The name of the root is a slash already.
        let name = if name == b"/" { b"" } else { name };
        tar.directory(name, directory.as_fd(), &stat)?;
        packed.add(&stat, false);
        let mut seen = std::collections::HashSet::new();
        walk(directory.as_fd(), name, |step| match step {
            Step::Directory { path, fd, stat } => {
                packed.add(stat, false);
                tar.directory(path, fd, stat)
            }
            Step::File { path, parent, name, stat } => {
                packed.add(stat, stat.st_nlink > 1 && !seen.insert(identity(stat)));
                tar.file(path, parent, name, stat)
            }
        })?;
    } else {
        let (parent, base) = root.open_parent(path)?;
        let stat = rustix::fs::statat(&parent, base.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| at(name, error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Socket {
            let error = std::io::Error::other("it is a socket, which archives cannot hold");
            return Err(at(path.as_os_str().as_encoded_bytes(), error));
        }
        packed.add(&stat, false);
        tar.file(name, parent.as_fd(), &base, &stat)?;
    }
    tar.finish()?.flush().map_err(Error::Write)?;
    Ok(packed)
}
