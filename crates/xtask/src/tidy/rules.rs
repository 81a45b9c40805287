//! Rules for one file: header, size, banned words, `unsafe`, reasons on ignored tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Finding;
use super::functions::{self, MAX_FUNCTION_LINES};
use super::source::{Source, line_of, words};

/// Lines that a file may have without its tests.
const MAX_FILE_LINES: usize = 800;

/// Lines above an `unsafe` block in which its reason must stand.
const SAFETY_COMMENT_LINES: usize = 12;

/// Which crate a file belongs to and whether it is all test code.
struct Place {
    folder: String,
    is_test: bool,
}

impl Place {
    fn of(path: &Path, test_files: &BTreeSet<PathBuf>) -> Self {
        let words: Vec<&str> = path.iter().filter_map(|word| word.to_str()).collect();
        let folder = match words.as_slice() {
            ["crates", folder, ..] => (*folder).to_owned(),
            _ => String::new(),
        };
        let is_test = words.get(2).is_some_and(|word| *word == "tests" || *word == "benches")
            || test_files.contains(path);
        Self { folder, is_test }
    }
}

/// Files that a `#[cfg(test)] mod name;` in this file declares.
pub(super) fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    // A module's own modules lie beside `lib.rs`, `main.rs` and `mod.rs`, else in a folder.
    let below = match stem {
        "lib" | "main" | "mod" => folder.to_path_buf(),
        stem => folder.join(stem),
    };
    let source = Source::new(text);
    let items = source.test_items();
    let declared = items.iter().filter_map(|range| {
        let name = source.code[range.clone()].strip_suffix(';')?.rsplit("mod ").next()?.trim();
        let said =
            text[range.clone()].split("#[path = \"").nth(1).and_then(|rest| rest.split('"').next());
        Some(match said {
            Some(file) => folder.join(file),
            None => below.join(format!("{name}.rs")),
        })
    });
    declared.collect()
}

/// Checks one Rust file; `test_files` are those that some `#[cfg(test)]` declares.
pub(super) fn check(path: &Path, text: &str, test_files: &BTreeSet<PathBuf>) -> Vec<Finding> {
    let place = Place::of(path, test_files);
    let source = Source::new(text);
    let mut found: Vec<(usize, String)> = Vec::new();
    header(text, &mut found);
    ignored_tests(text, &source, &mut found);
    unfinished(&source, &mut found);
    if place.folder == "sys" {
        reasons_for_unsafe(&source, &mut found);
    } else {
        for position in words(&source.code, "unsafe") {
            let message = "`unsafe` stands in the crate `sys` only".to_owned();
            found.push((line_of(text, position), message));
        }
    }
    if !place.is_test {
        size(&source, &mut found);
        for (name, line, lines) in functions::too_long(&source) {
            let message = format!(
                "function `{name}` has {lines} lines, at most {MAX_FUNCTION_LINES} are allowed"
            );
            found.push((line, message));
        }
        if !matches!(place.folder.as_str(), "fuzz" | "xtask" | "testkit") {
            printing(&source, &mut found);
        }
    }
    let file = path.to_path_buf();
    found.into_iter().map(|(line, message)| Finding { file: file.clone(), line, message }).collect()
}

/// Finds paths that exist on one developer's machine only.
pub(super) fn machine_paths(path: &Path, text: &str) -> Vec<Finding> {
    // Put together here, so that this file is not found by itself.
    let names = [concat!("/wor", "k/"), concat!("/.libr", "ary"), concat!("/tmp/stu", "dio")];
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in names {
            let hit = line.match_indices(name).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                // `upper/work/x` and `{dir}/work/x` are parts of other paths.
                !before.is_some_and(|c| c.is_alphanumeric() || "}>*_-.)$".contains(c))
            });
            if hit {
                let message = format!("`{name}` is a path of one machine");
                found.push(Finding { file: PathBuf::from(path), line: index + 1, message });
            }
        }
    }
    found
}

fn header(text: &str, found: &mut Vec<(usize, String)>) {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        found.push((1, "the file does not open with `//!`: what is it for?".to_owned()));
    }
}

fn size(source: &Source, found: &mut Vec<(usize, String)>) {
    let tests: usize =
        source.test_items().into_iter().map(|range| source.code[range].lines().count()).sum();
    let lines = source.code.lines().count().saturating_sub(tests);
    if lines > MAX_FILE_LINES {
        let message = format!(
            "the file has {lines} lines without tests, at most {MAX_FILE_LINES} are allowed: split it"
        );
        found.push((0, message));
    }
}

fn printing(source: &Source, found: &mut Vec<(usize, String)>) {
    let tests = source.test_items();
    for name in ["print", "println", "eprint", "eprintln"] {
        for position in words(&source.code, name) {
            let called = source.code[position + name.len()..].starts_with('!');
            if called && !tests.iter().any(|range| range.contains(&position)) {
                let message = format!(
                    "`{name}!` panics on a closed pipe: write to a stream that was passed in"
                );
                found.push((line_of(&source.code, position), message));
            }
        }
    }
}

fn unfinished(source: &Source, found: &mut Vec<(usize, String)>) {
    for name in ["todo", "unimplemented", "dbg"] {
        for position in words(&source.code, name) {
            if source.code[position + name.len()..].starts_with('!') {
                found.push((
                    line_of(&source.code, position),
                    format!("`{name}!` is left in the code"),
                ));
            }
        }
    }
}

fn ignored_tests(text: &str, source: &Source, found: &mut Vec<(usize, String)>) {
    for (position, _) in source.code.match_indices("#[ignore") {
        let said = &text[position + "#[ignore".len()..];
        if !said.starts_with(" = \"root: ") {
            let message = "an ignored test says why: `#[ignore = \"root: CAPABILITY\"]`".to_owned();
            found.push((line_of(text, position), message));
        }
    }
}

fn reasons_for_unsafe(source: &Source, found: &mut Vec<(usize, String)>) {
    let comments: Vec<&str> = source.comments.lines().collect();
    for position in words(&source.code, "unsafe") {
        let rest = source.code[position + "unsafe".len()..].trim_start();
        if !rest.starts_with('{') && !rest.starts_with("impl") {
            continue;
        }
        let line = line_of(&source.code, position);
        let above = &comments[line.saturating_sub(SAFETY_COMMENT_LINES + 1)..line];
        if !above.iter().any(|comment| comment.contains("SAFETY:")) {
            found.push((line, "`unsafe` without a `// SAFETY:` comment right above it".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<(usize, String)> {
        let mut found: Vec<_> = check(Path::new(path), text, &BTreeSet::new())
            .into_iter()
            .map(|finding| (finding.line, finding.message))
            .collect();
        found.sort();
        found
    }

    fn first(path: &str, text: &str) -> Option<usize> {
        messages(path, text).first().map(|(line, _)| *line)
    }

    #[test]
    fn accepts_a_tidy_file() {
        let text =
            "//! Says what it is for.\n\nfn a() { let unsafe_code = \"println!()\"; } // todo!()\n";
        assert_eq!(messages("crates/meta/src/lib.rs", text), []);
    }

    #[test]
    fn wants_a_header() {
        assert_eq!(first("crates/meta/src/lib.rs", "use std::fs;\n"), Some(1));
        assert_eq!(first("crates/meta/src/lib.rs", "#![no_std]\n//! Header.\n"), None);
    }

    #[test]
    fn finds_banned_calls_outside_tests() {
        let text = "//! Header.\nfn a() { println!(); }\n#[cfg(test)]\nmod tests { fn b() { eprintln!(); } }\n";
        assert_eq!(
            messages("crates/cli/src/lib.rs", text),
            [(
                2,
                "`println!` panics on a closed pipe: write to a stream that was passed in"
                    .to_owned()
            )]
        );
        assert_eq!(messages("crates/cli/tests/a.rs", text), []);
        assert_eq!(messages("crates/xtask/src/main.rs", text), []);
    }

    #[test]
    fn knows_test_files_by_their_declaration() {
        let text = "#[cfg(test)]\nmod suite;\n#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\nmod plain;\n#[cfg(test)]\nmod inline {}\n";
        let paths = |path: &str| -> Vec<String> {
            let found = test_modules(Path::new(path), text);
            found.iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(
            paths("crates/a/src/lib.rs"),
            ["crates/a/src/suite.rs", "crates/a/src/a_tests.rs"]
        );
        assert_eq!(
            paths("crates/a/src/b.rs"),
            ["crates/a/src/b/suite.rs", "crates/a/src/a_tests.rs"]
        );
        let printing = "//! Header.\nfn a() { println!(); }\n";
        let file = PathBuf::from("crates/a/src/suite.rs");
        assert_eq!(check(&file, printing, &BTreeSet::from([file.clone()])), []);
        assert_eq!(check(&file, printing, &BTreeSet::new()).len(), 1);
    }

    #[test]
    fn finds_what_is_unfinished_everywhere() {
        let text = concat!("//! Header.\n#[cfg(test)]\nmod tests { fn b() { to", "do!() } }\n");
        assert_eq!(first("crates/cli/src/lib.rs", text), Some(3));
    }

    #[test]
    fn keeps_unsafe_in_sys_and_explained() {
        let bare = "//! Header.\nfn a() {\n    unsafe { b() }\n}\n";
        let explained = "//! Header.\nfn a() {\n    // SAFETY: b has no preconditions.\n    unsafe { b() }\n}\n";
        assert_eq!(first("crates/net/src/lib.rs", explained), Some(4));
        assert_eq!(first("crates/sys/src/lib.rs", bare), Some(3));
        assert_eq!(first("crates/sys/src/lib.rs", explained), None);
    }

    #[test]
    fn wants_a_reason_on_ignored_tests() {
        for (mark, expected) in [
            ("#[ignore = \"root: CAP_SYS_ADMIN\"]", None),
            ("#[ignore]", Some(2)),
            ("#[ignore = \"slow\"]", Some(2)),
        ] {
            assert_eq!(
                first("crates/net/src/lib.rs", &format!("//! Header.\n{mark}\nfn a() {{}}\n")),
                expected
            );
        }
    }

    #[test]
    fn counts_lines_without_tests() {
        let code = "fn a() {}\n".repeat(799);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "fn b() {}\n".repeat(500));
        assert_eq!(messages("crates/net/src/a.rs", &format!("//! Header.\n{code}{tests}")), []);
        assert_eq!(
            first("crates/net/src/a.rs", &format!("//! Header.\nfn c() {{}}\n{code}{tests}")),
            Some(0)
        );
    }

    #[test]
    fn finds_paths_of_one_machine() {
        let own = concat!("/wor", "k/");
        for (text, expected) in [
            (format!("see {own}notes"), 1),
            (format!("`{own}x`"), 1),
            (format!("upper{own}x, {{dir}}{own}y, $dir{own}z"), 0),
        ] {
            let found = machine_paths(Path::new("README.md"), &text);
            assert_eq!(found.len(), expected, "{text}");
        }
    }
}
