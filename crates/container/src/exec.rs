//! Runs further processes inside a running container, as children of the calling process.
//!
//! Without a terminal the new process gets the caller's own standard streams, so nothing is copied;
//! with one, the caller copies between its terminal and the process's.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use orlop_meta::{ContainerRecord, ContainerStatus};
use orlop_runtime::plan::ProcessPlan;
use orlop_runtime::{Bundle, CreatedProcess, Stdio, by_choice};
use orlop_sys::own_program;
use orlop_sys::process::{self, PidFd, SignalFd};
use orlop_sys::pty::{self, RawMode};
use orlop_types::ParseError;
use orlop_types::environment::set_env;
use orlop_types::network::NetworkPlan;
use rustix::event::{PollFd, PollFlags};

use crate::error::system;
use crate::{Containers, Error, Result};

/// What to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// Bytes that one read takes from a terminal.
const READ_BYTES: usize = 16 << 10;
/// How long output that is still in the terminal is waited for after its process has ended.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);
/// `SIGWINCH`: the user's terminal has changed its size.
const WINDOW_CHANGED: i32 = 28;

impl Containers<'_> {
    /// Runs a process in a running container; its exit code.
    ///
    /// The caller must be single-threaded: the process is forked off it.
    pub fn exec(&self, name: &str, request: &ExecRequest) -> Result<u8> {
        if request.args.is_empty() {
            return Err(Error::Invalid(ParseError::new("No exec command specified")));
        }
        let container = self.get(name)?;
        match container.state.status {
            ContainerStatus::Running => {}
            ContainerStatus::Paused => {
                return Err(Error::conflict(format!(
                    "Container {name} is paused, unpause the container before exec"
                )));
            }
            _ => return Err(Error::conflict(format!("container {} is not running", container.id))),
        }
        // A terminal needs somebody who holds its other side.
        if request.detach && request.tty {
            return self.exec_detached(&container, request);
        }
        // Before anything is done: the program may be executed again.
        own_program::ensure_read_only()
            .map_err(system("execute again", &self.settings.executable))?;
        process::become_subreaper().map_err(system("prepare to run in", Path::new(name)))?;
        let created = self
            .exec_process(&container, request)
            .map_err(|error| ended_meanwhile(&container, error))?;
        if request.detach {
            // It has started, and goes to init when this process ends.
            return Ok(0);
        }
        match created.terminal {
            Some(terminal) => {
                let stdin = request.interactive.then(rustix::stdio::stdin);
                follow_terminal(&terminal, created.pid, stdin, &request.detach_keys)
            }
            None => collect(created.pid),
        }
        .map_err(|source| Error::System {
            operation: "follow the process in",
            subject: name.to_owned(),
            source,
        })
    }

    fn exec_process(
        &self,
        container: &ContainerRecord,
        request: &ExecRequest,
    ) -> Result<CreatedProcess> {
        // The network does not matter: the process joins that of the container.
        let plan = self.make_plan(container, NetworkPlan::None, (0, 0))?;
        let process = self.process_plan(container, request);
        let rootfs = orlop_runtime::stage::rootfs(&plan.run_dir);
        let bundle = Bundle { plan: &plan, rootfs: &rootfs, staged: &[] };
        let stdio = match (request.tty, request.detach) {
            (true, _) => Stdio::Terminal,
            (false, true) => no_streams()?,
            (false, false) => own_streams(request.interactive)?,
        };
        Ok(by_choice(&plan.runtime).exec(&bundle, &process, stdio)?)
    }

    fn process_plan(&self, container: &ContainerRecord, request: &ExecRequest) -> ProcessPlan {
        let config = &container.config;
        let mut env = config.env.clone().unwrap_or_default();
        for variable in &request.env {
            match variable.split_once('=') {
                Some((name, value)) => set_env(&mut env, name, value),
                // The caller does not have it: the container's goes, too.
                None => env.retain(|entry| entry.split('=').next() != Some(variable)),
            }
        }
        let console_size = if request.tty {
            pty::window_size(rustix::stdio::stdout()).unwrap_or_default()
        } else {
            (0, 0)
        };
        ProcessPlan {
            args: request.args.clone(),
            env,
            cwd: request.cwd.clone().unwrap_or_else(|| config.working_dir.clone()),
            user: request.user.clone().unwrap_or_else(|| config.user.clone()),
            tty: request.tty,
            console_size,
            open_stdin: request.interactive,
            stdin_once: false,
            privileged: request.privileged || container.host_config.privileged,
        }
    }

    /// Hands the work to a process of its own that holds the terminal and that nobody waits for.
    fn exec_detached(&self, container: &ContainerRecord, request: &ExecRequest) -> Result<u8> {
        let mut args: Vec<OsString> = self.settings.global_arguments.clone();
        args.push("exec".into());
        for (flag, value) in [("-w", &request.cwd), ("-u", &request.user)] {
            if let Some(value) = value {
                args.extend([flag.into(), value.into()]);
            }
        }
        for variable in &request.env {
            args.extend(["-e".into(), variable.into()]);
        }
        if request.tty {
            args.push("-t".into());
        }
        if request.privileged {
            args.push("--privileged".into());
        }
        args.push(container.id.as_str().into());
        args.extend(request.args.iter().map(OsString::from));
        let null = || -> std::io::Result<OwnedFd> {
            Ok(std::fs::File::options().read(true).write(true).open("/dev/null")?.into())
        };
        let spawn = || {
            process::spawn_detached(process::Detached {
                program: self.settings.executable.clone(),
                args,
                stdin: null()?,
                stdout: null()?,
                stderr: null()?,
            })
        };
        spawn().map_err(system("start", &self.settings.executable))?;
        Ok(0)
    }
}

/// Streams for a process that nobody listens to.
fn no_streams() -> Result<Stdio> {
    let null = || -> Result<OwnedFd> {
        let path = Path::new("/dev/null");
        let file = std::fs::File::options().read(true).write(true).open(path);
        Ok(file.map_err(system("open", path))?.into())
    };
    Ok(Stdio::Files { stdin: null()?, stdout: null()?, stderr: null()? })
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

/// Copies between the user's terminal and the process's until the process ends or the user leaves.
fn follow_terminal(
    terminal: &OwnedFd,
    pid: i32,
    stdin: Option<BorrowedFd<'_>>,
    detach_keys: &[u8],
) -> std::io::Result<u8> {
    let process = PidFd::open(pid)?;
    let signals = SignalFd::open(&[WINDOW_CHANGED])?;
    let _raw = match stdin {
        Some(stdin) if pty::is_terminal(stdin) => Some(RawMode::enter(stdin)?),
        _ => None,
    };
    let mut input = stdin;
    let mut keys = DetachKeys { keys: detach_keys, matched: 0 };
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        fds.extend(input.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        process::poll(&mut fds, None)?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is_ready = |index: usize| ready.get(index).copied().unwrap_or(false);
        if is_ready(0) && !copy_output(terminal)? || is_ready(1) {
            while process::wait_readable(terminal.as_fd(), Some(DRAIN_LIMIT))?
                && copy_output(terminal)?
            {}
            return collect(pid);
        }
        if is_ready(2) && signals.next()?.is_some() {
            let (rows, columns) = pty::window_size(rustix::stdio::stdout())?;
            pty::set_window_size(terminal, rows, columns)?;
        }
        if is_ready(3)
            && let Some(fd) = input
        {
            match copy_input(fd, terminal, &mut keys)? {
                Input::More => {}
                Input::End => input = None,
                Input::Detached => return Ok(0),
            }
        }
    }
}

/// Copies one piece of output; `false` when the terminal has no other side any more.
fn copy_output(terminal: &OwnedFd) -> std::io::Result<bool> {
    let mut buffer = [0_u8; READ_BYTES];
    match rustix::io::read(terminal, &mut buffer) {
        Ok(0) | Err(rustix::io::Errno::IO) => Ok(false),
        Ok(count) => {
            write_all(rustix::stdio::stdout(), buffer.get(..count).unwrap_or_default())?;
            Ok(true)
        }
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// What became of the user's input.
enum Input {
    More,
    End,
    Detached,
}

/// Finds the keys that leave a terminal, also when they come in several pieces.
struct DetachKeys<'a> {
    keys: &'a [u8],
    matched: usize,
}

impl DetachKeys<'_> {
    fn completes(&mut self, byte: u8) -> bool {
        if self.keys.is_empty() {
            return false;
        }
        if self.keys.get(self.matched) == Some(&byte) {
            self.matched += 1;
        } else {
            self.matched = usize::from(self.keys.first() == Some(&byte));
        }
        self.matched == self.keys.len()
    }
}

fn copy_input(
    from: BorrowedFd<'_>,
    terminal: &OwnedFd,
    keys: &mut DetachKeys<'_>,
) -> std::io::Result<Input> {
    let mut buffer = [0_u8; READ_BYTES];
    let count = match rustix::io::read(from, &mut buffer) {
        Ok(0) => return Ok(Input::End),
        Ok(count) => count,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Input::More),
        Err(error) => return Err(error.into()),
    };
    let typed = buffer.get(..count).unwrap_or_default();
    if typed.iter().any(|byte| keys.completes(*byte)) {
        return Ok(Input::Detached);
    }
    write_all(terminal.as_fd(), typed)?;
    Ok(Input::More)
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                process::poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How long a process that has no root directory any more may take to be seen as ended: the kernel
/// ends everything else in its pid namespace in between.
const ENDING_LIMIT: Duration = Duration::from_millis(500);

/// A process that ends while another one is added to it looks different at every step.
fn ended_meanwhile(container: &ContainerRecord, error: Error) -> Error {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads() {
        let mut keys = DetachKeys { keys: &[0x10, 0x11], matched: 0 };
        let typed = [b'a', 0x10, 0x10, 0x11];
        assert_eq!(typed.map(|byte| keys.completes(byte)), [false, false, false, true]);
        let mut none = DetachKeys { keys: &[], matched: 0 };
        assert!(!none.completes(0x10));
    }
}
