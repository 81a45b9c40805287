//! Pulling images from registries.
//!
//! Order: manifest and configuration; layers downloaded, verified and unpacked at the same time; the
//! layers' rows; the packed layers given their places; then image, names, digests, blobs and the event
//! in one commit. What a cut leaves is layers that nothing needs, which a sweep takes or the next
//! pull finds, and parts of downloads, from which the next pull goes on.

use std::fs::File;

use orlop_meta::{ContentRecord, Durability, ImageManifest, ImageRecord, Query, TagRecord};
use orlop_registry::{Client, Credential, FetchedManifest, ManifestKey, Repository};
use orlop_sys::fault;
use orlop_sys::lock::FileLock;
use orlop_types::reference::ImageReference;
use orlop_types::{Digest, ImageId, Platform};

use crate::content::sync_directory;
use crate::images::{event, now, stored};
use crate::pull_layers::Gathered;
use crate::pull_plan::{PlannedPull, Presence};
use crate::transfer::{TransferEvent, TransferWatch};
use crate::{Error, Images, NewBlob, Result};

/// Downloads of one pull that go on at once, as Docker does it.
pub const PARALLEL_DOWNLOADS: usize = 3;
/// Between two looks whether another pull of the same image has ended.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

/// Whether packed layers stay beside the unpacked ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepPacked {
    /// They do: the image can be pushed byte for byte, and at once.
    #[default]
    Keep,
    /// They go: a push packs the layers anew.
    Discard,
}

/// What to pull and how.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// The name, with a tag or a digest unless all tags are pulled.
    pub reference: ImageReference,
    /// Every tag of the repository.
    pub all_tags: bool,
    /// Which of several platforms; this machine's if absent.
    pub platform: Option<Platform>,
    /// A credential instead of the stored one.
    pub credential: Option<Credential>,
    /// Downloads at once.
    pub parallel: usize,
    /// Whether packed layers stay.
    pub keep_packed: KeepPacked,
}

impl PullOptions {
    /// The usual way to pull what a reference names.
    #[must_use]
    pub fn of(reference: ImageReference) -> Self {
        Self {
            reference: reference.tag_or_latest(),
            all_tags: false,
            platform: None,
            credential: None,
            parallel: PARALLEL_DOWNLOADS,
            keep_packed: KeepPacked::default(),
        }
    }
}

/// An image that was pulled, or was here already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// The name under which it was pulled.
    pub reference: ImageReference,
    /// What the registry has under the name: an index or a manifest.
    pub digest: Digest,
    /// Whether the name points to another image than before.
    pub is_new: bool,
}

impl Images<'_> {
    /// Pulls an image, or every tag of a repository.
    pub fn pull(
        &self,
        client: &Client,
        options: &PullOptions,
        watch: &TransferWatch,
    ) -> Result<Vec<Pulled>> {
        let name = &options.reference;
        if name.familiar_name() == "scratch" {
            return Err(Error::Scratch);
        }
        let mut repository = client.repository(name);
        if let Some(credential) = &options.credential {
            repository = repository.with_credential(credential.clone());
        }
        let mut references = vec![name.clone()];
        if options.all_tags {
            let tags = repository.tags(&watch.quiet())?;
            references = tags.iter().map(|tag| name.with_tag(tag)).collect::<Result<_, _>>()?;
        }
        let mut pulled = Vec::new();
        for reference in references {
            pulled.push(self.pull_one(&repository, reference, options, watch)?);
        }
        let is_new = pulled.iter().any(|pulled| pulled.is_new);
        let shown = if options.all_tags { name.familiar_name() } else { name.familiar() };
        let what = if is_new { "Downloaded newer image" } else { "Image is up to date" };
        watch.tell(TransferEvent::Line(format!("Status: {what} for {shown}")));
        Ok(pulled)
    }

    fn pull_one(
        &self,
        repository: &Repository,
        reference: ImageReference,
        options: &PullOptions,
        watch: &TransferWatch,
    ) -> Result<Pulled> {
        let key = ManifestKey::of(&reference);
        let plan = self.plan_pull(repository, &key, options.platform.as_ref(), watch)?;
        let (tag, path) = (key.as_str().to_owned(), reference.path().to_owned());
        watch.tell(TransferEvent::PullingFrom { tag, path });
        // Keeps sweeps away until the image has its row.
        let _changing = self.store.changing()?;
        let _alone = self.only_pull_of(&plan.id, watch)?;
        let gathered = self.gather_layers(repository, &plan, options, watch)?;
        let is_new = self.finish_pull(&plan, gathered, &reference, options.keep_packed)?;
        if let (Some(own), Some(wanted)) = (&plan.other_platform, &options.platform) {
            watch.tell(TransferEvent::Line(format!(
                "WARNING: image with reference {} was found but its platform ({own}) does not match the specified platform ({wanted})",
                reference.familiar()
            )));
        }
        watch.tell(TransferEvent::Digest(plan.top.clone()));
        tracing::info!(op = "image pull", image = %plan.id, name = %reference);
        Ok(Pulled { id: plan.id, reference, digest: plan.top, is_new })
    }

    /// Sees to it that one image is pulled once: the others find what the first one brought.
    fn only_pull_of(&self, id: &ImageId, watch: &TransferWatch) -> Result<FileLock> {
        // As many locks as there are beginnings, since a lock's file is never removed.
        let beginning = id.hex().get(..2).unwrap_or_default();
        let path = self.store.paths.run_root.join(format!("pull-{beginning}.lock"));
        loop {
            let lock = FileLock::try_acquire(&path)
                .map_err(|source| Error::Lock { path: path.clone(), source })?;
            if let Some(lock) = lock {
                return Ok(lock);
            }
            if watch.is_stopped() {
                return Err(orlop_registry::Error::Cancelled.into());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Fetches what the store lacks; on a full disk gives back what came in.
    fn gather_layers(
        &self,
        repository: &Repository,
        plan: &PlannedPull,
        options: &PullOptions,
        watch: &TransferWatch,
    ) -> Result<Found> {
        let presence = self.presence(&plan.layers)?;
        let is_known = self.store.read(|query| query.image(&plan.id))?.is_some();
        if is_known && presence.iter().all(|presence| *presence == Presence::Whole) {
            return Ok(Found { presence, gathered: Gathered::default() });
        }
        let gathered = self.gather(repository, &plan.layers, &presence, options.parallel, watch);
        if gathered.as_ref().is_err_and(Error::is_full_disk) {
            self.content().discard_partials(plan.layers.iter().map(|layer| &layer.blob.digest));
        }
        fault::point("pull.gathered");
        Ok(Found { presence, gathered: gathered? })
    }

    /// Puts everything in its place and makes the image visible. Says whether the name is new.
    fn finish_pull(
        &self,
        plan: &PlannedPull,
        found: Found,
        reference: &ImageReference,
        keep: KeepPacked,
    ) -> Result<bool> {
        self.put_layers(plan, &found.presence, found.gathered.unpacked)?;
        fault::point("pull.layers");
        let came = self.place_blobs(plan, found.gathered.blobs, keep)?;
        let manifest = self.content().put(&plan.manifest.media_type, &plan.manifest.bytes)?;
        let index = plan.index.as_ref().map(|index| self.put_index(index)).transpose()?;
        fault::point("pull.placed");
        let is_new = self.store.write(Durability::Durable, |query| {
            let image = insert_image(query, plan)?;
            manifest.insert(query)?;
            index.as_ref().map_or(Ok(()), |index| index.insert(query))?;
            let manifest = ImageManifest {
                image: plan.id.clone(),
                manifest: manifest.digest().clone(),
                index: index.as_ref().map(|index| index.digest().clone()),
            };
            query.image_manifest_put(&manifest, &now())?;
            insert_blobs(query, plan, &came, &reference.canonical_name())?;
            let is_new = put_names(query, &image, reference, &plan.top)?;
            let mut event = event("pull", &image, &reference.familiar_name());
            event.actor = reference.familiar();
            query.event_insert(&event)?;
            Ok::<_, Error>(is_new)
        })?;
        fault::point("pull.committed");
        Ok(is_new)
    }

    fn put_index(&self, index: &FetchedManifest) -> Result<NewBlob> {
        self.content().put(&index.media_type, &index.bytes)
    }

    /// Makes unpacked layers part of the store: damaged ones each in its place, new ones at once.
    fn put_layers(
        &self,
        plan: &PlannedPull,
        presence: &[Presence],
        mut unpacked: Vec<(usize, orlop_layer::Unpacked)>,
    ) -> Result<()> {
        unpacked.sort_by_key(|(at, _)| *at);
        let mut new = Vec::new();
        let mut lowest = None;
        for (at, unpacked) in unpacked {
            let Some((layer, presence)) = plan.layers.get(at).zip(presence.get(at)) else {
                continue;
            };
            if *presence == Presence::Damaged {
                self.put_layer(layer, *presence, unpacked)?;
            } else {
                lowest.get_or_insert(layer);
                new.push(unpacked);
            }
        }
        if let Some(lowest) = lowest {
            self.layers.commit(new, lowest.parent.as_ref(), &now())?;
        }
        Ok(())
    }

    /// Gives downloaded blobs their places; those that have one now.
    fn place_blobs(
        &self,
        plan: &PlannedPull,
        blobs: Vec<(usize, File)>,
        keep: KeepPacked,
    ) -> Result<Vec<PlacedBlob>> {
        let content = self.content();
        let mut placed = Vec::new();
        for (at, file) in blobs {
            let Some(layer) = plan.layers.get(at) else { continue };
            let digest = &layer.blob.digest;
            match keep {
                KeepPacked::Discard => content.discard_partials(std::iter::once(digest)),
                KeepPacked::Keep => {
                    content.place_partial(digest, file)?;
                    let tar_bytes = self.layers.tar_length(&layer.chain_id)?;
                    placed.push(PlacedBlob { digest: digest.clone(), tar_bytes });
                }
            }
        }
        if !placed.is_empty() {
            sync_directory(self.store)?;
        }
        Ok(placed)
    }
}

/// A downloaded blob in its place.
struct PlacedBlob {
    digest: Digest,
    tar_bytes: u64,
}

/// What the store had and what came.
struct Found {
    presence: Vec<Presence>,
    gathered: Gathered,
}

/// Adds the image; one that is there stays as it is.
fn insert_image(query: &Query<'_>, plan: &PlannedPull) -> Result<ImageRecord> {
    let top_layer = plan.layers.last().map(|layer| layer.chain_id.clone());
    let chain = match &top_layer {
        Some(top) => query.layer_chain(top)?,
        None => Vec::new(),
    };
    let image = ImageRecord {
        id: plan.id.clone(),
        top_layer,
        config: plan.config.clone(),
        size_bytes: chain.iter().map(|layer| layer.size_bytes).sum(),
        created_at: now(),
    };
    query.image_insert(&image)?;
    Ok(image)
}

/// Adds the rows of packed layers, and notes in which repository all of them are.
fn insert_blobs(
    query: &Query<'_>,
    plan: &PlannedPull,
    came: &[PlacedBlob],
    repository: &str,
) -> Result<()> {
    for layer in &plan.layers {
        let blob = &layer.blob;
        if let Some(placed) = came.iter().find(|placed| placed.digest == blob.digest) {
            query.content_insert(&ContentRecord {
                digest: blob.digest.clone(),
                media_type: blob.media_type.clone(),
                size_bytes: blob.size,
                created_at: now(),
            })?;
            query.layer_blob_put(&layer.diff_id, &blob.digest, placed.tar_bytes)?;
        }
        if query.content(&blob.digest)?.is_some() {
            query.blob_repository_put(&blob.digest, repository, &now())?;
        }
    }
    Ok(())
}

/// Points the name and the digest to the image. Says whether the name pointed elsewhere before.
fn put_names(
    query: &Query<'_>,
    image: &ImageRecord,
    reference: &ImageReference,
    digest: &Digest,
) -> Result<bool> {
    let by_digest = format!("{}@{digest}", reference.canonical_name());
    let name = stored(reference);
    let before = query.tag(&name)?.map(|tag| tag.image);
    let is_new = before.as_ref() != Some(&image.id);
    for reference in [name, by_digest] {
        if is_new || query.tag(&reference)?.map(|tag| tag.image).as_ref() != Some(&image.id) {
            let tag = TagRecord { reference, image: image.id.clone(), updated_at: now() };
            query.tag_put(&tag)?;
        }
    }
    Ok(is_new)
}
