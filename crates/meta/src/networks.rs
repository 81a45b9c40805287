//! Rows of networks, of what containers are connected to, and of the end points of running ones.
//!
//! A container that does not run keeps no network from being removed: its connections name a network
//! that may be gone, or made anew under the name.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use orlop_types::ContainerId;
use orlop_types::network::{BridgePlan, EndpointSettings, NetworkId, Protocol, PublishedPort};
use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::database::{json, parsed, to_json};
use crate::{Query, Result};

/// What was asked of a network, and what was decided about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSettings {
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// The network in `address/length`; none for `host`, `none`, and the default bridge that nobody
    /// has used yet.
    pub subnet: Option<String>,
    /// The bridge's own address.
    pub gateway: Option<Ipv4Addr>,
    /// Part of the network from which addresses are given.
    pub ip_range: Option<String>,
    /// Addresses that are never given, by name.
    pub aux_addresses: BTreeMap<String, String>,
    /// Whether the user chose the network.
    pub subnet_is_chosen: bool,
    /// Whether the user chose the gateway.
    pub gateway_is_chosen: bool,
    /// Options of address management as given.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// Whether it leads nowhere but to the host.
    pub internal: bool,
    /// Whether containers may be connected by hand; always so here.
    pub attachable: bool,
    /// Options of the driver as given.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name of the bridge interface; empty without one.
    pub bridge: String,
    /// Name of the nftables table; empty without one.
    pub table: String,
}

/// One network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRecord {
    /// Id.
    pub id: NetworkId,
    /// Name.
    pub name: String,
    /// Everything else.
    pub settings: NetworkSettings,
    /// RFC 3339 time.
    pub created_at: String,
}

/// That a container belongs on a network whenever it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRecord {
    /// The network by name, as it was at the time.
    pub network: String,
    /// What is asked for.
    pub settings: EndpointSettings,
}

/// The network end point of a running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRecord {
    /// Whose it is.
    pub container: ContainerId,
    /// Which network.
    pub network: NetworkId,
    /// Id of the end point, 64 digits.
    pub id: String,
    /// Everything about it.
    pub plan: BridgePlan,
}

fn network(row: &rusqlite::Row<'_>) -> rusqlite::Result<NetworkRecord> {
    Ok(NetworkRecord {
        id: parsed(row, "id")?,
        name: row.get("name")?,
        settings: json(row, "settings")?,
        created_at: row.get("created_at")?,
    })
}

fn endpoint(row: &rusqlite::Row<'_>) -> rusqlite::Result<EndpointRecord> {
    Ok(EndpointRecord {
        container: parsed(row, "container")?,
        network: parsed(row, "network")?,
        id: row.get("id")?,
        plan: json(row, "plan")?,
    })
}

impl Query<'_> {
    /// Adds a network; a taken name is a constraint error.
    pub fn network_insert(&self, network: &NetworkRecord) -> Result<()> {
        self.change(
            "add a network",
            "INSERT INTO networks (id, name, settings, created_at) VALUES (?1, ?2, ?3, ?4)",
            params![
                network.id.as_str(),
                network.name,
                to_json("a network", &network.settings)?,
                network.created_at
            ],
        )
        .map(drop)
    }

    /// Replaces a network's settings.
    pub fn network_set(&self, id: &NetworkId, settings: &NetworkSettings) -> Result<()> {
        self.change(
            "change a network",
            "UPDATE networks SET settings = ?2 WHERE id = ?1",
            params![id.as_str(), to_json("a network", settings)?],
        )
        .map(drop)
    }

    /// Every network, by name.
    pub fn networks(&self) -> Result<Vec<NetworkRecord>> {
        self.rows("list networks", "SELECT * FROM networks ORDER BY name", [], network)
    }

    /// The network of that id.
    pub fn network(&self, id: &NetworkId) -> Result<Option<NetworkRecord>> {
        self.row(
            "read a network",
            "SELECT * FROM networks WHERE id = ?1",
            params![id.as_str()],
            network,
        )
    }

    /// The network of that name.
    pub fn network_by_name(&self, name: &str) -> Result<Option<NetworkRecord>> {
        self.row("read a network", "SELECT * FROM networks WHERE name = ?1", params![name], network)
    }

    /// Networks whose id begins with `prefix`, two at most.
    pub fn networks_by_prefix(&self, prefix: &str) -> Result<Vec<NetworkRecord>> {
        self.rows(
            "look up a network",
            "SELECT * FROM networks WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2",
            params![prefix],
            network,
        )
    }

    /// Removes the row; a network with end points is a constraint error.
    pub fn network_delete(&self, id: &NetworkId) -> Result<bool> {
        self.change("remove a network", "DELETE FROM networks WHERE id = ?1", params![id.as_str()])
            .map(|changed| changed > 0)
    }

    /// The last address that was given on a network.
    pub fn network_last_address(&self, id: &NetworkId) -> Result<Option<Ipv4Addr>> {
        let text: Option<Option<String>> = self.row(
            "read a network",
            "SELECT last_address FROM networks WHERE id = ?1",
            params![id.as_str()],
            |row| row.get(0),
        )?;
        Ok(text.flatten().and_then(|text| text.parse().ok()))
    }

    /// Keeps the last address that was given on a network.
    pub fn network_set_last_address(&self, id: &NetworkId, address: Ipv4Addr) -> Result<()> {
        self.change(
            "change a network",
            "UPDATE networks SET last_address = ?2 WHERE id = ?1",
            params![id.as_str(), address.to_string()],
        )
        .map(drop)
    }

    /// Connects a container to a network, or replaces what is asked for there.
    pub fn connection_put(&self, id: &ContainerId, connection: &ConnectionRecord) -> Result<()> {
        self.change(
            "connect a container",
            "INSERT INTO container_networks (container, network, settings) VALUES (?1, ?2, ?3)
             ON CONFLICT (container, network) DO UPDATE SET settings = excluded.settings",
            params![
                id.as_str(),
                connection.network,
                to_json("a connection", &connection.settings)?
            ],
        )
        .map(drop)
    }

    /// What a container is connected to, in the order it was.
    pub fn connections(&self, id: &ContainerId) -> Result<Vec<ConnectionRecord>> {
        self.rows(
            "list a container's networks",
            "SELECT * FROM container_networks WHERE container = ?1 ORDER BY position",
            params![id.as_str()],
            |row| {
                Ok(ConnectionRecord {
                    network: row.get("network")?,
                    settings: json(row, "settings")?,
                })
            },
        )
    }

    /// Disconnects a container; says whether it was connected.
    pub fn connection_delete(&self, id: &ContainerId, network: &str) -> Result<bool> {
        self.change(
            "disconnect a container",
            "DELETE FROM container_networks WHERE container = ?1 AND network = ?2",
            params![id.as_str(), network],
        )
        .map(|changed| changed > 0)
    }

    /// Addresses in use on a network.
    pub fn addresses(&self, network: &NetworkId) -> Result<Vec<Ipv4Addr>> {
        self.rows(
            "list addresses",
            "SELECT address FROM endpoints WHERE network = ?1",
            params![network.as_str()],
            |row| parsed(row, "address"),
        )
    }

    /// Gives a container an end point; a taken address or port is a constraint error.
    pub fn endpoint_insert(&self, endpoint: &EndpointRecord) -> Result<()> {
        self.change(
            "add an end point",
            "INSERT INTO endpoints (container, network, id, address, plan) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                endpoint.container.as_str(),
                endpoint.network.as_str(),
                endpoint.id,
                endpoint.plan.address.to_string(),
                to_json("an end point", &endpoint.plan)?
            ],
        )?;
        self.ports_insert(&endpoint.container, &endpoint.plan.ports)
    }

    /// Replaces the plan of an end point; its ports are the container's already.
    pub fn endpoint_set_plan(&self, endpoint: &EndpointRecord) -> Result<()> {
        self.change(
            "change an end point",
            "UPDATE endpoints SET plan = ?3 WHERE container = ?1 AND network = ?2",
            params![
                endpoint.container.as_str(),
                endpoint.network.as_str(),
                to_json("an end point", &endpoint.plan)?
            ],
        )
        .map(drop)
    }

    fn ports_insert(&self, container: &ContainerId, ports: &[PublishedPort]) -> Result<()> {
        for port in ports {
            self.change(
                "publish a port",
                "INSERT INTO published_ports (container, protocol, host_ip, host_port) VALUES (?1, ?2, ?3, ?4)",
                params![
                    container.as_str(),
                    port.protocol.as_str(),
                    port.host_ip.to_string(),
                    port.host_port
                ],
            )?;
        }
        Ok(())
    }

    /// The end points of a container.
    pub fn endpoints(&self, id: &ContainerId) -> Result<Vec<EndpointRecord>> {
        self.rows(
            "read end points",
            "SELECT * FROM endpoints WHERE container = ?1 ORDER BY rowid",
            params![id.as_str()],
            endpoint,
        )
    }

    /// The end points on a network.
    pub fn endpoints_of_network(&self, id: &NetworkId) -> Result<Vec<EndpointRecord>> {
        self.rows(
            "list end points",
            "SELECT * FROM endpoints WHERE network = ?1 ORDER BY container",
            params![id.as_str()],
            endpoint,
        )
    }

    /// Takes one end point of a container away; its ports stay its.
    pub fn endpoint_delete(&self, id: &ContainerId, network: &NetworkId) -> Result<bool> {
        self.change(
            "remove an end point",
            "DELETE FROM endpoints WHERE container = ?1 AND network = ?2",
            params![id.as_str(), network.as_str()],
        )
        .map(|changed| changed > 0)
    }

    /// Takes a container's end points and published ports away.
    pub fn endpoints_delete(&self, id: &ContainerId) -> Result<()> {
        self.change(
            "remove end points",
            "DELETE FROM endpoints WHERE container = ?1",
            params![id.as_str()],
        )?;
        self.change(
            "remove published ports",
            "DELETE FROM published_ports WHERE container = ?1",
            params![id.as_str()],
        )
        .map(drop)
    }

    /// The container that already publishes a port that `port` would clash with: the same one, or
    /// the same number where either is on every address.
    pub fn port_owner(&self, port: &PublishedPort) -> Result<Option<ContainerId>> {
        let any = Ipv4Addr::UNSPECIFIED.to_string();
        self.row(
            "look for a port's owner",
            "SELECT container FROM published_ports
             WHERE protocol = ?1 AND host_port = ?2 AND (host_ip = ?3 OR host_ip = ?4 OR ?3 = ?4) LIMIT 1",
            params![port.protocol.as_str(), port.host_port, port.host_ip.to_string(), any],
            |row| parsed(row, "container"),
        )
    }

    /// Host ports in use for a protocol, on any address.
    pub fn host_ports(&self, protocol: Protocol) -> Result<Vec<u16>> {
        self.rows(
            "list published ports",
            "SELECT host_port FROM published_ports WHERE protocol = ?1",
            params![protocol.as_str()],
            |row| row.get(0),
        )
    }
}
