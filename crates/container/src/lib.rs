//! The life of containers: mount plan, creation, start, end, removal, and what is shown of them.
//!
//! [`mount_plan::plan`] decides every mount by itself, without looking at any file system;
//! [`Containers`] carries the decisions out over the store, the layers, the volumes and the monitor.

mod attached;
mod boot;
mod build_step;
mod changes;
mod clock;
mod commit;
pub mod copy;
mod create;
mod error;
mod exec;
mod exec_instance;
mod exec_record;
pub mod explain;
mod files;
mod health;
mod idle;
mod inspect;
mod leftovers;
mod list_filter;
mod list_ports;
mod log_options;
mod logs;
mod lookup;
mod merge;
pub mod mount_plan;
#[cfg(test)]
mod mount_plan_random_tests;
mod mounted;
mod names;
mod network;
mod network_connect;
mod network_settings;
mod network_view;
mod networks;
mod pause;
mod plan;
mod ports;
mod records;
mod remove;
mod settle;
mod shared;
mod start;
mod stats;
mod stop;
mod summary;
mod top;
mod update;
mod validate;
mod volume_events;
mod wait;

use std::ffi::OsString;
use std::path::PathBuf;

use orlop_layer::LayerStore;
use orlop_meta::Store;

pub use boot::BootStart;
pub use build_step::{
    BuildStep, StepEnd, StepInputs, StepMount, StepRequest, StepSource, StepVolume,
};
pub use changes::Change;
pub use clock::{now_ns, now_text};
pub use commit::CommitRequest;
pub use copy::{ContainerFiles, Copied, CopyError, CopyOptions, ExtractOptions, PathStat};
pub use create::{CreateRequest, Created};
pub use error::Error;
pub use exec::ExecRequest;
pub use exec_instance::ExecStart;
pub use exec_record::ExecId;
pub use logs::LogOptions;
pub use mounted::mounted_volumes;
pub use network_settings::{IpamRequest, NewNetwork};
pub use remove::RemoveOptions;
pub use start::{StartOptions, Started};
pub use stats::{ContainerStats, InterfaceStats, StatsSample};
pub use stop::StopOptions;
pub use summary::{ContainerQuery, ContainerSummary};
pub use top::ProcessList;
pub use update::UpdateRequest;
pub use wait::WaitCondition;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Facts about this process and store that every operation on containers needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program that is started as the monitor, normally this one.
    pub executable: PathBuf,
    /// Global options that lead a child process to the same store.
    pub global_arguments: Vec<OsString>,
}

/// Operations on the containers of one store.
#[derive(Clone, Copy, Debug)]
pub struct Containers<'a> {
    store: &'a Store,
    layers: &'a LayerStore,
    settings: &'a Settings,
}

impl<'a> Containers<'a> {
    /// Brings together what the operations work on.
    #[must_use]
    pub fn new(store: &'a Store, layers: &'a LayerStore, settings: &'a Settings) -> Self {
        Self { store, layers, settings }
    }
}
