//! Layers and storage drivers.
//!
//! A [`StorageDriver`] knows how the content of layers is laid out and put together; [`LayerStore`]
//! keeps layers and writable layers in a store: rows, staging, trash. Layers are shared: an image
//! whose lower layers are there already adds only what is new.

mod below;
mod choose;
mod driver;
mod entries;
mod error;
mod import;
mod init;
mod overlay;
mod prune;
mod repair;
mod seal;
mod store;
mod tar;
mod vfs;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod conformance_import;
#[cfg(test)]
mod conformance_tar;
#[cfg(test)]
mod seal_tests;
#[cfg(test)]
mod testing;

pub use choose::{Chosen, choose};
pub use driver::{LayerKey, StorageDriver, WritableOptions};
pub use error::Error;
pub use import::{ImportOptions, Layer, Unpacked, chain_id};
pub use orlop_archive::changes::{ChangeKind, Changes};
pub use overlay::OverlayDriver;
pub use seal::NewLayer;
pub use store::{LayerStore, NewWritable};
pub use vfs::VfsDriver;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
