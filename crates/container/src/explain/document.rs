//! What `explain` tells, as a document.

use serde::Serialize;

use super::layers::Role;

/// What a container's file system is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Explanation {
    /// Id of the container.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Storage driver of its layers.
    pub driver: String,
    /// Everything that is mounted on the root file system, in the order it is done.
    pub mounts: Vec<MountLine>,
    /// The layers of the root file system, uppermost first.
    pub layers: Vec<LayerLine>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountLine {
    /// Path inside the container as asked for.
    pub target: String,
    /// `volume`, `bind`, `tmpfs`, `image`, or `engine` for a file of the engine.
    pub kind: String,
    /// Name of the volume, path on the host, or image; empty for a tmpfs.
    pub source: String,
    /// Path on the host that holds the data; empty for a tmpfs and an image.
    pub host_path: String,
    /// `rw` or `ro`.
    pub mode: String,
    /// Who asked for it.
    pub why: String,
    /// What lies beneath it and cannot be seen; empty for nothing.
    pub hides: String,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LayerLine {
    /// Number of an image's layer from below, beginning with 1; none for what is not the image's.
    pub index: Option<usize>,
    /// `writable`, `engine` or `image`.
    pub kind: String,
    /// Digest of the layer's content; empty for what is not the image's.
    pub digest: String,
    /// Sum of its files' sizes, where it is kept.
    pub size_bytes: Option<u64>,
    /// The instruction of the image's history that made it.
    pub created_by: String,
}

impl LayerLine {
    /// `layer 3 (1a2b3c4d5e6f)`, or what else it is.
    #[must_use]
    pub fn label(&self) -> String {
        match (self.index, self.kind.as_str()) {
            (Some(index), _) => {
                let digits = self.digest.strip_prefix("sha256:").unwrap_or(&self.digest);
                format!("layer {index} ({})", digits.get(..12).unwrap_or(digits))
            }
            (None, "writable") => "the writable layer".to_owned(),
            (None, _) => "the engine's initial layer".to_owned(),
        }
    }
}

/// Where a path leads and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PathExplanation {
    /// The path as asked for.
    pub path: String,
    /// The links on the way, in order.
    pub links: Vec<LinkLine>,
    /// The path without links.
    pub resolved: String,
    /// What is there; nothing if the path does not exist.
    pub object: Option<ObjectLine>,
    /// What supplies it, or the place where it would be.
    pub supplier: Supplier,
    /// The layers that have to do with it, uppermost first; whether they are seen depends on the
    /// supplier.
    pub layers: Vec<VersionLine>,
    /// What lies beneath a mount at the same path.
    pub hidden: Vec<HiddenLine>,
}

/// A link on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LinkLine {
    /// Where it is.
    pub link: String,
    /// What it says.
    pub target: String,
}

/// An object of a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObjectLine {
    /// `file`, `directory`, `link`, ….
    pub kind: String,
    /// Bytes.
    pub size_bytes: i64,
    /// Permission bits in octal digits.
    pub mode: String,
    /// `uid:gid`.
    pub owner: String,
}

/// What supplies a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "Kind", rename_all = "kebab-case")]
pub enum Supplier {
    /// The layers of the root file system.
    #[serde(rename_all = "PascalCase")]
    Layers {
        /// The one that does, as in [`Explanation::layers`]; none for a missing path.
        layer: Option<LayerLine>,
        /// The layer that the writable one has copied it from.
        copied_up_from: Option<LayerLine>,
        /// The layer that deleted it.
        deleted_by: Option<LayerLine>,
    },
    /// A mount of the plan.
    #[serde(rename_all = "PascalCase")]
    Mount {
        /// Which.
        mount: MountLine,
        /// The very path on the host; empty where there is none.
        host_path: String,
    },
    /// A mount that the plan does not hold: a file system of the kernel, or one that the container or
    /// somebody on the host has mounted.
    #[serde(rename_all = "PascalCase")]
    Other {
        /// Where it is mounted.
        target: String,
        /// Type of its file system.
        filesystem: String,
    },
}

/// A layer that has to do with a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionLine {
    /// The layer.
    pub layer: LayerLine,
    /// What it does.
    pub role: Role,
    /// What it has there.
    pub object: Option<ObjectLine>,
}

/// What lies beneath a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HiddenLine {
    /// What it belongs to: `volume data`, `layer 2 (…)`.
    pub of: String,
    /// Its path on the host, where it has one.
    pub host_path: String,
    /// What it is.
    pub object: ObjectLine,
}
