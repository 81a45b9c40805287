//! What a container's network is to be: decided by the engine, carried out by the monitor.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Transport protocol of a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The lower-case word that Docker uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// One port on the host that leads to one port of the container; both are decided.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Address on the host; `0.0.0.0` is every one.
    pub host_ip: Ipv4Addr,
    /// Port on the host, never 0.
    pub host_port: u16,
    /// Port in the container.
    pub container_port: u16,
    /// Transport.
    pub protocol: Protocol,
}

/// The network of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
pub enum NetworkPlan {
    /// The host's own network namespace.
    Host,
    /// A namespace with nothing but loopback.
    None,
    /// A namespace with `eth0` on a bridge.
    Bridge(BridgePlan),
}

/// An end point on a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePlan {
    /// Name of the bridge interface on the host.
    pub bridge: String,
    /// Name of the nftables table that holds this root's rules.
    pub table: String,
    /// Name of the host's end of the pair (at most 15 bytes).
    pub host_interface: String,
    /// Hardware address of `eth0`.
    pub mac: [u8; 6],
    /// Address of `eth0`.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix_len: u8,
    /// Default gateway: the bridge's address.
    pub gateway: Ipv4Addr,
    /// MTU in bytes.
    pub mtu: u32,
    /// Ports led in from the host.
    pub ports: Vec<PublishedPort>,
}
