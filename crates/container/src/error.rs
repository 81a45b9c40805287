//! What can go wrong with containers.

use orlop_runtime::StartError;
use orlop_types::{ErrorKind, ParseError};

/// A failed operation on a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing of that name.
    #[error("No such container: {name}")]
    NotFound {
        /// As the user named it.
        name: String,
    },
    /// No added process of that id.
    #[error("No such exec instance: {id}")]
    NoSuchExec {
        /// As the caller named it.
        id: String,
    },
    /// An id's beginning that fits several containers.
    #[error("multiple containers have an id that begins with `{name}`; give more digits")]
    Ambiguous {
        /// As the user named it.
        name: String,
    },
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Id of the container that has it.
        owner: String,
    },
    /// The state does not allow it.
    #[error("{message}")]
    Conflict {
        /// Docker's text.
        message: String,
    },
    /// The request is malformed.
    #[error(transparent)]
    Invalid(#[from] ParseError),
    /// The first process could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The monitor's side failed.
    #[error(transparent)]
    Runtime(#[from] orlop_runtime::error::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] orlop_meta::Error),
    /// A layer failed.
    #[error(transparent)]
    Layer(#[from] orlop_layer::Error),
    /// A volume failed.
    #[error(transparent)]
    Volume(#[from] orlop_volume::Error),
    /// An image failed.
    #[error(transparent)]
    Image(#[from] orlop_image::Error),
    /// Docker's text about a network.
    #[error("{message}")]
    Network {
        /// Picks status and exit code.
        kind: ErrorKind,
        /// Docker's text.
        message: String,
    },
    /// The network failed.
    #[error(transparent)]
    Net(#[from] orlop_net::Error),
    /// A copy failed.
    #[error(transparent)]
    Copy(#[from] crate::copy::CopyError),
    /// A file or process operation failed.
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
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

impl Error {
    /// The kind that picks status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::NoSuchExec { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } | Self::Invalid(_) => ErrorKind::InvalidInput,
            Self::NameTaken { .. } | Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Start(error) if error.exit_code >= 126 => ErrorKind::InvalidInput,
            Self::Start(_) => ErrorKind::Internal,
            Self::Runtime(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Layer(error) => error.kind(),
            Self::Volume(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Network { kind, .. } => *kind,
            Self::Net(error) => error.kind(),
            Self::Copy(error) => error.kind(),
            Self::System { source, .. } => ErrorKind::of_io(source),
            Self::Timeout { .. } => ErrorKind::Unavailable,
        }
    }

    /// The exit code that `run`, `start` and `exec` give for it, if it has one of its own.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Start(error) => Some(error.exit_code),
            Self::Volume(error) => error.exit_code(),
            _ => None,
        }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict { message: message.into() }
    }
}

/// Names the operation and its subject for a failed system call.
pub(crate) fn system<'a>(
    operation: &'static str,
    subject: &'a std::path::Path,
) -> impl Fn(std::io::Error) -> Error + 'a {
    move |source| Error::System { operation, subject: subject.display().to_string(), source }
}
