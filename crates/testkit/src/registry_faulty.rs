//! A registry that misbehaves on purpose: fails half-way, truncates, lies, is busy, drops.
//!
//! It speaks just enough of the distribution protocol for pulls and pushes, one thread for each
//! connection, one request for each connection. Faults are armed for requests whose line
//! (`GET /v2/a/blobs/sha256:…`) contains a text, for a number of times.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ring::digest::{SHA256, digest};

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers with a status, perhaps `Retry-After`, and a body.
    Status {
        /// Status code.
        code: u16,
        /// Value of `Retry-After`.
        retry_after: Option<String>,
        /// The body.
        body: String,
    },
    /// Announces the whole body and closes after so many bytes of it.
    CutBody(u64),
    /// Sends so many bytes of the body as if they were all.
    Truncate(u64),
    /// Changes one byte of the body.
    FlipByte(u64),
    /// Appends bytes to the body.
    Append(Vec<u8>),
    /// Closes without an answer.
    Drop,
    /// Redirects to an address; `{path}` in it becomes the request's path.
    Redirect(String),
    /// Waits before it answers.
    Stall(Duration),
    /// Sets a header field of the answer.
    Header(String, String),
    /// Sends everything although a part was asked for.
    IgnoreRange,
    /// Reads so many bytes of the request's body and closes.
    CutUpload(u64),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `GET /v2/a/manifests/latest`.
    pub line: String,
    /// Header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct Contents {
    blobs: HashMap<String, Vec<u8>>,
    /// By `repository@reference`: media type and bytes.
    manifests: HashMap<String, (String, Vec<u8>)>,
    faults: Vec<(String, Fault, usize)>,
    requests: Vec<Recorded>,
    challenge: Option<String>,
    accepted: Vec<String>,
    token: String,
    uploads: u64,
}

/// The server; it ends when this is dropped.
pub struct FaultyRegistry {
    address: SocketAddr,
    contents: Arc<Mutex<Contents>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Default for FaultyRegistry {
    fn default() -> Self {
        Self::start()
    }
}

impl FaultyRegistry {
    /// Starts one on a free port of the loopback address, in the thread's network namespace.
    ///
    /// # Panics
    /// When there is no such port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback address");
        let address = listener.local_addr().expect("a bound socket has an address");
        let contents = Arc::new(Mutex::new(Contents::default()));
        let ends = Arc::new(AtomicBool::new(false));
        let (shared, ending) = (Arc::clone(&contents), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ending.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&shared);
                // A client that goes away is what half of the tests are about.
                std::thread::spawn(move || serve(stream, address, &shared).ok());
            }
        });
        Self { address, contents, ends, thread: Some(thread) }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }

    /// Keeps a blob for every repository; gives its digest.
    pub fn put_blob(&self, bytes: &[u8]) -> String {
        let digest = digest_text(bytes);
        self.contents().blobs.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// Removes a blob.
    pub fn remove_blob(&self, digest: &str) {
        self.contents().blobs.remove(digest);
    }

    /// The bytes of a blob that was pushed or put.
    #[must_use]
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.contents().blobs.get(digest).cloned()
    }

    /// Keeps a manifest under a tag and its digest; gives the digest.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> String {
        let digest = digest_text(bytes);
        let mut contents = self.contents();
        for reference in [tag, &digest] {
            let key = format!("{repository}@{reference}");
            contents.manifests.insert(key, (media_type.to_owned(), bytes.to_vec()));
        }
        digest
    }

    /// A manifest that was pushed or put: media type and bytes.
    #[must_use]
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        self.contents().manifests.get(&format!("{repository}@{reference}")).cloned()
    }

    /// Arms a fault for the next `times` requests whose line contains `part`.
    pub fn fault(&self, part: &str, fault: Fault, times: usize) {
        self.contents().faults.push((part.to_owned(), fault, times));
    }

    /// Disarms all faults.
    pub fn heal(&self) {
        self.contents().faults.clear();
    }

    /// Wants this challenge (`WWW-Authenticate`) answered by one of these `Authorization` values.
    pub fn require(&self, challenge: &str, accepted: &[&str]) {
        let mut contents = self.contents();
        contents.challenge = Some(challenge.to_owned());
        contents.accepted = accepted.iter().map(|&text| text.to_owned()).collect();
    }

    /// The JSON that `GET` and `POST /token` answer with.
    pub fn set_token(&self, json: &str) {
        json.clone_into(&mut self.contents().token);
    }

    /// Every request so far, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.contents().requests.clone()
    }

    /// The number of requests whose line contains a text.
    #[must_use]
    pub fn count(&self, part: &str) -> usize {
        self.requests().iter().filter(|request| request.line.contains(part)).count()
    }
}

impl Drop for FaultyRegistry {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread; it needs no answer.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `sha256:` and 64 digits.
#[must_use]
pub fn digest_text(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

#[derive(Default)]
struct Reply {
    code: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { code, headers: Vec::new(), body: body.into() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn refusal(code: u16, word: &str, message: &str) -> Self {
        let body = format!("{{\"errors\":[{{\"code\":\"{word}\",\"message\":\"{message}\"}}]}}");
        Self::new(code, body).with("Content-Type", "application/json")
    }
}

/// Serves the one request of a connection.
fn serve(
    stream: TcpStream,
    address: SocketAddr,
    contents: &Mutex<Contents>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut input = BufReader::new(stream.try_clone()?);
    let Some((mut request, line)) = read_head(&mut input)? else { return Ok(()) };
    let fault = {
        let mut contents = lock(contents);
        let recorded = Recorded { line: line.clone(), headers: request.headers.clone() };
        contents.requests.push(recorded);
        let armed = contents
            .faults
            .iter_mut()
            .find(|(part, _, left)| *left > 0 && line.contains(part.as_str()));
        armed.map(|(_, fault, left)| {
            *left -= 1;
            fault.clone()
        })
    };
    match &fault {
        Some(Fault::Drop) => return Ok(()),
        Some(Fault::Stall(time)) => std::thread::sleep(*time),
        Some(Fault::CutUpload(bytes)) => {
            std::io::copy(&mut input.take(*bytes), &mut std::io::sink())?;
            return Ok(());
        }
        _ => {}
    }
    let length = request.headers.get("content-length").and_then(|text| text.parse().ok());
    input.take(length.unwrap_or(0)).read_to_end(&mut request.body)?;
    let reply = match &fault {
        Some(Fault::Status { code, retry_after, body }) => {
            let reply = Reply::new(*code, body.clone()).with("Content-Type", "application/json");
            match retry_after {
                Some(value) => reply.with("Retry-After", value),
                None => reply,
            }
        }
        Some(Fault::Redirect(to)) => {
            Reply::new(307, "").with("Location", &to.replace("{path}", &request.path))
        }
        _ => {
            if matches!(fault, Some(Fault::IgnoreRange)) {
                request.headers.remove("range");
            }
            answer(&request, address, &mut lock(contents))
        }
    };
    write_reply(stream, &request.method, reply, fault.as_ref())
}

fn read_head(input: &mut impl BufRead) -> std::io::Result<Option<(Request, String)>> {
    let mut first = String::new();
    input.read_line(&mut first)?;
    let mut words = first.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let line = format!("{method} {target}");
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.replace("%3A", ":").replace("%2F", "/"),
        headers,
        body: Vec::new(),
    };
    Ok(Some((request, line)))
}

fn write_reply(
    mut stream: TcpStream,
    method: &str,
    mut reply: Reply,
    fault: Option<&Fault>,
) -> std::io::Result<()> {
    let mut announced = reply.body.len() as u64;
    let mut sent = reply.body.len();
    let below = |bytes: u64, len: usize| usize::try_from(bytes).unwrap_or(len).min(len);
    match fault {
        Some(Fault::CutBody(bytes)) => sent = below(*bytes, sent),
        Some(Fault::Truncate(bytes)) => {
            sent = below(*bytes, sent);
            announced = sent as u64;
        }
        Some(Fault::FlipByte(at)) => {
            if let Some(byte) = usize::try_from(*at).ok().and_then(|at| reply.body.get_mut(at)) {
                *byte ^= 1;
            }
        }
        Some(Fault::Append(bytes)) => {
            reply.body.extend_from_slice(bytes);
            sent = reply.body.len();
            announced = sent as u64;
        }
        Some(Fault::Header(name, value)) => reply = reply.with(name, value),
        _ => {}
    }
    write!(stream, "HTTP/1.1 {} Some Words\r\nConnection: close\r\n", reply.code)?;
    if !matches!(reply.code, 204 | 304) {
        write!(stream, "Content-Length: {announced}\r\n")?;
    }
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    if method != "HEAD" {
        stream.write_all(reply.body.get(..sent).unwrap_or(&reply.body))?;
    }
    stream.flush()
}

/// What a registry without faults answers.
fn answer(request: &Request, address: SocketAddr, contents: &mut Contents) -> Reply {
    if request.path == "/token" {
        return Reply::new(200, contents.token.clone());
    }
    if let Some(challenge) = &contents.challenge {
        let said = request.headers.get("authorization").cloned().unwrap_or_default();
        if !contents.accepted.contains(&said) {
            return Reply::refusal(401, "UNAUTHORIZED", "authentication required")
                .with("WWW-Authenticate", challenge);
        }
    }
    let Some(rest) = request.path.strip_prefix("/v2/") else {
        return Reply::new(404, "not found");
    };
    if rest.is_empty() {
        return Reply::new(200, "{}");
    }
    if rest == "_catalog" {
        return catalog(contents);
    }
    if let Some((repository, reference)) = rest.split_once("/manifests/") {
        return manifest(request, repository, reference, contents);
    }
    if let Some(repository) = rest.strip_suffix("/tags/list") {
        return tags(repository, contents);
    }
    if let Some((repository, upload)) = rest.split_once("/blobs/uploads/") {
        return uploading(request, address, repository, upload, contents);
    }
    if let Some((_, digest)) = rest.split_once("/blobs/") {
        return blob(request, digest, contents);
    }
    Reply::new(404, "not found")
}

fn catalog(contents: &Contents) -> Reply {
    let names = contents.manifests.keys().filter_map(|key| key.split_once('@'));
    let mut names: Vec<&str> = names.map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    Reply::new(200, serde_json::json!({ "repositories": names }).to_string())
}

fn tags(repository: &str, contents: &Contents) -> Reply {
    let keys = contents.manifests.keys().filter_map(|key| key.split_once('@'));
    let mut tags: Vec<&str> = keys
        .filter(|(name, reference)| *name == repository && !reference.contains(':'))
        .map(|(_, tag)| tag)
        .collect();
    if tags.is_empty() {
        return Reply::refusal(404, "NAME_UNKNOWN", "repository name not known to registry");
    }
    tags.sort_unstable();
    Reply::new(200, serde_json::json!({ "name": repository, "tags": tags }).to_string())
}

fn manifest(
    request: &Request,
    repository: &str,
    reference: &str,
    contents: &mut Contents,
) -> Reply {
    if request.method == "PUT" {
        let digest = digest_text(&request.body);
        let media_type = request.headers.get("content-type").cloned().unwrap_or_default();
        for reference in [reference, &digest] {
            let key = format!("{repository}@{reference}");
            contents.manifests.insert(key, (media_type.clone(), request.body.clone()));
        }
        return Reply::new(201, "").with("Docker-Content-Digest", &digest);
    }
    match contents.manifests.get(&format!("{repository}@{reference}")) {
        Some((media_type, bytes)) => Reply::new(200, bytes.clone())
            .with("Content-Type", media_type)
            .with("Docker-Content-Digest", &digest_text(bytes)),
        None => Reply::refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    }
}

fn blob(request: &Request, digest: &str, contents: &Contents) -> Reply {
    let Some(bytes) = contents.blobs.get(digest) else {
        return Reply::refusal(404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    let range = request.headers.get("range").and_then(|text| text.strip_prefix("bytes="));
    let start = range.and_then(|text| text.strip_suffix('-')?.parse::<usize>().ok());
    match start {
        None => Reply::new(200, bytes.clone()).with("Docker-Content-Digest", digest),
        Some(start) => match bytes.get(start..).filter(|rest| !rest.is_empty()) {
            Some(rest) => {
                let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, rest.to_vec()).with("Content-Range", &range)
            }
            None => Reply::new(416, ""),
        },
    }
}

fn uploading(
    request: &Request,
    address: SocketAddr,
    repository: &str,
    upload: &str,
    contents: &mut Contents,
) -> Reply {
    let parameter = |name: &str| {
        let mut pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    if request.method == "POST" {
        let mounted = parameter("mount").filter(|digest| contents.blobs.contains_key(digest));
        if let Some(digest) = mounted {
            return Reply::new(201, "").with("Docker-Content-Digest", &digest);
        }
        contents.uploads += 1;
        let to = format!(
            "http://{address}/v2/{repository}/blobs/uploads/u{}?_state=x",
            contents.uploads
        );
        return Reply::new(202, "").with("Location", &to);
    }
    if !upload.starts_with('u') || request.method != "PUT" {
        return Reply::refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
    }
    let digest = digest_text(&request.body);
    if parameter("digest").as_deref() != Some(&digest) {
        return Reply::refusal(
            400,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        );
    }
    contents.blobs.insert(digest.clone(), request.body.clone());
    Reply::new(201, "").with("Docker-Content-Digest", &digest)
}
