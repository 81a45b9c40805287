//! The memory of hashes: a file of a context that has not changed is not read again.
//!
//! A file is known by device, inode, size, time of modification and time of change. Whoever writes to
//! it, whatever tool sets its times afterwards, moves the time of change. Only a write within the same
//! tick of the file system's clock as the one before does not; so a hash is not kept if it was taken
//! within [`GRAIN_FINE`] of the file's last change ("racily clean", as Git calls it).
//!
//! One file per context directory, `build/hashes/<device>-<inode>` in the store, belongs to no row: it
//! is only a memory, and deleting it costs time. It is written beside and renamed, and not synced: a
//! torn one fails its checksum and is ignored. Numbers little endian, version 1:
//! ```text
//! "orlop-hashes 1\n"  records (8)  checksum of all records (8)
//! record: device inode size mtime ctime (8 each) mtime-ns ctime-ns (4 each) digest (32) flags age (1 each) zeros (6)
//! ```
//! A record that no build has asked for in [`AGE_MAX`] writings is dropped; the files of contexts used
//! longest ago go when all together are larger than [`TOTAL_MAX_BYTES`].

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use orlop_meta::Store;
use orlop_sys::confined::Root;
use rustix::fs::Stat;

use crate::Result;

/// A kernel's slowest tick is 10 ms; twice that.
const GRAIN_FINE: Duration = Duration::from_millis(20);
/// For file systems that store whole or even seconds.
const GRAIN_COARSE: Duration = Duration::from_millis(2_500);
/// All files together: about three million remembered files.
const TOTAL_MAX_BYTES: u64 = 256 << 20;
/// Files of one context; more than any checkout has.
const RECORDS_MAX: usize = 2_000_000;
/// Writings after which a record that nobody asks for is dropped.
const AGE_MAX: u8 = 30;
/// What a killed build has left half-written is removed after this time.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);
const HEADER: &[u8; 15] = b"orlop-hashes 1\n";
const PREFIX_BYTES: usize = HEADER.len() + 16;
const RECORD_BYTES: usize = 88;
const FLAG_ATTRIBUTES: u8 = 1;

/// What is known about a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Digest of content and attributes.
    pub digest: [u8; 32],
    /// Whether it has extended attributes.
    pub attributes: bool,
}

/// What makes a file the same file with the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Length.
    pub size: u64,
    /// Modification, seconds and nanoseconds.
    pub modified: (i64, u32),
    /// Change, seconds and nanoseconds.
    pub changed: (i64, u32),
}

impl Identity {
    /// Takes it from a file's metadata.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    /// Whether a hash taken at this moment says for sure what the file holds as long as it looks so.
    #[must_use]
    pub fn is_settled(&self, at: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let Ok(seconds) = u64::try_from(seconds) else { return false };
        let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        let coarse =
            nanoseconds == 0 || (self.modified.1 == 0 && self.modified.0 == self.changed.0);
        let grain = if coarse { GRAIN_COARSE } else { GRAIN_FINE };
        at.duration_since(changed).is_ok_and(|age| age > grain)
    }
}

#[derive(Clone, Copy)]
struct Record {
    identity: Identity,
    known: Known,
    age: u8,
}

impl Record {
    fn read(bytes: &[u8; RECORD_BYTES]) -> Self {
        let long = |at: usize| {
            u64::from_le_bytes(std::array::from_fn(|byte| {
                bytes.get(at + byte).copied().unwrap_or(0)
            }))
        };
        let short = |at: usize| long(at) as u32;
        let digest = std::array::from_fn(|byte| bytes.get(48 + byte).copied().unwrap_or(0));
        Self {
            identity: Identity {
                device: long(0),
                inode: long(8),
                size: long(16),
                modified: (long(24).cast_signed(), short(40)),
                changed: (long(32).cast_signed(), short(44)),
            },
            known: Known { digest, attributes: bytes[80] & FLAG_ATTRIBUTES != 0 },
            age: bytes[81],
        }
    }

    fn write(&self, output: &mut Vec<u8>) {
        let Identity { device, inode, size, modified, changed } = self.identity;
        for number in [device, inode, size, modified.0.cast_unsigned(), changed.0.cast_unsigned()] {
            output.extend_from_slice(&number.to_le_bytes());
        }
        output.extend_from_slice(&modified.1.to_le_bytes());
        output.extend_from_slice(&changed.1.to_le_bytes());
        output.extend_from_slice(&self.known.digest);
        output.extend_from_slice(&[u8::from(self.known.attributes) * FLAG_ATTRIBUTES, self.age]);
        output.extend_from_slice(&[0; 6]);
    }
}

/// Hashes of the files of one context directory.
pub struct HashMemory {
    path: PathBuf,
    /// The file, checked.
    bytes: Vec<u8>,
    /// Numbers of records plus one, by the hash of their inode; 0 is free.
    index: Vec<u32>,
    /// Which records somebody asked for, one bit each.
    asked: Vec<AtomicU64>,
    fresh: Mutex<HashMap<(u64, u64), Record>>,
    /// Files whose content was read.
    reads: AtomicU64,
}

impl std::fmt::Debug for HashMemory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HashMemory").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The directory of all memories.
#[must_use]
pub fn directory(store: &Store) -> PathBuf {
    store.paths.root.join("build").join("hashes")
}

impl HashMemory {
    /// Opens the memory of a context directory; an unreadable one is an empty one.
    pub fn open(store: &Store, context: &Root) -> Result<Self> {
        let directory = directory(store);
        let failed = |source: io::Error| {
            crate::Error::from(orlop_layer::Error::File {
                action: "make the directory",
                path: directory.clone(),
                source,
            })
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let stat = rustix::fs::fstat(context.fd()).map_err(|error| failed(error.into()))?;
        Ok(Self::read(directory.join(format!("{:x}-{:x}", stat.st_dev, stat.st_ino))))
    }

    fn read(path: PathBuf) -> Self {
        let mut bytes = Vec::new();
        let limit = (RECORDS_MAX * RECORD_BYTES + PREFIX_BYTES) as u64;
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if is_whole(&bytes) => {}
            Ok(_) => {
                tracing::debug!(path = %path.display(), "the memory of hashes is damaged, and forgotten");
                bytes.clear();
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!(path = %path.display(), %error, "cannot read the memory of hashes");
                }
                bytes.clear();
            }
        }
        let count = bytes.len().saturating_sub(PREFIX_BYTES) / RECORD_BYTES;
        let mut memory = Self {
            path,
            bytes,
            index: vec![0; (count * 2).next_power_of_two()],
            asked: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            fresh: Mutex::default(),
            reads: AtomicU64::new(0),
        };
        memory.fill_index(count);
        memory
    }

    fn fill_index(&mut self, count: usize) {
        for number in 0..count {
            let Some(record) = self.record(number) else { continue };
            let mut slot = self.slot(record.identity.device, record.identity.inode);
            while self.index[slot] != 0 {
                slot = (slot + 1) % self.index.len();
            }
            self.index[slot] = u32::try_from(number + 1).unwrap_or(0);
        }
    }

    fn record(&self, number: usize) -> Option<Record> {
        let at = PREFIX_BYTES + number * RECORD_BYTES;
        let bytes = self.bytes.get(at..at + RECORD_BYTES)?;
        bytes.try_into().ok().map(Record::read)
    }

    fn slot(&self, device: u64, inode: u64) -> usize {
        let mixed = (inode ^ device.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 20) as usize & (self.index.len() - 1)
    }

    /// What is known about a file that looks so.
    #[must_use]
    pub fn find(&self, identity: &Identity) -> Option<Known> {
        let mut slot = self.slot(identity.device, identity.inode);
        while let Some(number) = self.index[slot].checked_sub(1) {
            let number = number as usize;
            let record = self.record(number)?;
            if record.identity == *identity {
                if let Some(word) = self.asked.get(number / 64) {
                    word.fetch_or(1 << (number % 64), Ordering::Relaxed);
                }
                return Some(record.known);
            }
            slot = (slot + 1) % self.index.len();
        }
        let fresh = self.fresh.lock().ok()?;
        let record = fresh.get(&(identity.device, identity.inode))?;
        (record.identity == *identity).then_some(record.known)
    }

    /// Keeps what a file holds. The identity is the file's both before and after it was read, which
    /// began `at` this time.
    pub fn keep(&self, identity: Identity, known: Known, at: SystemTime) {
        if identity.is_settled(at)
            && let Ok(mut fresh) = self.fresh.lock()
        {
            let record = Record { identity, known, age: 0 };
            fresh.insert((identity.device, identity.inode), record);
        }
    }

    /// Counts a file whose content is read.
    pub fn note_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// How many files were read.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Writes down what is new; touches the file if nothing is.
    pub fn save(&self) {
        if let Err(error) = self.try_save() {
            tracing::debug!(path = %self.path.display(), %error, "cannot keep the memory of hashes");
        }
    }

    fn try_save(&self) -> io::Result<()> {
        let fresh = match self.fresh.lock() {
            Ok(mut fresh) => std::mem::take(&mut *fresh),
            Err(_) => return Ok(()),
        };
        if fresh.is_empty() {
            return touch(&self.path);
        }
        let content = self.content(&fresh);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        let name = format!(".{}-{:x}", std::process::id(), std::ptr::from_ref(self) as usize);
        let beside = directory.join(name);
        let written = std::fs::File::create(&beside)
            .and_then(|mut file| file.write_all(&content))
            .and_then(|()| std::fs::rename(&beside, &self.path));
        if written.is_err() {
            // What matters is the first error; a sweep takes the file otherwise.
            let _ = std::fs::remove_file(&beside);
        }
        written?;
        shrink(directory, TOTAL_MAX_BYTES)
    }

    fn content(&self, fresh: &HashMap<(u64, u64), Record>) -> Vec<u8> {
        let count = self.bytes.len().saturating_sub(PREFIX_BYTES) / RECORD_BYTES;
        let mut content = Vec::with_capacity(self.bytes.len() + fresh.len() * RECORD_BYTES);
        content.extend_from_slice(HEADER);
        content.extend_from_slice(&[0; 16]);
        let mut records = 0;
        for record in fresh.values().take(RECORDS_MAX) {
            record.write(&mut content);
            records += 1;
        }
        for number in 0..count {
            let Some(mut record) = self.record(number) else { continue };
            let asked = self
                .asked
                .get(number / 64)
                .is_some_and(|word| word.load(Ordering::Relaxed) >> (number % 64) & 1 == 1);
            record.age = if asked { 0 } else { record.age.saturating_add(1) };
            let replaced = fresh.contains_key(&(record.identity.device, record.identity.inode));
            if !replaced && record.age <= AGE_MAX && records < RECORDS_MAX {
                record.write(&mut content);
                records += 1;
            }
        }
        let sum = checksum(&content[PREFIX_BYTES..]);
        content[HEADER.len()..HEADER.len() + 8].copy_from_slice(&(records as u64).to_le_bytes());
        content[HEADER.len() + 8..PREFIX_BYTES].copy_from_slice(&sum.to_le_bytes());
        content
    }
}

/// Whether the header and the checksum fit.
fn is_whole(bytes: &[u8]) -> bool {
    let Some((prefix, records)) = bytes.split_at_checked(PREFIX_BYTES) else { return false };
    let number = |at: usize| {
        u64::from_le_bytes(std::array::from_fn(|byte| prefix.get(at + byte).copied().unwrap_or(0)))
    };
    prefix.starts_with(HEADER)
        && records.len() % RECORD_BYTES == 0
        && number(HEADER.len()) == (records.len() / RECORD_BYTES) as u64
        && number(HEADER.len() + 8) == checksum(records)
}

/// Recognises torn and damaged files at the speed of memory; it is no protection against forgers, who
/// could as well write the context's files.
fn checksum(bytes: &[u8]) -> u64 {
    let mut lanes = [1_u64, 2, 3, 4];
    for chunk in bytes.chunks(32) {
        for (lane, word) in lanes.iter_mut().zip(chunk.chunks(8)) {
            let mut value = [0; 8];
            value[..word.len()].copy_from_slice(word);
            *lane = (lane.rotate_left(29) ^ u64::from_le_bytes(value))
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }
    lanes.iter().fold(bytes.len() as u64, |sum, lane| {
        (sum.rotate_left(29) ^ lane).wrapping_mul(0xC2B2_AE3D_27D4_EB4F)
    })
}

fn touch(path: &Path) -> io::Result<()> {
    match std::fs::File::options().append(true).open(path) {
        Ok(file) => file.set_modified(SystemTime::now()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What one context's memory takes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryFile {
    /// Its file name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When a build used it last.
    pub used: SystemTime,
}

/// Lists the memories of all contexts.
pub fn files(store: &Store) -> io::Result<Vec<MemoryFile>> {
    list(&directory(store))
}

/// Forgets everything.
pub fn clear(store: &Store) -> io::Result<()> {
    match shrink(&directory(store), 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn list(directory: &Path) -> io::Result<Vec<MemoryFile>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Another build may have replaced it.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push(MemoryFile {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: metadata.len(),
            used: metadata.modified()?,
        });
    }
    files.sort_by(|a, b| (a.used, &a.name).cmp(&(b.used, &b.name)));
    Ok(files)
}

/// Removes what was used longest ago until the rest is not larger than this.
fn shrink(directory: &Path, total_max_bytes: u64) -> io::Result<()> {
    let files = list(directory)?;
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    let now = SystemTime::now();
    for file in files {
        let half_written = file.name.starts_with('.');
        let stale = now.duration_since(file.used).is_ok_and(|age| age > LEFTOVER_AGE);
        if total > total_max_bytes || total_max_bytes == 0 || (half_written && stale) {
            match std::fs::remove_file(directory.join(&file.name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => total = total.saturating_sub(file.bytes),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn identity(inode: u64) -> Identity {
        Identity {
            device: 5,
            inode,
            size: inode * 3,
            modified: (1_000, 7),
            changed: (2_000, u32::try_from(inode).unwrap() + 1),
        }
    }

    fn known(inode: u64) -> Known {
        Known { digest: [u8::try_from(inode % 251).unwrap(); 32], attributes: inode % 2 == 1 }
    }

    #[test]
    fn what_was_kept_is_found_again_and_only_by_the_very_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let memory = HashMemory::read(path.clone());
        let later = SystemTime::now();
        for inode in 1..=5_000 {
            memory.keep(identity(inode), known(inode), later);
        }
        assert_eq!(memory.find(&identity(7)), Some(known(7)));
        memory.save();
        let memory = HashMemory::read(path);
        for inode in 1..=5_000 {
            assert_eq!(memory.find(&identity(inode)), Some(known(inode)));
        }
        assert_eq!(memory.find(&identity(5_001)), None);
        let base = identity(9);
        for other in [
            Identity { device: 6, ..base },
            Identity { size: 1, ..base },
            Identity { modified: (1_000, 8), ..base },
            Identity { modified: (1_001, 7), ..base },
            Identity { changed: (2_000, 11), ..base },
            Identity { changed: (2_001, 10), ..base },
        ] {
            assert_eq!(memory.find(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_damaged_or_cut_memory_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let memory = HashMemory::read(path.clone());
        for inode in 1..=3 {
            memory.keep(identity(inode), known(inode), SystemTime::now());
        }
        memory.save();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len(), PREFIX_BYTES + 3 * RECORD_BYTES);
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(HashMemory::read(path.clone()).find(&identity(1)), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(HashMemory::read(path.clone()).find(&identity(1)), None, "{at} bytes");
        }
    }

    #[test]
    fn a_file_changed_just_now_is_not_trusted() {
        let changed = UNIX_EPOCH + Duration::new(2_000, 500_000_000);
        let fine = Identity { changed: (2_000, 500_000_000), ..identity(1) };
        for (after_ms, settled) in [(0, false), (19, false), (21, true)] {
            let at = changed + Duration::from_millis(after_ms);
            assert_eq!(fine.is_settled(at), settled, "{after_ms} ms");
        }
        assert!(!fine.is_settled(changed - Duration::from_secs(60)), "a clock that went back");
        let coarse = Identity { changed: (2_000, 0), ..fine };
        assert!(!coarse.is_settled(UNIX_EPOCH + Duration::from_millis(2_002_400)));
        assert!(coarse.is_settled(UNIX_EPOCH + Duration::from_millis(2_002_600)));
        let directory = tempfile::tempdir().unwrap();
        let memory = HashMemory::read(directory.path().join("a"));
        memory.keep(fine, known(1), changed);
        assert_eq!(memory.find(&fine), None);
    }

    #[test]
    fn what_nobody_asks_for_is_dropped_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        for round in 0..=u64::from(AGE_MAX) + 2 {
            let memory = HashMemory::read(path.clone());
            if round > 0 {
                assert!(memory.find(&identity(1)).is_some(), "asked for in round {round}");
            }
            for inode in [1, 2].into_iter().filter(|_| round == 0) {
                memory.keep(identity(inode), known(inode), SystemTime::now());
            }
            memory.keep(identity(1_000 + round), known(3), SystemTime::now());
            memory.save();
        }
        let memory = HashMemory::read(path);
        assert_eq!((memory.find(&identity(2)), memory.find(&identity(1))), (None, Some(known(1))));
    }

    #[test]
    fn the_contexts_used_longest_ago_make_room() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (age, name) in [(30, "b"), (20, "c"), (7_200, ".half"), (10, "a")] {
            let path = directory.path().join(name);
            std::fs::write(&path, [0; 100]).unwrap();
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
        }
        shrink(directory.path(), 1_000).unwrap();
        let names = || -> Vec<String> {
            list(directory.path()).unwrap().into_iter().map(|file| file.name).collect()
        };
        assert_eq!(names(), ["b", "c", "a"]);
        shrink(directory.path(), 200).unwrap();
        assert_eq!(names(), ["c", "a"]);
        shrink(directory.path(), 0).unwrap();
        assert_eq!(names(), Vec::<String>::new());
    }
}
