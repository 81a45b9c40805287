//! Copy-up: a volume without any entry takes over the image's directory that it hides.
//!
//! The copy must never look whole when it is not, and the volume's root directory must stay the
//! same inode, since other containers may have it mounted. So it goes through a directory beside
//! the data, on the same mount:
//!
//! ```text
//! copy-up.partial/   being copied; whoever finds it without holding the lock throws it away
//! copy-up.ready/     whole and on the disk; whoever finds it moves what is left and removes it
//!     target         path of the directory inside the volume that is being filled
//!     root/          an empty directory with that directory's metadata
//!     entries/       what goes into it
//! ```
//!
//! Order: copy, `syncfs`, rename to `ready`, sync the directory; move each entry (what somebody put
//! there meanwhile stays), metadata, remove `ready`. The moves are metadata operations of one file
//! system, which reach the disk in their order. The lock on `volumes/<name>/` is held throughout, so
//! of two containers created at once the second waits and finds the volume filled.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use orlop_meta::VolumeRecord;
use orlop_sys::confined::{Owner, PathError, Root, chown_fd, open_dir_at};
use orlop_sys::tree::{self, CopyOptions, CopyStats};
use orlop_sys::{fault, xattr};
use rustix::fs::{AtFlags, FlockOperation, Mode, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::file;
use crate::local::mount_id;
use crate::{Error, Result, VolumeSource, Volumes, lock};

/// What a copy-up did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Populated {
    /// Nothing: the directory has entries.
    NotEmpty,
    /// Nothing: the volume has no directory of that path.
    NoDirectory,
    /// Owner, mode, times and attributes of the directory; the source has no entries.
    Metadata,
    /// Everything.
    Copied(CopyStats),
}

const PARTIAL: &CStr = c"copy-up.partial";
const READY: &CStr = c"copy-up.ready";
/// The same in a volume whose data is a mount of its own, where renames cannot leave it.
const INNER_PARTIAL: &CStr = c".orlop-copy-up.partial";
const INNER_READY: &CStr = c".orlop-copy-up.ready";
const ENTRIES: &CStr = c"entries";
const ROOT: &CStr = c"root";
const TARGET: &CStr = c"target";
/// Longest recorded path: `PATH_MAX`.
const TARGET_MAX_BYTES: u64 = 4096;

type PathResult<T> = orlop_sys::confined::Result<T>;

/// Where the directories of a copy stand.
struct Journal {
    place: OwnedFd,
    partial: &'static CStr,
    ready: &'static CStr,
}

/// A volume's directories, with the lock held.
struct Locked {
    _held: lock::Held,
    data: Root,
    journal: Journal,
}

impl Volumes<'_> {
    /// Fills a directory of a volume (`subpath`, empty for its root) from `source` if it has no
    /// entries: the whole tree with owners, modes, times, attributes and hard links, and those of
    /// `source` itself. Nothing else may change `source` meanwhile.
    pub fn populate(
        &self,
        volume: &VolumeRecord,
        subpath: &Path,
        source: BorrowedFd<'_>,
    ) -> Result<Populated> {
        let data = self.open(volume).map_err(|error| match error {
            Error::Mount { .. } | Error::Resolve { .. } => Error::PopulateMount(Box::new(error)),
            other => other,
        })?;
        let locked = self.lock(volume, data)?;
        let failed = |source| Error::Populate { name: volume.name.clone(), source };
        let done = locked.populate(subpath, source).map_err(failed)?;
        if let Populated::Copied(stats) = done {
            tracing::info!(op = "volume populate", volume = %volume.name, entries = stats.entries);
        }
        Ok(done)
    }

    /// Finishes or undoes a copy-up that was cut off.
    pub(crate) fn settle(&self, volume: &VolumeRecord) -> Result<()> {
        let home = self.local.home(&volume.name);
        let data = self.local.data(&volume.name);
        let in_progress =
            [(&home, PARTIAL), (&home, READY), (&data, INNER_PARTIAL), (&data, INNER_READY)]
                .into_iter()
                .any(|(place, name)| place.join(OsStr::from_bytes(name.to_bytes())).exists());
        if !in_progress {
            return Ok(());
        }
        let failed = |source| Error::Populate { name: volume.name.clone(), source };
        let opened = lock::open_directory(&data)?.into();
        self.lock(volume, opened)?.settle().map_err(failed)
    }

    /// Opens the root of a volume's data: a directory, or a mount for as long as what is returned is
    /// open (see [`Root::of_mount`]). A file system that containers use just now is the one that they
    /// see.
    pub fn open(&self, volume: &VolumeRecord) -> Result<OwnedFd> {
        let driver = self.driver(volume.name.as_str(), &volume.driver)?;
        match driver.mount(volume)? {
            VolumeSource::Directory(path) => Ok(lock::open_directory(&path)?.into()),
            VolumeSource::Filesystem(filesystem) => {
                let mountpoint = &filesystem.mountpoint;
                let failed = |source| Error::Mount { mountpoint: mountpoint.clone(), source };
                let (mount, _shared) = filesystem.open().map_err(failed)?;
                Ok(mount)
            }
        }
    }

    /// Finishes or undoes copies that were cut off in any volume. Returns the names of volumes in
    /// which that failed, with the reason.
    pub fn settle_all(&self) -> Result<Vec<(orlop_types::VolumeName, Error)>> {
        let volumes = self.store.read::<_, crate::Error>(|query| Ok(query.volumes()?))?;
        let settle =
            |volume: VolumeRecord| self.settle(&volume).err().map(|error| (volume.name, error));
        Ok(volumes.into_iter().filter_map(settle).collect())
    }

    fn lock(&self, volume: &VolumeRecord, data: OwnedFd) -> Result<Locked> {
        let home = self.local.home(&volume.name);
        let gone = || Error::NotFound { name: volume.name.to_string() };
        let missing = |error: Error| match error {
            Error::File { source, .. } if source.kind() == io::ErrorKind::NotFound => gone(),
            error => error,
        };
        let failed = |source| Error::Populate { name: volume.name.clone(), source };
        let directory = lock::open_directory(&home).map_err(missing)?;
        lock::flock(&directory, FlockOperation::LockExclusive).map_err(file("lock", &home))?;
        // The volume may have been removed, and made again, during the wait.
        let identity = |stat: rustix::fs::Stat| tree::identity(&stat);
        let held = rustix::fs::fstat(&directory).map(identity).map_err(file("look at", &home))?;
        if rustix::fs::stat(&home).map(identity) != Ok(held) {
            return Err(gone());
        }
        let data = Root::of_mount(data).map_err(failed)?;
        let own = mount_id(data.fd()).map_err(file("look at", &home))?
            != mount_id(&directory).map_err(file("look at", &home))?;
        let place = if own { data.fd() } else { directory.as_fd() };
        let place = place.try_clone_to_owned().map_err(file("open", &home))?;
        let (partial, ready) = if own { (INNER_PARTIAL, INNER_READY) } else { (PARTIAL, READY) };
        Ok(Locked {
            _held: lock::Held(directory),
            data,
            journal: Journal { place, partial, ready },
        })
    }
}

impl Locked {
    fn populate(&self, subpath: &Path, source: BorrowedFd<'_>) -> PathResult<Populated> {
        self.settle()?;
        let target = match self.data.open_dir(subpath) {
            Ok(target) => target,
            Err(error)
                if matches!(
                    error.io_kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Populated::NoDirectory);
            }
            Err(error) => return Err(error),
        };
        let look = |error: io::Error| PathError::new("list", subpath, error);
        if !tree::is_empty_dir(target.as_fd()).map_err(look)? {
            return Ok(Populated::NotEmpty);
        }
        if tree::is_empty_dir(source).map_err(look)? {
            copy_metadata(source, target.as_fd())
                .map_err(|error| PathError::new("copy the metadata of", subpath, error))?;
            return Ok(Populated::Metadata);
        }
        let stats = self.journal.write(subpath, source)?;
        self.settle()?;
        Ok(Populated::Copied(stats))
    }

    /// Brings what is there to an end: a part is thrown away, a whole is moved in.
    fn settle(&self) -> PathResult<()> {
        let place = self.journal.place.as_fd();
        tree::remove_tree(place, self.journal.partial)?;
        let ready = match open_dir_at(place, self.journal.ready) {
            Ok(ready) => Root::from_fd(ready),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error_at("open", self.journal.ready, error)),
        };
        if ready.exists("target")? {
            self.move_in(&ready)?;
            // Without it the rest is rubbish, also if its removal is cut off.
            rustix::fs::unlinkat(ready.fd(), TARGET, AtFlags::empty())
                .map_err(|error| error_at("remove", TARGET, error))?;
        }
        fault::point("volume.populate.moved");
        tree::remove_tree(place, self.journal.ready)
    }

    fn move_in(&self, ready: &Root) -> PathResult<()> {
        let subpath = ready.read_limited("target", TARGET_MAX_BYTES)?;
        let subpath = PathBuf::from(OsStr::from_bytes(&subpath));
        let target = match self.data.open_dir(&subpath) {
            // Somebody removed it: there is nothing to fill any more.
            Err(error) if error.io_kind() == io::ErrorKind::NotFound => return Ok(()),
            target => target?,
        };
        let entries = ready.open_dir("entries")?;
        let list = tree::list(entries.as_fd())
            .map_err(|error| PathError::new("list", "entries", error))?;
        for entry in list {
            let name = entry.name.as_c_str();
            match rustix::fs::renameat_with(&entries, name, &target, name, RenameFlags::NOREPLACE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error_at("move into the volume", name, error)),
            }
            fault::point("volume.populate.entry");
        }
        copy_metadata(ready.open_dir("root")?.as_fd(), target.as_fd())
            .map_err(|error| PathError::new("copy the metadata of", subpath, error))
    }
}

impl Journal {
    /// Makes `copy-up.ready` with a copy of `source`.
    fn write(&self, subpath: &Path, source: BorrowedFd<'_>) -> PathResult<CopyStats> {
        let partial = make_dir(self.place.as_fd(), self.partial)?;
        let entries = make_dir(partial.as_fd(), ENTRIES)?;
        fault::point("volume.populate.begun");
        let stats = tree::copy_tree(source, entries.as_fd(), CopyOptions::default())?;
        let root = make_dir(partial.as_fd(), ROOT)?;
        copy_metadata(source, root.as_fd())
            .map_err(|error| error_at("copy the metadata of", ROOT, error))?;
        let mut record = Root::from_fd(partial).create_file("target", 0o600)?;
        io::Write::write_all(&mut record, subpath.as_os_str().as_bytes())
            .map_err(|error| error_at("write", TARGET, error))?;
        fault::point("volume.populate.copied");
        rustix::fs::syncfs(&record).map_err(|error| error_at("sync", self.partial, error))?;
        rustix::fs::renameat(&self.place, self.partial, &self.place, self.ready)
            .map_err(|error| error_at("rename", self.partial, error))?;
        rustix::fs::fsync(&self.place).map_err(|error| error_at("sync", self.ready, error))?;
        fault::point("volume.populate.ready");
        Ok(stats)
    }
}

fn make_dir(parent: BorrowedFd<'_>, name: &CStr) -> PathResult<OwnedFd> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))
        .map_err(|error| error_at("make the directory", name, error))?;
    open_dir_at(parent, name).map_err(|error| error_at("open", name, error))
}

fn error_at(action: &'static str, name: &CStr, error: impl Into<io::Error>) -> PathError {
    PathError::new(action, PathBuf::from(OsStr::from_bytes(name.to_bytes())), error)
}

/// Gives an open directory the owner, mode, attributes and times of another one, in the order in
/// which none of them undoes another.
fn copy_metadata(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    chown_fd(to, Owner { uid: stat.st_uid, gid: stat.st_gid })?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for (name, value) in xattr::all(from)? {
        if is_overlay_attribute(&name) {
            continue;
        }
        match xattr::set(to, &name, &value) {
            Err(error) if !xattr::is_unsupported(&error) => return Err(error),
            _ => {}
        }
    }
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok(rustix::fs::futimens(to, &times)?)
}

/// Attributes by which an overlay marks its own directories mean something else elsewhere.
fn is_overlay_attribute(name: &CString) -> bool {
    let name = name.to_bytes();
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}
