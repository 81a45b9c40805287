//! Where log lines go: standard error, from orlop's own crates only.
//!
//! Libraries below log every refusal that they also return (and some that mean nothing), so they
//! are heard from `debug` on only.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Beginning of the targets of our own crates.
const OWN_TARGETS: &str = "orlop";

/// Starts logging at `level` and above.
pub fn start(level: LevelFilter) {
    let foreign = if level >= LevelFilter::DEBUG { level } else { LevelFilter::OFF };
    let targets = Targets::new().with_default(foreign).with_target(OWN_TARGETS, level);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !no_color);
    // The only failure is a subscriber that is already there, which then keeps its place.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
}
