//! Instructions that only change the configuration, with their entries in the history.

use orlop_dockerfile::{
    ArgDefinition, Command, CommandLine, Healthcheck, Instruction, KeyValue, expand_with_names,
    expose_ports, go_quoted,
};
use orlop_types::config::{Empty, HealthConfig};
use orlop_types::duration::format_duration;

use super::stage::Stage;
use super::{Frontend, find, set};
use crate::Result;

/// Arguments that steer the builder and are no variables.
const NO_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Frontend<'_> {
    /// Applies an instruction that makes no files.
    pub(crate) fn configure(&self, stage: &mut Stage, instruction: &Instruction) -> Result<()> {
        match &instruction.command {
            Command::Arg(definitions) => return self.arg(stage, instruction, definitions),
            Command::Cmd(line) => {
                let words = command_line(stage, line);
                stage.record(format!("CMD {}", quoted_list(&words)), false);
                stage.document.config.cmd = words;
                stage.document.config.args_escaped = true;
                stage.has_cmd = true;
            }
            Command::Entrypoint(line) => {
                let words = command_line(stage, line);
                stage.record(format!("ENTRYPOINT {}", quoted_list(&words)), false);
                stage.document.config.entrypoint = words;
                if !stage.has_cmd {
                    stage.document.config.cmd.clear();
                }
            }
            Command::Env(pairs) => env(stage, pairs),
            Command::Label(pairs) => {
                for pair in pairs {
                    let labels = &mut stage.document.config.labels;
                    labels.insert(pair.key.clone(), pair.value.clone());
                }
                stage.record(format!("LABEL{}", pairs_text(pairs)), false);
            }
            Command::Expose(words) => {
                let mut ports = expose_ports(words)
                    .map_err(|error| self.place.grammar(&error.at(instruction.source.lines)))?;
                let config = &mut stage.document.config;
                config.exposed_ports.extend(ports.iter().map(|port| (port.clone(), Empty {})));
                ports.sort();
                ports.dedup();
                stage.record(format!("EXPOSE [{}]", ports.join(" ")), false);
            }
            Command::Healthcheck(check) => healthcheck(stage, check),
            Command::Maintainer(name) => {
                stage.document.author.clone_from(name);
                stage.record(format!("MAINTAINER {name}"), false);
            }
            // Stored, and no entry of the history.
            Command::Onbuild(text) => stage.document.config.on_build.push(text.clone()),
            Command::Shell(words) => {
                stage.document.config.shell.clone_from(words);
                stage.record(format!("SHELL [{}]", words.join(" ")), false);
            }
            Command::Stopsignal(signal) => {
                stage.document.config.stop_signal.clone_from(signal);
                stage.record(format!("STOPSIGNAL {signal}"), false);
            }
            Command::User(user) => {
                stage.document.config.user.clone_from(user);
                stage.record(format!("USER {user}"), false);
            }
            Command::Volume(paths) => {
                let volumes = &mut stage.document.config.volumes;
                volumes.extend(paths.iter().map(|path| (path.clone(), Empty {})));
                stage.record(format!("VOLUME [{}]", paths.join(" ")), false);
            }
            Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_) => {}
        }
        Ok(())
    }

    /// Declares arguments: the caller's value, else the default, else the value from before the first
    /// stage.
    fn arg(
        &self,
        stage: &mut Stage,
        instruction: &Instruction,
        definitions: &[ArgDefinition],
    ) -> Result<()> {
        let escape = self.file.directives.escape;
        let mut texts = Vec::new();
        for ArgDefinition { name, default, .. } in definitions {
            let given = self.build_args.get(name);
            let value = match (given, default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expansion =
                        expand_with_names(default, escape, &|name| stage.variable(name)).map_err(
                            |error| self.place.grammar(&error.at(instruction.source.lines)),
                        )?;
                    let names = stage.names();
                    self.warn(&stage.lints.undefined_in_arg(
                        instruction,
                        &expansion.unmatched,
                        &names,
                    ));
                    Some(expansion.text)
                }
                (None, None) => find(&self.globals, name),
            };
            if let Some(value) = &value
                && !NO_VARIABLES.contains(&name.as_str())
            {
                set(&mut stage.env, name, value);
            }
            texts.push(match &value {
                Some(value) => format!("{name}={value}"),
                None => name.clone(),
            });
            stage.build_args.push((name.clone(), value));
        }
        stage.record(format!("ARG {}", texts.join(" ")), false);
        Ok(())
    }
}

fn command_line(stage: &Stage, line: &CommandLine) -> Vec<String> {
    match line {
        CommandLine::Exec(words) => words.clone(),
        CommandLine::Shell(text) => stage.with_shell(text),
    }
}

fn env(stage: &mut Stage, pairs: &[KeyValue]) {
    for KeyValue { key, value, .. } in pairs {
        set(&mut stage.env, key, value);
        let text = format!("{key}={value}");
        let env = &mut stage.document.config.env;
        let same = |pair: &&mut String| {
            pair.split_once('=').map_or(pair.as_str(), |(name, _)| name) == key
        };
        match env.iter_mut().find(same) {
            Some(pair) => *pair = text,
            None => env.push(text),
        }
    }
    stage.record(format!("ENV{}", pairs_text(pairs)), false);
}

fn pairs_text(pairs: &[KeyValue]) -> String {
    pairs.iter().map(|pair| format!(" {}={}", pair.key, pair.value)).collect()
}

fn healthcheck(stage: &mut Stage, check: &Healthcheck) {
    stage.document.config.healthcheck = Some(HealthConfig {
        test: Some(check.test.clone()),
        interval: check.interval_ns,
        timeout: check.timeout_ns,
        start_period: check.start_period_ns,
        start_interval: check.start_interval_ns,
        retries: i64::from(check.retries),
    });
    let times =
        [check.interval_ns, check.timeout_ns, check.start_period_ns, check.start_interval_ns]
            .map(|time| go_quoted(&format_duration(time)));
    let text = format!(
        "HEALTHCHECK &{{{} {} {}}}",
        quoted_list(&check.test),
        times.join(" "),
        quoted_rune(check.retries)
    );
    stage.record(text, false);
}

/// A list as Go's `%q` prints it.
fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| go_quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A number as Go's `%q` prints it: as the character of that number.
fn quoted_rune(number: i32) -> String {
    let character = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    match character {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        other => {
            let quoted = go_quoted(&other.to_string());
            format!("'{}'", quoted.trim_start_matches('"').trim_end_matches('"'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_shown_as_a_character() {
        for (number, text) in
            [(0, r"'\x00'"), (3, r"'\x03'"), (7, r"'\a'"), (65, "'A'"), (39, r"'\''")]
        {
            assert_eq!(quoted_rune(number), text);
        }
    }
}
