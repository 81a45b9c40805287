//! Requests to a repository.

use crate::error::{Error, Result};
use crate::repository::{FetchedManifest, ManifestHead, ManifestKey, Repository};
use crate::watch::Watch;

pub(crate) fn manifest(
    repository: &Repository,
    key: &ManifestKey,
    watch: &Watch,
) -> Result<FetchedManifest> {
    let _ = (repository, key, watch);
    Err(Error::Cancelled)
}
pub(crate) fn head(
    repository: &Repository,
    key: &ManifestKey,
    watch: &Watch,
) -> Result<ManifestHead> {
    let _ = (repository, key, watch);
    Err(Error::Cancelled)
}
pub(crate) fn tags(repository: &Repository, watch: &Watch) -> Result<Vec<String>> {
    let _ = (repository, watch);
    Err(Error::Cancelled)
}
