//! What a caller sees of a running transfer, and how it stops one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something that happened during a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The transfer failed and is tried again; sent once a second while it waits.
    Retrying {
        /// Seconds that are left until the next attempt (Docker: `Retrying in N seconds`).
        seconds: u64,
    },
    /// The transfer goes on after a failure.
    Resumed {
        /// Bytes that are kept; 0 when everything is sent again.
        offset: u64,
    },
    /// Bytes moved so far, those before a resumed offset included.
    Transferred {
        /// Bytes moved.
        bytes: u64,
    },
}

/// Observes and cancels one operation; cheap to clone.
#[derive(Clone)]
pub struct Watch {
    cancelled: Arc<AtomicBool>,
    on_event: Arc<dyn Fn(Event) + Send + Sync>,
}

impl Watch {
    /// Stops the operation as soon as `cancelled` becomes true, and reports to `on_event`.
    pub fn new(
        cancelled: Arc<AtomicBool>,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Self {
        Self { cancelled, on_event: Arc::new(on_event) }
    }

    /// The same flag with another receiver of events, for one of several transfers.
    #[must_use]
    pub fn with_events(&self, on_event: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self { cancelled: Arc::clone(&self.cancelled), on_event: Arc::new(on_event) }
    }

    /// Whether the operation is to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn report(&self, event: Event) {
        (self.on_event)(event);
    }
}

impl Default for Watch {
    /// Never cancels and drops every event.
    fn default() -> Self {
        Self::new(Arc::new(AtomicBool::new(false)), |_| {})
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watch").field("cancelled", &self.is_cancelled()).finish()
    }
}
