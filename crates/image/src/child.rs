//! An image made of another one and one more step.

use orlop_archive::digest;
use orlop_layer::{Layer, chain_id};
use orlop_meta::{Durability, ImageRecord, NewEvent};
use orlop_sys::fault;
use orlop_types::config::Config;
use orlop_types::image::{HistoryEntry, ImageConfig, RootFs};
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, ImageId};

use crate::images::{config, now, parse_target, put_tag};
use crate::{Images, Platform, Result};

/// What the step makes.
#[derive(Clone, Debug)]
pub struct ChildImage {
    /// The image below; it may be gone, then its layers say what there is to say.
    pub base: ImageId,
    /// The uppermost layer of that image.
    pub base_layer: Option<ChainId>,
    /// The step's own layer, if it changed any file.
    pub layer: Option<Layer>,
    /// What containers of the new image get.
    pub config: Config,
    /// Who made it.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// The step as the history shows it.
    pub created_by: String,
    /// Name of the image.
    pub reference: Option<ImageReference>,
}

/// The name that a new image is to get, checked before anything is done.
pub fn target_reference(text: Option<&str>) -> Result<Option<ImageReference>> {
    text.filter(|text| !text.is_empty()).map(parse_target).transpose()
}

impl Images<'_> {
    /// Makes the image visible: image, name and events are one commit. The caller keeps a staging
    /// guard from before the layer was made. `event` is logged with it.
    pub fn add_child(
        &self,
        child: ChildImage,
        event: impl FnOnce(&ImageId) -> NewEvent,
    ) -> Result<ImageId> {
        let created = now();
        let (base, chain) = self.store.read::<_, crate::Error>(|query| {
            let chain = match &child.base_layer {
                Some(top) => query.layer_chain(top)?,
                None => Vec::new(),
            };
            Ok((query.image(&child.base)?, chain))
        })?;
        let mut image = match &base {
            Some(base) => config(base)?,
            None => forgotten(chain.iter().rev().map(|layer| layer.diff_id.clone()).collect()),
        };
        let mut size_bytes = chain.iter().map(|layer| layer.size_bytes).sum();
        let mut top_layer = child.base_layer;
        if let Some(layer) = &child.layer {
            debug_assert_eq!(layer.chain_id, chain_id(top_layer.as_ref(), &layer.diff_id));
            image.rootfs.diff_ids.push(layer.diff_id.clone());
            size_bytes += layer.size_bytes;
            top_layer = Some(layer.chain_id.clone());
        }
        image.history.push(HistoryEntry {
            created: Some(created.clone()),
            created_by: child.created_by,
            author: child.author.clone(),
            comment: child.comment,
            empty_layer: child.layer.is_none(),
        });
        image.config = of_an_image(child.config);
        image.created = Some(created.clone());
        image.author = child.author;
        let text = serde_json::to_string(&image).map_err(|error| orlop_meta::Error::Damaged {
            what: "an image".to_owned(),
            reason: error.to_string(),
        })?;
        let record = ImageRecord {
            id: ImageId::new(digest::of_bytes(text.as_bytes())),
            top_layer,
            config: text,
            size_bytes,
            created_at: created,
        };
        let event = event(&record.id);
        self.store.write::<_, crate::Error>(Durability::Durable, |query| {
            query.image_insert(&record)?;
            query.event_insert(&event)?;
            child.reference.as_ref().map_or(Ok(()), |name| put_tag(query, &record, name))
        })?;
        fault::point("image.child.committed");
        Ok(record.id)
    }
}

/// The configuration of an image that is gone, from its layers.
fn forgotten(diff_ids: Vec<orlop_types::DiffId>) -> ImageConfig {
    let platform = Platform::host();
    ImageConfig {
        architecture: platform.architecture,
        config: Config::default(),
        created: None,
        author: String::new(),
        history: vec![HistoryEntry::default(); diff_ids.len()],
        os: platform.os,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids },
        variant: platform.variant,
    }
}

/// Without what only one container had.
fn of_an_image(config: Config) -> Config {
    Config {
        hostname: String::new(),
        domainname: String::new(),
        attach_stdin: false,
        attach_stdout: false,
        attach_stderr: false,
        tty: false,
        open_stdin: false,
        stdin_once: false,
        image: String::new(),
        ..config
    }
}
