//! Restart policies: when a container that has ended is started again, and after how long.
//!
//! The monitor carries this out from what the plan and these files of the run directory say. Whoever
//! ends a container on purpose writes the files *before* the signal, so that the end it causes is
//! never undone:
//!
//! ```text
//! restart-cancelled     no restart until the next start by hand
//! stopped-by-user       somebody has ended this run on purpose (`unless-stopped` heeds that)
//! updated.json          limits and policy instead of the plan's (`update`)
//! ```
//!
//! A start by hand removes the run directory and so all of them.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use orlop_types::config::{HostConfig, RestartPolicy};

use crate::attach::SOCKET_NAME;
use crate::error::Error;

/// Wait before the first restart; doubled with each further one.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest wait.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// A run of this length makes the next wait the first one again.
const LONG_RUN: Duration = Duration::from_secs(10);

const CANCELLED: &str = "restart-cancelled";
const STOPPED: &str = "stopped-by-user";
const UPDATED: &str = "updated.json";

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndedRun {
    pub(crate) exit_code: u8,
    pub(crate) duration: Duration,
    pub(crate) stopped_by_user: bool,
}

/// What has been waited and restarted so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restarts {
    delay: Duration,
    count: i64,
}

impl Restarts {
    /// How long to wait before the next start; `None` for no further one.
    pub(crate) fn next(&mut self, policy: &RestartPolicy, run: EndedRun) -> Option<Duration> {
        if run.duration >= LONG_RUN {
            self.delay = Duration::ZERO;
        }
        self.delay =
            if self.delay.is_zero() { FIRST_DELAY } else { (self.delay * 2).min(MAX_DELAY) };
        let again = match policy.name.as_str() {
            "always" => true,
            "unless-stopped" => !run.stopped_by_user,
            "on-failure" => {
                let most = policy.maximum_retry_count;
                run.exit_code != 0 && (most == 0 || self.count < most)
            }
            _ => false,
        };
        self.count += i64::from(again);
        again.then_some(self.delay)
    }
}

/// Keeps the container from being started again by itself.
pub fn cancel(run_dir: &Path) -> Result<(), Error> {
    touch(run_dir, CANCELLED)
}

/// Notes that this run is ended on purpose.
pub fn mark_stopped(run_dir: &Path) -> Result<(), Error> {
    touch(run_dir, STOPPED)
}

/// Replaces the restart policy of a container that runs, and the limits of its next run.
pub fn update(run_dir: &Path, config: &HostConfig) -> Result<(), Error> {
    let path = run_dir.join(UPDATED);
    let temporary = run_dir.join(format!("{UPDATED}.{}", std::process::id()));
    let text = serde_json::to_vec(config).map_err(io::Error::from);
    let written = text
        .and_then(|text| fs::write(&temporary, text))
        .and_then(|()| fs::rename(&temporary, &path));
    written.or_else(none_to_tell).map_err(Error::file("write", path))
}

/// Makes a monitor that waits for the next start look at the files.
pub fn wake(run_dir: &Path) {
    // Nobody listens: there is nobody to wake.
    if let Err(error) = orlop_sys::pty::connect_unix(&run_dir.join(SOCKET_NAME)) {
        tracing::debug!(%error, "monitor not woken");
    }
}

fn touch(run_dir: &Path, name: &str) -> Result<(), Error> {
    let path = run_dir.join(name);
    let made = fs::File::create(&path).map(drop);
    made.or_else(none_to_tell).map_err(Error::file("write", path))
}

/// Without a run directory there is no monitor.
fn none_to_tell(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Whether somebody has cancelled restarts.
pub(crate) fn is_cancelled(run_dir: &Path) -> bool {
    run_dir.join(CANCELLED).exists()
}

/// Whether somebody has ended this run on purpose.
pub(crate) fn is_stopped_by_user(run_dir: &Path) -> bool {
    run_dir.join(STOPPED).exists()
}

/// A new run begins: it has not been stopped by anybody.
pub(crate) fn begin_run(run_dir: &Path) -> Result<(), Error> {
    let path = run_dir.join(STOPPED);
    fs::remove_file(&path).or_else(none_to_tell).map_err(Error::file("remove", path))
}

/// What an update has said, if there was one.
pub(crate) fn updated(run_dir: &Path) -> Option<HostConfig> {
    let text = fs::read(run_dir.join(UPDATED)).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn policy(name: &str, maximum_retry_count: i64) -> RestartPolicy {
        RestartPolicy { name: name.to_owned(), maximum_retry_count }
    }

    fn run(exit_code: u8, seconds: u64) -> EndedRun {
        let duration = Duration::from_secs(seconds);
        EndedRun { exit_code, duration, stopped_by_user: false }
    }

    fn delays(policy: &RestartPolicy, runs: &[EndedRun]) -> Vec<Option<u128>> {
        let mut restarts = Restarts::default();
        runs.iter().map(|run| restarts.next(policy, *run).map(|delay| delay.as_millis())).collect()
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let runs = [run(0, 0); 12];
        let expected =
            [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000];
        assert_eq!(delays(&policy("always", 0), &runs), expected.map(Some));
        let runs = [run(1, 0), run(1, 9), run(1, 10), run(1, 0)];
        assert_eq!(delays(&policy("always", 0), &runs), [100, 200, 100, 200].map(Some));
    }

    #[test]
    fn policies_decide_by_exit_code_count_and_who_ended_it() {
        for none in ["", "no"] {
            assert_eq!(delays(&policy(none, 0), &[run(1, 0)]), [None], "{none}");
        }
        let failures = [run(1, 0), run(2, 0), run(3, 0)];
        let limited = delays(&policy("on-failure", 2), &failures);
        assert_eq!(limited, [Some(100), Some(200), None]);
        assert_eq!(delays(&policy("on-failure", 0), &[run(0, 0)]), [None]);
        let stopped = EndedRun { stopped_by_user: true, ..run(0, 0) };
        assert_eq!(delays(&policy("unless-stopped", 0), &[stopped]), [None]);
        assert_eq!(delays(&policy("unless-stopped", 0), &[run(0, 0)]), [Some(100)]);
        assert_eq!(delays(&policy("always", 0), &[stopped]), [Some(100)]);
        assert_eq!(
            delays(&policy("on-failure", 0), &[EndedRun { exit_code: 1, ..stopped }]),
            [Some(100)]
        );
    }

    #[test]
    fn what_others_say_is_read_from_files() {
        let directory = tempfile::tempdir().unwrap();
        let run_dir = directory.path();
        let config = HostConfig { restart_policy: policy("always", 0), ..HostConfig::default() };
        assert!(!is_cancelled(run_dir) && !is_stopped_by_user(run_dir));
        assert_eq!(updated(run_dir), None);
        mark_stopped(run_dir).unwrap();
        cancel(run_dir).unwrap();
        cancel(run_dir).unwrap();
        update(run_dir, &config).unwrap();
        assert!(is_cancelled(run_dir) && is_stopped_by_user(run_dir));
        assert_eq!(updated(run_dir), Some(config.clone()));
        begin_run(run_dir).unwrap();
        begin_run(run_dir).unwrap();
        assert!(is_cancelled(run_dir) && !is_stopped_by_user(run_dir));
        let nowhere = run_dir.join("gone");
        cancel(&nowhere).unwrap();
        update(&nowhere, &config).unwrap();
        wake(&nowhere);
    }
}
