//! What can go wrong in a build.

use orlop_types::ErrorKind;

/// A build that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody ended the build.
    #[error("context canceled")]
    Cancelled,
    /// The layer store failed.
    #[error(transparent)]
    Layer(#[from] orlop_layer::Error),
    /// The database failed.
    #[error(transparent)]
    Meta(#[from] orlop_meta::Error),
    /// The image store failed.
    #[error(transparent)]
    Image(#[from] orlop_image::Error),
    /// A container operation failed.
    #[error(transparent)]
    Container(#[from] orlop_container::Error),
    /// A volume operation failed.
    #[error(transparent)]
    Volume(#[from] orlop_volume::Error),
}

impl Error {
    /// What sort of failure it is; decides exit codes and HTTP status.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Conflict,
            Self::Layer(error) => error.kind(),
            Self::Meta(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Container(error) => error.kind(),
            Self::Volume(error) => error.kind(),
        }
    }
}
