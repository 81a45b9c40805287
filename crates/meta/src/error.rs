//! What can go wrong with the store.

use std::path::PathBuf;

use orlop_types::ErrorKind;

/// What SQLite said, once: its own error repeats its words in the error behind it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    text: String,
    code: Option<rusqlite::ErrorCode>,
}

impl Refusal {
    /// The class of the error, if SQLite gave one.
    #[must_use]
    pub fn code(&self) -> Option<rusqlite::ErrorCode> {
        self.code
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let text = match error {
            rusqlite::Error::FromSqlConversionFailure(_, _, reason) => {
                format!("a stored value is damaged: {reason}")
            }
            other => other.to_string(),
        };
        Self { text, code }
    }
}

/// A failed operation on the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A statement failed.
    #[error("cannot {operation} in the database `{}`", path.display())]
    Database {
        /// What was attempted.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: Refusal,
    },
    /// Another process held the database for too long.
    #[error("the database `{}` is locked by another process for more than {seconds} s; find it with `fuser` and end it", path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The database was made by a later version.
    #[error("the store `{}` has format {found}, this program knows up to {known}; use a newer orlop", path.display())]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// Format found.
        found: i64,
        /// Newest format known.
        known: i64,
    },
    /// A stored value is not of the form it must have.
    #[error("the record of {what} is damaged: {reason}")]
    Damaged {
        /// Which record.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A file operation failed.
    #[error("cannot {operation} `{}`", path.display())]
    File {
        /// What was attempted.
        operation: &'static str,
        /// On what.
        path: PathBuf,
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
            Self::Database { source, .. } => match source.code() {
                Some(rusqlite::ErrorCode::ConstraintViolation) => ErrorKind::Conflict,
                Some(
                    rusqlite::ErrorCode::DiskFull
                    | rusqlite::ErrorCode::ReadOnly
                    | rusqlite::ErrorCode::CannotOpen
                    | rusqlite::ErrorCode::SystemIoFailure,
                ) => ErrorKind::Unavailable,
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                    ErrorKind::Corrupt
                }
                _ => ErrorKind::Internal,
            },
            Self::Locked { .. } | Self::TooNew { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::File { source, .. } => ErrorKind::of_io(source),
        }
    }

    /// Whether there was no space left.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        matches!(self, Self::File { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull)
    }

    /// Whether a row that must be unique or unreferenced was not.
    #[must_use]
    pub fn is_constraint(&self) -> bool {
        matches!(self, Self::Database { source, .. }
            if source.code() == Some(rusqlite::ErrorCode::ConstraintViolation))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn sqlite_says_its_reason_once() {
        let failed = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some("database disk image is malformed".to_owned()),
        );
        let refusal = Refusal::from(failed);
        assert_eq!(refusal.to_string(), "database disk image is malformed");
        assert!(refusal.source().is_none());
        assert_eq!(refusal.code(), Some(rusqlite::ErrorCode::DatabaseCorrupt));
        let path = std::path::PathBuf::from("/x/orlop.db");
        let error = Error::Database { operation: "read", path, source: refusal };
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}
