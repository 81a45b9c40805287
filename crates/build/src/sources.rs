//! What the steps of one build read: contexts, opened when the first step needs them, and the files
//! of stages and images.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use orlop_layer::LayerStore;
use orlop_types::ChainId;

use crate::context::Tree;
use crate::copy::{self, CopyBuild, Selection};
use crate::error::Place;
use crate::graph::{Files, Graph, NodeId, Step};
use crate::progress::{StepProgress, VertexId};
use crate::step::{CopyStep, Input, Operation};
use crate::vertices::Vertices;
use crate::{Cancel, Error, Result};

/// A context that is opened when it is first needed.
pub(crate) struct LazyContext<'a> {
    /// As it is shown.
    pub name: String,
    /// Opens it; there until somebody did.
    pub open: Option<Opener<'a>>,
    /// Once it is open.
    pub tree: Option<Arc<Tree>>,
}

/// Opens a context.
pub(crate) type Opener<'a> = Box<dyn FnOnce(StepProgress<'_>, &Cancel) -> Result<Tree> + Send + 'a>;

/// The contexts and trees of one build.
pub(crate) struct Sources<'a> {
    pub layers: &'a LayerStore,
    pub vertices: &'a Vertices<'a>,
    pub place: &'a Place,
    /// The time of new rows.
    pub now: String,
    contexts: BTreeMap<String, Mutex<LazyContext<'a>>>,
    trees: Mutex<HashMap<Option<ChainId>, Arc<Tree>>>,
    told: Mutex<HashSet<VertexId>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How explanations call an input.
pub(crate) fn input_name(input: &Input) -> String {
    match input {
        Input::Context(name) if name.is_empty() => "the build context".to_owned(),
        Input::Context(name) => format!("context {name}"),
        Input::Stage(number) => format!("stage {number}"),
        Input::Image(name) => format!("image {name}"),
    }
}

/// What a mount of a path shows, as a copy that puts the same path on nothing.
pub(crate) fn mount_step(path: &str) -> CopyStep {
    let path = path.trim_matches('/');
    let whole = path.is_empty() || path == ".";
    CopyStep {
        sources: vec![if whole { ".".to_owned() } else { path.to_owned() }],
        destination: "/".to_owned(),
        parents: !whole,
        ..CopyStep::default()
    }
}

impl<'a> Sources<'a> {
    /// Sources of these contexts; the build context has the empty name.
    pub fn new(
        layers: &'a LayerStore,
        vertices: &'a Vertices<'a>,
        place: &'a Place,
        contexts: BTreeMap<String, LazyContext<'a>>,
    ) -> Self {
        Self {
            layers,
            vertices,
            place,
            now: jiff::Timestamp::now().to_string(),
            contexts: contexts.into_iter().map(|(name, one)| (name, Mutex::new(one))).collect(),
            trees: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Whether a step is told of for the first time.
    pub fn tell(&self, vertex: VertexId) -> bool {
        lock(&self.told).insert(vertex)
    }

    /// What every copy needs.
    pub fn copy_build<'b>(&'b self, stop: &'b Cancel) -> CopyBuild<'b> {
        CopyBuild { layers: self.layers, cancel: stop, now: &self.now }
    }

    /// A context, opened.
    pub fn context(&self, name: &str, stop: &Cancel) -> Result<Arc<Tree>> {
        let Some(context) = self.contexts.get(name) else {
            return Err(Error::invalid(format!("build context {name:?} does not exist")));
        };
        let mut context = lock(context);
        if let Some(tree) = &context.tree {
            return Ok(Arc::clone(tree));
        }
        let Some(open) = context.open.take() else { return Err(Error::Cancelled) };
        let tree = self.vertices.during(&context.name, |vertex| {
            open(StepProgress { progress: self.vertices.progress(), vertex }, stop)
        });
        let tree = Arc::new(tree?);
        context.tree = Some(Arc::clone(&tree));
        Ok(tree)
    }

    /// The files of a layer with all below it.
    pub fn tree(&self, top: Option<&ChainId>) -> Result<Arc<Tree>> {
        let mut trees = lock(&self.trees);
        if let Some(tree) = trees.get(&top.cloned()) {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(Tree::of_layers(self.layers, top)?);
        trees.insert(top.cloned(), Arc::clone(&tree));
        Ok(tree)
    }

    /// The files of an input; `made` is the uppermost layer of one that is a node.
    pub fn files(
        &self,
        input: &Input,
        files: Files,
        made: Option<&ChainId>,
        stop: &Cancel,
    ) -> Result<Arc<Tree>> {
        match (files, input) {
            (Files::Context, Input::Context(name)) => self.context(name, stop),
            _ => self.tree(made),
        }
    }

    /// What a step reads from one of its inputs; an error names the step.
    pub fn select(
        &self,
        graph: &Graph,
        id: NodeId,
        step: &Step,
        at: usize,
        made: Option<&ChainId>,
        stop: &Cancel,
    ) -> Result<Selection> {
        let select = || {
            let Some(input) = step.inputs.get(at) else {
                let Operation::Copy(copy) = &step.operation else {
                    return Err(Error::invalid("a step has no such input"));
                };
                return copy::select(self.copy_build(stop), copy, None);
            };
            let tree = self.files(&input.input, graph.files(&input.input)?, made, stop)?;
            match (&step.operation, &input.path) {
                (Operation::Copy(copy), _) => {
                    copy::select(self.copy_build(stop), copy, Some(&tree))
                }
                (_, Some(path)) => {
                    let step = mount_step(&copy::real_path(&tree, path)?);
                    copy::select(self.copy_build(stop), &step, Some(&tree))
                }
                (_, None) => Err(Error::invalid("a mount has no path")),
            }
        };
        // As BuildKit: what goes wrong with a download names no line.
        let lines = step.lines.filter(|_| !step.inputs.is_empty());
        select().map_err(|error| match (&error, lines) {
            (Error::Cancelled | Error::At { .. }, _) | (_, None) => error,
            (_, Some(lines)) => {
                let name = graph.node(id).map_or("", |node| node.name.as_str());
                self.place.at(lines, name, error)
            }
        })
    }

    /// Writes down what was hashed, for the next build.
    pub fn remember(&self) {
        for context in self.contexts.values() {
            if let Some(tree) = &lock(context).tree {
                tree.remember();
            }
        }
    }
}
