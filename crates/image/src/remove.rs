//! Removal of names and images.

use orlop_meta::{ContainerRecord, Durability, ImageRecord, Query};
use orlop_types::reference::ImageReference;
use orlop_types::{ChainId, Digest};

use crate::error::Conflict;
use crate::images::{event, resolve, stored};
use crate::{Error, Images, Result};

/// One thing that a removal did, in Docker's JSON.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Removal {
    /// A name is gone.
    Untagged(String),
    /// An image or a layer is gone.
    Deleted(String),
}

/// How far a removal goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Removes also what several names or stopped containers refer to.
    pub force: bool,
}

/// What a transaction decided; layers follow after the commit.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) removals: Vec<Removal>,
    /// The layers of deleted images, uppermost first.
    pub(crate) chains: Vec<Vec<ChainId>>,
}

impl Images<'_> {
    /// Removes a name, and the image with its last name; or an image given by its id.
    ///
    /// Order: names, image and events in one commit, then the layers that nothing needs any more.
    pub fn remove(&self, name: &str, options: RemoveOptions) -> Result<Vec<Removal>> {
        let plan = self.store.write(Durability::Durable, |query| decide(query, name, options))?;
        orlop_sys::fault::point("image.remove.committed");
        tracing::info!(op = "image remove", image = name);
        self.carry_out(plan).map(|(removals, _)| removals)
    }

    /// Removes the layers of deleted images. Returns everything that was removed, and the layers.
    pub(crate) fn carry_out(&self, plan: Plan) -> Result<(Vec<Removal>, Vec<ChainId>)> {
        let mut removals = plan.removals;
        let mut layers = Vec::new();
        for chain in &plan.chains {
            layers.extend(self.remove_chain(chain)?);
        }
        self.content().remove_unneeded()?;
        removals.extend(layers.iter().map(|layer| Removal::Deleted(layer.to_string())));
        Ok((removals, layers))
    }
}

/// Docker's rules, in Docker's order.
fn decide(query: &Query<'_>, name: &str, options: RemoveOptions) -> Result<Plan> {
    let image = resolve(query, name)?;
    let mut plan = Plan::default();
    let names = references(query, &image)?;
    if is_id(name, &image) {
        if !is_single(&names) && !options.force {
            // A running container is the harder obstacle and named first.
            let conflict = running(query, &image)?
                .unwrap_or_else(|| Conflict::ManyReferences { image: image.id.short().to_owned() });
            return Err(Error::Conflict(conflict));
        }
        if let Some(conflict) = in_use(query, &image, options)? {
            return Err(Error::Conflict(conflict));
        }
        delete(query, &image, &mut plan)?;
        return Ok(plan);
    }
    if !options.force
        && is_single(&names)
        && let Some(container) = query.containers_of_image(&image.id)?.first()
    {
        return Err(Error::Conflict(Conflict::LastReference {
            reference: name.to_owned(),
            container: container.id.short().to_owned(),
            image: image.id.short().to_owned(),
        }));
    }
    let given = name.parse::<ImageReference>()?.tag_or_latest();
    untag(query, &image, &given, &mut plan)?;
    let mut rest = references(query, &image)?;
    if given.digest().is_none() && rest.iter().all(|other| is_digest_of(other, &given)) {
        // Only digests of the same repository are left: they were pulled with the tag.
        for other in std::mem::take(&mut rest) {
            untag(query, &image, &other, &mut plan)?;
        }
    }
    // From here on a conflict only means that the image stays without a name.
    if rest.is_empty() && in_use(query, &image, options)?.is_none() {
        delete(query, &image, &mut plan)?;
    }
    Ok(plan)
}

/// Removes every name and the image itself.
pub(crate) fn delete(query: &Query<'_>, image: &ImageRecord, plan: &mut Plan) -> Result<()> {
    for name in references(query, image)? {
        untag(query, image, &name, plan)?;
    }
    if let Some(top) = &image.top_layer {
        let chain = query.layer_chain(top)?;
        plan.chains.push(chain.into_iter().map(|layer| layer.chain_id).collect());
    }
    query.image_delete(&image.id)?;
    query.event_insert(&event("delete", image, image.id.as_str()))?;
    plan.removals.push(Removal::Deleted(image.id.to_string()));
    Ok(())
}

fn untag(
    query: &Query<'_>,
    image: &ImageRecord,
    name: &ImageReference,
    plan: &mut Plan,
) -> Result<()> {
    query.tag_delete(&stored(name))?;
    query.event_insert(&event("untag", image, image.id.as_str()))?;
    plan.removals.push(Removal::Untagged(name.familiar()));
    Ok(())
}

fn references(query: &Query<'_>, image: &ImageRecord) -> Result<Vec<ImageReference>> {
    let tags = query.tags_of(&image.id)?;
    tags.iter().map(|tag| Ok(tag.reference.parse()?)).collect()
}

/// Whether the name is the id or its beginning; a reference that looks like one was found first.
fn is_id(name: &str, image: &ImageRecord) -> bool {
    let digits = name.strip_prefix(Digest::PREFIX).unwrap_or(name);
    image.id.hex().starts_with(digits)
}

/// Whether there is one name at most, not counting digests of its own repository.
fn is_single(names: &[ImageReference]) -> bool {
    let mut tags = names.iter().filter(|name| name.digest().is_none());
    let Some(first) = tags.next().or_else(|| names.first()) else { return true };
    tags.next().is_none() && names.iter().all(|name| name == first || is_digest_of(name, first))
}

fn is_digest_of(name: &ImageReference, of: &ImageReference) -> bool {
    name.digest().is_some() && name.canonical_name() == of.canonical_name()
}

/// The container that keeps the image: a running one in any case, a stopped one unless forced.
fn in_use(
    query: &Query<'_>,
    image: &ImageRecord,
    options: RemoveOptions,
) -> Result<Option<Conflict>> {
    if let Some(conflict) = running(query, image)? {
        return Ok(Some(conflict));
    }
    if options.force {
        return Ok(None);
    }
    let containers = query.containers_of_image(&image.id)?;
    Ok(containers.first().map(|container| Conflict::Stopped {
        image: image.id.short().to_owned(),
        container: container.id.short().to_owned(),
    }))
}

fn running(query: &Query<'_>, image: &ImageRecord) -> Result<Option<Conflict>> {
    let is_running = |container: &ContainerRecord| container.state.status.is_active();
    let containers = query.containers_of_image(&image.id)?;
    Ok(containers.into_iter().find(is_running).map(|container| Conflict::Running {
        image: image.id.short().to_owned(),
        container: container.id.short().to_owned(),
    }))
}
