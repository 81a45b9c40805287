//! The format of Docker's `json-file` driver.
//!
//! `{"log":"text\\n","stream":"stdout","attrs":{…},"time":"RFC 3339"}`; `attrs` only where the driver's
//! options ask for some. All but the last piece of an overlong line are without a line feed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{LogEntry, LogStream, Piece};

/// The member that carries the attributes, with the comma before it; nothing without any.
pub(super) fn attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in attributes {
        text.extend_from_slice(if text.is_empty() { b",\"attrs\":{\"" } else { b",\"" });
        escape_json(name.as_bytes(), &mut text);
        text.extend_from_slice(b"\":\"");
        escape_json(value.as_bytes(), &mut text);
        text.push(b'"');
    }
    if !text.is_empty() {
        text.push(b'}');
    }
    text
}

/// Appends one document.
pub(super) fn append(piece: &Piece<'_>, attributes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"log\":\"");
    escape_json(piece.text, out);
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(piece.stream.as_str().as_bytes());
    out.push(b'"');
    out.extend_from_slice(attributes);
    out.extend_from_slice(b",\"time\":\"");
    out.extend_from_slice(piece.time.to_string().as_bytes());
    out.extend_from_slice(b"\"}\n");
}

/// Reads one document; `None` for what is none.
pub(super) fn parse(line: &[u8]) -> Option<LogEntry> {
    #[derive(Deserialize)]
    struct Document {
        log: String,
        stream: String,
        #[serde(default)]
        attrs: BTreeMap<String, String>,
        time: Timestamp,
    }
    let document: Document = serde_json::from_slice(line).ok()?;
    let stream = match document.stream.as_str() {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        _ => return None,
    };
    Some(LogEntry { stream, time: document.time, text: document.log, attributes: document.attrs })
}

/// Appends text as the inside of a JSON string; what is not UTF-8 becomes U+FFFD, and the
/// characters that HTML and JavaScript treat specially are escaped, as Docker does.
fn escape_json(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        escape_valid(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(br"\ufffd");
        }
    }
}

fn escape_valid(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    let mut index = 0;
    while index < bytes.len() {
        let (length, escape): (usize, Option<String>) = match bytes[index] {
            b'"' => (1, Some("\\\"".to_owned())),
            b'\\' => (1, Some("\\\\".to_owned())),
            b'\n' => (1, Some("\\n".to_owned())),
            b'\r' => (1, Some("\\r".to_owned())),
            b'\t' => (1, Some("\\t".to_owned())),
            byte @ (0..0x20 | b'<' | b'>' | b'&') => (1, Some(format!("\\u{byte:04x}"))),
            0xe2 if bytes[index..].starts_with("\u{2028}".as_bytes()) => {
                (3, Some(r"\u2028".to_owned()))
            }
            0xe2 if bytes[index..].starts_with("\u{2029}".as_bytes()) => {
                (3, Some(r"\u2029".to_owned()))
            }
            _ => (1, None),
        };
        if let Some(escape) = escape {
            out.extend_from_slice(&bytes[plain_from..index]);
            out.extend_from_slice(escape.as_bytes());
            plain_from = index + length;
        }
        index += length;
    }
    out.extend_from_slice(&bytes[plain_from..]);
}
