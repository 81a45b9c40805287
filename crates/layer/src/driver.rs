//! What a storage driver does, and the layout that both drivers share.
//!
//! ```text
//! layers/<driver>/<key>/diff/      content
//! layers/<driver>/<key>/tar        of a layer: what gives its tar back ([`orlop_archive::skeleton`])
//! layers/<driver>/<key>/replaced/  of a layer whose tar held a name twice: the earlier contents
//! layers/<driver>/<key>/lower      of a layer: a line `orlop-layer 1`, then the keys of all layers
//!                                  below it, nearest first
//! layers/<driver>/<key>/parent     of a writable or initial layer: a link to `../<key>`
//! layers/<driver>/<key>/work/      of a writable layer (overlay)
//! ```
//! A `lower` file with another first line is refused. `<key>` is 32 random hexadecimal digits for a
//! layer, the container's id for its writable layer, `init1-<key>` for what containers find
//! beside the image (see [`crate::init`]).

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use orlop_archive::changes::Changes;
use orlop_archive::extract::WhiteoutForm;
use orlop_sys::mount::RootfsRecipe;
use orlop_sys::tree::Usage;

use crate::error::file;
use crate::{Error, Result};

/// First line of a `lower` file.
const LOWER_HEADER: &str = "orlop-layer 1";
/// Longest `lower` file: 500 keys (the kernel's limit of lower layers) of 72 bytes, with room.
const LOWER_MAX_BYTES: u64 = 256 * 1024;

/// A driver's name for one directory below `layers/<driver>/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LayerKey(String);

impl LayerKey {
    /// Takes a key that a row or a `lower` file holds; it must be one plain file name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (!text.is_empty() && text.len() <= 128 && text.bytes().all(plain))
            .then(|| Self(text.to_owned()))
    }

    /// A new key that no other layer has.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// The key of a container's writable layer.
    #[must_use]
    pub fn of_container(id: &orlop_types::ContainerId) -> Self {
        Self(id.as_str().to_owned())
    }

    /// The file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LayerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How a writable layer is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WritableOptions {
    /// Never syncs: for containers that are removed when they end.
    pub volatile: bool,
}

/// A way of storing layers and putting them together.
///
/// Directories are built in a place of the caller's and appear under their key by a rename, so a
/// driver has no state of its own. Every driver passes the same conformance suite.
pub trait StorageDriver: fmt::Debug + Send + Sync {
    /// Its name: also the name of its directory.
    fn name(&self) -> &'static str;

    /// The directory of all its layers.
    fn home(&self) -> &Path;

    /// Whether a layer can be unpacked before its parent is there.
    fn independent_layers(&self) -> bool;

    /// How a layer's deletions are stored.
    fn whiteouts(&self) -> WhiteoutForm;

    /// Prepares a directory for a layer's content and gives where to unpack it; `parent` may be left
    /// out if layers are independent.
    fn prepare(&self, directory: &Path, parent: Option<&LayerKey>) -> Result<PathBuf>;

    /// Prepares a directory for what is written on top of a parent.
    fn prepare_writable(&self, directory: &Path, parent: Option<&LayerKey>) -> Result<()>;

    /// What to mount to see a layer with everything below it, read-only; also of a writable layer,
    /// which may be in use (then the kernel's log says so, which harms nobody who only reads).
    fn view(&self, key: &LayerKey) -> Result<RootfsRecipe>;

    /// What to mount to write on a writable layer.
    fn mounts(&self, key: &LayerKey, options: WritableOptions) -> Result<RootfsRecipe>;

    /// What a layer takes up by itself.
    fn usage(&self, key: &LayerKey) -> Result<Usage>;

    /// Writes what a layer changes against its parent as a layer tar.
    fn diff(&self, key: &LayerKey, output: &mut dyn Write) -> Result<()>;

    /// Lists what a writable layer changes against its parent.
    fn changes(&self, key: &LayerKey) -> Result<Changes>;

    /// The directory of a layer.
    fn directory(&self, key: &LayerKey) -> PathBuf {
        self.home().join(key.as_str())
    }

    /// Where a layer's content is.
    fn content(&self, key: &LayerKey) -> PathBuf {
        self.directory(key).join("diff")
    }

    /// The layers below one, nearest first, however many there are: one small file.
    fn lowers(&self, key: &LayerKey) -> Result<Vec<LayerKey>> {
        let directory = self.directory(key);
        match read_parent(&directory)? {
            Some(parent) => {
                let mut lowers = self.lowers(&parent)?;
                lowers.insert(0, parent);
                Ok(lowers)
            }
            None => read_lower(&directory),
        }
    }
}

/// Makes `diff` with the attributes that an image's root has unless a layer says otherwise.
pub(crate) fn make_content(directory: &Path) -> Result<PathBuf> {
    let content = directory.join("diff");
    make_dir(&content, 0o755)?;
    Ok(content)
}

pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(mode);
    rustix::fs::mkdir(path, mode).map_err(file("make the directory", path))?;
    // The umask does not count.
    rustix::fs::chmod(path, mode).map_err(file("change the mode of", path))
}

/// Writes which layers are below one.
pub(crate) fn write_lower(directory: &Path, lowers: &[LayerKey]) -> Result<()> {
    let path = directory.join("lower");
    let mut text = format!("{LOWER_HEADER}\n");
    for key in lowers {
        text.push_str(key.as_str());
        text.push('\n');
    }
    std::fs::write(&path, text).map_err(file("write", &path))
}

fn read_lower(directory: &Path) -> Result<Vec<LayerKey>> {
    use std::io::Read as _;
    let path = directory.join("lower");
    let damaged = |reason| Error::Damaged { path: path.clone(), reason };
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(LOWER_MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(file("read", &path))?;
    if text.len() as u64 > LOWER_MAX_BYTES {
        return Err(damaged("it is too long"));
    }
    let mut lines =
        text.strip_suffix('\n').ok_or_else(|| damaged("it ends too early"))?.split('\n');
    if lines.next() != Some(LOWER_HEADER) {
        return Err(damaged("it has an unknown format"));
    }
    lines
        .map(|line| LayerKey::parse(line).ok_or_else(|| damaged("it holds an invalid key")))
        .collect()
}

/// Writes what a writable layer stands on.
pub(crate) fn write_parent(directory: &Path, parent: &LayerKey) -> Result<()> {
    let path = directory.join("parent");
    rustix::fs::symlink(format!("../{parent}"), &path).map_err(file("create the link", &path))
}

fn read_parent(directory: &Path) -> Result<Option<LayerKey>> {
    let path = directory.join("parent");
    match rustix::fs::readlink(&path, Vec::new()) {
        Ok(target) => target
            .to_str()
            .ok()
            .and_then(|target| LayerKey::parse(target.strip_prefix("../")?))
            .map(Some)
            .ok_or(Error::Damaged { path, reason: "it does not lead to a layer" }),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(file("read the link", &path)(error)),
    }
}
