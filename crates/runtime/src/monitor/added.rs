//! Serves a process that was added to a running container, until its end.
//!
//! For processes that somebody else must hold on to: those with a terminal, those that nobody waits
//! for, and those of the API. A helper process of its own does it, so that neither the death of the
//! command that asked for it nor that of a server ends what runs in the container.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use orlop_sys::process::{self, ChildWake};

use super::serve::{Serving, Streams};
use super::{answer, answer_failure, become_monitor, make_stdio, report};
use crate::attach::frame::Kind;
use crate::error::Error;
use crate::launch::ReadyMessage;
use crate::plan::Plan;
use crate::{Bundle, CreatedProcess, Runtime, StartError, Stdio};

/// What a helper is asked to do.
#[derive(Debug)]
pub struct Added<'a> {
    /// The container's plan, with the process to add instead of its first one.
    pub plan: &'a Plan,
    /// Whether nobody is attached.
    pub detached: bool,
    /// Where others may connect to set the terminal's size.
    pub socket: PathBuf,
}

/// The connection to whoever started this helper: its standard input.
pub fn take_starter() -> Result<UnixStream, Error> {
    let stdin = process::take_standard_input().map_err(Error::stream("take the connection"))?;
    Ok(UnixStream::from(stdin))
}

/// Tells the starter that nothing was started.
pub fn refuse(starter: &UnixStream, error: &StartError) {
    answer_failure(starter, error);
}

/// Adds the process and serves it. `started` is told its pid before the starter is, `ended` its exit
/// code before attached commands are.
pub fn serve_added(
    job: &Added<'_>,
    runtime: &dyn Runtime,
    starter: UnixStream,
    started: impl FnOnce(i32),
    ended: impl FnOnce(u8),
) -> Result<(), StartError> {
    let (wake, pid, streams) = match add(job, runtime) {
        Ok(added) => added,
        Err(error) => {
            refuse(&starter, &error);
            return Err(error);
        }
    };
    orlop_sys::fault::point("exec.added");
    started(pid);
    let listener = match orlop_sys::pty::bind_unix(&job.socket)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
    {
        Ok(listener) => Some(listener),
        Err(error) => {
            tracing::debug!(%error, "the size of the terminal cannot be changed by others");
            None
        }
    };
    let mut serving = Serving::new(job.plan, listener);
    let ready = ReadyMessage { pid: std::process::id().cast_signed(), init_pid: pid };
    if answer(&starter, Kind::Ready, &ready) && !job.detached {
        report(serving.add_client(starter).err());
    }
    serving.begin(None, streams, pid);
    let failure = until_ended(&mut serving, &wake).err();
    report(failure);
    // Without a result the process is left to itself; its streams are gone with this helper.
    let exit_code = serving.exit_code().unwrap_or(u8::MAX);
    ended(exit_code);
    orlop_sys::fault::point("exec.ended");
    serving.announce_exit(exit_code, false);
    if let Err(error) = std::fs::remove_file(&job.socket) {
        tracing::debug!(%error, "a socket is left to the end of the container");
    }
    serving.until_clients_are_gone(|| ());
    Ok(())
}

fn until_ended(serving: &mut Serving<'_>, wake: &ChildWake) -> Result<(), Error> {
    wake.arm().map_err(Error::stream("wait for the process"))?;
    serving.reap()?;
    while !serving.serve(wake, None)? {}
    Ok(())
}

fn add(job: &Added<'_>, runtime: &dyn Runtime) -> Result<(ChildWake, i32, Streams), StartError> {
    let wake = become_monitor("orlop-exec").map_err(Error::stream("set up the helper"))?;
    let plan = job.plan;
    let rootfs = crate::stage::rootfs(&plan.run_dir);
    let bundle = Bundle { plan, rootfs: &rootfs, staged: &[] };
    let (stdio, ours) = if job.detached && !plan.process.tty {
        (no_streams().map_err(Error::stream("open /dev/null"))?, Some(Streams::none()))
    } else {
        make_stdio(plan).map_err(Error::stream("make the standard streams"))?
    };
    let CreatedProcess { pid, terminal } = runtime.exec(&bundle, &plan.process, stdio)?;
    let streams = match (ours, terminal) {
        (Some(streams), _) => streams,
        (None, Some(terminal)) => Streams::of_terminal(terminal, plan.process.console_size)
            .map_err(Error::stream("set up the terminal"))?,
        (None, None) => {
            let message = "the runtime made no terminal".to_owned();
            return Err(StartError { exit_code: 125, message });
        }
    };
    Ok((wake, pid, streams))
}

fn no_streams() -> io::Result<Stdio> {
    let null = || File::options().read(true).write(true).open("/dev/null");
    Ok(Stdio::Files { stdin: null()?.into(), stdout: null()?.into(), stderr: null()?.into() })
}
