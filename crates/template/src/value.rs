//! What templates work with: Go's values, as far as Docker's documents have them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use serde_json::Value as Json;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Go's nil interface: printed `<no value>`.
    Nil,
    /// A nil pointer, which knows what it does not point to: printed `<nil>`.
    NilPointer(&'static str),
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(Rc<str>),
    /// A number as JSON wrote it: a text for Go, but `json` writes it bare.
    JsonNumber(Rc<str>),
    /// A slice.
    List(Rc<List>),
    /// A map.
    Map(Rc<Map>),
    /// A struct, or a pointer to one.
    Struct(Rc<Struct>),
}

/// A slice.
#[derive(Debug)]
pub(crate) struct List {
    /// Its elements.
    pub(crate) items: Vec<Value>,
    /// Whether it is Go's nil slice: `null` as JSON.
    pub(crate) is_nil: bool,
    /// Go's name of its type.
    pub(crate) type_name: &'static str,
}

/// A map with texts for keys.
#[derive(Debug)]
pub(crate) struct Map {
    /// What it holds.
    pub(crate) entries: BTreeMap<Rc<str>, Value>,
    /// Whether it is Go's nil map: `null` as JSON.
    pub(crate) is_nil: bool,
    /// The type of its keys where that is another than `string`: `index` wants exactly that type.
    pub(crate) key_type: Option<&'static str>,
    /// What `index` finds where nothing is.
    pub(crate) zero: Value,
    /// Whether a field that is not there is an error (Go's `missingkey=error`).
    pub(crate) is_strict: bool,
    /// Go's name of its type.
    pub(crate) type_name: &'static str,
}

/// A struct.
#[derive(Debug)]
pub(crate) struct Struct {
    /// Fields by Go's names, in Go's order.
    pub(crate) fields: Vec<(Rc<str>, Value)>,
    /// The document that it was made from.
    pub(crate) json: Json,
    /// Values of the method `Label`.
    pub(crate) labels: Option<Labels>,
    /// Whether its own JSON escapes what is special in HTML, as Go's does by default.
    pub(crate) escapes: bool,
    /// Go's name of its type.
    pub(crate) type_name: &'static str,
}

/// What the method `Label` of a row gives.
#[derive(Clone, Debug)]
pub(crate) enum Labels {
    /// The label's value, or nothing.
    Of(BTreeMap<String, String>),
    /// For headings: the label's name.
    Heading,
}

impl Value {
    /// A text.
    pub(crate) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A slice of texts.
    pub(crate) fn texts(items: Vec<Value>) -> Self {
        Self::List(Rc::new(List { items, is_nil: false, type_name: "[]string" }))
    }

    /// Go's name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::NilPointer(name) => name,
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::JsonNumber(_) => "json.Number",
            Self::List(list) => list.type_name,
            Self::Map(map) => map.type_name,
            Self::Struct(found) => found.type_name,
        }
    }

    /// What `if` and `with` think of it.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::NilPointer(_) => false,
            Self::Bool(flag) => *flag,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) | Self::JsonNumber(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Struct(_) => true,
        }
    }

    /// The text, if it is one for Go.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::JsonNumber(text) => Some(text),
            _ => None,
        }
    }

    /// What an action prints.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Nil => "<no value>".to_owned(),
            other => other.go_text(),
        }
    }

    /// Go's `%v`. A pointer within another value is printed as what it points to, where Go prints an
    /// address.
    pub(crate) fn go_text(&self) -> String {
        let mut out = String::new();
        self.write_go_text(&mut out);
        out
    }

    fn write_go_text(&self, out: &mut String) {
        match self {
            Self::Nil | Self::NilPointer(_) => out.push_str("<nil>"),
            Self::Text(text) | Self::JsonNumber(text) => out.push_str(text),
            // Writing to a String cannot fail.
            Self::Bool(flag) => drop(write!(out, "{flag}")),
            Self::Int(number) => drop(write!(out, "{number}")),
            Self::Float(number) => out.push_str(&float_text(*number)),
            Self::List(list) => {
                out.push('[');
                for (at, item) in list.items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { " " });
                    item.write_go_text(out);
                }
                out.push(']');
            }
            Self::Map(map) => {
                out.push_str("map[");
                for (at, (name, item)) in map.entries.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { " " });
                    out.push_str(name);
                    out.push(':');
                    item.write_go_text(out);
                }
                out.push(']');
            }
            Self::Struct(found) => {
                out.push('{');
                for (at, (_, item)) in found.fields.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { " " });
                    item.write_go_text(out);
                }
                out.push('}');
            }
        }
    }

    /// The compact JSON.
    pub(crate) fn json(&self) -> String {
        match self {
            Self::Nil | Self::NilPointer(_) => "null".to_owned(),
            Self::Bool(flag) => flag.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => Json::from(*number).to_string(),
            Self::JsonNumber(text) => text.to_string(),
            Self::Text(text) => Json::from(&**text).to_string(),
            Self::List(list) if list.is_nil => "null".to_owned(),
            Self::List(list) => {
                let items: Vec<String> = list.items.iter().map(Self::json).collect();
                format!("[{}]", items.join(","))
            }
            Self::Map(map) if map.is_nil => "null".to_owned(),
            Self::Map(map) => {
                let entries = map
                    .entries
                    .iter()
                    .map(|(name, item)| format!("{}:{}", Json::from(&**name), item.json()));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
            Self::Struct(found) if found.escapes => escaped(&found.json),
            Self::Struct(found) => found.json.to_string(),
        }
    }
}

/// JSON as Go writes it by default: what is special in HTML is escaped.
pub(crate) fn escaped(json: &Json) -> String {
    let text = json.to_string();
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            // Outside of texts, none of these is part of JSON.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            other => out.push(other),
        }
    }
    out
}

/// Go's `%v` of a floating-point number: the shortest text, with an exponent where it is large.
fn float_text(number: f64) -> String {
    let exponent = if number == 0.0 { 0.0 } else { number.abs().log10().floor() };
    if (-4.0..21.0).contains(&exponent) || !number.is_finite() {
        return match number {
            _ if number.is_nan() => "NaN".to_owned(),
            _ if number.is_infinite() => if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
            _ => number.to_string(),
        };
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}
