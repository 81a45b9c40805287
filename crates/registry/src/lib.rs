//! Registries: the OCI distribution protocol, credentials, and plain downloads.
//!
//! Asynchronous inside, blocking outside: every public method waits, and a [`Watch`] carries its
//! progress out and the wish to stop in. The runtime is private and starts with the first request.
//!
//! * [`Client`] holds settings, connections and tokens; [`Repository`] is one repository seen
//!   through it: manifests, tags, [`BlobReader`] downloads that resume, uploads.
//! * [`Client::download`] fetches plain addresses (`ADD https://…`, `import`, build contexts).
//! * [`Credentials`] reads and writes `config.json` and talks to credential helpers.
//! * [`manifest`], [`challenge`], [`config_file`], [`proxy`] parse foreign text with pure functions.
//!
//! Nothing that comes from a server is returned before it was verified, with two exceptions that
//! their documentation names: bytes read from a [`BlobReader`] before its end, and plain downloads.

pub mod challenge;
mod client;
pub mod config_file;
mod credential;
mod credentials;
#[cfg(test)]
mod credentials_tests;
mod download;
mod endpoint;
mod error;
pub mod error_answer;
mod exchange;
#[cfg(test)]
mod fault_tests;
mod fetch;
mod helper;
mod host;
pub mod manifest;
mod options;
mod pieces;
pub mod proxy;
mod repository;
mod runtime;
mod search;
mod stall;
mod tls;
#[cfg(test)]
mod tls_tests;
mod token;
mod transport;
mod upload;
mod verify;
mod watch;

pub use client::{Client, LoginOutcome};
pub use credential::{Credential, decode_auth, encode_auth};
pub use credentials::{Credentials, Stored};
pub use download::{Download, DownloadBody, DownloadRequest};
pub use error::{Error, Result};
pub use exchange::next_page;
pub use fetch::{BlobReader, BlobRequest, content_range};
pub use manifest::{Descriptor, ImageManifest, Index, Manifest};
pub use options::{ClientOptions, Limits, Retries, Timeouts};
pub use repository::{FetchedManifest, ManifestKey, Repository, Resolved};
pub use search::{SearchQuery, SearchResult};
pub use upload::{BlobUpload, OpenBytes, Pushed};
pub use verify::Verifier;
pub use watch::{Event, Watch};
