//! Tests of the checks that need the text alone, and of `# check=`.

use super::*;
use crate::parse::parse;

fn found(text: &str) -> Vec<String> {
    let file = parse(text).unwrap();
    let checks = Checks::of(&file).unwrap();
    file.warnings.iter().filter(|lint| checks.allows(lint.rule)).map(Lint::short).collect()
}

#[test]
fn each_rule_finds_what_it_is_for() {
    for (text, expected) in [
        ("FROM a AS b\nRUN c", &[] as &[&str]),
        ("FROM a AS B", &["StageNameCasing: Stage name 'B' should be lowercase (line 1)"]),
        ("FROM a as b", &["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"]),
        ("from a AS b", &["FromAsCasing: 'AS' and 'from' keywords' casing do not match (line 1)"]),
        ("FROM a\nRUN b \\\n\n c", &["NoEmptyContinuation: Empty continuation line (line 4)"]),
        (
            "FROM a\nMAINTAINER x",
            &[
                "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
            ],
        ),
        (
            "FROM a\nrun b\nRUN c",
            &[
                "ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase) (line 2)",
            ],
        ),
        (
            "from a\nrun b\nRUN c",
            &[
                "ConsistentInstructionCasing: Command 'RUN' should match the case of the command majority (lowercase) (line 3)",
            ],
        ),
        (
            "FROM a\nRun b",
            &[
                "ConsistentInstructionCasing: Command 'Run' should match the case of the command majority (uppercase) (line 2)",
            ],
        ),
        (
            "FROM a AS b\nFROM a AS b",
            &[
                "DuplicateStageName: Duplicate stage name \"b\", stage names should be unique (line 2)",
            ],
        ),
        (
            "FROM a AS scratch",
            &[
                "ReservedStageName: Stage name should not use the same name as reserved stage \"scratch\" (line 1)",
            ],
        ),
        (
            "# check=skip=StageNameCasing, FromAsCasing\nFROM a AS B",
            &["StageNameCasing: Stage name 'B' should be lowercase (line 2)"][..0],
        ),
        ("# check=skip=all\nFROM a as B", &[]),
        ("FROM x\n# check=skip=MaintainerDeprecated\nMAINTAINER x", &[]),
        ("# about\nFROM a AS b", &[]),
        (
            "# check=experimental=all\n# about\nFROM a AS b",
            &[
                "InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>` (line 3)",
            ],
        ),
        ("# check=experimental=all\n# b is it\nFROM a AS b", &[]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn options_are_read() {
    let checks = Checks::parse("skip=A, B ;error=true;experimental=all").unwrap();
    assert!(checks.error);
    assert!(checks.allows(Rule::InvalidDefinitionDescription));
    assert!(!Checks::default().allows(Rule::InvalidDefinitionDescription));
    for (text, message) in [
        ("x", "invalid check option \"x\""),
        ("foo=1", "invalid check option \"foo\""),
        (
            "error=maybe",
            "failed to parse check option \"error=maybe\": strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
    ] {
        assert_eq!(Checks::parse(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn findings_fail_only_where_asked_for() {
    let file = parse("# check=error=true\nFROM a AS B\nMAINTAINER x").unwrap();
    let checks = Checks::of(&file).unwrap();
    assert_eq!(
        checks.violation(&file.warnings).unwrap().to_string(),
        "lint violation found for rules: MaintainerDeprecated, StageNameCasing"
    );
    assert_eq!(checks.violation(&[]), None);
    assert_eq!(Checks::default().violation(&file.warnings), None);
}

#[test]
fn every_rule_has_a_name_and_a_page() {
    assert_eq!(Rule::JSONArgsRecommended.name(), "JSONArgsRecommended");
    assert_eq!(
        Rule::JSONArgsRecommended.url(),
        "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
    );
    assert_eq!(Rule::WriteBelowVolume.url(), "");
    assert_eq!(Rule::ALL.len(), 23);
}
