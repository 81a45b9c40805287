//! Which images an archive holds, without loading anything.

use std::fs::File;

use orlop_types::ImageId;

use crate::Result;
use crate::load_plan::plan;
use crate::load_source::index;

/// The images that a plain archive describes, in order. Its descriptions are read and checked as
/// for a load; layers are only looked at from outside.
///
/// # Errors
/// Whatever `load` would refuse before it unpacks the first layer.
pub fn archived_images(archive: File) -> Result<Vec<ImageId>> {
    let images = plan(&index(archive)?, None, None)?;
    Ok(images.into_iter().map(|image| image.id).collect())
}
