//! Which ports of the host lead to which ports of a container: from request to decision.

use std::net::Ipv4Addr;

use orlop_meta::{ContainerRecord, NetworkRecord, Query};
use orlop_runtime::StartError;
use orlop_types::ParseError;
use orlop_types::config::{Config, HostConfig};
use orlop_types::network::{Protocol, PublishedPort};
use orlop_types::port::PortRange;

use crate::network_settings::host_binding;
use crate::{Error, Result};

/// Ports for `-p 80`: the kernel's default range of ephemeral ports.
const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;
/// Ports that are tried before giving up.
const EPHEMERAL_ATTEMPTS: u16 = 512;

/// One port to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortRequest {
    pub(crate) container_port: u16,
    pub(crate) protocol: Protocol,
    /// Where on the host; the network decides where nothing is said.
    pub(crate) host_ip: Option<Ipv4Addr>,
    /// The one that is wanted, or those of which a free one is wanted; `None` for any.
    pub(crate) host_ports: Option<PortRange>,
}

/// Reads `80/tcp`; the protocol is TCP unless said.
pub(crate) fn parse_container_port(text: &str) -> Result<(u16, Protocol), ParseError> {
    let invalid = || ParseError::new(format!("invalid containerPort: {text}"));
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(invalid()),
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok((port, protocol)),
        _ => Err(invalid()),
    }
}

/// Every port that a container asks to publish, in a fixed order.
pub(crate) fn requests(
    config: &Config,
    host_config: &HostConfig,
) -> Result<Vec<PortRequest>, ParseError> {
    let mut requests = Vec::new();
    for (container, bindings) in &host_config.port_bindings {
        let (container_port, protocol) = parse_container_port(container)?;
        for binding in bindings.iter().flatten() {
            requests.push(PortRequest {
                container_port,
                protocol,
                host_ip: parse_host_ip(&binding.host_ip)?,
                host_ports: parse_host_ports(&binding.host_port)?,
            });
        }
    }
    if host_config.publish_all_ports {
        for container in config.exposed_ports.iter().flat_map(|set| set.keys()) {
            if host_config.port_bindings.contains_key(container) {
                continue;
            }
            let (container_port, protocol) = parse_container_port(container)?;
            requests.push(PortRequest {
                container_port,
                protocol,
                host_ip: None,
                host_ports: None,
            });
        }
    }
    requests.sort();
    requests.dedup();
    Ok(requests)
}

fn parse_host_ip(text: &str) -> Result<Option<Ipv4Addr>, ParseError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(ParseError::new(format!(
            "cannot publish on `{text}`: the bridge has IPv4 addresses only"
        )));
    }
    text.parse().map(Some).map_err(|_| ParseError::new(format!("invalid IP address: {text}")))
}

/// Reads `8080`, or `8080-8090`; nothing and `0` ask for any port.
fn parse_host_ports(text: &str) -> Result<Option<PortRange>, ParseError> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    match PortRange::parse(text) {
        Ok(range) if range.first > 0 => Ok(Some(range)),
        _ => Err(ParseError::new(format!("invalid hostPort: {text}"))),
    }
}

/// Decides the ports of a container on the network that they lead in by.
pub(crate) fn choose_ports(
    query: &Query<'_>,
    container: &ContainerRecord,
    requests: &[PortRequest],
    network: &NetworkRecord,
) -> Result<Vec<PublishedPort>> {
    let named = requests.iter().map(|request| PortRequest {
        host_ip: Some(request.host_ip.unwrap_or_else(|| host_binding(network))),
        ..*request
    });
    let requests: Vec<PortRequest> = named.collect();
    let host_ip = |request: &PortRequest| request.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let mut ports: Vec<PublishedPort> = Vec::with_capacity(requests.len());
    for request in &requests {
        let with = |host_port| PublishedPort {
            host_ip: host_ip(request),
            host_port,
            container_port: request.container_port,
            protocol: request.protocol,
        };
        let port = match request.host_ports {
            None => free_port(query, request, &ports),
            Some(range) if range.first == range.last => Some(range.first),
            Some(range) => free_port_of(query, request, &ports, range),
        }
        .map(with);
        let free = match &port {
            Some(port) => query.port_owner(port)?.is_none(),
            None => false,
        };
        match port {
            Some(port) if free => ports.push(port),
            _ => return Err(port_taken(container, request)),
        }
    }
    Ok(ports)
}

fn port_taken(container: &ContainerRecord, request: &PortRequest) -> Error {
    let wanted = match request.host_ports {
        None => "0".to_owned(),
        Some(range) if range.first == range.last => range.first.to_string(),
        Some(range) => format!("{}-{}", range.first, range.last),
    };
    Error::Start(StartError {
        exit_code: 125,
        message: format!(
            "driver failed programming external connectivity on endpoint {} ({}): Bind for {}:{} failed: \
             port is already allocated",
            container.name,
            container.id,
            request.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED),
            wanted
        ),
    })
}

/// A port that neither this store nor any program on the host uses.
fn free_port(query: &Query<'_>, request: &PortRequest, chosen: &[PublishedPort]) -> Option<u16> {
    let mut used = query.host_ports(request.protocol).ok()?;
    used.extend(chosen.iter().map(|port| port.host_port));
    let count = EPHEMERAL_PORTS.end() - EPHEMERAL_PORTS.start() + 1;
    let first: u16 = rand::random::<u16>() % count;
    (0..EPHEMERAL_ATTEMPTS)
        .map(|step| EPHEMERAL_PORTS.start() + (first + step) % count)
        .find(|port| !used.contains(port) && is_free(request, *port))
}

/// The lowest free port of a range.
fn free_port_of(
    query: &Query<'_>,
    request: &PortRequest,
    chosen: &[PublishedPort],
    range: PortRange,
) -> Option<u16> {
    let mut used = query.host_ports(request.protocol).ok()?;
    used.extend(chosen.iter().map(|port| port.host_port));
    (range.first..=range.last).find(|port| !used.contains(port) && is_free(request, *port))
}

fn is_free(request: &PortRequest, port: u16) -> bool {
    let host_ip = request.host_ip.unwrap_or(Ipv4Addr::UNSPECIFIED);
    orlop_net::probe_port(host_ip, port, request.protocol).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_types::config::{Empty, PortBinding};

    #[test]
    fn published_and_exposed_ports_become_requests() {
        let mut host_config = HostConfig { publish_all_ports: true, ..HostConfig::default() };
        let binding = PortBinding { host_ip: "127.0.0.1".to_owned(), host_port: "8080".to_owned() };
        host_config.port_bindings.insert("80/tcp".to_owned(), Some(vec![binding.clone(), binding]));
        let exposed = ["80/tcp", "53/udp"].map(|port| (port.to_owned(), Empty {})).into();
        let config = Config { exposed_ports: Some(exposed), ..Config::default() };
        let made = requests(&config, &host_config).expect("valid");
        assert_eq!(made.len(), 2);
        assert_eq!(
            (made[0].container_port, made[0].protocol, made[0].host_ports),
            (53, Protocol::Udp, None)
        );
        let one = Some(PortRange { first: 8080, last: 8080 });
        assert_eq!((made[1].host_ip, made[1].host_ports), (Some(Ipv4Addr::LOCALHOST), one));
    }

    #[test]
    fn host_ports_are_one_or_a_range_or_any() {
        let range = |first, last| Some(PortRange { first, last });
        for (text, want) in
            [("", None), ("0", None), ("80", range(80, 80)), ("80-82", range(80, 82))]
        {
            assert_eq!(parse_host_ports(text), Ok(want), "{text}");
        }
        for bad in ["x", "82-80", "0-3", "70000", "1-70000"] {
            assert!(parse_host_ports(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_ports_are_refused() {
        for bad in ["", "0", "65536", "80/icmp", "x/tcp"] {
            assert!(parse_container_port(bad).is_err(), "{bad}");
        }
    }
}
