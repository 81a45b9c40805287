//! Plain lines: `#5 [2/4] RUN make`, `#5 0.123 output`, `#5 DONE 0.3s`.
//!
//! Only one step's lines are shown at a time; others wait until it ends, or until it has had the
//! screen for long. A step that ends in the background is shown as a whole.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use orlop_engine::build::progress::{Outcome, VertexId};

use super::format;
use super::model::{LAST_LINES, Model, Step};
use super::{Screen, Stamped};

/// A step keeps the screen at least so long while others wait.
const ANTI_FLICKER: Duration = Duration::from_secs(5);
/// No step that has something to say waits longer.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// A part of a step is shown again after so long, or so much progress.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
const STATUS_PERCENT: u64 = 5;

/// The state of the lines.
#[derive(Default)]
pub(crate) struct Plain {
    model: Model,
    current: Option<VertexId>,
    since: Option<Instant>,
    numbers: Vec<VertexId>,
    begun: bool,
}

impl Plain {
    pub fn new() -> Self {
        Self::default()
    }

    fn number(&mut self, vertex: VertexId) -> usize {
        if let Some(at) = self.numbers.iter().position(|known| *known == vertex) {
            return at + 1;
        }
        self.numbers.push(vertex);
        self.numbers.len()
    }

    /// Shows what there is, as far as it is anybody's turn.
    fn print(&mut self, now: Instant) -> String {
        let mut out = String::new();
        let fresh: Vec<(VertexId, bool)> = self
            .model
            .running_and_done()
            .filter(|(_, step)| step.fresh)
            .map(|(vertex, step)| (vertex, step.ended.is_some()))
            .collect();
        let ended = |vertex: VertexId| fresh.contains(&(vertex, true));
        let current_ended = self.current.filter(|current| ended(*current));
        if let Some(current) = current_ended {
            self.vertex(current, now, &mut out);
        }
        for (vertex, _) in
            fresh.iter().filter(|(vertex, done)| *done && Some(*vertex) != current_ended)
        {
            self.vertex(*vertex, now, &mut out);
        }
        let waiting: Vec<VertexId> =
            fresh.iter().filter(|(_, done)| !done).map(|(vertex, _)| *vertex).collect();
        let Some(&first) = waiting.first() else {
            return out;
        };
        match self.current {
            None => self.vertex(first, now, &mut out),
            Some(current) => {
                if waiting.contains(&current) {
                    self.vertex(current, now, &mut out);
                }
                if let Some(next) = self.turn(&waiting, current, now) {
                    self.vertex(next, now, &mut out);
                }
            }
        }
        out
    }

    /// The step that takes the screen over, if it is time for one.
    fn turn(&self, waiting: &[VertexId], current: VertexId, now: Instant) -> Option<VertexId> {
        let waited = |vertex: VertexId| {
            let since = self.model.step(vertex).and_then(|step| step.waiting_since);
            since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
        };
        let held = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let others = waiting.iter().copied().filter(|vertex| *vertex != current);
        let longest = others.max_by_key(|vertex| waited(*vertex))?;
        let patience = if waiting.contains(&current) { MAX_WAIT } else { ANTI_FLICKER };
        (waited(longest) > patience && held > ANTI_FLICKER).then_some(longest)
    }

    /// Shows all that is new of a step.
    fn vertex(&mut self, vertex: VertexId, now: Instant, out: &mut String) {
        let number = self.number(vertex);
        if self.current != Some(vertex) {
            self.switch(vertex, number, out);
            self.since = Some(now);
        }
        let Some(step) = self.model.step_mut(vertex) else { return };
        let open_parts = statuses(step, number, now, out);
        for note in std::mem::take(&mut step.notes) {
            let _ = writeln!(out, "#{number} {note}");
        }
        lines(step, number, out);
        step.fresh = false;
        self.current = Some(vertex);
        if step.ended.is_none() || open_parts {
            return;
        }
        self.current = None;
        if std::mem::take(&mut step.open) {
            out.push('\n');
            step.shown_of_open = 0;
            step.lines.clear();
        }
        let _ = match &step.outcome {
            Some(Outcome::Failed(why)) => writeln!(out, "#{number} ERROR: {why}"),
            Some(Outcome::Cancelled) => writeln!(out, "#{number} CANCELED"),
            Some(Outcome::Cached) => writeln!(out, "#{number} CACHED"),
            Some(Outcome::Done) | None => {
                writeln!(out, "#{number} DONE {:.1}s", step.ran(now).as_secs_f64())
            }
        };
    }

    /// Leaves the step that was shown, and names the next.
    fn switch(&mut self, vertex: VertexId, number: usize, out: &mut String) {
        if let Some(before) = self.current {
            let before_number = self.number(before);
            if let Some(step) = self.model.step_mut(before) {
                if step.open {
                    out.push('\n');
                    step.shown_of_open = 0;
                }
                step.pressure = 0;
                step.waiting_since = None;
            }
            let _ = writeln!(out, "#{before_number} ...");
        }
        if self.begun {
            out.push('\n');
        } else {
            out.push_str("#0 building with \"default\" instance using orlop driver\n\n");
            self.begun = true;
        }
        let name = self.model.step(vertex).map(|step| step.name.as_str()).unwrap_or_default();
        let _ = writeln!(out, "#{number} {name}");
    }
}

/// Shows the parts of a step that moved far enough; tells whether one goes on.
fn statuses(step: &mut Step, number: usize, now: Instant, out: &mut String) -> bool {
    let mut open = false;
    for status in step.statuses.iter_mut().filter(|status| status.fresh) {
        if let (Some((when, current)), None) = (status.shown, status.ended) {
            let moved = status.current.saturating_sub(current).saturating_mul(100);
            let far = status.total > 0 && moved / status.total >= STATUS_PERCENT;
            if !far && now.saturating_duration_since(when) < STATUS_INTERVAL {
                continue;
            }
        }
        status.shown = Some((now, status.current));
        status.fresh = false;
        let (name, progress) = format::part(&status.id, status.current, status.total);
        let mut line = format!("#{number} {name}");
        if !progress.is_empty() {
            let _ = write!(line, " {progress}");
        }
        let time = status.ended.unwrap_or(now).saturating_duration_since(status.started);
        if time.as_secs_f64() > 0.01 {
            let _ = write!(line, " {:.1}s", time.as_secs_f64());
        }
        line.push_str(if status.ended.is_some() { " done\n" } else { "\n" });
        out.push_str(&line);
        open |= status.ended.is_none() && step.ended.is_none();
    }
    open
}

/// Shows new output; an open line is shown as far as it goes.
fn lines(step: &mut Step, number: usize, out: &mut String) {
    let last = step.lines.len().saturating_sub(1);
    for (at, line) in step.lines.iter().enumerate() {
        if at == 0 && step.shown_of_open > 0 {
            out.extend(line.chars().skip(step.shown_of_open));
        } else {
            let _ = write!(out, "#{number} {line}");
        }
        if at != last || !step.open {
            out.push('\n');
        }
    }
    if step.open {
        step.shown_of_open = step.lines.back().map_or(0, |line| line.chars().count());
        step.lines.drain(..last.min(step.lines.len()));
    } else {
        step.shown_of_open = 0;
        step.lines.clear();
    }
}

impl Screen for Plain {
    fn event(&mut self, event: Stamped, _out: &mut dyn Write) -> std::io::Result<()> {
        // Shown with what comes at about the same time: parts that begin and end at once are one line.
        self.model.apply(event);
        Ok(())
    }

    fn refresh(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()> {
        let text = self.print(now);
        out.write_all(text.as_bytes())
    }

    fn finish(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()> {
        let mut text = self.print(now);
        text.push_str(&self.model.failures(Some(LAST_LINES)));
        out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
#[path = "plain_tests.rs"]
mod tests;
