//! Networks: modes, end points and what of them the monitor carries out.
//!
//! The engine decides (addresses, interfaces, ports) and writes [`NetworkPlan`] and [`NetworkState`];
//! the monitor carries them out. [`EndpointSettings`] and [`NetworkingConfig`] are Docker's JSON.

mod flags;
mod id;
mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use flags::{NetworkFlags, NetworkOption, NetworkRequest, parse_mac};
pub use id::NetworkId;
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
    /// The namespace of another container's first process.
    Container {
        /// Its pid on the host.
        pid: i32,
        /// When it was started, in clock ticks since boot; with the pid, its identity.
        start_ticks: u64,
    },
    /// A namespace of its own, with an interface on each of its networks.
    Private {
        /// Where [`NetworkState`] is kept as long as the container runs.
        state: PathBuf,
    },
}

/// What a running container has on its networks: `network.json` in its run directory.
///
/// Written by the engine before the start and when a network is connected or disconnected, each time
/// under a temporary name and renamed; read by the monitor when it sets up, takes down and answers
/// questions about names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// One for each network.
    pub endpoints: Vec<BridgePlan>,
    /// How names are resolved; nothing on the default bridge alone.
    pub resolver: Option<ResolverPlan>,
}

/// An end point on a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePlan {
    /// Name of the bridge interface on the host.
    pub bridge: String,
    /// Name of the nftables table that holds this network's rules.
    pub table: String,
    /// Name of the host's end of the pair (at most 15 bytes).
    pub host_interface: String,
    /// Name of the container's end: `eth0`, `eth1`, ….
    pub interface: String,
    /// Hardware address of the container's end.
    pub mac: [u8; 6],
    /// Address of the container's end.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix_len: u8,
    /// The network's gateway, if it leads anywhere.
    pub gateway: Option<Ipv4Addr>,
    /// Whether the container's default route goes this way.
    pub default_route: bool,
    /// Whether the other containers on the bridge are out of reach.
    pub isolated: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Ports led in from the host.
    pub ports: Vec<PublishedPort>,
    /// File that tells the network's other containers the names of this one ([`NameRecord`]).
    pub names: Option<PathBuf>,
}

/// How a container's names are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverPlan {
    /// The networks whose containers have names here.
    pub networks: Vec<NamedNetwork>,
    /// Names that only this container knows, and what each stands for.
    pub links: BTreeMap<String, String>,
    /// Name servers for everything else, in order.
    pub servers: Vec<NameServer>,
}

/// A network whose containers have names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedNetwork {
    /// Its name, which may follow that of a container.
    pub name: String,
    /// Directory with one [`NameRecord`] for each running container.
    pub records: PathBuf,
}

/// A name server outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServer {
    /// Where it listens, on port 53.
    pub address: IpAddr,
    /// Whether it is asked from the host's namespace (a loopback address of the host).
    pub from_host: bool,
}

/// What a network's containers know of one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// Its address on this network.
    pub address: Ipv4Addr,
    /// Its names, the container's own first.
    pub names: Vec<String>,
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
