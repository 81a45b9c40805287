//! What can go wrong while files are copied.

use orlop_sys::confined::PathError;
use orlop_types::ErrorKind;

/// A failed copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// No path at all.
    #[error("bad parameter: path cannot be empty")]
    EmptyPath,
    /// Nothing of that name.
    #[error("Could not find the file {path} in container {container}")]
    Missing {
        /// As the user gave it.
        path: String,
        /// As the user named it.
        container: String,
    },
    /// An archive goes into directories only.
    #[error("extraction point is not a directory")]
    NotADirectory,
    /// The path is below a read-only mount.
    #[error("mounted volume is marked read-only")]
    ReadOnlyMount,
    /// The path is not below a mount, and `--read-only` was given.
    #[error("container rootfs is marked read-only")]
    ReadOnlyRoot,
    /// What is there is no place for a copy.
    #[error("{what} must be a directory or a regular file: {found}")]
    NoDestination {
        /// The path, with the container's name if it is inside one.
        what: String,
        /// What was found.
        found: &'static str,
    },
    /// An archive on standard input goes into directories only.
    #[error("destination \"{container}:{path}\" must be a directory")]
    ArchiveNeedsDirectory {
        /// The container.
        container: String,
        /// The path.
        path: String,
    },
    /// The parent of the destination is not there.
    #[error("invalid output path: directory \"{0}\" does not exist")]
    NoParent(String),
    /// A directory would replace something else, or the other way round.
    #[error("cannot overwrite {there} \"{path}\" with {comes} \"{base}\"")]
    OtherKind {
        /// What is there.
        there: &'static str,
        /// Its path below the directory that was copied into.
        path: String,
        /// What comes.
        comes: &'static str,
        /// The directory that was copied into.
        base: String,
    },
    /// The user of the container is not known to it.
    #[error("cannot give the files to the container's user: {0}")]
    User(#[from] orlop_runtime::user::UserError),
    /// A path on the host.
    #[error("{operation} {path}")]
    Local {
        /// What was attempted.
        operation: &'static str,
        /// The path.
        path: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The archive that a copy consists of.
    #[error(transparent)]
    Archive(#[from] orlop_archive::Error),
    /// A path inside the container.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl CopyError {
    /// The kind that picks status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::EmptyPath
            | Self::NotADirectory
            | Self::ReadOnlyMount
            | Self::ReadOnlyRoot
            | Self::NoDestination { .. }
            | Self::ArchiveNeedsDirectory { .. }
            | Self::NoParent(_)
            | Self::User(_) => ErrorKind::InvalidInput,
            Self::OtherKind { .. } => ErrorKind::Internal,
            Self::Local { source, .. } => ErrorKind::of_io(source),
            Self::Archive(error) => error.kind(),
            Self::Path(error) => ErrorKind::of_io(&error.source),
        }
    }

    /// Names the operation and the host's path for a failed system call.
    pub(crate) fn local<'a>(
        operation: &'static str,
        path: &'a str,
    ) -> impl Fn(std::io::Error) -> Self + 'a {
        move |source| Self::Local { operation, path: path.to_owned(), source }
    }

    /// Says in Docker's words what an archive could not replace.
    pub(crate) fn of_unpacking(error: orlop_archive::Error, base: &str) -> Self {
        match error {
            orlop_archive::Error::OtherKind { path, directory_comes } => {
                let word = |is_directory| if is_directory { "directory" } else { "non-directory" };
                let base = if base.is_empty() { "/" } else { base };
                Self::OtherKind {
                    there: word(!directory_comes),
                    path,
                    comes: word(directory_comes),
                    base: base.to_owned(),
                }
            }
            other => Self::Archive(other),
        }
    }
}
