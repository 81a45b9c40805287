//! What can go wrong in a build.

use std::sync::Arc;

use orlop_dockerfile::Lines;
use orlop_types::ErrorKind;

/// A build that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A build that cannot go on, in BuildKit's words.
    #[error("{message}")]
    Failed {
        /// What sort of failure it is.
        kind: ErrorKind,
        /// One line.
        message: String,
    },
    /// An instruction failed; the message is the cause's. [`Error::location`] says where.
    #[error("{source}")]
    At {
        /// Where.
        location: Box<Location>,
        /// Why.
        source: Box<Error>,
    },
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

/// Lines of a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The Dockerfile's name as messages show it.
    pub file: String,
    /// Its text.
    pub text: Arc<str>,
    /// First line, from 1.
    pub first: usize,
    /// Last line.
    pub last: usize,
    /// The step's name (`[stage-1 2/4] RUN make`); empty where no step ran.
    pub step: String,
    /// The word that is wrong; empty where it is more than a word.
    pub word: String,
}

/// The Dockerfile of a build, for errors that belong to lines of it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its name as messages show it.
    pub file: String,
    /// Its text.
    pub text: Arc<str>,
}

impl Place {
    /// Gives an error its lines; one that has some keeps them.
    pub fn at(&self, lines: Lines, step: &str, error: Error) -> Error {
        if matches!(error, Error::At { .. } | Error::Cancelled) {
            return error;
        }
        let location = Location {
            file: self.file.clone(),
            text: Arc::clone(&self.text),
            first: lines.first,
            last: lines.last,
            step: step.to_owned(),
            word: String::new(),
        };
        Error::At { location: Box::new(location), source: Box::new(error) }
    }

    /// Gives an error of the grammar the lines and the word that it names itself.
    pub fn grammar(&self, error: &orlop_dockerfile::Error) -> Error {
        let failed = Error::failed(error.kind(), error.to_string());
        match error.lines() {
            None => failed,
            Some(lines) => match self.at(lines, "", failed) {
                Error::At { mut location, source } => {
                    location.word = error.word().unwrap_or_default().to_owned();
                    Error::At { location, source }
                }
                other => other,
            },
        }
    }
}

impl Error {
    /// A failure in BuildKit's words.
    pub fn failed(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Failed { kind, message: message.into() }
    }

    /// Input that is refused, in BuildKit's words.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::failed(ErrorKind::InvalidInput, message)
    }

    /// The instruction that failed.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        match self {
            Self::At { location, .. } => Some(location),
            _ => None,
        }
    }

    /// What sort of failure it is; decides exit codes and HTTP status.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { kind, .. } => *kind,
            Self::At { source, .. } => source.kind(),
            Self::Cancelled => ErrorKind::Conflict,
            Self::Layer(error) => error.kind(),
            Self::Meta(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Container(error) => error.kind(),
            Self::Volume(error) => error.kind(),
        }
    }
}
