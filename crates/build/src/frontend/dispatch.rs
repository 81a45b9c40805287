//! Instructions that make files: each becomes a node of the graph.

use orlop_dockerfile::{Add, Command, Copy, Instruction, Run, RunNetwork, RunSecurity, Script};

use super::Frontend;
use super::stage::{Stage, destination, joined};
use super::states::{Planned, States, step_name};
use crate::graph::{Graph, NodeKind, Step};
use crate::step::{AddOptions, CopyStep, Document, Input, Operation, RunStep};
use crate::{Error, Result};

/// Where an instruction stands.
pub(super) struct Where<'w> {
    pub states: &'w States,
    /// The number of its state.
    pub number: usize,
    pub planned: &'w Planned,
    /// As it is shown, without its number.
    pub text: String,
    /// Whether the cache must not be asked.
    pub no_cache: bool,
}

impl Frontend<'_> {
    /// Goes through the instructions of one state; `stages` are those before it.
    pub(super) fn dispatch_stage(
        &self,
        states: &mut States,
        number: usize,
        stages: &mut [Option<Stage>],
        graph: &mut Graph,
    ) -> Result<Stage> {
        let states = &*states;
        let state = states.get(number)?;
        let mut stage = match (state.base, &state.origin) {
            (Some(base), _) => {
                let Some(Some(base)) = stages.get(base) else {
                    return Err(Error::invalid(format!("invalid stage index {base}")));
                };
                let mut stage = base.clone();
                stage.document.config.on_build.clear();
                stage.lints = base.lints.child();
                stage.has_cmd = false;
                stage.shown = 0;
                stage
            }
            (None, Some(origin)) => Stage {
                node: origin.node,
                base_entries: origin.document.history.len(),
                base_layers: origin.layers,
                lints: orlop_dockerfile::StageLints::new(
                    &self.checks,
                    !origin.document.config.shell.is_empty(),
                ),
                document: origin.document.clone(),
                shown: origin.shown,
                ..Stage::default()
            },
            (None, None) => return Err(Error::invalid(format!("invalid stage index {number}"))),
        };
        self.name_input(state, number, &stage, graph);
        if state.replaced.is_some() || state.stage.is_none() {
            return Ok(stage);
        }
        stage.begin();
        let file_stage = state.stage.and_then(|stage| self.file.stages.get(stage));
        let no_cache = self.is_no_cache(file_stage.and_then(|stage| stage.name.as_deref()));
        for planned in &state.commands {
            self.dispatch(states, number, planned, no_cache, &mut stage, stages, graph)?;
        }
        self.name_input(state, number, &stage, graph);
        Ok(stage)
    }

    /// Says where the files of a state are, for those that read them.
    fn name_input(
        &self,
        state: &super::states::State,
        number: usize,
        stage: &Stage,
        graph: &mut Graph,
    ) {
        let in_place = state.origin.as_ref().and_then(|origin| origin.context.as_ref());
        if in_place.is_none() || state.stage.is_some() {
            graph.inputs.insert(Input::Stage(number), stage.node);
        }
    }

    #[allow(clippy::too_many_arguments)] // All of it is where one instruction stands.
    fn dispatch(
        &self,
        states: &States,
        number: usize,
        planned: &Planned,
        no_cache: bool,
        stage: &mut Stage,
        stages: &[Option<Stage>],
        graph: &mut Graph,
    ) -> Result<()> {
        let escape = self.file.directives.escape;
        let state = states.get(number)?;
        let lines = if planned.onbuild { state.lines } else { planned.instruction.source.lines };
        let expanded = planned.instruction.expanded(escape, &|name| stage.variable(name)).map_err(
            |error| {
                if planned.onbuild {
                    self.place.at(lines, "", Error::invalid(error.to_string()))
                } else {
                    self.place.grammar(&error)
                }
            },
        )?;
        let names = stage.names();
        let lints = stage.lints.instruction(&expanded, &names, self.ignore);
        self.warn(&lints);
        let text = planned.instruction.step_text(escape, &|name| stage.variable(name));
        for source in planned.sources.iter().flatten() {
            self.must_be_before(states, *source, number, stages, planned)
                .map_err(|error| self.place.at(lines, "", error))?;
        }
        let place = Where { states, number, planned, text, no_cache };
        let instruction = &expanded.instruction;
        let result = match &instruction.command {
            Command::Run(run) => self.run(stage, graph, &place, instruction, run),
            Command::Copy(copy) => self.copy(stage, graph, &place, copy),
            Command::Add(add) => self.add(stage, graph, &place, add),
            Command::Workdir(path) => self.workdir(stage, graph, &place, path),
            _ => self.configure(stage, instruction),
        };
        result.map_err(|error| self.place.at(lines, "", error))
    }

    /// What is copied or mounted must be made before.
    fn must_be_before(
        &self,
        states: &States,
        source: usize,
        number: usize,
        stages: &[Option<Stage>],
        planned: &Planned,
    ) -> Result<()> {
        let is_there =
            states.get(source)?.stage.is_none() || stages.get(source).is_some_and(Option::is_some);
        if is_there {
            return Ok(());
        }
        let from = &states.get(source)?.shown_name;
        let own = &states.get(number)?.shown_name;
        Err(Error::invalid(match &planned.instruction.command {
            Command::Copy(copy) => {
                let from = copy.from.as_ref().unwrap_or(from);
                format!(
                    "cannot copy from stage {from:?}, it needs to be defined before current stage {own:?}"
                )
            }
            _ => format!(
                "cannot mount from stage {from:?}, stage needs to be defined before current command"
            ),
        }))
    }

    /// The input of a state.
    pub(super) fn input(&self, states: &States, number: usize) -> Result<Input> {
        let state = states.get(number)?;
        let context = state.origin.as_ref().and_then(|origin| origin.context.clone());
        Ok(match context.filter(|_| state.stage.is_none()) {
            Some(context) => context,
            None => Input::Stage(number),
        })
    }

    /// Adds a node on top of the stage.
    fn add_step(
        &self,
        stage: &mut Stage,
        graph: &mut Graph,
        place: &Where<'_>,
        operation: Operation,
        created_by: String,
    ) -> Result<()> {
        let state = place.states.get(place.number)?;
        stage.shown += 1;
        let onbuild = place.planned.onbuild;
        let name = step_name(&state.shown_name, stage.shown, state.total, onbuild, &place.text);
        let mut step = Step::new(operation, stage.node, self.settings)?;
        step.no_cache =
            place.no_cache && !matches!(step.operation, Operation::MakeDirectory { .. });
        step.description.clone_from(&name);
        let lines = if onbuild { state.lines } else { place.planned.instruction.source.lines };
        step.lines = Some(lines);
        let below = stage.node.and_then(|node| graph.nodes.get(node)).map(|node| node.vertex);
        let vertex = self.vertices.add(&name, below.into_iter().collect());
        stage.node = Some(graph.add(name, vertex, NodeKind::Step(Box::new(step))));
        stage.record(created_by, true);
        Ok(())
    }

    fn workdir(
        &self,
        stage: &mut Stage,
        graph: &mut Graph,
        place: &Where<'_>,
        path: &str,
    ) -> Result<()> {
        let directory = joined(&stage.cwd, path);
        stage.cwd.clone_from(&directory);
        stage.document.config.working_dir.clone_from(&directory);
        let created_by = format!("WORKDIR {directory}");
        if directory == "/" {
            stage.record(created_by, false);
            return Ok(());
        }
        let owner = stage.document.config.user.clone();
        let operation = Operation::MakeDirectory { path: directory, owner };
        self.add_step(stage, graph, place, operation, created_by)
    }

    fn copy(
        &self,
        stage: &mut Stage,
        graph: &mut Graph,
        place: &Where<'_>,
        copy: &Copy,
    ) -> Result<()> {
        let from = match place.planned.sources.first() {
            Some(Some(source)) => Some(self.input(place.states, *source)?),
            _ => (!copy.sources.paths.is_empty()).then(|| Input::Context(String::new())),
        };
        let step = CopyStep {
            from,
            sources: copy.sources.paths.clone(),
            documents: documents(&copy.sources.files),
            destination: destination(&stage.cwd, &copy.sources.destination),
            chown: copy.chown.clone().unwrap_or_default(),
            chmod: copy.chmod.clone().unwrap_or_default(),
            link: copy.link,
            parents: copy.parents,
            exclude: copy.exclude.clone(),
            add: None,
        };
        if let Some(url) = step.sources.iter().find(|source| is_url(source)) {
            tracing::debug!(url, "COPY has an address");
            return Err(Error::invalid("source can't be a URL for COPY"));
        }
        let created_by = copy_text("COPY", copy.parents, &step, &copy.sources.destination);
        self.add_step(stage, graph, place, Operation::Copy(step), created_by)
    }

    fn add(
        &self,
        stage: &mut Stage,
        graph: &mut Graph,
        place: &Where<'_>,
        add: &Add,
    ) -> Result<()> {
        let checksum = add.checksum.clone().unwrap_or_default();
        if !checksum.is_empty() && add.sources.paths.len() != 1 {
            return Err(Error::invalid("checksum can't be specified for multiple sources"));
        }
        let is_local = |source: &String| !is_url(source) && !is_git(source);
        if !checksum.is_empty() && add.sources.paths.iter().any(is_local) {
            return Err(Error::invalid("checksum requires HTTP(S) or Git sources"));
        }
        let reads = add.sources.paths.iter().any(is_local);
        let step = CopyStep {
            from: reads.then(|| Input::Context(String::new())),
            sources: add.sources.paths.clone(),
            documents: documents(&add.sources.files),
            destination: destination(&stage.cwd, &add.sources.destination),
            chown: add.chown.clone().unwrap_or_default(),
            chmod: add.chmod.clone().unwrap_or_default(),
            link: add.link,
            parents: false,
            exclude: add.exclude.clone(),
            add: Some(AddOptions {
                checksum,
                keep_git_dir: add.keep_git_dir.unwrap_or_default(),
                unpack: add.unpack,
            }),
        };
        let created_by = copy_text("ADD", false, &step, &add.sources.destination);
        self.add_step(stage, graph, place, Operation::Copy(step), created_by)
    }

    fn run(
        &self,
        stage: &mut Stage,
        graph: &mut Graph,
        place: &Where<'_>,
        instruction: &Instruction,
        run: &Run,
    ) -> Result<()> {
        let mut scripts = Vec::new();
        let args = match run.script() {
            Script::Exec(words) => words,
            Script::Shell(text) => stage.with_shell(&text),
            Script::File { name, content } => {
                let path = format!("/dev/pipes/{name}");
                scripts.push(Document { name, content });
                stage.with_shell(&path)
            }
        };
        let created_by = format!("RUN {}{} # buildkit", arguments_text(stage), args.join(" "));
        let mounts = self.mounts(stage, place, run)?;
        let network = match run.network {
            RunNetwork::None => "none".to_owned(),
            RunNetwork::Host => "host".to_owned(),
            RunNetwork::Default if self.request.network.is_empty() => "default".to_owned(),
            RunNetwork::Default => self.request.network.clone(),
        };
        tracing::debug!(line = instruction.source.lines.first, "RUN");
        let step = RunStep {
            args,
            env: stage.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            proxies: self.proxies.clone(),
            cwd: stage.cwd.clone(),
            user: stage.document.config.user.clone(),
            mounts,
            scripts,
            network,
            insecure: run.security == RunSecurity::Insecure,
            devices: run.devices.iter().map(|device| device.name.clone()).collect(),
            volumes: stage.document.config.volumes.keys().cloned().collect(),
        };
        self.add_step(stage, graph, place, Operation::Run(step), created_by)
    }
}

fn documents(files: &[orlop_dockerfile::InlineFile]) -> Vec<Document> {
    files
        .iter()
        .map(|file| Document { name: file.name.clone(), content: file.content.clone() })
        .collect()
}

/// Whether a source is downloaded.
fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Whether a source is a repository.
fn is_git(source: &str) -> bool {
    ["git://", "git@", "ssh://"].iter().any(|scheme| source.starts_with(scheme))
}

/// `|2 A=1 B= ` before the command, if there are arguments.
fn arguments_text(stage: &Stage) -> String {
    let mut known: Vec<(String, String)> = Vec::new();
    for (name, value) in &stage.build_args {
        let value = stage.variable(name).or_else(|| value.clone()).unwrap_or_default();
        super::set(&mut known, name, &value);
    }
    if known.is_empty() {
        return String::new();
    }
    let pairs: String = known.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    format!("|{} {pairs}", known.len())
}

fn copy_text(name: &str, parents: bool, step: &CopyStep, written: &str) -> String {
    let mut text = name.to_owned();
    if parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("chown", &step.chown), ("chmod", &step.chmod)] {
        if !value.is_empty() {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    for source in &step.sources {
        text.push_str(&format!(" {source}"));
    }
    for document in &step.documents {
        text.push_str(&format!(" <<{}", document.name));
    }
    format!("{text} {written} # buildkit")
}
