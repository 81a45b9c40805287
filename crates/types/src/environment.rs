//! Environment variables and labels of the command line: `-e`, `--env-file`, `-l`.
//!
//! The caller's own environment is passed in as a function, so that nothing here reads it.

use std::collections::BTreeMap;

use crate::error::ParseError;

/// Resolves one `-e` value: `K=V` as it is, `K` with the caller's value.
///
/// A `K` that the caller does not have stays `K`: the engine then takes the image's `K` away.
///
/// # Errors
/// `invalid environment variable: =x`.
pub fn parse_env(raw: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, ParseError> {
    let (name, value) = match raw.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (raw, None),
    };
    if name.is_empty() {
        return Err(ParseError::new(format!("invalid environment variable: {raw}")));
    }
    Ok(match (value, lookup(name)) {
        (None, Some(value)) => format!("{name}={value}"),
        _ => raw.to_owned(),
    })
}

/// Reads the text of an `--env-file`: `K=V` lines verbatim, `K` with the caller's value or not at all.
///
/// # Errors
/// The reason and the line, without the file's name.
pub fn parse_env_file(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, ParseError> {
    let mut entries = Vec::new();
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.contains(char::is_whitespace) {
            return Err(ParseError::new(format!("variable '{name}' contains whitespaces")));
        }
        if name.is_empty() {
            return Err(ParseError::new(format!("no variable name on line '{line}'")));
        }
        match value {
            Some(_) => entries.push(line.to_owned()),
            None => entries.extend(lookup(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(entries)
}

/// Splits one `-l` value; a label without `=` has the empty value.
///
/// # Errors
/// `invalid label '=x': empty name`.
pub fn parse_label(raw: &str) -> Result<(String, String), ParseError> {
    let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
    let bare = name.trim_start_matches([' ', '\t']);
    if bare.is_empty() {
        return Err(ParseError::new(format!("invalid label '{raw}': empty name")));
    }
    if bare.contains([' ', '\t']) {
        return Err(ParseError::new(format!("label '{bare}' contains whitespaces")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads the text of a `--label-file`; its form is that of an environment file. Docker takes a name
/// without a value from the caller's environment here, too, so that `lookup` decides about it.
///
/// # Errors
/// As [`parse_env_file`].
pub fn parse_label_file(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, ParseError> {
    let entries = parse_env_file(text, lookup)?;
    entries.iter().map(|entry| parse_label(entry)).collect()
}

/// Sets `NAME=value` in a list, in place if the name is there, else at the end.
pub fn set_env(entries: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    match entries
        .iter_mut()
        .find(|other| other.split_once('=').map_or(other.as_str(), |(key, _)| key) == name)
    {
        Some(other) => *other = entry,
        None => entries.push(entry),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn variables_without_a_value_come_from_the_caller() {
        for (raw, want) in
            [("A=b", "A=b"), ("A=", "A="), ("A=b=c", "A=b=c"), ("HOME", "HOME=/root"), ("NO", "NO")]
        {
            assert_eq!(parse_env(raw, lookup).unwrap(), want);
        }
        for (raw, want) in
            [("", "invalid environment variable: "), ("=x", "invalid environment variable: =x")]
        {
            assert_eq!(parse_env(raw, lookup).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn environment_files_are_verbatim() {
        let text = "\u{feff}A=1\n# note\n\n  B=\"two\" # not a comment\r\nHOME\nNO\nC=\n";
        assert_eq!(
            parse_env_file(text, lookup).unwrap(),
            ["A=1", "B=\"two\" # not a comment", "HOME=/root", "C="]
        );
        for (text, want) in [
            ("X Y=1", "variable 'X Y' contains whitespaces"),
            ("B = x", "variable 'B ' contains whitespaces"),
            ("=z", "no variable name on line '=z'"),
        ] {
            assert_eq!(parse_env_file(text, lookup).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn labels_may_have_no_value() {
        assert_eq!(parse_label("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_label("a"), Ok(("a".into(), String::new())));
        let error = parse_label("a b=c").unwrap_err().to_string();
        assert_eq!(error, "label 'a b' contains whitespaces");
        assert_eq!(parse_label("=x").unwrap_err().to_string(), "invalid label '=x': empty name");
        assert_eq!(
            parse_label_file("a=1\nb\nHOME\n", lookup).unwrap(),
            [("a".to_owned(), "1".to_owned()), ("HOME".to_owned(), "/root".to_owned())].into()
        );
    }

    #[test]
    fn setting_replaces_in_place() {
        let mut entries = vec!["A=1".to_owned(), "B=2".to_owned()];
        set_env(&mut entries, "A", "3");
        set_env(&mut entries, "C", "4");
        assert_eq!(entries, ["A=3", "B=2", "C=4"]);
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|\n|\r|=|#){0,60}") {
            let _ = parse_env(&text, lookup);
            let _ = parse_env_file(&text, lookup);
            let _ = parse_label_file(&text, lookup);
        }

        #[test]
        fn files_of_assignments_round_trip(
            entries in prop::collection::vec("[A-Z_]{1,6}=[!-~]{0,10}", 0..8)
        ) {
            prop_assert_eq!(parse_env_file(&entries.join("\n"), lookup).unwrap(), entries);
        }
    }
}
