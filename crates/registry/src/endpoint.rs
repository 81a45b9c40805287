//! Where a registry answers, and what it wants to know about its clients.

use std::sync::{Arc, Mutex, PoisonError};

use reqwest::Method;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use url::Url;

use crate::challenge::{Challenge, parse};
use crate::client::Shared;
use crate::error::{Error, Result};
use crate::host::{is_insecure, registry_host};
use crate::tls::Trust;
use crate::transport::{Outgoing, Payload};

/// One address of a registry that has answered.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// `https://registry-1.docker.io/`; a mirror may have a path.
    pub(crate) base: Url,
    challenges: Mutex<Vec<Challenge>>,
}

impl Endpoint {
    pub(crate) fn challenges(&self) -> Vec<Challenge> {
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what a later answer wants instead.
    pub(crate) fn set_challenges(&self, headers: &HeaderMap) {
        let challenges = challenges_of(headers);
        if !challenges.is_empty() {
            *self.challenges.lock().unwrap_or_else(PoisonError::into_inner) = challenges;
        }
    }

    /// An address of this registry: `v2/` and `rest`.
    pub(crate) fn address(&self, rest: &str) -> Result<Url> {
        let base = self.base.as_str().trim_end_matches('/');
        format!("{base}/v2/{rest}").parse().map_err(|error| Error::Protocol {
            url: self.base.to_string(),
            reason: format!("no address for `{rest}`: {error}"),
        })
    }
}

/// The challenges of an answer, of all its header fields.
pub(crate) fn challenges_of(headers: &HeaderMap) -> Vec<Challenge> {
    let fields = headers.get_all(WWW_AUTHENTICATE).iter();
    fields.filter_map(|value| value.to_str().ok()).flat_map(parse).collect()
}

impl Shared {
    /// How far the server of an address is trusted.
    pub(crate) fn trust(&self, url: &Url) -> Trust {
        if is_insecure(&self.options.insecure, url.host_str().unwrap_or_default(), url.port()) {
            Trust::Anyone
        } else {
            Trust::Authorities
        }
    }

    /// Finds out how a registry is reached. `name` is a host of references, or a mirror's address.
    pub(crate) async fn endpoint(&self, name: &str) -> Result<Arc<Endpoint>> {
        let known =
            self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(endpoint) = known {
            return Ok(endpoint);
        }
        let mut last = None;
        for base in self.candidates(name)? {
            match self.ping(&base).await {
                Ok((endpoint, lasting)) => {
                    let endpoint = Arc::new(endpoint);
                    if lasting {
                        let mut map = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
                        map.insert(name.to_owned(), Arc::clone(&endpoint));
                    }
                    return Ok(endpoint);
                }
                Err(error) => {
                    tracing::debug!(registry = name, scheme = base.scheme(), %error, "no answer");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::Protocol {
            url: name.to_owned(),
            reason: "no address to try".to_owned(),
        }))
    }

    /// The addresses to try, in order.
    fn candidates(&self, name: &str) -> Result<Vec<Url>> {
        let parse = |text: String| -> Result<Url> {
            text.parse().map_err(|error| Error::Protocol {
                url: text.clone(),
                reason: format!("not an address: {error}"),
            })
        };
        if name.contains("://") {
            return Ok(vec![parse(name.to_owned())?]);
        }
        let host = registry_host(name);
        let secure = parse(format!("https://{host}/"))?;
        if self.trust(&secure) == Trust::Authorities {
            return Ok(vec![secure]);
        }
        Ok(vec![secure, parse(format!("http://{host}/"))?])
    }

    /// Asks for the protocol's root; whether the answer is worth keeping comes with it.
    async fn ping(&self, base: &Url) -> Result<(Endpoint, bool)> {
        let empty = Endpoint { base: base.clone(), challenges: Mutex::default() };
        let trust = |url: &Url| self.trust(url);
        let outgoing = Outgoing {
            method: Method::GET,
            url: empty.address("")?,
            headers: HeaderMap::new(),
            authorization: None,
            payload: Payload::None,
            trust: &trust,
        };
        let answer = match self.transport.send(&self.options, &outgoing).await {
            Ok(answer) => answer,
            Err(Error::Transport { method, url, cause, transient }) => {
                // A registry that does not even answer is down or misspelt: no reason to wait.
                let transient = transient && !cause.starts_with("dial tcp");
                return Err(Error::Transport { method, url, cause, transient });
            }
            Err(other) => return Err(other),
        };
        let status = answer.response.status();
        empty.set_challenges(answer.response.headers());
        Ok((empty, status.is_success() || status.as_u16() == 401))
    }
}
