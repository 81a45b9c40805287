//! The host's side of a root's network: bridge, kernel settings, nftables table.

use std::fs;
use std::net::Ipv4Addr;

use rustix::io::Errno;

use crate::channel::Channel;
use crate::error::Error;
use crate::foreign;
use crate::link::{self, InterfaceAddress, Link};
use crate::names;
use crate::subnet::{self, Subnet};
use crate::table::{self, Reach, Table};

/// What the kernel must have.
const FEATURE: &str = "bridges (module `bridge`)";

/// The bridge of a root and the table of its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Name of the bridge interface.
    pub name: String,
    /// Name of the nftables table.
    pub table: String,
    /// The bridge's own address, the gateway of its containers.
    pub gateway: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix_len: u8,
    /// MTU in bytes.
    pub mtu: u32,
    /// How far its containers reach.
    pub reach: Reach,
}

impl Bridge {
    /// The network.
    #[must_use]
    pub fn subnet(&self) -> Subnet {
        Subnet::new(self.gateway, self.prefix_len)
    }

    /// Sees to it that bridge, settings and table are there; only looks when they are.
    ///
    /// Safe in several processes at once: every step leaves alone what another has made. The rules
    /// come before forwarding is switched on, so that nothing is reachable in between.
    pub fn ensure(&self) -> Result<(), Error> {
        self.check()?;
        let rules = Table {
            name: &self.table,
            bridge: &self.name,
            subnet: self.subnet(),
            reach: self.reach,
        };
        let mut firewall = Channel::firewall()?;
        if !rules.is_current(&mut firewall)? {
            rules.declare(&mut firewall)?;
        }
        foreign::open(&mut firewall, &self.name);
        let mut route = Channel::route()?;
        let (bridge, has_address) = self.look(&mut route)?;
        let settled = bridge.as_ref().is_some_and(|link| link.up && link.mtu == self.mtu);
        if !(settled && has_address) {
            self.build(&mut route, bridge.as_ref(), has_address)?;
        }
        ensure_setting("net/ipv4/ip_forward", "1")?;
        ensure_setting(&format!("net/ipv4/conf/{}/route_localnet", self.name), "1")
    }

    /// Removes bridge and table; fine when they are not there. Every step is tried.
    ///
    /// The table goes last: by it the bridge of a removal that was cut is found again.
    pub fn remove(&self) -> Result<(), Error> {
        self.check()?;
        remove_leftover(&self.table, Some(&self.name))
    }

    /// The name goes into paths below `/proc/sys` and the network into rules.
    fn check(&self) -> Result<(), Error> {
        if !names::is_interface(&self.name) {
            return Err(Error::Name { name: self.name.clone() });
        }
        let subnet = self.subnet();
        let usable = (1..=30).contains(&self.prefix_len)
            && self.gateway != subnet.network()
            && self.gateway != subnet.broadcast();
        if usable {
            Ok(())
        } else {
            Err(Error::Network { address: self.gateway, prefix_len: self.prefix_len })
        }
    }

    fn address_on(&self, index: u32) -> InterfaceAddress {
        InterfaceAddress { index, address: self.gateway, prefix_len: self.prefix_len }
    }

    /// The bridge as it is, and whether it has its address: one round trip.
    fn look(&self, channel: &mut Channel) -> Result<(Option<Link>, bool), Error> {
        let action = || format!("look up bridge `{}`", self.name);
        let mut answers = channel
            .exchange(&[link::get_link(&self.name), link::get_addresses()])
            .map_err(|source| Error::system(action(), "rtnetlink", source))?;
        if let Some(refusal) = answers.refusal(0) {
            if refusal.errno == Errno::NODEV {
                return Ok((None, false));
            }
            return Err(Error::refused(action(), "rtnetlink", refusal));
        }
        if let Some(refusal) = answers.refusal(1) {
            return Err(Error::refused(action(), "rtnetlink", refusal));
        }
        let found = answers.objects.iter().filter(|answer| answer.message == 0);
        let Some(bridge) = found.filter_map(|answer| link::read_link(&answer.body)).next() else {
            return Ok((None, false));
        };
        if bridge.kind != "bridge" {
            return Err(Error::NotABridge { name: self.name.clone() });
        }
        let wanted = self.address_on(bridge.index);
        let mut addresses = answers.objects.iter().filter(|answer| answer.message == 1);
        let has_address = addresses.any(|answer| link::read_address(&answer.body) == Some(wanted));
        Ok((Some(bridge), has_address))
    }

    /// Creates what is missing.
    fn build(
        &self,
        channel: &mut Channel,
        bridge: Option<&Link>,
        has_address: bool,
    ) -> Result<(), Error> {
        let index = match bridge {
            Some(bridge) => bridge.index,
            None => self.create(channel)?,
        };
        let mut requests = vec![link::set_link_up(index, Some(self.mtu))];
        if !has_address {
            requests.push(link::new_address(&self.address_on(index)));
        }
        let action = || format!("set up bridge `{}`", self.name);
        let answers = channel
            .exchange(&requests)
            .map_err(|source| Error::system(action(), FEATURE, source))?;
        // Another process may have given the address in the meantime.
        match answers.refusals.into_iter().find(|refusal| refusal.errno != Errno::EXIST) {
            Some(refusal) => Err(Error::refused(action(), FEATURE, refusal)),
            None => Ok(()),
        }
    }

    fn create(&self, channel: &mut Channel) -> Result<u32, Error> {
        let action = || format!("create bridge `{}`", self.name);
        let request = link::new_bridge(&self.name, subnet::mac_of(self.gateway), self.mtu);
        let mut answers = channel
            .exchange(&[request])
            .map_err(|source| Error::system(action(), FEATURE, source))?;
        match answers.refusal(0) {
            Some(refusal) if refusal.errno != Errno::EXIST => {
                return Err(Error::refused(action(), FEATURE, refusal));
            }
            _ => {}
        }
        match self.look(channel)? {
            (Some(bridge), _) => Ok(bridge.index),
            (None, _) => Err(Error::NoBridge { name: self.name.clone() }),
        }
    }
}

/// Removes a table and the bridge of its rules; fine when they are not there.
pub fn remove_leftover(table: &str, bridge: Option<&str>) -> Result<(), Error> {
    let deleted = match bridge {
        Some(bridge) => Channel::route().and_then(|mut channel| link::delete(&mut channel, bridge)),
        None => Ok(()),
    };
    orlop_sys::fault::point("bridge.deleted");
    let removed = Channel::firewall().and_then(|mut channel| {
        if let Some(bridge) = bridge {
            foreign::close(&mut channel, bridge);
        }
        table::remove(&mut channel, table)
    });
    Error::collect([deleted.err(), removed.err()].into_iter().flatten().collect())
}

/// Whether the host has an interface of this name.
pub fn interface_exists(name: &str) -> Result<bool, Error> {
    if !names::is_interface(name) {
        return Err(Error::Name { name: name.to_owned() });
    }
    Ok(link::find(&mut Channel::route()?, name)?.is_some())
}

/// Writes a kernel setting unless it has the value already.
pub(crate) fn ensure_setting(name: &str, value: &str) -> Result<(), Error> {
    let path = format!("/proc/sys/{name}");
    let result = fs::read_to_string(&path).and_then(|present| {
        if present.split_ascii_whitespace().eq(value.split_ascii_whitespace()) {
            Ok(())
        } else {
            fs::write(&path, value)
        }
    });
    result.map_err(|source| Error::Setting { path, source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_networks_are_checked_before_anything_is_done() {
        let good = Bridge {
            name: "orlop0".to_owned(),
            table: "orlop".to_owned(),
            gateway: Ipv4Addr::new(172, 17, 0, 1),
            prefix_len: 16,
            mtu: 1500,
            reach: Reach::Masqueraded,
        };
        assert!(good.check().is_ok());
        let named = Bridge { name: "../../kernel".to_owned(), ..good.clone() };
        assert!(matches!(named.ensure().unwrap_err(), Error::Name { .. }));
        for (gateway, prefix_len) in
            [([172, 17, 0, 0], 16), ([172, 17, 255, 255], 16), ([10, 0, 0, 1], 31)]
        {
            let bridge = Bridge { gateway: gateway.into(), prefix_len, ..good.clone() };
            assert!(matches!(bridge.remove().unwrap_err(), Error::Network { .. }), "{bridge:?}");
        }
    }
}
