//! `--format`: lists as tables, JSON or templates; documents as indented JSON or templates.

use std::io::Write;

use orlop_template::{Error, ListTemplate, Template, escaped_json};
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
    /// Go's name of the type of a row, which Docker's messages show.
    pub row_type: &'static str,
}

impl ListStyle<'_> {
    /// Renders rows by `--format` and `-q`.
    pub fn render(
        &self,
        format: Option<&str>,
        quiet: bool,
        rows: &[Value],
    ) -> Result<String, Failure> {
        let template = match format {
            None | Some("" | "table") if quiet => self.quiet.to_owned(),
            None | Some("" | "table") => format!("table {}", self.table),
            Some("json") => return Ok(json_lines(rows)),
            Some("raw") => raw(self.row_type).unwrap_or("raw").to_owned(),
            Some(template) => template.to_owned(),
        };
        let headings: Map<String, Value> = self
            .headings
            .iter()
            .map(|(field, heading)| ((*field).to_owned(), json!(heading)))
            .collect();
        let failure = |error: Error| list_failure(&error, self.row_type);
        let template = ListTemplate::parse(&template).map_err(failure)?;
        template.render(&Value::Object(headings), rows, self.row_type).map_err(failure)
    }
}

/// What `raw` stands for: one field in a line.
fn raw(row_type: &str) -> Option<&'static str> {
    Some(match row_type {
        "*formatter.ContainerContext" => {
            "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
             state:{{pad .State 1 0}}\nstatus:{{pad .Status 1 0}}\nnames: {{.Names}}\nlabels:{{pad .Labels 1 0}}\n\
             ports:{{pad .Ports 1 0}}\n"
        }
        "*formatter.imageContext" => {
            "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\n\
             virtual_size: {{.Size}}\n"
        }
        "*formatter.volumeContext" => "name: {{.Name}}\ndriver: {{.Driver}}\n",
        _ => return None,
    })
}

/// Docker's words for a format that a list cannot be shown in; `ps` has its own.
fn list_failure(error: &Error, row_type: &str) -> Failure {
    if row_type != "*formatter.ContainerContext" {
        return Failure::new(format!("template parsing error: {error}"));
    }
    let what = match error {
        Error::Parse { .. } => "parse",
        Error::Execute { .. } => "execute",
    };
    Failure::new(format!("failed to {what} template: {error}"))
}

/// One compact object for each line, without what only templates may ask for.
fn json_lines(rows: &[Value]) -> String {
    let line = |row: &Value| {
        let mut row = row.clone();
        if let Some(fields) = row.as_object_mut() {
            fields.shift_remove(LABEL);
        }
        escaped_json(&row) + "\n"
    };
    rows.iter().map(line).collect()
}

/// The entry of a row that holds what `{{.Label "name"}}` gives.
pub const LABEL: &str = "Label";

/// Exit code of `inspect` for what is no template, as in Docker.
pub const BAD_TEMPLATE: i32 = 64;

/// The template of `inspect --format`, `info --format` and the like.
fn document_template(text: &str) -> Result<Template, Failure> {
    Template::parse(text).map_err(|error| {
        Failure::new(format!("template parsing error: {error}")).with_code(BAD_TEMPLATE)
    })
}

/// Shows one document: as JSON in one line, or by a template, whose name messages have.
pub fn document(
    out: &mut dyn Write,
    format: &str,
    name: &'static str,
    document: &Value,
) -> Result<(), Failure> {
    if format == "json" {
        return Ok(writeln!(out, "{document}")?);
    }
    let template = Template::parse_named(name, format).map_err(|error| {
        Failure::new(format!("template parsing error: {error}")).with_code(BAD_TEMPLATE)
    })?;
    let rendered = template.render_typed(document);
    // As in Docker, there always is a line.
    writeln!(out, "{}", rendered.as_deref().unwrap_or_default())?;
    rendered.map(drop).map_err(|error| Failure::new(error.to_string()))
}

/// How `inspect` shows documents.
pub enum View {
    /// As one indented array.
    Indented,
    /// As one array in one line.
    Compact,
    /// By a template, a line for each: over the typed document, or else over plain JSON.
    Template(Template),
    /// By a template over the typed document only.
    Typed(Template),
}

impl View {
    /// From the value of `--format`.
    pub fn parse(format: Option<&str>) -> Result<Self, Failure> {
        match format {
            None | Some("") => Ok(Self::Indented),
            Some("json") => Ok(Self::Compact),
            Some(text) => Ok(Self::Template(document_template(text)?)),
        }
    }

    /// The text, and a failure for each document that the template does not fit.
    pub fn render(&self, documents: &[Value]) -> (String, Vec<Failure>) {
        let template = match self {
            Self::Indented => {
                return (pretty(&Value::Array(documents.to_vec())) + "\n", Vec::new());
            }
            Self::Compact => {
                return (format!("{}\n", Value::Array(documents.to_vec())), Vec::new());
            }
            Self::Template(template) | Self::Typed(template) => template,
        };
        let mut text = String::new();
        let mut failures = Vec::new();
        for document in documents {
            let rendered = match self {
                Self::Typed(_) => template.render_typed(document),
                _ => template.render(document),
            };
            match rendered {
                Ok(rendered) => text.push_str(&(rendered + "\n")),
                Err(error) => {
                    failures.push(Failure::new(format!("template parsing error: {error}")));
                }
            }
        }
        // As in Docker, there always is a line.
        if text.is_empty() {
            text.push('\n');
        }
        (text, failures)
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

    fn view(format: Option<&str>, documents: &[Value]) -> (String, Vec<String>) {
        let (text, failures) = View::parse(format).unwrap().render(documents);
        (text, failures.into_iter().map(|failure| failure.why).collect())
    }

    #[test]
    fn inspect_is_an_array_indented_by_four() {
        let one = json!({"Id": "a", "List": [1], "Empty": [], "None": {}});
        let documents = [one.clone(), json!({"Id": "b"})];
        assert_eq!(
            view(None, &documents[..1]).0,
            "[\n    {\n        \"Id\": \"a\",\n        \"List\": [\n            1\n        ],\n        \"Empty\": [],\n        \"None\": {}\n    }\n]\n"
        );
        assert_eq!(view(None, &[]).0, "[]\n");
        assert_eq!(view(Some("json"), &documents[..1]).0, format!("[{one}]\n"));
        assert_eq!(view(Some("{{.Id}}"), &documents).0, "a\nb\n");
        assert_eq!(
            view(Some("{{.List}}"), &documents),
            (
                "[1]\n".to_owned(),
                vec![
                    "template parsing error: template: :1:2: executing \"\" at <.List>: map has no entry for key \"List\"".to_owned()
                ]
            )
        );
        assert_eq!(view(Some("{{.Id}}"), &[]).0, "\n");
        let failure = View::parse(Some("{{.Id")).err().unwrap();
        assert_eq!(
            (failure.code, failure.why.as_str()),
            (BAD_TEMPLATE, "template parsing error: template: :1: unclosed action")
        );
    }

    #[test]
    fn one_document_is_a_line_or_a_template() {
        let one = json!({"Id": "a"});
        let show = |format: &str| {
            let mut out = Vec::new();
            let why = document(&mut out, format, "x", &one).err().map(|failure| failure.why);
            (String::from_utf8(out).unwrap(), why)
        };
        assert_eq!(show("json"), ("{\"Id\":\"a\"}\n".to_owned(), None));
        assert_eq!(show("{{.Id}}"), ("a\n".to_owned(), None));
        assert_eq!(
            show("{{.Nope}}"),
            (
                "\n".to_owned(),
                Some("template: x:1:2: executing \"x\" at <.Nope>: can't evaluate field Nope in type struct".to_owned())
            )
        );
    }

    #[test]
    fn long_texts_end_in_an_ellipsis() {
        assert_eq!(ellipsis("0123456789", 10), "0123456789");
        assert_eq!(ellipsis("0123456789a", 10), "012345678…");
    }
}
