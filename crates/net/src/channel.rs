//! One netlink socket and the exchange of a batch of requests for all of their answers.
//!
//! The kernel handles a request within the `send`, so when that returns every answer is already in
//! the receive queue (a dump is continued by each `recv`). The socket therefore never blocks: the
//! exchange is over when the queue is empty.

use std::io;

use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use rustix::io::Errno;

use crate::error::Error;
use crate::wire::{self, MESSAGE_HEADER, Message};

/// Room for one read: the kernel fills dumps in blocks of at most 32 KiB.
const READ_BYTES: usize = 64 * 1024;
/// Answer types common to all protocols.
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// Flags of an error: the refused request was cut off, explaining attributes follow.
const ERROR_CAPPED: u16 = 0x100;
const ERROR_ATTRIBUTES: u16 = 0x200;
const ERROR_TEXT: u16 = 1;

/// Asks for an acknowledgement.
pub(crate) const ACK: u16 = 4;
/// Asks for every object of a kind.
pub(crate) const DUMP: u16 = 0x300;
/// What exists is replaced.
pub(crate) const REPLACE: u16 = 0x100;
/// Creation fails when the object exists.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// Creates the object.
pub(crate) const CREATE: u16 = 0x400;

/// A netlink socket; it stays in the network namespace in which it was opened.
pub(crate) struct Channel {
    socket: Socket,
    sequence: u32,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Channel").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// An object that the kernel sent.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Index of the request in the batch.
    pub(crate) message: usize,
    /// Everything after the message header.
    pub(crate) body: Vec<u8>,
}

/// A request that the kernel refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Index of the request in the batch.
    pub(crate) message: usize,
    /// Why.
    pub(crate) errno: Errno,
    /// The kernel's own words, if it has any.
    pub(crate) detail: Option<String>,
}

/// Everything that came back for one batch.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Objects.
    pub(crate) objects: Vec<Answer>,
    /// Refusals, in the order of the requests.
    pub(crate) refusals: Vec<Refusal>,
}

impl Answers {
    /// Takes the refusal of one request.
    pub(crate) fn refusal(&mut self, message: usize) -> Option<Refusal> {
        let at = self.refusals.iter().position(|refusal| refusal.message == message)?;
        Some(self.refusals.remove(at))
    }
}

impl Channel {
    /// Opens a socket for links, addresses and routes in the current namespace.
    pub(crate) fn route() -> Result<Self, Error> {
        Self::open(NETLINK_ROUTE)
            .map_err(|source| Error::system("open a route socket", "rtnetlink", source))
    }

    /// Opens a socket for nf_tables in the current namespace.
    pub(crate) fn firewall() -> Result<Self, Error> {
        Self::open(NETLINK_NETFILTER).map_err(|source| {
            Error::system("open a firewall socket", "nf_tables (nfnetlink)", source)
        })
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        socket.set_non_blocking(true)?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends all requests at once and reads all answers.
    pub(crate) fn exchange(&mut self, messages: &[Message]) -> io::Result<Answers> {
        let first = self.sequence.wrapping_add(1);
        let mut request = Vec::with_capacity(4096);
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.write(self.sequence, &mut request);
        }
        self.socket.send(&request, 0)?;
        let mut answers = Answers::default();
        let mut block = Vec::with_capacity(READ_BYTES);
        loop {
            block.clear();
            match self.socket.recv(&mut block, 0) {
                Ok(_) => read_block(&block, first, &mut answers),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Sorts the messages of one read into answers.
fn read_block(mut block: &[u8], first: u32, answers: &mut Answers) {
    while let Some(length) = wire::native_u32(block, 0) {
        let length = length as usize;
        let Some(message) = block.get(..length) else { return };
        let Some(body) = message.get(MESSAGE_HEADER..) else { return };
        block = block.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let flags = u16::from_ne_bytes([message[6], message[7]]);
        let sequence = wire::native_u32(message, 8).unwrap_or_default();
        let index = sequence.wrapping_sub(first) as usize;
        if kind == TYPE_ERROR || kind == TYPE_DONE {
            answers.refusals.extend(read_refusal(index, kind, flags, body));
        } else {
            answers.objects.push(Answer { message: index, body: body.to_vec() });
        }
    }
}

/// Reads an error; an acknowledgement is error 0.
fn read_refusal(message: usize, kind: u16, flags: u16, body: &[u8]) -> Option<Refusal> {
    let code = wire::native_u32(body, 0)?.cast_signed();
    if code >= 0 {
        return None;
    }
    // An error repeats the request's header, and its body unless that was cut off.
    let attributes_at = match (kind, flags & ERROR_CAPPED) {
        (TYPE_DONE, _) => 4,
        (_, 0) => 4 + wire::native_u32(body, 4)?.next_multiple_of(4) as usize,
        _ => 4 + MESSAGE_HEADER,
    };
    let detail = (flags & ERROR_ATTRIBUTES != 0)
        .then(|| wire::attribute(body.get(attributes_at..)?, ERROR_TEXT).map(wire::string))
        .flatten();
    Some(Refusal { message, errno: Errno::from_raw_os_error(-code), detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_message(sequence: u32, code: i32, flags: u16, tail: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(u32::try_from(36 + tail.len()).unwrap_or_default().to_ne_bytes());
        out.extend(TYPE_ERROR.to_ne_bytes());
        out.extend(flags.to_ne_bytes());
        out.extend(sequence.to_ne_bytes());
        out.extend([0; 4]);
        out.extend(code.to_ne_bytes());
        out.extend([0; 16]);
        out.extend(tail);
        out
    }

    #[test]
    fn acknowledgements_and_refusals_are_told_apart() {
        let mut block = error_message(5, 0, ERROR_CAPPED, &[]);
        let text = crate::wire::Attributes::new().text(ERROR_TEXT, "no such thing");
        block.extend(error_message(6, -2, ERROR_CAPPED | ERROR_ATTRIBUTES, &text.0));
        let mut answers = Answers::default();
        read_block(&block, 5, &mut answers);
        assert_eq!(answers.refusals.len(), 1);
        assert!(answers.refusal(0).is_none());
        let refusal = answers.refusal(1).expect("the second was refused");
        assert_eq!(refusal.errno, Errno::NOENT);
        assert_eq!(refusal.detail.as_deref(), Some("no such thing"));
    }

    #[test]
    fn a_cut_block_is_left_alone() {
        let block = error_message(1, -2, ERROR_CAPPED, &[]);
        let mut answers = Answers::default();
        read_block(&block[..30], 1, &mut answers);
        assert!(answers.refusals.is_empty() && answers.objects.is_empty());
    }
}
