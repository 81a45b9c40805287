//! A container's own network: its namespace, the pair of interfaces to the bridge, its ports.
//!
//! Runs in the monitor. The sockets for the host's namespace (netlink, published ports) are opened
//! before the thread leaves it and stay there. If anything fails, everything in the host's namespace
//! is taken back; the thread is then still in the new namespace, which ends with it.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use orlop_types::network::{BridgePlan, PublishedPort};
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use crate::bridge::ensure_setting;
use crate::channel::{Answers, Channel};
use crate::error::Error;
use crate::link::{self, InterfaceAddress, LOOPBACK, Pair};
use crate::wire::Message;
use crate::{conntrack, names, port, table};

/// Name of the interface in the container.
const INTERFACE: &str = "eth0";
/// What the kernel must have.
const FEATURE: &str = "virtual interface pairs (module `veth`)";

/// How often, and in what intervals, to look whether frames pass; a link that takes longer than these
/// 200 ms is left to come up by itself, as the container's programs can wait for it too.
const SETTLE_ATTEMPTS: u32 = 100;
const SETTLE_PAUSE: Duration = Duration::from_millis(2);

/// What a container has on the host's side for as long as it runs.
#[derive(Debug)]
pub struct Endpoint {
    host: Option<Host>,
}

/// Everything to be taken back, with the sockets to do it.
#[derive(Debug)]
struct Host {
    route: Channel,
    firewall: Channel,
    table: String,
    interface: String,
    address: Ipv4Addr,
    ports: Vec<PublishedPort>,
    /// One bound socket for each published port; closed only after the rules are gone.
    held: Vec<OwnedFd>,
}

impl Endpoint {
    /// Moves the calling thread into a new network namespace that is on the bridge, with the ports
    /// led in from the host. The bridge must be there ([`Bridge::ensure`](crate::Bridge::ensure)).
    pub fn enter(plan: &BridgePlan) -> Result<Self, Error> {
        if !names::is_interface(&plan.host_interface) {
            return Err(Error::Name { name: plan.host_interface.clone() });
        }
        let held = port::hold_all(&plan.ports)?;
        let mut host = Host {
            route: Channel::route()?,
            firewall: Channel::firewall()?,
            table: plan.table.clone(),
            interface: plan.host_interface.clone(),
            address: plan.address,
            ports: plan.ports.clone(),
            held,
        };
        let bridge = link::find(&mut host.route, &plan.bridge)?
            .ok_or_else(|| Error::NoBridge { name: plan.bridge.clone() })?;
        let (mut inside, namespace) = new_namespace()?;
        let pair = Pair {
            name: &plan.host_interface,
            bridge: bridge.index,
            mtu: plan.mtu,
            peer_name: INTERFACE,
            peer_mac: plan.mac,
            peer_namespace: namespace.as_raw_fd(),
        };
        let done = host
            .connect(&pair)
            .and_then(|()| set_up_inside(&mut inside, plan))
            .and_then(|()| host.settle(&plan.bridge))
            .and_then(|()| host.publish());
        let mut endpoint = Self { host: Some(host) };
        if let Err(error) = done {
            if let Err(left) = endpoint.leave() {
                tracing::debug!(op = "enter", %left, "something is left on the host");
            }
            return Err(error);
        }
        Ok(endpoint)
    }

    /// Moves the calling thread into a new network namespace with nothing but loopback.
    pub fn enter_none() -> Result<(), Error> {
        let (mut inside, _) = new_namespace()?;
        let requests = [link::set_link_up(LOOPBACK, None)];
        exchange(&mut inside, &requests, "set up the loopback interface").map(drop)
    }

    /// Takes back the ports and the host's end of the pair, by the sockets that `enter` opened in
    /// the host's namespace. Every step is tried; a second call does nothing.
    pub fn leave(&mut self) -> Result<(), Error> {
        let Some(mut host) = self.host.take() else { return Ok(()) };
        let withdrawn = table::withdraw(&mut host.firewall, &host.table, &host.ports);
        conntrack::forget_from(&mut host.firewall, host.address, &host.ports);
        // The ports are free from here on; the kernel takes some 30 ms to remove an interface.
        host.held.clear();
        let deleted = link::delete(&mut host.route, &host.interface);
        Error::collect([withdrawn.err(), deleted.err()].into_iter().flatten().collect())
    }
}

impl Host {
    fn connect(&mut self, pair: &Pair<'_>) -> Result<(), Error> {
        let action = || format!("create interface `{}`", pair.name);
        let requests = [link::new_pair(pair), link::allow_hairpin(pair.name)];
        for attempt in 0..2 {
            let answers = self
                .route
                .exchange(&requests)
                .map_err(|source| Error::system(action(), FEATURE, source))?;
            match answers.refusals.into_iter().next() {
                None => return Ok(()),
                // The last run of the same container was killed, or its namespace is still ending.
                Some(refusal) if refusal.errno == Errno::EXIST && attempt == 0 => {
                    link::delete(&mut self.route, pair.name)?;
                }
                Some(refusal) => return Err(Error::refused(action(), FEATURE, refusal)),
            }
        }
        Ok(())
    }

    /// Waits until frames pass: the kernel notices that a link has come up in a work queue, may take
    /// a while over it, and drops what is sent until then (a lost first packet costs a second). To
    /// ask for an interface makes Linux 6.8 and later take note at once: the port, then its bridge.
    fn settle(&mut self, bridge: &str) -> Result<(), Error> {
        let action = "look at the container's interface";
        let requests = [link::get_link(&self.interface), link::get_link(bridge)];
        for _ in 0..SETTLE_ATTEMPTS {
            let answers = exchange(&mut self.route, &requests, action)?;
            let links: Vec<_> =
                answers.objects.iter().filter_map(|one| link::read_link(&one.body)).collect();
            if links.len() == requests.len() && links.iter().all(|link| link.operational) {
                return Ok(());
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
        tracing::debug!(op = "enter", interface = self.interface, "the link is not up yet");
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Error> {
        table::publish(&mut self.firewall, &self.table, self.address, &self.ports)?;
        conntrack::forget_to(&mut self.firewall, &self.ports);
        Ok(())
    }
}

/// Leaves the current network namespace for a new one; returns a socket and a file of the new one.
fn new_namespace() -> Result<(Channel, File), Error> {
    let failed = |source| Error::system("create a network namespace", "network namespaces", source);
    // Its replacement is unsafe because of unsharing descriptors, which is not asked for here.
    #[expect(deprecated, reason = "the unsafe replacement differs for UnshareFlags::FILES only")]
    rustix::thread::unshare(UnshareFlags::NEWNET).map_err(|errno| failed(errno.into()))?;
    // As Docker has it: a container's processes need no capability for low ports and for `ping`.
    ensure_setting("net/ipv4/ip_unprivileged_port_start", "0")?;
    ensure_setting("net/ipv4/ping_group_range", "0 2147483647")?;
    // An IPv4 network: programs must not take the link-local address that `eth0` would get for a way
    // to the world. Loopback exists already and keeps `::1`. Kernels without IPv6 lack the setting.
    match ensure_setting("net/ipv6/conf/default/disable_ipv6", "1") {
        Err(Error::Setting { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        done => done?,
    }
    let namespace = File::open("/proc/thread-self/ns/net").map_err(failed)?;
    Ok((Channel::route()?, namespace))
}

/// Sets up loopback and `eth0`: two round trips, as the second needs the index of `eth0`.
fn set_up_inside(inside: &mut Channel, plan: &BridgePlan) -> Result<(), Error> {
    let action = "set up the container's interfaces";
    let found = link::find(inside, INTERFACE)?;
    let eth0 = found.ok_or_else(|| Error::system(action, FEATURE, Errno::NODEV.into()))?.index;
    let address =
        InterfaceAddress { index: eth0, address: plan.address, prefix_len: plan.prefix_len };
    let requests = [
        link::set_link_up(LOOPBACK, None),
        link::set_link_up(eth0, None),
        link::new_address(&address),
        link::new_default_route(eth0, plan.gateway),
    ];
    exchange(inside, &requests, action).map(drop)
}

/// Sends requests of which none may be refused.
fn exchange(channel: &mut Channel, requests: &[Message], action: &str) -> Result<Answers, Error> {
    let mut answers =
        channel.exchange(requests).map_err(|source| Error::system(action, "rtnetlink", source))?;
    match answers.refusals.pop() {
        Some(refusal) => Err(Error::refused(action, "rtnetlink", refusal)),
        None => Ok(answers),
    }
}

/// Removes the host's end of a pair after its monitor was killed; fine when it is not there.
pub fn remove_interface(name: &str) -> Result<(), Error> {
    if !names::is_interface(name) {
        return Err(Error::Name { name: name.to_owned() });
    }
    link::delete(&mut Channel::route()?, name)
}
