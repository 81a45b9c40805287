//! Contexts, Dockerfiles, secrets and agents: what a build reads.

use std::fs::File;
use std::io::{Read, Seek as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_engine::build::request::{ContextSource, DockerfileSource, SecretSource, SshSource};

use crate::args::BuildArgs;
use crate::failure::Failure;

/// A secret may not be larger, as in BuildKit.
const SECRET_MAX_BYTES: u64 = 500 * 1024;
/// A Dockerfile from standard input may not be larger.
const DOCKERFILE_MAX_BYTES: u64 = 16 << 20;
/// Bytes of standard input that tell an archive from a Dockerfile.
const HEADER_BYTES: usize = 1024;
/// Beginnings of compressed archives.
const MAGICS: [&[u8]; 4] = [b"\x42\x5a\x68", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];

/// Splits comma-separated fields that may be quoted.
pub(super) fn fields(text: &str) -> Result<Vec<String>, Failure> {
    orlop_engine::build::fields(text).map_err(|error| Failure::new(error.to_string()))
}

/// The context and the Dockerfile.
pub(super) fn context(args: &BuildArgs) -> Result<(ContextSource, DockerfileSource), Failure> {
    let file = args.file.as_deref().filter(|file| !file.is_empty());
    let path = args.context.as_str();
    if path.is_empty() {
        return Err(Failure::new(
            "please specify build context (e.g. \".\" for the current directory)",
        ));
    }
    if path == "-" {
        return standard_input(file);
    }
    let context = if Path::new(path).is_dir() {
        ContextSource::Directory(PathBuf::from(path))
    } else if let Some(remote) = remote(path) {
        remote
    } else {
        return Err(Failure::new(format!("unable to prepare context: path {path:?} not found")));
    };
    let local = matches!(context, ContextSource::Directory(_));
    let dockerfile = match file {
        Some("-") => DockerfileSource::Text {
            name: "Dockerfile".to_owned(),
            text: dockerfile_text(&mut std::io::stdin())?,
        },
        Some(file) if file.starts_with("http://") || file.starts_with("https://") => {
            return Err(Failure::new(format!(
                "cannot read the Dockerfile from the address {file}"
            ))
            .with_hint(format!("`curl -L {file} | orlop build -f - {path}`")));
        }
        Some(file) if local || Path::new(file).is_absolute() => {
            DockerfileSource::Local(PathBuf::from(file))
        }
        Some(file) => DockerfileSource::InContext(file.to_owned()),
        None => DockerfileSource::default(),
    };
    Ok((context, dockerfile))
}

/// An address: git, or anything that is downloaded.
fn remote(text: &str) -> Option<ContextSource> {
    let http = text.starts_with("http://") || text.starts_with("https://");
    let before_fragment = text.split(['#', '?']).next().unwrap_or(text);
    let git = ["git://", "ssh://", "git@", "github.com/"].iter().any(|mark| text.starts_with(mark))
        || (http && before_fragment.ends_with(".git"));
    if git {
        return Some(ContextSource::Git(text.to_owned()));
    }
    http.then(|| ContextSource::Url(text.to_owned()))
}

/// A context from `--build-context`.
fn named(value: &str) -> ContextSource {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return ContextSource::Image(image.to_owned());
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return ContextSource::OciLayout(layout.to_owned());
    }
    remote(value).unwrap_or_else(|| ContextSource::Directory(PathBuf::from(value)))
}

/// Reads a `--build-context NAME=VALUE`.
pub(super) fn named_context(text: &str) -> Result<(String, ContextSource), Failure> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Failure::new(format!("invalid context value: {text}, expected key=value"))
    })?;
    let reference: orlop_types::reference::ImageReference = name
        .parse()
        .map_err(|error| Failure::new(format!("invalid context name {name}: {error}")))?;
    let source = named(value);
    if let ContextSource::Directory(path) = &source
        && !path.is_dir()
    {
        let reason = match path.metadata() {
            Ok(_) => "not a directory".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(Failure::new(format!(
            "failed to build: failed to get build context {name}: stat {value}: {reason}"
        )));
    }
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
    Ok((name.to_owned(), source))
}

/// Standard input: an archive, or the Dockerfile of a build without files.
fn standard_input(file: Option<&str>) -> Result<(ContextSource, DockerfileSource), Failure> {
    if file == Some("-") {
        return Err(Failure::new(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    let copy = rustix::io::dup(rustix::stdio::stdin()).map_err(std::io::Error::from)?;
    let mut input = File::from(copy);
    let failed = |error: std::io::Error| {
        Failure::new(format!("failed to peek context header from STDIN: {error}"))
    };
    let mut header = Vec::with_capacity(HEADER_BYTES);
    (&mut input).take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(failed)?;
    if is_archive(&header) {
        let dockerfile = match file {
            Some(file) => DockerfileSource::InContext(file.to_owned()),
            None => DockerfileSource::default(),
        };
        return Ok((ContextSource::Tar(whole(input, header)?), dockerfile));
    }
    if file.is_some() {
        return Err(Failure::new(
            "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
        ));
    }
    let mut rest = std::io::Cursor::new(header).chain(input);
    let text = dockerfile_text(&mut rest)?;
    let dockerfile = DockerfileSource::Text { name: "Dockerfile".to_owned(), text };
    Ok((ContextSource::Empty, dockerfile))
}

fn dockerfile_text(input: &mut dyn Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input.take(DOCKERFILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCKERFILE_MAX_BYTES {
        return Err(Failure::new("the Dockerfile on standard input is larger than 16MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn is_archive(header: &[u8]) -> bool {
    if MAGICS.iter().any(|magic| header.starts_with(magic)) {
        return true;
    }
    // A tar's first header ends with its checksum: the sum of its bytes, itself as blanks.
    let Some(block) = header.get(..512) else { return false };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    let field = block.get(148..156).unwrap_or_default();
    let field = String::from_utf8_lossy(field);
    let written = u32::from_str_radix(field.trim_matches(['\0', ' ']), 8);
    written.is_ok_and(|written| written == sum)
        // An archive without any file is nothing but zeros.
        || (block.iter().all(|byte| *byte == 0))
}

/// The input from its beginning: by going back, or by a pipe that begins with what was read.
fn whole(mut input: File, header: Vec<u8>) -> Result<File, Failure> {
    let read = i64::try_from(header.len()).unwrap_or_default();
    if input.metadata()?.is_file() && input.seek_relative(-read).is_ok() {
        return Ok(input);
    }
    let (reading, writing) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let mut writing = File::from(writing);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        // A build that needs no more closes its end.
        let copied =
            writing.write_all(&header).and_then(|()| std::io::copy(&mut input, &mut writing));
        if let Err(error) = copied {
            tracing::debug!(%error, "standard input was not read to its end");
        }
    })?;
    Ok(File::from(reading))
}

/// Reads a `--secret`.
pub(super) fn secret(text: &str) -> Result<(String, SecretSource), Failure> {
    let (mut kind, mut id, mut path, mut variable) =
        (String::new(), String::new(), String::new(), String::new());
    for field in fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            Failure::new(format!("invalid field '{field}' must be a key=value pair"))
        })?;
        match key.to_lowercase().as_str() {
            "type" if matches!(value, "file" | "env") => value.clone_into(&mut kind),
            "type" => return Err(Failure::new(format!("unsupported secret type {value:?}"))),
            "id" => value.clone_into(&mut id),
            "source" | "src" => value.clone_into(&mut path),
            "env" => value.clone_into(&mut variable),
            key => return Err(Failure::new(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if kind == "env" && variable.is_empty() {
        variable = std::mem::take(&mut path);
    }
    if id.is_empty() {
        return Err(Failure::new("secret missing ID"));
    }
    if variable.is_empty() && path.is_empty() {
        if std::env::var_os(&id).is_some() {
            variable.clone_from(&id);
        } else {
            path.clone_from(&id);
        }
    }
    if path.is_empty() {
        let value = std::env::var_os(&variable).unwrap_or_default();
        let bytes: Arc<[u8]> = value.into_encoded_bytes().into();
        return Ok((id, SecretSource::Value(bytes)));
    }
    let facts = Path::new(&path)
        .metadata()
        .map_err(|error| Failure::new(format!("failed to stat {path}: stat {path}: {error}")))?;
    if facts.len() > SECRET_MAX_BYTES {
        return Err(Failure::new(format!("secret {id} too big. max size 500KiB")));
    }
    Ok((id, SecretSource::File(PathBuf::from(path))))
}

/// Reads an `--ssh`.
pub(super) fn ssh(text: &str) -> Result<(String, SshSource), Failure> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let mut paths: Vec<PathBuf> = paths.split(',').map(PathBuf::from).collect();
    if let [only] = paths.as_slice()
        && only.as_os_str().is_empty()
    {
        let socket = std::env::var_os("SSH_AUTH_SOCK").unwrap_or_default();
        if socket.is_empty() {
            return Err(Failure::new(
                "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set",
            ));
        }
        paths = vec![PathBuf::from(socket)];
    }
    let mut sockets = 0;
    for path in &paths {
        let facts = path.metadata().map_err(|error| {
            Failure::new(format!("failed to stat {path}: {error}", path = path.display()))
        })?;
        sockets += usize::from(facts.file_type().is_socket());
    }
    match (sockets, paths.as_slice()) {
        (0, _) => Ok((id.to_owned(), SshSource::Keys(paths))),
        (1, [socket]) => Ok((id.to_owned(), SshSource::Agent(socket.clone()))),
        _ => Err(Failure::new("only single socket allowed")),
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
