//! The corpus of Dockerfiles below `builds/`: each is built and compared with what Docker made.
//!
//! `orlop_testkit::corpus` describes the files; `cargo xtask corpus --record` makes the goldens with
//! a real Docker.

use orlop_testkit::corpus::{cases, compare, goldens, topics};
use orlop_testkit::differential::compat_rows;

/// Makes one test of each topic, so that they run beside each other, and a list of them all.
macro_rules! topics {
    ($($topic:ident)*) => {
        const TOPICS: &[&str] = &[$(stringify!($topic)),*];

        $(
            #[test]
            #[ignore = "root: makes namespaces and mounts"]
            fn $topic() {
                build(stringify!($topic));
            }
        )*
    };
}

topics! {
    add
    arg_env
    config
    copy
    copy_flags
    destination
    heredoc
    ignore
    lexing
    lints
    mounts
    onbuild
    outputs
    run
    stages
    substitution
    workdir_user
}

/// Fewer cases than this are no longer the corpus that was promised.
const LEAST_CASES: usize = 150;

#[test]
fn every_topic_has_a_test_and_there_are_enough_cases() {
    assert_eq!(topics(), TOPICS);
    let count: usize =
        TOPICS.iter().map(|topic| cases(topic).unwrap_or_else(|why| panic!("{why}")).len()).sum();
    assert!(count >= LEAST_CASES, "there are only {count} cases");
}

#[test]
fn every_difference_names_a_row_and_every_case_has_a_golden() {
    let rows = compat_rows();
    for topic in TOPICS {
        let docker = goldens(topic, "golden").unwrap_or_else(|why| panic!("{why}"));
        for case in cases(topic).unwrap_or_else(|why| panic!("{why}")) {
            let title = &case.title;
            let golden = docker.get(title);
            let golden = golden.unwrap_or_else(|| panic!("{topic} ({title}): no golden"));
            let classic = golden.classic.iter().any(|line| line != "same");
            assert!(
                !classic || case.classic.is_some(),
                "{topic} ({title}): nothing says why the classic builder differs"
            );
            if let Some(row) = &case.differs {
                assert!(rows.contains(row), "{topic} ({title}): no row `{row}`");
            }
        }
    }
}

/// Builds all cases of a topic; fails with all that differs.
#[track_caller]
fn build(topic: &str) {
    let compared = compare(topic, env!("CARGO_BIN_EXE_orlop"), "").expect("its files can be read");
    let wrong = compared.wrong;
    assert!(wrong.is_empty(), "{} cases differ:\n\n{}", wrong.len(), wrong.join("\n"));
}
