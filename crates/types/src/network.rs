//! Networks: modes, end points and what of them the monitor carries out.
//!
//! The engine decides (addresses, interfaces, ports) and writes a [`NetworkPlan`];
//! the monitor carries them out. [`EndpointSettings`] and [`NetworkingConfig`] are Docker's JSON.

mod flags;
mod settings;

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

pub use flags::{NetworkFlags, NetworkOption, NetworkRequest};
pub use settings::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};

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

/// `HostConfig.NetworkMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkMode<'a> {
    /// The network `bridge`: empty, `default` or `bridge`.
    Bridge,
    /// The host's own network.
    Host,
    /// Nothing but loopback.
    None,
    /// `container:NAME|ID`: the network of another container.
    Container(&'a str),
    /// A network that somebody created, by name or id.
    User(&'a str),
}

impl<'a> NetworkMode<'a> {
    /// Reads the mode; every text is one, as any other word names a network.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        match text {
            "" | "default" | "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            other => match other.strip_prefix("container:") {
                Some(container) => Self::Container(container),
                None => Self::User(other),
            },
        }
    }

    /// Whether it is a network that somebody created.
    #[must_use]
    pub fn is_user_defined(&self) -> bool {
        matches!(self, Self::User(_))
    }

    /// Name (or id) of the network; none for `container:…`.
    #[must_use]
    pub fn network(&self) -> Option<&'a str> {
        match self {
            Self::Bridge => Some("bridge"),
            Self::Host => Some("host"),
            Self::None => Some("none"),
            Self::Container(_) => None,
            Self::User(name) => Some(name),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_a_mode() {
        for (text, want) in [
            ("", NetworkMode::Bridge),
            ("default", NetworkMode::Bridge),
            ("bridge", NetworkMode::Bridge),
            ("host", NetworkMode::Host),
            ("none", NetworkMode::None),
            ("container:db", NetworkMode::Container("db")),
            ("shop", NetworkMode::User("shop")),
        ] {
            assert_eq!(NetworkMode::of(text), want, "{text}");
        }
        assert_eq!(NetworkMode::of("default").network(), Some("bridge"));
        assert_eq!(NetworkMode::of("container:x").network(), None);
    }
}
