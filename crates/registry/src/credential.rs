//! One credential in the shapes that Docker knows: `X-Registry-Auth` and `config.json` entries.
//!
//! `Debug` shows no secret, and nothing here is ever put into an error text.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

/// Reads base64 with and without padding, as both are seen.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
/// The usual alphabet (`+/`).
pub(crate) const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
/// The alphabet of header values (`-_`).
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Who the client is for a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credential {
    /// User name; empty with an identity token.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// OAuth2 refresh token that replaces name and password.
    pub identity_token: String,
    /// Bearer token that is sent as it is.
    pub registry_token: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credential")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The JSON of `X-Registry-Auth` and of `POST /auth`.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct AuthConfig {
    username: String,
    password: String,
    auth: String,
    serveraddress: String,
    identitytoken: String,
    registrytoken: String,
}

impl Credential {
    /// A name and a password.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: password.into(), ..Self::default() }
    }

    /// Whether it says nothing at all: an anonymous client.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the value of an `X-Registry-Auth` header: base64url of a JSON object.
    ///
    /// Returns `None` for a value that cannot be decoded, which Docker treats as anonymous.
    #[must_use]
    pub fn from_header(value: &str) -> Option<Self> {
        let bytes = decode_any(value)?;
        Self::of_auth_config(serde_json::from_slice(&bytes).ok()?)
    }

    /// Reads the value of an `X-Registry-Config` header: base64url of a map from host to credential.
    #[must_use]
    pub fn map_from_header(value: &str) -> Option<BTreeMap<String, Self>> {
        let bytes = decode_any(value)?;
        let map: BTreeMap<String, AuthConfig> = serde_json::from_slice(&bytes).ok()?;
        let pairs = map.into_iter();
        Some(pairs.filter_map(|(host, auth)| Some((host, Self::of_auth_config(auth)?))).collect())
    }

    fn of_auth_config(auth: AuthConfig) -> Option<Self> {
        let mut credential = Self {
            username: auth.username,
            password: auth.password,
            identity_token: auth.identitytoken,
            registry_token: auth.registrytoken,
        };
        if credential.username.is_empty() && !auth.auth.is_empty() {
            (credential.username, credential.password) = decode_auth(&auth.auth)?;
        }
        Some(credential)
    }
}

/// Splits the `auth` member of `config.json`: base64 of `name:password`.
#[must_use]
pub fn decode_auth(text: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    // Docker trims zero bytes which old helpers appended.
    Some((name.to_owned(), password.trim_matches('\0').to_owned()))
}

/// Makes the `auth` member of `config.json`.
#[must_use]
pub fn encode_auth(username: &str, password: &str) -> String {
    STANDARD.encode(format!("{username}:{password}"))
}

fn decode_any(value: &str) -> Option<Vec<u8>> {
    let value = value.trim();
    URL_SAFE.decode(value).or_else(|_| STANDARD.decode(value)).ok()
}
