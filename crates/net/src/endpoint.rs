//! A container's own network: its namespace, the pairs of interfaces to the bridges, its ports.
//!
//! [`Sandbox`] runs in the monitor; [`connect`] and [`disconnect`] change the networks of a container
//! that runs, from outside. The sockets for the host's namespace (netlink, published ports) are opened
//! before the thread leaves it and stay there. If anything fails, everything in the host's namespace
//! is taken back; the thread is then still in the new namespace, which ends with it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
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

/// What the kernel must have.
const FEATURE: &str = "virtual interface pairs (module `veth`)";

/// How often, and in what intervals, to look whether frames pass; a link that takes longer than these
/// 200 ms is left to come up by itself, as the container's programs can wait for it too.
const SETTLE_ATTEMPTS: u32 = 100;
const SETTLE_PAUSE: Duration = Duration::from_millis(2);

/// What a container has on the host's side for as long as it runs.
#[derive(Debug)]
pub struct Sandbox {
    host: Host,
    /// One bound socket for each published port; closed only after the rules are gone.
    held: Vec<OwnedFd>,
    /// Made by `enter` and not taken back yet.
    endpoints: Vec<BridgePlan>,
}

/// The sockets with which things are made and taken back in the host's namespace.
#[derive(Debug)]
struct Host {
    route: Channel,
    firewall: Channel,
}

impl Sandbox {
    /// Moves the calling thread into a new network namespace that is on these bridges, with the ports
    /// led in from the host. The bridges must be there ([`Bridge::ensure`](crate::Bridge::ensure)).
    pub fn enter(endpoints: &[BridgePlan]) -> Result<Self, Error> {
        let mut held = Vec::new();
        for plan in endpoints {
            check(plan)?;
            held.extend(port::hold_all(&plan.ports)?);
        }
        let mut host = Host::open()?;
        let bridges = endpoints
            .iter()
            .map(|plan| host.find_bridge(plan))
            .collect::<Result<Vec<u32>, Error>>()?;
        let (mut inside, namespace) = new_namespace()?;
        let requests = [link::set_link_up(LOOPBACK, None)];
        exchange(&mut inside, &requests, "set up the loopback interface")?;
        let mut sandbox = Self { host, held, endpoints: endpoints.to_vec() };
        for (plan, bridge) in endpoints.iter().zip(bridges) {
            if let Err(error) = sandbox.host.join(plan, bridge, &mut inside, &namespace) {
                if let Err(left) = sandbox.leave(&[]) {
                    tracing::debug!(op = "enter", %left, "something is left on the host");
                }
                return Err(error);
            }
        }
        Ok(sandbox)
    }

    /// Takes back the ports and the host's ends of the pairs, by the sockets that `enter` opened in
    /// the host's namespace; `connected` are those that came later. Every step is tried; a second
    /// call does nothing.
    pub fn leave(&mut self, connected: &[BridgePlan]) -> Result<(), Error> {
        let mut endpoints = std::mem::take(&mut self.endpoints);
        endpoints.extend(connected.iter().cloned());
        let mut failures = Vec::new();
        for plan in &endpoints {
            failures.extend(self.host.withdraw(plan).err());
        }
        // The ports are free from here on; the kernel takes some 30 ms to remove an interface.
        self.held.clear();
        for plan in &endpoints {
            failures.extend(link::delete(&mut self.host.route, &plan.host_interface).err());
        }
        Error::collect(failures)
    }
}

/// Moves the calling thread into a new network namespace with nothing but loopback.
pub fn enter_none() -> Result<(), Error> {
    let (mut inside, _) = new_namespace()?;
    let requests = [link::set_link_up(LOOPBACK, None)];
    exchange(&mut inside, &requests, "set up the loopback interface").map(drop)
}

/// Moves the calling thread into a network namespace that exists.
pub fn enter_existing(namespace: &File) -> Result<(), Error> {
    rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )
    .map_err(|errno| Error::system("join a network namespace", "network namespaces", errno.into()))
}

/// Puts a running container on one more bridge; its ports must be held by its monitor already.
pub fn connect(plan: &BridgePlan, namespace: &File) -> Result<(), Error> {
    check(plan)?;
    let mut host = Host::open()?;
    let bridge = host.find_bridge(plan)?;
    let mut inside = channel_inside(namespace)?;
    let joined = host.join(plan, bridge, &mut inside, namespace);
    if joined.is_err()
        && let Err(left) = host.remove(plan)
    {
        tracing::debug!(op = "connect", %left, "something is left on the host");
    }
    joined
}

/// Takes a running container off a bridge; fine where it is not on it.
pub fn disconnect(plan: &BridgePlan) -> Result<(), Error> {
    Host::open()?.remove(plan)
}

/// Leads the default route of a running container by way of this end point. One whose connection was cut
/// before its interface was made has none to offer, and must not keep others from being taken away.
pub fn set_default_route(plan: &BridgePlan, namespace: &File) -> Result<(), Error> {
    let Some(gateway) = plan.gateway else { return Ok(()) };
    let mut inside = channel_inside(namespace)?;
    let Some(interface) = link::find(&mut inside, &plan.interface)? else {
        tracing::debug!(interface = %plan.interface, "not there: no default route by way of it");
        return Ok(());
    };
    let requests = [link::replace_default_route(interface.index, gateway)];
    exchange(&mut inside, &requests, "set the container's default route").map(drop)
}

/// Leads ports that the container's monitor holds to this end point.
pub fn publish(plan: &BridgePlan) -> Result<(), Error> {
    Host::open()?.publish(plan)
}

/// Takes ports back whose sockets somebody still holds.
pub fn withdraw(table: &str, ports: &[PublishedPort]) -> Result<(), Error> {
    table::withdraw(&mut Channel::firewall()?, table, ports)
}

fn check(plan: &BridgePlan) -> Result<(), Error> {
    match [&plan.host_interface, &plan.interface]
        .into_iter()
        .find(|name| !names::is_interface(name))
    {
        Some(name) => Err(Error::Name { name: name.clone() }),
        None => Ok(()),
    }
}

/// Opens a socket in another namespace. Only a thread of its own ever goes there.
fn channel_inside(namespace: &File) -> Result<Channel, Error> {
    let opened = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            enter_existing(namespace)?;
            Channel::route()
        });
        work.join()
    });
    opened.unwrap_or_else(|_| {
        let source = io::Error::other("the thread has ended");
        Err(Error::system("open a route socket in the container", "rtnetlink", source))
    })
}

impl Host {
    fn open() -> Result<Self, Error> {
        Ok(Self { route: Channel::route()?, firewall: Channel::firewall()? })
    }

    fn find_bridge(&mut self, plan: &BridgePlan) -> Result<u32, Error> {
        link::find(&mut self.route, &plan.bridge)?
            .map(|bridge| bridge.index)
            .ok_or_else(|| Error::NoBridge { name: plan.bridge.clone() })
    }

    /// Makes one end point with everything that belongs to it.
    fn join(
        &mut self,
        plan: &BridgePlan,
        bridge: u32,
        inside: &mut Channel,
        namespace: &File,
    ) -> Result<(), Error> {
        let pair = Pair {
            name: &plan.host_interface,
            bridge,
            mtu: plan.mtu,
            peer_name: &plan.interface,
            peer_mac: plan.mac,
            peer_namespace: namespace.as_raw_fd(),
        };
        self.connect(&pair, plan.isolated)?;
        set_up_inside(inside, plan)?;
        self.settle(plan)?;
        self.publish(plan)
    }

    /// Takes back everything of one end point; every step is tried.
    fn remove(&mut self, plan: &BridgePlan) -> Result<(), Error> {
        let withdrawn = self.withdraw(plan);
        let deleted = link::delete(&mut self.route, &plan.host_interface);
        Error::collect([withdrawn.err(), deleted.err()].into_iter().flatten().collect())
    }

    fn connect(&mut self, pair: &Pair<'_>, isolated: bool) -> Result<(), Error> {
        let action = || format!("create interface `{}`", pair.name);
        let requests = [link::new_pair(pair), link::set_bridge_port(pair.name, isolated)];
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
    fn settle(&mut self, plan: &BridgePlan) -> Result<(), Error> {
        let action = "look at the container's interface";
        let requests = [link::get_link(&plan.host_interface), link::get_link(&plan.bridge)];
        for _ in 0..SETTLE_ATTEMPTS {
            let answers = exchange(&mut self.route, &requests, action)?;
            let links: Vec<_> =
                answers.objects.iter().filter_map(|one| link::read_link(&one.body)).collect();
            if links.len() == requests.len() && links.iter().all(|link| link.operational) {
                return Ok(());
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
        tracing::debug!(op = "enter", interface = plan.host_interface, "the link is not up yet");
        Ok(())
    }

    fn publish(&mut self, plan: &BridgePlan) -> Result<(), Error> {
        if plan.ports.is_empty() {
            return Ok(());
        }
        table::publish(&mut self.firewall, &plan.table, plan.address, &plan.ports)?;
        conntrack::forget_to(&mut self.firewall, &plan.ports);
        Ok(())
    }

    fn withdraw(&mut self, plan: &BridgePlan) -> Result<(), Error> {
        if plan.ports.is_empty() {
            return Ok(());
        }
        let withdrawn = table::withdraw(&mut self.firewall, &plan.table, &plan.ports);
        conntrack::forget_from(&mut self.firewall, plan.address, &plan.ports);
        withdrawn
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

fn interface_inside(inside: &mut Channel, name: &str) -> Result<u32, Error> {
    let action = "set up the container's interfaces";
    let found = link::find(inside, name)?;
    Ok(found.ok_or_else(|| Error::system(action, FEATURE, Errno::NODEV.into()))?.index)
}

/// Sets up one interface: two round trips, as the second needs its index.
fn set_up_inside(inside: &mut Channel, plan: &BridgePlan) -> Result<(), Error> {
    let index = interface_inside(inside, &plan.interface)?;
    let address = InterfaceAddress { index, address: plan.address, prefix_len: plan.prefix_len };
    let mut requests = vec![link::set_link_up(index, None), link::new_address(&address)];
    if let Some(gateway) = plan.gateway.filter(|_| plan.default_route) {
        requests.push(link::replace_default_route(index, gateway));
    }
    exchange(inside, &requests, "set up the container's interfaces").map(drop)
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
