//! The `--flags` of an instruction: which there are, and their values.

use crate::error::Error;
use crate::suggest::{Case, with_suggestion};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// `true`, `false` or nothing.
    Bool,
    /// One value.
    Value,
    /// A value each time it is given.
    Values,
}

/// The flags that an instruction was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    given: Vec<(String, String)>,
}

impl Flags {
    /// Reads flags against those that the instruction knows.
    ///
    /// # Errors
    /// Unknown or repeated flags, and values of the wrong kind.
    pub(crate) fn parse(written: &[String], known: &[(&str, Takes)]) -> Result<Self, Error> {
        let mut given: Vec<(String, String)> = Vec::new();
        for flag in written {
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag.as_str(), None),
            };
            let key = name.strip_prefix("--").unwrap_or(name);
            let fail = |text: String| Err(Error::new(text).at_word(name));
            let Some((_, takes)) = known.iter().find(|(known, _)| *known == key) else {
                let names = known.iter().map(|(known, _)| *known);
                let text = format!("unknown flag: {name}");
                return fail(with_suggestion(text, key, names, Case::Sensitive));
            };
            if *takes != Takes::Values && given.iter().any(|(other, _)| other == key) {
                return fail(format!("duplicate flag specified: {name}"));
            }
            let value = match (takes, value) {
                (Takes::Bool, Some("")) | (Takes::Value | Takes::Values, None) => {
                    return fail(format!("missing a value on flag: {name}"));
                }
                (Takes::Bool, value) => match value.unwrap_or("true").to_lowercase().as_str() {
                    word @ ("true" | "false") => word.to_owned(),
                    _ => {
                        let value = value.unwrap_or_default();
                        return fail(format!(
                            "expecting boolean value for flag {name}, not: {value}"
                        ));
                    }
                },
                (Takes::Value | Takes::Values, Some(value)) => value.to_owned(),
            };
            given.push((key.to_owned(), value));
        }
        Ok(Self { given })
    }

    /// The value of a flag; an empty one is as if it was not given.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.values(name).pop().filter(|value| !value.is_empty())
    }

    /// All values of a flag.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.given.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether a switch was given, and how.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.value(name).map(|value| value == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [(&str, Takes); 3] =
        [("link", Takes::Bool), ("from", Takes::Value), ("exclude", Takes::Values)];

    fn parse(flags: &[&str]) -> Result<Flags, String> {
        let written: Vec<String> = flags.iter().map(ToString::to_string).collect();
        Flags::parse(&written, &KNOWN).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read_by_kind() {
        let flags = parse(&["--link", "--from=a=b", "--exclude=x", "--exclude="]).unwrap();
        assert_eq!(flags.switch("link"), Some(true));
        assert_eq!(flags.value("from").as_deref(), Some("a=b"));
        assert_eq!(flags.values("exclude"), ["x", ""]);
        assert_eq!(parse(&["--link=FALSE"]).unwrap().switch("link"), Some(false));
        assert_eq!(parse(&["--from="]).unwrap().value("from"), None);
    }

    #[test]
    fn what_is_wrong_is_said_as_buildkit_does() {
        for (flags, message) in [
            (&["--form=a"] as &[&str], "unknown flag: --form (did you mean from?)"),
            (&["--zzzzz"], "unknown flag: --zzzzz"),
            (&["--from=a", "--from=b"], "duplicate flag specified: --from"),
            (&["--from"], "missing a value on flag: --from"),
            (&["--exclude"], "missing a value on flag: --exclude"),
            (&["--link="], "missing a value on flag: --link"),
            (&["--link=yes"], "expecting boolean value for flag --link, not: yes"),
        ] {
            assert_eq!(parse(flags).unwrap_err(), message);
        }
    }
}
