//! Progress of what takes longer than a second: a bar on a terminal, plain lines elsewhere.
//!
//! Everything goes to standard error, nothing in the first second, and nothing at all with
//! `--quiet`. A [`Progress`] is shared by reference: it may be told from any thread.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use orlop_types::size::human_size;

/// What is done sooner than that needs no bar.
const BAR_DELAY: Duration = Duration::from_secs(1);
/// Time until the first plain line, and between two of them: logs are read later, not watched.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Characters of the bar itself.
const BAR_CHARS: usize = 30;

/// Whether anything is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// A bar or lines, by what standard error is.
    Auto,
    /// Nothing (`--quiet`).
    Quiet,
}

impl Show {
    /// From the value of a `--quiet` flag.
    pub fn unless(quiet: bool) -> Self {
        if quiet { Self::Quiet } else { Self::Auto }
    }
}

/// How the progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Bar,
    Lines,
    Hidden,
}

/// The progress of one piece of work, counted in bytes.
pub struct Progress {
    /// What is done: `Importing`.
    what: String,
    total_bytes: Option<u64>,
    done_bytes: AtomicU64,
    style: Style,
    started: Instant,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

impl Progress {
    /// Begins; `what` is a verb in its `-ing` form, `total_bytes` is what will be reached, if known.
    pub fn bytes(what: impl Into<String>, total_bytes: Option<u64>, show: Show) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let style = match show {
            Show::Quiet => Style::Hidden,
            Show::Auto if std::io::stderr().is_terminal() && !dumb => Style::Bar,
            Show::Auto => Style::Lines,
        };
        Self {
            what: what.into(),
            total_bytes: total_bytes.filter(|bytes| *bytes > 0),
            done_bytes: AtomicU64::new(0),
            style,
            started: Instant::now(),
            shown: Mutex::default(),
        }
    }

    /// So much is done in all.
    pub fn set(&self, bytes: u64) {
        self.done_bytes.store(bytes, Ordering::Relaxed);
        self.show(bytes);
    }

    /// So much more is done.
    pub fn add(&self, bytes: u64) {
        let before = self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.show(before.saturating_add(bytes));
    }

    fn show(&self, bytes: u64) {
        if self.style == Style::Hidden || self.started.elapsed() < BAR_DELAY {
            return;
        }
        // Somebody else is drawing just now: the next call will show this, too.
        let Ok(mut shown) = self.shown.try_lock() else { return };
        match self.style {
            Style::Bar => shown.bar.get_or_insert_with(|| self.bar()).set_position(bytes),
            Style::Lines => {
                if shown.last_line.unwrap_or(self.started).elapsed() >= LINE_INTERVAL {
                    shown.last_line = Some(Instant::now());
                    // Progress is a courtesy: nobody reading it is no failure.
                    let _ = std::io::stderr().write_all(self.line(bytes).as_bytes());
                }
            }
            Style::Hidden => {}
        }
    }

    fn bar(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(self.total_bytes, ProgressDrawTarget::stderr());
        let template = match self.total_bytes {
            Some(_) => format!(
                "{{msg}} [{{bar:{BAR_CHARS}}}] {{decimal_bytes}}/{{decimal_total_bytes}} {{eta}}"
            ),
            None => "{msg} {decimal_bytes} {elapsed}".to_owned(),
        };
        let bar = bar.with_message(self.what.clone()).with_elapsed(self.started.elapsed());
        match ProgressStyle::with_template(&template) {
            Ok(style) => bar.with_style(style.progress_chars("=> ")),
            Err(_) => bar,
        }
    }

    fn line(&self, bytes: u64) -> String {
        let done = human_size(bytes as f64);
        match self.total_bytes {
            Some(total) => {
                // Sizes are far below 2^57, where this would overflow.
                let percent = bytes.saturating_mul(100) / total;
                let total = human_size(total as f64);
                format!("{}: {done} of {total} ({}%)\n", self.what, percent.min(100))
            }
            None => format!("{}: {done}\n", self.what),
        }
    }
}

/// Takes the bar away: what comes next is printed where it stood.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.shown.get_mut().ok().and_then(|shown| shown.bar.take()) {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_tell_how_far_it_is() {
        let known = Progress::bytes("Importing", Some(2_000_000), Show::Quiet);
        assert_eq!(known.line(500_000), "Importing: 500kB of 2MB (25%)\n");
        assert_eq!(known.line(3_000_000), "Importing: 3MB of 2MB (100%)\n");
        let unknown = Progress::bytes("Copying", Some(0), Show::unless(true));
        assert_eq!(unknown.line(1_500), "Copying: 1.5kB\n");
    }

    #[test]
    fn bytes_are_counted() {
        let progress = Progress::bytes("Loading", None, Show::Quiet);
        progress.add(5);
        progress.add(2);
        assert_eq!(progress.done_bytes.load(Ordering::Relaxed), 7);
        progress.set(3);
        assert_eq!(progress.done_bytes.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn nothing_is_shown_in_the_first_second() {
        let mut progress = Progress::bytes("Loading", None, Show::Auto);
        progress.style = Style::Bar;
        progress.set(1);
        assert!(progress.shown.lock().unwrap().bar.is_none());
    }
}
