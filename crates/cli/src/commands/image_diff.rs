//! `image diff`: how two images differ.

use std::io::Write;

use orlop_engine::{AttributeChange, FileChange, FileDiff, ImageDiff};
use orlop_types::size::table_size;

use super::Session;
use crate::args::ImageDiffArgs;
use crate::failure::{Failure, Outcome};
use crate::format;
use crate::paint::{Ink, Paint, harmless};

/// `image diff`
pub fn diff(session: &mut Session<'_, '_>, args: &ImageDiffArgs) -> Outcome {
    let mut diff = session.engine.image_diff(&args.from, &args.to, &args.paths)?;
    let differ = !diff.files.is_empty() || !diff.config.is_empty();
    let code = i32::from(differ && args.exit_code);
    if args.summary {
        diff.files.clear();
        diff.config.clear();
    }
    match session.format(args.format.as_deref()).as_deref() {
        None | Some("") => show(session.streams.out, &diff, Paint::of_stdout())?,
        Some(chosen) => {
            let document =
                serde_json::to_value(&diff).map_err(|error| Failure::new(error.to_string()))?;
            format::document(session.streams.out, chosen, "diff", &document)?;
        }
    }
    Ok(code)
}

fn show(out: &mut dyn Write, diff: &ImageDiff, paint: Paint) -> std::io::Result<()> {
    for file in &diff.files {
        writeln!(out, "{}", line(file, paint))?;
    }
    if !diff.config.is_empty() {
        if !diff.files.is_empty() {
            writeln!(out)?;
        }
        for change in &diff.config {
            writeln!(out, "S {}", setting(change, paint))?;
        }
    }
    if !diff.files.is_empty() || !diff.config.is_empty() {
        writeln!(out)?;
    }
    let totals = &diff.totals;
    writeln!(
        out,
        "{}, {}, {}, {}, {} the same; {}",
        paint.ink(Ink::Green, &format!("{} added", totals.added)),
        paint.ink(Ink::Yellow, &format!("{} changed", totals.changed)),
        paint.ink(Ink::Cyan, &format!("{} attributes only", totals.attributes_only)),
        paint.ink(Ink::Red, &format!("{} deleted", totals.deleted)),
        totals.same,
        sizes(totals.from_bytes, totals.to_bytes),
    )
}

fn sizes(before: u64, after: u64) -> String {
    if before == after {
        return table_size(before);
    }
    format!("{} → {}", table_size(before), table_size(after))
}

/// `A` added, `C` changed, `M` other attributes, `D` deleted; directories end in a slash.
fn line(file: &FileDiff, paint: Paint) -> String {
    let (letter, ink) = match file.change {
        FileChange::Added => ("A", Ink::Green),
        FileChange::Changed => ("C", Ink::Yellow),
        FileChange::Attributes => ("M", Ink::Cyan),
        FileChange::Deleted => ("D", Ink::Red),
    };
    let slash = if file.kind == "directory" { "/" } else { "" };
    let path = format!("{letter} {}{slash}", harmless(&file.path));
    let mut notes: Vec<String> = Vec::new();
    match (file.size_before, file.size_after) {
        (Some(before), Some(after)) if before != after => notes.push(sizes(before, after)),
        (None, Some(bytes)) | (Some(bytes), None) if file.change != FileChange::Changed => {
            notes.push(table_size(bytes));
        }
        (None, None) if matches!(file.kind, "symlink" | "device" | "fifo") => {
            notes.push(file.kind.to_owned());
        }
        _ => {}
    }
    notes.extend(file.attributes.iter().map(note));
    if notes.is_empty() {
        return paint.ink(ink, &path);
    }
    format!("{}  {}", paint.ink(ink, &path), paint.ink(Ink::Dim, &notes.join(", ")))
}

fn note(change: &AttributeChange) -> String {
    let value = |text: &str| if text.is_empty() { "none".to_owned() } else { harmless(text) };
    format!("{} {} → {}", harmless(&change.name), value(&change.before), value(&change.after))
}

fn setting(change: &AttributeChange, paint: Paint) -> String {
    let value = |text: &str| if text.is_empty() { "–".to_owned() } else { harmless(text) };
    let name = paint.ink(Ink::Yellow, &harmless(&change.name));
    format!("{name}  {} → {}", value(&change.before), value(&change.after))
}
