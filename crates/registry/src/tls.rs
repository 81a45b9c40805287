//! Whom the client trusts: the system's certificates (`SSL_CERT_FILE`, `SSL_CERT_DIR`), those of
//! `certs.d/HOST[:PORT]`, and client certificates from there.
//!
//! `*.crt` are authorities, `NAME.cert` with `NAME.key` is a client certificate, as Docker reads
//! them. The one provider of cryptography is `ring`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Result};

/// Whether a server must prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// By a certificate of a known authority.
    Authorities,
    /// Not at all: an insecure registry.
    Anyone,
}

/// Makes the TLS settings for one server.
pub(crate) fn settings(
    directories: &[PathBuf],
    authority: &str,
    trust: Trust,
) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let files = HostFiles::read(directories, authority)?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| tls_set_up(&error))?;
    let builder = match trust {
        Trust::Authorities => builder.with_root_certificates(roots(&files)?),
        Trust::Anyone => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
        }
    };
    match files.identity {
        Some((certificates, key, path)) => builder
            .with_client_auth_cert(certificates, key)
            .map_err(|error| Error::Certificate { path, reason: error.to_string() }),
        None => Ok(builder.with_no_client_auth()),
    }
}

fn tls_set_up(error: &rustls::Error) -> Error {
    let source = std::io::Error::other(error.to_string());
    Error::System { attempt: "setting up TLS", source }
}

/// What `certs.d` has for one server.
#[derive(Default)]
struct HostFiles {
    authorities: Vec<(PathBuf, CertificateDer<'static>)>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, PathBuf)>,
}

impl HostFiles {
    fn read(directories: &[PathBuf], authority: &str) -> Result<Self> {
        let mut found = Self::default();
        for directory in directories {
            let directory = directory.join(authority);
            let mut paths: Vec<PathBuf> = match std::fs::read_dir(&directory) {
                Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(certificate(&directory, &error)),
            };
            paths.sort();
            for path in paths {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => {
                        let certificates = read_certificates(&path)?;
                        found
                            .authorities
                            .extend(certificates.into_iter().map(|c| (path.clone(), c)));
                    }
                    Some("cert") if found.identity.is_none() => {
                        let key_path = path.with_extension("key");
                        let bytes =
                            std::fs::read(&key_path).map_err(|error| Error::Certificate {
                                path: key_path.clone(),
                                reason: format!("missing key for client certificate: {error}"),
                            })?;
                        let key = PrivateKeyDer::from_pem_slice(&bytes)
                            .map_err(|error| certificate(&key_path, &error))?;
                        found.identity = Some((read_certificates(&path)?, key, path));
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = std::fs::read(path).map_err(|error| certificate(path, &error))?;
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    all.map_err(|error| certificate(path, &error))
}

fn certificate(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Certificate { path: path.to_owned(), reason: error.to_string() }
}

/// The system's authorities and those of the server's directory.
fn roots(files: &HostFiles) -> Result<RootCertStore> {
    static SYSTEM: OnceLock<RootCertStore> = OnceLock::new();
    let system = SYSTEM.get_or_init(|| {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::debug!(%error, "a certificate of the system is left out");
        }
        let mut store = RootCertStore::empty();
        let (_, ignored) = store.add_parsable_certificates(loaded.certs);
        tracing::debug!(count = store.len(), ignored, "certificates of the system");
        store
    });
    let mut store = system.clone();
    for (path, authority) in &files.authorities {
        store.add(authority.clone()).map_err(|error| certificate(path, &error))?;
    }
    Ok(store)
}

/// Accepts every certificate; signatures are still checked, so the connection is encrypted.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
