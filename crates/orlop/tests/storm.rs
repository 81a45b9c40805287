//! Many processes at once on the same few names: whatever they say must be one of the things that
//! such a collision may cause, and afterwards nothing is lost and nothing is left.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use orlop_testkit::{Fixture, Output, Random, fixture, tar::Tar, wait_until};

const WORKERS: u64 = 30;
const STORM: Duration = Duration::from_secs(18);
const LIMIT: Duration = Duration::from_secs(20);

/// What a command may say when others have taken or removed what it speaks of meanwhile.
const ALLOWED: [&str; 18] = [
    "hint: ",
    "No such container",
    "No such image",
    "no such volume",
    "is already in use by container",
    "is not running",
    "container is running: stop the container",
    "volume is in use",
    "must be forced",
    "is being used by",
    "is using its referenced image",
    "was removed while the container was being created; try again",
    "is marked for removal",
    "You cannot attach to a stopped container",
    "was removed while",
    "is restarting",
    "container has ended",
    "port is already allocated",
];

fn check(output: &Output) -> Option<String> {
    let text = output.stderr.trim();
    let lines: Vec<&str> =
        text.lines().filter(|line| !ALLOWED.iter().any(|allowed| line.contains(allowed))).collect();
    let is_expected = lines.is_empty();
    // Killed by somebody's `rm -f` or `stop`.
    let was_killed = matches!(output.code, 137 | 143) && text.is_empty();
    (!is_expected && !was_killed).then(|| output.to_string())
}

/// One command of a worker, on one of very few names.
fn step(fixture: &Fixture, numbers: &mut Random, tar: &str) -> Output {
    let name = format!("c{}", numbers.below(6));
    let volume = format!("v{}", numbers.below(4));
    let image = format!("small:{}", numbers.below(2));
    let mount = format!("{volume}:/data");
    let (name, volume, mount, image) = (&*name, &*volume, &*mount, &*image);
    let port = format!("127.0.0.1:{}:80", 18200 + numbers.below(3));
    let words: &[&str] = match numbers.below(14) {
        0 => &["create", "--name", name, "-v", mount, "busybox", "sleep", "300"],
        1 | 2 => &["run", "--rm", "--name", name, "-v", mount, "-v", "/anon", "busybox", "true"],
        3 => &["run", "-d", "--name", name, "-v", mount, "-p", &port, "busybox", "sleep", "300"],
        4 => &["run", "--rm", "-d", "--name", name, "busybox", "sleep", "0.2"],
        5 => &["exec", name, "true"],
        6 => &["stop", "-t", "0", name],
        7 => &["start", name],
        8 | 9 => &["rm", "-f", "-v", name],
        10 => &["rm", name],
        11 => &["volume", "create", volume],
        12 => &["volume", "rm", volume],
        _ => match numbers.below(3) {
            0 => &["rmi", image],
            1 => &["ps", "-aq"],
            _ => &["import", tar, image],
        },
    };
    fixture.orlop(words)
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn a_storm_on_few_names_leaves_a_clean_store() {
    let fixture = fixture!();
    // The very first commands of a store, all at once.
    std::thread::scope(|scope| {
        let first: Vec<_> =
            (0..WORKERS).map(|_| scope.spawn(|| fixture.ok(&["ps", "-aq"]))).collect();
        assert!(first.into_iter().all(|worker| worker.join().unwrap().is_empty()));
    });
    fixture.busybox();
    fixture.ok(&["run", "--rm", "-v", "precious:/d", "busybox", "sh", "-c", "echo kept > /d/f"]);
    let tar = fixture.folder().join("small.tar");
    std::fs::write(&tar, Tar::new().file("small", b"content").finish()).unwrap();
    let tar = tar.to_str().unwrap();
    let end = Instant::now() + STORM;
    let is_over = AtomicBool::new(false);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let checker = scope.spawn(|| {
            let mut wrong = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let output = fixture.orlop(&["system", "check"]);
                if output.code != 0 {
                    wrong.push(output.to_string());
                }
            }
            wrong
        });
        let fixture = &fixture;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    let mut numbers = Random(worker + 1);
                    let mut wrong = Vec::new();
                    while Instant::now() < end {
                        wrong.extend(check(&step(fixture, &mut numbers, tar)));
                    }
                    wrong
                })
            })
            .collect();
        let mut wrong: Vec<String> =
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        is_over.store(true, Ordering::Relaxed);
        wrong.extend(checker.join().unwrap());
        wrong
    });
    assert!(wrong.is_empty(), "{} unexpected answers: {}", wrong.len(), wrong.join("\n\n"));
    fixture.assert_nothing_mounted();
    let kept = std::fs::read_to_string(fixture.root().join("volumes/precious/_data/f")).unwrap();
    assert_eq!(kept, "kept\n");
    let ids = fixture.ok(&["ps", "-aq"]);
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if !ids.is_empty() {
        fixture.ok(&[&["rm", "-f", "-v"], ids.as_slice()].concat());
    }
    wait_until("the last process to end", LIMIT, || {
        let left = fixture.processes();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    fixture.ok(&["system", "check"]);
    for place in ["root/containers", "root/staging", "run/containers"] {
        let left = std::fs::read_dir(fixture.folder().join(place)).unwrap().count();
        assert_eq!(left, 0, "{place}");
    }
    // A plain `rm` leaves anonymous volumes to a prune.
    fixture.ok(&["volume", "prune", "-f"]);
    let names = fixture.ok(&["volume", "ls", "-q"]);
    assert!(names.lines().all(|name| name == "precious" || name.starts_with('v')), "{names}");
}
