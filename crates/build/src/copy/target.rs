//! The layer that one step makes: where each item goes in it, as BuildKit decides it.

use orlop_archive::extract::WhiteoutForm;
use orlop_layer::{Layer, NewLayer};
use orlop_meta::StagedDirectory;
use orlop_sys::confined::{FileTime, Owner, Root};
use orlop_sys::mount::{OverlayUpper, RootfsRecipe, mount_rootfs};
use orlop_types::ChainId;
use rustix::fs::FileType;

use super::mode::Chmod;
use super::place::Place;
use super::remote::{Remote, What};
use super::source::{Item, cleaned};
use super::write::Writer;
use super::{CopyBuild, owner, unpack};
use crate::context::filter::Filter;
use crate::context::scan::{self, join};
use crate::context::{Ownership, Tree};
use crate::step::CopyStep;
use crate::{Error, Result};

/// Mode of a here-document.
const DOCUMENT_MODE: u32 = 0o644;
/// Mode of a download.
const DOWNLOAD_MODE: u32 = 0o600;
/// Mode of directories that are made on the way.
const DIRECTORY_MODE: u32 = 0o755;

/// Objects of a layer that goes to the disk while it is hashed.
const LARGE_OBJECTS: usize = 2_000;

/// See the module's documentation.
pub(super) struct Target<'a> {
    build: CopyBuild<'a>,
    step: &'a CopyStep,
    tree: &'a Tree,
    parent: Option<&'a ChainId>,
    // The mount goes before the directories that it is of.
    place: Place,
    new: NewLayer,
    /// Where the kernel works while archives are unpacked.
    _work: Option<StagedDirectory>,
    owner: Option<Owner>,
    chmod: Option<Chmod>,
}

fn of_path(error: orlop_sys::confined::PathError) -> Error {
    orlop_layer::Error::from(error).into()
}

fn view(build: CopyBuild<'_>, parent: Option<&ChainId>) -> Result<Option<Root>> {
    let Some(parent) = parent else { return Ok(None) };
    let mount = mount_rootfs(&build.layers.view(parent)?).map_err(orlop_layer::Error::from)?;
    Root::of_mount(mount).map(Some).map_err(of_path)
}

impl<'a> Target<'a> {
    /// Begins the layer of a step.
    pub(super) fn new(
        build: CopyBuild<'a>,
        step: &'a CopyStep,
        tree: &'a Tree,
        items: &[Item],
        parent: Option<&'a ChainId>,
    ) -> Result<Self> {
        // BuildKit copies beside what is there only if no mode is asked for.
        let linked = step.link && step.chmod.is_empty();
        let chmod = match step.chmod.as_str() {
            "" => None,
            text => Some(Chmod::parse(text)?),
        };
        let below = if linked { None } else { view(build, parent)? };
        let owner = match step.chown.as_str() {
            "" => None,
            text => Some(owner::resolve(text, below.as_ref())?),
        };
        let new = build.layers.new_directory(parent)?;
        let whole = new.whiteouts() == WhiteoutForm::Apply;
        let unpacks = |item: &Item| match item {
            Item::Object { directory, entry, .. } => Ok(wants_unpacking(step, false)
                && unpack::open_archive(tree, directory, entry)?.is_some()),
            Item::Remote(_) => Ok(wants_unpacking(step, true)),
            _ => Ok(false),
        };
        let mounts = below.is_some() && !whole && {
            let found: Result<Vec<bool>> = items.iter().map(unpacks).collect();
            found?.contains(&true)
        };
        let (place, work) = match parent {
            Some(parent) if mounts => {
                let (root, work) = mounted(build, &new, parent)?;
                (Place::new(root, None), Some(work))
            }
            _ => {
                let layer = Root::open(new.content()).map_err(of_path)?;
                (Place::new(layer, below.filter(|_| !whole)), None)
            }
        };
        Ok(Self { build, step, tree, parent, place, new, _work: work, owner, chmod })
    }

    /// Makes the finished layer part of the store.
    pub(super) fn seal(self, objects: usize) -> Result<Option<Layer>> {
        let Self { build, place, new, parent, _work, .. } = self;
        place.finish()?;
        drop(place);
        seal(build, new, parent, objects > LARGE_OBJECTS)
    }

    /// Copies one item.
    pub(super) fn copy(&self, item: &mut Item) -> Result<()> {
        self.build.cancel.check()?;
        if let Item::Object { directory, entry, .. } = item
            && wants_unpacking(self.step, false)
            && let Some(archive) = unpack::open_archive(self.tree, directory, entry)?
        {
            return self.unpack(&archive);
        }
        if let Item::Remote(remote) = item {
            return self.remote(remote);
        }
        // The directory above, or the destination itself if that is written as a directory.
        let base = self.base()?;
        let writer = self.writer(self.tree);
        match item {
            Item::Directory(scan) => {
                self.make(&base)?;
                writer.directory(scan, &base)
            }
            Item::Object { directory, entry, name } => {
                let target = self.file(base, name)?;
                writer.object(directory, entry, &target)
            }
            Item::Document(document) => {
                let target = self.file(base, document.name.as_bytes())?;
                let mut content = document.content.as_bytes();
                writer.content(&mut content, DOCUMENT_MODE, None, &target)
            }
            Item::Remote(_) => Ok(()),
        }
    }

    fn writer<'b>(&'b self, tree: &'b Tree) -> Writer<'b> {
        Writer {
            tree,
            place: &self.place,
            owner: self.owner,
            chmod: self.chmod.as_ref(),
            cancel: self.build.cancel,
        }
    }

    /// Makes what must be above the destination, and resolves it.
    fn base(&self) -> Result<Vec<u8>> {
        let destination = &self.step.destination;
        let (above, last) = destination.rsplit_once('/').unwrap_or(("", destination));
        let above = if last.is_empty() || last == "." { destination } else { above };
        self.make(&self.place.resolve(above)?)?;
        // `..` counts as it is written, links are followed.
        self.place.resolve(&cleaned(destination))
    }

    /// Makes a directory with BuildKit's mode for those that a copy makes on its way.
    fn make(&self, path: &[u8]) -> Result<()> {
        let mode = self.chmod.as_ref().and_then(Chmod::octal).unwrap_or(DIRECTORY_MODE);
        self.place.make_directories(path, mode, self.owner.unwrap_or_default()).map(drop)
    }

    /// Where a file of this name goes: into the destination if that is a directory.
    fn file(&self, base: Vec<u8>, name: &[u8]) -> Result<Vec<u8>> {
        if self.place.kind(&base)? == Some(FileType::Directory) {
            return Ok(join(&base, name));
        }
        let (above, _) = super::place::split(&base);
        self.make(above)?;
        Ok(base)
    }

    fn unpack(&self, archive: &std::fs::File) -> Result<()> {
        let base = self.place.resolve(&cleaned(&self.step.destination))?;
        let owner = self.owner.unwrap_or_default();
        self.place.make_directories(&base, DIRECTORY_MODE, owner)?;
        drop(self.place.open(&base)?);
        unpack::unpack(archive, self.place.layer(), &base, self.owner, self.build.cancel)
    }

    fn remote(&self, remote: &Remote) -> Result<()> {
        match &remote.what {
            What::File { name, .. } => {
                let body = remote.take_body(self.build)?;
                let mut file = body.open()?;
                if wants_unpacking(self.step, true) && unpack::is_archive(&file) {
                    return self.unpack(&body.open()?);
                }
                if wants_unpacking(self.step, true) {
                    file = body.open()?;
                }
                let target = self.file(self.base()?, name.as_bytes())?;
                let time = body.time.unwrap_or(FileTime::default());
                self.writer(self.tree).content(&mut file, DOWNLOAD_MODE, Some(time), &target)
            }
            What::Repository(source) => {
                let staged = self.build.layers.store().stage()?;
                source.checkout(staged.path(), self.build.cancel)?;
                let root = Root::open(staged.path()).map_err(of_path)?;
                let tree = Tree::new(root, Ownership::Root);
                let top = source.subdirectory.as_bytes();
                let mut scan = scan::scan(&tree, top, &Filter::default(), self.build.cancel)?;
                let base = self.base()?;
                self.make(&base)?;
                self.writer(&tree).directory(&mut scan, &base)
            }
        }
    }
}

/// Whether archives among the sources are unpacked.
fn wants_unpacking(step: &CopyStep, remote: bool) -> bool {
    step.add.as_ref().is_some_and(|add| add.unpack.unwrap_or(!remote))
}

/// Mounts the new layer for writing above its parent.
fn mounted(
    build: CopyBuild<'_>,
    new: &NewLayer,
    parent: &ChainId,
) -> Result<(Root, StagedDirectory)> {
    let work = build.layers.store().stage()?;
    let lowers = match build.layers.view(parent)? {
        RootfsRecipe::Overlay { lowers, .. } => lowers,
        RootfsRecipe::Directory { path, .. } => vec![path],
    };
    let path = work.path().join("work");
    rustix::fs::mkdir(&path, rustix::fs::Mode::RWXU).map_err(|error| {
        let source = error.into();
        orlop_layer::Error::File { action: "make the directory", path: path.clone(), source }
    })?;
    let upper = OverlayUpper { upper: new.content().to_owned(), work: path, volatile: false };
    let recipe = RootfsRecipe::Overlay { lowers, upper: Some(upper) };
    let mount = mount_rootfs(&recipe).map_err(orlop_layer::Error::from)?;
    Ok((Root::of_mount(mount).map_err(of_path)?, work))
}

fn seal(
    build: CopyBuild<'_>,
    new: NewLayer,
    parent: Option<&ChainId>,
    is_large: bool,
) -> Result<Option<Layer>> {
    let stop = || build.cancel.is_cancelled();
    // What was written goes to the disk while it is hashed; the commit, which waits for it, finds
    // little left to do. Small layers are not worth it.
    let content = std::fs::File::open(new.content()).ok().filter(|_| is_large);
    let sealed = std::thread::scope(|scope| {
        if let Some(content) = &content {
            scope.spawn(move || {
                // The commit does it once more, and its errors count.
                let _ = rustix::fs::syncfs(content);
            });
        }
        build.layers.seal(new, parent, &stop)
    });
    build.cancel.check()?;
    let Some(unpacked) = sealed? else { return Ok(None) };
    let layers = build.layers.commit(vec![unpacked], parent, build.now)?;
    Ok(layers.into_iter().next())
}

/// See [`super::make_directory`].
pub(super) fn make_directory(
    build: CopyBuild<'_>,
    path: &str,
    owner: &str,
    parent: Option<&ChainId>,
) -> Result<Option<Layer>> {
    let below = view(build, parent)?;
    let owner = match owner {
        "" => Owner::default(),
        text => owner::resolve(text, below.as_ref())?,
    };
    // Most directories of WORKDIR are there: then nothing is begun.
    let clean = cleaned(path);
    if let Some(below) = &below
        && below
            .stat(scan::as_path(clean.as_bytes()))
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    {
        return Ok(None);
    }
    let new = build.layers.new_directory(parent)?;
    let layer = Root::open(new.content()).map_err(of_path)?;
    let whole = new.whiteouts() == WhiteoutForm::Apply;
    let place = Place::new(layer, below.filter(|_| !whole));
    let resolved = place.resolve(&clean)?;
    place.make_directories(&resolved, DIRECTORY_MODE, owner)?;
    place.finish()?;
    drop(place);
    seal(build, new, parent, false)
}
