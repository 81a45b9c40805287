//! Tests of global `ARG`s and the checks of `FROM` lines.

use super::*;
use crate::parse::parse;

fn predefined() -> Vec<(String, String)> {
    [("TARGETPLATFORM", "linux/amd64"), ("TARGETARCH", "amd64")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

#[test]
fn values_given_win_over_defaults_that_see_each_other() {
    let file =
        parse("ARG A=1 B=${A}2\nARG C\nARG D=$none D2=x\nARG TARGETARCH\nFROM a:$B").unwrap();
    let given = |name: &str| (name == "D2").then(|| "given".to_owned());
    let found = resolve_globals(&file, &predefined(), &given).unwrap();
    let value = |name: &str| find(&found, name);
    assert_eq!(value("B").as_deref(), Some("12"));
    assert_eq!(value("C"), None);
    assert_eq!(value("D").as_deref(), Some(""));
    assert_eq!(value("D2").as_deref(), Some("given"));
    assert_eq!(value("TARGETARCH").as_deref(), Some("amd64"));
    let bad = parse("FROM a").and_then(|_| parse("ARG A=${\nFROM a")).unwrap();
    let error = resolve_globals(&bad, &[], &|_: &str| None).unwrap_err();
    assert_eq!(error.lines().map(|lines| lines.first), Some(1));
}

#[test]
fn from_lines_are_checked() {
    for (text, expected) in [
        ("ARG V=1\nFROM a:$V", &[] as &[&str]),
        (
            "ARG VERSION=1\nFROM a:$VERSIN",
            &[
                "InvalidDefaultArgInFrom: Default value for ARG a:$VERSIN results in empty or invalid base image name (line 2)",
                "UndefinedArgInFrom: FROM argument 'VERSIN' is not declared (did you mean VERSION?) (line 2)",
            ],
        ),
        (
            "ARG V\nFROM $V",
            &[
                "InvalidDefaultArgInFrom: Default value for ARG $V results in empty or invalid base image name (line 2)",
            ],
        ),
        (
            "FROM --platform=$TARGETPLATFORM a",
            &[
                "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1)",
            ],
        ),
        (
            "FROM --platform=linux/arm64 a",
            &[
                "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/arm64\" (line 1)",
            ],
        ),
        ("FROM --platform=linux/arm64 a AS build-arm64", &[]),
        ("# check=skip=FromPlatformFlagConstDisallowed\nFROM --platform=linux/arm64 a", &[]),
    ] {
        let file = parse(text).unwrap();
        let globals = resolve_globals(&file, &predefined(), &|_: &str| None).unwrap();
        let checks = Checks::of(&file).unwrap();
        let found: Vec<String> =
            from_lints(&file, &predefined(), &globals, &checks).iter().map(Lint::short).collect();
        assert_eq!(found, expected, "{text}");
    }
}
