//! `config.json`: credentials and proxies, as pure functions over its bytes.
//!
//! Docker and other programs keep their own members in the same file, so what is not understood
//! here is written back as it was.

use std::collections::BTreeMap;

use orlop_types::ParseError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::credential::{Credential, decode_auth, encode_auth};

/// The key of Docker Hub.
pub const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What the file says of proxies for one daemon.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxySettings {
    /// For `http://` addresses.
    pub http_proxy: String,
    /// For `https://` addresses.
    pub https_proxy: String,
    /// Comma-separated exemptions.
    pub no_proxy: String,
    /// `FTP_PROXY`, for containers only.
    pub ftp_proxy: String,
    /// `ALL_PROXY`, for containers only.
    pub all_proxy: String,
}

impl std::fmt::Debug for ProxySettings {
    /// Leaves the addresses out: they may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ProxySettings").finish_non_exhaustive()
    }
}

/// The members that matter here, and the whole document.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// Credentials by key (`host[:port]`, sometimes with scheme and path).
    pub auths: BTreeMap<String, Credential>,
    /// Helper for all registries (`docker-credential-NAME`).
    pub creds_store: String,
    /// Helpers for single registries.
    pub cred_helpers: BTreeMap<String, String>,
    /// Proxies by daemon address or `default`.
    pub proxies: BTreeMap<String, ProxySettings>,
    document: Map<String, Value>,
}

/// One entry of `auths`.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Members {
    auths: Option<BTreeMap<String, Entry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
    proxies: Option<BTreeMap<String, ProxySettings>>,
}

impl ConfigFile {
    /// Reads the file's bytes; an empty file is an empty document.
    ///
    /// # Errors
    /// No JSON object, or members of a wrong type. The text has no secrets.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let wrong = |error: &serde_json::Error| {
            // Only the place: the parser's text may quote a value.
            ParseError::new(format!(
                "invalid configuration at line {} column {}",
                error.line(),
                error.column()
            ))
        };
        let document: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
        let members: Members = serde_json::from_slice(bytes).map_err(|error| wrong(&error))?;
        let mut auths = BTreeMap::new();
        for (key, entry) in members.auths.unwrap_or_default() {
            let text =
                format!("invalid configuration: auth of `{key}` is not base64 of NAME:PASSWORD");
            auths.insert(key, read_entry(entry).ok_or_else(|| ParseError::new(text))?);
        }
        Ok(Self {
            auths,
            creds_store: members.creds_store.unwrap_or_default(),
            cred_helpers: members.cred_helpers.unwrap_or_default(),
            proxies: members.proxies.unwrap_or_default(),
            document,
        })
    }

    /// The credential of a registry.
    #[must_use]
    pub fn credential(&self, host: &str) -> Option<&Credential> {
        let key = key_of(host);
        self.auths
            .get(key)
            .or_else(|| self.auths.iter().find(|(other, _)| same_host(other, key)).map(|(_, c)| c))
    }

    /// The helper for a registry, without `docker-credential-`; empty means the file itself.
    #[must_use]
    pub fn helper(&self, host: &str) -> &str {
        self.cred_helpers
            .get(key_of(host))
            .or_else(|| self.cred_helpers.get(host))
            .unwrap_or(&self.creds_store)
    }

    /// Keeps a credential; an empty one keeps the key alone, as Docker does beside a helper.
    pub fn set(&mut self, host: &str, credential: &Credential) {
        let key = key_of(host).to_owned();
        let mut entry = Map::new();
        if !credential.username.is_empty() || !credential.password.is_empty() {
            let auth = encode_auth(&credential.username, &credential.password);
            entry.insert("auth".to_owned(), auth.into());
        }
        for (name, value) in [
            ("identitytoken", &credential.identity_token),
            ("registrytoken", &credential.registry_token),
        ] {
            if !value.is_empty() {
                entry.insert(name.to_owned(), value.as_str().into());
            }
        }
        let auths = self.document.entry("auths").or_insert_with(|| Map::new().into());
        if !auths.is_object() {
            *auths = Map::new().into();
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key.clone(), entry.into());
        }
        self.auths.insert(key, credential.clone());
    }

    /// Forgets the credentials of a registry, whatever the form of their keys; tells if there were
    /// any.
    pub fn remove(&mut self, host: &str) -> bool {
        let key = key_of(host);
        let fits = |other: &str| other == key || same_host(other, key);
        let known = self.auths.len();
        self.auths.retain(|other, _| !fits(other));
        if let Some(auths) = self.document.get_mut("auths").and_then(Value::as_object_mut) {
            auths.retain(|other, _| !fits(other));
        }
        self.auths.len() < known
    }

    /// The variables that Docker's client gives to containers and builds, each in both cases.
    #[must_use]
    pub fn proxy_variables(&self) -> Vec<(String, String)> {
        let Some(found) = self.proxies.get("default") else { return Vec::new() };
        [
            ("HTTP_PROXY", &found.http_proxy),
            ("HTTPS_PROXY", &found.https_proxy),
            ("FTP_PROXY", &found.ftp_proxy),
            ("NO_PROXY", &found.no_proxy),
            ("ALL_PROXY", &found.all_proxy),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(name, value)| {
            [(name.to_owned(), value.clone()), (name.to_lowercase(), value.clone())]
        })
        .collect()
    }

    /// Whether no credentials and no helpers are set.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.auths.is_empty() && self.creds_store.is_empty() && self.cred_helpers.is_empty()
    }

    /// Chooses the helper for all registries.
    pub fn set_creds_store(&mut self, name: &str) {
        name.clone_into(&mut self.creds_store);
        self.document.insert("credsStore".to_owned(), name.into());
    }

    /// The document as Docker writes it, indented by tabs.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
        self.document.serialize(&mut serializer).expect("a JSON value is always written to memory");
        bytes
    }
}

fn read_entry(entry: Entry) -> Option<Credential> {
    let mut credential = Credential {
        username: entry.username,
        password: entry.password,
        identity_token: entry.identitytoken,
        registry_token: entry.registrytoken,
    };
    if !entry.auth.is_empty() {
        (credential.username, credential.password) = decode_auth(&entry.auth)?;
    }
    Some(credential)
}

/// The key that Docker uses for a registry.
#[must_use]
pub fn key_of(host: &str) -> &str {
    if crate::host::is_hub(host) { HUB_KEY } else { host }
}

/// Whether a key of the file, perhaps with scheme and path, means a registry.
fn same_host(key: &str, wanted: &str) -> bool {
    let bare = |text: &str| -> String {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let host = text.split('/').next().unwrap_or_default();
        let host = if crate::host::is_hub(host) { crate::host::HUB } else { host };
        host.to_ascii_lowercase()
    };
    bare(key) == bare(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_every_form_of_key() {
        let text = format!(
            r#"{{"auths":{{"{HUB_KEY}":{{"auth":"aHViOnB3"}},
            "https://reg.example:5000/v2/":{{"auth":"dTpwOnE="}},
            "t.example":{{"auth":"PHRva2VuPjo=","identitytoken":"it"}}}},
            "credHelpers":{{"h.example":"pass"}},"other":{{"kept":[1]}}}}"#
        );
        let file = ConfigFile::parse(text.as_bytes()).expect("valid");
        assert_eq!(file.credential("docker.io"), Some(&Credential::basic("hub", "pw")));
        assert_eq!(file.credential("reg.example:5000"), Some(&Credential::basic("u", "p:q")));
        assert_eq!(file.credential("reg.example"), None);
        assert_eq!(file.credential("t.example").map(|c| c.identity_token.as_str()), Some("it"));
        assert_eq!(file.helper("h.example"), "pass");
        assert_eq!(file.helper("reg.example:5000"), "");
    }

    #[test]
    fn unknown_members_survive_a_change() {
        let text = br#"{"z":1,"auths":{"a":{"auth":"dTpw","email":"e"}},"HttpHeaders":{"X":"y"}}"#;
        let mut file = ConfigFile::parse(text).expect("valid");
        file.set("docker.io", &Credential::basic("u", "p"));
        let want = "{\n\t\"z\": 1,\n\t\"auths\": {\n\t\t\"a\": {\n\t\t\t\"auth\": \"dTpw\",\n\t\t\t\"email\": \"e\"\n\t\t},\n\t\t\"https://index.docker.io/v1/\": {\n\t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t},\n\t\"HttpHeaders\": {\n\t\t\"X\": \"y\"\n\t}\n}";
        assert_eq!(String::from_utf8(file.to_bytes()).expect("text"), want);
        assert!(file.remove("a"));
        assert!(!file.remove("a"));
        assert!(file.remove("index.docker.io"));
        assert_eq!(
            file.to_bytes(),
            b"{\n\t\"z\": 1,\n\t\"auths\": {},\n\t\"HttpHeaders\": {\n\t\t\"X\": \"y\"\n\t}\n}"
        );
    }

    #[test]
    fn proxies_of_the_default_are_told_in_both_cases() {
        let text = br#"{"proxies":{"default":{"httpProxy":"http://p","noProxy":"a,b"},
            "tcp://other":{"ftpProxy":"x"}}}"#;
        let found = ConfigFile::parse(text).expect("valid").proxy_variables();
        let want = [
            ("HTTP_PROXY", "http://p"),
            ("http_proxy", "http://p"),
            ("NO_PROXY", "a,b"),
            ("no_proxy", "a,b"),
        ];
        assert_eq!(found, want.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(ConfigFile::default().proxy_variables().is_empty());
    }

    #[test]
    fn a_bad_file_is_refused_without_its_secrets() {
        for text in [
            "[]",
            "{",
            r#"{"auths":{"a":{"auth":"!secret!"}}}"#,
            r#"{"auths":{"a":{"auth":{"secret":1}}}}"#,
        ] {
            let error = ConfigFile::parse(text.as_bytes()).expect_err("bad").to_string();
            assert!(error.starts_with("invalid configuration"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(ConfigFile::parse(b" \n").expect("empty").is_new());
    }
}
