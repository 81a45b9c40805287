//! Reads the Dockerfile and the ignore rules of a build.

use std::path::Path;
use std::sync::Arc;

use orlop_dockerfile::Ignore;
use orlop_sys::confined::Root;
use orlop_types::ErrorKind;

use crate::context::{DOCKERFILE_MAX_BYTES, Tree};
use crate::error::Place;
use crate::progress::StepProgress;
use crate::request::DockerfileSource;
use crate::vertices::Vertices;
use crate::{Error, Result};

/// Name of the ignore rules in a context.
const IGNORE_NAME: &str = ".dockerignore";

/// The Dockerfile's name and text, and the text of the ignore rules.
pub(crate) fn load(
    source: &DockerfileSource,
    context: &Tree,
    vertices: &Vertices<'_>,
) -> Result<(Place, String)> {
    let shown = match source {
        DockerfileSource::InContext(path) => file_name(Path::new(path)),
        DockerfileSource::Local(path) => file_name(path),
        DockerfileSource::Text { name, .. } => name.clone(),
    };
    let name = format!("[internal] load build definition from {shown}");
    let text = vertices.during(&name, |vertex| {
        let text = read(source, context)?;
        let progress = StepProgress { progress: vertices.progress(), vertex };
        progress.status("transferring dockerfile", text.len() as u64, text.len() as u64, true);
        String::from_utf8(text).map_err(|_| Error::invalid(format!("{shown} is not valid UTF-8")))
    })?;
    let ignore = vertices.during("[internal] load .dockerignore", |vertex| {
        let text = read_ignore(source, context)?;
        let progress = StepProgress { progress: vertices.progress(), vertex };
        progress.status("transferring context", text.len() as u64, text.len() as u64, true);
        Ok(text)
    })?;
    Ok((Place { file: shown, text: Arc::from(text) }, ignore))
}

/// Hides from a context what its ignore rules say.
pub(crate) fn ignore(text: &str) -> Result<Ignore> {
    Ignore::parse(text)
        .map_err(|error| Error::invalid(format!("failed to parse {IGNORE_NAME}: {error}")))
}

/// The ignore rules of a named context.
pub(crate) fn own_ignore(context: &Tree) -> Result<Ignore> {
    ignore(&text_of(context.read(IGNORE_NAME)?))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string())
}

fn read(source: &DockerfileSource, context: &Tree) -> Result<Vec<u8>> {
    match source {
        DockerfileSource::Text { text, .. } => Ok(text.clone().into_bytes()),
        DockerfileSource::Local(path) => read_local(path)?.ok_or_else(|| missing(path)),
        DockerfileSource::InContext(path) => {
            let path = path.trim_start_matches('/');
            if let Some(text) = context.read(path)? {
                return Ok(text);
            }
            // As docker does for the usual name.
            let lower = (path == "Dockerfile").then(|| context.read("dockerfile"));
            lower.transpose()?.flatten().ok_or_else(|| missing(Path::new(path)))
        }
    }
}

fn missing(path: &Path) -> Error {
    let message = format!(
        "failed to read dockerfile: open {}: no such file or directory",
        path.file_name().map_or_else(|| path.display(), |name| Path::new(name).display())
    );
    Error::failed(ErrorKind::NotFound, message)
}

/// Reads a file of this machine that the user named.
fn read_local(path: &Path) -> Result<Option<Vec<u8>>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // A link of the user's own may lead anywhere.
    let real = match directory.join(name).canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let text = format!("failed to read dockerfile: open {}: {error}", path.display());
            return Err(Error::failed(ErrorKind::of_io(&error), text));
        }
    };
    let (Some(directory), Some(name)) = (real.parent(), real.file_name()) else { return Ok(None) };
    let root = Root::open(directory).map_err(orlop_layer::Error::from)?;
    let content =
        root.read_limited(name, DOCKERFILE_MAX_BYTES).map_err(orlop_layer::Error::from)?;
    Ok(Some(content))
}

fn read_ignore(source: &DockerfileSource, context: &Tree) -> Result<String> {
    let own = match source {
        DockerfileSource::InContext(path) => {
            context.read(&format!("{}{IGNORE_NAME}", path.trim_start_matches('/')))?
        }
        DockerfileSource::Local(path) => {
            let mut name = path.as_os_str().to_owned();
            name.push(IGNORE_NAME);
            read_local(Path::new(&name))?
        }
        DockerfileSource::Text { .. } => None,
    };
    match own {
        Some(text) => Ok(text_of(Some(text))),
        None => Ok(text_of(context.read(IGNORE_NAME)?)),
    }
}

fn text_of(content: Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(&content.unwrap_or_default()).into_owned()
}
