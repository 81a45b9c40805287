//! What a build tells while it runs, in BuildKit's terms: vertices (steps), their states, logs,
//! transfers and warnings.
//!
//! Source: BuildKit `api/services/control/control.proto`, messages `Vertex`, `VertexStatus`,
//! `VertexLog`, `VertexWarning`.

use serde::Serialize;

/// Number of a step within one build, in the order of announcement, from 1.
pub type VertexId = usize;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A step is known. Told before any other event of the step.
    Announced {
        /// Its number.
        vertex: VertexId,
        /// Digest of the step and all before it, unique in the build.
        digest: String,
        /// As it is shown: `[stage-1 2/4] RUN make`, `[internal] load build context`.
        name: String,
        /// The steps that it needs.
        inputs: Vec<VertexId>,
    },
    /// The step begins.
    Started {
        /// The step.
        vertex: VertexId,
    },
    /// The step ended.
    Ended {
        /// The step.
        vertex: VertexId,
        /// How.
        outcome: Outcome,
    },
    /// The step printed something.
    Log {
        /// The step.
        vertex: VertexId,
        /// 1 standard output, 2 standard error.
        stream: u8,
        /// The bytes as they came.
        data: Vec<u8>,
    },
    /// Part of a step goes on: `transferring context: 2.3MB`, `sha256:… 3MB / 9MB`, `exporting layers`.
    Status {
        /// The step.
        vertex: VertexId,
        /// What goes on; the same text names the same part.
        id: String,
        /// How far, in bytes or pieces.
        current: u64,
        /// Of how much; 0 where unknown.
        total: u64,
        /// Whether it is over.
        done: bool,
    },
    /// A lint or another warning.
    Warning {
        /// The rule, for instance `StageNameCasing`; empty where there is none.
        rule: String,
        /// One line.
        message: String,
        /// A longer text; may be empty.
        detail: String,
        /// Where the rule is explained; may be empty.
        url: String,
        /// Line of the Dockerfile, from 1; 0 where there is none.
        line: usize,
    },
    /// Why a step was or was not taken from the cache (`--explain`).
    Explained {
        /// The step.
        vertex: VertexId,
        /// One line: `file "src/main.c" changed`, `cached`, `its parent changed: [2/4] COPY . .`.
        reason: String,
    },
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ran.
    Done,
    /// What it makes was known.
    Cached,
    /// The build ended while it ran.
    Cancelled,
    /// It failed, with BuildKit's text.
    Failed(String),
}

/// Receives events, from several threads at once.
pub trait Progress: Send + Sync {
    /// Takes one event; must not wait for long.
    fn event(&self, event: Event);
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event) {}
}

/// One step's end of the progress.
#[derive(Clone, Copy)]
pub struct StepProgress<'a> {
    /// Where events go.
    pub progress: &'a dyn Progress,
    /// The step.
    pub vertex: VertexId,
}

impl StepProgress<'_> {
    /// Hands on output of the step: 1 standard output, 2 standard error.
    pub fn log(&self, stream: u8, data: &[u8]) {
        self.progress.event(Event::Log { vertex: self.vertex, stream, data: data.to_vec() });
    }

    /// Tells how far a part of the step is.
    pub fn status(&self, id: &str, current: u64, total: u64, done: bool) {
        let id = id.to_owned();
        self.progress.event(Event::Status { vertex: self.vertex, id, current, total, done });
    }
}
