//! Runs further processes inside a running container.
//!
//! Without a terminal the new process is a child of the caller and gets its own standard streams, so
//! nothing is copied; with one, or detached, a helper holds it ([`crate::exec_instance`]).

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use orlop_meta::ContainerRecord;
use orlop_runtime::attach::{Outcome, ProxyOptions};
use orlop_runtime::plan::ProcessPlan;
use orlop_runtime::{Bundle, CreatedProcess, Stdio, by_choice};
use orlop_sys::own_program;
use orlop_sys::process::{self, PidFd};
use orlop_sys::pty;
use orlop_types::environment::set_env;
use orlop_types::network::NetworkPlan;
use serde::{Deserialize, Serialize};

use crate::error::system;
use crate::exec_instance::ExecStart;
use crate::exec_record::{self, ExecRecord, ExecState};
use crate::{Containers, Error, Result};

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Command and arguments.
    pub args: Vec<String>,
    /// Further `NAME=value` pairs.
    pub env: Vec<String>,
    /// Instead of the container's working directory.
    pub cwd: Option<String>,
    /// Instead of the container's user.
    pub user: Option<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether it gets the caller's standard input.
    pub interactive: bool,
    /// Whether the caller does not wait for it.
    pub detach: bool,
    /// Whether it gets every capability.
    pub privileged: bool,
    /// Keys that leave a terminal.
    pub detach_keys: Vec<u8>,
}

impl Containers<'_> {
    /// Runs a process in a running container; its exit code.
    ///
    /// The caller must be single-threaded: the process is forked off it.
    pub fn exec(&self, name: &str, request: &ExecRequest) -> Result<u8> {
        // A terminal and a process that nobody waits for need somebody who outlives this command.
        if request.detach || request.tty {
            return self.exec_by_helper(name, request);
        }
        let container = self.running_for_exec(name, request)?;
        // Before anything is done: the program may be executed again.
        own_program::ensure_read_only()
            .map_err(system("execute again", &self.settings.executable))?;
        process::become_subreaper().map_err(system("prepare to run in", Path::new(name)))?;
        let id = self.note_exec(&container, request)?;
        let words = crate::exec_instance::event_words(request);
        let begun =
            [(format!("exec_create: {words}"), None), (format!("exec_start: {words}"), None)];
        self.log_exec(&container, &begun, &id)?;
        let run_dir = self.store.paths.container_run(&container.id);
        let created = self.exec_process(&container, request).map_err(|error| {
            exec_record::forget(&run_dir, &id);
            ended_meanwhile(&container, error)
        })?;
        let mut record = ExecRecord {
            id,
            request: request.clone(),
            console_size: (0, 0),
            state: ExecState::Running {
                pid: created.pid,
                start_ticks: process::start_ticks(created.pid).ok().flatten().unwrap_or(0),
            },
        };
        let note = |record: &ExecRecord| {
            if let Err(error) = exec_record::write(&run_dir, record) {
                // The container's end may have taken the directory.
                tracing::debug!(%error, "the state of a process is not noted");
            }
        };
        note(&record);
        let exit_code = collect(created.pid).map_err(|source| Error::System {
            operation: "follow the process in",
            subject: name.to_owned(),
            source,
        })?;
        record.state = ExecState::Ended { exit_code: i64::from(exit_code) };
        note(&record);
        self.log_exec_end(&container, &record.id, i64::from(exit_code));
        Ok(exit_code)
    }

    /// Lets a helper hold the process and follows it, unless it is to be left alone.
    fn exec_by_helper(&self, name: &str, request: &ExecRequest) -> Result<u8> {
        let id = self.exec_create(name, request)?;
        let console_size = if request.tty {
            pty::window_size(rustix::stdio::stdout()).unwrap_or_default()
        } else {
            (0, 0)
        };
        let start = ExecStart { detach: request.detach, console_size };
        let Some(mut client) = self.exec_start(&id, start)? else { return Ok(0) };
        let options = ProxyOptions {
            tty: request.tty,
            detach_keys: request.detach_keys.clone(),
            signal_target: None,
        };
        let stdin = request.interactive.then(rustix::stdio::stdin);
        let outcome =
            client.proxy(stdin, rustix::stdio::stdout(), rustix::stdio::stderr(), &options)?;
        match outcome {
            Outcome::Exit(code) => Ok(code),
            Outcome::Detached => {
                let container = self.get(name)?;
                self.log_exec(&container, &[("exec_detach".to_owned(), None)], &id)?;
                Ok(0)
            }
            // As a shell reports a process that a signal has ended.
            Outcome::Interrupted(signal) => Ok(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
            Outcome::Lost => Err(Error::Conflict {
                message: format!("the helper of exec {} was killed", id.as_str()),
            }),
        }
    }

    fn exec_process(
        &self,
        container: &ContainerRecord,
        request: &ExecRequest,
    ) -> Result<CreatedProcess> {
        // The network does not matter: the process joins that of the container.
        let plan = self.make_plan(container, NetworkPlan::None, (0, 0))?;
        let process = self.process_plan(container, request, (0, 0));
        let rootfs = orlop_runtime::stage::rootfs(&plan.run_dir);
        let bundle = Bundle { plan: &plan, rootfs: &rootfs, staged: &[] };
        let stdio = own_streams(request.interactive)?;
        Ok(by_choice(&plan.runtime).exec(&bundle, &process, stdio)?)
    }

    /// The process as the runtime is told of it.
    pub(crate) fn process_plan(
        &self,
        container: &ContainerRecord,
        request: &ExecRequest,
        console_size: (u16, u16),
    ) -> ProcessPlan {
        let config = &container.config;
        let mut env = config.env.clone().unwrap_or_default();
        for variable in &request.env {
            match variable.split_once('=') {
                Some((name, value)) => set_env(&mut env, name, value),
                // The caller does not have it: the container's goes, too.
                None => env.retain(|entry| entry.split('=').next() != Some(variable)),
            }
        }
        ProcessPlan {
            args: request.args.clone(),
            env,
            cwd: request.cwd.clone().unwrap_or_else(|| config.working_dir.clone()),
            user: request.user.clone().unwrap_or_else(|| config.user.clone()),
            tty: request.tty,
            console_size,
            open_stdin: request.interactive,
            // The end of the caller's input is the end of the process's.
            stdin_once: true,
            privileged: request.privileged || container.host_config.privileged,
        }
    }
}

/// Copies of the caller's standard streams; `/dev/null` for input that was not asked for.
fn own_streams(interactive: bool) -> Result<Stdio> {
    let copy = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let open = || -> std::io::Result<Stdio> {
        let stdin = if interactive {
            copy(rustix::stdio::stdin())?
        } else {
            std::fs::File::open("/dev/null")?.into()
        };
        Ok(Stdio::Files {
            stdin,
            stdout: copy(rustix::stdio::stdout())?,
            stderr: copy(rustix::stdio::stderr())?,
        })
    };
    open().map_err(system("copy", Path::new("standard streams")))
}

/// Waits for a child; its exit code.
fn collect(pid: i32) -> std::io::Result<u8> {
    PidFd::open(pid)?.wait_ended(None)?;
    while let Some(ended) = process::reap()? {
        if ended.pid == pid {
            return Ok(ended.exit_code);
        }
    }
    Err(std::io::Error::other("the process has ended and nobody told how"))
}

/// How long a process that has no root directory any more may take to be seen as ended: the kernel
/// ends everything else in its pid namespace in between.
const ENDING_LIMIT: Duration = Duration::from_millis(500);

/// A process that ends while another one is added to it looks different at every step.
pub(crate) fn ended_meanwhile(container: &ContainerRecord, error: Error) -> Error {
    let lives = match crate::stop::open_process(container) {
        Ok(Some(process)) => !process.wait_ended(Some(ENDING_LIMIT)).unwrap_or(false),
        Ok(None) => false,
        Err(_) => true,
    };
    if lives {
        error
    } else {
        Error::conflict(format!("container {} is not running", container.id))
    }
}
