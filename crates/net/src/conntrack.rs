//! Forgetting UDP flows that the kernel tracks along an old way.
//!
//! A redirection is decided by a flow's first packet. UDP has no end, so a client that keeps sending
//! would be led to a container that is gone, or past a new one, for as long as it sends. TCP needs
//! none of this: its connections end with the container.

use std::net::Ipv4Addr;

use orlop_types::network::{Protocol, PublishedPort};

use crate::channel::{ACK, Channel};
use crate::wire::{Attributes, Message};

const UDP: u8 = 17;
/// Which parts of a tuple a filter compares.
const SOURCE_ADDRESS: u32 = 1;
const DESTINATION_ADDRESS: u32 = 1 << 1;
const PROTOCOL: u32 = 1 << 3;
const DESTINATION_PORT: u32 = 1 << 5;

/// Forgets the flows to these ports of the host, wherever they led.
pub(crate) fn forget_to(channel: &mut Channel, ports: &[PublishedPort]) {
    let udp = ports.iter().filter(|port| port.protocol == Protocol::Udp);
    let requests: Vec<_> = udp.map(|port| to_port(port.host_ip, port.host_port)).collect();
    send(channel, &requests);
}

/// Forgets the flows that were redirected to a container which is gone, if it had UDP ports at all.
pub(crate) fn forget_from(channel: &mut Channel, address: Ipv4Addr, ports: &[PublishedPort]) {
    if ports.iter().any(|port| port.protocol == Protocol::Udp) {
        send(channel, &[answered_by(address)]);
    }
}

/// Kernels before 6.10 cannot delete by such a filter: the flows then end when they fall silent.
fn send(channel: &mut Channel, requests: &[Message]) {
    // A filter in one request makes the kernel walk its whole table: keep the answers few.
    for requests in requests.chunks(100) {
        match channel.exchange(requests) {
            Ok(answers) => {
                if let Some(refusal) = answers.refusals.first() {
                    tracing::debug!(op = "conntrack", errno = %refusal.errno, "udp flows not forgotten");
                }
            }
            Err(error) => tracing::debug!(op = "conntrack", %error, "udp flows not forgotten"),
        }
    }
}

fn delete(attributes: &Attributes) -> Message {
    const SUBSYSTEM: u16 = 1;
    const DELETE: u16 = 2;
    const FAMILY_IPV4: u8 = 2;
    let mut body = vec![FAMILY_IPV4, 0, 0, 0];
    body.extend_from_slice(&attributes.0);
    Message { kind: (SUBSYSTEM << 8) | DELETE, flags: ACK, body }
}

/// Flows whose first packet went to this address (any if unspecified) and port.
fn to_port(ip: Ipv4Addr, port: u16) -> Message {
    let mut compared = PROTOCOL | DESTINATION_PORT;
    let protocol = Attributes::new().bytes(1, &[UDP]).bytes(3, &port.to_be_bytes());
    let mut tuple = Attributes::new();
    if !ip.is_unspecified() {
        compared |= DESTINATION_ADDRESS;
        tuple = tuple.nest(1, &Attributes::new().bytes(2, &ip.octets()));
    }
    let filter = Attributes::new().bytes(1, &compared.to_ne_bytes());
    delete(&Attributes::new().nest(1, &tuple.nest(2, &protocol)).nest(25, &filter))
}

/// Flows whose answers come from this address.
fn answered_by(address: Ipv4Addr) -> Message {
    let source = Attributes::new().bytes(1, &address.octets());
    let tuple = Attributes::new().nest(1, &source).nest(2, &Attributes::new().bytes(1, &[UDP]));
    let filter = Attributes::new().bytes(2, &(SOURCE_ADDRESS | PROTOCOL).to_ne_bytes());
    delete(&Attributes::new().nest(2, &tuple).nest(25, &filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_filter_on_protocol_and_destination() {
        let message = to_port(Ipv4Addr::UNSPECIFIED, 53);
        assert_eq!((message.kind, message.flags), (0x0102, ACK));
        let mut expected = vec![2, 0, 0, 0];
        expected.extend([24, 0, 1, 0x80, 20, 0, 2, 0x80]);
        expected.extend([5, 0, 1, 0, 17, 0, 0, 0, 6, 0, 3, 0, 0, 53, 0, 0]);
        expected.extend([12, 0, 25, 0x80, 8, 0, 1, 0]);
        expected.extend((PROTOCOL | DESTINATION_PORT).to_ne_bytes());
        assert_eq!(message.body, expected);
    }
}
