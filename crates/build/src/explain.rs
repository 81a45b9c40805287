//! Why a step is not taken from the cache (`--explain`), by comparing with what earlier keys were
//! made of.

use orlop_meta::CacheReason;
use orlop_types::ChainId;

use crate::Result;
use crate::cache::{Cache, InputDigest, InputDigests};
use crate::graph::{Graph, Step};
use crate::solve::Made;

/// Files that one reason names.
const NAMED: usize = 3;

/// One line that says why a step has to run.
pub(crate) fn reason(
    cache: &Cache<'_>,
    graph: &Graph,
    step: &Step,
    below: &Made,
    inputs: &[InputDigest],
) -> Result<String> {
    if step.no_cache {
        return Ok("the cache was not asked (`--no-cache`)".to_owned());
    }
    let parent = below.top.as_ref().map_or("", ChainId::as_str);
    let same = cache.reasons_of(&step.digest)?;
    if let Some(earlier) = same.iter().find(|earlier| earlier.parent == parent) {
        return Ok(inputs_changed(&digests(earlier), inputs));
    }
    let below_name = match step.parent {
        Some(node) => graph.node(node)?.name.clone(),
        None => "scratch".to_owned(),
    };
    if let Some(earlier) = same.first() {
        let changed = inputs_changed(&digests(earlier), inputs);
        let parent_changed = format!("its parent changed: {below_name}");
        let inputs_differ = digests(earlier)
            .inputs
            .iter()
            .map(|input| &input.digest)
            .ne(inputs.iter().map(|input| &input.digest));
        return Ok(if inputs_differ {
            format!("{parent_changed}; {changed}")
        } else {
            parent_changed
        });
    }
    for earlier in cache.reasons_on(parent)? {
        if let Some(difference) = operation_changed(&earlier.operation, &step.json) {
            return Ok(difference);
        }
    }
    Ok(if below.fresh {
        format!("its parent changed: {below_name}")
    } else {
        "it was never built".to_owned()
    })
}

fn digests(earlier: &CacheReason) -> InputDigests {
    serde_json::from_str(&earlier.inputs).unwrap_or_default()
}

/// Which file of which input changed.
fn inputs_changed(earlier: &InputDigests, inputs: &[InputDigest]) -> String {
    for (at, input) in inputs.iter().enumerate() {
        let Some(old) = earlier.inputs.get(at) else { continue };
        if old.digest == input.digest {
            continue;
        }
        let files = changed_files(old, input);
        let named: Vec<String> = files.iter().take(NAMED).cloned().collect();
        let more = files.len().saturating_sub(NAMED);
        return match (named.is_empty(), more) {
            (true, _) => format!("files of {} changed", input.name),
            (false, 0) => named.join(", "),
            (false, more) => format!("{} and {more} more", named.join(", ")),
        };
    }
    "what it made before is not kept any more".to_owned()
}

fn changed_files(old: &InputDigest, new: &InputDigest) -> Vec<String> {
    if old.files.is_empty() || new.files.is_empty() {
        return Vec::new();
    }
    let mut changed = Vec::new();
    for (path, digest) in &new.files {
        match old.files.get(path) {
            Some(before) if before == digest => {}
            Some(_) => changed.push(format!("file {path:?} changed")),
            None => changed.push(format!("file {path:?} is new")),
        }
    }
    let gone = old.files.keys().filter(|path| !new.files.contains_key(*path));
    changed.extend(gone.map(|path| format!("file {path:?} is gone")));
    changed
}

/// How a step differs from one that ran on the same parent, if they are of one kind.
fn operation_changed(old: &str, new: &str) -> Option<String> {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let (old, new) = (parse(old)?, parse(new)?);
    let (kind, new) = new.as_object()?.iter().next()?;
    let old = old.as_object()?.get(kind)?;
    let list = |value: &serde_json::Value, name: &str| -> Vec<String> {
        let items = value.get(name).and_then(serde_json::Value::as_array);
        items.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let (old_env, new_env) = (list(old, "env"), list(new, "env"));
    for pair in &new_env {
        let name = pair.split_once('=').map_or(pair.as_str(), |(name, _)| name);
        let before =
            old_env.iter().find(|old| old.split_once('=').is_some_and(|(old, _)| old == name));
        match before {
            Some(before) if before == pair => {}
            Some(_) => return Some(format!("argument or variable {name:?} changed")),
            None => return Some(format!("argument or variable {name:?} is new")),
        }
    }
    if let Some(gone) = old_env.iter().find(|old| !new_env.contains(old)) {
        let name = gone.split_once('=').map_or(gone.as_str(), |(name, _)| name);
        return Some(format!("argument or variable {name:?} is gone"));
    }
    let members = new.as_object()?;
    let changed: Vec<&str> = members
        .iter()
        .filter(|(name, value)| old.get(name.as_str()) != Some(value))
        .map(|(name, _)| name.as_str())
        .collect();
    (!changed.is_empty()).then(|| format!("its instruction changed ({})", changed.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(digest: &str, files: &[(&str, &str)]) -> InputDigest {
        InputDigest::new(
            "the build context".to_owned(),
            digest.to_owned(),
            files.iter().map(|(path, digest)| ((*path).to_owned(), (*digest).to_owned())),
        )
    }

    #[test]
    fn the_files_that_changed_are_named() {
        let old = InputDigests {
            inputs: vec![input("a", &[("kept", "1"), ("changed", "1"), ("gone", "1")])],
        };
        let new = [input("b", &[("kept", "1"), ("changed", "2"), ("new", "1")])];
        assert_eq!(
            inputs_changed(&old, &new),
            "file \"changed\" changed, file \"new\" is new, file \"gone\" is gone"
        );
        let many: Vec<(String, String)> =
            (0..5).map(|n| (format!("f{n}"), "1".to_owned())).collect();
        let many: Vec<(&str, &str)> =
            many.iter().map(|(path, digest)| (path.as_str(), digest.as_str())).collect();
        let text = inputs_changed(
            &InputDigests { inputs: vec![input("a", &[("f0", "1")])] },
            &[input("c", &many)],
        );
        assert_eq!(text, "file \"f1\" is new, file \"f2\" is new, file \"f3\" is new and 1 more");
    }

    #[test]
    fn a_changed_argument_is_named() {
        let old = r#"{"run":{"args":["/bin/sh","-c","x"],"env":["PATH=/bin","V=1"]}}"#;
        let new = r#"{"run":{"args":["/bin/sh","-c","x"],"env":["PATH=/bin","V=2"]}}"#;
        assert_eq!(
            operation_changed(old, new).as_deref(),
            Some("argument or variable \"V\" changed")
        );
        let other = r#"{"run":{"args":["/bin/sh","-c","y"],"env":["PATH=/bin","V=1"]}}"#;
        assert_eq!(
            operation_changed(old, other).as_deref(),
            Some("its instruction changed (args)")
        );
        assert_eq!(operation_changed(r#"{"copy":{}}"#, new), None);
    }
}
