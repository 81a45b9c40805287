//! The house: which crate may depend on which (rows as in the README's picture).
//!
//! A crate depends on crates of lower rows, and on the few neighbours listed here. Test support may
//! be a dev-dependency of anything and a dependency of nothing that ships.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Finding;

/// Shipped crates by row, lowest first.
const ROWS: &[&[&str]] = &[
    &["types", "sys"],
    &["meta", "archive", "template", "dockerfile"],
    &["layer", "volume", "runtime", "net", "registry"],
    &["build", "container", "image"],
    &["engine"],
    &["cli", "api", "web", "csi"],
    &["orlop"],
];

/// Arrows within one row that are allowed all the same.
const NEIGHBOURS: &[(&str, &str)] =
    &[("build", "container"), ("build", "image"), ("container", "image")];

/// Crates that are never shipped.
const TOOLS: &[&str] = &["fuzz", "testkit", "xtask"];

/// Checks every arrow in the manifests, which come by folder name.
pub(super) fn check(manifests: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (folder, manifest) in manifests {
        let file = PathBuf::from(format!("crates/{folder}/Cargo.toml"));
        if row(folder).is_none() && !TOOLS.contains(&folder.as_str()) {
            let message = format!(
                "crate `{folder}` stands in no row of the house (crates/xtask/src/tidy/arrows.rs)"
            );
            findings.push(Finding { file: file.clone(), line: 0, message });
            continue;
        }
        for arrow in arrows(manifest) {
            if let Some(reason) = refusal(folder, &arrow) {
                findings.push(Finding { file: file.clone(), line: arrow.line, message: reason });
            }
        }
    }
    findings
}

/// One dependency on a crate of ours.
#[derive(Debug, PartialEq, Eq)]
struct Arrow {
    to: String,
    dev: bool,
    line: usize,
}

fn row(folder: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&folder))
}

fn refusal(from: &str, arrow: &Arrow) -> Option<String> {
    let to = arrow.to.as_str();
    if TOOLS.contains(&to) {
        let allowed = to == "testkit" && (arrow.dev || TOOLS.contains(&from));
        return (!allowed)
            .then(|| format!("`{from}` depends on test support `{to}` in what ships"));
    }
    let Some(to_row) = row(to) else {
        return Some(format!("`{from}` depends on `{to}`, which stands in no row of the house"));
    };
    // Tools may look at the lowest row only, so that they stay quick to build; but the fuzz targets
    // are there to call readers of every row.
    let from_row = row(from).unwrap_or(if from == "fuzz" { ROWS.len() } else { 1 });
    let allowed = to_row < from_row || NEIGHBOURS.contains(&(from, to));
    (!allowed).then(|| {
        format!("arrow `{from}` (row {from_row}) → `{to}` (row {to_row}) does not go downwards")
    })
}

/// Dependencies on our own crates in a manifest; a small reader of the TOML that we write.
fn arrows(manifest: &str) -> Vec<Arrow> {
    let mut found = Vec::new();
    let mut section = String::new();
    for (index, line) in manifest.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']').to_owned();
            // `[dependencies.orlop-x]`: the header itself names the crate.
            if let Some((kind, name)) = section.rsplit_once('.')
                && kind.ends_with("dependencies")
                && let Some(to) = own_crate(name)
            {
                found.push(Arrow { to, dev: kind.ends_with("dev-dependencies"), line: index + 1 });
            }
            continue;
        }
        if !section.ends_with("dependencies") {
            continue;
        }
        let key = line.split(['=', '.']).next().unwrap_or_default().trim();
        let renamed = line.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
        if let Some(to) = renamed.and_then(own_crate).or_else(|| own_crate(key)) {
            found.push(Arrow { to, dev: section.ends_with("dev-dependencies"), line: index + 1 });
        }
    }
    found
}

/// Folder of one of our packages, from the package's name.
fn own_crate(package: &str) -> Option<String> {
    let package = package.trim_matches('"');
    match package {
        "orlop" | "xtask" => Some(package.to_owned()),
        _ => package.strip_prefix("orlop-").map(str::to_owned),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn messages(folder: &str, manifest: &str) -> Vec<String> {
        let manifests = BTreeMap::from([(folder.to_owned(), manifest.to_owned())]);
        check(&manifests).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn allows_arrows_downwards_and_listed_neighbours() {
        for (folder, manifest) in [
            (
                "layer",
                "[dependencies]\norlop-types.workspace = true\norlop-archive = { path = \"../archive\" }\n",
            ),
            ("container", "[dependencies]\norlop-image.workspace = true\n"),
            (
                "orlop",
                "[dependencies]\norlop-cli.workspace = true\n[dev-dependencies]\norlop-testkit.workspace = true\n",
            ),
            ("testkit", "[dependencies]\norlop-sys.workspace = true\n"),
        ] {
            assert_eq!(messages(folder, manifest), Vec::<String>::new(), "{folder}");
        }
    }

    #[test]
    fn refuses_arrows_up_and_sideways() {
        for (folder, manifest, expected) in [
            (
                "meta",
                "[dependencies]\norlop-layer.workspace = true\n",
                "arrow `meta` (row 1) → `layer` (row 2) does not go downwards",
            ),
            (
                "image",
                "[dependencies]\norlop-container.workspace = true\n",
                "arrow `image` (row 3) → `container` (row 3) does not go downwards",
            ),
            (
                "types",
                "[dependencies.orlop-sys]\nworkspace = true\n",
                "arrow `types` (row 0) → `sys` (row 0) does not go downwards",
            ),
            (
                "net",
                "[target.'cfg(unix)'.dependencies]\nv = { package = \"orlop-volume\" }\n",
                "arrow `net` (row 2) → `volume` (row 2) does not go downwards",
            ),
            (
                "volume",
                "[dev-dependencies]\norlop-engine.workspace = true\n",
                "arrow `volume` (row 2) → `engine` (row 4) does not go downwards",
            ),
        ] {
            assert_eq!(messages(folder, manifest), [expected], "{folder}");
        }
    }

    #[test]
    fn refuses_test_support_in_what_ships_and_unknown_crates() {
        assert_eq!(
            messages("engine", "[dependencies]\norlop-testkit.workspace = true\n"),
            ["`engine` depends on test support `testkit` in what ships"]
        );
        assert_eq!(
            messages("engine", "[dependencies]\norlop-mystery.workspace = true\n"),
            ["`engine` depends on `mystery`, which stands in no row of the house"]
        );
        assert_eq!(
            messages("mystery", ""),
            ["crate `mystery` stands in no row of the house (crates/xtask/src/tidy/arrows.rs)"]
        );
    }

    #[test]
    fn ignores_foreign_crates_and_comments() {
        assert_eq!(
            arrows("[dependencies]\nserde = \"1\" # orlop-x\n# orlop-engine.workspace = true\n"),
            []
        );
    }
}
