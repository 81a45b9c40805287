//! Templates over rows: `--format` of `ps`, `images`, `volume ls` and the like.

use serde_json::Value as Json;

use crate::{Result, Template, align, functions, schema};

/// A template over rows.
#[derive(Debug)]
pub struct ListTemplate {
    row: Template,
    is_table: bool,
}

impl ListTemplate {
    /// Parses a format; the word `table` in front asks for headings and columns, `\t` and `\n`
    /// written out mean a tab and a new line.
    ///
    /// # Errors
    /// [`crate::Error::Parse`].
    pub fn parse(format: &str) -> Result<Self> {
        let (format, is_table) = match format.strip_prefix("table") {
            Some(rest) => (rest, true),
            None => (format, false),
        };
        let blanks = format.len() - format.trim_start_matches(' ').len();
        let format = format.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let mut row = Template::parse(&format)?;
        if is_table {
            row.offset = "table".len() + blanks;
        }
        Ok(Self { row, is_table })
    }

    /// Renders all rows, one line each; `headings` maps each field to its heading. An object `Label`
    /// in a row holds what the method of that name gives. `type_name` is Go's name of a row's type.
    ///
    /// # Errors
    /// [`crate::Error::Execute`].
    pub fn render(
        &self,
        headings: &Json,
        rows: &[Json],
        type_name: &'static str,
    ) -> Result<String> {
        let mut lines = Vec::with_capacity(rows.len() + 1);
        for row in rows {
            lines.push(self.row.execute(&schema::row(row, type_name), functions::all)?);
        }
        if self.is_table {
            let headings = schema::headings(headings);
            lines.insert(0, self.row.execute(&headings, functions::headings)?);
        }
        let mut text = lines.join("\n");
        if !lines.is_empty() {
            text.push('\n');
        }
        Ok(if self.is_table { align(&text) } else { text })
    }
}
