//! COPY and ADD as a user meets them: destinations, owners, archives, addresses, repositories.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use orlop_testkit::{Fixture, fixture};

/// A context with this Dockerfile and these files.
fn context(fixture: &Fixture, name: &str, dockerfile: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = fixture.directory(name);
    fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    for (path, content) in files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

/// Builds and gives the files that come of it, with their owners.
fn files(fixture: &Fixture, context: &Path, name: &str) -> PathBuf {
    let out = fixture.directory(name);
    let tar = fixture.folder().join(format!("{name}.tar"));
    let output = format!("type=tar,dest={}", tar.display());
    fixture.ok(&["build", "--quiet", "--output", &output, context.to_str().unwrap()]);
    let status = Command::new("tar")
        .args(["--extract", "--same-owner", "--numeric-owner", "--preserve-permissions", "--file"])
        .arg(&tar)
        .arg("--directory")
        .arg(&out)
        .status()
        .unwrap();
    assert!(status.success());
    out
}

fn listed(top: &Path) -> Vec<String> {
    fn collect(top: &Path, path: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let stat = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(top).unwrap().display().to_string();
            let mode = stat.permissions().mode() & 0o7777;
            found.push(format!("{name} {mode:o} {}:{}", stat.uid(), stat.gid()));
            if stat.is_dir() {
                collect(top, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    collect(top, top, &mut found);
    found.sort();
    found
}

/// What a build that must fail says.
fn refused(fixture: &Fixture, path: &str) -> String {
    let output = fixture.orlop(&["build", path]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    output.stderr
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn destinations_owners_and_modes() {
    let fixture = fixture!();
    let dockerfile = "\
FROM scratch AS base
COPY passwd /etc/passwd
COPY src/ /real/
FROM base
COPY --chown=app:7 src /owned/deep/
COPY --chmod=u=rwX,go= src/run src/data /modes/
COPY --parents src/./sub/*.txt /parents/
COPY --exclude=sub src /without/
COPY *.none /nothing/
COPY --link --chown=3:4 src/data /linked/
COPY --from=base /real /from/
COPY <<one <<two /documents/
first
one
second
two
";
    let context = context(
        &fixture,
        "context",
        dockerfile,
        &[
            ("passwd", "app:x:1000:1001::/:\n"),
            ("src/run", "run"),
            ("src/data", "data"),
            ("src/sub/a.txt", "a"),
            ("src/sub/b.md", "b"),
        ],
    );
    for (path, mode) in [("src/run", 0o755), ("src/data", 0o640), ("src/sub", 0o750)] {
        let path = fs::File::open(context.join(path)).unwrap();
        path.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
    }
    let out = files(&fixture, &context, "out");
    let all = listed(&out);
    let below = |name: &str| -> Vec<&str> {
        all.iter().filter(|line| line.starts_with(name)).map(String::as_str).collect()
    };
    assert_eq!(
        below("owned"),
        [
            "owned 755 1000:7",
            "owned/deep 755 1000:7",
            "owned/deep/data 640 1000:7",
            "owned/deep/run 755 1000:7",
            "owned/deep/sub 750 1000:7",
            "owned/deep/sub/a.txt 644 1000:7",
            "owned/deep/sub/b.md 644 1000:7",
        ]
    );
    assert_eq!(below("modes"), ["modes 755 0:0", "modes/data 600 0:0", "modes/run 700 0:0"]);
    assert_eq!(
        below("parents"),
        ["parents 755 0:0", "parents/sub 750 0:0", "parents/sub/a.txt 644 0:0"]
    );
    assert_eq!(
        below("without"),
        ["without 755 0:0", "without/data 640 0:0", "without/run 755 0:0"]
    );
    assert_eq!(below("nothing"), Vec::<&str>::new());
    assert_eq!(below("linked"), ["linked 755 3:4", "linked/data 640 3:4"]);
    assert_eq!(below("from/").len(), 5);
    assert_eq!(below("documents/"), ["documents/one 644 0:0", "documents/two 644 0:0"]);
    assert_eq!(fs::read_to_string(out.join("documents/two")).unwrap(), "second\n");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn what_cannot_be_copied_is_told_in_buildkits_words() {
    let fixture = fixture!();
    let files = [("f", "f"), ("d/f/x", "x")];
    for (name, dockerfile, wanted) in [
        ("missing", "FROM scratch\nCOPY nope /\n", "\"/nope\": not found"),
        ("kind", "FROM scratch\nCOPY f /f\nCOPY d /\n", "cannot copy to non-directory: /f"),
        ("other", "FROM scratch\nCOPY d /\nCOPY f /\n", "cannot replace to directory /f with file"),
        ("user", "FROM scratch\nCOPY --chown=app f /\n", "invalid user index: -1"),
    ] {
        let context = context(&fixture, name, dockerfile, &files);
        let text = refused(&fixture, context.to_str().unwrap());
        assert!(text.contains(wanted), "{name}: {text}");
    }
    assert_eq!(fixture.ok(&["images", "--all", "--quiet"]), "");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn archives_are_unpacked_over_links_below() {
    let fixture = fixture!();
    let dockerfile = "FROM scratch\nCOPY base /\nADD packed.anything /\nADD plain.txt /added/\n";
    let context = context(
        &fixture,
        "context",
        dockerfile,
        &[("base/usr/lib/old", "old"), ("plain.txt", "plain"), ("root/lib/new", "new")],
    );
    symlink("usr/lib", context.join("base/lib")).unwrap();
    let status = Command::new("tar")
        .args(["--create", "--gzip", "--owner=5", "--group=6", "--numeric-owner", "--file"])
        .arg(context.join("packed.anything"))
        .arg("--directory")
        .arg(context.join("root"))
        .arg("lib/new")
        .status()
        .unwrap();
    assert!(status.success());
    let out = files(&fixture, &context, "out");
    assert_eq!(fs::read_to_string(out.join("usr/lib/new")).unwrap(), "new");
    assert_eq!(fs::metadata(out.join("usr/lib/new")).unwrap().uid(), 5);
    assert_eq!(fs::read_link(out.join("lib")).unwrap(), Path::new("usr/lib"));
    assert_eq!(fs::read_to_string(out.join("added/plain.txt")).unwrap(), "plain");
}

/// A small server of one file with an `ETag`; counts what it sent.
struct Server {
    port: u16,
    bodies: Arc<AtomicUsize>,
    content: Arc<Mutex<String>>,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Arc::new(AtomicUsize::new(0));
        let content = Arc::new(Mutex::new("one".to_owned()));
        let (sent, served) = (Arc::clone(&bodies), Arc::clone(&content));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(got) if got > 0 => request.extend_from_slice(&buffer[..got]),
                        _ => break,
                    }
                }
                let content = served.lock().unwrap().clone();
                let etag = format!("\"{content}\"");
                let asked = String::from_utf8_lossy(&request).to_lowercase();
                let head = format!(
                    "ETag: {etag}\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n"
                );
                let answer = if asked.contains(&format!("if-none-match: {etag}")) {
                    format!("HTTP/1.1 304 Not Modified\r\n{head}\r\n")
                } else {
                    sent.fetch_add(1, Ordering::Relaxed);
                    let length = content.len();
                    format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {length}\r\n\r\n{content}")
                };
                // Whoever asked may be gone.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { port, bodies, content }
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn files_behind_addresses_are_downloaded_when_they_changed() {
    let fixture = fixture!();
    let server = Server::new();
    let dockerfile = format!("FROM scratch\nADD http://127.0.0.1:{}/a/file.txt /d/\n", server.port);
    let directory = context(&fixture, "context", &dockerfile, &[]);
    let out = files(&fixture, &directory, "out");
    let stat = fs::metadata(out.join("d/file.txt")).unwrap();
    assert_eq!((stat.permissions().mode() & 0o7777, stat.mtime()), (0o600, 784_111_777));
    assert_eq!(fs::read_to_string(out.join("d/file.txt")).unwrap(), "one");
    assert_eq!(server.bodies.load(Ordering::Relaxed), 1);
    // Nothing changed: the server is asked, and sends nothing.
    files(&fixture, &directory, "again");
    assert_eq!(server.bodies.load(Ordering::Relaxed), 1);
    *server.content.lock().unwrap() = "two".to_owned();
    let out = files(&fixture, &directory, "changed");
    assert_eq!(fs::read_to_string(out.join("d/file.txt")).unwrap(), "two");
    let wrong = format!(
        "FROM scratch\nADD --checksum=sha256:{} http://127.0.0.1:{}/a/file.txt /d/\n",
        "0".repeat(64),
        server.port
    );
    let wrong = context(&fixture, "wrong", &wrong, &[]);
    let text = refused(&fixture, wrong.to_str().unwrap());
    assert!(text.contains("digest mismatch for http://127.0.0.1:"), "{text}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_rebuild_reads_only_what_changed() {
    let fixture = fixture!();
    let names: Vec<String> =
        (0..300).map(|number| format!("src/d{}/f{number}", number % 7)).collect();
    let contents: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let directory = context(&fixture, "context", "FROM scratch\nCOPY src /src\n", &contents);
    let image = |tag: &str| {
        // What was written just now is not trusted.
        std::thread::sleep(std::time::Duration::from_millis(100));
        fixture.ok(&["build", "--quiet", "--tag", tag, directory.to_str().unwrap()])
    };
    let first = image("one");
    // Another content of the same length behind the same name, and the old time: seen all the same.
    let path = directory.join("src/d0/f0");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "SRC/D0/F0").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    let second = image("two");
    assert_ne!(first, second);
    fs::write(&path, "src/d0/f0").unwrap();
    fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    assert_eq!(image("three"), first, "the same content is the same image again");
    let check = fixture.ok(&["system", "check"]);
    assert!(!check.contains("damaged"), "{check}");
}
