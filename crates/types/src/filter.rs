//! `--filter name=value` and the API's `filters`: which objects a list shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ParseError;

/// Filter values by name; values of one name are alternatives unless the name says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Parses `--filter` values.
    ///
    /// # Errors
    /// `bad format of filter (expected name=value)`.
    pub fn parse<S: AsRef<str>>(raws: &[S]) -> Result<Self, ParseError> {
        let mut filters = Self::default();
        for raw in raws.iter().map(AsRef::as_ref).filter(|raw| !raw.is_empty()) {
            let Some((name, value)) = raw.split_once('=') else {
                return Err(ParseError::new("bad format of filter (expected name=value)"));
            };
            // `label!=x` is the filter `label!`.
            filters.insert(&name.trim().to_lowercase(), value.trim());
        }
        Ok(filters)
    }

    /// Parses the JSON of the API: `{"k":{"v":true}}` or the older `{"k":["v"]}`.
    ///
    /// # Errors
    /// `invalid filter` if it is neither.
    pub fn from_json(text: &str) -> Result<Self, ParseError> {
        let mut filters = Self::default();
        if text.is_empty() {
            return Ok(filters);
        }
        let wrong = || ParseError::new("invalid filter");
        let fields: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|_| wrong())?;
        for (name, values) in fields {
            match values {
                serde_json::Value::Object(values) => {
                    for (value, given) in &values {
                        if given.as_bool().ok_or_else(wrong)? {
                            filters.insert(&name, value);
                        }
                    }
                }
                serde_json::Value::Array(values) => {
                    for value in &values {
                        filters.insert(&name, value.as_str().ok_or_else(wrong)?);
                    }
                }
                _ => return Err(wrong()),
            }
        }
        Ok(filters)
    }

    /// Adds one value.
    pub fn insert(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }

    /// Whether there is no filter at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name has a value.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The values of a name.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// Refuses names that the list does not know.
    ///
    /// # Errors
    /// `invalid filter 'x'`.
    pub fn check_names(&self, known: &[&str]) -> Result<(), ParseError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) if name.is_empty() => Err(ParseError::new("invalid filter")),
            Some(name) => Err(ParseError::new(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// The one boolean value of a name, if the name is given.
    ///
    /// # Errors
    /// `invalid filter 'name=[x]'` for anything but `true`, `1`, `false`, `0` or more than one.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ParseError> {
        let values: Vec<&str> = self.values(name).collect();
        match values.as_slice() {
            [] => Ok(None),
            ["true" | "1"] => Ok(Some(true)),
            ["false" | "0"] => Ok(Some(false)),
            _ => Err(ParseError::new(format!("invalid filter '{name}=[{}]'", values.join(" ")))),
        }
    }

    /// Whether one of the values is exactly `text`; true if the name has no values.
    #[must_use]
    pub fn is_match(&self, name: &str, text: &str) -> bool {
        self.0.get(name).is_none_or(|values| values.contains(text))
    }

    /// Whether labels satisfy every `label` value and not every `label!` value.
    #[must_use]
    pub fn matches_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").all(has)
            && !(self.contains("label!") && self.values("label!").all(has))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn pairs_are_collected_by_name() {
        let filters =
            Filters::parse(&["status=running", "Status = exited", "label=a=b", "label!=c", ""])
                .unwrap();
        assert_eq!(filters.values("status").collect::<Vec<_>>(), ["exited", "running"]);
        assert_eq!(filters.values("label").collect::<Vec<_>>(), ["a=b"]);
        assert_eq!(filters.values("label!").collect::<Vec<_>>(), ["c"]);
        assert!(filters.is_match("status", "running") && !filters.is_match("status", "paused"));
        assert!(filters.is_match("name", "anything"));
        assert_eq!(
            Filters::parse(&["x"]).unwrap_err().to_string(),
            "bad format of filter (expected name=value)"
        );
        assert_eq!(
            filters.check_names(&["status", "label"]).unwrap_err().to_string(),
            "invalid filter 'label!'"
        );
    }

    #[test]
    fn both_json_forms_are_read() {
        let want = Filters::parse(&["name=a", "name=b"]).unwrap();
        assert_eq!(Filters::from_json(r#"{"name":{"a":true,"b":true,"c":false}}"#).unwrap(), want);
        assert_eq!(Filters::from_json(r#"{"name":["a","b"]}"#).unwrap(), want);
        assert_eq!(Filters::from_json("").unwrap(), Filters::default());
        for bad in ["x", "[]", r#"{"name":1}"#, r#"{"name":[1]}"#, r#"{"name":{"a":1}}"#] {
            assert_eq!(Filters::from_json(bad).unwrap_err().to_string(), "invalid filter", "{bad}");
        }
    }

    #[test]
    fn booleans_are_strict() {
        let boolean = |value: &str| {
            Filters::parse(&[format!("dangling={value}")]).unwrap().boolean("dangling")
        };
        assert_eq!(boolean("true"), Ok(Some(true)));
        assert_eq!(boolean("0"), Ok(Some(false)));
        assert_eq!(boolean("x").unwrap_err().to_string(), "invalid filter 'dangling=[x]'");
        assert_eq!(Filters::default().boolean("dangling"), Ok(None));
    }

    #[test]
    fn labels_must_all_match_and_not_all_be_excluded() {
        let found = labels(&[("a", "1"), ("b", "")]);
        for (raws, want) in [
            (vec![], true),
            (vec!["label=a"], true),
            (vec!["label=a=1", "label=b"], true),
            (vec!["label=a=2"], false),
            (vec!["label=a", "label=c"], false),
            (vec!["label!=c"], true),
            (vec!["label!=a"], false),
            (vec!["label!=a", "label!=c"], true),
        ] {
            assert_eq!(Filters::parse(&raws).unwrap().matches_labels(&found), want, "{raws:?}");
        }
        assert!(Filters::parse(&["label!=a"]).unwrap().matches_labels(&labels(&[])));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = Filters::parse(&[&text]);
            let _ = Filters::from_json(&text);
        }

        #[test]
        fn pairs_survive(name in "[a-z]{1,8}", value in "[!-~]{1,12}") {
            let filters = Filters::parse(&[format!("{name}={value}")]).unwrap();
            prop_assert_eq!(filters.values(&name).collect::<Vec<_>>(), vec![value.as_str()]);
        }
    }
}
