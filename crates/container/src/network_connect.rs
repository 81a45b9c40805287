//! Connects containers to networks and takes them off, whether they run or not.
//!
//! For one that runs: the rows first, then the interface, then the files by which the monitor answers
//! questions and knows what to take back. A crash in between leaves an end point without interface or
//! an interface without names: the end of the container takes both away.

use std::fs::File;
use std::path::Path;

use orlop_meta::{ConnectionRecord, ContainerRecord, ContainerStatus, Durability, NetworkRecord};
use orlop_types::ErrorKind;
use orlop_types::config::{Config, HostConfig};
use orlop_types::network::{EndpointSettings, NetworkMode, NetworkState, parse_mac};

use crate::error::system;
use crate::network::{
    Shown, dns_names, find_network, hide_names, network_event, refused, write_names,
};
use crate::network_settings::{DEFAULT_BRIDGE, PREDEFINED, Pool, Purpose, bridge_of};
use crate::{Containers, Error, Result};

/// Containers with a network of others.
pub(crate) const SHARED: &str = "container sharing network namespace with another container or host cannot be \
                      connected to any other network";

/// Containers without any network.
pub(crate) const PRIVATE: &str = "container cannot be connected to multiple networks with one of the \
                                  networks in private (none) mode";

impl Containers<'_> {
    /// Connects a container to a network.
    pub fn network_connect(
        &self,
        network: &str,
        container: &str,
        settings: &EndpointSettings,
    ) -> Result<()> {
        let id = self.id(container)?;
        let _operation = self.lock_operation(&id)?;
        let container = self.settle_locked(&id)?;
        check_state(&container)?;
        let network = self.network_named(network)?;
        let network = self.with_subnet(network)?;
        self.check_connection(&container, &network)?;
        check_settings(&network.name, settings, Some(&network))?;
        let connection =
            ConnectionRecord { network: network.name.clone(), settings: settings.clone() };
        if !container.state.status.is_active() {
            return self.store.write(Durability::Lazy, |query| {
                Ok(query.connection_put(&container.id, &connection)?)
            });
        }
        let _networks = self.lock_networks(Purpose::Use)?;
        if let Some(bridge) = bridge_of(&network) {
            bridge.ensure()?;
        }
        self.connect_running(&container, &network, &connection)
    }

    fn connect_running(
        &self,
        container: &ContainerRecord,
        network: &NetworkRecord,
        connection: &ConnectionRecord,
    ) -> Result<()> {
        let namespace = namespace_of(container)?;
        let before = self.read_state(container)?;
        let (endpoint, after) = self.store.write(Durability::Lazy, |query| {
            if query.connections(&container.id)?.iter().any(|one| one.network == network.name) {
                return Err(Error::Network {
                    kind: ErrorKind::Denied,
                    message: format!(
                        "endpoint with name {} already exists in network {}",
                        container.name, network.name
                    ),
                });
            }
            query.connection_put(&container.id, connection)?;
            let endpoint = self.place_one_more(query, container, connection, &before)?;
            Ok((endpoint.plan, self.rearrange(query, container)?))
        })?;
        orlop_sys::fault::point("network.connect.committed");
        // The interface comes without ports and default route: these move in a second step.
        let bare = orlop_types::network::BridgePlan {
            ports: Vec::new(),
            default_route: false,
            ..endpoint.clone()
        };
        if let Err(error) = orlop_net::connect(&bare, &namespace) {
            self.store.write(Durability::Lazy, |query| {
                query.connection_delete(&container.id, &network.name)?;
                query.endpoint_delete(&container.id, &network.id)?;
                self.rearrange(query, container)
            })?;
            return Err(error.into());
        }
        self.apply(container, &before, &after, &namespace)?;
        if let Some(path) = &endpoint.names {
            let names = dns_names(container, &connection.settings);
            let record = orlop_types::network::NameRecord { address: endpoint.address, names };
            write_names(path, &record, Shown::Yes)?;
        }
        Ok(())
    }

    /// Takes a container off a network.
    pub fn network_disconnect(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let id = self.id(container)?;
        let _operation = self.lock_operation(&id)?;
        let container = self.settle_locked(&id)?;
        check_state(&container)?;
        let found = match self.network_named(network) {
            // Its network may be gone, and it must be possible to forget it.
            Err(Error::Network { kind: ErrorKind::NotFound, .. })
                if force || !container.state.status.is_active() =>
            {
                None
            }
            other => Some(other?),
        };
        let name = found.as_ref().map_or(network, |found| found.name.as_str());
        let running = found.as_ref().filter(|_| container.state.status.is_active());
        let Some(found) = running else {
            let was = self.store.write(Durability::Lazy, |query| {
                query.connection_delete(&container.id, name).map_err(Error::from)
            })?;
            return if was {
                Ok(())
            } else {
                Err(not_connected(&container, &format!("the network {name}")))
            };
        };
        let mode = NetworkMode::of(&container.host_config.network_mode);
        if mode == NetworkMode::Host && found.settings.driver == "host" {
            return Err(refused(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        self.disconnect_running(&container, found)
    }

    fn disconnect_running(
        &self,
        container: &ContainerRecord,
        network: &NetworkRecord,
    ) -> Result<()> {
        let namespace = namespace_of(container)?;
        let before = self.read_state(container)?;
        let (endpoint, after) = self.store.write(Durability::Lazy, |query| {
            let mut endpoints = query.endpoints(&container.id)?;
            let place = endpoints.iter().position(|one| one.network == network.id);
            let Some(place) = place else {
                return Err(not_connected(container, &format!("network {}", network.name)));
            };
            let mut endpoint = endpoints.remove(place);
            query.connection_delete(&container.id, &network.name)?;
            query.endpoint_delete(&container.id, &network.id)?;
            query.event_insert(&network_event(network, "disconnect", Some(&container.id)))?;
            // Its ports go on by way of another network, if there is one.
            if let Some(mut heir) = endpoints.into_iter().next() {
                heir.plan.ports.append(&mut endpoint.plan.ports.clone());
                query.endpoint_set_plan(&heir)?;
            }
            endpoint.plan.names = endpoint.plan.names.take();
            Ok((endpoint.plan, self.rearrange(query, container)?))
        })?;
        orlop_sys::fault::point("network.disconnect.committed");
        hide_names(endpoint.names.as_deref());
        orlop_net::disconnect(&endpoint)?;
        self.apply(container, &before, &after, &namespace)
    }

    /// Brings ports, default route and resolver of a running container to their new state.
    fn apply(
        &self,
        container: &ContainerRecord,
        before: &NetworkState,
        after: &NetworkState,
        namespace: &File,
    ) -> Result<()> {
        let former = |plan: &orlop_types::network::BridgePlan| {
            before.endpoints.iter().find(|one| one.host_interface == plan.host_interface)
        };
        for plan in &after.endpoints {
            let was = former(plan);
            let moved = was.is_some_and(|was| !was.ports.is_empty()) && plan.ports.is_empty();
            if let Some(was) = was.filter(|_| moved) {
                orlop_net::withdraw(&was.table, &was.ports)?;
            }
        }
        for plan in &after.endpoints {
            let was = former(plan);
            if !plan.ports.is_empty() && was.is_none_or(|was| was.ports != plan.ports) {
                orlop_net::publish(plan)?;
            }
            if plan.default_route && was.is_none_or(|was| !was.default_route) {
                orlop_net::set_default_route(plan, namespace)?;
            }
        }
        self.write_state(&container.id, after)?;
        if after.resolver.is_some() && before.resolver.is_none() {
            let path = self.store.paths.container_run(&container.id).join("resolver.port");
            let port = std::fs::read_to_string(&path).map_err(system("read", &path))?;
            let port =
                port.trim().parse().map_err(|_| refused("the resolver's port is damaged"))?;
            orlop_net::intercept(namespace, port)?;
        }
        self.rewrite_files(container, after)
    }

    fn read_state(&self, container: &ContainerRecord) -> Result<NetworkState> {
        let path = self.network_state_path(&container.id);
        let text = std::fs::read(&path).map_err(system("read", &path))?;
        serde_json::from_slice(&text).map_err(|error| system("read", &path)(error.into()))
    }

    /// Checks that a container may be on this network besides those that it is on.
    fn check_connection(&self, container: &ContainerRecord, network: &NetworkRecord) -> Result<()> {
        let mode = NetworkMode::of(&container.host_config.network_mode);
        if matches!(mode, NetworkMode::Container(_)) {
            return Err(refused(SHARED));
        }
        if mode != NetworkMode::Host && network.settings.driver == "host" {
            return Err(refused(
                "cannot connect container to host network - container must be created in host network mode",
            ));
        }
        if mode == NetworkMode::Host {
            return Err(refused(SHARED));
        }
        let is_other = mode != NetworkMode::None || network.settings.driver != "null";
        if (mode == NetworkMode::None || network.settings.driver == "null") && is_other {
            return Err(refused(PRIVATE));
        }
        Ok(())
    }

    /// Connects a new container: what its mode says first, then what else is asked for.
    pub(crate) fn first_connections(
        &self,
        mode: &str,
        asked: &std::collections::BTreeMap<String, EndpointSettings>,
    ) -> Result<Vec<ConnectionRecord>> {
        let mode = NetworkMode::of(mode);
        let Some(first) = mode.network() else {
            return if asked.is_empty() { Ok(Vec::new()) } else { Err(refused(SHARED)) };
        };
        self.ensure_predefined()?;
        let canonical = |name: &str| {
            let name = if name == "default" { DEFAULT_BRIDGE } else { name };
            // One that is not there yet may be there when the container starts.
            self.store
                .read(|query| find_network(query, name))
                .map_or_else(|_| name.to_owned(), |found| found.name)
        };
        let first = canonical(first);
        let mut connections = vec![ConnectionRecord {
            network: first.clone(),
            settings: EndpointSettings::default(),
        }];
        for (name, settings) in asked {
            let known = self.store.read(|query| find_network(query, name)).ok();
            check_settings(name, settings, known.as_ref())
                .map_err(|error| refused(format!("invalid config for network {name}: {error}")))?;
            let name = canonical(name);
            match connections.iter_mut().find(|one| one.network == name) {
                Some(present) => present.settings = settings.clone(),
                None => {
                    connections
                        .push(ConnectionRecord { network: name, settings: settings.clone() });
                }
            }
        }
        if connections.len() > 1 {
            let modes = || connections.iter().map(|one| NetworkMode::of(&one.network));
            if modes().any(|mode| mode == NetworkMode::Host) {
                return Err(refused(SHARED));
            }
            if modes().any(|mode| mode == NetworkMode::None) {
                return Err(refused(PRIVATE));
            }
        }
        Ok(connections)
    }
}

/// Checks a new container's mode against its other settings, before anything of the image is added.
pub(crate) fn check_mode(config: &Config, host: &HostConfig) -> Result<()> {
    let has = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let NetworkMode::Container(name) = NetworkMode::of(&host.network_mode) else {
        return match NetworkMode::of(&host.network_mode) {
            NetworkMode::Host if has(&host.links) => Err(refused(
                "conflicting options: host type networking can't be used with links. This would result in \
                 undefined behavior",
            )),
            _ => Ok(()),
        };
    };
    let exposes = config.exposed_ports.as_ref().is_some_and(|ports| !ports.is_empty());
    let conflicts = [
        (name.is_empty(), "invalid container format container:<name|id>"),
        (!config.hostname.is_empty(), "conflicting options: hostname and the network mode"),
        (
            has(&host.links),
            "conflicting options: container type network can't be used with links. This would result in \
             undefined behavior",
        ),
        (has(&host.dns), "conflicting options: dns and the network mode"),
        (
            has(&host.extra_hosts),
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (!config.mac_address.is_empty(), "conflicting options: mac-address and the network mode"),
        (
            !host.port_bindings.is_empty() || host.publish_all_ports,
            "conflicting options: port publishing and the container type network mode",
        ),
        (exposes, "conflicting options: port exposing and the container type network mode"),
    ];
    match conflicts.iter().find(|(wrong, _)| *wrong) {
        Some((_, text)) => Err(refused(*text)),
        None => Ok(()),
    }
}

fn not_connected(container: &ContainerRecord, what: &str) -> Error {
    Error::Network {
        kind: ErrorKind::Internal,
        message: format!("container {} is not connected to {what}", container.id),
    }
}

fn check_state(container: &ContainerRecord) -> Result<()> {
    match container.state.status {
        ContainerStatus::Removing | ContainerStatus::Dead => Err(Error::Network {
            kind: ErrorKind::Internal,
            message: format!(
                "Container {} is marked for removal and cannot be connected or disconnected to the network",
                container.id
            ),
        }),
        _ => Ok(()),
    }
}

/// Docker's checks of an end point; with the network, also against its subnet.
pub(crate) fn check_settings(
    name: &str,
    settings: &EndpointSettings,
    network: Option<&NetworkRecord>,
) -> Result<()> {
    let mut problems = Vec::new();
    let wanted = settings.ipam_config.clone().unwrap_or_default();
    let predefined =
        PREDEFINED.iter().any(|(predefined, _)| *predefined == name) || name == "default";
    let (v4, v6) = (&wanted.ipv4_address, &wanted.ipv6_address);
    if predefined && !(v4.is_empty() && v6.is_empty()) {
        problems.push(
            "user specified IP address is supported on user defined networks only".to_owned(),
        );
    }
    if predefined && settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
        problems.push(
            "network-scoped alias is supported only for containers in user defined networks"
                .to_owned(),
        );
    }
    if !v4.is_empty() && v4.parse::<std::net::Ipv4Addr>().is_err() {
        problems.push(format!("invalid IPv4 address: {v4}"));
    }
    if !v6.is_empty() {
        problems.push(match v6.parse::<std::net::Ipv6Addr>() {
            Ok(_) => "IPv6 addresses are not supported".to_owned(),
            Err(_) => format!("invalid IPv6 address: {v6}"),
        });
    }
    if !settings.mac_address.is_empty() && parse_mac(settings.mac_address.trim()).is_none() {
        problems.push(format!("invalid MAC address {}", settings.mac_address));
    }
    if let Some(network) = network.filter(|_| !v4.is_empty()) {
        let inside = match (v4.parse(), network.settings.subnet_is_chosen) {
            (Ok(address), true) => Pool::of(network)?.subnet.contains(address),
            _ => false,
        };
        if !network.settings.subnet_is_chosen {
            problems.push(
                "user specified IP address is supported only when connecting to networks with user \
                 configured subnets"
                    .to_owned(),
            );
        } else if !inside {
            problems.push(format!("no configured subnet or ip-range contain the IP address {v4}"));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(refused(format!("invalid endpoint settings: {}", problems.join("; ")))),
    }
}

/// The network namespace of a running container.
fn namespace_of(container: &ContainerRecord) -> Result<File> {
    let path = format!("/proc/{}/ns/net", container.state.pid);
    let path = Path::new(&path);
    let ended = || Error::conflict(format!("container {} is not running", container.name));
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ended()),
        other => other.map_err(system("open", path))?,
    };
    // Asked after it was opened: it is that process's, not one's with a pid used again.
    let ticks = orlop_sys::process::start_ticks(container.state.pid);
    match ticks.map_err(system("look at", path))? {
        Some(ticks) if ticks == container.state.start_ticks => Ok(file),
        _ => Err(ended()),
    }
}
