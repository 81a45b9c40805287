//! Which stages there are, which the target needs, and what each begins with.

use std::collections::{BTreeMap, BTreeSet};

use orlop_dockerfile::{Command, Instruction, Lines, expand, expand_with_names, parse_instruction};
use orlop_types::platform::Platform;
use orlop_types::reference::ImageReference;

use super::{Frontend, find};
use crate::base::Base;
use crate::document::Document;
use crate::graph::{Graph, NodeId, NodeKind, Step};
use crate::request::ContextSource;
use crate::step::{CopyStep, Input, Operation};
use crate::{Error, Result};

/// Something that files come from: a stage of the Dockerfile, or what a `--from` names beside them.
#[derive(Debug)]
pub(crate) struct State {
    /// The stage's number in the file; `None` of what only a `--from` names.
    pub stage: Option<usize>,
    /// Its name in messages; empty where there is only one.
    pub shown_name: String,
    /// The image or stage that it stands on.
    pub base_name: String,
    pub platform: Option<Platform>,
    /// The stage that it stands on.
    pub base: Option<usize>,
    /// What it needs beside that.
    pub deps: BTreeMap<usize, Lines>,
    pub commands: Vec<Planned>,
    pub lines: Lines,
    /// A named context that takes the stage's place.
    pub replaced: Option<String>,
    /// What it begins with, if it stands on no stage.
    pub origin: Option<Origin>,
    /// Whether the triggers of its base are among its commands.
    triggered: bool,
    /// Steps that are shown with a number.
    pub total: usize,
}

/// An instruction that is to be carried out.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub instruction: Instruction,
    /// Of COPY the state that `--from` names, of RUN one for each mount.
    pub sources: Vec<Option<usize>>,
    /// Whether it is a trigger of the base image.
    pub onbuild: bool,
}

/// What a state begins with.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub document: Document,
    pub node: Option<NodeId>,
    pub layers: usize,
    /// Steps shown so far.
    pub shown: usize,
    /// A context whose files these are, read in place.
    pub context: Option<Input>,
}

/// All of them, stages first.
#[derive(Debug, Default)]
pub(crate) struct States {
    list: Vec<State>,
    names: BTreeMap<String, usize>,
}

impl States {
    /// Finds the stages and what they name.
    pub fn collect(frontend: &Frontend<'_>) -> Result<Self> {
        let mut states = Self::default();
        for number in 0..frontend.file.stages.len() {
            states.add_stage(frontend, number)?;
        }
        for number in 0..states.list.len() {
            let stage = states.get(number)?.stage;
            let Some(stage) = stage.and_then(|stage| frontend.file.stages.get(stage)) else {
                continue;
            };
            let mut commands = Vec::new();
            for instruction in &stage.instructions {
                commands.push(states.planned(frontend, number, instruction.clone(), None)?);
            }
            states.get_mut(number)?.commands = commands;
        }
        states.check_circles(frontend)?;
        if let [only] = states.list.as_mut_slice() {
            only.shown_name.clear();
        }
        Ok(states)
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn get(&self, number: usize) -> Result<&State> {
        self.list.get(number).ok_or_else(|| Error::invalid(format!("invalid stage index {number}")))
    }

    pub fn get_mut(&mut self, number: usize) -> Result<&mut State> {
        self.list
            .get_mut(number)
            .ok_or_else(|| Error::invalid(format!("invalid stage index {number}")))
    }

    fn add_stage(&mut self, frontend: &Frontend<'_>, number: usize) -> Result<()> {
        let Some(stage) = frontend.file.stages.get(number) else { return Ok(()) };
        let escape = frontend.file.directives.escape;
        let lines = stage.source.lines;
        let lookup = |name: &str| find(&frontend.globals, name);
        let at = |error: orlop_dockerfile::Error| frontend.place.grammar(&error.at(lines));
        let invalid = |text: String| frontend.place.at(lines, "", Error::invalid(text));
        let base_name = expand_with_names(&stage.base, escape, &lookup).map_err(at)?.text;
        if base_name.is_empty() {
            return Err(invalid(format!("base name ({}) should not be blank", stage.base)));
        }
        let platform = match &stage.platform {
            None => None,
            Some(written) => {
                let text = expand(written, escape, &lookup).map_err(at)?;
                if text.is_empty() {
                    return Err(invalid(format!("empty platform value from expression {written}")));
                }
                Some(text.parse::<Platform>().map_err(|error| {
                    invalid(format!("failed to parse platform {written}: {error}"))
                })?)
            }
        };
        let replaced =
            stage.name.as_ref().and_then(|name| frontend.named_context(name)).map(|(name, _)| name);
        let mut total = stage
            .instructions
            .iter()
            .filter(|instruction| {
                let command = &instruction.command;
                matches!(
                    command,
                    Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_)
                )
            })
            .count();
        // As BuildKit: the name is found only as it is kept, in lower case.
        let base = self.names.get(&base_name).copied().filter(|_| replaced.is_none());
        if base_name != "scratch" && base.is_none() {
            total += 1;
        }
        let shown_name = stage.name.clone().unwrap_or_else(|| format!("stage-{number}"));
        self.list.push(State {
            stage: Some(number),
            shown_name,
            base_name,
            platform,
            base,
            deps: BTreeMap::new(),
            commands: Vec::new(),
            lines,
            replaced,
            origin: None,
            triggered: false,
            total,
        });
        if let Some(name) = &stage.name {
            self.names.insert(name.clone(), self.list.len() - 1);
        }
        Ok(())
    }

    /// An instruction with the states that it names; `trigger` are the lines of the FROM that set it off.
    fn planned(
        &mut self,
        frontend: &Frontend<'_>,
        number: usize,
        instruction: Instruction,
        trigger: Option<Lines>,
    ) -> Result<Planned> {
        let lines = trigger.unwrap_or(instruction.source.lines);
        let names: Vec<Option<String>> = match &instruction.command {
            Command::Copy(copy) => vec![copy.from.clone().filter(|from| !from.is_empty())],
            Command::Run(run) => run.mount_flags.iter().map(|flag| flag.from.clone()).collect(),
            _ => Vec::new(),
        };
        let is_copy = matches!(instruction.command, Command::Copy(_));
        let mut sources = Vec::new();
        for name in names {
            // A mount without a source counts as one of `scratch` where stages are counted.
            let name = name.or_else(|| (!is_copy).then(|| "scratch".to_owned()));
            let Some(name) = name else {
                sources.push(None);
                continue;
            };
            let source = self.named(frontend, &name, is_copy, lines)?;
            self.get_mut(number)?.deps.insert(source, lines);
            sources.push(Some(source));
        }
        Ok(Planned { instruction, sources, onbuild: trigger.is_some() })
    }

    /// The state that a `--from` names.
    fn named(
        &mut self,
        frontend: &Frontend<'_>,
        name: &str,
        is_copy: bool,
        lines: Lines,
    ) -> Result<usize> {
        let expanded = expand(name, frontend.file.directives.escape, &|_: &str| None);
        if is_copy && expanded.map_or(true, |expanded| expanded != name) {
            return Err(Error::invalid(
                "variable expansion is not supported for --from, define a new stage with FROM using ARG from \
                 global scope as a workaround",
            ));
        }
        if is_copy && let Ok(number) = name.parse::<i64>() {
            return usize::try_from(number)
                .ok()
                .filter(|number| *number < self.list.len())
                .ok_or_else(|| Error::invalid(format!("invalid stage index {number}")));
        }
        if let Some(number) = self.names.get(&name.to_lowercase()) {
            return Ok(*number);
        }
        self.list.push(State {
            stage: None,
            shown_name: String::new(),
            base_name: name.to_owned(),
            platform: None,
            base: None,
            deps: BTreeMap::new(),
            commands: Vec::new(),
            lines,
            replaced: None,
            origin: None,
            triggered: true,
            total: 0,
        });
        Ok(self.list.len() - 1)
    }

    /// The stage that is to be built.
    pub fn target(&self, frontend: &Frontend<'_>) -> Result<usize> {
        let wanted = frontend.request.target.as_str();
        if wanted.is_empty() {
            let last = frontend.file.stages.len().checked_sub(1);
            return last.ok_or_else(|| Error::invalid("dockerfile contains no stages to build"));
        }
        if let Some(number) = self.names.get(&wanted.to_lowercase()) {
            return Ok(*number);
        }
        Err(Error::invalid(format!("target stage {wanted:?} could not be found")))
    }

    /// A stage must not need itself.
    fn check_circles(&self, frontend: &Frontend<'_>) -> Result<()> {
        // 0 is new, 1 is being looked at, 2 is done.
        let mut marks = vec![0_u8; self.list.len()];
        for start in 0..self.list.len() {
            let mut path = vec![(start, false)];
            while let Some((number, left)) = path.pop() {
                let Some(mark) = marks.get_mut(number) else { continue };
                if left {
                    *mark = 2;
                    continue;
                }
                if *mark != 0 {
                    continue;
                }
                *mark = 1;
                path.push((number, true));
                let state = self.get(number)?;
                let deps = state.deps.iter().map(|(next, lines)| (*next, *lines));
                for (next, lines) in deps.chain(state.base.map(|base| (base, state.lines))) {
                    if marks.get(next) == Some(&1) {
                        let name = &self.get(next)?.shown_name;
                        let text = format!("circular dependency detected on stage: {name}");
                        return Err(frontend.place.at(lines, "", Error::invalid(text)));
                    }
                    path.push((next, false));
                }
            }
        }
        Ok(())
    }

    fn reachable(&self, frontend: &Frontend<'_>, target: usize) -> Result<BTreeSet<usize>> {
        if frontend.all_stages {
            return Ok((0..self.list.len()).collect());
        }
        let mut reachable = BTreeSet::new();
        let mut waiting = vec![target];
        while let Some(number) = waiting.pop() {
            if reachable.insert(number) {
                let state = self.get(number)?;
                waiting.extend(state.deps.keys().chain(&state.base));
            }
        }
        Ok(reachable)
    }

    /// Finds what the needed states begin with, and the triggers of their bases, which may need more.
    pub fn resolve(
        &mut self,
        frontend: &Frontend<'_>,
        target: usize,
        graph: &mut Graph,
    ) -> Result<BTreeSet<usize>> {
        loop {
            let reachable = self.reachable(frontend, target)?;
            for number in &reachable {
                let state = self.get(*number)?;
                if state.base.is_none() && state.origin.is_none() {
                    let origin = self.origin(frontend, *number, graph)?;
                    self.get_mut(*number)?.origin = Some(origin);
                }
            }
            let mut found = false;
            for number in &reachable {
                found |= self.trigger(frontend, *number)?;
            }
            if !found {
                return Ok(reachable);
            }
        }
    }

    /// Puts the triggers of a state's base before its instructions; whether there were any.
    fn trigger(&mut self, frontend: &Frontend<'_>, number: usize) -> Result<bool> {
        let state = self.get_mut(number)?;
        if std::mem::replace(&mut state.triggered, true) || state.replaced.is_some() {
            return Ok(false);
        }
        let lines = state.lines;
        let mut texts = match &mut state.origin {
            Some(origin) => std::mem::take(&mut origin.document.config.on_build),
            None => Vec::new(),
        };
        if let Some(base) = state.base {
            texts.extend(self.get(base)?.commands.iter().filter_map(|planned| {
                match &planned.instruction.command {
                    Command::Onbuild(text) => Some(text.clone()),
                    _ => None,
                }
            }));
        }
        let mut triggers = Vec::new();
        for text in &texts {
            let instruction = parse_instruction(text)
                .map_err(|error| frontend.place.at(lines, "", Error::invalid(error.to_string())))?;
            triggers.push(self.planned(frontend, number, instruction, Some(lines))?);
        }
        let state = self.get_mut(number)?;
        state.total += triggers.len();
        let found = !triggers.is_empty();
        triggers.append(&mut state.commands);
        state.commands = triggers;
        Ok(found)
    }

    /// What a state begins with that stands on no stage.
    fn origin(&self, frontend: &Frontend<'_>, number: usize, graph: &mut Graph) -> Result<Origin> {
        let state = self.get(number)?;
        let platform = state.platform.clone().unwrap_or_else(|| frontend.target_platform.clone());
        let empty = || Document::scratch(&platform.os, &platform.architecture, &platform.variant);
        let at = |error| frontend.place.at(state.lines, "", error);
        let named = match &state.replaced {
            Some(name) => frontend.named_context(name),
            None if state.base_name.eq_ignore_ascii_case("scratch") => None,
            None => frontend.named_context(&state.base_name),
        };
        match named {
            Some((_, ContextSource::Image(name))) => {
                let base = frontend.bases.resolve(name, &platform).map_err(at)?;
                self.image(frontend, number, base, graph)
            }
            Some((_, ContextSource::OciLayout(layout))) => {
                let base = frontend.bases.resolve_layout(layout, &platform).map_err(at)?;
                self.image(frontend, number, base, graph)
            }
            Some((name, _)) => {
                let input = Input::Context(name);
                let node = if state.stage.is_some() {
                    Some(context_node(frontend, &input, graph)?)
                } else {
                    None
                };
                let layers = usize::from(node.is_some());
                Ok(Origin { document: empty(), node, layers, shown: 0, context: Some(input) })
            }
            None if state.base_name == "scratch" => {
                Ok(Origin { document: empty(), node: None, layers: 0, shown: 0, context: None })
            }
            None => {
                let base = frontend.bases.resolve(&state.base_name, &platform).map_err(at)?;
                self.image(frontend, number, base, graph)
            }
        }
    }

    fn image(
        &self,
        frontend: &Frontend<'_>,
        number: usize,
        base: Base,
        graph: &mut Graph,
    ) -> Result<Origin> {
        let state = self.get(number)?;
        let mut document = base.document;
        document.created = None;
        let text = format!("FROM {}", base.shown_name);
        let (text, shown) = match state.total {
            0 => (text, 0),
            total => (step_name(&state.shown_name, 1, total, false, &text), 1),
        };
        let vertex = frontend.vertices.add(&text, Vec::new());
        let layers = document.rootfs.diff_ids.len();
        let node =
            base.top.as_ref().map(|top| graph.add(text, vertex, NodeKind::Base(Some(top.clone()))));
        Ok(Origin { document, node, layers, shown, context: None })
    }
}

/// The files of a context as the first layer of a stage.
fn context_node(frontend: &Frontend<'_>, input: &Input, graph: &mut Graph) -> Result<NodeId> {
    let copy = CopyStep {
        from: Some(input.clone()),
        sources: vec![".".to_owned()],
        destination: "/".to_owned(),
        ..CopyStep::default()
    };
    let name = format!("FROM {}", crate::sources::input_name(input));
    let mut step = Step::new(Operation::Copy(copy), None, frontend.settings)?;
    step.description.clone_from(&name);
    let vertex = frontend.vertices.add(&name, Vec::new());
    Ok(graph.add(name, vertex, NodeKind::Step(Box::new(step))))
}

/// `[stage 2/10] RUN make`.
pub(crate) fn step_name(
    stage: &str,
    number: usize,
    total: usize,
    onbuild: bool,
    text: &str,
) -> String {
    let width = total.to_string().len();
    let stage = if stage.is_empty() { String::new() } else { format!("{stage} ") };
    let onbuild = if onbuild { "ONBUILD " } else { "" };
    format!("[{stage}{number:>width$}/{total}] {onbuild}{text}")
}

impl Frontend<'_> {
    /// The named context that stands for an image or a stage.
    pub(crate) fn named_context(&self, name: &str) -> Option<(String, &ContextSource)> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return None;
        }
        let contexts = &self.request.named_contexts;
        let key = |text: &str| {
            text.parse::<ImageReference>().map_or_else(
                |_| text.to_lowercase(),
                |reference| reference.tag_or_latest().canonical(),
            )
        };
        if let Some((name, source)) = contexts.get_key_value(name) {
            return Some((name.clone(), source));
        }
        let wanted = key(name);
        let (name, source) = contexts.iter().find(|(other, _)| key(other) == wanted)?;
        Some((name.clone(), source))
    }
}

#[cfg(test)]
mod tests {
    use super::step_name;

    #[test]
    fn steps_are_counted_in_columns() {
        assert_eq!(step_name("build", 2, 4, false, "RUN x"), "[build 2/4] RUN x");
        assert_eq!(step_name("", 2, 10, true, "RUN x"), "[ 2/10] ONBUILD RUN x");
    }
}
