//! Many containers at once, and several stores on one machine that never disturb each other.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_testkit::{Fixture, fixture, http_get, wait_until};

const CONTAINERS: usize = 200;
const AT_ONCE: usize = 25;

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn two_hundred_containers_run_in_batches() {
    let fixture = fixture!(busybox);
    fixture.ok(&["volume", "create", "shared"]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CONTAINERS {
                        break;
                    }
                    let script = format!(
                        "echo {number} > /shared/{number}; echo done {number}; exit {}",
                        number % 3
                    );
                    let output = fixture.orlop(&[
                        "run",
                        "--rm",
                        "-v",
                        "shared:/shared",
                        "busybox",
                        "sh",
                        "-c",
                        &script,
                    ]);
                    let expected = (i32::try_from(number % 3).unwrap(), format!("done {number}\n"));
                    assert_eq!((output.code, output.stdout.clone()), expected, "{output}");
                }
            });
        }
    });
    let written = fixture.root().join("volumes/shared/_data");
    assert_eq!(std::fs::read_dir(written).unwrap().count(), CONTAINERS);
    wait_until("the last container to be gone", std::time::Duration::from_secs(30), || {
        let left = fixture.ok(&["ps", "-aq"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    fixture.assert_nothing_mounted();
    fixture.ok(&["system", "check"]);
}

/// What two hundred commands at once do, by their number; all of them must end well, or say why in
/// one of these words.
fn mixed(number: usize) -> Vec<String> {
    let volume = format!("v{}", number % 7);
    let words: &[&str] = match number % 10 {
        0 => &["volume", "create", &volume],
        1 => &["volume", "ls", "--filter", "dangling=true"],
        2 => &["volume", "rm", "--force", &volume],
        3 => &["volume", "prune", "--force", "--all"],
        4 => {
            &["run", "--rm", "-v", &format!("{volume}:/v"), "busybox", "sh", "-c", "echo x >> /v/f"]
        }
        5 => {
            &["run", "--rm", "-v", "/anonymous", "-v", "kept:/k", "busybox", "sh", "-c", "cat /k/f"]
        }
        6 => &["container", "prune", "--force"],
        7 => &["system", "df", "-v"],
        8 => &["create", "-v", &format!("{volume}:/etc"), "busybox", "true"],
        _ => &["system", "prune", "--force", "--volumes"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What may rightly go wrong when others do the opposite at the same moment.
const RIGHTLY_REFUSED: [&str; 5] = [
    "volume is in use",
    "a prune operation is already running",
    "was removed while the container was being created",
    "no such volume",
    "No such container",
];

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn two_hundred_mixed_commands_neither_dead_lock_nor_corrupt() {
    let fixture = fixture!(busybox);
    fixture.ok(&["volume", "create", "kept"]);
    std::fs::write(fixture.root().join("volumes/kept/_data/f"), "precious\n").unwrap();
    let keeper =
        ["create", "--name", "keeper", "--label", "keep", "-v", "kept:/k", "busybox", "true"];
    fixture.ok(&keeper);
    // A running container is never pruned, and keeps its volume.
    fixture.ok(&["run", "-d", "--name", "runner", "-v", "kept:/k", "busybox", "sleep", "1000"]);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CONTAINERS {
                        break;
                    }
                    let words = mixed(number);
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    let output = fixture.orlop(&words);
                    let is_refused =
                        RIGHTLY_REFUSED.iter().any(|text| output.stderr.contains(text));
                    assert!(output.code == 0 || is_refused, "{words:?}: {output}");
                    if number % 10 == 5 && output.code == 0 {
                        assert_eq!(output.stdout, "precious\n");
                    }
                }
            });
        }
    });
    fixture.ok(&["rm", "-f", "runner"]);
    fixture.ok(&["container", "prune", "--force"]);
    wait_until("the last container to be gone", std::time::Duration::from_secs(60), || {
        let left = fixture.ok(&["ps", "-aq"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    assert_eq!(
        std::fs::read_to_string(fixture.root().join("volumes/kept/_data/f")).unwrap(),
        "precious\n"
    );
    fixture.assert_nothing_mounted();
    let clean = fixture.ok(&["system", "check"]);
    assert!(clean.ends_with(": no problems"), "{clean}");
}

#[test]
#[ignore = "root: CAP_SYS_ADMIN, CAP_NET_ADMIN"]
fn several_stores_share_a_machine() {
    let binary = env!("CARGO_BIN_EXE_orlop");
    let first = fixture!();
    let others = [Fixture::in_this_network(binary), Fixture::in_this_network(binary)];
    let stores = [&first, &others[0], &others[1]];
    for (number, store) in stores.iter().enumerate() {
        store.busybox();
        let port = format!("127.0.0.1:{}:80", 18100 + number);
        let script = format!("echo store {number} > /data/index.html; httpd -f -p 80 -h /data");
        // The same names everywhere: they mean different things.
        store.ok(&[
            "run",
            "-d",
            "--name",
            "web",
            "-v",
            "site:/data",
            "-p",
            &port,
            "busybox",
            "sh",
            "-c",
            &script,
        ]);
    }
    let answers = |number: usize| http_get(&format!("127.0.0.1:{}", 18100 + number), "/index.html");
    for number in 0..stores.len() {
        let (_, body) =
            wait_until("the web server", std::time::Duration::from_secs(20), || answers(number));
        assert_eq!(body, format!("store {number}\n"));
    }
    // Removing everything in one store is not felt in the others.
    stores[1].ok(&["rm", "-f", "web"]);
    stores[1].ok(&["system", "check", "--repair"]);
    stores[1].ok(&["volume", "prune", "-f", "--all"]);
    assert!(answers(1).is_err());
    for number in [0, 2] {
        assert_eq!(answers(number).unwrap().1, format!("store {number}\n"));
        assert_eq!(stores[number].ok(&["volume", "ls", "-q"]), "site");
        assert_eq!(stores[number].ok(&["ps", "--format", "{{.Names}}"]), "web");
    }
}
