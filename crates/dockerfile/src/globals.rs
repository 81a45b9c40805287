//! The `ARG`s above the first `FROM`, and what the build checks say of `FROM` lines.

use std::collections::BTreeSet;

use orlop_types::reference::ImageReference;

use crate::error::Error;
use crate::lint::{Checks, Lint, Rule};
use crate::parse::{Dockerfile, Stage};
use crate::quote::go_quoted;
use crate::shell::{Lookup, expand, expand_with_names};
use crate::suggest::{Case, nearest};

/// The environment of `FROM` lines: `predefined` (`TARGETPLATFORM` and its kin), then each global
/// `ARG` with the value given for the build or its default, which sees the ones before it.
///
/// # Errors
/// A default with a malformed substitution.
pub fn resolve_globals(
    file: &Dockerfile,
    predefined: &[(String, String)],
    build_args: Lookup<'_>,
) -> Result<Vec<(String, String)>, Error> {
    let escape = file.directives.escape;
    let mut known = predefined.to_vec();
    for arg in &file.global_args {
        for definition in &arg.definitions {
            let value = match (build_args(&definition.name), &definition.default) {
                (Some(given), _) => given,
                (None, Some(default)) => expand(default, escape, &|name: &str| find(&known, name))
                    .map_err(|error| error.at(arg.source.lines))?,
                (None, None) => continue,
            };
            match known.iter_mut().find(|(name, _)| *name == definition.name) {
                Some((_, old)) => *old = value,
                None => known.push((definition.name.clone(), value)),
            }
        }
    }
    Ok(known)
}

fn find(known: &[(String, String)], name: &str) -> Option<String> {
    known.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
}

/// What the build checks say of the `FROM` lines. `globals` is what [`resolve_globals`] gave.
#[must_use]
pub fn from_lints(
    file: &Dockerfile,
    predefined: &[(String, String)],
    globals: &[(String, String)],
    checks: &Checks,
) -> Vec<Lint> {
    let mut lints = Vec::new();
    if let Ok(defaults) = resolve_globals(file, predefined, &|_: &str| None) {
        for stage in &file.stages {
            let base =
                expand(&stage.base, file.directives.escape, &|name: &str| find(&defaults, name));
            let Ok(base) = base else { break };
            if base.parse::<ImageReference>().is_err()
                && checks.allows(Rule::InvalidDefaultArgInFrom)
            {
                lints.push(Lint::new(
                    Rule::InvalidDefaultArgInFrom,
                    format!(
                        "Default value for ARG {} results in empty or invalid base image name",
                        stage.base
                    ),
                    stage.source.lines,
                ));
            }
        }
    }
    let mut declared: BTreeSet<&str> = globals.iter().map(|(name, _)| name.as_str()).collect();
    for arg in &file.global_args {
        declared.extend(arg.definitions.iter().map(|definition| definition.name.as_str()));
    }
    for stage in &file.stages {
        let checks = checks.with_comments(&stage.source.comments);
        let found = stage_lints(stage, file.directives.escape, globals, &declared);
        lints.extend(found.into_iter().filter(|lint| checks.allows(lint.rule)));
    }
    lints
}

fn stage_lints(
    stage: &Stage,
    escape: char,
    globals: &[(String, String)],
    declared: &BTreeSet<&str>,
) -> Vec<Lint> {
    let mut lints = Vec::new();
    let lookup = |name: &str| find(globals, name);
    let undeclared = |names: &BTreeSet<String>, lints: &mut Vec<Lint>| {
        for name in names.iter().filter(|name| !declared.contains(name.as_str())) {
            let hint = nearest(name, declared.iter().copied(), Case::Sensitive)
                .map(|near| format!(" (did you mean {near}?)"))
                .unwrap_or_default();
            lints.push(Lint::new(
                Rule::UndefinedArgInFrom,
                format!("FROM argument '{name}' is not declared{hint}"),
                stage.source.lines,
            ));
        }
    };
    if let Ok(base) = expand_with_names(&stage.base, escape, &lookup) {
        undeclared(&base.unmatched, &mut lints);
    }
    let Some(written) = &stage.platform else { return lints };
    let Ok(platform) = expand_with_names(written, escape, &lookup) else { return lints };
    undeclared(&platform.unmatched, &mut lints);
    if platform.matched.len() == 1
        && platform.unmatched.is_empty()
        && platform.matched.contains("TARGETPLATFORM")
        && lookup("TARGETPLATFORM").as_deref() == Some(platform.text.as_str())
    {
        lints.push(Lint::new(
            Rule::RedundantTargetPlatform,
            format!(
                "Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
            ),
            stage.source.lines,
        ));
    }
    let constant = platform.matched.is_empty() && platform.unmatched.is_empty();
    let name = stage.name.as_deref().unwrap_or_default();
    let named_after = platform.text.split('/').take(2).any(|part| name.contains(part));
    if constant && platform.text.contains('/') && !named_after {
        lints.push(Lint::new(
            Rule::FromPlatformFlagConstDisallowed,
            format!(
                "FROM --platform flag should not use constant value {}",
                go_quoted(&platform.text)
            ),
            stage.source.lines,
        ));
    }
    lints
}

#[cfg(test)]
#[path = "globals_tests.rs"]
mod tests;
