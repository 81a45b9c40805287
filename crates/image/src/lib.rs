//! Images: configurations, their names, and what happens to them.
//!
//! An image is a row whose configuration's bytes hash to its id; its layers belong to
//! [`orlop_layer::LayerStore`]. Every change of rows is one transaction together with its events.
//! Layers come before the image that needs them and go after it, so a cut leaves at worst a layer
//! that nothing needs: [`Images::unreferenced_layers`].

mod archived;
mod child;
mod content;
mod content_pack;
mod content_partial;
mod describe;
mod diff;
mod edit;
mod error;
mod flatten;
mod glob;
mod images;
mod import;
mod layers;
mod layout;
mod layout_blobs;
mod layout_documents;
mod layout_target;
mod list;
mod load;
mod load_keep;
mod load_plan;
mod load_source;
mod prune;
mod pull;
mod pull_arrival;
mod pull_fetch;
mod pull_layers;
mod pull_plan;
mod push;
mod push_layers;
mod push_manifest;
mod remove;
mod save;
mod transfer;
mod tree;
mod tree_compare;
mod tree_files;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod content_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod crash_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod layout_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod load_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod view_tests;

pub use archived::archived_images;
pub use child::{ChildImage, target_reference};
pub use content::{BlobReader, BlobWriter, Content, NewBlob};
pub use content_pack::{LayerForm, compression_of};
pub use describe::HistoryItem;
pub use diff::{DiffTotals, FileChange, FileDiff, ImageDiff};
pub use edit::{Edit, EditRequest};
pub use error::{Conflict, Error, LoadProblem};
pub use flatten::{FlattenRequest, Flattened};
pub use images::Images;
pub use import::{ImportOptions, Platform};
pub use layout::{
    LayerPacking, LayoutForm, LayoutImage, LayoutOptions, LayoutTarget, MediaTypes, SavePlan,
    WrittenImage,
};
pub use list::ImageSummary;
pub use load::{LayoutPick, LoadOptions, Loaded};
pub use load_source::LoadSource;
pub use prune::Pruned;
pub use pull::{KeepPacked, PARALLEL_DOWNLOADS, PullOptions, Pulled};
pub use push::{PARALLEL_UPLOADS, PushOptions, PushedImage};
pub use remove::{Removal, RemoveOptions};
pub use transfer::{LayerState, TransferEvent, TransferWatch};
pub use tree::{ImageTree, TreeLayer, TreeStep};
pub use tree_compare::AttributeChange;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
