//! Contents of files that do not outlive the unpacking of their own layer.
//!
//! A tar may hold two entries of one name, or the deletion of what it has just made. The later one
//! wins, and yet the earlier content is needed to give the tar back, so its file moves aside.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use orlop_sys::confined::Root;
use orlop_sys::tree;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::Result;
use crate::extract::{Extractor, fail};
use crate::read::Entry;
use crate::skeleton::REPLACED;
use crate::write::{Step, at, walk};

/// Which file holds which content.
pub(crate) struct Contents<'a> {
    /// The layer's directory.
    pub(crate) layer: BorrowedFd<'a>,
    /// Numbers of contents by the file's inode, which is not used again while it is known here.
    pub(crate) numbers: HashMap<u64, u64>,
    /// Where files go that are replaced; made when the first one is.
    pub(crate) replaced: Option<OwnedFd>,
    /// Whether a parent was reached through a symbolic link.
    pub(crate) through_links: bool,
}

impl Contents<'_> {
    /// Notes whether the way to a parent leads through a link.
    pub(crate) fn note_way(&mut self, root: &Root, path: &[u8]) {
        if !self.through_links && !path.is_empty() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::IN_ROOT;
            let opened = rustix::fs::openat2(root.fd(), path, flags, Mode::empty(), resolve);
            // Whatever else is wrong, a second name for the files does no harm.
            self.through_links = opened.is_err();
        }
    }

    fn replaced(&mut self) -> std::io::Result<BorrowedFd<'_>> {
        if self.replaced.is_none() {
            rustix::fs::mkdirat(self.layer, REPLACED, 0o700.into())?;
            let name = CString::new(REPLACED)?;
            self.replaced = Some(orlop_sys::confined::open_dir_at(self.layer, &name)?);
        }
        self.replaced.as_ref().map(OwnedFd::as_fd).ok_or_else(|| Errno::NOENT.into())
    }

    /// Moves a file aside if it holds a content. A file that has further names stays at these.
    fn keep(&mut self, parent: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> std::io::Result<()> {
        let Some(number) = self.numbers.get(&stat.st_ino).copied() else { return Ok(()) };
        let to = self.replaced()?;
        match rustix::fs::renameat_with(
            parent,
            name,
            to,
            number.to_string(),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a file that holds a content a second name aside.
    fn link(&mut self, parent: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> std::io::Result<()> {
        let Some(number) = self.numbers.get(&stat.st_ino).copied() else { return Ok(()) };
        let to = self.replaced()?;
        match rustix::fs::linkat(parent, name, to, number.to_string(), AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Extractor<'_> {
    /// Notes which file holds a content.
    pub(crate) fn note_content(&mut self, entry: &Entry, file: &File, number: u64) -> Result<()> {
        if let Some(contents) = &mut self.contents {
            let stat = rustix::fs::fstat(file)
                .map_err(|error| fail(entry, "look at the new file")(error.into()))?;
            contents.numbers.insert(stat.st_ino, number);
        }
        Ok(())
    }

    /// Removes an object with everything below it; what is absent counts as removed.
    pub(crate) fn discard(
        &mut self,
        entry: &Entry,
        parent: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<()> {
        let wrong = fail(entry, "replace what is there");
        if let Some(contents) = self.contents.as_mut().filter(|found| !found.numbers.is_empty()) {
            let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(wrong(error.into())),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => contents.keep(parent, name, &stat).map_err(&wrong)?,
                FileType::Directory => {
                    let top = orlop_sys::confined::open_dir_at(parent, name).map_err(&wrong)?;
                    walk(top.as_fd(), b"", |step| match step {
                        Step::File { path, parent, name, stat }
                            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile =>
                        {
                            contents.keep(parent, name, stat).map_err(|error| at(path, error))
                        }
                        _ => Ok(()),
                    })?;
                }
                // Files may have been made through the link: their recorded paths end here.
                FileType::Symlink if contents.through_links => {
                    walk(self.root.fd(), b"", |step| match step {
                        Step::File { path, parent, name, stat } => {
                            contents.link(parent, name, stat).map_err(|error| at(path, error))
                        }
                        Step::Directory { .. } => Ok(()),
                    })?;
                }
                _ => {}
            }
        }
        tree::remove_tree(parent, name).map_err(|error| wrong(error.source))
    }
}
