//! Processes added to a container in steps: made, started, looked at, as the API does it.
//!
//! A helper (`orlop … exec-run CONTAINER ID`) holds the process's streams, so that it outlives whoever
//! asked for it. The order in which things become known: the process runs → its record says so →
//! the starter knows; it has ended → record and event say so → attached commands know.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use orlop_meta::{ContainerRecord, ContainerStatus, Durability};
use orlop_runtime::attach::Client;
use orlop_runtime::launch::{LaunchOptions, launch_added};
use orlop_runtime::monitor::added::{Added, refuse, serve_added, take_starter};
use orlop_runtime::{StartError, by_choice};
use orlop_sys::process::start_ticks;
use orlop_types::network::NetworkPlan;
use orlop_types::{ContainerId, ParseError};
use serde_json::{Value, json};

use crate::exec_record::{self, ExecId, ExecRecord, ExecState};
use crate::pause::{not_running, restarting};
use crate::records::exec_event;
use crate::{Containers, Error, ExecRequest, Result, now_ns};

/// Exit code of a process that could not be started, unless the error says better.
const NOT_STARTED: i64 = 126;

/// How long the end of a process may take to be noted, unless its helper was killed.
const NOTE_LIMIT: Duration = Duration::from_millis(500);
/// Pause between two looks for that.
const NOTE_POLL: Duration = Duration::from_millis(2);

/// How a process is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecStart {
    /// Whether nobody is attached.
    pub detach: bool,
    /// Height and width of its terminal, (0, 0) where unknown.
    pub console_size: (u16, u16),
}

/// A command as events have it: the program, a space, its arguments, of which there may be none.
pub(crate) fn event_words(request: &ExecRequest) -> String {
    match request.args.split_first() {
        Some((program, arguments)) => format!("{program} {}", arguments.join(" ")),
        None => String::new(),
    }
}

impl Containers<'_> {
    /// Prepares a process in a running container.
    pub fn exec_create(&self, name: &str, request: &ExecRequest) -> Result<ExecId> {
        let container = self.running_for_exec(name, request)?;
        let id = self.note_exec(&container, request)?;
        let action = format!("exec_create: {}", event_words(request));
        self.log_exec(&container, &[(action, None)], &id)?;
        Ok(id)
    }

    /// Starts a prepared process; the connection to its streams unless it is detached.
    pub fn exec_start(&self, id: &ExecId, start: ExecStart) -> Result<Option<Client>> {
        let (container, mut record) = self.find_exec(id)?;
        self.check_for_exec(container.id.as_str(), &container)?;
        let run_dir = self.store.paths.container_run(&container.id);
        if record.state != ExecState::Created || !exec_record::claim(&run_dir, id)? {
            let text = format!("exec command {} has already run", id.as_str());
            return Err(Error::conflict(text));
        }
        record.state = ExecState::Starting;
        record.console_size = start.console_size;
        record.request.detach = start.detach;
        exec_record::write(&run_dir, &record)?;
        let action = format!("exec_start: {}", event_words(&record.request));
        self.log_exec(&container, &[(action, None)], id)?;
        orlop_sys::fault::point("exec.start.claimed");
        let launched = launch_added(
            &run_dir,
            &["exec-run", container.id.as_str(), id.as_str()],
            &LaunchOptions {
                executable: self.settings.executable.clone(),
                arguments: self.settings.global_arguments.clone(),
                attach: !start.detach,
            },
        );
        match launched {
            Ok(launched) => Ok(launched.attach),
            Err(error) => {
                let exit_code = match error.exit_code {
                    126 | 127 => i64::from(error.exit_code),
                    _ => NOT_STARTED,
                };
                record.state = ExecState::Ended { exit_code };
                if let Err(error) = exec_record::write(&run_dir, &record) {
                    tracing::debug!(%error, "it stays unknown that a process did not start");
                }
                Err(crate::exec::ended_meanwhile(&container, error.into()))
            }
        }
    }

    /// A process, as `GET /exec/ID/json` shows it.
    pub fn exec_inspect(&self, id: &ExecId) -> Result<Value> {
        let (container, record) = self.find_exec(id)?;
        let run_dir = self.store.paths.container_run(&container.id);
        let record = settled(&run_dir, record)?;
        let request = &record.request;
        let (entrypoint, arguments) = match request.args.split_first() {
            Some((first, rest)) => (first.as_str(), rest),
            None => ("", &[][..]),
        };
        let (pid, exit_code) = match record.state {
            ExecState::Running { pid, .. } => (pid, None),
            ExecState::Ended { exit_code } => (0, Some(exit_code)),
            ExecState::Created | ExecState::Starting => (0, None),
        };
        let mut process = json!({
            "tty": request.tty,
            "entrypoint": entrypoint,
            "arguments": arguments,
            "privileged": request.privileged,
        });
        if let (Some(user), Some(process)) = (&request.user, process.as_object_mut()) {
            process.insert("user".to_owned(), user.clone().into());
        }
        Ok(json!({
            "ID": id,
            "Running": record.is_running(),
            "ExitCode": exit_code,
            "ProcessConfig": process,
            "OpenStdin": request.interactive,
            "OpenStderr": !request.detach,
            "OpenStdout": !request.detach,
            "CanRemove": false,
            "ContainerID": container.id,
            "DetachKeys": request.detach_keys,
            "Pid": pid,
        }))
    }

    /// Sets the size of a process's terminal.
    pub fn exec_resize(&self, id: &ExecId, rows: u16, columns: u16) -> Result<()> {
        let (container, _) = self.find_exec(id)?;
        let run_dir = self.store.paths.container_run(&container.id);
        let socket = exec_record::socket(&run_dir, id);
        Ok(orlop_runtime::attach::connect_to(&socket)?.resize(rows, columns)?)
    }

    /// The work of a helper: adds the process and serves it until its end.
    pub fn exec_run(&self, container: &ContainerId, id: &ExecId) -> Result<()> {
        let starter = take_starter()?;
        match self.prepare_exec(container, id) {
            Ok((container, record)) => self.serve_exec(&container, record, starter),
            Err(error) => {
                let error = StartError { exit_code: 125, message: error.to_string() };
                refuse(&starter, &error);
                Err(error.into())
            }
        }
    }

    fn prepare_exec(
        &self,
        container: &ContainerId,
        id: &ExecId,
    ) -> Result<(ContainerRecord, ExecRecord)> {
        let container = self
            .store
            .read(|query| query.container(container))?
            .ok_or_else(|| Error::NotFound { name: container.short().to_owned() })?;
        let run_dir = self.store.paths.container_run(&container.id);
        let record = exec_record::read(&run_dir, id)?.ok_or_else(|| missing(id))?;
        Ok((container, record))
    }

    fn serve_exec(
        &self,
        container: &ContainerRecord,
        mut record: ExecRecord,
        starter: UnixStream,
    ) -> Result<()> {
        let run_dir = self.store.paths.container_run(&container.id);
        let process = self.process_plan(container, &record.request, record.console_size);
        // The network does not matter: the process joins that of the container.
        let plan = match self.make_plan(container, NetworkPlan::None, (0, 0)) {
            Ok(mut plan) => {
                plan.process = process;
                plan
            }
            Err(error) => {
                let error = StartError { exit_code: 125, message: error.to_string() };
                refuse(&starter, &error);
                return Err(error.into());
            }
        };
        let job = Added {
            plan: &plan,
            detached: record.request.detach,
            socket: exec_record::socket(&run_dir, &record.id),
        };
        let mut note = |state: ExecState| {
            record.state = state;
            if let Err(error) = exec_record::write(&run_dir, &record) {
                // The container's end may have taken the directory.
                tracing::debug!(%error, "the state of a process is not noted");
            }
            record.id.clone()
        };
        let note = std::cell::RefCell::new(&mut note);
        let started = |pid| {
            let start_ticks = start_ticks(pid).ok().flatten().unwrap_or(0);
            (note.borrow_mut())(ExecState::Running { pid, start_ticks });
        };
        let ended = |exit_code: u8| {
            let exit_code = i64::from(exit_code);
            let id = (note.borrow_mut())(ExecState::Ended { exit_code });
            self.log_exec_end(container, &id, exit_code);
        };
        let runtime = by_choice(&plan.runtime);
        Ok(serve_added(&job, runtime.as_ref(), starter, started, ended)?)
    }

    /// Finds a container in which a process may be started.
    pub(crate) fn running_for_exec(
        &self,
        name: &str,
        request: &ExecRequest,
    ) -> Result<ContainerRecord> {
        if request.args.is_empty() {
            return Err(Error::Invalid(ParseError::new("No exec command specified")));
        }
        let container = self.get(name)?;
        self.check_for_exec(name, &container)?;
        Ok(container)
    }

    fn check_for_exec(&self, name: &str, container: &ContainerRecord) -> Result<()> {
        match container.state.status {
            ContainerStatus::Running => Ok(()),
            ContainerStatus::Paused => Err(Error::conflict(format!(
                "Container {name} is paused, unpause the container before exec"
            ))),
            ContainerStatus::Restarting => Err(restarting(name)),
            _ => Err(not_running(&container.id)),
        }
    }

    /// Notes a new process.
    pub(crate) fn note_exec(
        &self,
        container: &ContainerRecord,
        request: &ExecRequest,
    ) -> Result<ExecId> {
        let run_dir = self.store.paths.container_run(&container.id);
        exec_record::forget_old(&run_dir);
        let id = ExecId::of_bytes(&rand::random());
        let record = ExecRecord {
            id: id.clone(),
            request: request.clone(),
            console_size: (0, 0),
            state: ExecState::Created,
        };
        exec_record::write(&run_dir, &record)?;
        Ok(id)
    }

    /// Finds a process and its container, whichever that is.
    fn find_exec(&self, id: &ExecId) -> Result<(ContainerRecord, ExecRecord)> {
        for container in self.run_directories() {
            let run_dir = self.store.paths.container_run(&container);
            if let Some(record) = exec_record::read(&run_dir, id)? {
                return Ok((self.get(container.as_str())?, record));
            }
        }
        Err(missing(id))
    }

    /// Ids of the processes that run in a container or wait to be started.
    pub(crate) fn exec_ids(&self, container: &ContainerRecord) -> Vec<ExecId> {
        if container.state.status.is_active() {
            exec_record::current(&self.store.paths.container_run(&container.id))
        } else {
            Vec::new()
        }
    }

    /// Logs events about a process in one transaction.
    pub(crate) fn log_exec(
        &self,
        container: &ContainerRecord,
        actions: &[(String, Option<i64>)],
        id: &ExecId,
    ) -> Result<()> {
        Ok(self.store.write(Durability::Lazy, |query| {
            for (action, exit_code) in actions {
                let mut event = exec_event(container, action, id.as_str(), now_ns());
                if let Some(exit_code) = exit_code {
                    event.attributes.insert("exitCode".to_owned(), exit_code.to_string());
                }
                query.event_insert(&event)?;
            }
            Ok::<_, orlop_meta::Error>(())
        })?)
    }

    /// Logs the end of a process; that this fails does not change what it did.
    pub(crate) fn log_exec_end(&self, container: &ContainerRecord, id: &ExecId, exit_code: i64) {
        let told = self.log_exec(container, &[("exec_die".to_owned(), Some(exit_code))], id);
        if let Err(error) = told {
            tracing::debug!(%error, "the end of a process is not logged");
        }
    }
}

/// What is known of a process once whoever serves it has noted its end: between the two it neither
/// runs nor has an exit code.
fn settled(run_dir: &Path, mut record: ExecRecord) -> Result<ExecRecord> {
    let deadline = Instant::now() + NOTE_LIMIT;
    let has_ended = |record: &ExecRecord| {
        matches!(record.state, ExecState::Running { .. }) && !record.is_running()
    };
    while has_ended(&record) && Instant::now() < deadline {
        std::thread::sleep(NOTE_POLL);
        record = exec_record::read(run_dir, &record.id)?.unwrap_or(record);
    }
    Ok(record)
}

fn missing(id: &ExecId) -> Error {
    Error::NoSuchExec { id: id.as_str().to_owned() }
}
