//! The image configuration: Docker's and OCI's JSON document whose digest is the image's id.
//!
//! Source: OCI image-spec, `config.md`; Docker's additions (`Healthcheck`, `OnBuild`, `Shell`).

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::id::DiffId;

/// An image configuration document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// Processor architecture in Go's words, for instance `amd64`.
    pub architecture: String,
    /// What containers of the image get.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: Config,
    /// RFC 3339 time of creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// One record for each step, layers and metadata alike.
    #[serde(default, deserialize_with = "null_as_default")]
    pub history: Vec<HistoryEntry>,
    /// Operating system, `linux`.
    pub os: String,
    /// The layers.
    pub rootfs: RootFs,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// The layers of an image, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digest of each uncompressed layer tar.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<DiffId>,
}

/// Go writes empty lists and objects as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// How one step of an image came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The text whose SHA-256 is the next chain id: `"<parent> <diff>"`.
///
/// Source: OCI image-spec, `config.md`, "Layer ChainID". The lowest layer's chain id is its diff id,
/// so there is no text for it.
#[must_use]
pub fn chain_text(parent: &crate::id::ChainId, diff: &DiffId) -> String {
    format!("{parent} {diff}")
}
