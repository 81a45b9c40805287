//! Ports of the host: whether one is free, and sockets that keep one for a container.
//!
//! A published port is redirected before it could reach a socket; the bound socket is only there so
//! that no other program, and no other container of any root, takes the same port.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use orlop_types::network::{Protocol, PublishedPort};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::error::Error;

/// Ports that Docker gives when none is named: the kernel's range for ports without a name.
const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;

/// Opens a socket of this transport; `None` if the kernel has no such transport, so that no
/// program can use its ports either (SCTP is a module that is often missing).
fn open(ip: Ipv4Addr, port: u16, protocol: Protocol) -> Result<Option<OwnedFd>, Error> {
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    match rustix::net::socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(number)) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp => {
            Ok(None)
        }
        Err(errno) => Err(failed(ip, port, protocol, errno)),
    }
}

fn failed(ip: Ipv4Addr, port: u16, protocol: Protocol, errno: Errno) -> Error {
    match errno {
        Errno::ADDRINUSE => Error::PortTaken { ip, port },
        errno => {
            Error::Bind { ip, port, protocol: protocol.as_str(), source: io::Error::from(errno) }
        }
    }
}

/// Binds a port of the host for as long as the socket is open.
pub(crate) fn hold(ip: Ipv4Addr, port: u16, protocol: Protocol) -> Result<Option<OwnedFd>, Error> {
    let Some(socket) = open(ip, port, protocol)? else { return Ok(None) };
    let address = SocketAddrV4::new(ip, port);
    match rustix::net::bind(&socket, &address) {
        Ok(()) => Ok(Some(socket)),
        // Connections of a program that has ended linger for a minute (TIME_WAIT) and do not count:
        // address reuse gets past them, and listening is refused if another socket has the port.
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp => {
            sockopt::set_socket_reuseaddr(&socket, true)
                .and_then(|()| rustix::net::bind(&socket, &address))
                .and_then(|()| rustix::net::listen(&socket, 0))
                .map(|()| Some(socket))
                .map_err(|errno| failed(ip, port, protocol, errno))
        }
        Err(errno) => Err(failed(ip, port, protocol, errno)),
    }
}

/// Binds all ports or none.
pub(crate) fn hold_all(ports: &[PublishedPort]) -> Result<Vec<OwnedFd>, Error> {
    let held =
        ports.iter().map(|port| hold(port.host_ip, port.host_port, port.protocol).transpose());
    held.flatten().collect()
}

/// Whether a port of the host could be published now.
pub fn probe_port(ip: Ipv4Addr, port: u16, protocol: Protocol) -> Result<bool, Error> {
    match hold(ip, port, protocol) {
        Ok(_) => Ok(true),
        Err(Error::PortTaken { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Picks a port of the host that is free now, from the range that Docker uses (32768 to 60999).
///
/// The kernel picks at random, so that two containers started at once rarely get the same one.
pub fn free_port(ip: Ipv4Addr, protocol: Protocol) -> Result<u16, Error> {
    // Where the kernel lacks the transport nobody can hold a port of it.
    let Some(socket) = open(ip, 0, protocol)? else { return Ok(*EPHEMERAL_PORTS.start()) };
    rustix::net::bind(&socket, &SocketAddrV4::new(ip, 0))
        .map_err(|errno| failed(ip, 0, protocol, errno))?;
    let bound =
        rustix::net::getsockname(&socket).map_err(|errno| failed(ip, 0, protocol, errno))?;
    let picked = SocketAddrV4::try_from(bound).map_or(0, |address| address.port());
    if EPHEMERAL_PORTS.contains(&picked) {
        return Ok(picked);
    }
    // The administrator moved the kernel's range.
    for port in EPHEMERAL_PORTS {
        if probe_port(ip, port, protocol)? {
            return Ok(port);
        }
    }
    Err(Error::PortTaken { ip, port: 0 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_held_port_is_taken_and_free_again_afterwards() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let ip = Ipv4Addr::LOCALHOST;
            let port = free_port(ip, protocol).unwrap();
            assert!(EPHEMERAL_PORTS.contains(&port));
            let held = hold(ip, port, protocol).unwrap();
            assert!(held.is_some());
            assert!(!probe_port(ip, port, protocol).unwrap());
            let error = hold(ip, port, protocol).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("Bind for 127.0.0.1:{port} failed: port is already allocated")
            );
            drop(held);
            assert!(probe_port(ip, port, protocol).unwrap());
        }
    }

    #[test]
    fn a_program_that_listens_keeps_its_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!probe_port(Ipv4Addr::LOCALHOST, port, Protocol::Tcp).unwrap());
        assert!(!probe_port(Ipv4Addr::UNSPECIFIED, port, Protocol::Tcp).unwrap());
    }

    #[test]
    fn lingering_connections_do_not_keep_a_port() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        // The side that closes first lingers: here the server's.
        drop(listener.accept().unwrap());
        drop(client);
        drop(listener);
        let held = hold(Ipv4Addr::LOCALHOST, address.port(), Protocol::Tcp).unwrap();
        assert!(held.is_some());
        assert!(!probe_port(Ipv4Addr::LOCALHOST, address.port(), Protocol::Tcp).unwrap());
    }

    #[test]
    fn an_address_of_another_machine_cannot_be_bound() {
        let error = hold(Ipv4Addr::new(192, 0, 2, 200), 80, Protocol::Tcp).unwrap_err();
        assert_eq!(error.to_string(), "cannot bind host port 192.0.2.200:80/tcp");
        assert_eq!(error.kind(), orlop_types::ErrorKind::InvalidInput);
    }
}
