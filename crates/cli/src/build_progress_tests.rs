//! Tests of the display as a whole: events through the channel, modes, warnings.
#![allow(clippy::unwrap_used)]

use super::*;
use orlop_engine::build::progress::Outcome;

#[test]
fn modes_have_buildkits_names() {
    for (text, mode) in [
        ("", Mode::Auto),
        ("auto", Mode::Auto),
        ("plain", Mode::Plain),
        ("tty", Mode::Tty),
        ("rawjson", Mode::RawJson),
        ("quiet", Mode::Quiet),
        ("none", Mode::Quiet),
    ] {
        assert_eq!(Mode::parse(text).unwrap(), mode);
    }
    assert_eq!(Mode::parse("fancy").unwrap_err().why, "invalid progress mode fancy");
}

#[test]
fn events_are_shown_in_order_and_warnings_come_back() {
    let (sender, receiver) = mpsc::sync_channel(16);
    let feed = Feed { sender, cancel: Cancel::default() };
    let name = "[1/1] RUN a".to_owned();
    feed.event(Event::Announced { vertex: 7, digest: "d".into(), name, inputs: vec![] });
    feed.event(Event::Started { vertex: 7 });
    feed.event(Event::Warning {
        rule: "R".into(),
        message: "m".into(),
        detail: "d".into(),
        url: "u".into(),
        line: 3,
    });
    feed.event(Event::Ended { vertex: 7, outcome: Outcome::Done });
    drop(feed);
    let mut out = Vec::new();
    let warnings = show(Box::new(plain::Plain::new()), &receiver, &mut out);
    assert_eq!(warnings, [Warning::new("R", "m", "d", "u", 3)]);
    assert_eq!(warnings[0].short, "R: m (line 3)");
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("#1 [1/1] RUN a\n#1 DONE 0.0s\n"), "{text}");
}
