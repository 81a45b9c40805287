//! The build cache: what is found again, why not, what is left of a build that was cut, caches that go
//! elsewhere, and the budget.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use orlop_testkit::{Fixture, RegistryOptions, RegistryServer, fixture};

/// Three steps that each leave something.
const STEPS: &str =
    "FROM busybox\nCOPY a /a\nRUN echo one > /one\nRUN echo two > /two\nLABEL l=1\n";

fn context(fixture: &Fixture, dockerfile: &str) -> PathBuf {
    let directory = fixture.directory("context");
    std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(directory.join("a"), "1").unwrap();
    directory
}

/// Builds; what was shown.
#[track_caller]
fn build(fixture: &Fixture, directory: &Path, words: &[&str]) -> String {
    let all = [&["build", "--progress", "plain", "-t", "built"], words].concat();
    let output = fixture.orlop(&[all.as_slice(), &[directory.to_str().unwrap()]].concat());
    assert_eq!(output.code, 0, "{output}");
    output.stderr
}

/// The steps that were taken from the cache.
fn cached(shown: &str) -> Vec<&str> {
    let lines: Vec<&str> = shown.lines().collect();
    let mut names: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_suffix(" CACHED"))
        .filter_map(|number| {
            let line = lines.iter().find(|line| line.starts_with(&format!("{number} [")))?;
            line.split_once(' ').map(|(_, name)| name)
        })
        .collect();
    names.sort_unstable();
    names
}

const ALL: [&str; 3] =
    ["[2/4] COPY a /a", "[3/4] RUN echo one > /one", "[4/4] RUN echo two > /two"];

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_build_is_found_again_with_the_same_id_and_a_pruned_one_is_not() {
    let fixture = fixture!(busybox);
    let directory = context(&fixture, STEPS);
    assert_eq!(cached(&build(&fixture, &directory, &[])), [""; 0]);
    let first = fixture.inspect("built", "{{.Id}}");
    assert_eq!(cached(&build(&fixture, &directory, &[])), ALL);
    assert_eq!(fixture.inspect("built", "{{.Id}}"), first);
    // Other names later: the image that lost its name stays without one.
    assert_eq!(cached(&build(&fixture, &directory, &["--label", "x=y"])), ALL);
    assert_eq!(fixture.ok(&["images", "-q", "--filter", "dangling=true"]).lines().count(), 1);
    fixture.ok(&["rmi", "-f", "built", first.trim()]);
    fixture.ok(&["builder", "prune", "-f", "--all"]);
    assert_eq!(cached(&build(&fixture, &directory, &[])), [""; 0]);
    fixture.ok(&["system", "check"]);
    fixture.assert_nothing_mounted();
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn what_changed_is_named() {
    let fixture = fixture!(busybox);
    let text = "FROM busybox\nARG V=1\nCOPY a /a\nRUN echo $V > /v\n";
    let directory = context(&fixture, text);
    build(&fixture, &directory, &["--explain"]);
    let shown = build(&fixture, &directory, &["--explain", "--build-arg", "V=2"]);
    assert!(shown.contains("argument or variable \"V\" changed"), "{shown}");
    std::fs::write(directory.join("a"), "changed").unwrap();
    let shown = build(&fixture, &directory, &["--explain", "--build-arg", "V=2"]);
    assert!(shown.contains("file \"a\" changed"), "{shown}");
    assert!(shown.contains("its parent changed: [2/3] COPY a /a"), "{shown}");
    let shown = build(&fixture, &directory, &["--explain", "--no-cache"]);
    assert!(shown.contains("the cache was not asked (`--no-cache`)"), "{shown}");
}

/// Where a build is cut, and how many of its steps are known afterwards.
const CUTS: [(&str, usize); 8] = [
    ("layer.sealed", 0),
    ("layer.published", 0),
    ("layer.committed", 0),
    ("build.step.layer", 0),
    ("build.step.layer:2", 1),
    ("build.cache.recorded:2", 2),
    ("build.image.ready", 3),
    ("build.image.committed", 3),
];

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_build_that_was_cut_goes_on_from_its_last_finished_step() {
    for (point, known) in CUTS {
        let fixture = fixture!(busybox);
        let directory = context(&fixture, STEPS);
        let mark = fixture.folder().join("mark");
        let mut command = fixture.command(&["build", "-t", "built", directory.to_str().unwrap()]);
        command.env("ORLOP_FAULT", point).env("ORLOP_FAULT_MARK", &mark);
        assert!(!command.output().unwrap().status.success(), "{point} was not reached");
        assert!(mark.exists(), "{point} was not reached");
        let repaired = fixture.orlop(&["system", "check", "--repair"]);
        assert_eq!(repaired.code, 0, "{point}: {repaired}");
        fixture.ok(&["system", "check"]);
        let shown = build(&fixture, &directory, &[]);
        assert_eq!(cached(&shown), ALL.get(..known).unwrap(), "{point}: {shown}");
        assert_eq!(fixture.ok(&["run", "--rm", "built", "cat", "/a", "/one", "/two"]), "1one\ntwo");
        assert_eq!(fixture.ok(&["ps", "-aq"]), "");
        fixture.assert_nothing_mounted();
    }
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_cache_in_a_directory_serves_an_empty_store() {
    let from = fixture!(busybox);
    let text = "FROM busybox AS one\nRUN echo one > /one\nFROM busybox\nCOPY --from=one /one /got\nRUN cat /got > /end\n";
    let directory = context(&from, text);
    let cache = from.directory("cache");
    let cache = cache.to_str().unwrap();
    build(&from, &directory, &["--cache-to", &format!("type=local,dest={cache},mode=max")]);
    let layers = from.inspect("built", "{{json .RootFS.Layers}}");
    let other = fixture!(busybox);
    let source = format!("type=local,src={cache}");
    let shown = build(&other, &directory, &["--cache-from", &source]);
    assert_eq!(
        cached(&shown),
        [
            "[one 2/2] RUN echo one > /one",
            "[stage-1 2/3] COPY --from=one /one /got",
            "[stage-1 3/3] RUN cat /got > /end"
        ],
        "{shown}"
    );
    assert_eq!(other.inspect("built", "{{json .RootFS.Layers}}"), layers);
    assert_eq!(other.ok(&["images", "-aq"]).lines().count(), 2, "the cache itself is no image");
    other.ok(&["system", "check"]);
    // One that is not there only costs time.
    build(&other, &directory, &["--cache-from", "type=local,src=/nonexistent"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn two_builds_of_the_same_at_once_share_what_they_make() {
    let fixture = fixture!(busybox);
    let directory = context(&fixture, STEPS);
    let words = |tag| ["build", "-q", "-t", tag, directory.to_str().unwrap()];
    let mut children: Vec<_> = ["x", "y", "z"]
        .map(|tag| {
            fixture.command(&words(tag)).stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .into();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    fixture.ok(&["system", "check"]);
    let shown = build(&fixture, &directory, &[]);
    assert_eq!(cached(&shown), ALL);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn a_cache_in_a_registry_and_one_in_an_image_serve_an_empty_store() {
    let from = fixture!(busybox);
    let server = RegistryServer::start(&RegistryOptions::default());
    let directory = context(&from, STEPS);
    let cache = format!("{}/cache:max", server.host());
    let image = format!("{}/app:1", server.host());
    let to = format!("type=registry,ref={cache},mode=max");
    let words = ["build", "-q", "-t", &image, "--cache-to", &to, "--cache-to", "type=inline"];
    let output = ["-o", "type=image,push=true", directory.to_str().unwrap()];
    from.ok(&[words.as_slice(), &output].concat());
    for reference in [&cache, &image] {
        let other = Fixture::in_this_network(env!("CARGO_BIN_EXE_orlop"));
        other.busybox();
        let source = format!("type=registry,ref={reference}");
        let shown = build(&other, &directory, &["--cache-from", &source]);
        assert_eq!(cached(&shown), ALL, "{shown}");
        other.ok(&["system", "check"]);
    }
}
