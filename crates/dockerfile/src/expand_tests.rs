//! Tests of which parts of instructions take variables, of scripts and of step names.

use super::*;
use crate::parse::parse_instruction;

fn environment(name: &str) -> Option<String> {
    matches!(name, "V" | "HOME").then(|| format!("{}-value", name.to_lowercase()))
}

fn expanded(text: &str) -> Command {
    parse_instruction(text).unwrap().expanded('\\', &environment).unwrap().instruction.command
}

#[test]
fn these_parts_take_variables() {
    let Command::Copy(copy) =
        expanded("COPY --from=s --chown=$V --chmod=$V --exclude=$V $V a$V $V/")
    else {
        panic!("COPY")
    };
    assert_eq!(copy.chown.as_deref(), Some("v-value"));
    assert_eq!(copy.chmod.as_deref(), Some("v-value"));
    assert_eq!(copy.exclude, ["$V"]);
    assert_eq!(copy.sources.paths, ["v-value", "av-value"]);
    assert_eq!(copy.sources.destination, "v-value/");
    let Command::Add(add) = expanded("ADD --checksum=$V [\"$V\", \"b c\"]") else { panic!("ADD") };
    assert_eq!(add.checksum.as_deref(), Some("v-value"));
    assert_eq!(add.sources.paths, ["v-value"]);
    let Command::Env(env) = expanded("ENV A=$V B=\"x $V\" C='$V' $V=d") else { panic!("ENV") };
    let pairs: Vec<_> = env.iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
    assert_eq!(pairs, ["A=v-value", "B=x v-value", "C=$V", "v-value=d"]);
    assert_eq!(expanded("USER $V:x"), Command::User("v-value:x".into()));
    assert_eq!(expanded("WORKDIR /$V"), Command::Workdir("/v-value".into()));
    assert_eq!(expanded("VOLUME $V /b"), Command::Volume(vec!["v-value".into(), "/b".into()]));
    assert_eq!(expanded("EXPOSE 1$none 2"), Command::Expose(vec!["1".into(), "2".into()]));
}

#[test]
fn these_do_not() {
    for text in [
        "CMD $V",
        "ENTRYPOINT [\"$V\"]",
        "SHELL [\"$V\"]",
        "HEALTHCHECK CMD $V",
        "MAINTAINER $V",
        "ONBUILD RUN $V",
        "RUN echo $V",
        "ARG a=$V",
    ] {
        assert_eq!(expanded(text), parse_instruction(text).unwrap().command, "{text}");
    }
}

#[test]
fn mounts_are_read_when_expanded() {
    let Command::Run(run) = expanded("RUN --mount=type=cache,target=/$V,id=${none:-d} x") else {
        panic!("RUN")
    };
    assert_eq!((run.mounts[0].target.as_str(), run.mounts[0].id.as_str()), ("/v-value", "d"));
    let bad = parse_instruction("\n\nRUN --mount=type=$V,target=/x y").unwrap();
    let error = bad.expanded('\\', &environment).unwrap_err();
    assert_eq!(error.to_string(), "unsupported mount type \"v-value\"");
    assert_eq!(error.lines().map(|lines| lines.first), Some(3));
    assert_eq!(error.word(), Some("type=$V"));
}

#[test]
fn what_only_shows_once_expanded() {
    let error = |text: &str| {
        let instruction = parse_instruction(text).unwrap();
        instruction.expanded('\\', &environment).unwrap_err().to_string()
    };
    assert_eq!(error("VOLUME $none"), "VOLUME specified can not be an empty string");
    assert_eq!(error("STOPSIGNAL $V"), "invalid signal: v-value");
    assert_eq!(error("USER ${none:?who?}"), "failed to process \"${none:?who?}\": none: who?");
    let names = parse_instruction("ENV a=$x b=$V c=$y").unwrap();
    let names = names.expanded('\\', &environment).unwrap().unmatched;
    assert_eq!(Vec::from_iter(names), ["x", "y"]);
}

#[test]
fn content_of_inline_files() {
    let content = |text: &str| match expanded(text) {
        Command::Copy(copy) => copy.sources.files[0].content.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(content("COPY <<E /x\nit's \"$V\" \\$V\nE\n"), "it's \"v-value\" $V\n");
    assert_eq!(content("COPY <<'E' /x\n$V\nE\n"), "$V\n");
    assert_eq!(content("COPY <<-E /x\n\t\t$V\n\tE\n"), "v-value\n");
}

#[test]
fn scripts() {
    let script = |text: &str| match parse_instruction(text).unwrap().command {
        Command::Run(run) => run.script(),
        other => panic!("{other:?}"),
    };
    for (text, expected) in [
        ("RUN a $b", Script::Shell("a $b".into())),
        ("RUN [\"a\", \"b c\"]", Script::Exec(vec!["a".into(), "b c".into()])),
        ("RUN <<E\na\nb\nE\n", Script::Shell("a\nb\n".into())),
        ("RUN <<-E\n\ta\n\tE\n", Script::Shell("a\n".into())),
        (
            "RUN <<E\n#!/bin/x\na\nE\n",
            Script::File { name: "E".into(), content: "#!/bin/x\na\n".into() },
        ),
        ("RUN cat <<A <<B\na\nA\nb\nB\n", Script::Shell("cat <<A <<B\na\nA\nb\nB".into())),
        ("RUN <<E sh\na\nE\n", Script::Shell("<<E sh\na\nE".into())),
        ("RUN", Script::Shell(String::new())),
    ] {
        assert_eq!(script(text), expected, "{text}");
    }
}

#[test]
fn step_names() {
    for (text, expected) in [
        ("run echo \"$V\" $none", "RUN echo \"v-value\" $none"),
        ("COPY  $V  \"b\"", "COPY  v-value  b"),
        ("WORKDIR /$none", "WORKDIR /"),
        ("RUN <<E\necho a\necho b\nE\n", "RUN <<E (echo a...)"),
        ("RUN echo it's", "RUN echo it's"),
    ] {
        let instruction = parse_instruction(text).unwrap();
        assert_eq!(instruction.step_text('\\', &environment), expected, "{text}");
    }
}
