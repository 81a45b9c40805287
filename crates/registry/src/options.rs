//! Settings of a client, and where they come from.

use std::path::PathBuf;
use std::time::Duration;

use crate::credentials::Credentials;
use crate::error::Result;
use crate::proxy::Proxies;

/// Sizes that the client accepts.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest manifest or index; 4 MiB is the distribution specification's own limit.
    pub manifest_bytes: u64,
    /// Largest other answer that is kept in memory: tokens, errors, lists of tags.
    pub answer_bytes: u64,
    /// Redirects that one request follows.
    pub redirects: usize,
}

/// How long the client waits.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the next bytes of an answer.
    pub idle: Duration,
}

/// How often and when a failed transfer is tried again.
#[derive(Clone, Debug)]
pub struct Retries {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    /// Added to the wait before each further attempt: 5 s, 10 s, 15 s, …
    pub step: Duration,
    /// Longest wait that a server can ask for with `Retry-After`.
    pub longest: Duration,
}

/// Everything that a client can be told.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where names and passwords come from.
    pub credentials: Credentials,
    /// Mirrors of Docker Hub, asked before it when pulling (`https://mirror[:port]`, or `HOST`).
    pub mirrors: Vec<String>,
    /// Registries (`host[:port]` or `address/bits`) that may be spoken to without TLS or with a
    /// certificate that cannot be checked. Loopback addresses are always among them.
    pub insecure: Vec<String>,
    /// Proxies for all requests.
    pub proxies: Proxies,
    /// Directories with one directory for each registry: `HOST[:PORT]/{*.crt,*.cert,*.key}`.
    pub certificate_directories: Vec<PathBuf>,
    /// What the client calls itself.
    pub user_agent: String,
    /// Sizes that the client accepts.
    pub limits: Limits,
    /// How long the client waits.
    pub timeouts: Timeouts,
    /// How often and when a failed transfer is tried again.
    pub retries: Retries,
}

impl Default for ClientOptions {
    /// Anonymous, no proxies, no settings of the machine.
    fn default() -> Self {
        Self {
            credentials: Credentials::none(),
            mirrors: Vec::new(),
            insecure: Vec::new(),
            proxies: Proxies::default(),
            certificate_directories: Vec::new(),
            user_agent: concat!("orlop/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits { manifest_bytes: 4 << 20, answer_bytes: 8 << 20, redirects: 10 },
            timeouts: Timeouts { connect: Duration::from_secs(30), idle: Duration::from_secs(60) },
            retries: Retries {
                attempts: 5,
                step: Duration::from_secs(5),
                longest: Duration::from_secs(60),
            },
        }
    }
}

impl ClientOptions {
    /// The settings of the calling user and of this machine: `config.json` (`DOCKER_CONFIG`,
    /// `DOCKER_AUTH_CONFIG`), proxy variables, `certs.d`, and `registry-mirrors` and
    /// `insecure-registries` of `/etc/orlop/registries.json` or `/etc/docker/daemon.json`.
    ///
    /// # Errors
    /// A settings file that exists and cannot be read.
    pub fn of_environment() -> Result<Self> {
        crate::host::options_of_environment()
    }
}
