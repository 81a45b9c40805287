//! JSON documents as template values, with Go's difference between structs and maps.
//!
//! `gotmpl` has one kind of map, sorted by key and printed `map[k:v]`. In Docker most objects are
//! structs: printed `{a b}` and, as JSON, in the order of their fields. An object that is a struct in
//! Docker therefore carries three hidden entries, whose keys sort before and after every real one:
//! [`TEXT`] (how Go prints it), [`JSON`] (its compact JSON) and [`END`]. Wherever the map is printed,
//! the output holds `map[TEXT:…MARK …END:END]`, and [`restore`] puts Go's text in its place.
//!
//! Which objects are maps is known by the name of the field that holds them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use gotmpl::Value;
use serde_json::Value as Json;

/// Key of Go's text of a struct; sorts first. The text ends with [`MARK`].
const TEXT: &str = "\u{0}";
/// Key of a struct's JSON.
pub(crate) const JSON: &str = "\u{1}";
/// Ends the text of [`TEXT`].
const MARK: char = '\u{2}';
/// Key and value that end a struct; sorts last.
const END: &str = "\u{10FFFF}";

/// Fields whose objects are maps.
const MAPS: &[&str] = &[
    "Annotations",
    "Attributes",
    "Data",
    "DriverOpts",
    "EndpointsConfig",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Status",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Fields whose `null` is a nil list in Docker.
const LISTS: &[&str] = &[
    "Aliases",
    "Binds",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Layers",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecurityOpt",
    "Shell",
    "Test",
    "Ulimits",
    "VolumesFrom",
];

/// Fields that Docker's JSON leaves out when they are unset but its templates know.
const OPTIONAL: &[(&str, &[&str])] = &[
    ("Config", &["ExposedPorts", "Healthcheck", "Shell", "StopSignal", "StopTimeout"]),
    ("HostConfig", &["Init", "Mounts", "StorageOpt", "Sysctls", "Tmpfs"]),
    ("State", &["Health"]),
];

/// The one nil list: told apart from an empty list by its address, so that `json` can say `null`.
static NIL_LIST: LazyLock<Arc<[Value]>> = LazyLock::new(|| Arc::from(Vec::new()));
/// The one nil map.
static NIL_MAP: LazyLock<Arc<BTreeMap<Arc<str>, Value>>> = LazyLock::new(Arc::default);

/// Converts a document.
pub(crate) fn convert(document: &Json) -> Value {
    convert_field("", "", document)
}

/// Whether an object held by `field` of an object held by `parent` is a map.
fn is_map(parent: &str, field: &str) -> bool {
    MAPS.contains(&field) || (parent == "LogConfig" && field == "Config")
}

fn convert_field(parent: &str, field: &str, json: &Json) -> Value {
    match json {
        Json::Null if is_nil_list(parent, field) => Value::List(Arc::clone(&NIL_LIST)),
        Json::Null if is_map(parent, field) => Value::Map(Arc::clone(&NIL_MAP)),
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::Uint(number),
            _ => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::String(text.as_str().into()),
        Json::Array(items) => {
            // Items of a list are named like the list, one level down.
            Value::List(items.iter().map(|item| convert_field(field, "", item)).collect())
        }
        Json::Object(entries) => {
            let mut map: BTreeMap<Arc<str>, Value> = entries
                .iter()
                .map(|(name, value)| (name.as_str().into(), convert_field(field, name, value)))
                .collect();
            if !is_map(parent, field) {
                let known = OPTIONAL.iter().find(|(name, _)| *name == field);
                for &name in known.map_or(&[][..], |(_, names)| names) {
                    map.entry(name.into())
                        .or_insert_with(|| convert_field(field, name, &Json::Null));
                }
                let mut text = String::new();
                print(parent, field, json, &mut text);
                text.push(MARK);
                map.insert(TEXT.into(), Value::String(text.into()));
                map.insert(JSON.into(), Value::String(json.to_string().into()));
                map.insert(END.into(), Value::String(END.into()));
            }
            Value::Map(Arc::new(map))
        }
    }
}

/// `null` under `Ports` and `PortBindings` is a port without bindings: a nil list too.
fn is_nil_list(parent: &str, field: &str) -> bool {
    LISTS.contains(&field) || matches!(parent, "Ports" | "PortBindings")
}

/// Writes a value as Go's `fmt` does with `%v`.
fn print(parent: &str, field: &str, json: &Json, out: &mut String) {
    match json {
        Json::Null if is_nil_list(parent, field) => out.push_str("[]"),
        Json::Null if is_map(parent, field) => out.push_str("map[]"),
        Json::Null => out.push_str("<nil>"),
        Json::String(text) => out.push_str(text),
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { " " });
                print(field, "", item, out);
            }
            out.push(']');
        }
        Json::Object(entries) if is_map(parent, field) => {
            let sorted: BTreeMap<_, _> = entries.iter().collect();
            out.push_str("map[");
            for (at, (name, value)) in sorted.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { " " });
                out.push_str(name);
                out.push(':');
                print(field, name, value, out);
            }
            out.push(']');
        }
        Json::Object(entries) => {
            out.push('{');
            for (at, (name, value)) in entries.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { " " });
                print(field, name, value, out);
            }
            out.push('}');
        }
        // Writing to a String cannot fail.
        Json::Bool(_) | Json::Number(_) => drop(write!(out, "{json}")),
    }
}

/// Puts Go's text of structs in the place of printed maps; `None` if a hidden entry got out alone.
pub(crate) fn restore(text: &str) -> Option<String> {
    let open = format!("map[{TEXT}:");
    let close = format!("{END}:{END}]");
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&open) {
        out.push_str(before);
        let (go_text, mut tail) = after.split_once(MARK)?;
        out.push_str(go_text);
        // The rest of the map may hold further structs; skip to the end of this one.
        let mut depth = 1_usize;
        while depth > 0 {
            let end = tail.find(&close)?;
            match tail.find(&open) {
                Some(start) if start < end => {
                    depth += 1;
                    tail = &tail[start + open.len()..];
                }
                _ => {
                    depth -= 1;
                    tail = &tail[end + close.len()..];
                }
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    let hidden = |text: &str| text.contains(['\u{0}', '\u{1}', MARK, '\u{10FFFF}']);
    (!hidden(&out)).then_some(out)
}

/// The compact JSON of a value.
pub(crate) fn to_json(value: &Value) -> String {
    match value {
        Value::Nil => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Float(number) => Json::from(*number).to_string(),
        Value::List(items) if Arc::ptr_eq(items, &NIL_LIST) => "null".to_owned(),
        Value::List(items) => {
            format!("[{}]", items.iter().map(to_json).collect::<Vec<_>>().join(","))
        }
        Value::Map(entries) if Arc::ptr_eq(entries, &NIL_MAP) => "null".to_owned(),
        Value::Map(entries) => match entries.get(JSON) {
            Some(Value::String(json)) => json.to_string(),
            _ => {
                let pairs = entries
                    .iter()
                    .map(|(name, value)| format!("{}:{}", Json::from(&**name), to_json(value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
            }
        },
        other => Json::from(other.to_string()).to_string(),
    }
}
