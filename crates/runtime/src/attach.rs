//! The connection between a command and the monitor: output, input and the exit code.
//!
//! A unix stream socket, `<run_dir>/attach.sock`, or the pair that [`crate::launch`] makes. Both
//! sides speak in frames ([`frame`]); a command may close at any time without hurting the container.

pub mod frame;
mod proxy;

pub use proxy::{DETACH_KEYS, Outcome, ProxyOptions, hold_signals, parse_detach_keys};

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use crate::error::Error;
use frame::{Decoder, Kind, PAYLOAD_MAX_BYTES};

/// Name of the socket in the run directory.
pub(crate) const SOCKET_NAME: &str = "attach.sock";

/// Bytes that one read takes from a connection.
const READ_BYTES: usize = 64 << 10;

/// Connects to the monitor of a run directory.
pub fn connect(run_dir: &Path) -> Result<Client, Error> {
    connect_to(&run_dir.join(SOCKET_NAME))
}

/// Connects to whoever serves a process on this socket.
pub fn connect_to(socket: &Path) -> Result<Client, Error> {
    match orlop_sys::pty::connect_unix(socket) {
        Ok(stream) => Ok(Client::new(stream)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Err(Error::NotRunning)
        }
        Err(error) => Err(Error::stream("connect to the container")(error)),
    }
}

/// What the monitor tells an attached command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The container wrote to its standard output, or terminal.
    Stdout(Vec<u8>),
    /// The container wrote to its standard error.
    Stderr(Vec<u8>),
    /// The first process has ended; nothing but the end of the connection follows.
    Exit(u8),
}

/// The command's side of a connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    /// The bare connection; nothing may have been received that was not used.
    pub(crate) fn into_stream(self) -> UnixStream {
        self.stream
    }

    /// Says that this command is the one that types: when it goes away, the container's standard
    /// input ends if the plan says so (`stdin_once`).
    pub fn announce_stdin(&mut self) -> Result<(), Error> {
        self.send(Kind::Stdin, &[])
    }

    /// Types into the container.
    pub fn send_stdin(&mut self, bytes: &[u8]) -> Result<(), Error> {
        bytes.chunks(PAYLOAD_MAX_BYTES).try_for_each(|chunk| self.send(Kind::Stdin, chunk))
    }

    /// Says that nothing more will be typed.
    pub fn end_stdin(&mut self) -> Result<(), Error> {
        self.send(Kind::StdinEnd, &[])
    }

    /// Sets the size of the container's terminal.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<(), Error> {
        self.send(Kind::Resize, &frame::resize_payload(rows, columns))
    }

    /// Says, after the exit code, that this command has done what the plan's `finish` would do and
    /// that the container is removed: `finish` is not run, and the monitor removes the run
    /// directory as its last act.
    pub fn take_over(&mut self) -> Result<(), Error> {
        self.send(Kind::TakenOver, &[])
    }

    /// Waits for the next event; `None` when the monitor has closed the connection.
    pub fn receive(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.buffered_event()? {
                return Ok(Some(event));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Like [`Client::receive`], but waits no longer than `limit` for something to arrive.
    pub fn receive_within(&mut self, limit: Duration) -> Result<Poll<Option<Event>>, Error> {
        loop {
            if let Some(event) = self.buffered_event()? {
                return Ok(Poll::Ready(Some(event)));
            }
            let ready = orlop_sys::process::wait_readable(self.stream.as_fd(), Some(limit));
            if !ready.map_err(Error::stream("wait for the monitor"))? {
                return Ok(Poll::Pending);
            }
            if !self.fill()? {
                return Ok(Poll::Ready(None));
            }
        }
    }

    /// Waits until the monitor has closed the connection, which it does when everything is taken
    /// down, no longer than `limit`; tells whether it has. What still comes is dropped.
    pub fn wait_closed(&mut self, limit: Duration) -> Result<bool, Error> {
        let deadline = std::time::Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let ready = orlop_sys::process::wait_readable(self.stream.as_fd(), Some(left));
            if !ready.map_err(Error::stream("wait for the monitor"))? {
                return Ok(false);
            }
            if !self.fill()? {
                return Ok(true);
            }
            while self.decoder.next_frame()?.is_some() {}
        }
    }

    /// The next event that has already arrived.
    fn buffered_event(&mut self) -> Result<Option<Event>, Error> {
        let Some(frame) = self.decoder.next_frame()? else { return Ok(None) };
        Ok(Some(match (frame.kind, frame.payload) {
            (Kind::Stdout, bytes) => Event::Stdout(bytes.to_vec()),
            (Kind::Stderr, bytes) => Event::Stderr(bytes.to_vec()),
            (Kind::Exit, [code]) => Event::Exit(*code),
            (Kind::Exit, _) => return Err(Error::Frame { reason: "exit code is not one byte" }),
            _ => return Err(Error::Frame { reason: "not meant for a command" }),
        }))
    }

    /// The next frame of any kind, for the beginning of a connection that [`crate::launch`] makes.
    pub(crate) fn receive_frame(&mut self) -> Result<Option<(Kind, Vec<u8>)>, Error> {
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(Some(frame));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The next frame of any kind that has arrived already.
    pub(crate) fn buffered_frame(&mut self) -> Result<Option<(Kind, Vec<u8>)>, Error> {
        Ok(self.decoder.next_frame()?.map(|frame| (frame.kind, frame.payload.to_vec())))
    }

    /// Reads what there is, waiting for at least one byte; false at the end.
    pub(crate) fn fill(&mut self) -> Result<bool, Error> {
        let mut block = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut block) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.decoder.feed(&block[..count]);
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The monitor went away with input of ours unread: an end like any other.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(Error::stream("read from the monitor")(error)),
            }
        }
    }

    pub(crate) fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Error> {
        let mut bytes = frame::header(kind, payload.len()).to_vec();
        bytes.extend_from_slice(payload);
        match self.stream.write_all(&bytes) {
            // The end is found by reading, where what came before it is not lost.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            other => other.map_err(Error::stream("write to the monitor")),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
