//! Tests of substitution: every form, every error, quotes and escapes.

use proptest::prelude::*;

use super::*;

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "PWD" => "/home",
        "FILE" => "dir/archive.tar.gz",
        "NULL" => "",
        "WORDS" => "a  b",
        "STARS" => "x*y*z",
        "LINES" => "one\ntwo",
        "1" => "first",
        _ => return None,
    };
    Some(value.to_owned())
}

fn word(text: &str) -> Result<String, String> {
    expand(text, '\\', &environment).map_err(|error| error.to_string())
}

#[test]
fn substitutions() {
    for (text, expected) in [
        ("$PWD/x", "/home/x"),
        ("${PWD}x", "/homex"),
        ("$PWDx", ""),
        ("a$none.b", "a.b"),
        ("a$", "a$"),
        ("a$.", "a$."),
        ("$1x $@ $$y", "firstx  y"),
        ("${PWD-w} ${NULL-w} ${none-w}", "/home  w"),
        ("${PWD:-w} ${NULL:-w} ${none:-w}", "/home w w"),
        ("${PWD+w} ${NULL+w} ${none+w}", "w w "),
        ("${PWD:+w} ${NULL:+w} ${none:+w}", "w  "),
        ("${PWD?w} ${NULL?w}", "/home "),
        ("${PWD:?w}", "/home"),
        ("${none:-${PWD}/x}", "/home/x"),
        ("${none:-a\\}b}", "a}b"),
        ("${FILE#*/}", "archive.tar.gz"),
        ("${FILE#d*r}", "/archive.tar.gz"),
        ("${FILE##*r}", ".gz"),
        ("${FILE%.*}", "dir/archive.tar"),
        ("${FILE%%.*}", "dir/archive"),
        ("${FILE%%}", "dir/archive.tar.gz"),
        ("${FILE#?}", "ir/archive.tar.gz"),
        ("${STARS#x\\*}", "y*z"),
        ("${FILE/r/R}", "diR/archive.tar.gz"),
        ("${FILE//r/R}", "diR/aRchive.taR.gz"),
        ("${FILE/\\//-}", "dir-archive.tar.gz"),
        ("${FILE/.*/}", "dir/archive"),
        ("${FILE//[/x}", "dir/archive.tar.gz"),
        ("${none#x}", ""),
        ("${LINES#*}", "one\ntwo"),
    ] {
        assert_eq!(word(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn quotes_and_escapes() {
    for (text, expected) in [
        ("'$PWD'", "$PWD"),
        ("\"$PWD\"", "/home"),
        ("\\$PWD", "$PWD"),
        ("\\\\$PWD", "\\/home"),
        ("\"\\$PWD \\\\ \\\" \\x\"", "$PWD \\ \" \\x"),
        ("he'll'o", "hello"),
        ("a\\", "a"),
        ("\"''\"", "''"),
        ("'\\'", "\\"),
        ("a b  c", "a b  c"),
    ] {
        assert_eq!(word(text).as_deref(), Ok(expected), "{text}");
    }
    assert_eq!(expand("`$PWD \\$PWD", '`', &environment).unwrap(), "$PWD \\/home");
}

#[test]
fn errors_have_buildkits_texts() {
    for (text, why) in [
        ("${none?}", "none: is not allowed to be unset"),
        ("${none:?}", "none: is not allowed to be unset"),
        ("${NULL:?}", "NULL: is not allowed to be empty"),
        ("${none?give $PWD}", "none: give /home"),
        ("${", "syntax error: missing '}'"),
        ("${PWD", "unsupported modifier (\u{fffd}) in substitution"),
        ("${PWD-x", "syntax error: missing '}'"),
        ("${PWD/x", "syntax error: missing '/' in ${}"),
        ("${PWD/x/y", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:-x}", "syntax error: bad substitution"),
        ("${{x}}", "syntax error: bad substitution"),
        ("${PWD!x}", "unsupported modifier (!) in substitution"),
        ("${PWD:}x}", "unsupported modifier (:}) in substitution"),
        ("${PWD:#x}", "unsupported modifier (:#) in substitution"),
        ("${PWD#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("\"a", "unexpected end of statement while looking for matching double-quote"),
    ] {
        let expected = format!("failed to process {}: {why}", go_quoted(text));
        assert_eq!(word(text), Err(expected), "{text}");
    }
}

#[test]
fn words_are_divided_after_substitution() {
    for (text, expected) in [
        ("a b", &["a", "b"] as &[&str]),
        ("x${WORDS}y", &["xa", "by"]),
        ("x\"${WORDS}\"y", &["xa  by"]),
        ("x\\ y", &["x y"]),
        ("$none", &[]),
        ("  a  ", &["a"]),
    ] {
        assert_eq!(expand_words(text, '\\', &environment).unwrap(), expected, "{text}");
    }
}

#[test]
fn names_that_were_asked_for_are_told() {
    let found = expand_with_names("$PWD ${gone:-x} $1", '\\', &environment).unwrap();
    assert_eq!(found.text, "/home x first");
    assert_eq!(Vec::from_iter(found.matched), ["1", "PWD"]);
    assert_eq!(Vec::from_iter(found.unmatched), ["gone"]);
}

#[test]
fn quotes_are_text_in_here_documents() {
    let found = expand_content("it's \"$PWD\" \\$PWD\n", &environment).unwrap();
    assert_eq!(found.text, "it's \"/home\" $PWD\n");
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    let text = "${a:-".repeat(5000);
    assert!(word(&text).unwrap_err().contains("syntax error"));
}

proptest! {
    #[test]
    fn text_without_special_letters_is_itself(text in "[a-zA-Z0-9 /._=:,-]{0,40}") {
        prop_assert_eq!(word(&text), Ok(text));
    }

    #[test]
    fn nothing_panics(text in "[$\\{}:/#%'\"a?*<\\\\`-]{0,24}") {
        let _ = expand(&text, '\\', &environment);
        let _ = expand(&text, '`', &environment);
        let _ = expand_words(&text, '\\', &environment);
        let _ = expand_content(&text, &environment);
    }

    #[test]
    fn what_single_quotes_hold_is_kept(text in "[^']{0,30}") {
        prop_assert_eq!(word(&format!("'{text}'")), Ok(text));
    }
}
