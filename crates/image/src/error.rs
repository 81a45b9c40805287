//! What can go wrong with images; the texts are Docker's where Docker has one.

use orlop_types::{ErrorKind, ImageId, ParseError};

/// A failed operation on an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such image.
    #[error("No such image: {name}")]
    NotFound {
        /// The name, with the tag that was looked for.
        name: String,
    },
    /// A name, a change, a filter or a platform is malformed.
    #[error(transparent)]
    Invalid(#[from] ParseError),
    /// A tag would look like a digest.
    #[error("refusing to create an ambiguous tag using digest algorithm as name")]
    AmbiguousTag,
    /// A tag cannot hold a digest.
    #[error("refusing to create a tag with a digest reference")]
    DigestTag,
    /// Containers of this operating system cannot run here.
    #[error("operating system is not supported: `{0}`; only linux is")]
    OperatingSystem(String),
    /// The image cannot be removed for now.
    #[error("conflict: {0}")]
    Conflict(Conflict),
    /// Another prune works on the store.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// The stored configuration is not one.
    #[error("the configuration of the image {id} is damaged")]
    Damaged {
        /// The image.
        id: ImageId,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A lock file cannot be used.
    #[error("cannot lock `{}`", path.display())]
    Lock {
        /// The file.
        path: std::path::PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A layer cannot be brought in or taken away.
    #[error(transparent)]
    Layer(#[from] orlop_layer::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] orlop_meta::Error),
}

/// What keeps an image; short ids as Docker prints them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The last name of an image that a container uses.
    #[error(
        "unable to remove repository reference \"{reference}\" (must force) - container {container} is using its \
         referenced image {image}"
    )]
    LastReference {
        /// The name as given.
        reference: String,
        /// The container.
        container: String,
        /// The image.
        image: String,
    },
    /// A running container uses the image.
    #[error(
        "unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    Running {
        /// The image.
        image: String,
        /// The container.
        container: String,
    },
    /// A stopped container uses the image.
    #[error(
        "unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    Stopped {
        /// The image.
        image: String,
        /// The container.
        container: String,
    },
    /// An image given by id has several names.
    #[error(
        "unable to delete {image} (must be forced) - image is referenced in multiple repositories"
    )]
    ManyReferences {
        /// The image.
        image: String,
    },
}

impl Error {
    /// The kind that picks status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Invalid(_) | Self::AmbiguousTag | Self::DigestTag | Self::OperatingSystem(_) => {
                ErrorKind::InvalidInput
            }
            Self::Conflict(Conflict::ManyReferences { .. }) | Self::PruneRunning => {
                ErrorKind::Conflict
            }
            Self::Conflict(_) => ErrorKind::InUse,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Lock { source, .. } => ErrorKind::of_io(source),
            Self::Layer(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}
