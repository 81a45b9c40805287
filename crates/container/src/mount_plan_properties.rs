//! Random mount lists: what the plan must be, said in another way than the plan itself does it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use orlop_types::config::{Empty, Mount, Set};
use orlop_types::mount::clean_path;
use proptest::prelude::*;

use super::*;

/// Targets that often meet, above each other or written in two ways.
fn target() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("."), Just("..")];
    let path = prop::collection::vec(part, 1..4).prop_map(|parts| format!("/{}/", parts.join("/")));
    path.prop_filter("a root is refused", |path| clean_path(path) != "/")
}

#[derive(Clone, Debug)]
struct Wanted {
    from: Vec<(Vec<String>, bool)>,
    binds: Vec<String>,
    mounts: Vec<String>,
    tmpfs: BTreeSet<String>,
    volumes: BTreeSet<String>,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let list = || prop::collection::vec(target(), 0..4);
    let from = prop::collection::vec((list(), any::<bool>()), 0..3);
    (
        from,
        list(),
        list(),
        prop::collection::btree_set(target(), 0..2),
        prop::collection::btree_set(target(), 0..3),
    )
        .prop_map(|(from, binds, mounts, tmpfs, volumes)| Wanted {
            from,
            binds,
            mounts,
            tmpfs,
            volumes,
        })
}

/// Runs the plan; sources tell who asked.
fn run(wanted: &Wanted) -> Result<Vec<MountEntry>, ParseError> {
    let from: Vec<(Vec<MountEntry>, bool)> = wanted
        .from
        .iter()
        .enumerate()
        .map(|(number, (targets, read_only))| {
            let entry = |target: &String| {
                MountEntry::new(MountKind::Volume, Origin::User, &format!("from{number}"), target)
            };
            // A container has one mount for each target.
            let entries: BTreeMap<String, MountEntry> =
                targets.iter().map(|target| (clean_path(target), entry(target))).collect();
            (entries.into_values().collect(), *read_only)
        })
        .collect();
    let binds: Vec<String> = wanted.binds.iter().map(|target| format!("bind:{target}")).collect();
    let mounts: Vec<Mount> = wanted
        .mounts
        .iter()
        .map(|target| Mount {
            kind: "volume".to_owned(),
            source: "mount".to_owned(),
            target: target.clone(),
            ..Mount::default()
        })
        .collect();
    let tmpfs: BTreeMap<String, String> =
        wanted.tmpfs.iter().map(|target| (target.clone(), String::new())).collect();
    let volumes: Set = wanted.volumes.iter().map(|target| (target.clone(), Empty {})).collect();
    plan(&Requests {
        volumes_from: &from,
        binds: &binds,
        mounts: &mounts,
        tmpfs: Some(&tmpfs),
        volumes: Some(&volumes),
        volume_driver: "",
    })
}

/// Who supplies a target: asked for by the user, else the last container that has it, else nobody.
fn supplier(wanted: &Wanted, target: &str) -> String {
    fn has<'a>(mut targets: impl Iterator<Item = &'a String>, target: &str) -> bool {
        targets.any(|other| clean_path(other) == target)
    }
    if has(wanted.binds.iter(), target) {
        return "bind".to_owned();
    }
    if has(wanted.mounts.iter(), target) {
        return "mount".to_owned();
    }
    if has(wanted.tmpfs.iter(), target) {
        return "tmpfs".to_owned();
    }
    let last = wanted.from.iter().rposition(|(targets, _)| has(targets.iter(), target));
    last.map_or_else(|| "anonymous".to_owned(), |number| format!("from{number}"))
}

proptest! {
    #[test]
    fn every_target_has_one_source_and_parents_come_first(wanted in wanted()) {
        let asked: Vec<String> = wanted.binds.iter().chain(&wanted.mounts).chain(&wanted.tmpfs).map(|path| clean_path(path)).collect();
        let distinct: BTreeSet<&String> = asked.iter().collect();
        let planned = run(&wanted);
        if distinct.len() < asked.len() {
            let text = planned.unwrap_err().to_string();
            prop_assert!(text.starts_with("Duplicate mount point: /"), "{}", text);
            return Ok(());
        }
        let planned = planned.unwrap();
        let inherited = wanted.from.iter().flat_map(|(targets, _)| targets);
        let all: BTreeSet<String> =
            asked.iter().chain(inherited).chain(&wanted.volumes).map(|path| clean_path(path)).collect();
        let targets: Vec<&String> = planned.iter().map(|entry| &entry.target).collect();
        prop_assert_eq!(targets.iter().copied().cloned().collect::<BTreeSet<_>>(), all);
        prop_assert_eq!(targets.len(), targets.iter().collect::<BTreeSet<_>>().len());
        for (at, entry) in planned.iter().enumerate() {
            let source = supplier(&wanted, &entry.target);
            match source.as_str() {
                "tmpfs" => prop_assert_eq!(entry.kind, MountKind::Tmpfs),
                "anonymous" => prop_assert!(entry.is_anonymous_volume()),
                _ => prop_assert_eq!(&entry.source, &source),
            }
            if let Some(number) = source.strip_prefix("from") {
                prop_assert_eq!(entry.read_only, wanted.from[number.parse::<usize>().unwrap()].1);
                prop_assert!(entry.no_copy);
            }
            // Nothing is mounted before what it lies in: it would be hidden.
            let below = format!("{}/", entry.target);
            prop_assert!(!planned[..at].iter().any(|earlier| earlier.target.starts_with(&below)));
        }
    }
}
