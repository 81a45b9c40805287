//! Blob downloads that resume where they broke off.
//!
//! A task of the private runtime asks, hashes and asks again; a bounded queue hands its bytes to
//! the reader. So network and hashing run beside whatever the reader does with the bytes, and a
//! slow reader slows the server down instead of filling memory.

use std::io::{self, Read};

use bytes::Buf;
use orlop_types::Digest;
use reqwest::Method;
use reqwest::Response;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, RANGE};
use url::Url;

use crate::error::{Error, Result};
use crate::exchange::{Call, Failure, Session, header, pause, refuse, retrying};
use crate::manifest::Descriptor;
use crate::pieces::{PieceReader, PieceSender};
use crate::repository::Repository;
use crate::runtime::{cancellable, wait};
use crate::transport::{Answer, Outgoing, Payload, limited, shown};
use crate::verify::Verifier;
use crate::watch::{Event, Watch};

/// One blob to download.
#[derive(Clone, Debug)]
pub struct BlobRequest {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes, if the caller knows it from a descriptor.
    pub size: Option<u64>,
    /// What the caller kept of an earlier attempt, hashed: the download starts behind it.
    pub already: Verifier,
    /// Other addresses that have the blob (foreign layers); asked when the registry has not.
    pub urls: Vec<String>,
}

impl BlobRequest {
    /// The blob of a descriptor, from its start.
    #[must_use]
    pub fn of(descriptor: &Descriptor) -> Self {
        Self {
            digest: descriptor.digest.clone(),
            size: Some(descriptor.size),
            already: Verifier::default(),
            urls: descriptor.urls.clone(),
        }
    }
}

/// The bytes of a blob as they arrive.
///
/// Failed reads carry an [`Error`] ([`Error::of_io`] takes it out). After `Ok(0)` all bytes,
/// those that the caller had already included, are verified. Dropping it ends the transfer.
#[derive(Debug)]
pub struct BlobReader {
    size: Option<u64>,
    pieces: PieceReader,
}

impl BlobReader {
    /// Total size of the blob, if the caller or the registry said it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.size
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces.read(buffer)
    }
}

/// Where a running download stands.
struct Transfer {
    sessions: Vec<Session>,
    request: BlobRequest,
    verifier: Verifier,
    watch: Watch,
}

/// An answer whose next byte is byte `offset + skip` of the blob.
struct Opened {
    response: Response,
    url: Url,
    /// Bytes that the caller has already and the server sends again.
    skip: u64,
}

pub(crate) fn blob(
    repository: &Repository,
    request: BlobRequest,
    watch: &Watch,
) -> Result<BlobReader> {
    let mut transfer = Transfer {
        sessions: repository.pull_sessions()?,
        verifier: request.already.clone(),
        request,
        watch: watch.clone(),
    };
    let shared = &repository.shared;
    let opened = wait(watch, retrying(shared, watch, async || transfer.open().await))?;
    let size = match (&opened, transfer.request.size) {
        (_, Some(size)) => Some(size),
        (Some(opened), None) => opened
            .response
            .content_length()
            .map(|length| length + transfer.verifier.bytes() - opened.skip),
        (None, None) => Some(transfer.verifier.bytes()),
    };
    transfer.request.size = size;
    let watch = watch.clone();
    let pieces = PieceReader::fill(async move |sender| {
        cancellable(&watch, transfer.run(opened, &sender)).await
    })?;
    Ok(BlobReader { size, pieces })
}

pub(crate) fn small_blob(
    repository: &Repository,
    request: &BlobRequest,
    watch: &Watch,
) -> Result<Vec<u8>> {
    let limit = repository.shared.options.limits.manifest_bytes;
    let too_large = || Error::TooLarge { what: request.digest.to_string(), limit };
    if request.size.is_some_and(|size| size > limit) {
        return Err(too_large());
    }
    let reader = blob(repository, request.clone(), watch)?;
    let mut bytes = Vec::new();
    if let Err(error) = reader.take(limit + 1).read_to_end(&mut bytes) {
        return Err(Error::of_io(error)
            .unwrap_or_else(|source| Error::System { attempt: "reading a blob", source }));
    }
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

impl Transfer {
    /// Asks for the bytes from where the transfer stands; `None` when none are left.
    async fn open(&self) -> Result<Option<Opened>, Failure> {
        let offset = self.verifier.bytes();
        if self.request.size == Some(offset) {
            return Ok(None);
        }
        let mut failure = Failure::from(Error::Cancelled);
        // Not `first_of`: its closure would tie this future to one thread.
        for session in &self.sessions {
            match self.ask(session, offset).await {
                Ok(answer) => return self.check(answer, offset).map(Some),
                Err(other) => failure = other,
            }
        }
        for url in &self.request.urls {
            match self.ask_elsewhere(url, offset).await {
                Ok(answer) => return self.check(answer, offset).map(Some),
                Err(other) => tracing::debug!(error = %other.error, "no foreign layer there"),
            }
        }
        Err(failure)
    }

    async fn ask(&self, session: &Session, offset: u64) -> Result<Answer, Failure> {
        let endpoint = session.endpoint().await?;
        let call = Call {
            method: Method::GET,
            url: endpoint.address(&format!("{}/blobs/{}", session.path, self.request.digest))?,
            headers: range_headers(offset),
            payload: Payload::None,
            scopes: &[session.scope("pull")],
        };
        let answer = session.send(&endpoint, &call).await?;
        match answer.response.status().as_u16() {
            200 | 206 => Ok(answer),
            _ => Err(refuse(&session.shared, answer).await),
        }
    }

    async fn ask_elsewhere(&self, url: &str, offset: u64) -> Result<Answer, Failure> {
        let wrong = || Error::Protocol { url: url.to_owned(), reason: "not an address".to_owned() };
        let Some(session) = self.sessions.last() else { return Err(wrong().into()) };
        let url: Url = url.parse().map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong().into());
        }
        let shared = &session.shared;
        let trust = |url: &Url| shared.trust(url);
        let outgoing = Outgoing {
            method: Method::GET,
            url,
            headers: range_headers(offset),
            authorization: None,
            payload: Payload::None,
            trust: &trust,
        };
        let answer = shared.transport.send(&shared.options, &outgoing).await?;
        match answer.response.status().as_u16() {
            200 | 206 => Ok(answer),
            _ => Err(refuse(shared, answer).await),
        }
    }

    /// Compares what the server announces with what was asked for.
    fn check(&self, answer: Answer, offset: u64) -> Result<Opened, Failure> {
        let Answer { response, url, .. } = answer;
        let (start, total) = if response.status().as_u16() == 206 {
            let range = header(&response, "content-range");
            let Some((start, total)) = range.as_deref().and_then(content_range) else {
                let reason = "a part without a readable `Content-Range`".to_owned();
                return Err(Error::Protocol { url: shown(&url), reason }.into());
            };
            (start, total)
        } else {
            (0, response.content_length())
        };
        if let (Some(want), Some(got)) = (self.request.size, total)
            && want != got
        {
            let digest = self.request.digest.clone();
            return Err(Error::BlobSize { digest, want, got }.into());
        }
        if start > offset {
            let reason = format!("bytes from {start} instead of {offset}");
            return Err(Error::Protocol { url: shown(&url), reason }.into());
        }
        Ok(Opened { response, url, skip: offset - start })
    }

    /// Moves everything to the reader, then verifies.
    async fn run(&mut self, mut opened: Option<Opened>, sender: &PieceSender) -> Result<()> {
        let mut failed = 0;
        while let Some(current) = opened.take() {
            let before = self.verifier.bytes();
            let Some(failure) = self.copy(current, sender).await? else { break };
            // Progress earns new patience: a long download may break off often.
            failed = if self.verifier.bytes() > before { 1 } else { failed + 1 };
            opened = self.open_again(&mut failed, failure).await?;
        }
        let digest = self.request.digest.clone();
        let got = self.verifier.bytes();
        if let Some(want) = self.request.size.filter(|want| *want != got) {
            return Err(Error::BlobSize { digest, want, got });
        }
        if self.verifier.digest() != digest {
            return Err(Error::BlobVerification { digest });
        }
        Ok(())
    }

    /// Waits and asks again until there is an answer or no patience left.
    async fn open_again(&self, failed: &mut u32, mut failure: Failure) -> Result<Option<Opened>> {
        loop {
            let Some(session) = self.sessions.last() else { return Err(failure.error) };
            pause(&session.shared, &self.watch, *failed, failure).await?;
            match self.open().await {
                Ok(opened) => {
                    self.watch.report(Event::Resumed { offset: self.verifier.bytes() });
                    return Ok(opened);
                }
                Err(next) => failure = next,
            }
            *failed += 1;
        }
    }

    /// Copies one answer's body; returns why it broke off, or `None` at its end.
    async fn copy(&mut self, opened: Opened, sender: &PieceSender) -> Result<Option<Failure>> {
        let Opened { mut response, url, mut skip } = opened;
        let Some(session) = self.sessions.last() else { return Ok(None) };
        let idle = session.shared.options.timeouts.idle;
        loop {
            let mut chunk = match limited(Some(idle), response.chunk()).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(cause) => {
                    let mut failure = Failure::from(cause.into_error(&Method::GET, &url));
                    // Whatever cuts a body, the rest may still come from another answer.
                    failure.transient = true;
                    return Ok(Some(failure));
                }
            };
            let again = skip.min(chunk.len() as u64);
            skip -= again;
            chunk.advance(usize::try_from(again).unwrap_or(chunk.len()));
            if chunk.is_empty() {
                continue;
            }
            let got = self.verifier.bytes() + chunk.len() as u64;
            if let Some(want) = self.request.size.filter(|want| got > *want) {
                return Err(Error::BlobSize { digest: self.request.digest.clone(), want, got });
            }
            self.verifier.update(&chunk);
            sender.send(chunk).await?;
            self.watch.report(Event::Transferred { bytes: got });
        }
        let got = self.verifier.bytes();
        match self.request.size {
            Some(want) if got < want => Ok(Some(Failure {
                error: Error::BlobSize { digest: self.request.digest.clone(), want, got },
                transient: true,
                retry_after: None,
            })),
            _ => Ok(None),
        }
    }
}

fn range_headers(offset: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // The bytes as they are stored: a digest is of those.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if offset > 0
        && let Ok(value) = HeaderValue::from_str(&format!("bytes={offset}-"))
    {
        headers.insert(RANGE, value);
    }
    headers
}

/// Reads `bytes 5-9/10`: the first byte and, if known, the total.
#[must_use]
pub fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}
