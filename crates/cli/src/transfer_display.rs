//! How a pull or a push shows itself: a bar for each layer on a terminal, plain lines elsewhere.
//!
//! The work happens in another thread and sends events; they are shown by the thread that owns the
//! command's streams. If nobody reads them any more, the transfer is stopped.

use std::collections::HashMap;
use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use orlop_engine::{LayerState, TransferEvent, TransferWatch};

use crate::failure::Failure;

/// Characters of a bar.
const BAR_CHARS: usize = 30;
/// Bars are drawn again so that rates sink while nothing comes.
const REDRAW: Duration = Duration::from_millis(200);

/// What is shown, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Bars on the terminal that is standard output.
    Stdout,
    /// Bars on the terminal that is standard error.
    Stderr,
    /// A line for each step.
    Lines,
    /// Nothing.
    Nothing,
}

enum Message<T> {
    Event(TransferEvent),
    Done(T),
}

/// Runs a transfer in a thread of its own and shows what it tells.
pub fn show<T: Send + 'static>(
    surface: Surface,
    output: &mut dyn Write,
    transfer: impl FnOnce(&TransferWatch) -> T + Send,
) -> Result<T, Failure> {
    let (sender, receiver) = channel();
    let events = sender.clone();
    let watch = TransferWatch::new(move |event| {
        // After the end nobody listens.
        let _ = events.send(Message::Event(event));
    });
    std::thread::scope(|scope| {
        let stop = std::sync::Arc::clone(&watch.stop);
        let worker = scope.spawn(move || {
            let done = transfer(&watch);
            let _ = sender.send(Message::Done(done));
        });
        let mut screen = Screen::new(surface);
        let shown = follow(&mut screen, &receiver, output, &stop);
        screen.end();
        if let Err(panic) = worker.join() {
            std::panic::resume_unwind(panic);
        }
        shown
    })
}

fn follow<T>(
    screen: &mut Screen,
    receiver: &Receiver<Message<T>>,
    output: &mut dyn Write,
    stop: &std::sync::atomic::AtomicBool,
) -> Result<T, Failure> {
    let mut failed = None;
    for message in receiver {
        match message {
            Message::Event(event) if failed.is_none() => {
                if let Err(error) = screen.show(&event, output) {
                    stop.store(true, std::sync::atomic::Ordering::Relaxed);
                    failed = Some(error);
                }
            }
            Message::Event(_) => {}
            Message::Done(done) => return failed.map_or(Ok(done), |error| Err(error.into())),
        }
    }
    Err(failed.map_or_else(|| Failure::new("the transfer ended without a result"), Failure::from))
}

struct Screen {
    surface: Surface,
    bars: Option<Bars>,
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    by_id: HashMap<String, ProgressBar>,
}

impl Screen {
    fn new(surface: Surface) -> Self {
        Self { surface, bars: None }
    }

    fn show(&mut self, event: &TransferEvent, output: &mut dyn Write) -> std::io::Result<()> {
        match (self.surface, event) {
            (Surface::Nothing, _) => Ok(()),
            (Surface::Stdout | Surface::Stderr, TransferEvent::Layer { id, state }) => {
                self.bars().show(id, state);
                Ok(())
            }
            // As Docker: how far it is is nothing to write down.
            (Surface::Lines, TransferEvent::Layer { state, .. }) if state.progress().is_some() => {
                Ok(())
            }
            _ => {
                self.end();
                writeln!(output, "{}", event.line())?;
                output.flush()
            }
        }
    }

    fn bars(&mut self) -> &mut Bars {
        let target = match self.surface {
            Surface::Stderr => ProgressDrawTarget::stderr,
            _ => ProgressDrawTarget::stdout,
        };
        self.bars.get_or_insert_with(|| Bars {
            all: MultiProgress::with_draw_target(target()),
            by_id: HashMap::new(),
        })
    }

    /// Leaves the bars as they are; what comes next is written below them.
    fn end(&mut self) {
        for bar in self.bars.take().unwrap_or_default().by_id.into_values() {
            bar.abandon();
        }
    }
}

impl Bars {
    fn show(&mut self, id: &str, state: &LayerState) {
        let bar = self.by_id.entry(id.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0)).with_prefix(id.to_owned());
            bar.enable_steady_tick(REDRAW);
            bar
        });
        let text = state.text();
        let is_new = bar.message() != text;
        if is_new {
            bar.set_style(style(state));
            bar.set_message(text);
        }
        if let Some((current, total)) = state.progress() {
            if is_new {
                bar.reset();
                bar.set_length(total);
            }
            bar.set_position(current);
        }
    }
}

fn style(state: &LayerState) -> ProgressStyle {
    let template = if state.progress().is_some() {
        format!(
            "{{prefix}}: {{msg}} [{{bar:{BAR_CHARS}}}] {{decimal_bytes}}/{{decimal_total_bytes}} {{decimal_bytes_per_sec}}"
        )
    } else {
        "{prefix}: {msg}".to_owned()
    };
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn layer(state: LayerState) -> TransferEvent {
        TransferEvent::Layer { id: "0123456789ab".to_owned(), state }
    }

    #[test]
    fn lines_are_the_steps_without_how_far_they_are() {
        let mut output = Vec::new();
        let done = show(Surface::Lines, &mut output, |watch| {
            (watch.sink)(TransferEvent::PullingFrom {
                tag: "1".to_owned(),
                path: "a/b".to_owned(),
            });
            (watch.sink)(layer(LayerState::PullingFsLayer));
            (watch.sink)(layer(LayerState::Downloading { current: 1, total: 2 }));
            (watch.sink)(layer(LayerState::PullComplete));
            7
        });
        assert_eq!(done.unwrap(), 7);
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "1: Pulling from a/b\n0123456789ab: Pulling fs layer\n0123456789ab: Pull complete\n"
        );
    }

    #[test]
    fn a_reader_that_leaves_stops_the_transfer() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let failure = show(Surface::Lines, &mut Gone, |watch| {
            (watch.sink)(layer(LayerState::PullComplete));
            while !watch.stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::yield_now();
            }
        })
        .unwrap_err();
        assert_eq!(failure.code, crate::failure::BROKEN_PIPE);
    }
}
