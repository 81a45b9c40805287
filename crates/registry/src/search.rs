//! `search`: the first version's search address, as Docker Hub still has it.

use std::sync::Arc;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::client::{Client, Shared};
use crate::credential::Credential;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::exchange::{read_limited, refuse};
use crate::host::{HUB, is_hub};
use crate::runtime::wait;
use crate::token::basic;
use crate::transport::{Outgoing, Payload, shown};
use crate::watch::Watch;

/// Where Docker Hub's search answers.
const HUB_SEARCH: &str = "https://index.docker.io/v1/search";
/// Results without a wish.
const DEFAULT_LIMIT: u32 = 25;
/// Most results that Docker allows to ask for.
const LIMIT_MAX: u32 = 100;

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct SearchQuery {
    /// The words, with a registry in front if it is not Docker Hub (`host:port/words`).
    pub term: String,
    /// Most results (1 to 100); 25 if 0.
    pub limit: u32,
    /// A caller's own credential instead of the stored one.
    pub credential: Option<Credential>,
}

/// One repository that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
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

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    results: Vec<SearchResult>,
}

/// Splits a registry off the words, as `docker search` does.
#[must_use]
pub(crate) fn split_term(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            (if is_hub(host) { HUB } else { host }, rest)
        }
        _ => (HUB, term),
    }
}

pub(crate) fn search(
    client: &Client,
    shared: &Arc<Shared>,
    query: &SearchQuery,
    watch: &Watch,
) -> Result<Vec<SearchResult>> {
    let limit = if query.limit == 0 { DEFAULT_LIMIT } else { query.limit };
    if limit > LIMIT_MAX {
        return Err(orlop_types::ParseError::new(format!(
            "limit {limit} is outside the range of [1, {LIMIT_MAX}]"
        ))
        .into());
    }
    if query.term.contains("://") {
        return Err(orlop_types::ParseError::new(format!(
            "invalid repository name: repository name ({}) should not have a scheme",
            query.term
        ))
        .into());
    }
    let (host, words) = split_term(&query.term);
    let credential = match &query.credential {
        Some(credential) => credential.clone(),
        None => shared.credential(host)?,
    };
    let words = if host == HUB { words.strip_prefix("library/").unwrap_or(words) } else { words };
    let found = wait(watch, first_version(shared, host, words, limit, &credential));
    match found {
        Ok(found) => Ok(found),
        Err(Error::Status { status: 404, .. } | Error::Registry { status: 404, .. })
            if host != HUB =>
        {
            let mut names = client.catalog(host, query.credential.clone(), watch)?;
            names.retain(|name| name.contains(words));
            names.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            let plain = |name| SearchResult { name, ..SearchResult::default() };
            Ok(names.into_iter().map(plain).collect())
        }
        Err(other) => Err(other),
    }
}

async fn first_version(
    shared: &Shared,
    host: &str,
    words: &str,
    limit: u32,
    credential: &Credential,
) -> Result<Vec<SearchResult>> {
    let mut url = if host == HUB {
        address(HUB_SEARCH)?
    } else {
        let endpoint: Arc<Endpoint> = shared.endpoint(host).await?;
        address(&format!("{}/v1/search", endpoint.base.as_str().trim_end_matches('/')))?
    };
    url.query_pairs_mut().append_pair("q", words).append_pair("n", &limit.to_string());
    let trust = |url: &Url| shared.trust(url);
    let outgoing = Outgoing {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        authorization: basic(credential),
        payload: Payload::None,
        trust: &trust,
    };
    let answer = shared.transport.send(&shared.options, &outgoing).await?;
    if !answer.response.status().is_success() {
        return Err(refuse(shared, answer).await.error);
    }
    let bytes = read_limited(shared, answer.response, &outgoing.url, "the list").await?;
    let found: Found = serde_json::from_slice(&bytes).map_err(|error| Error::Protocol {
        url: shown(&outgoing.url),
        reason: error.to_string(),
    })?;
    Ok(found.results)
}

fn address(text: &str) -> Result<Url> {
    text.parse()
        .map_err(|_| Error::Protocol { url: text.to_owned(), reason: "not an address".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_may_stand_before_the_words() {
        for (term, want) in [
            ("nginx", (HUB, "nginx")),
            ("user/nginx", (HUB, "user/nginx")),
            ("docker.io/nginx", (HUB, "nginx")),
            ("localhost/x", ("localhost", "x")),
            ("reg:5000/a/b", ("reg:5000", "a/b")),
        ] {
            assert_eq!(split_term(term), want, "{term}");
        }
    }
}
