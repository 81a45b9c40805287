//! Templates over rows: `--format` of `ps`, `images`, `volume ls` and the like.

use serde_json::Value as Json;

use crate::{Error, Result, Template, align, functions};

/// A template over rows.
#[derive(Debug)]
pub struct ListTemplate {
    row: Template,
    /// The same template with functions that leave headings alone; only for `table`.
    heading: Option<Template>,
}

impl ListTemplate {
    /// Parses a format; the word `table` in front asks for headings and columns.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub fn parse(format: &str) -> Result<Self> {
        let format = format.trim();
        let Some(rest) = format.strip_prefix("table") else {
            return Ok(Self { row: Template::parse(format)?, heading: None });
        };
        let rest = rest.trim_start();
        Ok(Self {
            row: Template::parse(rest)?,
            heading: Some(Template::with(rest, functions::headings())?),
        })
    }

    /// Renders all rows, one line each; `headings` maps each field to its heading.
    ///
    /// # Errors
    /// [`Error::MissingField`] for a column that is not there, [`Error::Execute`] for the rest.
    pub fn render(&self, headings: &Json, rows: &[Json]) -> Result<String> {
        let mut lines = Vec::with_capacity(rows.len() + 1);
        if let Some(heading) = &self.heading {
            lines.push(heading.render(headings).map_err(missing_field)?);
        }
        for row in rows {
            lines.push(self.row.render(row).map_err(missing_field)?);
        }
        let mut text = lines.join("\n");
        if !lines.is_empty() {
            text.push('\n');
        }
        Ok(if self.heading.is_some() { align(&text) } else { text })
    }
}

fn missing_field(error: Error) -> Error {
    match error {
        Error::MissingKey(name) => Error::MissingField(name),
        other => other,
    }
}
