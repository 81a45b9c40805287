//! Flags about the first process: environment, labels, restart, health, where its output goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use orlop_types::config::{Config, HealthConfig, HostConfig, LogConfig, RestartPolicy};
use orlop_types::environment::{parse_env, parse_env_file, parse_label, parse_label_file};

use super::{Surroundings, invalid_argument};
use crate::args::{HealthFlags, ProcessFlags};
use crate::failure::Failure;

/// Puts the flags into the configuration.
pub(super) fn apply(
    flags: &ProcessFlags,
    config: &mut Config,
    host: &mut HostConfig,
    around: &Surroundings<'_>,
) -> Result<(), Failure> {
    config.env = Some(environment(&flags.env_file, &flags.env, around)?)
        .filter(|entries| !entries.is_empty());
    config.working_dir = flags.workdir.clone().unwrap_or_default();
    config.user = flags.user.clone().unwrap_or_default();
    config.entrypoint = flags.entrypoint.clone().map(|command| vec![command]);
    config.stop_signal = flags.stop_signal.clone().filter(|signal| !signal.is_empty());
    config.stop_timeout = flags.stop_timeout;
    config.labels = Some(labels(flags, around)?).filter(|labels| !labels.is_empty());
    config.healthcheck = health(&flags.health)?;
    host.restart_policy = restart_policy(&flags.restart)?;
    host.init = flags.init;
    let annotations: BTreeMap<String, String> =
        flags.annotation.iter().map(|raw| pair(raw)).collect();
    host.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
    let driver = flags.log_driver.clone().unwrap_or_default();
    if driver == "none" && !flags.log_opt.is_empty() {
        return Err(Failure::new(format!("invalid logging opts for driver {driver}")));
    }
    host.log_config =
        LogConfig { kind: driver, config: flags.log_opt.iter().map(|raw| pair(raw)).collect() };
    Ok(())
}

/// `NAME=VALUE`; without a value it is empty.
fn pair(raw: &str) -> (String, String) {
    let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
    (name.to_owned(), value.to_owned())
}

fn labels(
    flags: &ProcessFlags,
    around: &Surroundings<'_>,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for path in &flags.label_file {
        let text = (around.read)(path).map_err(Failure::new)?;
        // Docker's text, which calls any such file one of the environment.
        labels.extend(parse_label_file(&text, around.env).map_err(|error| {
            Failure::new(format!("invalid env file ({}): {error}", path.display()))
        })?);
    }
    for raw in &flags.label {
        let (name, value) = parse_label(raw).map_err(invalid_argument(raw, "-l, --label"))?;
        labels.insert(name, value);
    }
    Ok(labels)
}

/// Entries of files first, so that flags win.
pub fn environment(
    files: &[PathBuf],
    flags: &[String],
    around: &Surroundings<'_>,
) -> Result<Vec<String>, Failure> {
    let mut entries = Vec::new();
    for path in files {
        let text = (around.read)(path).map_err(Failure::new)?;
        entries.extend(parse_env_file(&text, around.env).map_err(|error| {
            Failure::new(format!("invalid env file ({}): {error}", path.display()))
        })?);
    }
    for raw in flags {
        entries.push(parse_env(raw, around.env).map_err(invalid_argument(raw, "-e, --env"))?);
    }
    Ok(entries)
}

/// `NAME[:COUNT]`; whether there is such a policy is for the engine to say.
pub(super) fn restart_policy(raw: &str) -> Result<RestartPolicy, Failure> {
    let (name, count) = raw.split_once(':').unwrap_or((raw, ""));
    if name.is_empty() && !raw.is_empty() {
        return Err(Failure::new("invalid restart policy format: no policy provided before colon"));
    }
    let maximum_retry_count = if count.is_empty() {
        0
    } else {
        count.parse().map_err(|_| {
            Failure::new("invalid restart policy format: maximum retry count must be an integer")
        })?
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

fn health(flags: &HealthFlags) -> Result<Option<HealthConfig>, Failure> {
    let command = flags.health_cmd.as_deref().filter(|command| !command.is_empty());
    let numbers = [
        ("--health-interval", flags.health_interval),
        ("--health-timeout", flags.health_timeout),
        ("--health-retries", flags.health_retries),
        ("--health-start-period", flags.health_start_period),
        ("--health-start-interval", flags.health_start_interval),
    ];
    let given =
        command.is_some() || numbers.iter().any(|(_, number)| number.unwrap_or_default() != 0);
    if flags.no_healthcheck {
        if given {
            return Err(Failure::new("--no-healthcheck conflicts with --health-* options"));
        }
        let none = HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() };
        return Ok(Some(none));
    }
    if !given {
        return Ok(None);
    }
    for (name, number) in numbers {
        if number.unwrap_or_default() < 0 {
            return Err(Failure::new(format!("{name} cannot be negative")));
        }
    }
    Ok(Some(HealthConfig {
        test: command.map(|command| vec!["CMD-SHELL".to_owned(), command.to_owned()]),
        interval: flags.health_interval.unwrap_or_default(),
        timeout: flags.health_timeout.unwrap_or_default(),
        start_period: flags.health_start_period.unwrap_or_default(),
        start_interval: flags.health_start_interval.unwrap_or_default(),
        retries: flags.health_retries.unwrap_or_default(),
    }))
}
