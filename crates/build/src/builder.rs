//! The builder: what a face calls, and the order of a build.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use orlop_container::{Containers, Settings};
use orlop_dockerfile::parse;
use orlop_image::Images;
use orlop_layer::LayerStore;
use orlop_meta::Store;
use orlop_registry::Client;
use orlop_types::ChainId;
use serde_json::{Map, json};

use crate::base::Bases;
use crate::cache::{Cache, random_id};
use crate::cache_transport::{CacheTransport, is_inline};
use crate::context::{self, Tree};
use crate::error::Place;
use crate::executor::{Executor, Permits};
use crate::frontend::{Frontend, Plan, Setup};
use crate::output::{Exporter, parse_tag};
use crate::output_store::NewImage;
use crate::progress::Progress;
use crate::request::{
    BuildOutcome, BuildRequest, Call, ContextSource, Destination, Output, OutputKind,
};
use crate::run::RunSettings;
use crate::solve::{Solved, Solver};
use crate::sources::{LazyContext, Sources};
use crate::vertices::Vertices;
use crate::{Cancel, Error, Result, answer, definition};

/// Builds images in one store.
#[derive(Clone, Copy, Debug)]
pub struct Builder<'a> {
    pub(crate) store: &'a Store,
    pub(crate) layers: &'a LayerStore,
    pub(crate) settings: &'a Settings,
    client: Option<&'a Client>,
}

/// What is left to do once the front end is through.
struct Work<'w, 'a> {
    request: &'w BuildRequest,
    outputs: Vec<Output>,
    plan: Plan,
    contexts: BTreeMap<String, LazyContext<'a>>,
    place: &'w Place,
    bases: &'w Bases<'w>,
}

impl<'a> Builder<'a> {
    /// Brings together what a build works on.
    #[must_use]
    pub fn new(store: &'a Store, layers: &'a LayerStore, settings: &'a Settings) -> Self {
        Self { store, layers, settings, client: None }
    }

    /// Speaks to registries by this client; else one with the settings of the user and the machine.
    #[must_use]
    pub fn with_client(self, client: &'a Client) -> Self {
        Self { client: Some(client), ..self }
    }

    /// Operations on containers.
    pub(crate) fn containers(&self) -> Containers<'a> {
        Containers::new(self.store, self.layers, self.settings)
    }

    /// Operations on images.
    pub(crate) fn images(&self) -> Images<'a> {
        Images::new(self.store, self.layers)
    }

    /// Builds what is asked for. Everything that happens is told to `progress` while it happens; an
    /// error is told at its step, too.
    ///
    /// Layers and their records come into the store as soon as each is made, so a build that is cut is
    /// continued by the next one. While a build runs, nobody removes a layer.
    pub fn build(
        &self,
        request: BuildRequest,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<BuildOutcome> {
        cancel.check()?;
        let guard = self.store.changing()?;
        let evicted = AtomicBool::new(false);
        let outcome = self.build_guarded(request, progress, cancel, &evicted);
        drop(guard);
        if evicted.into_inner() {
            // Those layers can go now, unless somebody else is making something: then who comes next
            // removes them.
            self.store.make_room();
            let removed = self.remove_evicted();
            if outcome.is_ok() {
                removed?;
            }
        }
        outcome
    }

    fn build_guarded(
        &self,
        mut request: BuildRequest,
        progress: &dyn Progress,
        cancel: &Cancel,
        evicted: &AtomicBool,
    ) -> Result<BuildOutcome> {
        let mut outputs = std::mem::take(&mut request.outputs);
        if outputs.is_empty() {
            let (kind, destination) = (OutputKind::Image, Destination::Store);
            outputs.push(Output { kind, attributes: BTreeMap::new(), destination });
        }
        outputs.iter().try_for_each(Exporter::check)?;
        request.tags.iter().try_for_each(|tag| parse_tag(tag).map(drop))?;
        let vertices = Vertices::new(progress);
        let main = std::mem::take(&mut request.context);
        let keep_git_dir = request.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
        let keep_git_dir =
            keep_git_dir.is_some_and(|value| matches!(value.as_deref(), Some("1" | "true")));
        let mut context = self.open_main(main, keep_git_dir, &vertices, cancel)?;
        let (place, ignore_text) = definition::load(&request.dockerfile, &context, &vertices)?;
        let file = parse(&place.text).map_err(|error| place.grammar(&error))?;
        if request.call == Call::Targets {
            let answer = Some(answer::targets(&place, &file));
            return Ok(BuildOutcome { answer, ..BuildOutcome::default() });
        }
        let ignore = definition::ignore(&ignore_text)?;
        context.set_ignore(definition::ignore(&ignore_text)?);
        let settings = RunSettings::of(&request);
        let bases = Bases::new(self.images(), &vertices, cancel, self.client, request.pull);
        let all_stages = request.call == Call::Check && request.target.is_empty();
        let setup = Setup {
            file: &file,
            place: &place,
            request: &request,
            ignore: Some(&ignore),
            bases: &bases,
            vertices: &vertices,
            settings: &settings,
            all_stages,
        };
        let frontend = Frontend::new(&setup);
        match request.call {
            Call::Check => {
                let error = frontend.and_then(|frontend| frontend.plan()).err();
                let answer = Some(answer::lints(&place, &vertices.lints(), error.as_ref()));
                return Ok(BuildOutcome { answer, ..BuildOutcome::default() });
            }
            Call::Outline => {
                let answer = Some(answer::outline(&frontend?)?);
                return Ok(BuildOutcome { answer, ..BuildOutcome::default() });
            }
            Call::Build | Call::Targets => {}
        }
        let plan = frontend?.plan()?;
        let named = std::mem::take(&mut request.named_contexts);
        let contexts = self.contexts(context, named);
        let work =
            Work { request: &request, outputs, plan, contexts, place: &place, bases: &bases };
        self.carry_out(work, &vertices, cancel, evicted)
    }

    /// Makes what a plan says, and puts it where it goes.
    fn carry_out(
        &self,
        work: Work<'_, 'a>,
        vertices: &Vertices<'_>,
        cancel: &Cancel,
        evicted: &AtomicBool,
    ) -> Result<BuildOutcome> {
        let Work { request, outputs, plan, contexts, place, bases } = work;
        let cache = Cache::open(self.store, request.cache_budget_bytes, evicted)?;
        let transport = CacheTransport { builder: *self, bases, vertices, cancel, cache };
        transport.check(&request.cache_from, &request.cache_to)?;
        transport.import(&request.cache_from)?;
        let (image, layers) = self.solve(request, plan, place, contexts, &transport)?;
        let exporter = Exporter {
            builder: *self,
            bases,
            vertices,
            cancel,
            image: &image,
            tags: &request.tags,
        };
        let mut outcome = BuildOutcome::default();
        let mut metadata = Map::new();
        for output in outputs {
            cancel.check()?;
            if let Some(id) = exporter.write(output, &mut metadata)? {
                outcome.image = Some(id);
            }
        }
        transport.export(&request.cache_to, image.top.as_ref(), &layers)?;
        metadata.insert(
            "buildx.build.ref".to_owned(),
            json!(format!("default/default/{}", random_id())),
        );
        outcome.metadata = metadata;
        Ok(outcome)
    }

    /// Opens the build context; one of this machine is only looked at.
    fn open_main(
        &self,
        source: ContextSource,
        keep_git_dir: bool,
        vertices: &Vertices<'_>,
        cancel: &Cancel,
    ) -> Result<Tree> {
        match source {
            ContextSource::Empty => Tree::empty(self.store),
            ContextSource::Directory(path) => Tree::directory(self.store, &path),
            source => vertices.during("[internal] load remote build context", |vertex| {
                let progress =
                    crate::progress::StepProgress { progress: vertices.progress(), vertex };
                self.open_context(source, keep_git_dir, progress, cancel)
            }),
        }
    }

    fn open_context(
        &self,
        source: ContextSource,
        keep_git_dir: bool,
        progress: crate::progress::StepProgress<'_>,
        cancel: &Cancel,
    ) -> Result<Tree> {
        let opening = context::Opening { layers: self.layers, keep_git_dir, progress, cancel };
        context::open(opening, source)
    }

    /// The contexts of a build, the named ones still closed.
    fn contexts(
        &self,
        main: Tree,
        named: BTreeMap<String, ContextSource>,
    ) -> BTreeMap<String, LazyContext<'a>> {
        let builder = *self;
        let mut contexts = BTreeMap::new();
        let name = "[internal] load build context".to_owned();
        let main = LazyContext { name, open: Some(Box::new(|_, _| Ok(main))), tree: None };
        contexts.insert(String::new(), main);
        for (name, source) in named {
            let shown = format!("[context {name}] load from client");
            let open = move |progress: crate::progress::StepProgress<'_>, cancel: &Cancel| {
                let mut tree = builder.open_context(source, false, progress, cancel)?;
                let ignore = definition::own_ignore(&tree)?;
                tree.set_ignore(ignore);
                Ok(tree)
            };
            let context = LazyContext { name: shown, open: Some(Box::new(open)), tree: None };
            contexts.insert(name, context);
        }
        contexts
    }

    /// Makes the layers and finishes the configuration.
    fn solve(
        &self,
        request: &BuildRequest,
        plan: Plan,
        place: &Place,
        contexts: BTreeMap<String, LazyContext<'a>>,
        transport: &CacheTransport<'_>,
    ) -> Result<(NewImage, BTreeSet<ChainId>)> {
        let CacheTransport { cache, vertices, cancel, .. } = *transport;
        let sources = Sources::new(self.layers, vertices, place, contexts);
        let executor = Executor {
            layers: self.layers,
            containers: self.containers(),
            request,
            run: OnceLock::new(),
            cache,
            progress: vertices.progress(),
            copies: Permits::processors(),
            runs: Permits::containers(),
        };
        let solver = Solver {
            graph: &plan.graph,
            cache,
            sources: &sources,
            executor,
            progress: vertices.progress(),
            cancel,
            place,
            explain: request.explain,
        };
        let targets: Vec<usize> = plan.target.into_iter().collect();
        let solved = solver.solve(&targets);
        sources.remember();
        let Solved { tops, layers } = solved?;
        let top = tops.into_iter().next().flatten();
        let inline = match is_inline(request) {
            true => transport.describe(top.as_ref())?,
            false => None,
        };
        Ok((self.finished(plan, top, inline)?, layers))
    }

    /// Fills in the layers and the times.
    fn finished(
        &self,
        plan: Plan,
        top: Option<ChainId>,
        inline: Option<serde_json::Value>,
    ) -> Result<NewImage> {
        let Plan { mut document, base_layers, epoch, .. } = plan;
        document.inline_cache = inline;
        let (mut chain, mut times) = (Vec::new(), Vec::new());
        if let Some(top) = &top {
            self.store.read::<_, Error>(|query| {
                chain = query.layer_chain(top)?;
                chain.reverse();
                for layer in chain.iter().skip(base_layers) {
                    let record = query.cache_record(&layer.chain_id)?;
                    times.push(
                        record.map_or(layer.created_at.clone(), |cached| cached.record.created_at),
                    );
                }
                Ok(())
            })?;
        }
        let mut times = times.into_iter();
        for entry in &mut document.history {
            if entry.created.is_none() && !entry.empty_layer {
                entry.created = times.next();
            }
        }
        let size_bytes = chain.iter().map(|layer| layer.size_bytes).sum();
        document.complete(chain.into_iter().map(|layer| layer.diff_id).collect(), epoch.as_ref());
        NewImage::new(&document, top, size_bytes)
    }
}
