//! What registries answer.

use orlop_registry::config_file::ConfigFile;
use orlop_registry::manifest::{self, Manifest};
use orlop_registry::{
    Credential, challenge, content_range, decode_auth, encode_auth, error_answer, next_page, proxy,
};
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
    if let Some((first, Some(total))) = content_range(&text) {
        let _ = first.checked_sub(total);
    }
    let _ = next_page(&text);
    for status in [401, 429, 500] {
        if let Some(error) = error_answer::parse(status, input) {
            assert!(!error.shown().contains('\u{1b}'), "a server writes to the terminal");
        }
    }
    let _ = error_answer::retry_after(&text, jiff::Timestamp::UNIX_EPOCH);
    if let Ok(mut file) = ConfigFile::parse(input) {
        let _ = file.helper("localhost:5000");
        let credential = Credential::basic("somebody", "secret");
        file.set("localhost:5000", &credential);
        assert_eq!(file.credential("localhost:5000"), Some(&credential));
    }
    let _ = Credential::map_from_header(&text);
    let _ = proxy::split_list(&text);
    let _ = proxy::Proxies::of_variables(|_| Some(text.clone().into_owned()));
}
