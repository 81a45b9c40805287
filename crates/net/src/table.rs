//! The nftables table of a root: what it holds, and the elements that publish ports.
//!
//! | chain | hook | what it does |
//! |---|---|---|
//! | `guard` | prerouting, before conntrack | containers never reach the host's `127.0.0.0/8` |
//! | `prerouting`, `output` | destination NAT | redirects published ports by two maps |
//! | `postrouting` | source NAT | masquerades what leaves the bridge, and the hairpins |
//! | `forward` | filter | lets containers out, replies and published ports in, nothing else |
//!
//! `ports_any` has the ports published on every address of the host, `ports_ip` those published on
//! one. The first rule of `guard` carries the version of the rules and the network as a comment: as
//! the table changes in one batch only, that comment says that all of it is there. The rules are
//! replaced in place when they are of another version; the elements of the maps stay.

use std::net::Ipv4Addr;

use orlop_types::network::{Protocol, PublishedPort};
use rustix::io::Errno;

use crate::channel::{Channel, Refusal};
use crate::error::Error;
use crate::nft::{self, Conntrack, Header, Hook, MapTypes, Meta, Verdict};
use crate::port;
use crate::subnet::{LOOPBACK, Subnet};
use crate::wire::{Attributes, Message};

/// Version of the rules; a change of any rule raises it.
const VERSION: u32 = 1;
/// Ports on every address of the host.
const PORTS_ANY: &str = "ports_any";
/// Ports on one address.
const PORTS_IP: &str = "ports_ip";
/// Most elements in one request: an attribute's length is 16 bits, an element is 52 bytes.
const ELEMENTS_PER_REQUEST: usize = 1000;
/// What the kernel must have for the table as a whole.
const FEATURE: &str = "nf_tables";

/// What the rules of a table depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a> {
    /// Name of the table.
    pub(crate) name: &'a str,
    /// Name of the bridge.
    pub(crate) bridge: &'a str,
    /// The bridge's network.
    pub(crate) subnet: Subnet,
    /// How far its containers reach.
    pub(crate) reach: Reach,
}

/// How far the containers of a network reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Everywhere, by the host's address.
    #[default]
    Masqueraded,
    /// Everywhere, by their own addresses: others must know the way back.
    Routed,
    /// The host and each other.
    Internal,
}

impl Table<'_> {
    /// Whether the table is there with exactly these rules: one round trip.
    pub(crate) fn is_current(&self, channel: &mut Channel) -> Result<bool, Error> {
        let action = || format!("look at nftables table `{}`", self.name);
        let mut answers = channel
            .exchange(&[nft::get_rules(self.name, "guard")])
            .map_err(|source| Error::system(action(), FEATURE, source))?;
        match answers.refusal(0) {
            None => {}
            // A question to a subsystem that is missing is "invalid"; the batch then says it better.
            Some(refusal) if [Errno::NOENT, Errno::INVAL].contains(&refusal.errno) => {
                return Ok(false);
            }
            Some(refusal) => return Err(Error::refused(action(), FEATURE, refusal)),
        }
        let wanted = nft::comment_bytes(&self.fingerprint());
        Ok(answers.objects.iter().any(|rule| nft::read_rule_data(&rule.body) == Some(&wanted)))
    }

    /// Makes the table what it should be, keeping published ports; all or nothing, and harmless when
    /// another process does the same at once.
    pub(crate) fn declare(&self, channel: &mut Channel) -> Result<(), Error> {
        let action = || format!("set up nftables table `{}`", self.name);
        let (requests, needs): (Vec<_>, Vec<_>) = self.requests().into_iter().unzip();
        match commit(channel, requests)
            .map_err(|source| Error::system(action(), FEATURE, source))?
        {
            None => Ok(()),
            // In this batch only an expression or a kind of chain can be what does not exist.
            Some(Refusal { errno: Errno::NOENT, message, .. }) => Err(Error::Missing {
                action: action(),
                feature: needs.get(message.wrapping_sub(1)).copied().unwrap_or(FEATURE).to_owned(),
            }),
            Some(refusal) => Err(Error::refused(action(), FEATURE, refusal)),
        }
    }

    fn fingerprint(&self) -> String {
        let reach = match self.reach {
            Reach::Masqueraded => "",
            Reach::Routed => " routed",
            Reach::Internal => " internal",
        };
        format!("orlop rules {VERSION} for {} {}{reach}", self.bridge, self.subnet)
    }

    /// The batch, each request with what the kernel must have for it.
    fn requests(&self) -> Vec<(Message, &'static str)> {
        const PORT: &[u32] = &[nft::TYPE_PROTOCOL, nft::TYPE_SERVICE];
        const ADDRESS_PORT: &[u32] = &[nft::TYPE_IPV4, nft::TYPE_PROTOCOL, nft::TYPE_SERVICE];
        const TARGET: &[u32] = &[nft::TYPE_IPV4, nft::TYPE_SERVICE];
        let any = MapTypes { key: PORT, value: TARGET };
        let one = MapTypes { key: ADDRESS_PORT, value: TARGET };
        let chain = |name, hook| nft::new_chain(self.name, name, hook);
        let nat = |hook, priority| Hook { kind: "nat", hook, priority };
        let filter = |hook, priority| Hook { kind: "filter", hook, priority };
        let mut requests = vec![
            (nft::new_table(self.name), FEATURE),
            (nft::flush_rules(self.name), FEATURE),
            (nft::new_map(self.name, PORTS_ANY, any, 1), "nf_tables maps (nft_hash)"),
            (nft::new_map(self.name, PORTS_IP, one, 2), "nf_tables maps (nft_hash)"),
            (chain("guard", filter(0, -300)), "nf_tables filter chains"),
            (chain("prerouting", nat(0, -100)), "nf_tables address translation (nft_chain_nat)"),
            (chain("output", nat(3, -100)), "nf_tables address translation (nft_chain_nat)"),
            (chain("postrouting", nat(4, 100)), "nf_tables address translation (nft_chain_nat)"),
            (chain("forward", filter(2, 0)), "nf_tables filter chains"),
        ];
        requests.extend(self.guard_rules());
        requests.extend(self.redirect_rules());
        requests.extend(self.masquerade_rules());
        requests.extend(self.forward_rules());
        requests
    }

    fn rule(
        &self,
        chain: &str,
        parts: &[Vec<Attributes>],
        need: &'static str,
    ) -> (Message, &'static str) {
        (nft::new_rule(self.name, chain, &parts.concat(), ""), need)
    }

    /// With `route_localnet` a container could otherwise send to the host's loopback addresses.
    fn guard_rules(&self) -> Vec<(Message, &'static str)> {
        let parts = [
            interface_in(self.bridge),
            address_in(Side::Destination, LOOPBACK),
            vec![nft::verdict(Verdict::Drop)],
        ];
        let rule = nft::new_rule(self.name, "guard", &parts.concat(), &self.fingerprint());
        vec![(rule, FEATURE)]
    }

    fn redirect_rules(&self) -> Vec<(Message, &'static str)> {
        const NEED: &str = "nf_tables address translation (nft_fib_ipv4, nft_nat)";
        let mut rules = Vec::new();
        // A neighbour may send us a packet for 127.0.0.1; it is not to reach what is published there.
        rules.push(self.rule(
            "prerouting",
            &[
                vec![nft::meta(Meta::InterfaceIn, nft::REGISTER), nft::unequal(&interface("lo"))],
                address_in(Side::Destination, LOOPBACK),
                vec![nft::verdict(Verdict::Return)],
            ],
            NEED,
        ));
        for chain in ["prerouting", "output"] {
            let address = vec![nft::payload(Header::Network, 16, 4, nft::REGISTER)];
            let end = |map| vec![nft::lookup(map), nft::destination_nat()];
            let local = nft::destination_is_local;
            rules.push(self.rule(chain, &[local(), address, port_key(1), end(PORTS_IP)], NEED));
            rules.push(self.rule(chain, &[local(), port_key(0), end(PORTS_ANY)], NEED));
        }
        rules
    }

    fn masquerade_rules(&self) -> Vec<(Message, &'static str)> {
        const NEED: &str = "nf_tables masquerading (nft_masq)";
        let masquerade = || vec![nft::masquerade()];
        let from_bridge = || address_in(Side::Source, self.subnet);
        let leaves_elsewhere = vec![
            nft::meta(Meta::InterfaceOut, nft::REGISTER),
            nft::unequal(&interface(self.bridge)),
        ];
        let rule = |parts: &[Vec<Attributes>]| self.rule("postrouting", parts, NEED);
        let mut rules = Vec::new();
        if self.reach == Reach::Masqueraded {
            rules.push(rule(&[from_bridge(), leaves_elsewhere, masquerade()]));
        }
        rules.extend([
            // A container that uses a published port: the answer must come back through the host.
            rule(&[interface_out(self.bridge), from_bridge(), redirected(), masquerade()]),
            // The host itself, by 127.0.0.1: the container could not answer that address.
            rule(&[interface_out(self.bridge), address_in(Side::Source, LOOPBACK), masquerade()]),
        ]);
        rules
    }

    fn forward_rules(&self) -> Vec<(Message, &'static str)> {
        const NEED: &str = "nf_tables connection tracking (nft_ct)";
        const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
        let accept = || vec![nft::verdict(Verdict::Accept)];
        let to_bridge = || interface_out(self.bridge);
        let rule = |parts: &[Vec<Attributes>]| self.rule("forward", parts, NEED);
        if self.reach == Reach::Internal {
            let stays = || vec![interface_in(self.bridge), to_bridge(), accept()];
            let drop = || vec![nft::verdict(Verdict::Drop)];
            return vec![
                rule(&stays()),
                rule(&[interface_in(self.bridge), drop()]),
                rule(&[to_bridge(), drop()]),
            ];
        }
        let continued = nft::conntrack_has(Conntrack::State, ESTABLISHED_OR_RELATED);
        vec![
            rule(&[interface_in(self.bridge), accept()]),
            rule(&[to_bridge(), continued, accept()]),
            rule(&[to_bridge(), redirected(), accept()]),
            // As this machine forwards now, a neighbour could reach ports that are not published.
            rule(&[to_bridge(), vec![nft::verdict(Verdict::Drop)]]),
        ]
    }
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn address_in(side: Side, subnet: Subnet) -> Vec<Attributes> {
    let offset = match side {
        Side::Source => 12,
        Side::Destination => 16,
    };
    vec![
        nft::payload(Header::Network, offset, 4, nft::REGISTER),
        nft::and(subnet.mask().octets()),
        nft::equal(&subnet.network().octets()),
    ]
}

/// An interface's name as the kernel compares it: 16 bytes.
pub(crate) fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}

fn interface_in(name: &str) -> Vec<Attributes> {
    vec![nft::meta(Meta::InterfaceIn, nft::REGISTER), nft::equal(&interface(name))]
}

fn interface_out(name: &str) -> Vec<Attributes> {
    vec![nft::meta(Meta::InterfaceOut, nft::REGISTER), nft::equal(&interface(name))]
}

/// Connections whose destination was changed.
fn redirected() -> Vec<Attributes> {
    const DESTINATION_CHANGED: u32 = 1 << 5;
    nft::conntrack_has(Conntrack::Status, DESTINATION_CHANGED)
}

/// Loads protocol and port into two registers, the `skip`th on.
fn port_key(skip: u32) -> Vec<Attributes> {
    vec![
        nft::meta(Meta::Transport, nft::REGISTER + skip),
        nft::payload(Header::Transport, 2, 2, nft::REGISTER + skip + 1),
    ]
}

/// Sends a batch; returns the first refusal.
fn commit(channel: &mut Channel, requests: Vec<Message>) -> std::io::Result<Option<Refusal>> {
    let answers = channel.exchange(&nft::batch(requests))?;
    Ok(answers.refusals.into_iter().next())
}

fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// The map that a port belongs to, and its key there.
fn key_of(port: &PublishedPort) -> (&'static str, Vec<u8>) {
    let mut key = Vec::with_capacity(12);
    let map = if port.host_ip.is_unspecified() {
        PORTS_ANY
    } else {
        key.extend_from_slice(&port.host_ip.octets());
        PORTS_IP
    };
    key.extend_from_slice(&[number_of(port.protocol), 0, 0, 0]);
    key.extend_from_slice(&port.host_port.to_be_bytes());
    key.extend_from_slice(&[0; 2]);
    (map, key)
}

fn value_of(address: Ipv4Addr, port: u16) -> Vec<u8> {
    let mut value = address.octets().to_vec();
    value.extend_from_slice(&port.to_be_bytes());
    value.extend_from_slice(&[0; 2]);
    value
}

/// Leads published ports to a container, all or none of a thousand.
///
/// The caller holds the ports' sockets, so an element that is there already was left by a process
/// that was killed: it is replaced.
pub(crate) fn publish(
    channel: &mut Channel,
    table: &str,
    address: Ipv4Addr,
    ports: &[PublishedPort],
) -> Result<(), Error> {
    let action = || format!("publish ports in nftables table `{table}`");
    let failed = |source| Error::system(action(), FEATURE, source);
    for ports in ports.chunks(ELEMENTS_PER_REQUEST) {
        let requests = || {
            [PORTS_ANY, PORTS_IP].into_iter().filter_map(|map| {
                let mine = ports.iter().map(|port| (key_of(port), port));
                let elements: Vec<_> = mine
                    .filter(|((owner, _), _)| *owner == map)
                    .map(|((_, key), port)| (key, value_of(address, port.container_port)))
                    .collect();
                (!elements.is_empty()).then(|| nft::new_elements(table, map, &elements))
            })
        };
        let mut refusal = commit(channel, requests().collect()).map_err(failed)?;
        if refusal
            .as_ref()
            .is_some_and(|refusal| [Errno::EXIST, Errno::BUSY].contains(&refusal.errno))
        {
            tracing::debug!(
                op = "publish",
                table,
                "replacing ports that a killed process left behind"
            );
            withdraw(channel, table, ports)?;
            refusal = commit(channel, requests().collect()).map_err(failed)?;
        }
        if let Some(refusal) = refusal {
            return Err(Error::refused(action(), FEATURE, refusal));
        }
    }
    Ok(())
}

/// Takes published ports back; what is not there is left out.
pub(crate) fn withdraw(
    channel: &mut Channel,
    table: &str,
    ports: &[PublishedPort],
) -> Result<(), Error> {
    let mut failures = Vec::new();
    for ports in ports.chunks(ELEMENTS_PER_REQUEST) {
        match delete(channel, table, ports) {
            // One that is not there keeps the rest from going: then each for itself.
            Ok(false) if ports.len() > 1 => {
                for port in ports {
                    failures.extend(delete(channel, table, std::slice::from_ref(port)).err());
                }
            }
            Ok(_) => {}
            Err(error) => failures.push(error),
        }
    }
    Error::collect(failures)
}

/// Deletes elements, all or none; says whether they were there.
fn delete(channel: &mut Channel, table: &str, ports: &[PublishedPort]) -> Result<bool, Error> {
    let action = || format!("take back ports in nftables table `{table}`");
    let requests = [PORTS_ANY, PORTS_IP].into_iter().filter_map(|map| {
        let keys = ports.iter().map(key_of).filter(|(owner, _)| *owner == map);
        let keys: Vec<_> = keys.map(|(_, key)| key).collect();
        (!keys.is_empty()).then(|| nft::delete_elements(table, map, &keys))
    });
    match commit(channel, requests.collect())
        .map_err(|source| Error::system(action(), FEATURE, source))?
    {
        None => Ok(true),
        Some(refusal) if refusal.errno == Errno::NOENT => Ok(false),
        Some(refusal) => Err(Error::refused(action(), FEATURE, refusal)),
    }
}

/// Removes the table; fine when there is none.
pub(crate) fn remove(channel: &mut Channel, table: &str) -> Result<(), Error> {
    let action = || format!("remove nftables table `{table}`");
    let refusal = commit(channel, vec![nft::delete_table(table)])
        .map_err(|source| Error::system(action(), FEATURE, source))?;
    match refusal {
        Some(refusal) if refusal.errno != Errno::NOENT => {
            Err(Error::refused(action(), FEATURE, refusal))
        }
        _ => Ok(()),
    }
}

/// The tables whose names begin so, each with the bridge that its rules are for.
pub fn tables(prefix: &str) -> Result<Vec<(String, Option<String>)>, Error> {
    let failed = |source| Error::system("list nftables tables", FEATURE, source);
    let mut channel = Channel::firewall()?;
    let answers = channel.exchange(&[nft::get_tables()]).map_err(failed)?;
    let names = answers.objects.iter().filter_map(|object| nft::read_table_name(&object.body));
    let names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let rules = channel.exchange(&[nft::get_rules(&name, "guard")]).map_err(failed)?.objects;
        let mut comments = rules.iter().filter_map(|rule| nft::read_rule_data(&rule.body));
        let bridge = comments.find_map(|data| bridge_of(data.get(2..)?));
        found.push((name, bridge));
    }
    Ok(found)
}

/// The bridge in a fingerprint.
fn bridge_of(comment: &[u8]) -> Option<String> {
    let text = crate::wire::string(comment);
    let rest = text.strip_prefix("orlop rules ")?.split_once(" for ")?.1;
    rest.split(' ').next().map(str::to_owned)
}

/// Takes back the ports of a monitor that was killed; fine when they, or the table, are not there.
///
/// A port that somebody holds again is left alone: if that is a container, it has put its own element
/// in the place of the old one. The others are held until theirs are gone.
pub fn unpublish(table: &str, ports: &[PublishedPort]) -> Result<(), Error> {
    let mut held = Vec::new();
    let mut abandoned = Vec::new();
    for port in ports {
        match port::hold(port.host_ip, port.host_port, port.protocol) {
            Err(Error::PortTaken { .. }) => {}
            // The address may be gone from the host; then nobody holds the port either.
            socket => {
                held.push(socket);
                abandoned.push(port.clone());
            }
        }
    }
    if abandoned.is_empty() {
        return Ok(());
    }
    let withdrawn = withdraw(&mut Channel::firewall()?, table, &abandoned);
    drop(held);
    withdrawn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: [u8; 4], host_port: u16, protocol: Protocol) -> PublishedPort {
        PublishedPort { host_ip: host_ip.into(), host_port, container_port: 80, protocol }
    }

    #[test]
    fn keys_are_padded_fields() {
        let any = port([0, 0, 0, 0], 8080, Protocol::Tcp);
        assert_eq!(key_of(&any), (PORTS_ANY, vec![6, 0, 0, 0, 0x1f, 0x90, 0, 0]));
        let one = port([127, 0, 0, 1], 53, Protocol::Udp);
        assert_eq!(key_of(&one), (PORTS_IP, vec![127, 0, 0, 1, 17, 0, 0, 0, 0, 53, 0, 0]));
        assert_eq!(value_of(Ipv4Addr::new(172, 17, 0, 2), 80), [172, 17, 0, 2, 0, 80, 0, 0]);
    }

    #[test]
    fn the_batch_creates_before_it_flushes_and_fits_one_send() {
        let subnet = Subnet::new(Ipv4Addr::new(172, 17, 0, 0), 16);
        let table = Table { name: "orlop", bridge: "orlop0", subnet, reach: Reach::Masqueraded };
        let requests = table.requests();
        let kinds: Vec<_> = requests.iter().map(|(message, _)| message.kind & 0xff).collect();
        assert_eq!(kinds[..9], [0, 8, 9, 9, 3, 3, 3, 3, 3]);
        assert_eq!(kinds[9..], [6; 13]);
        let bytes: usize = requests.iter().map(|(message, _)| message.body.len() + 16).sum();
        assert!(bytes < 16 * 1024, "{bytes}");
        assert_eq!(table.fingerprint(), "orlop rules 1 for orlop0 172.17.0.0/16");
    }

    #[test]
    fn a_thousand_elements_fit_an_attribute() {
        let ports: Vec<_> =
            (1..=1000).map(|number| port([1, 2, 3, 4], number, Protocol::Tcp)).collect();
        let elements: Vec<_> =
            ports.iter().map(|port| (key_of(port).1, value_of(port.host_ip, 1))).collect();
        assert!(nft::new_elements("t", PORTS_IP, &elements).body.len() < 65_536);
    }
}
