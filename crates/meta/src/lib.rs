//! The store: its directories, its database and the protocol by which things come and go.
//!
//! `<root>/orlop.db` (SQLite in WAL mode) is the one truth; every directory below the root is owned
//! by a row. Several processes work on one store at once; what they share is the database and kernel
//! locks, never memory.
//!
//! * **Create**: build in `staging/`, sync, rename, sync the directory, commit the row
//!   ([`StagedDirectory::publish`]).
//! * **Delete**: commit the row into the trash, rename into `trash/`, reap later
//!   ([`Query::trash_insert`], [`Store::carry_out`]).

mod build_cache;
mod containers;
mod content;
mod database;
mod error;
mod events;
mod images;
mod layers;
mod listing;
mod networks;
mod reserve;
mod schema;
mod settings;
mod sizes;
mod staging;
mod store;
mod trash;
mod volumes;

pub use build_cache::{CacheKey, CacheReason, CacheRecord, CachedLayer};
pub use containers::{ContainerRecord, ContainerState, ContainerStatus, Purpose};
pub use content::{ContentRecord, ImageManifest, LayerBlob};
pub use database::{Dangling, Database, Durability, Query};
pub use error::{Error, Refusal};
pub use events::{EventFilter, EventRecord, NewEvent};
pub use images::{ImageRecord, TagRecord};
pub use layers::LayerRecord;
pub use listing::{ContainerListing, Listed, ListedConfig, ListedMount};
pub use networks::{ConnectionRecord, EndpointRecord, NetworkRecord, NetworkSettings};
pub use sizes::KeptSize;
pub use staging::{StagedDirectory, Sync};
pub use store::{Store, StorePaths, Swept};
pub use trash::{TrashKind, TrashRecord};
pub use volumes::VolumeRecord;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
