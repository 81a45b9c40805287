//! The kinds of failure that every crate's error maps to.
//!
//! `ErrorKind` is the only thing that picks an HTTP status or an exit code, so that the same
//! failure looks the same through every face of the engine.

/// What sort of failure an error is, independent of the crate it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named object does not exist (HTTP 404).
    NotFound,
    /// The request clashes with the present state, for instance a taken name (HTTP 409).
    Conflict,
    /// The object is still referenced by another one (HTTP 409).
    InUse,
    /// The request itself is malformed (HTTP 400).
    InvalidInput,
    /// The caller may not do this (HTTP 403).
    Denied,
    /// Something outside the engine is missing or busy: disk, kernel feature, plugin (HTTP 503).
    Unavailable,
    /// Stored data does not match what was recorded about it (HTTP 500).
    Corrupt,
    /// Anything else: a bug or a failed system call (HTTP 500).
    Internal,
}

impl ErrorKind {
    /// Maps an operating system error to the kind that its cause deserves.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound => Self::NotFound,
            Io::PermissionDenied => Self::Denied,
            Io::AlreadyExists => Self::Conflict,
            Io::StorageFull | Io::QuotaExceeded | Io::ReadOnlyFilesystem | Io::ResourceBusy => {
                Self::Unavailable
            }
            _ => Self::Internal,
        }
    }
}

/// A value that was not of the form it must have; the message says what and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    message: String,
}

impl ParseError {
    /// Makes a parse error with the text that the user sees.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// A malformed value is always the caller's to correct.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}
