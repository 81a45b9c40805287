//! The graph of a build: what makes files, and what needs what.
//!
//! A node is either layers that are there or a step on another node. Nodes only need nodes of smaller
//! numbers.

use std::collections::BTreeMap;

use orlop_archive::digest;
use orlop_dockerfile::Lines;
use orlop_types::ChainId;

use crate::progress::VertexId;
use crate::run::RunSettings;
use crate::step::{Input, Operation, RunMountKind};
use crate::{Error, Result};

/// Number of a node.
pub(crate) type NodeId = usize;

/// What makes files.
#[derive(Debug)]
pub(crate) struct Node {
    /// As it is shown.
    pub name: String,
    /// Its number for the progress.
    pub vertex: VertexId,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum NodeKind {
    /// The layers of an image, or none.
    Base(Option<ChainId>),
    /// A step on another node.
    Step(Box<Step>),
}

/// A step.
#[derive(Debug)]
pub(crate) struct Step {
    pub operation: Operation,
    /// The digest of its JSON.
    pub digest: String,
    /// Its JSON, for explanations.
    pub json: String,
    /// What it stands on; `None` is nothing.
    pub parent: Option<NodeId>,
    /// What else it reads.
    pub inputs: Vec<StepInput>,
    /// Whether the cache must not be asked.
    pub no_cache: bool,
    /// As the history shows it.
    pub description: String,
    /// Where it was written.
    pub lines: Option<Lines>,
}

/// Something that a step reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepInput {
    /// As the operation calls it.
    pub input: Input,
    /// Path in it, of a mount; `None` for a copy, whose sources say what counts.
    pub path: Option<String>,
}

/// Where the files of an input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// In a context.
    Context,
    /// What a node has made; `None` is nothing.
    Node(Option<NodeId>),
}

/// All nodes.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    /// Where inputs lead, stages and images.
    pub inputs: BTreeMap<Input, Option<NodeId>>,
}

impl Graph {
    /// Adds a node.
    pub fn add(&mut self, name: String, vertex: VertexId, kind: NodeKind) -> NodeId {
        self.nodes.push(Node { name, vertex, kind });
        self.nodes.len() - 1
    }

    /// A node; numbers come only from [`Graph::add`].
    pub fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(id).ok_or_else(|| Error::invalid("a step is missing in the build's graph"))
    }

    /// Where the files of an input are.
    pub fn files(&self, input: &Input) -> Result<Files> {
        if let Some(node) = self.inputs.get(input) {
            return Ok(Files::Node(*node));
        }
        match input {
            Input::Context(_) => Ok(Files::Context),
            Input::Stage(number) => Err(Error::invalid(format!("invalid stage index {number}"))),
            Input::Image(name) => Err(Error::invalid(format!("image {name} was not looked up"))),
        }
    }

    /// The nodes that a node needs directly.
    pub fn needs(&self, id: NodeId) -> Result<Vec<NodeId>> {
        let NodeKind::Step(step) = &self.node(id)?.kind else { return Ok(Vec::new()) };
        let mut needs: Vec<NodeId> = step.parent.into_iter().collect();
        for input in &step.inputs {
            if let Files::Node(Some(node)) = self.files(&input.input)? {
                needs.push(node);
            }
        }
        Ok(needs)
    }
}

impl Step {
    /// A step of an operation. `settings` of RUN count as its content.
    pub fn new(
        operation: Operation,
        parent: Option<NodeId>,
        settings: &RunSettings,
    ) -> Result<Self> {
        let failed = |error| Error::invalid(format!("failed to describe a step: {error}"));
        let json = serde_json::to_string(&operation).map_err(failed)?;
        let text = match &operation {
            Operation::Run(_) => {
                let settings = serde_json::json!({
                    "hosts": settings.add_hosts,
                    "hostname": settings.hostname,
                    "namespace": settings.cache_namespace,
                    "shm": settings.limits.shm_size_bytes,
                    "ulimits": settings.limits.ulimits,
                    "cgroup": settings.limits.cgroup_parent,
                });
                format!("{json}\n{settings}")
            }
            _ => json.clone(),
        };
        let inputs = inputs_of(&operation);
        Ok(Self {
            digest: digest::of_bytes(text.as_bytes()).to_string(),
            json,
            operation,
            parent,
            inputs,
            no_cache: false,
            description: String::new(),
            lines: None,
        })
    }

    /// Whether what it makes does not depend on what is below it.
    pub fn is_link(&self) -> bool {
        matches!(&self.operation, Operation::Copy(copy) if copy.link)
    }
}

/// What an operation reads beside what it stands on.
fn inputs_of(operation: &Operation) -> Vec<StepInput> {
    match operation {
        Operation::MakeDirectory { .. } => Vec::new(),
        Operation::Copy(copy) => match &copy.from {
            Some(input) => vec![StepInput { input: input.clone(), path: None }],
            None => Vec::new(),
        },
        Operation::Run(run) => {
            let mounts = run.mounts.iter();
            mounts
                .filter_map(|mount| match &mount.kind {
                    // What a cache begins with counts like any other input.
                    RunMountKind::Bind { from, source, .. }
                    | RunMountKind::Cache { from: Some((from, source)), .. } => {
                        Some(StepInput { input: from.clone(), path: Some(source.clone()) })
                    }
                    _ => None,
                })
                .collect()
        }
    }
}
