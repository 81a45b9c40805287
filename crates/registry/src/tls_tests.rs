//! TLS against a real registry server. Plain downloads check certificates on the loopback address,
//! too, so they show what is trusted.

use std::fs;
use std::path::Path;

use orlop_testkit::{RegistryOptions, RegistryServer};

use crate::{Client, ClientOptions, DownloadRequest, Error, ManifestKey, Result, Watch};

fn client(directory: &Path) -> Client {
    let directories = vec![directory.join("none"), directory.to_owned()];
    let options =
        ClientOptions { certificate_directories: directories, ..ClientOptions::default() };
    Client::new(options).expect("options")
}

/// The status of the protocol's root.
fn ask(client: &Client, host: &str) -> Result<u16> {
    let request = DownloadRequest { url: format!("https://{host}/v2/"), ..Default::default() };
    client.download(&request, &Watch::default()).map(|found| found.status)
}

fn cause(error: Error) -> String {
    match error {
        Error::Transport { cause, .. } => cause,
        other => panic!("{other}"),
    }
}

#[test]
fn authorities_of_certs_d_are_trusted_for_their_registry() {
    let server = RegistryServer::start(&RegistryOptions { tls: true, ..Default::default() });
    let folder = tempfile::tempdir().expect("a directory");
    let error = ask(&client(folder.path()), server.host()).expect_err("nobody knows it");
    assert_eq!(
        cause(error),
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
    let own = folder.path().join(server.host());
    fs::create_dir(&own).expect("a directory");
    fs::copy(server.authority(), own.join("ca.crt")).expect("copied");
    assert_eq!(ask(&client(folder.path()), server.host()).expect("trusted"), 200);
    // The same server by another name is another registry.
    let port = server.host().rsplit(':').next().expect("a port");
    let error = ask(&client(folder.path()), &format!("localhost:{port}")).expect_err("unknown");
    assert!(cause(error).ends_with("certificate signed by unknown authority"));
    fs::write(own.join("bad.crt"), "-----BEGIN CERTIFICATE-----\n!\n").expect("written");
    let error = ask(&client(folder.path()), server.host()).expect_err("damaged").to_string();
    assert!(error.starts_with(&own.join("bad.crt").display().to_string()), "{error}");
}

#[test]
fn client_certificates_of_certs_d_are_shown() {
    let server = RegistryServer::start(&RegistryOptions {
        tls: true,
        client_certificates: true,
        ..Default::default()
    });
    let folder = tempfile::tempdir().expect("a directory");
    let own = folder.path().join(server.host());
    fs::create_dir(&own).expect("a directory");
    fs::copy(server.authority(), own.join("ca.crt")).expect("copied");
    let (certificate, key) = server.client_identity();
    fs::copy(certificate, own.join("client.cert")).expect("copied");
    let error = ask(&client(folder.path()), server.host()).expect_err("no key").to_string();
    assert!(error.contains("client.key: missing key for client certificate"), "{error}");
    fs::copy(key, own.join("client.key")).expect("copied");
    assert_eq!(ask(&client(folder.path()), server.host()).expect("known"), 200);
    fs::remove_file(own.join("client.cert")).expect("removed");
    ask(&client(folder.path()), server.host()).expect_err("nobody");
}

#[test]
fn loopback_registries_may_have_any_certificate_or_none() {
    let folder = tempfile::tempdir().expect("a directory");
    for tls in [true, false] {
        let server = RegistryServer::start(&RegistryOptions { tls, ..Default::default() });
        let reference = format!("{}/a", server.host()).parse().expect("a reference");
        let repository = client(folder.path()).repository(&reference);
        let missing = repository.manifest(&ManifestKey::Tag("x".to_owned()), &Watch::default());
        let text = missing.expect_err("an empty registry").to_string();
        assert_eq!(
            text,
            format!(
                "manifest for {}/a:x not found: manifest unknown: manifest unknown",
                server.host()
            )
        );
    }
}
