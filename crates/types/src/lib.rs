//! Ids, digests, references, sizes, the mount grammar and Docker's JSON shapes.
//!
//! Nothing here does I/O: every function is pure, so every rule can be tested without a kernel.

pub mod change;
pub mod config;
pub mod duration;
pub mod environment;
pub mod error;
pub mod filter;
pub mod health;
pub mod id;
pub mod image;
pub mod mount;
mod mount_flag;
pub mod natural;
pub mod network;
pub mod platform;
pub mod port;
pub mod reference;
pub mod signal;
pub mod size;
mod words;

pub use error::{ErrorKind, ParseError};
pub use id::{ChainId, ContainerId, ContainerName, DiffId, Digest, ImageId, VolumeName};
pub use platform::Platform;
