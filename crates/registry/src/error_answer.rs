//! Error answers: what a registry or token server says when it refuses, as pure functions.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::Error;

/// Longest text of a server that is shown.
const TEXT_CHARS_MAX: usize = 1024;

/// One entry of an error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// `MANIFEST_UNKNOWN`.
    pub code: String,
    /// `manifest unknown`.
    pub message: String,
}

impl ApiError {
    /// As Docker shows it: `manifest unknown: manifest unknown`.
    #[must_use]
    pub fn shown(&self) -> String {
        let code = self.code.to_lowercase().replace('_', " ");
        if self.message.is_empty() { code } else { format!("{code}: {}", self.message) }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: Vec<Entry>,
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Reads the body of an error answer: `{"errors":[…]}`, or a token server's `{"details":"…"}`.
#[must_use]
pub fn parse(status: u16, body: &[u8]) -> Option<ApiError> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    if let Some(entry) = answer.errors.into_iter().find(|entry| !entry.code.is_empty()) {
        let message = printable(&entry.message);
        return Some(ApiError { code: printable(&entry.code), message });
    }
    let message = printable(&answer.details?);
    let code = match status {
        401 => "UNAUTHORIZED",
        403 => "DENIED",
        429 => "TOOMANYREQUESTS",
        _ => "UNKNOWN",
    };
    Some(ApiError { code: code.to_owned(), message })
}

/// The error of a refused request, without knowledge of what was asked.
pub(crate) fn general(status: u16, body: &[u8]) -> Error {
    let said = parse(status, body);
    let code = said.as_ref().map_or("", |error| error.code.as_str()).to_owned();
    let shown = said.as_ref().map(ApiError::shown);
    match (status, code.as_str()) {
        (429, _) | (_, "TOOMANYREQUESTS") => {
            let message = said.map(|error| error.message).filter(|text| !text.is_empty());
            Error::TooManyRequests { message: message.unwrap_or_else(|| status_text(status)) }
        }
        (401 | 403, _) | (_, "UNAUTHORIZED" | "DENIED") => Error::Denied {
            message: shown.unwrap_or_else(|| match status {
                403 => "denied: requested access to the resource is denied".to_owned(),
                _ => "unauthorized: authentication required".to_owned(),
            }),
        },
        _ => match shown {
            Some(message) => Error::Registry { status, code, message },
            None => Error::Status { status, status_text: status_text(status) },
        },
    }
}

/// The error of a refused manifest request, in the words of `docker pull`.
pub(crate) fn of_manifest(error: Error, familiar: &str, reference: &str) -> Error {
    match error {
        Error::Registry { code, message, .. } if code == "MANIFEST_UNKNOWN" => {
            let message = message.strip_prefix("manifest unknown: ").unwrap_or(&message).to_owned();
            Error::ManifestUnknown { reference: reference.to_owned(), message }
        }
        Error::Status { status: 404, .. } => Error::ManifestUnknown {
            reference: reference.to_owned(),
            message: "manifest unknown".to_owned(),
        },
        Error::Registry { status, code, message } if code == "NAME_UNKNOWN" => Error::Registry {
            status,
            code,
            message: format!("repository {familiar} not found: {message}"),
        },
        Error::Denied { message } if message.starts_with("denied") => {
            Error::PullDenied { repository: familiar.to_owned(), message }
        }
        other => other,
    }
}

/// `404 Not Found`.
pub(crate) fn status_text(status: u16) -> String {
    let reason =
        reqwest::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason());
    match reason {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

/// A server's text without control characters (escape sequences for a terminal), cut to a limit.
pub(crate) fn printable(text: &str) -> String {
    let clean = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let cut: String = clean.take(TEXT_CHARS_MAX).collect();
    cut.trim().to_owned()
}

/// Reads `Retry-After`: seconds, or a date.
#[must_use]
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_dockers_texts() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#;
        let error = of_manifest(general(404, body), "a/b", "a/b:x");
        assert_eq!(
            error.to_string(),
            "manifest for a/b:x not found: manifest unknown: manifest unknown"
        );
        let body = br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
        let error = of_manifest(general(403, body), "a/b", "a/b:x");
        assert_eq!(
            error.to_string(),
            "pull access denied for a/b, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"
        );
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        assert_eq!(general(401, body).to_string(), "unauthorized: authentication required");
        assert_eq!(
            general(401, br#"{"details":"incorrect username or password"}"#).to_string(),
            "unauthorized: incorrect username or password"
        );
        let body =
            br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your limit"}]}"#;
        assert_eq!(general(429, body).to_string(), "toomanyrequests: You have reached your limit");
        assert_eq!(
            general(502, b"<html>").to_string(),
            "received unexpected HTTP status: 502 Bad Gateway"
        );
        assert_eq!(
            general(400, b"{\"errors\":[{\"code\":\"X_Y\",\"message\":\"a\\u001b[2Jb\"}]}")
                .to_string(),
            "x y: a [2Jb"
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().expect("valid");
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after("Sat, 21 Nov 2026 12:00:30 GMT", now),
            Some(Duration::from_secs(30))
        );
        assert_eq!(retry_after("Sat, 21 Nov 2026 11:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
