//! Fault points: places where a test can cut a process off, as a power cut or `kill -9` would.
//!
//! `ORLOP_FAULT=name` ends the process at the point of that name, `ORLOP_FAULT=name:3` the third
//! time it comes by, `ORLOP_FAULT=one,two` at either. Without the variable a point costs one load of
//! a static.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Name of the environment variable.
pub const VARIABLE: &str = "ORLOP_FAULT";

/// Name of the variable with a file to which each point that ends a process appends its name.
pub const MARK_VARIABLE: &str = "ORLOP_FAULT_MARK";

struct Fault {
    name: String,
    remaining: AtomicU32,
}

static FAULTS: OnceLock<Vec<Fault>> = OnceLock::new();

/// Ends the process here if a test asked for it; no destructor runs.
pub fn point(name: &str) {
    let faults = FAULTS.get_or_init(|| parse(&std::env::var(VARIABLE).unwrap_or_default()));
    for fault in faults {
        if fault.name == name && fault.remaining.fetch_sub(1, Ordering::Relaxed) == 1 {
            mark(name);
            std::process::abort();
        }
    }
}

/// Tells the test that the point was reached: what the process prints may be lost with it.
fn mark(name: &str) {
    let Some(path) = std::env::var_os(MARK_VARIABLE) else { return };
    let file = std::fs::File::options().create(true).append(true).open(path);
    // The test that misses the mark fails.
    let _ = file.and_then(|mut file| writeln!(file, "{name}"));
}

fn parse(text: &str) -> Vec<Fault> {
    text.split(',')
        .filter(|text| !text.is_empty())
        .map(|text| {
            let (name, count) = match text.rsplit_once(':') {
                Some((name, count)) => (name, count.parse().unwrap_or(1)),
                None => (text, 1),
            };
            Fault { name: name.to_owned(), remaining: AtomicU32::new(count) }
        })
        .collect()
}
