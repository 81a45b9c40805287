//! `ps --filter`: which containers a list shows.

use std::collections::BTreeSet;

use orlop_meta::{ContainerListing, ContainerStatus, Query};
use orlop_types::ParseError;
use orlop_types::filter::Filters;
use orlop_types::network::Protocol;
use regex::Regex;

use crate::list_ports::ListedPort;
use crate::{Error, Result};

/// Filters that `ps` knows.
const NAMES: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];
/// What a container's health can be.
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
/// States that a container can be in.
const STATES: [&str; 7] =
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/// Filters that were understood.
#[derive(Debug)]
pub(crate) struct ListFilter<'f> {
    filters: &'f Filters,
    names: Vec<Regex>,
    exit_codes: Vec<i64>,
    published: BTreeSet<(u16, Protocol)>,
    exposed: BTreeSet<(u16, Protocol)>,
    /// Creation times that `before` and `since` stand for.
    before: Option<String>,
    since: Option<String>,
}

/// What a row is judged by beside its record.
pub(crate) struct Facts<'a> {
    /// Ports of a running container.
    pub(crate) ports: &'a [ListedPort],
    /// Names and ids of networks.
    pub(crate) networks: &'a [(String, String)],
}

impl<'f> ListFilter<'f> {
    /// Understands filters, or says which one is wrong.
    pub(crate) fn new(filters: &'f Filters) -> Result<Self> {
        filters.check_names(&NAMES)?;
        one_of(filters, "status", "state", &STATES)?;
        one_of(filters, "health", "health", &HEALTHS)?;
        filters.boolean("is-task")?;
        let names = filters.values("name").map(|raw| {
            Regex::new(raw)
                .map_err(|error| ParseError::new(format!("invalid filter 'name={raw}': {error}")))
        });
        let exit_codes = filters.values("exited").map(|raw| {
            raw.parse().map_err(|_| {
                let reason = format!("strconv.Atoi: parsing \"{raw}\": invalid syntax");
                ParseError::new(format!("invalid filter 'exited={raw}': {reason}"))
            })
        });
        Ok(Self {
            filters,
            names: names.collect::<Result<_, ParseError>>()?,
            exit_codes: exit_codes.collect::<Result<_, ParseError>>()?,
            published: ports(filters, "publish")?,
            exposed: ports(filters, "expose")?,
            before: None,
            since: None,
        })
    }

    /// Whether containers that do not run are asked for by a filter.
    pub(crate) fn wants_ended(&self) -> bool {
        self.filters.contains("status")
    }

    /// Looks up the containers that `before` and `since` name.
    pub(crate) fn look_up(&mut self, query: &Query<'_>) -> Result<()> {
        let time = |name: &str| -> Result<Option<String>> {
            let Some(wanted) = self.filters.values(name).next() else { return Ok(None) };
            let named = query.container_by_name(wanted.trim_start_matches('/'))?;
            let found = match named {
                Some(found) => Some(found),
                None if !wanted.is_empty() => {
                    query.containers_by_prefix(wanted)?.into_iter().next()
                }
                None => None,
            };
            let missing = || Error::NotFound { name: wanted.to_owned() };
            found.map(|container| container.created_at).ok_or_else(missing).map(Some)
        };
        let (before, since) = (time("before")?, time("since")?);
        (self.before, self.since) = (before, since);
        Ok(())
    }

    /// Whether a container is shown.
    pub(crate) fn matches(&self, container: &ContainerListing, facts: &Facts<'_>) -> bool {
        let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
            !self.filters.contains(name) || self.filters.values(name).any(fits)
        };
        let state = &container.state;
        let health = state.health.as_ref().map_or("none", |health| health.status.as_str());
        let no_labels = std::collections::BTreeMap::new();
        let labels = container.config.labels.as_ref().unwrap_or(&no_labels);
        self.name_matches(container)
            && any("id", &|text| container.id.as_str().starts_with(text))
            && any("status", &|text| state.status.as_str() == text)
            && any("health", &|text| health == text)
            && any("network", &|text| {
                facts.networks.iter().any(|(name, id)| name == text || (!text.is_empty() && id.starts_with(text)))
            })
            && any("ancestor", &|text| is_ancestor(container, text))
            && any("volume", &|text| {
                container.mounts.iter().any(|mount| mount.source == text || mount.target == text)
            })
            // There are no tasks of a swarm here, and one kind of isolation.
            && any("is-task", &|text| matches!(text, "false" | "0"))
            && self.filters.matches_labels(labels)
            && (self.exit_codes.is_empty()
                || state.status == ContainerStatus::Exited
                    && self.exit_codes.contains(&state.exit_code))
            && self.ports_match(facts.ports)
            && self.before.as_ref().is_none_or(|time| container.created_at < *time)
            && self.since.as_ref().is_none_or(|time| container.created_at > *time)
    }

    /// A name fits with and without the slash that Docker keeps before it.
    fn name_matches(&self, container: &ContainerListing) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let name = container.name.as_str();
        let slashed = format!("/{name}");
        self.names.iter().any(|pattern| pattern.is_match(name) || pattern.is_match(&slashed))
    }

    fn ports_match(&self, ports: &[ListedPort]) -> bool {
        if !self.filters.contains("publish") && !self.filters.contains("expose") {
            return true;
        }
        ports.iter().any(|port| {
            let host_port = port.host.map_or(0, |(_, number)| number);
            self.published.contains(&(host_port, port.protocol))
                || self.exposed.contains(&(port.container_port, port.protocol))
        })
    }
}

fn one_of(filters: &Filters, name: &str, what: &str, known: &[&str]) -> Result<(), ParseError> {
    match filters.values(name).find(|value| !known.contains(value)) {
        None => Ok(()),
        Some(value) => Err(ParseError::new(format!(
            "invalid filter '{name}={value}': invalid value for {what} ({value}): must be one of {}",
            known.join(", ")
        ))),
    }
}

/// The ports that `80`, `80/udp` or `8000-8010/tcp` stand for.
fn ports(filters: &Filters, name: &str) -> Result<BTreeSet<(u16, Protocol)>, ParseError> {
    let mut ports = BTreeSet::new();
    for value in filters.values(name) {
        if value.contains(':') {
            let text = format!("filter for '{name}' should not contain ':': {value}");
            return Err(ParseError::new(text));
        }
        let wrong = |reason: String| {
            ParseError::new(format!("error while looking up for {name} {value}: {reason}"))
        };
        let (range, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            other => return Err(wrong(format!("invalid proto: {other}"))),
        };
        let number = |text: &str| {
            text.parse::<u16>().map_err(|_| {
                wrong(format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"))
            })
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(wrong(format!("invalid range specified for port: {range}")));
        }
        ports.extend((first..=last).map(|port| (port, protocol)));
    }
    Ok(ports)
}

fn is_ancestor(container: &ContainerListing, image: &str) -> bool {
    let own = &container.config.image;
    own == image
        || *own == format!("{image}:latest")
        || image == format!("{own}:latest")
        || container.image_id.as_str() == image
        || container.image_id.hex().starts_with(image)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn wrong_filters_are_told_in_docker_s_words() {
        for (raw, want) in [
            ("nosuch=x", "invalid filter 'nosuch'"),
            ("label!=x", "invalid filter 'label!'"),
            (
                "status=nosuch",
                "invalid filter 'status=nosuch': invalid value for state (nosuch): must be one of created, running, paused, restarting, removing, exited, dead",
            ),
            (
                "health=x",
                "invalid filter 'health=x': invalid value for health (x): must be one of none, starting, healthy, unhealthy",
            ),
            ("exited=x", "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
            (
                "publish=x",
                "error while looking up for publish x: strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
            ("expose=1:2", "filter for 'expose' should not contain ':': 1:2"),
            ("is-task=x", "invalid filter 'is-task=[x]'"),
        ] {
            let filters = Filters::parse(&[raw]).unwrap();
            assert_eq!(ListFilter::new(&filters).unwrap_err().to_string(), want, "{raw}");
        }
    }

    #[test]
    fn ranges_of_ports() {
        let filters = Filters::parse(&["publish=80-82/udp", "publish=9"]).unwrap();
        let found: Vec<u16> =
            ports(&filters, "publish").unwrap().into_iter().map(|(port, _)| port).collect();
        assert_eq!(found, [9, 80, 81, 82]);
    }
}
