//! The rows of `ps`.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use orlop_meta::{ContainerListing, ContainerState, ContainerStatus, Listed, Query};
use orlop_types::duration::{human_ago, human_duration, nanoseconds_between};
use orlop_types::filter::Filters;
use orlop_types::health::HealthStatus;
use orlop_types::network::PublishedPort;
use orlop_types::reference::ImageReference;
use orlop_types::{ContainerId, ImageId};

use crate::list_filter::{Facts, ListFilter};
use crate::list_ports::{self, ListedPort};
use crate::mount_plan::MountKind;
use crate::{Containers, Result};

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
        let mut filter = ListFilter::new(&query.filters)?;
        self.settle_all()?;
        let everything = query.all || query.last.is_some() || filter.wants_ended();
        let which = if everything { Listed::All } else { Listed::Active };
        let now = Timestamp::now();
        self.store.read(|database| {
            filter.look_up(database)?;
            let mut networks = networks(database)?;
            let mut images = ImageNames::default();
            let mut rows = Vec::new();
            for container in database.containers_listed(which)? {
                let ports = ports(database, &container)?;
                let networks = networks.remove(container.id.as_str()).unwrap_or_default();
                if !filter.matches(&container, &Facts { ports: &ports, networks: &networks }) {
                    continue;
                }
                let image = images.shown(database, &container)?;
                rows.push(summary(container, image, &ports, networks, now));
                if query.last.is_some_and(|last| rows.len() >= last) {
                    break;
                }
            }
            Ok(rows)
        })
    }
}

/// Names and ids of each container's networks.
fn networks(query: &Query<'_>) -> Result<HashMap<String, Vec<(String, String)>>> {
    let mut networks: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for (container, name, id) in query.connections_listed()? {
        networks.entry(container).or_default().push((name, id.unwrap_or_default()));
    }
    Ok(networks)
}

/// The ports of a running container; one that does not run has none.
fn ports(query: &Query<'_>, container: &ContainerListing) -> Result<Vec<ListedPort>> {
    if !container.state.status.is_active() {
        return Ok(Vec::new());
    }
    let endpoints = query.endpoints(&container.id)?;
    let published: Vec<PublishedPort> =
        endpoints.into_iter().flat_map(|endpoint| endpoint.plan.ports).collect();
    Ok(list_ports::listed(&published, container.config.exposed_ports()))
}

fn summary(
    container: ContainerListing,
    image: String,
    ports: &[ListedPort],
    networks: Vec<(String, String)>,
    now: Timestamp,
) -> ContainerSummary {
    let ContainerListing { id, name, image_id, config, mounts, state, created_at } = container;
    let words: Vec<String> = config.entrypoint.into_iter().chain(config.cmd).flatten().collect();
    ContainerSummary {
        id,
        names: vec![name.as_str().to_owned()],
        image,
        image_id: image_id.as_str().to_owned(),
        command: command_text(&words),
        created_at,
        status_text: status_text(&state, now),
        state: state.status.as_str().to_owned(),
        ports: list_ports::text(ports),
        mounts: mounts
            .into_iter()
            .filter(|mount| mount.kind != MountKind::Tmpfs.as_str())
            .map(|mount| mount.source)
            .collect(),
        networks: networks.into_iter().map(|(name, _)| name).collect(),
        labels: config.labels.unwrap_or_default(),
    }
}

/// The command in one line: arguments with a space are quoted, as Docker does it.
fn command_text(words: &[String]) -> String {
    let quoted = |(place, word): (usize, &String)| {
        if place > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    words.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

/// What lists show as the images of containers; most containers share a few.
#[derive(Default)]
struct ImageNames(HashMap<(String, ImageId), String>);

impl ImageNames {
    /// The image as the user named it, or its id once that name means another image or none.
    fn shown(&mut self, query: &Query<'_>, container: &ContainerListing) -> Result<String> {
        let key = (container.config.image.clone(), container.image_id.clone());
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        let name = image_name(query, &key.0, &key.1)?;
        self.0.insert(key, name.clone());
        Ok(name)
    }
}

fn image_name(query: &Query<'_>, name: &str, image: &ImageId) -> Result<String> {
    let given_as_id = image.as_str() == name || image.hex().starts_with(name);
    if given_as_id {
        return Ok(name.to_owned());
    }
    let Ok(reference) = name.parse::<ImageReference>() else { return Ok(name.to_owned()) };
    let reference = reference.tag_or_latest();
    let stored = match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.canonical_name()),
        None => reference.canonical(),
    };
    let same = query.tag(&stored)?.is_some_and(|tag| tag.image == *image);
    Ok(if same { name.to_owned() } else { image.as_str().to_owned() })
}

/// What a container is doing, in words.
fn status_text(state: &ContainerState, now: Timestamp) -> String {
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
