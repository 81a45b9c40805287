//! What registries answer.

use orlop_registry::manifest::{self, Manifest};
use orlop_registry::{Credential, challenge, decode_auth, encode_auth, proxy};
use orlop_types::platform::Platform;

const TYPES: &[&str] = &[
    "",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json; charset=utf-8",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// Reads a manifest or index under each name that a server may give it.
pub(super) fn manifest(input: &[u8]) {
    for content_type in TYPES {
        match manifest::parse(input, content_type) {
            Ok(Manifest::Index(index)) => {
                let chosen = index.choose(&Platform::normal("linux", "arm64", "v8"));
                assert!(chosen.is_err() || !index.manifests.is_empty());
            }
            Ok(Manifest::Image(_)) => {}
            Err(error) => assert!(!error.to_string().is_empty(), "an error without a reason"),
        }
    }
}

/// Reads the headers and small texts that clients of registries meet.
pub(super) fn headers(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for one in challenge::parse(&text) {
        let _ = one.get("realm");
    }
    if let Some((user, password)) = decode_auth(&text) {
        assert_eq!(decode_auth(&encode_auth(&user, &password)), Some((user, password)));
    }
    let _ = Credential::from_header(&text);
    let _ = Credential::map_from_header(&text);
    let _ = proxy::split_list(&text);
    let _ = proxy::Proxies::of_variables(|_| Some(text.clone().into_owned()));
}
