//! Cache keys: what a step is and what it stands on and reads, in one digest.
//!
//! * **by definition**: the step's digest, the definition keys of the steps that it stands on and
//!   reads, and the digests of what it reads from contexts. Known before anything runs, so a step may
//!   be found although those below it are gone.
//! * **by content**: the step's digest, the layer that it stands on and the digests of what it reads.
//!   Equal whenever the outcome is, however it came about.
//! * **of a link**: as by content, without what it stands on.
//!
//! Each begins with a version of its own: whoever changes what goes in changes that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use orlop_archive::digest;
use orlop_types::ChainId;

use crate::cache::InputDigest;
use crate::copy::Selection;
use crate::graph::{Files, Graph, NodeId, NodeKind, Step};
use crate::sources::Sources;
use crate::step::Operation;
use crate::{Cancel, Error, Result};

/// What is selected from inputs, by node and number of the input.
pub(crate) type Selections = HashMap<(NodeId, usize), Selection>;

/// Digests the parts; each on a line of its own, none of them has one.
fn key(version: &str, parts: &[&str]) -> String {
    digest::of_bytes(format!("{version}\n{}", parts.join("\n")).as_bytes()).to_string()
}

/// The key by content.
pub(crate) fn content_key(step: &Step, below: Option<&ChainId>, inputs: &[InputDigest]) -> String {
    let mut parts = vec![step.digest.as_str(), below.map_or("scratch", ChainId::as_str)];
    parts.extend(inputs.iter().map(|input| input.digest.as_str()));
    key("orlop content 1", &parts)
}

/// The key of a layer that does not depend on what is below it.
pub(crate) fn link_key(step: &Step, inputs: &[InputDigest]) -> String {
    let mut parts = vec![step.digest.as_str()];
    parts.extend(inputs.iter().map(|input| input.digest.as_str()));
    key("orlop link 1", &parts)
}

/// The key of the files that a mount of a context shows.
pub(crate) fn mount_key(selection: &str) -> String {
    key("orlop mount 1", &[selection])
}

/// How many inputs of the step have digests: a copy of nothing but here-documents and URLs counts as
/// one.
pub(crate) fn input_count(step: &Step) -> usize {
    match &step.operation {
        Operation::Copy(_) => step.inputs.len().max(1),
        _ => step.inputs.len(),
    }
}

/// The definition keys of some nodes, by number of the node, with what was selected from contexts for
/// them.
pub(crate) fn definitions(
    graph: &Graph,
    sources: &Sources<'_>,
    needed: &[NodeId],
    stop: &Cancel,
) -> Result<(Vec<String>, Selections)> {
    let selections = select_all(graph, sources, needed, stop)?;
    let mut keys = vec![String::new(); graph.nodes.len()];
    for id in needed {
        let definition = match &graph.node(*id)?.kind {
            NodeKind::Base(top) => top.as_ref().map_or("scratch".to_owned(), ToString::to_string),
            NodeKind::Step(step) => definition(graph, *id, step, &keys, &selections)?,
        };
        if let Some(slot) = keys.get_mut(*id) {
            *slot = definition;
        }
    }
    Ok((keys, selections))
}

fn definition(
    graph: &Graph,
    id: NodeId,
    step: &Step,
    keys: &[String],
    selections: &Selections,
) -> Result<String> {
    let of = |node: Option<NodeId>| match node {
        Some(node) => keys.get(node).cloned().unwrap_or_default(),
        None => "scratch".to_owned(),
    };
    let mut parts = vec![step.digest.clone(), of(step.parent)];
    for at in 0..input_count(step) {
        let files = match step.inputs.get(at) {
            Some(input) => graph.files(&input.input)?,
            None => Files::Context,
        };
        parts.push(match files {
            Files::Context => match selections.get(&(id, at)) {
                Some(selection) => selection.digest().to_string(),
                None => return Err(Error::invalid("a context was not looked at")),
            },
            Files::Node(node) => of(node),
        });
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(key("orlop definition 1", &parts))
}

/// Looks at everything that steps read from contexts, several at a time.
fn select_all(
    graph: &Graph,
    sources: &Sources<'_>,
    needed: &[NodeId],
    stop: &Cancel,
) -> Result<Selections> {
    let mut wanted = Vec::new();
    for id in needed {
        let NodeKind::Step(step) = &graph.node(*id)?.kind else { continue };
        for at in 0..input_count(step) {
            let is_context = match step.inputs.get(at) {
                Some(input) => graph.files(&input.input)? == Files::Context,
                None => true,
            };
            if is_context {
                wanted.push((*id, at, step));
            }
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len());
    let next = AtomicUsize::new(0);
    let found = Mutex::new(HashMap::new());
    let failed = Mutex::new(None);
    let work = || {
        while let Some((id, at, step)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            match sources.select(graph, *id, step, *at, None, stop) {
                Ok(selection) => {
                    found
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert((*id, *at), selection);
                }
                Err(error) => {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}
