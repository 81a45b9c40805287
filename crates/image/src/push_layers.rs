//! Sending the layers of an image, several at once; what is not packed is packed on the way.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use orlop_archive::pack::Packing;
use orlop_meta::LayerBlob;
use orlop_registry::{BlobUpload, Error as RegistryError, Pushed, Repository};
use orlop_types::reference::ImageReference;
use orlop_types::{DiffId, Digest};

use crate::content_pack::LayerForm;
use crate::push_manifest::PushLayer;
use crate::transfer::{LayerState, Tick, TransferWatch};
use crate::{Content, Error, Images, Result};

/// Repositories from which a registry is asked to take a blob over: each costs a request.
const MOUNT_MAX: usize = 3;

/// Layers on their way to one repository.
pub(crate) struct Sending<'a> {
    pub(crate) images: &'a Images<'a>,
    pub(crate) repository: &'a Repository,
    pub(crate) reference: &'a ImageReference,
    /// How a layer is packed that is not.
    pub(crate) form: LayerForm,
    /// Other repositories of the registry that the whole image was seen in.
    pub(crate) seen_in: Vec<String>,
    pub(crate) watch: &'a TransferWatch,
}

/// Why a layer was not sent.
enum Unsent {
    /// The store does not have the blob, and the registry neither.
    NotHere,
    Failed(Error),
}

impl From<Error> for Unsent {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Sending<'_> {
    /// Sends every layer; their blobs in order. `None` if one can be had nowhere, so that the image
    /// must be pushed in another way.
    pub(crate) fn run(
        &self,
        layers: &[PushLayer],
        parallel: usize,
    ) -> Result<Option<Vec<LayerBlob>>> {
        // As Docker: the uppermost first, a content that comes twice once.
        let mut order: Vec<&PushLayer> = Vec::new();
        for layer in layers.iter().rev() {
            if !order.iter().any(|other| other.diff_id == layer.diff_id) {
                order.push(layer);
            }
        }
        for layer in &order {
            self.watch.layer(layer.diff_id.short(), LayerState::Preparing);
        }
        for layer in order.iter().skip(parallel) {
            self.watch.layer(layer.diff_id.short(), LayerState::Waiting);
        }
        let next = AtomicUsize::new(0);
        let sent: Mutex<HashMap<DiffId, LayerBlob>> = Mutex::default();
        let unsent: Mutex<Option<Unsent>> = Mutex::default();
        let work = || {
            while let Some(layer) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.send(layer) {
                    Ok(blob) => {
                        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                        sent.insert(layer.diff_id.clone(), blob);
                    }
                    Err(error) => {
                        next.store(order.len(), Ordering::Relaxed);
                        if matches!(error, Unsent::Failed(_)) {
                            self.watch.stop();
                        }
                        let mut unsent = unsent.lock().unwrap_or_else(PoisonError::into_inner);
                        unsent.get_or_insert(error);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..parallel.max(1).min(order.len()) {
                scope.spawn(work);
            }
            work();
        });
        match unsent.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Unsent::NotHere) => return Ok(None),
            Some(Unsent::Failed(error)) => return Err(error),
            None => {}
        }
        let sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(layers.iter().map(|layer| sent.get(&layer.diff_id).cloned()).collect())
    }

    fn send(&self, layer: &PushLayer) -> Result<LayerBlob, Unsent> {
        let id = layer.diff_id.short();
        let content = self.images.content();
        let blob = match &layer.blob {
            Some(blob) => LayerBlob {
                diff_id: layer.diff_id.clone(),
                digest: blob.digest.clone(),
                media_type: blob.media_type.clone(),
                size_bytes: blob.size,
                tar_bytes: 0,
            },
            None => self.packed(&content, layer)?,
        };
        let open = || -> io::Result<Box<dyn io::Read + Send>> {
            let reader = content.open(&blob.digest).map_err(io::Error::other)?;
            // The registry computes the digest of what it gets; once is enough.
            Ok(Box::new(reader.unverified()))
        };
        let upload = BlobUpload {
            digest: blob.digest.clone(),
            size: blob.size_bytes,
            mount_from: self.mount_from(&blob.digest)?,
            open: &open,
        };
        let watch = self.watch.of_upload(id, blob.size_bytes);
        let state = match self.repository.push_blob(&upload, &watch) {
            Ok(Pushed::Existing) => LayerState::LayerAlreadyExists,
            Ok(Pushed::Mounted(from)) => LayerState::MountedFrom(from),
            Ok(Pushed::Uploaded) => LayerState::Pushed,
            Err(error) => return Err(self.why(&content, &blob.digest, error)),
        };
        self.watch.layer(id, state);
        Ok(blob)
    }

    fn packed(&self, content: &Content<'_>, layer: &PushLayer) -> Result<LayerBlob> {
        let id = layer.diff_id.short();
        let total = self.images.layers.tar_length(&layer.chain_id)?;
        let so_far: Mutex<(u64, Tick)> = Mutex::default();
        let progress = |more: u64| {
            let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
            so_far.0 += more;
            if so_far.1.is_due() {
                self.watch.layer(id, LayerState::Packing { current: so_far.0, total });
            }
        };
        let (layers, form) = (self.images.layers, self.form);
        content.packed_layer(layers, &layer.chain_id, &layer.diff_id, form, &progress)
    }

    /// Other repositories of the same registry that have the blob.
    fn mount_from(&self, digest: &Digest) -> Result<Vec<String>> {
        let own = self.reference.path();
        let prefix = format!("{}/", self.reference.host());
        let noted = self.images.store.read(|query| query.blob_repositories(digest))?;
        let mut paths: Vec<String> = Vec::new();
        let noted = noted.iter().filter_map(|name| name.strip_prefix(&prefix));
        for path in noted.chain(self.seen_in.iter().map(String::as_str)) {
            if path != own && !paths.iter().any(|known| known == path) {
                paths.push(path.to_owned());
            }
        }
        paths.truncate(MOUNT_MAX);
        Ok(paths)
    }

    /// What it means that a blob was not taken: the store may not have it, or a damaged one.
    fn why(&self, content: &Content<'_>, digest: &Digest, error: RegistryError) -> Unsent {
        let own = match &error {
            RegistryError::Source(source) => source.get_ref().and_then(|own| own.downcast_ref()),
            _ => None,
        };
        if let Some(Error::NoBlob(_)) = own {
            return Unsent::NotHere;
        }
        // Whatever the registry says of bytes that are not ours: a look at them tells more.
        match content.verify(digest) {
            Err(Error::DamagedBlob(_)) => match content.forget_damaged(digest) {
                Ok(()) => Unsent::Failed(Error::ForgottenBlob(digest.clone())),
                Err(error) => Unsent::Failed(error),
            },
            _ => Unsent::Failed(error.into()),
        }
    }
}

/// The form in which layers are packed that are not yet: what was asked for, else gzip, which every
/// program reads.
pub(crate) fn form_of(packing: Option<Packing>) -> LayerForm {
    packing.map_or(LayerForm::Any(Packing::GZIP), LayerForm::Exactly)
}
