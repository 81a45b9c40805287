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
    /// A volume.
    Volume,
}

impl Engine {
    /// Shows everything about an object; without a kind, the first of container, image and volume
    /// that has the name.
    pub fn inspect(&self, name: &str, kind: Option<InspectKind>) -> Result<Value> {
        let kinds = match &kind {
            Some(kind) => std::slice::from_ref(kind),
            None => &[InspectKind::Container, InspectKind::Image, InspectKind::Volume],
        };
        for candidate in kinds {
            let found = match candidate {
                InspectKind::Container => self.container_inspect(name),
                InspectKind::Image => self.image_inspect(name),
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
}
