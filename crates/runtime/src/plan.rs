//! The plan of one container's life: complete, serialised, carried out by the monitor.
//!
//! The engine decides everything and writes it down here; the monitor decides nothing. The format is
//! private to one version of the binary (a plan lives as long as one start), so a plan of another
//! version is refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use orlop_sys::mount::RootfsRecipe;
use orlop_sys::mount_filesystem::SharedFilesystem;
use orlop_types::network::NetworkPlan;
use orlop_types::{ContainerId, config::HostConfig};
use serde::{Deserialize, Serialize};

use crate::health::HealthPlan;

/// Version of the plan's format.
pub const PLAN_VERSION: u32 = 4;

/// Everything that the monitor needs to run one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Always [`PLAN_VERSION`].
    pub version: u32,
    /// The container.
    pub container: ContainerId,
    /// Directory of this container's run state; exists, on a tmpfs or disk, mode 0700.
    pub run_dir: PathBuf,
    /// How the root file system is mounted.
    pub rootfs: RootfsRecipe,
    /// Whether the root file system is read-only to the container.
    pub rootfs_read_only: bool,
    /// Mounts of volumes, binds, tmpfs and engine files, in the order they are made.
    pub mounts: Vec<PlannedMount>,
    /// The container's first process.
    pub process: ProcessPlan,
    /// Host name inside the container.
    pub hostname: String,
    /// Domain name inside the container, often empty.
    pub domainname: String,
    /// Control group below each hierarchy's root, absolute, for instance `/orlop-1a2b3c4d/<id>`.
    pub cgroup: String,
    /// What of the host the container may use: limits, namespaces, capabilities, masked paths.
    pub host_config: HostConfig,
    /// The network.
    pub network: NetworkPlan,
    /// Where output is kept.
    pub log: LogPlan,
    /// Namespaces of other containers that it joins.
    pub shared: SharedNamespaces,
    /// How its health is checked, if it is.
    pub health: Option<HealthPlan>,
    /// Which runtime creates the process.
    pub runtime: RuntimeChoice,
    /// Command that the monitor runs, detached, when the container has ended and nobody attached
    /// has taken over (it folds the end into the database and removes an auto-remove container).
    pub finish: Vec<String>,
    /// Whether the container is killed when the command that started it, and stays attached, has
    /// gone away: nobody else waits for a step of a build.
    pub ends_with_starter: bool,
}

/// Which implementation of [`crate::Runtime`] runs the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeChoice {
    /// The library that is linked in.
    Builtin,
    /// A program with the OCI runtime command line, for instance runc.
    External(PathBuf),
}

/// Namespaces of other containers, by their first process as the host numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedNamespaces {
    /// Whose IPC namespace.
    pub ipc: Option<i32>,
    /// Whose process namespace.
    pub pid: Option<i32>,
}

/// One mount inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMount {
    /// Absolute path inside the container; resolved inside its root, never through a link out of it.
    pub target: PathBuf,
    /// What is mounted there.
    pub source: MountSource,
    /// Whether the container may not write.
    pub read_only: bool,
    /// With `read_only`: leaves mounts below the top one writable.
    pub read_only_top_only: bool,
    /// `rprivate`, `private`, `rshared`, `shared`, `rslave` or `slave`.
    pub propagation: String,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    /// A file or directory of the host (also a volume's directory).
    Bind {
        /// Path on the host.
        path: PathBuf,
        /// Path below `path` that is mounted instead; may not leave it.
        subpath: Option<PathBuf>,
        /// Whether mounts below the source come along.
        recursive: bool,
    },
    /// A volume that is a file system of its own, shared by the containers that use it at one time.
    Filesystem {
        /// What to mount, and who may have it mounted.
        filesystem: SharedFilesystem,
        /// Path below its root that is mounted instead.
        subpath: Option<PathBuf>,
    },
    /// A new tmpfs; options as for mount(8), for instance `size=64m`, `mode=1777`, `noexec`.
    Tmpfs {
        /// Options, one word each.
        options: Vec<String>,
    },
    /// The layers of an image, read-only.
    Image {
        /// How the image is mounted.
        recipe: RootfsRecipe,
        /// Path below the image's root that is mounted instead.
        subpath: Option<PathBuf>,
    },
    /// The small init program (`--init`).
    Init,
    /// A file that exists in memory only: secrets and scripts of a build.
    Content(FileContent),
    /// `/dev/shm` of a running process, given its pid on the host.
    SharedMemory {
        /// The process.
        pid: i32,
    },
}

/// A file that is made for one container, on a tmpfs of its monitor's.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    /// What is in it; may be secret.
    pub bytes: Vec<u8>,
    /// Permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether it may be executed from there.
    pub executable: bool,
}

impl std::fmt::Debug for FileContent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FileContent")
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .field("mode", &format_args!("{:o}", self.mode))
            .finish_non_exhaustive()
    }
}

/// A process inside a container: the first one, or one that `exec` adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessPlan {
    /// Command and arguments; never empty.
    pub args: Vec<String>,
    /// `NAME=value` pairs, complete (`PATH`, `HOSTNAME`, `HOME` is added by the runtime if unset).
    pub env: Vec<String>,
    /// Absolute working directory; empty is `/`.
    pub cwd: String,
    /// `user[:group]`, looked up in the container's own `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Terminal height and width in characters, (0, 0) where unknown.
    pub console_size: (u16, u16),
    /// Whether standard input is kept open.
    pub open_stdin: bool,
    /// Whether standard input closes when the first attached client has sent its end.
    pub stdin_once: bool,
    /// Whether every capability is given (`exec --privileged`).
    pub privileged: bool,
}

/// Where a container's output is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogPlan {
    /// Nowhere.
    None,
    /// In files that are rotated.
    Files(LogFiles),
}

/// Files that a container's output is kept in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFiles {
    /// What is in them.
    pub format: LogFormat,
    /// The newest file.
    pub path: PathBuf,
    /// Bytes after which it is rotated; 0 is never.
    pub max_size_bytes: u64,
    /// How many files are kept, at least 1.
    pub max_files: u32,
    /// Whether older files are compressed.
    pub compress: bool,
    /// Labels, variables and the tag that are kept with each line.
    pub attributes: BTreeMap<String, String>,
}

/// How output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON document a line, as Docker's `json-file` driver writes.
    JsonFile,
    /// Records of Docker's `local` driver.
    Local,
}

impl LogFiles {
    /// Plain `json-file` without a limit.
    #[must_use]
    pub fn json(path: PathBuf) -> Self {
        Self {
            format: LogFormat::JsonFile,
            path,
            max_size_bytes: 0,
            max_files: 1,
            compress: false,
            attributes: BTreeMap::new(),
        }
    }
}
