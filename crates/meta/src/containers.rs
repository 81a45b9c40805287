//! Rows of containers, their state, their end points.

use orlop_types::config::{Config, HostConfig};
use orlop_types::health::Health;
use orlop_types::{ChainId, ContainerId, ContainerName, ImageId, ParseError};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::database::{json, parsed, parsed_option, to_json};
use crate::{Query, Result};

/// Docker's `State.Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerStatus {
    /// Made, never started.
    #[default]
    Created,
    /// Its first process runs.
    Running,
    /// Frozen.
    Paused,
    /// Between two runs.
    Restarting,
    /// Being removed.
    Removing,
    /// Its first process has ended.
    Exited,
    /// Could not be removed whole.
    Dead,
}

impl ContainerStatus {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether there is (or may be) a process.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

impl std::str::FromStr for ContainerStatus {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(match text {
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" => Self::Exited,
            "dead" => Self::Dead,
            _ => return Err(ParseError::new(format!("invalid container status `{text}`"))),
        })
    }
}

/// What a container is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Somebody's container.
    #[default]
    Container,
    /// One step of a build: lists and events do not show it, and it ends with its builder.
    BuildStep,
}

impl Purpose {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::BuildStep => "build-step",
        }
    }
}

impl std::str::FromStr for Purpose {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Ok(match text {
            "container" => Self::Container,
            "build-step" => Self::BuildStep,
            _ => return Err(ParseError::new(format!("invalid purpose of a container `{text}`"))),
        })
    }
}

/// What a container is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// The state's name.
    pub status: ContainerStatus,
    /// Pid of the first process, 0 without one.
    pub pid: i32,
    /// Start time of that process in clock ticks since boot: tells a reused pid.
    pub start_ticks: u64,
    /// RFC 3339 time of the last start.
    pub started_at: Option<String>,
    /// RFC 3339 time of the last end.
    pub finished_at: Option<String>,
    /// Exit code of the last run.
    pub exit_code: i64,
    /// Why the last start failed, empty otherwise.
    pub error: String,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Whether somebody stopped it on purpose.
    pub stopped_by_user: bool,
    /// How often it was started again by itself.
    pub restart_count: u32,
    /// The last of the monitor's records that is part of this state.
    pub folded_sequence: u64,
    /// Exit code of the last run, also while the next one is under way.
    pub last_exit_code: i64,
    /// What its health checks have come to, if it has any.
    pub health: Option<Health>,
    /// How often the records began anew: those of an earlier run must not count for a later one.
    pub run: u64,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Id.
    pub id: ContainerId,
    /// Name.
    pub name: ContainerName,
    /// Its image, as long as that exists.
    pub image: Option<ImageId>,
    /// Its image at creation.
    pub image_id: ImageId,
    /// The layer that its writable layer stands on.
    pub top_layer: Option<ChainId>,
    /// What runs.
    pub config: Config,
    /// What it gets of the host.
    pub host_config: HostConfig,
    /// The mount plan, as the `container` crate keeps it.
    pub mounts: serde_json::Value,
    /// What it is doing.
    pub state: ContainerState,
    /// RFC 3339 time.
    pub created_at: String,
    /// What it is for.
    pub purpose: Purpose,
}

fn container(row: &rusqlite::Row<'_>) -> rusqlite::Result<ContainerRecord> {
    let mut state: ContainerState = json(row, "state")?;
    state.status = parsed(row, "status")?;
    Ok(ContainerRecord {
        id: parsed(row, "id")?,
        name: parsed(row, "name")?,
        image: parsed_option(row, "image")?,
        image_id: parsed(row, "image_id")?,
        top_layer: parsed_option(row, "top_layer")?,
        config: json(row, "config")?,
        host_config: json(row, "host_config")?,
        mounts: json(row, "mounts")?,
        state,
        created_at: row.get("created_at")?,
        purpose: parsed(row, "purpose")?,
    })
}

impl Query<'_> {
    /// Adds a container; a taken name or id is a constraint error.
    pub fn container_insert(&self, container: &ContainerRecord) -> Result<()> {
        self.change(
            "add a container",
            "INSERT INTO containers
                 (id, name, image, image_id, top_layer, config, host_config, mounts, status, state, created_at,
                  purpose)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                container.id.as_str(),
                container.name.as_str(),
                container.image.as_ref().map(ImageId::as_str),
                container.image_id.as_str(),
                container.top_layer.as_ref().map(ChainId::as_str),
                to_json("a container", &container.config)?,
                to_json("a container", &container.host_config)?,
                to_json("a container", &container.mounts)?,
                container.state.status.as_str(),
                to_json("a container", &container.state)?,
                container.created_at,
                container.purpose.as_str()
            ],
        )
        .map(drop)
    }

    /// The container of that id.
    pub fn container(&self, id: &ContainerId) -> Result<Option<ContainerRecord>> {
        self.row(
            "read a container",
            "SELECT * FROM containers WHERE id = ?1",
            params![id.as_str()],
            container,
        )
    }

    /// The container of that name.
    pub fn container_by_name(&self, name: &str) -> Result<Option<ContainerRecord>> {
        self.row(
            "read a container",
            "SELECT * FROM containers WHERE name = ?1",
            params![name],
            container,
        )
    }

    /// Containers whose id begins with `prefix`, two at most; steps of builds are not among them.
    pub fn containers_by_prefix(&self, prefix: &str) -> Result<Vec<ContainerRecord>> {
        self.rows(
            "look up a container",
            "SELECT * FROM containers WHERE id >= ?1 AND id < ?1 || 'g' AND purpose = 'container'
             LIMIT 2",
            params![prefix],
            container,
        )
    }

    /// Every container, newest first, those of builds too.
    pub fn containers(&self) -> Result<Vec<ContainerRecord>> {
        self.rows(
            "list containers",
            "SELECT * FROM containers ORDER BY created_at DESC, id",
            [],
            container,
        )
    }

    /// Containers that have, or may have, a process; newest first.
    pub fn containers_active(&self) -> Result<Vec<ContainerRecord>> {
        self.rows(
            "list running containers",
            "SELECT * FROM containers WHERE status IN ('running', 'paused', 'restarting')
             ORDER BY created_at DESC, id",
            [],
            container,
        )
    }

    /// Containers that are steps of builds.
    pub fn containers_of_builds(&self) -> Result<Vec<ContainerRecord>> {
        self.rows(
            "list steps of builds",
            "SELECT * FROM containers WHERE purpose = 'build-step'",
            [],
            container,
        )
    }

    /// Containers made from the image, and those that mount it.
    pub fn containers_of_image(&self, image: &ImageId) -> Result<Vec<ContainerRecord>> {
        self.rows(
            "list an image's containers",
            "SELECT * FROM containers WHERE image = ?1
                 OR id IN (SELECT container FROM container_images WHERE image = ?1)
             ORDER BY created_at DESC, id",
            params![image.as_str()],
            container,
        )
    }

    /// Records that a container mounts an image; doing it twice is fine.
    pub fn image_reference(&self, container: &ContainerId, image: &ImageId) -> Result<()> {
        self.change(
            "reference an image",
            "INSERT OR IGNORE INTO container_images (container, image) VALUES (?1, ?2)",
            params![container.as_str(), image.as_str()],
        )
        .map(drop)
    }

    /// Replaces the state. Returns whether the container exists.
    pub fn container_set_state(&self, id: &ContainerId, state: &ContainerState) -> Result<bool> {
        self.change(
            "write a container's state",
            "UPDATE containers SET status = ?2, state = ?3 WHERE id = ?1",
            params![id.as_str(), state.status.as_str(), to_json("a container", state)?],
        )
        .map(|changed| changed > 0)
    }

    /// Replaces what the container gets of the host. Returns whether the container exists.
    pub fn container_set_host_config(&self, id: &ContainerId, host: &HostConfig) -> Result<bool> {
        self.change(
            "change a container",
            "UPDATE containers SET host_config = ?2 WHERE id = ?1",
            params![id.as_str(), to_json("a container", host)?],
        )
        .map(|changed| changed > 0)
    }

    /// Replaces the name; a taken one is a constraint error.
    pub fn container_set_name(&self, id: &ContainerId, name: &ContainerName) -> Result<bool> {
        self.change(
            "rename a container",
            "UPDATE containers SET name = ?2 WHERE id = ?1",
            params![id.as_str(), name.as_str()],
        )
        .map(|changed| changed > 0)
    }

    /// Removes the row and its references. Returns whether there was one.
    pub fn container_delete(&self, id: &ContainerId) -> Result<bool> {
        self.change(
            "remove a container",
            "DELETE FROM containers WHERE id = ?1",
            params![id.as_str()],
        )
        .map(|changed| changed > 0)
    }
}
