//! Commands about networks.

use clap::{Args, Subcommand};

use super::{InspectOne, Listing};

/// The group `network`.
#[derive(Debug, Subcommand)]
pub enum NetworkGroup {
    /// Connect a container to a network
    Connect(ConnectNetwork),
    /// Create a network
    Create(CreateNetwork),
    /// Disconnect a container from a network
    Disconnect(DisconnectNetwork),
    /// Display detailed information on one or more networks
    Inspect(InspectNetwork),
    /// List networks
    #[command(alias = "list")]
    Ls(ListNetworks),
    /// Remove all unused networks
    Prune(PruneNetworks),
    /// Remove one or more networks
    #[command(alias = "remove")]
    Rm(RemoveNetworks),
}

/// `network create`
#[derive(Debug, Args)]
pub struct CreateNetwork {
    /// Let containers be connected by hand
    #[arg(long)]
    pub attachable: bool,
    /// Addresses that are never given: NAME=ADDRESS
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub aux_address: Vec<String>,
    /// Network to copy the configuration from
    #[arg(long, value_name = "NETWORK", hide = true)]
    pub config_from: Option<String>,
    /// Create a configuration only
    #[arg(long, hide = true)]
    pub config_only: bool,
    /// Driver of the network
    #[arg(short, long, value_name = "DRIVER", default_value = "bridge")]
    pub driver: String,
    /// Address of the bridge
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub gateway: Vec<String>,
    /// Create the routing mesh of a swarm
    #[arg(long, hide = true)]
    pub ingress: bool,
    /// Let containers reach nothing outside
    #[arg(long)]
    pub internal: bool,
    /// Part of the subnet from which addresses are given
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    pub ip_range: Vec<String>,
    /// Driver of address management
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    pub ipam_driver: String,
    /// Options of address management
    #[arg(long, value_name = "NAME=VALUE")]
    pub ipam_opt: Vec<String>,
    /// Give IPv4 addresses
    #[arg(
        long, hide_possible_values = true, value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set
    )]
    pub ipv4: Option<bool>,
    /// Give IPv6 addresses
    #[arg(long)]
    pub ipv6: bool,
    /// Set labels
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub label: Vec<String>,
    /// Set options of the driver
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub opt: Vec<String>,
    /// Scope of the network
    #[arg(long, value_name = "SCOPE", hide = true)]
    pub scope: Option<String>,
    /// Subnet, as address/length
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    pub subnet: Vec<String>,
    /// Name of the network
    #[arg(value_name = "NETWORK")]
    pub name: String,
}

/// `port`
#[derive(Debug, Args)]
pub struct Port {
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// Only this port of the container
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    pub port: Option<String>,
}

/// `network connect`
#[derive(Debug, Args)]
pub struct ConnectNetwork {
    /// Further names of the container on the network
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub alias: Vec<String>,
    /// Options of the driver
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    pub driver_opt: Vec<String>,
    /// The network with the highest number has the default route
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub gw_priority: i64,
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Make another container known: CONTAINER[:ALIAS]
    #[arg(long, value_name = "LINK")]
    pub link: Vec<String>,
    /// Link-local addresses
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub link_local_ip: Vec<String>,
    /// Name or id of the network
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `network disconnect`
#[derive(Debug, Args)]
pub struct DisconnectNetwork {
    /// Also from a network that is gone
    #[arg(short, long)]
    pub force: bool,
    /// Name or id of the network
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `network inspect`
#[derive(Debug, Args)]
pub struct InspectNetwork {
    /// Show more, for networks of a swarm
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub inspect: InspectOne,
}

/// `network ls`
#[derive(Debug, Args)]
pub struct ListNetworks {
    #[command(flatten)]
    pub list: Listing,
    /// Show ids in full
    #[arg(long)]
    pub no_trunc: bool,
}

/// `network prune`
#[derive(Debug, Args)]
pub struct PruneNetworks {
    /// Only what matches, as `name=value`; may be repeated
    #[arg(long = "filter", value_name = "FILTER")]
    pub filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// `network rm`
#[derive(Debug, Args)]
pub struct RemoveNetworks {
    /// Do not mind networks that are not there
    #[arg(short, long)]
    pub force: bool,
    /// Names or ids
    #[arg(value_name = "NETWORK", required = true)]
    pub names: Vec<String>,
}
