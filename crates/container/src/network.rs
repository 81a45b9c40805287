//! Gives containers their place on the network: subnet of the store, addresses, host ports.

use std::net::Ipv4Addr;
use std::path::Path;

use orlop_meta::{ContainerRecord, Durability, EndpointRecord, Query};
use orlop_net::{Bridge, Subnet, names, subnet};
use orlop_runtime::StartError;
use orlop_types::ParseError;
use orlop_types::network::{BridgePlan, NetworkPlan, Protocol, PublishedPort};
use orlop_types::port::PortRange;

use crate::ports::{self, PortRequest};
use crate::{Containers, Error, Result};

/// Name of the one network that there is besides `host` and `none`.
pub(crate) const BRIDGE_NETWORK: &str = "bridge";
/// Setting that holds the bridge's network, chosen when the first container needs it.
const SUBNET_SETTING: &str = "network.bridge.subnet";
/// Setting that holds the last address given away: addresses go round, so that a client with an
/// old one does not talk to a stranger.
const LAST_ADDRESS_SETTING: &str = "network.bridge.last-address";
/// Two stores must not choose one subnet at the same moment; this lock is the machine's.
const CHOICE_LOCK: &str = "/run/orlop-network.lock";
/// Size of packets on the bridge in bytes, as Ethernet's.
const MTU: u32 = 1500;
/// Ports for `-p 80`: the kernel's default range of ephemeral ports.
const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;
/// Ports that are tried before giving up.
const EPHEMERAL_ATTEMPTS: u16 = 512;

/// How a container is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkMode {
    Bridge,
    Host,
    None,
}

/// Reads `HostConfig.NetworkMode`.
pub(crate) fn parse_mode(text: &str) -> Result<NetworkMode, ParseError> {
    match text {
        "" | "default" | BRIDGE_NETWORK => Ok(NetworkMode::Bridge),
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        other => Err(ParseError::new(format!("network {other} not found"))),
    }
}

impl Containers<'_> {
    /// Decides the network of a container that is about to start and records address and ports.
    pub(crate) fn allocate(&self, container: &ContainerRecord) -> Result<NetworkPlan> {
        match parse_mode(&container.host_config.network_mode)? {
            NetworkMode::Host => return Ok(NetworkPlan::Host),
            NetworkMode::None => return Ok(NetworkPlan::None),
            NetworkMode::Bridge => {}
        }
        let bridge = self.bridge()?;
        let requests = ports::requests(&container.config, &container.host_config)?;
        let plan = match self.reserve(container, &bridge, &requests) {
            // A start that was cut off may hold what is missing.
            Err(_) if !self.undo_cut_starts()?.is_empty() => {
                self.reserve(container, &bridge, &requests)?
            }
            other => other?,
        };
        Ok(NetworkPlan::Bridge(plan))
    }

    /// Records an address and ports that nobody else has.
    fn reserve(
        &self,
        container: &ContainerRecord,
        bridge: &Bridge,
        requests: &[PortRequest],
    ) -> Result<BridgePlan> {
        self.store.write(Durability::Lazy, |query| {
            query.endpoint_delete(&container.id)?;
            let address = next_address(query, bridge)?;
            let ports = choose_ports(query, container, requests)?;
            let plan = BridgePlan {
                bridge: bridge.name.clone(),
                table: bridge.table.clone(),
                host_interface: names::interface_name(container.id.as_str()),
                mac: subnet::mac_of(address),
                address,
                prefix_len: bridge.prefix_len,
                gateway: bridge.gateway,
                mtu: bridge.mtu,
                ports,
            };
            query.endpoint_insert(&EndpointRecord {
                container: container.id.clone(),
                network: BRIDGE_NETWORK.to_owned(),
                plan: plan.clone(),
            })?;
            Ok::<_, Error>(plan)
        })
    }

    /// The store's bridge, if its network has been chosen; whether the kernel has it or not.
    pub(crate) fn known_bridge(&self, query: &Query<'_>) -> Result<Option<Bridge>> {
        let subnet = query.setting(SUBNET_SETTING)?.as_deref().and_then(parse_subnet);
        Ok(subnet.map(|subnet| bridge_of(&self.store.paths.root, &subnet)))
    }

    /// The store's bridge, present in the kernel.
    fn bridge(&self) -> Result<Bridge> {
        let root = &self.store.paths.root;
        if let Some(bridge) = self.store.read(|query| self.known_bridge(query))? {
            bridge.ensure()?;
            return Ok(bridge);
        }
        let lock = Path::new(CHOICE_LOCK);
        let file = std::fs::File::create(lock).map_err(crate::error::system("open", lock))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| crate::error::system("lock", lock)(error.into()))?;
        let subnet = subnet::choose(&subnet::in_use(&names::bridge_name(root))?)?;
        let bridge = bridge_of(root, &subnet);
        bridge.ensure()?;
        let text = format!("{}/{}", bridge.gateway, bridge.prefix_len);
        self.store.write(Durability::Durable, |query| query.setting_put(SUBNET_SETTING, &text))?;
        Ok(bridge)
    }
}

fn bridge_of(root: &Path, subnet: &Subnet) -> Bridge {
    Bridge {
        name: names::bridge_name(root),
        table: names::table_name(root),
        gateway: subnet.gateway(),
        prefix_len: subnet.prefix_len(),
        mtu: MTU,
    }
}

fn parse_subnet(text: &str) -> Option<Subnet> {
    let (address, prefix_len) = text.split_once('/')?;
    Some(Subnet::new(address.parse().ok()?, prefix_len.parse().ok()?))
}

fn next_address(query: &Query<'_>, bridge: &Bridge) -> Result<Ipv4Addr> {
    let last = query.setting(LAST_ADDRESS_SETTING)?.and_then(|text| text.parse().ok());
    let taken = query.addresses(BRIDGE_NETWORK)?;
    let subnet = Subnet::new(bridge.gateway, bridge.prefix_len);
    let address = orlop_net::next_address(&subnet, taken, last)?;
    query.setting_put(LAST_ADDRESS_SETTING, &address.to_string())?;
    Ok(address)
}

fn choose_ports(
    query: &Query<'_>,
    container: &ContainerRecord,
    requests: &[PortRequest],
) -> Result<Vec<PublishedPort>> {
    let mut ports: Vec<PublishedPort> = Vec::with_capacity(requests.len());
    for request in requests {
        let with = |host_port| PublishedPort {
            host_ip: request.host_ip,
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
            _ => return Err(port_taken(container, request).into()),
        }
    }
    Ok(ports)
}

fn port_taken(container: &ContainerRecord, request: &PortRequest) -> StartError {
    let wanted = match request.host_ports {
        None => "0".to_owned(),
        Some(range) if range.first == range.last => range.first.to_string(),
        Some(range) => format!("{}-{}", range.first, range.last),
    };
    StartError {
        exit_code: 125,
        message: format!(
            "driver failed programming external connectivity on endpoint {} ({}): Bind for {}:{} failed: \
             port is already allocated",
            container.name, container.id, request.host_ip, wanted
        ),
    }
}

/// A port that neither this store nor any program on the host uses.
fn free_port(query: &Query<'_>, request: &PortRequest, chosen: &[PublishedPort]) -> Option<u16> {
    let mut used = query.host_ports(request.protocol).ok()?;
    used.extend(chosen.iter().map(|port| port.host_port));
    let count = EPHEMERAL_PORTS.end() - EPHEMERAL_PORTS.start() + 1;
    let first: u16 = rand::random::<u16>() % count;
    (0..EPHEMERAL_ATTEMPTS)
        .map(|step| EPHEMERAL_PORTS.start() + (first + step) % count)
        .find(|port| !used.contains(port) && is_free(request.host_ip, *port, request.protocol))
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
    (range.first..=range.last)
        .find(|port| !used.contains(port) && is_free(request.host_ip, *port, request.protocol))
}

fn is_free(host_ip: Ipv4Addr, port: u16, protocol: Protocol) -> bool {
    orlop_net::probe_port(host_ip, port, protocol).unwrap_or(false)
}
