//! Uploads: existing blobs are found, others mounted or sent; manifests are put.
//!
//! A blob goes out as one `PUT` with its whole length, as its digest is known beforehand; a broken
//! upload starts again in a new session, from the first byte.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc as orders};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use orlop_types::Digest;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use tokio::sync::mpsc;
use url::Url;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::exchange::{Call, Failure, Session, header, pause, refuse, retrying};
use crate::repository::{ManifestKey, Repository};
use crate::runtime::wait;
use crate::stall::{Moved, stalling};
use crate::transport::{Answer, Payload, shown};
use crate::watch::{Event, Watch};

/// Bytes that are read from the caller at once.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the connection.
const QUEUE: usize = 4;

/// What happened to a pushed blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The repository had it (`Layer already exists`).
    Existing,
    /// The registry took it from the repository with this path (`Mounted from …`).
    Mounted(String),
    /// It was sent (`Pushed`).
    Uploaded,
}

/// Opens the bytes to upload from their start; called again when an upload starts again.
pub type OpenBytes<'a> = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync + 'a;

/// One blob to bring into a repository.
pub struct BlobUpload<'a> {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Number of bytes.
    pub size: u64,
    /// Paths of other repositories of the same registry that have the blob, best first.
    pub mount_from: Vec<String>,
    /// Opens the bytes.
    pub open: &'a OpenBytes<'a>,
}

pub(crate) fn blob_size(
    repository: &Repository,
    digest: &Digest,
    watch: &Watch,
) -> Result<Option<u64>> {
    let session = repository.session()?;
    let scopes = [session.scope("pull")];
    wait(
        watch,
        retrying(&repository.shared, watch, async || existing(&session, digest, &scopes).await),
    )
}

/// Asks whether the repository has a blob.
async fn existing(
    session: &Session,
    digest: &Digest,
    scopes: &[String],
) -> Result<Option<u64>, Failure> {
    let endpoint = session.endpoint().await?;
    let call = Call {
        method: Method::HEAD,
        url: endpoint.address(&format!("{}/blobs/{digest}", session.path))?,
        headers: HeaderMap::new(),
        payload: Payload::None,
        scopes,
    };
    let answer = session.send(&endpoint, &call).await?;
    match answer.response.status().as_u16() {
        404 => Ok(None),
        200 => {
            let length = header(&answer.response, CONTENT_LENGTH.as_str());
            Ok(Some(length.and_then(|text| text.parse().ok()).unwrap_or(0)))
        }
        _ => Err(refuse(&session.shared, answer).await),
    }
}

pub(crate) fn push_blob(
    repository: &Repository,
    upload: &BlobUpload<'_>,
    watch: &Watch,
) -> Result<Pushed> {
    let session = repository.session()?;
    let shared = &repository.shared;
    let scopes = [session.scope("pull,push")];
    let found = wait(
        watch,
        retrying(shared, watch, async || existing(&session, &upload.digest, &scopes).await),
    )?;
    if found.is_some() {
        return Ok(Pushed::Existing);
    }
    let mut start = None;
    for from in upload.mount_from.iter().filter(|from| **from != session.path) {
        match wait(watch, mount(&session, upload, from))? {
            Started::Mounted => return Ok(Pushed::Mounted(from.clone())),
            // The registry would not mount and has opened a session instead.
            Started::Session(url) => start = Some(url),
            Started::Refused => {}
        }
    }
    send_blob(&session, upload, start, watch)?;
    Ok(Pushed::Uploaded)
}

/// What came of the wish to mount a blob.
enum Started {
    Mounted,
    Session(Url),
    Refused,
}

async fn mount(session: &Session, upload: &BlobUpload<'_>, from: &str) -> Result<Started> {
    let endpoint = session.endpoint().await?;
    let mut url = endpoint.address(&format!("{}/blobs/uploads/", session.path))?;
    url.query_pairs_mut().append_pair("mount", upload.digest.as_str()).append_pair("from", from);
    let call = Call {
        method: Method::POST,
        url,
        headers: HeaderMap::new(),
        payload: Payload::None,
        scopes: &[session.scope("pull,push"), format!("repository:{from}:pull")],
    };
    let answer = match session.send(&endpoint, &call).await {
        Ok(answer) => answer,
        Err(failure) => {
            // Perhaps the token server gives nothing for the other repository.
            tracing::debug!(error = %failure.error, "a blob is not mounted");
            return Ok(Started::Refused);
        }
    };
    match answer.response.status().as_u16() {
        201 => Ok(Started::Mounted),
        202 => Ok(location(&endpoint, &answer).map_or(Started::Refused, Started::Session)),
        status => {
            tracing::debug!(status, "a blob is not mounted");
            Ok(Started::Refused)
        }
    }
}

/// Where an upload goes on. A registry behind a proxy may not know that it is reached by TLS.
fn location(endpoint: &Endpoint, answer: &Answer) -> Option<Url> {
    let text = answer.response.headers().get(LOCATION)?.to_str().ok()?;
    let mut url = answer.url.join(text).ok()?;
    let same_host = url.host_str() == endpoint.base.host_str();
    if same_host && url.scheme() == "http" && endpoint.base.scheme() == "https" {
        url.set_scheme("https").ok()?;
        url.set_port(endpoint.base.port()).ok()?;
    }
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Opens an upload session.
async fn begin(session: &Session) -> Result<Url, Failure> {
    let endpoint = session.endpoint().await?;
    let call = Call {
        method: Method::POST,
        url: endpoint.address(&format!("{}/blobs/uploads/", session.path))?,
        headers: HeaderMap::new(),
        payload: Payload::None,
        scopes: &[session.scope("pull,push")],
    };
    let answer = session.send(&endpoint, &call).await?;
    if answer.response.status().as_u16() != 202 {
        return Err(refuse(&session.shared, answer).await);
    }
    location(&endpoint, &answer).ok_or_else(|| {
        let reason = "an upload without a `Location`".to_owned();
        Error::Protocol { url: shown(&answer.url), reason }.into()
    })
}

/// Sends the bytes. One thread reads them for the bodies that the requests ask for.
fn send_blob(
    session: &Session,
    upload: &BlobUpload<'_>,
    start: Option<Url>,
    watch: &Watch,
) -> Result<()> {
    let source_error: Mutex<Option<io::Error>> = Mutex::new(None);
    let moved = Arc::new(Moved::default());
    std::thread::scope(|scope| {
        let (order, ordered) = orders::channel::<mpsc::Sender<io::Result<Bytes>>>();
        let reading = std::thread::Builder::new().name("orlop-upload".to_owned());
        let failed_source = &source_error;
        let reader = reading.spawn_scoped(scope, move || {
            while let Ok(sender) = ordered.recv() {
                if let Err(error) = pump(upload, &sender, watch) {
                    *failed_source.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    let _ = sender.blocking_send(Err(io::Error::other("the source failed")));
                }
            }
        });
        reader.map_err(|source| Error::System { attempt: "starting an upload", source })?;
        let order = Mutex::new(order);
        let make = || {
            let (sender, pieces) = mpsc::channel(QUEUE);
            // The reading thread lives until `order` is dropped, so this arrives.
            let _ = order.lock().unwrap_or_else(PoisonError::into_inner).send(sender);
            let body = Pieces {
                pieces,
                left: upload.size,
                sent: 0,
                moved: Arc::clone(&moved),
                watch: watch.clone(),
            };
            reqwest::Body::wrap(body)
        };
        let source = || source_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        let sending = send_attempts(session, upload, start, watch, &make, &moved, &source);
        let result = wait(watch, sending);
        // The reading thread ends with the channel that orders come through.
        drop(order);
        result
    })
}

async fn send_attempts(
    session: &Session,
    upload: &BlobUpload<'_>,
    mut start: Option<Url>,
    watch: &Watch,
    make: &(dyn Fn() -> reqwest::Body + Sync),
    moved: &Moved,
    source: &(dyn Fn() -> Option<io::Error> + Sync),
) -> Result<()> {
    let idle = session.shared.options.timeouts.idle;
    let mut failed = 0;
    loop {
        let attempt = async {
            let url = match start.take() {
                Some(url) => url,
                None => begin(session).await?,
            };
            put_blob(session, upload, url, make).await
        };
        let failure = match stalling(moved, idle, attempt).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if let Some(error) = source() {
            return Err(Error::Source(error));
        }
        failed += 1;
        pause(&session.shared, watch, failed, failure).await?;
        watch.report(Event::Resumed { offset: 0 });
    }
}

async fn put_blob(
    session: &Session,
    upload: &BlobUpload<'_>,
    mut url: Url,
    make: &(dyn Fn() -> reqwest::Body + Sync),
) -> Result<(), Failure> {
    let endpoint = session.endpoint().await?;
    url.query_pairs_mut().append_pair("digest", upload.digest.as_str());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let call = Call {
        method: Method::PUT,
        url,
        headers,
        payload: Payload::Stream { length: upload.size, make },
        scopes: &[session.scope("pull,push")],
    };
    let answer = session.send(&endpoint, &call).await?;
    match answer.response.status().as_u16() {
        200 | 201 | 204 => Ok(()),
        status => {
            let mut failure = refuse(&session.shared, answer).await;
            // A session that was lost, or cut bytes that got a wrong digest: a new one may do.
            failure.transient |= matches!(status, 404 | 416);
            Err(failure)
        }
    }
}

/// Reads the caller's bytes into one body; a body that is not wanted any more ends it quietly.
fn pump(
    upload: &BlobUpload<'_>,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    watch: &Watch,
) -> io::Result<()> {
    let mut source = (upload.open)()?;
    let mut left = upload.size;
    while left > 0 && !watch.is_cancelled() {
        let want = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; want];
        let count = source.read(&mut piece)?;
        if count == 0 {
            let text = format!("{left} bytes are missing at its end");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        piece.truncate(count);
        left -= count as u64;
        if sender.blocking_send(Ok(Bytes::from(piece))).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A request body of known length that another thread fills.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    sent: u64,
    moved: Arc<Moved>,
    watch: Watch,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        match self.pieces.poll_recv(context) {
            Poll::Ready(Some(Ok(bytes))) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                self.sent += bytes.len() as u64;
                self.moved.touch();
                self.watch.report(Event::Transferred { bytes: self.sent });
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            // Never a short body: the server would wait, or take it for the whole.
            Poll::Ready(None) => Poll::Ready(Some(Err(io::Error::other("the source ended early")))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

pub(crate) fn push_manifest(
    repository: &Repository,
    key: &ManifestKey,
    media_type: &str,
    bytes: &[u8],
    watch: &Watch,
) -> Result<Digest> {
    let session = repository.session()?;
    let digest = crate::verify::digest_of(bytes);
    if let ManifestKey::Digest(wanted) = key
        && *wanted != digest
    {
        return Err(Error::ManifestVerification { digest: wanted.clone() });
    }
    let media_type = HeaderValue::from_str(media_type)
        .map_err(|_| Error::Unsupported(format!("unsupported manifest of type `{media_type}`")))?;
    let body = Bytes::copy_from_slice(bytes);
    let scopes = [session.scope("pull,push")];
    let said = wait(
        watch,
        retrying(&repository.shared, watch, async || {
            let endpoint = session.endpoint().await?;
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, media_type.clone());
            let call = Call {
                method: Method::PUT,
                url: endpoint.address(&format!("{}/manifests/{}", session.path, key.as_str()))?,
                headers,
                payload: Payload::Bytes(&body),
                scopes: &scopes,
            };
            let answer = session.send(&endpoint, &call).await?;
            if !answer.response.status().is_success() {
                return Err(refuse(&session.shared, answer).await);
            }
            Ok(header(&answer.response, "docker-content-digest"))
        }),
    )?;
    match said.and_then(|text| text.parse::<Digest>().ok()) {
        Some(said) if said != digest => Err(Error::ManifestVerification { digest: said }),
        _ => Ok(digest),
    }
}
