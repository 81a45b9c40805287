//! The files of a container for those outside of it: what a path is, archives out of it and into it.
//!
//! [`ContainerFiles`] is the container's root with its volumes, binds and images, their read-only
//! flags included, in a mount namespace of its own: running or not, without its memory file systems,
//! as Docker shows it. Every path is resolved inside that root, whatever links the container makes
//! meanwhile, and no device of it can be opened.
//!
//! A stopped container cannot be started while its files are open (one overlay is never mounted
//! twice): the operation lock is held. Of a running one only its next start waits, by a lock on its
//! writable layer, so that copies out of it and into it may go on at the same time.

mod error;
mod local;
mod path_stat;
pub(crate) mod resolve;
pub mod rules;
mod transfer;
pub(crate) mod view;

use std::io::{BufRead, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use orlop_archive::resource::{Packed, Resource, pack};
use orlop_archive::unpack::{Ownership, Rename, Replace, UnpackOptions, unpack};
use orlop_archive::write::{Holes, TarWriter, Times};
use orlop_meta::ContainerRecord;
use orlop_sys::confined::{LastLink, Owner, Root};
use orlop_sys::mount_space::{MountSpace, mount_id};
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use crate::error::system;
use crate::{Containers, Result};

pub use error::CopyError;
pub use path_stat::PathStat;
pub use transfer::{Copied, CopyOptions};

/// Bytes that are handed on at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How an archive is unpacked in a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtractOptions {
    /// Refuses to replace a directory by something else or the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Gives everything to the container's user, if it has one (Docker's `copyUIDGID`).
    pub copy_uid_gid: bool,
}

/// The open files of one container.
#[derive(Debug)]
pub struct ContainerFiles<'a> {
    containers: Containers<'a>,
    container: ContainerRecord,
    /// As the user named it.
    name: String,
    root: Root,
    root_mount: u64,
    space: MountSpace,
    _mounts: Vec<OwnedFd>,
    /// Given back last, when nothing is mounted any more.
    _lock: OwnedFd,
}

impl ContainerFiles<'_> {
    /// Tells what a path is; a link at its end stands for itself unless a slash follows.
    pub fn stat(&self, path: &str) -> Result<PathStat> {
        if path.is_empty() {
            return Err(CopyError::EmptyPath.into());
        }
        let inside = rules::inside(path);
        let stat = match last_link(&inside) {
            LastLink::Follow => self.root.stat(Path::new(&inside)),
            LastLink::Keep => self.root.lstat(Path::new(&inside)),
        };
        let stat = stat.map_err(|error| self.missing(path, error))?;
        if inside.ends_with(['/', '.']) && last_link(&inside) == LastLink::Follow {
            self.must_be_directory(&stat, &inside)?;
        }
        let mut found = PathStat::new(rules::base(&inside), &stat, String::new());
        if found.is_link() {
            let resolved = resolve::resolve(&self.root, Path::new(&inside), LastLink::Follow)
                .map_err(CopyError::from)?;
            found.link_target = text(resolved.path.as_os_str().as_bytes())?;
        }
        Ok(found)
    }

    /// The root of what is open.
    pub(crate) fn root(&self) -> std::io::Result<Root> {
        self.root.try_clone()
    }

    /// Writes an archive of what is at a path, with Docker's names, and logs the event.
    pub fn archive(&self, path: &str, output: &mut dyn Write) -> Result<Packed> {
        self.archive_with(path, output, Holes::Zeros)
    }

    fn archive_with(&self, path: &str, output: &mut dyn Write, holes: Holes) -> Result<Packed> {
        self.stat(path)?;
        let inside = rules::inside(path);
        let resource = Resource {
            path: Path::new(&inside),
            last: last_link(&inside),
            name: rules::base(&inside).as_bytes(),
        };
        let output = BufWriter::with_capacity(BUFFER_BYTES, output);
        let tar = TarWriter::new(output, Times::Nanoseconds).with_holes(holes);
        let packed = pack(&self.root, resource, tar).map_err(CopyError::from)?;
        self.containers.log_event(&self.container, "archive-path")?;
        Ok(packed)
    }

    /// Unpacks an archive in a directory, which must exist, and logs the event.
    pub fn extract(
        &self,
        path: &str,
        input: impl BufRead + Send,
        options: ExtractOptions,
    ) -> Result<()> {
        self.extract_renamed(path, input, options, None)
    }

    pub(crate) fn extract_renamed(
        &self,
        path: &str,
        input: impl BufRead + Send,
        options: ExtractOptions,
        rename: Option<Rename>,
    ) -> Result<()> {
        let base = self.extraction_point(path)?;
        let replace = match options.no_overwrite_dir_non_dir {
            true => Replace::SameKind,
            false => Replace::Anything,
        };
        let ownership = self.ownership(options)?;
        let unpacking = UnpackOptions {
            base: base.trim_matches('/').as_bytes().to_vec(),
            rename,
            replace,
            ownership,
        };
        // In the namespace of the view: the kernel protects mount points only where they are some.
        let unpacked = self
            .space
            .run(|| unpack(input, &self.root, &unpacking))
            .map_err(system("enter the mounts of", Path::new(&self.name)))?;
        self.containers.forget_sizes(&self.container)?;
        unpacked.map_err(|error| CopyError::of_unpacking(error, &base))?;
        self.containers.log_event(&self.container, "extract-to-dir")
    }

    /// The directory that a path leads to, without links; refuses one that is read-only.
    fn extraction_point(&self, path: &str) -> Result<String> {
        if path.is_empty() {
            return Err(CopyError::EmptyPath.into());
        }
        let resolved = resolve::resolve(&self.root, Path::new(path), LastLink::Follow);
        let resolved = resolved.map_err(CopyError::from)?;
        if resolved.stat.is_none() {
            return Err(self.no_such(path).into());
        }
        let directory = self.root.open_dir(&resolved.path).map_err(|error| {
            match Errno::from_io_error(&error.source) {
                Some(Errno::NOTDIR) => CopyError::NotADirectory,
                _ => self.missing(path, error),
            }
        })?;
        let looked = |error| system("look at", &resolved.path)(error);
        let on_root = mount_id(&directory).map_err(looked)? == self.root_mount;
        if on_root && self.container.host_config.readonly_rootfs {
            return Err(CopyError::ReadOnlyRoot.into());
        }
        let flags = rustix::fs::fstatvfs(&directory).map_err(|errno| looked(errno.into()))?.f_flag;
        if flags.contains(StatVfsMountFlags::RDONLY) {
            return Err(CopyError::ReadOnlyMount.into());
        }
        text(resolved.path.as_os_str().as_bytes())
    }

    fn ownership(&self, options: ExtractOptions) -> Result<Ownership> {
        let user = &self.container.config.user;
        if !options.copy_uid_gid || user.is_empty() {
            return Ok(Ownership::Archive);
        }
        let user = orlop_runtime::user::resolve(self.root.fd(), user, &[]);
        let user = user.map_err(CopyError::from)?;
        Ok(Ownership::Fixed(Owner { uid: user.uid, gid: user.gid }))
    }

    fn must_be_directory(&self, stat: &rustix::fs::Stat, path: &str) -> Result<()> {
        use rustix::fs::FileType;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(()),
            _ => Err(CopyError::local("lstat", path)(Errno::NOTDIR.into()).into()),
        }
    }

    fn no_such(&self, path: &str) -> CopyError {
        CopyError::Missing { path: path.to_owned(), container: self.name.clone() }
    }

    fn missing(&self, path: &str, error: orlop_sys::confined::PathError) -> CopyError {
        match error.io_kind() {
            std::io::ErrorKind::NotFound => self.no_such(path),
            _ => CopyError::Local {
                operation: "lstat",
                path: rules::inside(path),
                source: error.source,
            },
        }
    }
}

/// Whether a path means what a link at its end leads to.
fn last_link(path: &str) -> LastLink {
    if rules::asserts_directory(path) { LastLink::Follow } else { LastLink::Keep }
}

/// A path that people typed is text; what a link in it says need not be.
pub(crate) fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| {
        let shown = error.to_string();
        let path = String::from_utf8_lossy(bytes).into_owned();
        CopyError::local("read the link to", &path)(std::io::Error::other(shown)).into()
    })
}
