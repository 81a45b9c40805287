//! Base images: the local one, else the registry's (`--pull`: the registry's first).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use orlop_image::{
    Images, LayerState, LayoutPick, LoadOptions, LoadSource, PullOptions, TransferEvent,
    TransferWatch,
};
use orlop_meta::ImageRecord;
use orlop_registry::{Client, ClientOptions};
use orlop_types::platform::Platform;
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, ErrorKind};

use crate::document::Document;
use crate::progress::{Event, VertexId};
use crate::vertices::Vertices;
use crate::{Cancel, Error, Result};

/// Between two looks whether the build was ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A base image.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub document: Document,
    pub top: Option<ChainId>,
    /// As FROM shows it.
    pub shown_name: String,
}

/// Finds base images, each once in a build.
pub(crate) struct Bases<'a> {
    images: Images<'a>,
    vertices: &'a Vertices<'a>,
    cancel: &'a Cancel,
    client: Option<&'a Client>,
    own_client: OnceLock<Client>,
    pull: bool,
    found: Mutex<HashMap<(String, Platform), Base>>,
}

impl<'a> Bases<'a> {
    pub fn new(
        images: Images<'a>,
        vertices: &'a Vertices<'a>,
        cancel: &'a Cancel,
        client: Option<&'a Client>,
        pull: bool,
    ) -> Self {
        Self {
            images,
            vertices,
            cancel,
            client,
            own_client: OnceLock::new(),
            pull,
            found: Mutex::default(),
        }
    }

    /// The image of a name for a platform.
    pub fn resolve(&self, name: &str, platform: &Platform) -> Result<Base> {
        let key = (name.to_owned(), platform.clone());
        if let Some(base) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(base.clone());
        }
        // A whole or shortened id is no reference, but names a local image.
        let reference = name.parse::<ImageReference>().ok().map(ImageReference::tag_or_latest);
        let shown = reference.as_ref().map_or(name.to_owned(), ImageReference::canonical);
        let base =
            self.vertices.during(&format!("[internal] load metadata for {shown}"), |vertex| {
                self.look(name, reference.as_ref(), platform, vertex)
            })?;
        let base = Base { shown_name: shown, ..base };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(key, base.clone());
        Ok(base)
    }

    fn look(
        &self,
        name: &str,
        reference: Option<&ImageReference>,
        platform: &Platform,
        vertex: VertexId,
    ) -> Result<Base> {
        let local = match self.images.resolve(name) {
            Ok(image) => Some(base_of(&image)?).filter(|base| is_for(base, platform)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) if reference.is_none() => {
                return Err(Error::invalid(format!(
                    "failed to parse stage name {name:?}: {error}"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        let (Some(reference), true) = (reference, self.pull || local.is_none()) else {
            return local.ok_or_else(|| {
                Error::failed(ErrorKind::NotFound, format!("{name}: No such image: {name}"))
            });
        };
        let pulled = self.pull(reference, platform, vertex).map_err(|error| match error {
            Error::Cancelled => Error::Cancelled,
            error => Error::failed(
                error.kind(),
                format!(
                    "{name}: failed to resolve source metadata for {}: {error}",
                    reference.canonical()
                ),
            ),
        })?;
        base_of(&pulled)
    }

    /// The image of `DIRECTORY[:tag|@digest]`, which comes into the store without a name.
    pub fn resolve_layout(&self, text: &str, platform: &Platform) -> Result<Base> {
        let key = (format!("oci-layout://{text}"), platform.clone());
        if let Some(base) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(base.clone());
        }
        let failed = |kind, reason: String| {
            let text = format!("oci-layout reference {:?} could not be resolved: {reason}", key.0);
            Error::failed(kind, text)
        };
        let (directory, only) = layout_reference(text)
            .map_err(|reason| failed(ErrorKind::InvalidInput, reason.to_string()))?;
        let options = LoadOptions { platform: Some(platform.to_string()), only: Some(only) };
        let shown_name = key.0.clone();
        let base =
            self.vertices.during(&format!("[internal] load metadata for {}", key.0), |_| {
                let source = LoadSource::Directory(directory);
                let loaded =
                    self.images.load(source, &options, &|_| {}).map_err(|error| match error {
                        orlop_image::Error::NoManifest => {
                            failed(ErrorKind::NotFound, "no such image in its index".to_owned())
                        }
                        error => failed(error.kind(), crate::run::failure::text(&error)),
                    })?;
                let image = loaded.first().ok_or(Error::Cancelled)?;
                base_of(&self.images.resolve(image.id.as_str())?)
            })?;
        let base = Base { shown_name, ..base };
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(key, base.clone());
        Ok(base)
    }

    /// A client of registries.
    pub fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client {
            return Ok(client);
        }
        if let Some(client) = self.own_client.get() {
            return Ok(client);
        }
        let client =
            Client::new(ClientOptions::of_environment().map_err(registry)?).map_err(registry)?;
        Ok(self.own_client.get_or_init(|| client))
    }

    fn pull(
        &self,
        reference: &ImageReference,
        platform: &Platform,
        vertex: VertexId,
    ) -> Result<ImageRecord> {
        let options =
            PullOptions { platform: Some(platform.clone()), ..PullOptions::of(reference.clone()) };
        let client = self.client()?;
        let pulled = transfer(self.vertices, vertex, self.cancel, |watch| {
            Ok(self.images.pull(client, &options, watch)?)
        })?;
        let image = pulled.first().ok_or_else(|| {
            Error::failed(ErrorKind::NotFound, format!("{}: not found", reference.canonical()))
        })?;
        Ok(self.images.resolve(image.id.as_str())?)
    }
}

#[allow(clippy::needless_pass_by_value)] // It stands in `map_err`.
fn registry(error: orlop_registry::Error) -> Error {
    Error::failed(error.kind(), error.to_string())
}

/// Takes `DIRECTORY[:tag|@digest]` apart.
fn layout_reference(
    text: &str,
) -> std::result::Result<(PathBuf, LayoutPick), orlop_types::ParseError> {
    let (path, only) = match (text.split_once('@'), text.split_once(':')) {
        (Some((path, digest)), _) => {
            let path = path.split_once(':').map_or(path, |(path, _)| path);
            (path, LayoutPick::Digest(digest.parse()?))
        }
        (None, Some((path, tag))) => (path, LayoutPick::Tag(tag.to_owned())),
        (None, None) => (text, LayoutPick::Default),
    };
    Ok((PathBuf::from(path), only))
}

fn base_of(image: &ImageRecord) -> Result<Base> {
    Ok(Base {
        document: Document::parse(&image.config)?,
        top: image.top_layer.clone(),
        shown_name: String::new(),
    })
}

/// Whether an image is for a platform.
fn is_for(base: &Base, platform: &Platform) -> bool {
    let Document { os, architecture, variant, .. } = &base.document;
    platform.rank(&Platform::normal(os, architecture, variant)).is_some()
}

/// Carries a transfer out, with its progress at a vertex, and ends it with the build.
pub(crate) fn transfer<T: Send>(
    vertices: &Vertices<'_>,
    vertex: VertexId,
    cancel: &Cancel,
    work: impl FnOnce(&TransferWatch) -> Result<T> + Send,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    let watch = TransferWatch::new(move |event| {
        // Nobody listens any more once the transfer is over.
        let _ = sender.send(event);
    });
    let stop = std::sync::Arc::clone(&watch.stop);
    let result = std::thread::scope(|scope| {
        let working = scope.spawn(move || work(&watch));
        loop {
            match receiver.recv_timeout(LOOK_INTERVAL) {
                Ok(event) => tell(vertices, vertex, &event),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if cancel.is_cancelled() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    if cancel.is_cancelled() && result.is_err() { Err(Error::Cancelled) } else { result }
}

fn tell(vertices: &Vertices<'_>, vertex: VertexId, event: &TransferEvent) {
    let TransferEvent::Layer { id, state } = event else { return };
    let (what, current, total, done) = match state {
        LayerState::Downloading { current, total } => ("", *current, *total, false),
        LayerState::Extracting { current, total } => ("extracting ", *current, *total, false),
        LayerState::Pushing { current, total } => ("pushing ", *current, *total, false),
        LayerState::DownloadComplete => ("", 0, 0, true),
        _ => return,
    };
    let id = format!("{what}{id}");
    vertices.progress().event(Event::Status { vertex, id, current, total, done });
}
