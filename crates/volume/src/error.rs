//! What can go wrong with volumes; the texts are Docker's where Docker has one.

use std::path::{Path, PathBuf};

use orlop_sys::confined::PathError;
use orlop_sys::mount_filesystem::FilesystemError;
use orlop_types::{ContainerId, ErrorKind, ParseError, VolumeName};

/// A failed operation on a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name is not one that the driver takes.
    #[error("create {name}: {reason}")]
    InvalidName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: ParseError,
    },
    /// The driver does not know this option.
    #[error("create {name}: invalid option: \"{option}\"")]
    InvalidOption {
        /// The volume.
        name: String,
        /// The option.
        option: String,
    },
    /// An option needs another one.
    #[error("create {name}: missing required option: \"{option}\"")]
    MissingOption {
        /// The volume.
        name: String,
        /// The option that is missing.
        option: &'static str,
    },
    /// The option `size` is not a size.
    #[error("create {name}: {reason}")]
    InvalidSize {
        /// The volume.
        name: String,
        /// What is wrong with it.
        reason: ParseError,
    },
    /// A limited size was asked for and cannot be enforced.
    #[error("create {name}: quota size requested but no quota support")]
    NoQuota {
        /// The volume.
        name: String,
    },
    /// The device of a CIFS volume names a port.
    #[error("create {name}: port not allowed in CIFS device URL, include 'port' in 'o='")]
    CifsPort {
        /// The volume.
        name: String,
    },
    /// There is no such driver.
    #[error(
        "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
    )]
    UnknownDriver {
        /// The volume.
        name: String,
        /// The driver.
        driver: String,
    },
    /// Another driver has a volume of that name.
    #[error(
        "create {name}: driver '{driver}' already has volume '{name}': volume name must be unique"
    )]
    TakenByDriver {
        /// The volume.
        name: VolumeName,
        /// The driver that has it.
        driver: String,
    },
    /// Containers refer to a volume whose data is gone.
    #[error(
        "create {name}: found references to volume '{name}' in driver '{driver}' but the volume was not found in \
         the driver -- you may need to remove containers referencing this volume or force remove the volume to \
         re-create it: volume name must be unique"
    )]
    Vanished {
        /// The volume.
        name: VolumeName,
        /// The driver that should have it.
        driver: String,
    },
    /// Something that is not a volume stands where the volume would.
    #[error("create {name}: `{}` is in the way; move it elsewhere", path.display())]
    InTheWay {
        /// The volume.
        name: VolumeName,
        /// What is in the way.
        path: PathBuf,
    },
    /// There is no such volume.
    #[error("get {name}: no such volume")]
    NotFound {
        /// The name as given.
        name: String,
    },
    /// Containers refer to the volume.
    #[error("remove {name}: volume is in use - [{}]", join(users))]
    InUse {
        /// The volume.
        name: VolumeName,
        /// Who refers to it.
        users: Vec<ContainerId>,
    },
    /// Something is mounted on the volume's directory; removing it would empty that file system.
    #[error("remove {name}: volume has active mounts: `{}` is a mount point; unmount it first", path.display())]
    ActiveMounts {
        /// The volume.
        name: VolumeName,
        /// The mount point.
        path: PathBuf,
    },
    /// A filter is malformed or unknown.
    #[error(transparent)]
    Filter(#[from] ParseError),
    /// Another prune works on the store.
    #[error("a prune operation is already running")]
    PruneRunning,
    /// The file system that a volume's options describe cannot be mounted.
    #[error("error while mounting volume '{}': failed to mount local volume", mountpoint.display())]
    Mount {
        /// The volume's directory.
        mountpoint: PathBuf,
        /// What was attempted and what the kernel said.
        #[source]
        source: FilesystemError,
    },
    /// The host that a volume's options name has no address.
    #[error(
        "error while mounting volume '{}': error resolving passed in network volume address: lookup {host}",
        mountpoint.display()
    )]
    Resolve {
        /// The volume's directory.
        mountpoint: PathBuf,
        /// The host.
        host: String,
        /// The resolver's answer.
        #[source]
        source: std::io::Error,
    },
    /// Copy-up failed because the volume cannot be mounted.
    #[error("failed to populate volume")]
    PopulateMount(#[source] Box<Error>),
    /// Copy-up failed.
    #[error("failed to populate volume: {name}")]
    Populate {
        /// The volume.
        name: VolumeName,
        /// Where and why.
        #[source]
        source: PathError,
    },
    /// The volume cannot be measured.
    #[error("cannot measure the volume {name}")]
    Measure {
        /// The volume.
        name: VolumeName,
        /// Where and why.
        #[source]
        source: PathError,
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
    /// The store failed.
    #[error(transparent)]
    Store(#[from] orlop_meta::Error),
}

impl Error {
    /// The exit code that `run`, `start` and `create` give for it, if it has one of its own: Docker's
    /// command line takes the words of a missing device for those of a missing command.
    #[must_use]
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Mount { source, .. } => {
                (source.source.kind() == std::io::ErrorKind::NotFound).then_some(127)
            }
            Self::PopulateMount(source) => source.exit_code(),
            _ => None,
        }
    }

    /// The kind that picks status and exit code.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidName { .. }
            | Self::InvalidOption { .. }
            | Self::MissingOption { .. }
            | Self::InvalidSize { .. }
            | Self::NoQuota { .. }
            | Self::CifsPort { .. }
            | Self::Filter(_) => ErrorKind::InvalidInput,
            Self::UnknownDriver { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::TakenByDriver { .. }
            | Self::Vanished { .. }
            | Self::InTheWay { .. }
            | Self::PruneRunning => ErrorKind::Conflict,
            Self::InUse { .. } | Self::ActiveMounts { .. } => ErrorKind::InUse,
            Self::Populate { source, .. } | Self::Measure { source, .. } => {
                match ErrorKind::of_io(&source.source) {
                    ErrorKind::Unavailable => ErrorKind::Unavailable,
                    _ => ErrorKind::Internal,
                }
            }
            Self::Mount { source, .. } => ErrorKind::of_io(&source.source),
            Self::Resolve { .. } => ErrorKind::Unavailable,
            Self::PopulateMount(source) => source.kind(),
            Self::File { source, .. } => ErrorKind::of_io(source),
            Self::Store(source) => source.kind(),
        }
    }
}

fn join(users: &[ContainerId]) -> String {
    users.iter().map(ContainerId::as_str).collect::<Vec<_>>().join(", ")
}

/// Makes the error of a file operation, for `map_err`.
pub(crate) fn file<E: Into<std::io::Error>>(
    operation: &'static str,
    path: &Path,
) -> impl Fn(E) -> Error {
    let path = path.to_owned();
    move |source| Error::File { operation, path: path.clone(), source: source.into() }
}
