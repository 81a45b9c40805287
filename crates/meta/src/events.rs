//! The event log: what happened to which object, in order.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::containers::{ContainerRecord, Purpose};
use crate::database::{json, to_json};
use crate::{Query, Result};

/// Events that are kept; older ones go when new ones come. Docker keeps 256 in memory.
const KEPT_EVENTS: i64 = 10_000;

/// An event that is about to be logged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEvent {
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// `container`, `image`, `volume`, `network`, …; empty where nobody is to know
    /// ([`NewEvent::about`]).
    pub kind: &'static str,
    /// What happened, for instance `create`.
    pub action: String,
    /// Id or name of the object.
    pub actor: String,
    /// Further facts.
    pub attributes: BTreeMap<String, String>,
}

impl NewEvent {
    /// The event, which is about this container as well: what happens to a step of a build is not
    /// told.
    #[must_use]
    pub fn about(mut self, container: &ContainerRecord) -> Self {
        if container.purpose == Purpose::BuildStep {
            self.kind = "";
        }
        self
    }
}

/// An event from the log.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EventRecord {
    /// Place in the log.
    pub sequence: i64,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Kind of the object.
    pub kind: String,
    /// What happened.
    pub action: String,
    /// Id or name of the object.
    pub actor: String,
    /// Further facts.
    pub attributes: BTreeMap<String, String>,
}

/// Which part of the log to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events after this place.
    pub after_sequence: i64,
    /// Only events at or after this time, in nanoseconds since 1970.
    pub since_ns: Option<i64>,
    /// Only events at or before this time.
    pub until_ns: Option<i64>,
}

impl Query<'_> {
    /// Appends an event, unless it is one that is not told.
    pub fn event_insert(&self, event: &NewEvent) -> Result<()> {
        if event.kind.is_empty() {
            return Ok(());
        }
        self.change(
            "log an event",
            "INSERT INTO events (time_ns, kind, action, actor, attributes) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                event.time_ns,
                event.kind,
                event.action,
                event.actor,
                to_json("an event", &event.attributes)?
            ],
        )?;
        let newest = self.connection.last_insert_rowid();
        if newest % 256 == 0 {
            self.change(
                "shorten the event log",
                "DELETE FROM events WHERE sequence <= ?1",
                params![newest - KEPT_EVENTS],
            )?;
        }
        Ok(())
    }

    /// Events in order.
    pub fn events(&self, filter: EventFilter) -> Result<Vec<EventRecord>> {
        self.rows(
            "read events",
            "SELECT * FROM events
             WHERE sequence > ?1 AND (?2 IS NULL OR time_ns >= ?2) AND (?3 IS NULL OR time_ns <= ?3)
             ORDER BY sequence",
            params![filter.after_sequence, filter.since_ns, filter.until_ns],
            |row| {
                Ok(EventRecord {
                    sequence: row.get("sequence")?,
                    time_ns: row.get("time_ns")?,
                    kind: row.get("kind")?,
                    action: row.get("action")?,
                    actor: row.get("actor")?,
                    attributes: json(row, "attributes")?,
                })
            },
        )
    }

    /// The newest event's place; 0 in an empty log.
    pub fn event_newest(&self) -> Result<i64> {
        self.row("read events", "SELECT COALESCE(MAX(sequence), 0) FROM events", [], |row| {
            row.get(0)
        })
        .map(|newest| newest.unwrap_or(0))
    }
}
