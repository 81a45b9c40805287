//! Plain downloads over HTTP: `ADD https://…`, `import https://…`, build contexts.
//!
//! The bytes are not verified here, as nothing says what they should be; but a body that is cut
//! short is an error, and one whose server can prove that it is still the same resumes.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Buf;
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Method, Response};
use url::Url;

use crate::client::Shared;
use crate::error::{Error, Result};
use crate::error_answer::{printable, status_text};
use crate::exchange::{Failure, header, pause, read_at_most, retrying};
use crate::fetch::content_range;
use crate::pieces::{PieceReader, PieceSender};
use crate::runtime::{cancellable, wait};
use crate::tls::Trust;
use crate::transport::{Answer, Outgoing, Payload, limited, shown};
use crate::watch::{Event, Watch};

/// How much of an error page is shown.
const PAGE_BYTES_MAX: u64 = 4096;

/// What to download.
#[derive(Clone, Debug, Default)]
pub struct DownloadRequest {
    /// Address, `http://` or `https://`.
    pub url: String,
    /// Most bytes that are accepted; no limit if absent.
    pub limit_bytes: Option<u64>,
    /// Sent as `If-None-Match`: the answer is then 304 without a body if nothing changed.
    pub if_none_match: Option<String>,
    /// Sent as `If-Modified-Since`.
    pub if_modified_since: Option<String>,
    /// Further header fields, for instance `Authorization`; dropped on a redirect to another host.
    pub headers: Vec<(String, String)>,
}

/// An answer whose body is still to be read. The status is 200 or 304; others are errors.
#[derive(Debug)]
pub struct Download {
    /// Status code: 200, or 304 after a condition.
    pub status: u16,
    /// Address that was asked, without name, password and query.
    pub url: String,
    /// Address after all redirects, likewise.
    pub final_url: String,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified` as sent.
    pub last_modified: Option<String>,
    /// `Content-Disposition` as sent.
    pub content_disposition: Option<String>,
    /// `Content-Type` as sent.
    pub content_type: Option<String>,
    /// `Content-Length`.
    pub length: Option<u64>,
    /// The bytes; a body shorter than `length` is an error, never an early end.
    pub body: DownloadBody,
}

/// The bytes of a plain download as they arrive; failed reads carry an [`Error`].
#[derive(Debug)]
pub struct DownloadBody(PieceReader);

impl Read for DownloadBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

pub(crate) fn download(
    shared: &Arc<Shared>,
    request: &DownloadRequest,
    watch: &Watch,
) -> Result<Download> {
    let url = parse_address(&request.url)?;
    let headers = header_fields(request)?;
    let answer =
        wait(watch, retrying(shared, watch, async || ask(shared, &url, headers.clone()).await))?;
    let response = &answer.response;
    let text = |name: HeaderName| header(response, name.as_str());
    let length = response.content_length();
    let what = || shown(&url);
    if let (Some(limit), Some(length)) = (request.limit_bytes, length)
        && length > limit
    {
        return Err(Error::TooLarge { what: what(), limit });
    }
    let mut body = Body {
        shared: Arc::clone(shared),
        url: url.clone(),
        headers,
        validator: validator(response),
        got: 0,
        length: if response.status().as_u16() == 304 { Some(0) } else { length },
        limit: request.limit_bytes,
        watch: watch.clone(),
    };
    let mut download = Download {
        status: response.status().as_u16(),
        url: shown(&url),
        final_url: shown(&answer.url),
        etag: text(ETAG),
        last_modified: text(LAST_MODIFIED),
        content_disposition: text(CONTENT_DISPOSITION),
        content_type: text(CONTENT_TYPE),
        length,
        body: DownloadBody(PieceReader::fill(async |_| Ok(()))?),
    };
    let watch = watch.clone();
    download.body = DownloadBody(PieceReader::fill(async move |sender| {
        cancellable(&watch, body.run(answer.response, &sender)).await
    })?);
    Ok(download)
}

fn parse_address(text: &str) -> Result<Url> {
    let parsed: std::result::Result<Url, _> = text.parse();
    match parsed {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(orlop_types::ParseError::new(format!(
            "invalid address `{text}`: want http://HOST/PATH or https://HOST/PATH"
        ))
        .into()),
    }
}

fn header_fields(request: &DownloadRequest) -> Result<HeaderMap> {
    let mut fields = HeaderMap::new();
    let mut add = |name: HeaderName, value: &str| -> Result<()> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            orlop_types::ParseError::new(format!("invalid value of the header field `{name}`"))
        })?;
        value.set_sensitive(true);
        fields.insert(name, value);
        Ok(())
    };
    for (name, value) in &request.headers {
        let name: HeaderName = name.parse().map_err(|_| {
            orlop_types::ParseError::new(format!("invalid name of a header field: `{name}`"))
        })?;
        add(name, value)?;
    }
    if let Some(value) = &request.if_none_match {
        add(IF_NONE_MATCH, value)?;
    }
    if let Some(value) = &request.if_modified_since {
        add(IF_MODIFIED_SINCE, value)?;
    }
    Ok(fields)
}

/// Asks once; a status that is no success becomes Docker's error.
async fn ask(shared: &Shared, url: &Url, headers: HeaderMap) -> Result<Answer, Failure> {
    let outgoing = Outgoing {
        method: Method::GET,
        url: url.clone(),
        headers,
        authorization: None,
        payload: Payload::None,
        // Plain addresses have no list of insecure servers.
        trust: &|_| Trust::Authorities,
    };
    let answer = shared.transport.send(&shared.options, &outgoing).await?;
    let status = answer.response.status().as_u16();
    if matches!(status, 200 | 206 | 304) {
        return Ok(answer);
    }
    let refused = crate::exchange::passing(&answer.response);
    let body = read_at_most(shared, answer.response, url, "the page", PAGE_BYTES_MAX).await;
    let body = printable(&String::from_utf8_lossy(&body.unwrap_or_default()));
    let error = Error::Download { url: shown(url), status, status_text: status_text(status), body };
    Err(Failure { error, ..refused })
}

/// What proves that a later answer has the same bytes: a strong entity tag, and parts at all.
fn validator(response: &Response) -> Option<HeaderValue> {
    let parts = response.headers().get(ACCEPT_RANGES)?;
    let tag = response.headers().get(ETAG)?;
    (parts.as_bytes() == b"bytes" && !tag.as_bytes().starts_with(b"W/")).then(|| tag.clone())
}

/// Where a running download stands.
struct Body {
    shared: Arc<Shared>,
    url: Url,
    headers: HeaderMap,
    validator: Option<HeaderValue>,
    got: u64,
    length: Option<u64>,
    limit: Option<u64>,
    watch: Watch,
}

impl Body {
    async fn run(&mut self, mut response: Response, sender: &PieceSender) -> Result<()> {
        let mut failed = 0;
        loop {
            let before = self.got;
            let Some(mut failure) = self.copy(response, sender).await? else { return Ok(()) };
            failed = if self.got > before { 1 } else { failed + 1 };
            response = loop {
                failure.transient &= self.validator.is_some();
                pause(&self.shared, &self.watch, failed, failure).await?;
                match self.ask_rest().await {
                    Ok(response) => break response,
                    Err(next) => failure = next,
                }
                failed += 1;
            };
            self.watch.report(Event::Resumed { offset: self.got });
        }
    }

    /// Asks for the bytes behind those that have come.
    async fn ask_rest(&self) -> Result<Response, Failure> {
        let mut headers = self.headers.clone();
        let range = HeaderValue::from_str(&format!("bytes={}-", self.got));
        if let (Ok(range), Some(validator)) = (range, &self.validator) {
            headers.insert(RANGE, range);
            headers.insert(IF_RANGE, validator.clone());
        }
        let answer = ask(&self.shared, &self.url, headers).await?;
        let range = header(&answer.response, "content-range");
        match range.as_deref().and_then(content_range) {
            Some((start, _)) if start == self.got && answer.response.status().as_u16() == 206 => {
                Ok(answer.response)
            }
            _ => {
                let reason = "the content changed during the download".to_owned();
                Err(Error::Protocol { url: shown(&self.url), reason }.into())
            }
        }
    }

    /// Copies one answer's body; returns why it broke off, or `None` at its end.
    async fn copy(
        &mut self,
        mut response: Response,
        sender: &PieceSender,
    ) -> Result<Option<Failure>> {
        let idle = self.shared.options.timeouts.idle;
        loop {
            let chunk = match limited(Some(idle), response.chunk()).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(cause) => {
                    let mut failure = Failure::from(cause.into_error(&Method::GET, &self.url));
                    failure.transient = true;
                    return Ok(Some(failure));
                }
            };
            if !chunk.has_remaining() {
                continue;
            }
            self.got += chunk.len() as u64;
            if let Some(limit) = self.limit.filter(|limit| self.got > *limit) {
                return Err(Error::TooLarge { what: shown(&self.url), limit });
            }
            sender.send(chunk).await?;
            self.watch.report(Event::Transferred { bytes: self.got });
        }
        if self.length.is_some_and(|length| self.got < length) {
            return Ok(Some(Failure::from(Error::Transport {
                method: "Get".to_owned(),
                url: shown(&self.url),
                cause: "unexpected EOF".to_owned(),
                transient: true,
            })));
        }
        Ok(None)
    }
}
