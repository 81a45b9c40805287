//! Credentials in files and with helper programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::credentials::{Credentials, Stored};
use crate::{Credential, decode_auth, encode_auth};

#[test]
fn the_file_is_private_and_keeps_what_others_wrote() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("d/config.json");
    let store = Credentials::of_file(&path);
    assert!(store.get("a.example").expect("no file").is_empty());
    let put = store.put("a.example", &Credential::basic("u", "p:ä")).expect("stored");
    assert_eq!(put, Stored::File(path.clone()));
    let again = store.put("a.example", &Credential::basic("u", "p:ä")).expect("known");
    assert_eq!(again, Stored::Already);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("d")), 0o700);
    assert_eq!(store.get("a.example").expect("read"), Credential::basic("u", "p:ä"));
    fs::write(&path, r#"{"psFormat":"x","auths":{"b":{"auth":"dTpw"}}}"#).expect("written");
    assert!(store.erase("b").expect("erased"));
    assert!(!store.erase("b").expect("erased"));
    assert_eq!(
        fs::read_to_string(&path).expect("read"),
        "{\n\t\"psFormat\": \"x\",\n\t\"auths\": {}\n}"
    );
    // No other files are left beside it.
    assert_eq!(fs::read_dir(folder.path().join("d")).expect("there").count(), 1);
}

#[test]
fn a_linked_file_stays_a_link() {
    let folder = tempfile::tempdir().expect("a directory");
    let real = folder.path().join("real.json");
    fs::write(&real, "{}").expect("written");
    let link = folder.path().join("config.json");
    std::os::unix::fs::symlink(&real, &link).expect("linked");
    Credentials::of_file(&link).put("a", &Credential::basic("u", "p")).expect("stored");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert!(fs::read_to_string(&real).expect("read").contains("dTpw"));
}

#[test]
fn concurrent_changes_lose_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    let store = Credentials::of_file(&folder.path().join("config.json"));
    std::thread::scope(|scope| {
        for number in 0..8 {
            let store = &store;
            scope.spawn(move || {
                let host = format!("h{number}");
                store.put(&host, &Credential::basic("u", host.as_str())).expect("stored");
            });
        }
    });
    assert_eq!(store.all().expect("read").len(), 8);
}

#[test]
fn credentials_hide_their_secrets() {
    let credential = Credential {
        identity_token: "sec-a".to_owned(),
        registry_token: "sec-b".to_owned(),
        ..Credential::basic("u", "sec-c")
    };
    assert!(!format!("{credential:?}").contains("sec"));
}

#[test]
fn headers_with_credentials_are_read() {
    // {"username":"u","password":"p?>","serveraddress":"x"} in both alphabets.
    for value in [
        "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA_PiIsInNlcnZlcmFkZHJlc3MiOiJ4In0=",
        "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA/PiIsInNlcnZlcmFkZHJlc3MiOiJ4In0",
    ] {
        assert_eq!(Credential::from_header(value), Some(Credential::basic("u", "p?>")), "{value}");
    }
    // {"auth":"dTpw","identitytoken":"t"}
    let credential = Credential::from_header("eyJhdXRoIjoiZFRwdyIsImlkZW50aXR5dG9rZW4iOiJ0In0=");
    assert_eq!(credential.expect("read").identity_token, "t");
    assert_eq!(Credential::from_header("?"), None);
    assert_eq!(Credential::from_header(""), None);
    // {"a":{"username":"u","password":"p"}}
    let map = Credential::map_from_header("eyJhIjp7InVzZXJuYW1lIjoidSIsInBhc3N3b3JkIjoicCJ9fQ==");
    assert_eq!(map.expect("read").get("a"), Some(&Credential::basic("u", "p")));
    assert_eq!(decode_auth(&encode_auth("u", "p:q")), Some(("u".to_owned(), "p:q".to_owned())));
    assert_eq!(decode_auth("dQ=="), None);
}
