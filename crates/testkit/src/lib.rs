//! Test support: runs the real binary on a store of its own, in a network of its own.
//!
//! A [`Fixture`] is one machine for one test: its own root and run directory and its own network
//! namespace, which the test's thread enters. When it goes, also after a panic, every container is
//! removed, whatever still runs is killed by its id, and the test fails if anything was mounted in
//! the host's namespace, if a process was left, or if the store does not pass `system check`.

pub mod corpus;
pub mod differential;
mod evidence;
mod fixture;
mod process;
mod random;
mod registry_faulty;
mod registry_server;
pub mod tar;
mod wait;

pub use fixture::Fixture;
pub use process::{Output, run};
pub use random::Random;
pub use registry_faulty::{Fault, FaultyRegistry, Recorded, digest_text};
pub use registry_server::{RegistryOptions, RegistryServer};
pub use wait::{http_get, wait_until};

/// Makes a [`Fixture`] that runs the binary under test; `fixture!(busybox)` has the image `busybox` in it.
#[macro_export]
macro_rules! fixture {
    () => {
        $crate::Fixture::new(env!("CARGO_BIN_EXE_orlop"))
    };
    (busybox) => {{
        let fixture = $crate::fixture!();
        fixture.busybox();
        fixture
    }};
}

/// Writes one line to standard error, where the runner keeps it with the test's output.
pub(crate) fn note(line: &str) {
    use std::io::Write;
    // A test that cannot say what it saw still has its result.
    let _ = writeln!(std::io::stderr(), "testkit: {line}");
}
