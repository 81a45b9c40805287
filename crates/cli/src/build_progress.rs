//! What a build shows while it runs, in BuildKit's forms: plain lines, a live region on a terminal,
//! or JSON for programs.
//!
//! Events come from the build's threads and go through a channel to one thread that shows them, so
//! that no step waits for a terminal. What was shown ends with [`Display::finish`].

mod format;
mod model;
mod plain;
mod raw_json;
mod tty;

use std::io::{IsTerminal as _, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use orlop_engine::build::Cancel;
use orlop_engine::build::progress::{Event, Progress};

use crate::failure::Failure;
pub use model::Warning;

/// Time between two looks at the clock: running steps show how long they have been running.
const TICK: Duration = Duration::from_millis(150);
/// Events that wait to be shown. A step whose output is read slowly then waits, as with a full pipe;
/// each holds 64 KiB at most.
const EVENTS_MAX: usize = 256;
/// Between two attempts to hand an event to a display that has too many.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// How long an ended build waits for a reader of what it shows.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A live region where there is a terminal, lines elsewhere.
    Auto,
    /// Lines.
    Plain,
    /// A live region.
    Tty,
    /// BuildKit's status messages as JSON, one a line.
    RawJson,
    /// Nothing.
    Quiet,
}

impl Mode {
    /// Reads `--progress`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        Ok(match text {
            "" | "auto" => Self::Auto,
            "plain" => Self::Plain,
            "tty" => Self::Tty,
            "rawjson" => Self::RawJson,
            "quiet" | "none" => Self::Quiet,
            other => return Err(Failure::new(format!("invalid progress mode {other}"))),
        })
    }
}

/// An event and when it came.
pub(crate) struct Stamped {
    event: Event,
    at: Instant,
    time: Timestamp,
}

/// One way of showing a build.
trait Screen: Send {
    /// Takes an event.
    fn event(&mut self, event: Stamped, out: &mut dyn Write) -> std::io::Result<()>;
    /// Some time went by, or many events came.
    fn refresh(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()>;
    /// The build is over.
    fn finish(&mut self, now: Instant, out: &mut dyn Write) -> std::io::Result<()>;
}

/// A build's display; give it to the build, then [`Display::finish`] it.
pub struct Display {
    sender: SyncSender<Stamped>,
    thread: JoinHandle<Vec<Warning>>,
}

/// The build's end of a display.
pub struct Feed {
    sender: SyncSender<Stamped>,
    cancel: Cancel,
}

impl Progress for Feed {
    fn event(&self, event: Event) {
        let mut event = Stamped { event, at: Instant::now(), time: Timestamp::now() };
        // The display ends after the build; an event that comes later has nobody to see it. A build
        // goes no faster than its reader reads, but it need not wait to be ended.
        while let Err(TrySendError::Full(back)) = self.sender.try_send(event) {
            if self.cancel.is_cancelled() {
                return;
            }
            event = back;
            std::thread::sleep(FULL_PAUSE);
        }
    }
}

impl Display {
    /// Begins to show a build on standard error.
    pub fn start(mode: Mode) -> Result<Self, Failure> {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal();
        let screen: Box<dyn Screen> = match mode {
            Mode::Tty if !terminal => {
                return Err(Failure::new("failed to get console: provided file is not a console"));
            }
            Mode::Tty => Box::new(tty::Tty::new()),
            Mode::Auto if terminal && !dumb => Box::new(tty::Tty::new()),
            Mode::Auto | Mode::Plain => Box::new(plain::Plain::new()),
            Mode::RawJson => Box::new(raw_json::RawJson::new()),
            Mode::Quiet => Box::new(Nothing),
        };
        let (sender, receiver) = mpsc::sync_channel(EVENTS_MAX);
        let thread = std::thread::Builder::new()
            .name("build-progress".to_owned())
            .spawn(move || show(screen, &receiver, &mut std::io::stderr()))?;
        Ok(Self { sender, thread })
    }

    /// What the build tells its events to.
    pub fn feed(&self, cancel: &Cancel) -> Feed {
        Feed { sender: self.sender.clone(), cancel: cancel.clone() }
    }

    /// As [`Display::finish`], for a build that was ended: `None` if nobody reads what is shown, so
    /// that nothing more can be told either.
    pub fn finish_soon(self) -> Option<Vec<Warning>> {
        drop(self.sender);
        let begin = Instant::now();
        while !self.thread.is_finished() {
            if begin.elapsed() > READER_PATIENCE {
                return None;
            }
            std::thread::sleep(FULL_PAUSE);
        }
        Some(self.thread.join().unwrap_or_default())
    }

    /// Shows the last of it, and gives the warnings that the build had.
    pub fn finish(self) -> Vec<Warning> {
        drop(self.sender);
        self.thread.join().unwrap_or_default()
    }
}

/// Shows events until their senders are gone.
fn show(
    mut screen: Box<dyn Screen>,
    receiver: &Receiver<Stamped>,
    out: &mut dyn Write,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut shown = Instant::now();
    // A terminal that went away is no reason to end a build.
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(stamped) => {
                if let Event::Warning { rule, message, detail, url, line } = &stamped.event {
                    warnings.push(Warning::new(rule, message, detail, url, *line));
                }
                let _ = screen.event(stamped, out);
                if shown.elapsed() < TICK {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        shown = Instant::now();
        let _ = screen.refresh(shown, out);
        let _ = out.flush();
    }
    let _ = screen.finish(Instant::now(), out);
    let _ = out.flush();
    warnings
}

/// Shows nothing.
struct Nothing;

impl Screen for Nothing {
    fn event(&mut self, _event: Stamped, _out: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }

    fn refresh(&mut self, _now: Instant, _out: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _now: Instant, _out: &mut dyn Write) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "build_progress_tests.rs"]
mod tests;
