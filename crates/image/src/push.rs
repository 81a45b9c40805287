//! Pushing images to registries.
//!
//! An image that was pulled goes with the manifest and the packed layers that it came with, byte for
//! byte; another one gets a manifest, and its layers are packed once and kept, so that the next push
//! finds everything done. Order: layers, configuration, manifest; then, in one commit, the digest as a
//! name of the image, where its blobs are, and the event.

use std::io;

use orlop_archive::pack::Packing;
use orlop_meta::{Durability, ImageManifest, ImageRecord, TagRecord};
use orlop_registry::{BlobUpload, Client, Credential, ManifestKey, Repository};
use orlop_sys::fault;
use orlop_types::reference::ImageReference;
use orlop_types::{Digest, Platform};

use crate::images::{config, event, now, stored};
use crate::push_layers::{Sending, form_of};
use crate::push_manifest::{PushManifest, PushPlan, new_manifest};
use crate::transfer::{TransferEvent, TransferWatch};
use crate::{Error, Images, Result};

/// Uploads of one push that go on at once, as Docker does it.
pub const PARALLEL_UPLOADS: usize = 5;

/// What to push and how.
#[derive(Clone, Debug)]
pub struct PushOptions {
    /// The name, with a tag unless all tags are pushed.
    pub reference: ImageReference,
    /// Every tag of the repository.
    pub all_tags: bool,
    /// The platform that the image must be for.
    pub platform: Option<Platform>,
    /// A credential instead of the stored one.
    pub credential: Option<Credential>,
    /// How layers must be packed; as they are, else gzip, if absent.
    pub packing: Option<Packing>,
    /// Uploads at once.
    pub parallel: usize,
}

impl PushOptions {
    /// The usual way to push what a reference names.
    #[must_use]
    pub fn of(reference: ImageReference) -> Self {
        Self {
            reference: reference.tag_or_latest(),
            all_tags: false,
            platform: None,
            credential: None,
            packing: None,
            parallel: PARALLEL_UPLOADS,
        }
    }
}

/// An image that a registry has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedImage {
    /// Its name there.
    pub reference: ImageReference,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Length of its manifest.
    pub size: u64,
}

impl Images<'_> {
    /// Pushes an image, or every tag of a repository.
    pub fn push(
        &self,
        client: &Client,
        options: &PushOptions,
        watch: &TransferWatch,
    ) -> Result<Vec<PushedImage>> {
        let name = &options.reference;
        if name.digest().is_some() {
            return Err(Error::PushDigest);
        }
        watch.tell(TransferEvent::PushRefersTo { name: name.canonical_name() });
        let tags = self.tags_in(name)?;
        if tags.is_empty() {
            return Err(Error::NoSuchRepository(name.familiar_name()));
        }
        let wanted = if options.all_tags { tags } else { vec![name.clone()] };
        let mut repository = client.repository(name);
        if let Some(credential) = &options.credential {
            repository = repository.with_credential(credential.clone());
        }
        let mut pushed = Vec::new();
        for reference in wanted {
            pushed.push(self.push_one(&repository, reference, options, watch)?);
        }
        Ok(pushed)
    }

    /// The names with tags that images have in a repository, in order.
    fn tags_in(&self, name: &ImageReference) -> Result<Vec<ImageReference>> {
        let mut found = Vec::new();
        for tag in self.store.read(|query| query.tags())? {
            let reference: ImageReference = tag.reference.parse()?;
            if reference.digest().is_none() && reference.canonical_name() == name.canonical_name() {
                found.push(reference);
            }
        }
        Ok(found)
    }

    fn push_one(
        &self,
        repository: &Repository,
        reference: ImageReference,
        options: &PushOptions,
        watch: &TransferWatch,
    ) -> Result<PushedImage> {
        let image = self.store.read::<_, Error>(|query| {
            let tag = query.tag(&stored(&reference))?;
            let image = tag.map(|tag| query.image(&tag.image)).transpose()?.flatten();
            image.ok_or_else(|| Error::NoSuchTag(reference.familiar()))
        })?;
        if let Some(platform) = &options.platform {
            check_platform(&image, &reference, platform)?;
        }
        // Keeps sweeps away from what is packed here, until the image has it.
        let _changing = self.store.changing()?;
        let sending = Sending {
            images: self,
            repository,
            reference: &reference,
            form: form_of(options.packing),
            seen_in: self.repositories_of(&image, &reference)?,
            watch,
        };
        let mut manifest = None;
        for plan in self.plan_push(&image, options.packing)? {
            let PushPlan { manifest: kept, layers } = plan;
            if let Some(blobs) = sending.run(&layers, options.parallel)? {
                manifest = Some(kept.map_or_else(|| new_manifest(&image, &blobs), Ok)?);
                break;
            }
        }
        // The last plan makes what it needs.
        let manifest = manifest.ok_or_else(|| Error::NoSuchTag(reference.familiar()))?;
        push_config(repository, &image, watch)?;
        fault::point("push.blobs");
        let key = ManifestKey::of(&reference);
        let PushManifest { media_type, bytes, .. } = &manifest;
        let digest = repository.push_manifest(&key, media_type, bytes, &watch.quiet())?;
        fault::point("push.manifest");
        self.note_pushed(&image, &reference, &manifest)?;
        let size = bytes.len() as u64;
        let tag = key.as_str().to_owned();
        watch.tell(TransferEvent::Pushed { tag, digest: digest.clone(), size });
        tracing::info!(op = "image push", image = %image.id, name = %reference);
        Ok(PushedImage { reference, digest, size })
    }

    /// Paths of other repositories of the same registry that the image was pulled from or pushed to.
    fn repositories_of(
        &self,
        image: &ImageRecord,
        reference: &ImageReference,
    ) -> Result<Vec<String>> {
        let mut paths = Vec::new();
        for tag in self.store.read(|query| query.tags_of(&image.id))? {
            let other: ImageReference = tag.reference.parse()?;
            if other.digest().is_some() && other.host() == reference.host() {
                paths.push(other.path().to_owned());
            }
        }
        Ok(paths)
    }

    /// Remembers with which manifest the image is where.
    fn note_pushed(
        &self,
        image: &ImageRecord,
        reference: &ImageReference,
        manifest: &PushManifest,
    ) -> Result<()> {
        let blob = self.content().put(&manifest.media_type, &manifest.bytes)?;
        let document = orlop_registry::manifest::parse(&manifest.bytes, &manifest.media_type)?;
        let layers = match document {
            orlop_registry::manifest::Manifest::Image(document) => document.layers,
            orlop_registry::manifest::Manifest::Index(_) => Vec::new(),
        };
        self.store.write::<_, Error>(Durability::Durable, |query| {
            // It may have been removed meanwhile.
            if query.image(&image.id)?.is_none() {
                return Ok(());
            }
            blob.insert(query)?;
            let link = ImageManifest {
                image: image.id.clone(),
                manifest: manifest.digest.clone(),
                index: None,
            };
            query.image_manifest_put(&link, &now())?;
            for layer in &layers {
                if query.content(&layer.digest)?.is_some() {
                    query.blob_repository_put(
                        &layer.digest,
                        &reference.canonical_name(),
                        &now(),
                    )?;
                }
            }
            query.tag_put(&TagRecord {
                reference: format!("{}@{}", reference.canonical_name(), manifest.digest),
                image: image.id.clone(),
                updated_at: now(),
            })?;
            let mut event = event("push", image, &reference.familiar_name());
            event.actor = reference.familiar();
            Ok(query.event_insert(&event)?)
        })?;
        fault::point("push.noted");
        Ok(())
    }
}

fn check_platform(
    image: &ImageRecord,
    reference: &ImageReference,
    platform: &Platform,
) -> Result<()> {
    let config = config(image)?;
    let own = Platform::normal(&config.os, &config.architecture, &config.variant);
    if platform.rank(&own).is_some() {
        return Ok(());
    }
    Err(Error::OtherPlatform { name: reference.familiar(), platform: platform.to_string() })
}

fn push_config(repository: &Repository, image: &ImageRecord, watch: &TransferWatch) -> Result<()> {
    let bytes = image.config.as_bytes();
    let open = || -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(bytes.to_vec())))
    };
    let upload = BlobUpload {
        digest: image.id.digest().clone(),
        size: bytes.len() as u64,
        mount_from: Vec::new(),
        open: &open,
    };
    repository.push_blob(&upload, &watch.quiet())?;
    Ok(())
}
