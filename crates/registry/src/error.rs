//! Why an exchange with a registry failed, in Docker's words.

use std::path::PathBuf;

use orlop_types::{Digest, ErrorKind, ParseError, Platform};

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an exchange with a registry, a credential helper or a plain server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository has no such manifest.
    #[error("manifest for {reference} not found: manifest unknown: {message}")]
    ManifestUnknown {
        /// What was asked for, as people write it.
        reference: String,
        /// What the registry said.
        message: String,
    },
    /// The repository does not exist or the client may not see it.
    #[error(
        "pull access denied for {repository}, repository does not exist or may require 'docker login': {message}"
    )]
    PullDenied {
        /// The repository, as people write it.
        repository: String,
        /// What the registry said (`denied: requested access to the resource is denied`).
        message: String,
    },
    /// The registry wants another or any credential; the message starts with `unauthorized:` or
    /// `denied:`.
    #[error("{message}")]
    Denied {
        /// What the registry said.
        message: String,
    },
    /// A login was refused; Docker's wording around the registry's answer.
    #[error("Get \"{url}\": {message}")]
    LoginRefused {
        /// Address that was asked.
        url: String,
        /// What the registry said.
        message: String,
    },
    /// The registry wants a name and a password, and none are known.
    #[error("{method} \"{url}\": no basic auth credentials")]
    NoCredentials {
        /// `Get`, `Head`, …
        method: String,
        /// Address that was asked.
        url: String,
    },
    /// The registry allows no more requests for now, also after all retries.
    #[error("toomanyrequests: {message}")]
    TooManyRequests {
        /// What the registry said.
        message: String,
    },
    /// The registry answered with one of the protocol's error codes.
    #[error("{message}")]
    Registry {
        /// Status code of the answer.
        status: u16,
        /// The protocol's code, for instance `BLOB_UNKNOWN`.
        code: String,
        /// `blob unknown: blob unknown to registry`.
        message: String,
    },
    /// The server answered with a status that has no meaning here.
    #[error("received unexpected HTTP status: {status_text}")]
    Status {
        /// Status code of the answer.
        status: u16,
        /// For instance `500 Internal Server Error`.
        status_text: String,
    },
    /// A plain download was refused by the server.
    #[error("failed to GET {url} with status {status_text}: {body}")]
    Download {
        /// Address that was asked, without name and password.
        url: String,
        /// Status code of the answer.
        status: u16,
        /// For instance `404 Not Found`.
        status_text: String,
        /// The start of what the server sent.
        body: String,
    },
    /// The exchange failed below HTTP: name look-up, connection, TLS, timeout.
    #[error("{method} \"{url}\": {cause}")]
    Transport {
        /// `Get`, `Head`, `Post`, `Put`.
        method: String,
        /// Address that was asked, without name and password.
        url: String,
        /// Docker's words for the cause.
        cause: String,
        /// Whether the same request may work later.
        transient: bool,
    },
    /// The server's answer is not what the protocol says.
    #[error("invalid answer from {url}: {reason}")]
    Protocol {
        /// Address that was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A blob's bytes are not those of its digest.
    #[error("filesystem layer verification failed for digest {digest}")]
    BlobVerification {
        /// Digest that was asked for.
        digest: Digest,
    },
    /// A blob is shorter or longer than its descriptor says.
    #[error("{digest}: the registry sent {got} bytes instead of {want}")]
    BlobSize {
        /// Digest that was asked for.
        digest: Digest,
        /// Bytes of the descriptor.
        want: u64,
        /// Bytes that came.
        got: u64,
    },
    /// A manifest's bytes are not those of its digest.
    #[error("manifest verification failed for digest {digest}")]
    ManifestVerification {
        /// Digest that was asked for.
        digest: Digest,
    },
    /// An answer is larger than the client accepts.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// Bytes that are accepted.
        limit: u64,
    },
    /// A manifest of a kind that is no longer or not yet supported.
    #[error("{0}")]
    Unsupported(String),
    /// An index has nothing for a platform.
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoPlatform(Platform),
    /// A reference, address or setting is malformed.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// `config.json` could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A credential helper failed.
    #[error("error getting credentials - err: {reason}, out: `{output}`")]
    CredentialHelper {
        /// The program, for instance `docker-credential-pass`.
        program: String,
        /// How it ended.
        reason: String,
        /// What it printed, which is a message and never a secret when it fails.
        output: String,
    },
    /// A file with certificates could not be used.
    #[error("{path}: {reason}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller's own reader failed during an upload.
    #[error("reading what is uploaded: {0}")]
    Source(#[source] std::io::Error),
    /// The system refused something that the client needs (a thread, a socket).
    #[error("{attempt}: {source}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The caller's flag was raised.
    #[error("context canceled")]
    Cancelled,
}

impl Error {
    /// The kind that picks exit code and HTTP status.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ManifestUnknown { .. } | Self::PullDenied { .. } | Self::NoPlatform(_) => {
                ErrorKind::NotFound
            }
            Self::Denied { .. } | Self::LoginRefused { .. } | Self::NoCredentials { .. } => {
                ErrorKind::Denied
            }
            Self::TooManyRequests { .. } | Self::Cancelled => ErrorKind::Unavailable,
            Self::Registry { status: 404, .. }
            | Self::Status { status: 404, .. }
            | Self::Download { status: 404, .. } => ErrorKind::NotFound,
            Self::Parse(_) | Self::Unsupported(_) | Self::TooLarge { .. } => {
                ErrorKind::InvalidInput
            }
            Self::BlobVerification { .. }
            | Self::BlobSize { .. }
            | Self::ManifestVerification { .. } => ErrorKind::Corrupt,
            Self::ConfigFile { source, .. } | Self::Source(source) => ErrorKind::of_io(source),
            Self::Registry { .. }
            | Self::Status { .. }
            | Self::Download { .. }
            | Self::Transport { .. }
            | Self::Protocol { .. }
            | Self::CredentialHelper { .. }
            | Self::Certificate { .. }
            | Self::System { .. } => ErrorKind::Internal,
        }
    }

    /// Takes this crate's error out of what a reader of a transfer returned.
    ///
    /// # Errors
    /// Gives the error back when it is not one of this crate's.
    pub fn of_io(error: std::io::Error) -> Result<Self, std::io::Error> {
        error.downcast::<Self>()
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
