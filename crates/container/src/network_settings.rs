//! What follows from a network's settings: its bridge, its pool of addresses; and which settings are
//! possible at all. Pure functions.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use orlop_meta::{NetworkRecord, NetworkSettings};
use orlop_net::{Bridge, Reach, Subnet, names};
use orlop_types::ParseError;

use crate::{Error, Result};

/// The network of containers that name none.
pub(crate) const DEFAULT_BRIDGE: &str = "bridge";
/// The networks that are always there, with their drivers.
pub(crate) const PREDEFINED: [(&str, &str); 3] =
    [(DEFAULT_BRIDGE, "bridge"), ("host", "host"), ("none", "null")];
/// Size of packets in bytes, as Ethernet's.
const DEFAULT_MTU: u32 = 1500;
/// IPv4 needs the lower, IPv4's length field ends at the upper.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Options of the bridge driver.
const NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const GATEWAY_MODE: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";
const DEFAULT_FLAG: &str = "com.docker.network.bridge.default_bridge";

/// Why the networks are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Containers come onto networks and leave them.
    Use,
    /// Networks come and go.
    Change,
}

/// One subnet as it is asked for (Docker's `IPAMConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpamRequest {
    /// `address/length`.
    pub subnet: String,
    /// Part of it from which addresses are given.
    pub ip_range: String,
    /// The bridge's own address.
    pub gateway: String,
    /// Addresses that are never given, by name.
    pub aux_addresses: BTreeMap<String, String>,
}

/// A network that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// Its driver; empty is `bridge`.
    pub driver: String,
    /// Its subnets; none lets the engine choose.
    pub subnets: Vec<IpamRequest>,
    /// Driver of address management; empty is `default`.
    pub ipam_driver: String,
    /// Options of address management.
    pub ipam_options: Option<BTreeMap<String, String>>,
    /// Whether it leads nowhere but to the host.
    pub internal: bool,
    /// Whether containers may be connected by hand.
    pub attachable: bool,
    /// Whether IPv6 is asked for.
    pub ipv6: bool,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// The addresses of a network.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) subnet: Subnet,
    /// From which addresses are given.
    pub(crate) range: Subnet,
    /// Never given: the gateway's and those set aside.
    pub(crate) reserved: Vec<Ipv4Addr>,
}

impl Pool {
    /// Reads a network's pool; one without a subnet has none.
    pub(crate) fn of(network: &NetworkRecord) -> Result<Self> {
        let damaged = || {
            Error::Store(orlop_meta::Error::Damaged {
                what: format!("network {}", network.name),
                reason: "it has no usable subnet".to_owned(),
            })
        };
        let settings = &network.settings;
        let subnet = settings.subnet.as_deref().and_then(parse_subnet).ok_or_else(damaged)?;
        let range = settings.ip_range.as_deref().and_then(parse_subnet).unwrap_or(subnet);
        let aux = settings.aux_addresses.values().filter_map(|text| text.parse().ok());
        let reserved = aux.chain(settings.gateway).collect();
        Ok(Self { subnet, range, reserved })
    }
}

/// The bridge of a network, if it has one and its subnet is chosen.
pub(crate) fn bridge_of(network: &NetworkRecord) -> Option<Bridge> {
    let settings = &network.settings;
    let subnet = settings.subnet.as_deref().and_then(parse_subnet)?;
    let masquerade = settings.options.get(MASQUERADE).is_none_or(|value| is_true(value));
    Some(Bridge {
        name: settings.bridge.clone(),
        table: settings.table.clone(),
        gateway: settings.gateway?,
        prefix_len: subnet.prefix_len(),
        mtu: mtu_of(network),
        reach: match (settings.internal, masquerade) {
            (true, _) => Reach::Internal,
            (false, true) => Reach::Masqueraded,
            (false, false) => Reach::Routed,
        },
    })
    .filter(|bridge| !bridge.name.is_empty())
}

/// Size of a network's packets in bytes.
pub(crate) fn mtu_of(network: &NetworkRecord) -> u32 {
    let option = network.settings.options.get(MTU).and_then(|text| text.parse().ok());
    option.filter(|mtu| MTUS.contains(mtu)).unwrap_or(DEFAULT_MTU)
}

/// Whether containers on the network reach each other.
pub(crate) fn is_isolating(network: &NetworkRecord) -> bool {
    network.settings.options.get(ICC).is_some_and(|value| !is_true(value))
}

/// The host's address for ports that name none.
pub(crate) fn host_binding(network: &NetworkRecord) -> Ipv4Addr {
    let option = network.settings.options.get(HOST_BINDING).and_then(|text| text.parse().ok());
    option.unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// `address/length`; the address may be any of the network.
pub(crate) fn parse_subnet(text: &str) -> Option<Subnet> {
    let (address, prefix_len) = text.split_once('/')?;
    let prefix_len: u8 = prefix_len.parse().ok().filter(|length| *length <= 32)?;
    Some(Subnet::new(address.parse().ok()?, prefix_len))
}

/// The settings of a predefined network.
pub(crate) fn predefined(name: &str, driver: &str, root: &Path) -> NetworkSettings {
    let mut settings = NetworkSettings { driver: driver.to_owned(), ..NetworkSettings::default() };
    if name == DEFAULT_BRIDGE {
        settings.bridge = names::bridge_name(root);
        settings.table = names::table_name(root);
        let options = [
            (DEFAULT_FLAG, "true"),
            (ICC, "true"),
            (MASQUERADE, "true"),
            (HOST_BINDING, "0.0.0.0"),
            (NAME, settings.bridge.as_str()),
            (MTU, "1500"),
        ];
        settings.options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    }
    settings
}

/// Checks a request without looking at anything else; texts are Docker's.
pub(crate) fn check(new: &NewNetwork) -> Result<()> {
    let denied =
        |message: String| Err(Error::Network { kind: orlop_types::ErrorKind::Denied, message });
    let invalid = |message: String| Err(Error::Invalid(ParseError::new(message)));
    if new.name == "default" || PREDEFINED.iter().any(|(name, _)| *name == new.name) {
        return denied(format!("operation is not permitted on predefined {} network ", new.name));
    }
    if new.name.trim().is_empty() {
        return invalid("invalid name: name is empty".to_owned());
    }
    match new.driver.as_str() {
        "" | "bridge" => {}
        "host" | "null" => {
            return denied(format!("only one instance of \"{}\" network is allowed", new.driver));
        }
        "overlay" => {
            return denied(
                "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to \
                 connect this node to swarm and try again."
                    .to_owned(),
            );
        }
        other => {
            return Err(Error::Network {
                kind: orlop_types::ErrorKind::NotFound,
                message: format!("plugin \"{other}\" not found"),
            });
        }
    }
    if !matches!(new.ipam_driver.as_str(), "" | "default") {
        return invalid(format!("invalid ipam driver: \"{}\"", new.ipam_driver));
    }
    if new.ipv6 {
        return invalid("IPv6 networks are not supported; leave `--ipv6` out".to_owned());
    }
    let mut problems = Vec::new();
    for subnet in &new.subnets {
        problems.extend(subnet_problems(subnet));
    }
    if !problems.is_empty() {
        return invalid(format!("invalid network config: {}", problems.join("; ")));
    }
    if new.subnets.len() > 1 {
        return denied("bridge driver doesn't support multiple subnets".to_owned());
    }
    check_options(&new.options)
}

fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    let invalid = |message: String| Err(Error::Invalid(ParseError::new(message)));
    for name in [ICC, MASQUERADE] {
        if let Some(value) = options.get(name).filter(|value| parse_bool(value).is_none()) {
            return invalid(format!(
                "failed to parse {name} value: {value} (strconv.ParseBool: parsing \"{value}\": invalid syntax)"
            ));
        }
    }
    if let Some(value) = options.get(MTU) {
        match value.parse::<u32>() {
            Ok(mtu) if MTUS.contains(&mtu) => {}
            Ok(mtu) => return invalid(format!("invalid MTU number: {mtu}")),
            Err(_) => {
                return invalid(format!(
                    "failed to parse {MTU} value: {value} (strconv.Atoi: parsing \"{value}\": invalid syntax)"
                ));
            }
        }
    }
    if let Some(value) =
        options.get(HOST_BINDING).filter(|value| value.parse::<Ipv4Addr>().is_err())
    {
        return invalid(format!("failed to parse {HOST_BINDING} value: {value} (invalid ip)"));
    }
    match options.get(GATEWAY_MODE).map(String::as_str) {
        None | Some("" | "nat") => {}
        Some(mode @ ("routed" | "nat-unprotected" | "isolated")) => {
            return invalid(format!("gateway mode {mode} is not supported; what is: nat"));
        }
        Some(other) => return invalid(format!("unknown gateway mode {other}")),
    }
    match options.get(NAME) {
        Some(name) if !names::is_interface(name) => invalid(format!(
            "`{name}` is not a valid interface name (1 to 15 bytes, no `/`, `:` or space)"
        )),
        _ => Ok(()),
    }
}

/// Docker's findings about one subnet.
fn subnet_problems(request: &IpamRequest) -> Vec<String> {
    let text = &request.subnet;
    if text.is_empty() {
        return Vec::new();
    }
    let Some(subnet) = parse_subnet(text) else {
        return vec![format!("invalid subnet {text}: invalid CIDR block notation")];
    };
    let mut problems = Vec::new();
    if subnet.to_string() != *text {
        problems.push(format!("invalid subnet {text}: it should be {subnet}"));
    }
    if !request.ip_range.is_empty() {
        problems.extend(range_problems(&request.ip_range, &subnet));
    }
    let gateway = (!request.gateway.is_empty()).then_some(("gateway", &request.gateway));
    let aux = request.aux_addresses.iter().map(|(name, address)| (name.as_str(), address));
    for (name, address) in gateway.into_iter().chain(aux) {
        let what = if name == "gateway" {
            format!("gateway {address}")
        } else {
            format!("auxiliary address {name}")
        };
        match address.parse::<std::net::IpAddr>() {
            Err(_) => problems.push(format!("invalid {what}: invalid address")),
            Ok(std::net::IpAddr::V6(_)) => {
                problems.push(format!("invalid {what}: parent subnet is an IPv4 block"));
            }
            Ok(std::net::IpAddr::V4(address)) if !subnet.contains(address) => problems.push(
                format!("invalid {what}: parent subnet {subnet} doesn't contain this address"),
            ),
            Ok(_) => {}
        }
    }
    problems
}

fn range_problems(text: &str, subnet: &Subnet) -> Vec<String> {
    let Some(range) = parse_subnet(text) else {
        return vec![format!("invalid ip-range {text}: invalid CIDR block notation")];
    };
    let mut problems = Vec::new();
    if range.prefix_len() < subnet.prefix_len() {
        problems.push(format!(
            "invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"
        ));
    }
    if range.to_string() != text {
        problems.push(format!("invalid ip-range {text}: it should be {range}"));
    }
    if !range.overlaps(subnet) {
        problems.push(format!(
            "invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"
        ));
    }
    problems
}

/// The settings of a new network, without a subnet where none is asked for.
pub(crate) fn settings_of(new: &NewNetwork, id: &str, root: &Path) -> Result<NetworkSettings> {
    let asked = new.subnets.first().filter(|subnet| !subnet.subnet.is_empty());
    let bridge = new.options.get(NAME).cloned().unwrap_or_else(|| names::network_bridge_name(id));
    let mut settings = NetworkSettings {
        driver: "bridge".to_owned(),
        ipam_options: new.ipam_options.clone(),
        internal: new.internal,
        attachable: new.attachable,
        options: new.options.clone(),
        labels: new.labels.clone(),
        bridge,
        table: names::network_table_name(root, id),
        ..NetworkSettings::default()
    };
    let Some(asked) = asked else { return Ok(settings) };
    let subnet = parse_subnet(&asked.subnet)
        .ok_or_else(|| ParseError::new(format!("invalid subnet {}", asked.subnet)))?;
    let range = parse_subnet(&asked.ip_range);
    settings.subnet_is_chosen = true;
    settings.subnet = Some(subnet.to_string());
    settings.ip_range = range.map(|range| range.to_string());
    settings.aux_addresses.clone_from(&asked.aux_addresses);
    settings.gateway_is_chosen = !asked.gateway.is_empty();
    settings.gateway = Some(match asked.gateway.parse() {
        Ok(gateway) => gateway,
        Err(_) => first_address(&subnet, range.as_ref().unwrap_or(&subnet)),
    });
    Ok(settings)
}

/// The address that a gateway takes: the first that may be given.
fn first_address(subnet: &Subnet, range: &Subnet) -> Ipv4Addr {
    if range.network() == subnet.network() { subnet.gateway() } else { range.network() }
}

/// Fixes the subnet that was chosen for a network.
pub(crate) fn set_subnet(settings: &mut NetworkSettings, subnet: &Subnet) {
    settings.subnet = Some(subnet.to_string());
    settings.gateway = Some(subnet.gateway());
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn is_true(text: &str) -> bool {
    parse_bool(text).unwrap_or(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn new(subnet: &str, range: &str, gateway: &str) -> NewNetwork {
        NewNetwork {
            name: "shop".to_owned(),
            subnets: vec![IpamRequest {
                subnet: subnet.to_owned(),
                ip_range: range.to_owned(),
                gateway: gateway.to_owned(),
                ..IpamRequest::default()
            }],
            ..NewNetwork::default()
        }
    }

    #[test]
    fn subnets_are_checked_in_docker_s_words() {
        for (subnet, range, gateway, want) in [
            ("x", "", "", "invalid subnet x: invalid CIDR block notation"),
            ("10.0.0.1/24", "", "", "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
            (
                "10.0.0.0/24",
                "10.0.0.0/16",
                "",
                "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24",
            ),
            (
                "10.0.0.0/24",
                "10.0.1.0/25",
                "",
                "invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range",
            ),
            (
                "10.0.0.0/24",
                "",
                "10.0.1.1",
                "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address",
            ),
            ("10.0.0.0/24", "", "y", "invalid gateway y: invalid address"),
        ] {
            let error = check(&new(subnet, range, gateway)).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid network config: {want}"));
        }
        assert!(check(&new("10.0.0.0/24", "10.0.0.128/25", "10.0.0.254")).is_ok());
    }

    #[test]
    fn gateways_are_the_first_address_that_may_be_given() {
        let root = Path::new("/var/lib/orlop");
        for (subnet, range, gateway, want) in [
            ("10.0.0.0/24", "", "", [10, 0, 0, 1]),
            ("10.0.0.0/24", "10.0.0.128/25", "", [10, 0, 0, 128]),
            ("10.0.0.0/24", "10.0.0.0/25", "", [10, 0, 0, 1]),
            ("10.0.0.0/24", "", "10.0.0.9", [10, 0, 0, 9]),
        ] {
            let settings =
                settings_of(&new(subnet, range, gateway), &"ab".repeat(32), root).unwrap();
            assert_eq!(settings.gateway, Some(Ipv4Addr::from(want)), "{subnet} {range}");
            assert_eq!(settings.bridge, "br-abababababab");
            assert_eq!(settings.table, "orlop-abababababab");
        }
    }

    #[test]
    fn impossible_networks_say_why() {
        let named = |name: &str| NewNetwork { name: name.to_owned(), ..NewNetwork::default() };
        let driven = |driver: &str| NewNetwork { driver: driver.to_owned(), ..named("x") };
        let option = |name: &str, value: &str| NewNetwork {
            options: [(name.to_owned(), value.to_owned())].into(),
            ..named("x")
        };
        for (request, want) in [
            (named("host"), "operation is not permitted on predefined host network "),
            (named(" "), "invalid name: name is empty"),
            (driven("host"), "only one instance of \"host\" network is allowed"),
            (driven("what"), "plugin \"what\" not found"),
            (option(MTU, "12"), "invalid MTU number: 12"),
            (option(GATEWAY_MODE, "x"), "unknown gateway mode x"),
            (option(GATEWAY_MODE, "routed"), "gateway mode routed is not supported; what is: nat"),
            (
                NewNetwork { ipam_driver: "x".to_owned(), ..named("y") },
                "invalid ipam driver: \"x\"",
            ),
        ] {
            assert_eq!(check(&request).unwrap_err().to_string(), want);
        }
    }
}
