//! Commands about networks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_engine::{InspectKind, IpamRequest, NetworkSummary, NewNetwork};
use orlop_types::environment::parse_label;
use orlop_types::network::{EndpointIpamConfig, EndpointSettings};
use serde_json::{Value, json};

use super::{Session, filters, for_each, inspect, is_missing};
use crate::args::{
    ConnectNetwork, CreateNetwork, ListNetworks, NetworkGroup, Port, PruneNetworks, RemoveNetworks,
};
use crate::failure::{Failure, Outcome};
use crate::format::ListStyle;
use crate::request::BAD_FLAG;

/// `network ls`
const NETWORKS: ListStyle<'static> = ListStyle {
    row_type: "*network.networkContext",
    table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
    headings: &[
        ("CreatedAt", "CREATED AT"),
        ("Driver", "DRIVER"),
        ("ID", "NETWORK ID"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("Name", "NAME"),
        ("Scope", "SCOPE"),
    ],
};
/// Digits of a short id.
const SHORT_ID_CHARS: usize = 12;

/// Carries a command out.
pub fn dispatch(session: &mut Session<'_, '_>, command: NetworkGroup) -> Outcome {
    let named = |name: &'static str| move |failure: Failure| failure.during(name);
    match command {
        NetworkGroup::Connect(args) => connect(session, &args).map_err(named("network connect")),
        NetworkGroup::Create(args) => create(session, &args).map_err(named("network create")),
        NetworkGroup::Disconnect(args) => {
            let done =
                session.engine.network_disconnect(&args.network, &args.container, args.force);
            done.map(|()| 0).map_err(|error| Failure::from(error).during("network disconnect"))
        }
        NetworkGroup::Inspect(args) => {
            let args = args.inspect;
            inspect(session, &args.names, args.format.as_deref(), Some(InspectKind::Network))
        }
        NetworkGroup::Ls(args) => list(session, &args).map_err(named("network ls")),
        NetworkGroup::Prune(args) => prune(session, &args).map_err(named("network prune")),
        NetworkGroup::Rm(args) => remove(session, &args),
    }
}

/// `port`: where a container's ports are on the host.
pub fn port(session: &mut Session<'_, '_>, args: &Port) -> Outcome {
    let document = session.engine.inspect(&args.container, Some(InspectKind::Container))?;
    let ports = document.pointer("/NetworkSettings/Ports").and_then(Value::as_object);
    let bindings = |port: &str| -> Vec<String> {
        let listed = ports.and_then(|ports| ports.get(port)).and_then(Value::as_array);
        listed.into_iter().flatten().map(host_address).collect()
    };
    let mut lines = match &args.port {
        None => ports
            .into_iter()
            .flat_map(|ports| ports.keys())
            .flat_map(|port| {
                bindings(port).into_iter().map(move |host| format!("{port} -> {host}"))
            })
            .collect(),
        Some(wanted) => {
            let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, ""));
            if let Some(why) = not_a_port(port) {
                return Err(Failure::new(format!(
                    "Error: invalid port ({port}): strconv.ParseUint: parsing \"{port}\": {why}"
                )));
            }
            let protocol = if protocol.is_empty() { "tcp" } else { protocol };
            let found = bindings(&format!("{port}/{protocol}"));
            if found.is_empty() {
                return Err(Failure::new(format!(
                    "Error: No public port '{wanted}' published for {}",
                    args.container
                )));
            }
            found
        }
    };
    lines.sort_by_cached_key(|line| natural(line));
    for line in lines {
        session.streams.line(line)?;
    }
    Ok(0)
}

/// `ADDRESS:PORT` of one binding.
fn host_address(binding: &Value) -> String {
    let text = |name: &str| binding.get(name).and_then(Value::as_str).unwrap_or_default();
    let (ip, port) = (text("HostIp"), text("HostPort"));
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Go's words for what is no 16-bit number.
fn not_a_port(text: &str) -> Option<&'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some("invalid syntax");
    }
    text.parse::<u16>().is_err().then_some("value out of range")
}

/// Makes `80` come before `443`: numbers compare by value.
fn natural(text: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(digits);
        let end = tail.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(tail.len());
        let (number, after) = tail.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

fn create(session: &mut Session<'_, '_>, args: &CreateNetwork) -> Outcome {
    let id = session.engine.network_create(&new_network(args)?)?;
    session.streams.line(id)?;
    Ok(0)
}

fn new_network(args: &CreateNetwork) -> Result<NewNetwork, Failure> {
    let wrong = |why: String| Failure::new(why).with_code(BAD_FLAG);
    if args.config_only || args.config_from.is_some() || args.ingress {
        return Err(Failure::new(
            "networks of a swarm and configuration-only networks are not supported",
        ));
    }
    if args.ipv4 == Some(false) {
        return Err(Failure::new("IPv4 or IPv6 must be enabled"));
    }
    if let Some(scope) = args.scope.as_deref().filter(|scope| !matches!(*scope, "" | "local")) {
        return Err(Failure::new(format!("invalid network scope: {scope}")));
    }
    let mut labels = BTreeMap::new();
    for raw in &args.label {
        let (name, value) = parse_label(raw).map_err(|error| {
            wrong(format!("invalid argument \"{raw}\" for \"--label\" flag: {error}"))
        })?;
        labels.insert(name, value);
    }
    Ok(NewNetwork {
        name: args.name.clone(),
        driver: args.driver.clone(),
        subnets: subnets(args)?,
        ipam_driver: args.ipam_driver.clone(),
        ipam_options: Some(pairs(&args.ipam_opt)),
        internal: args.internal,
        attachable: args.attachable,
        ipv6: args.ipv6,
        options: pairs(&args.opt),
        labels,
    })
}

fn pairs(raws: &[String]) -> BTreeMap<String, String> {
    let pair = |raw: &String| {
        let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
        (name.to_owned(), value.to_owned())
    };
    raws.iter().map(pair).collect()
}

/// Brings ranges, gateways and addresses that are set aside to their subnets, as Docker does.
fn subnets(args: &CreateNetwork) -> Result<Vec<IpamRequest>, Failure> {
    if args.subnet.len() < args.ip_range.len() || args.subnet.len() < args.gateway.len() {
        return Err(Failure::new("every ip-range or gateway must have a corresponding subnet"));
    }
    let mut requests: Vec<IpamRequest> = Vec::new();
    for subnet in &args.subnet {
        for other in &requests {
            if contains(subnet, &other.subnet)? || contains(&other.subnet, subnet)? {
                return Err(Failure::new(
                    "multiple overlapping subnet configuration is not supported",
                ));
            }
        }
        requests.push(IpamRequest { subnet: subnet.clone(), ..IpamRequest::default() });
    }
    for range in &args.ip_range {
        let request = owner(&mut requests, range)?
            .ok_or_else(|| Failure::new(format!("no matching subnet for range {range}")))?;
        if !request.ip_range.is_empty() {
            return Err(Failure::new(format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                request.ip_range, request.subnet
            )));
        }
        request.ip_range.clone_from(range);
    }
    for gateway in &args.gateway {
        let request = owner(&mut requests, gateway)?
            .ok_or_else(|| Failure::new(format!("no matching subnet for gateway {gateway}")))?;
        if !request.gateway.is_empty() {
            return Err(Failure::new(format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                request.gateway, request.subnet
            )));
        }
        request.gateway.clone_from(gateway);
    }
    for (name, address) in pairs(&args.aux_address) {
        let request = owner(&mut requests, &address)?
            .ok_or_else(|| Failure::new(format!("no matching subnet for aux-address {address}")))?;
        request.aux_addresses.insert(name, address);
    }
    Ok(requests)
}

fn owner<'a>(
    requests: &'a mut [IpamRequest],
    address: &str,
) -> Result<Option<&'a mut IpamRequest>, Failure> {
    for request in requests {
        if contains(&request.subnet, address)? {
            return Ok(Some(request));
        }
    }
    Ok(None)
}

/// Whether a subnet holds an address, or the address that another subnet begins with.
fn contains(subnet: &str, data: &str) -> Result<bool, Failure> {
    let wrong = |text: &str| Failure::new(format!("invalid CIDR address: {text}"));
    let (network, length) = parse(subnet)
        .ok_or_else(|| Failure::new(format!("invalid subnet: invalid CIDR address: {subnet}")))?;
    let address = match data.contains('/') {
        true => parse(data).ok_or_else(|| wrong(data))?.0,
        // What is no address is in no subnet.
        false => match data.parse() {
            Ok(address) => address,
            Err(_) => return Ok(false),
        },
    };
    let bits = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        std::net::IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let ((network, width), (address, other_width)) = (bits(network), bits(address));
    let same = match length {
        0 => true,
        length => (network ^ address) >> (128 - u32::from(length)) == 0,
    };
    Ok(width == other_width && same)
}

fn parse(subnet: &str) -> Option<(std::net::IpAddr, u8)> {
    let (address, length) = subnet.split_once('/')?;
    let address: std::net::IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((address, length))
}

fn connect(session: &mut Session<'_, '_>, args: &ConnectNetwork) -> Outcome {
    let some = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
    let mut options = BTreeMap::new();
    for raw in &args.driver_opt {
        let pair = raw.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let (name, value) = pair
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Failure::new("invalid key/value pair format in driver options"))?;
        options.insert(name.to_owned(), value.to_owned());
    }
    let addresses = EndpointIpamConfig {
        ipv4_address: args.ip.clone().unwrap_or_default(),
        ipv6_address: args.ip6.clone().unwrap_or_default(),
        link_local_ips: some(&args.link_local_ip),
    };
    let settings = EndpointSettings {
        ipam_config: Some(addresses),
        links: some(&args.link),
        aliases: some(&args.alias),
        driver_opts: Some(options).filter(|options| !options.is_empty()),
        gw_priority: args.gw_priority,
        ..EndpointSettings::default()
    };
    session.engine.network_connect(&args.network, &args.container, &settings)?;
    Ok(0)
}

fn list(session: &mut Session<'_, '_>, args: &ListNetworks) -> Outcome {
    let mut networks = session.engine.network_list(&filters(&args.list.filters)?)?;
    networks.sort_by_cached_key(|network| natural(&network.name));
    let rows: Vec<Value> = networks.iter().map(|network| row(network, args.no_trunc)).collect();
    let format = session.format(args.list.format.as_deref());
    session.list(&NETWORKS, format.as_deref(), args.list.quiet, &rows)
}

fn row(network: &NetworkSummary, in_full: bool) -> Value {
    let id = match in_full {
        true => network.id.as_str(),
        false => network.id.get(..SHORT_ID_CHARS).unwrap_or(&network.id),
    };
    let labels: Vec<String> =
        network.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let created = network.created_at.parse::<Timestamp>().unwrap_or(Timestamp::UNIX_EPOCH);
    json!({
        "CreatedAt": created.strftime("%Y-%m-%d %H:%M:%S.%9f +0000 UTC").to_string(),
        "Driver": network.driver,
        "ID": id,
        "IPv4": "true",
        "IPv6": "false",
        "Internal": network.internal.to_string(),
        "Label": network.labels,
        "Labels": labels.join(","),
        "Name": network.name,
        "Scope": "local",
    })
}

fn prune(session: &mut Session<'_, '_>, args: &PruneNetworks) -> Outcome {
    let chosen = filters(&args.filters)?;
    let warning =
        "WARNING! This will remove all custom networks not used by at least one container.";
    if !args.force && !session.streams.confirm(warning)? {
        return Ok(0);
    }
    let removed = session.engine.network_prune(&chosen)?;
    if !removed.is_empty() {
        session.streams.line("Deleted Networks:")?;
        for name in &removed {
            session.streams.line(name)?;
        }
        session.streams.line("")?;
    }
    Ok(0)
}

fn remove(session: &mut Session<'_, '_>, args: &RemoveNetworks) -> Outcome {
    for_each(session, "network rm", &args.names, |session, name| {
        match session.engine.network_remove(name) {
            Err(error) if args.force && is_missing(&error) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(session.streams.line(name)?),
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_by_their_numbers() {
        let mut lines = vec!["443/tcp -> 0.0.0.0:1", "80/udp -> x", "80/tcp -> 0.0.0.0:1"];
        lines.sort_by_cached_key(|line| natural(line));
        assert_eq!(lines, ["80/tcp -> 0.0.0.0:1", "80/udp -> x", "443/tcp -> 0.0.0.0:1"]);
        assert_eq!(host_address(&json!({"HostIp": "::", "HostPort": "80"})), "[::]:80");
        assert_eq!(not_a_port("x"), Some("invalid syntax"));
        assert_eq!(not_a_port("65536"), Some("value out of range"));
        assert_eq!(not_a_port("80"), None);
    }

    #[test]
    fn addresses_belong_to_the_subnet_that_holds_them() {
        for (subnet, data, want) in [
            ("10.0.0.0/24", "10.0.0.9", true),
            ("10.0.0.0/24", "10.0.1.9", false),
            ("10.0.0.0/24", "10.0.0.128/25", true),
            ("0.0.0.0/0", "10.0.0.1", true),
            ("10.0.0.0/8", "fd00::1", false),
            ("fd00::/64", "fd00::1", true),
            ("10.0.0.0/24", "what", false),
        ] {
            assert_eq!(contains(subnet, data).unwrap(), want, "{subnet} {data}");
        }
        assert_eq!(
            contains("10.0.0.0", "1.2.3.4").unwrap_err().why,
            "invalid subnet: invalid CIDR address: 10.0.0.0"
        );
    }
}
