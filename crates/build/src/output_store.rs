//! Puts the image of a build into the image store.

use std::collections::BTreeMap;

use orlop_archive::digest;
use orlop_meta::{Durability, ImageRecord, NewEvent, Store, TagRecord};
use orlop_sys::fault;
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, ImageId};

use crate::cache::now_ns;
use crate::document::Document;
use crate::{Error, Result};

/// An image that a build made.
#[derive(Clone, Debug)]
pub(crate) struct NewImage {
    pub id: ImageId,
    pub config: String,
    pub top: Option<ChainId>,
    pub size_bytes: u64,
    pub labels: BTreeMap<String, String>,
}

impl NewImage {
    /// Takes the digest of the finished configuration.
    pub fn new(document: &Document, top: Option<ChainId>, size_bytes: u64) -> Result<Self> {
        let config = document.to_text()?;
        Ok(Self {
            id: ImageId::new(digest::of_bytes(config.as_bytes())),
            config,
            top,
            size_bytes,
            labels: document.config.labels.clone(),
        })
    }

    fn event(&self, action: &str, name: &str) -> NewEvent {
        let mut attributes = self.labels.clone();
        attributes.insert("name".to_owned(), name.to_owned());
        NewEvent {
            time_ns: now_ns(),
            kind: "image",
            action: action.to_owned(),
            actor: self.id.to_string(),
            attributes,
        }
    }
}

/// Makes the image visible under its names: one commit, and none at all if all is there already.
/// An image that loses a name stays without it.
pub(crate) fn store_image(store: &Store, image: &NewImage, names: &[ImageReference]) -> Result<()> {
    let missing = |query: &orlop_meta::Query<'_>| -> Result<(bool, Vec<ImageReference>)> {
        let is_new = query.image(&image.id)?.is_none();
        let mut missing = Vec::new();
        for name in names {
            let tag = query.tag(&name.canonical())?;
            if tag.is_none_or(|tag| tag.image != image.id) {
                missing.push(name.clone());
            }
        }
        Ok((is_new, missing))
    };
    let (is_new, lacking) = store.read::<_, Error>(missing)?;
    if !is_new && lacking.is_empty() {
        return Ok(());
    }
    fault::point("build.image.ready");
    let now = format!("{:.9}", jiff::Timestamp::now());
    store.write::<_, Error>(Durability::Durable, |query| {
        let (is_new, lacking) = missing(query)?;
        if is_new {
            query.image_insert(&ImageRecord {
                id: image.id.clone(),
                top_layer: image.top.clone(),
                config: image.config.clone(),
                size_bytes: image.size_bytes,
                created_at: now.clone(),
            })?;
            query.event_insert(&image.event("create", image.id.as_str()))?;
        }
        for name in &lacking {
            query.tag_put(&TagRecord {
                reference: name.canonical(),
                image: image.id.clone(),
                updated_at: now.clone(),
            })?;
            query.event_insert(&image.event("tag", &name.familiar()))?;
        }
        Ok(())
    })?;
    fault::point("build.image.committed");
    tracing::info!(op = "build", image = %image.id);
    Ok(())
}
