//! What a saved image says of itself: its configuration, its history, its files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::tree::Tree;

/// Blobs of a saved image by their place in the archive.
type Blobs = BTreeMap<String, Vec<u8>>;

/// Lines about the image in an archive that `save` wrote; `base` is what `FROM busybox` brings.
pub(super) fn lines(
    archive: &Path,
    base: &Tree,
    mtime: bool,
    created: bool,
) -> Result<Vec<String>, String> {
    let blobs = read(archive)?;
    let manifest = json(&blobs, "manifest.json")?;
    let image = manifest.get(0).ok_or("the archive holds no image")?;
    let config = json(&blobs, image["Config"].as_str().unwrap_or_default())?;
    let mut lines = described(&config, created);
    let mut tree = Tree::default();
    let mut over_base = false;
    let layers = image["Layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, layer) in layers.iter().enumerate() {
        let name = layer.as_str().unwrap_or_default();
        let bytes = blobs.get(name).ok_or_else(|| format!("the archive lacks {name}"))?;
        tree.apply(bytes)?;
        over_base |= index == 0 && tree.equals(base);
    }
    let nothing = Tree::default();
    lines.extend(tree.lines(if over_base { base } else { &nothing }, mtime));
    Ok(lines)
}

fn read(archive: &Path) -> Result<Blobs, String> {
    let wrong = |why: std::io::Error| format!("read {}: {why}", archive.display());
    let file = std::fs::File::open(archive).map_err(wrong)?;
    let mut blobs = Blobs::new();
    for entry in tar::Archive::new(std::io::BufReader::new(file)).entries().map_err(wrong)? {
        let mut entry = entry.map_err(wrong)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(wrong)?;
        blobs.insert(name, bytes);
    }
    Ok(blobs)
}

fn json(blobs: &Blobs, name: &str) -> Result<Value, String> {
    let bytes = blobs.get(name).ok_or_else(|| format!("the archive lacks `{name}`"))?;
    serde_json::from_slice(bytes).map_err(|why| format!("{name}: {why}"))
}

/// The configuration: members that say something, in order of their names.
fn described(config: &Value, created: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |key: &str, value: &Value| {
        let nothing = match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty() && !matches!(key, "Cmd" | "Entrypoint"),
            Value::Object(members) => members.is_empty(),
            Value::Bool(yes) => !yes,
            Value::Number(_) => false,
        };
        if !nothing {
            lines.push(format!("config {key} {}", sorted(value)));
        }
    };
    for key in ["architecture", "author", "os", "variant"] {
        say(key, &config[key]);
    }
    if created {
        say("created", &config["created"]);
    }
    let members = config["config"].as_object().cloned().unwrap_or_default();
    let members: BTreeMap<_, _> = members.iter().collect();
    for (key, value) in members {
        say(key, value);
    }
    let layers = config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
    lines.push(format!("layers {layers}"));
    for step in config["history"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = |key: &str| step[key].as_str().unwrap_or_default();
        if text("comment").starts_with("Imported from") {
            continue;
        }
        let empty = if step["empty_layer"] == true { "- " } else { "" };
        let time = if created { format!("@{} ", text("created")) } else { String::new() };
        let by = text("created_by").replace('\n', "\\n").replace('\t', "\\t");
        lines.push(format!("history {empty}{time}{by}"));
    }
    lines
}

/// Compact JSON with the members of objects in order.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            let words: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), sorted(value)))
                .collect();
            format!("{{{}}}", words.join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_a_configuration_says() {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "author": "",
            "config": {"Env": ["A=1"], "Cmd": [], "Labels": {"b": "2", "a": "1"}, "User": ""},
            "rootfs": {"diff_ids": ["x", "y"]},
            "history": [
                {"comment": "Imported from -"},
                {"created_by": "RUN <<E\nx\nE", "created": "t"},
                {"created_by": "ENV A=1", "empty_layer": true, "created": "t"},
            ],
        });
        assert_eq!(
            described(&config, false),
            [
                "config architecture \"amd64\"",
                "config os \"linux\"",
                "config Cmd []",
                "config Env [\"A=1\"]",
                "config Labels {\"a\":\"1\",\"b\":\"2\"}",
                "layers 2",
                "history RUN <<E\\nx\\nE",
                "history - ENV A=1",
            ]
        );
        assert!(described(&config, true).contains(&"history @t RUN <<E\\nx\\nE".to_owned()));
    }
}
