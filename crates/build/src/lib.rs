//! Builds images from Dockerfiles.
//!
//! [`Builder::build`] takes a [`request::BuildRequest`]: the front end turns the Dockerfile into a graph
//! of [`step`]s, the solver runs those that the target needs, in parallel where they are independent,
//! and takes from the cache what is known; [`progress`] tells what happens; an output makes the image,
//! the archive or the files.
//!
//! A step is data, so that its digest can be a cache key. What a step makes is a layer of the ordinary
//! layer store, so a build that is cut loses at most the steps that were running.

mod answer;
mod base;
mod builder;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod builder_tests;
mod cache;
mod cache_registry;
mod cache_transport;
mod cache_tree;
mod cache_usage;
pub mod cancel;
pub mod context;
pub mod copy;
mod definition;
mod document;
pub mod error;
mod executor;
mod explain;
mod frontend;
mod graph;
mod keys;
mod output;
mod output_store;
pub mod progress;
pub mod request;
pub mod run;
mod solve;
mod sources;
pub mod step;
mod vertices;

pub use builder::Builder;
pub use cache_usage::{CachePruneOptions, CachePruned, CacheUsage};
pub use cancel::Cancel;
pub use error::{Error, Location};

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
