//! Ends containers: signals, the wait for their effect, restart.

use std::time::{Duration, Instant};

use orlop_meta::{ContainerRecord, ContainerStatus, Durability};
use orlop_sys::process::PidFd;
use orlop_types::signal::Signal;

use crate::error::system;
use crate::settle::container_event;
use crate::start::StartOptions;
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

impl Containers<'_> {
    /// Stops a container: its stop signal, then `SIGKILL`. One that does not run is left as it is.
    pub fn stop(&self, name: &str, options: &StopOptions) -> Result<()> {
        let container = self.get(name)?;
        if !container.state.status.is_active() {
            return Ok(());
        }
        let signal = match options.signal.as_deref().or(container.config.stop_signal.as_deref()) {
            Some(text) => text.parse()?,
            None => Signal::TERM,
        };
        let seconds = options
            .timeout_seconds
            .or(container.config.stop_timeout)
            .unwrap_or(DEFAULT_STOP_SECONDS);
        self.mark_stopped(&container)?;
        if let Some(process) = open_process(&container)? {
            self.signal(&container, &process, signal)?;
            let limit = u64::try_from(seconds).ok().map(Duration::from_secs);
            if !wait(&process, limit)? {
                self.signal(&container, &process, Signal::KILL)?;
                if !wait(&process, Some(KILL_TIMEOUT))? {
                    return Err(Error::Timeout {
                        what: format!("the end of container {name} after SIGKILL"),
                        seconds: KILL_TIMEOUT.as_secs(),
                    });
                }
            }
        }
        let ended = self.wait_for_end(&container)?;
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
        let Some(process) = open_process(&container)? else { return Err(not_running()) };
        self.mark_stopped(&container)?;
        self.signal(&container, &process, signal)?;
        if signal == Signal::KILL {
            wait(&process, Some(KILL_TIMEOUT))?;
            self.wait_for_end(&container)?;
        }
        Ok(())
    }

    /// Stops (if need be) and starts again.
    pub fn restart(&self, name: &str, options: &StopOptions) -> Result<()> {
        self.stop(name, options)?;
        let started = self.start(name, StartOptions::default())?;
        let container = self.get(started.id.as_str())?;
        self.log_event(&container, "restart")
    }

    /// Waits for the end; the exit code. One that has ended already answers at once.
    pub fn wait(&self, name: &str) -> Result<i64> {
        let mut container = self.get(name)?;
        while container.state.status.is_active() {
            if let Some(process) = open_process(&container)? {
                wait(&process, None)?;
            }
            container = self.wait_for_end(&container)?;
        }
        Ok(container.state.exit_code)
    }

    /// Waits until the end of a process that is gone has become part of the container's state.
    pub(crate) fn wait_for_end(&self, container: &ContainerRecord) -> Result<ContainerRecord> {
        let deadline = Instant::now() + RECORD_TIMEOUT;
        loop {
            let present = match self.get(container.id.as_str()) {
                // Somebody else has removed it, which is an end as well.
                Err(Error::NotFound { .. }) => {
                    let mut gone = container.clone();
                    gone.state.status = ContainerStatus::Removing;
                    return Ok(gone);
                }
                other => other?,
            };
            let same_run = present.state.started_at == container.state.started_at;
            if !present.state.status.is_active() || !same_run {
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
                Ok(self.store.write(Durability::Lazy, |query| query.event_insert(&event))?)
            }
        }
    }

    /// Notes that somebody ended the container on purpose, so that no restart policy undoes it.
    fn mark_stopped(&self, container: &ContainerRecord) -> Result<()> {
        self.store.write(Durability::Lazy, |query| {
            if let Some(mut present) = query.container(&container.id)? {
                present.state.stopped_by_user = true;
                query.container_set_state(&container.id, &present.state)?;
            }
            Ok(())
        })
    }

    pub(crate) fn log_event(&self, container: &ContainerRecord, action: &str) -> Result<()> {
        let event = container_event(container, action, now_ns());
        Ok(self.store.write(Durability::Lazy, |query| query.event_insert(&event))?)
    }
}

/// The container's first process, if it still is the one that was started.
pub(crate) fn open_process(container: &ContainerRecord) -> Result<Option<PidFd>> {
    let path = std::path::PathBuf::from(format!("/proc/{}", container.state.pid));
    PidFd::open_same(container.state.pid, container.state.start_ticks)
        .map_err(system("open the process", &path))
}

fn wait(process: &PidFd, limit: Option<Duration>) -> Result<bool> {
    process.wait_ended(limit).map_err(|source| Error::System {
        operation: "wait for",
        subject: "the container's process".to_owned(),
        source,
    })
}
