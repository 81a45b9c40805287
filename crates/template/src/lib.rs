//! Docker's `--format`: Go templates over JSON, with Docker's functions and the `table` prefix.
//!
//! * [`Template`]: one template over one document (`inspect --format`).
//! * [`ListTemplate`]: one template over rows, aligned in columns if it begins with `table`.
//! * [`align`]: columns padded with three spaces, as all of Docker's tables are.
//!
//! `gotmpl` parses; the rest is done here, because Docker's templates need what that crate does not
//! have: fields with arguments (`.Label "x"`), structs beside maps, nil pointers, and Go's messages.
//! Known differences from Docker: a pointer within another value is printed like what it points to
//! (Docker prints an address), and methods of Docker's types other than `Label` are not known.

mod exec;
mod functions;
mod list;
mod printf;
mod schema;
mod syntax;
mod table;
mod types;
mod value;

use std::collections::BTreeMap;

use gotmpl::TemplateError;
use gotmpl::parse::{ListNode, Parser, SmolStr};
use orlop_types::ErrorKind;
use serde_json::Value as Json;

pub use list::ListTemplate;
pub use table::align;

/// Why a template gave no text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a template.
    #[error("template: {name}:{line}: {why}")]
    Parse {
        /// The template's name, mostly empty.
        name: &'static str,
        /// Line, from 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// The template could not be carried out.
    #[error("template: {name}:{line}:{column}: executing \"{name}\" at <{at}>: {why}")]
    Execute {
        /// The template's name, mostly empty.
        name: &'static str,
        /// Line, from 1.
        line: usize,
        /// Bytes before the place in its line.
        column: usize,
        /// What stands there.
        at: String,
        /// Why.
        why: String,
    },
}

impl Error {
    /// Templates are always the caller's to correct.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    fn of_parser(name: &'static str, error: &TemplateError) -> Self {
        match error {
            TemplateError::Lex { line, message, .. }
            | TemplateError::Parse { line, message, .. } => {
                Self::Parse { name, line: (*line).max(1), why: message.clone() }
            }
            other => Self::Parse { name, line: 1, why: other.to_string() },
        }
    }
}

/// A JSON document as Go writes it by default: what is special in HTML is escaped.
#[must_use]
pub fn escaped_json(document: &Json) -> String {
    value::escaped(document)
}

/// An `{{end}}` or `{{else}}` that ends nothing: the parser stops there without a word, and drops what
/// follows. A mark at the end that is not found again shows it.
fn stray_word(text: &str) -> Option<&'static str> {
    const MARK: &str = "\u{2}";
    let marked = format!("{text}{MARK}");
    let (list, _) = Parser::new(&marked, "{{", "}}").ok()?.parse().ok()?;
    let is_whole = match list.nodes.last() {
        Some(gotmpl::parse::Node::Text(last)) => last.text.ends_with(MARK),
        _ => false,
    };
    let has_else = text.contains("else") && !text.contains("end");
    (!is_whole).then_some(if has_else { "{{else}}" } else { "{{end}}" })
}

/// What every function here returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    name: &'static str,
    /// Characters that stand before the template in what the user wrote.
    offset: usize,
    source: String,
    body: ListNode,
    defined: BTreeMap<SmolStr, ListNode>,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_named("", text)
    }

    /// Parses a template that has a name in messages.
    ///
    /// # Errors
    /// [`Error::Parse`].
    pub fn parse_named(name: &'static str, text: &str) -> Result<Self> {
        let wrong = |error: TemplateError| Error::of_parser(name, &error);
        let parser = Parser::new(text, "{{", "}}").map_err(wrong)?;
        let (body, defines) = parser.parse().map_err(wrong)?;
        if let Some(word) = stray_word(text) {
            return Err(Error::Parse { name, line: 1, why: format!("unexpected {word}") });
        }
        let is_function = |name: &str| functions::all(name).is_some();
        let lists = std::iter::once(&body).chain(defines.iter().map(|define| &define.body));
        for list in lists {
            if let Some((line, why)) = syntax::mistake(list, false, &is_function) {
                return Err(Error::Parse { name, line: line.max(1), why });
            }
        }
        let defined = defines.into_iter().map(|define| (define.name, define.body)).collect();
        Ok(Self { name, offset: 0, source: text.to_owned(), body, defined })
    }

    /// Renders one document: typed as Docker's client has it, or else as plain JSON.
    ///
    /// # Errors
    /// [`Error::Execute`].
    pub fn render(&self, document: &Json) -> Result<String> {
        self.execute(&schema::typed(document), functions::all)
            .or_else(|_| self.execute(&schema::raw(document), functions::all))
    }

    /// Renders one document as what Docker's client has it for, and nothing else.
    ///
    /// # Errors
    /// [`Error::Execute`].
    pub fn render_typed(&self, document: &Json) -> Result<String> {
        self.execute(&schema::typed(document), functions::all)
    }

    fn execute(
        &self,
        data: &value::Value,
        functions: fn(&str) -> Option<functions::Function>,
    ) -> Result<String> {
        exec::Run::render(&self.body, &self.defined, functions, data).map_err(|failed| {
            let before = self.source.get(..failed.pos.offset).unwrap_or(&self.source);
            let column = before.rsplit('\n').next().unwrap_or_default().len();
            let line = before.matches('\n').count() + 1;
            let column = if line == 1 { column + self.offset } else { column };
            Error::Execute { name: self.name, line, column, at: failed.at, why: failed.why }
        })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
