//! Tests of what a build reads: kinds of contexts, archives, secrets.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn addresses_are_told_from_directories() {
    let kind = |text: &str| match remote(text) {
        Some(ContextSource::Git(_)) => "git",
        Some(ContextSource::Url(_)) => "url",
        _ => "none",
    };
    for (text, expected) in [
        ("https://x/y.git", "git"),
        ("https://x/y.git#main:sub", "git"),
        ("git@github.com:x/y", "git"),
        ("git://x/y", "git"),
        ("github.com/x/y", "git"),
        ("https://x/y.tar.gz", "url"),
        ("http://x/Dockerfile", "url"),
        ("x/y", "none"),
    ] {
        assert_eq!(kind(text), expected, "{text}");
    }
}

#[test]
fn named_contexts() {
    let named =
        |text: &str| named_context(text).map(|(name, source)| (name, format!("{source:?}")));
    assert_eq!(
        named("a:latest=docker-image://b:1").unwrap(),
        ("a".to_owned(), "Image(\"b:1\")".to_owned())
    );
    assert_eq!(named("a=oci-layout:///x:1").unwrap().1, "OciLayout(\"/x:1\")");
    assert_eq!(named("a").unwrap_err().why, "invalid context value: a, expected key=value");
    let missing = named("a=/no/such/directory").unwrap_err().why;
    assert!(
        missing.starts_with(
            "failed to build: failed to get build context a: stat /no/such/directory: "
        ),
        "{missing}"
    );
}

#[test]
fn archives_are_known_by_their_beginning() {
    assert!(is_archive(b"\x1f\x8b\x08rest"));
    assert!(is_archive(b"\x28\xb5\x2f\xfdrest"));
    assert!(!is_archive(b"FROM scratch\n"));
    assert!(!is_archive(&[b'x'; 1024]));
    assert!(is_archive(&[0; 1024]));
    let mut header = [0_u8; 512];
    header[0] = b'a';
    let sum = u32::from(b'a') + 8 * 32;
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert!(is_archive(&header));
    header[1] = b'b';
    assert!(!is_archive(&header));
}

#[test]
fn secrets() {
    let directory = std::env::temp_dir().join(format!("orlop-secret-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("s");
    std::fs::write(&path, "x").unwrap();
    let read = |text: &str| match secret(text) {
        Ok((id, SecretSource::File(path))) => format!("{id} file {}", path.display()),
        Ok((id, SecretSource::Value(value))) => format!("{id} value {}", value.len()),
        Err(failure) => failure.why,
    };
    let shown = path.display();
    assert_eq!(read(&format!("id=a,src={shown}")), format!("a file {shown}"));
    assert_eq!(read("id=a,env=ORLOP_NO_SUCH_VARIABLE"), "a value 0");
    assert_eq!(read("type=env,id=a,src=ORLOP_NO_SUCH_VARIABLE"), "a value 0");
    std::fs::write(&path, vec![0; 500 * 1024 + 1]).unwrap();
    assert_eq!(read(&format!("id=a,src={shown}")), "secret a too big. max size 500KiB");
    std::fs::remove_dir_all(&directory).unwrap();
    for (text, message) in [
        ("src=x", "secret missing ID"),
        ("id=a,foo=b", "unexpected key 'foo' in 'foo=b'"),
        ("id=a,x", "invalid field 'x' must be a key=value pair"),
        ("type=vault,id=a", "unsupported secret type \"vault\""),
    ] {
        assert_eq!(read(text), message);
    }
    assert!(
        read("id=/no/such/file").starts_with("failed to stat /no/such/file: stat /no/such/file: ")
    );
}
