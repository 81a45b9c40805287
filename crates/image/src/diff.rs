//! `image diff`: how the files and the configurations of two images differ.

use std::collections::BTreeMap;

use orlop_meta::LayerRecord;
use orlop_types::ImageId;
use serde::Serialize;
use serde_json::Value;

use crate::images::config;
use crate::tree::{Stack, stack};
use crate::tree_compare::{AttributeChange, Contents, Difference, compare};
use crate::tree_files::{Files, Node, NodeKind};
use crate::{Error, Images, Result};

/// How two images differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageDiff {
    /// The first image.
    pub from: ImageId,
    /// The second image.
    pub to: ImageId,
    /// Layers that both stand on.
    pub common_layers: usize,
    /// What came to be, from the first to the second.
    pub totals: DiffTotals,
    /// Paths that differ, in order.
    pub files: Vec<FileDiff>,
    /// Settings that differ, in order.
    pub config: Vec<AttributeChange>,
}

/// Sums of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiffTotals {
    /// Objects of the second image only.
    pub added: u64,
    /// Objects with another content or of another kind.
    pub changed: u64,
    /// Objects that differ in attributes only.
    pub attributes_only: u64,
    /// Objects of the first image only.
    pub deleted: u64,
    /// Objects that are the same.
    pub same: u64,
    /// Bytes of the files of the first image.
    pub from_bytes: u64,
    /// Bytes of the files of the second image.
    pub to_bytes: u64,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FileChange {
    /// It is new.
    Added,
    /// It holds something else.
    Changed,
    /// Only attributes are others.
    Attributes,
    /// It is gone.
    Deleted,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FileDiff {
    /// Absolute; bytes that are no text are replaced.
    pub path: String,
    /// What happened.
    pub change: FileChange,
    /// `file`, `directory`, `symlink`, `device` or `fifo`: the second image's, or what it was.
    pub kind: &'static str,
    /// Bytes before; of files only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_before: Option<u64>,
    /// Bytes after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_after: Option<u64>,
    /// Attributes that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<AttributeChange>,
}

/// An image's files and where their contents are.
struct Side {
    files: Files,
    contents: Contents,
}

impl Images<'_> {
    /// Compares two images; with paths, only what is at or below one of them.
    pub fn diff(&self, from: &str, to: &str, paths: &[String]) -> Result<ImageDiff> {
        let _changing = self.store.changing()?;
        let (old, new) =
            self.store.read::<_, Error>(|query| Ok((stack(query, from)?, stack(query, to)?)))?;
        let wanted: Vec<Vec<u8>> = paths.iter().map(|path| wanted(path)).collect::<Result<_>>()?;
        let (common_layers, totals, files) =
            self.compare_stacks(&old.layers, &new.layers, &wanted)?;
        Ok(ImageDiff {
            common_layers,
            totals,
            files,
            config: if wanted.is_empty() { compare_config(&old, &new)? } else { Vec::new() },
            from: old.image.id,
            to: new.image.id,
        })
    }

    /// Compares the files of two stacks of layers. What both stand on is read once.
    pub(crate) fn compare_stacks(
        &self,
        old: &[LayerRecord],
        new: &[LayerRecord],
        wanted: &[Vec<u8>],
    ) -> Result<(usize, DiffTotals, Vec<FileDiff>)> {
        let same = |(old, new): &(&LayerRecord, &LayerRecord)| old.chain_id == new.chain_id;
        let common = old.iter().zip(new).take_while(same).count();
        let mut base = Files::new(self.layers.driver().whiteouts());
        for layer in old.iter().take(common) {
            base.apply(self.layers.layer_headers(&layer.chain_id)?)?;
        }
        let side = |mut files: Files, layers: &[LayerRecord]| {
            for layer in layers.iter().skip(common) {
                files.apply(self.layers.layer_headers(&layer.chain_id)?)?;
            }
            Ok::<_, Error>(Side { files, contents: self.contents(layers)? })
        };
        let old = side(base.clone(), old)?;
        let new = side(base, new)?;
        let (totals, files) = compare_files(&old, &new, common, wanted)?;
        Ok((common, totals, files))
    }
}

/// A path that a user names, as the tree has it.
fn wanted(path: &str) -> Result<Vec<u8>> {
    orlop_archive::name::clean(path.as_bytes()).map_err(|refusal| {
        let text = format!("path `{path}`: {refusal}");
        orlop_types::ParseError::new(text).into()
    })
}

fn is_wanted(wanted: &[Vec<u8>], path: &[u8]) -> bool {
    wanted.is_empty()
        || wanted.iter().any(|start| {
            path.strip_prefix(start.as_slice())
                .is_some_and(|rest| start.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
        })
}

fn compare_files(
    old: &Side,
    new: &Side,
    common: usize,
    wanted: &[Vec<u8>],
) -> Result<(DiffTotals, Vec<FileDiff>)> {
    let mut totals = DiffTotals::default();
    let mut differing = Vec::new();
    let mut before = old.files.nodes.iter().filter(|(path, _)| is_wanted(wanted, path)).peekable();
    let mut after = new.files.nodes.iter().filter(|(path, _)| is_wanted(wanted, path)).peekable();
    loop {
        let take_old = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((old, _)), Some((new, _))) => old <= new,
        };
        let take_new = match (before.peek(), after.peek()) {
            (_, None) => false,
            (None, _) => true,
            (Some((old, _)), Some((new, _))) => new <= old,
        };
        let was = if take_old { before.next() } else { None };
        let is = if take_new { after.next() } else { None };
        totals.from_bytes += bytes(was);
        totals.to_bytes += bytes(is);
        match (was, is) {
            (Some((path, was)), Some((_, is))) => {
                let is_untouched = was.layer < common
                    && was.layer == is.layer
                    && old.files.names_of(was) == new.files.names_of(is);
                let difference = if is_untouched {
                    Difference::None
                } else {
                    with_links(compare(path, (was, &old.contents), (is, &new.contents))?, {
                        (old.files.names_of(was), new.files.names_of(is))
                    })
                };
                pair(&mut totals, &mut differing, path, (was, is), difference);
            }
            (Some((path, was)), None) => {
                totals.deleted += 1;
                differing.push(line(path, FileChange::Deleted, Some(was), None, Vec::new()));
            }
            (None, Some((path, is))) => {
                totals.added += 1;
                differing.push(line(path, FileChange::Added, None, Some(is), Vec::new()));
            }
            (None, None) => break,
        }
    }
    Ok((totals, differing))
}

fn bytes(object: Option<(&Vec<u8>, &Node)>) -> u64 {
    object.map_or(0, |(_, node)| if node.kind == NodeKind::File { node.size } else { 0 })
}

/// The number of names of a file is an attribute as well.
fn with_links(difference: Difference, (before, after): (u32, u32)) -> Difference {
    if before == after {
        return difference;
    }
    let change = AttributeChange {
        name: "links".to_owned(),
        before: before.to_string(),
        after: after.to_string(),
    };
    match difference {
        Difference::None => Difference::Attributes(vec![change]),
        Difference::Attributes(mut all) => {
            all.push(change);
            Difference::Attributes(all)
        }
        Difference::Content(mut all) => {
            all.push(change);
            Difference::Content(all)
        }
    }
}

fn pair(
    totals: &mut DiffTotals,
    differing: &mut Vec<FileDiff>,
    path: &[u8],
    (was, is): (&Node, &Node),
    difference: Difference,
) {
    let (change, attributes) = match difference {
        Difference::None => {
            totals.same += 1;
            return;
        }
        Difference::Attributes(attributes) => {
            totals.attributes_only += 1;
            (FileChange::Attributes, attributes)
        }
        Difference::Content(attributes) => {
            totals.changed += 1;
            (FileChange::Changed, attributes)
        }
    };
    differing.push(line(path, change, Some(was), Some(is), attributes));
}

fn line(
    path: &[u8],
    change: FileChange,
    was: Option<&Node>,
    is: Option<&Node>,
    attributes: Vec<AttributeChange>,
) -> FileDiff {
    let size =
        |node: Option<&Node>| node.filter(|node| node.kind == NodeKind::File).map(|node| node.size);
    FileDiff {
        path: format!("/{}", String::from_utf8_lossy(path)),
        change,
        kind: is.or(was).map_or("file", kind),
        size_before: size(was),
        size_after: size(is),
        attributes,
    }
}

fn kind(node: &Node) -> &'static str {
    match node.kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Symlink(_) => "symlink",
        NodeKind::Char(..) | NodeKind::Block(..) => "device",
        NodeKind::Fifo => "fifo",
    }
}

/// The settings that differ: one line for each variable, label, port and so on.
fn compare_config(old: &Stack, new: &Stack) -> Result<Vec<AttributeChange>> {
    let (old, new) = (settings(old)?, settings(new)?);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let changes = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    let value = |settings: &BTreeMap<String, String>, name: &String| {
        settings.get(name).cloned().unwrap_or_default()
    };
    Ok(changes
        .map(|name| AttributeChange {
            name: name.clone(),
            before: value(&old, name),
            after: value(&new, name),
        })
        .collect())
}

fn settings(stack: &Stack) -> Result<BTreeMap<String, String>> {
    let config = config(&stack.image)?;
    let mut settings = BTreeMap::from([
        ("Architecture".to_owned(), config.architecture),
        ("Os".to_owned(), config.os),
        ("Variant".to_owned(), config.variant),
    ]);
    let all = serde_json::to_value(&config.config).unwrap_or_default();
    for (name, value) in all.as_object().into_iter().flatten() {
        match value {
            Value::Array(items) if name == "Env" => {
                for item in items.iter().filter_map(Value::as_str) {
                    let (variable, value) = item.split_once('=').unwrap_or((item, ""));
                    settings.insert(format!("Env.{variable}"), value.to_owned());
                }
            }
            Value::Object(members) => {
                for (member, value) in members {
                    settings.insert(format!("{name}.{member}"), shown(value));
                }
            }
            value => drop(settings.insert(name.clone(), shown(value))),
        }
    }
    // A variable or label may be empty and yet be there.
    settings.retain(|name, value| name.contains('.') || !value.is_empty());
    Ok(settings)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(false) => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
