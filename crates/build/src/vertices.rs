//! Numbers of the steps that the progress shows, and what has been found to warn of.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use orlop_archive::digest;
use orlop_dockerfile::Lint;

use crate::progress::{Event, Outcome, Progress, VertexId};
use crate::{Error, Result};

/// The vertices of one build.
pub(crate) struct Vertices<'a> {
    progress: &'a dyn Progress,
    last: AtomicUsize,
    lints: Mutex<Vec<Lint>>,
}

impl<'a> Vertices<'a> {
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, last: AtomicUsize::new(0), lints: Mutex::default() }
    }

    /// Where events go.
    pub fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// Announces a vertex.
    pub fn add(&self, name: &str, inputs: Vec<VertexId>) -> VertexId {
        let vertex = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let digest = digest::of_bytes(format!("{vertex}\n{name}").as_bytes()).to_string();
        self.progress.event(Event::Announced { vertex, digest, name: name.to_owned(), inputs });
        vertex
    }

    /// Announces a vertex and does what it stands for.
    pub fn during<T>(&self, name: &str, work: impl FnOnce(VertexId) -> Result<T>) -> Result<T> {
        let vertex = self.add(name, Vec::new());
        self.progress.event(Event::Started { vertex });
        let result = work(vertex);
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(Error::Cancelled) => Outcome::Cancelled,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.progress.event(Event::Ended { vertex, outcome });
        result
    }

    /// Keeps a finding.
    pub fn lint(&self, lint: Lint) {
        self.lints.lock().unwrap_or_else(PoisonError::into_inner).push(lint);
    }

    /// All findings.
    pub fn lints(&self) -> Vec<Lint> {
        self.lints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
