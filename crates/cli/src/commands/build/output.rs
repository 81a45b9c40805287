//! `--output`, `--load` and `--push`: where results go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal as _;
use std::path::Path;

use orlop_engine::build::request::{Destination, Output, OutputKind};

use super::source;
use crate::args::BuildArgs;
use crate::commands::build::request::{in_build, pairs};
use crate::failure::Failure;
use crate::output_file::Pending;

/// Mode of archives.
const FILE_MODE: u32 = 0o644;

/// Files that get their names when the build has succeeded.
#[derive(Debug, Default)]
pub(super) struct Files {
    pending: Vec<(String, Pending)>,
}

impl Files {
    /// Gives the files their names.
    pub(super) fn publish(self) -> Result<(), Failure> {
        for (path, file) in self.pending {
            file.publish().map_err(|error| Failure::new(format!("{path}: {error}")))?;
        }
        Ok(())
    }
}

/// One `--output` as written.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: String,
    destination: String,
    attributes: BTreeMap<String, String>,
}

/// Reads all outputs.
pub(super) fn outputs(args: &BuildArgs) -> Result<(Vec<Output>, Files), Failure> {
    let mut entries = args.output.iter().map(|text| entry(text)).collect::<Result<Vec<_>, _>>()?;
    shorthands(args, &mut entries);
    for annotation in &args.annotation {
        annotate(annotation, &mut entries)?;
    }
    if args.iidfile.is_some()
        && entries.iter().any(|entry| matches!(entry.kind.as_str(), "local" | "tar"))
    {
        return Err(Failure::new("local and tar exporters are incompatible with image ID file"));
    }
    let mut files = Files::default();
    let mut stdout_taken = false;
    let mut outputs = Vec::with_capacity(entries.len());
    for entry in entries {
        outputs.push(output(entry, &mut files, &mut stdout_taken)?);
    }
    Ok((outputs, files))
}

/// `dir`, `-`, or `type=…,key=value…`.
fn entry(text: &str) -> Result<Entry, Failure> {
    let fields = source::fields(text)?;
    if let [only] = fields.as_slice()
        && only == text
        && !text.starts_with("type=")
    {
        let kind = if text == "-" { "tar" } else { "local" };
        return Ok(Entry {
            kind: kind.to_owned(),
            destination: text.to_owned(),
            attributes: BTreeMap::new(),
        });
    }
    let mut entry =
        Entry { kind: String::new(), destination: String::new(), attributes: BTreeMap::new() };
    for field in fields {
        let (key, value) =
            field.split_once('=').ok_or_else(|| Failure::new(format!("invalid value {field}")))?;
        match key.trim().to_lowercase().as_str() {
            "type" => value.clone_into(&mut entry.kind),
            "dest" => value.clone_into(&mut entry.destination),
            key => {
                entry.attributes.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    if entry.kind.is_empty() {
        return Err(Failure::new("type is required for output"));
    }
    Ok(entry)
}

fn shorthands(args: &BuildArgs, entries: &mut Vec<Entry>) {
    let image = |push: bool| Entry {
        kind: "image".to_owned(),
        destination: String::new(),
        attributes: if push {
            BTreeMap::from([("push".to_owned(), "true".to_owned())])
        } else {
            BTreeMap::new()
        },
    };
    if args.push {
        let known =
            entries.iter_mut().find(|entry| matches!(entry.kind.as_str(), "image" | "registry"));
        match known {
            Some(entry) => {
                entry.attributes.insert("push".to_owned(), "true".to_owned());
            }
            None => entries.push(image(true)),
        }
    }
    let in_store = |entry: &Entry| {
        matches!(entry.kind.as_str(), "image" | "docker" | "moby") && entry.destination.is_empty()
    };
    if args.load && !entries.iter().any(in_store) {
        entries.push(image(false));
    }
}

/// `--annotation [TYPE:]KEY=VALUE` for every image.
fn annotate(text: &str, entries: &mut Vec<Entry>) -> Result<(), Failure> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| Failure::new(format!("invalid annotation {text:?}, expected key=value")))?;
    let key = match key.split_once(':') {
        Some((kind, _)) if kind.starts_with("index") => {
            return Err(Failure::new("index annotations not supported for single platform export"));
        }
        Some((kind, key)) if kind.starts_with("manifest") => key,
        _ => key,
    };
    if entries.is_empty() {
        entries.push(Entry {
            kind: "image".to_owned(),
            destination: String::new(),
            attributes: BTreeMap::new(),
        });
    }
    for entry in entries {
        entry.attributes.insert(format!("annotation.{key}"), value.to_owned());
    }
    Ok(())
}

fn output(entry: Entry, files: &mut Files, stdout_taken: &mut bool) -> Result<Output, Failure> {
    let Entry { kind: name, destination, mut attributes } = entry;
    let as_tar =
        attributes.get("tar").is_none_or(|value| crate::args::switch(value).unwrap_or(true));
    let (kind, file, directory) = match name.as_str() {
        "local" => (OutputKind::Local, false, true),
        "tar" => (OutputKind::Tar, true, false),
        "oci" => (OutputKind::Oci, as_tar, !as_tar),
        "docker" if destination.is_empty() => (OutputKind::Image, false, false),
        "docker" => (OutputKind::Docker, as_tar, !as_tar),
        "image" | "moby" => (OutputKind::Image, false, false),
        "registry" => {
            attributes.insert("push".to_owned(), "true".to_owned());
            (OutputKind::Image, false, false)
        }
        "cacheonly" => (OutputKind::CacheOnly, false, false),
        _ => {
            return Err(Failure::new(format!(
                "failed to build: failed to solve: exporter {name:?} could not be found"
            )));
        }
    };
    let destination = if directory {
        to_directory(&name, &destination).map_err(in_build)?
    } else if file {
        to_file(&name, &destination, files, stdout_taken).map_err(in_build)?
    } else {
        Destination::Store
    };
    Ok(Output { kind, attributes, destination })
}

fn to_directory(name: &str, path: &str) -> Result<Destination, Failure> {
    match path {
        "" => return Err(Failure::new(format!("dest is required for {name} exporter"))),
        "-" => return Err(Failure::new(format!("dest cannot be stdout for {name} exporter"))),
        _ => {}
    }
    match Path::new(path).metadata() {
        Ok(facts) if !facts.is_dir() => {
            return Err(Failure::new(format!("destination directory {path} is a file")));
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::new(format!("invalid destination directory: {path}: {error}")));
        }
        _ => {}
    }
    Ok(Destination::Directory(path.into()))
}

fn to_file(
    name: &str,
    path: &str,
    files: &mut Files,
    stdout_taken: &mut bool,
) -> Result<Destination, Failure> {
    if path.is_empty() || path == "-" {
        if std::mem::replace(stdout_taken, true) {
            return Err(Failure::new("multiple outputs configured to write to stdout"));
        }
        if std::io::stdout().is_terminal() {
            return Err(Failure::new(format!(
                "dest file is required for {name} exporter. refusing to write to console"
            )));
        }
        let copy = rustix::io::dup(rustix::stdio::stdout()).map_err(std::io::Error::from)?;
        return Ok(Destination::File(File::from(copy)));
    }
    match Path::new(path).metadata() {
        Ok(facts) if facts.is_dir() => {
            return Err(Failure::new(format!("destination file {path} is a directory")));
        }
        // A device or a pipe is written to where it is.
        Ok(facts) if !facts.is_file() => {
            let file = File::options().write(true).open(path);
            let file = file.map_err(|error| Failure::new(format!("open {path}: {error}")))?;
            return Ok(Destination::File(file));
        }
        _ => {}
    }
    let invalid = |error| Failure::new(format!("invalid destination file: {path}: {error}"));
    let pending = Pending::new(Path::new(path)).map_err(invalid)?;
    // As any file that a command writes for its user.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(FILE_MODE);
    pending.file().set_permissions(mode).map_err(invalid)?;
    let copy = pending.file().try_clone().map_err(invalid)?;
    files.pending.push((path.to_owned(), pending));
    Ok(Destination::File(copy))
}

/// `--cache-from` and `--cache-to`: a reference, or `type=…,key=value…`.
pub(super) fn caches(texts: &[String]) -> Result<Vec<BTreeMap<String, String>>, Failure> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| cache(text)).collect()
}

fn cache(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    let fields = source::fields(text)?;
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        let pair = [("type", "registry"), ("ref", only.as_str())];
        return Ok(pair.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    }
    let cache = pairs(&fields)?;
    if !cache.contains_key("type") {
        return Err(Failure::new(format!("type required for {text:?}")));
    }
    Ok(cache)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_by_buildx() {
        let attributes = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        for (text, kind, destination, rest) in [
            ("out", "local", "out", attributes(&[])),
            ("-", "tar", "-", attributes(&[])),
            ("type=oci,dest=x.tar,Tar=false", "oci", "x.tar", attributes(&[("tar", "false")])),
            ("type=image,\"name=a,b\"", "image", "", attributes(&[("name", "a,b")])),
        ] {
            let expected =
                Entry { kind: kind.into(), destination: destination.into(), attributes: rest };
            assert_eq!(entry(text).unwrap(), expected, "{text}");
        }
        for (text, message) in
            [("dest=x,a=b", "type is required for output"), ("type=tar,x", "invalid value x")]
        {
            assert_eq!(entry(text).unwrap_err().why, message);
        }
    }

    #[test]
    fn caches_are_references_or_fields() {
        let found = cache("user/app:cache").unwrap();
        assert_eq!(found["type"], "registry");
        assert_eq!(found["ref"], "user/app:cache");
        assert_eq!(cache("type=local,SRC=x").unwrap()["src"], "x");
        assert_eq!(cache("src=x,y=z").unwrap_err().why, "type required for \"src=x,y=z\"");
    }
}
