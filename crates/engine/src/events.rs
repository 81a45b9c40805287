//! The stream of events.

use jiff::Timestamp;
use orlop_meta::{EventFilter, EventRecord};
use orlop_types::filter::Filters;

use crate::watch::Watch;
use crate::{Engine, Error, Result};

/// Filters that Docker's `events` knows; those of objects that are not here match nothing.
const FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];
/// Objects whose filter names the actor itself.
const ACTORS: [&str; 9] =
    ["config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"];
/// Where every event of this engine comes from.
const SCOPE: &str = "local";

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// From this time on; without it, only what comes from now on.
    pub since: Option<Timestamp>,
    /// Up to this time; without it, until the caller ends.
    pub until: Option<Timestamp>,
    /// Only those that fit.
    pub filters: Filters,
}

impl Engine {
    /// Hands events to `sink` in order; ends at `until` or when `sink` fails.
    pub fn events(
        &self,
        query: &EventQuery,
        sink: &mut dyn FnMut(&EventRecord) -> std::io::Result<()>,
    ) -> Result<()> {
        query.filters.check_names(&FILTERS)?;
        let nanoseconds = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
        let mut filter = EventFilter {
            after_sequence: 0,
            since_ns: query.since.map(nanoseconds),
            until_ns: query.until.map(nanoseconds),
        };
        if query.since.is_none() {
            filter.after_sequence = self.store.read(|query| query.event_newest())?;
        }
        let mut watch = Watch::new();
        let database = self.store.paths.database();
        let containers = self.store.paths.run_root.join("containers");
        loop {
            watch.cover(&database, &containers);
            // What monitors have written becomes events when somebody looks.
            self.containers().settle_all()?;
            let now = Timestamp::now();
            let left = query.until.map(|until| {
                std::time::Duration::try_from(until.duration_since(now)).unwrap_or_default()
            });
            for event in self.store.read(|query| query.events(filter))? {
                filter.after_sequence = event.sequence;
                if matches(&event, &query.filters) {
                    sink(&event).map_err(written)?;
                }
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            watch.sleep(left).map_err(|source| Error::System {
                operation: "wait for",
                subject: "events".to_owned(),
                source,
            })?;
        }
    }
}

fn written(source: std::io::Error) -> Error {
    Error::System { operation: "write", subject: "the output".to_owned(), source }
}

fn matches(event: &EventRecord, filters: &Filters) -> bool {
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        !filters.contains(name) || filters.values(name).any(fits)
    };
    let is_actor = |kind: &str, text: &str| {
        let is_named = |name: &String| name.starts_with(text.strip_prefix('/').unwrap_or(text));
        event.kind == kind
            && (event.actor.starts_with(text) || event.attributes.get("name").is_some_and(is_named))
    };
    any("type", &|text| event.kind == text)
        && any("scope", &|text| text == SCOPE)
        && any("event", &|text| is_action(&event.action, text))
        && ACTORS.iter().all(|kind| any(kind, &|text| is_actor(kind, text)))
        && any("image", &|text| is_image(event, text))
        && filters.matches_labels(&event.attributes)
}

/// `exec_start: sh -c x` and `health_status: healthy` are also found by what stands before the colon.
fn is_action(action: &str, wanted: &str) -> bool {
    let kind = action.split(':').next().unwrap_or_default();
    action == wanted || kind == wanted
}

/// An image itself, or what was made from it; a name stands for every tag unless it has one.
fn is_image(event: &EventRecord, wanted: &str) -> bool {
    let plain = |name: &str| match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before.to_owned(),
        _ => name.to_owned(),
    };
    let name = match event.kind.as_str() {
        "image" => event.attributes.get("name"),
        _ => event.attributes.get("image"),
    };
    let is_named = name.is_some_and(|name| name == wanted || plain(name) == wanted);
    is_named || event.actor == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, attributes: &[(&str, &str)]) -> EventRecord {
        EventRecord {
            sequence: 1,
            time_ns: 0,
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor: "abc123".to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn filters_of_one_kind_are_alternatives_and_kinds_add_up() {
        let attributes = [("name", "web"), ("image", "busybox:1"), ("tier", "front")];
        let exec = event("container", "exec_start: sh -c x", &attributes);
        let fits = |raws: &[&str]| matches(&exec, &Filters::parse(raws).expect("well formed"));
        for yes in [
            &["event=exec_start"][..],
            &["event=exec_start: sh -c x"],
            &["event=die", "event=exec_start"],
            &["container=web"],
            &["container=/web"],
            &["container=abc"],
            &["image=busybox"],
            &["image=busybox:1"],
            &["type=container", "scope=local"],
            &["label=tier=front"],
        ] {
            assert!(fits(yes), "{yes:?}");
        }
        for no in [
            &["event=exec"][..],
            &["container=other"],
            &["volume=web"],
            &["network=abc"],
            &["image=alpine"],
            &["image=busybox:2"],
            &["scope=swarm"],
            &["type=image"],
            &["container=web", "event=die"],
        ] {
            assert!(!fits(no), "{no:?}");
        }
        let tag = event("image", "tag", &[("name", "a/b:1")]);
        let by_image = Filters::parse(&["image=a/b"]).expect("well formed");
        assert!(matches(&tag, &by_image));
    }
}
