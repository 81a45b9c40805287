//! Tests of typed instructions: every kind, every flag and every error.

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Command {
    let mut file = parse(&format!("FROM a\n{text}")).unwrap();
    file.stages[0].instructions.remove(0).command
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn stages() {
    let file = parse(
        "# syntax=x\nARG V=1 W\n# b builds\nFROM --platform=$P a:$V AS B\nRUN x\nfrom b as c-1.x_\nFROM scratch",
    )
    .unwrap();
    assert_eq!(file.directives.syntax.as_deref(), Some("x"));
    let names: Vec<_> = file.global_args[0].definitions.iter().map(|arg| &arg.name).collect();
    assert_eq!(names, ["V", "W"]);
    let stages: Vec<_> = file
        .stages
        .iter()
        .map(|stage| (stage.base.as_str(), stage.name.as_deref(), stage.instructions.len()))
        .collect();
    assert_eq!(stages, [("a:$V", Some("b"), 1), ("b", Some("c-1.x_"), 0), ("scratch", None, 0)]);
    assert_eq!(file.stages[0].platform.as_deref(), Some("$P"));
    assert_eq!(file.stages[0].description.as_deref(), Some("builds"));
    assert_eq!((file.stage("B"), file.stage("nope")), (Some(0), None));
}

#[test]
fn commands_in_both_forms() {
    for (text, expected) in [
        ("CMD a  b", CommandLine::Shell("a  b".into())),
        ("CMD", CommandLine::Shell(String::new())),
        ("CMD []", CommandLine::Exec(vec![])),
        ("CMD [\"a\", \"b c\"]", CommandLine::Exec(strings(&["a", "b c"]))),
        ("CMD ['a']", CommandLine::Shell("['a']".into())),
        ("CMD [\"a\"] b", CommandLine::Shell("[\"a\"] b".into())),
    ] {
        assert_eq!(one(text), Command::Cmd(expected.clone()), "{text}");
        let text = text.replacen("CMD", "entryPoint", 1);
        assert_eq!(one(&text), Command::Entrypoint(expected), "{text}");
    }
}

#[test]
fn pairs() {
    let pair =
        |key: &str, value: &str, legacy| KeyValue { key: key.into(), value: value.into(), legacy };
    for (text, expected) in [
        (
            "a=b c='d e' f=\"g\"",
            vec![pair("a", "b", false), pair("c", "'d e'", false), pair("f", "\"g\"", false)],
        ),
        ("a b  c=d", vec![pair("a", "b  c=d", true)]),
        ("a=", vec![pair("a", "", false)]),
        ("a=b\\ c d==", vec![pair("a", "b\\ c", false), pair("d", "=", false)]),
    ] {
        assert_eq!(one(&format!("ENV {text}")), Command::Env(expected.clone()), "{text}");
        assert_eq!(one(&format!("LABEL {text}")), Command::Label(expected), "{text}");
    }
}

#[test]
fn copies() {
    let Command::Copy(copy) = one(
        "COPY --from=0 --chown=1:2 --chmod=0644 --link --parents=true --exclude=a --exclude=b x y/* /z/",
    ) else {
        panic!("COPY")
    };
    assert_eq!(
        copy,
        Copy {
            sources: Sources {
                paths: strings(&["x", "y/*"]),
                files: vec![],
                destination: "/z/".into()
            },
            from: Some("0".into()),
            chown: Some("1:2".into()),
            chmod: Some("0644".into()),
            link: true,
            parents: true,
            exclude: strings(&["a", "b"]),
        }
    );
    let Command::Add(add) =
        one("ADD --keep-git-dir=false --checksum=sha256:x --unpack --link=false [\"a b\", \"c\"]")
    else {
        panic!("ADD")
    };
    assert_eq!(
        add,
        Add {
            sources: Sources { paths: strings(&["a b"]), files: vec![], destination: "c".into() },
            keep_git_dir: Some(false),
            checksum: Some("sha256:x".into()),
            unpack: Some(true),
            ..Add::default()
        }
    );
    let Command::Copy(copy) = one("COPY x <<A <<'B' /d/\na\nA\nb\nB\n") else { panic!("COPY") };
    let files: Vec<_> = copy
        .sources
        .files
        .iter()
        .map(|file| (file.name.as_str(), file.content.as_str(), file.expand))
        .collect();
    assert_eq!(files, [("A", "a\n", true), ("B", "b\n", false)]);
    assert_eq!(copy.sources.paths, ["x"]);
}

#[test]
fn runs() {
    let Command::Run(run) = one(
        "RUN --mount=type=cache,target=/c --mount=from=b,target=/x --network=none --security=insecure --device=vendor/x=y,required a b",
    ) else {
        panic!("RUN")
    };
    assert_eq!(run.line, CommandLine::Shell("a b".into()));
    let from: Vec<_> = run.mount_flags.iter().map(|flag| flag.from.as_deref()).collect();
    assert_eq!(from, [None, Some("b")]);
    assert_eq!((run.network, run.security), (RunNetwork::None, RunSecurity::Insecure));
    assert_eq!(run.devices, [RunDevice { name: "vendor/x=y".into(), required: true }]);
}

#[test]
fn health_checks() {
    let Command::Healthcheck(health) = one(
        "HEALTHCHECK --interval=1m --timeout=2s --start-period=3ms --start-interval=4s --retries=5 CMD a b",
    ) else {
        panic!("HEALTHCHECK")
    };
    assert_eq!(
        health,
        Healthcheck {
            test: strings(&["CMD-SHELL", "a b"]),
            interval_ns: 60_000_000_000,
            timeout_ns: 2_000_000_000,
            start_period_ns: 3_000_000,
            start_interval_ns: 4_000_000_000,
            retries: 5,
        }
    );
    for (text, test) in [
        ("HEALTHCHECK none", &["NONE"] as &[&str]),
        ("HEALTHCHECK cmd [\"a\", \"b\"]", &["CMD", "a", "b"]),
    ] {
        let expected = Healthcheck { test: strings(test), ..Healthcheck::default() };
        assert_eq!(one(text), Command::Healthcheck(expected), "{text}");
    }
}

#[test]
fn the_others() {
    let args = |arguments: &[(&str, Option<&str>)]| {
        Command::Arg(
            arguments
                .iter()
                .map(|(name, default)| ArgDefinition {
                    name: (*name).into(),
                    default: default.map(Into::into),
                    description: None,
                })
                .collect(),
        )
    };
    for (text, expected) in [
        ("ARG a", args(&[("a", None)])),
        ("ARG a=1 b c='x y'", args(&[("a", Some("1")), ("b", None), ("c", Some("'x y'"))])),
        ("EXPOSE 90 80/udp", Command::Expose(strings(&["80/udp", "90"]))),
        ("MAINTAINER A  <b>", Command::Maintainer("A  <b>".into())),
        ("SHELL [\"a\", \"-c\"]", Command::Shell(strings(&["a", "-c"]))),
        ("STOPSIGNAL 9", Command::Stopsignal("9".into())),
        ("USER a b", Command::User("a b".into())),
        ("VOLUME /a /b", Command::Volume(strings(&["/a", "/b"]))),
        ("VOLUME [\"/a b\"]", Command::Volume(strings(&["/a b"]))),
        ("WORKDIR /a b", Command::Workdir("/a b".into())),
        ("ONBUILD  RUN a  b", Command::Onbuild("RUN a  b".into())),
        ("onbuild copy <<E /x\na\nE\n", Command::Onbuild("copy <<E /x\na\nE".into())),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
}

#[test]
fn triggers_are_read_later() {
    let Command::Onbuild(text) = one("ONBUILD COPY <<E /x\na\nE\n") else { panic!("ONBUILD") };
    let Command::Copy(copy) = parse_instruction(&text).unwrap().command else { panic!("COPY") };
    assert_eq!(copy.sources.files[0].content, "a\n");
    for (text, message) in [
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"),
        ("FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("FOO", "unknown instruction: FOO (did you mean FROM?)"),
        ("", "file with no instructions"),
    ] {
        assert_eq!(parse_instruction(text).unwrap_err().to_string(), message, "{text:?}");
    }
}

#[test]
fn whole_files_that_are_refused() {
    for (text, message) in [
        ("", "the Dockerfile cannot be empty"),
        ("# x\n", "file with no instructions"),
        ("ARG a\n", "dockerfile contains no stages to build"),
        ("RUN a\nFROM b", "no build stage in current context"),
        (
            "FROM a\nFOO b",
            "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)",
        ),
        (
            "FROM a\nRUNN b",
            "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
        ),
        ("FROM", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        (
            "FROM a b",
            "dockerfile parse error on line 1: FROM requires either one or three arguments",
        ),
        (
            "FROM a is b",
            "dockerfile parse error on line 1: FROM requires either one or three arguments",
        ),
        (
            "FROM a AS 1b",
            "dockerfile parse error on line 1: invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
        ),
        (
            "FROM a AS b/c",
            "dockerfile parse error on line 1: invalid name for build stage: \"b/c\", name can't start with a number or contain symbols",
        ),
        ("FROM --plat=x a", "dockerfile parse error on line 1: unknown flag: --plat"),
        (
            "FROM --platfrm=x a",
            "dockerfile parse error on line 1: unknown flag: --platfrm (did you mean platform?)",
        ),
    ] {
        assert_eq!(error(text), message, "{text:?}");
    }
}

#[test]
fn instructions_that_are_refused() {
    for (text, message) in [
        (
            "COPY",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "ADD a",
            "ADD requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY a <<E\nE", "COPY cannot accept a heredoc as a destination"),
        ("COPY --form=a b c", "unknown flag: --form (did you mean from?)"),
        ("COPY --from b c", "missing a value on flag: --from"),
        ("COPY --link=maybe b c", "expecting boolean value for flag --link, not: maybe"),
        ("ADD --from=a b c", "unknown flag: --from"),
        ("COPY --from=a --from=b c d", "duplicate flag specified: --from"),
        ("CMD --x a", "unknown flag: --x"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV =a", "ENV names can not be blank"),
        ("LABEL", "LABEL requires at least one argument"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =a", "ARG names can not be blank"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME [\" \"]", "VOLUME specified can not be an empty string"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("USER", "USER requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("SHELL", "SHELL requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL sh -c", "SHELL requires the arguments to be in JSON form"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD MAINTAINER a", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK cmdd x", "Unknown type \"CMDD\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK --interval=1us CMD a", "Interval \"interval\" cannot be less than 1ms"),
        ("HEALTHCHECK --timeout=x CMD a", "time: invalid duration \"x\""),
        ("HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=a CMD a", "strconv.ParseInt: parsing \"a\": invalid syntax"),
        ("RUN --network=bridge a", "invalid network mode \"bridge\""),
        ("RUN --security=none a", "security \"none\" is not valid"),
        (
            "RUN --mount=from=$a,target=/x b",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("RUN --device=a,b c", "invalid field 'b' must be a key=value pair"),
        ("RUN --device=name=a,name=b c", "device name already set to a"),
    ] {
        let expected = format!("dockerfile parse error on line 2: {message}");
        assert_eq!(error(&format!("FROM a\n{text}")), expected, "{text:?}");
    }
}

#[test]
fn errors_know_their_lines_and_words() {
    let text = "FROM a\n# x\nRUN a\n  FOO b \\\n  c\n";
    let error = parse(text).unwrap_err();
    assert_eq!(
        error.render("Dockerfile", text),
        "Dockerfile:4\n--------------------\n   3 |     RUN a\n   4 | >>>   FOO b \\\n     |       ^^^\n   5 | >>>   c\n   6 |     \n--------------------\n"
    );
}

/// Dockerfiles that both parsers take: the plain language that they have in common.
fn plain_file() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "RUN [a-z ]{1,10}[a-z]",
        "RUN [a-z]{1,5} \\\\\n  [a-z]{1,5}",
        "COPY [a-z]{1,5} [a-z]{1,5} /[a-z]{1,5}/",
        "COPY --from=[a-z]{1,4} [a-z]{1,5} /[a-z]{1,5}",
        "ENV [a-z]{1,4}=[a-z]{1,4}",
        "CMD \\[\"[a-z]{1,4}\", \"[a-z]{1,4}\"\\]",
        "# [a-z ]{0,10}",
        "WORKDIR /[a-z]{1,5}",
        "USER [a-z]{1,5}",
        Just(String::new()),
    ];
    prop::collection::vec(line, 0..12)
        .prop_map(|lines| format!("FROM a AS b\n{}\n", lines.join("\n")))
}

proptest! {
    #[test]
    fn nothing_panics(text in "(FROM a|RUN|COPY|ENV|ARG|HEALTHCHECK|ONBUILD|--[a-z]*|=|[ \n\\\\\"'\\[\\],$]|CMD|<<E|E|[a-z0-9]){0,40}") {
        let _ = parse(&text);
        let _ = parse(&format!("FROM a\n{text}"));
        let _ = parse_instruction(&text);
    }

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        if let Err(error) = parse(&text) {
            let _ = error.render("Dockerfile", &text);
        }
    }

    /// A second opinion: the `parse-dockerfile` crate reads the same instructions out of plain files.
    #[test]
    fn plain_files_read_as_by_another_parser(text in plain_file()) {
        let ours = parse(&text).unwrap();
        let theirs = parse_dockerfile::parse(&text).unwrap();
        let names = |instruction: &parse_dockerfile::Instruction<'_>| match instruction {
            parse_dockerfile::Instruction::Run(_) => "RUN",
            parse_dockerfile::Instruction::Copy(_) => "COPY",
            parse_dockerfile::Instruction::Env(_) => "ENV",
            parse_dockerfile::Instruction::Cmd(_) => "CMD",
            parse_dockerfile::Instruction::Workdir(_) => "WORKDIR",
            parse_dockerfile::Instruction::User(_) => "USER",
            parse_dockerfile::Instruction::From(_) => "FROM",
            _ => "other",
        };
        let theirs: Vec<&str> = theirs.instructions.iter().skip(1).map(names).collect();
        let ours: Vec<&str> =
            ours.stages[0].instructions.iter().map(|instruction| instruction.command.name()).collect();
        prop_assert_eq!(ours, theirs);
    }
}
