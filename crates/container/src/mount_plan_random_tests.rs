//! Random requests for mounts: whatever is asked for, the plan keeps its promises.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use orlop_types::config::{Mount, Set};
use orlop_types::mount::clean_path;

use crate::mount_plan::{MountEntry, MountKind, Origin, Requests, plan};

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    /// A path of one to four short names, not always clean.
    fn path(&mut self) -> String {
        let names = ["a", "b", "deep"];
        let mut path: String =
            (0..=self.below(4)).map(|_| format!("/{}", names[self.below(3)])).collect();
        path += ["", "", "/", "/."][self.below(4)];
        path
    }
}

/// What one list asks for.
#[derive(Debug, Default)]
struct Asked {
    inherited: Vec<(Vec<MountEntry>, bool)>,
    binds: Vec<String>,
    mounts: Vec<Mount>,
    tmpfs: BTreeMap<String, String>,
    volumes: Set,
}

impl Asked {
    fn random(random: &mut Random, depth: u32) -> Self {
        let mut asked = Self::default();
        for number in 0..1 + random.below(6) {
            let target = random.path();
            match random.below(6) {
                0 => asked.binds.push(format!("volume{number}:{target}:ro")),
                1 => asked.binds.push(format!("/host/{number}:{target}")),
                2 => asked.mounts.push(Mount {
                    kind: ["volume", "tmpfs"][random.below(2)].to_owned(),
                    target,
                    ..Mount::default()
                }),
                3 => drop(asked.tmpfs.insert(target, String::new())),
                4 => drop(asked.volumes.insert(target, Default::default())),
                _ if depth > 0 => {
                    let other = Self::random(random, depth - 1);
                    if let Ok(entries) = other.plan() {
                        asked.inherited.push((entries, random.below(2) == 0));
                    }
                }
                _ => {}
            }
        }
        asked
    }

    fn plan(&self) -> Result<Vec<MountEntry>, orlop_types::ParseError> {
        plan(&Requests {
            volumes_from: &self.inherited,
            binds: &self.binds,
            mounts: &self.mounts,
            tmpfs: Some(&self.tmpfs),
            volumes: Some(&self.volumes),
            volume_driver: "",
        })
    }

    /// Targets that the user asked for by name.
    fn targets(&self) -> Vec<String> {
        let binds = self.binds.iter().map(|raw| clean_path(raw.split(':').nth(1).unwrap()));
        let mounts = self.mounts.iter().map(|mount| clean_path(&mount.target));
        binds.chain(mounts).chain(self.tmpfs.keys().map(|path| clean_path(path))).collect()
    }
}

#[test]
fn the_plan_keeps_its_promises() {
    let (mut planned, mut refused) = (0, 0);
    for seed in 1..=4000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let asked = Asked::random(&mut random, 2);
        let mut targets = asked.targets();
        targets.sort();
        let twice = targets.windows(2).find(|pair| pair[0] == pair[1]);
        match (asked.plan(), twice) {
            (Ok(entries), None) => {
                planned += 1;
                check(&asked, &entries);
            }
            (Err(error), Some(_)) => {
                refused += 1;
                assert!(error.to_string().starts_with("Duplicate mount point: /"), "{error}");
            }
            (outcome, _) => panic!("seed {seed}: {asked:#?} gives {outcome:#?}"),
        }
    }
    assert!(planned > 1000 && refused > 200, "{planned} planned, {refused} refused");
}

fn check(asked: &Asked, entries: &[MountEntry]) {
    let explain = || format!("{asked:#?} gives {entries:#?}");
    let find = |target: &str| entries.iter().find(|entry| entry.target == target);
    // One source for each target, in the order in which mounts can be made.
    let key = |entry: &MountEntry| (entry.target.matches('/').count(), entry.target.clone());
    assert!(entries.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])), "{}", explain());
    for (at, entry) in entries.iter().enumerate() {
        let below = format!("{}/", entry.target);
        let children_come_later =
            entries[..at].iter().all(|earlier| !earlier.target.starts_with(&below));
        assert!(children_come_later, "{}", explain());
        assert_eq!(entry.target, clean_path(&entry.target));
    }
    // Nothing is forgotten: the user's own requests win, the image's take what is free.
    for target in asked.targets() {
        let entry = find(&target).unwrap_or_else(|| panic!("{target}: {}", explain()));
        assert!(matches!(entry.origin, Origin::User | Origin::TmpfsFlag), "{}", explain());
    }
    for target in asked.volumes.keys() {
        assert!(find(&clean_path(target)).is_some(), "{}", explain());
    }
    for (theirs, read_only) in &asked.inherited {
        for entry in theirs.iter().filter(|entry| entry.kind != MountKind::Tmpfs) {
            let mine = find(&entry.target).unwrap_or_else(|| panic!("{}", explain()));
            let is_theirs = mine.origin == Origin::OtherContainer && mine.source == entry.source;
            if is_theirs && mine.kind == entry.kind && asked.inherited.len() == 1 {
                assert_eq!(mine.read_only, entry.read_only || *read_only, "{}", explain());
                assert!(mine.no_copy, "{}", explain());
            }
        }
    }
    let known = asked.targets().len() + asked.volumes.len();
    let inherited: usize = asked.inherited.iter().map(|(theirs, _)| theirs.len()).sum();
    assert!(entries.len() <= known + inherited, "{}", explain());
}
