//! A small HTTP server on loopback, for builds that download: a folder, and git repositories in it.
//!
//! A file `NAME.headers` adds lines to the answer for `NAME`; `NAME.status` replaces its status. A
//! path with `.git/` in it is answered by git's own CGI program, as a forge does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The port, always the same: addresses stand in histories.
pub(super) const PORT: u16 = 8099;

/// Time that a client may take for its request.
const LIMIT: Duration = Duration::from_secs(20);

/// How often the server looks whether it shall end.
const PAUSE: Duration = Duration::from_millis(5);

/// Serves as long as it lives.
#[derive(Debug)]
pub(super) struct Server {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `folder` in the network namespace of the calling thread.
    pub(super) fn start(folder: &Path) -> std::io::Result<Self> {
        Self::listen(folder, PORT).map(|(server, _)| server)
    }

    fn listen(folder: &Path, port: u16) -> std::io::Result<(Self, u16)> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let end = Arc::new(AtomicBool::new(false));
        let (folder, ended) = (folder.to_path_buf(), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let folder = folder.clone();
                        // A client that goes away early is none of our business.
                        std::thread::spawn(move || drop(answer(&stream, &folder)));
                    }
                    Err(_) => std::thread::sleep(PAUSE),
                }
            }
        });
        Ok((Self { end, thread: Some(thread) }, port))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does nothing that can panic.
            let _ = thread.join();
        }
    }
}

/// What a client asks for.
#[derive(Debug, Default)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request =
            Self { method, path: path.to_owned(), query: query.to_owned(), ..Self::default() };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((key, value)) = line.trim_end().split_once(':') else { break };
            request.headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if request.header("transfer-encoding") == "chunked" {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let size = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
                reader.by_ref().take(size).read_to_end(&mut request.body)?;
                reader.read_line(&mut line)?;
                if size == 0 {
                    break;
                }
            }
        } else {
            let size = request.header("content-length").parse().unwrap_or(0);
            reader.by_ref().take(size).read_to_end(&mut request.body)?;
        }
        Ok(request)
    }

    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

fn answer(mut stream: &TcpStream, folder: &Path) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let request = Request::read(stream)?;
    let reply = if request.path.contains(".git/") {
        repository(&request, folder)?
    } else {
        file(&request, folder)
    };
    stream.write_all(&reply)
}

fn file(request: &Request, folder: &Path) -> Vec<u8> {
    let path = folder.join(request.path.trim_start_matches('/'));
    let beside = |ending: &str| {
        let mut name = path.clone().into_os_string();
        name.push(ending);
        std::fs::read_to_string(PathBuf::from(name)).ok()
    };
    let Ok(content) = std::fs::read(&path) else {
        let gone = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        return gone.into();
    };
    let status = beside(".status").unwrap_or_else(|| "200 OK".to_owned());
    let mut reply = format!(
        "HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {}\r\n",
        status.trim(),
        content.len()
    );
    for line in beside(".headers").unwrap_or_default().lines() {
        reply.push_str(line);
        reply.push_str("\r\n");
    }
    reply.push_str("\r\n");
    let mut reply = reply.into_bytes();
    if request.method != "HEAD" {
        reply.extend(content);
    }
    reply
}

fn repository(request: &Request, folder: &Path) -> std::io::Result<Vec<u8>> {
    let mut child = Command::new("git")
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", request.header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
        .env("GIT_PROTOCOL", request.header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A program that has its answer already need not read all of it.
        let _ = input.write_all(&request.body);
    }
    let output = child.wait_with_output()?.stdout;
    let head_bytes = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..head_bytes]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let mut reply = format!("HTTP/1.1 {status}\r\nConnection: close\r\n").into_bytes();
    reply.extend(&output);
    Ok(reply)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn get(port: u16, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn serves_files_with_their_headers() {
        let folder = std::env::temp_dir().join(format!("orlop-served-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("f"), "hello").unwrap();
        std::fs::write(folder.join("f.headers"), "ETag: \"1\"\n").unwrap();
        let (server, port) = Server::listen(&folder, 0).unwrap();
        let (found, missing) = (get(port, "/f"), get(port, "/g"));
        drop(server);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n"), "{found}");
        assert!(found.ends_with("ETag: \"1\"\r\n\r\nhello"), "{found}");
        assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    }
}
