//! Connects a command's own terminal or pipes with an attached container.
//!
//! Single-threaded: everything is waited for with poll(2), and the caller's descriptors stay in
//! blocking mode (they may be shared with a shell), so writes are kept to what poll promises to
//! take. Signals come through a descriptor and are blocked meanwhile.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use orlop_sys::process::{PidFd, SignalFd, poll};
use orlop_sys::pty::RawMode;
use orlop_types::ParseError;
use rustix::event::{PollFd, PollFlags};
use rustix::net::SendFlags;

use super::{Client, Event, frame};
use crate::error::Error;
use frame::Kind;

/// Ctrl-P Ctrl-Q: the keys that detach unless others are chosen.
pub const DETACH_KEYS: [u8; 2] = [0x10, 0x11];
/// A pipe that poll calls writable takes this much without blocking (`PIPE_BUF`).
const WRITE_BYTES: usize = 4096;
/// No more is read from standard input while this much waits for the monitor.
const OUTGOING_MAX_BYTES: usize = 256 << 10;
/// How much is read from standard input at once.
const STDIN_BYTES: usize = 16 << 10;

/// Signals that `docker` hands on to the container, as far as they can be caught usefully.
const FORWARDED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGCONT,
];
/// Interrupts after which the command ends although the container does not, as in Docker.
const INSISTENCE: u32 = 3;
/// Signals that end the command itself when they are not handed on.
const FATAL: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Keeps the signals that [`Client::proxy`] hands on for it, from before there is a container until
/// it runs: without this, an interrupt during the start would end the command and leave the
/// container running.
pub fn hold_signals() -> io::Result<SignalFd> {
    SignalFd::open(&FORWARDED)
}

/// How a command is connected.
#[derive(Debug)]
pub struct ProxyOptions {
    /// The container has a terminal: the command's own becomes raw, sizes follow it.
    pub tty: bool,
    /// Keys that detach, with a terminal only; empty for none.
    pub detach_keys: Vec<u8>,
    /// The container's first process, to which signals are handed on; `None` for no one.
    pub signal_target: Option<PidFd>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container's first process has ended with this code.
    Exit(u8),
    /// The user typed the detach keys.
    Detached,
    /// The monitor went away without a word.
    Lost,
    /// The command itself was asked to end by this signal (`SIGPIPE`: nobody reads its output).
    Interrupted(i32),
}

/// Reads keys as `--detach-keys` takes them: single characters, `DEL`, or `ctrl-` with one of
/// `a`–`z @ [ \ ] ^ _`, separated by commas.
pub fn parse_detach_keys(text: &str) -> Result<Vec<u8>, ParseError> {
    let parse = |key: &str| -> Option<u8> {
        if let [byte] = key.as_bytes() {
            return Some(*byte);
        }
        if key == "DEL" {
            return Some(0x7f);
        }
        match key.strip_prefix("ctrl-")?.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
            [b'@'] => Some(0),
            [letter @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(letter - b'A' + 1),
            _ => None,
        }
    };
    let keys = text.split(',').map(parse).collect::<Option<_>>();
    keys.ok_or_else(|| ParseError::new(format!("Invalid detach keys ({text}) provided")))
}

impl Client {
    /// Copies both ways until the container ends or the user leaves.
    ///
    /// `stdin` is given where the container's input is to be fed. Fails only when the command's own
    /// descriptors or the connection fail in an unexpected way.
    pub fn proxy(
        &mut self,
        stdin: Option<BorrowedFd<'_>>,
        stdout: BorrowedFd<'_>,
        stderr: BorrowedFd<'_>,
        options: &ProxyOptions,
    ) -> Result<Outcome, Error> {
        let failed = Error::stream("set up the terminal");
        let mut signals = vec![libc::SIGWINCH];
        if options.signal_target.is_some() {
            signals.extend(FORWARDED);
        } else if options.tty {
            // Must not end the command while its terminal is raw.
            signals.extend(FATAL);
        }
        let terminal = stdin.filter(|stdin| options.tty && orlop_sys::pty::is_terminal(stdin));
        let setup = || -> io::Result<_> {
            let signals = SignalFd::open(&signals)?;
            Ok((signals, terminal.map(RawMode::enter).transpose()?))
        };
        let (signals, _raw) = setup().map_err(failed)?;
        let mut proxy = Proxy {
            client: self,
            signals,
            insisted: 0,
            options,
            terminal: terminal.or_else(|| orlop_sys::pty::is_terminal(stdout).then_some(stdout)),
            stdin,
            outputs: [Output::new(stdout), Output::new(stderr)],
            outgoing: Vec::new(),
            keys: KeyMatcher::new(if options.tty { &options.detach_keys } else { &[] }),
            exit: None,
        };
        if stdin.is_some() {
            proxy.queue(Kind::Stdin, &[]);
        }
        proxy.send_size();
        proxy.run()
    }
}

/// One of the command's outputs and what it has yet to be written.
struct Output<'a> {
    fd: BorrowedFd<'a>,
    pending: Vec<u8>,
    written: usize,
    /// A regular file takes everything at once.
    regular: bool,
}

impl<'a> Output<'a> {
    fn new(fd: BorrowedFd<'a>) -> Self {
        let regular = rustix::fs::fstat(fd).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile
        });
        Self { fd, pending: Vec::new(), written: 0, regular }
    }

    fn is_idle(&self) -> bool {
        self.written == self.pending.len()
    }

    /// Writes a part that does not block.
    fn write(&mut self) -> io::Result<()> {
        let rest = &self.pending[self.written..];
        let part = if self.regular { rest } else { &rest[..rest.len().min(WRITE_BYTES)] };
        match rustix::io::write(self.fd, part) {
            Ok(count) => self.written += count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

struct Proxy<'a> {
    client: &'a mut Client,
    signals: SignalFd,
    /// Interrupts that were handed on.
    insisted: u32,
    options: &'a ProxyOptions,
    /// The terminal whose size the container's follows.
    terminal: Option<BorrowedFd<'a>>,
    stdin: Option<BorrowedFd<'a>>,
    outputs: [Output<'a>; 2],
    /// Frames for the monitor that its socket has not taken yet.
    outgoing: Vec<u8>,
    keys: KeyMatcher<'a>,
    exit: Option<u8>,
}

impl Proxy<'_> {
    fn run(&mut self) -> Result<Outcome, Error> {
        loop {
            if self.outputs.iter().all(Output::is_idle) {
                if let Some(code) = self.exit {
                    return Ok(Outcome::Exit(code));
                }
                if let Some(event) = self.client.buffered_event()? {
                    self.take(event);
                    continue;
                }
            }
            if let Some(outcome) = self.step()? {
                return Ok(outcome);
            }
        }
    }

    fn take(&mut self, event: Event) {
        let (index, bytes) = match event {
            Event::Stdout(bytes) => (0, bytes),
            Event::Stderr(bytes) => (1, bytes),
            Event::Exit(code) => {
                self.exit = Some(code);
                return;
            }
        };
        (self.outputs[index].pending, self.outputs[index].written) = (bytes, 0);
    }

    /// Waits for something to happen and handles it.
    fn step(&mut self) -> Result<Option<Outcome>, Error> {
        let ready = self.wait()?;
        if ready.signal
            && let Some(outcome) = self.handle_signals()?
        {
            return Ok(Some(outcome));
        }
        for (output, ready) in self.outputs.iter_mut().zip(ready.outputs) {
            if !ready {
                continue;
            }
            match output.write() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Some(Outcome::Interrupted(libc::SIGPIPE)));
                }
                other => other.map_err(Error::stream("write the container's output"))?,
            }
        }
        if ready.stdin
            && let Some(outcome) = self.read_stdin()?
        {
            return Ok(Some(outcome));
        }
        self.flush()?;
        // Only read when there was room: the monitor is to notice that this side is slow.
        if ready.client && !self.client.fill()? {
            return Ok(Some(Outcome::Lost));
        }
        Ok(None)
    }

    fn wait(&mut self) -> Result<Ready, Error> {
        let idle = self.outputs.iter().all(Output::is_idle);
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, idle);
        interest.set(PollFlags::OUT, !self.outgoing.is_empty());
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.client.as_fd(), interest),
        ];
        let busy: Vec<usize> = (0..2).filter(|index| !self.outputs[*index].is_idle()).collect();
        for index in &busy {
            fds.push(PollFd::from_borrowed_fd(self.outputs[*index].fd, PollFlags::OUT));
        }
        let stdin = self.stdin.filter(|_| self.outgoing.len() < OUTGOING_MAX_BYTES);
        if let Some(stdin) = stdin {
            fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => {
                other.map_err(Error::stream("wait for the container"))?;
            }
        }
        let happened = |index: usize| !fds[index].revents().is_empty();
        let mut ready = Ready {
            signal: happened(0),
            client: idle
                && fds[1].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            outputs: [false; 2],
            stdin: stdin.is_some() && happened(fds.len() - 1),
        };
        for (position, index) in busy.iter().enumerate() {
            ready.outputs[*index] = happened(2 + position);
        }
        Ok(ready)
    }

    fn handle_signals(&mut self) -> Result<Option<Outcome>, Error> {
        while let Some(signal) = self.signals.next().map_err(Error::stream("read signals"))? {
            if signal == libc::SIGWINCH {
                self.send_size();
            } else if let Some(target) = &self.options.signal_target {
                // A first process without a handler ignores them; somebody who insists may leave.
                if matches!(signal, libc::SIGINT | libc::SIGTERM) {
                    self.insisted += 1;
                    if self.insisted >= INSISTENCE {
                        return Ok(Some(Outcome::Interrupted(signal)));
                    }
                }
                if let Err(error) = target.send_signal(signal) {
                    // It has just ended; its exit code is on the way.
                    tracing::debug!(%error, signal, "signal not handed on");
                }
            } else {
                return Ok(Some(Outcome::Interrupted(signal)));
            }
        }
        Ok(None)
    }

    fn send_size(&mut self) {
        let Some(terminal) = self.terminal.filter(|_| self.options.tty) else { return };
        if let Ok((rows, columns)) = orlop_sys::pty::window_size(terminal) {
            self.queue(Kind::Resize, &frame::resize_payload(rows, columns));
        }
    }

    fn read_stdin(&mut self) -> Result<Option<Outcome>, Error> {
        let Some(stdin) = self.stdin else { return Ok(None) };
        let mut bytes = [0; STDIN_BYTES];
        let count = match rustix::io::read(stdin, &mut bytes) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(None),
            // The terminal was hung up: as good as an end.
            Err(rustix::io::Errno::IO) => 0,
            other => other.map_err(|errno| Error::stream("read standard input")(errno.into()))?,
        };
        if count == 0 {
            self.stdin = None;
            self.queue(Kind::StdinEnd, &[]);
            return Ok(None);
        }
        let mut typed = Vec::with_capacity(count);
        let detached = self.keys.feed(&bytes[..count], &mut typed);
        if !typed.is_empty() {
            self.queue(Kind::Stdin, &typed);
        }
        if detached {
            self.flush()?;
            return Ok(Some(Outcome::Detached));
        }
        Ok(None)
    }

    fn queue(&mut self, kind: Kind, payload: &[u8]) {
        self.outgoing.extend_from_slice(&frame::header(kind, payload.len()));
        self.outgoing.extend_from_slice(payload);
    }

    /// Sends what the socket takes now.
    fn flush(&mut self) -> Result<(), Error> {
        while !self.outgoing.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(self.client.as_fd(), &self.outgoing, flags) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                // The end is found by reading, where what came before it is not lost.
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::CONNRESET) => {
                    self.outgoing.clear();
                    self.stdin = None;
                }
                Err(errno) => return Err(Error::stream("write to the monitor")(errno.into())),
            }
        }
        Ok(())
    }
}

/// What poll said.
struct Ready {
    signal: bool,
    client: bool,
    outputs: [bool; 2],
    stdin: bool,
}

/// Finds the detach keys in what is typed; holds back what may be their beginning.
struct KeyMatcher<'a> {
    keys: &'a [u8],
    matched: usize,
}

impl<'a> KeyMatcher<'a> {
    fn new(keys: &'a [u8]) -> Self {
        Self { keys, matched: 0 }
    }

    /// Passes on what is not part of the keys; true when they are complete.
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        for byte in bytes {
            while self.matched > 0 && self.keys.get(self.matched) != Some(byte) {
                // The longest shorter beginning of the keys that was typed just now.
                let typed = &self.keys[..self.matched];
                let shorter = (0..self.matched).rev().find(|n| typed.ends_with(&self.keys[..*n]));
                let shorter = shorter.unwrap_or(0);
                out.extend_from_slice(&typed[..self.matched - shorter]);
                self.matched = shorter;
            }
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return true;
                }
            } else {
                out.push(*byte);
            }
        }
        false
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
