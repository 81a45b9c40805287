//! Tests of the live region.
#![allow(clippy::unwrap_used)]

use super::*;
use jiff::Timestamp;
use orlop_engine::build::progress::Event;

fn screen(events: Vec<(u64, Event)>) -> (Tty, Instant) {
    let start = Instant::now();
    let mut tty = Tty::new();
    tty.colours = false;
    for (ms, event) in events {
        let at = start + Duration::from_millis(ms);
        let stamped = Stamped { event, at, time: Timestamp::UNIX_EPOCH };
        tty.event(stamped, &mut Vec::new()).unwrap();
    }
    (tty, start)
}

fn announced(vertex: usize, name: &str) -> (u64, Event) {
    let name = name.to_owned();
    (0, Event::Announced { vertex, digest: name.clone(), name, inputs: vec![] })
}

#[test]
fn running_steps_show_their_time_and_last_lines() {
    let lines: String = (1..=8).map(|line| format!("line {line}\n")).collect();
    let (tty, start) = screen(vec![
        announced(1, "[1/2] FROM a"),
        announced(2, "[2/2] RUN b"),
        (0, Event::Ended { vertex: 1, outcome: Outcome::Cached }),
        (100, Event::Started { vertex: 2 }),
        (200, Event::Log { vertex: 2, stream: 1, data: lines.into_bytes() }),
    ]);
    let region = tty.region(start + Duration::from_millis(1300), (40, 24), false);
    assert_eq!(
        region,
        [
            "[+] Building 1.3s (1/2)",
            " => CACHED [1/2] FROM a            0.0s",
            " => [2/2] RUN b                    1.2s",
            " => => # line 3",
            " => => # line 4",
            " => => # line 5",
            " => => # line 6",
            " => => # line 7",
            " => => # line 8",
        ]
    );
}

#[test]
fn a_small_screen_keeps_what_runs() {
    let mut events: Vec<_> =
        (1..=8).map(|vertex| announced(vertex, &format!("step {vertex}"))).collect();
    events.push((0, Event::Started { vertex: 1 }));
    for vertex in 2..=8 {
        events.push((10, Event::Ended { vertex, outcome: Outcome::Done }));
    }
    let (tty, start) = screen(events);
    let now = start + Duration::from_secs(2);
    let region = tty.region(now, (30, 5), false);
    assert_eq!(
        region,
        [
            "[+] Building 2.0s (7/8)",
            " => step 1               2.0s",
            " => step 7               0.0s",
            " => step 8               0.0s",
        ]
    );
    assert_eq!(tty.region(now, (30, 5), true).len(), 9);
}

#[test]
fn the_end_is_a_summary() {
    let (mut tty, _) = screen(vec![
        announced(1, "[1/1] RUN a"),
        (0, Event::Started { vertex: 1 }),
        (5, Event::Log { vertex: 1, stream: 2, data: b"why\n".to_vec() }),
        (10, Event::Ended { vertex: 1, outcome: Outcome::Failed("no".into()) }),
    ]);
    let mut out = Vec::new();
    tty.finish(Instant::now(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("(1/1) FINISHED"), "{text}");
    assert!(text.contains(" => ERROR [1/1] RUN a"), "{text}");
    assert!(text.ends_with("------\n > [1/1] RUN a:\n0.005 why\n------\n"), "{text}");
}
