//! Where log lines go: standard error, from orlop's own crates only.
//!
//! Libraries below log every refusal that they also return (and some that mean nothing), so they
//! are heard from `debug` on only; those that tell of each connection from `trace` on.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Beginning of the targets of our own crates.
const OWN_TARGETS: &str = "orlop";
/// Libraries below the distribution client: several lines for each request.
const CHATTY: [&str; 6] = ["hyper", "hyper_util", "h2", "reqwest", "rustls", "tower"];

/// Starts logging at `level` and above.
pub fn start(level: LevelFilter) {
    let targets = targets(level);
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !no_color);
    // The only failure is a subscriber that is already there, which then keeps its place.
    let _ = tracing_subscriber::registry().with(lines).with(targets).try_init();
}

/// Who is heard.
fn targets(level: LevelFilter) -> Targets {
    let from = |least: LevelFilter| if level >= least { level } else { LevelFilter::OFF };
    let chatty = CHATTY.map(|name| (name, from(LevelFilter::TRACE)));
    Targets::new()
        .with_default(from(LevelFilter::DEBUG))
        .with_targets(chatty)
        .with_target(OWN_TARGETS, level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn libraries_are_heard_where_somebody_looks_for_a_fault() {
        let heard = |at: LevelFilter, target: &str| targets(at).would_enable(target, &Level::DEBUG);
        assert!(heard(LevelFilter::DEBUG, "orlop_registry::exchange"));
        assert!(heard(LevelFilter::DEBUG, "rtnetlink"));
        assert!(!heard(LevelFilter::DEBUG, "hyper_util::client::legacy::pool"));
        assert!(!heard(LevelFilter::DEBUG, "reqwest::connect"));
        assert!(heard(LevelFilter::TRACE, "reqwest::connect"));
        assert!(!heard(LevelFilter::WARN, "rtnetlink"));
    }
}
