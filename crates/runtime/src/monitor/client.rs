//! One attached command, as the monitor sees it.
//!
//! Nothing here ever waits: what a command does not take at once is queued, and how long a queue may
//! get and how long it may stand still is the caller's to watch.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::attach::frame::{self, Decoder, Kind};
use crate::error::Error;

/// A queue that has become empty gives back what it holds beyond this.
const KEEP_BYTES: usize = 4 << 10;

/// A connection to an attached command.
#[derive(Debug)]
pub(super) struct Attached {
    stream: UnixStream,
    pub(super) decoder: Decoder,
    queue: VecDeque<u8>,
    /// Since when the queue has made no progress.
    waiting_since: Option<Instant>,
    /// Whether it is one that types.
    pub(super) types: bool,
    /// Whether it has taken over what comes after the end.
    pub(super) taken_over: bool,
    /// Whether its run is over and it is only given what it has not read yet.
    pub(super) leaving: bool,
    /// Whether the connection has ended, from whichever side.
    pub(super) gone: bool,
}

impl Attached {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            queue: VecDeque::new(),
            waiting_since: None,
            types: false,
            taken_over: false,
            leaving: false,
            gone: false,
        })
    }

    /// Bytes that wait to be taken.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queue.len()
    }

    /// How long the queue has stood still.
    pub(super) fn stuck_for(&self) -> Duration {
        self.waiting_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Sends a frame: as much as the socket takes now, the rest later.
    pub(super) fn send(&mut self, kind: Kind, payload: &[u8]) {
        let header = frame::header(kind, payload.len());
        let mut sent = 0;
        if self.queue.is_empty() {
            let parts = [IoSlice::new(&header), IoSlice::new(payload)];
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let mut control = SendAncillaryBuffer::default();
            match rustix::net::sendmsg(&self.stream, &parts, &mut control, flags) {
                Ok(count) => sent = count,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return self.lose(errno),
            }
        }
        if sent < header.len() + payload.len() {
            self.queue.extend(&header[sent.min(header.len())..]);
            self.queue.extend(&payload[sent.saturating_sub(header.len())..]);
            self.waiting_since.get_or_insert_with(Instant::now);
        }
    }

    /// Sends on from the queue.
    pub(super) fn flush(&mut self) {
        while !self.queue.is_empty() {
            let (part, _) = self.queue.as_slices();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.stream, part, flags) {
                Ok(count) => {
                    self.queue.drain(..count);
                    self.waiting_since = Some(Instant::now());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(errno) => return self.lose(errno),
            }
        }
        self.queue.shrink_to(KEEP_BYTES);
        self.waiting_since = None;
    }

    /// Reads what has arrived into the decoder.
    pub(super) fn fill(&mut self, scratch: &mut [u8]) {
        match self.stream.read(scratch) {
            Ok(0) => self.gone = true,
            Ok(count) => self.decoder.feed(&scratch[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => self.drop_because(&Error::stream("read from a command")(error)),
        }
    }

    /// Ends the connection because the command broke a rule or the socket failed.
    pub(super) fn drop_because(&mut self, error: &Error) {
        tracing::warn!(error = crate::error::one_line(error), "attached command dropped");
        self.gone = true;
    }

    fn lose(&mut self, errno: Errno) {
        // The usual way of a command to go away; others are as harmless to the container.
        tracing::debug!(%errno, "attached command has gone away");
        self.gone = true;
    }
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
