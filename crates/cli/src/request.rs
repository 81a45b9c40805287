//! From the flags of `run` and `create` to the engine's request.
//!
//! Pure but for what [`Surroundings`] gives: the caller's directory, environment and files.

mod devices;
mod network;
mod process;
mod resources;
mod security;

use std::collections::BTreeMap;
use std::path::Path;

use orlop_engine::{CreateRequest, UpdateRequest};
use orlop_types::ParseError;
use orlop_types::config::{Config, Empty, HostConfig, RestartPolicy, Set};
use orlop_types::mount::{ClientVolume, parse_mount_flag, split_tmpfs_flag};
use orlop_types::size::parse_ram_bytes;

use crate::args::{Create, StorageFlags, UpdateFlags};
use crate::failure::Failure;

pub use process::environment;
pub use resources::ulimit;

/// Exit code for flags that cannot be understood or carried out, as in Docker.
pub const BAD_FLAG: i32 = 125;

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
    let (image, command) = flags.image_and_command();
    let mut config = Config {
        tty: flags.tty,
        open_stdin: flags.interactive,
        cmd: Some(command.to_vec()).filter(|words| !words.is_empty()),
        image: image.to_owned(),
        ..Config::default()
    };
    apply_streams(flags, attachment, &mut config)?;
    let mut host_config = HostConfig { auto_remove: flags.rm, ..HostConfig::default() };
    if let Some(path) = &flags.cidfile {
        host_config.container_id_file = path.to_string_lossy().into_owned();
    }
    check_pull(&flags.pull)?;
    process::apply(&flags.process, &mut config, &mut host_config, around)?;
    apply_storage(&flags.storage, &mut config, &mut host_config, around)?;
    let networking = network::apply(&flags.network, &mut config, &mut host_config)?;
    security::apply(&flags.security, &mut host_config, around)?;
    devices::apply(&flags.security, &mut host_config)?;
    resources::apply(&flags.resources, &mut host_config)?;
    if flags.rm && !matches!(host_config.restart_policy.name.as_str(), "" | "no") {
        return Err(Failure::new("conflicting options: cannot specify both --restart and --rm"));
    }
    Ok(CreateRequest {
        // An empty name is no name.
        name: flags.name.clone().filter(|name| !name.is_empty()),
        image: image.to_owned(),
        config,
        host_config,
        networking,
        platform: flags.platform.clone().filter(|platform| !platform.is_empty()),
    })
}

/// Which streams the command attaches to: all outputs, unless `-a` chooses.
fn apply_streams(
    flags: &Create,
    attachment: Attachment,
    config: &mut Config,
) -> Result<(), Failure> {
    let chosen = check_all(&flags.attach, "-a, --attach", |raw| {
        let name = raw.to_lowercase();
        if ["stdin", "stdout", "stderr"].contains(&name.as_str()) {
            Ok(name)
        } else {
            Err(ParseError::new("valid streams are STDIN, STDOUT and STDERR"))
        }
    })?;
    if attachment == Attachment::Detached {
        return Ok(());
    }
    let is_chosen = |name: &str| chosen.iter().any(|stream| stream == name);
    config.attach_stdin = flags.interactive || is_chosen("stdin");
    config.attach_stdout = chosen.is_empty() || is_chosen("stdout");
    config.attach_stderr = chosen.is_empty() || is_chosen("stderr");
    config.stdin_once = config.open_stdin && config.attach_stdin;
    Ok(())
}

/// Builds the request of `update`.
pub fn update_request(flags: &UpdateFlags) -> Result<UpdateRequest, Failure> {
    let mut resources =
        HostConfig { restart_policy: RestartPolicy::default(), ..HostConfig::default() };
    resources::apply_update(flags, &mut resources)
        .map_err(|failure| failure.with_code(BAD_FLAG))?;
    let policy = flags.restart.as_deref().filter(|policy| !policy.is_empty());
    if let Some(policy) = policy {
        resources.restart_policy = process::restart_policy(policy)?;
    }
    Ok(UpdateRequest { resources })
}

/// Checks every value of a flag that may be repeated.
fn check_all<T>(
    raws: &[String],
    flag: &str,
    parse: impl Fn(&str) -> Result<T, ParseError>,
) -> Result<Vec<T>, Failure> {
    raws.iter().map(|raw| parse(raw).map_err(invalid_argument(raw, flag))).collect()
}

fn check_pull(when: &str) -> Result<(), Failure> {
    match when {
        "" | "always" | "missing" | "never" => Ok(()),
        other => Err(Failure::new(format!(
            "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
        ))),
    }
}

/// Docker's words for a flag whose value is wrong.
fn invalid_argument(value: &str, flag: &str) -> impl FnOnce(ParseError) -> Failure {
    let text = format!("invalid argument \"{value}\" for \"{flag}\" flag");
    move |error| Failure::new(format!("{text}: {error}")).with_code(BAD_FLAG)
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
    let mut options = BTreeMap::new();
    for raw in &flags.storage_opt {
        let (name, value) =
            raw.split_once('=').ok_or_else(|| Failure::new("invalid storage option"))?;
        options.insert(name.to_owned(), value.to_owned());
    }
    host_config.storage_opt = Some(options).filter(|options| !options.is_empty());
    Ok(())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
