//! Waiting for something to become true, with a limit and a word on what was seen.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Asks `look` until it answers, at most for `limit`.
///
/// # Panics
/// With the last thing that `look` saw when the time is up.
#[track_caller]
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let end = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= end => {
                panic!("waited {limit:?} for {what}; seen last: {seen}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Fetches `path` over HTTP/1.0 from an address; gives the status line and the body.
///
/// # Errors
/// What the connection said.
pub fn http_get(address: &str, path: &str) -> Result<(String, String), String> {
    let text = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(text)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(text)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").map_err(text)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(text)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no HTTP: {answer}"))?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_again_until_it_is_so() {
        let mut count = 0;
        let found = wait_until("three", Duration::from_secs(5), || {
            count += 1;
            if count == 3 { Ok(count) } else { Err(format!("{count}")) }
        });
        assert_eq!(found, 3);
    }

    #[test]
    #[should_panic(expected = "for the moon; seen last: clouds")]
    fn says_what_it_saw() {
        wait_until::<()>("the moon", Duration::from_millis(30), || Err("clouds".to_owned()));
    }
}
