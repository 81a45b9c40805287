//! The exec form: a JSON array of strings.

use crate::error::Error;

/// Reads a JSON array of strings; `None` where the text is no JSON array, and so is meant as text.
///
/// # Errors
/// A valid JSON array that holds something else than strings.
pub(crate) fn strings(text: &str) -> Result<Option<Vec<String>>, Error> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let mut out = Vec::with_capacity(values.len());
    for value in values {
        let serde_json::Value::String(word) = value else {
            return Err(Error::new(
                "when using JSON array syntax, arrays must be comprised of strings only",
            )
            .at_word(text.trim_end()));
        };
        out.push(word);
    }
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arrays_of_strings_are_exec_form() {
        let words = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect());
        for (text, expected) in [
            ("[\"a\", \"b c\"]", words(&["a", "b c"])),
            (" [] ", words(&[])),
            ("[\"\\u00e9\\n\"]", words(&["é\n"])),
            ("['a']", None),
            ("[\"a\"", None),
            ("[\"a\"] x", None),
            ("[\"a\",]", None),
            ("a", None),
            ("\"a\"", None),
        ] {
            assert_eq!(strings(text), Ok(expected), "{text}");
        }
        for text in ["[1]", "[\"a\", null]", "[[\"a\"]]"] {
            assert_eq!(
                strings(text).unwrap_err().to_string(),
                "when using JSON array syntax, arrays must be comprised of strings only",
                "{text}"
            );
        }
    }
}
