//! `explain`: where the files of a container come from.

use orlop_engine::explain::{
    Explanation, HiddenLine, LayerLine, MountLine, ObjectLine, PathExplanation, Role, Supplier,
};
use orlop_types::size::table_size;
use serde::Serialize;
use serde_json::{Value, json};

use super::Session;
use crate::args::Explain;
use crate::failure::{Failure, Outcome};
use crate::format::{self, ListStyle, ellipsis};

/// Characters of an instruction in the table.
const INSTRUCTION_MAX_CHARS: usize = 60;
/// Width of the words before a line of text.
const LABEL_CHARS: usize = 10;

const MOUNTS: ListStyle<'static> = ListStyle {
    row_type: "mount",
    table: "{{.Target}}\t{{.Kind}}\t{{.Source}}\t{{.Mode}}\t{{.Why}}\t{{.Hides}}",
    quiet: "{{.Target}}",
    headings: &[
        ("Target", "MOUNT"),
        ("Kind", "KIND"),
        ("Source", "SOURCE"),
        ("Mode", "MODE"),
        ("Why", "WHY"),
        ("Hides", "HIDES"),
    ],
};

const LAYERS: ListStyle<'static> = ListStyle {
    row_type: "layer",
    table: "{{.Index}}\t{{.Layer}}\t{{.Size}}\t{{.CreatedBy}}",
    quiet: "{{.Layer}}",
    headings: &[
        ("Index", "LAYER"),
        ("Layer", "DIGEST"),
        ("Size", "SIZE"),
        ("CreatedBy", "CREATED BY"),
    ],
};

/// `explain`
pub fn explain(session: &mut Session<'_, '_>, args: &Explain) -> Outcome {
    let format = session.format(args.format.as_deref());
    match &args.path {
        None => {
            let explanation = session.engine.container_explain(&args.name)?;
            show(session, format.as_deref(), &explanation, whole)
        }
        Some(path) => {
            let explanation = session.engine.container_explain_path(&args.name, path)?;
            show(session, format.as_deref(), &explanation, |told| Ok(one(told)))
        }
    }
}

/// Writes the document by `--format`, or its text.
fn show<T: Serialize>(
    session: &mut Session<'_, '_>,
    format: Option<&str>,
    explanation: &T,
    text: impl Fn(&T) -> Result<String, Failure>,
) -> Outcome {
    match format {
        None | Some("") => session.streams.out.write_all(text(explanation)?.as_bytes())?,
        Some(chosen) => {
            let document = serde_json::to_value(explanation)
                .map_err(|error| Failure::new(error.to_string()))?;
            format::document(session.streams.out, chosen, "explanation", &document)?;
        }
    }
    Ok(0)
}

/// The tables of all mounts and layers.
fn whole(explanation: &Explanation) -> Result<String, Failure> {
    let mounts: Vec<Value> = explanation.mounts.iter().map(mount_row).collect();
    let layers: Vec<Value> = explanation.layers.iter().map(layer_row).collect();
    let mounts = MOUNTS.render(None, false, &mounts)?;
    let layers = LAYERS.render(None, false, &layers)?;
    Ok(format!("{mounts}\n{layers}"))
}

fn mount_row(mount: &MountLine) -> Value {
    json!({
        "Target": mount.target,
        "Kind": mount.kind,
        "Source": shown_source(mount),
        "Mode": mount.mode,
        "Why": mount.why,
        "Hides": mount.hides,
    })
}

/// A random name is as long as a line; its beginning is enough.
fn shown_source(mount: &MountLine) -> String {
    match mount.kind.as_str() {
        "volume" if mount.source.len() == 64 => mount.source.chars().take(12).collect(),
        // Its whole path in the container's directory tells nothing more.
        "engine" => mount.source.rsplit('/').next().unwrap_or_default().to_owned(),
        _ => mount.source.clone(),
    }
}

fn layer_row(layer: &LayerLine) -> Value {
    let digits = layer.digest.strip_prefix("sha256:").unwrap_or(&layer.digest);
    json!({
        "Index": layer.index.map_or_else(|| layer.kind.clone(), |index| index.to_string()),
        "Layer": digits.chars().take(12).collect::<String>(),
        "Size": layer.size_bytes.map(table_size).unwrap_or_default(),
        "CreatedBy": ellipsis(&layer.created_by, INSTRUCTION_MAX_CHARS).replace(char::is_control, "?"),
    })
}

/// The lines about one path.
fn one(explanation: &PathExplanation) -> String {
    let mut text = format!("{}\n", explanation.path.replace(char::is_control, "?"));
    // Names and instructions are the image's: they must not steer the terminal.
    let mut line = |label: &str, what: &str| {
        let what = what.replace(char::is_control, "?");
        text.push_str(&format!("  {label:<LABEL_CHARS$}{what}\n"));
    };
    for step in &explanation.links {
        line("link", &format!("{} -> {}", step.link, step.target));
    }
    match &explanation.object {
        Some(found) => line("is", &format!("{}, {}", explanation.resolved, object(found))),
        None => line("is", &format!("{}, which does not exist", explanation.resolved)),
    }
    for (label, what) in supplied(explanation) {
        line(label, &what);
    }
    for (label, what) in versions(explanation) {
        line(label, &what);
    }
    for hidden in &explanation.hidden {
        line("hides", &hidden_line(hidden));
    }
    text
}

/// What supplies the path, in one or two lines.
fn supplied(explanation: &PathExplanation) -> Vec<(&'static str, String)> {
    let exists = explanation.object.is_some();
    let from = if exists { "from" } else { "would be" };
    match &explanation.supplier {
        Supplier::Layers { layer, copied_up_from, deleted_by } => {
            let mut lines = Vec::new();
            match (layer, deleted_by) {
                (Some(layer), _) => lines.push((from, layer_line(layer))),
                (None, Some(layer)) => lines.push(("deleted", format!("in {}", layer.label()))),
                (None, None) => lines.push((from, "in the writable layer; no layer has it".into())),
            }
            if let Some(layer) = copied_up_from {
                lines.push(("copied up", format!("from {}", layer_line(layer))));
            }
            lines
        }
        Supplier::Mount { mount, host_path } => {
            let name = match mount.source.as_str() {
                "" => mount.kind.clone(),
                source => format!("{} {source}", mount.kind),
            };
            let mut lines =
                vec![(from, format!("{name} on {} ({}, {})", mount.target, mount.mode, mount.why))];
            if !host_path.is_empty() && *host_path != mount.source {
                lines.push(("host path", host_path.clone()));
            }
            lines
        }
        Supplier::Other { target, filesystem } => {
            let when = if exists { "" } else { ", while the container runs" };
            vec![(from, format!("{filesystem} on {target}{when}"))]
        }
    }
}

/// What other layers have at the path; for a path on a mount, the hidden lines tell it.
fn versions(explanation: &PathExplanation) -> Vec<(&'static str, String)> {
    if !matches!(explanation.supplier, Supplier::Layers { .. }) {
        return Vec::new();
    }
    let lines = explanation.layers.iter().filter_map(|version| {
        let label = match version.role {
            Role::Merges => "merged",
            Role::Hidden => "hides",
            Role::Supplies | Role::Deletes => return None,
        };
        let found = version.object.as_ref().map(object).unwrap_or_default();
        Some((label, format!("{}: {found}", version.layer.label())))
    });
    lines.collect()
}

fn layer_line(layer: &LayerLine) -> String {
    match layer.created_by.as_str() {
        "" => layer.label(),
        instruction => format!("{}: {instruction}", layer.label()),
    }
}

fn hidden_line(hidden: &HiddenLine) -> String {
    let found = &hidden.object;
    let what = match found.kind.as_str() {
        "directory" => format!("directory with {} entries", found.size_bytes),
        _ => object(found),
    };
    match hidden.host_path.as_str() {
        "" => format!("{}: {what}", hidden.of),
        path => format!("{}: {what}, {path}", hidden.of),
    }
}

fn object(found: &ObjectLine) -> String {
    let ObjectLine { kind, size_bytes, mode, owner } = found;
    match kind.as_str() {
        "file" => format!("{kind}, {size_bytes} bytes, mode {mode}, owner {owner}"),
        _ => format!("{kind}, mode {mode}, owner {owner}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(index: usize) -> LayerLine {
        LayerLine {
            index: Some(index),
            kind: "image".to_owned(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            size_bytes: Some(2048),
            created_by: format!("COPY {index}"),
        }
    }

    fn file(size_bytes: i64) -> ObjectLine {
        ObjectLine {
            kind: "file".to_owned(),
            size_bytes,
            mode: "0644".to_owned(),
            owner: "0:0".to_owned(),
        }
    }

    fn explanation(supplier: Supplier) -> PathExplanation {
        PathExplanation {
            path: "/l".to_owned(),
            links: vec![orlop_engine::explain::LinkLine {
                link: "/l".to_owned(),
                target: "etc/f".to_owned(),
            }],
            resolved: "/etc/f".to_owned(),
            object: Some(file(7)),
            supplier,
            layers: vec![orlop_engine::explain::VersionLine {
                layer: layer(1),
                role: Role::Hidden,
                object: Some(file(5)),
            }],
            hidden: Vec::new(),
        }
    }

    #[test]
    fn a_path_is_told_in_lines() {
        let supplier =
            Supplier::Layers { layer: Some(layer(2)), copied_up_from: None, deleted_by: None };
        assert_eq!(
            one(&explanation(supplier)),
            "/l\n  link      /l -> etc/f\n  is        /etc/f, file, 7 bytes, mode 0644, owner 0:0\n  \
             from      layer 2 (abababababab): COPY 2\n  \
             hides     layer 1 (abababababab): file, 5 bytes, mode 0644, owner 0:0\n"
        );
    }

    #[test]
    fn names_do_not_steer_the_terminal() {
        let mut told = explanation(Supplier::Other { target: "/".into(), filesystem: "x".into() });
        told.resolved = "/a\u{1b}[2J\nb".to_owned();
        assert!(one(&told).contains("  is        /a?[2J?b, file"), "{}", one(&told));
    }

    #[test]
    fn a_deleted_path_says_where() {
        let mut told = explanation(Supplier::Layers {
            layer: None,
            copied_up_from: None,
            deleted_by: Some(layer(3)),
        });
        told.object = None;
        let text = one(&told);
        assert!(text.contains("  is        /etc/f, which does not exist\n"), "{text}");
        assert!(text.contains("  deleted   in layer 3 (abababababab)\n"), "{text}");
    }
}
