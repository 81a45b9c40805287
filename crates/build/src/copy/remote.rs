//! ADD of addresses and repositories.
//!
//! What a file behind an address holds is known by `--checksum`, or by the `ETag` that came with it the
//! last time: the server says whether it still holds, and nothing is downloaded then. These are kept,
//! not the files: `build/downloads/<digest of the address>.json` in the store, which belong to no row and
//! cost a download when they are missing. A repository is known by the commit that its reference names.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orlop_archive::digest::{self, DigestReader};
use orlop_meta::{StagedDirectory, Store};
use orlop_registry::{Client, ClientOptions, Download, DownloadRequest, Watch};
use orlop_sys::confined::FileTime;
use orlop_types::{Digest, ErrorKind};
use serde::{Deserialize, Serialize};

use super::CopyBuild;
use crate::context::git::{self, GitSource};
use crate::step::AddOptions;
use crate::{Cancel, Error, Result};

/// Addresses that are remembered; the oldest ones make room.
const REMEMBERED_MAX: usize = 4096;
/// How often somebody looks whether the build shall end while a server is asked.
const CANCEL_LOOK: Duration = Duration::from_millis(20);

/// Something from elsewhere.
#[derive(Debug)]
pub(crate) struct Remote {
    source: String,
    key: String,
    pub(crate) what: What,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum What {
    /// A file.
    File {
        /// Its name at the destination.
        name: String,
        /// What it holds.
        digest: Digest,
        /// The file, if it was downloaded already.
        body: Mutex<Option<Body>>,
    },
    /// A checkout.
    Repository(GitSource),
}

/// A downloaded file.
#[derive(Debug)]
pub(crate) struct Body {
    staged: StagedDirectory,
    /// `Last-Modified`.
    pub(crate) time: Option<FileTime>,
}

impl Body {
    pub(crate) fn open(&self) -> Result<File> {
        let path = self.staged.path().join("body");
        File::open(&path).map_err(|source| {
            orlop_layer::Error::File { action: "open", path: path.clone(), source }.into()
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
    digest: String,
}

/// Whether a source of ADD is an address of a file.
pub(crate) fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

impl Remote {
    /// Finds out what an address or a repository holds.
    pub(crate) fn resolve(build: CopyBuild<'_>, source: &str, add: &AddOptions) -> Result<Self> {
        if let Some(mut git) = git::parse(source)? {
            git.keep_git_dir |= add.keep_git_dir;
            let commit = git.resolve(build.cancel)?;
            git::check(&add.checksum, &commit)?;
            let key = format!("git\0{commit}\0{}\0{}", git.subdirectory, git.keep_git_dir);
            let what = What::Repository(GitSource { commit, ..git });
            return Ok(Self { source: source.to_owned(), key, what });
        }
        Self::file(build, source, add)
    }

    fn file(build: CopyBuild<'_>, source: &str, add: &AddOptions) -> Result<Self> {
        let name = file_name(source);
        let mut body = None;
        let mut time = String::new();
        let digest = if add.checksum.is_empty() {
            let (digest, modified, downloaded) = current(build, source)?;
            (body, time) = (downloaded, modified.unwrap_or_default());
            digest
        } else {
            add.checksum.parse().map_err(|_| {
                Error::invalid(format!("invalid checksum digest format: {}", add.checksum))
            })?
        };
        let key = format!("http\0{name}\0{digest}\0{time}");
        let what = What::File { name, digest, body: Mutex::new(body) };
        Ok(Self { source: source.to_owned(), key, what })
    }

    /// As the Dockerfile names it.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// What stands for its content.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The file, downloaded now if it was not before.
    pub(crate) fn take_body(&self, build: CopyBuild<'_>) -> Result<Body> {
        let What::File { digest, body, .. } = &self.what else {
            return Err(Error::invalid("a repository is no file"));
        };
        if let Some(body) = body.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(body);
        }
        let wanted = DownloadRequest { url: self.source.clone(), ..Default::default() };
        let download = request(build, &wanted)?;
        let (body, found, _) = receive(build.layers.store(), download, build.cancel)?;
        if found != *digest {
            return Err(Error::invalid(format!(
                "digest mismatch for {}: {found} (expected: {digest})",
                self.source
            )));
        }
        Ok(body)
    }
}

/// The name that BuildKit gives a file: the last one of the address's path.
fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let base = path.trim_end_matches('/').rsplit('/').next().unwrap_or("");
    match unescaped(base).as_str() {
        "" | "." | ".." | "/" => "__unnamed__".to_owned(),
        name => name.rsplit('/').next().unwrap_or(name).to_owned(),
    }
}

/// Takes the percent signs out of a part of an address.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%')
            .then(|| std::str::from_utf8(tail.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).replace('\0', "")
}

/// Asks a server; the settings of the network are those of the calling user.
fn request(build: CopyBuild<'_>, request: &DownloadRequest) -> Result<Download> {
    download(build.cancel, request)
}

/// See [`request`].
pub(crate) fn download(cancel: &Cancel, request: &DownloadRequest) -> Result<Download> {
    let failed = |error: orlop_registry::Error| {
        if cancel.is_cancelled() {
            return Error::Cancelled;
        }
        Error::failed(ErrorKind::Unavailable, text_of(&error))
    };
    let options = ClientOptions::of_environment().map_err(failed)?;
    let client = Client::new(options).map_err(failed)?;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                stop.store(cancel.is_cancelled(), Ordering::Relaxed);
                std::thread::park_timeout(CANCEL_LOOK);
            }
        });
        let answer = client.download(request, &Watch::new(Arc::clone(&stop), |_| {}));
        done.store(true, Ordering::Relaxed);
        answer.map_err(failed)
    })
}

/// An error with its causes.
pub(crate) fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What an address holds now, when it was modified, and the file if it had to be downloaded.
fn current(build: CopyBuild<'_>, url: &str) -> Result<(Digest, Option<String>, Option<Body>)> {
    let store = build.layers.store();
    let path = remembered_path(store, url);
    let known = std::fs::read(&path)
        .ok()
        .and_then(|content| serde_json::from_slice::<Remembered>(&content).ok())
        .filter(|known| known.url == url);
    let known = known.and_then(|known| Some((known.digest.parse::<Digest>().ok()?, known)));
    let wanted = DownloadRequest {
        url: url.to_owned(),
        if_none_match: known.as_ref().and_then(|(_, known)| known.etag.clone()),
        ..Default::default()
    };
    let download = request(build, &wanted)?;
    if download.status == 304
        && let Some((digest, known)) = known
    {
        return Ok((digest, known.last_modified, None));
    }
    let etag = download.etag.clone();
    let last_modified = download.last_modified.clone();
    let (body, digest, _) = receive(store, download, build.cancel)?;
    if etag.is_some() {
        let known = Remembered {
            url: url.to_owned(),
            etag,
            last_modified: last_modified.clone(),
            digest: digest.to_string(),
        };
        if let Err(error) = remember(&path, &known) {
            tracing::debug!(path = %path.display(), %error, "cannot remember a download");
        }
    }
    Ok((digest, last_modified, Some(body)))
}

fn remembered_path(store: &Store, url: &str) -> PathBuf {
    let name = format!("{}.json", digest::of_bytes(url.as_bytes()).short());
    store.paths.root.join("build").join("downloads").join(name)
}

fn remember(path: &std::path::Path, known: &Remembered) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    std::fs::create_dir_all(directory)?;
    let beside = path.with_extension(format!("{}", std::process::id()));
    std::fs::write(&beside, serde_json::to_vec(known)?)?;
    std::fs::rename(&beside, path)?;
    let mut files: Vec<_> = std::fs::read_dir(directory)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort();
    for (_, old) in files.iter().take(files.len().saturating_sub(REMEMBERED_MAX)) {
        std::fs::remove_file(old)?;
    }
    Ok(())
}

/// Writes a download into a staging directory.
pub(crate) fn receive(
    store: &Store,
    download: Download,
    cancel: &Cancel,
) -> Result<(Body, Digest, u64)> {
    let staged = store.stage()?;
    let path = staged.path().join("body");
    let time = download.last_modified.as_deref().and_then(http_time);
    let failed = |source: std::io::Error| {
        Error::from(orlop_layer::Error::File { action: "download to", path: path.clone(), source })
    };
    let mut file = File::options().create_new(true).write(true).open(&path).map_err(failed)?;
    let mut reader = DigestReader::new(download.body);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let got = reader
            .read(&mut buffer)
            .map_err(|error| Error::failed(ErrorKind::Unavailable, text_of(&error)))?;
        if got == 0 {
            break;
        }
        cancel.check()?;
        file.write_all(&buffer[..got]).map_err(failed)?;
    }
    let (digest, bytes) = reader.finish();
    Ok((Body { staged, time }, digest, bytes))
}

/// Reads the times of HTTP: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_time(text: &str) -> Option<FileTime> {
    let time = jiff::fmt::rfc2822::parse(&text.replace("GMT", "+0000")).ok()?;
    Some(FileTime { seconds: time.timestamp().as_second(), nanoseconds: 0 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (url, name) in [
            ("https://example.com/a/b.tar.gz?x=1#y", "b.tar.gz"),
            ("https://example.com/a/b/", "b"),
            ("https://example.com", "__unnamed__"),
            ("https://example.com/", "__unnamed__"),
            ("http://example.com/a%20b", "a b"),
            ("http://example.com/a%2Fb", "b"),
            ("http://example.com/x/%2e%2e", "__unnamed__"),
            ("http://example.com/50%", "50%"),
        ] {
            assert_eq!(file_name(url), name, "{url}");
        }
    }

    #[test]
    fn times_of_files() {
        let time = http_time("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!((time.seconds, time.nanoseconds), (784_111_777, 0));
        assert_eq!(http_time("yesterday"), None);
    }
}
