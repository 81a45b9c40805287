//! Answers a container's questions about names: `127.0.0.11` in its own namespace.
//!
//! Runs in the container's monitor, without threads and without ever blocking: every socket, and a
//! timer, hang on one epoll file ([`Resolver::wake_fd`]), and [`Resolver::work`] does what waits.
//! * Names of containers come from small files ([`records`]), read at each question, so that a
//!   container that starts later is known at once. Nothing is asked of the database.
//! * Everything else goes to the name servers outside, over the transport it came by, one after the
//!   other until one answers. Answers are handed on as they are, but for the id.
//!
//! Programs ask port 53, which may be a name server's in the container: the sockets are on another
//! port, and a rule in the container's namespace leads there ([`intercept`]).

mod intercept;
mod records;
mod upstream;
mod wire;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orlop_types::network::NetworkState;
use rustix::event::epoll;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::error::Error;
pub use intercept::{answer_here, intercept};
use records::Records;
use upstream::{Asked, Transport};
use wire::{Answer, Question};

/// Where Docker's resolver is, and ours.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Most bytes of a question: those with signatures are larger, and none of ours to answer.
const QUESTION_MAX_BYTES: usize = 4096;
/// Questions under way to servers outside; one more is refused (Docker allows 1024, for a daemon).
const PENDING_MAX: usize = 256;
/// Connections at once; one more is closed.
const CLIENTS_MAX: usize = 32;
/// How long a connection may say nothing.
const CLIENT_IDLE: Duration = Duration::from_secs(10);
/// Questions or connections taken in one go, so that output of the container is not kept waiting.
const BATCH: usize = 64;
/// Attempts to find a port that is free for both transports.
const PORT_ATTEMPTS: u32 = 16;

const UDP: u64 = 0;
const TCP: u64 = 1;
const TIMER: u64 = 2;
const FIRST_TOKEN: u64 = 3;

/// The resolver of one container.
#[derive(Debug)]
pub struct Resolver {
    epoll: OwnedFd,
    timer: OwnedFd,
    udp: UdpSocket,
    tcp: TcpListener,
    /// File of the [`NetworkState`].
    state: PathBuf,
    host: File,
    records: Records,
    clients: BTreeMap<u64, Client>,
    pending: BTreeMap<u64, Pending>,
    next_token: u64,
}

/// A connection from the container.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    since: Instant,
    /// Whether it will ask no more; it may wait for answers all the same.
    ended: bool,
}

/// A question that was passed on.
#[derive(Debug)]
struct Pending {
    origin: Origin,
    /// The question as it came.
    question: Vec<u8>,
    /// Servers still to be asked, the next one last.
    servers: Vec<orlop_types::network::NameServer>,
    asked: Asked,
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
enum Origin {
    Udp(SocketAddr),
    Tcp(u64),
}

fn failed(source: io::Error) -> Error {
    Error::system("set up the resolver", "epoll and timers", source)
}

impl Resolver {
    /// Opens the sockets in the calling thread's namespace, the container's; `host` is the host's.
    pub fn open(state: &Path, host: File) -> Result<Self, Error> {
        let (udp, tcp) = bind().map_err(failed)?;
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .map_err(|errno| failed(errno.into()))?;
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let resolver = Self {
            epoll,
            timer,
            udp,
            tcp,
            state: state.to_owned(),
            host,
            records: Records::default(),
            clients: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_token: FIRST_TOKEN,
        };
        for (fd, token) in [
            (resolver.udp.as_fd(), UDP),
            (resolver.tcp.as_fd(), TCP),
            (resolver.timer.as_fd(), TIMER),
        ] {
            resolver.watch(fd, token, epoll::EventFlags::IN).map_err(failed)?;
        }
        Ok(resolver)
    }

    /// The port on `127.0.0.11`, for both transports.
    pub fn port(&self) -> Result<u16, Error> {
        self.udp.local_addr().map(|address| address.port()).map_err(failed)
    }

    /// Becomes readable when there is something to do.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Does what waits; returns without waiting for anything.
    pub fn work(&mut self) {
        let mut events = Vec::with_capacity(BATCH);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now)) {
            Ok(_) => {}
            Err(errno) => {
                tracing::debug!(op = "resolve", %errno, "cannot look at the sockets");
                return;
            }
        }
        for event in events {
            match event.data.u64() {
                UDP => self.take_datagrams(),
                TCP => self.accept(),
                TIMER => drop(rustix::io::read(&self.timer, &mut [0; 8])),
                token if self.clients.contains_key(&token) => self.hear(token),
                token => self.advance(token),
            }
        }
        self.expire(Instant::now());
        self.set_timer(Instant::now());
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: u64, flags: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), flags)?)
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn take_datagrams(&mut self) {
        let mut buffer = [0; QUESTION_MAX_BYTES];
        for _ in 0..BATCH {
            match self.udp.recv_from(&mut buffer) {
                Ok((length, peer)) => {
                    let question = buffer.get(..length).unwrap_or_default().to_vec();
                    self.answer(question, Origin::Udp(peer));
                }
                // Whatever it is, the next question may be well.
                Err(_) => return,
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..BATCH {
            let Ok((stream, _)) = self.tcp.accept() else { return };
            if self.clients.len() >= CLIENTS_MAX || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let token = self.token();
            if self.watch(stream.as_fd(), token, epoll::EventFlags::IN).is_ok() {
                let (input, output) = (Vec::new(), Vec::new());
                self.clients.insert(
                    token,
                    Client { stream, input, output, since: Instant::now(), ended: false },
                );
            }
        }
    }

    /// Reads what a connection brings and writes what waits for it.
    fn hear(&mut self, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let alive = client.fill() && client.flush();
        let questions = client.questions();
        for question in questions.iter().flatten() {
            self.answer(question.clone(), Origin::Tcp(token));
        }
        if !alive || questions.is_none() {
            self.clients.remove(&token);
        } else {
            self.rewatch(token);
        }
    }

    /// Asks to be woken for writing only while something waits to be written; closes a connection
    /// that has all its answers.
    fn rewatch(&mut self, token: u64) {
        let Some(client) = self.clients.get(&token) else { return };
        let waits =
            |pending: &Pending| matches!(pending.origin, Origin::Tcp(asker) if asker == token);
        if client.ended && client.output.is_empty() && !self.pending.values().any(waits) {
            self.clients.remove(&token);
            return;
        }
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, !client.ended);
        flags.set(epoll::EventFlags::OUT, !client.output.is_empty());
        let data = epoll::EventData::new_u64(token);
        if epoll::modify(&self.epoll, client.stream.as_fd(), data, flags).is_err() {
            self.clients.remove(&token);
        }
    }

    /// Answers a question, or passes it on.
    fn answer(&mut self, bytes: Vec<u8>, origin: Origin) {
        let question = match Question::parse(&bytes) {
            Ok(question) => question,
            Err(refusal) => return self.reply_maybe(origin, refusal),
        };
        let state = self.read_state();
        let Some(plan) = state.and_then(|state| state.resolver) else {
            return self.reply_maybe(origin, question.refuse());
        };
        let limit = match origin {
            Origin::Udp(_) => question.datagram_max_bytes(),
            Origin::Tcp(_) => usize::from(u16::MAX),
        };
        match self.records.answer(&plan, &question) {
            Answer::Unknown if plan.servers.is_empty() => {
                self.reply_maybe(origin, question.fail());
            }
            Answer::Unknown if self.pending.len() >= PENDING_MAX => {
                self.reply_maybe(origin, question.refuse());
            }
            Answer::Unknown => {
                let servers = plan.servers.into_iter().rev().collect();
                self.pass_on(origin, bytes, servers);
            }
            known => self.reply_maybe(origin, question.reply(&known, limit)),
        }
    }

    fn read_state(&self) -> Option<NetworkState> {
        let text = std::fs::read(&self.state);
        match text.and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from)) {
            Ok(state) => Some(state),
            Err(error) => {
                tracing::debug!(op = "resolve", %error, "cannot read the container's networks");
                None
            }
        }
    }

    /// Asks the next server; when there is none left, the question has failed.
    fn pass_on(
        &mut self,
        origin: Origin,
        question: Vec<u8>,
        mut servers: Vec<orlop_types::network::NameServer>,
    ) {
        let transport = match origin {
            Origin::Udp(_) => Transport::Udp,
            Origin::Tcp(_) => Transport::Tcp,
        };
        while let Some(server) = servers.pop() {
            let token = self.token();
            let asked = Asked::ask(&server, transport, &question, &self.host)
                .and_then(|asked| self.watch(asked.fd(), token, asked.interest()).map(|()| asked));
            match asked {
                Ok(asked) => {
                    self.pending.insert(token, Pending { origin, question, servers, asked });
                    return;
                }
                Err(error) => {
                    tracing::debug!(op = "resolve", server = %server.address, %error, "not asked");
                }
            }
        }
        if let Ok(question) = Question::parse(&question) {
            self.reply_maybe(origin, question.fail());
        }
    }

    /// Takes what came from a server.
    fn advance(&mut self, token: u64) {
        let Some(mut pending) = self.pending.remove(&token) else { return };
        match pending.asked.advance() {
            Ok(None) => {
                let data = epoll::EventData::new_u64(token);
                let interest = pending.asked.interest();
                if epoll::modify(&self.epoll, pending.asked.fd(), data, interest).is_ok() {
                    self.pending.insert(token, pending);
                }
            }
            // The next one may know better.
            Ok(Some(answer)) if wire::is_failure(&answer) && !pending.servers.is_empty() => {
                self.pass_on(pending.origin, pending.question, pending.servers);
            }
            Ok(Some(answer)) => {
                let answer = wire::with_id_of(answer, &pending.question);
                self.reply_maybe(pending.origin, Some(answer));
            }
            Err(error) => {
                tracing::debug!(op = "resolve", %error, "a name server did not answer");
                self.pass_on(pending.origin, pending.question, pending.servers);
            }
        }
    }

    fn reply_maybe(&mut self, origin: Origin, answer: Option<Vec<u8>>) {
        let Some(answer) = answer else { return };
        match origin {
            Origin::Udp(peer) => {
                if let Err(error) = self.udp.send_to(&answer, peer) {
                    tracing::debug!(op = "resolve", %error, "answer not sent");
                }
            }
            Origin::Tcp(token) => {
                let Some(client) = self.clients.get_mut(&token) else { return };
                let Ok(length) = u16::try_from(answer.len()) else { return };
                client.output.extend_from_slice(&length.to_be_bytes());
                client.output.extend_from_slice(&answer);
                if client.flush() {
                    self.rewatch(token);
                } else {
                    self.clients.remove(&token);
                }
            }
        }
    }

    /// Gives up what has waited too long.
    fn expire(&mut self, now: Instant) {
        let late: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.asked.deadline() <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in late {
            if let Some(pending) = self.pending.remove(&token) {
                self.pass_on(pending.origin, pending.question, pending.servers);
            }
        }
        self.clients.retain(|_, client| client.since + CLIENT_IDLE > now);
    }

    fn set_timer(&self, now: Instant) {
        let pending = self.pending.values().map(|pending| pending.asked.deadline());
        let clients = self.clients.values().map(|client| client.since + CLIENT_IDLE);
        let next = pending.chain(clients).min();
        // A value of zero would switch it off.
        let wait = next.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(now).max(Duration::from_millis(1))
        });
        let value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timer = Itimerspec { it_interval: zero, it_value: value };
        if let Err(errno) =
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)
        {
            tracing::debug!(op = "resolve", %errno, "timer not set");
        }
    }
}

impl Client {
    /// Reads what there is; false if the connection is broken.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; QUESTION_MAX_BYTES];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    return true;
                }
                Ok(length) => {
                    self.since = Instant::now();
                    self.input.extend_from_slice(buffer.get(..length).unwrap_or_default());
                    if self.input.len() > 2 * QUESTION_MAX_BYTES {
                        return true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    /// Writes what it takes; false if it is gone or takes nothing of a lot.
    fn flush(&mut self) -> bool {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return false,
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.output.len() < 1 << 20;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Takes the questions that are complete; `None` for one that is too long.
    fn questions(&mut self) -> Option<Vec<Vec<u8>>> {
        let mut questions = Vec::new();
        while let Some((head, _)) = self.input.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*head));
            if length > QUESTION_MAX_BYTES {
                return None;
            }
            let Some(question) = self.input.get(2..2 + length) else { break };
            questions.push(question.to_vec());
            self.input.drain(..2 + length);
        }
        Some(questions)
    }
}

/// Binds one port for both transports.
fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORT_ATTEMPTS {
        let udp = UdpSocket::bind((ADDRESS, 0))?;
        match TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => {
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                return Ok((udp, tcp));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
#[path = "resolver/tests.rs"]
mod tests;
