//! Which images `save` writes, and under which names; how they are written is in [`crate::layout`].
//!
//! Everything is checked before the first byte is written.

use std::collections::BTreeMap;
use std::io::Write;

use orlop_meta::{Durability, ImageRecord, Query};
use orlop_types::reference::ImageReference;

use crate::images::{config, event, resolve};
use crate::layout::{LayoutImage, LayoutOptions, LayoutTarget, SavePlan, WrittenImage};
use crate::{Error, Images, Platform, Result};

impl Images<'_> {
    /// Finds what names mean: a name with its tag, a repository with all its tags, or an id, under
    /// which the image is saved without a name.
    pub fn plan_save(
        &self,
        names: &[String],
        platform: Option<&str>,
        options: LayoutOptions,
    ) -> Result<SavePlan> {
        let platform = platform.filter(|text| !text.is_empty()).map(Platform::parse).transpose()?;
        // The plan takes its own; between this one and that no layer may go.
        let _changing = self.store.changing()?;
        let found = self.store.read::<_, Error>(|query| {
            let mut images: Vec<(ImageRecord, Vec<ImageReference>)> = Vec::new();
            for name in names {
                for (image, reference) in named(query, name)? {
                    add(&mut images, image, reference);
                }
            }
            Ok(images)
        })?;
        let mut images = Vec::new();
        for (record, references) in found {
            let config = config(&record)?;
            if let Some(platform) = platform.as_ref().filter(|platform| !platform.fits(&config)) {
                return Err(Error::NoExport { platform: platform.to_string() });
            }
            images.push(LayoutImage {
                config: record.config,
                top_layer: record.top_layer,
                references,
                annotations: BTreeMap::new(),
            });
        }
        self.plan_layout(images, options)
    }

    /// Writes images as one tar. `progress` is told how many more bytes of layers were worked on.
    pub fn save(
        &self,
        plan: &SavePlan,
        output: &mut (dyn Write + Send),
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        self.save_to(plan, LayoutTarget::Tar(output), progress).map(drop)
    }

    /// Writes images of the store anywhere.
    pub fn save_to(
        &self,
        plan: &SavePlan,
        target: LayoutTarget<'_>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<WrittenImage>> {
        let written = self.write_layout(plan, target, progress)?;
        self.store.write::<_, Error>(Durability::Lazy, |query| {
            for item in &plan.images {
                if let Some(record) = query.image(&item.id)? {
                    query.event_insert(&event("save", &record, item.id.as_str()))?;
                }
            }
            Ok(())
        })?;
        tracing::info!(op = "image save", images = plan.images.len());
        Ok(written)
    }
}

/// What one name means, with the names it is saved under.
fn named(query: &Query<'_>, name: &str) -> Result<Vec<(ImageRecord, Option<ImageReference>)>> {
    if let Ok(reference) = name.parse::<ImageReference>()
        && reference.digest().is_none()
    {
        let mut found = Vec::new();
        for tag in query.tags()? {
            let known: ImageReference = tag.reference.parse()?;
            let fits = known.canonical_name() == reference.canonical_name()
                && known.tag().is_some()
                && (reference.tag().is_none() || reference.tag() == known.tag());
            if fits && let Some(image) = query.image(&tag.image)? {
                found.push((image, Some(known)));
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let missing = |error: Error| match error {
        // Docker does not put a tag where none was given.
        Error::NotFound { .. } => Error::NotFound { name: name.to_owned() },
        error => error,
    };
    Ok(vec![(resolve(query, name).map_err(missing)?, None)])
}

fn add(
    images: &mut Vec<(ImageRecord, Vec<ImageReference>)>,
    image: ImageRecord,
    reference: Option<ImageReference>,
) {
    let at = images.iter().position(|(known, _)| known.id == image.id).unwrap_or_else(|| {
        images.push((image, Vec::new()));
        images.len() - 1
    });
    if let (Some((_, references)), Some(reference)) = (images.get_mut(at), reference)
        && !references.contains(&reference)
    {
        references.push(reference);
    }
}
