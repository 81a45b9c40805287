//! The client against a registry that misbehaves, on the loopback address.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orlop_testkit::{Fault, FaultyRegistry};
use orlop_types::{Digest, ErrorKind};

use crate::manifest::{Manifest, OCI_MANIFEST};
use crate::{
    BlobRequest, BlobUpload, Client, ClientOptions, Credential, Credentials, DownloadRequest,
    Error, Event, ManifestKey, Pushed, Repository, Resolved, SearchQuery, Verifier, Watch,
};

/// Options with short waits.
fn options() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.retries.step = Duration::from_millis(10);
    options.retries.longest = Duration::from_secs(2);
    options.timeouts.idle = Duration::from_secs(20);
    options
}

fn repository(server: &FaultyRegistry, options: ClientOptions) -> Repository {
    let client = Client::new(options).expect("options");
    client.repository(&format!("{}/a/b", server.host()).parse().expect("a reference"))
}

/// A watch that keeps what it hears.
fn listening() -> (Watch, Arc<Mutex<Vec<Event>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&heard);
    let watch = Watch::new(Arc::new(AtomicBool::new(false)), move |event| {
        if !matches!(event, Event::Transferred { .. }) {
            events.lock().expect("no panic").push(event);
        }
    });
    (watch, heard)
}

fn busy(code: u16, after: Option<&str>) -> Fault {
    Fault::Status {
        code,
        retry_after: after.map(str::to_owned),
        body: r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#.to_owned(),
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn request(digest: &str, size: usize) -> BlobRequest {
    BlobRequest {
        digest: digest.parse().expect("a digest"),
        size: Some(size as u64),
        already: Verifier::default(),
        urls: Vec::new(),
    }
}

/// Reads a blob to its end.
fn fetch(repository: &Repository, request: BlobRequest, watch: &Watch) -> crate::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut reader = repository.blob(request, watch)?;
    match reader.read_to_end(&mut all) {
        Ok(_) => Ok(all),
        Err(error) => Err(Error::of_io(error).expect("an error of the client")),
    }
}

#[test]
fn a_cut_blob_resumes_where_it_broke_off() {
    let server = FaultyRegistry::start();
    let want = bytes(900_000);
    let digest = server.put_blob(&want);
    server.fault("GET /v2/a/b/blobs/", Fault::CutBody(300_000), 1);
    server.fault("GET /v2/a/b/blobs/", Fault::Drop, 1);
    let (watch, heard) = listening();
    let repository = repository(&server, options());
    assert!(fetch(&repository, request(&digest, want.len()), &watch).expect("fetched") == want);
    let ranges: Vec<String> = server
        .requests()
        .iter()
        .filter(|request| request.line.contains("/blobs/"))
        .map(|request| request.headers.get("range").cloned().unwrap_or_default())
        .collect();
    assert_eq!(ranges, ["", "bytes=300000-", "bytes=300000-"]);
    assert_eq!(
        *heard.lock().expect("no panic"),
        [
            Event::Retrying { seconds: 1 },
            Event::Retrying { seconds: 1 },
            Event::Resumed { offset: 300_000 }
        ]
    );
}

#[test]
fn a_server_that_ignores_ranges_is_read_past_what_is_there() {
    let server = FaultyRegistry::start();
    let want = bytes(500_000);
    let digest = server.put_blob(&want);
    server.fault("/blobs/", Fault::CutBody(123_456), 1);
    server.fault("/blobs/", Fault::IgnoreRange, 1);
    let repository = repository(&server, options());
    let got = fetch(&repository, request(&digest, want.len()), &Watch::default());
    assert!(got.expect("fetched") == want);
}

#[test]
fn an_earlier_attempt_is_continued_and_verified_as_a_whole() {
    let server = FaultyRegistry::start();
    let want = bytes(200_000);
    let digest = server.put_blob(&want);
    let repository = repository(&server, options());
    let mut request = request(&digest, want.len());
    request.already.update(&want[..150_000]);
    let rest = fetch(&repository, request.clone(), &Watch::default()).expect("fetched");
    assert!(rest == want[150_000..]);
    request.already = Verifier::default();
    request.already.update(&want[1..150_001]);
    let error = fetch(&repository, request.clone(), &Watch::default()).expect_err("damaged");
    assert_eq!(
        error.to_string(),
        format!("filesystem layer verification failed for digest {digest}")
    );
    // Nothing left to fetch: no request, but still verified.
    request.already = Verifier::default();
    request.already.update(&want);
    let count = server.count("/blobs/");
    assert_eq!(fetch(&repository, request, &Watch::default()).expect("whole"), b"");
    assert_eq!(server.count("/blobs/"), count);
}

#[test]
fn lies_about_blobs_are_found() {
    let server = FaultyRegistry::start();
    let want = bytes(100_000);
    let digest = server.put_blob(&want);
    let repository = repository(&server, options());
    let size = want.len();
    for (fault, text) in [
        (
            Fault::FlipByte(99_999),
            format!("filesystem layer verification failed for digest {digest}"),
        ),
        (
            Fault::Truncate(50_000),
            format!("{digest}: the registry sent 50000 bytes instead of 100000"),
        ),
        (
            Fault::Append(b"more".to_vec()),
            format!("{digest}: the registry sent 100004 bytes instead of 100000"),
        ),
    ] {
        server.fault("/blobs/", fault.clone(), 1);
        let error = fetch(&repository, request(&digest, size), &Watch::default()).expect_err("lie");
        assert_eq!(error.to_string(), text, "{fault:?}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    // Without a known size, the digest alone tells.
    server.fault("/blobs/", Fault::Truncate(50_000), 1);
    let unsized_request = BlobRequest { size: None, ..request(&digest, size) };
    let error = fetch(&repository, unsized_request, &Watch::default()).expect_err("lie");
    assert!(matches!(error, Error::BlobVerification { .. }), "{error}");
}

#[test]
fn a_busy_registry_is_asked_again_when_it_says() {
    let server = FaultyRegistry::start();
    let want = bytes(1000);
    let digest = server.put_blob(&want);
    server.fault("/blobs/", busy(429, Some("1")), 1);
    server.fault("/blobs/", busy(503, None), 1);
    let (watch, heard) = listening();
    let repository = repository(&server, options());
    let start = Instant::now();
    assert_eq!(fetch(&repository, request(&digest, 1000), &watch).expect("fetched"), want);
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(heard.lock().expect("no panic").len(), 2);
    server.fault("/manifests/", busy(429, None), 100);
    let key = ManifestKey::Tag("x".to_owned());
    let error = repository.manifest(&key, &Watch::default()).expect_err("busy");
    assert_eq!(error.to_string(), "toomanyrequests: slow down");
    assert_eq!(server.count("/manifests/"), 5);
}

#[test]
fn manifests_are_verified() {
    let server = FaultyRegistry::start();
    let config = server.put_blob(b"{}");
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"x","digest":"{config}","size":2}},"layers":[]}}"#
    );
    let digest = server.put_manifest("a/b", "v1", OCI_MANIFEST, text.as_bytes());
    let repository = repository(&server, options());
    let tag = ManifestKey::Tag("v1".to_owned());
    let by_digest = ManifestKey::Digest(digest.parse().expect("a digest"));
    for key in [&tag, &by_digest] {
        let fetched = repository.manifest(key, &Watch::default()).expect("fetched");
        assert_eq!(fetched.digest.as_str(), digest);
        assert_eq!(fetched.bytes, text.as_bytes());
        assert!(matches!(fetched.parse().expect("a manifest"), Manifest::Image(_)));
    }
    let named = Resolved::Named(digest.parse().expect("a digest"));
    assert_eq!(repository.resolve("v1", &Watch::default()).expect("there"), named);
    // A registry that refuses to tell the digest, or tells nonsense, sends the manifest.
    for fault in
        [busy(405, None), Fault::Header("Docker-Content-Digest".to_owned(), "x".to_owned())]
    {
        server.fault("HEAD /v2/a/b/manifests/", fault, 1);
        let resolved = repository.resolve("v1", &Watch::default()).expect("there");
        assert!(
            matches!(resolved, Resolved::Fetched(manifest) if manifest.bytes == text.as_bytes())
        );
    }
    for key in [&tag, &by_digest] {
        server.fault("/manifests/", Fault::FlipByte(30), 1);
        let error = repository.manifest(key, &Watch::default()).expect_err("damaged");
        assert!(matches!(error, Error::ManifestVerification { .. }), "{error}");
    }
    let lie = format!("sha256:{}", "0".repeat(64));
    server.fault("/manifests/", Fault::Header("Docker-Content-Digest".to_owned(), lie.clone()), 1);
    let error = repository.manifest(&tag, &Watch::default()).expect_err("a lie");
    assert_eq!(error.to_string(), format!("manifest verification failed for digest {lie}"));
    let missing = ManifestKey::Tag("no".to_owned());
    let error = repository.manifest(&missing, &Watch::default()).expect_err("missing");
    assert_eq!(
        error.to_string(),
        format!(
            "manifest for {}/a/b:no not found: manifest unknown: manifest unknown",
            server.host()
        )
    );
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let mut small = options();
    small.limits.manifest_bytes = 10;
    let error =
        self::repository(&server, small).manifest(&tag, &Watch::default()).expect_err("too large");
    assert_eq!(error.to_string(), "the manifest is larger than 10 bytes");
    assert_eq!(repository.tags(&Watch::default()).expect("tags"), ["v1"]);
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_server() {
    let server = FaultyRegistry::start();
    let elsewhere = FaultyRegistry::start();
    let want = bytes(5000);
    let digest = server.put_blob(&want);
    elsewhere.put_blob(&want);
    server.require("Basic realm=\"x\"", &["Basic dTpw"]);
    let to = format!("http://{}{{path}}", elsewhere.host());
    server.fault("/blobs/", Fault::Redirect(to), 1);
    let repository = repository(&server, options()).with_credential(Credential::basic("u", "p"));
    let got = fetch(&repository, request(&digest, 5000), &Watch::default()).expect("fetched");
    assert_eq!(got, want);
    let seen = elsewhere.requests();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].headers.get("authorization"), None);
    let own = server.requests();
    assert_eq!(
        own.last().and_then(|r| r.headers.get("authorization")).map(String::as_str),
        Some("Basic dTpw")
    );
    // On the same server they stay.
    server.fault("/blobs/", Fault::Redirect("/v2/c/d/blobs/".to_owned() + &digest), 1);
    assert_eq!(
        fetch(&repository, request(&digest, 5000), &Watch::default()).expect("fetched"),
        want
    );
    // A circle ends.
    server.fault("/blobs/", Fault::Redirect("{path}".to_owned()), 100);
    let error = fetch(&repository, request(&digest, 5000), &Watch::default()).expect_err("circle");
    assert!(error.to_string().ends_with("stopped after 10 redirects"), "{error}");
}

#[test]
fn tokens_come_from_another_server_and_are_kept() {
    let server = FaultyRegistry::start();
    let tokens = FaultyRegistry::start();
    tokens.set_token(r#"{"token":"t1","expires_in":300}"#);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"reg\"", tokens.host());
    server.require(&realm, &["Bearer t1"]);
    let digest = server.put_blob(b"abc");
    let repository = repository(&server, options()).with_credential(Credential::basic("u", "p"));
    for _ in 0..3 {
        let got = fetch(&repository, request(&digest, 3), &Watch::default()).expect("fetched");
        assert_eq!(got, b"abc");
    }
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].line, "GET /token?service=reg&scope=repository%3Aa%2Fb%3Apull&account=u");
    assert_eq!(asked[0].headers.get("authorization").map(String::as_str), Some("Basic dTpw"));
    // A token that the registry no longer takes is replaced once.
    server.require(&realm, &["Bearer t2"]);
    tokens.set_token(r#"{"access_token":"t2"}"#);
    assert_eq!(
        fetch(&repository, request(&digest, 3), &Watch::default()).expect("fetched"),
        b"abc"
    );
    assert_eq!(tokens.requests().len(), 2);
    // And when the new one is not taken either, that is the answer.
    server.require(&realm, &[]);
    let error = fetch(&repository, request(&digest, 3), &Watch::default()).expect_err("refused");
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let server = FaultyRegistry::start();
    server.set_token(r#"{"access_token":"t1"}"#);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"reg\"", server.host());
    server.require(&realm, &["Bearer t1"]);
    let digest = server.put_blob(b"abc");
    let credential = Credential { identity_token: "secret".to_owned(), ..Credential::default() };
    let repository = repository(&server, options()).with_credential(credential);
    assert_eq!(
        fetch(&repository, request(&digest, 3), &Watch::default()).expect("fetched"),
        b"abc"
    );
    let asked: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
    assert!(asked.contains(&"POST /token".to_owned()), "{asked:?}");
    assert!(!asked.iter().any(|line| line.contains("secret")), "{asked:?}");
}

#[test]
fn without_credentials_dockers_words_say_so() {
    let server = FaultyRegistry::start();
    server.require("Basic realm=\"x\"", &["Basic dTpw"]);
    let anonymous = repository(&server, options());
    let key = ManifestKey::Tag("v1".to_owned());
    let error = anonymous.resolve("v1", &Watch::default()).expect_err("refused");
    let url = format!("http://{}/v2/a/b/manifests/v1", server.host());
    assert_eq!(error.to_string(), format!("Head \"{url}\": no basic auth credentials"));
    let wrong = anonymous.with_credential(Credential::basic("u", "wrong-secret"));
    let error = wrong.manifest(&key, &Watch::default()).expect_err("refused");
    assert_eq!(error.to_string(), "unauthorized: authentication required");
    assert!(!format!("{error:?} {wrong:?}").contains("wrong-secret"));
    let client = Client::new(options()).expect("options");
    let login = |credential| client.login(&server.host(), &credential, &Watch::default());
    assert_eq!(login(Credential::basic("u", "p")).expect("in").status, "Login Succeeded");
    let error = login(Credential::basic("u", "x")).expect_err("refused");
    assert_eq!(
        error.to_string(),
        format!(
            "login attempt to http://{}/v2/ failed with status: 401 Unauthorized",
            server.host()
        )
    );
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let client = Client::new(options()).expect("options");
    let reference = format!("127.0.0.1:{port}/a").parse().expect("a reference");
    let key = ManifestKey::Tag("v1".to_owned());
    let start = Instant::now();
    let error = client.repository(&reference).manifest(&key, &Watch::default()).expect_err("gone");
    assert_eq!(
        error.to_string(),
        format!(
            "Get \"http://127.0.0.1:{port}/v2/\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        )
    );
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_raised_flag_ends_waiting() {
    let server = FaultyRegistry::start();
    let digest = server.put_blob(b"abc");
    server.fault("/blobs/", Fault::Stall(Duration::from_secs(3)), 10);
    let flag = Arc::new(AtomicBool::new(false));
    let watch = Watch::new(Arc::clone(&flag), |_| {});
    let repository = repository(&server, options());
    let raising = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        flag.store(true, Ordering::Relaxed);
    });
    let error = repository.blob(request(&digest, 3), &watch).expect_err("cancelled");
    assert!(matches!(error, Error::Cancelled), "{error}");
    raising.join().expect("no panic");
}

/// Uploads bytes from memory.
fn push(
    repository: &Repository,
    bytes: &[u8],
    from: &[&str],
    watch: &Watch,
) -> crate::Result<Pushed> {
    let owned = bytes.to_vec();
    let open = move || -> std::io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(std::io::Cursor::new(owned.clone())))
    };
    let upload = BlobUpload {
        digest: crate::verify::digest_of(bytes),
        size: bytes.len() as u64,
        mount_from: from.iter().map(|&path| path.to_owned()).collect(),
        open: &open,
    };
    repository.push_blob(&upload, watch)
}

#[test]
fn blobs_are_sent_once_and_again_after_a_failure() {
    let server = FaultyRegistry::start();
    let repository = repository(&server, options());
    let want = bytes(700_000);
    let digest: Digest = crate::verify::digest_of(&want);
    server.fault("PUT /v2/", Fault::CutUpload(100_000), 1);
    server.fault("POST /v2/", busy(503, None), 1);
    let (watch, heard) = listening();
    assert_eq!(push(&repository, &want, &[], &watch).expect("sent"), Pushed::Uploaded);
    assert!(server.blob(digest.as_str()).expect("arrived") == want);
    assert!(heard.lock().expect("no panic").contains(&Event::Resumed { offset: 0 }));
    assert_eq!(push(&repository, &want, &[], &watch).expect("there"), Pushed::Existing);
    assert_eq!(repository.blob_size(&digest, &Watch::default()).expect("an answer"), Some(700_000));
    assert_eq!(push(&repository, b"", &[], &watch).expect("sent"), Pushed::Uploaded);
}

#[test]
fn blobs_are_mounted_from_other_repositories() {
    let server = FaultyRegistry::start();
    let repository = repository(&server, options());
    server.put_blob(b"shared");
    // The registry has it, but not in this repository.
    server.fault(
        "HEAD /v2/a/b/blobs/",
        Fault::Status { code: 404, retry_after: None, body: String::new() },
        2,
    );
    let pushed = push(&repository, b"shared", &["c/d"], &Watch::default()).expect("mounted");
    assert_eq!(pushed, Pushed::Mounted("c/d".to_owned()));
    assert_eq!(server.count("PUT"), 0);
    let pushed = push(&repository, b"other", &["c/d"], &Watch::default()).expect("sent");
    assert_eq!(pushed, Pushed::Uploaded);
    // The session that the refused mount opened is used.
    assert_eq!(server.count("POST"), 2);
}

#[test]
fn a_source_that_fails_or_is_short_is_not_retried() {
    let server = FaultyRegistry::start();
    let repository = repository(&server, options());
    let open = || -> std::io::Result<Box<dyn Read + Send>> { Ok(Box::new(&b"abc"[..])) };
    let upload = BlobUpload {
        digest: crate::verify::digest_of(b"abcdef"),
        size: 6,
        mount_from: Vec::new(),
        open: &open,
    };
    let error = repository.push_blob(&upload, &Watch::default()).expect_err("short");
    assert_eq!(error.to_string(), "reading what is uploaded: 3 bytes are missing at its end");
    assert_eq!(server.count("POST"), 1);
}

#[test]
fn manifests_are_put_as_they_are() {
    let server = FaultyRegistry::start();
    let repository = repository(&server, options());
    let key = ManifestKey::Tag("v2".to_owned());
    server.fault("PUT", busy(500, None), 1);
    let digest =
        repository.push_manifest(&key, OCI_MANIFEST, b"{ }\n", &Watch::default()).expect("stored");
    assert_eq!(digest, crate::verify::digest_of(b"{ }\n"));
    let stored = server.manifest("a/b", "v2").expect("stored");
    assert_eq!(stored, (OCI_MANIFEST.to_owned(), b"{ }\n".to_vec()));
    let wrong = ManifestKey::Digest(crate::verify::digest_of(b"x"));
    let error = repository.push_manifest(&wrong, OCI_MANIFEST, b"{}", &Watch::default());
    assert!(matches!(error, Err(Error::ManifestVerification { .. })));
}

#[test]
fn mirrors_are_asked_first_and_may_fail() {
    let mirror = FaultyRegistry::start();
    let text = r#"{"schemaVersion":2,"manifests":[]}"#;
    let digest = mirror.put_manifest("library/x", "v1", "application/json", text.as_bytes());
    let broken = FaultyRegistry::start();
    broken.fault("/v2/", busy(404, None), 100);
    let mut options = options();
    options.mirrors =
        vec![format!("http://{}", broken.host()), format!("http://{}/", mirror.host())];
    let client = Client::new(options).expect("options");
    let repository = client.repository(&"x".parse().expect("a reference"));
    let fetched = repository
        .manifest(&ManifestKey::Tag("v1".to_owned()), &Watch::default())
        .expect("from the second mirror");
    assert_eq!(fetched.digest.as_str(), digest);
    assert!(broken.count("/manifests/") > 0);
}

#[test]
fn plain_downloads_know_their_headers_and_resume() {
    let server = FaultyRegistry::start();
    let want = bytes(400_000);
    let digest = server.put_blob(&want);
    let client = Client::new(options()).expect("options");
    let url = format!("http://u:p@{}/v2/a/blobs/{digest}?sig=secret", server.host());
    let get = |request: &DownloadRequest| client.download(request, &Watch::default());
    server.fault("/blobs/", Fault::Header("ETag".to_owned(), "\"e1\"".to_owned()), 1);
    let mut found = get(&DownloadRequest { url: url.clone(), ..DownloadRequest::default() })
        .expect("an answer");
    assert_eq!((found.status, found.length), (200, Some(400_000)));
    assert_eq!(found.etag.as_deref(), Some("\"e1\""));
    assert_eq!(found.final_url, format!("http://{}/v2/a/blobs/{digest}", server.host()));
    let mut all = Vec::new();
    found.body.read_to_end(&mut all).expect("read");
    assert!(all == want);
    let sent = server.requests();
    assert_eq!(sent[0].headers.get("authorization").map(String::as_str), Some("Basic dTpw"));
    // Cut short without a validator: an error, not a short body.
    server.fault("/blobs/", Fault::CutBody(1000), 1);
    let mut found = get(&DownloadRequest { url: url.clone(), ..DownloadRequest::default() })
        .expect("an answer");
    let error = found.body.read_to_end(&mut Vec::new()).expect_err("cut").to_string();
    assert!(error.ends_with("unexpected EOF") && !error.contains("secret"), "{error}");
    // Too large, refused, malformed.
    let limited = DownloadRequest { url: url.clone(), limit_bytes: Some(10), ..Default::default() };
    assert!(matches!(get(&limited), Err(Error::TooLarge { limit: 10, .. })));
    let missing = format!("http://{}/nothing", server.host());
    let error =
        get(&DownloadRequest { url: missing.clone(), ..Default::default() }).expect_err("404");
    assert_eq!(
        error.to_string(),
        format!("failed to GET {missing} with status 404 Not Found: not found")
    );
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for bad in ["ftp://x/y", "x", "http:///"] {
        let request = DownloadRequest { url: bad.to_owned(), ..Default::default() };
        assert_eq!(get(&request).expect_err("bad").kind(), ErrorKind::InvalidInput, "{bad}");
    }
    // Conditions are sent.
    server.fault("/blobs/", Fault::Status { code: 304, retry_after: None, body: String::new() }, 1);
    let condition = DownloadRequest {
        url,
        if_none_match: Some("\"e1\"".to_owned()),
        ..DownloadRequest::default()
    };
    let mut found = get(&condition).expect("not modified");
    assert_eq!(found.status, 304);
    assert_eq!(found.body.read_to_end(&mut Vec::new()).expect("empty"), 0);
    let last = server.requests().pop().expect("a request");
    assert_eq!(last.headers.get("if-none-match").map(String::as_str), Some("\"e1\""));
}

#[test]
fn a_registry_without_search_is_searched_by_its_catalogue() {
    let server = FaultyRegistry::start();
    server.put_manifest("team/web", "v1", OCI_MANIFEST, b"{}");
    server.put_manifest("team/db", "v1", OCI_MANIFEST, b"{}");
    let client = Client::new(options()).expect("options");
    let query = SearchQuery { term: format!("{}/web", server.host()), ..SearchQuery::default() };
    let found = client.search(&query, &Watch::default()).expect("found");
    let names: Vec<&str> = found.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(names, ["team/web"]);
    let body = r#"{"num_results":1,"results":[{"name":"n","description":"d","star_count":3,"is_official":true}]}"#;
    server.fault(
        "/v1/search?q=web&n=25",
        Fault::Status { code: 200, retry_after: None, body: body.to_owned() },
        1,
    );
    let found = client.search(&query, &Watch::default()).expect("found");
    assert_eq!((found[0].name.as_str(), found[0].star_count, found[0].is_official), ("n", 3, true));
}

#[test]
fn stored_credentials_are_used_for_their_registry() {
    let server = FaultyRegistry::start();
    server.require("Basic realm=\"x\"", &["Basic dTpw"]);
    let digest = server.put_blob(b"abc");
    let folder = tempfile::tempdir().expect("a directory");
    let credentials = Credentials::of_file(&folder.path().join("new/config.json"));
    credentials.put(&server.host(), &Credential::basic("u", "p")).expect("stored");
    let mut options = options();
    options.credentials = credentials;
    let repository = repository(&server, options);
    assert_eq!(
        fetch(&repository, request(&digest, 3), &Watch::default()).expect("fetched"),
        b"abc"
    );
}

#[test]
fn a_password_is_not_sent_to_a_token_server_without_tls() {
    let server = FaultyRegistry::start();
    // An address that is not local; nothing is asked there.
    server.require("Bearer realm=\"http://192.0.2.1/token\",service=\"reg\"", &["Bearer t"]);
    let repository = repository(&server, options()).with_credential(Credential::basic("u", "p"));
    let key = ManifestKey::Tag("v1".to_owned());
    let error = repository.manifest(&key, &Watch::default()).expect_err("refused").to_string();
    assert!(
        error.ends_with("`http://192.0.2.1/token`: a password is not sent without TLS"),
        "{error}"
    );
}
