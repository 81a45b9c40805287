//! Carries out one step: COPY, RUN, WORKDIR, each by its own module, and always gives a layer.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use orlop_container::Containers;
use orlop_layer::{ImportOptions, LayerStore};
use orlop_meta::{CacheKey, CachedLayer};
use orlop_sys::mount::RootfsRecipe;
use orlop_types::{ChainId, DiffId};

use crate::cache::{Cache, NewRecord};
use crate::context::Tree;
use crate::copy::{self, Selection};
use crate::graph::{Step, StepInput};
use crate::keys::mount_key;
use crate::progress::{Progress, StepProgress, VertexId};
use crate::request::BuildRequest;
use crate::run::{self, InputFiles, InputMount, RunBuild};
use crate::sources::{Sources, mount_step};
use crate::step::{Input, Operation};
use crate::{Cancel, Error, Result};

/// A tar without entries: what a step that changes nothing gives.
const EMPTY_TAR: [u8; 1024] = [0; 1024];
/// Its digest.
const EMPTY_DIFF_ID: &str =
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
/// RUNs at the same time. They mostly wait, but each is a container.
const RUNS_MAX: usize = 64;

/// Carries out steps of one build.
pub(crate) struct Executor<'a> {
    pub layers: &'a LayerStore,
    pub containers: Containers<'a>,
    pub request: &'a BuildRequest,
    /// What all RUNs share; made when the first one runs.
    pub run: OnceLock<RunBuild<'a>>,
    pub cache: Cache<'a>,
    pub progress: &'a dyn Progress,
    /// Steps that keep a processor busy.
    pub copies: Permits,
    /// Steps that run in containers.
    pub runs: Permits,
}

/// What a step gave.
#[derive(Debug)]
pub(crate) struct Finished {
    pub layer: ChainId,
    /// What a copy really copied, and what mounts of contexts really showed, by number of the input.
    pub digests: BTreeMap<usize, String>,
}

/// What a step stands on and reads.
pub(crate) struct Ground<'g> {
    /// The uppermost layer below.
    pub below: Option<&'g ChainId>,
    /// The first input's selection.
    pub selection: Option<Selection>,
    /// The files of inputs that are nodes.
    pub made: HashMap<Input, Option<ChainId>>,
}

/// So many may do something at the same time; the others wait.
#[derive(Debug)]
pub(crate) struct Permits {
    free: Mutex<usize>,
    returned: Condvar,
}

/// One permit.
struct Permit<'p>(&'p Permits);

impl Permits {
    pub fn new(count: usize) -> Self {
        Self { free: Mutex::new(count.max(1)), returned: Condvar::new() }
    }

    /// As many as there are processors.
    pub fn processors() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// As many containers as may run at a time.
    pub fn containers() -> Self {
        Self::new(RUNS_MAX)
    }

    fn take(&self) -> Permit<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}

impl Executor<'_> {
    /// Carries a step out. The layer is in the store with its row.
    pub fn execute(
        &self,
        vertex: VertexId,
        step: &Step,
        ground: Ground<'_>,
        sources: &Sources<'_>,
        stop: &Cancel,
    ) -> Result<Finished> {
        let Ground { below, selection, made } = ground;
        let mut digests = BTreeMap::new();
        let layer = match &step.operation {
            Operation::Copy(step) => {
                let _permit = self.copies.take();
                stop.check()?;
                let selection =
                    selection.ok_or_else(|| Error::invalid("nothing was selected to copy"))?;
                let tree = match &step.from {
                    Some(Input::Context(name))
                        if !made.contains_key(&Input::Context(name.clone())) =>
                    {
                        Some(sources.context(name, stop)?)
                    }
                    Some(input) => Some(sources.tree(made.get(input).and_then(Option::as_ref))?),
                    None => None,
                };
                let copied =
                    copy::apply(sources.copy_build(stop), step, tree.as_deref(), selection, below)?;
                digests.insert(0, copied.digest.to_string());
                copied.layer
            }
            Operation::MakeDirectory { path, owner } => {
                let _permit = self.copies.take();
                stop.check()?;
                copy::make_directory(sources.copy_build(stop), path, owner, below)?
            }
            Operation::Run(run) => {
                let _permit = self.runs.take();
                stop.check()?;
                let seen = Mutex::default();
                let files = MountedInputs { executor: self, sources, made: &made, seen, stop };
                let progress = StepProgress { progress: self.progress, vertex };
                let layer = run::execute(self.run_build(), run, below, &files, progress, stop)?;
                digests = files.digests(step);
                layer
            }
        };
        let layer = match layer {
            Some(layer) => layer.chain_id,
            None => self.empty_layer(below, &sources.now)?,
        };
        orlop_sys::fault::point("build.step.layer");
        Ok(Finished { layer, digests })
    }

    fn run_build(&self) -> &RunBuild<'_> {
        self.run.get_or_init(|| RunBuild::new(self.layers, self.containers, self.request))
    }

    /// A layer without any entry: every step has one, as in BuildKit.
    fn empty_layer(&self, below: Option<&ChainId>, now: &str) -> Result<ChainId> {
        let diff_id: DiffId = EMPTY_DIFF_ID
            .parse()
            .map_err(|_| Error::invalid("the digest of an empty tar is malformed"))?;
        let options = ImportOptions { parent: below, diff_id: Some(&diff_id), now };
        Ok(self.layers.import(EMPTY_TAR.as_slice(), &options)?.chain_id)
    }

    /// Puts a layer that the store has on another one.
    pub fn put_on(&self, hit: &CachedLayer, below: Option<&ChainId>, now: &str) -> Result<ChainId> {
        if let Some(present) = self.layers.find(below, &hit.diff_id)? {
            return Ok(present.chain_id);
        }
        let unpacked = self.layers.unpack_copy(&hit.record.layer, below, &hit.diff_id)?;
        let layers = self.layers.commit(vec![unpacked], below, now)?;
        match layers.into_iter().next() {
            Some(layer) => Ok(layer.chain_id),
            None => Err(Error::invalid("a layer was lost on its way")),
        }
    }
}

/// The inputs of a RUN.
struct MountedInputs<'e, 'a, 's> {
    executor: &'e Executor<'a>,
    sources: &'e Sources<'s>,
    made: &'e HashMap<Input, Option<ChainId>>,
    /// Each part of a context as it is shown to all of the step.
    seen: Mutex<Vec<Seen>>,
    stop: &'e Cancel,
}

/// A part of a context that a step sees.
#[derive(Clone)]
struct Seen {
    input: StepInput,
    layer: ChainId,
    /// Where it is in the layer.
    path: String,
    digest: String,
}

impl InputFiles for MountedInputs<'_, '_, '_> {
    fn mount(&self, input: &Input, source: &str) -> Result<InputMount> {
        let (top, source) = match (self.made.get(input), input) {
            (Some(top), _) => {
                let tree = self.sources.tree(top.as_ref())?;
                (top.clone(), copy::real_path(&tree, source)?)
            }
            (None, Input::Context(name)) => {
                let tree = self.sources.context(name, self.stop)?;
                let (layer, source) = self.shown(input, source, &tree)?;
                (Some(layer), source)
            }
            (None, _) => (None, copy::clean_path(source)),
        };
        let subpath = (!source.is_empty()).then(|| PathBuf::from(source));
        match top {
            Some(top) => {
                let recipe = self.executor.layers.view(&top)?;
                Ok(InputMount { recipe, subpath, guard: None })
            }
            None => {
                let staged = self.executor.layers.store().stage()?;
                let path = staged.path().to_owned();
                let recipe = RootfsRecipe::Directory { path, read_only: true };
                Ok(InputMount { recipe, subpath, guard: Some(Box::new(staged)) })
            }
        }
    }
}

impl MountedInputs<'_, '_, '_> {
    /// What the step really saw of contexts, by number of its input.
    fn digests(&self, step: &Step) -> BTreeMap<usize, String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let inputs = step.inputs.iter().enumerate();
        inputs
            .filter_map(|(at, input)| {
                let shown = seen.iter().find(|seen| seen.input == *input)?;
                Some((at, shown.digest.clone()))
            })
            .collect()
    }

    /// The layer of a part of a context with the path in it; the same for all mounts of the step.
    fn shown(&self, input: &Input, source: &str, tree: &Tree) -> Result<(ChainId, String)> {
        let wanted = StepInput { input: input.clone(), path: Some(source.to_owned()) };
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = all.iter().find(|seen| seen.input == wanted) {
            return Ok((seen.layer.clone(), seen.path.clone()));
        }
        let path = copy::real_path(tree, source)?;
        let (layer, digest) = self.context_layer(tree, &path)?;
        all.push(Seen { input: wanted, layer: layer.clone(), path: path.clone(), digest });
        Ok((layer, path))
    }

    /// What a path of a context holds, as a layer, and its digest: behind the ignore rules and with root's ownership,
    /// as a copy would be. It is kept like any other, so the next build finds it.
    fn context_layer(&self, tree: &Tree, source: &str) -> Result<(ChainId, String)> {
        let Executor { cache, .. } = self.executor;
        let step = mount_step(source);
        let build = self.sources.copy_build(self.stop);
        let selection = copy::select(build, &step, Some(tree))?;
        let key = mount_key(selection.digest().as_str());
        if let Some(hit) = cache.lookup(&key)? {
            return Ok((hit.record.layer, selection.digest().to_string()));
        }
        let copied = copy::apply(build, &step, Some(tree), selection, None)?;
        let layer = match copied.layer {
            Some(layer) => layer.chain_id,
            None => self.executor.empty_layer(None, &self.sources.now)?,
        };
        let key = mount_key(copied.digest.as_str());
        cache.record(&NewRecord {
            layer: layer.clone(),
            kind: "source.local",
            description: format!("local source {source}"),
            keys: vec![CacheKey { key, layer: layer.clone(), reason: None }],
        })?;
        Ok((layer, copied.digest.to_string()))
    }
}
