//! Where files are copied to: a layer that is being made, above what is there already.
//!
//! Paths are looked up in both, as the finished layer will show them. What is written goes into the
//! layer alone; a directory that only the layers below have comes up into it first, with its owner,
//! mode, attributes and time. Nothing is ever deleted, so the layer holds no whiteouts.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use orlop_sys::confined::{FileTime, Owner, PathError, Root, chown_fd};
use orlop_sys::xattr;
use orlop_types::ErrorKind;
use rustix::fs::{FileType, Mode, Stat};

use crate::context::hash::is_overlay;
use crate::context::scan::{as_path, go_text, join};
use crate::{Error, Result};

/// Links that one path may lead through.
const LINKS_MAX: usize = 255;

/// See the module's documentation. Paths are relative to the root and hold no links once resolved.
#[derive(Debug)]
pub(crate) struct Place {
    layer: Root,
    below: Option<Root>,
    /// Times that directories get at the end, when nothing more is written into them.
    times: Mutex<BTreeMap<Vec<u8>, FileTime>>,
}

/// Which of the two has an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Layer,
    Below,
}

fn failed(error: PathError) -> Error {
    orlop_layer::Error::from(error).into()
}

/// A failure as Go's `os.PathError` prints it.
pub(crate) fn path_failed(action: &str, path: &[u8], error: &io::Error) -> Error {
    let shown = String::from_utf8_lossy(path);
    Error::failed(ErrorKind::of_io(error), format!("{action} /{shown}: {}", go_text(error)))
}

impl Place {
    pub(crate) fn new(layer: Root, below: Option<Root>) -> Self {
        Self { layer, below, times: Mutex::default() }
    }

    /// The layer's content.
    pub(crate) fn layer(&self) -> &Root {
        &self.layer
    }

    /// What the layers below show.
    pub(crate) fn below(&self) -> Option<&Root> {
        self.below.as_ref()
    }

    /// Looks at the object itself.
    pub(crate) fn look(&self, path: &[u8]) -> Result<Option<(At, Stat)>> {
        use io::ErrorKind::{NotADirectory, NotFound};
        for (at, root) in [(At::Layer, Some(&self.layer)), (At::Below, self.below.as_ref())] {
            let Some(root) = root else { continue };
            match root.lstat(as_path(path)) {
                Ok(stat) => return Ok(Some((at, stat))),
                Err(error) if matches!(error.io_kind(), NotFound | NotADirectory) => {}
                Err(error) => return Err(path_failed("lstat", path, &error.source)),
            }
        }
        Ok(None)
    }

    /// What kind of object is there.
    pub(crate) fn kind(&self, path: &[u8]) -> Result<Option<FileType>> {
        Ok(self.look(path)?.map(|(_, stat)| FileType::from_raw_mode(stat.st_mode)))
    }

    /// Follows all links of a path, the last one too; what does not exist is taken as it is written.
    pub(crate) fn resolve(&self, path: &str) -> Result<Vec<u8>> {
        let parts = |path: &[u8]| -> Vec<Vec<u8>> {
            let parts = path.split(|byte| *byte == b'/');
            parts
                .filter(|part| !part.is_empty() && *part != b".")
                .rev()
                .map(<[u8]>::to_vec)
                .collect()
        };
        let mut pending = parts(path.as_bytes());
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == b".." {
                done.pop();
                continue;
            }
            done.push(part);
            let here = done.join(&b'/');
            let Some((at, stat)) = self.look(&here)? else { continue };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Error::invalid(format!("{path}: too many links")));
            }
            let root = match (at, &self.below) {
                (At::Below, Some(below)) => below,
                _ => &self.layer,
            };
            let target = root.read_link(as_path(&here)).map_err(failed)?;
            let target = target.as_os_str().as_bytes();
            done.pop();
            if target.first() == Some(&b'/') {
                done.clear();
            }
            pending.extend(parts(target));
        }
        Ok(done.join(&b'/'))
    }

    /// Makes a directory with all that are missing above it. Gives whether any was.
    pub(crate) fn make_directories(&self, path: &[u8], mode: u32, owner: Owner) -> Result<bool> {
        let mut done = Vec::new();
        let mut made = false;
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let parent = done.clone();
            done = join(&done, part);
            match self.kind(&done)? {
                Some(FileType::Directory) => {}
                Some(_) => {
                    let error = io::Error::from(rustix::io::Errno::NOTDIR);
                    return Err(path_failed("mkdir", &done, &error));
                }
                None => {
                    self.open(&parent)?;
                    let fd = self.layer.create_dir(as_path(&done), 0o700).map_err(failed)?;
                    let set = || -> io::Result<()> {
                        chown_fd(fd.as_fd(), owner)?;
                        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o777))?;
                        Ok(())
                    };
                    set().map_err(|error| path_failed("mkdir", &done, &error))?;
                    made = true;
                }
            }
        }
        Ok(made)
    }

    /// Opens an existing directory for writing into it; it comes up into the layer if it has to.
    pub(crate) fn open(&self, path: &[u8]) -> Result<OwnedFd> {
        match self.layer.open_dir(as_path(path)) {
            Ok(fd) => return Ok(fd),
            Err(error) if error.io_kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let Some(below) = &self.below else {
            let error = io::Error::from(io::ErrorKind::NotFound);
            return Err(path_failed("open", path, &error));
        };
        let mut done = Vec::new();
        for part in path.split(|byte| *byte == b'/') {
            done = join(&done, part);
            if !self.layer.exists(as_path(&done)).map_err(failed)? {
                self.bring_up(below, &done)?;
            }
        }
        self.layer.open_dir(as_path(path)).map_err(failed)
    }

    fn bring_up(&self, below: &Root, path: &[u8]) -> Result<()> {
        let from = below.open_dir(as_path(path)).map_err(failed)?;
        let to = self.layer.create_dir(as_path(path), 0o700).map_err(failed)?;
        let copy = || -> io::Result<FileTime> {
            let stat = rustix::fs::fstat(&from)?;
            chown_fd(to.as_fd(), Owner { uid: stat.st_uid, gid: stat.st_gid })?;
            rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
            for (name, value) in xattr::all(from.as_fd())? {
                if !is_overlay(name.to_bytes()) {
                    xattr::set(to.as_fd(), &name, &value)?;
                }
            }
            Ok(modified(&stat))
        };
        let time = copy().map_err(|error| path_failed("mkdir", path, &error))?;
        self.set_time(path, time);
        Ok(())
    }

    /// Notes the time that a directory gets at the end.
    pub(crate) fn set_time(&self, path: &[u8], time: FileTime) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.insert(path.to_vec(), time);
    }

    /// Splits a path into its directory, opened for writing, and its name.
    pub(crate) fn open_parent(&self, path: &[u8]) -> Result<(OwnedFd, CString)> {
        let (parent, name) = split(path);
        let name = CString::new(name).map_err(|error| path_failed("open", path, &error.into()))?;
        Ok((self.open(parent)?, name))
    }

    /// Sets the times of directories.
    pub(crate) fn finish(&self) -> Result<()> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, time) in times.iter().rev() {
            let set = |path: &Path| self.layer.set_time(path, *time);
            if !path.is_empty() {
                set(as_path(path)).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// The directory and the name of a path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// When a file was modified.
pub(crate) fn modified(stat: &Stat) -> FileTime {
    FileTime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}
