//! `image tree`: an image layer by layer.

use orlop_engine::{ImageTree, TreeLayer, TreeStep};
use orlop_types::size::table_size;

use super::Session;
use crate::args::ImageTreeArgs;
use crate::failure::{Failure, Outcome};
use crate::format::{self, ellipsis};
use crate::help::columns;
use crate::paint::{Ink, Paint, harmless};

/// Digits of an id.
const SHORT_ID_CHARS: usize = 12;
/// Columns before an instruction: the branch, a number, a size.
const MARGIN_CHARS: usize = 18;
/// Names of other images in one line, unless all are wanted.
const NAMES_MAX: usize = 4;

/// `image tree`
pub fn tree(session: &mut Session<'_, '_>, args: &ImageTreeArgs) -> Outcome {
    let tree = session.engine.image_tree(&args.name)?;
    match session.format(args.format.as_deref()).as_deref() {
        None | Some("") => {
            let columns = if args.no_trunc { usize::MAX } else { columns() };
            let text = text(&tree, columns, Paint::of_stdout());
            session.streams.out.write_all(text.as_bytes())?;
        }
        Some(chosen) => {
            let document =
                serde_json::to_value(&tree).map_err(|error| Failure::new(error.to_string()))?;
            format::document(session.streams.out, chosen, "tree", &document)?;
        }
    }
    Ok(0)
}

fn text(tree: &ImageTree, columns: usize, paint: Paint) -> String {
    let id = short(tree.id.digest().hex());
    let names = match tree.repo_tags.is_empty() {
        true => "<none>".to_owned(),
        false => tree.repo_tags.join(", "),
    };
    let layers = tree.steps.iter().filter(|step| step.layer.is_some()).count();
    let mut out = format!(
        "{}  {}  {}\n{} in {}, {} in {}",
        paint.ink(Ink::Bold, &names),
        paint.ink(Ink::Dim, &id),
        harmless(&tree.platform),
        table_size(tree.size),
        counted(layers as u64, "layer", "layers"),
        counted(tree.files, "file", "files"),
        counted(tree.directories, "directory", "directories"),
    );
    if tree.shared > 0 {
        out.push_str(&format!("; {} shared", table_size(tree.shared)));
    }
    if tree.wasted > 0 {
        let wasted = format!("{} wasted", table_size(tree.wasted));
        out.push_str(&format!("; {}", paint.ink(Ink::Magenta, &wasted)));
    }
    out.push_str("\n\n");
    for (at, step) in tree.steps.iter().enumerate() {
        let is_last = at + 1 == tree.steps.len();
        out.push_str(&lines(step, is_last, columns, paint));
    }
    out
}

/// The lines of one step.
fn lines(step: &TreeStep, is_last: bool, columns: usize, paint: Paint) -> String {
    let branch = if is_last { "└─" } else { "├─" };
    let (number, size) = match &step.layer {
        Some(layer) => (layer.number.to_string(), table_size(layer.size)),
        None => (String::new(), "–".to_owned()),
    };
    let width = columns.saturating_sub(MARGIN_CHARS).max(20);
    let instruction = ellipsis(&instruction(step), width);
    let instruction = match step.layer {
        Some(_) => instruction,
        None => paint.ink(Ink::Dim, &instruction),
    };
    let mut out = format!("{branch} {number:>3}  {size:>8}  {instruction}\n");
    let Some(layer) = &step.layer else { return out };
    let trunk = if is_last { " " } else { "│" };
    let indent = " ".repeat(MARGIN_CHARS - 1);
    let mut line = |text: String| {
        if !text.is_empty() {
            out.push_str(&format!("{trunk}{indent}{text}\n"));
        }
    };
    line(counts(layer, paint));
    line(paint.ink(Ink::Dim, &ellipsis(&shared(layer, columns), width)));
    out
}

fn counts(layer: &TreeLayer, paint: Paint) -> String {
    let number = |count: u64, text: &str| (count > 0).then(|| format!("{count} {text}"));
    let bytes =
        |bytes: u64, text: &str| (bytes > 0).then(|| format!("{} {text}", table_size(bytes)));
    let parts = [
        (Ink::Green, number(layer.added, "added")),
        (Ink::Yellow, number(layer.changed, "changed")),
        (Ink::Cyan, number(layer.attributes_only, "attributes only")),
        (Ink::Red, number(layer.deleted, "deleted")),
        (Ink::Dim, number(layer.rewritten, "written again")),
        (Ink::Magenta, bytes(layer.copied, "copied unchanged")),
        (Ink::Magenta, bytes(layer.wasted, "wasted")),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter_map(|(ink, text)| text.map(|text| paint.ink(ink, &text)))
        .collect();
    if parts.is_empty() { "no changes".to_owned() } else { parts.join(" · ") }
}

fn shared(layer: &TreeLayer, columns: usize) -> String {
    if layer.shared_with.is_empty() {
        return String::new();
    }
    let most = if columns == usize::MAX { usize::MAX } else { NAMES_MAX };
    let names: Vec<&str> = layer.shared_with.iter().take(most).map(String::as_str).collect();
    let more = layer.shared_with.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("shared with {}{more}", names.join(", "))
}

/// What made a step, in one line.
fn instruction(step: &TreeStep) -> String {
    let text = if step.created_by.is_empty() { &step.comment } else { &step.created_by };
    let text: Vec<&str> = text.split_whitespace().collect();
    let text = text.join(" ");
    // Docker's classic builder marks so what runs nothing.
    let text = text.strip_prefix("/bin/sh -c #(nop) ").unwrap_or(&text);
    if text.is_empty() { "(nothing is known)".to_owned() } else { harmless(text.trim()) }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn short(hex: &str) -> String {
    hex.chars().take(SHORT_ID_CHARS).collect()
}
