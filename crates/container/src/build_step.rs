//! Steps of builds: containers that nobody sees, and that end with who builds.
//!
//! A step is a container with the purpose [`Purpose::BuildStep`]. Its builder holds a lock on
//! `builder.lock` in the container's directory from before the row exists; whoever finds the lock free
//! removes the step ([`Containers::remove_abandoned_steps`]). Its monitor kills it as soon as the
//! builder's connection closes, so nothing runs on after a builder that was killed.
//!
//! Order at the end: exit code → the monitor takes everything down → mount points that only mounts
//! had made go → the writable layer becomes a layer → the row goes.

use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use orlop_layer::Layer;
use orlop_meta::{
    ContainerRecord, ContainerState, Durability, Purpose, StagedDirectory, VolumeRecord,
};
use orlop_runtime::attach::{Client, Event};
use orlop_runtime::launch::{self, Launched};
use orlop_runtime::migration::{Expected, expect_migration};
use orlop_runtime::plan::{FileContent, MountSource, PlannedMount};
use orlop_runtime::record::{self, Record};
use orlop_sys::lock::FileLock;
use orlop_sys::mount::{OverlayUpper, RootfsRecipe};
use orlop_sys::process::PidFd;
use orlop_types::config::{Config, HostConfig};
use orlop_types::signal::Signal;
use orlop_types::{ChainId, ContainerId};
use serde_json::Value;

use crate::error::system;
use crate::mount_plan::{MountEntry, MountKind, Origin};
use crate::start::MONITOR_END_TIMEOUT;
use crate::{Containers, Error, RemoveOptions, Result, now_text};

mod mount_points;

/// The builder's lock in the container's directory.
const BUILDER_LOCK: &str = "builder.lock";
/// How often a step that says nothing is asked whether its build was cancelled.
const CANCEL_LOOK: Duration = Duration::from_millis(50);
/// Id of the image of containers that have none.
const NO_IMAGE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What a step is made of.
#[derive(Clone, Debug, Default)]
pub struct StepRequest {
    /// The layer that it stands on.
    pub parent: Option<ChainId>,
    /// What runs.
    pub config: Config,
    /// What it gets of the host.
    pub host_config: HostConfig,
    /// Volumes that it mounts.
    pub volumes: Vec<StepVolume>,
}

/// A volume that a step mounts.
#[derive(Clone, Debug)]
pub struct StepVolume {
    /// The volume.
    pub volume: VolumeRecord,
    /// Where, absolute.
    pub target: String,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// A mount of a step that is no volume.
#[derive(Clone, Debug)]
pub struct StepMount {
    /// Where, absolute.
    pub target: String,
    /// What.
    pub source: StepSource,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// What a step sees at a mount.
#[derive(Clone, Debug)]
pub enum StepSource {
    /// Files of layers or of a directory. What the step writes there is lost.
    Files {
        /// What to mount.
        recipe: RootfsRecipe,
        /// Path below its root.
        subpath: Option<PathBuf>,
    },
    /// A file or directory of the host.
    Host(PathBuf),
    /// Memory; options as for mount(8).
    Memory(Vec<String>),
    /// A file in memory.
    Content(FileContent),
}

/// What a step needs besides what is kept of it.
#[derive(Clone, Debug, Default)]
pub struct StepInputs {
    /// Mounts.
    pub mounts: Vec<StepMount>,
    /// Variables that are not kept anywhere.
    pub secret_env: Vec<String>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepEnd {
    /// Its exit code.
    pub exit_code: u8,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
}

/// A step that is there. Dropping it removes it.
#[derive(Debug)]
pub struct BuildStep<'a> {
    containers: Containers<'a>,
    record: ContainerRecord,
    mount_points: Vec<PathBuf>,
    /// Whether its monitor has taken everything down and removes the run directory.
    is_over: bool,
    /// The kernel is being made ready for its start.
    migration: Option<Expected>,
    _builder: FileLock,
}

impl<'a> Containers<'a> {
    /// Makes the container of a step.
    pub fn new_step(&self, request: StepRequest) -> Result<BuildStep<'a>> {
        let migration = Some(expect_migration());
        let StepRequest { parent, config, mut host_config, volumes } = request;
        host_config.auto_remove = true;
        "none".clone_into(&mut host_config.log_config.kind);
        self.check_request(&config, &mut host_config)?;
        let connections =
            self.first_connections(&host_config.network_mode, &std::collections::BTreeMap::new())?;
        let id = ContainerId::of_bytes(&rand::random());
        let entries: Vec<MountEntry> = volumes.iter().map(volume_entry).collect();
        let record = ContainerRecord {
            name: id.as_str().parse()?,
            id,
            image: None,
            image_id: NO_IMAGE.parse()?,
            top_layer: parent,
            config,
            host_config,
            mounts: serde_json::to_value(&entries).unwrap_or(Value::Null),
            state: ContainerState::default(),
            created_at: now_text(),
            purpose: Purpose::BuildStep,
        };
        let mut staged = self.store.stage()?;
        let (builder, writable) = self.make_step_directories(&record, &mut staged)?;
        let committed = self.store.write::<_, Error>(Durability::Lazy, |query| {
            query.container_insert(&record)?;
            for connection in &connections {
                query.connection_put(&record.id, connection)?;
            }
            for volume in &volumes {
                query.volume_reference(&record.id, &volume.volume.name)?;
            }
            Ok(())
        });
        if let Err(error) = committed {
            self.discard(&record.id, &self.store.paths.container(&record.id));
            return Err(error);
        }
        orlop_sys::fault::point("container.step.committed");
        drop((staged, writable));
        Ok(BuildStep {
            containers: *self,
            record,
            mount_points: Vec::new(),
            is_over: false,
            migration,
            _builder: builder,
        })
    }

    /// The directory with the builder's lock, and the writable layer; until the row exists, the guards
    /// keep sweeps away.
    fn make_step_directories(
        &self,
        record: &ContainerRecord,
        staged: &mut StagedDirectory,
    ) -> Result<(FileLock, StagedDirectory)> {
        let directory = self.store.paths.container(&record.id);
        staged.publish("", &directory, orlop_meta::Sync::Nothing)?;
        let make = || {
            let lock = lock_builder(&directory)?.ok_or_else(|| {
                Error::conflict("a step that was made just now is locked by somebody else")
            })?;
            let options = crate::create::writable_options(&record.host_config);
            let top = record.top_layer.as_ref();
            Ok((lock, self.layers.create_writable(&record.id, top, options)?.guard))
        };
        let made = make();
        if made.is_err() {
            self.discard(&record.id, &directory);
        }
        made
    }

    /// Removes the steps whose builder is gone. Gives their ids.
    pub fn remove_abandoned_steps(&self) -> Result<Vec<ContainerId>> {
        let mut removed = Vec::new();
        for step in self.store.read(|query| query.containers_of_builds())? {
            let Some(_lock) = self.lock_abandoned(&step.id)? else { continue };
            self.store.make_room();
            match self.remove(step.id.as_str(), REMOVAL) {
                Err(Error::NotFound { .. }) => {}
                other => {
                    other?;
                    removed.push(step.id);
                }
            }
        }
        Ok(removed)
    }

    /// Whether a container is a step whose builder still is at work: then nobody else removes it.
    pub(crate) fn is_being_built(&self, container: &ContainerRecord) -> Result<bool> {
        Ok(container.purpose == Purpose::BuildStep && self.lock_abandoned(&container.id)?.is_none())
    }

    /// The builder's lock of a step, if it is free or its directory lost.
    fn lock_abandoned(&self, id: &ContainerId) -> Result<Option<Option<FileLock>>> {
        match lock_builder(&self.store.paths.container(id)) {
            Ok(lock) => Ok(lock.map(Some)),
            Err(Error::System { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(Some(None))
            }
            Err(error) => Err(error),
        }
    }
}

/// How a step is removed: whatever it is doing; its volumes are caches and stay.
const REMOVAL: RemoveOptions = RemoveOptions { force: true, volumes: false };

fn lock_builder(directory: &Path) -> Result<Option<FileLock>> {
    let path = directory.join(BUILDER_LOCK);
    FileLock::try_acquire(&path).map_err(system("lock", &path))
}

impl BuildStep<'_> {
    /// A directory of the step's own on the host, which goes with it.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.containers.store.paths.container(&self.record.id)
    }

    /// Runs the step to its end; output goes to `output` (1 or 2, and bytes) as it comes. When
    /// `is_cancelled` says so, everything in it is killed.
    pub fn run(
        &mut self,
        inputs: StepInputs,
        output: &mut dyn FnMut(u8, &[u8]),
        is_cancelled: &dyn Fn() -> bool,
    ) -> Result<StepEnd> {
        let launched = self.launch(inputs);
        drop(self.migration.take());
        let launched = launched?;
        let process = PidFd::open(launched.init_pid).ok();
        let Some(mut client) = launched.attach else {
            return Err(Error::conflict("the step was started without its output"));
        };
        let mut killed = false;
        let exit_code = loop {
            match client.receive_within(CANCEL_LOOK)? {
                Poll::Ready(Some(Event::Stdout(bytes))) => output(1, &bytes),
                Poll::Ready(Some(Event::Stderr(bytes))) => output(2, &bytes),
                Poll::Ready(Some(Event::Exit(code))) => break code,
                Poll::Ready(None) => {
                    return Err(Error::conflict("the monitor of the step was killed"));
                }
                Poll::Pending => {}
            }
            if !killed && is_cancelled() {
                killed = true;
                // The first process of a process namespace takes all others with it.
                if let Some(Err(error)) =
                    process.as_ref().map(|it| it.send_signal(Signal::KILL.number()))
                {
                    tracing::debug!(%error, "a cancelled step has just ended");
                }
            }
        };
        orlop_sys::fault::point("container.step.ended");
        let oom_killed = self.was_oom_killed()?;
        self.wait_for_teardown(&mut client)?;
        // What was measured meanwhile is not true any more.
        self.containers.forget_sizes(&self.record)?;
        Ok(StepEnd { exit_code, oom_killed })
    }

    /// What [`Containers::start`] does, with the mounts and variables that are not kept.
    fn launch(&mut self, inputs: StepInputs) -> Result<Launched> {
        let containers = self.containers;
        let id = self.record.id.clone();
        let _operation = containers.lock_operation(&id)?;
        match self.launch_locked(inputs) {
            Ok(launched) => Ok(launched),
            Err(error) => {
                containers.start_failed(&self.record, &error);
                Err(error)
            }
        }
    }

    fn launch_locked(&mut self, inputs: StepInputs) -> Result<Launched> {
        let (containers, record) = (&self.containers, &self.record);
        let run_dir = containers.store.paths.container_run(&record.id);
        std::fs::create_dir(&run_dir).map_err(system("make the directory", &run_dir))?;
        orlop_sys::fault::point("container.step.directory");
        let network = containers.allocate(record)?;
        containers.write_files(record, &network)?;
        let mut plan = containers.make_plan(record, network.plan, (0, 0))?;
        plan.process.env.extend(inputs.secret_env);
        for (index, mount) in inputs.mounts.into_iter().enumerate() {
            plan.mounts.push(self.planned(index, mount)?);
        }
        // Stable: mounts of equal depth keep the order of the Dockerfile.
        plan.mounts.sort_by_key(|mount| mount.target.components().count());
        let targets = plan.mounts.iter().map(|mount| mount.target.as_path());
        self.mount_points =
            mount_points::missing(containers.layers, record.top_layer.as_ref(), targets)?;
        orlop_sys::fault::point("container.step.planned");
        let options = launch::LaunchOptions {
            executable: containers.settings.executable.clone(),
            arguments: containers.settings.global_arguments.clone(),
            attach: true,
        };
        let launched = launch::launch(&plan, &options)?;
        orlop_sys::fault::point("container.step.launched");
        Ok(launched)
    }

    fn planned(&self, index: usize, mount: StepMount) -> Result<PlannedMount> {
        let StepMount { target, source, read_only } = mount;
        let source = match source {
            StepSource::Files { recipe, subpath } => {
                let recipe =
                    if read_only { recipe } else { self.with_writes_discarded(index, recipe)? };
                MountSource::Image { recipe, subpath }
            }
            StepSource::Host(path) => MountSource::Bind { path, subpath: None, recursive: false },
            StepSource::Memory(options) => MountSource::Tmpfs { options },
            StepSource::Content(content) => MountSource::Content(content),
        };
        Ok(PlannedMount {
            target: PathBuf::from(target),
            source,
            read_only,
            read_only_top_only: false,
            propagation: "rprivate".to_owned(),
        })
    }

    /// Puts a writable layer on files, which goes with the step.
    fn with_writes_discarded(&self, index: usize, recipe: RootfsRecipe) -> Result<RootfsRecipe> {
        let lowers = match recipe {
            RootfsRecipe::Directory { path, .. } => vec![path],
            RootfsRecipe::Overlay { lowers, upper } => {
                upper.into_iter().map(|upper| upper.upper).chain(lowers).collect()
            }
        };
        let place = self.directory().join(format!("discarded{index}"));
        let (upper, work) = (place.join("upper"), place.join("work"));
        for directory in [&upper, &work] {
            std::fs::create_dir_all(directory).map_err(system("make the directory", directory))?;
        }
        // The root shows as what lies below it.
        if let Some(below) = lowers.first() {
            let stat =
                rustix::fs::stat(below).map_err(|error| system("look at", below)(error.into()))?;
            let failed = |error: rustix::io::Errno| system("change", &upper)(error.into());
            let uid = rustix::fs::Uid::from_raw(stat.st_uid);
            let gid = rustix::fs::Gid::from_raw(stat.st_gid);
            rustix::fs::chown(&upper, Some(uid), Some(gid)).map_err(failed)?;
            let mode = rustix::fs::Mode::from_raw_mode(stat.st_mode & 0o7777);
            rustix::fs::chmod(&upper, mode).map_err(failed)?;
        }
        let upper = Some(OverlayUpper { upper, work, volatile: true });
        Ok(RootfsRecipe::Overlay { lowers, upper })
    }

    fn was_oom_killed(&self) -> Result<bool> {
        let run_dir = self.containers.store.paths.container_run(&self.record.id);
        let records = record::read_after(&run_dir, 0)?;
        let killed = |record: &Record| matches!(record, Record::Exited { oom_killed: true, .. });
        Ok(records.iter().any(|(_, record)| killed(record)))
    }

    /// Takes the rest of the work from the monitor and waits until it has unmounted everything.
    fn wait_for_teardown(&mut self, client: &mut Client) -> Result<()> {
        client.take_over()?;
        if client.wait_closed(MONITOR_END_TIMEOUT)? {
            self.is_over = true;
            return Ok(());
        }
        Err(Error::Timeout {
            what: "the end of the step's monitor".to_owned(),
            seconds: MONITOR_END_TIMEOUT.as_secs(),
        })
    }

    /// Makes the new layer of what the step has written, and removes the rest of it; `None` if it has
    /// written nothing.
    pub fn seal(self, stop: &(dyn Fn() -> bool + Sync)) -> Result<Option<Layer>> {
        let layers = self.containers.layers;
        let parent = self.record.top_layer.as_ref();
        let unpacked = layers.seal_writable(&self.record.id, parent, &self.mount_points, stop)?;
        orlop_sys::fault::point("container.step.sealed");
        let Some(unpacked) = unpacked else { return Ok(None) };
        Ok(layers.commit(vec![unpacked], parent, &now_text())?.pop())
    }
}

impl BuildStep<'_> {
    /// Removes the container of a step that is over. Its records are not looked at: the monitor is
    /// removing them.
    fn remove(&self) -> Result<()> {
        let (containers, id) = (&self.containers, &self.record.id);
        // It may be this very step that has filled the disk.
        containers.store.make_room();
        if !self.is_over {
            return containers.remove(id.as_str(), REMOVAL);
        }
        let _operation = containers.lock_operation(id)?;
        // Between the commit and the renames the directories have no owner.
        let _changing = containers.store.changing()?;
        let trash = containers.forget(&self.record, None)?;
        orlop_sys::fault::point("container.step.forgotten");
        containers.forget_names(id);
        trash.iter().try_for_each(|record| Ok(containers.store.carry_out(record)?))
    }
}

impl Drop for BuildStep<'_> {
    fn drop(&mut self) {
        match self.remove() {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(container = %self.record.id, %error, "a step is left for later");
            }
        }
    }
}

/// How a cache appears in the container's own list of mounts.
fn volume_entry(volume: &StepVolume) -> MountEntry {
    let source = volume.volume.name.as_str();
    let mut entry = MountEntry::new(MountKind::Volume, Origin::User, source, &volume.target);
    volume.volume.driver.clone_into(&mut entry.driver);
    entry.read_only = volume.read_only;
    entry.no_copy = true;
    entry
}
