//! The live region of a terminal: what runs, for how long, with its last lines of output.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use orlop_engine::build::progress::Outcome;

use super::format::{align, clean, cut, part};
use super::model::{Model, Status, Step};
use super::{Screen, Stamped};

/// Lines of output below a running step.
const OUTPUT_LINES: usize = 6;
/// The smallest width that shows anything.
const WIDTH_MIN: usize = 20;
/// Size of a terminal that doesn't tell it.
const SIZE: (usize, usize) = (80, 10);
/// Times below are noise.
const NOISE: Duration = Duration::from_millis(50);

const BLUE: &str = "\u{1b}[34m";
const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const FAINT: &str = "\u{1b}[2m";
const RESET: &str = "\u{1b}[0m";

/// The state of the region.
pub(crate) struct Tty {
    model: Model,
    begun: Instant,
    /// Lines that stand on the screen now.
    lines: usize,
    colours: bool,
}

/// One line of the region.
struct Line {
    text: String,
    ended: bool,
    colour: &'static str,
    /// Output that belongs below it.
    output: Vec<String>,
}

impl Tty {
    pub fn new() -> Self {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { model: Model::default(), begun: Instant::now(), lines: 0, colours }
    }

    /// The whole region; `all` also where it is higher than the screen.
    fn region(&self, now: Instant, size: (usize, usize), all: bool) -> Vec<String> {
        let (width, height) = (size.0.max(WIDTH_MIN), size.1);
        let (done, total) = self.model.counts();
        let state = if all && done == total && total > 0 { "FINISHED" } else { "" };
        let time = now.saturating_duration_since(self.model.started.unwrap_or(self.begun));
        let head = format!("[+] Building {:.1}s ({done}/{total}) {state}", time.as_secs_f64());
        let mut lines = vec![cut(head.trim_end(), width)];
        let mut rows: Vec<Line> = Vec::new();
        for (_, step) in self.model.running_and_done() {
            rows.extend(step_lines(step, now, width, all));
        }
        let room = height.saturating_sub(2);
        if !all {
            rows = fitting(rows, room);
        }
        for row in rows {
            lines.push(self.painted(&row.text, if row.ended { row.colour } else { "" }));
            lines.extend(row.output.iter().map(|text| self.painted(text, FAINT)));
        }
        lines
    }

    fn painted(&self, text: &str, colour: &str) -> String {
        if !self.colours || colour.is_empty() {
            return text.to_owned();
        }
        format!("{colour}{text}{RESET}")
    }

    /// Draws the region over the one before.
    fn draw(&mut self, now: Instant, all: bool, out: &mut dyn Write) -> std::io::Result<()> {
        let lines = self.region(now, terminal_size(), all);
        let mut text = String::from("\u{1b}[?25l");
        if self.lines > 0 {
            let _ = write!(text, "\u{1b}[{}A", self.lines);
        }
        text.push('\r');
        for line in &lines {
            let _ = writeln!(text, "{line}\u{1b}[K");
        }
        // What stood below is gone; the cursor is seen again.
        text.push_str("\u{1b}[J\u{1b}[?25h");
        self.lines = lines.len();
        out.write_all(text.as_bytes())
    }
}

fn terminal_size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    match size {
        Some(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => SIZE,
    }
}

fn step_lines(step: &Step, now: Instant, width: usize, all: bool) -> Vec<Line> {
    let (mark, colour) = match &step.outcome {
        Some(Outcome::Failed(_)) => ("ERROR ", RED),
        Some(Outcome::Cancelled) => ("CANCELED ", YELLOW),
        Some(Outcome::Cached) => ("CACHED ", BLUE),
        Some(Outcome::Done) | None => ("", BLUE),
    };
    let name = format!("{mark}{}", clean(&step.name.replace('\n', " ")));
    let ended = step.ended.is_some();
    let output = if ended || all { Vec::new() } else { output(step, width) };
    let text = row(&name, "", step.ran(now), width);
    let mut lines = vec![Line { text, ended, colour, output }];
    for status in &step.statuses {
        let Status { id, current, total, started, ended: end, .. } = status;
        let time = end.unwrap_or(now).saturating_duration_since(*started);
        let (name, far) = part(id, *current, *total);
        let text = row(&format!("=> {}", clean(&name)), &far, time, width);
        let ended = end.is_some() || ended;
        lines.push(Line { text, ended, colour: BLUE, output: Vec::new() });
    }
    for note in &step.all_notes {
        let text = row(note, "", step.ran(now), width);
        lines.push(Line { text, ended: true, colour: YELLOW, output: Vec::new() });
    }
    lines
}

/// ` => NAME STATUS          1.2s`
fn row(name: &str, status: &str, time: Duration, width: usize) -> String {
    let seconds = if time < NOISE { 0.0 } else { time.as_secs_f64() };
    let timer = format!("{seconds:.1}s");
    let status = if status.is_empty() { String::new() } else { format!(" {status}") };
    let room = width.saturating_sub(" => ".len() + timer.len() + 2);
    let status = if status.len() + 12 > room { String::new() } else { status };
    let name = cut(name, room.saturating_sub(status.chars().count()));
    align(&format!(" => {name}{status}"), &timer, width.saturating_sub(1))
}

fn output(step: &Step, width: usize) -> Vec<String> {
    let skipped = step.last.len().saturating_sub(OUTPUT_LINES);
    step.last
        .iter()
        .skip(skipped)
        // Without the time in front.
        .map(|line| clean(line.split_once(' ').map_or("", |(_, text)| text)))
        .filter(|line| !line.trim().is_empty())
        .map(|line| cut(&format!(" => => # {line}"), width.saturating_sub(1)))
        .collect()
}

/// As many lines as there is room for: output goes first, then the oldest lines of what ended, then
/// the oldest of all.
fn fitting(mut rows: Vec<Line>, room: usize) -> Vec<Line> {
    let height = |rows: &[Line]| rows.iter().map(|row| 1 + row.output.len()).sum::<usize>();
    let running = rows.iter().filter(|row| !row.ended).count();
    // Output is shown as long as all that runs has a line of its own.
    let mut budget = room.saturating_sub(running);
    for row in rows.iter_mut().rev() {
        if row.output.len() > budget {
            row.output.clear();
        }
        budget -= row.output.len();
    }
    while height(&rows) > room {
        let oldest = rows.iter().position(|row| row.ended).unwrap_or(0);
        if rows.is_empty() {
            break;
        }
        rows.remove(oldest);
    }
    rows
}

impl Screen for Tty {
    fn event(&mut self, event: Stamped, _out: &mut dyn Write) -> std::io::Result<()> {
        self.model.apply(event);
        Ok(())
    }

    fn refresh(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()> {
        self.draw(now, false, out)
    }

    fn finish(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()> {
        if !self.model.begun.is_empty() {
            self.draw(now, true, out)?;
        }
        let failures = self.model.failures(None);
        out.write_all(failures.as_bytes())
    }
}

#[cfg(test)]
#[path = "tty_tests.rs"]
mod tests;
