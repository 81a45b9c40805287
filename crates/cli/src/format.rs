//! `--format`: lists as tables, JSON or templates; documents as indented JSON or templates.

use orlop_template::{ListTemplate, Template};

use crate::omitted;
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// How a list is shown when nothing else is asked for.
pub struct ListStyle<'a> {
    /// The template behind the word `table`.
    pub table: &'a str,
    /// The template for `-q`.
    pub quiet: &'a str,
    /// Headings by field.
    pub headings: &'a [(&'a str, &'a str)],
}

impl ListStyle<'_> {
    /// Renders rows by `--format` and `-q`.
    pub fn render(
        &self,
        format: Option<&str>,
        quiet: bool,
        rows: &[Value],
    ) -> Result<String, Failure> {
        let template = match format.map(str::trim) {
            None | Some("" | "table") if quiet => self.quiet.to_owned(),
            None | Some("" | "table") => format!("table {}", self.table),
            Some("json") => return json_lines(rows),
            Some(template) => template.to_owned(),
        };
        let headings: Map<String, Value> = self
            .headings
            .iter()
            .map(|(field, heading)| ((*field).to_owned(), json!(heading)))
            .collect();
        Ok(ListTemplate::parse(&template)?.render(&Value::Object(headings), rows)?)
    }
}

/// One compact object for each line.
fn json_lines(rows: &[Value]) -> Result<String, Failure> {
    Ok(rows.iter().map(|row| format!("{row}\n")).collect())
}

/// Exit code of `inspect` for what is no template, as in Docker.
const BAD_TEMPLATE: i32 = 64;

/// Renders the documents of `inspect`: one JSON array, or a line for each.
pub fn documents(format: Option<&str>, documents: &[Value]) -> Result<String, Failure> {
    match format.map(str::trim) {
        None | Some("") => Ok(pretty(&Value::Array(documents.to_vec())) + "\n"),
        Some("json") => json_lines(documents),
        Some(template) => {
            let template = Template::parse(template)
                .map_err(|error| Failure::from(error).with_code(BAD_TEMPLATE))?;
            let mut text = String::new();
            for document in documents {
                let rendered = match template.render(document) {
                    Err(orlop_template::Error::MissingKey(_)) => {
                        template.render(&omitted::complete(document))
                    }
                    other => other,
                };
                text.push_str(&rendered?);
                text.push('\n');
            }
            Ok(text)
        }
    }
}

/// JSON indented by four spaces, as Docker's `inspect` prints it.
pub fn pretty(value: &Value) -> String {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    // A JSON value always serialises, and to UTF-8.
    let written = value.serialize(&mut serializer);
    debug_assert!(written.is_ok());
    String::from_utf8(bytes).unwrap_or_default()
}

/// Cuts a text after so many characters, the last one an ellipsis.
pub fn ellipsis(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max_chars.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn inspect_is_an_array_indented_by_four() {
        let document = json!({"Id": "a", "List": [1], "Empty": [], "None": {}});
        assert_eq!(
            documents(None, std::slice::from_ref(&document)).unwrap(),
            "[\n    {\n        \"Id\": \"a\",\n        \"List\": [\n            1\n        ],\n        \"Empty\": [],\n        \"None\": {}\n    }\n]\n"
        );
        assert_eq!(documents(None, &[]).unwrap(), "[]\n");
        assert_eq!(
            documents(Some("json"), std::slice::from_ref(&document)).unwrap(),
            format!("{document}\n")
        );
        assert_eq!(documents(Some("{{.Id}}"), &[document.clone(), document]).unwrap(), "a\na\n");
    }

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(ellipsis("0123456789", 10), "0123456789");
        assert_eq!(ellipsis("0123456789a", 10), "012345678…");
    }
}
