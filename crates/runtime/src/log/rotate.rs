//! Rotation: `log` → `log.1` → `log.2` …, the older ones compressed where the plan says so.
//!
//! A compressed file says in its header which file it was (device and inode number), so that a reader
//! who has read that file does not read it again. It is written under a temporary name and renamed,
//! and only then its source is removed: at any moment each line is in one file at least.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};

/// Suffix of a compressed file.
const COMPRESSED: &str = ".gz";

/// What tells one log file from another.
pub(super) type Identity = (u64, u64);

/// The files of one log.
#[derive(Debug)]
pub(super) struct Rotation {
    pub(super) path: PathBuf,
    pub(super) max_files: u32,
    pub(super) compress: bool,
}

impl Rotation {
    /// Puts the newest file out of the way.
    pub(super) fn rotate(&self) -> io::Result<()> {
        if self.max_files < 2 {
            return remove_if_there(&self.path);
        }
        let oldest = self.max_files - 1;
        // Whatever its form: the plan may have been another one before.
        for form in ["", COMPRESSED] {
            remove_if_there(&numbered(&self.path, oldest, form))?;
        }
        for number in (1..oldest).rev() {
            for form in ["", COMPRESSED] {
                let (from, to) =
                    (numbered(&self.path, number, form), numbered(&self.path, number + 1, form));
                rename_if_there(&from, &to)?;
            }
        }
        rename_if_there(&self.path, &numbered(&self.path, 1, ""))
    }

    /// Compresses what was put out of the way; to be called after the next file was made, which must
    /// not get the inode number that this one gives back.
    pub(super) fn pack(&self) -> io::Result<()> {
        let first = numbered(&self.path, 1, "");
        if self.max_files < 2 || !self.compress || !first.exists() {
            return Ok(());
        }
        compress(&first, &numbered(&self.path, 1, COMPRESSED))
    }
}

/// Opens the newest file, making it if it is missing.
pub(super) fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).append(true).create(true).mode(0o640).open(path)
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The name of an older file.
fn numbered(path: &Path, number: u32, form: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}{form}"));
    PathBuf::from(name)
}

fn compress(source: &Path, target: &Path) -> io::Result<()> {
    let mut name = OsString::from(target);
    name.push(".new");
    let temporary = PathBuf::from(name);
    let mut from = File::open(source)?;
    let (device, inode) = identity(&from)?;
    let mut extra = device.to_le_bytes().to_vec();
    extra.extend_from_slice(&inode.to_le_bytes());
    let into =
        File::options().write(true).create(true).truncate(true).mode(0o640).open(&temporary)?;
    let mut encoder = GzBuilder::new().extra(extra).write(into, Compression::fast());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?;
    fs::rename(&temporary, target)?;
    fs::remove_file(source)
}

pub(super) fn identity(file: &File) -> io::Result<Identity> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// One file of a log.
#[derive(Debug)]
pub(super) struct Part {
    /// Which one it is, or was before it was compressed.
    pub(super) identity: Identity,
    /// Whether it was compressed: the number may be another file's by now.
    pub(super) packed: bool,
    pub(super) file: File,
}

/// Opens the file of a number (0 is the newest); a compressed one is unpacked into memory, so that
/// all can be read alike.
pub(super) fn open(path: &Path, number: u32) -> io::Result<Option<Part>> {
    let plain = if number == 0 { path.to_owned() } else { numbered(path, number, "") };
    match File::open(&plain) {
        Ok(file) => return Ok(Some(Part { identity: identity(&file)?, packed: false, file })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if number == 0 {
        return Ok(None);
    }
    let packed = match File::open(numbered(path, number, COMPRESSED)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let own = identity(&packed)?;
    let mut decoder = flate2::read::GzDecoder::new(packed);
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut unpacked = File::from(rustix::fs::memfd_create("orlop-log", flags)?);
    // A file of which the end is missing gives what there is.
    if let Err(error) = io::copy(&mut decoder, &mut unpacked) {
        tracing::debug!(log = %path.display(), number, %error, "a compressed log is damaged");
    }
    io::Seek::rewind(&mut unpacked)?;
    let extra = decoder.header().and_then(flate2::GzHeader::extra).unwrap_or_default();
    let identity = source_of(extra).unwrap_or(own);
    Ok(Some(Part { identity, packed: true, file: unpacked }))
}

/// The file that a compressed one was, as its header says.
fn source_of(extra: &[u8]) -> Option<Identity> {
    let (device, inode) = extra.split_at_checked(8)?;
    Some((u64::from_le_bytes(device.try_into().ok()?), u64::from_le_bytes(inode.try_into().ok()?)))
}
