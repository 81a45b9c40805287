//! The functions of templates: Go's own and Docker's.
//!
//! Docker's: `json`, `join`, `split`, `lower`, `upper`, `title`, `pad`, `truncate`.

use std::cmp::Ordering;

use crate::printf;
use crate::value::Value;

/// Longest padding: a template must not be able to ask for gigabytes of spaces.
const PAD_MAX_CHARS: usize = 4096;

/// Why a call gave nothing.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// Another number of arguments is wanted.
    Count(&'static str),
    /// An argument has a wrong type.
    Argument(usize, String),
    /// The function itself failed.
    Call(String),
}

type Result<T> = std::result::Result<T, Wrong>;

/// What a parameter takes.
#[derive(Clone, Copy, Debug)]
enum Parameter {
    Any,
    Text,
    Texts,
    Int,
}

/// A function.
#[derive(Clone, Copy)]
pub(crate) struct Function {
    parameters: &'static [Parameter],
    /// How many arguments, where the parameters do not say it: the fewest, in words.
    at_least: Option<(usize, &'static str)>,
    body: fn(&[Value]) -> Result<Value>,
}

/// Calls a function after checking what it is given.
pub(crate) fn call(function: Function, given: &[Value]) -> Result<Value> {
    match function.at_least {
        Some((fewest, words)) if given.len() < fewest => return Err(Wrong::Count(words)),
        None if given.len() != function.parameters.len() => {
            const WORDS: [&str; 4] = ["0", "1", "2", "3"];
            return Err(Wrong::Count(WORDS.get(function.parameters.len()).unwrap_or(&"more")));
        }
        _ => {}
    }
    for (at, (parameter, value)) in function.parameters.iter().zip(given).enumerate() {
        let (fits, name) = match parameter {
            Parameter::Any => continue,
            Parameter::Text => (matches!(value, Value::Text(_)), "string"),
            Parameter::Texts => (value.type_name() == "[]string", "[]string"),
            Parameter::Int => (matches!(value, Value::Int(_)), "int"),
        };
        if !fits {
            let got = value.type_name();
            let why = format!("wrong type for value; expected {name}; got {got}");
            return Err(Wrong::Argument(at, why));
        }
    }
    (function.body)(given)
}

const fn exactly(
    parameters: &'static [Parameter],
    body: fn(&[Value]) -> Result<Value>,
) -> Function {
    Function { parameters, at_least: None, body }
}

const fn at_least(
    fewest: usize,
    words: &'static str,
    parameters: &'static [Parameter],
    body: fn(&[Value]) -> Result<Value>,
) -> Function {
    Function { parameters, at_least: Some((fewest, words)), body }
}

/// The functions for documents and rows.
pub(crate) fn all(name: &str) -> Option<Function> {
    use Parameter::{Any, Int, Text, Texts};
    Some(match name {
        "json" => exactly(&[Any], |given| Ok(text(value(given, 0).json()))),
        "join" => exactly(&[Texts, Text], join),
        "split" => exactly(&[Text, Text], split),
        "lower" => exactly(&[Text], |given| Ok(text(string(given, 0).to_lowercase()))),
        "upper" => exactly(&[Text], |given| Ok(text(string(given, 0).to_uppercase()))),
        "title" => exactly(&[Text], |given| Ok(text(title(string(given, 0))))),
        "pad" => exactly(&[Text, Int, Int], pad),
        "truncate" => exactly(&[Text, Int], |given| {
            let length = number(given, 1);
            Ok(text(string(given, 0).chars().take(length).collect::<String>()))
        }),
        // Go's own.
        "not" => exactly(&[Any], |given| Ok(Value::Bool(!value(given, 0).is_true()))),
        "len" => exactly(&[Any], len),
        "index" => at_least(1, "at least 1", &[], index),
        "slice" => at_least(1, "at least 1", &[], slice),
        "print" => at_least(0, "", &[], |given| Ok(text(printf::print(given)))),
        "println" => at_least(0, "", &[], |given| Ok(text(printf::println(given)))),
        "printf" => at_least(1, "at least 1", &[Text], |given| {
            Ok(text(printf::printf(string(given, 0), given.get(1..).unwrap_or_default())))
        }),
        "html" => {
            at_least(0, "", &[], |given| Ok(text(gotmpl::html_escape(&printf::print(given)))))
        }
        "js" => at_least(0, "", &[], |given| Ok(text(gotmpl::js_escape(&printf::print(given))))),
        "urlquery" => {
            at_least(0, "", &[], |given| Ok(text(gotmpl::url_encode(&printf::print(given)))))
        }
        "call" => at_least(1, "at least 1", &[], |given| {
            let kind = value(given, 0).type_name();
            Err(Wrong::Call(format!("non-function of type {kind}")))
        }),
        "eq" => at_least(1, "at least 1", &[], equal),
        "ne" => exactly(&[Any, Any], |given| {
            Ok(Value::Bool(!is_equal(&value(given, 0), &value(given, 1))?))
        }),
        "lt" => exactly(&[Any, Any], |given| Ok(Value::Bool(order(given)? == Ordering::Less))),
        "le" => exactly(&[Any, Any], |given| Ok(Value::Bool(order(given)? != Ordering::Greater))),
        "gt" => exactly(&[Any, Any], |given| Ok(Value::Bool(order(given)? == Ordering::Greater))),
        "ge" => exactly(&[Any, Any], |given| Ok(Value::Bool(order(given)? != Ordering::Less))),
        // Carried out where their arguments are looked at one by one.
        "and" | "or" => at_least(0, "", &[], |given| Ok(value(given, 0))),
        _ => return None,
    })
}

/// The functions for the line of headings: Docker's leave the headings as they are.
pub(crate) fn headings(name: &str) -> Option<Function> {
    match name {
        "json" | "lower" | "upper" | "title" | "truncate" | "join" | "split" => {
            Some(at_least(1, "at least 1", &[], |given| Ok(value(given, 0))))
        }
        _ => all(name),
    }
}

fn text(text: impl Into<std::rc::Rc<str>>) -> Value {
    Value::text(text)
}

// The arguments were checked against the parameters: the fallbacks below are never taken.

fn value(given: &[Value], at: usize) -> Value {
    given.get(at).cloned().unwrap_or(Value::Nil)
}

fn string(given: &[Value], at: usize) -> &str {
    given.get(at).and_then(Value::as_text).unwrap_or_default()
}

/// Go's `strings.Repeat` panics for a negative count; nothing is a kinder answer.
fn number(given: &[Value], at: usize) -> usize {
    match given.get(at) {
        Some(Value::Int(number)) => usize::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

fn len(given: &[Value]) -> Result<Value> {
    let length = match value(given, 0) {
        Value::Text(text) | Value::JsonNumber(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Nil => return Err(Wrong::Call("len of nil pointer".to_owned())),
        other => return Err(Wrong::Call(format!("len of type {}", other.type_name()))),
    };
    Ok(Value::Int(length as i64))
}

/// `index MAP KEY …`, `index LIST NUMBER …`
fn index(given: &[Value]) -> Result<Value> {
    let mut found = value(given, 0);
    for key in given.get(1..).unwrap_or_default() {
        found = match (&found, key) {
            (Value::Nil | Value::NilPointer(_), _) => {
                return Err(Wrong::Call("index of untyped nil".to_owned()));
            }
            (Value::Map(map), Value::Text(name)) => match map.key_type {
                Some(kind) => {
                    return Err(Wrong::Call(format!("value has type string; should be {kind}")));
                }
                None => map.entries.get(name).unwrap_or(&map.zero).clone(),
            },
            (Value::Map(_), other) => {
                let got = other.type_name();
                return Err(Wrong::Call(format!("value has type {got}; should be string")));
            }
            (Value::List(list), Value::Int(at)) => {
                let item = usize::try_from(*at).ok().and_then(|at| list.items.get(at));
                item.cloned().ok_or_else(|| Wrong::Call(format!("index out of range: {at}")))?
            }
            (Value::Text(text), Value::Int(at)) => {
                let byte = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
                let byte = byte.ok_or_else(|| Wrong::Call(format!("index out of range: {at}")))?;
                Value::Int((*byte).into())
            }
            (Value::List(_) | Value::Text(_), other) => {
                let got = other.type_name();
                return Err(Wrong::Call(format!("cannot index slice/array with type {got}")));
            }
            (other, _) => {
                let kind = other.type_name();
                return Err(Wrong::Call(format!("can't index item of type {kind}")));
            }
        };
    }
    Ok(found)
}

/// `slice WHOLE FROM TO`
fn slice(given: &[Value]) -> Result<Value> {
    let whole = value(given, 0);
    let length = match &whole {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Nil => return Err(Wrong::Call("slice of untyped nil".to_owned())),
        other => {
            return Err(Wrong::Call(format!("can't slice item of type {}", other.type_name())));
        }
    };
    let mut bounds = [0, length];
    let numbers = given.get(1..).unwrap_or_default();
    if numbers.len() > 2 {
        return Err(Wrong::Call(format!("too many slice indexes: {}", numbers.len())));
    }
    for (bound, number) in bounds.iter_mut().zip(numbers) {
        let Value::Int(at) = number else {
            let got = number.type_name();
            return Err(Wrong::Call(format!("cannot index slice/array with type {got}")));
        };
        *bound = usize::try_from(*at)
            .ok()
            .filter(|at| *at <= length)
            .ok_or_else(|| Wrong::Call(format!("index out of range: {at}")))?;
    }
    let [from, to] = bounds;
    if from > to {
        return Err(Wrong::Call(format!("invalid slice index: {from} > {to}")));
    }
    match &whole {
        Value::List(list) => {
            let items = list.items.get(from..to).unwrap_or_default().to_vec();
            let (is_nil, type_name) = (false, list.type_name);
            Ok(Value::List(std::rc::Rc::new(crate::value::List { items, is_nil, type_name })))
        }
        _ => {
            let bytes = string(given, 0).as_bytes().get(from..to).unwrap_or_default();
            Ok(text(String::from_utf8_lossy(bytes).into_owned()))
        }
    }
}

fn equal(given: &[Value]) -> Result<Value> {
    let first = value(given, 0);
    let others = given.get(1..).unwrap_or_default();
    if others.is_empty() {
        return Err(Wrong::Call("missing argument for comparison".to_owned()));
    }
    for other in others {
        if is_equal(&first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn is_equal(one: &Value, other: &Value) -> Result<bool> {
    Ok(match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Int(one), Value::Int(other)) => one == other,
        (Value::Float(one), Value::Float(other)) => one == other,
        (Value::Nil | Value::NilPointer(_), other) | (other, Value::Nil | Value::NilPointer(_)) => {
            matches!(other, Value::Nil | Value::NilPointer(_))
        }
        (one, other) => match (one.as_text(), other.as_text()) {
            (Some(one), Some(other)) => one == other,
            _ => return Err(incomparable(one, other)),
        },
    })
}

fn incomparable(one: &Value, other: &Value) -> Wrong {
    let basic = |value: &Value| {
        matches!(value, Value::Bool(_) | Value::Int(_) | Value::Float(_))
            || value.as_text().is_some()
    };
    let why = match (basic(one), basic(other)) {
        (true, true) => "incompatible types for comparison".to_owned(),
        (false, _) => format!("non-comparable type {}: {}", one.go_text(), one.type_name()),
        (true, false) => format!("non-comparable type {}: {}", other.go_text(), other.type_name()),
    };
    Wrong::Call(why)
}

fn order(given: &[Value]) -> Result<Ordering> {
    let (one, other) = (value(given, 0), value(given, 1));
    match (&one, &other) {
        (Value::Int(one), Value::Int(other)) => Ok(one.cmp(other)),
        (Value::Float(one), Value::Float(other)) => {
            Ok(one.partial_cmp(other).unwrap_or(Ordering::Greater))
        }
        (Value::Bool(_), Value::Bool(_)) => {
            Err(Wrong::Call("invalid type for comparison".to_owned()))
        }
        _ => match (one.as_text(), other.as_text()) {
            (Some(one), Some(other)) => Ok(one.cmp(other)),
            _ => Err(Wrong::Call("incompatible types for comparison".to_owned())),
        },
    }
}

/// `join LIST SEPARATOR`
fn join(given: &[Value]) -> Result<Value> {
    let Value::List(list) = value(given, 0) else { return Ok(text("")) };
    let items: Vec<String> = list.items.iter().map(Value::go_text).collect();
    Ok(text(items.join(string(given, 1))))
}

/// `split TEXT SEPARATOR`
fn split(given: &[Value]) -> Result<Value> {
    let (whole, separator) = (string(given, 0), string(given, 1));
    let parts: Vec<Value> = if separator.is_empty() {
        whole.chars().map(|letter| text(letter.to_string())).collect()
    } else {
        whole.split(separator).map(|part| text(part.to_owned())).collect()
    };
    Ok(Value::texts(parts))
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
fn pad(given: &[Value]) -> Result<Value> {
    let whole = string(given, 0);
    let (before, after) = (number(given, 1), number(given, 2));
    if whole.is_empty() || whole == "\n" {
        return Ok(text(whole));
    }
    if before.max(after) > PAD_MAX_CHARS {
        return Err(Wrong::Call(format!("at most {PAD_MAX_CHARS} spaces")));
    }
    Ok(text(format!("{}{whole}{}", " ".repeat(before), " ".repeat(after))))
}
