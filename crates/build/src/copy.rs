//! COPY, ADD and what WORKDIR makes.
//!
//! [`select`] finds what a step copies and gives its digest, the content's part of the cache key; a
//! context file whose hash is remembered is not read. [`apply`] makes the layer: files are written
//! straight into its content, the parent is only looked at where paths lead through it, and the layer
//! is sealed in place. Files that change between the two are copied as they are then, and
//! [`Copied::digest`] says what was really copied: store the layer under that.
//!
//! Semantics: BuildKit `solver/llbsolver/file`, `tonistiigi/fsutil/copy`, and the way in which
//! `frontend/dockerfile/dockerfile2llb` uses them.

pub mod mode;
pub(crate) mod owner;
pub(crate) mod place;
pub(crate) mod remote;
pub(crate) mod source;
pub(crate) mod unpack;
pub(crate) mod write;

#[cfg(test)]
mod tests;

mod target;

use orlop_archive::digest::Digester;
use orlop_layer::{Layer, LayerStore};
use orlop_types::{ChainId, Digest};

use crate::context::{Ownership, Tree};
use crate::step::CopyStep;
use crate::{Cancel, Error, Result};
use source::Item;
use target::Target;

pub use mode::Chmod;

/// What a step copies.
#[derive(Debug)]
pub struct Selection {
    items: Vec<Item>,
    ownership: Ownership,
    digest: Digest,
}

impl Selection {
    fn new(items: Vec<Item>, ownership: Ownership) -> Self {
        let digest = digest_of(&items, ownership);
        Self { items, ownership, digest }
    }

    /// Digest of everything that is copied: names, types, modes, owners, links, attributes, contents.
    /// Times are not in it.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Every object that is copied with its digest, sorted; for telling later which one changed.
    pub fn entries(&self) -> impl Iterator<Item = (Vec<u8>, Digest)> + '_ {
        let mut found = Vec::new();
        for item in &self.items {
            item.entries(self.ownership, &mut found);
        }
        found.sort();
        found.dedup();
        found.into_iter().map(|(path, digest)| (path, Digest::of_sha256(&digest)))
    }
}

fn digest_of(items: &[Item], ownership: Ownership) -> Digest {
    let mut digester = Digester::default();
    for item in items {
        digester.update(&item.digest(ownership));
    }
    digester.finish()
}

/// What a copy made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The layer; `None` if nothing came of it.
    pub layer: Option<Layer>,
    /// Digest of what was copied: the selection's, unless files changed meanwhile.
    pub digest: Digest,
}

/// What all copies of one build share.
#[derive(Clone, Copy)]
pub struct CopyBuild<'a> {
    /// Where layers are.
    pub layers: &'a LayerStore,
    /// Ends the build from outside.
    pub cancel: &'a Cancel,
    /// The time of new rows, RFC 3339.
    pub now: &'a str,
}

/// A path relative to the root, without `.`, `..` and empty names.
pub(crate) fn clean_path(path: &str) -> String {
    source::cleaned(path)
}

/// Where the links of a path of a tree lead.
pub(crate) fn real_path(tree: &Tree, path: &str) -> Result<String> {
    source::real_source(tree, path)
}

/// Finds what a step copies. `tree` is what [`CopyStep::from`] names, opened.
pub fn select(build: CopyBuild<'_>, step: &CopyStep, tree: Option<&Tree>) -> Result<Selection> {
    build.cancel.check()?;
    let mut items = Vec::new();
    for source in &step.sources {
        let remote = match &step.add {
            Some(add)
                if remote::is_url(source) || crate::context::git::parse(source)?.is_some() =>
            {
                // `github.com/…` without a scheme may as well be a directory of the context.
                let local = source.starts_with("github.com/");
                (!local).then(|| remote::Remote::resolve(build, source, add)).transpose()?
            }
            _ => None,
        };
        match (remote, tree) {
            (Some(remote), _) => items.push(Item::Remote(remote)),
            (None, Some(tree)) => items.extend(source::find(tree, step, source, build.cancel)?),
            (None, None) => {
                return Err(Error::invalid(format!("there is no context to copy {source:?} from")));
            }
        }
    }
    items.extend(step.documents.iter().cloned().map(Item::Document));
    let ownership = tree.map_or(Ownership::Root, Tree::ownership);
    Ok(Selection::new(items, ownership))
}

/// Copies what was selected on top of a parent.
pub fn apply(
    build: CopyBuild<'_>,
    step: &CopyStep,
    tree: Option<&Tree>,
    selection: Selection,
    parent: Option<&ChainId>,
) -> Result<Copied> {
    build.cancel.check()?;
    let Selection { mut items, ownership, digest } = selection;
    let nothing;
    let tree = match tree {
        Some(tree) => tree,
        None => {
            nothing = Tree::empty(build.layers.store())?;
            &nothing
        }
    };
    if items.is_empty() {
        return Ok(Copied { layer: None, digest });
    }
    let target = Target::new(build, step, tree, &items, parent)?;
    for item in &mut items {
        target.copy(item)?;
    }
    let layer = target.seal(items.iter().map(Item::objects).sum())?;
    Ok(Copied { layer, digest: digest_of(&items, ownership) })
}

/// Makes a directory that a WORKDIR names, with what is missing above it, for `owner`
/// (`user[:group]`, empty is root). `None` if it is there already.
pub fn make_directory(
    build: CopyBuild<'_>,
    path: &str,
    owner: &str,
    parent: Option<&ChainId>,
) -> Result<Option<Layer>> {
    target::make_directory(build, path, owner, parent)
}
