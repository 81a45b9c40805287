//! From `build`'s flags to what the engine is asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use orlop_engine::build::request::{BuildRequest, Call, NoCache, RunLimits};
use orlop_types::size::parse_ram_bytes;

use super::output::{self, Files};
use super::source;
use crate::args::BuildArgs;
use crate::commands::Session;
use crate::failure::Failure;
use crate::request::BAD_FLAG;

/// `--call`: what is wanted, and how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    /// What.
    pub call: Call,
    /// As JSON.
    pub json: bool,
    /// The exit code doesn't tell whether something was found.
    pub ignore_status: bool,
}

/// Reads `--call` and `--check`.
pub(super) fn method(args: &BuildArgs) -> Result<Method, Failure> {
    let text = if args.check { "check" } else { args.call.as_str() };
    let mut method = Method { call: Call::Build, json: false, ignore_status: false };
    for (at, field) in source::fields(text)?.iter().enumerate() {
        match field.split_once('=') {
            None if at == 0 => {
                method.call = match field.as_str() {
                    "build" => Call::Build,
                    "check" | "lint" => Call::Check,
                    "outline" => Call::Outline,
                    "targets" => Call::Targets,
                    other => return Err(unknown_call(other)),
                }
            }
            None if field == "ignorestatus" => method.ignore_status = true,
            Some(("format", format @ ("json" | "text" | ""))) => method.json = format == "json",
            Some(("ignorestatus", value)) => {
                method.ignore_status = crate::args::switch(value).map_err(|error| {
                    Failure::new(format!("invalid call value {text:?}: {error}"))
                })?;
            }
            _ => return Err(unknown_call(text)),
        }
    }
    Ok(method)
}

fn unknown_call(text: &str) -> Failure {
    Failure::new(format!("invalid call {text:?}: must be one of build, check, outline and targets"))
}

/// Fields `key=value`, keys in lower case.
pub(super) fn pairs(fields: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    fields
        .iter()
        .map(|field| {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| Failure::new(format!("invalid value {field}")))?;
            Ok((key.to_lowercase(), value.to_owned()))
        })
        .collect()
}

/// Refuses what there isn't.
pub(super) fn refuse(args: &BuildArgs) -> Result<(), Failure> {
    if args.squash {
        return Err(Failure::new("--squash is not supported").with_hint(
            "build in several stages, or make fewer layers of the image with `orlop image flatten`",
        ));
    }
    if let Some(name) = args.builder.as_deref().filter(|name| !matches!(*name, "" | "default")) {
        return Err(Failure::new(format!("no builder {name:?} found"))
            .with_hint("orlop builds by itself: leave `--builder` away"));
    }
    let none = |value: &str| matches!(value, "false" | "0" | "") || value.contains("disabled=true");
    let attestations = [("--provenance", &args.provenance), ("--sbom", &args.sbom)];
    let asked = attestations
        .iter()
        .filter_map(|(flag, value)| Some((*flag, value.as_deref()?)))
        .chain(args.attest.iter().map(|value| ("--attest", value.as_str())));
    for (flag, value) in asked {
        if !none(value) {
            return Err(Failure::new(format!(
                "{flag}={value} is not supported: images get no attestations"
            ))
            .with_hint(format!("leave it away, or say `{flag}=false`")));
        }
    }
    if !matches!(args.isolation.as_deref(), None | Some("" | "default")) {
        return Err(Failure::new("--isolation is only supported on Windows"));
    }
    if args.no_cache && !args.no_cache_filter.is_empty() {
        return Err(in_build(Failure::new(
            "--no-cache and --no-cache-filter cannot currently be used together",
        )));
    }
    Ok(())
}

/// Puts buildx's words before what it finds only once it builds.
pub(super) fn in_build(failure: Failure) -> Failure {
    Failure { why: format!("failed to build: {}", failure.why), ..failure }
}

/// What is taken but does nothing.
pub(super) fn notices(args: &BuildArgs) -> Vec<&'static str> {
    let mut notices = Vec::new();
    if !args.security_opt.is_empty() {
        notices.push("security-opt flag is deprecated. \"RUN --security=insecure\" should be used with BuildKit.");
    }
    notices
}

/// The request of a build.
pub(super) fn request(
    session: &mut Session<'_, '_>,
    args: &BuildArgs,
    method: &Method,
) -> Result<(BuildRequest, Files), Failure> {
    let mut build_args = build_args(&args.build_arg)?;
    for (name, value) in crate::proxies::of_user(session)? {
        build_args.entry(name).or_insert(Some(value));
    }
    let (outputs, files) = output::outputs(args)?;
    let source_date_epoch = source_date_epoch(&build_args)?;
    let mut request = BuildRequest {
        outputs,
        tags: tags(&args.tag).map_err(in_build)?,
        target: args.target.clone(),
        build_args,
        labels: labels(&args.label)?,
        platforms: platforms(args),
        no_cache: no_cache(args),
        pull: args.pull,
        cache_from: output::caches(&args.cache_from)?,
        cache_to: output::caches(&args.cache_to)?,
        network: args.network.clone(),
        allow: args.allow.clone(),
        add_hosts: args
            .add_host
            .iter()
            .map(|text| host(text).map_err(in_build))
            .collect::<Result<_, _>>()?,
        limits: RunLimits {
            shm_size_bytes: bytes(args.shm_size.as_deref(), "--shm-size")?,
            ulimits: ulimits(&args.ulimit)?,
            cgroup_parent: args.cgroup_parent.clone().unwrap_or_default(),
            memory_bytes: bytes(args.memory.as_deref(), "-m, --memory")?,
            memory_swap_bytes: match args.memory_swap.as_deref() {
                Some("-1") => -1,
                other => bytes(other, "--memory-swap")?,
            },
            cpu_shares: args.cpu_shares,
            cpuset_cpus: args.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: args.cpuset_mems.clone().unwrap_or_default(),
            cpu_period_us: args.cpu_period,
            cpu_quota_us: args.cpu_quota,
        },
        explain: args.explain,
        call: method.call,
        source_date_epoch,
        cache_budget_bytes: cache_budget()?,
        ..BuildRequest::default()
    };
    for text in args.build_context.iter().filter(|text| !text.is_empty()) {
        let (name, context) = source::named_context(text)?;
        request.named_contexts.insert(name, context);
    }
    for text in args.secret.iter().filter(|text| !text.is_empty()) {
        let (id, secret) = source::secret(text).map_err(in_build)?;
        request.secrets.insert(id, secret);
    }
    for text in args.ssh.iter().filter(|text| !text.is_empty()) {
        let (id, agent) = source::ssh(text).map_err(in_build)?;
        request.ssh.insert(id, agent);
    }
    // Last, as it may read standard input.
    (request.context, request.dockerfile) = source::context(args).map_err(in_build)?;
    Ok((request, files))
}

fn tags(texts: &[String]) -> Result<Vec<String>, Failure> {
    for text in texts {
        let parsed = text.parse::<orlop_types::reference::ImageReference>();
        parsed.map_err(|error| Failure::new(format!("invalid tag {text:?}: {error}")))?;
    }
    Ok(texts.to_vec())
}

fn build_args(texts: &[String]) -> Result<BTreeMap<String, Option<String>>, Failure> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some(("", _)) => Err(empty_key(text)),
            Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
            None if text.is_empty() => Err(empty_key(text)),
            None => Ok((text.clone(), std::env::var(text).ok())),
        })
        .collect()
}

fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    texts
        .iter()
        .map(|text| match text.split_once('=').unwrap_or((text, "")) {
            ("", _) => Err(empty_key(text)),
            (name, value) => Ok((name.to_owned(), value.to_owned())),
        })
        .collect()
}

fn empty_key(text: &str) -> Failure {
    Failure::new(format!("invalid key-value pair {text:?}: empty key"))
}

fn platforms(args: &BuildArgs) -> Vec<String> {
    if !args.platform.is_empty() {
        return args.platform.clone();
    }
    std::env::var("DOCKER_DEFAULT_PLATFORM")
        .ok()
        .filter(|name| !name.is_empty())
        .into_iter()
        .collect()
}

fn no_cache(args: &BuildArgs) -> NoCache {
    if args.no_cache {
        NoCache::All
    } else if args.no_cache_filter.is_empty() {
        NoCache::Nothing
    } else {
        NoCache::Stages(args.no_cache_filter.clone())
    }
}

/// `host:ip` and `host=ip`; the address may stand in brackets, or be `host-gateway`.
fn host(text: &str) -> Result<String, Failure> {
    let invalid = || Failure::new(format!("invalid host {text}"));
    let (name, address) =
        text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(invalid)?;
    if name.is_empty() || address.is_empty() {
        return Err(invalid());
    }
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let address = bare.unwrap_or(address);
    if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
        return Err(invalid());
    }
    Ok(format!("{name}:{address}"))
}

fn bytes(text: Option<&str>, flag: &str) -> Result<i64, Failure> {
    let Some(text) = text else { return Ok(0) };
    parse_ram_bytes(text).map_err(|error| invalid_argument(text, flag, &error.to_string()))
}

fn invalid_argument(text: &str, flag: &str, why: &str) -> Failure {
    Failure::new(format!("invalid argument \"{text}\" for \"{flag}\" flag: {why}"))
        .with_code(BAD_FLAG)
}

fn ulimits(texts: &[String]) -> Result<Vec<orlop_types::config::Ulimit>, Failure> {
    texts
        .iter()
        .map(|text| {
            crate::request::ulimit(text)
                .map_err(|error| invalid_argument(text, "--ulimit", &error.to_string()))
        })
        .collect()
}

/// What the build cache may take, if the variable says so (`20g`); else the store's setting counts.
fn cache_budget() -> Result<Option<u64>, Failure> {
    const NAME: &str = "ORLOP_BUILD_CACHE_BUDGET";
    let text = std::env::var(NAME).ok().filter(|text| !text.is_empty());
    let budget = text.map(|text| bytes(Some(&text), NAME)).transpose()?;
    Ok(budget.and_then(|bytes| u64::try_from(bytes).ok()))
}

/// The time of everything made: of the build argument, or else of the variable of that name.
fn source_date_epoch(
    build_args: &BTreeMap<String, Option<String>>,
) -> Result<Option<i64>, Failure> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let text = match build_args.get(NAME) {
        Some(given) => given.clone(),
        None => std::env::var(NAME).ok(),
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let epoch = text.parse();
    epoch.map(Some).map_err(|_| Failure::new(format!("invalid SOURCE_DATE_EPOCH: {text}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("a:1.2.3.4", "a:1.2.3.4"),
            ("a=1.2.3.4", "a:1.2.3.4"),
            ("a=[::1]", "a:::1"),
            ("a:host-gateway", "a:host-gateway"),
        ] {
            assert_eq!(host(text).unwrap(), expected, "{text}");
        }
        for text in ["a", "a:", ":1.2.3.4", "a:b"] {
            assert_eq!(host(text).unwrap_err().why, format!("invalid host {text}"));
        }
    }

    #[test]
    fn build_arguments_without_a_value_take_the_variables() {
        let texts = ["A=1=2", "ORLOP_NO_SUCH_VARIABLE", "B="].map(str::to_owned);
        let found = build_args(&texts).unwrap();
        assert_eq!(found["A"].as_deref(), Some("1=2"));
        assert_eq!(found["B"].as_deref(), Some(""));
        assert_eq!(found["ORLOP_NO_SUCH_VARIABLE"], None);
        let wrong = build_args(&["=x".to_owned()]).unwrap_err();
        assert_eq!(wrong.why, "invalid key-value pair \"=x\": empty key");
    }
}
