//! Names: which image is meant, and which names an image has.

use std::collections::BTreeMap;

use orlop_layer::LayerStore;
use orlop_meta::{Durability, ImageRecord, NewEvent, Query, Store, TagRecord};
use orlop_types::image::ImageConfig;
use orlop_types::reference::ImageReference;
use orlop_types::{Digest, ImageId};

use crate::{Content, Error, Result};

/// Hexadecimal digits of a full id.
const FULL_ID_CHARS: usize = 64;

/// The images of one store.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub(crate) store: &'a Store,
    pub(crate) layers: &'a LayerStore,
}

impl<'a> Images<'a> {
    /// The images of a store, over its layers.
    #[must_use]
    pub fn new(store: &'a Store, layers: &'a LayerStore) -> Self {
        Self { store, layers }
    }

    /// The blobs of the store.
    #[must_use]
    pub fn content(&self) -> Content<'a> {
        Content::new(self.store)
    }

    /// The image that a name means: a full id, else a reference, else the beginning of one id only.
    pub fn resolve(&self, name: &str) -> Result<ImageRecord> {
        self.store.read(|query| resolve(query, name))
    }

    /// The configuration of an image.
    pub fn config(&self, image: &ImageRecord) -> Result<ImageConfig> {
        config(image)
    }

    /// Gives an image one more name, taking it away from any other image.
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let wrong = |text: &str, error: &dyn std::fmt::Display| {
            let text =
                format!("Error parsing reference: {text:?} is not a valid repository/tag: {error}");
            Error::from(orlop_types::ParseError::new(text))
        };
        if let Err(error) = source.parse::<ImageReference>()
            && !is_id(source)
        {
            return Err(wrong(source, &error));
        }
        let reference = match parse_target(target) {
            Err(Error::Invalid(error)) => return Err(wrong(target, &error)),
            reference => reference?,
        };
        self.store.write(Durability::Durable, |query| {
            let image = resolve(query, source)?;
            put_tag(query, &image, &reference)
        })?;
        tracing::info!(op = "image tag", source, target = %reference);
        Ok(())
    }
}

/// See [`Images::resolve`].
pub(crate) fn resolve(query: &Query<'_>, name: &str) -> Result<ImageRecord> {
    let digits = name.strip_prefix(Digest::PREFIX).unwrap_or(name);
    let is_hex = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_hex && digits.len() == FULL_ID_CHARS {
        let text = format!("{}{digits}", Digest::PREFIX);
        let id: ImageId = text.parse()?;
        return query.image(&id)?.ok_or(Error::NotFound { name: text });
    }
    let reference: ImageReference = name.parse()?;
    let reference = reference.tag_or_latest();
    if let Some(tag) = query.tag(&stored(&reference))?
        && let Some(image) = query.image(&tag.image)?
    {
        return Ok(image);
    }
    if is_hex && digits.len() < FULL_ID_CHARS {
        let mut images = query.images_by_prefix(digits)?;
        if images.len() == 1
            && let Some(image) = images.pop()
        {
            return Ok(image);
        }
    }
    Err(Error::NotFound { name: reference.familiar() })
}

/// Whether a name is a whole id, which is no reference.
fn is_id(name: &str) -> bool {
    let digits = name.strip_prefix(Digest::PREFIX).unwrap_or(name);
    digits.len() == FULL_ID_CHARS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The form under which a reference is looked up: with a digest, the tag does not count.
pub(crate) fn stored(reference: &ImageReference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.canonical_name()),
        None => reference.canonical(),
    }
}

/// A name that an image is to get.
pub(crate) fn parse_target(text: &str) -> Result<ImageReference> {
    let reference: ImageReference = text.parse()?;
    if reference.digest().is_some() {
        return Err(Error::DigestTag);
    }
    if reference.familiar_name() == "sha256" {
        return Err(Error::AmbiguousTag);
    }
    Ok(reference.tag_or_latest())
}

/// Points a name to an image and logs it.
pub(crate) fn put_tag(
    query: &Query<'_>,
    image: &ImageRecord,
    reference: &ImageReference,
) -> Result<()> {
    query.tag_put(&TagRecord {
        reference: stored(reference),
        image: image.id.clone(),
        updated_at: now(),
    })?;
    Ok(query.event_insert(&event("tag", image, &reference.familiar()))?)
}

/// A stored reference in the form that people see; names of tags and of digests apart.
pub(crate) fn familiar(tags: &[TagRecord]) -> Result<(Vec<String>, Vec<String>)> {
    let (mut names, mut digests) = (Vec::new(), Vec::new());
    for tag in tags {
        let reference: ImageReference = tag.reference.parse()?;
        let list = if reference.digest().is_some() { &mut digests } else { &mut names };
        list.push(reference.familiar());
    }
    Ok((names, digests))
}

pub(crate) fn config(image: &ImageRecord) -> Result<ImageConfig> {
    serde_json::from_str(&image.config)
        .map_err(|source| Error::Damaged { id: image.id.clone(), source })
}

/// An event with the image's labels and the name it was about.
pub(crate) fn event(action: &str, image: &ImageRecord, name: &str) -> NewEvent {
    let labels = config(image).ok().and_then(|config| config.config.labels).unwrap_or_default();
    let mut attributes: BTreeMap<String, String> = labels;
    attributes.insert("name".to_owned(), name.to_owned());
    NewEvent {
        time_ns: i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
        kind: "image",
        action: action.to_owned(),
        actor: image.id.to_string(),
        attributes,
    }
}

/// The time as images carry it.
pub(crate) fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}
