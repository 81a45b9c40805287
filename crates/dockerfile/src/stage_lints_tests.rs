//! Tests of the checks that follow a stage.

use super::*;
use crate::parse::parse;

fn found(text: &str, ignore: &str) -> Vec<String> {
    let file = parse(text).unwrap();
    let ignore = Ignore::parse(ignore).unwrap();
    let mut lints = StageLints::new(&Checks::of(&file).unwrap(), false);
    let names = ["PATH".to_owned(), "VERSION".to_owned()];
    let lookup = |name: &str| names.contains(&name.to_owned()).then(|| "1".to_owned());
    let mut out = Vec::new();
    for instruction in &file.stages[0].instructions {
        let expanded = instruction.expanded('\\', &lookup).unwrap();
        out.extend(lints.instruction(&expanded, &names, Some(&ignore)));
    }
    out.iter().map(Lint::short).collect()
}

#[test]
fn each_rule_finds_what_it_is_for() {
    for (text, expected) in [
        ("CMD [\"a\"]\nENTRYPOINT [\"b\"]\nWORKDIR /x\nWORKDIR y\nENV A=1", &[] as &[&str]),
        (
            "CMD a",
            &[
                "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)",
            ],
        ),
        ("SHELL [\"sh\"]\nentrypoint a", &[]),
        (
            "WORKDIR x\nWORKDIR y",
            &[
                "WorkdirRelativePath: Relative workdir \"x\" can have unexpected results if the base image changes (line 2)",
            ],
        ),
        (
            "ENV A=$VERSIN",
            &[
                "UndefinedVar: Usage of undefined variable '$VERSIN' (did you mean $VERSION?) (line 2)",
            ],
        ),
        ("ARG Q\nENV A=$Q$PATH", &[]),
        (
            "CMD [\"a\"]\nCMD [\"b\"]",
            &[
                "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 2)",
            ],
        ),
        (
            "ENV a b\nLABEL c d",
            &[
                "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
                "LegacyKeyValueFormat: \"LABEL key=value\" should be used instead of legacy \"LABEL key value\" format (line 3)",
            ],
        ),
        (
            "ENV API_KEY=x\nARG TOKEN\nENV PUBLIC_KEY=x KEYS=x PASSWORD_FILE=x",
            &[
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"API_KEY\") (line 2)",
                "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"TOKEN\") (line 3)",
            ],
        ),
        (
            "COPY a /gone/x b /d/\nCOPY --from=s gone /x\nADD ../gone https://gone/x /d/",
            &[
                "CopyIgnoredFile: Attempting to Copy file \"gone/x\" that is excluded by .dockerignore (line 2)",
                "CopyIgnoredFile: Attempting to Add file \"gone\" that is excluded by .dockerignore (line 4)",
            ],
        ),
        (
            "EXPOSE 80/TCP 127.0.0.1:1:2",
            &[
                "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:1:2' (line 2)",
                "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)",
            ],
        ),
        (
            "VOLUME /data\nRUN echo > /data/x\nRUN echo > /database\nRUN ls /my/data",
            &[
                "WriteBelowVolume: RUN uses '/data' after VOLUME '/data': what it writes there is kept here, but docker's classic builder drops it; put the VOLUME after it (line 3)",
            ],
        ),
        ("# check=skip=all\nCMD a", &[]),
    ] {
        assert_eq!(found(&format!("FROM a\n{text}"), "gone\n"), expected, "{text}");
    }
}

#[test]
fn patterns_that_take_back_are_not_judged() {
    assert_eq!(found("FROM a\nCOPY gone /x", "gone\n!gone/a\n"), Vec::<String>::new());
    assert_eq!(
        found("FROM a\nCOPY . /x", "*\n"),
        [
            "CopyIgnoredFile: Attempting to Copy file \".\" that is excluded by .dockerignore (line 2)"
        ]
    );
    assert_eq!(found("FROM a\nCOPY . /x", "a\n"), Vec::<String>::new());
}

#[test]
fn a_stage_on_a_stage_starts_counting_anew_but_knows_its_args() {
    let file = parse(
        "FROM a AS b\nARG Q\nWORKDIR /x\nCMD [\"x\"]\nFROM b\nWORKDIR y\nCMD [\"y\"]\nENV A=$Q",
    )
    .unwrap();
    let mut lints = StageLints::new(&Checks::default(), false);
    let mut all = Vec::new();
    for stage in &file.stages {
        lints = lints.child();
        for instruction in &stage.instructions {
            let expanded = instruction.expanded('\\', &|_: &str| None).unwrap();
            all.extend(lints.instruction(&expanded, &[], None));
        }
    }
    assert_eq!(all, []);
}
