//! The database's log stays short, whatever the commands are: each command reads the whole of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use orlop_testkit::{fixture, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Above what the engine starts to fold the log at, below what [`CONTAINERS`] come to without that.
const SHORT_BYTES: u64 = 3 << 19;
/// Each comes to about 50 KiB of log.
const CONTAINERS: usize = 60;

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn commands_that_only_add_things_leave_no_long_log() {
    let fixture = fixture!(busybox);
    for place in 0..CONTAINERS {
        let name = format!("c{place}");
        fixture.ok(&["create", "--name", &name, "busybox", "true"]);
    }
    let log = fixture.root().join("orlop.db-wal");
    wait_until("a short log", LIMIT, || match log.metadata().unwrap().len() {
        0..SHORT_BYTES => Ok(()),
        bytes => Err(format!("{bytes} bytes")),
    });
    assert_eq!(fixture.ok(&["ps", "-aq"]).lines().count(), CONTAINERS);
}
