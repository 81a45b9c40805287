//! Networks: made, listed, removed.
//!
//! Order of creation: lock, choose, commit the row, make the bridge; of removal: lock, commit that the
//! row is gone, remove the bridge. What a crash leaves in between is either made at the next start of
//! a container on the network, or found by `system check`. Choosing a subnet is guarded by a lock of
//! the whole machine: two stores must not choose the same one at one moment.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use orlop_meta::{Durability, EndpointRecord, NetworkRecord, Query};
use orlop_net::{Subnet, names, subnet};
use orlop_types::ErrorKind;
use orlop_types::duration::parse_moment;
use orlop_types::filter::Filters;
use orlop_types::network::NetworkId;
use rustix::fs::FlockOperation;

use crate::error::system;
use crate::network::{find_network, network_event, not_found, refused};
use crate::network_settings::{
    self, NewNetwork, PREDEFINED, Purpose, bridge_of, parse_subnet, set_subnet, settings_of,
};
use crate::{Containers, Error, Result, now_text};

/// Two stores must not choose one subnet at the same moment; this lock is the machine's.
const CHOICE_LOCK: &str = "/run/orlop-network.lock";
/// Filters of `network ls`.
const FILTERS: [&str; 8] = ["dangling", "driver", "id", "label", "label!", "name", "scope", "type"];
/// Filters of `network prune`.
const PRUNE_FILTERS: [&str; 3] = ["label", "label!", "until"];

impl Containers<'_> {
    /// Makes a network.
    pub fn network_create(&self, new: &NewNetwork) -> Result<NetworkId> {
        network_settings::check(new)?;
        self.ensure_predefined()?;
        let id = NetworkId::of_bytes(&rand::random());
        let mut settings = settings_of(new, id.as_str(), &self.store.paths.root)?;
        if settings.subnet.is_none() {
            // It comes first, as in Docker, and so has the same subnet on most machines.
            self.with_subnet(self.network_named(network_settings::DEFAULT_BRIDGE)?)?;
        }
        let _networks = self.lock_networks(Purpose::Change)?;
        let _machine = lock_file(Path::new(CHOICE_LOCK), FlockOperation::LockExclusive)?;
        if orlop_net::interface_exists(&settings.bridge)? {
            return Err(Error::Network {
                kind: ErrorKind::Denied,
                message: format!(
                    "interface `{}` exists already; choose another com.docker.network.bridge.name",
                    settings.bridge
                ),
            });
        }
        let record = self.store.write(Durability::Durable, |query| {
            if query.network_by_name(&new.name)?.is_some() {
                return Err(Error::conflict(format!(
                    "network with name {} already exists",
                    new.name
                )));
            }
            match settings.subnet.as_deref().and_then(parse_subnet) {
                Some(asked) => check_overlap(query, &asked)?,
                None => set_subnet(&mut settings, &choose_subnet(query)?),
            }
            let record = NetworkRecord {
                id: id.clone(),
                name: new.name.clone(),
                settings,
                created_at: now_text(),
            };
            query.network_insert(&record)?;
            query.event_insert(&network_event(&record, "create", None))?;
            Ok(record)
        })?;
        orlop_sys::fault::point("network.create.committed");
        if let Some(bridge) = bridge_of(&record)
            && let Err(error) = bridge.ensure()
        {
            self.store.write(Durability::Durable, |query| {
                query.network_delete(&record.id).map(drop).map_err(Error::from)
            })?;
            if let Err(left) = bridge.remove() {
                tracing::debug!(%left, "a bridge is left");
            }
            return Err(error.into());
        }
        Ok(record.id)
    }

    /// Removes a network that no running container is on.
    pub fn network_remove(&self, name: &str) -> Result<()> {
        self.ensure_predefined()?;
        let found = self.network_named(name)?;
        if PREDEFINED.iter().any(|(name, _)| *name == found.name) {
            return Err(Error::Network {
                kind: ErrorKind::Denied,
                message: format!("{} is a pre-defined network and cannot be removed", found.name),
            });
        }
        self.settle_endpoints(&found.id)?;
        let _networks = self.lock_networks(Purpose::Change)?;
        self.store.write(Durability::Durable, |query| {
            let endpoints = query.endpoints_of_network(&found.id)?;
            if !endpoints.is_empty() {
                return Err(in_use(query, &found, &endpoints)?);
            }
            if !query.network_delete(&found.id)? {
                return Err(not_found(name));
            }
            Ok(query.event_insert(&network_event(&found, "destroy", None))?)
        })?;
        orlop_sys::fault::point("network.remove.committed");
        if let Some(bridge) = bridge_of(&found) {
            bridge.remove()?;
        }
        remove_directory(&self.names_directory(&found.id))
    }

    /// Removes the networks that no running container is on; gives their names.
    pub fn network_prune(&self, filters: &Filters) -> Result<Vec<String>> {
        filters.check_names(&PRUNE_FILTERS)?;
        let zone = jiff::tz::TimeZone::system();
        let until = filters.values("until").next();
        let until =
            until.map(|text| parse_moment(text, jiff::Timestamp::now(), &zone)).transpose()?;
        self.ensure_predefined()?;
        let mut removed = Vec::new();
        for network in self.store.read(|query| query.networks())? {
            let created = network.created_at.parse::<jiff::Timestamp>().ok();
            let young = until.is_some_and(|until| created.is_none_or(|created| created > until));
            let predefined = PREDEFINED.iter().any(|(name, _)| *name == network.name);
            if predefined || young || !filters.matches_labels(&network.settings.labels) {
                continue;
            }
            match self.network_remove(network.id.as_str()) {
                Ok(()) => removed.push(network.name),
                // In use, or gone by another's hand.
                Err(Error::Network { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// The networks that filters let through, by name, each with its end points.
    pub fn network_list(
        &self,
        filters: &Filters,
    ) -> Result<Vec<(NetworkRecord, Vec<EndpointRecord>)>> {
        filters.check_names(&FILTERS)?;
        let dangling = match filters.values("dangling").collect::<Vec<_>>().as_slice() {
            [] => None,
            ["1" | "true"] => Some(true),
            ["0" | "false"] => Some(false),
            [_] => {
                return Err(refused(
                    "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
                ));
            }
            _ => return Err(refused("got more than one value for filter key \"dangling\"")),
        };
        for kind in filters.values("type") {
            if !matches!(kind, "builtin" | "custom") {
                return Err(refused(format!("invalid filter: 'type'='{kind}'")));
            }
        }
        self.ensure_predefined()?;
        self.settle_all()?;
        let all = self.store.read(|query| {
            let with = |network: NetworkRecord| {
                let endpoints = query.endpoints_of_network(&network.id)?;
                Ok((network, endpoints))
            };
            query.networks()?.into_iter().map(with).collect::<Result<Vec<_>>>()
        })?;
        let passes = |(network, endpoints): &(NetworkRecord, Vec<EndpointRecord>)| {
            let predefined = PREDEFINED.iter().any(|(name, _)| *name == network.name);
            let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
                !filters.contains(name) || filters.values(name).any(fits)
            };
            any("driver", &|text| network.settings.driver == text)
                && any("scope", &|text| text == "local")
                && any("name", &|text| matches(&network.name, text))
                && any("id", &|text| matches(network.id.as_str(), text))
                && any("type", &|text| (text == "builtin") == predefined)
                && filters.matches_labels(&network.settings.labels)
                && dangling.is_none_or(|wanted| (!predefined && endpoints.is_empty()) == wanted)
        };
        Ok(all.into_iter().filter(passes).collect())
    }

    /// One network with its end points.
    pub fn network_inspect(&self, name: &str) -> Result<(NetworkRecord, Vec<EndpointRecord>)> {
        self.ensure_predefined()?;
        let network = self.network_named(name)?;
        self.settle_endpoints(&network.id)?;
        let network = self.with_subnet(network)?;
        let endpoints = self.store.read(|query| query.endpoints_of_network(&network.id))?;
        Ok((network, endpoints))
    }

    /// Brings the containers up to date that have end points on a network.
    fn settle_endpoints(&self, id: &NetworkId) -> Result<()> {
        for endpoint in self.store.read(|query| query.endpoints_of_network(id))? {
            if let Some(container) =
                self.store.read(|query| query.container(&endpoint.container))?
            {
                self.settle(container)?;
            }
        }
        Ok(())
    }

    /// Finds a network by name, id, or the beginning of an id.
    pub(crate) fn network_named(&self, name: &str) -> Result<NetworkRecord> {
        match self.store.read(|query| find_network(query, name)) {
            // A store that nobody has used its networks of.
            Err(Error::Network { kind: ErrorKind::NotFound, .. })
                if PREDEFINED.iter().any(|(predefined, _)| *predefined == name) =>
            {
                self.ensure_predefined()?;
                self.store.read(|query| find_network(query, name))
            }
            other => other,
        }
    }

    /// Makes the rows of the networks that are always there.
    pub(crate) fn ensure_predefined(&self) -> Result<()> {
        let there = |query: &Query<'_>| -> Result<bool> {
            Ok(query.network_by_name(network_settings::DEFAULT_BRIDGE)?.is_some())
        };
        if self.store.read(there)? {
            return Ok(());
        }
        self.store.write(Durability::Lazy, |query| {
            if there(query)? {
                return Ok(());
            }
            for (name, driver) in PREDEFINED {
                query.network_insert(&NetworkRecord {
                    id: NetworkId::of_bytes(&rand::random()),
                    name: name.to_owned(),
                    settings: network_settings::predefined(name, driver, &self.store.paths.root),
                    created_at: now_text(),
                })?;
            }
            Ok(())
        })
    }

    /// The network with its subnet: that of the default bridge is chosen when it is first needed.
    pub(crate) fn with_subnet(&self, network: NetworkRecord) -> Result<NetworkRecord> {
        if network.settings.subnet.is_some() || network.settings.driver != "bridge" {
            return Ok(network);
        }
        let _machine = lock_file(Path::new(CHOICE_LOCK), FlockOperation::LockExclusive)?;
        let network = self.store.write(Durability::Durable, |query| {
            let Some(mut present) = query.network(&network.id)? else {
                return Err(not_found(&network.name));
            };
            if present.settings.subnet.is_none() {
                set_subnet(&mut present.settings, &choose_subnet(query)?);
                query.network_set(&present.id, &present.settings)?;
            }
            Ok(present)
        })?;
        // Before the lock is free: another store sees the choice by the bridge's route.
        if let Some(bridge) = bridge_of(&network) {
            bridge.ensure()?;
        }
        Ok(network)
    }

    /// Keeps networks from going while containers come, and the other way round.
    pub(crate) fn lock_networks(&self, purpose: Purpose) -> Result<OwnedFd> {
        let operation = match purpose {
            Purpose::Use => FlockOperation::LockShared,
            Purpose::Change => FlockOperation::LockExclusive,
        };
        lock_file(&self.store.paths.run_root.join("networks.lock"), operation)
    }

    /// Directory with the names of a network's containers.
    pub(crate) fn names_directory(&self, id: &NetworkId) -> PathBuf {
        self.store.paths.run_root.join("networks").join(id.as_str())
    }

    /// What is left in the kernel, and among the names, of networks that are no more; removed where
    /// `repair` says so. One line for each.
    pub fn network_leftovers(&self, repair: bool) -> Result<Vec<String>> {
        let _networks = self.lock_networks(Purpose::Change)?;
        let known = self.store.read(|query| query.networks())?;
        let prefix = format!("{}-", names::table_name(&self.store.paths.root));
        let mut found = Vec::new();
        for (table, bridge) in orlop_net::tables(&prefix)? {
            if known.iter().any(|network| network.settings.table == table) {
                continue;
            }
            let bridge =
                bridge.filter(|name| known.iter().all(|network| network.settings.bridge != *name));
            if repair {
                orlop_net::remove_leftover(&table, bridge.as_deref())?;
            }
            found.push(match bridge {
                Some(bridge) => format!("bridge `{bridge}` belongs to no network"),
                None => format!("nftables table `{table}` belongs to no network"),
            });
        }
        let directory = self.store.paths.run_root.join("networks");
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if known.iter().any(|network| network.id.as_str() == name) {
                continue;
            }
            if repair {
                remove_directory(&entry.path())?;
            }
            found.push(format!("names of network `{name}` are left"));
        }
        Ok(found)
    }
}

/// Docker's text for a network with running containers.
fn in_use(
    query: &Query<'_>,
    network: &NetworkRecord,
    endpoints: &[EndpointRecord],
) -> Result<Error> {
    let mut words = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let container = query.container(&endpoint.container)?;
        let name =
            container.map(|container| container.name.as_str().to_owned()).unwrap_or_default();
        words.push(format!("name:\"{name}\" id:\"{}\"", endpoint.id.get(..12).unwrap_or_default()));
    }
    Ok(Error::Network {
        kind: ErrorKind::Denied,
        message: format!(
            "error while removing network: network {} has active endpoints ({})",
            network.name,
            words.join(", ")
        ),
    })
}

fn check_overlap(query: &Query<'_>, asked: &Subnet) -> Result<()> {
    let overlaps = |network: &NetworkRecord| {
        network
            .settings
            .subnet
            .as_deref()
            .and_then(parse_subnet)
            .is_some_and(|subnet| subnet.overlaps(asked))
    };
    if query.networks()?.iter().any(overlaps) {
        return Err(Error::Network {
            kind: ErrorKind::Denied,
            message: "invalid pool request: Pool overlaps with other one on this address space"
                .to_owned(),
        });
    }
    Ok(())
}

/// A subnet of Docker's pools that neither the host nor a network of this store uses.
fn choose_subnet(query: &Query<'_>) -> Result<Subnet> {
    let mut used = subnet::in_use("")?;
    let networks = query.networks()?;
    used.extend(
        networks.iter().filter_map(|one| one.settings.subnet.as_deref().and_then(parse_subnet)),
    );
    Ok(subnet::choose(&used)?)
}

/// Docker's filter match: a regular expression anywhere in the text, or the text itself.
fn matches(text: &str, pattern: &str) -> bool {
    text == pattern || regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

fn lock_file(path: &Path, operation: FlockOperation) -> Result<OwnedFd> {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(system("open", path))?;
    rustix::fs::flock(&file, operation).map_err(|error| system("lock", path)(error.into()))?;
    Ok(file.into())
}

fn remove_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(system("remove", path)(error))
        }
        _ => Ok(()),
    }
}
