//! `search`: the first version's search address, as Docker Hub still has it.

use crate::client::Shared;
use crate::credential::Credential;
use crate::error::{Error, Result};
use crate::watch::Watch;

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct SearchQuery {
    /// The words, with a registry in front if it is not Docker Hub (`host:port/words`).
    pub term: String,
    /// Most results (1 to 100); the registry's default if 0.
    pub limit: u32,
    /// A caller's own credential instead of the stored one.
    pub credential: Option<Credential>,
}

/// One repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default)]
pub struct SearchResult {
    /// Name of the repository.
    pub name: String,
    /// What its owner says of it.
    pub description: String,
    /// Number of stars.
    pub star_count: u64,
    /// Whether it is one of the curated ones.
    pub is_official: bool,
    /// Whether it is built automatically; always false nowadays.
    pub is_automated: bool,
}

pub(crate) fn search(
    shared: &Shared,
    query: &SearchQuery,
    watch: &Watch,
) -> Result<Vec<SearchResult>> {
    let _ = (shared, query, watch);
    Err(Error::Cancelled)
}
