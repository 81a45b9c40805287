//! Health checks of containers: from Docker's settings to the monitor's plan.

use std::time::Duration;

use orlop_runtime::health::HealthPlan;
use orlop_types::config::Config;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// What runs the text of `CMD-SHELL` unless the image says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The command of a container's health check; `None` where there is no check.
pub(crate) fn check_command(config: &Config) -> Option<Vec<String>> {
    let test = config.healthcheck.as_ref()?.test.as_deref()?;
    let (kind, rest) = test.split_first()?;
    if rest.is_empty() {
        return None;
    }
    match kind.as_str() {
        "CMD" => Some(rest.to_vec()),
        "CMD-SHELL" => {
            let shell = config.shell.clone().filter(|shell| !shell.is_empty());
            let mut words = shell.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
            words.extend_from_slice(rest);
            Some(words)
        }
        _ => None,
    }
}

/// How the monitor checks a container's health.
pub(crate) fn health_plan(config: &Config) -> Option<HealthPlan> {
    let args = check_command(config)?;
    let check = config.healthcheck.as_ref()?;
    let or = |nanoseconds: i64, default| match u64::try_from(nanoseconds) {
        Ok(0) | Err(_) => default,
        Ok(nanoseconds) => Duration::from_nanos(nanoseconds),
    };
    Some(HealthPlan {
        args,
        interval: or(check.interval, INTERVAL),
        timeout: or(check.timeout, TIMEOUT),
        start_period: or(check.start_period, Duration::ZERO),
        start_interval: or(check.start_interval, START_INTERVAL),
        retries: u32::try_from(check.retries)
            .ok()
            .filter(|retries| *retries > 0)
            .unwrap_or(RETRIES),
    })
}

#[cfg(test)]
mod tests {
    use orlop_types::config::HealthConfig;

    use super::*;

    fn config(test: &[&str]) -> Config {
        let test = Some(test.iter().map(|&word| word.to_owned()).collect());
        Config {
            healthcheck: Some(HealthConfig {
                test,
                interval: 1_000_000,
                ..HealthConfig::default()
            }),
            ..Config::default()
        }
    }

    #[test]
    fn commands_and_defaults() {
        let words = |test: &[&str]| check_command(&config(test)).map(|words| words.join("|"));
        assert_eq!(words(&["CMD", "a", "b"]).as_deref(), Some("a|b"));
        assert_eq!(words(&["CMD-SHELL", "a b"]).as_deref(), Some("/bin/sh|-c|a b"));
        for none in [&["NONE"][..], &[], &["CMD"], &["CMD-SHELL"]] {
            assert_eq!(words(none), None, "{none:?}");
        }
        assert_eq!(check_command(&Config::default()), None);
        let mut shell = config(&["CMD-SHELL", "x"]);
        shell.shell = Some(vec!["/bin/bash".to_owned(), "-ec".to_owned()]);
        assert_eq!(check_command(&shell).unwrap_or_default().join("|"), "/bin/bash|-ec|x");
        let plan = health_plan(&config(&["CMD", "a"])).expect("there is a check");
        assert_eq!(plan.interval, Duration::from_millis(1));
        assert_eq!((plan.timeout, plan.start_period), (TIMEOUT, Duration::ZERO));
        assert_eq!((plan.start_interval, plan.retries), (START_INTERVAL, RETRIES));
    }
}
