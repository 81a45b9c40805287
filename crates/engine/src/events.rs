//! The stream of events.

use std::time::Duration;

use jiff::Timestamp;
use orlop_meta::{EventFilter, EventRecord};
use orlop_types::filter::Filters;

use crate::{Engine, Error, Result};

/// Pause between two looks at the log while following it.
const POLL: Duration = Duration::from_millis(50);
/// Filters that `events` knows.
const FILTERS: [&str; 6] = ["type", "event", "container", "image", "volume", "label"];

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
        loop {
            // What monitors have written becomes events when somebody looks.
            self.containers().settle_all()?;
            let is_past = query.until.is_some_and(|until| Timestamp::now() >= until);
            for event in self.store.read(|query| query.events(filter))? {
                filter.after_sequence = event.sequence;
                if matches(&event, &query.filters) {
                    sink(&event).map_err(|source| Error::System {
                        operation: "write",
                        subject: "the output".to_owned(),
                        source,
                    })?;
                }
            }
            if is_past {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }
}

fn matches(event: &EventRecord, filters: &Filters) -> bool {
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        !filters.contains(name) || filters.values(name).any(fits)
    };
    let is_object = |kind: &str, text: &str| {
        event.kind == kind
            && (event.actor.starts_with(text)
                || event.attributes.get("name").is_some_and(|name| name == text))
    };
    any("type", &|text| event.kind == text)
        && any("event", &|text| event.action == text)
        && any("container", &|text| is_object("container", text))
        && any("volume", &|text| is_object("volume", text))
        && any("image", &|text| {
            is_object("image", text)
                || event.attributes.get("image").is_some_and(|image| image == text)
        })
        && filters.matches_labels(&event.attributes)
}
