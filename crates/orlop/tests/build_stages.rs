//! Stages: what is built, side by side and not at all; the first failure ends the rest.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use orlop_testkit::{Fixture, Output, fixture};

fn build(fixture: &Fixture, dockerfile: &str, words: &[&str]) -> Output {
    let directory = fixture.directory("context");
    std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    let all = [&["build", "--progress", "plain", "-t", "built"], words].concat();
    fixture.orlop(&[all.as_slice(), &[directory.to_str().unwrap()]].concat())
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn independent_stages_run_side_by_side() {
    let fixture = fixture!(busybox);
    let text = "FROM busybox AS a\nRUN sleep 3 && echo a > /f\nFROM busybox AS b\nRUN sleep 3 && echo b > /f\n\
                FROM busybox\nCOPY --from=a /f /a\nCOPY --from=b /f /b\n";
    let begun = Instant::now();
    let output = build(&fixture, text, &[]);
    assert_eq!(output.code, 0, "{output}");
    assert!(begun.elapsed() < Duration::from_millis(5_800), "one after the other: {output}");
    assert_eq!(fixture.ok(&["run", "--rm", "built", "cat", "/a", "/b"]), "a\nb");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn the_first_failure_ends_the_other_stages() {
    let fixture = fixture!(busybox);
    let text = "FROM busybox AS slow\nRUN sleep 60\nFROM busybox AS bad\nRUN exit 7\nFROM busybox\n\
                COPY --from=slow /etc/passwd /a\nCOPY --from=bad /etc/passwd /b\n";
    let begun = Instant::now();
    let output = build(&fixture, text, &[]);
    assert_eq!(output.code, 1, "{output}");
    assert!(begun.elapsed() < Duration::from_secs(40), "{output}");
    let message = "process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7";
    assert!(output.stderr.contains(message), "{output}");
    assert!(output.stderr.contains("   4 | >>> RUN exit 7"), "{output}");
    assert_eq!(fixture.ok(&["ps", "-aq"]), "");
    fixture.ok(&["system", "check"]);
    fixture.assert_nothing_mounted();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn only_what_the_target_needs_is_built() {
    let fixture = fixture!(busybox);
    let text = "FROM busybox AS unused\nRUN exit 1\nFROM busybox AS wanted\nRUN echo w > /w\nFROM nosuchimage:x\n";
    let output = build(&fixture, text, &["--target", "wanted"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.stderr.contains("unused"), "{output}");
    assert!(!output.stderr.contains("nosuchimage"), "{output}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_named_context_takes_the_place_of_an_image_and_of_a_stage() {
    let fixture = fixture!(busybox);
    let more = fixture.directory("more");
    std::fs::write(more.join("f"), "from outside").unwrap();
    let context = format!("other={}", more.display());
    let text =
        "FROM busybox\nCOPY --from=other /f /f\nRUN --mount=from=other,target=/m cat /m/f > /g\n";
    let output = build(&fixture, text, &["--build-context", &context]);
    assert_eq!(output.code, 0, "{output}");
    let shown = fixture.ok(&["run", "--rm", "built", "cat", "/f", "/g"]);
    assert_eq!(shown, "from outsidefrom outside");
    let base = "base=docker-image://busybox";
    let output = build(&fixture, "FROM base\nLABEL l=1\n", &["--build-context", base]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(fixture.inspect("built", "{{.Config.Labels.l}}"), "1");
}
