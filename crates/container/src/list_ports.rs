//! The ports of a container in one line, grouped as Docker groups them.

use std::net::Ipv4Addr;

use orlop_types::network::{Protocol, PublishedPort};

use crate::ports::parse_container_port;

/// A port of a container, published or only exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListedPort {
    /// Port in the container.
    pub(crate) container_port: u16,
    /// Where it is published: address and port of the host.
    pub(crate) host: Option<(Ipv4Addr, u16)>,
    /// Transport.
    pub(crate) protocol: Protocol,
}

/// Published ports, and those that are only exposed, in Docker's order.
pub(crate) fn listed<'a>(
    published: &[PublishedPort],
    exposed: impl Iterator<Item = &'a str>,
) -> Vec<ListedPort> {
    let mut ports: Vec<ListedPort> = published
        .iter()
        .map(|port| ListedPort {
            container_port: port.container_port,
            host: Some((port.host_ip, port.host_port)),
            protocol: port.protocol,
        })
        .collect();
    for text in exposed {
        let Ok((container_port, protocol)) = parse_container_port(text) else { continue };
        let is_published = published
            .iter()
            .any(|port| port.container_port == container_port && port.protocol == protocol);
        if !is_published {
            ports.push(ListedPort { container_port, host: None, protocol });
        }
    }
    ports.sort();
    ports.dedup();
    ports
}

/// Neighbouring ports that are published under their own numbers, or not at all.
struct Group {
    address: Option<Ipv4Addr>,
    protocol: Protocol,
    first: u16,
    last: u16,
}

impl Group {
    fn text(&self) -> String {
        let Self { address, protocol, first, last } = self;
        let numbers = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let protocol = protocol.as_str();
        match address {
            Some(address) => format!("{address}:{numbers}->{numbers}/{protocol}"),
            None => format!("{numbers}/{protocol}"),
        }
    }
}

/// `81/tcp, 0.0.0.0:8000-8002->8000-8002/tcp, 0.0.0.0:8099->80/tcp`
pub(crate) fn text(ports: &[ListedPort]) -> String {
    let (mut done, mut mapped) = (Vec::new(), Vec::new());
    let mut groups: Vec<Group> = Vec::new();
    for port in ports {
        let number = port.container_port;
        if let Some((address, host_port)) = port.host
            && host_port != number
        {
            mapped.push(format!("{address}:{host_port}->{number}/{}", port.protocol.as_str()));
            continue;
        }
        let address = port.host.map(|(address, _)| address);
        let same = |group: &&mut Group| group.address == address && group.protocol == port.protocol;
        match groups.iter_mut().find(same) {
            Some(group) if group.last.checked_add(1) == Some(number) => group.last = number,
            Some(group) => {
                done.push(group.text());
                (group.first, group.last) = (number, number);
            }
            None => {
                groups.push(Group {
                    address,
                    protocol: port.protocol,
                    first: number,
                    last: number,
                });
            }
        }
    }
    done.extend(groups.iter().map(Group::text));
    done.extend(mapped);
    done.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(host_ip: [u8; 4], host_port: u16, container_port: u16) -> PublishedPort {
        let (host_ip, protocol) = (host_ip.into(), Protocol::Tcp);
        PublishedPort { host_ip, host_port, container_port, protocol }
    }

    #[test]
    fn ports_are_grouped_as_docker_groups_them() {
        let any = [0, 0, 0, 0];
        for (ports, exposed, want) in [
            (vec![], vec![], ""),
            (vec![], vec!["443/tcp", "80/tcp", "81/tcp", "81/udp"], "80-81/tcp, 443/tcp, 81/udp"),
            (
                vec![published(any, 8099, 80)],
                vec!["80/tcp", "81/tcp"],
                "81/tcp, 0.0.0.0:8099->80/tcp",
            ),
            (
                (8000..8003).map(|port| published(any, port, port)).collect(),
                vec![],
                "0.0.0.0:8000-8002->8000-8002/tcp",
            ),
            (
                vec![published([127, 0, 0, 1], 18081, 80)],
                vec!["90/tcp", "80/tcp", "nonsense"],
                "90/tcp, 127.0.0.1:18081->80/tcp",
            ),
        ] {
            assert_eq!(text(&listed(&ports, exposed.into_iter())), want);
        }
    }
}
