//! Creates containers.
//!
//! Order: check everything that can be checked, make volumes, prepare the writable layer and the
//! container's directory, fill fresh volumes from the image, then commit one row that refers to all
//! of it. What a failure or a crash leaves before that row is unowned and swept; anonymous volumes of
//! a failed creation are removed at once.

use std::os::fd::AsFd as _;
use std::path::Path;

use orlop_image::Images;
use orlop_layer::WritableOptions;
use orlop_meta::{
    ConnectionRecord, ContainerRecord, ContainerState, Durability, ImageRecord, Query, VolumeRecord,
};
use orlop_runtime::host::HostResources;
use orlop_sys::confined::Root;
use orlop_types::config::{Config, HostConfig, Mount};
use orlop_types::image::ImageConfig;
use orlop_types::mount::VolumesFrom;
use orlop_types::network::{NetworkMode, NetworkingConfig, Protocol};
use orlop_types::{ContainerId, ContainerName, ImageId, ParseError, VolumeName};
use orlop_volume::{NewVolume, Volumes};

use crate::error::system;
use crate::lookup::find;
use crate::merge::{command, merge};
use crate::mount_plan::{self, MountEntry, MountKind, Requests};
use crate::plan::{entries, runtime_choice};
use crate::settle::container_event;
use crate::validate::{self, Occasion};
use crate::{Containers, Error, Result, log_options, names, now_ns, now_text, ports};

/// Names that are tried for a container that nobody named.
const NAME_ATTEMPTS: u32 = 16;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// Name; one is made if there is none.
    pub name: Option<String>,
    /// Image by name or id.
    pub image: String,
    /// What runs, before the image's proposals are merged in.
    pub config: Config,
    /// What of the host it gets.
    pub host_config: HostConfig,
    /// The networks besides that of `host_config.network_mode`, and what is asked of each.
    pub networking: NetworkingConfig,
    /// Platform that the image must have, as `os[/architecture[/variant]]`.
    pub platform: Option<String>,
}

/// A created container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: ContainerId,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Containers<'_> {
    /// Creates a container.
    pub fn create(&self, request: CreateRequest) -> Result<Created> {
        let name = request.name.as_deref().map(str::parse::<ContainerName>).transpose()?;
        if let Some(name) = &name {
            self.store.read(|query| check_name(query, name))?;
        }
        let mut config = request.config;
        let mut host_config = request.host_config;
        let mut warnings = self.check_request(&config, &mut host_config)?;
        warnings.extend(mount_plan::warning(&host_config));
        let images = Images::new(self.store, self.layers);
        let image = images.resolve(&request.image)?;
        let image_config = images.config(&image)?;
        check_platform(request.platform.as_deref(), &image_config, &request.image)?;
        merge(&mut config, &image_config.config);
        check(&config, &host_config)?;
        config.image.clone_from(&request.image);
        let id = ContainerId::of_bytes(&rand::random());
        default_hostname(&mut config, &host_config, &id)?;
        let connections = self
            .first_connections(&host_config.network_mode, &request.networking.endpoints_config)?;
        let mut mounts = self.mount_plan(&config, &host_config)?;
        // Before a volume is made for nothing.
        self.mounted_images(&mounts)?;
        let volumes = match self.make_volumes(&mut mounts) {
            Ok(volumes) => volumes,
            Err(error) => return Err(self.give_up(error, &mounts)),
        };
        orlop_sys::fault::point("container.create.volumes");
        let record = ContainerRecord {
            id: id.clone(),
            name: name.clone().unwrap_or_else(|| names::generate(rand::random(), 0)),
            image: Some(image.id.clone()),
            image_id: image.id.clone(),
            top_layer: image.top_layer.clone(),
            config,
            host_config,
            mounts: serde_json::to_value(&mounts).map_err(|error| damaged(&error))?,
            state: ContainerState::default(),
            created_at: now_text(),
            purpose: orlop_meta::Purpose::Container,
        };
        match self.build(record, name.is_some(), &image, &mounts, &volumes, &connections) {
            Ok(()) => Ok(Created { id, warnings }),
            Err(error) => Err(self.give_up(error, &mounts)),
        }
    }

    /// Checks what does not depend on the image, and fills in what nobody said; gives warnings.
    pub(crate) fn check_request(
        &self,
        config: &Config,
        host_config: &mut HostConfig,
    ) -> Result<Vec<String>> {
        let machine = HostResources::detect()?;
        validate::config(config)?;
        let warnings = validate::host_config(host_config, &machine, Occasion::Create)?;
        orlop_runtime::spec::check_security(host_config)?;
        runtime_choice(&host_config.runtime)?;
        validate::adapt(host_config, orlop_runtime::cgroup::is_unified());
        self.name_shared_namespaces(host_config)?;
        validate::together(config, host_config)?;
        crate::network_connect::check_mode(config, host_config)?;
        self.check_links(host_config)?;
        log_options::check(&host_config.log_config)?;
        check_storage_options(host_config, self.layers.driver().name())?;
        Ok(warnings)
    }

    /// Looks for the containers of `--link`, so that nothing is made when one is not there.
    fn check_links(&self, host_config: &HostConfig) -> Result<()> {
        for link in host_config.links.iter().flatten() {
            let (target, _) = crate::network::split_link(link);
            self.get(target).map_err(|error| match error {
                Error::NotFound { .. } => Error::Invalid(ParseError::new(format!(
                    "could not get container for {target}: {error}"
                ))),
                other => other,
            })?;
        }
        Ok(())
    }

    /// Makes what the row refers to, then the row.
    fn build(
        &self,
        mut record: ContainerRecord,
        named: bool,
        image: &ImageRecord,
        mounts: &[MountEntry],
        volumes: &[Option<VolumeRecord>],
        connections: &[ConnectionRecord],
    ) -> Result<()> {
        let mut staged = self.store.stage()?;
        let directory = self.store.paths.container(&record.id);
        staged.publish("", &directory, orlop_meta::Sync::Nothing)?;
        orlop_sys::fault::point("container.create.directory");
        let options = writable_options(&record.host_config);
        let outcome = self
            .layers
            .create_writable(&record.id, image.top_layer.as_ref(), options)
            .map_err(Error::from)
            .and_then(|writable| {
                orlop_sys::fault::point("container.create.layer");
                self.fill_volumes(image, mounts, volumes)?;
                self.commit_row(&mut record, named, mounts, connections)?;
                orlop_sys::fault::point("container.create.committed");
                // Only now may a sweep look at the layer's directory again.
                drop(writable.guard);
                Ok(())
            });
        if outcome.is_err() {
            self.discard(&record.id, &directory);
        }
        outcome
    }

    /// Commits the row with its references; a made-up name that is taken is replaced.
    fn commit_row(
        &self,
        record: &mut ContainerRecord,
        named: bool,
        mounts: &[MountEntry],
        connections: &[ConnectionRecord],
    ) -> Result<()> {
        orlop_sys::fault::point("container.create.built");
        let images = self.mounted_images(mounts)?;
        for attempt in 1.. {
            let outcome = self.store.write(Durability::Lazy, |query| {
                check_name(query, &record.name)?;
                query.container_insert(record)?;
                for connection in connections {
                    query.connection_put(&record.id, connection)?;
                }
                for entry in mounts.iter().filter(|entry| entry.kind == MountKind::Volume) {
                    let name: VolumeName = entry.source.parse()?;
                    query
                        .volume_reference(&record.id, &name)
                        .map_err(|error| volume_gone(error, &name))?;
                }
                for image in &images {
                    query.image_reference(&record.id, image)?;
                }
                Ok(query.event_insert(&container_event(record, "create", now_ns()))?)
            });
            match outcome {
                Err(Error::NameTaken { .. }) if !named && attempt < NAME_ATTEMPTS => {
                    record.name = names::generate(rand::random(), attempt);
                }
                other => return other,
            }
        }
        Ok(())
    }

    /// Decides every mount.
    fn mount_plan(&self, config: &Config, host_config: &HostConfig) -> Result<Vec<MountEntry>> {
        let mut inherited = Vec::new();
        for raw in host_config.volumes_from.iter().flatten() {
            let from = VolumesFrom::parse(raw)?;
            let other =
                self.store.read(|query| find(query, &from.container)).map_err(
                    |error| match error {
                        // Docker answers 400 here, not 404.
                        Error::NotFound { name } => {
                            Error::Invalid(ParseError::new(format!("No such container: {name}")))
                        }
                        other => other,
                    },
                )?;
            inherited.push((entries(&other)?, from.read_only));
        }
        let empty_binds: Vec<String> = Vec::new();
        let empty_mounts: Vec<Mount> = Vec::new();
        let plan = mount_plan::plan(&Requests {
            volumes_from: &inherited,
            binds: host_config.binds.as_ref().unwrap_or(&empty_binds),
            mounts: host_config.mounts.as_ref().unwrap_or(&empty_mounts),
            tmpfs: host_config.tmpfs.as_ref(),
            volumes: config.volumes.as_ref(),
            volume_driver: &host_config.volume_driver,
        })?;
        for entry in &plan {
            check_source(entry)?;
        }
        Ok(plan)
    }

    /// The images that are mounted beside the container's own.
    fn mounted_images(&self, mounts: &[MountEntry]) -> Result<Vec<ImageId>> {
        let images = Images::new(self.store, self.layers);
        mounts
            .iter()
            .filter(|entry| entry.kind == MountKind::Image)
            .map(|entry| Ok(images.resolve(&entry.source)?.id))
            .collect()
    }

    /// Makes the volumes of the plan, or finds those that exist; writes new names into the plan.
    fn make_volumes(&self, mounts: &mut [MountEntry]) -> Result<Vec<Option<VolumeRecord>>> {
        let volumes = Volumes::new(self.store);
        mounts
            .iter_mut()
            .map(|entry| {
                if entry.kind != MountKind::Volume {
                    return Ok(None);
                }
                let (record, _created) = volumes.create(NewVolume {
                    name: (!entry.source.is_empty()).then(|| entry.source.clone()),
                    driver: entry.driver.clone(),
                    labels: entry.labels.clone(),
                    options: entry.driver_options.clone(),
                })?;
                record.name.as_str().clone_into(&mut entry.source);
                record.driver.clone_into(&mut entry.driver);
                Ok(Some(record))
            })
            .collect()
    }

    /// Fills fresh volumes with what the image has at their targets (copy-up).
    fn fill_volumes(
        &self,
        image: &ImageRecord,
        mounts: &[MountEntry],
        volumes: &[Option<VolumeRecord>],
    ) -> Result<()> {
        let wanted = mounts.iter().zip(volumes).filter_map(|(entry, volume)| {
            volume.as_ref().filter(|_| !entry.no_copy).map(|volume| (entry, volume))
        });
        let mut root = None;
        for (entry, volume) in wanted {
            if root.is_none() {
                // With the engine's files: a volume on /etc can be read-only only if they are in it.
                let recipe = self.layers.init_view(image.top_layer.as_ref())?;
                let mounted =
                    orlop_sys::mount::mount_rootfs(&recipe).map_err(|source| Error::System {
                        operation: "mount image",
                        subject: image.id.short().to_owned(),
                        source: std::io::Error::other(source),
                    })?;
                root = Some(Root::of_mount(mounted).map_err(|source| Error::System {
                    operation: "open image",
                    subject: image.id.short().to_owned(),
                    source: std::io::Error::other(source),
                })?);
            }
            if let Some(root) = &root {
                fill_volume(root, entry, volume, &Volumes::new(self.store))
                    .map_err(|error| self.removed_meanwhile(error, volume))?;
            }
        }
        Ok(())
    }

    /// What to say when a volume could not be filled: until the container's row refers to it, somebody
    /// may remove it, and even make another one of its name.
    fn removed_meanwhile(&self, error: Error, volume: &VolumeRecord) -> Error {
        match self.store.read::<_, Error>(|query| Ok(query.volume(&volume.name)?)) {
            Ok(present) if present.as_ref() != Some(volume) => removed(&volume.name),
            _ => error,
        }
    }

    /// Removes what a failed creation has made.
    pub(crate) fn discard(&self, id: &ContainerId, directory: &Path) {
        let removed = self.layers.remove_writable(id, &now_text());
        if let Err(error) = removed {
            tracing::debug!(container = %id, %error, "cannot remove the layer of a failed creation");
        }
        if let Err(error) = std::fs::remove_dir_all(directory) {
            tracing::debug!(container = %id, %error, "cannot remove the directory of a failed creation");
        }
    }

    /// Removes the anonymous volumes of a failed creation; hands the error on.
    fn give_up(&self, error: Error, mounts: &[MountEntry]) -> Error {
        let fresh = |entry: &&MountEntry| {
            entry.is_anonymous_volume() && entry.origin != mount_plan::Origin::OtherContainer
        };
        let names: Vec<VolumeName> =
            mounts.iter().filter(fresh).filter_map(|entry| entry.source.parse().ok()).collect();
        if !names.is_empty()
            && let Err(error) = Volumes::new(self.store).remove_anonymous_of(&names)
        {
            tracing::debug!(%error, "cannot remove the volumes of a failed creation");
        }
        error
    }
}

/// An image for another machine is none, as far as Docker's users can tell.
fn check_platform(wanted: Option<&str>, image: &ImageConfig, name: &str) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let parts: Vec<&str> = wanted.split('/').collect();
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
        return Err(Error::Invalid(ParseError::new(format!(
            "error parsing specified platform: \"{wanted}\": cannot parse platform specifier: invalid argument"
        ))));
    }
    let architecture = |name: &str| match name {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_lowercase(),
    };
    let (os, wanted_architecture) = match parts.as_slice() {
        // One word is an architecture unless it is a system.
        [one] if matches!(*one, "linux" | "windows" | "darwin" | "freebsd") => (*one, None),
        [one] => ("linux", Some(architecture(one))),
        [os, two, ..] => (*os, Some(architecture(two))),
        [] => return Ok(()),
    };
    let other = wanted_architecture.is_some_and(|wanted| wanted != image.architecture);
    if os != image.os || other {
        return Err(Error::Invalid(ParseError::new(format!(
            "image with reference {name} was found but its platform ({}/{}) does not match the specified platform ({wanted})",
            image.os, image.architecture
        ))));
    }
    Ok(())
}

/// No driver limits the size of a writable layer so far.
fn check_storage_options(host_config: &HostConfig, driver: &str) -> Result<()> {
    let Some(name) = host_config.storage_opt.iter().flatten().map(|(name, _)| name).next() else {
        return Ok(());
    };
    let known = name.eq_ignore_ascii_case("size");
    Err(Error::Invalid(ParseError::new(match (driver, known) {
        (_, false) => format!("Unknown option {name}"),
        ("overlay", true) => {
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"
                .to_owned()
        }
        (_, true) => "quota size requested but no quota support".to_owned(),
    })))
}

/// A layer that dies with its container need not be synced at all.
pub(crate) fn writable_options(host_config: &HostConfig) -> WritableOptions {
    WritableOptions { volatile: host_config.auto_remove }
}

/// Fills one volume. A target that the image does not have, or that is no directory, has nothing to
/// copy.
fn fill_volume(
    root: &Root,
    entry: &MountEntry,
    volume: &VolumeRecord,
    volumes: &Volumes<'_>,
) -> Result<()> {
    let relative = entry.target.trim_start_matches('/');
    let directory = match root.open_dir(if relative.is_empty() { "." } else { relative }) {
        Ok(directory) => directory,
        Err(error) if error.io_kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(_) if entry.origin != mount_plan::Origin::Anonymous => return Ok(()),
        Err(_) => {
            return Err(Error::Invalid(ParseError::new(format!(
                "cannot mount volume over existing file, file exists {}",
                entry.target
            ))));
        }
    };
    volumes.populate(volume, Path::new(&entry.subpath), directory.as_fd())?;
    Ok(())
}

fn check_name(query: &Query<'_>, name: &ContainerName) -> Result<()> {
    match query.container_by_name(name.as_str())? {
        Some(owner) => Err(Error::NameTaken {
            name: name.as_str().to_owned(),
            owner: owner.id.as_str().to_owned(),
        }),
        None => Ok(()),
    }
}

/// Checks what needs neither store nor kernel.
fn check(config: &Config, host_config: &HostConfig) -> Result<()> {
    let invalid = |text: String| Err(Error::Invalid(ParseError::new(text)));
    if command(config).is_empty() {
        return invalid("no command specified".to_owned());
    }
    // What the image adds must be as good as what the user says.
    validate::config(config)?;
    let mode = NetworkMode::of(&host_config.network_mode);
    let requests = ports::requests(config, host_config)?;
    if matches!(mode, NetworkMode::Bridge | NetworkMode::User(_))
        && requests.iter().any(|request| request.protocol == Protocol::Sctp)
    {
        return invalid(
            "publishing SCTP ports is not supported; publish TCP or UDP ports".to_owned(),
        );
    }
    Ok(())
}

/// A bind of `--mount` must exist; one of `-v` is made at the start.
fn check_source(entry: &MountEntry) -> Result<()> {
    if entry.kind == MountKind::Bind
        && !entry.create_source
        && std::fs::metadata(&entry.source).is_err()
    {
        return Err(Error::Invalid(ParseError::new(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            entry.source
        ))));
    }
    Ok(())
}

fn default_hostname(config: &mut Config, host_config: &HostConfig, id: &ContainerId) -> Result<()> {
    if !config.hostname.is_empty() {
        return Ok(());
    }
    let shares_host = host_config.uts_mode == "host"
        || NetworkMode::of(&host_config.network_mode) == NetworkMode::Host;
    config.hostname = if shares_host {
        let path = Path::new("/proc/sys/kernel/hostname");
        std::fs::read_to_string(path).map_err(system("read", path))?.trim().to_owned()
    } else {
        id.short().to_owned()
    };
    Ok(())
}

/// A volume that was removed between its creation and the commit.
fn volume_gone(error: orlop_meta::Error, name: &VolumeName) -> Error {
    if error.is_constraint() { removed(name) } else { error.into() }
}

fn removed(name: &VolumeName) -> Error {
    Error::conflict(format!(
        "volume {name} was removed while the container was being created; try again"
    ))
}

fn damaged(error: &serde_json::Error) -> Error {
    Error::Store(orlop_meta::Error::Damaged {
        what: "a mount plan".to_owned(),
        reason: error.to_string(),
    })
}
