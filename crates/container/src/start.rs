//! Starts containers.

use std::os::fd::OwnedFd;

use orlop_meta::{ContainerRecord, ContainerStatus, Durability};
use orlop_runtime::record::{self, Liveness, liveness};
use orlop_runtime::{StartError, attach, launch};
use orlop_sys::mount::RootfsRecipe;
use orlop_types::ContainerId;

use crate::error::system;
use crate::network::Placement;
use crate::settle::container_event;
use crate::{Containers, Error, RemoveOptions, Result, now_ns};

/// How to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// Whether the caller attaches before the first process runs, so that no output is missed.
    pub attach: bool,
    /// Height and width of the caller's terminal.
    pub console_size: Option<(u16, u16)>,
}

/// What it means that an auto-remove container has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is about to be removed.
    IsRemoved,
    /// The caller has ended it just now, to start it again.
    MayStartAgain,
}

/// A started container.
#[derive(Debug)]
pub struct Started {
    /// Which.
    pub id: ContainerId,
    /// The connection, if one was asked for.
    pub attached: Option<attach::Client>,
    /// Whether it ran already and nothing was done.
    pub was_running: bool,
}

impl Containers<'_> {
    /// Starts a container.
    pub fn start(&self, name: &str, options: StartOptions) -> Result<Started> {
        let id = self.id(name)?;
        let _operation = self.lock_operation(&id)?;
        self.start_locked(&id, name, options, Ended::IsRemoved)
    }

    /// Starts a container; the caller holds the operation lock.
    pub(crate) fn start_locked(
        &self,
        id: &ContainerId,
        name: &str,
        options: StartOptions,
        ended: Ended,
    ) -> Result<Started> {
        let id = id.clone();
        let container = self.settle_locked(&id)?;
        match container.state.status {
            ContainerStatus::Running | ContainerStatus::Restarting => {
                let attached = if options.attach { Some(self.connect(&id)?) } else { None };
                return Ok(Started { id, attached, was_running: true });
            }
            ContainerStatus::Paused => {
                return Err(Error::conflict(
                    "cannot start a paused container, try unpause instead",
                ));
            }
            ContainerStatus::Removing | ContainerStatus::Dead => {
                return Err(Error::conflict(format!(
                    "container {name} is marked for removal and cannot be started"
                )));
            }
            // It has ended and is about to go; what it wrote was never meant to be mounted again.
            ContainerStatus::Exited
                if container.host_config.auto_remove && ended == Ended::IsRemoved =>
            {
                return Err(Error::conflict(format!(
                    "container {name} is marked for removal and cannot be started"
                )));
            }
            ContainerStatus::Created | ContainerStatus::Exited => {}
        }
        match self.launch(&container, options) {
            Ok(attached) => {
                self.settle_locked(&id)?;
                orlop_sys::fault::point("container.start.settled");
                Ok(Started { id, attached, was_running: false })
            }
            Err(error) => {
                self.start_failed(&container, &error);
                Err(error)
            }
        }
    }

    fn launch(
        &self,
        container: &ContainerRecord,
        options: StartOptions,
    ) -> Result<Option<attach::Client>> {
        let run_dir = self.store.paths.container_run(&container.id);
        self.clear_run_dir(&container.id)?;
        self.allow_mounting_again(container)?;
        if options.attach {
            self.log_event(container, "attach")?;
        }
        std::fs::create_dir(&run_dir).map_err(system("make the directory", &run_dir))?;
        orlop_sys::fault::point("container.start.directory");
        let network = self.allocate(container)?;
        orlop_sys::fault::point("container.start.allocated");
        self.write_files(container, &network)?;
        let mut plan =
            self.make_plan(container, network.plan, options.console_size.unwrap_or_default())?;
        if let Some(other) = &network.shared_with {
            (plan.hostname, plan.domainname) = self.host_names(other)?;
        }
        orlop_sys::fault::point("container.start.planned");
        let launched = launch::launch(
            &plan,
            &launch::LaunchOptions {
                executable: self.settings.executable.clone(),
                arguments: self.settings.global_arguments.clone(),
                attach: options.attach,
            },
        )?;
        orlop_sys::fault::point("container.start.launched");
        Ok(launched.attach)
    }

    /// Takes back the kernel's mark on a writable layer that is mounted without syncing it
    /// (overlayfs, "volatile"): it keeps the layer from being mounted a second time, because after
    /// a power cut its files cannot be trusted. The machine has not been off since: what is lost with
    /// it is removed and never started again.
    pub(crate) fn allow_mounting_again(&self, container: &ContainerRecord) -> Result<()> {
        let options = crate::create::writable_options(&container.host_config);
        if !options.volatile {
            return Ok(());
        }
        let recipe = self.layers.writable_recipe(&container.id, options)?;
        let RootfsRecipe::Overlay { upper: Some(upper), .. } = recipe else { return Ok(()) };
        // Made by the kernel, out of every container's reach.
        let mark = upper.work.join("work/incompat");
        match std::fs::remove_dir_all(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(system("remove", &mark)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what an earlier run left, once its monitor has let go.
    fn clear_run_dir(&self, id: &ContainerId) -> Result<()> {
        self.wait_for_monitor(id, MONITOR_END_TIMEOUT)?;
        let run_dir = self.store.paths.container_run(id);
        match record::remove_run_dir(&run_dir) {
            Err(error) => Err(system("remove", &run_dir)(error)),
            Ok(()) => {
                orlop_sys::fault::point("container.start.cleared");
                // Records of the new run count from one again.
                self.store.write(Durability::Lazy, |query| {
                    if let Some(mut container) = query.container(id)?
                        && container.state.folded_sequence > 0
                    {
                        container.state.folded_sequence = 0;
                        container.state.run += 1;
                        query.container_set_state(id, &container.state)?;
                    }
                    Ok::<_, Error>(())
                })
            }
        }
    }

    pub(crate) fn write_files(
        &self,
        container: &ContainerRecord,
        network: &Placement,
    ) -> Result<()> {
        if network.shared_with.is_some() {
            // It sees the other container's files.
            return Ok(());
        }
        self.write_network_files(container, network)
    }

    /// Records why a start failed and gives back what it had taken; an auto-remove container goes.
    pub(crate) fn start_failed(&self, container: &ContainerRecord, error: &Error) {
        let exit_code = match error {
            Error::Start(StartError { exit_code: code @ (126 | 127), .. }) => i64::from(*code),
            _ => 128,
        };
        // A monitor that was killed has taken nothing back, and its half-made process waits for ever.
        let run_dir = self.store.paths.container_run(&container.id);
        if matches!(liveness(&run_dir), Ok(Liveness::Dead)) {
            self.end_processes(&container.id);
        }
        let outcome = self.store.write(Durability::Lazy, |query| {
            crate::network::release(query, container, now_ns())?;
            if let Some(mut present) = query.container(&container.id)?
                && !present.state.status.is_active()
            {
                present.state.exit_code = exit_code;
                present.state.error = error.to_string();
                query.container_set_state(&container.id, &present.state)?;
            }
            let mut event = container_event(container, "die", now_ns());
            event.attributes.insert("exitCode".to_owned(), exit_code.to_string());
            query.event_insert(&event)?;
            Ok::<_, Error>(())
        });
        let removed = if container.host_config.auto_remove {
            self.remove_locked(&container.id, RemoveOptions { force: true, volumes: true })
        } else {
            self.clear_run_dir(&container.id)
        };
        for result in [outcome, removed] {
            if let Err(error) = result {
                tracing::debug!(container = %container.id, %error, "cannot clean up after a failed start");
            }
        }
    }

    /// Keeps other starts and removals of this container out; held by the returned file.
    ///
    /// The lock is on the container's own directory, so nothing is left behind when it goes.
    pub(crate) fn lock_operation(&self, id: &ContainerId) -> Result<OwnedFd> {
        use rustix::fs::{FlockOperation, Mode, OFlags};
        let path = self.store.paths.container(id);
        let open = || rustix::fs::open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let directory = match open() {
            Err(rustix::io::Errno::NOENT) => {
                if self.store.read(|query| query.container(id))?.is_none() {
                    return Err(Error::NotFound { name: id.short().to_owned() });
                }
                // The disk has lost it; what is left of the container can still be removed.
                std::fs::create_dir(&path).map_err(system("make the directory", &path))?;
                open()
            }
            other => other,
        }
        .map_err(|error| system("open", &path)(error.into()))?;
        rustix::fs::flock(&directory, FlockOperation::LockExclusive)
            .map_err(|error| system("lock", &path)(error.into()))?;
        Ok(directory)
    }

    /// The same without waiting; `None` if it is held or the container has no directory.
    pub(crate) fn try_lock_operation(&self, id: &ContainerId) -> Result<Option<OwnedFd>> {
        use rustix::fs::{FlockOperation, Mode, OFlags};
        let path = self.store.paths.container(id);
        let failed = |error: rustix::io::Errno| system("lock", &path)(error.into());
        let directory =
            match rustix::fs::open(&path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                other => other.map_err(failed)?,
            };
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            other => other.map(|()| Some(directory)).map_err(failed),
        }
    }

    /// Connects to a running container's streams.
    pub(crate) fn connect(&self, id: &ContainerId) -> Result<attach::Client> {
        let run_dir = self.store.paths.container_run(id);
        Ok(attach::connect(&run_dir)?)
    }
}

/// How long the monitor of the last run may take to let go of its mounts.
pub(crate) const MONITOR_END_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
