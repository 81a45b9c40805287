//! One function for each thing a user can ask for; every face of the program calls these.
//!
//! An [`Engine`] is a store that was opened by this process. It holds nothing that another process
//! could not find as well, so any number of them may work on one store at once.

pub mod build;
mod builder;
mod check;
mod check_kernel;
mod check_rows;
mod containers;
mod copy;
mod disk_usage;
mod error;
mod events;
mod image_views;
mod images;
mod info;
mod inspect;
mod networks;
mod prune;
mod reap;
mod registry;
mod run;
mod volumes;
mod watch;
mod writable;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_container::{Containers, Settings};
use orlop_image::Images;
use orlop_layer::LayerStore;
use orlop_meta::Store;
use orlop_volume::Volumes;

pub use check::{CheckReport, Finding, Repair, Severity};
pub use disk_usage::{ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
pub use error::Error;
pub use events::EventQuery;
pub use inspect::{ContainerSizes, InspectKind};
pub use networks::NetworkSummary;
pub use prune::ContainersPruned;
pub use run::{RunOptions, RunOutcome, UnwantedOutputs};

pub use orlop_archive::pack::Packing;
pub use orlop_build::{CachePruneOptions, CachePruned, CacheUsage};
pub use orlop_container::copy::rules::Direction as CopyDirection;
pub use orlop_container::explain;
pub use orlop_container::{
    BootStart, ContainerQuery, ContainerStats, ContainerSummary, CreateRequest, Created, ExecId,
    ExecRequest, ExecStart, LogOptions, ProcessList, RemoveOptions, StartOptions, Started,
    StatsSample, StopOptions, UpdateRequest, WaitCondition,
};
pub use orlop_container::{Change, CommitRequest};
pub use orlop_container::{
    ContainerFiles, Copied, CopyOptions, Error as ContainerError, ExtractOptions, PathStat,
};
pub use orlop_container::{IpamRequest, NewNetwork};
pub use orlop_image::{
    AttributeChange, DiffTotals, Edit, EditRequest, FileChange, FileDiff, FlattenRequest,
    Flattened, ImageDiff, ImageTree, TreeLayer, TreeStep,
};
pub use orlop_image::{
    HistoryItem, ImageSummary, ImportOptions, LayerPacking, LayoutForm, LayoutOptions,
    LayoutTarget, LoadOptions, LoadSource, Loaded, Platform, Removal,
    RemoveOptions as ImageRemoveOptions, SavePlan, WrittenImage,
};
pub use orlop_image::{
    KeepPacked, LayerState, PullOptions, Pulled, PushOptions, PushedImage, TransferEvent,
    TransferWatch,
};
pub use orlop_layer::ChangeKind;
pub use orlop_meta::EventRecord;
pub use orlop_runtime::attach::{DETACH_KEYS, hold_signals, parse_detach_keys};
pub use orlop_runtime::log::{LogEntry, LogStream, Prefix as LogPrefix};
pub use orlop_runtime::migration::expect_migration;
pub use orlop_sys::writeback::EarlyWriter;
pub use orlop_volume::{Force, NewVolume, VolumeInfo};

/// Result of the engine's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where the store is unless the user says otherwise.
pub const DEFAULT_ROOT: &str = "/var/lib/orlop";
/// Where run state is for [`DEFAULT_ROOT`].
pub const DEFAULT_RUN_ROOT: &str = "/run/orlop";

/// Which store to open and how.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The store's root.
    pub root: PathBuf,
    /// Run state; chosen by the root if there is none.
    pub run_root: Option<PathBuf>,
    /// Storage driver; a store keeps the one it was made with.
    pub storage_driver: Option<String>,
    /// The global options as typed, handed on to child processes.
    pub global_arguments: Vec<OsString>,
}

/// An opened store.
#[derive(Debug)]
pub struct Engine {
    store: Arc<Store>,
    layers: LayerStore,
    settings: Settings,
}

impl Engine {
    /// Opens the store, making it if it does not exist.
    pub fn open(options: EngineOptions) -> Result<Self> {
        let run_root = options.run_root.unwrap_or_else(|| default_run_root(&options.root));
        let store = Arc::new(Store::open(&options.root, &run_root)?);
        let layers = LayerStore::open(Arc::clone(&store), options.storage_driver.as_deref())?;
        let settings = Settings {
            executable: PathBuf::from("/proc/self/exe"),
            global_arguments: child_arguments(&store, options.storage_driver.as_deref()),
        };
        Ok(Self { store, layers, settings })
    }

    /// Operations on containers.
    pub(crate) fn containers(&self) -> Containers<'_> {
        Containers::new(&self.store, &self.layers, &self.settings)
    }

    /// Operations on images.
    pub(crate) fn images(&self) -> Images<'_> {
        Images::new(&self.store, &self.layers)
    }

    /// Operations on volumes.
    pub(crate) fn volumes(&self) -> Volumes<'_> {
        Volumes::new(&self.store)
    }

    /// Where the store is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.store.paths.root
    }
}

/// Each store has run state of its own, also when nobody says where.
fn default_run_root(root: &Path) -> PathBuf {
    if root == Path::new(DEFAULT_ROOT) {
        return PathBuf::from(DEFAULT_RUN_ROOT);
    }
    let absolute = root
        .canonicalize()
        .or_else(|_| std::path::absolute(root))
        .unwrap_or_else(|_| root.to_owned());
    Path::new(DEFAULT_RUN_ROOT).join("roots").join(orlop_net::names::table_name(&absolute))
}

/// The options that lead a child process, wherever it stands, to this very store.
fn child_arguments(store: &Store, storage_driver: Option<&str>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--root".into(),
        store.paths.root.clone().into(),
        "--run-root".into(),
        store.paths.run_root.clone().into(),
    ];
    if let Some(driver) = storage_driver {
        arguments.extend(["--storage-driver".into(), driver.into()]);
    }
    arguments
}
