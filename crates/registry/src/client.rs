//! The client: settings, connections and tokens that all repositories share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use orlop_types::reference::ImageReference;
use reqwest::Method;
use reqwest::header::HeaderMap;
use url::Url;

use crate::credential::Credential;
use crate::download::{Download, DownloadRequest};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::error_answer::status_text;
use crate::exchange::{Session, all_pages};
use crate::options::ClientOptions;
use crate::repository::Repository;
use crate::runtime::wait;
use crate::search::{SearchQuery, SearchResult};
use crate::token::{Purpose, Token, TokenKey, basic, sensitive};
use crate::transport::{Outgoing, Payload, Transport, shown};
use crate::watch::Watch;

/// Speaks to registries and other servers; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

/// What all users of one client share. Each lock is held for a look or an insertion only.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) options: ClientOptions,
    pub(crate) transport: Transport,
    pub(crate) endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    pub(crate) tokens: Mutex<HashMap<TokenKey, Token>>,
    credentials: Mutex<HashMap<String, Credential>>,
}

impl Shared {
    /// The stored credential for a registry; a helper program is asked once.
    pub(crate) fn credential(&self, host: &str) -> Result<Credential> {
        let known = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credential) = known.get(host) {
            return Ok(credential.clone());
        }
        drop(known);
        let credential = self.options.credentials.get(host)?;
        let mut known = self.credentials.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(host.to_owned(), credential.clone());
        Ok(credential)
    }
}

/// What a registry gave for a name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginOutcome {
    /// Replaces the password in the credential store, if not empty.
    pub identity_token: String,
    /// `Login Succeeded`.
    pub status: String,
}

impl std::fmt::Debug for LoginOutcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LoginOutcome").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; nothing is opened before the first request.
    ///
    /// # Errors
    /// Malformed settings (the address of a mirror).
    pub fn new(options: ClientOptions) -> Result<Self> {
        for mirror in options.mirrors.iter().filter(|mirror| mirror.contains("://")) {
            let parsed: std::result::Result<Url, _> = mirror.parse();
            if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
                let text = format!("invalid mirror `{mirror}`: want http://HOST or https://HOST");
                return Err(orlop_types::ParseError::new(text).into());
            }
        }
        Ok(Self { shared: Arc::new(Shared { options, ..Shared::default() }) })
    }

    /// The settings that it was made with.
    #[must_use]
    pub fn options(&self) -> &ClientOptions {
        &self.shared.options
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

    /// Proves a credential to a registry (`host[:port]`, `docker.io` for Docker Hub); stores
    /// nothing.
    ///
    /// # Errors
    /// `LoginRefused`, anything of the network.
    pub fn login(
        &self,
        host: &str,
        credential: &Credential,
        watch: &Watch,
    ) -> Result<LoginOutcome> {
        wait(watch, login(&self.shared, host, credential))
    }

    /// Every repository of a registry that lists them.
    ///
    /// # Errors
    /// The registry does not list them, anything of the network.
    pub fn catalog(
        &self,
        host: &str,
        credential: Option<Credential>,
        watch: &Watch,
    ) -> Result<Vec<String>> {
        let session = self.session(host, credential)?;
        let scopes = ["registry:catalog:*".to_owned()];
        let pages = async {
            all_pages(&session, "_catalog?n=1000", &scopes).await.map_err(|failure| failure.error)
        };
        wait(watch, pages)
    }

    fn session(&self, host: &str, credential: Option<Credential>) -> Result<Session> {
        Ok(Session {
            shared: Arc::clone(&self.shared),
            name: host.to_owned(),
            path: String::new(),
            credential: match credential {
                Some(credential) => credential,
                None => self.shared.credential(host)?,
            },
        })
    }

    /// Searches a registry for repositories; one without a search is searched by its catalogue.
    ///
    /// # Errors
    /// Anything of the network; a registry without search and catalogue.
    pub fn search(&self, query: &SearchQuery, watch: &Watch) -> Result<Vec<SearchResult>> {
        crate::search::search(self, &self.shared, query, watch)
    }

    /// Fetches a plain address.
    ///
    /// # Errors
    /// `Download` for a status other than 200 and 304; anything of the network.
    pub fn download(&self, request: &DownloadRequest, watch: &Watch) -> Result<Download> {
        crate::download::download(&self.shared, request, watch)
    }
}

async fn login(shared: &Shared, host: &str, credential: &Credential) -> Result<LoginOutcome> {
    let endpoint = shared.endpoint(host).await?;
    let url = endpoint.address("")?;
    let challenges = endpoint.challenges();
    let mut identity_token = String::new();
    let authorization =
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            let token = shared
                .fetch_token(&endpoint, bearer, &[], credential, Purpose::Login)
                .await
                .map_err(|failure| in_login_words(&url, failure.error))?;
            identity_token = token.refresh;
            sensitive(&format!("Bearer {}", token.value))
        } else {
            basic(credential)
        };
    let trust = |url: &Url| shared.trust(url);
    let outgoing = Outgoing {
        method: Method::GET,
        url: url.clone(),
        headers: HeaderMap::new(),
        authorization,
        payload: Payload::None,
        trust: &trust,
    };
    let answer = shared.transport.send(&shared.options, &outgoing).await?;
    let status = answer.response.status().as_u16();
    if status != 200 {
        return Err(Error::Denied {
            message: format!(
                "login attempt to {} failed with status: {}",
                shown(&url),
                status_text(status)
            ),
        });
    }
    Ok(LoginOutcome { identity_token, status: "Login Succeeded".to_owned() })
}

fn in_login_words(url: &Url, error: Error) -> Error {
    match error {
        Error::Denied { message } => Error::LoginRefused { url: shown(url), message },
        other => other,
    }
}
