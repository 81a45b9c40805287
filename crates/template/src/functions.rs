//! Docker's template functions: `json`, `join`, `split`, `lower`, `upper`, `title`, `pad`, `truncate`.
//!
//! `print`, `printf`, `println`, `len`, `index`, `slice`, `eq` and the others of Go are built in.

use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value, ValueFunc};

use crate::value::{JSON, to_json};

type Result<T> = std::result::Result<T, TemplateError>;

/// Longest padding: a template must not be able to ask for gigabytes of spaces.
const PAD_MAX_CHARS: usize = 4096;

/// The functions for documents and rows.
pub(crate) fn all() -> FuncMap {
    map(&[
        ("index", index),
        ("json", |arguments| Ok(text(to_json(one("json", arguments)?)))),
        ("join", join),
        ("split", split),
        ("lower", |arguments| Ok(text(string("lower", arguments, 0)?.to_lowercase()))),
        ("upper", |arguments| Ok(text(string("upper", arguments, 0)?.to_uppercase()))),
        ("title", |arguments| Ok(text(title(&string("title", arguments, 0)?)))),
        ("pad", pad),
        ("truncate", truncate),
    ])
}

/// The functions for the line of headings: they leave the headings as they are.
pub(crate) fn headings() -> FuncMap {
    let mut functions = all();
    functions.extend(map(&[
        ("json", same),
        ("join", same),
        ("lower", same),
        ("upper", same),
        ("title", same),
        ("truncate", same),
    ]));
    functions
}

/// A template function without state.
type Function = fn(&[Value]) -> Result<Value>;

fn map(functions: &[(&str, Function)]) -> FuncMap {
    let boxed = functions
        .iter()
        .map(|&(name, function)| (name.to_owned(), Arc::new(function) as ValueFunc));
    boxed.collect()
}

fn text(text: String) -> Value {
    Value::String(text.into())
}

fn same(arguments: &[Value]) -> Result<Value> {
    Ok(arguments.first().cloned().unwrap_or(Value::Nil))
}

fn one<'a>(name: &str, arguments: &'a [Value]) -> Result<&'a Value> {
    match arguments {
        [value] => Ok(value),
        _ => Err(count(name, 1, arguments)),
    }
}

fn count(name: &str, want: usize, arguments: &[Value]) -> TemplateError {
    TemplateError::Exec(format!(
        "wrong number of args for {name}: want {want} got {}",
        arguments.len()
    ))
}

fn string(name: &str, arguments: &[Value], at: usize) -> Result<String> {
    match arguments.get(at) {
        Some(Value::String(text)) => Ok(text.to_string()),
        Some(Value::Nil) => Ok(String::new()),
        Some(other) => Err(TemplateError::Exec(format!(
            "wrong type for value; expected string; got {}",
            other.type_name()
        ))),
        None => Err(count(name, at + 1, arguments)),
    }
}

fn number(name: &str, arguments: &[Value], at: usize) -> Result<usize> {
    let value = arguments.get(at).ok_or_else(|| count(name, at + 1, arguments))?;
    let number = value.as_int().ok_or_else(|| {
        TemplateError::Exec(format!(
            "wrong type for value; expected int; got {}",
            value.type_name()
        ))
    })?;
    // Go's `strings.Repeat` panics for a negative count; nothing is a kinder answer.
    Ok(usize::try_from(number).unwrap_or(0))
}

/// `index MAP KEY …`, `index LIST NUMBER …`: as Go's, but that the type of a map's values is known
/// from what is in it: a map of texts has the empty text for a key that it does not have.
fn index(arguments: &[Value]) -> Result<Value> {
    let Some((whole, keys)) = arguments.split_first() else {
        return Err(TemplateError::Exec("wrong number of args for index: want at least 1".into()));
    };
    let mut value = whole.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Map(entries), Value::String(name)) => match entries.get(&**name) {
                Some(found) => found.clone(),
                None if entries.values().all(|other| matches!(other, Value::String(_)))
                    && !entries.contains_key(JSON) =>
                {
                    text(String::new())
                }
                None => Value::Nil,
            },
            (Value::List(items), key) => {
                let number = key.as_int().and_then(|number| usize::try_from(number).ok());
                let found = number.and_then(|number| items.get(number));
                found.cloned().ok_or_else(|| {
                    TemplateError::Exec(format!("error calling index: index out of range: {key}"))
                })?
            }
            (Value::Nil, _) => {
                return Err(TemplateError::Exec(
                    "error calling index: index of untyped nil".to_owned(),
                ));
            }
            (other, _) => {
                return Err(TemplateError::Exec(format!(
                    "error calling index: can't index item of type {}",
                    other.type_name()
                )));
            }
        };
    }
    Ok(value)
}

/// `join LIST SEPARATOR`
fn join(arguments: &[Value]) -> Result<Value> {
    let separator = string("join", arguments, 1)?;
    match arguments.first() {
        Some(Value::List(items)) => {
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            Ok(text(items.join(&separator)))
        }
        Some(Value::Nil) => Ok(text(String::new())),
        _ => Err(TemplateError::Exec("wrong type for value; expected []string".to_owned())),
    }
}

/// `split TEXT SEPARATOR`
fn split(arguments: &[Value]) -> Result<Value> {
    let (whole, separator) = (string("split", arguments, 0)?, string("split", arguments, 1)?);
    let parts: Vec<Value> = if separator.is_empty() {
        whole.chars().map(|letter| text(letter.to_string())).collect()
    } else {
        whole.split(&separator).map(|part| text(part.to_owned())).collect()
    };
    Ok(Value::List(parts.into()))
}

/// Makes the first letter of each word a capital.
fn title(words: &str) -> String {
    let mut at_start = true;
    let mut out = String::new();
    for letter in words.chars() {
        if at_start {
            out.extend(letter.to_uppercase());
        } else {
            out.push(letter);
        }
        at_start = !(letter.is_alphanumeric() || letter == '_' || letter == '\'');
    }
    out
}

/// `pad TEXT BEFORE AFTER`: that many spaces before and after; an empty text stays empty.
fn pad(arguments: &[Value]) -> Result<Value> {
    let whole = string("pad", arguments, 0)?;
    let (before, after) = (number("pad", arguments, 1)?, number("pad", arguments, 2)?);
    if whole.is_empty() || whole == "\n" {
        return Ok(text(whole));
    }
    if before.max(after) > PAD_MAX_CHARS {
        return Err(TemplateError::Exec(format!("pad: at most {PAD_MAX_CHARS} spaces")));
    }
    Ok(text(format!("{}{whole}{}", " ".repeat(before), " ".repeat(after))))
}

/// `truncate TEXT LENGTH`: cut after that many characters.
fn truncate(arguments: &[Value]) -> Result<Value> {
    let (whole, length) = (string("truncate", arguments, 0)?, number("truncate", arguments, 1)?);
    Ok(text(whole.chars().take(length).collect()))
}
