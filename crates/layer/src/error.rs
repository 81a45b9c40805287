//! What can go wrong with layers.

use std::path::PathBuf;

use orlop_sys::confined::PathError;
use orlop_sys::mount::MountError;
use orlop_types::{ChainId, DiffId, ErrorKind};

/// A failed operation on layers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] orlop_meta::Error),
    /// A layer's archive cannot be read, is refused or cannot be written.
    #[error(transparent)]
    Archive(#[from] orlop_archive::Error),
    /// A file below a layer cannot be worked on.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A layer cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A file of the driver's own cannot be worked on.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A layer's content is not what the image says.
    #[error("invalid diffID for layer: expected `{expected}`, got `{found}`")]
    WrongDiffId {
        /// What the image's configuration says.
        expected: DiffId,
        /// What was unpacked.
        found: DiffId,
    },
    /// A layer's files are not what they were when it was unpacked.
    #[error(
        "layer `{expected}` was changed on the disk: its tar has the digest `{found}` now; load or pull its image again"
    )]
    ChangedLayer {
        /// What it was.
        expected: DiffId,
        /// What it is.
        found: DiffId,
    },
    /// No such layer.
    #[error("layer `{0}` does not exist")]
    UnknownLayer(ChainId),
    /// The layer is needed.
    #[error("layer `{0}` is in use by a container, an image or another layer")]
    InUse(ChainId),
    /// No such storage driver.
    #[error("storage driver `{0}` is not known; use `overlay2` or `vfs`")]
    UnknownDriver(String),
    /// The driver does not work here.
    #[error("storage driver `{driver}` does not work on `{}`: {reason}", path.display())]
    Unusable {
        /// The driver.
        driver: &'static str,
        /// Where it was tried.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// The store belongs to another driver.
    #[error(
        "the store holds layers of the storage driver `{present}`; `{wanted}` needs a store of its own (`--root`)"
    )]
    OtherDriver {
        /// The driver of the store.
        present: String,
        /// The driver that was asked for.
        wanted: String,
    },
    /// A file of the driver's own is not of the form it must have.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

impl Error {
    /// The kind that picks status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Archive(error) => error.kind(),
            Self::Path(error) => ErrorKind::of_io(&error.source),
            Self::Mount(error) => ErrorKind::of_io(&error.source),
            Self::File { source, .. } => ErrorKind::of_io(source),
            Self::WrongDiffId { .. } | Self::UnknownDriver(_) => ErrorKind::InvalidInput,
            Self::UnknownLayer(_) => ErrorKind::NotFound,
            Self::InUse(_) => ErrorKind::InUse,
            Self::Unusable { .. } => ErrorKind::Unavailable,
            Self::OtherDriver { .. } => ErrorKind::Conflict,
            Self::Damaged { .. } | Self::ChangedLayer { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Makes the error of a failed action on a file of the driver's own.
pub(crate) fn file<E: Into<std::io::Error>>(
    action: &'static str,
    path: &std::path::Path,
) -> impl Fn(E) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source: source.into() }
}
