//! What lists show of containers: rows without the documents that only `inspect` and `start` need.
//!
//! A store may hold hundreds of containers, and most of a container's row is its `HostConfig`.

use std::collections::BTreeMap;

use orlop_types::{ContainerId, ContainerName, ImageId};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::containers::{ContainerState, ContainerStatus};
use crate::database::{json, parsed};
use crate::{Query, Result};

/// What lists show of a container's `Config`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ListedConfig {
    /// The image as the user named it.
    pub image: String,
    /// First words of what runs.
    pub entrypoint: Option<Vec<String>>,
    /// Words after them.
    pub cmd: Option<Vec<String>>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Ports that the container may be reached at.
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
}

impl ListedConfig {
    /// Ports that the container may be reached at: `80/tcp`.
    pub fn exposed_ports(&self) -> impl Iterator<Item = &str> {
        self.exposed_ports.iter().flat_map(|ports| ports.keys()).map(String::as_str)
    }
}

/// What lists show of a mount.
#[derive(Debug, Deserialize)]
pub struct ListedMount {
    /// `volume`, `bind`, `tmpfs` or `image`.
    pub kind: String,
    /// Volume name, host path or image reference.
    pub source: String,
    /// Path inside the container.
    pub target: String,
}

/// What lists show of a container.
#[derive(Debug)]
pub struct ContainerListing {
    /// Id.
    pub id: ContainerId,
    /// Name.
    pub name: ContainerName,
    /// Its image at creation.
    pub image_id: ImageId,
    /// What runs.
    pub config: ListedConfig,
    /// What is mounted.
    pub mounts: Vec<ListedMount>,
    /// What it is doing.
    pub state: ContainerState,
    /// RFC 3339 time.
    pub created_at: String,
}

/// Which containers a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// All of them.
    All,
    /// Those that have a process.
    Active,
}

const COLUMNS: &str =
    "SELECT id, name, image_id, config, mounts, status, state, created_at FROM containers";

fn listing(row: &rusqlite::Row<'_>) -> rusqlite::Result<ContainerListing> {
    let mut state: ContainerState = json(row, "state")?;
    state.status = parsed::<ContainerStatus>(row, "status")?;
    Ok(ContainerListing {
        id: parsed(row, "id")?,
        name: parsed(row, "name")?,
        image_id: parsed(row, "image_id")?,
        config: json(row, "config")?,
        mounts: json(row, "mounts")?,
        state,
        created_at: row.get("created_at")?,
    })
}

impl Query<'_> {
    /// Containers as lists show them, newest first; steps of builds are not among them.
    pub fn containers_listed(&self, which: Listed) -> Result<Vec<ContainerListing>> {
        let filter = match which {
            Listed::All => "WHERE purpose = 'container'",
            Listed::Active => {
                "WHERE purpose = 'container' AND status IN ('running', 'paused', 'restarting')"
            }
        };
        // Sorted here: SQLite would write whole rows, documents and all, to a temporary file.
        let mut rows = self.rows("list containers", &format!("{COLUMNS} {filter}"), [], listing)?;
        rows.sort_by(|a, b| {
            b.created_at.cmp(&a.created_at).then_with(|| a.id.as_str().cmp(b.id.as_str()))
        });
        Ok(rows)
    }

    /// What every container is connected to: its id, the network's name, and the network's id as
    /// long as there is one of that name.
    pub fn connections_listed(&self) -> Result<Vec<(String, String, Option<String>)>> {
        self.rows(
            "list connections",
            "SELECT container, network, networks.id FROM container_networks
             LEFT JOIN networks ON networks.name = network ORDER BY network",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
    }
}
