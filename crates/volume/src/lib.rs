//! Volumes: data with a name that outlives containers.
//!
//! [`Volumes`] is the set of volumes of one store; [`VolumeDriver`] is where a volume's data comes
//! from. On disk, for the `local` driver:
//!
//! ```text
//! volumes/<name>/              0701
//! volumes/<name>/_data/        0755, what containers see
//! volumes/<name>/volume.json   0600, the row once more, for directories that lost theirs
//! volumes/<name>/copy-up.*/    a copy under way (see the module `populate`)
//! ```
//!
//! Locks: changes of which volumes there are hold an exclusive lock on `volumes/`; copies into a
//! volume hold one on `volumes/<name>/`. A process takes the former before the latter.

mod adopt;
mod driver;
mod error;
mod list;
mod local;
mod lock;
mod options;
mod populate;
mod prune;
mod volumes;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod crash_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod mount_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod populate_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use driver::{Scope, VolumeDriver, VolumeSource};
pub use error::Error;
pub use list::{VolumeInfo, VolumeUsage};
pub use local::{LOCAL, LocalDriver};
pub use populate::Populated;
pub use prune::Pruned;
pub use volumes::{ANONYMOUS_LABEL, Force, NewVolume, Removal, Volumes};

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
