//! Links, addresses and routes: the requests that a bridge and an end point are made of.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

use netlink_packet_core::NetlinkSerializable;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use crate::channel::{ACK, CREATE, Channel, DUMP, EXCLUSIVE, REPLACE};
use crate::error::Error;
use crate::subnet::Subnet;
use crate::wire::{self, Message};

/// Index of `lo` in every namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// What matters about an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Number of the interface in its namespace.
    pub(crate) index: u32,
    /// Whether it is set up.
    pub(crate) up: bool,
    /// Whether frames pass.
    pub(crate) operational: bool,
    /// MTU in bytes.
    pub(crate) mtu: u32,
    /// The kernel's word for its type; empty for hardware.
    pub(crate) kind: String,
}

/// An IPv4 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceAddress {
    /// Number of the interface.
    pub(crate) index: u32,
    /// Its own address.
    pub(crate) address: Ipv4Addr,
    /// Length of the prefix.
    pub(crate) prefix_len: u8,
}

/// A pair of interfaces, the one here on a bridge and the other in another namespace.
pub(crate) struct Pair<'a> {
    /// Name of the end here.
    pub(crate) name: &'a str,
    /// Index of the bridge that it joins.
    pub(crate) bridge: u32,
    /// MTU of both.
    pub(crate) mtu: u32,
    /// Name of the other end.
    pub(crate) peer_name: &'a str,
    /// Hardware address of the other end.
    pub(crate) peer_mac: [u8; 6],
    /// Open file of the other end's namespace.
    pub(crate) peer_namespace: RawFd,
}

fn message(request: &RouteNetlinkMessage, flags: u16) -> Message {
    let mut body = vec![0; request.buffer_len()];
    request.serialize(&mut body);
    Message { kind: request.message_type(), flags, body }
}

fn link(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes = attributes;
    link
}

fn set_up(link: &mut LinkMessage) {
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
}

/// Asks for the interface of this name.
pub(crate) fn get_link(name: &str) -> Message {
    let wanted = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
    ];
    message(&RouteNetlinkMessage::GetLink(link(0, wanted)), 0)
}

/// Asks for every IPv4 address of the namespace.
pub(crate) fn get_addresses() -> Message {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet;
    message(&RouteNetlinkMessage::GetAddress(request), DUMP)
}

/// Creates a bridge that is up, with a hardware address of its own: the kernel would otherwise take
/// the lowest of its ports', and neighbours would see it change with every container.
pub(crate) fn new_bridge(name: &str, mac: [u8; 6], mtu: u32) -> Message {
    let mut bridge = link(
        0,
        vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ],
    );
    set_up(&mut bridge);
    message(&RouteNetlinkMessage::NewLink(bridge), ACK | CREATE | EXCLUSIVE)
}

/// Creates a pair; the end here is up at once, the other cannot be before both exist.
pub(crate) fn new_pair(pair: &Pair<'_>) -> Message {
    let peer = link(
        0,
        vec![
            LinkAttribute::IfName(pair.peer_name.to_owned()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::Address(pair.peer_mac.to_vec()),
            LinkAttribute::NetNsFd(pair.peer_namespace),
        ],
    );
    let mut host = link(
        0,
        vec![
            LinkAttribute::IfName(pair.name.to_owned()),
            LinkAttribute::Mtu(pair.mtu),
            LinkAttribute::Controller(pair.bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ],
    );
    set_up(&mut host);
    message(&RouteNetlinkMessage::NewLink(host), ACK | CREATE | EXCLUSIVE)
}

/// Sets how a bridge treats a port.
///
/// It may send a frame back by the port it came from: with `br_netfilter` the bridge itself redirects
/// a container's packet to its own published port, and the frame never passes the host's routing.
/// Isolated ports reach the host, and by way of it the world, but not each other.
pub(crate) fn set_bridge_port(name: &str, isolated: bool) -> Message {
    let mut settings = vec![InfoBridgePort::HairpinMode(true)];
    if isolated {
        settings.push(InfoBridgePort::Isolated(true));
    }
    let port = link(
        0,
        vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::PortKind(InfoPortKind::Bridge),
                LinkInfo::PortData(InfoPortData::BridgePort(settings)),
            ]),
        ],
    );
    message(&RouteNetlinkMessage::NewLink(port), ACK)
}

/// Sets an interface up, and its MTU if one is given.
pub(crate) fn set_link_up(index: u32, mtu: Option<u32>) -> Message {
    let mut change = link(index, mtu.map(LinkAttribute::Mtu).into_iter().collect());
    set_up(&mut change);
    message(&RouteNetlinkMessage::SetLink(change), ACK)
}

/// Removes the interface of this name.
pub(crate) fn delete_link(name: &str) -> Message {
    let doomed = link(0, vec![LinkAttribute::IfName(name.to_owned())]);
    message(&RouteNetlinkMessage::DelLink(doomed), ACK)
}

/// Gives an address to an interface; the kernel adds the route to its network.
pub(crate) fn new_address(address: &InterfaceAddress) -> Message {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet;
    request.header.prefix_len = address.prefix_len;
    request.header.index = address.index;
    let broadcast = Subnet::new(address.address, address.prefix_len).broadcast();
    request.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address.address)),
        AddressAttribute::Address(IpAddr::V4(address.address)),
        AddressAttribute::Broadcast(broadcast),
    ];
    message(&RouteNetlinkMessage::NewAddress(request), ACK | CREATE | EXCLUSIVE)
}

/// Sets the default route, in place of another one.
pub(crate) fn replace_default_route(index: u32, gateway: Ipv4Addr) -> Message {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    request.header.table = RouteHeader::RT_TABLE_MAIN;
    request.header.protocol = RouteProtocol::Boot;
    request.header.scope = RouteScope::Universe;
    request.header.kind = RouteType::Unicast;
    request.attributes =
        vec![RouteAttribute::Gateway(RouteAddress::Inet(gateway)), RouteAttribute::Oif(index)];
    message(&RouteNetlinkMessage::NewRoute(request), ACK | CREATE | REPLACE)
}

/// Reads an interface from an answer to [`get_link`].
pub(crate) fn read_link(body: &[u8]) -> Option<Link> {
    const MTU: u16 = 4;
    const OPERATIONAL_STATE: u16 = 16;
    const STATE_UP: u8 = 6;
    const LINK_INFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    let attributes = body.get(16..)?;
    let info = wire::attribute(attributes, LINK_INFO).unwrap_or_default();
    Some(Link {
        index: wire::native_u32(body, 4)?,
        up: wire::native_u32(body, 8)? & LinkFlags::Up.bits() != 0,
        operational: wire::attribute(attributes, OPERATIONAL_STATE) == Some(&[STATE_UP]),
        mtu: wire::attribute(attributes, MTU)
            .and_then(|value| wire::native_u32(value, 0))
            .unwrap_or(0),
        kind: wire::attribute(info, INFO_KIND).map(wire::string).unwrap_or_default(),
    })
}

/// Reads an address from an answer to [`get_addresses`].
pub(crate) fn read_address(body: &[u8]) -> Option<InterfaceAddress> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let attributes = body.get(8..)?;
    let value =
        wire::attribute(attributes, LOCAL).or_else(|| wire::attribute(attributes, ADDRESS))?;
    Some(InterfaceAddress {
        index: wire::native_u32(body, 4)?,
        address: read_ipv4(value)?,
        prefix_len: *body.get(1)?,
    })
}

fn read_ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

/// Finds an interface by its name.
pub(crate) fn find(channel: &mut Channel, name: &str) -> Result<Option<Link>, Error> {
    let action = || format!("look up interface `{name}`");
    let mut answers = channel
        .exchange(&[get_link(name)])
        .map_err(|source| Error::system(action(), "rtnetlink", source))?;
    match answers.refusal(0) {
        None => Ok(answers.objects.first().and_then(|answer| read_link(&answer.body))),
        Some(refusal) if refusal.errno == Errno::NODEV => Ok(None),
        Some(refusal) => Err(Error::refused(action(), "rtnetlink", refusal)),
    }
}

/// Removes an interface; fine when there is none of that name.
pub(crate) fn delete(channel: &mut Channel, name: &str) -> Result<(), Error> {
    let action = || format!("remove interface `{name}`");
    let mut answers = channel
        .exchange(&[delete_link(name)])
        .map_err(|source| Error::system(action(), "rtnetlink", source))?;
    match answers.refusal(0) {
        Some(refusal) if refusal.errno != Errno::NODEV => {
            Err(Error::refused(action(), "rtnetlink", refusal))
        }
        _ => Ok(()),
    }
}

/// Every network that the host routes to or has an address in, but for the default route and what
/// goes by way of `ignored_interface`.
pub(crate) fn networks_in_use(
    channel: &mut Channel,
    ignored_interface: &str,
) -> Result<Vec<Subnet>, Error> {
    const OUT_INTERFACE: u16 = 4;
    const DESTINATION: u16 = 1;
    let failed = |source| Error::system("list the routes of the host", "rtnetlink", source);
    let ignored = find(channel, ignored_interface)?.map(|link| link.index);
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    let dump = message(&RouteNetlinkMessage::GetRoute(request), DUMP);
    let mut networks = Vec::new();
    for answer in channel.exchange(&[dump]).map_err(failed)?.objects {
        let Some(attributes) = answer.body.get(12..) else { continue };
        let interface =
            wire::attribute(attributes, OUT_INTERFACE).and_then(|value| wire::native_u32(value, 0));
        let destination = wire::attribute(attributes, DESTINATION).and_then(read_ipv4);
        if let Some(destination) =
            destination.filter(|_| interface.is_none() || interface != ignored)
        {
            networks.push(Subnet::new(destination, answer.body[1]));
        }
    }
    // An interface that is down has addresses but no routes yet.
    for answer in channel.exchange(&[get_addresses()]).map_err(failed)?.objects {
        if let Some(address) =
            read_address(&answer.body).filter(|found| Some(found.index) != ignored)
        {
            networks.push(Subnet::new(address.address, address.prefix_len));
        }
    }
    networks.retain(|network| network.prefix_len() > 0);
    networks.sort_unstable();
    networks.dedup();
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_a_link_is_read_past_unknown_attributes() {
        let mut body = vec![0; 16];
        body[4] = 9;
        body[8] = 1;
        let attributes = crate::wire::Attributes::new()
            .bytes(4, &1500u32.to_ne_bytes())
            .bytes(999, b"future")
            .bytes(16, &[6])
            .nest(18, &crate::wire::Attributes::new().text(1, "bridge"));
        body.extend(attributes.0);
        let expected =
            Link { index: 9, up: true, operational: true, mtu: 1500, kind: "bridge".to_owned() };
        assert_eq!(read_link(&body), Some(expected));
    }

    #[test]
    fn an_address_is_written_with_its_broadcast() {
        let address =
            InterfaceAddress { index: 3, address: Ipv4Addr::new(172, 17, 0, 2), prefix_len: 16 };
        let message = new_address(&address);
        assert_eq!((message.kind, message.flags), (20, 0x604));
        let mut expected = vec![2, 16, 0, 0, 3, 0, 0, 0];
        expected.extend([8, 0, 2, 0, 172, 17, 0, 2]);
        expected.extend([8, 0, 1, 0, 172, 17, 0, 2]);
        expected.extend([8, 0, 4, 0, 172, 17, 255, 255]);
        assert_eq!(message.body, expected);
        assert_eq!(read_address(&message.body), Some(address));
    }
}
