//! Gives containers their place on their networks when they start, and takes it back.
//!
//! Everything is decided in one transaction: an address on each network, the host's ports, which
//! network has the default route. The monitor gets it as a file ([`NetworkState`]) and as files with
//! the container's names, one for each network that resolves names; see `docs/design`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use orlop_meta::{
    ConnectionRecord, ContainerRecord, ContainerStatus, Durability, EndpointRecord, NetworkRecord,
    Query,
};
use orlop_net::{names, subnet};
use orlop_types::network::{
    BridgePlan, EndpointSettings, NameRecord, NamedNetwork, NetworkMode, NetworkPlan, NetworkState,
    ResolverPlan, parse_mac,
};
use orlop_types::{ContainerId, ParseError};

use crate::error::system;
use crate::lookup::find;
use crate::network_connect::{PRIVATE, SHARED, check_settings};
use crate::network_settings::{DEFAULT_BRIDGE, Purpose, bridge_of, is_isolating, mtu_of};
use crate::ports::{self, PortRequest, choose_ports};
use crate::{Containers, Error, Result, now_ns};

/// What `docker start` says before any trouble with networks.
const SET_UP: &str = "failed to set up container networking";
/// Interfaces of one container: more than anybody connects, few enough to name.
const INTERFACES_MAX: usize = 256;

/// Where a container is to be, and what its files say of it.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// For the monitor.
    pub(crate) plan: NetworkPlan,
    /// Its end points.
    pub(crate) state: NetworkState,
    /// The container whose network it shares.
    pub(crate) shared_with: Option<ContainerId>,
    /// Lines of `/etc/hosts` for links on the default bridge.
    pub(crate) linked_hosts: Vec<(Ipv4Addr, String)>,
}

impl Placement {
    fn plain(plan: NetworkPlan) -> Self {
        Self { plan, state: NetworkState::default(), shared_with: None, linked_hosts: Vec::new() }
    }

    /// Its addresses, in the order of its networks.
    pub(crate) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.state.endpoints.iter().map(|endpoint| endpoint.address).collect()
    }
}

/// An end point that is about to be.
struct Wanted {
    network: NetworkRecord,
    settings: EndpointSettings,
}

impl Containers<'_> {
    /// Decides the network of a container that is about to start and records addresses and ports.
    pub(crate) fn allocate(&self, container: &ContainerRecord) -> Result<Placement> {
        match NetworkMode::of(&container.host_config.network_mode) {
            NetworkMode::Host => {
                self.check_alone(container, SHARED)?;
                Ok(Placement::plain(NetworkPlan::Host))
            }
            NetworkMode::None => {
                self.check_alone(container, PRIVATE)?;
                Ok(Placement::plain(NetworkPlan::None))
            }
            NetworkMode::Container(name) => self.share(container, name),
            NetworkMode::Bridge | NetworkMode::User(_) => {
                let _networks = self.lock_networks(Purpose::Use)?;
                let requests = ports::requests(&container.config, &container.host_config)?;
                self.ensure_networks(container)?;
                let placed = match self.place(container, &requests) {
                    // A start that was cut off may hold what is missing.
                    Err(_) if !self.undo_cut_starts()?.is_empty() => {
                        self.place(container, &requests)?
                    }
                    other => other?,
                };
                self.write_state(&container.id, &placed.state)?;
                Ok(placed)
            }
        }
    }

    /// Some networks suffer no other beside them.
    fn check_alone(&self, container: &ContainerRecord, why: &str) -> Result<()> {
        match self.connections_of(container)?.len() {
            0 | 1 => Ok(()),
            _ => Err(set_up(refused(why))),
        }
    }

    /// The network of another container, which must run.
    fn share(&self, container: &ContainerRecord, name: &str) -> Result<Placement> {
        let other = self.get(name).map_err(|error| Error::Network {
            kind: orlop_types::ErrorKind::Internal,
            message: format!("joining network namespace of container: {error}"),
        })?;
        if other.id == container.id {
            return Err(refused("cannot join own network namespace"));
        }
        match other.state.status {
            ContainerStatus::Running | ContainerStatus::Paused => {}
            ContainerStatus::Restarting => {
                return Err(Error::conflict(format!(
                    "cannot join network namespace of container: Container {name} is restarting, wait \
                     until the container is running"
                )));
            }
            status => {
                return Err(Error::conflict(format!(
                    "cannot join network namespace of a non running container: container {} is {}",
                    other.name,
                    status.as_str()
                )));
            }
        }
        let plan =
            NetworkPlan::Container { pid: other.state.pid, start_ticks: other.state.start_ticks };
        Ok(Placement { shared_with: Some(other.id), ..Placement::plain(plan) })
    }

    /// Host and domain name of a container whose network another one shares.
    pub(crate) fn host_names(&self, id: &ContainerId) -> Result<(String, String)> {
        let other = self.store.read(|query| Ok::<_, Error>(query.container(id)?))?;
        let other = other.ok_or_else(|| Error::NotFound { name: id.short().to_owned() })?;
        Ok((other.config.hostname, other.config.domainname))
    }

    /// The container whose files a container sees: its own, or those of the one that it shares with.
    pub(crate) fn files_owner(&self, container: &ContainerRecord) -> Result<ContainerId> {
        match NetworkMode::of(&container.host_config.network_mode) {
            NetworkMode::Container(name) => Ok(self.store.read(|query| find(query, name))?.id),
            _ => Ok(container.id.clone()),
        }
    }

    /// Sees to it that the bridges of a container's networks are there.
    fn ensure_networks(&self, container: &ContainerRecord) -> Result<()> {
        for connection in self.connections_of(container)? {
            let network = self.network_named(&connection.network).map_err(set_up)?;
            let network = self.with_subnet(network).map_err(set_up)?;
            if let Some(bridge) = bridge_of(&network) {
                bridge.ensure().map_err(|error| set_up(error.into()))?;
            }
        }
        Ok(())
    }

    /// What a container is connected to.
    pub(crate) fn connections_of(
        &self,
        container: &ContainerRecord,
    ) -> Result<Vec<ConnectionRecord>> {
        self.store.read(|query| Ok(query.connections(&container.id)?))
    }

    /// Records an end point on each network, and ports that nobody else has.
    fn place(&self, container: &ContainerRecord, requests: &[PortRequest]) -> Result<Placement> {
        let state_path = self.network_state_path(&container.id);
        self.store.write(Durability::Lazy, |query| {
            release(query, container, now_ns())?;
            let mut wanted = Vec::new();
            for connection in query.connections(&container.id)? {
                let network = find_network(query, &connection.network).map_err(set_up)?;
                wanted.push(Wanted { network, settings: connection.settings });
            }
            let first = gateway_of(&wanted);
            let mut state = NetworkState::default();
            for (index, one) in wanted.iter().enumerate() {
                let mut endpoint = self.endpoint(query, container, one, &state).map_err(set_up)?;
                if Some(index) == first {
                    endpoint.plan.default_route = true;
                    endpoint.plan.ports =
                        choose_ports(query, container, requests, &one.network).map_err(set_up)?;
                }
                query.endpoint_insert(&endpoint)?;
                let event = network_event(&one.network, "connect", Some(&container.id));
                query.event_insert(&event.about(container))?;
                state.endpoints.push(endpoint.plan);
            }
            state.resolver = self.resolver(container, &wanted);
            let linked_hosts = linked_hosts(query, container, &wanted)?;
            let plan = NetworkPlan::Private { state: state_path };
            Ok::<_, Error>(Placement { plan, state, shared_with: None, linked_hosts })
        })
    }

    /// Makes one end point, without a default route and ports.
    fn endpoint(
        &self,
        query: &Query<'_>,
        container: &ContainerRecord,
        wanted: &Wanted,
        state: &NetworkState,
    ) -> Result<EndpointRecord> {
        let Wanted { network, settings } = wanted;
        let missing = || not_found(&network.name);
        let bridge = bridge_of(network).ok_or_else(missing)?;
        check_settings(&network.name, settings, Some(network))?;
        let address = choose_address(query, network, settings)?;
        let id = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let mac = match settings.mac_address.as_str() {
            "" => subnet::mac_of(address),
            text => parse_mac(text.trim())
                .ok_or_else(|| ParseError::new(format!("invalid MAC address {text}")))?,
        };
        let plan = BridgePlan {
            bridge: bridge.name.clone(),
            table: bridge.table.clone(),
            host_interface: names::interface_name(&id),
            interface: free_interface(state)?,
            mac,
            address,
            prefix_len: bridge.prefix_len,
            gateway: (!network.settings.internal).then_some(bridge.gateway),
            default_route: false,
            isolated: is_isolating(network),
            mtu: mtu_of(network),
            ports: Vec::new(),
            names: (network.name != DEFAULT_BRIDGE)
                .then(|| self.names_directory(&network.id).join(container.id.as_str())),
        };
        if let Some(path) = &plan.names {
            let names = dns_names(container, settings);
            write_names(path, &NameRecord { address, names }, Shown::No)?;
        }
        Ok(EndpointRecord {
            container: container.id.clone(),
            network: network.id.clone(),
            id,
            plan,
        })
    }

    /// How names are resolved: not at all on the default bridge.
    fn resolver(&self, container: &ContainerRecord, wanted: &[Wanted]) -> Option<ResolverPlan> {
        let named: Vec<&Wanted> =
            wanted.iter().filter(|one| one.network.name != DEFAULT_BRIDGE).collect();
        if named.is_empty() {
            return None;
        }
        let networks = named.iter().map(|one| NamedNetwork {
            name: one.network.name.clone(),
            records: self.names_directory(&one.network.id),
        });
        let links = named.iter().flat_map(|one| one.settings.links.iter().flatten());
        let links: BTreeMap<String, String> = links
            .map(|link| {
                let (target, alias) = split_link(link);
                (alias.to_lowercase(), target.to_owned())
            })
            .collect();
        // What is inside only must not be a way out, not even for questions.
        let leads_out = wanted.iter().any(|one| !one.network.settings.internal);
        let servers =
            if leads_out { crate::files::name_servers(&container.host_config) } else { Vec::new() };
        Some(ResolverPlan { networks: networks.collect(), links, servers })
    }

    /// Adds an end point to a container that runs; gives it and the new state.
    pub(crate) fn place_one_more(
        &self,
        query: &Query<'_>,
        container: &ContainerRecord,
        connection: &ConnectionRecord,
        state: &NetworkState,
    ) -> Result<EndpointRecord> {
        let network = find_network(query, &connection.network)?;
        let wanted = Wanted { network, settings: connection.settings.clone() };
        let endpoint = self.endpoint(query, container, &wanted, state)?;
        query.endpoint_insert(&endpoint)?;
        query.event_insert(&network_event(&wanted.network, "connect", Some(&container.id)))?;
        Ok(endpoint)
    }

    /// How a running container's names are resolved, and where its default route goes, after its
    /// connections have changed.
    pub(crate) fn rearrange(
        &self,
        query: &Query<'_>,
        container: &ContainerRecord,
    ) -> Result<NetworkState> {
        let connections = query.connections(&container.id)?;
        let mut wanted = Vec::new();
        let mut endpoints = Vec::new();
        for endpoint in query.endpoints(&container.id)? {
            let Some(network) = query.network(&endpoint.network)? else { continue };
            let connection = connections.iter().find(|one| one.network == network.name);
            let settings = connection.map(|one| one.settings.clone()).unwrap_or_default();
            wanted.push(Wanted { network, settings });
            endpoints.push(endpoint);
        }
        let first = gateway_of(&wanted);
        let mut ports = Vec::new();
        for endpoint in &mut endpoints {
            ports.append(&mut endpoint.plan.ports);
        }
        for (index, endpoint) in endpoints.iter_mut().enumerate() {
            endpoint.plan.default_route = Some(index) == first;
            if Some(index) == first {
                endpoint.plan.ports = std::mem::take(&mut ports);
            }
            query.endpoint_set_plan(endpoint)?;
        }
        let resolver = self.resolver(container, &wanted);
        Ok(NetworkState {
            endpoints: endpoints.into_iter().map(|one| one.plan).collect(),
            resolver,
        })
    }

    /// Writes the names of a running container anew, after it was renamed.
    pub(crate) fn refresh_names(&self, id: &ContainerId) -> Result<()> {
        let (container, connections, endpoints) = self.store.read(|query| {
            let Some(container) = query.container(id)? else {
                return Err(Error::NotFound { name: id.short().to_owned() });
            };
            Ok((container, query.connections(id)?, query.endpoints(id)?))
        })?;
        for endpoint in endpoints {
            let network =
                self.store.read(|query| Ok::<_, Error>(query.network(&endpoint.network)?))?;
            let Some(network) = network else { continue };
            let settings = connections.iter().find(|one| one.network == network.name);
            let settings = settings.map(|one| one.settings.clone()).unwrap_or_default();
            if let Some(path) = &endpoint.plan.names {
                let names = dns_names(&container, &settings);
                let shown = if path.exists() { Shown::Yes } else { Shown::No };
                write_names(path, &NameRecord { address: endpoint.plan.address, names }, shown)?;
            }
        }
        Ok(())
    }

    /// Writes what the monitor goes by.
    pub(crate) fn write_state(&self, id: &ContainerId, state: &NetworkState) -> Result<()> {
        let path = self.network_state_path(id);
        let text = serde_json::to_vec(state).map_err(|error| Error::System {
            operation: "write",
            subject: path.display().to_string(),
            source: error.into(),
        })?;
        replace_file(&path, &text)
    }

    /// What the monitor goes by.
    pub(crate) fn network_state_path(&self, id: &ContainerId) -> PathBuf {
        self.store.paths.container_run(id).join("network.json")
    }

    /// Writes the files that tell a container of its names, addresses and name servers.
    pub(crate) fn write_network_files(
        &self,
        container: &ContainerRecord,
        network: &Placement,
    ) -> Result<()> {
        let mut extra = container.host_config.extra_hosts.iter().flatten();
        let host_gateway = match extra.any(|line| line.ends_with("host-gateway")) {
            true => self.with_subnet(self.network_named(DEFAULT_BRIDGE)?)?.settings.gateway,
            false => None,
        };
        crate::files::write(
            &self.store.paths.container(&container.id),
            &crate::files::FileFacts {
                hostname: &container.config.hostname,
                domainname: &container.config.domainname,
                addresses: &network.addresses(),
                linked: &network.linked_hosts,
                host_network: network.plan == NetworkPlan::Host,
                resolver: network.state.resolver.is_some(),
                host_gateway,
                host_config: &container.host_config,
            },
        )
    }

    /// The same for a container that runs and whose networks have changed; in place, as it has the
    /// files mounted.
    pub(crate) fn rewrite_files(
        &self,
        container: &ContainerRecord,
        state: &NetworkState,
    ) -> Result<()> {
        let plan = NetworkPlan::Private { state: self.network_state_path(&container.id) };
        let placement = Placement { state: state.clone(), ..Placement::plain(plan) };
        self.write_network_files(container, &placement)
    }

    /// Takes back what a killed monitor has left of a container's end points.
    pub(crate) fn end_endpoints(&self, id: &ContainerId) -> Result<()> {
        let mut first = None;
        for endpoint in self.store.read(|query| Ok::<_, Error>(query.endpoints(id)?))? {
            let plan = &endpoint.plan;
            hide_names(plan.names.as_deref());
            first = first.or(orlop_net::unpublish(&plan.table, &plan.ports).err());
            first = first.or(orlop_net::remove_interface(&plan.host_interface).err());
        }
        first.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Removes the files with a container's names for good.
    pub(crate) fn forget_names(&self, id: &ContainerId) {
        let directory = self.store.paths.run_root.join("networks");
        for network in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            for name in [id.as_str().to_owned(), format!(".{id}")] {
                let path = network.path().join(name);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        tracing::debug!(path = %path.display(), %error, "names are left");
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Ends a container's end points in the database, and tells that they ended.
pub(crate) fn release(query: &Query<'_>, container: &ContainerRecord, time_ns: i64) -> Result<()> {
    for endpoint in query.endpoints(&container.id)? {
        if let Some(network) = query.network(&endpoint.network)? {
            let mut event = network_event(&network, "disconnect", Some(&container.id));
            event.time_ns = time_ns;
            query.event_insert(&event.about(container))?;
        }
    }
    Ok(query.endpoints_delete(&container.id)?)
}

/// An event about a network.
pub(crate) fn network_event(
    network: &NetworkRecord,
    action: &str,
    container: Option<&ContainerId>,
) -> orlop_meta::NewEvent {
    let mut attributes = BTreeMap::from([
        ("name".to_owned(), network.name.clone()),
        ("type".to_owned(), network.settings.driver.clone()),
    ]);
    if let Some(container) = container {
        attributes.insert("container".to_owned(), container.as_str().to_owned());
    }
    orlop_meta::NewEvent {
        time_ns: now_ns(),
        kind: "network",
        action: action.to_owned(),
        actor: network.id.as_str().to_owned(),
        attributes,
    }
}

/// Finds a network: by id, by name, by the beginning of an id.
pub(crate) fn find_network(query: &Query<'_>, name: &str) -> Result<NetworkRecord> {
    if let Ok(id) = name.parse()
        && let Some(network) = query.network(&id)?
    {
        return Ok(network);
    }
    if let Some(network) = query.network_by_name(name)? {
        return Ok(network);
    }
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if name.is_empty() || !name.bytes().all(is_hex) {
        return Err(not_found(name));
    }
    let mut found = query.networks_by_prefix(name)?;
    match found.len() {
        0 => Err(not_found(name)),
        1 => Ok(found.remove(0)),
        _ => Err(refused(format!(
            "network {name} is ambiguous (2 matches found based on ID prefix)"
        ))),
    }
}

pub(crate) fn not_found(name: &str) -> Error {
    Error::Network {
        kind: orlop_types::ErrorKind::NotFound,
        message: format!("network {name} not found"),
    }
}

/// A request that cannot be carried out as it is.
pub(crate) fn refused(message: impl Into<String>) -> Error {
    Error::Invalid(ParseError::new(message))
}

/// Says that it happened at a start.
fn set_up(error: Error) -> Error {
    match error {
        Error::Store(_) => error,
        other => {
            let mut message = format!("{SET_UP}: {other}");
            let mut source = std::error::Error::source(&other);
            while let Some(cause) = source {
                message = format!("{message}: {cause}");
                source = cause.source();
            }
            Error::Start(orlop_runtime::StartError { exit_code: 125, message })
        }
    }
}

/// The network that has the default route: the highest priority, then the first name; never one
/// that leads nowhere.
fn gateway_of(wanted: &[Wanted]) -> Option<usize> {
    let leads_out = wanted.iter().enumerate().filter(|(_, one)| !one.network.settings.internal);
    leads_out
        .min_by_key(|(_, one)| (std::cmp::Reverse(one.settings.gw_priority), &one.network.name))
        .map(|(index, _)| index)
}

/// The address asked for, or one that nobody has.
fn choose_address(
    query: &Query<'_>,
    network: &NetworkRecord,
    settings: &EndpointSettings,
) -> Result<Ipv4Addr> {
    let facts = crate::network_settings::Pool::of(network)?;
    let mut taken = query.addresses(&network.id)?;
    taken.extend(facts.reserved.iter().copied());
    let asked = settings.ipam_config.as_ref().map_or("", |wanted| wanted.ipv4_address.as_str());
    if !asked.is_empty() {
        let address: Ipv4Addr =
            asked.parse().map_err(|_| refused(format!("invalid IPv4 address: {asked}")))?;
        let is_edge = address == facts.subnet.network() || address == facts.subnet.broadcast();
        if !facts.subnet.contains(address) || is_edge {
            return Err(refused("requested address is out of range"));
        }
        if taken.contains(&address) {
            return Err(Error::Network {
                kind: orlop_types::ErrorKind::Denied,
                message: "Address already in use".to_owned(),
            });
        }
        return Ok(address);
    }
    let last = query.network_last_address(&network.id)?;
    let address = orlop_net::next_address(&facts.subnet, &facts.range, taken, last)?;
    query.network_set_last_address(&network.id, address)?;
    Ok(address)
}

/// The lowest free `ethN`.
fn free_interface(state: &NetworkState) -> Result<String> {
    let is_free = |name: &String| state.endpoints.iter().all(|one| one.interface != *name);
    (0..INTERFACES_MAX)
        .map(|number| format!("eth{number}"))
        .find(is_free)
        .ok_or_else(|| refused("a container has at most 256 networks"))
}

/// Every name of a container on a network, as Docker lists them in `DNSNames`.
pub(crate) fn dns_names(container: &ContainerRecord, settings: &EndpointSettings) -> Vec<String> {
    let mut names = vec![container.name.as_str().to_owned()];
    names.extend(settings.aliases.iter().flatten().cloned());
    names.push(container.id.short().to_owned());
    names.push(container.config.hostname.clone());
    let mut seen = Vec::with_capacity(names.len());
    for name in names {
        if !name.is_empty() && !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// `CONTAINER[:ALIAS]`
pub(crate) fn split_link(link: &str) -> (&str, &str) {
    let (target, alias) = link.split_once(':').unwrap_or((link, link));
    // Docker's own JSON has the form `/db:/web/alias`.
    (target.trim_start_matches('/'), alias.rsplit('/').next().unwrap_or(alias))
}

/// Lines of `/etc/hosts` for links on the default bridge: alias, host name, name.
fn linked_hosts(
    query: &Query<'_>,
    container: &ContainerRecord,
    wanted: &[Wanted],
) -> Result<Vec<(Ipv4Addr, String)>> {
    let Some(bridge) = wanted.iter().find(|one| one.network.name == DEFAULT_BRIDGE) else {
        return Ok(Vec::new());
    };
    let mut lines = Vec::new();
    for link in container.host_config.links.iter().flatten() {
        let (target, alias) = split_link(link);
        let other = find(query, target)?;
        if !other.state.status.is_active() {
            return Err(set_up(refused(format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                other.name, container.name
            ))));
        }
        let endpoint = query.endpoints(&other.id)?;
        let endpoint = endpoint.iter().find(|one| one.network == bridge.network.id);
        let Some(endpoint) = endpoint else {
            return Err(set_up(refused(format!(
                "Cannot link to /{}, as it does not belong to the default network",
                other.name
            ))));
        };
        let mut words = vec![alias.to_owned()];
        for word in [&other.config.hostname, &other.name.as_str().to_owned()] {
            if !words.contains(word) {
                words.push(word.clone());
            }
        }
        lines.push((endpoint.plan.address, words.join(" ")));
    }
    Ok(lines)
}

/// Whether a container's names are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Yes,
    No,
}

/// Writes the names of a container; shown or not, in the place of what was there.
pub(crate) fn write_names(path: &Path, record: &NameRecord, shown: Shown) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|error| Error::System {
        operation: "write",
        subject: path.display().to_string(),
        source: error.into(),
    })?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(system("make the directory", directory))?;
    }
    match shown {
        Shown::Yes => replace_file(path, &text),
        Shown::No => replace_file(&hidden(path), &text),
    }
}

/// Where the names are while the container is not on the network.
pub(crate) fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}"))
}

/// Takes the names of a container back; fine when they are not shown.
pub(crate) fn hide_names(path: Option<&Path>) {
    let Some(path) = path else { return };
    if let Err(error) = std::fs::rename(path, hidden(path))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "names are left");
    }
}

/// Replaces a small file of the run directory at once; nothing is synced there.
fn replace_file(path: &Path, text: &[u8]) -> Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // A dot keeps it out of sight of those who list the directory.
    let temporary = path.with_file_name(format!(".new-{:08x}-{name}", rand::random::<u32>()));
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(system("write", path))
}
