//! One HTTP request and its redirects.
//!
//! Redirects are followed here and not by the HTTP library, so that an `Authorization` field goes
//! to the origin that it was made for and nowhere else.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode};
use url::Url;

use crate::error::{Error, Result};
use crate::options::ClientOptions;
use crate::tls::{Trust, settings};

/// The connections of one client, by server.
#[derive(Debug, Default)]
pub(crate) struct Transport {
    clients: Mutex<HashMap<(String, Trust), reqwest::Client>>,
}

/// Makes the body of a request anew for each time that it is sent.
pub(crate) type MakeBody<'a> = &'a (dyn Fn() -> reqwest::Body + Sync);

/// What a request carries.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    /// Nothing.
    None,
    /// Bytes in memory.
    Bytes(&'a Bytes),
    /// A stream of known length; the body itself watches for stalls.
    Stream {
        /// Number of bytes.
        length: u64,
        /// Makes the body.
        make: MakeBody<'a>,
    },
}

/// One request.
#[derive(Clone)]
pub(crate) struct Outgoing<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// For the origin of `url` only.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) payload: Payload<'a>,
    /// How far servers are trusted, by address.
    pub(crate) trust: &'a (dyn Fn(&Url) -> Trust + Sync),
}

/// An answer, and the address that gave it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) url: Url,
    /// Whether the answer comes from the origin that was asked first.
    pub(crate) same_origin: bool,
}

impl Transport {
    fn client(&self, options: &ClientOptions, url: &Url, trust: Trust) -> Result<reqwest::Client> {
        let authority = authority(url);
        let key = (authority.clone(), trust);
        let mut clients = self.clients.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let tls = settings(&options.certificate_directories, &authority, trust)?;
        let proxies = options.proxies.clone();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.timeouts.connect)
            .http1_only()
            .no_proxy()
            .proxy(reqwest::Proxy::custom(move |url| proxies.choose(url)))
            .user_agent(options.user_agent.as_str())
            .build()
            .map_err(|error| Error::System {
                attempt: "setting up HTTP",
                source: std::io::Error::other(deepest(&error)),
            })?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// Sends a request, follows its redirects, and returns the first other answer.
    pub(crate) async fn send(
        &self,
        options: &ClientOptions,
        outgoing: &Outgoing<'_>,
    ) -> Result<Answer> {
        let mut url = outgoing.url.clone();
        let mut method = outgoing.method.clone();
        let mut payload = outgoing.payload;
        for _ in 0..=options.limits.redirects {
            let same_origin = url.origin() == outgoing.url.origin();
            let client = self.client(options, &url, (outgoing.trust)(&url))?;
            let mut request = client.request(method.clone(), url.clone());
            if same_origin {
                request = request.headers(outgoing.headers.clone());
                if let Some(value) = &outgoing.authorization {
                    request = request.header(AUTHORIZATION, value.clone());
                }
            } else {
                request = request.headers(without_secrets(&outgoing.headers));
            }
            request = match payload {
                Payload::None if method == Method::POST || method == Method::PUT => {
                    request.header(reqwest::header::CONTENT_LENGTH, 0)
                }
                Payload::None => request,
                Payload::Bytes(bytes) => request.body(bytes.clone()),
                Payload::Stream { length, make } => {
                    request.header(reqwest::header::CONTENT_LENGTH, length).body(make())
                }
            };
            // A streamed body takes as long as it takes; its own watch ends a stall.
            let idle = match payload {
                Payload::Stream { .. } => None,
                _ => Some(options.timeouts.idle),
            };
            let response = limited(idle, request.send())
                .await
                .map_err(|cause| cause.into_error(&method, &url))?;
            let status = response.status();
            let Some(next) = redirect_target(&url, &response) else {
                return Ok(Answer { response, url, same_origin });
            };
            if matches!(next.scheme(), "http" | "https") {
                tracing::debug!(status = status.as_u16(), host = next.host_str(), "redirected");
            } else {
                return Err(Error::Protocol {
                    url: shown(&url),
                    reason: format!("redirect to an address of kind `{}`", next.scheme()),
                });
            }
            if status == StatusCode::SEE_OTHER && method != Method::HEAD {
                method = Method::GET;
                payload = Payload::None;
            }
            url = next;
        }
        Err(Error::Protocol {
            url: shown(&outgoing.url),
            reason: format!("stopped after {} redirects", options.limits.redirects),
        })
    }
}

/// The fields without those that may hold secrets for the first server.
fn without_secrets(headers: &HeaderMap) -> HeaderMap {
    let secret = |name: &HeaderName| {
        matches!(name.as_str(), "authorization" | "cookie" | "proxy-authorization")
            || name.as_str().contains("token")
    };
    let kept = headers.iter().filter(|(name, _)| !secret(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Where an answer points to, if it is a redirect.
fn redirect_target(url: &Url, response: &Response) -> Option<Url> {
    let code = response.status();
    if !matches!(code.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(location).ok()
}

/// `host[:port]` as directories of `certs.d` are named.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// An address for messages: without name, password and query, which may be secrets.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses that cannot have a name and a password.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// What ended an exchange below HTTP.
pub(crate) enum Cause {
    Http(reqwest::Error),
    Timeout,
}

impl Cause {
    pub(crate) fn into_error(self, method: &Method, url: &Url) -> Error {
        match self {
            Self::Http(error) => of_reqwest(method, url, &error),
            Self::Timeout => Error::Transport {
                method: go_method(method),
                url: shown(url),
                cause:
                    "net/http: request canceled (Client.Timeout exceeded while awaiting headers)"
                        .to_owned(),
                transient: true,
            },
        }
    }
}

/// Waits for a step of an exchange, but not for ever.
pub(crate) async fn limited<T>(
    idle: Option<Duration>,
    step: impl Future<Output = reqwest::Result<T>>,
) -> Result<T, Cause> {
    match idle {
        None => step.await.map_err(Cause::Http),
        Some(idle) => match tokio::time::timeout(idle, step).await {
            Ok(result) => result.map_err(Cause::Http),
            Err(_) => Err(Cause::Timeout),
        },
    }
}

/// Go's spelling in error texts: `Get`, `Head`.
pub(crate) fn go_method(method: &Method) -> String {
    let lower = method.as_str().to_ascii_lowercase();
    let mut letters = lower.chars();
    match letters.next() {
        Some(first) => first.to_ascii_uppercase().to_string() + letters.as_str(),
        None => lower,
    }
}

fn deepest(error: &dyn StdError) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Puts a failure below HTTP into Docker's words.
pub(crate) fn of_reqwest(method: &Method, url: &Url, error: &reqwest::Error) -> Error {
    let (cause, transient) = describe(url, error);
    Error::Transport { method: go_method(method), url: shown(url), cause, transient }
}

/// An error and its causes; those that `io::Error` wraps, which its `source` leaves out, included.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> Vec<&'a (dyn StdError + 'static)> {
    let mut list = vec![error];
    let mut next = Some(error);
    while let Some(level) = next {
        let wrapped = level.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = wrapped.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| level.source());
        list.extend(next);
    }
    list
}

/// The words for what the system said, where Go has its own.
fn of_system(host: &str, port: u16, kind: std::io::ErrorKind) -> Option<String> {
    use std::io::ErrorKind as Io;
    let dial = |why: &str| Some(format!("dial tcp {host}:{port}: connect: {why}"));
    match kind {
        Io::ConnectionRefused => dial("connection refused"),
        Io::HostUnreachable => dial("no route to host"),
        Io::NetworkUnreachable => dial("network is unreachable"),
        Io::ConnectionReset => Some("read: connection reset by peer".to_owned()),
        Io::BrokenPipe => Some("write: broken pipe".to_owned()),
        Io::UnexpectedEof => Some("unexpected EOF".to_owned()),
        _ => None,
    }
}

fn describe(url: &Url, error: &reqwest::Error) -> (String, bool) {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let levels = causes(error);
    let tls = levels.iter().find_map(|level| level.downcast_ref::<rustls::Error>());
    if let Some(tls) = tls {
        return (of_tls(host, tls), false);
    }
    let kinds = levels.iter().filter_map(|level| level.downcast_ref::<std::io::Error>());
    if let Some(text) = kinds.map(std::io::Error::kind).find_map(|kind| of_system(host, port, kind))
    {
        return (text, true);
    }
    let mut texts: Vec<String> = levels.iter().map(ToString::to_string).collect();
    if texts.iter().any(|text| text == "dns error") {
        let temporary = texts.iter().any(|text| text.contains("Temporary failure"));
        let why = if temporary { "server misbehaving" } else { "no such host" };
        return (format!("dial tcp: lookup {host}: {why}"), temporary);
    }
    if error.is_timeout() && error.is_connect() {
        return (format!("dial tcp {host}:{port}: i/o timeout"), true);
    }
    let last = texts.pop().unwrap_or_default();
    let broken = ["before message completed", "end of file before", "unexpected EOF"];
    if broken.iter().any(|words| last.contains(words)) {
        return ("unexpected EOF".to_owned(), true);
    }
    // What HTTP does not allow will not be better next time; the rest may be.
    let transient = !error.is_builder() && !last.contains("invalid");
    (last, transient)
}

/// Go's words for the failures of TLS that people meet.
fn of_tls(host: &str, error: &rustls::Error) -> String {
    use rustls::{CertificateError as Bad, Error as Tls, InvalidMessage};
    let x509 = |text: &str| format!("tls: failed to verify certificate: x509: {text}");
    match error {
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Tls::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => x509("certificate signed by unknown authority"),
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                x509(&format!("certificate is not valid for {host}"))
            }
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. } => x509("certificate has expired or is not yet valid"),
            other => x509(&other.to_string()),
        },
        Tls::AlertReceived(alert) => format!("remote error: tls: {alert:?}"),
        other => format!("tls: {other}"),
    }
}
