//! The monitor: the process that is a container's parent as long as it runs.
//!
//! It is started by [`crate::launch`], carries out one [`Plan`] and decides nothing. It is
//! single-threaded; whoever looks in from outside sees its lock (`<run_dir>/lock`, held as long as
//! anything of the container is up), its records and its attach socket. Order at the end ([`runs`]):
//! output drained → `Exited` record → exit code to attached commands → teardown → lock free →
//! `finish`, unless an attached command has taken that over.

pub mod added;
mod client;
mod probe;
mod runs;
mod serve;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use jiff::Timestamp;
use orlop_sys::lock::ProcessLock;
use orlop_sys::process::{self, ChildWake, Detached, PidFd};

use crate::attach::frame::{self, Kind, PAYLOAD_MAX_BYTES};
use crate::attach::{Client, SOCKET_NAME};
use crate::error::{Error, one_line};
use crate::launch::Order;
use crate::log::LogWriter;
use crate::plan::{PLAN_VERSION, Plan, RuntimeChoice};
use crate::record::{Record, RecordWriter};
use crate::stage::{self, Stage};
use crate::{Bundle, ContainerNetwork, CreatedProcess, Runtime, StartError, Stdio};
use serve::Streams;

/// How long the end of a former monitor of the same container is waited for.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
/// Most bytes of a plan: far more than the arguments and environment that the kernel accepts.
const PLAN_MAX_BYTES: usize = 64 << 20;
/// How long a killed container may take to die after the monitor itself has failed.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// What the starter handed to this process.
#[derive(Debug)]
pub struct Handover {
    connection: UnixStream,
    order: Order,
}

impl Handover {
    /// Takes the plan from the starter, which is at the other end of standard input.
    pub fn receive() -> Result<Self, Error> {
        let stdin = process::take_standard_input().map_err(Error::stream("take the connection"))?;
        let mut client = Client::new(UnixStream::from(stdin));
        match receive_order(&mut client) {
            Ok(order) => Ok(Self { connection: client.into_stream(), order }),
            Err(error) => {
                let message = one_line(&error);
                answer_failure(&client.into_stream(), &StartError { exit_code: 125, message });
                Err(error)
            }
        }
    }

    /// The plan: by it the caller chooses the runtime and the network.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.order.plan
    }

    /// Tells the starter that the plan is not carried out.
    pub fn refuse(self, error: &StartError) {
        answer_failure(&self.connection, error);
    }
}

fn receive_order(client: &mut Client) -> Result<Order, Error> {
    let mut text = Vec::new();
    loop {
        match client.receive_frame()? {
            Some((Kind::Plan, part)) if text.len() + part.len() <= PLAN_MAX_BYTES => {
                text.extend_from_slice(&part);
            }
            Some((Kind::PlanEnd, _)) => break,
            Some(_) => return Err(Error::Frame { reason: "not a plan" }),
            None => return Err(Error::Frame { reason: "the plan is not complete" }),
        }
    }
    serde_json::from_slice(&text)
        .map_err(|error| Error::Stream { op: "read the plan", source: error.into() })
}

/// The whole of the `monitor` command: takes the plan, lets `choose` find the runtime for it, and
/// carries it out. The starter knows of a failure before this returns.
pub fn run(
    choose: impl FnOnce(&RuntimeChoice) -> Box<dyn Runtime>,
    network: &mut dyn ContainerNetwork,
) -> Result<(), StartError> {
    let handover = Handover::receive()?;
    let runtime = choose(&handover.plan().runtime);
    carry_out(handover, runtime.as_ref(), network)
}

/// Carries out a plan from beginning to end.
///
/// The starter has its answer before this returns. To be called by a process that has nothing else
/// to do: it becomes a subreaper, changes namespaces and handles signals.
pub fn carry_out(
    handover: Handover,
    runtime: &dyn Runtime,
    network: &mut dyn ContainerNetwork,
) -> Result<(), StartError> {
    let Handover { connection, order: Order { attach, plan } } = handover;
    let state = match State::open(&plan) {
        Ok(state) => state,
        Err(error) => {
            // Nothing was touched; the run directory may be another monitor's.
            answer_failure(&connection, &error);
            return Err(error);
        }
    };
    // From here on the starter watches this process: a child that is not yet the container's command
    // holds the connection open, too.
    let begun = frame::header(Kind::Begun, size_of::<u32>());
    let pid = std::process::id().to_be_bytes();
    report(
        (&connection)
            .write_all(&[&begun[..], &pid].concat())
            .map_err(Error::stream("answer"))
            .err(),
    );
    orlop_sys::fault::point("monitor.begun");
    match start(&plan, &state.home, runtime, network) {
        Ok(started) => {
            let starter = Starter { stream: connection, attach };
            runs::serve(&plan, state, started, starter, runtime, network);
            Ok(())
        }
        Err(error) => {
            give_up(&plan, state, &connection, &error);
            Err(error)
        }
    }
}

/// Records and tells why the start failed, after everything was taken back.
fn give_up(plan: &Plan, mut state: State, connection: &UnixStream, error: &StartError) {
    let message = error.message.clone();
    let at = Timestamp::now();
    let record = Record::Failed { exit_code: error.exit_code, error: message, at };
    orlop_sys::fault::point("monitor.failed");
    report(state.records.append(&record).err());
    orlop_sys::fault::point("monitor.failed.recorded");
    report(remove_socket(plan).err());
    drop(state);
    if !answer_failure(connection, error) {
        // The starter is gone: somebody has to look at the record.
        spawn_finish(plan);
    }
}

/// What is open as long as the monitor works.
struct State {
    wake: ChildWake,
    lock: ProcessLock,
    home: Home,
    records: RecordWriter,
    log: Option<LogWriter>,
    /// Taken by the first run.
    listener: Option<UnixListener>,
}

impl State {
    fn open(plan: &Plan) -> Result<Self, StartError> {
        if plan.version != PLAN_VERSION {
            let message =
                format!("plan of version {}, this program has {PLAN_VERSION}", plan.version);
            return Err(StartError { exit_code: 125, message });
        }
        let wake = become_monitor("orlop-monitor").map_err(Error::stream("set up the monitor"))?;
        let lock_path = plan.run_dir.join("lock");
        let lock = ProcessLock::acquire(&lock_path, LOCK_LIMIT)
            .map_err(Error::file("lock", lock_path))?
            .ok_or(Error::AlreadyRunning)?;
        let records = RecordWriter::open(&plan.run_dir)?;
        let log = LogWriter::open(&plan.log)?;
        let home = Home::open().map_err(Error::stream("open the host's namespaces"))?;
        let path = plan.run_dir.join(SOCKET_NAME);
        let listener = orlop_sys::pty::bind_unix(&path)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(Error::file("listen on", path))?;
        Ok(Self { wake, lock, home, records, log, listener: Some(listener) })
    }
}

fn become_monitor(name: &str) -> io::Result<ChildWake> {
    process::set_name(name)?;
    process::become_subreaper()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    ChildWake::install()
}

/// The namespaces that the monitor came from, to which it returns at the end: what it starts then
/// must not run in the container's.
struct Home {
    mount: File,
    network: File,
}

impl Home {
    fn open() -> io::Result<Self> {
        let open = |name| File::open(format!("/proc/thread-self/ns/{name}"));
        Ok(Self { mount: open("mnt")?, network: open("net")? })
    }

    fn enter(&self) -> io::Result<()> {
        process::enter_namespace(&self.network)?;
        process::enter_namespace(&self.mount)
    }
}

/// A container whose first process runs.
struct Started {
    stage: Stage,
    pid: i32,
    start_ticks: u64,
    streams: Streams,
}

/// Does everything up to the start; takes back what it did if that fails.
fn start(
    plan: &Plan,
    home: &Home,
    runtime: &dyn Runtime,
    network: &mut dyn ContainerNetwork,
) -> Result<Started, StartError> {
    let staged = stage(plan, network);
    let result = match staged {
        Ok(stage) => {
            let created = create(plan, &stage, runtime);
            created.map(|(pid, start_ticks, streams)| Started { stage, pid, start_ticks, streams })
        }
        Err(error) => Err(error),
    };
    if result.is_err() {
        report(network.leave().err());
        report(take_down_mounts(plan, home).err());
    }
    result
}

fn stage(plan: &Plan, network: &mut dyn ContainerNetwork) -> Result<Stage, StartError> {
    // First, since the kernel reaches servers of files through the network of who mounts.
    let prepared = stage::prepare(plan)?;
    network.enter(&plan.network)?;
    orlop_sys::fault::point("monitor.network");
    orlop_sys::mount::unshare_mount_namespace().map_err(Error::from)?;
    prepared.mount(plan)
}

/// Creates and starts the first process; returns its identity and the monitor's ends of its streams.
fn create(
    plan: &Plan,
    stage: &Stage,
    runtime: &dyn Runtime,
) -> Result<(i32, u64, Streams), StartError> {
    let bundle = Bundle { plan, rootfs: &stage.rootfs, staged: &stage.staged };
    let (stdio, ours) = make_stdio(plan).map_err(Error::stream("make the standard streams"))?;
    let result = runtime.create(&bundle, stdio).and_then(|CreatedProcess { pid, terminal }| {
        let streams = match (ours, terminal) {
            (Some(streams), _) => streams,
            (None, Some(terminal)) => Streams::of_terminal(terminal, plan.process.console_size)
                .map_err(Error::stream("set up the terminal"))?,
            (None, None) => {
                let message = "the runtime made no terminal".to_owned();
                return Err(StartError { exit_code: 125, message });
            }
        };
        let ticks = process::start_ticks(pid).map_err(Error::stream("query the first process"))?;
        orlop_sys::fault::point("monitor.created");
        runtime.start(&bundle)?;
        // A process that was gone already is a zombie and has a start time all the same.
        Ok((pid, ticks.unwrap_or(0), streams))
    });
    if result.is_err() {
        report(runtime.delete(&bundle).err());
    }
    result
}

/// Makes pipes for the standard streams; none for a terminal, which the runtime makes.
fn make_stdio(plan: &Plan) -> io::Result<(Stdio, Option<Streams>)> {
    if plan.process.tty {
        return Ok((Stdio::Terminal, None));
    }
    let (stdout, stdout_writer) = io::pipe()?;
    let (stderr, stderr_writer) = io::pipe()?;
    let (stdin, stdin_writer): (OwnedFd, Option<OwnedFd>) = if plan.process.open_stdin {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        (reader.into(), Some(writer.into()))
    } else {
        (File::open("/dev/null")?.into(), None)
    };
    let stdio = Stdio::Files { stdin, stdout: stdout_writer.into(), stderr: stderr_writer.into() };
    Ok((stdio, Some(Streams::of_pipes(stdin_writer, stdout.into(), stderr.into()))))
}

/// Removes the socket: who comes later is too late.
fn remove_socket(plan: &Plan) -> Result<(), Error> {
    let socket = plan.run_dir.join(SOCKET_NAME);
    std::fs::remove_file(&socket).map_err(Error::file("remove", socket))
}

/// Removes the run directory of a container that was removed.
///
/// Volumes may have been mounted below: nothing is touched unless their mount point is proved to be
/// an empty directory by removing it, which the kernel refuses while anything is mounted there.
fn remove_run_dir(plan: &Plan) -> Result<(), Error> {
    let stage = stage::directory(&plan.run_dir);
    // `exec` leaves this one behind where it has no mounts.
    let rootfs = stage::rootfs(&plan.run_dir);
    match std::fs::remove_dir(&rootfs) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::file("remove", rootfs)(error));
        }
        _ => {}
    }
    std::fs::remove_dir(&stage).map_err(Error::file("remove", stage))?;
    crate::record::remove_run_dir(&plan.run_dir).map_err(Error::file("remove", &plan.run_dir))
}

/// Ends a container that can no longer be served, and waits for it.
fn kill(pid: i32, wake: &ChildWake) -> Option<u8> {
    let deadline = std::time::Instant::now() + KILL_LIMIT;
    let killed = PidFd::open(pid).and_then(|init| init.send_signal(libc::SIGKILL));
    report(killed.map_err(Error::stream("kill the first process")).err());
    loop {
        while let Ok(Some(ended)) = process::reap() {
            if ended.pid == pid {
                return Some(ended.exit_code);
            }
        }
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return None;
        }
        // A wake-up that is lost costs one round of waiting, not the end.
        let _ = process::wait_readable(wake.as_fd(), Some(left.min(Duration::from_millis(100))));
        wake.clear();
    }
}

/// Unmounts the stage and returns to the host's namespaces.
///
/// Unmounting by name comes first: it is done when the call returns, whereas a namespace that is
/// left is taken apart some time later.
fn take_down_mounts(plan: &Plan, home: &Home) -> Result<(), Error> {
    let directory = stage::directory(&plan.run_dir);
    let unmounted = match orlop_sys::mount::detach(&directory) {
        // Not mounted: the start failed before.
        Err(error) if matches!(error.source.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {
            Ok(())
        }
        other => other.map_err(Error::from),
    };
    let entered = home.enter().map_err(Error::stream("return to the host's namespaces"));
    unmounted.and(entered)
}

/// Starts the plan's `finish`, which outlives the monitor.
fn spawn_finish(plan: &Plan) {
    let Some((program, args)) = plan.finish.split_first() else { return };
    let spawn = || -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        process::spawn_detached(Detached {
            program: program.into(),
            args: args.iter().map(Into::into).collect(),
            stdin: null.try_clone()?.into(),
            stdout: null.into(),
            stderr: io::stderr().as_fd().try_clone_to_owned()?,
        })
    };
    report(spawn().map_err(Error::stream("start the finishing command")).err());
}

/// The connection to whoever started the monitor.
struct Starter {
    stream: UnixStream,
    /// Whether it goes on as an attach connection.
    attach: bool,
}

/// Answers the starter; false if it is gone.
fn answer(stream: &UnixStream, kind: Kind, message: &impl serde::Serialize) -> bool {
    let Ok(payload) = serde_json::to_vec(message) else { return false };
    let mut bytes = frame::header(kind, payload.len()).to_vec();
    bytes.extend_from_slice(&payload);
    (&*stream).write_all(&bytes).is_ok()
}

fn answer_failure(stream: &UnixStream, error: &StartError) -> bool {
    // JSON makes at most six bytes of one; the rest of the frame is small.
    let limit = PAYLOAD_MAX_BYTES / 8;
    let mut message = error.message.clone();
    while message.len() > limit {
        message.pop();
    }
    tracing::error!(message, "start failed");
    answer(stream, Kind::Failed, &StartError { exit_code: error.exit_code, message })
}

/// Logs a failure that does not stop what is going on.
fn report<E: std::error::Error>(error: Option<E>) {
    if let Some(error) = error {
        tracing::error!(error = one_line(&error), "monitor");
    }
}
