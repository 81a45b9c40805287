//! The monitor's loop: output to the log and to attached commands, their input to the container.
//!
//! One poll(2) loop without threads. When an attached command falls behind by [`QUEUE_MAX_BYTES`],
//! the container's output is no longer read until it has caught up, as with a full pipe; but if
//! others wait for it and it stands still for [`STUCK_LIMIT`], it is dropped.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use orlop_sys::process::{self, ChildWake, poll};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::client::Attached;
use super::probe::Prober;
use crate::attach::frame::{self, Kind, PAYLOAD_MAX_BYTES};
use crate::error::{Error, one_line};
use crate::log::{LogStream, LogWriter};
use crate::plan::Plan;

/// How far an attached command may fall behind before the container has to wait for it.
const QUEUE_MAX_BYTES: usize = 1 << 20;
/// How long an attached command may make others wait without taking anything.
const STUCK_LIMIT: Duration = Duration::from_secs(10);
/// No more input is read from commands while this much waits for the container.
const STDIN_MAX_BYTES: usize = 64 << 10;
/// How long output is read after the end of the first process, if something outside the container
/// keeps it open.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// How long attached commands have, after they know the exit code, to take over or go away.
const TAKE_OVER_LIMIT: Duration = Duration::from_secs(5);
/// How long the last output is kept for a command that does not take it.
const LINGER_LIMIT: Duration = Duration::from_secs(600);
/// More commands at once than this are turned away: each may hold a queue.
const CLIENTS_MAX: usize = 64;

/// The monitor's ends of the first process's standard streams.
#[derive(Debug)]
pub(super) struct Streams {
    stdin: Option<OwnedFd>,
    outputs: Vec<Output>,
    terminal: Option<OwnedFd>,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    stream: LogStream,
    kind: Kind,
}

impl Streams {
    /// No streams: nobody listens.
    pub(super) fn none() -> Self {
        Self { stdin: None, outputs: Vec::new(), terminal: None }
    }

    /// Streams over pipes; `stdin` must not block.
    pub(super) fn of_pipes(stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd) -> Self {
        let outputs = vec![
            Output { fd: stdout, stream: LogStream::Stdout, kind: Kind::Stdout },
            Output { fd: stderr, stream: LogStream::Stderr, kind: Kind::Stderr },
        ];
        Self { stdin, outputs, terminal: None }
    }

    /// Streams over a terminal, given its master.
    pub(super) fn of_terminal(master: OwnedFd, size: (u16, u16)) -> io::Result<Self> {
        if size != (0, 0) {
            orlop_sys::pty::set_window_size(&master, size.0, size.1)?;
        }
        rustix::io::ioctl_fionbio(&master, true)?;
        let output =
            Output { fd: master.try_clone()?, stream: LogStream::Stdout, kind: Kind::Stdout };
        Ok(Self { stdin: Some(master.try_clone()?), outputs: vec![output], terminal: Some(master) })
    }
}

/// The container's standard input and what waits for it.
#[derive(Debug)]
struct Input {
    fd: OwnedFd,
    pending: VecDeque<u8>,
    /// Closes when nothing is pending any more.
    closing: bool,
}

/// What is served, to whom.
#[derive(Debug)]
pub(super) struct Serving<'a> {
    plan: &'a Plan,
    log: Option<LogWriter>,
    /// Only the first failure in a row is told.
    log_failing: bool,
    listener: Option<UnixListener>,
    clients: Vec<Attached>,
    input: Option<Input>,
    outputs: Vec<Output>,
    terminal: Option<OwnedFd>,
    init_pid: i32,
    ended: Option<(u8, Instant)>,
    /// When the exit code was sent.
    announced: Option<Instant>,
    /// The terminal's new size, until somebody asks.
    resized: Option<(u16, u16)>,
    taken_over: bool,
    /// Whether [`Serving::end_with_starter`] has done its work.
    is_killed: bool,
    /// Somebody else's file to wake up for.
    also: Option<OwnedFd>,
    scratch: Vec<u8>,
}

impl<'a> Serving<'a> {
    pub(super) fn new(plan: &'a Plan, listener: Option<UnixListener>) -> Self {
        Self {
            plan,
            log: None,
            log_failing: false,
            listener,
            clients: Vec::new(),
            input: None,
            outputs: Vec::new(),
            terminal: None,
            init_pid: 0,
            ended: None,
            announced: None,
            resized: None,
            taken_over: false,
            is_killed: false,
            also: None,
            scratch: vec![0; PAYLOAD_MAX_BYTES],
        }
    }

    /// Attaches a command that is connected already.
    pub(super) fn add_client(&mut self, stream: UnixStream) -> Result<(), Error> {
        let client = Attached::new(stream).map_err(Error::stream("attach a command"))?;
        self.clients.push(client);
        Ok(())
    }

    /// A run begins: its log, its streams, its first process.
    pub(super) fn begin(&mut self, log: Option<LogWriter>, streams: Streams, init_pid: i32) {
        let Streams { stdin, outputs, terminal } = streams;
        self.input = stdin.map(|fd| Input { fd, pending: VecDeque::new(), closing: false });
        (self.log, self.outputs, self.terminal) = (log, outputs, terminal);
        (self.init_pid, self.ended) = (init_pid, None);
    }

    /// The first process's exit code, once it has ended.
    pub(super) fn exit_code(&self) -> Option<u8> {
        self.ended.map(|(code, _)| code)
    }

    /// Serves what there is; tells whether the first process has ended and its output is read.
    pub(super) fn serve(
        &mut self,
        wake: &ChildWake,
        prober: Option<&Prober<'_>>,
    ) -> Result<bool, Error> {
        let mut limit = self.stuck_limit();
        if let Some((_, at)) = self.ended {
            let left = DRAIN_LIMIT.saturating_sub(at.elapsed());
            if self.outputs.is_empty() || left.is_zero() {
                return Ok(true);
            }
            limit = Some(limit.map_or(left, |limit| limit.min(left)));
        }
        if let Some(due) = prober.map(Prober::limit) {
            limit = Some(limit.map_or(due, |limit| limit.min(due)));
        }
        self.step(Some(wake), prober, limit)?;
        self.end_with_starter();
        Ok(false)
    }

    /// Kills a container that nobody waits for any more, if its plan says so.
    fn end_with_starter(&mut self) {
        let is_left = self.plan.ends_with_starter && self.clients.is_empty();
        if !is_left || self.ended.is_some() || self.is_killed {
            return;
        }
        self.is_killed = true;
        let killed = process::PidFd::open(self.init_pid)
            .and_then(|first| first.send_signal(libc::SIGKILL))
            .map_err(Error::stream("kill a container whose starter is gone"));
        if let Err(error) = killed {
            tracing::error!(error = one_line(&error), "monitor");
        }
    }

    /// Serves commands while there is no container.
    pub(super) fn idle(&mut self, limit: Duration) -> Result<(), Error> {
        // A command that is still reading the last run's output must not make this wait for ever.
        self.step(None, None, Some(limit))?;
        self.reap()
    }

    /// Closes the log and tells everybody the exit code. Commands of a run that is not the last are
    /// given what they have not read yet, and nothing of the next one.
    pub(super) fn announce_exit(&mut self, exit_code: u8, is_repeated: bool) {
        self.outputs.clear();
        self.input = None;
        self.terminal = None;
        let finished = self.log.take().map(|mut log| log.finish(Timestamp::now()));
        self.note_log(finished.unwrap_or(Ok(())));
        self.accept();
        self.announced = Some(Instant::now());
        for client in self.clients.iter_mut().filter(|client| !client.leaving) {
            client.send(Kind::Exit, &[exit_code]);
            client.leaving = is_repeated;
            self.taken_over |= client.taken_over;
        }
        self.remove_gone();
        if !is_repeated {
            self.listener = None;
        }
    }

    /// There is no further run: who comes later is too late.
    pub(super) fn close(&mut self) {
        self.listener = None;
        self.announced.get_or_insert_with(Instant::now);
    }

    /// Delivers what is still queued; `finish` is called unless a command takes that over.
    ///
    /// Every command gets all of the output, however slowly it reads, but the container's end does
    /// not wait for that.
    pub(super) fn until_clients_are_gone(&mut self, finish: impl FnOnce()) {
        let announced = self.announced.unwrap_or_else(Instant::now);
        let mut finish = Some(finish);
        loop {
            let waited = announced.elapsed();
            if self.taken_over {
                finish = None;
            } else if (self.clients.is_empty() || waited >= TAKE_OVER_LIMIT)
                && let Some(finish) = finish.take()
            {
                finish();
            }
            if finish.is_none() {
                self.clients.retain(|client| {
                    client.queued_bytes() > 0 && client.stuck_for() < LINGER_LIMIT
                });
                if self.clients.is_empty() {
                    return;
                }
            }
            let limit = match finish {
                Some(_) => TAKE_OVER_LIMIT.saturating_sub(waited),
                None => LINGER_LIMIT,
            };
            if let Err(error) = self.step(None, None, Some(limit)) {
                tracing::error!(error = one_line(&error), "attached commands dropped");
                self.clients.clear();
            }
        }
    }

    /// Whether an attached command has done what `finish` would do, and removed the container.
    pub(super) fn is_taken_over(&self) -> bool {
        self.taken_over
    }

    /// Whether a command has fallen so far behind that output must wait.
    fn is_paused(&self) -> bool {
        // What a pipe holds at the end must not be lost, so there is more room then.
        let limit = if self.ended.is_some() { 2 * QUEUE_MAX_BYTES } else { QUEUE_MAX_BYTES };
        self.clients.iter().any(|client| !client.leaving && client.queued_bytes() > limit)
    }

    /// When the next command is to be dropped for making others wait.
    fn stuck_limit(&self) -> Option<Duration> {
        let is_full =
            |client: &&Attached| !client.leaving && client.queued_bytes() > QUEUE_MAX_BYTES;
        let full = self.clients.iter().filter(is_full);
        let left = full.map(|client| STUCK_LIMIT.saturating_sub(client.stuck_for())).min();
        left.filter(|_| self.clients.len() > 1)
    }

    fn drop_stuck(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.leaving) {
            client.gone |= client.queued_bytes() == 0 || client.stuck_for() >= LINGER_LIMIT;
        }
        if self.clients.len() < 2 {
            return;
        }
        for client in &mut self.clients {
            let is_full = !client.leaving && client.queued_bytes() > QUEUE_MAX_BYTES;
            if is_full && client.stuck_for() >= STUCK_LIMIT {
                client.drop_because(&Error::Frame { reason: "it does not take its output" });
            }
        }
    }

    /// Wakes up for one more file, on which somebody else then works.
    pub(super) fn watch(&mut self, file: Option<OwnedFd>) {
        self.also = file;
    }

    /// Waits for something to happen, no longer than `limit`, and handles all of it.
    fn step(
        &mut self,
        wake: Option<&ChildWake>,
        prober: Option<&Prober<'_>>,
        limit: Option<Duration>,
    ) -> Result<(), Error> {
        let ready = self.wait(wake, prober, limit)?;
        if let Some(wake) = wake.filter(|_| ready.wake) {
            wake.clear();
            self.reap()?;
        }
        if ready.input {
            self.feed_input();
        }
        for (index, flags) in ready.clients.into_iter().enumerate() {
            if flags.contains(PollFlags::OUT) {
                self.clients[index].flush();
            }
            if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                self.hear(index);
            }
        }
        // Standard output first, as people expect of what was written at the same time. A stream at
        // its end is removed, which moves those behind it.
        let mut removed = 0;
        for index in ready.outputs {
            if !self.pass_on(index - removed) {
                self.outputs.remove(index - removed);
                removed += 1;
            }
        }
        if ready.listener {
            self.accept();
        }
        self.drop_stuck();
        self.remove_gone();
        Ok(())
    }

    fn wait(
        &self,
        wake: Option<&ChildWake>,
        prober: Option<&Prober<'_>>,
        limit: Option<Duration>,
    ) -> Result<Ready, Error> {
        let mut fds = Vec::with_capacity(7 + self.clients.len());
        let mut watch = |fd, flags| {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
            fds.len() - 1
        };
        let wake = wake.map(|wake| watch(wake.as_fd(), PollFlags::IN));
        let listener = self.listener.as_ref().map(|fd| watch(fd.as_fd(), PollFlags::IN));
        let input = self.input.as_ref().map(|input| {
            // Without anything to write, only the end of the reader is of interest.
            let flags = if input.pending.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            watch(input.fd.as_fd(), flags)
        });
        let full = self.input.as_ref().is_some_and(|input| input.pending.len() > STDIN_MAX_BYTES);
        let clients: Vec<usize> = self
            .clients
            .iter()
            .map(|client| {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, !(full && client.types));
                flags.set(PollFlags::OUT, client.queued_bytes() > 0);
                watch(client.as_fd(), flags)
            })
            .collect();
        let outputs: Vec<usize> = if self.is_paused() {
            Vec::new()
        } else {
            self.outputs.iter().map(|output| watch(output.fd.as_fd(), PollFlags::IN)).collect()
        };
        // Looked at after every step, whatever has happened.
        if let Some(fd) = &self.also {
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        for fd in prober.iter().flat_map(|prober| prober.fds()) {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        match poll(&mut fds, limit) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Ready {
                    clients: vec![PollFlags::empty(); clients.len()],
                    ..Ready::default()
                });
            }
            other => other.map_err(Error::stream("wait for the container"))?,
        };
        let happened = |index: usize| !fds[index].revents().is_empty();
        Ok(Ready {
            wake: wake.is_some_and(happened),
            listener: listener.is_some_and(happened),
            input: input.is_some_and(happened),
            clients: clients.into_iter().map(|index| fds[index].revents()).collect(),
            outputs: (0..outputs.len()).filter(|index| happened(outputs[*index])).collect(),
        })
    }

    /// Collects every child that has ended: orphans of the container are ours too.
    pub(super) fn reap(&mut self) -> Result<(), Error> {
        while let Some(ended) = process::reap().map_err(Error::stream("collect a child"))? {
            if ended.pid == self.init_pid && self.ended.is_none() {
                self.ended = Some((ended.exit_code, Instant::now()));
                // There is nobody left to read it.
                self.input = None;
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        loop {
            match listener.accept() {
                Ok((stream, _)) if self.clients.len() < CLIENTS_MAX => {
                    match Attached::new(stream) {
                        Ok(client) => self.clients.push(client),
                        Err(error) => tracing::warn!(%error, "attached command dropped"),
                    }
                }
                Ok(_) => tracing::warn!("too many attached commands, one turned away"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "attach connection not accepted");
                    return;
                }
            }
        }
    }

    /// Reads one part of an output and gives it to the log and to every command; `false` at its end.
    fn pass_on(&mut self, index: usize) -> bool {
        let output = &self.outputs[index];
        let (stream, kind) = (output.stream, output.kind);
        let count = match rustix::io::read(&output.fd, &mut self.scratch[..]) {
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Ok(count) if count > 0 => count,
            // A terminal that no program has open any more answers with EIO.
            Ok(_) | Err(_) => return false,
        };
        let bytes = &self.scratch[..count];
        for client in self.clients.iter_mut().filter(|client| !client.leaving) {
            client.send(kind, bytes);
        }
        let written = self.log.as_mut().map(|log| log.write(stream, bytes, Timestamp::now()));
        self.note_log(written.unwrap_or(Ok(())));
        true
    }

    /// A log that cannot be written (disk full) must not hurt the container.
    fn note_log(&mut self, result: Result<(), Error>) {
        let failing = result.is_err();
        if let (Err(error), false) = (result, self.log_failing) {
            tracing::error!(error = one_line(&error), "output is not kept");
        }
        self.log_failing = failing;
    }

    /// Reads what a command says.
    fn hear(&mut self, index: usize) {
        self.clients[index].fill(&mut self.scratch);
        loop {
            let client = &mut self.clients[index];
            let (kind, resize) = match client.decoder.next_frame() {
                Ok(None) => return,
                // It belongs to a run that is over.
                Ok(Some(_)) if client.leaving => continue,
                Ok(Some(frame)) => match frame.kind {
                    Kind::Stdin => {
                        client.types = true;
                        if let Some(input) = self.input.as_mut().filter(|input| !input.closing) {
                            input.pending.extend(frame.payload);
                        }
                        (Kind::Stdin, None)
                    }
                    Kind::Resize => (Kind::Resize, Some(frame::parse_resize(frame.payload))),
                    kind => (kind, None),
                },
                Err(error) => return client.drop_because(&error),
            };
            match (kind, resize) {
                (Kind::Stdin, _) => self.feed_input(),
                (Kind::StdinEnd, _) => self.end_input(),
                (Kind::Resize, Some(Ok((rows, columns)))) => self.resize(rows, columns),
                (Kind::Resize, Some(Err(error))) => return client.drop_because(&error),
                (Kind::TakenOver, _) => {
                    client.taken_over = true;
                    self.taken_over |= self.announced.is_some();
                }
                _ => {
                    return client
                        .drop_because(&Error::Frame { reason: "not meant for a monitor" });
                }
            }
        }
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        let Some(terminal) = &self.terminal else { return };
        match orlop_sys::pty::set_window_size(terminal, rows, columns) {
            Ok(()) => self.resized = Some((rows, columns)),
            Err(error) => tracing::debug!(%error, "terminal size not set"),
        }
    }

    /// The terminal's size, if somebody has set it since this was asked last.
    pub(super) fn take_resized(&mut self) -> Option<(u16, u16)> {
        self.resized.take()
    }

    /// Writes what the container takes of its input.
    fn feed_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        loop {
            if input.pending.is_empty() {
                input.pending.shrink_to(0);
                // Polled without interest: the reader has gone away.
                let gone = !input.closing && reader_is_gone(input);
                if input.closing || gone {
                    self.input = None;
                }
                return;
            }
            let (part, _) = input.pending.as_slices();
            match rustix::io::write(&input.fd, part) {
                Ok(count) => drop(input.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The container has closed it; what is typed goes nowhere.
                Err(_) => {
                    self.input = None;
                    return;
                }
            }
        }
    }

    /// A command says that there is no more input. A terminal stays; so does input that later
    /// commands may go on with.
    fn end_input(&mut self) {
        if self.plan.process.stdin_once && !self.plan.process.tty {
            if let Some(input) = &mut self.input {
                input.closing = true;
            }
            self.feed_input();
        }
    }

    fn remove_gone(&mut self) {
        let typist_gone =
            self.clients.iter().any(|client| client.gone && client.types && !client.leaving);
        self.clients.retain(|client| !client.gone);
        if typist_gone {
            self.end_input();
        }
    }
}

fn reader_is_gone(input: &Input) -> bool {
    let mut fds = [PollFd::new(&input.fd, PollFlags::empty())];
    poll(&mut fds, Some(Duration::ZERO)).is_ok()
        && fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// What poll said.
#[derive(Default)]
struct Ready {
    wake: bool,
    listener: bool,
    input: bool,
    clients: Vec<PollFlags>,
    outputs: Vec<usize>,
}
