//! Writes what was selected into a layer.
//!
//! A file is copied as it is then: if it does not look as it did when it was hashed, or was changed so
//! shortly before that its looks prove nothing, its bytes are hashed while they are copied, and the
//! scan gets their digest. So the layer and the digest under which it is known always agree.
//!
//! Order per object: content, owner, mode, attributes, times; directories last, deepest first.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use orlop_archive::digest::Digester;
use orlop_sys::confined::{Node, Owner, make_node, set_mode_at};
use orlop_sys::tree::{copy_file_data, identity};
use orlop_sys::xattr::{self, Attribute};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::mode::Chmod;
use super::place::{Place, modified, path_failed};
use crate::context::crew::{self, Crew};
use crate::context::hash::{self, Hashed};
use crate::context::memory::Identity;
use crate::context::scan::{Directory, Entry, Scan, What, as_path, join, open_below};
use crate::context::{Ownership, Tree};
use crate::{Cancel, Error, Result};

/// Names of one directory that one thread copies before another may take over.
const CHUNK_ENTRIES: usize = 128;
/// Files up to this length are read and written; longer ones are left to the kernel.
const SMALL_BYTES: u64 = 128 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;

/// How objects are written.
pub(crate) struct Writer<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) place: &'a Place,
    /// Owner of everything, if it is not the files' own.
    pub(crate) owner: Option<Owner>,
    pub(crate) chmod: Option<&'a Chmod>,
    pub(crate) cancel: &'a Cancel,
}

/// What a file turned out to be.
type Read = (Stat, Hashed);

/// Where an object goes.
#[derive(Clone, Copy)]
struct Spot<'a> {
    directory: BorrowedFd<'a>,
    name: &'a CStr,
    /// What is created there belongs to the engine's own user and group, and has the mode that is
    /// asked for but for the umask.
    plain: bool,
}

struct Job {
    number: usize,
    target: Arc<Vec<u8>>,
    /// Nothing is there yet, neither in the layer nor below.
    fresh: bool,
    part: Option<Part>,
}

struct Part {
    from: Arc<OwnedFd>,
    to: Arc<OwnedFd>,
    plain: bool,
    below: Arc<HashMap<Vec<u8>, bool>>,
    first: usize,
    end: usize,
}

struct Copying<'a> {
    writer: &'a Writer<'a>,
    directories: &'a [Directory],
    top: &'a OwnedFd,
    target: &'a [u8],
    /// Directories that were not there before.
    made: Vec<AtomicBool>,
    changed: Mutex<Vec<(usize, usize, Read)>>,
    /// Files with several names, by their path at the destination.
    linked: Mutex<BTreeMap<Vec<u8>, (usize, usize)>>,
    reflink: AtomicBool,
}

fn source_failed(path: &[u8], error: &io::Error) -> Error {
    path_failed("open", path, error)
}

impl Writer<'_> {
    /// Copies what is in a directory into an existing one. The scan tells afterwards what was copied.
    pub(crate) fn directory(&self, scan: &mut Scan, target: &[u8]) -> Result<()> {
        let Some(top_stat) = scan.directories.first().map(|top| top.stat) else { return Ok(()) };
        if scan.directories.first().is_some_and(|top| top.entries.is_empty()) {
            return Ok(());
        }
        let top =
            self.tree.root().open_dir(as_path(&scan.top)).map_err(orlop_layer::Error::from)?;
        drop(self.place.open(target)?);
        let copying = Copying {
            writer: self,
            directories: &scan.directories,
            top: &top,
            target,
            made: scan.directories.iter().map(|_| AtomicBool::new(false)).collect(),
            changed: Mutex::default(),
            linked: Mutex::default(),
            reflink: AtomicBool::new(true),
        };
        let first = Job { number: 0, target: Arc::new(target.to_vec()), fresh: false, part: None };
        crew::work(first, self.cancel, |crew, job| copying.run(crew, &job))?;
        copying.links()?;
        copying.finish_directories()?;
        // BuildKit gives the destination itself only the source's time.
        self.place.set_time(target, modified(&top_stat));
        let changed = copying.changed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !changed.is_empty() {
            for (number, index, (stat, hashed)) in changed {
                let entry = scan
                    .directories
                    .get_mut(number)
                    .and_then(|directory| directory.entries.get_mut(index));
                if let Some(entry) = entry {
                    entry.stat = stat;
                    entry.what = What::File(hashed);
                }
            }
            scan.digest(self.tree.ownership());
        }
        Ok(())
    }

    /// Copies one object that is no directory to a path whose directory exists.
    pub(crate) fn object(&self, directory: &[u8], entry: &mut Entry, target: &[u8]) -> Result<()> {
        let from =
            self.tree.root().open_dir(as_path(directory)).map_err(orlop_layer::Error::from)?;
        if self.place.kind(target)? == Some(FileType::Directory) {
            return Err(replaces_directory(target));
        }
        let (to, name) = self.place.open_parent(target)?;
        let read = self.write(
            from.as_fd(),
            &join(directory, entry.name.to_bytes()),
            entry,
            Spot { directory: to.as_fd(), name: &name, plain: false },
            target,
            &AtomicBool::new(true),
        )?;
        if let Some((stat, hashed)) = read {
            entry.stat = stat;
            entry.what = What::File(hashed);
        }
        Ok(())
    }

    /// Writes a file with this content.
    pub(crate) fn content(
        &self,
        content: &mut dyn io::Read,
        mode: u32,
        time: Option<orlop_sys::confined::FileTime>,
        target: &[u8],
    ) -> Result<()> {
        if self.place.kind(target)? == Some(FileType::Directory) {
            return Err(replaces_directory(target));
        }
        let fail = |error: io::Error| path_failed("open", target, &error);
        let (to, name) = self.place.open_parent(target)?;
        let spot = Spot { directory: to.as_fd(), name: &name, plain: false };
        let mut file = create(spot, 0o600, target)?;
        io::copy(content, &mut file).map_err(fail)?;
        let owner = self.owner.unwrap_or_default();
        let mode = self.chmod.map_or(mode, |chmod| chmod.apply(mode, false));
        let finish = || -> io::Result<()> {
            chown(&file, owner)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
            if let Some(time) = time {
                rustix::fs::futimens(&file, &time.both())?;
            }
            Ok(())
        };
        finish().map_err(fail)
    }

    fn owner_of(&self, stat: &Stat) -> Owner {
        match (self.owner, self.tree.ownership()) {
            (Some(owner), _) => owner,
            (None, Ownership::Root) => Owner::default(),
            (None, Ownership::Kept) => Owner { uid: stat.st_uid, gid: stat.st_gid },
        }
    }

    fn mode_of(&self, stat: &Stat, is_directory: bool) -> u32 {
        let mode = stat.st_mode & 0o7777;
        self.chmod.map_or(mode, |chmod| chmod.apply(mode, is_directory))
    }

    /// Writes one object that is no directory; gives what a file turned out to be if it is not what
    /// was selected.
    fn write(
        &self,
        from: BorrowedFd<'_>,
        path: &[u8],
        entry: &Entry,
        spot: Spot<'_>,
        target: &[u8],
        reflink: &AtomicBool,
    ) -> Result<Option<Read>> {
        let Spot { directory: to, name, .. } = spot;
        let fail = |error: io::Error| path_failed("copy", target, &error);
        match &entry.what {
            What::File(hashed) => {
                if !hash::is_regular(&entry.stat) {
                    let file = create(spot, 0o600, target)?;
                    self.file_metadata(&file, &entry.stat, &[], false).map_err(fail)?;
                    return Ok(None);
                }
                let source =
                    hash::open(from, &entry.name).map_err(|error| source_failed(path, &error))?;
                let gone = || source_failed(path, &Errno::NOENT.into());
                let source = source.ok_or_else(gone)?;
                let (mode, owner) = (self.mode_of(&entry.stat, false), self.owner_of(&entry.stat));
                // Its owner and mode may be right from the beginning.
                let right = spot.plain && owner == engine_owner() && mode & (0o7000 | umask()) == 0;
                let file = create(spot, if right { mode } else { 0o600 }, target)?;
                self.file(&source, &file, entry, hashed, (reflink, right)).map_err(|error| {
                    if self.cancel.is_cancelled() { Error::Cancelled } else { fail(error) }
                })
            }
            What::Link(link) => {
                make_room(to, name, target)?;
                rustix::fs::symlinkat(as_path(link), to, name)
                    .map_err(|error| fail(error.into()))?;
                self.named_metadata(from, entry, to, name).map_err(fail)?;
                Ok(None)
            }
            What::Node => {
                make_room(to, name, target)?;
                let device = entry.stat.st_rdev;
                let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
                let node = match FileType::from_raw_mode(entry.stat.st_mode) {
                    FileType::Fifo => Node::Fifo,
                    FileType::BlockDevice => Node::Block(major, minor),
                    // Device 0:0 is how the overlay file system stores a deletion.
                    _ if device == 0 => return Ok(None),
                    _ => Node::Char(major, minor),
                };
                make_node(to, name, node, 0o600).map_err(fail)?;
                self.named_metadata(from, entry, to, name).map_err(fail)?;
                Ok(None)
            }
            What::Directory(_) => Ok(None),
        }
    }

    fn file(
        &self,
        source: &File,
        file: &File,
        entry: &Entry,
        hashed: &Hashed,
        (reflink, right): (&AtomicBool, bool),
    ) -> io::Result<Option<Read>> {
        let wanted = Identity::of(&entry.stat);
        let same = |stat: &Stat| hashed.settled && Identity::of(stat) == wanted;
        let mut content = None;
        if wanted.size <= SMALL_BYTES {
            content = Some(copy_small(source, file, wanted.size)?);
        } else if same(&rustix::fs::fstat(source)?) {
            let mut sharing = reflink.load(Ordering::Relaxed);
            copy_file_data(source, file, wanted.size, &mut sharing)?;
            reflink.store(sharing, Ordering::Relaxed);
        }
        let after = rustix::fs::fstat(source)?;
        if !hash::is_regular(&after) {
            return Err(io::Error::other("it became something else while it was copied"));
        }
        if same(&after) {
            let attributes =
                if hashed.attributes { xattr::all(source.as_fd())? } else { Vec::new() };
            self.file_metadata(file, &entry.stat, &attributes, right)?;
            return Ok(None);
        }
        let content = match content {
            // What was read is what was written, whatever the file is by now.
            Some(content) if content.len() as u64 <= SMALL_BYTES => {
                let mut digester = Digester::default();
                digester.update(&content);
                digester
            }
            _ => self.copy_and_hash(source, file)?,
        };
        let attributes = xattr::all(source.as_fd())?;
        self.file_metadata(file, &after, &attributes, false)?;
        let digest = hash::of_content(content, &attributes);
        let found = Hashed { digest, attributes: !attributes.is_empty(), settled: true };
        let as_selected = digest == hashed.digest && after.st_mode == entry.stat.st_mode;
        Ok((!as_selected).then_some((after, found)))
    }

    /// Copies a file from its beginning and hashes what is written. Zeros become holes.
    fn copy_and_hash(&self, source: &File, file: &File) -> io::Result<Digester> {
        rustix::fs::ftruncate(file, 0)?;
        let mut digester = Digester::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut offset = 0;
        loop {
            let got = source.read_at(&mut buffer, offset)?;
            if got == 0 {
                rustix::fs::ftruncate(file, offset)?;
                return Ok(digester);
            }
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("context canceled"));
            }
            digester.update(&buffer[..got]);
            if buffer[..got].iter().any(|byte| *byte != 0) {
                file.write_all_at(&buffer[..got], offset)?;
            }
            offset += got as u64;
        }
    }

    /// Finishes a file, whose owner and mode may be right already.
    fn file_metadata(
        &self,
        file: &File,
        stat: &Stat,
        attributes: &[Attribute],
        right: bool,
    ) -> io::Result<()> {
        if !right {
            chown(file, self.owner_of(stat))?;
            rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode_of(stat, false)))?;
        }
        set_attributes(attributes, |name, value| xattr::set(file.as_fd(), name, value))?;
        Ok(rustix::fs::futimens(file, &times(stat))?)
    }

    /// Owner, mode, attributes and times of a link or special file.
    fn named_metadata(
        &self,
        from: BorrowedFd<'_>,
        entry: &Entry,
        to: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        let owner = self.owner_of(&entry.stat);
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(entry.stat.st_mode) != FileType::Symlink {
            set_mode_at(to, name, self.mode_of(&entry.stat, false))?;
        }
        match xattr::all_at(from, &entry.name) {
            Ok(attributes) => {
                set_attributes(&attributes, |key, value| xattr::set_at(to, name, key, value))?;
            }
            Err(error) => tracing::debug!(?name, %error, "cannot read the attributes"),
        }
        Ok(rustix::fs::utimensat(to, name, &times(&entry.stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

impl Copying<'_> {
    fn run(&self, crew: &Crew<Job>, job: &Job) -> Result<()> {
        let Some(directory) = self.directories.get(job.number) else { return Ok(()) };
        if let Some(part) = &job.part {
            return self.part(directory, job, part);
        }
        let source = |error: Errno| source_failed(&directory.path, &error.into());
        let from = open_below(self.top, &directory.path).map_err(source)?;
        let to = self.writer.place.layer().fd();
        let to =
            to.try_clone_to_owned().map_err(|error| path_failed("open", &job.target, &error))?;
        let to = open_below(&to, &job.target)
            .map_err(|error| path_failed("open", &job.target, &error.into()))?;
        let below = if job.fresh { HashMap::new() } else { self.names_below(&job.target)? };
        let mut jobs = Vec::new();
        for entry in &directory.entries {
            if let What::Directory(child) = entry.what {
                let target = join(&job.target, entry.name.to_bytes());
                let fresh = self.make(child, &target, to.as_fd(), &entry.name, &below)?;
                jobs.push(Job { number: child, target: Arc::new(target), fresh, part: None });
            }
        }
        let plain = job.fresh && is_plain(to.as_fd());
        let (from, to, below) = (Arc::new(from), Arc::new(to), Arc::new(below));
        let count = directory.entries.len();
        let part = |first: usize| Part {
            from: Arc::clone(&from),
            to: Arc::clone(&to),
            plain,
            below: Arc::clone(&below),
            first,
            end: (first + CHUNK_ENTRIES).min(count),
        };
        jobs.extend((CHUNK_ENTRIES..count).step_by(CHUNK_ENTRIES).map(|first| Job {
            number: job.number,
            target: Arc::clone(&job.target),
            fresh: job.fresh,
            part: Some(part(first)),
        }));
        crew.push(jobs);
        self.part(directory, job, &part(0))
    }

    /// The names that a directory has below the layer, and whether they are directories'.
    fn names_below(&self, target: &[u8]) -> Result<HashMap<Vec<u8>, bool>> {
        let Some(below) = self.writer.place.below() else { return Ok(HashMap::new()) };
        let Ok(fd) = below.open_dir(as_path(target)) else {
            return Ok(HashMap::new());
        };
        let mut names = HashMap::new();
        orlop_sys::tree::for_each_entry(fd.as_fd(), |name, is_dir| {
            names.insert(name.to_bytes().to_vec(), is_dir);
            Ok(())
        })
        .map_err(|error| path_failed("open", target, &error))?;
        Ok(names)
    }

    /// Makes sure that a directory is there; gives whether it is new.
    fn make(
        &self,
        number: usize,
        target: &[u8],
        to: BorrowedFd<'_>,
        name: &CStr,
        below: &HashMap<Vec<u8>, bool>,
    ) -> Result<bool> {
        let not_a_directory = || {
            let shown = String::from_utf8_lossy(target);
            Error::invalid(format!("cannot copy to non-directory: /{shown}"))
        };
        let is_below = below.get(name.to_bytes());
        if is_below.is_none() {
            match rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {
                    if let Some(made) = self.made.get(number) {
                        made.store(true, Ordering::Relaxed);
                    }
                    return Ok(true);
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(path_failed("mkdir", target, &error.into())),
            }
        }
        // In the layer already, or below it: the layer's counts.
        match self.writer.place.kind(target)? {
            Some(FileType::Directory) => self.writer.place.open(target).map(|_| false),
            _ => Err(not_a_directory()),
        }
    }

    fn part(&self, directory: &Directory, job: &Job, part: &Part) -> Result<()> {
        self.writer.cancel.check()?;
        let entries = directory.entries.iter().enumerate();
        for (index, entry) in entries.skip(part.first).take(part.end - part.first) {
            if matches!(entry.what, What::Directory(_)) {
                continue;
            }
            let name = entry.name.as_c_str();
            let target = join(&job.target, name.to_bytes());
            if part.below.get(name.to_bytes()) == Some(&true) {
                return Err(replaces_directory(&target));
            }
            if entry.stat.st_nlink > 1 && hash::is_regular(&entry.stat) {
                let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
                linked.insert(target, (job.number, index));
                continue;
            }
            let spot = Spot { directory: part.to.as_fd(), name, plain: part.plain };
            self.copy(part.from.as_fd(), (job.number, index), spot, &target)?;
        }
        Ok(())
    }

    fn copy(
        &self,
        from: BorrowedFd<'_>,
        (number, index): (usize, usize),
        spot: Spot<'_>,
        target: &[u8],
    ) -> Result<()> {
        let Some(directory) = self.directories.get(number) else { return Ok(()) };
        let Some(entry) = directory.entries.get(index) else { return Ok(()) };
        let path = join(&directory.path, entry.name.to_bytes());
        let read = self.writer.write(from, &path, entry, spot, target, &self.reflink)?;
        if let Some(read) = read {
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            changed.push((number, index, read));
        }
        Ok(())
    }

    /// Copies each file with several names once, under the first of them, and links the others.
    fn links(&self) -> Result<()> {
        let linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first: HashMap<(u64, u64), &[u8]> = HashMap::new();
        for (target, (number, index)) in linked.iter() {
            let Some(directory) = self.directories.get(*number) else { continue };
            let Some(entry) = directory.entries.get(*index) else { continue };
            let fail = |error: Errno| path_failed("link", target, &error.into());
            let (to, name) = self.writer.place.open_parent(target)?;
            if let Some(known) = first.get(&identity(&entry.stat)) {
                let (parent, known) = self.writer.place.open_parent(known)?;
                make_room(to.as_fd(), &name, target)?;
                rustix::fs::linkat(&parent, &*known, &to, &*name, AtFlags::empty())
                    .map_err(fail)?;
                continue;
            }
            let from = open_below(self.top, &directory.path)
                .map_err(|error| source_failed(&directory.path, &error.into()))?;
            let spot = Spot { directory: to.as_fd(), name: &name, plain: false };
            self.copy(from.as_fd(), (*number, *index), spot, target)?;
            first.insert(identity(&entry.stat), target);
        }
        Ok(())
    }

    /// Gives directories their metadata, deepest first.
    fn finish_directories(&self) -> Result<()> {
        for (number, directory) in self.directories.iter().enumerate().skip(1).rev() {
            let made = self.made.get(number).is_some_and(|made| made.load(Ordering::Relaxed));
            if !directory.included && !made {
                continue;
            }
            let target = join(self.target, &directory.path);
            let fail = |error: io::Error| path_failed("chmod", &target, &error);
            let fd = self.writer.place.open(&target)?;
            let stat = &directory.stat;
            let set = || -> io::Result<()> {
                chown(&fd, self.writer.owner_of(stat))?;
                let mode = Mode::from_raw_mode(self.writer.mode_of(stat, true));
                rustix::fs::fchmod(&fd, mode)?;
                set_attributes(&directory.attributes, |name, value| {
                    xattr::set(fd.as_fd(), name, value)
                })
            };
            set().map_err(fail)?;
            self.writer.place.set_time(&target, modified(stat));
        }
        Ok(())
    }
}

fn replaces_directory(target: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(target);
    Error::invalid(format!("cannot replace to directory /{shown} with file"))
}

/// Removes what an earlier source put there.
fn make_room(to: BorrowedFd<'_>, name: &CStr, target: &[u8]) -> Result<()> {
    match rustix::fs::unlinkat(to, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(replaces_directory(target)),
        Err(error) => Err(path_failed("remove", target, &error.into())),
    }
}

fn create(spot: Spot<'_>, mode: u32, target: &[u8]) -> Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(mode);
    let open = || rustix::fs::openat(spot.directory, spot.name, flags, mode);
    let opened = match open() {
        Err(Errno::EXIST) => {
            make_room(spot.directory, spot.name, target)?;
            open()
        }
        opened => opened,
    };
    opened.map(File::from).map_err(|error| path_failed("open", target, &error.into()))
}

/// Whether what is created in a directory gets neither its group nor anything of its access lists.
fn is_plain(directory: BorrowedFd<'_>) -> bool {
    let own_group = rustix::fs::fstat(directory).is_ok_and(|stat| stat.st_mode & 0o2000 == 0);
    own_group && xattr::get(directory, c"system.posix_acl_default").is_ok_and(|list| list.is_none())
}

/// Whose everything is that this process creates.
fn engine_owner() -> Owner {
    Owner { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
}

/// The bits of modes that this process cannot set by creating something; all if that is not known.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
    })
}

/// Reads a file of about this length and writes it.
fn copy_small(source: &File, mut file: &File, size: u64) -> io::Result<Vec<u8>> {
    // Fewer bytes than are asked for mean that it ends there.
    let mut content = vec![0; usize::try_from(size).unwrap_or(0) + 1];
    let got = source.read_at(&mut content, 0)?;
    if got == content.len() {
        // It has grown.
        content.clear();
        io::Read::take(source, SMALL_BYTES + 1).read_to_end(&mut content)?;
    } else {
        content.truncate(got);
    }
    if content.len() as u64 <= SMALL_BYTES && !content.is_empty() {
        file.write_all(&content)?;
    }
    Ok(content)
}

/// Changes the owner of what the engine made, whose it is already in most cases.
fn chown(fd: impl std::os::fd::AsFd, owner: Owner) -> io::Result<()> {
    Ok(rustix::fs::fchown(fd, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?)
}

/// Sets attributes as well as they can be set: BuildKit goes on without them, too.
fn set_attributes(
    attributes: &[Attribute],
    set: impl Fn(&CStr, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    for (name, value) in attributes {
        let bytes = name.to_bytes();
        // Labels of this machine, and what belongs to the file system below.
        if hash::is_overlay(bytes) || bytes == b"security.selinux" {
            continue;
        }
        if let Err(error) = set(name, value) {
            tracing::debug!(attribute = ?name, %error, "cannot set an attribute");
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let modified = modified(stat);
    let modified = Timespec { tv_sec: modified.seconds, tv_nsec: i64::from(modified.nanoseconds) };
    Timestamps { last_access: modified, last_modification: modified }
}
