//! Steps: what a build does, as data.
//!
//! The front end has expanded every variable. A step that makes files is an [`Operation`]; instructions
//! that only change the configuration are no steps. The digest of an operation's JSON, together with
//! the content of what it reads, is its cache key: a member that must not count is left out with
//! `serde(skip)`.

use std::collections::BTreeMap;

use serde::Serialize;

/// What makes a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// `RUN`.
    Run(RunStep),
    /// `COPY` and `ADD`.
    Copy(CopyStep),
    /// `WORKDIR` that may have to be made.
    MakeDirectory {
        /// Absolute path.
        path: String,
        /// `user[:group]` that owns what is made; empty is root.
        owner: String,
    },
}

/// Where a step reads files from, beside what is below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The build context; a named one if the name is not empty.
    Context(String),
    /// The files of a stage of this build, by its number in the file.
    Stage(usize),
    /// The files of an image, by the reference as written.
    Image(String),
}

/// `COPY` or `ADD` of one source input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopyStep {
    /// Where paths of `sources` are looked up; `None` when there are only here-documents and URLs.
    #[serde(skip)]
    pub from: Option<Input>,
    /// Paths and patterns as written (expanded), URLs and git addresses with `ADD`.
    pub sources: Vec<String>,
    /// Files that the Dockerfile itself holds.
    pub documents: Vec<Document>,
    /// Destination, absolute (WORKDIR is applied), with its trailing slash if it has one.
    pub destination: String,
    /// `user[:group]`; empty where not given.
    pub chown: String,
    /// Octal or symbolic; empty where not given.
    pub chmod: String,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
    /// What only `ADD` has.
    pub add: Option<AddOptions>,
}

/// What only `ADD` has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AddOptions {
    /// `--checksum`.
    pub checksum: String,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`; `None` is: local archives yes, downloads no.
    pub unpack: Option<bool>,
}

/// A here-document of `COPY` or `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Document {
    /// File name.
    pub name: String,
    /// Content.
    pub content: String,
}

/// `RUN`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunStep {
    /// Command and arguments; the shell is there already.
    pub args: Vec<String>,
    /// Environment, complete: ENV and declared arguments, `NAME=value`.
    pub env: Vec<String>,
    /// Predefined proxy arguments: in the environment, not in the key.
    #[serde(skip)]
    pub proxies: BTreeMap<String, String>,
    /// Absolute working directory.
    pub cwd: String,
    /// `user[:group]`, empty is root.
    pub user: String,
    /// `--mount`, in order.
    pub mounts: Vec<RunMount>,
    /// Scripts of here-documents that begin with `#!`, in `/dev/pipes`, by name.
    pub scripts: Vec<Document>,
    /// `default`, `none`, `host` or a network's name.
    pub network: String,
    /// `--security=insecure`.
    pub insecure: bool,
    /// `--device`, as written.
    pub devices: Vec<String>,
    /// Paths of VOLUME instructions before it (nothing is mounted there; kept for lints).
    #[serde(skip)]
    pub volumes: Vec<String>,
}

/// One `--mount` of a RUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunMount {
    /// Absolute path (WORKDIR is applied); empty for a secret that is only a variable.
    pub target: String,
    /// What is there.
    pub kind: RunMountKind,
}

/// What a mount of a RUN shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunMountKind {
    /// Files of an input; what is written is discarded.
    Bind {
        /// The input.
        #[serde(skip)]
        from: Input,
        /// Path in it.
        source: String,
        /// Whether the step may write (into nowhere).
        writable: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Name; the target if not given.
        id: String,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// Input of the first content, with the path in it.
        #[serde(skip)]
        from: Option<(Input, String)>,
        /// Mode of the directory.
        mode: u32,
        /// Owner of the directory.
        uid: u32,
        /// Group of the directory.
        gid: u32,
        /// Whether the step may only read.
        read_only: bool,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; 0 is half of the memory.
        size_bytes: u64,
    },
    /// A secret, as a file and/or a variable.
    Secret {
        /// Its id.
        id: String,
        /// Variable that gets the value; empty is none.
        env: String,
        /// Whether the build fails without it.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// An SSH agent's socket; `SSH_AUTH_SOCK` leads to it.
    Ssh {
        /// Its id.
        id: String,
        /// Whether the build fails without it.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// Who may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One step; another one gets a cache of its own.
    Private,
    /// One step; another one waits.
    Locked,
}
