//! Build checks that need the instructions of a stage in order and what their words expand to.

use std::collections::BTreeSet;

use crate::expand::Expanded;
use crate::expose;
use crate::ignore::Ignore;
use crate::instruction::{Command, CommandLine, Instruction, KeyValue, Lines, Sources};
use crate::lint::{Checks, Lint, Rule};
use crate::quote::go_quoted;
use crate::suggest::{Case, nearest};

/// What the checks have to remember from one instruction of a stage to the next.
#[derive(Clone, Debug, Default)]
pub struct StageLints {
    checks: Checks,
    cmd: Option<Lines>,
    entrypoint: Option<Lines>,
    healthcheck: Option<Lines>,
    workdir: bool,
    shell: bool,
    volumes: Vec<String>,
    args: BTreeSet<String>,
}

impl StageLints {
    /// Begins a stage on an image; `has_shell` says whether the image's config sets a shell.
    #[must_use]
    pub fn new(checks: &Checks, has_shell: bool) -> Self {
        Self { checks: checks.clone(), shell: has_shell, ..Self::default() }
    }

    /// Begins a stage on this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { cmd: None, entrypoint: None, healthcheck: None, ..self.clone() }
    }

    /// Looks at the next instruction. `names` are the variables that are known before it, and
    /// `ignore` the patterns of the context that `COPY` and `ADD` without `--from` read.
    #[must_use]
    pub fn instruction(
        &mut self,
        expanded: &Expanded,
        names: &[String],
        ignore: Option<&Ignore>,
    ) -> Vec<Lint> {
        let instruction = &expanded.instruction;
        let mut lints = Vec::new();
        self.undefined(instruction, &expanded.unmatched, names, &mut lints);
        self.command(instruction, ignore, &mut lints);
        let checks = self.checks.with_comments(&instruction.source.comments);
        lints.retain(|lint| checks.allows(lint.rule));
        lints
    }

    /// `UndefinedVar` for names that something of this instruction asked for in vain: also for the
    /// defaults of `ARG`, which are expanded one by one.
    #[must_use]
    pub fn undefined_in_arg(
        &self,
        instruction: &Instruction,
        unmatched: &BTreeSet<String>,
        names: &[String],
    ) -> Vec<Lint> {
        let mut lints = Vec::new();
        self.undefined(instruction, unmatched, names, &mut lints);
        let checks = self.checks.with_comments(&instruction.source.comments);
        lints.retain(|lint| checks.allows(lint.rule));
        lints
    }

    fn undefined(
        &self,
        instruction: &Instruction,
        unmatched: &BTreeSet<String>,
        names: &[String],
        lints: &mut Vec<Lint>,
    ) {
        for name in unmatched.iter().filter(|name| !self.args.contains(*name)) {
            if matches!(name.as_str(), "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE") {
                continue;
            }
            let hint = nearest(name, names.iter().map(String::as_str), Case::Sensitive)
                .map(|near| format!(" (did you mean ${near}?)"))
                .unwrap_or_default();
            let text = format!("Usage of undefined variable '${name}'{hint}");
            lints.push(Lint::new(Rule::UndefinedVar, text, instruction.source.lines));
        }
    }

    fn command(
        &mut self,
        instruction: &Instruction,
        ignore: Option<&Ignore>,
        lints: &mut Vec<Lint>,
    ) {
        let lines = instruction.source.lines;
        let name = &instruction.source.name;
        match &instruction.command {
            Command::Cmd(line) => {
                once(&mut self.cmd, name, lines, lints);
                self.prefers_exec(line, instruction, lints);
            }
            Command::Entrypoint(line) => {
                once(&mut self.entrypoint, name, lines, lints);
                self.prefers_exec(line, instruction, lints);
            }
            Command::Healthcheck(_) => once(&mut self.healthcheck, name, lines, lints),
            Command::Shell(_) => self.shell = true,
            Command::Env(pairs) => {
                legacy(pairs, name, lines, lints);
                secrets("ENV", pairs.iter().map(|pair| pair.key.as_str()), lines, lints);
            }
            Command::Label(pairs) => legacy(pairs, name, lines, lints),
            Command::Arg(definitions) => {
                secrets("ARG", definitions.iter().map(|arg| arg.name.as_str()), lines, lints);
                self.args.extend(definitions.iter().map(|arg| arg.name.clone()));
            }
            Command::Workdir(path) => {
                if !self.workdir && !path.starts_with('/') {
                    let text = format!(
                        "Relative workdir {} can have unexpected results if the base image changes",
                        go_quoted(path)
                    );
                    lints.push(Lint::new(Rule::WorkdirRelativePath, text, lines));
                }
                self.workdir = true;
            }
            Command::Expose(ports) => exposed(ports, lines, lints),
            Command::Volume(paths) => self.volumes.extend(paths.iter().cloned()),
            Command::Run(run) => {
                let text = match &run.line {
                    CommandLine::Shell(text) => text.clone(),
                    CommandLine::Exec(words) => words.join(" "),
                };
                let docs: String = run.heredocs.iter().map(|doc| doc.content.as_str()).collect();
                self.below_volume(&format!("{text}\n{docs}"), lines, lints);
            }
            Command::Copy(copy) => {
                if copy.from.is_none() {
                    ignored_sources("Copy", &copy.sources, ignore, lines, lints);
                }
            }
            Command::Add(add) => ignored_sources("Add", &add.sources, ignore, lines, lints),
            Command::Maintainer(_)
            | Command::Onbuild(_)
            | Command::Stopsignal(_)
            | Command::User(_) => {}
        }
    }

    fn prefers_exec(&self, line: &CommandLine, instruction: &Instruction, lints: &mut Vec<Lint>) {
        if matches!(line, CommandLine::Exec(_)) || self.shell {
            return;
        }
        let text = format!(
            "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
            instruction.source.name
        );
        lints.push(Lint::new(Rule::JSONArgsRecommended, text, instruction.source.lines));
    }

    /// Our own check: a `RUN` that names a path below an earlier `VOLUME`.
    fn below_volume(&self, text: &str, lines: Lines, lints: &mut Vec<Lint>) {
        for volume in &self.volumes {
            let path = volume.trim_end_matches('/');
            let named = !path.is_empty()
                && text.match_indices(path).any(|(at, _)| {
                    let before = text.get(..at).and_then(|text| text.chars().next_back());
                    let after = text.get(at + path.len()..).and_then(|text| text.chars().next());
                    let part_of_name = |letter: char| {
                        letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.')
                    };
                    !before.is_some_and(|letter| part_of_name(letter) || letter == '/')
                        && !after.is_some_and(part_of_name)
                });
            if named {
                let text = format!(
                    "RUN uses '{path}' after VOLUME '{volume}': what it writes there is kept here, but docker's classic builder drops it; put the VOLUME after it"
                );
                lints.push(Lint::new(Rule::WriteBelowVolume, text, lines));
            }
        }
    }
}

fn once(slot: &mut Option<Lines>, name: &str, lines: Lines, lints: &mut Vec<Lint>) {
    // The earlier one is named: it is the one without effect.
    if let Some(earlier) = slot.replace(lines) {
        let text = format!(
            "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
        );
        lints.push(Lint::new(Rule::MultipleInstructionsDisallowed, text, earlier));
    }
}

fn legacy(pairs: &[KeyValue], name: &str, lines: Lines, lints: &mut Vec<Lint>) {
    for _ in pairs.iter().filter(|pair| pair.legacy) {
        let text = format!(
            "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
        );
        lints.push(Lint::new(Rule::LegacyKeyValueFormat, text, lines));
    }
}

const SECRET_WORDS: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];
const HARMLESS_WORDS: [&str; 3] = ["public", "file", "version"];

fn secrets<'a>(
    instruction: &str,
    names: impl Iterator<Item = &'a str>,
    lines: Lines,
    lints: &mut Vec<Lint>,
) {
    for name in names {
        let lower = name.to_lowercase();
        let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
        if has(&SECRET_WORDS) && !has(&HARMLESS_WORDS) {
            let text = format!(
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {})",
                go_quoted(name)
            );
            lints.push(Lint::new(Rule::SecretsUsedInArgOrEnv, text, lines));
        }
    }
}

fn exposed(ports: &[String], lines: Lines, lints: &mut Vec<Lint>) {
    for port in ports {
        let parts = expose::parts(port);
        if parts.protocol != parts.protocol.to_lowercase() {
            let text =
                format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            lints.push(Lint::new(Rule::ExposeProtoCasing, text, lines));
        }
        if !parts.address.is_empty() || !parts.host_port.is_empty() {
            let text = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            );
            lints.push(Lint::new(Rule::ExposeInvalidFormat, text, lines));
        }
    }
}

fn ignored_sources(
    verb: &str,
    sources: &Sources,
    ignore: Option<&Ignore>,
    lines: Lines,
    lints: &mut Vec<Lint>,
) {
    // With patterns that take back it can't be told without the files.
    let Some(ignore) = ignore.filter(|ignore| !ignore.takes_back()) else { return };
    for path in &sources.paths {
        if path.contains("://") {
            continue;
        }
        let clean = orlop_types::mount::clean_path(&format!("/{path}"));
        let relative = clean.trim_start_matches('/');
        let whole = relative.is_empty();
        let ignored = if whole {
            ignore.patterns().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"))
        } else {
            ignore.ignored(relative)
        };
        if ignored {
            let shown = if whole { path.as_str() } else { relative };
            let text = format!(
                "Attempting to {verb} file {} that is excluded by .dockerignore",
                go_quoted(shown)
            );
            lints.push(Lint::new(Rule::CopyIgnoredFile, text, lines));
        }
    }
}

#[cfg(test)]
#[path = "stage_lints_tests.rs"]
mod tests;
