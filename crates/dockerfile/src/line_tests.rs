//! Tests of line splitting: comments, continued lines, directives, here-documents.

use proptest::prelude::*;

use super::*;

fn texts(file: &str) -> Vec<String> {
    split(file).unwrap().lines.into_iter().map(|line| line.statement.text).collect()
}

fn error(file: &str) -> (String, Option<(usize, usize)>) {
    let error = split(file).unwrap_err();
    (error.to_string(), error.lines().map(|lines| (lines.first, lines.last)))
}

#[test]
fn lines_are_joined() {
    for (file, expected) in [
        ("FROM a\r\nRUN b\r\n", &["FROM a", "RUN b"] as &[&str]),
        ("\u{feff}FROM a", &["FROM a"]),
        ("  \n\t FROM a\n\n", &["FROM a"]),
        ("RUN a \\\n  b\\\nc", &["RUN a   bc"]),
        ("RUN a \\  \t\nb", &["RUN a b"]),
        ("RUN a \\\n# gone\n  # gone, too\nb", &["RUN a b"]),
        ("RUN a # stays\nRUN b", &["RUN a # stays", "RUN b"]),
        ("RUN a \\\n\n  \nb", &["RUN a b"]),
        ("RUN a\\\\\nRUN b", &["RUN a\\\\", "RUN b"]),
        ("RUN a \\", &["RUN a"]),
        ("# escape=`\nRUN a `\nb \\\nRUN c", &["RUN a b \\", "RUN c"]),
        ("RUN a \\\n#\\\nb", &["RUN a b"]),
    ] {
        assert_eq!(texts(file), expected, "{file:?}");
    }
}

#[test]
fn line_numbers_and_comments_are_kept() {
    let found = split("# one\n\nFROM a\n# two\n# three\nRUN a \\\n\n  b\n#\nRUN c").unwrap();
    let seen: Vec<_> = found
        .lines
        .iter()
        .map(|line| (line.lines.first, line.lines.last, line.comments.join("|")))
        .collect();
    assert_eq!(seen, [(3, 3, "one".into()), (6, 8, "two|three".into()), (10, 10, String::new())]);
    assert_eq!(found.empty_continuations, [8]);
}

#[test]
fn directives_stand_at_the_top_only() {
    let directives = |file: &str| split(file).unwrap().directives;
    let found = directives("# Syntax = docker/dockerfile:1 x\n#check=skip=all\n# escape=`\nFROM a");
    assert_eq!(found.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(found.check.as_deref(), Some("skip=all"));
    assert_eq!(found.escape, '`');
    for file in ["# text\n# escape=`\nFROM a", "\n# escape=`\nFROM a", "# x=y\n# escape=`\nFROM a"]
    {
        assert_eq!(directives(file), Directives::default(), "{file:?}");
    }
    assert_eq!(
        directives("#!/bin/x\n# check=error=true\nFROM a").check.as_deref(),
        Some("error=true")
    );
    assert_eq!(
        error("# escape=\\\n# escape=`\nFROM a"),
        ("only one escape parser directive can be used".into(), Some((2, 2)))
    );
    assert_eq!(
        error("# escape=x\nFROM a"),
        ("invalid escape token 'x' does not match ` or \\".into(), Some((1, 1)))
    );
}

#[test]
fn here_documents_are_taken_out_of_the_lines() {
    let docs = |file: &str| -> Vec<(String, String)> {
        split(file)
            .unwrap()
            .lines
            .into_iter()
            .flat_map(|line| line.heredocs)
            .map(|doc| (doc.name, doc.content))
            .collect()
    };
    let pair = |name: &str, content: &str| (name.to_owned(), content.to_owned());
    for (file, expected) in [
        ("RUN <<EOF\na\n# b\\\nEOF\nRUN c", vec![pair("EOF", "a\n# b\\\n")]),
        ("RUN cat <<A <<B\na\nA\nb\nB\n", vec![pair("A", "a\n"), pair("B", "b\n")]),
        ("RUN cat <<-E\n\ta\n\tE\n", vec![pair("E", "\ta\n")]),
        ("COPY <<\"A B\" /x\r\nq\r\nA B\r\n", vec![pair("A B", "q\r\n")]),
        ("ONBUILD RUN <<E\nx\nE\n", vec![pair("E", "x\n")]),
        ("RUN <<E\nE", vec![pair("E", "")]),
        ("CMD cat <<E\n", vec![]),
        ("RUN [\"cat\", \"<<E\"]\n", vec![]),
        ("RUN a \\\n <<E\nx\nE\n", vec![pair("E", "x\n")]),
        ("ENV A=<<E\n", vec![]),
    ] {
        assert_eq!(docs(file), expected, "{file:?}");
    }
    let found = split("FROM a\nRUN <<E\n1\n2\nE\nRUN b").unwrap();
    let lines: Vec<_> =
        found.lines.iter().map(|line| (line.lines.first, line.lines.last)).collect();
    assert_eq!(lines, [(1, 1), (2, 5), (6, 6)]);
    assert_eq!(error("FROM a\nRUN <<EOF\na\n"), ("unterminated heredoc".into(), Some((2, 3))));
}

#[test]
fn files_without_instructions_and_endless_lines() {
    assert_eq!(error("# x\n\n"), ("file with no instructions".into(), Some((2, 2))));
    assert!(split(&format!("RUN {}", "a".repeat(65_531))).is_ok());
    assert_eq!(
        error(&format!("FROM a\nRUN {}", "a".repeat(65_532))),
        ("dockerfile line greater than max allowed size of 65535".into(), Some((2, 2)))
    );
}

#[test]
fn what_is_wrong_with_words_is_found_while_splitting() {
    for (file, message) in [
        ("FROM a\nENV x", "ENV must have two arguments"),
        (
            "FROM a\nENV a=b c",
            "Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        (
            "FROM a\nRUN [\"a\", 1]",
            "when using JSON array syntax, arrays must be comprised of strings only",
        ),
    ] {
        assert_eq!(error(file), (message.into(), Some((2, 2))), "{file:?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(file in "([A-Z]{2,4}|[ \\\\`#\n\r\t\"'\\[\\]<=-]|<<E|E|a){0,40}") {
        let _ = split(&file);
    }

    #[test]
    fn any_text_is_survived(file in any::<String>()) {
        let _ = split(&file);
    }

    #[test]
    fn breaking_a_line_changes_nothing(words in prop::collection::vec("[a-z]{1,5}", 1..8)) {
        let one = format!("RUN {}", words.join(" "));
        let many = format!("RUN {}", words.join(" \\\n# comment\n"));
        prop_assert_eq!(texts(&many), texts(&one));
    }
}
