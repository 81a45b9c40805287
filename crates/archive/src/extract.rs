//! Unpacking layer tars into a directory that nothing can leave.
//!
//! Names are cleaned lexically and then resolved inside the root as in a chroot, so a link that an
//! earlier entry made cannot lead a later one outside; what is created is created exclusively and
//! without following the last component. Directories get their times last. On an error the caller
//! throws the directory away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{CString, OsStr};
use std::io::BufRead;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use orlop_sys::confined::{FileTime, Root};
use orlop_sys::tree;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::error::{refuse, shown};
use crate::name::{self, EntryName};
use crate::read::{Entry, TarReader};
use crate::replaced::Contents;
use crate::skeleton::SkeletonWriter;
use crate::{Error, Refusal, Result};

/// Entries of one layer: the largest images have a few hundred thousand.
pub const ENTRIES_MAX: u64 = 5_000_000;
/// Length of one file; a sparse one may claim any length.
pub const FILE_MAX_BYTES: u64 = 16 << 40;

/// How deletions of a layer are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhiteoutForm {
    /// As the overlay file system stores them: device 0:0 and `trusted.overlay.opaque`.
    Overlay,
    /// At once: the directory holds a copy of the lower layers.
    Apply,
}

/// What may be unpacked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtractOptions {
    /// How deletions are carried out.
    pub whiteouts: WhiteoutForm,
    /// Most entries.
    pub entries_max: u64,
    /// Longest file.
    pub file_max_bytes: u64,
}

impl ExtractOptions {
    /// The limits of this crate.
    #[must_use]
    pub fn new(whiteouts: WhiteoutForm) -> Self {
        Self { whiteouts, entries_max: ENTRIES_MAX, file_max_bytes: FILE_MAX_BYTES }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtractStats {
    /// Entries read.
    pub entries: u64,
    /// Length of all regular files, hard links once.
    pub file_bytes: u64,
    /// Whether the layer hides everything below it.
    pub opaque_root: bool,
    /// Where deletions were stored in the overlay's form; later entries may have replaced some.
    pub whiteouts: Vec<Vec<u8>>,
    /// Hard links to what this layer does not hold: perhaps a layer below does.
    pub links_below: Vec<LinkBelow>,
}

/// A hard link whose target is not in the layer's own tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkBelow {
    /// Where the link belongs.
    pub path: Vec<u8>,
    /// What it leads to, as the archive says it.
    pub target: Vec<u8>,
    /// The entry's name as it stands in the archive.
    pub entry: Vec<u8>,
}

/// Unpacks a tar into a directory, which is empty or (for [`WhiteoutForm::Apply`]) holds the lower
/// layers.
///
/// Of a hard link to a file of a lower layer only a note is kept; see [`ExtractStats::links_below`].
pub fn extract(input: impl BufRead, root: &Root, options: ExtractOptions) -> Result<ExtractStats> {
    unpack(TarReader::new(input), root, options, None)
}

/// Unpacks a tar into `diff` of a layer's directory and keeps there what gives the tar back
/// ([`crate::skeleton`]). The input is read to its end.
pub fn extract_layer(
    input: impl BufRead,
    layer: &Root,
    options: ExtractOptions,
) -> Result<ExtractStats> {
    let tar = TarReader::recording(input, SkeletonWriter::create(layer)?);
    let contents = Contents {
        layer: layer.fd(),
        numbers: HashMap::new(),
        replaced: None,
        through_links: false,
    };
    unpack(tar, &layer.descend("diff")?, options, Some(contents))
}

fn unpack<R: BufRead>(
    mut tar: TarReader<R>,
    root: &Root,
    options: ExtractOptions,
    contents: Option<Contents<'_>>,
) -> Result<ExtractStats> {
    let mut extractor = Extractor {
        root,
        options,
        made: HashSet::new(),
        directory_times: BTreeMap::new(),
        parent: None,
        contents,
        stats: ExtractStats::default(),
    };
    while let Some(entry) = tar.next_entry()? {
        extractor.stats.entries += 1;
        if extractor.stats.entries > options.entries_max {
            return Err(refuse(&entry.name, Refusal::TooManyEntries(options.entries_max)));
        }
        extractor.entry(&entry, &mut tar)?;
    }
    extractor.finish()?;
    tar.finish_recording()?;
    Ok(extractor.stats)
}

/// What stood where a new entry comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    Directory,
    Other,
}

pub(crate) struct Extractor<'a> {
    pub(crate) root: &'a Root,
    pub(crate) options: ExtractOptions,
    /// What this layer made; kept only where opaque markers need it.
    made: HashSet<Vec<u8>>,
    pub(crate) directory_times: BTreeMap<Vec<u8>, FileTime>,
    /// The last parent used: most entries follow one of the same directory.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Which file holds which content of the tar, if that is kept.
    pub(crate) contents: Option<Contents<'a>>,
    pub(crate) stats: ExtractStats,
}

impl Extractor<'_> {
    fn entry<R: BufRead>(&mut self, entry: &Entry, tar: &mut TarReader<R>) -> Result<()> {
        match name::parse(&entry.name).map_err(|refusal| refuse(&entry.name, refusal))? {
            EntryName::Root | EntryName::Ignored => Ok(()),
            EntryName::Whiteout(path) => self.whiteout(entry, &path),
            EntryName::Opaque(path) => self.opaque(entry, &path),
            EntryName::Object(path) => self.object(entry, &path, tar),
        }
    }

    pub(crate) fn note_made(&mut self, path: &[u8]) {
        if self.options.whiteouts == WhiteoutForm::Apply {
            self.made.insert(path.to_vec());
        }
    }

    /// Opens the parent of a path, making what is missing.
    pub(crate) fn parent(&mut self, entry: &Entry, path: &[u8]) -> Result<(OwnedFd, CString)> {
        let (parent, last) = name::split(path);
        let last = CString::new(last).map_err(|_| refuse(&entry.name, Refusal::InvalidName))?;
        let fd = self.directory(entry, parent)?;
        Ok((fd, last))
    }

    /// Opens a directory, making what is missing; keeps it for the next entry.
    fn directory(&mut self, entry: &Entry, path: &[u8]) -> Result<OwnedFd> {
        let duplicate =
            |fd: &OwnedFd| fd.try_clone().map_err(fail(entry, "open the parent directory"));
        if let Some((known, fd)) = &self.parent
            && known == path
        {
            return duplicate(fd);
        }
        let fd = match self.root.open_dir(Path::new(OsStr::from_bytes(path))) {
            Ok(fd) => fd,
            Err(error) => match error.source.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOENT) => self.imply(entry, path)?,
                Some(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(refuse(&entry.name, Refusal::ParentNotDirectory(shown(path))));
                }
                _ => return Err(fail(entry, "open the parent directory")(error.source)),
            },
        };
        if let Some(contents) = &mut self.contents {
            contents.note_way(self.root, path);
        }
        let kept = duplicate(&fd)?;
        self.parent = Some((path.to_vec(), kept));
        Ok(fd)
    }

    /// Makes parents that the archive has no entries for: 0755, root. A link that leads nowhere is not
    /// followed.
    fn imply(&mut self, entry: &Entry, path: &[u8]) -> Result<OwnedFd> {
        let action = "make the parent directory";
        let mut current =
            self.root.open_dir("").map_err(|error| fail(entry, action)(error.source))?;
        let mut done: Vec<u8> = Vec::new();
        for part in path.split(|byte| *byte == b'/') {
            done = name::join(&done, part);
            let shown_path = Path::new(OsStr::from_bytes(&done));
            current = match self.root.open_dir(shown_path) {
                Ok(fd) => fd,
                Err(error) if error.source.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                    let part = CString::new(part)
                        .map_err(|_| refuse(&entry.name, Refusal::InvalidName))?;
                    match rustix::fs::mkdirat(&current, part.as_c_str(), 0o755.into()) {
                        Ok(()) => {}
                        Err(Errno::EXIST) => {
                            return Err(refuse(
                                &entry.name,
                                Refusal::ParentNotDirectory(shown(&done)),
                            ));
                        }
                        Err(error) => return Err(fail(entry, action)(error.into())),
                    }
                    self.note_made(&done);
                    let made = orlop_sys::confined::open_dir_at(current.as_fd(), &part)
                        .map_err(fail(entry, action))?;
                    // A set-group-id directory above must not decide about the group.
                    let owner = (rustix::process::geteuid(), rustix::process::getegid());
                    rustix::fs::fchown(&made, Some(owner.0), Some(owner.1))
                        .map_err(|error| fail(entry, action)(error.into()))?;
                    rustix::fs::fchmod(&made, 0o755.into())
                        .map_err(|error| fail(entry, action)(error.into()))?;
                    made
                }
                Err(_) => {
                    return Err(refuse(&entry.name, Refusal::ParentNotDirectory(shown(&done))));
                }
            };
        }
        Ok(current)
    }

    /// Removes what a new entry replaces. A directory stays where a directory comes.
    pub(crate) fn make_room(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        last: &CString,
        directory_comes: bool,
    ) -> Result<Before> {
        let stat = match rustix::fs::statat(parent, last.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Before::Nothing),
            Err(error) => return Err(fail(entry, "look at what is there")(error.into())),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory && directory_comes {
            return Ok(Before::Directory);
        }
        self.discard(entry, parent.as_fd(), last)?;
        // The kept directory may have been below what is gone, or reached through it.
        self.parent = None;
        Ok(if is_directory { Before::Directory } else { Before::Other })
    }

    fn whiteout(&mut self, entry: &Entry, path: &[u8]) -> Result<()> {
        if self.options.whiteouts == WhiteoutForm::Apply {
            let (parent, last) = name::split(path);
            let Ok(parent) = self.root.open_dir(Path::new(OsStr::from_bytes(parent))) else {
                // Nothing below a directory that does not exist needs removing.
                return Ok(());
            };
            let last = CString::new(last).map_err(|_| refuse(&entry.name, Refusal::InvalidName))?;
            self.parent = None;
            return self.discard(entry, parent.as_fd(), &last);
        }
        let (parent, last) = self.parent(entry, path)?;
        self.make_room(entry, &parent, &last, false)?;
        self.make_whiteout(entry, path, &parent, &last)
    }

    fn opaque(&mut self, entry: &Entry, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            self.stats.opaque_root = true;
        }
        if self.options.whiteouts == WhiteoutForm::Apply {
            return self.purge(entry, path);
        }
        if path.is_empty() {
            return Ok(());
        }
        let directory = self.directory(entry, path)?;
        self.make_opaque(entry, &directory)
    }

    /// Removes from a directory, and from directories of this layer in it, what this layer did not make.
    fn purge(&mut self, entry: &Entry, path: &[u8]) -> Result<()> {
        self.parent = None;
        let mut pending = vec![path.to_vec()];
        while let Some(path) = pending.pop() {
            let shown_path = Path::new(OsStr::from_bytes(&path));
            let Ok(directory) = self.root.open_dir(shown_path) else { continue };
            let entries =
                tree::list(directory.as_fd()).map_err(fail(entry, "list the opaque directory"))?;
            for child in entries {
                let child_path = name::join(&path, child.name.to_bytes());
                if !self.made.contains(&child_path) {
                    self.discard(entry, directory.as_fd(), &child.name)?;
                } else if child.is_dir {
                    pending.push(child_path);
                }
            }
        }
        Ok(())
    }

    /// Sets the times of directories, deepest first.
    fn finish(&self) -> Result<()> {
        for (path, time) in self.directory_times.iter().rev() {
            let shown_path = Path::new(OsStr::from_bytes(path));
            // A later entry may have removed or replaced it.
            let Ok(stat) = self.root.lstat(shown_path) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.root.set_time(shown_path, *time)?;
            }
        }
        Ok(())
    }
}

/// Makes the error of a failed action for an entry.
pub(crate) fn fail(entry: &Entry, action: &'static str) -> impl Fn(std::io::Error) -> Error {
    let entry = shown(&entry.name);
    move |source| Error::Entry { entry: entry.clone(), action, source }
}
