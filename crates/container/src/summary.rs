//! The rows of `ps`.

use jiff::Timestamp;
use orlop_meta::{ContainerRecord, ContainerStatus, Query};
use orlop_types::duration::{human_ago, human_duration, nanoseconds_between};
use orlop_types::filter::Filters;
use orlop_types::health::HealthStatus;
use orlop_types::network::PublishedPort;
use orlop_types::reference::ImageReference;
use orlop_types::{ContainerId, ParseError};
use regex::Regex;
use std::collections::BTreeMap;

use crate::merge::command;
use crate::mount_plan::MountKind;
use crate::plan::entries;
use crate::ports::parse_container_port;
use crate::{Containers, Error, Result};

/// Filters that `ps` knows.
const FILTERS: [&str; 11] = [
    "id", "name", "label", "status", "exited", "ancestor", "volume", "network", "before", "since",
    "health",
];
/// What a container's health can be.
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
/// States that a container can be in.
const STATES: [&str; 7] =
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// Which containers to list.
#[derive(Clone, Debug, Default)]
pub struct ContainerQuery {
    /// Those that do not run as well.
    pub all: bool,
    /// Only the newest so many, running or not.
    pub last: Option<usize>,
    /// Only those that fit.
    pub filters: Filters,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Id.
    pub id: ContainerId,
    /// Names, without slashes.
    pub names: Vec<String>,
    /// Image as the user named it; its id once that name means another image or none.
    pub image: String,
    /// Its id.
    pub image_id: String,
    /// The whole command.
    pub command: String,
    /// RFC 3339 time.
    pub created_at: String,
    /// For people: `Up 3 minutes`.
    pub status_text: String,
    /// For programs: `running`.
    pub state: String,
    /// For people: `0.0.0.0:80->80/tcp`.
    pub ports: String,
    /// Volume names and host paths.
    pub mounts: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Containers<'_> {
    /// Lists containers, newest first, states up to date.
    pub fn list(&self, query: &ContainerQuery) -> Result<Vec<ContainerSummary>> {
        query.filters.check_names(&FILTERS)?;
        check_states(&query.filters)?;
        let names = name_patterns(&query.filters)?;
        self.settle_all()?;
        let everything = query.all || query.last.is_some() || wants_ended(&query.filters);
        self.store.read(|database| {
            let containers =
                if everything { database.containers()? } else { database.containers_active()? };
            let bounds = bounds(&containers, &query.filters)?;
            let mut rows = Vec::new();
            for container in &containers {
                if names_match(container, &query.filters, &names)
                    && matches(database, container, &query.filters, &bounds)?
                {
                    rows.push(summary(database, container)?);
                }
            }
            rows.truncate(query.last.unwrap_or(usize::MAX));
            Ok(rows)
        })
    }
}

fn check_states(filters: &Filters) -> Result<()> {
    match filters.values("status").find(|state| !STATES.contains(state)) {
        None => Ok::<(), Error>(()),
        Some(state) => Err(ParseError::new(format!(
            "invalid filter 'status={state}': invalid value for state ({state}): must be one of {}",
            STATES.join(", ")
        ))
        .into()),
    }?;
    match filters.values("health").find(|health| !HEALTHS.contains(health)) {
        None => Ok(()),
        Some(health) => Err(ParseError::new(format!(
            "invalid filter 'health={health}': invalid value for health ({health}): must be one of {}",
            HEALTHS.join(", ")
        ))
        .into()),
    }
}

/// The values of `name`, which are regular expressions.
fn name_patterns(filters: &Filters) -> Result<Vec<Regex>> {
    let patterns = filters.values("name").map(|raw| {
        Regex::new(raw)
            .map_err(|error| ParseError::new(format!("invalid filter 'name={raw}': {error}")))
    });
    Ok(patterns.collect::<Result<_, _>>()?)
}

/// A name fits with and without the slash that Docker keeps before it.
fn names_match(container: &ContainerRecord, filters: &Filters, patterns: &[Regex]) -> bool {
    let name = container.name.as_str();
    let slashed = format!("/{name}");
    !filters.contains("name")
        || patterns.iter().any(|pattern| pattern.is_match(name) || pattern.is_match(&slashed))
}

/// A filter on ended containers makes no sense without showing them.
fn wants_ended(filters: &Filters) -> bool {
    filters.contains("status") || filters.contains("exited")
}

/// Creation times that `before` and `since` stand for.
struct Bounds {
    before: Option<String>,
    since: Option<String>,
}

fn bounds(containers: &[ContainerRecord], filters: &Filters) -> Result<Bounds> {
    let time = |name: &str| -> Result<Option<String>> {
        let Some(wanted) = filters.values(name).next() else { return Ok(None) };
        let found = containers.iter().find(|container| {
            container.name.as_str() == wanted.trim_start_matches('/')
                || container.id.as_str().starts_with(wanted)
        });
        match found {
            Some(container) => Ok(Some(container.created_at.clone())),
            None => Err(Error::NotFound { name: wanted.to_owned() }),
        }
    };
    Ok(Bounds { before: time("before")?, since: time("since")? })
}

fn matches(
    query: &Query<'_>,
    container: &ContainerRecord,
    filters: &Filters,
    bounds: &Bounds,
) -> Result<bool> {
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        !filters.contains(name) || filters.values(name).any(fits)
    };
    let labels = container.config.labels.clone().unwrap_or_default();
    let exit_codes: Vec<i64> = filters
        .values("exited")
        .map(|text| {
            text.parse().map_err(|_| ParseError::new(format!("invalid filter 'exited=[{text}]'")))
        })
        .collect::<Result<_, _>>()?;
    let networks =
        if filters.contains("network") { network_names(query, container)? } else { Vec::new() };
    let mounts = if filters.contains("volume") { entries(container)? } else { Vec::new() };
    Ok(any("id", &|text| container.id.as_str().starts_with(text))
        && any("status", &|text| container.state.status.as_str() == text)
        && any("network", &|text| networks.iter().any(|(name, id)| name == text || id.starts_with(text)))
        && any("ancestor", &|text| is_ancestor(container, text))
        && any("health", &|text| health_word(container) == text)
        && any("volume", &|text| {
            mounts.iter().any(|entry| entry.source == text || entry.target == text)
        })
        && filters.matches_labels(&labels)
        && (exit_codes.is_empty()
            || container.state.status == ContainerStatus::Exited
                && exit_codes.contains(&container.state.exit_code))
        && bounds.before.as_ref().is_none_or(|time| container.created_at < *time)
        && bounds.since.as_ref().is_none_or(|time| container.created_at > *time))
}

/// A container's health as filters name it.
fn health_word(container: &ContainerRecord) -> &'static str {
    container.state.health.as_ref().map_or("none", |health| health.status.as_str())
}

fn is_ancestor(container: &ContainerRecord, image: &str) -> bool {
    container.config.image == image
        || container.config.image == format!("{image}:latest")
        || image == format!("{}:latest", container.config.image)
        || container.image_id.as_str() == image
        || container.image_id.hex().starts_with(image)
}

fn summary(query: &Query<'_>, container: &ContainerRecord) -> Result<ContainerSummary> {
    let active = container.state.status.is_active();
    let endpoints = if active { query.endpoints(&container.id)? } else { Vec::new() };
    let published: Vec<PublishedPort> =
        endpoints.into_iter().flat_map(|endpoint| endpoint.plan.ports).collect();
    let exposed = if active {
        container.config.exposed_ports.iter().flat_map(|set| set.keys()).collect()
    } else {
        Vec::new()
    };
    let mounts = entries(container)?;
    Ok(ContainerSummary {
        id: container.id.clone(),
        names: vec![container.name.as_str().to_owned()],
        image: image_name(query, container)?,
        image_id: container.image_id.as_str().to_owned(),
        command: command_text(&command(&container.config)),
        created_at: container.created_at.clone(),
        status_text: status_text(container, Timestamp::now()),
        state: container.state.status.as_str().to_owned(),
        ports: port_text(&published, &exposed),
        mounts: mounts
            .iter()
            .filter(|entry| entry.kind != MountKind::Tmpfs)
            .map(|entry| entry.source.clone())
            .collect(),
        networks: network_names(query, container)?.into_iter().map(|(name, _)| name).collect(),
        labels: container.config.labels.clone().unwrap_or_default(),
    })
}

/// The command in one line: arguments with a space are quoted, as Docker does it.
fn command_text(words: &[String]) -> String {
    let quoted = |(place, word): (usize, &String)| {
        if place > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    words.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

/// The image as the user named it, or its id once that name means another image or none.
fn image_name(query: &Query<'_>, container: &ContainerRecord) -> Result<String> {
    let name = &container.config.image;
    let id = container.image_id.as_str();
    let given_as_id = id == name || container.image_id.hex().starts_with(name.as_str());
    if given_as_id {
        return Ok(name.clone());
    }
    let Ok(reference) = name.parse::<ImageReference>() else { return Ok(name.clone()) };
    let reference = reference.tag_or_latest();
    let stored = match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.canonical_name()),
        None => reference.canonical(),
    };
    let same = query.tag(&stored)?.is_some_and(|tag| tag.image == container.image_id);
    Ok(if same { name.clone() } else { id.to_owned() })
}

/// The networks that a container is connected to, with their ids as far as they exist.
fn network_names(query: &Query<'_>, container: &ContainerRecord) -> Result<Vec<(String, String)>> {
    let mut names = Vec::new();
    for connection in query.connections(&container.id)? {
        let network = query.network_by_name(&connection.network)?;
        let id = network.map(|network| network.id.as_str().to_owned()).unwrap_or_default();
        names.push((connection.network, id));
    }
    names.sort();
    Ok(names)
}

/// What a container is doing, in words.
fn status_text(container: &ContainerRecord, now: Timestamp) -> String {
    let state = &container.state;
    let parse =
        |time: &Option<String>| time.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
    match state.status {
        ContainerStatus::Created => "Created".to_owned(),
        ContainerStatus::Dead => "Dead".to_owned(),
        ContainerStatus::Removing => "Removal In Progress".to_owned(),
        ContainerStatus::Exited => match parse(&state.finished_at) {
            Some(at) => format!("Exited ({}) {}", state.exit_code, human_ago(at, now)),
            None => format!("Exited ({})", state.exit_code),
        },
        ContainerStatus::Restarting => match parse(&state.finished_at) {
            Some(at) => format!("Restarting ({}) {}", state.exit_code, human_ago(at, now)),
            None => "Restarting".to_owned(),
        },
        ContainerStatus::Running | ContainerStatus::Paused => {
            let up =
                parse(&state.started_at).map(|at| human_duration(nanoseconds_between(at, now)));
            let note = match (state.status, state.health.as_ref().map(|health| health.status)) {
                (ContainerStatus::Paused, _) => " (Paused)",
                (_, Some(HealthStatus::Starting)) => " (health: starting)",
                (_, Some(HealthStatus::Healthy)) => " (healthy)",
                (_, Some(HealthStatus::Unhealthy)) => " (unhealthy)",
                (_, None) => "",
            };
            format!("Up {}{note}", up.unwrap_or_default())
        }
    }
}

/// Published ports, then those that are only exposed.
fn port_text(published: &[PublishedPort], exposed: &[&String]) -> String {
    let mut words: Vec<String> = published
        .iter()
        .map(|port| {
            format!(
                "{}:{}->{}/{}",
                port.host_ip,
                port.host_port,
                port.container_port,
                port.protocol.as_str()
            )
        })
        .collect();
    for text in exposed {
        let is_published = parse_container_port(text).is_ok_and(|(number, protocol)| {
            published.iter().any(|port| port.container_port == number && port.protocol == protocol)
        });
        if !is_published {
            words.push((*text).clone());
        }
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_with_spaces_are_quoted() {
        let text = |words: &[&str]| {
            command_text(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(text(&["sh", "-c", "exit 3"]), "sh -c 'exit 3'");
        assert_eq!(text(&["a program", "x"]), "a program x");
        assert_eq!(text(&[]), "");
    }
}
