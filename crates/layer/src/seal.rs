//! Layers of directories that are there already: nothing is unpacked, so no content is written twice.
//!
//! [`LayerStore::new_directory`] gives a directory in staging that the caller fills as the driver
//! wants it; [`LayerStore::seal`] then writes the layer's tar into a hasher only, and beside the
//! content what gives that tar back ([`orlop_archive::skeleton`]). Each file is read once, and from
//! memory if it was just written. [`LayerStore::seal_writable`] does the same with what a container
//! has written: its directory is taken over by a rename.
//!
//! Nobody may change the content meanwhile. What is sealed becomes visible by
//! [`LayerStore::commit`]; dropped before, it is removed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use orlop_archive::extract::{ExtractStats, WhiteoutForm};
use orlop_archive::skeleton::SkeletonWriter;
use orlop_archive::write::TarWriter;
use orlop_archive::{diff, stream};
use orlop_meta::StagedDirectory;
use orlop_sys::confined::Root;
use orlop_sys::mount::mount_rootfs;
use orlop_sys::{fault, tree, xattr};
use orlop_types::{ChainId, ContainerId, DiffId};
use rustix::fs::{AtFlags, FileType, Stat};

use crate::driver::LayerKey;
use crate::error::file;
use crate::import::Unpacked;
use crate::store::LayerStore;
use crate::{Error, Result};

/// A layer whose content somebody writes in place. Dropping it removes it.
#[derive(Debug)]
pub struct NewLayer {
    staged: StagedDirectory,
    content: PathBuf,
    whiteouts: WhiteoutForm,
}

impl NewLayer {
    /// The directory to fill: empty, 0755; with a driver whose [`NewLayer::whiteouts`] are applied at
    /// once, it holds a copy of everything below.
    #[must_use]
    pub fn content(&self) -> &Path {
        &self.content
    }

    /// How deletions are expressed in it.
    #[must_use]
    pub fn whiteouts(&self) -> WhiteoutForm {
        self.whiteouts
    }
}

impl LayerStore {
    /// Begins a layer that is written in place, on top of a parent.
    pub fn new_directory(&self, parent: Option<&ChainId>) -> Result<NewLayer> {
        let parent = match parent {
            Some(parent) if !self.driver().independent_layers() => Some(self.key_of(parent)?),
            _ => None,
        };
        let staged = self.store().stage()?;
        let content = self.driver().prepare(staged.path(), parent.as_ref())?;
        Ok(NewLayer { staged, content, whiteouts: self.driver().whiteouts() })
    }

    /// Makes a layer of what was written; `None` if nothing was. See [`LayerStore::commit`] for the
    /// rest. `stop` ends it early with an error.
    pub fn seal(
        &self,
        new: NewLayer,
        parent: Option<&ChainId>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Unpacked>> {
        if new.whiteouts == WhiteoutForm::Apply {
            return self.seal_copy(&new.content, parent, stop);
        }
        seal_staged(new.staged, stop)
    }

    /// Makes a layer of what a container has written, which nobody uses any more; `None` if that is
    /// nothing. `mount_points` are paths that the engine made for its mounts: they are left out where
    /// nothing else has come to be in them, and so are directories that only their making changed.
    ///
    /// The content is moved, so the container's layer can only be removed afterwards.
    pub fn seal_writable(
        &self,
        id: &ContainerId,
        parent: Option<&ChainId>,
        mount_points: &[PathBuf],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Unpacked>> {
        let key = LayerKey::of_container(id);
        let content = self.driver().content(&key);
        let writable = Root::open(&content)?;
        remove_mount_points(&writable, mount_points)?;
        if self.driver().whiteouts() == WhiteoutForm::Apply {
            let unpacked = self.unpack_writable(id, parent, stop)?;
            let changed = unpacked.stats.entries > 0;
            return Ok(changed.then_some(unpacked));
        }
        self.remove_untouched(&writable, &key)?;
        let staged = self.store().stage()?;
        let target = staged.path().join("diff");
        rustix::fs::rename(&content, &target).map_err(file("take over", &content))?;
        fault::point("layer.seal.taken");
        seal_staged(staged, stop)
    }

    /// For a driver whose layers are whole trees: the difference is unpacked as usual.
    fn seal_copy(
        &self,
        content: &Path,
        parent: Option<&ChainId>,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Unpacked>> {
        let new = Root::open(content)?;
        let old = match parent {
            Some(parent) => Some(Root::open(&self.driver().content(&self.key_of(parent)?))?),
            None => None,
        };
        let (reader, writer) =
            io::pipe().map_err(file("make a pipe for", Path::new("a new layer")))?;
        let unpacked = std::thread::scope(|scope| {
            let written = scope.spawn(move || -> Result<()> {
                let times = orlop_archive::write::Times::Seconds;
                let mut tar = TarWriter::new(writer, times);
                match &old {
                    Some(old) => diff::trees(old.fd(), new.fd(), &mut tar)?,
                    None => tar.tree(new.fd(), b"")?,
                }
                tar.finish().map(drop).map_err(Error::from)
            });
            let unpacked = self.unpack(reader, parent, None);
            match written.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Err(error) if unpacked.is_ok() || stop() => Err(error),
                _ => unpacked,
            }
        })?;
        Ok((unpacked.stats.entries > 0).then_some(unpacked))
    }

    /// Removes from a writable layer the empty directories that look as they do below: somebody made
    /// something in them and removed it again.
    fn remove_untouched(&self, writable: &Root, key: &LayerKey) -> Result<()> {
        let mut empty = empty_directories(writable)?;
        if empty.is_empty() {
            return Ok(());
        }
        let Some(parent) = self.driver().lowers(key)?.into_iter().next() else { return Ok(()) };
        let below = Root::of_mount(mount_rootfs(&self.driver().view(&parent)?)?)?;
        while let Some(path) = empty.pop_last() {
            if !is_untouched(writable, &below, &path)? {
                continue;
            }
            writable.remove_tree(&path)?;
            if let Some(above) = path.parent()
                && !above.as_os_str().is_empty()
                && tree::is_empty_dir(writable.open_dir(above)?.as_fd())
                    .map_err(file("list", above))?
            {
                empty.insert(above.to_owned());
            }
        }
        Ok(())
    }
}

/// Hashes the tar of a staged layer and keeps what gives it back.
fn seal_staged(
    staged: StagedDirectory,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Unpacked>> {
    let layer = Root::open(staged.path())?;
    let content = layer.descend("diff")?;
    let record = SkeletonWriter::create(&layer)?;
    let mut nowhere = Nowhere { stop };
    let ((upper, file_bytes), digest) = stream::hashed(&mut nowhere, |output| {
        let mut tar = TarWriter::recording(output, record);
        let upper = diff::upper(content.fd(), &mut tar)?;
        let file_bytes = tar.file_bytes();
        tar.finish()?;
        Ok((upper, file_bytes))
    })?;
    fault::point("layer.sealed");
    if upper.entries == 0 {
        return Ok(None);
    }
    let stats = ExtractStats {
        entries: upper.entries,
        file_bytes,
        whiteouts: upper.whiteouts,
        ..ExtractStats::default()
    };
    Ok(Some(Unpacked { staged, diff_id: DiffId::new(digest), stats }))
}

/// A sink that somebody may stop.
struct Nowhere<'a> {
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl io::Write for Nowhere<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Not `Interrupted`, after which writers try again.
        if (self.stop)() { Err(io::Error::other("interrupted")) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Removes mount points that are still empty, the deepest first.
fn remove_mount_points(writable: &Root, mount_points: &[PathBuf]) -> Result<()> {
    let sorted: BTreeSet<&PathBuf> = mount_points.iter().collect();
    for path in sorted.into_iter().rev() {
        let Ok((parent, name)) = writable.open_parent(path) else { continue };
        let Ok(stat) = rustix::fs::statat(&parent, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
        else {
            continue;
        };
        let flags = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => AtFlags::REMOVEDIR,
            FileType::RegularFile if stat.st_size == 0 => AtFlags::empty(),
            _ => continue,
        };
        match rustix::fs::unlinkat(&parent, name.as_c_str(), flags) {
            Ok(()) | Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(file("remove the mount point", path)(error)),
        }
    }
    Ok(())
}

/// Directories without any entry.
fn empty_directories(top: &Root) -> Result<BTreeSet<PathBuf>> {
    fn fail(path: &tree::WalkPath) -> impl Fn(io::Error) -> Error {
        file("look through", Path::new(OsStr::from_bytes(path.as_bytes())))
    }
    let mut empty = BTreeSet::new();
    let mut path = tree::WalkPath::default();
    let mut stack = tree::DirStack::new(top.open_dir("")?).map_err(fail(&path))?;
    let mut pending = vec![directories(&stack).map_err(fail(&path))?.0];
    while let Some(children) = pending.last_mut() {
        if let Some(name) = children.pop() {
            stack.enter(&name).map_err(fail(&path))?;
            path.push(&name);
            let (children, entries) = directories(&stack).map_err(fail(&path))?;
            if entries == 0 {
                empty.insert(PathBuf::from(OsStr::from_bytes(path.as_bytes())));
            }
            pending.push(children);
        } else {
            pending.pop();
            if !pending.is_empty() {
                stack.leave().map_err(fail(&path))?;
                path.pop();
            }
        }
    }
    Ok(empty)
}

/// The directories in the current one, and the number of all its entries.
fn directories(stack: &tree::DirStack) -> io::Result<(Vec<std::ffi::CString>, u64)> {
    let (mut children, mut entries) = (Vec::new(), 0);
    tree::for_each_entry(stack.current(), |name, is_dir| {
        entries += 1;
        if is_dir {
            children.push(name.to_owned());
        }
        Ok(())
    })?;
    Ok((children, entries))
}

/// Whether a directory of a writable layer says nothing that the layers below do not.
fn is_untouched(writable: &Root, below: &Root, path: &Path) -> Result<bool> {
    let (Ok(ours), Ok(theirs)) = (writable.open_dir(path), below.lstat(path)) else {
        return Ok(false);
    };
    let marks = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    let stat = rustix::fs::fstat(&ours).map_err(file("look at", path))?;
    if marks(&stat) != marks(&theirs) {
        return Ok(false);
    }
    // In a directory that hides the lower ones, it is not what is below that would show.
    for path in path.ancestors().filter(|path| !path.as_os_str().is_empty()) {
        let opaque = writable.get_xattr(path, c"trusted.overlay.opaque")?;
        if opaque.as_deref() == Some(b"y") {
            return Ok(false);
        }
    }
    let portable = |fd| -> Result<Vec<xattr::Attribute>> {
        let mut all = xattr::all(fd).map_err(file("look at", path))?;
        all.retain(|(name, _)| !name.to_bytes().starts_with(b"trusted.overlay."));
        Ok(all)
    };
    let theirs = below.open_dir(path)?;
    Ok(portable(ours.as_fd())? == portable(theirs.as_fd())?)
}
