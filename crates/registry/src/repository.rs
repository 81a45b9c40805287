//! One repository: its manifests, tags and blobs.

use std::sync::Arc;

use orlop_types::Digest;
use orlop_types::reference::ImageReference;

use crate::client::Shared;
use crate::credential::Credential;
use crate::error::Result;
use crate::fetch::{BlobReader, BlobRequest};
use crate::manifest::{Manifest, parse};
use crate::upload::{BlobUpload, Pushed};
use crate::watch::Watch;

/// Names one manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestKey {
    /// By a tag, which may move.
    Tag(String),
    /// By the digest of its bytes.
    Digest(Digest),
}

impl ManifestKey {
    /// What a reference names: its digest, else its tag, else `latest`.
    #[must_use]
    pub fn of(reference: &ImageReference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(digest.clone()),
            (None, Some(tag)) => Self::Tag(tag.to_owned()),
            (None, None) => Self::Tag(orlop_types::reference::DEFAULT_TAG.to_owned()),
        }
    }

    /// As it stands in addresses.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag,
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

/// A manifest or index exactly as the registry sent it, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedManifest {
    /// What the registry calls it (`Content-Type`).
    pub media_type: String,
    /// Digest of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl FetchedManifest {
    /// Reads the document.
    ///
    /// # Errors
    /// Anything that is neither a manifest nor an index of a supported kind.
    pub fn parse(&self) -> Result<Manifest> {
        parse(&self.bytes, &self.media_type)
    }
}

/// What a tag leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// A manifest of this digest, which was not sent.
    Named(Digest),
    /// The manifest itself, from a registry that names no digests.
    Fetched(FetchedManifest),
}

/// One repository as a client sees it; cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) shared: Arc<Shared>,
    pub(crate) host: String,
    pub(crate) path: String,
    /// As people write it, for messages.
    pub(crate) familiar: String,
    /// A caller's own credential instead of the stored one.
    pub(crate) credential: Option<Credential>,
}

impl Repository {
    /// Uses a caller's credential instead of the stored one (`X-Registry-Auth`).
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = Some(credential);
        self
    }

    /// The name as people write it.
    #[must_use]
    pub fn familiar_name(&self) -> &str {
        &self.familiar
    }

    /// Fetches a manifest or index: the bytes as sent, checked against the digest that was asked
    /// for and against the one that the registry names.
    ///
    /// # Errors
    /// `ManifestUnknown`, `PullDenied`, anything of the network, a false digest.
    pub fn manifest(&self, key: &ManifestKey, watch: &Watch) -> Result<FetchedManifest> {
        crate::exchange::manifest(self, key, watch)
    }

    /// Asks what a tag leads to, without its bytes where the registry tells.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn resolve(&self, tag: &str, watch: &Watch) -> Result<Resolved> {
        crate::exchange::resolve(self, tag, watch)
    }

    /// Lists every tag, all pages of it.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn tags(&self, watch: &Watch) -> Result<Vec<String>> {
        crate::exchange::tags(self, watch)
    }

    /// Starts to download a blob. The reader resumes after failures, and its end is reached only
    /// when size and digest are right; what was read before the end is not verified yet.
    ///
    /// Returns when the registry has answered, so "not found" and "denied" come from here. Several
    /// blobs may be read at once, each by its own thread.
    ///
    /// # Errors
    /// The registry does not send the blob, after all retries.
    pub fn blob(&self, request: BlobRequest, watch: &Watch) -> Result<BlobReader> {
        crate::fetch::blob(self, request, watch)
    }

    /// Fetches a small blob (a configuration) into memory, verified.
    ///
    /// # Errors
    /// As [`Self::blob`]; `TooLarge` above the limit for manifests.
    #[allow(clippy::needless_pass_by_value)] // As `blob`.
    pub fn small_blob(&self, request: BlobRequest, watch: &Watch) -> Result<Vec<u8>> {
        crate::fetch::small_blob(self, &request, watch)
    }

    /// The size of a blob if the repository has it.
    ///
    /// # Errors
    /// The registry does not answer.
    pub fn blob_size(&self, digest: &Digest, watch: &Watch) -> Result<Option<u64>> {
        crate::upload::blob_size(self, digest, watch)
    }

    /// Brings a blob into the repository: nothing to do if it is there, else mounted from another
    /// repository of the same registry, else uploaded.
    ///
    /// # Errors
    /// `Source` if the caller's reader fails; the registry refuses, after all retries.
    pub fn push_blob(&self, upload: &BlobUpload<'_>, watch: &Watch) -> Result<Pushed> {
        crate::upload::push_blob(self, upload, watch)
    }

    /// Stores a manifest or index, byte for byte; everything that it names must be there.
    ///
    /// # Errors
    /// The registry refuses, or names another digest.
    pub fn push_manifest(
        &self,
        key: &ManifestKey,
        media_type: &str,
        bytes: &[u8],
        watch: &Watch,
    ) -> Result<Digest> {
        crate::upload::push_manifest(self, key, media_type, bytes, watch)
    }
}
