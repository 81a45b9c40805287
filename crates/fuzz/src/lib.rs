//! Fuzz targets: each reader of foreign bytes as a function that must not panic on any input.
//!
//! The same functions are driven in two ways: by `cargo fuzz` with coverage (`fuzz/` in the root of
//! the repository; it needs a nightly compiler), and by this crate's own program on the stable
//! compiler, which mutates the seeds with a fixed random number ([`mutate`]). `cargo xtask fuzz` and
//! `make test` run the latter.
//!
//! A target checks more than that nothing panics where there is something to check: what was read
//! reads back, an unpacked archive has touched nothing outside of its directory, two ways of asking
//! one question give one answer.

pub mod mutate;
mod seeds;
mod targets;

pub use targets::{TARGETS, Target};

/// Feeds the target of a name.
///
/// # Panics
/// When there is none, and when the target fails.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target `{name}`"));
    (target.run)(input);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_target_has_a_file_for_cargo_fuzz() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for Target { name, .. } in TARGETS {
            let file = folder.join(format!("fuzz_targets/{name}.rs"));
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.contains(&format!("orlop_fuzz::run(\"{name}\", input)")), "{text}");
            assert!(manifest.contains(&format!("fuzz_targets/{name}.rs")), "{name}");
        }
    }

    #[test]
    fn every_seed_passes() {
        for target in TARGETS {
            for seed in (target.seeds)() {
                (target.run)(&seed);
            }
        }
    }
}
