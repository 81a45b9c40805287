//! `builder du`, `builder prune`, and the build cache in `system df` and `system prune`.
#![allow(clippy::unwrap_used)]

use orlop_testkit::{Fixture, fixture};

fn build(fixture: &Fixture, name: &str, dockerfile: &str) {
    let directory = fixture.directory(name);
    std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
    let output = fixture.orlop(&["build", "-q", "-t", name, directory.to_str().unwrap()]);
    assert_eq!(output.code, 0, "{output}");
}

const CACHED: &str = "FROM busybox\nRUN --mount=type=cache,id=go,target=/c \
                      dd if=/dev/zero of=/c/f bs=1000 count=3000 2>/dev/null\n\
                      RUN dd if=/dev/zero of=/made bs=1000 count=2000 2>/dev/null\n";

fn kinds(fixture: &Fixture) -> Vec<String> {
    let text = fixture.ok(&["builder", "du", "--format", "{{.Type}}"]);
    let mut kinds: Vec<String> = text.lines().map(str::to_owned).collect();
    kinds.sort();
    kinds
}

fn row(fixture: &Fixture, kind: &str) -> Vec<String> {
    let text = fixture.ok(&["system", "df"]);
    let line = text.lines().find(|line| line.starts_with(kind)).unwrap();
    line.trim_start_matches(kind).split_whitespace().map(str::to_owned).collect()
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn the_cache_is_listed_measured_and_pruned() {
    let fixture = fixture!(busybox);
    assert_eq!(row(&fixture, "Build Cache"), ["0", "0", "0B", "0B"]);
    build(&fixture, "one", CACHED);
    let found = kinds(&fixture);
    assert!(found.contains(&"exec.cachemount".to_owned()), "{found:?}");
    assert!(found.contains(&"regular".to_owned()), "{found:?}");
    // The layers are the image's; the cache mount is not counted as a volume as well.
    assert_eq!(row(&fixture, "Build Cache")[2..], ["3MB", "3MB"]);
    assert_eq!(row(&fixture, "Local Volumes"), ["1", "0", "0B", "0B"]);
    let verbose = fixture.ok(&["system", "df", "-v"]);
    assert!(verbose.contains("Build cache usage: 3MB"), "{verbose}");
    assert!(verbose.contains("exec.cachemount   3MB"), "{verbose}");
    let table = fixture.ok(&["builder", "du"]);
    assert!(table.starts_with("ID\t\t\t\t\t\tRECLAIMABLE\tSIZE\t\tLAST ACCESSED\n"), "{table}");
    assert!(table.contains("Shared:\t\t2MB\n"), "{table}");
    assert!(table.contains("Private:\t3MB\n"), "{table}");

    // Without an answer nothing happens.
    let output = fixture.orlop_with_input(&["builder", "prune"], b"n\n");
    assert_eq!(
        output.stdout,
        "WARNING! This will remove all dangling build cache. Are you sure you want to continue? [y/N] "
    );
    let filters = ["builder", "prune", "-f", "--filter", "type=exec.cachemount"];
    let pruned = fixture.ok(&filters);
    assert!(pruned.contains("cache-go-") && pruned.ends_with("Total:\t3MB"), "{pruned}");
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), "");
    // What an image needs stays, unless all is meant; the image stays whole in any case.
    assert_eq!(fixture.ok(&["builder", "prune", "-f"]), "Total:\t0B");
    assert!(kinds(&fixture).contains(&"regular".to_owned()));
    fixture.ok(&["builder", "prune", "-af"]);
    assert_eq!(kinds(&fixture), [""; 0]);
    assert_eq!(fixture.ok(&["run", "--rm", "one", "stat", "-c", "%s", "/made"]), "2000000");
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_cache_in_use_stays_and_system_prune_takes_the_rest() {
    let fixture = fixture!(busybox);
    build(&fixture, "one", CACHED);
    let volume = fixture.ok(&["volume", "ls", "-q"]);
    let mount = format!("{volume}:/x");
    fixture.ok(&["run", "-d", "--name", "user", "-v", &mount, "busybox", "sleep", "600"]);
    assert_eq!(fixture.ok(&["builder", "prune", "-f"]), "Total:\t0B");
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), volume);
    fixture.ok(&["rm", "-f", "user"]);
    // A filter by label is not for records, which have none.
    fixture.ok(&["system", "prune", "-f", "--filter", "label=x"]);
    assert_eq!(fixture.ok(&["volume", "ls", "-q"]), volume);
    let text = fixture.ok(&["system", "prune", "-f"]);
    assert!(text.contains(&format!("Deleted build cache objects:\n{volume}\n")), "{text}");
    assert!(text.ends_with("Total reclaimed space: 3MB"), "{text}");
    fixture.ok(&["system", "check"]);
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN"]
fn the_budget_is_kept_for_all_builds_and_what_is_too_much_goes_at_once() {
    let fixture = fixture!();
    fixture.busybox();
    let directory = fixture.directory("context");
    let text = "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=3\n";
    std::fs::write(directory.join("Dockerfile"), text).unwrap();
    assert_eq!(fixture.ok(&["builder", "budget", "20MB"]), "Budget:\t20.97MB\nUsed:\t0B");
    let build = ["build", "-q", "--output", "type=cacheonly", directory.to_str().unwrap()];
    fixture.ok(&build);
    assert_eq!(fixture.ok(&["builder", "budget"]), "Budget:\t20.97MB\nUsed:\t3.146MB");
    assert_eq!(fixture.ok(&["builder", "budget", "1MB"]), "Budget:\t1.049MB\nUsed:\t0B");
    fixture.ok(&build);
    assert_eq!(fixture.ok(&["builder", "budget"]), "Budget:\t1.049MB\nUsed:\t0B");
    assert!(fixture.orlop(&["builder", "budget", "much"]).code != 0);
    fixture.ok(&["system", "check"]);
}
