//! Dockerfiles, substitution, ignore patterns.

use orlop_dockerfile::{
    Above, Checks, Dockerfile, Error, Ignore, StageLints, detect_syntax, expand, expand_content,
    expand_with_names, expand_words, from_lints, glob, parse, parse_instruction, resolve_globals,
};

/// Variables that are there.
fn value(name: &str) -> Option<String> {
    match name {
        "EMPTY" => Some(String::new()),
        "A" => Some("a value".to_owned()),
        "PATH" => Some("/usr/local/lib/libx.so.1".to_owned()),
        name if name.len() == 1 => Some(name.to_lowercase()),
        _ => None,
    }
}

/// Parses a Dockerfile and does with it what a build does before its first step.
pub(super) fn dockerfile(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // Whatever it is, finding out which front end it wants must not fail.
    let _ = detect_syntax(&text);
    let _ = parse_instruction(&text);
    match parse(&text) {
        Ok(file) => carry_out(&file, &text),
        Err(error) => show(&error, &text),
    }
}

fn show(error: &Error, text: &str) {
    let said = error.to_string();
    assert!(!said.is_empty(), "an error without a reason");
    if let Some(lines) = error.lines() {
        assert!(lines.first <= lines.last, "{said}: lines {lines:?}");
    }
    let _ = error.render("Dockerfile", text);
}

fn carry_out(file: &Dockerfile, text: &str) {
    assert!(!file.stages.is_empty(), "a Dockerfile without a stage");
    let escape = file.directives.escape;
    let predefined = [("TARGETARCH".to_owned(), "amd64".to_owned())];
    let checks = Checks::of(file).unwrap_or_default();
    match resolve_globals(file, &predefined, &value) {
        Ok(globals) => drop(from_lints(file, &predefined, &globals, &checks)),
        Err(error) => show(&error, text),
    }
    let _ = checks.violation(&file.warnings);
    let ignore = Ignore::parse("*.md\n!README.md\n").ok();
    for stage in &file.stages {
        let _ = expand(&stage.base, escape, &value);
        let mut lints = StageLints::new(&checks, false);
        for instruction in &stage.instructions {
            let _ = instruction.step_text(escape, &value);
            match instruction.expanded(escape, &value) {
                Ok(expanded) => {
                    drop(lints.instruction(&expanded, &["A".to_owned()], ignore.as_ref()));
                }
                Err(error) => show(&error, text),
            }
        }
    }
}

/// Expands a word in every way.
pub(super) fn substitution(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for escape in ['\\', '`'] {
        let plain = expand(&text, escape, &value);
        let named = expand_with_names(&text, escape, &value);
        match (plain, named) {
            (Ok(plain), Ok(named)) => assert_eq!(plain, named.text),
            (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
            (one, other) => panic!("two ways, two answers: {one:?} and {other:?}"),
        }
        if let Ok(words) = expand_words(&text, escape, &value) {
            assert!(words.len() <= text.len() * 64 + 1, "{} words", words.len());
        }
    }
    let _ = expand_content(&text, &value);
}

/// Reads patterns (up to the first NUL) and asks about the paths behind them.
pub(super) fn ignore(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (patterns, paths) = text.split_once('\0').unwrap_or((&text, "a/b.txt\0d/e/f\0.git"));
    let ignore = Ignore::parse(patterns);
    for path in paths.split('\0').filter(|path| !path.is_empty()) {
        let _ = glob::matches(patterns, path);
        let Ok(ignore) = &ignore else { continue };
        ask(ignore, path);
    }
    let lines: Vec<&str> = patterns.lines().collect();
    drop(Ignore::new(&lines));
}

/// A walk from directory to directory comes to the same as asking about the path.
fn ask(ignore: &Ignore, path: &str) {
    let mut above = Above::default();
    let mut answer = false;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let prefixes: Vec<&str> = ends.filter_map(|end| path.get(..end)).collect();
    for prefix in &prefixes {
        (answer, above) = ignore.ignored_below(prefix, &above);
    }
    let asked = ignore.ignored(path);
    assert_eq!(asked, answer, "{:?}: {path:?}", ignore.patterns().collect::<Vec<_>>());
    if asked {
        return;
    }
    // A walker skips a directory that is left out unless something below may be in.
    for directory in &prefixes[..prefixes.len() - 1] {
        if !directory.is_empty() && ignore.ignored(directory) {
            assert!(
                ignore.may_hold_included(directory),
                "{:?}: {path:?} is in, but {directory:?} would be skipped",
                ignore.patterns().collect::<Vec<_>>()
            );
        }
    }
}
