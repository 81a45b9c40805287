//! Carries out the steps that a build needs, in parallel where they are independent.
//!
//! First every step's definition key is computed and all are looked up at once; steps below one that
//! is known are not needed. The others run as soon as what they need is there: each asks for its
//! content key before it runs. What is made is recorded at once, so a build that is cut goes on from its
//! last finished step. The first failure ends all others, whose errors nobody sees.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use orlop_meta::{CacheKey, CacheReason, CachedLayer};
use orlop_types::ChainId;

use crate::cache::{Cache, InputDigest, InputDigests, NewRecord};
use crate::copy::Selection;
use crate::error::Place;
use crate::executor::{Executor, Ground};
use crate::explain;
use crate::graph::{Files, Graph, NodeId, NodeKind, Step};
use crate::keys::{Selections, content_key, definitions, input_count, link_key};
use crate::progress::{Event, Outcome, Progress, VertexId};
use crate::sources::{Sources, input_name};
use crate::step::Input;
use crate::{Cancel, Error, Result};

/// What a node gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// The uppermost layer; none of `scratch`.
    pub top: Option<ChainId>,
    /// Whether it was made in this build.
    pub fresh: bool,
    /// Whether files of a context were others than those that its definition names, because they
    /// changed during the build, or it stands on such.
    pub changed: bool,
}

/// What a solver gave.
#[derive(Debug)]
pub(crate) struct Solved {
    /// The uppermost layer of each target.
    pub tops: Vec<Option<ChainId>>,
    /// Layers of all steps that were found or carried out.
    pub layers: BTreeSet<ChainId>,
}

/// How far a node is.
#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Waiting,
    Running,
    Done(Made),
    Failed,
}

/// Why a node gave nothing: the cause is kept by the solver.
struct Stopped;

/// What a solver works with.
pub(crate) struct Solver<'a, 's> {
    pub graph: &'a Graph,
    pub cache: Cache<'a>,
    pub sources: &'a Sources<'s>,
    pub executor: Executor<'a>,
    pub progress: &'a dyn Progress,
    pub cancel: &'a Cancel,
    pub place: &'a Place,
    /// Whether each step says why it was or was not taken from the cache.
    pub explain: bool,
}

/// One run of a solver.
struct Run<'r, 'a, 's> {
    solver: &'r Solver<'a, 's>,
    /// Keys by definition, by number of the node.
    definitions: Vec<String>,
    selections: Mutex<Selections>,
    hits: HashMap<NodeId, CachedLayer>,
    states: Mutex<Vec<State>>,
    changed: Condvar,
    failure: Mutex<Option<Error>>,
    used: Mutex<BTreeSet<ChainId>>,
    recorded: Mutex<BTreeSet<ChainId>>,
    aliases: Mutex<Vec<CacheKey>>,
    stop: Cancel,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Solver<'_, '_> {
    /// Makes the files of some nodes.
    pub fn solve(&self, targets: &[NodeId]) -> Result<Solved> {
        let needed = self.needed(targets)?;
        self.announce_bases(&needed)?;
        let stop = self.cancel.child();
        let (definitions, selections) = definitions(self.graph, self.sources, &needed, &stop)?;
        let hits = self.look_up(&needed, &definitions)?;
        let run = Run {
            solver: self,
            definitions,
            selections: Mutex::new(selections),
            hits,
            states: Mutex::new(vec![State::default(); self.graph.nodes.len()]),
            changed: Condvar::new(),
            failure: Mutex::new(None),
            used: Mutex::default(),
            recorded: Mutex::default(),
            aliases: Mutex::default(),
            stop,
        };
        let result = run.all(targets);
        let aliases = std::mem::take(&mut *lock(&run.aliases));
        if !aliases.is_empty() {
            self.cache.alias(&aliases)?;
        }
        let used: Vec<ChainId> = lock(&run.used).iter().cloned().collect();
        self.cache.used(&used)?;
        let failure = lock(&run.failure).take();
        match (result, failure) {
            (_, Some(error)) => Err(error),
            (Err(Stopped), None) => Err(Error::Cancelled),
            (Ok(made), None) => {
                let tops = made.into_iter().map(|made| made.top).collect();
                let mut layers = lock(&run.recorded).clone();
                layers.extend(used);
                Ok(Solved { tops, layers })
            }
        }
    }

    /// The nodes that targets need, lowest first.
    fn needed(&self, targets: &[NodeId]) -> Result<Vec<NodeId>> {
        let mut seen = BTreeSet::new();
        let mut waiting = targets.to_vec();
        while let Some(node) = waiting.pop() {
            if seen.insert(node) {
                waiting.extend(self.graph.needs(node)?);
            }
        }
        Ok(seen.into_iter().collect())
    }

    fn announce_bases(&self, needed: &[NodeId]) -> Result<()> {
        for id in needed {
            let node = self.graph.node(*id)?;
            if matches!(node.kind, NodeKind::Base(_)) && node.vertex != 0 {
                self.progress.event(Event::Started { vertex: node.vertex });
                self.progress.event(Event::Ended { vertex: node.vertex, outcome: Outcome::Done });
            }
        }
        Ok(())
    }

    /// What of the needed steps is known by definition. A step that stands on one which must run anew
    /// is not: what it makes may differ.
    fn look_up(
        &self,
        needed: &[NodeId],
        definitions: &[String],
    ) -> Result<HashMap<NodeId, CachedLayer>> {
        let mut anew: HashSet<NodeId> = HashSet::new();
        let mut keys = Vec::new();
        for id in needed {
            let NodeKind::Step(step) = &self.graph.node(*id)?.kind else { continue };
            let below_anew = self.graph.needs(*id)?.iter().any(|below| anew.contains(below));
            if step.no_cache || below_anew {
                anew.insert(*id);
            } else if let Some(key) = definitions.get(*id) {
                keys.push((*id, key.clone()));
            }
        }
        let texts: Vec<String> = keys.iter().map(|(_, key)| key.clone()).collect();
        let found = self.cache.lookup_all(&texts)?;
        Ok(keys.into_iter().filter_map(|(id, key)| Some((id, found.get(&key)?.clone()))).collect())
    }
}

impl Run<'_, '_, '_> {
    fn all(&self, targets: &[NodeId]) -> std::result::Result<Vec<Made>, Stopped> {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                targets.iter().skip(1).map(|target| scope.spawn(|| self.make(*target))).collect();
            let mut all = Vec::new();
            if let Some(first) = targets.first() {
                all.push(self.make(*first));
            }
            for thread in threads {
                all.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            all.into_iter().collect()
        })
    }

    /// Makes one node and whatever it needs. What it reads beside what it stands on is made meanwhile.
    fn make(&self, id: NodeId) -> std::result::Result<Made, Stopped> {
        let mut path = Vec::new();
        let mut inputs = BTreeSet::new();
        let mut next = Some(id);
        let mut below = Made { top: None, fresh: false, changed: false };
        while let Some(at) = next {
            if let Some(made) = self.caught(self.ready(at))? {
                below = made;
                break;
            }
            path.push(at);
            let NodeKind::Step(step) = &self.caught(self.solver.graph.node(at))?.kind else {
                break;
            };
            for input in &step.inputs {
                if let Files::Node(Some(node)) =
                    self.caught(self.solver.graph.files(&input.input))?
                {
                    inputs.insert(node);
                }
            }
            next = step.parent;
        }
        std::thread::scope(|scope| {
            for input in inputs {
                scope.spawn(move || self.make(input).is_ok());
            }
            for at in path.into_iter().rev() {
                below = self.step(at, &below)?;
            }
            Ok(below)
        })
    }

    /// What a node gave, if it need not run for it.
    fn ready(&self, id: NodeId) -> Result<Option<Made>> {
        if let Some(State::Done(made)) = lock(&self.states).get(id) {
            return Ok(Some(made.clone()));
        }
        let node = self.solver.graph.node(id)?;
        if let NodeKind::Base(top) = &node.kind {
            return Ok(Some(Made { top: top.clone(), fresh: false, changed: false }));
        }
        let Some(hit) = self.hits.get(&id) else { return Ok(None) };
        let made = Made { top: Some(hit.record.layer.clone()), fresh: false, changed: false };
        if self.finish(id, State::Done(made.clone())) {
            lock(&self.used).insert(hit.record.layer.clone());
            self.tell_cached(id)?;
        }
        Ok(Some(made))
    }

    /// Tells that a node was known, and with it those below that need not run for it, lowest first.
    fn tell_cached(&self, id: NodeId) -> Result<()> {
        let mut waiting = vec![id];
        let mut known = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if let Some(hit) = self.hits.get(&id)
                && known.insert(id)
            {
                lock(&self.used).insert(hit.record.layer.clone());
                waiting.extend(self.solver.graph.needs(id)?);
            }
        }
        for id in known {
            let vertex = self.solver.graph.node(id)?.vertex;
            if self.solver.sources.tell(vertex) {
                self.event(Event::Started { vertex });
                self.explained(vertex, || Ok("cached".to_owned()));
                self.event(Event::Ended { vertex, outcome: Outcome::Cached });
            }
        }
        Ok(())
    }

    /// Makes one step on what is below it, unless somebody else does.
    fn step(&self, id: NodeId, below: &Made) -> std::result::Result<Made, Stopped> {
        {
            let mut states = lock(&self.states);
            loop {
                match states.get_mut(id) {
                    Some(State::Done(made)) => return Ok(made.clone()),
                    Some(State::Running) => {
                        states = self.changed.wait(states).unwrap_or_else(PoisonError::into_inner);
                    }
                    Some(state @ State::Waiting) => {
                        *state = State::Running;
                        break;
                    }
                    Some(State::Failed) | None => return Err(Stopped),
                }
            }
        }
        let made = self.stop.check().and_then(|()| self.carry_out(id, below));
        let state = match &made {
            Ok(made) => State::Done(made.clone()),
            Err(_) => State::Failed,
        };
        self.finish(id, state);
        self.caught(made)
    }

    /// Sets how far a node is; whether that is new.
    fn finish(&self, id: NodeId, new: State) -> bool {
        let mut states = lock(&self.states);
        let Some(state) = states.get_mut(id) else { return false };
        if matches!(state, State::Done(_)) {
            return false;
        }
        *state = new;
        drop(states);
        self.changed.notify_all();
        true
    }

    /// Keeps the first error and ends all that still runs.
    fn caught<T>(&self, result: Result<T>) -> std::result::Result<T, Stopped> {
        result.map_err(|error| {
            let mut failure = lock(&self.failure);
            // Who was only stopped tells nothing new.
            if failure.is_none() && !(matches!(error, Error::Cancelled) && self.stop.is_cancelled())
            {
                *failure = Some(error);
            }
            self.stop.cancel();
            Stopped
        })
    }

    fn event(&self, event: Event) {
        self.solver.progress.event(event);
    }

    /// Carries one step out, or finds what it makes by its content.
    fn carry_out(&self, id: NodeId, below: &Made) -> Result<Made> {
        let node = self.solver.graph.node(id)?;
        let NodeKind::Step(step) = &node.kind else {
            return Err(Error::invalid("a base image is no step"));
        };
        self.wait_for_inputs(step)?;
        self.solver.sources.tell(node.vertex);
        self.event(Event::Started { vertex: node.vertex });
        let result = self.known_or_run(id, node.vertex, step, below);
        let outcome = match &result {
            Ok(made) if made.fresh => Outcome::Done,
            Ok(_) => Outcome::Cached,
            Err(_) if self.stop.is_cancelled() => Outcome::Cancelled,
            Err(Error::Cancelled) => Outcome::Cancelled,
            Err(error) => Outcome::Failed(crate::run::failure::text(error)),
        };
        self.event(Event::Ended { vertex: node.vertex, outcome });
        match result {
            Ok(made) => Ok(made),
            Err(Error::Cancelled) => Err(Error::Cancelled),
            Err(error) => Err(match step.lines {
                Some(lines) => self.solver.place.at(lines, &node.name, error),
                None => error,
            }),
        }
    }

    fn wait_for_inputs(&self, step: &Step) -> Result<()> {
        for input in &step.inputs {
            if let Files::Node(Some(node)) = self.solver.graph.files(&input.input)? {
                self.make(node).map_err(|Stopped| Error::Cancelled)?;
            }
        }
        Ok(())
    }

    /// What a step gives, known or made.
    fn known_or_run(
        &self,
        id: NodeId,
        vertex: VertexId,
        step: &Step,
        below: &Made,
    ) -> Result<Made> {
        let (mut inputs, selection) = self.inputs(id, step)?;
        let top = below.top.as_ref();
        let mut changed = self.stands_on_changed(step, below);
        let definition = (!changed).then(|| self.definition(id));
        if !step.no_cache {
            if let Some(hit) = self.solver.cache.lookup(&content_key(step, top, &inputs))? {
                let layer = hit.record.layer;
                lock(&self.used).insert(layer.clone());
                let alias =
                    definition.map(|key| CacheKey { key, layer: layer.clone(), reason: None });
                lock(&self.aliases).extend(alias);
                self.explained(vertex, || Ok("cached".to_owned()));
                return Ok(Made { top: Some(layer), fresh: false, changed });
            }
            if step.is_link()
                && let Some(hit) = self.solver.cache.lookup(&link_key(step, &inputs))?
            {
                self.explained(vertex, || {
                    Ok("its content is known; only what is below it changed".to_owned())
                });
                let now = &self.solver.sources.now;
                let layer = self.solver.executor.put_on(&hit, top, now)?;
                self.record(step, below, &inputs, definition, &layer)?;
                return Ok(Made { top: Some(layer), fresh: false, changed });
            }
        }
        self.explained(vertex, || {
            explain::reason(&self.solver.cache, self.solver.graph, step, below, &inputs)
        });
        let ground = Ground { below: top, selection, made: self.made_inputs(step)? };
        let finished =
            self.solver.executor.execute(vertex, step, ground, self.solver.sources, &self.stop)?;
        // Files that changed since they were looked at are recorded as what the step has seen.
        for (at, digest) in finished.digests {
            if let Some(input) = inputs.get_mut(at)
                && input.digest != digest
            {
                *input = InputDigest { name: input.name.clone(), digest, ..InputDigest::default() };
                changed = true;
            }
        }
        let definition = definition.filter(|_| !changed);
        self.record(step, below, &inputs, definition, &finished.layer)?;
        Ok(Made { top: Some(finished.layer), fresh: true, changed })
    }

    fn definition(&self, id: NodeId) -> String {
        self.definitions.get(id).cloned().unwrap_or_default()
    }

    /// Whether something that a step needs saw files that changed during this build: then what it was
    /// made by does not say what it is.
    fn stands_on_changed(&self, step: &Step, below: &Made) -> bool {
        let states = lock(&self.states);
        let is_changed =
            |node: NodeId| matches!(states.get(node), Some(State::Done(made)) if made.changed);
        below.changed
            || step.inputs.iter().any(|input| match self.solver.graph.files(&input.input) {
                Ok(Files::Node(Some(node))) => is_changed(node),
                _ => false,
            })
    }

    /// Digests of what a step reads, and for a copy what was selected.
    fn inputs(&self, id: NodeId, step: &Step) -> Result<(Vec<InputDigest>, Option<Selection>)> {
        let mut digests = Vec::new();
        let mut first = None;
        for at in 0..input_count(step) {
            let known = lock(&self.selections).remove(&(id, at));
            let selection = match known {
                Some(selection) => selection,
                None => {
                    let made = match step.inputs.get(at) {
                        Some(input) => self.made_of(&input.input)?.flatten(),
                        None => None,
                    };
                    let (graph, sources) = (self.solver.graph, self.solver.sources);
                    sources.select(graph, id, step, at, made.as_ref(), &self.stop)?
                }
            };
            let name = step.inputs.get(at).map_or(String::new(), |input| input_name(&input.input));
            let files = selection.entries().map(|(path, digest)| {
                (String::from_utf8_lossy(&path).into_owned(), digest.to_string())
            });
            digests.push(InputDigest::new(name, selection.digest().to_string(), files));
            if at == 0 {
                first = Some(selection);
            }
        }
        Ok((digests, first))
    }

    /// The uppermost layer of an input that is a node.
    fn made_of(&self, input: &Input) -> Result<Option<Option<ChainId>>> {
        match self.solver.graph.files(input)? {
            Files::Context => Ok(None),
            Files::Node(None) => Ok(Some(None)),
            Files::Node(Some(node)) => {
                let made = self.make(node).map_err(|Stopped| Error::Cancelled)?;
                Ok(Some(made.top))
            }
        }
    }

    fn made_inputs(&self, step: &Step) -> Result<HashMap<Input, Option<ChainId>>> {
        let mut made = HashMap::new();
        for input in &step.inputs {
            if let Some(top) = self.made_of(&input.input)? {
                made.insert(input.input.clone(), top);
            }
        }
        Ok(made)
    }

    fn explained(&self, vertex: VertexId, reason: impl FnOnce() -> Result<String>) {
        if self.solver.explain {
            let reason = reason().unwrap_or_else(|error| format!("nobody knows: {error}"));
            self.event(Event::Explained { vertex, reason });
        }
    }

    /// Records what a step made, under all its keys.
    fn record(
        &self,
        step: &Step,
        below: &Made,
        inputs: &[InputDigest],
        definition: Option<String>,
        layer: &ChainId,
    ) -> Result<()> {
        let described = serde_json::to_string(&InputDigests { inputs: inputs.to_vec() })
            .map_err(|error| Error::invalid(format!("failed to describe a step: {error}")))?;
        let reason = CacheReason {
            operation_digest: step.digest.clone(),
            operation: step.json.clone(),
            parent: below.top.as_ref().map_or(String::new(), ToString::to_string),
            inputs: described,
        };
        let key = |key: String, reason| CacheKey { key, layer: layer.clone(), reason };
        let mut keys = vec![key(content_key(step, below.top.as_ref(), inputs), Some(reason))];
        keys.extend(definition.map(|definition| key(definition, None)));
        if step.is_link() {
            keys.push(key(link_key(step, inputs), None));
        }
        let description = step.description.clone();
        lock(&self.recorded).insert(layer.clone());
        let record = NewRecord { layer: layer.clone(), kind: "regular", description, keys };
        if !self.solver.cache.record(&record)? {
            tracing::debug!(%layer, "the step's layer is larger than the build cache may be");
        }
        Ok(())
    }
}
