//! Flags about the network, `/etc/hosts` and `/etc/resolv.conf`.

use std::net::IpAddr;

use orlop_types::ParseError;
use orlop_types::config::{Config, Empty, HostConfig, Set};
use orlop_types::network::{self, NetworkOption, NetworkingConfig};
use orlop_types::port::{parse_expose, parse_publish_all};

use super::check_all;
use crate::args::NetworkFlags;
use crate::failure::Failure;

/// Stands for the host in `--add-host`.
const HOST_GATEWAY: &str = "host-gateway";

/// Puts the flags into the configuration; gives what is asked of each network.
pub(super) fn apply(
    flags: &NetworkFlags,
    config: &mut Config,
    host: &mut HostConfig,
) -> Result<NetworkingConfig, Failure> {
    host.port_bindings = parse_publish_all(&flags.publish)?;
    host.publish_all_ports = flags.publish_all;
    let mut exposed: Set = host.port_bindings.keys().map(|port| (port.clone(), Empty {})).collect();
    for raw in &flags.expose {
        exposed.extend(parse_expose(raw)?.into_iter().map(|port| (port, Empty {})));
    }
    config.exposed_ports = Some(exposed).filter(|ports| !ports.is_empty());
    config.hostname = flags.hostname.clone().unwrap_or_default();
    config.domainname = flags.domainname.clone().unwrap_or_default();
    config.mac_address = flags.mac_address.clone().unwrap_or_default();
    host.dns = Some(check_all(&flags.dns, "--dns", address)?);
    host.dns_options = Some(flags.dns_option.clone());
    host.dns_search = Some(check_all(&flags.dns_search, "--dns-search", search_domain)?);
    let hosts = check_all(&flags.add_host, "--add-host", extra_host)?;
    host.extra_hosts = Some(hosts).filter(|hosts| !hosts.is_empty());
    let links = check_all(&flags.link, "--link", link)?;
    let networks = check_all(&flags.network, "--network", NetworkOption::parse)?;
    let request = network::NetworkFlags {
        networks: &networks,
        aliases: &flags.network_alias,
        links: &links,
        ip: flags.ip.as_deref().unwrap_or_default(),
        ip6: flags.ip6.as_deref().unwrap_or_default(),
        mac_address: flags.mac_address.as_deref().unwrap_or_default(),
        link_local_ips: &flags.link_local_ip,
    }
    .request()?;
    host.links = Some(request.links).filter(|links| !links.is_empty());
    let mut config = request.config;
    host.network_mode = request.mode;
    if host.network_mode == "default" {
        // The engine's name for it.
        "bridge".clone_into(&mut host.network_mode);
        if let Some(settings) = config.endpoints_config.remove("default") {
            config.endpoints_config.insert("bridge".to_owned(), settings);
        }
    }
    Ok(config)
}

fn address(raw: &str) -> Result<String, ParseError> {
    let address: IpAddr = raw
        .trim()
        .parse()
        .map_err(|_| ParseError::new(format!("IP address is not correctly formatted: {raw}")))?;
    Ok(address.to_canonical().to_string())
}

fn search_domain(raw: &str) -> Result<String, ParseError> {
    let text = raw.trim_matches(' ');
    if text == "." {
        return Ok(text.to_owned());
    }
    let domain = text.trim_end();
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let plain = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let lettered = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    if lettered && domain.len() < 255 && domain.split('.').all(plain) {
        Ok(domain.to_owned())
    } else {
        Err(ParseError::new(format!("{text} is not a valid domain")))
    }
}

/// `HOST:ADDRESS` or `HOST=ADDRESS`; the address may stand in brackets.
fn extra_host(raw: &str) -> Result<String, ParseError> {
    let pair = raw.split_once('=').or_else(|| raw.split_once(':'));
    let (name, address) = pair
        .filter(|(name, _)| !name.is_empty() && !name.contains(':'))
        .ok_or_else(|| ParseError::new(format!("bad format for add-host: \"{raw}\"")))?;
    if address == HOST_GATEWAY {
        return Ok(format!("{name}:{address}"));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|bare| !bare.is_empty())
        .unwrap_or(address);
    if bare.trim().parse::<IpAddr>().is_err() {
        return Err(ParseError::new(format!("invalid IP address in add-host: \"{bare}\"")));
    }
    Ok(format!("{name}:{bare}"))
}

/// `CONTAINER[:ALIAS]`
fn link(raw: &str) -> Result<String, ParseError> {
    if raw.is_empty() {
        return Err(ParseError::new("empty string specified for links"));
    }
    if raw.matches(':').count() > 1 {
        return Err(ParseError::new(format!("bad format for links: {raw}")));
    }
    Ok(raw.to_owned())
}
