//! Hashes of files: of their content, and of their extended attributes if they have any.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::SystemTime;

use orlop_archive::digest::Digester;
use orlop_sys::xattr::{self, Attribute};
use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::Tree;
use super::memory::{Identity, Known};
use super::scan::has_vanished;
use crate::Cancel;

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// How often a file that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// What is known about a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// Digest of content and attributes.
    pub(crate) digest: [u8; 32],
    /// Whether it has extended attributes.
    pub(crate) attributes: bool,
    /// Whether the digest holds as long as the file looks the same: nothing changed while it was read,
    /// and the last change was long enough before.
    pub(crate) settled: bool,
}

impl Hashed {
    /// Of an empty file without attributes.
    pub(crate) fn empty() -> Self {
        let digest = of_content(Digester::default(), &[]);
        Self { digest, attributes: false, settled: true }
    }
}

/// The digest of a file: content first, attributes if there are any.
pub(crate) fn of_content(content: Digester, attributes: &[Attribute]) -> [u8; 32] {
    let content = content.finish_raw();
    let mut text = Vec::new();
    describe_attributes(attributes, &mut text);
    if text.is_empty() {
        return content;
    }
    let mut digester = Digester::default();
    digester.update(&content);
    digester.update(&text);
    digester.finish_raw()
}

/// Attributes that count, as BuildKit chooses them: those that labels of the machine are not.
pub(crate) fn describe_attributes(attributes: &[Attribute], text: &mut Vec<u8>) {
    for (name, value) in attributes {
        let name = name.to_bytes();
        let counts = name == b"security.capability"
            || !(name.starts_with(b"security.")
                || name.starts_with(b"system.")
                || is_overlay(name));
        if counts {
            for part in [name, value] {
                text.extend_from_slice(&(part.len() as u64).to_le_bytes());
                text.extend_from_slice(part);
            }
        }
    }
}

/// Whether an attribute belongs to the overlay file system.
pub(crate) fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Opens a regular file of a directory; `None` if it is none (any more). Never waits for a pipe.
pub(crate) fn open(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<File>> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(error) if has_vanished(error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Reads a file and keeps its hash; `None` if it has vanished or is no file any more. What comes back
/// is its metadata at the end.
pub(crate) fn file(
    tree: &Tree,
    directory: BorrowedFd<'_>,
    name: &CStr,
    cancel: &Cancel,
) -> io::Result<Option<(Stat, Hashed)>> {
    let Some(mut file) = open(directory, name)? else { return Ok(None) };
    let mut before = rustix::fs::fstat(&file)?;
    if !is_regular(&before) {
        return Ok(None);
    }
    if let Some(memory) = tree.memory() {
        memory.note_read();
    }
    let mut attempt = 1;
    loop {
        let began = SystemTime::now();
        let content = digest_of(&mut file, before.st_size, cancel)?;
        let attributes = xattr::all(file.as_fd())?;
        let after = rustix::fs::fstat(&file)?;
        let identity = Identity::of(&after);
        let same = identity == Identity::of(&before);
        if same || attempt == ATTEMPTS {
            let digest = of_content(content, &attributes);
            let attributes = !attributes.is_empty();
            if same && let Some(memory) = tree.memory() {
                memory.keep(identity, Known { digest, attributes }, began);
            }
            // Nobody else writes to what is not a directory of the user's.
            let settled = same && (tree.memory().is_none() || identity.is_settled(began));
            return Ok(Some((after, Hashed { digest, attributes, settled })));
        }
        attempt += 1;
        before = after;
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    }
}

fn digest_of(file: &mut File, size: i64, cancel: &Cancel) -> io::Result<Digester> {
    let mut digester = Digester::default();
    let length = usize::try_from(size).unwrap_or(0).saturating_add(1).min(BUFFER_BYTES);
    let mut buffer = vec![0; length];
    loop {
        let got = match file.read(&mut buffer) {
            Ok(0) => return Ok(digester),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digester.update(&buffer[..got]);
        if got == BUFFER_BYTES && cancel.is_cancelled() {
            return Err(io::Error::other("context canceled"));
        }
    }
}
