//! Bearer tokens: fetched from the server that a challenge names, kept until they run out.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use crate::challenge::Challenge;
use crate::client::Shared;
use crate::credential::{Credential, encode_auth};
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::exchange::{Failure, read_limited, refuse};
use crate::tls::Trust;
use crate::transport::{Outgoing, Payload, shown};

/// How long a token is good for when the server does not say: the token specification's default.
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// A token is not used any more so shortly before its end.
const MARGIN: Duration = Duration::from_secs(10);
/// What we call ourselves to token servers; Docker Hub knows this name.
const CLIENT_ID: &str = "docker";

/// A token and its end.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: String,
    pub(crate) refresh: String,
    pub(crate) end: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token")
    }
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey {
    realm: String,
    service: String,
    scopes: Vec<String>,
    /// Tells users apart; a digest, because it is a key and not a secret to use.
    user: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct TokenAnswer {
    token: String,
    access_token: String,
    refresh_token: String,
    expires_in: u64,
}

/// Whether a token is wanted to log in, which asks for a refresh token, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Request,
    Login,
}

impl Shared {
    /// A token for `scopes`: a kept one, or a new one when `fresh` or too old.
    pub(crate) async fn token(
        &self,
        endpoint: &Endpoint,
        challenge: &Challenge,
        scopes: &[String],
        credential: &Credential,
        fresh: bool,
    ) -> Result<String, Failure> {
        let key = TokenKey {
            realm: challenge.get("realm").unwrap_or_default().to_owned(),
            service: challenge.get("service").unwrap_or_default().to_owned(),
            scopes: scopes.to_vec(),
            user: crate::verify::digest_of(
                format!(
                    "{}\0{}\0{}",
                    credential.username, credential.password, credential.identity_token
                )
                .as_bytes(),
            )
            .to_string(),
        };
        if !fresh {
            let tokens = self.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(token) = tokens.get(&key)
                && Instant::now() + MARGIN < token.end
            {
                return Ok(token.value.clone());
            }
        }
        let token =
            self.fetch_token(endpoint, challenge, scopes, credential, Purpose::Request).await?;
        let value = token.value.clone();
        self.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key, token);
        Ok(value)
    }

    /// Asks the token server.
    pub(crate) async fn fetch_token(
        &self,
        endpoint: &Endpoint,
        challenge: &Challenge,
        scopes: &[String],
        credential: &Credential,
        purpose: Purpose,
    ) -> Result<Token, Failure> {
        let realm = self.realm(endpoint, challenge, credential)?;
        let service = challenge.get("service").unwrap_or_default();
        let trust = |url: &Url| self.trust(url);
        let mut outgoing = Outgoing {
            method: Method::GET,
            url: realm,
            headers: HeaderMap::new(),
            authorization: None,
            payload: Payload::None,
            trust: &trust,
        };
        let form;
        if credential.identity_token.is_empty() {
            let mut query = outgoing.url.query_pairs_mut();
            if !service.is_empty() {
                query.append_pair("service", service);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
            if purpose == Purpose::Login {
                query.append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
            }
            if !credential.username.is_empty() {
                query.append_pair("account", &credential.username);
            }
            drop(query);
            outgoing.authorization = basic(credential);
        } else {
            form = refresh_form(service, scopes, &credential.identity_token);
            outgoing.method = Method::POST;
            outgoing.headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            outgoing.payload = Payload::Bytes(&form);
        }
        let answer = self.transport.send(&self.options, &outgoing).await?;
        if !answer.response.status().is_success() {
            return Err(refuse(self, answer).await);
        }
        let bytes = read_limited(self, answer.response, &outgoing.url, "a token").await?;
        Ok(read_answer(&bytes, &outgoing.url)?)
    }

    /// The token server's address; a secret goes there only over TLS, except where the registry
    /// itself is one that may be spoken to without.
    fn realm(
        &self,
        endpoint: &Endpoint,
        challenge: &Challenge,
        credential: &Credential,
    ) -> Result<Url> {
        let text = challenge.get("realm").unwrap_or_default();
        let wrong = |reason: &str| Error::Protocol {
            url: shown(&endpoint.base),
            reason: format!("token server `{text}`: {reason}"),
        };
        let realm: Url = text.parse().map_err(|_| wrong("not an address"))?;
        match realm.scheme() {
            "https" => Ok(realm),
            "http" if credential.is_empty() || self.trust(&realm) == Trust::Anyone => Ok(realm),
            "http" => Err(wrong("a password is not sent without TLS")),
            _ => Err(wrong("not an address of HTTP")),
        }
    }
}

/// The `Authorization` of a name and a password.
pub(crate) fn basic(credential: &Credential) -> Option<HeaderValue> {
    if credential.username.is_empty() && credential.password.is_empty() {
        return None;
    }
    sensitive(&format!("Basic {}", encode_auth(&credential.username, &credential.password)))
}

/// A header value that debug output hides.
pub(crate) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn refresh_form(service: &str, scopes: &[String], refresh: &str) -> Bytes {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token")
        .append_pair("service", service)
        .append_pair("client_id", CLIENT_ID)
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", refresh);
    form.finish().into()
}

fn read_answer(bytes: &[u8], url: &Url) -> Result<Token> {
    let wrong = |reason: &str| Error::Protocol { url: shown(url), reason: reason.to_owned() };
    let answer: TokenAnswer =
        serde_json::from_slice(bytes).map_err(|_| wrong("the token server sent no JSON"))?;
    let value = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if value.is_empty() {
        return Err(wrong("authorization server did not include a token in the response"));
    }
    // A life of years is no use, and its end would be out of range.
    let life = match answer.expires_in {
        0 => DEFAULT_LIFE,
        seconds => Duration::from_secs(seconds.clamp(60, 86_400)),
    };
    Ok(Token { value, refresh: answer.refresh_token, end: Instant::now() + life })
}
