//! Docker's `--format`: Go templates over JSON, with Docker's functions and the `table` prefix.
//!
//! * [`Template`]: one template over one document (`inspect --format`).
//! * [`ListTemplate`]: one template over rows, aligned in columns if it begins with `table`.
//! * [`align`]: columns padded with three spaces, as all of Docker's tables are.
//!
//! The language itself comes from `gotmpl`; `value` explains how Go's structs are told apart from its
//! maps. Known differences from Docker: error texts carry no position, a pointer to a struct is
//! printed like the struct (Docker prints `&{…}` or an address), `printf "%T"` names other types, and
//! `len`/`index` of a struct work instead of failing.

mod functions;
mod list;
mod table;
mod value;

use gotmpl::{MissingKey, TemplateError};
use orlop_types::ErrorKind;

pub use list::ListTemplate;
pub use table::align;

/// Why a template gave no text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not a template.
    #[error("template parsing error: {0}")]
    Parse(String),
    /// The template asked for a field that is not there.
    #[error("template: executing \"\": map has no entry for key \"{0}\"")]
    MissingKey(String),
    /// A row has no such column.
    #[error("template: executing \"\": can't evaluate field {0}")]
    MissingField(String),
    /// The template could not be carried out.
    #[error("template: executing \"\": {0}")]
    Execute(String),
}

impl Error {
    /// Templates are always the caller's to correct.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    fn of_execution(error: TemplateError) -> Self {
        match error {
            TemplateError::MissingKey { key } => Self::MissingKey(key),
            TemplateError::Exec(text) => Self::Execute(text),
            other => Self::Execute(other.to_string()),
        }
    }
}

/// What every function here returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A parsed template.
pub struct Template(gotmpl::Template);

impl std::fmt::Debug for Template {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Template").finish()
    }
}

impl Template {
    /// Parses a template; `\t` and `\n` written out mean a tab and a new line.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub fn parse(text: &str) -> Result<Self> {
        Self::with(text, functions::all())
    }

    fn with(text: &str, functions: gotmpl::FuncMap) -> Result<Self> {
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        gotmpl::Template::new("")
            .missing_key(MissingKey::Error)
            .funcs(functions)
            .parse(&text)
            .map(Self)
            .map_err(|error| Error::Parse(error.to_string()))
    }

    /// Renders one document.
    ///
    /// # Errors
    /// [`Error::MissingKey`] for a field that is not there, [`Error::Execute`] for the rest.
    pub fn render(&self, document: &serde_json::Value) -> Result<String> {
        let text =
            self.0.execute_to_string(&value::convert(document)).map_err(Error::of_execution)?;
        value::restore(&text)
            .ok_or_else(|| Error::Execute("range can't iterate over a struct".to_owned()))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
