//! Builds images from Dockerfiles.
//!
//! [`Builder::build`] takes a [`request::BuildRequest`]: the front end turns the Dockerfile into a graph
//! of [`step`]s, the solver runs those that the target needs, in parallel where they are independent,
//! and takes from the cache what is known; [`progress`] tells what happens; an output makes the image,
//! the archive or the files.
//!
//! A step is data, so that its digest can be a cache key. What a step makes is a layer of the ordinary
//! layer store, so a build that is cut loses at most the steps that were running.

mod builder;
pub mod cancel;
pub mod error;
pub mod progress;
pub mod request;
pub mod run;
pub mod step;

pub use builder::Builder;
pub use cancel::Cancel;
pub use error::{Error, Location};

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
