//! IPv4 networks, and the pure choices of a network, an address and a hardware address.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::channel::Channel;
use crate::error::Error;
use crate::link;

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix_len: u8,
}

/// The addresses of the machine itself.
pub(crate) const LOOPBACK: Subnet = Subnet { network: Ipv4Addr::new(127, 0, 0, 0), prefix_len: 8 };

impl Subnet {
    /// The network of this size that holds `address`; longer prefixes than 32 count as 32.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix_len: u8) -> Self {
        let prefix_len = prefix_len.min(32);
        Self { network: Ipv4Addr::from_bits(address.to_bits() & mask(prefix_len)), prefix_len }
    }

    /// First address: the name of the network.
    #[must_use]
    pub fn network(&self) -> Ipv4Addr {
        self.network
    }

    /// Length of the prefix.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// The address that the bridge takes, as Docker does: the first after the network's.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits().saturating_add(1))
    }

    /// Last address.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !mask(self.prefix_len))
    }

    /// Whether the address lies in the network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix_len) == self.network.to_bits()
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    pub(crate) fn mask(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix_len))
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.network, self.prefix_len)
    }
}

fn mask(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0)
}

/// Picks a private network that overlaps none of `in_use`: Docker's pools, in Docker's order.
pub fn choose(in_use: &[Subnet]) -> Result<Subnet, Error> {
    let wide = (17..=31).map(|second| Subnet::new(Ipv4Addr::new(172, second, 0, 0), 16));
    let narrow = (0..16u8).map(|block| Subnet::new(Ipv4Addr::new(192, 168, block << 4, 0), 20));
    wide.chain(narrow)
        .find(|candidate| !in_use.iter().any(|used| candidate.overlaps(used)))
        .ok_or(Error::NoFreeNetwork)
}

/// The networks that the host has a route to or an address in, except by way of `ignored_interface`
/// (a bridge that is about to be set up again must not be in its own way).
pub fn in_use(ignored_interface: &str) -> Result<Vec<Subnet>, Error> {
    link::networks_in_use(&mut Channel::route()?, ignored_interface)
}

/// The next free address of `range` after `last`, starting over at the end; never the first and the
/// last of a network.
///
/// Going round instead of taking the lowest leaves an address alone for as long as possible after
/// its container is gone, because neighbours remember who had it.
pub fn next_address(
    subnet: &Subnet,
    range: &Subnet,
    taken: impl IntoIterator<Item = Ipv4Addr>,
    last: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, Error> {
    let full = Error::NoFreeAddress { network: range.network, prefix_len: range.prefix_len };
    let first = range.network.to_bits().max(subnet.network.to_bits().saturating_add(1));
    let end = subnet.broadcast().to_bits().min(range.broadcast().to_bits().saturating_add(1));
    if first >= end {
        return Err(full);
    }
    let taken: HashSet<u32> = taken.into_iter().map(Ipv4Addr::to_bits).collect();
    let start = last.map_or(first, |last| last.to_bits().saturating_add(1)).clamp(first, end);
    (start..end)
        .chain(first..start)
        .find(|candidate| !taken.contains(candidate))
        .map(Ipv4Addr::from_bits)
        .ok_or(full)
}

/// The hardware address that Docker gives to this address: `02:42` and its four bytes.
#[must_use]
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn net(text: &str) -> Subnet {
        let (address, prefix_len) = text.split_once('/').unwrap();
        Subnet::new(address.parse().unwrap(), prefix_len.parse().unwrap())
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_knows_its_edges() {
        let subnet = net("172.17.3.4/16");
        assert_eq!(subnet.to_string(), "172.17.0.0/16");
        assert_eq!(subnet.gateway(), ip("172.17.0.1"));
        assert_eq!(subnet.broadcast(), ip("172.17.255.255"));
        assert_eq!(subnet.mask(), ip("255.255.0.0"));
        assert_eq!(net("1.2.3.4/0").mask(), ip("0.0.0.0"));
        assert_eq!(net("1.2.3.4/32").broadcast(), ip("1.2.3.4"));
    }

    #[test]
    fn the_first_pool_without_overlap_is_chosen() {
        let cases: [(&[&str], &str); 5] = [
            (&[], "172.17.0.0/16"),
            (&["172.17.5.0/24"], "172.18.0.0/16"),
            (&["172.16.0.0/15", "172.18.0.1/32"], "172.19.0.0/16"),
            (&["172.16.0.0/12"], "192.168.0.0/20"),
            (&["172.16.0.0/12", "192.168.1.0/24", "192.168.17.0/24"], "192.168.32.0/20"),
        ];
        for (used, expected) in cases {
            let used: Vec<_> = used.iter().map(|text| net(text)).collect();
            assert_eq!(choose(&used).unwrap(), net(expected), "{used:?}");
        }
        let all = [net("172.16.0.0/12"), net("192.168.0.0/16")];
        assert!(matches!(choose(&all), Err(Error::NoFreeNetwork)));
    }

    #[test]
    fn addresses_go_round() {
        let subnet = net("10.0.0.0/29");
        let next = |taken: &[&str], last: Option<&str>| {
            let taken = taken.iter().copied().chain(["10.0.0.1"]).map(ip);
            next_address(&subnet, &subnet, taken, last.map(ip)).ok()
        };
        assert_eq!(next(&[], None), Some(ip("10.0.0.2")));
        assert_eq!(next(&["10.0.0.2"], None), Some(ip("10.0.0.3")));
        assert_eq!(next(&[], Some("10.0.0.4")), Some(ip("10.0.0.5")));
        assert_eq!(next(&[], Some("10.0.0.6")), Some(ip("10.0.0.2")));
        assert_eq!(next(&["10.0.0.6"], Some("10.0.0.5")), Some(ip("10.0.0.2")));
        assert_eq!(next(&[], Some("192.168.0.1")), Some(ip("10.0.0.2")));
        let all = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
        assert_eq!(next(&all, Some("10.0.0.3")), None);
    }

    #[test]
    fn a_range_gives_its_own_addresses_only() {
        let (subnet, range) = (net("10.0.0.0/24"), net("10.0.0.128/31"));
        let next = |taken: &[&str]| {
            next_address(&subnet, &range, taken.iter().map(|text| ip(text)), None).ok()
        };
        assert_eq!(next(&[]), Some(ip("10.0.0.128")));
        assert_eq!(next(&["10.0.0.128"]), Some(ip("10.0.0.129")));
        assert_eq!(next(&["10.0.0.128", "10.0.0.129"]), None);
        let edge = net("10.0.0.254/31");
        assert_eq!(
            next_address(&subnet, &edge, [], Some(ip("10.0.0.254"))).ok(),
            Some(ip("10.0.0.254"))
        );
    }

    #[test]
    fn a_full_network_says_so() {
        let error = next_address(&net("10.0.0.0/31"), &net("10.0.0.0/31"), [ip("10.0.0.1")], None)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no available IPv4 addresses on this network's address pools: 10.0.0.0/31"
        );
        assert_eq!(error.kind(), orlop_types::ErrorKind::Unavailable);
    }

    #[test]
    fn hardware_addresses_follow_docker() {
        assert_eq!(mac_of(ip("172.17.0.2")), [0x02, 0x42, 0xac, 0x11, 0x00, 0x02]);
    }
}
