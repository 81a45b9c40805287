//! Ends containers: signals, the wait for their effect, restart.

use std::time::{Duration, Instant};

use orlop_meta::{ContainerRecord, ContainerStatus, Durability};
use orlop_runtime::restart;
use orlop_sys::process::PidFd;
use orlop_types::signal::Signal;

use crate::commit::Frozen;
use crate::error::system;
use crate::settle::container_event;
use crate::start::{Ended, StartOptions};
use crate::{Containers, Error, Result, now_ns};

/// Seconds between the stop signal and `SIGKILL` unless the container or the caller says otherwise.
const DEFAULT_STOP_SECONDS: i64 = 10;
/// How long the kernel may take to end a killed process (it may wait for a disk).
const KILL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the monitor may take to write that its process has ended.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks for that record.
const POLL: Duration = Duration::from_millis(1);

/// How to stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Instead of the container's own stop signal.
    pub signal: Option<String>,
    /// Seconds until `SIGKILL`; negative waits for ever.
    pub timeout_seconds: Option<i64>,
}

/// Whether the caller holds the container's operation lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationLock {
    /// Nobody may, or somebody else.
    Free,
    /// The caller.
    Held,
}

/// What becomes of a container's restart policy when somebody sends a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestartsAfter {
    /// It is not started again by itself until somebody has started it by hand.
    Cancelled,
    /// Its policy decides.
    Policy,
}

impl Containers<'_> {
    /// Stops a container: its stop signal, then `SIGKILL`. One that does not run is left as it is.
    pub fn stop(&self, name: &str, options: &StopOptions) -> Result<()> {
        let container = self.get(name)?;
        self.stop_container(&container, options, OperationLock::Free)
    }

    fn stop_container(
        &self,
        container: &ContainerRecord,
        options: &StopOptions,
        lock: OperationLock,
    ) -> Result<()> {
        if !container.state.status.is_active() {
            return Ok(());
        }
        let signal = match options.signal.as_deref().or(stop_signal(container)) {
            Some(text) => text.parse()?,
            None => Signal::TERM,
        };
        let seconds = options
            .timeout_seconds
            .or(container.config.stop_timeout)
            .unwrap_or(DEFAULT_STOP_SECONDS);
        let limit = u64::try_from(seconds).ok().map(Duration::from_secs);
        self.mark_with_room(container, RestartsAfter::Cancelled)?;
        orlop_sys::fault::point("container.stop.marked");
        let ended = self.end(container, lock, |container, process| {
            self.signal(container, process, signal)?;
            self.thaw(container);
            if !wait_process(process, limit)? {
                self.kill_and_wait(container, process)?;
            }
            Ok(())
        })?;
        self.log_event(&ended, "stop")
    }

    /// Sends a signal to the first process.
    pub fn kill(&self, name: &str, signal: &str) -> Result<()> {
        let signal = signal.parse::<Signal>()?;
        let container = self.get(name)?;
        let not_running = || {
            Error::conflict(format!(
                "cannot kill container: {name}: container {} is not running",
                container.id
            ))
        };
        if !container.state.status.is_active() {
            return Err(not_running());
        }
        // Docker's rule: what stops a container on purpose ends its restarts. Without a stop signal
        // of its own that is any signal at all.
        let stops = match stop_signal(&container) {
            Some(text) => signal == Signal::KILL || text.parse() == Ok(signal),
            None => true,
        };
        let restarts = if stops { RestartsAfter::Cancelled } else { RestartsAfter::Policy };
        self.mark_with_room(&container, restarts)?;
        if signal == Signal::KILL {
            return self
                .end(&container, OperationLock::Free, |container, process| {
                    self.kill_and_wait(container, process)
                })
                .map(drop);
        }
        let Some(process) = open_process(&container)? else {
            // Between two runs nobody is there to take a signal; that restarts are over is all.
            return if container.state.status == ContainerStatus::Restarting {
                Ok(())
            } else {
                Err(not_running())
            };
        };
        self.signal(&container, &process, signal)?;
        if stops {
            self.thaw(&container);
        }
        Ok(())
    }

    /// Ends every run of a container that is being started again and again: `end_process` is called
    /// for each first process that is found. Its restarts must be cancelled already.
    pub(crate) fn end(
        &self,
        first: &ContainerRecord,
        lock: OperationLock,
        end_process: impl Fn(&ContainerRecord, &PidFd) -> Result<()>,
    ) -> Result<ContainerRecord> {
        let mut container = first.clone();
        // Started anew by somebody: that is another life, and not meant.
        while container.state.status.is_active() && container.state.run == first.state.run {
            if let Some(process) = open_process(&container)? {
                end_process(&container, &process)?;
            }
            container = self.wait_for_end(&container, lock)?;
        }
        Ok(container)
    }

    /// Kills the first process and waits for its end.
    pub(crate) fn kill_and_wait(&self, container: &ContainerRecord, process: &PidFd) -> Result<()> {
        self.signal(container, process, Signal::KILL)?;
        // A frozen process of a v1 group dies only after it is thawed.
        self.thaw(container);
        if !wait_process(process, Some(KILL_TIMEOUT))? {
            return Err(Error::Timeout {
                what: format!("the end of container {} after SIGKILL", container.name),
                seconds: KILL_TIMEOUT.as_secs(),
            });
        }
        Ok(())
    }

    /// Stops (if need be) and starts again.
    ///
    /// The operation lock is held all the time, so that nobody removes an auto-remove container in
    /// between.
    pub fn restart(&self, name: &str, options: &StopOptions) -> Result<()> {
        let id = self.id(name)?;
        {
            let _operation = self.lock_operation(&id)?;
            let container = self.settle_locked(&id)?;
            self.stop_container(&container, options, OperationLock::Held)?;
            self.start_locked(&id, name, StartOptions::default(), Ended::MayStartAgain)?;
        }
        let container = self.get(id.as_str())?;
        self.log_event(&container, "restart")
    }

    /// Waits until the end of a process that is gone has become part of the container's state.
    fn wait_for_end(
        &self,
        container: &ContainerRecord,
        lock: OperationLock,
    ) -> Result<ContainerRecord> {
        let deadline = Instant::now() + RECORD_TIMEOUT;
        loop {
            let present = match lock {
                OperationLock::Free => self.get(container.id.as_str()),
                // Who holds it must not take it again, which a look at a container without a monitor does.
                OperationLock::Held => self.settle_locked(&container.id),
            };
            let present = match present {
                // What filled the disk has ended: nobody else takes the room for the note of it.
                Err(Error::Store(error)) if error.is_full_disk() && Instant::now() < deadline => {
                    self.store.make_room();
                    std::thread::sleep(POLL);
                    continue;
                }
                // Somebody else has removed it, which is an end as well.
                Err(Error::NotFound { .. }) => {
                    let mut gone = container.clone();
                    gone.state.status = ContainerStatus::Removing;
                    return Ok(gone);
                }
                other => other?,
            };
            let same_run = present.state.started_at == container.state.started_at;
            // A cancelled restart becomes an end soon.
            let is_over = !present.state.status.is_active();
            if is_over || !same_run {
                return Ok(present);
            }
            if Instant::now() > deadline {
                return Err(Error::Timeout {
                    what: format!("the end of container {}", container.name),
                    seconds: RECORD_TIMEOUT.as_secs(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn signal(
        &self,
        container: &ContainerRecord,
        process: &PidFd,
        signal: Signal,
    ) -> Result<()> {
        match process.send_signal(signal.number()) {
            // It has ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Ok(())
            }
            Err(error) => Err(Error::System {
                operation: "signal container",
                subject: container.name.as_str().to_owned(),
                source: error,
            }),
            Ok(()) => {
                let mut event = container_event(container, "kill", now_ns());
                event.attributes.insert("signal".to_owned(), signal.number().to_string());
                match self.store.write(Durability::Lazy, |query| query.event_insert(&event)) {
                    // The signal is on its way; what it does is more than a line about it.
                    Err(error) if error.is_full_disk() => {
                        tracing::debug!(%error, "a signal is not logged");
                        Ok(())
                    }
                    other => Ok(other?),
                }
            }
        }
    }

    /// Notes the end of a container that may be filling the disk: it is held meanwhile, or it would
    /// take the room that is made for the note.
    fn mark_with_room(&self, container: &ContainerRecord, restarts: RestartsAfter) -> Result<()> {
        if !self.store.is_full() {
            return self.mark_stopped(container, restarts);
        }
        let runs = container.state.status == ContainerStatus::Running;
        let _held = if runs { Frozen::new(self, container) } else { None };
        self.store.make_room();
        self.mark_stopped(container, restarts)
    }

    /// Notes that somebody ends the container on purpose, in the database for later and in the run
    /// directory for its monitor.
    pub(crate) fn mark_stopped(
        &self,
        container: &ContainerRecord,
        restarts: RestartsAfter,
    ) -> Result<()> {
        self.store.write::<_, Error>(Durability::Lazy, |query| {
            if let Some(mut present) = query.container(&container.id)? {
                present.state.stopped_by_user = true;
                query.container_set_state(&container.id, &present.state)?;
            }
            Ok(())
        })?;
        let run_dir = self.store.paths.container_run(&container.id);
        restart::mark_stopped(&run_dir)?;
        if restarts == RestartsAfter::Cancelled {
            restart::cancel(&run_dir)?;
        }
        if container.state.status == ContainerStatus::Restarting {
            restart::wake(&run_dir);
        }
        Ok(())
    }

    pub(crate) fn log_event(&self, container: &ContainerRecord, action: &str) -> Result<()> {
        let event = container_event(container, action, now_ns());
        Ok(self.store.write(Durability::Lazy, |query| query.event_insert(&event))?)
    }
}

/// The signal that a container is to be stopped with, if it has one of its own.
fn stop_signal(container: &ContainerRecord) -> Option<&str> {
    container.config.stop_signal.as_deref().filter(|text| !text.is_empty())
}

/// The container's first process, if it still is the one that was started.
pub(crate) fn open_process(container: &ContainerRecord) -> Result<Option<PidFd>> {
    let path = std::path::PathBuf::from(format!("/proc/{}", container.state.pid));
    PidFd::open_same(container.state.pid, container.state.start_ticks)
        .map_err(system("open the process", &path))
}

/// Waits for the end of a process; tells whether it has come.
pub(crate) fn wait_process(process: &PidFd, limit: Option<Duration>) -> Result<bool> {
    process.wait_ended(limit).map_err(|source| Error::System {
        operation: "wait for",
        subject: "the container's process".to_owned(),
        source,
    })
}
