//! Ending a build whose standard error nobody reads.
#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::time::Duration;

use orlop_testkit::{fixture, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn one_interrupt_ends_a_build_that_waits_for_its_reader() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = fixture.directory("context");
    let text = "FROM busybox\nRUN touch /begun; yes\n";
    std::fs::write(directory.join("Dockerfile"), text).unwrap();
    let mut command = fixture.command(&["build", "--progress", "plain"]);
    command.arg(&directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let unread = child.stderr.take().unwrap();
    // Full when nothing more comes: the pipe holds as much as before a while ago.
    let mut before = 0;
    wait_until("the pipe to be full", LIMIT, || {
        std::thread::sleep(Duration::from_millis(500));
        let now = rustix::io::ioctl_fionread(&unread).unwrap();
        let full = now > 0 && now == before;
        before = now;
        if full { Ok(()) } else { Err(format!("{now} bytes")) }
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = wait_until("the build to end", LIMIT, || {
        child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(status.code(), Some(130));
    drop(unread);
    wait_until("the step to be gone", LIMIT, || {
        let left = std::fs::read_dir(fixture.root().join("containers")).unwrap().count();
        if left == 0 && fixture.processes().is_empty() { Ok(()) } else { Err("left".to_owned()) }
    });
}
