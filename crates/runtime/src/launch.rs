//! Starts the monitor of a container and waits until it is ready.
//!
//! The two are connected by one socket, the monitor's standard input: the plan goes in, the answer
//! comes back, and if the starter is to be attached, the same connection goes on as its attach
//! connection, so that no output is missed. If the starter dies before the plan is complete, the
//! monitor ends without having done anything; later, it carries the plan out all the same.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_sys::own_program::OwnProgram;
use orlop_sys::process::{Detached, PidFd};
use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::attach::Client;
use crate::attach::frame::{Kind, PAYLOAD_MAX_BYTES};
use crate::error::Error;
use crate::plan::Plan;

/// Name of the monitor's own log in the run directory.
const MONITOR_LOG: &str = "monitor.log";
/// The monitor's log is emptied by a start that finds it longer than this.
const MONITOR_LOG_MAX_BYTES: u64 = 64 << 10;
/// How often a monitor that takes its time is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How much of the monitor's log is shown when it dies without a word.
const TAIL_BYTES: u64 = 2 << 10;

/// How the monitor is started.
#[derive(Clone, Debug)]
pub struct LaunchOptions {
    /// The program that has the `monitor` command: `/proc/self/exe`.
    pub executable: PathBuf,
    /// Arguments before `monitor`: global options.
    pub arguments: Vec<OsString>,
    /// Whether the caller is attached from the beginning.
    pub attach: bool,
}

/// A container that has started.
#[derive(Debug)]
pub struct Launched {
    /// The monitor.
    pub pid: i32,
    /// The container's first process, as the host numbers it.
    pub init_pid: i32,
    /// The attach connection, if it was asked for.
    pub attach: Option<Client>,
}

/// What the starter sends.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    /// Whether the connection goes on as an attach connection.
    pub(crate) attach: bool,
    /// The plan.
    pub(crate) plan: Plan,
}

#[derive(Serialize)]
struct OrderRef<'a> {
    attach: bool,
    plan: &'a Plan,
}

/// What the monitor answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReadyMessage {
    pub(crate) pid: i32,
    pub(crate) init_pid: i32,
}

/// Starts a container and waits until its first process executes its command.
pub fn launch(plan: &Plan, options: &LaunchOptions) -> Result<Launched, StartError> {
    let (ours, theirs) = UnixStream::pair().map_err(Error::stream("make a socket pair"))?;
    let log = open_log(&plan.run_dir)?;
    spawn(options, &["monitor"], theirs, &log.file)?;
    orlop_sys::fault::point("launch.spawned");
    let order = OrderRef { attach: options.attach, plan };
    let order = serde_json::to_vec(&order)
        .map_err(|error| Error::Stream { op: "write the plan", source: error.into() })?;
    let mut client = Client::new(ours);
    for part in order.chunks(PAYLOAD_MAX_BYTES) {
        client.send(Kind::Plan, part)?;
    }
    client.send(Kind::PlanEnd, &[])?;
    orlop_sys::fault::point("launch.sent");
    match receive_answer(&mut client)? {
        Some((Kind::Ready, payload)) => {
            let ReadyMessage { pid, init_pid } = parse(&payload)?;
            Ok(Launched { pid, init_pid, attach: options.attach.then_some(client) })
        }
        Some((Kind::Failed, payload)) => Err(parse(&payload)?),
        Some(_) => Err(Error::Frame { reason: "not an answer to a plan" }.into()),
        None => Err(StartError { exit_code: 125, message: log.silent_death() }),
    }
}

/// Starts the helper that adds a process to a running container (see [`crate::monitor::added`]) and
/// waits until that process executes its command. `words` are the helper's command.
pub fn launch_added(
    run_dir: &Path,
    words: &[&str],
    options: &LaunchOptions,
) -> Result<Launched, StartError> {
    let (ours, theirs) = UnixStream::pair().map_err(Error::stream("make a socket pair"))?;
    let log = open_log(run_dir)?;
    spawn(options, words, theirs, &log.file)?;
    orlop_sys::fault::point("exec.spawned");
    let mut client = Client::new(ours);
    match client.receive_frame()? {
        Some((Kind::Ready, payload)) => {
            let ReadyMessage { pid, init_pid } = parse(&payload)?;
            Ok(Launched { pid, init_pid, attach: options.attach.then_some(client) })
        }
        Some((Kind::Failed, payload)) => Err(parse(&payload)?),
        Some(_) => Err(Error::Frame { reason: "not an answer of a helper" }.into()),
        None => Err(StartError { exit_code: 125, message: log.silent_death() }),
    }
}

/// The monitor's answer; `None` when it has died without one.
///
/// The end of the connection does not tell of every death: a process that the monitor has made and
/// that is not yet the container's command holds it open, so the monitor itself is watched.
fn receive_answer(client: &mut Client) -> Result<Option<(Kind, Vec<u8>)>, Error> {
    let begun = match client.receive_frame()? {
        Some((Kind::Begun, payload)) => payload,
        other => return Ok(other),
    };
    let pid = <[u8; 4]>::try_from(begun.as_slice())
        .ok()
        .and_then(|bytes| i32::try_from(u32::from_be_bytes(bytes)).ok())
        .ok_or(Error::Frame { reason: "process id is not four bytes" })?;
    // Gone already: what it has said may still be there.
    let monitor = PidFd::open(pid).ok();
    loop {
        if let Some(frame) = client.buffered_frame()? {
            return Ok(Some(frame));
        }
        let failed = |error| Error::stream("wait for the monitor")(error);
        let ended = match &monitor {
            Some(monitor) => monitor.wait_ended(Some(Duration::ZERO)).map_err(failed)?,
            None => true,
        };
        // Looked at after its end: nothing can come any more.
        let limit = if ended { Duration::ZERO } else { WATCH_INTERVAL };
        if orlop_sys::process::wait_readable(client.as_fd(), Some(limit)).map_err(failed)? {
            if !client.fill()? {
                return Ok(None);
            }
        } else if ended {
            return Ok(None);
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(payload).map_err(|_| Error::Frame { reason: "malformed answer" })
}

fn spawn(
    options: &LaunchOptions,
    words: &[&str],
    connection: UnixStream,
    log: &File,
) -> Result<(), Error> {
    let mut args = options.arguments.clone();
    args.extend(words.iter().map(OsString::from));
    // The monitor's children become the container's processes.
    let program = OwnProgram::open(&options.executable);
    let start = || -> io::Result<()> {
        orlop_sys::process::spawn_detached(Detached {
            program: program.path().to_owned(),
            args,
            stdin: OwnedFd::from(connection),
            stdout: File::options().write(true).open("/dev/null")?.into(),
            stderr: log.try_clone()?.into(),
        })
    };
    start().map_err(Error::stream("start the monitor"))
}

/// The monitor's log and where this start's part of it begins.
struct MonitorLog {
    file: File,
    start: u64,
}

fn open_log(run_dir: &Path) -> Result<MonitorLog, Error> {
    let path = run_dir.join(MONITOR_LOG);
    let open = || -> io::Result<MonitorLog> {
        let file = File::options().read(true).append(true).create(true).mode(0o600).open(&path)?;
        let mut start = file.metadata()?.len();
        if start > MONITOR_LOG_MAX_BYTES {
            file.set_len(0)?;
            start = 0;
        }
        Ok(MonitorLog { file, start })
    };
    open().map_err(Error::file("open", &path))
}

impl MonitorLog {
    /// The message for a monitor that ended without an answer.
    fn silent_death(mut self) -> String {
        let mut read = || -> io::Result<String> {
            let end = self.file.metadata()?.len();
            let start = self.start.max(end.saturating_sub(TAIL_BYTES));
            self.file.seek(io::SeekFrom::Start(start))?;
            let mut tail = Vec::new();
            self.file.by_ref().take(TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).trim().replace('\n', "; "))
        };
        match read() {
            Ok(tail) if !tail.is_empty() => format!("the monitor ended without an answer: {tail}"),
            _ => "the monitor ended without an answer".to_owned(),
        }
    }
}
