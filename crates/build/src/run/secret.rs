//! Secrets of a RUN: read when a step needs them, handed to it in memory, kept nowhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use orlop_container::{StepMount, StepSource};
use orlop_runtime::plan::FileContent;
use orlop_types::ErrorKind;

use crate::request::SecretSource;
use crate::step::{RunMount, RunMountKind};
use crate::{Error, Result};

/// BuildKit's limit.
pub(super) const SECRET_MAX_BYTES: u64 = 500 << 10;

/// What of a step is secret.
#[derive(Default)]
pub(super) struct Secrets {
    /// Files.
    pub(super) files: Vec<StepMount>,
    /// `NAME=value`.
    pub(super) variables: Vec<String>,
}

/// Reads the secrets that a step mounts; one that is not there and not required is left out.
pub(super) fn collect(
    sources: &BTreeMap<String, SecretSource>,
    mounts: &[RunMount],
) -> Result<Secrets> {
    let mut secrets = Secrets::default();
    for mount in mounts {
        let RunMountKind::Secret { id, env, required, mode, uid, gid } = &mount.kind else {
            continue;
        };
        let Some(source) = sources.get(id) else {
            if *required {
                return Err(Error::failed(ErrorKind::NotFound, format!("secret {id}: not found")));
            }
            continue;
        };
        let bytes = read(id, source)?;
        if !env.is_empty() {
            let value = String::from_utf8(bytes.clone()).ok().filter(|text| !text.contains('\0'));
            let value = value.ok_or_else(|| {
                Error::invalid(format!("secret {id} cannot be the variable `{env}`: it is no text"))
            })?;
            secrets.variables.push(format!("{env}={value}"));
        }
        if !mount.target.is_empty() {
            let content =
                FileContent { bytes, mode: *mode, uid: *uid, gid: *gid, executable: false };
            secrets.files.push(StepMount {
                target: mount.target.clone(),
                source: StepSource::Content(content),
                read_only: true,
            });
        }
    }
    Ok(secrets)
}

fn read(id: &str, source: &SecretSource) -> Result<Vec<u8>> {
    let bytes = match source {
        SecretSource::Value(bytes) => bytes.to_vec(),
        SecretSource::File(path) => {
            let mut bytes = Vec::new();
            let read = File::open(path)
                .and_then(|file| file.take(SECRET_MAX_BYTES + 1).read_to_end(&mut bytes));
            read.map_err(|error| {
                let message = format!("cannot read secret {id} from `{}`: {error}", path.display());
                Error::failed(ErrorKind::of_io(&error), message)
            })?;
            bytes
        }
    };
    if bytes.len() as u64 > SECRET_MAX_BYTES {
        return Err(Error::invalid(format!("secret {id} too big. max size 500KB")));
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mount(id: &str, target: &str, env: &str, required: bool) -> RunMount {
        let (id, env) = (id.to_owned(), env.to_owned());
        let kind = RunMountKind::Secret { id, env, required, mode: 0o400, uid: 1, gid: 2 };
        RunMount { target: target.to_owned(), kind }
    }

    #[test]
    fn secrets_become_files_and_variables() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "from a file\n").unwrap();
        let sources = BTreeMap::from([
            ("a".to_owned(), SecretSource::File(path.clone())),
            ("b".to_owned(), SecretSource::Value(b"value".as_slice().into())),
            ("raw".to_owned(), SecretSource::Value(b"\xff".as_slice().into())),
        ]);
        let found = collect(
            &sources,
            &[
                mount("a", "/run/secrets/a", "", true),
                mount("b", "", "B", true),
                mount("b", "/b", "C", false),
                mount("nothing", "/run/secrets/nothing", "", false),
            ],
        )
        .unwrap();
        assert_eq!(found.variables, ["B=value", "C=value"]);
        let targets: Vec<&str> = found.files.iter().map(|file| file.target.as_str()).collect();
        assert_eq!(targets, ["/run/secrets/a", "/b"]);
        let StepSource::Content(content) = &found.files[0].source else { unreachable!() };
        assert_eq!(content.bytes, b"from a file\n");
        assert!(!format!("{:?}", found.files).contains("from"), "secrets are not shown");

        let fails = |mounts: &[RunMount]| collect(&sources, mounts).err().unwrap().to_string();
        assert_eq!(fails(&[mount("nothing", "/x", "", true)]), "secret nothing: not found");
        assert_eq!(
            fails(&[mount("raw", "", "RAW", true)]),
            "secret raw cannot be the variable `RAW`: it is no text"
        );
        std::fs::write(&path, vec![b'x'; 500 * 1024]).unwrap();
        assert!(collect(&sources, &[mount("a", "/a", "", true)]).is_ok());
        std::fs::write(&path, vec![b'x'; 500 * 1024 + 1]).unwrap();
        assert_eq!(fails(&[mount("a", "/a", "", true)]), "secret a too big. max size 500KB");
    }
}
