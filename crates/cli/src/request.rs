//! From the flags of `run` and `create` to the engine's request.
//!
//! Pure but for what [`Surroundings`] gives: the caller's directory, environment and files.

use std::collections::BTreeMap;
use std::path::Path;

use orlop_engine::CreateRequest;
use orlop_types::ParseError;
use orlop_types::config::{Config, Empty, HealthConfig, HostConfig, Set};
use orlop_types::environment::{parse_env, parse_env_file, parse_label, parse_label_file};
use orlop_types::mount::{ClientVolume, parse_mount_flag, split_tmpfs_flag};
use orlop_types::port::{parse_expose, parse_publish_all};
use orlop_types::size::parse_ram_bytes;

use crate::args::{Create, NetworkFlags, ProcessFlags, ResourceFlags, SecurityFlags, StorageFlags};
use crate::failure::Failure;

/// Exit code for flags that cannot be understood or carried out, as in Docker.
pub const BAD_FLAG: i32 = 125;
/// What a container cannot start with less than.
const MEMORY_MIN_BYTES: i64 = 6 * 1024 * 1024;

/// What the flags refer to outside themselves.
pub struct Surroundings<'a> {
    /// The caller's directory.
    pub cwd: &'a str,
    /// A variable of the caller's environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a text file; the error is one line.
    pub read: &'a dyn Fn(&Path) -> Result<String, String>,
}

/// How the container's streams are used by the command that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// `run -d`: nobody reads.
    Detached,
    /// `run`.
    Attached,
    /// `create`: as `run`, but only `start` will tell.
    ForLater,
}

/// Builds the request.
pub fn create_request(
    flags: &Create,
    attachment: Attachment,
    around: &Surroundings<'_>,
) -> Result<CreateRequest, Failure> {
    build(flags, attachment, around).map_err(|failure| failure.with_code(BAD_FLAG))
}

fn build(
    flags: &Create,
    attachment: Attachment,
    around: &Surroundings<'_>,
) -> Result<CreateRequest, Failure> {
    let attached = attachment != Attachment::Detached;
    let (image, command) = flags.image_and_command();
    let mut config = Config {
        attach_stdin: attached && flags.interactive,
        attach_stdout: attached,
        attach_stderr: attached,
        tty: flags.tty,
        open_stdin: flags.interactive,
        stdin_once: attached && flags.interactive,
        cmd: Some(command.to_vec()).filter(|words| !words.is_empty()),
        image: image.to_owned(),
        ..Config::default()
    };
    let mut host_config = HostConfig { auto_remove: flags.rm, ..HostConfig::default() };
    if let Some(path) = &flags.cidfile {
        host_config.container_id_file = path.to_string_lossy().into_owned();
    }
    check_pull(&flags.pull)?;
    apply_process(&flags.process, &mut config, around)?;
    apply_storage(&flags.storage, &mut config, &mut host_config, around)?;
    apply_network(&flags.network, &mut config, &mut host_config)?;
    apply_security(&flags.security, &mut host_config, around)?;
    apply_resources(&flags.resources, &mut host_config)?;
    // An empty name is no name.
    let name = flags.name.clone().filter(|name| !name.is_empty());
    Ok(CreateRequest { name, image: image.to_owned(), config, host_config })
}

fn check_pull(when: &str) -> Result<(), Failure> {
    match when {
        "missing" | "never" => Ok(()),
        "always" => Err(Failure::new("--pull always is not supported yet")
            .with_hint("images come into the store with `orlop import`")),
        other => Err(Failure::new(format!(
            "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
        ))),
    }
}

/// Docker's words for a flag whose value is wrong.
fn invalid_argument(value: &str, flag: &str) -> impl FnOnce(ParseError) -> Failure {
    let text = format!("invalid argument \"{value}\" for \"{flag}\" flag");
    move |error| Failure::new(format!("{text}: {error}"))
}

fn apply_process(
    flags: &ProcessFlags,
    config: &mut Config,
    around: &Surroundings<'_>,
) -> Result<(), Failure> {
    config.env = Some(environment(&flags.env_file, &flags.env, around)?)
        .filter(|entries| !entries.is_empty());
    config.working_dir = flags.workdir.clone().unwrap_or_default();
    config.user = flags.user.clone().unwrap_or_default();
    config.entrypoint = flags.entrypoint.clone().map(|command| vec![command]);
    config.stop_signal = flags.stop_signal.clone();
    config.stop_timeout = flags.stop_timeout;
    let mut labels = BTreeMap::new();
    for path in &flags.label_file {
        let text = (around.read)(path).map_err(Failure::new)?;
        labels.extend(parse_label_file(&text).map_err(|error| {
            Failure::new(format!("invalid label file ({}): {error}", path.display()))
        })?);
    }
    for raw in &flags.label {
        let (name, value) = parse_label(raw).map_err(invalid_argument(raw, "-l, --label"))?;
        labels.insert(name, value);
    }
    config.labels = Some(labels).filter(|labels| !labels.is_empty());
    if !matches!(flags.restart.as_str(), "" | "no") {
        return Err(Failure::new(format!("flag --restart {} is not supported yet", flags.restart)));
    }
    if flags.no_healthcheck {
        config.healthcheck =
            Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() });
    }
    Ok(())
}

/// Entries of files first, so that flags win.
pub fn environment(
    files: &[std::path::PathBuf],
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

fn apply_storage(
    flags: &StorageFlags,
    config: &mut Config,
    host_config: &mut HostConfig,
    around: &Surroundings<'_>,
) -> Result<(), Failure> {
    let mut binds: Vec<String> = Vec::new();
    let mut volumes = Set::new();
    for raw in &flags.volume {
        match ClientVolume::parse(raw, around.cwd)? {
            ClientVolume::Anonymous(target) => drop(volumes.insert(target, Empty {})),
            // The same words twice are one mount.
            ClientVolume::Bind(bind) if !binds.contains(&bind) => binds.push(bind),
            ClientVolume::Bind(_) => {}
        }
    }
    config.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
    host_config.binds = Some(binds).filter(|binds| !binds.is_empty());
    let mut mounts = Vec::new();
    for raw in &flags.mount {
        mounts.push(parse_mount_flag(raw, around.cwd).map_err(invalid_argument(raw, "--mount"))?);
    }
    host_config.mounts = Some(mounts).filter(|mounts| !mounts.is_empty());
    let tmpfs: BTreeMap<String, String> =
        flags.tmpfs.iter().map(|raw| split_tmpfs_flag(raw)).collect();
    host_config.tmpfs = Some(tmpfs).filter(|tmpfs| !tmpfs.is_empty());
    host_config.volumes_from =
        Some(flags.volumes_from.clone()).filter(|containers| !containers.is_empty());
    host_config.volume_driver = flags.volume_driver.clone().unwrap_or_default();
    host_config.readonly_rootfs = flags.read_only;
    if let Some(raw) = &flags.shm_size {
        let bytes = parse_ram_bytes(raw).map_err(invalid_argument(raw, "--shm-size"))?;
        // Zero asks for the default.
        host_config.shm_size = if bytes == 0 { host_config.shm_size } else { bytes };
    }
    Ok(())
}

fn apply_network(
    flags: &NetworkFlags,
    config: &mut Config,
    host_config: &mut HostConfig,
) -> Result<(), Failure> {
    host_config.port_bindings = parse_publish_all(&flags.publish)?;
    host_config.publish_all_ports = flags.publish_all;
    let mut exposed: Set =
        host_config.port_bindings.keys().map(|port| (port.clone(), Empty {})).collect();
    for raw in &flags.expose {
        exposed.extend(parse_expose(raw)?.into_iter().map(|port| (port, Empty {})));
    }
    config.exposed_ports = Some(exposed).filter(|ports| !ports.is_empty());
    config.hostname = flags.hostname.clone().unwrap_or_default();
    config.domainname = flags.domainname.clone().unwrap_or_default();
    match flags.network.as_deref() {
        None | Some("default" | "bridge") => {}
        Some(mode @ ("host" | "none")) => mode.clone_into(&mut host_config.network_mode),
        Some(other) => {
            return Err(Failure::new(format!("network {other} not found")).with_hint(
                "the networks are bridge, host and none; others are not supported yet",
            ));
        }
    }
    Ok(())
}

fn apply_security(
    flags: &SecurityFlags,
    host_config: &mut HostConfig,
    around: &Surroundings<'_>,
) -> Result<(), Failure> {
    let (add, drop) = (capabilities(&flags.cap_add), capabilities(&flags.cap_drop));
    // Adding wins over dropping, as in Docker.
    let drop: Vec<String> = drop.into_iter().filter(|name| !add.contains(name)).collect();
    host_config.cap_add = Some(add).filter(|names| !names.is_empty());
    host_config.cap_drop = Some(drop).filter(|names| !names.is_empty());
    host_config.privileged = flags.privileged;
    let mut options = Vec::new();
    for raw in &flags.security_opt {
        let pair = raw.split_once('=').or_else(|| raw.split_once(':'));
        match pair {
            Some(("systempaths", "unconfined")) => {
                host_config.masked_paths = Some(Vec::new());
                host_config.readonly_paths = Some(Vec::new());
            }
            Some(("seccomp", profile)) if !matches!(profile, "unconfined" | "builtin") => {
                options.push(format!("seccomp={}", seccomp_profile(profile, around)?));
            }
            None if raw != "no-new-privileges" => {
                return Err(Failure::new(format!("Invalid --security-opt: \"{raw}\"")));
            }
            _ => options.push(raw.clone()),
        }
    }
    host_config.security_opt = Some(options).filter(|options| !options.is_empty());
    Ok(())
}

/// The profile's text: the file belongs to the caller, so the engine gets what is in it.
fn seccomp_profile(path: &str, around: &Surroundings<'_>) -> Result<String, Failure> {
    let text = (around.read)(Path::new(path))
        .map_err(|why| Failure::new(format!("opening seccomp profile ({path}) failed: {why}")))?;
    let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("compacting json for seccomp profile ({path}) failed: {error}"))
    })?;
    Ok(profile.to_string())
}

/// Capability names in upper case with `CAP_`, sorted, each once; `ALL` stays `ALL`.
fn capabilities(names: &[String]) -> Vec<String> {
    let mut names: Vec<String> =
        names
            .iter()
            .map(|name| name.trim().to_ascii_uppercase())
            .map(|name| {
                if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
            })
            .collect();
    names.sort();
    names.dedup();
    names
}

fn apply_resources(flags: &ResourceFlags, host_config: &mut HostConfig) -> Result<(), Failure> {
    if let Some(raw) = &flags.memory {
        host_config.memory = parse_ram_bytes(raw).map_err(invalid_argument(raw, "-m, --memory"))?;
        if (1..MEMORY_MIN_BYTES).contains(&host_config.memory) {
            return Err(Failure::new("Minimum memory limit allowed is 6MB"));
        }
    }
    if let Some(raw) = &flags.cpus {
        host_config.nano_cpus = parse_cpus(raw).map_err(invalid_argument(raw, "--cpus"))?;
    }
    host_config.pids_limit = flags.pids_limit;
    host_config.runtime = flags.runtime.clone().unwrap_or_default();
    Ok(())
}

/// A decimal number of processors in billionths.
fn parse_cpus(raw: &str) -> Result<i64, ParseError> {
    let wrong = || ParseError::new(format!("failed to parse {raw} as a rational number"));
    let (whole, fraction) = raw.split_once('.').unwrap_or((raw, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(wrong());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err(ParseError::new("value is too precise"));
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
    let billionths: i64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|sum| sum.checked_add(billionths)).ok_or_else(wrong)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
