//! `diff`: what a container changed, and `export`: everything it sees without its volumes.

use std::io::Write;

use orlop_layer::ChangeKind;
use orlop_meta::{ContainerRecord, ContainerStatus, Durability};

use crate::settle::container_event;
use crate::{Containers, Error, Result, now_ns};

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Absolute path inside the container; not always text.
    pub path: Vec<u8>,
    /// What happened to it.
    pub kind: ChangeKind,
}

impl Containers<'_> {
    /// Lists what a container changed against its image, sorted by path. It may be running.
    pub fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let id = self.id(name)?;
        let changes = self.layers.writable_changes(&id)?;
        let absolute = |(path, kind): (Vec<u8>, ChangeKind)| Change {
            path: [b"/", path.as_slice()].concat(),
            kind,
        };
        Ok(changes.into_iter().map(absolute).collect())
    }

    /// Writes the container's root as a tar, without what is mounted in it. It may be running.
    pub fn export(&self, name: &str, output: &mut dyn Write) -> Result<()> {
        let container = self.get(name)?;
        check_usable(&container, "export")?;
        self.layers.writable_export(&container.id, output)?;
        self.store.write(Durability::Lazy, |query| {
            // One that was removed meanwhile is not whole in the archive.
            let container = query
                .container(&container.id)?
                .ok_or_else(|| Error::NotFound { name: name.to_owned() })?;
            Ok::<_, Error>(query.event_insert(&container_event(&container, "export", now_ns()))?)
        })
    }
}

/// Refuses what is neither whole nor gone; Docker's texts.
pub(crate) fn check_usable(container: &ContainerRecord, verb: &str) -> Result<()> {
    let state = match container.state.status {
        ContainerStatus::Dead => "Dead",
        ContainerStatus::Removing => "being removed",
        _ => return Ok(()),
    };
    Err(Error::conflict(format!("You cannot {verb} container {} which is {state}", container.id)))
}
