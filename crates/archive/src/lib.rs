//! Layer archives: compression, digests, reading and unpacking hostile tars, writing trees and diffs.
//!
//! * [`stream`] turns a possibly compressed stream into tar bytes on one thread, hashes them on a
//!   second and hands them to the caller on its own, so that a layer is unpacked as fast as the
//!   slowest of the three.
//! * [`extract`] unpacks into an open directory that nothing can leave.
//! * [`unpack`] does the same into a tree that is in use, for copies; [`resource`] makes their archives.
//! * [`skeleton`] gives the very tar back that a directory was unpacked from.
//! * [`pack`] compresses what is written, with the same bytes on every machine.
//! * [`write`] and [`diff`] make tars of trees, of overlay upper directories and of the difference of
//!   two trees.

pub mod changes;
pub mod compression;
pub mod diff;
pub mod digest;
mod error;
pub mod extract;
mod extract_entry;
pub mod headers;
pub mod name;
pub mod pack;
pub mod plain;
pub mod read;
mod replaced;
pub mod resource;
pub mod skeleton;
pub mod stream;
pub mod unpack;
pub mod write;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod skeleton_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod unpack_tests;

pub use error::{Error, Refusal};
pub use pack::{PackWriter, Packing};

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
