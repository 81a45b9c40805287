//! From a Dockerfile to the graph of a build and the configuration of its image.
//!
//! The stages that the target needs are found first ([`states`]), with their base images; then their
//! instructions are gone through in order ([`dispatch`], [`config`]): what makes files becomes a node of
//! the graph, everything else changes the configuration and the history. Rules and texts are BuildKit's
//! (`frontend/dockerfile/dockerfile2llb`).

pub(crate) mod arguments;
pub(crate) mod config;
pub(crate) mod dispatch;
pub(crate) mod mounts;
pub(crate) mod stage;
pub(crate) mod states;

use std::collections::BTreeMap;

use orlop_dockerfile::{Checks, Dockerfile, Ignore, Lint, from_lints, resolve_globals};
use orlop_types::ErrorKind;
use orlop_types::platform::Platform;

use crate::base::Bases;
use crate::document::{Document, Epoch};
use crate::error::Place;
use crate::graph::{Graph, NodeId};
use crate::progress::Event;
use crate::request::{BuildRequest, NoCache};
use crate::run::RunSettings;
use crate::vertices::Vertices;
use crate::{Error, Result};
use stage::Stage;
use states::States;

/// What the front end found.
pub(crate) struct Plan {
    pub graph: Graph,
    /// What makes the target's files; none of `scratch`.
    pub target: Option<NodeId>,
    /// The target's configuration; layers and times of new steps are still missing.
    pub document: Document,
    /// Layers that the target's base image has.
    pub base_layers: usize,
    pub epoch: Option<Epoch>,
}

/// What the front end works on, the same for every stage.
pub(crate) struct Frontend<'f> {
    pub file: &'f Dockerfile,
    pub place: &'f Place,
    pub request: &'f BuildRequest,
    pub checks: Checks,
    pub ignore: Option<&'f Ignore>,
    pub bases: &'f Bases<'f>,
    pub vertices: &'f Vertices<'f>,
    pub settings: &'f RunSettings,
    /// Variables of `FROM` lines, and defaults of declared arguments.
    pub globals: Vec<(String, String)>,
    /// Arguments with a value.
    pub build_args: BTreeMap<String, String>,
    /// `http_proxy` and its kin, in both cases.
    pub proxies: BTreeMap<String, String>,
    pub target_platform: Platform,
    /// Whether nobody asked for a platform.
    pub implicit_platform: bool,
    pub epoch: Option<Epoch>,
    /// Whether every stage is looked at (`--check` without a target).
    pub all_stages: bool,
}

/// What is needed to set a front end up.
pub(crate) struct Setup<'f> {
    pub file: &'f Dockerfile,
    pub place: &'f Place,
    pub request: &'f BuildRequest,
    pub ignore: Option<&'f Ignore>,
    pub bases: &'f Bases<'f>,
    pub vertices: &'f Vertices<'f>,
    pub settings: &'f RunSettings,
    pub all_stages: bool,
}

impl<'f> Frontend<'f> {
    /// Looks at the arguments of the build and at those before the first stage.
    pub fn new(setup: &Setup<'f>) -> Result<Self> {
        let Setup { file, place, request, ignore, bases, vertices, settings, all_stages } = *setup;
        let given = request.build_args.get("BUILDKIT_DOCKERFILE_CHECK").cloned().flatten();
        let checks = match given {
            Some(text) => Checks::parse(&text),
            None => Checks::of(file),
        }
        .map_err(|error| place.grammar(&error))?;
        let target_platform = match request.platforms.as_slice() {
            [] => Platform::host(),
            [one] => one.parse().map_err(|error: orlop_types::ParseError| {
                Error::invalid(format!("failed to parse platform {one}: {error}"))
            })?,
            _ => {
                return Err(Error::failed(
                    ErrorKind::InvalidInput,
                    "multiple platforms in one build are not supported; build one platform after the other",
                ));
            }
        };
        let build_args: BTreeMap<String, String> = request
            .build_args
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect();
        let predefined = arguments::predefined(file, request, &target_platform, &build_args);
        let globals = resolve_globals(file, &predefined, &|name| build_args.get(name).cloned())
            .map_err(|error| place.grammar(&error))?;
        let proxies = arguments::proxies(&build_args);
        let epoch = arguments::epoch(request, &build_args, &globals)?;
        let frontend = Self {
            file,
            place,
            request,
            checks,
            ignore,
            bases,
            vertices,
            settings,
            globals,
            build_args,
            proxies,
            target_platform,
            implicit_platform: request.platforms.is_empty(),
            epoch,
            all_stages,
        };
        let mut lints = file.warnings.clone();
        lints.retain(|lint| frontend.checks.allows(lint.rule));
        lints.extend(from_lints(file, &predefined, &frontend.globals, &frontend.checks));
        frontend.warn(&lints);
        Ok(frontend)
    }

    /// Goes through the Dockerfile.
    pub fn plan(&self) -> Result<Plan> {
        let mut graph = Graph::default();
        let mut states = States::collect(self)?;
        let target = states.target(self)?;
        let reachable = states.resolve(self, target, &mut graph)?;
        let mut stages: Vec<Option<Stage>> = Vec::new();
        for number in 0..states.len() {
            if !reachable.contains(&number) {
                stages.push(None);
                continue;
            }
            let stage = self.dispatch_stage(&mut states, number, &mut stages, &mut graph)?;
            stages.push(Some(stage));
        }
        let lints = self.vertices.lints();
        if let Some(error) = self.checks.violation(&lints) {
            return Err(self.place.grammar(&error));
        }
        let Some(Some(stage)) = stages.into_iter().nth(target) else {
            return Err(Error::invalid("the target stage was not looked at"));
        };
        Ok(self.finished(graph, stage))
    }

    fn finished(&self, graph: Graph, stage: Stage) -> Plan {
        let mut document = stage.document;
        document.config.labels.extend(self.request.labels.clone());
        if !self.implicit_platform {
            let same = document.os == self.target_platform.os
                && document.architecture == self.target_platform.architecture;
            document.os.clone_from(&self.target_platform.os);
            document.architecture.clone_from(&self.target_platform.architecture);
            if !self.target_platform.variant.is_empty() || !same {
                document.variant.clone_from(&self.target_platform.variant);
            }
        }
        let epoch =
            self.epoch.clone().map(|epoch| Epoch { base_entries: stage.base_entries, ..epoch });
        Plan { graph, target: stage.node, document, base_layers: stage.base_layers, epoch }
    }

    /// Whether nothing of a stage may come from the cache.
    pub fn is_no_cache(&self, stage: Option<&str>) -> bool {
        match &self.request.no_cache {
            NoCache::Nothing => false,
            NoCache::All => true,
            NoCache::Stages(names) => {
                names.iter().any(|name| stage.is_some_and(|stage| stage.eq_ignore_ascii_case(name)))
            }
        }
    }

    /// Tells of findings.
    pub fn warn(&self, lints: &[Lint]) {
        for lint in lints {
            self.vertices.lint(lint.clone());
            self.vertices.progress().event(Event::Warning {
                rule: lint.rule.name().to_owned(),
                message: lint.message.clone(),
                detail: lint.rule.description().to_owned(),
                url: lint.rule.url(),
                line: lint.lines.first,
            });
        }
    }
}

/// Finds the value of a variable.
pub(crate) fn find(known: &[(String, String)], name: &str) -> Option<String> {
    known.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

/// Sets a variable, in its old place if it is there.
pub(crate) fn set(known: &mut Vec<(String, String)>, name: &str, value: &str) {
    match known.iter_mut().find(|(other, _)| other == name) {
        Some((_, old)) => value.clone_into(old),
        None => known.push((name.to_owned(), value.to_owned())),
    }
}
