//! Requests to a repository: who asks, what is tried again, what an answer means.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use orlop_types::Digest;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response};
use serde::Deserialize;
use url::Url;

use crate::client::Shared;
use crate::credential::Credential;
use crate::endpoint::{Endpoint, challenges_of};
use crate::error::{Error, Result};
use crate::error_answer::{general, of_manifest, retry_after};
use crate::manifest::ACCEPTED;
use crate::repository::{FetchedManifest, ManifestKey, Repository, Resolved};
use crate::runtime::wait;
use crate::token::{basic, sensitive};
use crate::transport::{Answer, Outgoing, Payload, go_method, limited, shown};
use crate::verify::digest_of;
use crate::watch::{Event, Watch};

/// Header with a manifest's digest.
const DIGEST_HEADER: &str = "docker-content-digest";
/// Tags or repositories on one page of a list.
const PAGE: usize = 1000;
/// Pages that are followed; a limit against a server whose list never ends.
const PAGES_MAX: usize = 1000;

/// An error, and whether the same request may work later.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) transient: bool,
    pub(crate) retry_after: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let transient = match &error {
            Error::Transport { transient, .. } => *transient,
            Error::Status { status, .. } | Error::Registry { status, .. } => is_passing(*status),
            Error::TooManyRequests { .. } => true,
            _ => false,
        };
        Self { error, transient, retry_after: None }
    }
}

/// Whether a status tells of a passing trouble.
fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// One address of a repository, with the credential for it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    /// Host of references, or a mirror's address.
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) credential: Credential,
}

/// What is asked of a repository.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    pub(crate) scopes: &'a [String],
}

impl Repository {
    /// The addresses to pull from: mirrors, then the registry itself.
    pub(crate) fn pull_sessions(&self) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        if crate::host::is_hub(&self.host) {
            for mirror in &self.shared.options.mirrors {
                let host = mirror.split("://").last().unwrap_or_default().trim_end_matches('/');
                sessions.push(Session {
                    shared: Arc::clone(&self.shared),
                    name: mirror.clone(),
                    path: self.path.clone(),
                    credential: self.shared.credential(host)?,
                });
            }
        }
        sessions.push(self.session()?);
        Ok(sessions)
    }

    /// The registry itself.
    pub(crate) fn session(&self) -> Result<Session> {
        let credential = match &self.credential {
            Some(credential) => credential.clone(),
            None => self.shared.credential(&self.host)?,
        };
        Ok(Session {
            shared: Arc::clone(&self.shared),
            name: self.host.clone(),
            path: self.path.clone(),
            credential,
        })
    }
}

impl Session {
    pub(crate) async fn endpoint(&self) -> Result<Arc<Endpoint>> {
        self.shared.endpoint(&self.name).await
    }

    /// `repository:PATH:pull[,push]`.
    pub(crate) fn scope(&self, actions: &str) -> String {
        format!("repository:{}:{actions}", self.path)
    }

    /// Sends one request, with a new token once if the first is refused.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
    ) -> Result<Answer, Failure> {
        let trust = |url: &Url| self.shared.trust(url);
        let same_server = call.url.origin() == endpoint.base.origin();
        let mut outgoing = Outgoing {
            method: call.method.clone(),
            url: call.url.clone(),
            headers: call.headers.clone(),
            authorization: None,
            payload: call.payload,
            trust: &trust,
        };
        if same_server {
            outgoing.authorization = self.authorization(endpoint, call, false).await?;
        }
        let answer = self.shared.transport.send(&self.shared.options, &outgoing).await?;
        let asks_again = answer.response.status().as_u16() == 401
            && same_server
            && answer.same_origin
            && !challenges_of(answer.response.headers()).is_empty();
        if !asks_again {
            return Ok(answer);
        }
        endpoint.set_challenges(answer.response.headers());
        let again = self.authorization(endpoint, call, true).await?;
        // The same name and password would be refused again.
        if again.is_none() || (again == outgoing.authorization) {
            return Ok(answer);
        }
        outgoing.authorization = again;
        Ok(self.shared.transport.send(&self.shared.options, &outgoing).await?)
    }

    /// The proof of identity that the registry wants.
    async fn authorization(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        fresh: bool,
    ) -> Result<Option<HeaderValue>, Failure> {
        if !self.credential.registry_token.is_empty() {
            return Ok(sensitive(&format!("Bearer {}", self.credential.registry_token)));
        }
        let challenges = endpoint.challenges();
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            let mut scopes = call.scopes.to_vec();
            // What the refusal itself named, beyond what was asked for.
            if fresh && let Some(named) = bearer.get("scope") {
                for scope in named.split_whitespace() {
                    if !scopes.iter().any(|known| known == scope) {
                        scopes.push(scope.to_owned());
                    }
                }
            }
            let token =
                self.shared.token(endpoint, bearer, &scopes, &self.credential, fresh).await?;
            return Ok(sensitive(&format!("Bearer {token}")));
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            let Some(value) = basic(&self.credential) else {
                return Err(Error::NoCredentials {
                    method: go_method(&call.method),
                    url: shown(&call.url),
                }
                .into());
            };
            return Ok(Some(value));
        }
        Ok(None)
    }
}

/// What a refusal's status and header say about another attempt; the error is a placeholder.
pub(crate) fn passing(response: &Response) -> Failure {
    let status = response.status().as_u16();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = after.and_then(|text| retry_after(text, Timestamp::now()));
    Failure { error: Error::Cancelled, transient: is_passing(status), retry_after: after }
}

/// The failure that a refusing answer means.
pub(crate) async fn refuse(shared: &Shared, answer: Answer) -> Failure {
    let status = answer.response.status().as_u16();
    let refused = passing(&answer.response);
    // A refusal without a readable body is still that refusal.
    let body = read_limited(shared, answer.response, &answer.url, "an error").await;
    let error = general(status, &body.unwrap_or_default());
    Failure { error, ..refused }
}

/// Reads a whole answer that must be small.
pub(crate) async fn read_limited(
    shared: &Shared,
    response: Response,
    url: &Url,
    what: &str,
) -> Result<Vec<u8>> {
    read_at_most(shared, response, url, what, shared.options.limits.answer_bytes).await
}

pub(crate) async fn read_at_most(
    shared: &Shared,
    mut response: Response,
    url: &Url,
    what: &str,
    limit: u64,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let chunk = limited(Some(shared.options.timeouts.idle), response.chunk()).await;
        let Some(chunk) = chunk.map_err(|cause| cause.into_error(&Method::GET, url))? else {
            return Ok(bytes);
        };
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(Error::TooLarge { what: what.to_owned(), limit });
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// Does something until it works, it cannot work, or it was tried often enough.
pub(crate) async fn retrying<T>(
    shared: &Shared,
    watch: &Watch,
    mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T> {
    let mut failed = 0;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(failure) => {
                failed += 1;
                pause(shared, watch, failed, failure).await?;
            }
        }
    }
}

/// Waits before the next attempt, or gives the error back when there is to be none.
pub(crate) async fn pause(
    shared: &Shared,
    watch: &Watch,
    failed: u32,
    failure: Failure,
) -> Result<()> {
    let retries = &shared.options.retries;
    if !failure.transient || failed >= retries.attempts {
        return Err(failure.error);
    }
    let asked = failure.retry_after.unwrap_or_default().min(retries.longest);
    let mut left = (retries.step * failed).max(asked);
    tracing::debug!(error = %failure.error, wait = ?left, "trying again");
    while !left.is_zero() {
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        watch.report(Event::Retrying { seconds });
        let step = left.min(Duration::from_secs(1));
        tokio::time::sleep(step).await;
        left -= step;
    }
    Ok(())
}

/// Asks each address in turn; the last error counts.
pub(crate) async fn first_of<T>(
    sessions: &[Session],
    mut ask: impl AsyncFnMut(&Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut last = None;
    for session in sessions {
        match ask(session).await {
            Ok(value) => return Ok(value),
            Err(failure) => {
                if sessions.len() > 1 {
                    tracing::debug!(registry = session.name, error = %failure.error, "failed");
                }
                last = Some(failure);
            }
        }
    }
    let nothing = || Error::Protocol { url: String::new(), reason: "no address to try".to_owned() };
    Err(last.unwrap_or_else(|| nothing().into()))
}

/// Asks for a manifest, with or without its bytes; the answer may be a refusal.
async fn ask_manifest(
    session: &Session,
    key: &ManifestKey,
    method: Method,
) -> Result<Answer, Failure> {
    let endpoint = session.endpoint().await?;
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    let call = Call {
        method,
        url: endpoint.address(&format!("{}/manifests/{}", session.path, key.as_str()))?,
        headers,
        payload: Payload::None,
        scopes: &[session.scope("pull")],
    };
    session.send(&endpoint, &call).await
}

/// The reference of a key, as people write it.
fn reference_text(repository: &Repository, key: &ManifestKey) -> String {
    match key {
        ManifestKey::Tag(tag) => format!("{}:{tag}", repository.familiar),
        ManifestKey::Digest(digest) => format!("{}@{digest}", repository.familiar),
    }
}

fn in_pull_words(repository: &Repository, key: &ManifestKey, mut failure: Failure) -> Failure {
    let reference = reference_text(repository, key);
    failure.error = of_manifest(failure.error, &repository.familiar, &reference);
    failure
}

pub(crate) fn manifest(
    repository: &Repository,
    key: &ManifestKey,
    watch: &Watch,
) -> Result<FetchedManifest> {
    let sessions = repository.pull_sessions()?;
    let shared = &repository.shared;
    wait(
        watch,
        retrying(shared, watch, async || {
            first_of(&sessions, async |session| fetch_manifest(session, key).await)
                .await
                .map_err(|failure| in_pull_words(repository, key, failure))
        }),
    )
}

async fn fetch_manifest(session: &Session, key: &ManifestKey) -> Result<FetchedManifest, Failure> {
    let shared = &session.shared;
    let answer = ask_manifest(session, key, Method::GET).await?;
    if !answer.response.status().is_success() {
        return Err(refuse(shared, answer).await);
    }
    let media_type = header(&answer.response, CONTENT_TYPE.as_str()).unwrap_or_default();
    let said = header(&answer.response, DIGEST_HEADER);
    let length = answer.response.content_length();
    let limit = shared.options.limits.manifest_bytes;
    let bytes = read_at_most(shared, answer.response, &answer.url, "the manifest", limit).await?;
    if length.is_some_and(|length| length != bytes.len() as u64) {
        return Err(Error::Transport {
            method: "Get".to_owned(),
            url: shown(&answer.url),
            cause: "unexpected EOF".to_owned(),
            transient: true,
        }
        .into());
    }
    let digest = digest_of(&bytes);
    if let ManifestKey::Digest(wanted) = key
        && *wanted != digest
    {
        return Err(Error::ManifestVerification { digest: wanted.clone() }.into());
    }
    // Other algorithms than sha256 are not compared: the bytes have the digest that they have.
    if let Some(said) = said.and_then(|text| text.parse::<Digest>().ok())
        && said != digest
    {
        return Err(Error::ManifestVerification { digest: said }.into());
    }
    Ok(FetchedManifest { media_type, digest, bytes })
}

/// Asks for a tag's digest first, as Docker does: what is here already need not come, and Docker Hub
/// does not count it. A registry that does not tell it sends the manifest, or says why not.
pub(crate) fn resolve(repository: &Repository, tag: &str, watch: &Watch) -> Result<Resolved> {
    let sessions = repository.pull_sessions()?;
    let key = ManifestKey::Tag(tag.to_owned());
    wait(
        watch,
        retrying(&repository.shared, watch, async || {
            first_of(&sessions, async |session| {
                let answer = ask_manifest(session, &key, Method::HEAD).await?;
                let digest = header(&answer.response, DIGEST_HEADER);
                let digest = digest.and_then(|text| text.parse::<Digest>().ok());
                match digest.filter(|_| answer.response.status().is_success()) {
                    Some(digest) => Ok(Resolved::Named(digest)),
                    None => fetch_manifest(session, &key).await.map(Resolved::Fetched),
                }
            })
            .await
            .map_err(|failure| in_pull_words(repository, &key, failure))
        }),
    )
}

/// One header field as text.
pub(crate) fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

pub(crate) fn tags(repository: &Repository, watch: &Watch) -> Result<Vec<String>> {
    let sessions = repository.pull_sessions()?;
    let key = ManifestKey::Tag("latest".to_owned());
    wait(
        watch,
        retrying(&repository.shared, watch, async || {
            first_of(&sessions, async |session| {
                let start = format!("{}/tags/list?n={PAGE}", session.path);
                all_pages(session, &start, &[session.scope("pull")]).await
            })
            .await
            .map_err(|failure| in_pull_words(repository, &key, failure))
        }),
    )
}

/// Every name of a list of tags or repositories.
pub(crate) async fn all_pages(
    session: &Session,
    start: &str,
    scopes: &[String],
) -> Result<Vec<String>, Failure> {
    let endpoint = session.endpoint().await?;
    let mut url = endpoint.address(start)?;
    let mut names = Vec::new();
    for _ in 0..PAGES_MAX {
        let call = Call {
            method: Method::GET,
            url: url.clone(),
            headers: HeaderMap::new(),
            payload: Payload::None,
            scopes,
        };
        let answer = session.send(&endpoint, &call).await?;
        if !answer.response.status().is_success() {
            return Err(refuse(&session.shared, answer).await);
        }
        let next = header(&answer.response, "link").as_deref().and_then(next_page);
        let bytes = read_limited(&session.shared, answer.response, &url, "the list").await?;
        let page: Page = serde_json::from_slice(&bytes)
            .map_err(|error| Error::Protocol { url: shown(&url), reason: error.to_string() })?;
        names.extend(page.tags.or(page.repositories).unwrap_or_default());
        match next.and_then(|next| url.join(&next).ok()) {
            // A list goes on at the same server only, because the credential goes along.
            Some(next) if next.origin() == endpoint.base.origin() => url = next,
            _ => break,
        }
    }
    Ok(names)
}

/// Reads the `Link` field of a page: `</v2/…>; rel="next"`.
#[must_use]
pub fn next_page(value: &str) -> Option<String> {
    value.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters
            .split(';')
            .any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then(|| address.to_owned())
    })
}
