//! `inspect` without saying what kind of object is meant.

use orlop_types::ErrorKind;
use serde_json::Value;

use crate::{Engine, Error, Result};

/// What kind of object to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InspectKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

/// What a container takes up on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerSizes {
    /// What it has written itself, in bytes.
    pub writable_bytes: u64,
    /// That and its image, in bytes.
    pub root_bytes: u64,
}

impl Engine {
    /// Shows everything about an object; without a kind, the first of container, image, network
    /// and volume that has the name.
    pub fn inspect(&self, name: &str, kind: Option<InspectKind>) -> Result<Value> {
        let kinds = match &kind {
            Some(kind) => std::slice::from_ref(kind),
            None => &[
                InspectKind::Container,
                InspectKind::Image,
                InspectKind::Network,
                InspectKind::Volume,
            ],
        };
        for candidate in kinds {
            let found = match candidate {
                InspectKind::Container => self.container_inspect(name),
                InspectKind::Image => self.image_inspect(name),
                InspectKind::Network => self
                    .containers()
                    .network_inspect(name)
                    .and_then(|(network, endpoints)| {
                        self.containers().network_document(&network, &endpoints)
                    })
                    .map_err(Error::from),
                InspectKind::Volume => self.volume_inspect(name).and_then(|info| {
                    serde_json::to_value(info).map_err(|error| {
                        Error::Store(orlop_meta::Error::Damaged {
                            what: format!("volume {name}"),
                            reason: error.to_string(),
                        })
                    })
                }),
            };
            match found {
                // A name that another kind would not even accept is simply not one of those.
                Err(error)
                    if kind.is_none()
                        && matches!(
                            error.kind(),
                            ErrorKind::NotFound | ErrorKind::InvalidInput
                        ) => {}
                other => return other,
            }
        }
        Err(Error::NotFound { kind: "object", name: name.to_owned() })
    }

    /// Measures a container, unless its sizes are known.
    pub fn container_sizes(&self, name: &str) -> Result<ContainerSizes> {
        let container = self.containers().get(name)?;
        let missing = || Error::NotFound { kind: "container", name: name.to_owned() };
        let writable_bytes = self.writable_bytes(&container.id)?.ok_or_else(missing)?;
        let layers = match &container.top_layer {
            Some(top) => self.store.read(|query| query.layer_chain(top))?,
            None => Vec::new(),
        };
        let image_bytes: u64 = layers.iter().map(|layer| layer.size_bytes).sum();
        Ok(ContainerSizes { writable_bytes, root_bytes: image_bytes + writable_bytes })
    }
}
