//! Finds containers by what the user typed: full id, name, then a beginning of an id.

use orlop_meta::{ContainerRecord, Query};
use orlop_types::ContainerId;

use crate::{Containers, Error, Result};

/// Finds one container in the order that Docker looks: id, name, unique beginning of an id.
pub(crate) fn find(query: &Query<'_>, name: &str) -> Result<ContainerRecord> {
    let missing = || Error::NotFound { name: name.to_owned() };
    if let Ok(id) = name.parse::<ContainerId>()
        && let Some(container) = query.container(&id)?
    {
        return Ok(container);
    }
    let plain = name.strip_prefix('/').unwrap_or(name);
    if let Some(container) = query.container_by_name(plain)? {
        return Ok(container);
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if name.is_empty() || !name.bytes().all(is_hex) {
        return Err(missing());
    }
    let mut found = query.containers_by_prefix(name)?;
    match found.len() {
        0 => Err(missing()),
        1 => Ok(found.remove(0)),
        _ => Err(Error::Ambiguous { name: name.to_owned() }),
    }
}

impl Containers<'_> {
    /// Finds a container and brings its state up to date.
    pub fn get(&self, name: &str) -> Result<ContainerRecord> {
        let container = self.store.read(|query| find(query, name))?;
        self.settle(container)
    }

    /// Finds a container without looking at its processes.
    pub fn id(&self, name: &str) -> Result<ContainerId> {
        self.store.read(|query| find(query, name)).map(|container| container.id)
    }
}
