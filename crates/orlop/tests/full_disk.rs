//! A disk that is full: clear errors, nothing half-made, and deleting still works.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use orlop_testkit::{fixture, run};

/// Runs in a mount namespace of its own; `$1` is the program, `$2` an empty directory, `$3` a tar.
const SCRIPT: &str = r#"
set -u
mount -t tmpfs -o size=40m tmpfs "$2"
orlop() { "$1" --root "$dir/root" --run-root "$dir/run" "${@:2}"; }
bin=$1 dir=$2
orlop "$bin" import "$3" busybox >/dev/null || exit 10
orlop "$bin" run --network none --name filler -v data:/data busybox \
    sh -c 'cat /dev/zero >/data/a; cat /dev/zero >/data/b' 2>/dev/null
echo "import: $(orlop "$bin" import "$3" -c 'LABEL a=b' other 2>&1 >/dev/null | head -1)"
echo "volume: $(orlop "$bin" volume create more 2>&1 >/dev/null | head -1)"
orlop "$bin" rm filler || exit 11
orlop "$bin" volume rm data || exit 12
for _ in $(seq 100); do
    [ -z "$(ls "$dir/root/trash")" ] && break
    sleep 0.1
done
orlop "$bin" run --rm --network none busybox echo "runs again" || exit 13
for _ in $(seq 100); do
    [ -z "$(ls "$dir/run/containers")" ] && break
    sleep 0.1
done
# With --repair, the idle store gives back its control groups.
orlop "$bin" system check --repair || exit 14
"#;

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn deleting_works_on_a_full_disk_and_the_rest_fails_in_one_line() {
    let fixture = fixture!();
    let disk = fixture.directory("disk");
    let tar = fixture.busybox_tar();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", SCRIPT, "bash"]);
    command.arg(env!("CARGO_BIN_EXE_orlop")).arg(&disk).arg(&tar);
    let output = run(&mut command, b"", Duration::from_secs(60));
    assert_eq!(output.code, 0, "{output}");
    for word in ["import: orlop: import: ", "volume: orlop: volume create: "] {
        let line = output.stdout.lines().find(|line| line.starts_with(word));
        let line = line.unwrap_or_else(|| panic!("no line `{word}`: {output}"));
        assert!(line.ends_with("no space left on device"), "{line}");
    }
    assert!(output.stdout.contains("runs again\n"), "{output}");
    assert!(output.stdout.contains("no problems"), "{output}");
}

/// The same for a container that takes whatever becomes free.
const FILLER_SCRIPT: &str = r#"
set -u
mount -t tmpfs -o size=40m tmpfs "$2"
mkdir "$2/run" && mount -t tmpfs tmpfs "$2/run"
orlop() { "$1" --root "$dir/root" --run-root "$dir/run" "${@:2}"; }
bin=$1 dir=$2
orlop "$bin" import "$3" busybox >/dev/null || exit 10
orlop "$bin" run -d --network none --name filler -v data:/data busybox sh -c '
    cat /dev/zero >/data/a
    while :; do dd if=/dev/zero bs=4k count=1 >>/data/a; done 2>/dev/null' >/dev/null || exit 11
for _ in $(seq 300); do
    [ "$(stat -f -c %a "$dir")" = 0 ] && break
    sleep 0.1
done
echo "running: $(orlop "$bin" ps --format '{{.Names}}')"
orlop "$bin" stop -t 0 filler || exit 12
echo "stopped: $(orlop "$bin" ps -a --format '{{.Status}}')"
orlop "$bin" rm filler || exit 13
orlop "$bin" volume rm data || exit 14
for _ in $(seq 100); do
    [ "$(stat -c %s "$dir/root/reserve")" = 2097152 ] && break
    sleep 0.1
done
echo "reserve: $(stat -c %s "$dir/root/reserve")"
orlop "$bin" system check --repair || exit 15
umount "$dir/run"
"#;

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_container_that_fills_the_disk_can_be_stopped() {
    let fixture = fixture!();
    let disk = fixture.directory("disk");
    let tar = fixture.busybox_tar();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", FILLER_SCRIPT, "bash"]);
    command.arg(env!("CARGO_BIN_EXE_orlop")).arg(&disk).arg(&tar);
    let output = run(&mut command, b"", Duration::from_secs(120));
    assert_eq!(output.code, 0, "{output}");
    for expected in ["running: filler\n", "stopped: Exited (137) ", "reserve: 2097152\n"] {
        assert!(output.stdout.contains(expected), "{expected}: {output}");
    }
}
