//! Image references: `[host[:port]/]path[:tag][@digest]`, normalised the way Docker does.
//!
//! A value always has a host and a lower-case path; short names get Docker Hub's canonical host and
//! the `library/` folder. The tag `latest` is added only on request ([`ImageReference::tag_or_latest`])
//! because "no tag" means "every tag" in some places.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;
use crate::id::Digest;

/// Host of references that name none.
pub const DEFAULT_HOST: &str = "docker.io";
/// Another name of [`DEFAULT_HOST`] which old clients used.
const LEGACY_HOST: &str = "index.docker.io";
/// Folder of one-word names on the default host.
const OFFICIAL_FOLDER: &str = "library/";
/// Tag of references that name neither a tag nor a digest.
pub const DEFAULT_TAG: &str = "latest";
/// Longest path; a limit of the reference grammar.
const PATH_MAX_CHARS: usize = 255;
/// Longest tag; a limit of the reference grammar.
const TAG_MAX_CHARS: usize = 128;

/// A normalised image reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// The host, with its port if one was given.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path on the host, for instance `library/postgres`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag as given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest as given.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag, or `latest` when there is neither a tag nor a digest.
    #[must_use]
    pub fn tag_or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository with another tag and no digest.
    ///
    /// # Errors
    /// `invalid reference format` if `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseError> {
        if !is_tag(tag) {
            return Err(invalid_format());
        }
        Ok(Self {
            host: self.host.clone(),
            path: self.path.clone(),
            tag: Some(tag.to_owned()),
            digest: None,
        })
    }

    /// Host and path: `docker.io/library/postgres`.
    #[must_use]
    pub fn canonical_name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The name as people write it: `postgres`, `user/app`, `ghcr.io/a/b`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.host != DEFAULT_HOST {
            return self.canonical_name();
        }
        match self.path.strip_prefix(OFFICIAL_FOLDER) {
            // `docker.io/library/a/b` would become another repository without its folder.
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// Everything, host included: the form that is stored.
    #[must_use]
    pub fn canonical(&self) -> String {
        self.canonical_name() + &self.suffix()
    }

    /// Everything as people write it: the form that is shown.
    #[must_use]
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    fn suffix(&self) -> String {
        let mut text = String::new();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for ImageReference {
    /// Writes the familiar form.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.familiar())
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.canonical()
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl FromStr for ImageReference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if is_bare_id(text) {
            return Err(ParseError::new(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (host, rest) = split_host(text);
        let name = rest.split([':', '@']).next().unwrap_or_default();
        if name.chars().any(|letter| letter.is_ascii_uppercase()) {
            let is_official = host == DEFAULT_HOST && !name.contains('/');
            let folder = if is_official { OFFICIAL_FOLDER } else { "" };
            return Err(ParseError::new(format!(
                "invalid reference format: repository name ({folder}{name}) must be lowercase"
            )));
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (rest, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some(_) => return Err(invalid_format()),
            None => (rest, None),
        };
        if !is_host(host) || !is_path(path) {
            return Err(invalid_format());
        }
        let path = if host == DEFAULT_HOST && !path.contains('/') {
            format!("{OFFICIAL_FOLDER}{path}")
        } else {
            path.to_owned()
        };
        if path.len() > PATH_MAX_CHARS {
            return Err(ParseError::new(format!(
                "repository name must not be more than {PATH_MAX_CHARS} characters"
            )));
        }
        Ok(Self { host: host.to_owned(), path, tag, digest })
    }
}

fn invalid_format() -> ParseError {
    ParseError::new("invalid reference format")
}

/// A full image id without its algorithm cannot be a name: the two would be mixed up.
fn is_bare_id(text: &str) -> bool {
    text.len() == 64
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The first component is a host iff it looks like one: a dot, a port, `localhost` or upper case.
fn split_host(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(|letter| letter.is_ascii_uppercase()) =>
        {
            (if first == LEGACY_HOST { DEFAULT_HOST } else { first }, rest)
        }
        _ => (DEFAULT_HOST, text),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if address.is_empty()
            || !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        {
            return false;
        }
        return match port.strip_prefix(':') {
            Some(digits) => is_digits(digits),
            None => port.is_empty(),
        };
    } else {
        match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        }
    };
    port.is_none_or(is_digits)
        && name.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|&&byte| alphanumeric(byte)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        let separator = rest.iter().take_while(|&&byte| !alphanumeric(byte)).count();
        match &rest[..separator] {
            [] => return rest.is_empty(),
            [b'.' | b'_'] | [b'_', b'_'] => {}
            dashes if dashes.iter().all(|&byte| byte == b'-') => {}
            _ => return false,
        }
        rest = &rest[separator..];
    }
}

/// Whether `text` is a tag: `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_MAX_CHARS
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn parse_digest(text: &str) -> Result<Digest, ParseError> {
    let Some((algorithm, digits)) = text.split_once(':') else { return Err(invalid_format()) };
    if digits.len() < 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(invalid_format());
    }
    if algorithm != "sha256" {
        return Err(ParseError::new("unsupported digest algorithm"));
    }
    if digits.len() != 64 {
        return Err(ParseError::new("invalid checksum digest length"));
    }
    text.parse().map_err(|_| ParseError::new("invalid checksum digest format"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_names_become_canonical_and_familiar_again() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (text, canonical, familiar) in [
            ("postgres", "docker.io/library/postgres", "postgres"),
            ("postgres:16", "docker.io/library/postgres:16", "postgres:16"),
            ("user/app", "docker.io/user/app", "user/app"),
            ("docker.io/postgres", "docker.io/library/postgres", "postgres"),
            ("index.docker.io/library/postgres", "docker.io/library/postgres", "postgres"),
            ("library/a", "docker.io/library/a", "a"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/a", "localhost/a", "localhost/a"),
            ("localhost:5000/a:1", "localhost:5000/a:1", "localhost:5000/a:1"),
            ("ghcr.io/x/y_z__q--r.s", "ghcr.io/x/y_z__q--r.s", "ghcr.io/x/y_z__q--r.s"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            ("Host/a", "Host/a", "Host/a"),
            ("a:B_c.-9", "docker.io/library/a:B_c.-9", "a:B_c.-9"),
        ] {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!(reference.canonical(), canonical, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(
                reference.canonical().parse::<ImageReference>().unwrap(),
                reference,
                "{text}"
            );
        }
        let reference: ImageReference = format!("a:1@{digest}").parse().unwrap();
        assert_eq!(reference.tag(), Some("1"));
        assert_eq!(reference.digest().map(Digest::as_str), Some(digest.as_str()));
        assert_eq!(reference.familiar(), format!("a:1@{digest}"));
    }

    #[test]
    fn latest_is_added_only_to_bare_names() {
        let digest = format!("a@sha256:{}", "ab".repeat(32));
        for (text, want) in [("a", "a:latest"), ("a:1", "a:1"), (digest.as_str(), digest.as_str())]
        {
            assert_eq!(text.parse::<ImageReference>().unwrap().tag_or_latest().familiar(), want);
        }
    }

    #[test]
    fn wrong_references_say_what_docker_says() {
        let id = "ab".repeat(32);
        let bare_id =
            format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings");
        let long = "a".repeat(256);
        for (text, want) in [
            ("", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("a:.x", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a/", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
            ("a.b:x/c", "invalid reference format"),
            (
                "Postgres",
                "invalid reference format: repository name (library/Postgres) must be lowercase",
            ),
            ("x/Y:1", "invalid reference format: repository name (x/Y) must be lowercase"),
            (&long, "repository name must not be more than 255 characters"),
            (&id, &bare_id),
        ] {
            assert_eq!(text.parse::<ImageReference>().unwrap_err().to_string(), want, "{text}");
        }
        let odd = format!("a@sha512:{id}");
        assert_eq!(
            odd.parse::<ImageReference>().unwrap_err().to_string(),
            "unsupported digest algorithm"
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<ImageReference>();
        }

        #[test]
        fn canonical_and_familiar_forms_round_trip(
            text in "([a-z]{1,5}\\.[a-z]{2}(:[0-9]{1,4})?/)?[a-z0-9]{1,6}([_-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}([.][a-z]{1,3})?){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,10})?"
        ) {
            let reference: ImageReference = text.parse().unwrap();
            prop_assert_eq!(reference.canonical().parse::<ImageReference>().unwrap(), reference.clone());
            prop_assert_eq!(reference.familiar().parse::<ImageReference>().unwrap(), reference);
        }
    }
}
