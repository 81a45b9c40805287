//! A question on its way to a name server outside, over a socket of its own.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use orlop_types::network::NameServer;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};

use super::wire;
use crate::endpoint::enter_existing;

/// How long a server may take, as in Docker.
const LIMIT: Duration = Duration::from_secs(4);
/// Port of name servers.
const PORT: u16 = 53;
/// Largest message of DNS.
const MESSAGE_MAX_BYTES: usize = 65_535;

/// Datagrams or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// A question that a server has, or is about to get.
#[derive(Debug)]
pub(super) struct Asked {
    socket: OwnedFd,
    transport: Transport,
    /// With an id of our own.
    question: Vec<u8>,
    /// What of a connection is still to be sent.
    unsent: Vec<u8>,
    received: Vec<u8>,
    deadline: Instant,
}

impl Asked {
    /// Asks a server; the socket is opened in the host's namespace if only that can reach it.
    ///
    /// Id and port are new for each question, so that nobody can guess them.
    pub(super) fn ask(
        server: &NameServer,
        transport: Transport,
        question: &[u8],
        host: &File,
    ) -> io::Result<Self> {
        let socket = match server.from_host {
            false => open(server, transport)?,
            // A thread of its own goes there; the monitor stays where it is.
            true => std::thread::scope(|scope| {
                let work = scope.spawn(|| {
                    enter_existing(host).map_err(io::Error::other)?;
                    open(server, transport)
                });
                work.join()
            })
            .map_err(|_| io::Error::other("the thread has ended"))??,
        };
        let address = SocketAddr::new(server.address, PORT);
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut id = [0; 2];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let question = wire::with_id(question.to_vec(), u16::from_ne_bytes(id));
        let mut unsent = Vec::new();
        match transport {
            Transport::Udp => {
                rustix::net::send(&socket, &question, SendFlags::NOSIGNAL)?;
            }
            Transport::Tcp => {
                let length = u16::try_from(question.len()).map_err(io::Error::other)?;
                unsent.extend_from_slice(&length.to_be_bytes());
                unsent.extend_from_slice(&question);
            }
        }
        let deadline = Instant::now() + LIMIT;
        Ok(Self { socket, transport, question, unsent, received: Vec::new(), deadline })
    }

    /// The socket.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to be woken for.
    pub(super) fn interest(&self) -> EventFlags {
        if self.unsent.is_empty() { EventFlags::IN } else { EventFlags::OUT }
    }

    /// When the server is given up.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Goes on; gives the answer once it is there.
    pub(super) fn advance(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.transport {
            Transport::Udp => self.receive_datagram(),
            Transport::Tcp => {
                if !self.send()? {
                    return Ok(None);
                }
                self.receive_stream()
            }
        }
    }

    fn receive_datagram(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; MESSAGE_MAX_BYTES];
        loop {
            match rustix::io::read(&self.socket, &mut buffer[..]) {
                Ok(length) => {
                    let answer = buffer.get(..length).unwrap_or_default();
                    // What is no answer to this question is somebody's guess.
                    if wire::answers(answer, &self.question) {
                        return Ok(Some(answer.to_vec()));
                    }
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends what is left of the question; true when all of it is gone.
    fn send(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            match rustix::net::send(&self.socket, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }

    fn receive_stream(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = [0; 4096];
        loop {
            if let Some((head, rest)) = self.received.split_first_chunk::<2>() {
                let length = usize::from(u16::from_be_bytes(*head));
                if let Some(answer) = rest.get(..length) {
                    return match wire::answers(answer, &self.question) {
                        true => Ok(Some(answer.to_vec())),
                        false => Err(io::ErrorKind::InvalidData.into()),
                    };
                }
            }
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    self.received.extend_from_slice(buffer.get(..length).unwrap_or_default());
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn open(server: &NameServer, transport: Transport) -> io::Result<OwnedFd> {
    let family = match server.address.is_ipv4() {
        true => AddressFamily::INET,
        false => AddressFamily::INET6,
    };
    let kind = match transport {
        Transport::Udp => SocketType::DGRAM,
        Transport::Tcp => SocketType::STREAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, kind, flags, None)?)
}
