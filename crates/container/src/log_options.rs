//! Options of the log drivers: checked when a container is made, read when it starts.
//!
//! As in Docker, a name that a driver does not know is refused at once, a value that it cannot read
//! fails the start.

use std::collections::BTreeMap;
use std::path::Path;

use orlop_meta::ContainerRecord;
use orlop_runtime::plan::{LogFiles, LogFormat, LogPlan};
use orlop_types::ParseError;
use orlop_types::config::LogConfig;
use orlop_types::size::{parse_decimal_bytes, parse_ram_bytes};

/// Options that every driver has.
const COMMON: [&str; 2] = ["mode", "max-buffer-size"];
const JSON_FILE: [&str; 8] =
    ["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];
const LOCAL: [&str; 3] = ["max-file", "max-size", "compress"];
/// Docker's default of the `local` driver.
const LOCAL_MAX_SIZE_BYTES: u64 = 20_000_000;
const LOCAL_MAX_FILES: u32 = 5;
/// Name of the engine in tags.
const DAEMON_NAME: &str = "docker";

type Checked<T> = Result<T, ParseError>;

fn wrong<T>(text: impl Into<String>) -> Checked<T> {
    Err(ParseError::new(text))
}

/// Checks driver and names of options.
pub(crate) fn check(log: &LogConfig) -> Checked<()> {
    let (known, of) = match log.kind.as_str() {
        "none" => return Ok(()),
        "" | "json-file" => (&JSON_FILE[..], "json-file log driver"),
        "local" => (&LOCAL[..], "log driver local"),
        other => {
            return wrong(format!(
                "error looking up logging plugin {other}: plugin \"{other}\" not found"
            ));
        }
    };
    let mode = log.config.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return wrong(format!("logger: logging mode not supported: {mode}"));
    }
    if let Some(size) = log.config.get("max-buffer-size") {
        if mode != "non-blocking" {
            return wrong(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            );
        }
        parse_ram_bytes(size).map_err(|error| {
            ParseError::new(format!("error parsing option max-buffer-size: {error}"))
        })?;
    }
    let is_known =
        |name: &&String| !known.contains(&name.as_str()) && !COMMON.contains(&name.as_str());
    match log.config.keys().find(is_known) {
        Some(name) => wrong(format!("unknown log opt '{name}' for {of}")),
        None => Ok(()),
    }
}

/// The plan of a start.
pub(crate) fn plan(container: &ContainerRecord, directory: &Path) -> Checked<LogPlan> {
    let log = &container.host_config.log_config;
    let read = match log.kind.as_str() {
        "none" => return Ok(LogPlan::None),
        "local" => local(log, directory),
        _ => json_file(container, directory),
    };
    read.map(LogPlan::Files).map_err(|error| {
        ParseError::new(format!(
            "failed to create task for container: failed to initialize logging driver: {error}"
        ))
    })
}

/// Where a driver's newest file is; `None` for drivers without one.
pub(crate) fn file(container: &ContainerRecord, directory: &Path) -> Option<LogFiles> {
    let path = match container.host_config.log_config.kind.as_str() {
        "" | "json-file" => directory.join(format!("{}-json.log", container.id)),
        "local" => directory.join("local-logs").join("container.log"),
        _ => return None,
    };
    let is_local = container.host_config.log_config.kind == "local";
    let format = if is_local { LogFormat::Local } else { LogFormat::JsonFile };
    Some(LogFiles { format, ..LogFiles::json(path) })
}

fn json_file(container: &ContainerRecord, directory: &Path) -> Checked<LogFiles> {
    let options = &container.host_config.log_config.config;
    let max_size_bytes = match options.get("max-size") {
        None => 0,
        Some(text) => {
            let size = parse_decimal_bytes(text)?;
            if size <= 0 {
                return wrong("max-size must be a positive number");
            }
            size.unsigned_abs()
        }
    };
    let max_files = options.get("max-file").map(|text| number(text)).transpose()?.unwrap_or(1);
    if max_files < 1 {
        return wrong("max-file cannot be less than 1");
    }
    let compress = options.get("compress").map(|text| boolean(text)).transpose()?.unwrap_or(false);
    if compress && (max_files == 1 || max_size_bytes == 0) {
        return wrong(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        );
    }
    Ok(LogFiles {
        format: LogFormat::JsonFile,
        path: directory.join(format!("{}-json.log", container.id)),
        max_size_bytes,
        max_files: u32::try_from(max_files).unwrap_or(u32::MAX),
        compress,
        attributes: attributes(container)?,
    })
}

fn local(log: &LogConfig, directory: &Path) -> Checked<LogFiles> {
    let options = &log.config;
    let named = |name: &str, error: &ParseError| {
        ParseError::new(match name {
            "compress" => format!("error reading compress log option: {error}"),
            _ => format!("invalid value for {name}: {}: {error}", options[name]),
        })
    };
    let max_size_bytes = match options.get("max-size") {
        None => LOCAL_MAX_SIZE_BYTES,
        Some(text) => {
            let size = parse_ram_bytes(text).map_err(|error| named("max-size", &error))?;
            u64::try_from(size).unwrap_or(0)
        }
    };
    let max_files = match options.get("max-file") {
        None => i64::from(LOCAL_MAX_FILES),
        Some(text) => number(text).map_err(|error| named("max-file", &error))?,
    };
    let max_files = u32::try_from(max_files.max(1)).unwrap_or(u32::MAX);
    let compress = match options.get("compress") {
        None => true,
        Some(text) => boolean(text).map_err(|error| named("compress", &error))?,
    };
    if compress && max_files == 1 {
        return wrong("compression cannot be enabled when max file count is 1");
    }
    Ok(LogFiles {
        format: LogFormat::Local,
        path: directory.join("local-logs").join("container.log"),
        max_size_bytes,
        max_files,
        compress,
        attributes: BTreeMap::new(),
    })
}

fn number(text: &str) -> Checked<i64> {
    text.parse()
        .map_err(|_| ParseError::new(format!("strconv.Atoi: parsing \"{text}\": invalid syntax")))
}

fn boolean(text: &str) -> Checked<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => wrong(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

/// Labels and variables that are named, and the tag.
fn attributes(container: &ContainerRecord) -> Checked<BTreeMap<String, String>> {
    let options = &container.host_config.log_config.config;
    let mut found = BTreeMap::new();
    let labels: BTreeMap<String, String> = container.config.labels.clone().unwrap_or_default();
    let variables: BTreeMap<String, String> = container
        .config
        .env
        .iter()
        .flatten()
        .filter_map(|entry| entry.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (list, pattern, all) in
        [("labels", "labels-regex", labels), ("env", "env-regex", variables)]
    {
        let names = options.get(list).map_or("", String::as_str);
        for name in names.split(',').filter(|name| !name.is_empty()) {
            found.extend(all.get(name).map(|value| (name.to_owned(), value.clone())));
        }
        let Some(pattern) = options.get(pattern).filter(|pattern| !pattern.is_empty()) else {
            continue;
        };
        let pattern = regex::Regex::new(pattern).map_err(|error| {
            ParseError::new(format!("error parsing regexp: {}", last_line(&error.to_string())))
        })?;
        found.extend(all.into_iter().filter(|(name, _)| pattern.is_match(name)));
    }
    if let Some(template) = options.get("tag").filter(|template| !template.is_empty()) {
        found.insert("tag".to_owned(), tag(template, container)?);
    }
    Ok(found)
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or(text)
}

/// `{{.Name}}/{{.ID}}` and the like.
fn tag(template: &str, container: &ContainerRecord) -> Checked<String> {
    let id = container.id.as_str();
    let image = container.image_id.as_str();
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    let document = serde_json::json!({
        "ID": container.id.short(),
        "FullID": id,
        "Name": container.name,
        "ImageID": digits.get(..12).unwrap_or(digits),
        "ImageFullID": image,
        "ImageName": container.config.image,
        "DaemonName": DAEMON_NAME,
    });
    let failed = |error: orlop_template::Error| ParseError::new(format!("log-tag: {error}"));
    orlop_template::Template::parse(template)
        .and_then(|template| template.render(&document))
        .map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn log(kind: &str, options: &[(&str, &str)]) -> LogConfig {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        LogConfig { kind: kind.to_owned(), config: options.iter().map(pair).collect() }
    }

    #[test]
    fn names_of_options_are_checked_at_once() {
        for (kind, options, want) in [
            ("json-file", &[("max-size", "x"), ("tag", "{{")][..], None),
            ("local", &[("max-size", "1m"), ("mode", "non-blocking")], None),
            ("none", &[], None),
            ("", &[("foo", "1")], Some("unknown log opt 'foo' for json-file log driver")),
            ("local", &[("tag", "1")], Some("unknown log opt 'tag' for log driver local")),
            (
                "syslog",
                &[],
                Some("error looking up logging plugin syslog: plugin \"syslog\" not found"),
            ),
            ("", &[("mode", "foo")], Some("logger: logging mode not supported: foo")),
            (
                "",
                &[("max-buffer-size", "1k")],
                Some("logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
            ),
            (
                "",
                &[("mode", "non-blocking"), ("max-buffer-size", "x")],
                Some("error parsing option max-buffer-size: invalid size: 'x'"),
            ),
        ] {
            let got = check(&log(kind, options)).err().map(|error| error.to_string());
            assert_eq!(got.as_deref(), want, "{kind} {options:?}");
        }
    }

    #[test]
    fn values_of_the_local_driver() {
        let directory = Path::new("/c");
        let files = local(&log("local", &[]), directory).unwrap();
        assert_eq!((files.max_size_bytes, files.max_files, files.compress), (20_000_000, 5, true));
        assert_eq!(files.path, Path::new("/c/local-logs/container.log"));
        for (options, want) in [
            (&[("max-size", "x")][..], "invalid value for max-size: x: invalid size: 'x'"),
            (&[("max-file", "1")], "compression cannot be enabled when max file count is 1"),
            (
                &[("compress", "x")],
                "error reading compress log option: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
        ] {
            let error = local(&log("local", options), directory).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
