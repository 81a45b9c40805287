//! Every row of `docs/compat.md` names tests that exist: a difference from Docker that no test holds is
//! soon untrue.
//!
//! A name between backquotes in the last column is `file::test` or `file` (of `crates/orlop/tests`; a
//! topic of the differential suite or of the corpus of builds counts as a test), or any path that ends in a test of the crate that
//! the same cell names as `crates/NAME`. `none: WHY` says that there cannot be one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Finding;

/// The table.
pub(super) const PATH: &str = "docs/compat.md";

/// Cells of a row.
const COLUMNS: usize = 5;

/// Checks the table against every file of the tree.
pub(super) fn check(table: &str, files: &BTreeMap<PathBuf, String>) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut subjects = BTreeMap::new();
    for (index, row) in table.lines().enumerate() {
        let Some(row) = row.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            continue;
        };
        let cells = cells(row);
        let mut report = |message: String| {
            found.push(Finding { file: PathBuf::from(PATH), line: index + 1, message });
        };
        let [subject, .., tests] = cells.as_slice() else { continue };
        if cells.len() != COLUMNS {
            report(format!("a row has {COLUMNS} cells, not {}", cells.len()));
            continue;
        }
        if let Some(line) = subjects.insert(subject.clone(), index + 1) {
            report(format!("line {line} has the same subject"));
        }
        if tests == "Test" || tests.starts_with("none: ") {
            continue;
        }
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            report("the last cell names a test between backquotes, or says `none: WHY`".to_owned());
        }
        for name in names.into_iter().filter(|name| !exists(name, tests, files)) {
            report(format!("there is no test `{name}`"));
        }
    }
    found
}

/// The cells of a row; a `|` inside one is written `\|`.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    for piece in row.split(" | ") {
        let last = cells.len() - 1;
        if cells[last].ends_with('\\') {
            cells[last].push_str(" | ");
            cells[last].push_str(piece);
        } else if cells[last].is_empty() && last == 0 {
            cells[0].push_str(piece);
        } else {
            cells.push(piece.to_owned());
        }
    }
    cells
}

/// Whether a test of that name stands where the cell says.
fn exists(name: &str, cell: &str, files: &BTreeMap<PathBuf, String>) -> bool {
    let tests = Path::new("crates/orlop/tests");
    let (file, test) = name.split_once("::").unwrap_or((name, ""));
    let topics = if file == "build_corpus" { "builds" } else { file };
    if files.contains_key(&tests.join(file).with_extension("rs"))
        && (test.is_empty()
            || files.contains_key(&tests.join(topics).join(test).with_extension("case"))
            || has_function(&files[&tests.join(file).with_extension("rs")], test))
    {
        return true;
    }
    let Some((_, rest)) = cell.split_once("crates/") else { return false };
    let folder = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    let house = Path::new("crates").join(folder);
    let function = name.rsplit("::").next().unwrap_or_default();
    files.iter().any(|(path, text)| {
        path.starts_with(&house)
            && path.extension().is_some_and(|kind| kind == "rs")
            && (has_function(text, function) || path.ends_with(format!("tests/{name}.rs")))
    })
}

fn has_function(text: &str, name: &str) -> bool {
    [format!("fn {name}("), format!("fn {name}<")].iter().any(|start| text.contains(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(row: &str) -> Vec<String> {
        let files: BTreeMap<PathBuf, String> = [
            ("crates/orlop/tests/mounts.rs", "fn a() {}"),
            ("crates/orlop/tests/differential.rs", ""),
            ("crates/orlop/tests/differential/cp.case", ""),
            ("crates/orlop/tests/build_corpus.rs", ""),
            ("crates/orlop/tests/builds/copy.case", ""),
            ("crates/net/src/subnet.rs", "fn b() {}"),
            ("crates/net/tests/network.rs", "fn c() {}"),
        ]
        .map(|(path, text)| (PathBuf::from(path), text.to_owned()))
        .into();
        let table =
            format!("| Subject | Docker | orlop | Why | Test |\n|---|---|---|---|---|\n{row}\n");
        check(&table, &files).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn rows_name_tests_that_exist() {
        for tests in [
            "`mounts::a`",
            "`differential`",
            "`differential::cp`, `mounts::a`",
            "`build_corpus::copy`",
            "`subnet::tests::b` (crates/net)",
            "`c` (crates/net, `network`)",
            "none: nobody can see it",
        ] {
            assert_eq!(messages(&format!("| x | y | z | w | {tests} |")), [""; 0], "{tests}");
        }
    }

    #[test]
    fn missing_tests_and_broken_rows_are_found() {
        for (row, message) in [
            ("| x | y | z | w | `mounts::gone` |", "there is no test `mounts::gone`"),
            ("| x | y | z | w | `differential::gone` |", "there is no test `differential::gone`"),
            ("| x | y | z | w | `subnet::tests::b` |", "there is no test `subnet::tests::b`"),
            ("| x | y | z | w | `tests::a` (crates/net) |", "there is no test `tests::a`"),
            (
                "| x | y | z | w | by hand |",
                "the last cell names a test between backquotes, or says `none: WHY`",
            ),
            ("| x | y | z | `mounts::a` |", "a row has 5 cells, not 4"),
            (
                "| x | y | z | w | `mounts::a` |\n| x | 1 | 2 | 3 | `mounts::a` |",
                "line 3 has the same subject",
            ),
        ] {
            assert_eq!(messages(row), [message], "{row}");
        }
    }

    #[test]
    fn a_bar_inside_a_cell_is_escaped() {
        assert_eq!(cells("a \\| b | c"), ["a \\| b", "c"]);
    }
}
