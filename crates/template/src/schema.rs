//! Go's types of Docker's documents, and documents as values of these types.
//!
//! `inspect` shows a template the typed document first, in which a field that was left out of the JSON
//! has its zero value and fields have Go's names (`.ID`), and then, if that fails, the JSON itself, in
//! which every object is a map (`.Id`). Documents without a type here are taken for what they look
//! like: objects are structs unless a field's name says that it holds a map.

use std::rc::Rc;

use serde_json::Value as Json;

use crate::types;
use crate::value::{Labels, List, Map, Struct, Value};

/// A type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    /// A text.
    Text,
    /// A whole number.
    Int,
    /// A boolean.
    Bool,
    /// A pointer to one of the above, by its name.
    Pointer(&'static Type, &'static str),
    /// A slice.
    List(&'static Type, &'static str),
    /// A map: type of the values, name, name of the key's type.
    Map(&'static Type, &'static str, Option<&'static str>),
    /// A struct by value.
    Struct(&'static StructType),
    /// A pointer to a struct.
    StructPointer(&'static StructType),
    /// A duration in nanoseconds, printed for people.
    Duration,
    /// An interface: anything.
    Any,
    /// Known by how it looks only.
    Guess,
}

/// A struct's type.
#[derive(Debug)]
pub(crate) struct StructType {
    /// Go's name.
    pub(crate) name: &'static str,
    /// Fields in Go's order: Go's name (and the JSON's after a colon, where that is another).
    pub(crate) fields: &'static [(&'static str, Type)],
}

/// The typed document.
pub(crate) fn typed(document: &Json) -> Value {
    let has = |name: &str| document.get(name).is_some();
    let known = if has("HostConfig") && has("Mounts") {
        Some(&types::CONTAINER)
    } else if has("RootFS") && has("Id") {
        Some(&types::IMAGE)
    } else if has("Mountpoint") && has("Driver") {
        Some(&types::VOLUME)
    } else if has("IPAM") {
        Some(&types::NETWORK)
    } else if has("Actor") && has("timeNano") {
        Some(&types::EVENT)
    } else {
        None
    };
    match known {
        Some(known) => of_type(&Type::Struct(known), Some(document)),
        None => guess_named(document_type(document), "", document),
    }
}

/// Go's name of the type of a document that has no type here.
fn document_type(document: &Json) -> &'static str {
    let has = |name: &str| document.get(name).is_some();
    if has("ServerVersion") {
        "system.dockerInfo"
    } else if has("Client") {
        "system.versionInfo"
    } else {
        "struct"
    }
}

/// The document as JSON's own types.
pub(crate) fn raw(document: &Json) -> Value {
    match document {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::JsonNumber(number.to_string().into()),
        Json::String(text) => Value::text(text.as_str()),
        Json::Array(items) => Value::List(Rc::new(List {
            items: items.iter().map(raw).collect(),
            is_nil: false,
            type_name: "[]interface {}",
        })),
        Json::Object(entries) => Value::Map(Rc::new(Map {
            entries: entries.iter().map(|(name, item)| (name.as_str().into(), raw(item))).collect(),
            is_nil: false,
            key_type: None,
            zero: Value::Nil,
            is_strict: true,
            type_name: "map[string]interface {}",
        })),
    }
}

/// A row of a list: a struct with a method for its labels, which stand in an object `Label`.
pub(crate) fn row(row: &Json, type_name: &'static str) -> Value {
    let mut json = row.clone();
    let labels = json.as_object_mut().and_then(|entries| entries.shift_remove("Label"));
    let fields = json.as_object().into_iter().flatten();
    let fields = fields.map(|(name, item)| (name.as_str().into(), guess(name, item))).collect();
    let labels = labels.and_then(|labels| serde_json::from_value(labels).ok()).map(Labels::Of);
    Value::Struct(Rc::new(Struct { fields, json, labels, escapes: true, type_name }))
}

/// The line of headings: a map whose method `Label` names the label.
pub(crate) fn headings(headings: &Json) -> Value {
    let fields = headings.as_object().into_iter().flatten();
    let fields = fields.map(|(name, item)| (name.as_str().into(), guess(name, item))).collect();
    Value::Struct(Rc::new(Struct {
        fields,
        json: headings.clone(),
        labels: Some(Labels::Heading),
        escapes: false,
        type_name: "formatter.SubHeaderContext",
    }))
}

/// A value of a type; zero where there is nothing.
fn of_type(kind: &Type, json: Option<&Json>) -> Value {
    let json = json.filter(|json| !json.is_null());
    match (*kind, json) {
        (Type::Any, json) => json.map_or(Value::Nil, raw),
        (Type::Guess, json) => json.map_or(Value::Nil, |json| guess("", json)),
        (Type::Pointer(_, name), None) => Value::NilPointer(name),
        (Type::Pointer(inner, _), json) => of_type(inner, json),
        (Type::StructPointer(known), None) => Value::NilPointer(known.name),
        (Type::StructPointer(known) | Type::Struct(known), json) => structure(known, json),
        (Type::List(inner, type_name), json) => {
            let items = json.and_then(Json::as_array).into_iter().flatten();
            Value::List(Rc::new(List {
                items: items.map(|item| of_type(inner, Some(item))).collect(),
                is_nil: json.is_none(),
                type_name,
            }))
        }
        (Type::Map(inner, type_name, key_type), json) => {
            let entries = json.and_then(Json::as_object).into_iter().flatten();
            Value::Map(Rc::new(Map {
                entries: entries
                    .map(|(name, item)| (name.as_str().into(), of_type(inner, Some(item))))
                    .collect(),
                is_nil: json.is_none(),
                key_type,
                zero: of_type(inner, None),
                is_strict: false,
                type_name,
            }))
        }
        (Type::Bool, json) => Value::Bool(json.and_then(Json::as_bool).unwrap_or_default()),
        (Type::Int, json) => match json.and_then(Json::as_number) {
            Some(number) => of_number(number),
            None => Value::Int(0),
        },
        (Type::Duration, json) => {
            Value::text(go_duration(json.and_then(Json::as_i64).unwrap_or_default()))
        }
        (Type::Text, Some(Json::String(text))) => Value::text(text.as_str()),
        (Type::Text, Some(other)) => Value::text(other.to_string()),
        (Type::Text, None) => Value::text(""),
    }
}

fn structure(known: &'static StructType, json: Option<&Json>) -> Value {
    let mut fields: Vec<(Rc<str>, Value)> = Vec::with_capacity(known.fields.len());
    for (name, kind) in known.fields {
        let (name, key) = name.split_once(':').unwrap_or((name, name));
        let found = json.and_then(|json| json.get(key));
        fields.push((name.into(), of_type(kind, found)));
    }
    let json = json.cloned().unwrap_or(Json::Null);
    let type_name = known.name;
    Value::Struct(Rc::new(Struct { fields, json, labels: None, escapes: false, type_name }))
}

fn of_number(number: &serde_json::Number) -> Value {
    match number.as_i64() {
        Some(number) => Value::Int(number),
        None => Value::Float(number.as_f64().unwrap_or_default()),
    }
}

/// A value of a type that is not known.
fn guess(field: &str, json: &Json) -> Value {
    let type_name = match field {
        "Client" => "system.clientVersion",
        "Server" => "types.Version",
        _ => "struct",
    };
    guess_named(type_name, field, json)
}

fn guess_named(type_name: &'static str, field: &str, json: &Json) -> Value {
    match json {
        Json::Null if types::is_list(field) => of_type(&Type::List(&Type::Guess, "[]string"), None),
        Json::Null if types::is_map(field) => of_type(&types::STRINGS, None),
        Json::Null => Value::NilPointer("interface {}"),
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => of_number(number),
        Json::String(text) => Value::text(text.as_str()),
        Json::Array(items) => Value::List(Rc::new(List {
            type_name: if items.iter().all(Json::is_string) {
                "[]string"
            } else {
                "[]interface {}"
            },
            items: items.iter().map(|item| guess("", item)).collect(),
            is_nil: false,
        })),
        Json::Object(_) if types::is_map(field) => of_type(&types::GUESSES, Some(json)),
        Json::Object(entries) => Value::Struct(Rc::new(Struct {
            fields: entries
                .iter()
                .map(|(name, item)| (name.as_str().into(), guess(name, item)))
                .collect(),
            json: json.clone(),
            labels: None,
            escapes: false,
            type_name,
        })),
    }
}

/// A duration as Go prints it: `1m30s`.
fn go_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let decimal = |value: u64, unit: u64, name: &str| {
        let digits = (unit.max(1)).ilog10() as usize;
        let fraction = format!("{:0digits$}", value % unit);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() || unit == 1 { "" } else { "." };
        let fraction = if unit == 1 { "" } else { fraction };
        format!("{}{point}{fraction}{name}", value / unit)
    };
    let text = match total {
        0 => "0s".to_owned(),
        _ if total < 1_000 => decimal(total, 1, "ns"),
        _ if total < 1_000_000 => decimal(total, 1_000, "µs"),
        _ if total < 1_000_000_000 => decimal(total, 1_000_000, "ms"),
        _ => {
            let minutes = total / 60_000_000_000;
            let seconds = decimal(total % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (nanoseconds, want) in [
            (0, "0s"),
            (5, "5ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_000_000_000, "1s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-1_500_000_000, "-1.5s"),
        ] {
            assert_eq!(go_duration(nanoseconds), want);
        }
    }
}
