//! What is known of a running build: its steps, in the order in which they began.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use orlop_engine::build::progress::{Event, Outcome, VertexId};

use super::Stamped;
use super::format::log_time;

/// Lines of a failed step that are shown again at the end, as in BuildKit.
pub(crate) const LAST_LINES: usize = 10;
/// Output that is kept of one step for the terminal's end.
const KEPT_LINES: usize = 1000;

/// A finding of the build checks, or another warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// In one line: `StageNameCasing: Stage name 'A' should be lowercase (line 1)`.
    pub short: String,
    /// More about it.
    pub detail: String,
    /// Where it is explained.
    pub url: String,
    /// The line of the Dockerfile, 0 without one.
    pub line: usize,
}

impl Warning {
    /// Puts a warning in one line.
    pub fn new(rule: &str, message: &str, detail: &str, url: &str, line: usize) -> Self {
        let rule = if rule.is_empty() { String::new() } else { format!("{rule}: ") };
        let place = if line == 0 { String::new() } else { format!(" (line {line})") };
        Self {
            short: format!("{rule}{message}{place}"),
            detail: detail.to_owned(),
            url: url.to_owned(),
            line,
        }
    }
}

/// Part of a step.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub id: String,
    pub current: u64,
    pub total: u64,
    pub started: Instant,
    pub ended: Option<Instant>,
    /// Whether it changed since it was last shown.
    pub fresh: bool,
    /// When and where it was last shown.
    pub shown: Option<(Instant, u64)>,
}

/// A step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub name: String,
    pub started: Option<Instant>,
    pub ended: Option<Instant>,
    pub outcome: Option<Outcome>,
    pub statuses: Vec<Status>,
    /// Lines with their times that weren't shown yet; the last may be open.
    pub lines: VecDeque<String>,
    /// Whether the last line goes on.
    pub open: bool,
    /// Characters of the open line that were shown.
    pub shown_of_open: usize,
    /// Lines kept for the end.
    pub last: VecDeque<String>,
    /// Whether there is something to show.
    pub fresh: bool,
    /// Bytes and events since it was last the one that is shown, and since when.
    pub pressure: u64,
    pub waiting_since: Option<Instant>,
    /// Bytes of output in all.
    pub output_bytes: u64,
    /// Warnings and reasons that belong to it, not shown yet.
    pub notes: Vec<String>,
    /// All its notes.
    pub all_notes: Vec<String>,
}

impl Step {
    /// Time that it ran.
    pub fn ran(&self, now: Instant) -> Duration {
        let Some(started) = self.started else { return Duration::ZERO };
        self.ended.unwrap_or(now).saturating_duration_since(started)
    }

    /// Whether it failed, other than by being cancelled.
    pub fn failure(&self) -> Option<&str> {
        match &self.outcome {
            Some(Outcome::Failed(why)) => Some(why),
            _ => None,
        }
    }

    fn touch(&mut self, weight: u64, at: Instant) {
        if self.pressure == 0 {
            self.waiting_since = Some(at);
        }
        self.pressure = self.pressure.saturating_add(weight);
        self.fresh = true;
    }

    fn log(&mut self, data: &[u8], at: Instant) {
        self.output_bytes = self.output_bytes.saturating_add(data.len() as u64);
        let time = self.started.map_or(Duration::ZERO, |start| at.saturating_duration_since(start));
        for piece in String::from_utf8_lossy(data).split_inclusive('\n') {
            let (text, ended) = match piece.strip_suffix('\n') {
                Some(text) => (text, true),
                None => (piece, false),
            };
            match self.last.back_mut().filter(|_| self.open) {
                Some(line) => line.push_str(text),
                None => self.last.push_back(format!("{} {text}", log_time(time))),
            }
            match self.lines.back_mut().filter(|_| self.open) {
                Some(line) => line.push_str(text),
                None => self.lines.push_back(format!("{} {text}", log_time(time))),
            }
            self.open = !ended;
            while self.last.len() > KEPT_LINES {
                self.last.pop_front();
            }
        }
    }
}

/// A build.
#[derive(Debug, Default)]
pub(crate) struct Model {
    steps: BTreeMap<VertexId, Step>,
    /// Steps that began, in that order.
    pub begun: Vec<VertexId>,
    /// When the first began.
    pub started: Option<Instant>,
}

impl Model {
    /// Takes an event in.
    pub fn apply(&mut self, stamped: Stamped) {
        let Stamped { event, at, .. } = stamped;
        match event {
            Event::Announced { vertex, name, .. } => {
                self.steps.entry(vertex).or_default().name = name;
            }
            Event::Started { vertex } => {
                self.started.get_or_insert(at);
                let step = self.steps.entry(vertex).or_default();
                if step.started.is_none() {
                    step.started = Some(at);
                    step.touch(1, at);
                    self.begun.push(vertex);
                }
            }
            Event::Ended { vertex, outcome } => {
                self.started.get_or_insert(at);
                let step = self.steps.entry(vertex).or_default();
                if step.started.is_none() {
                    // What is in the cache never runs.
                    step.started = Some(at);
                    self.begun.push(vertex);
                }
                step.ended = Some(at);
                step.outcome = Some(outcome);
                step.touch(1, at);
            }
            Event::Log { vertex, data, .. } => {
                let Some(step) = self.steps.get_mut(&vertex) else { return };
                step.log(&data, at);
                step.touch(1, at);
            }
            Event::Status { vertex, id, current, total, done } => {
                let Some(step) = self.steps.get_mut(&vertex) else { return };
                let ended = done.then_some(at);
                match step.statuses.iter_mut().find(|status| status.id == id) {
                    Some(status) => {
                        status.current = current;
                        status.total = total;
                        status.ended = ended;
                        status.fresh = true;
                    }
                    None => step.statuses.push(Status {
                        id,
                        current,
                        total,
                        started: at,
                        ended,
                        fresh: true,
                        shown: None,
                    }),
                }
                step.touch(1, at);
            }
            Event::Warning { rule, message, line, .. } => {
                let short = Warning::new(&rule, &message, "", "", line).short;
                self.note_of_definition(format!("WARN: {short}"), at);
            }
            Event::Explained { vertex, reason } => {
                let Some(step) = self.steps.get_mut(&vertex) else { return };
                step.note(format!("WHY: {reason}"), at);
            }
        }
    }

    /// Warnings belong to the step that read the Dockerfile.
    fn note_of_definition(&mut self, note: String, at: Instant) {
        let reading = self
            .steps
            .values_mut()
            .find(|step| step.name.contains("load build definition") && step.started.is_some());
        if let Some(step) = reading {
            step.note(note, at);
        }
    }

    /// A step.
    pub fn step(&self, vertex: VertexId) -> Option<&Step> {
        self.steps.get(&vertex)
    }

    /// A step, to note what was shown of it.
    pub fn step_mut(&mut self, vertex: VertexId) -> Option<&mut Step> {
        self.steps.get_mut(&vertex)
    }

    /// The steps that began, in that order.
    pub fn running_and_done(&self) -> impl Iterator<Item = (VertexId, &Step)> {
        self.begun.iter().filter_map(|vertex| Some((*vertex, self.steps.get(vertex)?)))
    }

    /// How many steps ended, and how many there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.steps.values().filter(|step| step.ended.is_some()).count(), self.steps.len())
    }

    /// What failed steps printed, for the end of everything: their last lines.
    pub fn failures(&self, limit: Option<usize>) -> String {
        let mut out = String::new();
        for (_, step) in self.running_and_done().filter(|(_, step)| step.failure().is_some()) {
            out.push_str(&format!("------\n > {}:\n", step.name));
            let skipped = limit.map_or(0, |limit| step.last.len().saturating_sub(limit));
            for line in step.last.iter().skip(skipped) {
                out.push_str(line);
                out.push('\n');
            }
            out.push_str("------\n");
        }
        out
    }
}

impl Step {
    fn note(&mut self, note: String, at: Instant) {
        self.all_notes.push(note.clone());
        // Lines of a step that is over stay as they are; the warning is told at the end again.
        if self.ended.is_none() {
            self.notes.push(note);
            self.touch(1, at);
        }
    }
}
