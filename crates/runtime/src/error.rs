//! What can go wrong in this crate, apart from [`StartError`], which is what the user sees of a
//! start that failed.

use std::io;
use std::path::PathBuf;

use orlop_sys::mount::MountError;
use orlop_types::ErrorKind;

use crate::StartError;

/// A failure of running, attaching to, or reading about a container.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the run directory or the log could not be used.
    #[error("cannot {op} `{}`", path.display())]
    File {
        /// What was attempted.
        op: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A mount could not be made.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A record that the monitor wrote cannot be understood.
    #[error("record `{}` is malformed", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The other side of an attach connection broke its rules.
    #[error("malformed frame from the other side: {reason}")]
    Frame {
        /// Which rule.
        reason: &'static str,
    },
    /// A connection between command and monitor, or the terminal, failed.
    #[error("cannot {op}")]
    Stream {
        /// What was attempted.
        op: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// There is nobody to attach to.
    #[error("the container is not running")]
    NotRunning,
    /// Another monitor runs this container.
    #[error("the container is already running")]
    AlreadyRunning,
}

impl Error {
    /// The kind that picks HTTP status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } | Self::Stream { source, .. } => ErrorKind::of_io(source),
            Self::Mount(error) => ErrorKind::of_io(&error.source),
            Self::Record { .. } => ErrorKind::Corrupt,
            Self::Frame { .. } => ErrorKind::Internal,
            Self::NotRunning | Self::AlreadyRunning => ErrorKind::Conflict,
        }
    }

    pub(crate) fn file(
        op: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { op, path: path.into(), source }
    }

    pub(crate) fn stream(op: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Stream { op, source }
    }
}

/// An error and all its sources in one line.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&lower_first(&os_text(error)));
        source = error.source();
    }
    text.replace('\n', " ")
}

/// The text of an error without the number that `std` adds to those of the system.
fn os_text(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// System errors start upper-case (`No such file or directory`); Docker's texts do not.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !letters.clone().next().is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

impl From<Error> for StartError {
    /// Gives the exit code that Docker's command line gives for the same cause.
    fn from(error: Error) -> Self {
        let cause = match &error {
            Error::File { source, .. } => Some(source),
            Error::Mount(error) => Some(&error.source),
            _ => None,
        };
        let exit_code = match cause.map(io::Error::kind) {
            Some(io::ErrorKind::NotFound) => 127,
            Some(io::ErrorKind::PermissionDenied) => 126,
            _ => 125,
        };
        Self { exit_code, message: one_line(&error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_source_reads_and_exits_as_in_docker() {
        let error = Error::file("mount", "/x")(io::Error::from_raw_os_error(libc::ENOENT));
        let start = StartError::from(error);
        assert_eq!(start.message, "cannot mount `/x`: no such file or directory");
        assert_eq!(start.exit_code, 127);
    }
}
