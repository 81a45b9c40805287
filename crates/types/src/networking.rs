//! Docker's `NetworkingConfig`: what a container asks of each network it joins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The networks of a new container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkingConfig {
    /// Settings by network name or id.
    pub endpoints_config: BTreeMap<String, EndpointSettings>,
}

/// What is asked for on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndpointSettings {
    /// Addresses that were chosen by hand.
    #[serde(rename = "IPAMConfig")]
    pub ipam_config: Option<EndpointIpamConfig>,
    /// Links on a user-defined network, `container[:alias]`.
    pub links: Option<Vec<String>>,
    /// Further names of the container on this network.
    pub aliases: Option<Vec<String>>,
    /// Hardware address; empty lets the engine choose.
    pub mac_address: String,
    /// Options of the network's driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// Which network gives the default gateway: the highest number.
    pub gw_priority: i64,
}

/// Addresses that were chosen by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointIpamConfig {
    /// IPv4 address, empty for none.
    #[serde(rename = "IPv4Address", skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// IPv6 address, empty for none.
    #[serde(rename = "IPv6Address", skip_serializing_if = "String::is_empty")]
    pub ipv6_address: String,
    /// Link-local addresses.
    #[serde(rename = "LinkLocalIPs", skip_serializing_if = "Option::is_none")]
    pub link_local_ips: Option<Vec<String>>,
}
