//! The differential suite: the command lines below `differential/`, and Docker's answers to them.
//!
//! `orlop_testkit::differential` describes the files; `cargo xtask differential --record` makes the
//! goldens with a real Docker.

use orlop_testkit::differential::{Topic, compare, compat_rows, report, topics};

/// Makes one test of each topic, so that they run beside each other, and a list of them all.
macro_rules! topics {
    ($($topic:ident)*) => {
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];

        $(
            #[test]
            #[ignore = "root: makes namespaces and mounts"]
            fn $topic() {
                play(stringify!($topic));
            }
        )*
    };
}

topics! {
    commit_diff
    cp
    events
    exec
    exit_codes
    images
    lifecycle
    logs
    mounts
    networks
    ps_inspect
    restart_health
    run_errors
    run_flags
    save_load
    system
    usage
    volumes
}

/// Fewer lines than this are no longer the suite that was promised.
const LEAST_LINES: usize = 300;

#[test]
fn every_topic_has_a_test_and_there_are_enough_lines() {
    assert_eq!(topics(), TOPICS);
    let lines: usize = TOPICS.iter().map(|topic| read(topic, "case").checked_lines()).sum();
    assert!(lines >= LEAST_LINES, "only {lines} lines are compared");
}

#[test]
fn every_difference_names_a_row_and_every_line_has_a_golden() {
    let rows = compat_rows();
    for topic in TOPICS {
        let golden = read(topic, "golden");
        for scenario in &read(topic, "case").scenarios {
            let lines = scenario.lines.iter().filter(|line| line.checked);
            for (index, line) in lines.enumerate() {
                golden
                    .answer(&scenario.title, index, &line.script)
                    .unwrap_or_else(|why| panic!("{}", report(topic, scenario, line, &why)));
                if let Some(own) = &line.own {
                    assert!(rows.contains(&own.row), "{topic}: no row `{}`", own.row);
                }
            }
        }
    }
}

#[track_caller]
fn read(topic: &str, ending: &str) -> Topic {
    orlop_testkit::differential::read(topic, ending).unwrap_or_else(|why| panic!("{why}"))
}

/// Plays all scenarios of a topic; fails with all that differs.
#[track_caller]
fn play(topic: &str) {
    let compared = compare(topic, env!("CARGO_BIN_EXE_orlop")).expect("its files can be read");
    let wrong = compared.wrong;
    assert!(wrong.is_empty(), "{} lines differ:\n\n{}", wrong.len(), wrong.join("\n"));
}
