//! Credential helpers: programs `docker-credential-NAME` that keep secrets (their protocol is
//! stdin and stdout; nothing secret is ever an argument).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::config_file::key_of;
use crate::credential::Credential;
use crate::error::{Error, Result};
use crate::error_answer::printable;

/// What helpers print when they have nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// User name under which an identity token is kept.
const TOKEN_USER: &str = "<token>";

/// One helper program.
pub(crate) struct Helper {
    program: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

impl Helper {
    /// The helper with a name of `config.json`.
    pub(crate) fn new(name: &str) -> Self {
        Self { program: format!("docker-credential-{name}") }
    }

    /// The credential for a registry; empty if there is none.
    pub(crate) fn get(&self, host: &str) -> Result<Credential> {
        let output = match self.run("get", key_of(host).as_bytes()) {
            Err(Error::CredentialHelper { output, .. }) if output == NOT_FOUND => {
                return Ok(Credential::default());
            }
            other => other?,
        };
        let kept: Kept = serde_json::from_slice(&output)
            .map_err(|_| self.failed("its answer is not readable".to_owned(), String::new()))?;
        if kept.username == TOKEN_USER {
            return Ok(Credential { identity_token: kept.secret, ..Credential::default() });
        }
        Ok(Credential::basic(kept.username, kept.secret))
    }

    /// Keeps a credential.
    pub(crate) fn store(&self, host: &str, credential: &Credential) -> Result<()> {
        let (username, secret) = if credential.identity_token.is_empty() {
            (credential.username.clone(), credential.password.clone())
        } else {
            (TOKEN_USER.to_owned(), credential.identity_token.clone())
        };
        let kept = Kept { server: key_of(host).to_owned(), username, secret };
        let bytes = serde_json::to_vec(&kept).expect("strings are always JSON");
        self.run("store", &bytes).map(drop)
    }

    /// Forgets a registry; nothing to forget is no error.
    pub(crate) fn erase(&self, host: &str) -> Result<()> {
        match self.run("erase", key_of(host).as_bytes()) {
            Err(Error::CredentialHelper { output, .. }) if output == NOT_FOUND => Ok(()),
            other => other.map(drop),
        }
    }

    /// User names by registry.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, String>> {
        let output = self.run("list", b"unused")?;
        serde_json::from_slice(&output)
            .map_err(|_| self.failed("its answer is not readable".to_owned(), String::new()))
    }

    fn failed(&self, reason: String, output: String) -> Error {
        Error::CredentialHelper { program: self.program.clone(), reason, output }
    }

    fn run(&self, action: &str, input: &[u8]) -> Result<Vec<u8>> {
        let mut child = Command::new(&self.program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| {
                let reason = match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        format!("exec: \"{}\": executable file not found in $PATH", self.program)
                    }
                    _ => error.to_string(),
                };
                self.failed(reason, String::new())
            })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper may end without reading; its status tells what it thinks.
            if let Err(error) = stdin.write_all(input) {
                tracing::debug!(%error, program = self.program, "the helper did not read");
            }
        }
        let output = child
            .wait_with_output()
            .map_err(|error| self.failed(error.to_string(), String::new()))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let text = printable(&String::from_utf8_lossy(&output.stdout));
        Err(self.failed(output.status.to_string().replace(": ", " "), text))
    }
}

/// The helper that Docker would choose on a machine without a choice.
pub(crate) fn default_helper(path: Option<&std::ffi::OsStr>) -> Option<&'static str> {
    let in_path = |program: &str| {
        path.is_some_and(|path| {
            std::env::split_paths(path).any(|dir: PathBuf| dir.join(program).is_file())
        })
    };
    let name = if in_path("pass") { "pass" } else { "secretservice" };
    in_path(&format!("docker-credential-{name}")).then_some(name)
}
