//! `import --change` and `commit --change`: Dockerfile instructions applied to a configuration.
//!
//! Allowed are the instructions that only change metadata. Each comes in the forms it has in a
//! Dockerfile: JSON array or shell text, quoted words, variables from the configuration's own `Env`.

use crate::config::{Config, Empty, HealthConfig};
use crate::duration::parse_duration;
use crate::environment::set_env;
use crate::error::ParseError;
use crate::mount::clean_path;
use crate::port::parse_expose;
use crate::signal::Signal;
use crate::words;

/// Shell of the shell form unless the configuration names one.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// Shortest time between or for health probes: one millisecond.
const HEALTH_MIN_NS: i64 = 1_000_000;

/// Applies instructions in order.
///
/// # Errors
/// `RUN is not a valid change command`, or what is wrong with an instruction. `config` may then be
/// changed in part; callers work on a copy.
pub fn apply_changes<S: AsRef<str>>(config: &mut Config, changes: &[S]) -> Result<(), ParseError> {
    let mut cmd_given = false;
    let lines = logical_lines(changes);
    if lines.is_empty() && !changes.is_empty() {
        return Err(ParseError::new("file with no instructions"));
    }
    for line in lines {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
        let rest = rest.trim();
        match name.to_ascii_uppercase().as_str() {
            "CMD" => {
                config.cmd = Some(command(config, rest));
                cmd_given = true;
            }
            "ENTRYPOINT" => {
                config.entrypoint = Some(command(config, rest)).filter(|words| !words.is_empty());
                // The image's arguments were meant for the old entry point.
                if !cmd_given {
                    config.cmd = None;
                }
            }
            "ENV" => env(config, rest)?,
            "EXPOSE" => expose(config, rest)?,
            "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
            "LABEL" => {
                let pairs = pairs(config, "LABEL", rest)?;
                config.labels.get_or_insert_default().extend(pairs);
            }
            "ONBUILD" => config.on_build.get_or_insert_default().push(trigger(rest)?),
            "STOPSIGNAL" => {
                let signal = one_word(config, "STOPSIGNAL", rest)?;
                signal.parse::<Signal>()?;
                config.stop_signal = Some(signal);
            }
            "USER" => config.user = one_word(config, "USER", rest)?,
            "VOLUME" => volume(config, rest)?,
            "WORKDIR" => {
                let path = one_word(config, "WORKDIR", rest)?;
                let base = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
                config.working_dir = if path.starts_with('/') {
                    clean_path(&path)
                } else {
                    clean_path(&format!("/{base}/{path}"))
                };
            }
            other => {
                return Err(ParseError::new(format!("{other} is not a valid change command")));
            }
        }
    }
    Ok(())
}

/// Lines without comments and empty ones, a trailing backslash joining a line with the next.
fn logical_lines<S: AsRef<str>>(changes: &[S]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in changes.iter().flat_map(|change| change.as_ref().lines()) {
        if line.trim_start().starts_with('#') {
            continue;
        }
        match line.trim_end().strip_suffix('\\') {
            Some(begun) => open.push_str(begun),
            None => {
                open.push_str(line);
                lines.push(std::mem::take(&mut open).trim().to_owned());
            }
        }
    }
    lines.push(open.trim().to_owned());
    lines.retain(|line| !line.is_empty());
    lines
}

/// A JSON array of strings, if `text` is one.
fn json_form(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

/// The JSON form as it is, or the shell form behind the shell.
fn command(config: &Config, text: &str) -> Vec<String> {
    json_form(text).unwrap_or_else(|| {
        let shell = config.shell.clone().filter(|words| !words.is_empty());
        let mut words = shell.unwrap_or_else(|| DEFAULT_SHELL.map(str::to_owned).to_vec());
        words.push(text.to_owned());
        words
    })
}

fn expand(config: &Config, word: &str) -> Result<String, ParseError> {
    words::expand(word, &|name| {
        let entries = config.env.as_deref().unwrap_or_default();
        entries
            .iter()
            .find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value.to_owned())
    })
}

fn expanded_words(config: &Config, text: &str) -> Result<Vec<String>, ParseError> {
    words::split(text).iter().map(|word| expand(config, word)).collect()
}

fn at_least_one(name: &str, text: &str) -> Result<(), ParseError> {
    if text.is_empty() {
        return Err(ParseError::new(format!("{name} requires at least one argument")));
    }
    Ok(())
}

fn one_word(config: &Config, name: &str, text: &str) -> Result<String, ParseError> {
    match expanded_words(config, text)?.as_slice() {
        [word] if !word.is_empty() => Ok(word.clone()),
        _ => Err(ParseError::new(format!("{name} requires exactly one argument"))),
    }
}

/// `name=value …`, or the older `name value with spaces`.
fn pairs(config: &Config, name: &str, text: &str) -> Result<Vec<(String, String)>, ParseError> {
    at_least_one(name, text)?;
    let words = words::split(text);
    if !words.first().is_some_and(|word| word.contains('=')) {
        let Some((key, value)) = text.split_once(char::is_whitespace) else {
            return Err(ParseError::new(format!("{name} must have two arguments")));
        };
        return Ok(vec![(expand(config, key)?, expand(config, value.trim_start())?)]);
    }
    words
        .iter()
        .map(|word| {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                ParseError::new(format!(
                    "Syntax error - can't find = in \"{word}\". Must be of the form: name=value"
                ))
            })?;
            let key = expand(config, key)?;
            if key.is_empty() {
                return Err(ParseError::new(format!("{name} names can not be blank")));
            }
            Ok((key, expand(config, value)?))
        })
        .collect()
}

fn env(config: &mut Config, text: &str) -> Result<(), ParseError> {
    // All words see the environment from before the instruction.
    for (name, value) in pairs(config, "ENV", text)? {
        set_env(config.env.get_or_insert_default(), &name, &value);
    }
    Ok(())
}

fn expose(config: &mut Config, text: &str) -> Result<(), ParseError> {
    at_least_one("EXPOSE", text)?;
    for word in expanded_words(config, text)? {
        let ports = parse_expose(&word)
            .map_err(|_| ParseError::new(format!("Invalid containerPort: {word}")))?;
        config
            .exposed_ports
            .get_or_insert_default()
            .extend(ports.into_iter().map(|port| (port, Empty {})));
    }
    Ok(())
}

fn volume(config: &mut Config, text: &str) -> Result<(), ParseError> {
    at_least_one("VOLUME", text)?;
    let paths: Vec<String> = match json_form(text) {
        Some(paths) => paths.iter().map(|path| expand(config, path)).collect::<Result<_, _>>()?,
        None => expanded_words(config, text)?,
    };
    if paths.is_empty() {
        return Err(ParseError::new("VOLUME requires at least one argument"));
    }
    for path in paths {
        if path.trim().is_empty() {
            return Err(ParseError::new("VOLUME specified can not be an empty string"));
        }
        config.volumes.get_or_insert_default().insert(path.trim().to_owned(), Empty {});
    }
    Ok(())
}

/// An instruction for later builds, stored as it is.
fn trigger(text: &str) -> Result<String, ParseError> {
    at_least_one("ONBUILD", text)?;
    let name = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match name.as_str() {
        "ONBUILD" => Err(ParseError::new("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "FROM" | "MAINTAINER" => {
            Err(ParseError::new(format!("{name} isn't allowed as an ONBUILD trigger")))
        }
        _ => Ok(text.to_owned()),
    }
}

fn healthcheck(text: &str) -> Result<HealthConfig, ParseError> {
    at_least_one("HEALTHCHECK", text)?;
    let mut health = HealthConfig::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag
            .split_once('=')
            .ok_or_else(|| ParseError::new(format!("missing a value on flag: {flag}")))?;
        match name {
            "interval" => health.interval = health_time(name, value)?,
            "timeout" => health.timeout = health_time(name, value)?,
            "start-period" => health.start_period = health_time(name, value)?,
            "start-interval" => health.start_interval = health_time(name, value)?,
            "retries" => {
                let retries = value.parse().ok().filter(|count: &i64| *count >= 0);
                health.retries = retries.ok_or_else(|| {
                    ParseError::new(format!(
                        "--retries must be a number of at least 0, not \"{value}\""
                    ))
                })?;
            }
            _ => return Err(ParseError::new(format!("unknown flag: {name}"))),
        }
        rest = after.trim_start();
    }
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    health.test = Some(match kind.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(ParseError::new("HEALTHCHECK NONE takes no arguments")),
        "CMD" if rest.is_empty() || json_form(rest).is_some_and(|words| words.is_empty()) => {
            return Err(ParseError::new("Missing command after HEALTHCHECK CMD"));
        }
        "CMD" => match json_form(rest) {
            Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            None => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
        },
        _ => {
            return Err(ParseError::new(format!(
                "Unknown type \"{kind}\" in HEALTHCHECK (try CMD)"
            )));
        }
    });
    Ok(health)
}

fn health_time(name: &str, value: &str) -> Result<i64, ParseError> {
    let time = parse_duration(value)?;
    if time != 0 && time < HEALTH_MIN_NS {
        return Err(ParseError::new(format!("interval \"{name}\" cannot be less than 1ms")));
    }
    Ok(time)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changed(changes: &[&str]) -> Config {
        let mut config = Config { env: Some(vec!["PATH=/bin".to_owned()]), ..Config::default() };
        apply_changes(&mut config, changes).unwrap_or_else(|error| panic!("{changes:?}: {error}"));
        config
    }

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn commands_have_a_json_and_a_shell_form() {
        assert_eq!(changed(&["CMD [\"a\", \"b c\"]"]).cmd, words(&["a", "b c"]));
        assert_eq!(changed(&["CMD echo $HOME"]).cmd, words(&["/bin/sh", "-c", "echo $HOME"]));
        assert_eq!(changed(&["CMD ['a']"]).cmd, words(&["/bin/sh", "-c", "['a']"]));
        assert_eq!(changed(&["CMD []"]).cmd, words(&[]));
        let config = changed(&["cmd [\"x\"]", "ENTRYPOINT [\"/e\"]"]);
        assert_eq!((config.entrypoint, config.cmd), (words(&["/e"]), words(&["x"])));
        let mut old = Config { cmd: words(&["old"]), ..Config::default() };
        apply_changes(&mut old, &["ENTRYPOINT /e"]).unwrap();
        assert_eq!((old.entrypoint, old.cmd), (words(&["/bin/sh", "-c", "/e"]), None));
    }

    #[test]
    fn environment_and_labels_are_quoted_as_in_dockerfiles() {
        let config = changed(&[
            "ENV A=1 B=\"two words\" C=x\\ y",
            "ENV PATH=$PATH:/opt",
            "ENV D some text",
            "ENV Q='$A'",
        ]);
        assert_eq!(
            config.env,
            words(&["PATH=/bin:/opt", "A=1", "B=two words", "C=x y", "D=some text", "Q=$A"])
        );
        let labels = changed(&["LABEL \"a.b\"=\"c d\" e=", "LABEL v=$PATH"]).labels.unwrap();
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("a.b", "c d"), ("e", ""), ("v", "/bin")]);
    }

    #[test]
    fn the_other_instructions() {
        let config = changed(&[
            "EXPOSE 80 53/udp 8000-8001",
            "VOLUME /a /b",
            "VOLUME [\"/c d\"]",
            "USER postgres:users",
            "WORKDIR /srv",
            "WORKDIR app/../data",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN make",
            "# a comment",
            "HEALTHCHECK --interval=5s --timeout=1m --retries=2 CMD pg_isready",
        ]);
        let ports: Vec<_> = config.exposed_ports.unwrap().into_keys().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
        let volumes: Vec<_> = config.volumes.unwrap().into_keys().collect();
        assert_eq!(volumes, ["/a", "/b", "/c d"]);
        assert_eq!(config.user, "postgres:users");
        assert_eq!(config.working_dir, "/srv/data");
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(config.on_build, words(&["RUN make"]));
        let health = config.healthcheck.unwrap();
        assert_eq!(health.test, words(&["CMD-SHELL", "pg_isready"]));
        assert_eq!(
            (health.interval, health.timeout, health.retries),
            (5_000_000_000, 60_000_000_000, 2)
        );
        assert_eq!(changed(&["HEALTHCHECK NONE"]).healthcheck.unwrap().test, words(&["NONE"]));
        assert_eq!(
            changed(&["HEALTHCHECK CMD [\"a\"]"]).healthcheck.unwrap().test,
            words(&["CMD", "a"])
        );
        assert_eq!(changed(&["WORKDIR x"]).working_dir, "/x");
        assert_eq!(changed(&["ENV A=1 \\\n  B=2\nUSER me"]).user, "me");
    }

    #[test]
    fn wrong_changes_say_what_is_wrong() {
        for (change, want) in [
            ("RUN make", "RUN is not a valid change command"),
            ("FROM x", "FROM is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
            ("ENV =1", "ENV names can not be blank"),
            ("LABEL", "LABEL requires at least one argument"),
            ("USER a b", "USER requires exactly one argument"),
            ("WORKDIR", "WORKDIR requires exactly one argument"),
            ("VOLUME", "VOLUME requires at least one argument"),
            ("VOLUME []", "VOLUME requires at least one argument"),
            ("", "file with no instructions"),
            ("# only a comment", "file with no instructions"),
            ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
            ("EXPOSE x", "Invalid containerPort: x"),
            ("STOPSIGNAL FOO", "invalid signal: FOO"),
            ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
            ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
            ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
            ("HEALTHCHECK x", "Unknown type \"x\" in HEALTHCHECK (try CMD)"),
            ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("HEALTHCHECK --interval=1us CMD x", "interval \"interval\" cannot be less than 1ms"),
        ] {
            let mut config = Config::default();
            assert_eq!(
                apply_changes(&mut config, &[change]).unwrap_err().to_string(),
                want,
                "{change}"
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(
            name in "(CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|ONBUILD|STOPSIGNAL|USER|VOLUME|WORKDIR|X)",
            rest in "(\\PC|\"|\\[|\\]|\\$|=|\n|\\\\| ){0,40}",
        ) {
            let _ = apply_changes(&mut Config::default(), &[format!("{name} {rest}")]);
        }

        #[test]
        fn json_commands_are_kept_word_for_word(list in prop::collection::vec("\\PC{0,10}", 0..5)) {
            let change = format!("CMD {}", serde_json::to_string(&list).unwrap());
            let mut config = Config::default();
            prop_assume!(!change.ends_with('\\'));
            apply_changes(&mut config, &[change]).unwrap();
            prop_assert_eq!(config.cmd, Some(list));
        }
    }
}
