//! Tests of `.dockerignore`: reading, matching, walking.

use proptest::prelude::*;

use super::*;

fn ignored(file: &str, path: &str) -> bool {
    Ignore::parse(file).unwrap().ignored(path)
}

#[test]
fn lines_are_trimmed_and_cleaned() {
    let file = "\u{feff}# comment\n  a/./b/ \n/c\n\n ! d \n#e\n ../f\n./g/../h\n/\n";
    let found: Vec<String> = Ignore::parse(file).unwrap().patterns().collect();
    assert_eq!(found, ["a/b", "c", "!d", "../f", "h", "/"]);
}

#[test]
fn patterns_match() {
    for (pattern, path, expected) in [
        ("a", "a", true),
        ("a", "a/b/c", true),
        ("a", "ab", false),
        ("a", "b/a", false),
        ("*", "x/y", true),
        ("*.go", "x.go", true),
        ("*.go", "d/x.go", false),
        ("*/*.go", "d/x.go", true),
        ("**/*.go", "x.go", true),
        ("**/*.go", "a/b/x.go", true),
        ("**", "a/b", true),
        ("a/**", "a/b", true),
        ("a/**", "a", false),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/x/bc", false),
        ("**/foo", "foo", true),
        ("**/foo", "a/foo", true),
        ("**/foo", "a/foo/bar", true),
        ("**/foo", "afoo", false),
        ("**foo", "afoo", true),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("a[bc]d", "abd", true),
        ("a[^b]d", "abd", false),
        ("a[[&&b]d", "a[d", true),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("a.b", "axb", false),
        ("a+(b)", "a+(b)", true),
        ("**/.env*", "x/.env.local", true),
        ("temp?", "tempa/x", true),
        ("é*", "éa", true),
    ] {
        assert_eq!(ignored(pattern, path), expected, "{pattern} {path}");
    }
}

#[test]
fn the_last_match_decides() {
    let file = "*\n!src\nsrc/*.o\n!src/keep.o\n";
    for (path, expected) in [
        ("a", true),
        ("src", false),
        ("src/a.c", false),
        ("src/a.o", true),
        ("src/keep.o", false),
        ("src/d/a.o", false),
    ] {
        assert_eq!(ignored(file, path), expected, "{path}");
    }
    assert!(ignored("!a\na", "a"));
    // As in Docker: `!a` had nothing to take back when the walker came to `a`.
    assert!(ignored("a/b\n!a", "a/b"));
}

#[test]
fn directories_that_hold_nothing_included_are_told() {
    let may =
        |file: &str, directory: &str| Ignore::parse(file).unwrap().may_hold_included(directory);
    assert!(!may("*", "a"));
    assert!(may("*\n!a/b", "a"));
    assert!(!may("*\n!a/b", "b"));
    assert!(!may("*\n!a/b", "a/b"));
    assert!(may("*\n!*/b", "x"));
    assert!(may("*\n!**/b", "x/y"));
    assert!(may("*\n!a/*/c", "a/x"));
    assert!(!may("*\n!a/*/c", "b/x"));
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (file, message) in [
        ("!", "illegal exclusion pattern: \"!\""),
        ("[", "syntax error in pattern"),
        ("a\n[]a]", "syntax error in pattern"),
    ] {
        assert_eq!(Ignore::parse(file).unwrap_err().to_string(), message, "{file}");
    }
    assert!(Ignore::parse("# only\n").unwrap().is_empty());
}

proptest! {
    #[test]
    fn nothing_panics(file in "([a-c/.*?!\\[\\]^\\\\\n-]){0,20}", path in "[a-c/]{0,10}") {
        if let Ok(ignore) = Ignore::parse(&file) {
            let _ = ignore.ignored(&path);
            let _ = ignore.may_hold_included(&path);
        }
    }

    #[test]
    fn a_walker_sees_the_same(
        patterns in prop::collection::vec("!?(\\*\\*/)?[ab*?](/[ab*])?(/\\*\\*)?", 0..5),
        path in "[ab](/[ab]){0,3}",
    ) {
        let ignore = Ignore::new(&patterns).unwrap();
        let mut above = Above::default();
        let mut last = false;
        let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        ends.push(path.len());
        let mut pruned = false;
        for end in ends {
            let (now, next) = ignore.ignored_below(&path[..end], &above);
            pruned |= last && !ignore.may_hold_included(path[..end].rsplit_once('/').unwrap().0);
            above = next;
            last = now;
        }
        prop_assert_eq!(last, ignore.ignored(&path));
        // What a walker doesn't enter is left out in any case.
        prop_assert!(!pruned || ignore.ignored(&path));
    }
}
