//! Tests of what commands about the engine print.
#![allow(clippy::unwrap_used)]

use orlop_engine::Finding;

use super::*;

fn event() -> EventRecord {
    EventRecord {
        sequence: 1,
        time_ns: 1_795_000_000_000_000_005,
        kind: "volume".into(),
        action: "create".into(),
        actor: "db".into(),
        attributes: [("driver".into(), "local".into()), ("a".into(), "1".into())].into(),
    }
}

#[test]
fn events_are_docker_s_lines() {
    assert_eq!(
        event_line(&event()),
        "2026-11-18T11:06:40.000000005Z volume create db (a=1, driver=local)"
    );
    let bare = EventRecord { attributes: std::collections::BTreeMap::new(), ..event() };
    assert_eq!(event_line(&bare), "2026-11-18T11:06:40.000000005Z volume create db");
    assert_eq!(
        Template::parse("{{json .}}").unwrap().render(&event_document(&event())).unwrap(),
        "{\"Type\":\"volume\",\"Action\":\"create\",\"Actor\":{\"ID\":\"db\",\"Attributes\":{\"a\":\"1\",\
         \"driver\":\"local\"}},\"scope\":\"local\",\"time\":1795000000,\"timeNano\":1795000000000000005}"
    );
    assert_eq!(
        Template::parse("{{.Type}} {{.Actor.Attributes.driver}}")
            .unwrap()
            .render(&event_document(&event()))
            .unwrap(),
        "volume local"
    );
}

#[test]
fn a_check_tells_what_it_found_and_what_it_looked_at() {
    let finding =
        |severity, what: &str, repaired| Finding { severity, what: what.to_owned(), repaired };
    let report = CheckReport {
        checked: vec![("volumes", 2), ("layers", 5)],
        findings: vec![
            finding(Severity::Warning, "an open staging directory", true),
            finding(Severity::Error, "volume db has no directory", false),
        ],
    };
    assert_eq!(
        report_text(&report),
        "warning: an open staging directory (repaired)\n\
         error: volume db has no directory\n\
         Checked 2 volumes, 5 layers: 1 problem\n"
    );
    assert_eq!(report_text(&CheckReport::default()), "Checked nothing: no problems\n");
}
