//! Builds on a disk that is full: one clear line, nothing half-made, and the next build goes on.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::Duration;

use orlop_testkit::{Output, fixture, run};

/// What every script begins with: `$1` is the program, `$2` a directory, `$3` a tar, `$4` the kind of
/// file system, in a mount namespace of its own.
const BEGIN: &str = r#"
set -u
bin=$1 dir=$2 tar=$3
mkdir "$dir/disk" "$dir/run" "$dir/context"
if [ "$4" = ext4 ]; then
    truncate -s 56M "$dir/image" && mkfs.ext4 -q -m 0 "$dir/image" || exit 2
    mount -o loop "$dir/image" "$dir/disk" || exit 3
else
    mount -t tmpfs -o size=48m tmpfs "$dir/disk" || exit 3
fi
disk=$dir/disk
mount -t tmpfs tmpfs "$dir/run" || exit 4
cd "$dir/context"
orlop() { "$bin" --root "$disk/root" --run-root "$dir/run" "$@"; }
build() { orlop build --progress plain --network none "$@" . 2>&1; }
free() { echo $(($(stat -f -c '%a * %S' "$disk"))); }
# What was deleted is deleted for good in the background.
wait_for_room() {
    for _ in $(seq 300); do
        [ "$(free)" -gt 20000000 ] && return
        sleep 0.1
    done
    echo "no room: $(free)"
}
nothing_is_left() {
    for _ in $(seq 300); do
        [ -z "$(ls "$disk/root/trash" "$disk/root/containers" "$disk/root/staging" | grep -v :)" ] && break
        sleep 0.1
    done
    ls "$disk/root/containers" "$disk/root/staging" | grep -v : | grep . && echo "something is left"
    orlop system check || exit 20
}
orlop import "$tar" busybox >/dev/null || exit 10
"#;

/// What every script ends with: the idle store gives back its control groups.
const END: &str = r#"
for _ in $(seq 100); do
    [ -z "$(ls "$dir/run/containers" 2>/dev/null)" ] && break
    sleep 0.1
done
rm -f "$disk/fill"
orlop system check --repair >/dev/null || exit 30
"#;

#[track_caller]
fn on_a_small_disk(kind: &str, script: &str) -> Output {
    let fixture = fixture!();
    let place = fixture.directory("small");
    let mut command = Command::new("unshare");
    let script = format!("{BEGIN}{script}{END}");
    command.args(["--mount", "--propagation", "private", "bash", "-c", &script, "bash"]);
    command.arg(env!("CARGO_BIN_EXE_orlop")).arg(&place).arg(fixture.busybox_tar()).arg(kind);
    let output = run(&mut command, b"", Duration::from_secs(240));
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.stdout.contains("problems\n") || output.stdout.contains("no problems\n"));
    assert!(!output.stdout.contains("something is left"), "{output}");
    assert!(!output.stdout.contains("no room"), "{output}");
    assert!(!output.stdout.contains(" WARN "), "{output}");
    assert!(!output.stderr.contains(" WARN "), "{output}");
    output
}

/// Lines of a script's output that say how a part of it went.
#[track_caller]
fn assert_lines(output: &Output, expected: &[&str]) {
    for line in expected {
        assert!(output.stdout.lines().any(|found| found == *line), "no line `{line}`: {output}");
    }
}

/// A RUN that takes all there is.
const RUN: &str = r#"
cat >Dockerfile <<'END'
FROM busybox
RUN echo first >/first
RUN --mount=target=/context dd if=/dev/urandom of=/big bs=1M count=$(cat /context/size)
RUN echo last >/last
END
echo 1000 >size
build -t built >log; echo "full: $?"
grep -c '^ERROR: ' log | sed 's/^/errors: /'
grep '^ERROR: ' log
orlop images -q built | sed 's/^/half-made: /'
wait_for_room
nothing_is_left
echo 2 >size
build -t built >log; echo "again: $?"
echo "known: $(grep -c ' CACHED$' log)"
orlop run --rm --network none built cat /first /last
"#;

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_run_that_fills_the_disk_is_removed_and_the_build_goes_on() {
    for kind in ["tmpfs", "ext4"] {
        let output = on_a_small_disk(kind, RUN);
        let error = "ERROR: failed to build: failed to solve: process \"/bin/sh -c dd if=/dev/urandom \
            of=/big bs=1M count=$(cat /context/size)\" did not complete successfully: exit code: 1";
        assert_lines(
            &output,
            &["full: 1", "errors: 1", error, "again: 0", "known: 1", "first", "last"],
        );
        assert!(!output.stdout.contains("half-made"), "{output}");
    }
}

/// A context that does not fit, and one that fits to the last block but for what belongs to it.
const COPY: &str = r#"
cat >Dockerfile <<'END'
FROM busybox
RUN echo first >/first
COPY big /
END
head -c 100M /dev/urandom >big
build -t built >log; echo "full: $?"
grep '^ERROR: ' log
orlop images -q built | sed 's/^/half-made: /'
wait_for_room
nothing_is_left
head -c 2M /dev/urandom >big
build -t built >log; echo "again: $?"
echo "known: $(grep -c ' CACHED$' log)"
orlop rmi built >/dev/null; orlop builder prune -af >/dev/null
for spare in 0 8 32 128; do
    wait_for_room
    head -c 2M /dev/urandom >big
    head -c $(($(free) - (2048 + spare) * 1024)) /dev/zero >"$disk/fill"
    build -t built >log; code=$?
    grep '^ERROR: ' log | grep -v 'no space left on device$'
    rm "$disk/fill"
    nothing_is_left >checked
    grep -q 'no problems$' checked || { echo "spare $spare, exit code $code"; cat checked log; }
    build -t built >log || cat log
done
"#;

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_copy_that_does_not_fit_leaves_nothing() {
    for kind in ["tmpfs", "ext4"] {
        let output = on_a_small_disk(kind, COPY);
        assert_lines(&output, &["full: 1", "again: 0", "known: 1"]);
        assert!(!output.stdout.contains("half-made"), "{output}");
        let errors: Vec<_> =
            output.stdout.lines().filter(|line| line.starts_with("ERROR")).collect();
        let [error] = errors.as_slice() else { panic!("not one error: {output}") };
        assert!(error.starts_with("ERROR: failed to build: failed to solve: "), "{error}");
        assert!(error.ends_with("no space left on device"), "{error}");
        assert!(!output.stdout.contains("spare"), "{output}");
    }
}

/// Emptying the cache of a disk that somebody else has filled.
const PRUNE: &str = r#"
cat >Dockerfile <<'END'
FROM busybox
RUN dd if=/dev/urandom of=/big bs=1M count=25
END
ORLOP_BUILD_CACHE_BUDGET=40m build >log || exit 11
orlop image prune -f >/dev/null
cat /dev/zero >"$disk/fill" 2>/dev/null
[ "$(free)" -lt 1000000 ] && echo "it is full"
orlop builder prune -af | tail -1
wait_for_room
nothing_is_left
"#;

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn the_cache_of_a_full_disk_can_be_emptied() {
    for kind in ["tmpfs", "ext4"] {
        let output = on_a_small_disk(kind, PRUNE);
        assert_lines(&output, &["it is full", "Total:\t26.21MB"]);
    }
}
