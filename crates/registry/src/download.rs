//! Plain downloads over HTTP: `ADD https://…`, `import https://…`, build contexts.

use std::io::{self, Read};

use crate::client::Shared;
use crate::error::{Error, Result};
use crate::watch::Watch;

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
    /// Address after all redirects, without name and password.
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
pub struct DownloadBody {}

impl Read for DownloadBody {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(Error::Cancelled.into())
    }
}

pub(crate) fn download(
    shared: &Shared,
    request: &DownloadRequest,
    watch: &Watch,
) -> Result<Download> {
    let _ = (shared, request, watch);
    Err(Error::Cancelled)
}
