//! What can go wrong, from whichever part it comes.

use orlop_types::{ErrorKind, ParseError};

/// A failed operation of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing of that name, of any kind.
    #[error("No such {kind}: {name}")]
    NotFound {
        /// `object`, `volume`, ….
        kind: &'static str,
        /// As the user named it.
        name: String,
    },
    /// The request is malformed.
    #[error(transparent)]
    Invalid(#[from] ParseError),
    /// Another prune of the same kind works on the store.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] orlop_meta::Error),
    /// A layer failed.
    #[error(transparent)]
    Layer(#[from] orlop_layer::Error),
    /// An image failed.
    #[error(transparent)]
    Image(#[from] orlop_image::Error),
    /// A registry cannot be talked to.
    #[error(transparent)]
    Registry(#[from] orlop_registry::Error),
    /// A volume failed.
    #[error(transparent)]
    Volume(#[from] orlop_volume::Error),
    /// A container failed.
    #[error(transparent)]
    Container(#[from] orlop_container::Error),
    /// A build failed.
    #[error(transparent)]
    Build(#[from] orlop_build::Error),
    /// The monitor's side failed.
    #[error(transparent)]
    Runtime(#[from] orlop_runtime::error::Error),
    /// A file operation failed.
    #[error("cannot {operation} `{subject}`")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        subject: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The kind that picks status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Invalid(error) => error.kind(),
            Self::PruneRunning => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
            Self::Layer(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Volume(error) => error.kind(),
            Self::Container(error) => error.kind(),
            Self::Build(error) => error.kind(),
            Self::Runtime(error) => error.kind(),
            Self::System { source, .. } => ErrorKind::of_io(source),
        }
    }

    /// Whether the image of that name (complete, in its familiar form) is not here, so that pulling it
    /// may help.
    #[must_use]
    pub fn lacks_image(&self, wanted: &str) -> bool {
        use orlop_image::Error as Image;
        let (Self::Image(image) | Self::Container(orlop_container::Error::Image(image))) = self
        else {
            return false;
        };
        match image {
            Image::NotFound { name } => name == wanted,
            // Only the container's own image has to be for a platform.
            Image::OtherPlatform { .. } => true,
            _ => false,
        }
    }

    /// The exit code that `run`, `start` and `exec` give for it, if it has one of its own.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Container(error) => error.exit_code(),
            _ => None,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = self.to_string();
        if text.starts_with("No such image") {
            return Some(
                "`orlop images` lists what is here; `orlop import` makes an image of a tar"
                    .to_owned(),
            );
        }
        if text.contains("port is already allocated") {
            return Some(
                "`orlop ps` shows which container publishes it; or choose another host port"
                    .to_owned(),
            );
        }
        if self.is_full_disk() {
            return Some("the disk is full: `orlop system check --repair` empties the trash, `orlop volume ls` shows what is kept".to_owned());
        }
        None
    }

    fn is_full_disk(&self) -> bool {
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<std::io::Error>()
                && matches!(
                    io.kind(),
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                )
            {
                return true;
            }
            source = error.source();
        }
        false
    }
}
