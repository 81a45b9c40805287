//! The mount plan: one ordered list that says what is mounted where inside a container, and why.
//!
//! A pure function of what the user, the image and `--volumes-from` ask for. Later steps win over
//! earlier ones (Docker's `registerMountPoints`): `--volumes-from`, then `-v` and `--mount`, then
//! the paths that get an anonymous volume, which only take what is still free. The result is kept
//! with the container, shown by `inspect`, and handed to the monitor at each start.

use std::collections::BTreeMap;

use orlop_types::ParseError;
use orlop_types::config::{HostConfig, Mount, Set};
use orlop_types::mount::{
    VolumeFlag, VolumeSource, check_mount, check_tmpfs_target, clean_path, merge_tmpfs_options,
};
use serde::{Deserialize, Serialize};

/// What kind of thing is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A volume.
    Volume,
    /// A path of the host.
    Bind,
    /// A file system in memory.
    Tmpfs,
    /// The layers of an image.
    Image,
}

impl MountKind {
    /// Docker's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Bind => "bind",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        }
    }
}

/// Who asked for a mount; decides what `rm -v` and `inspect` do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// `-v` with a source, or `--mount`.
    User,
    /// `VOLUME` of the image, or `-v PATH`.
    Anonymous,
    /// `--volumes-from`.
    OtherContainer,
    /// `--tmpfs`, which Docker does not list among the mounts.
    TmpfsFlag,
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountEntry {
    /// What is mounted.
    pub kind: MountKind,
    /// Who asked for it.
    pub origin: Origin,
    /// Volume name (empty until an anonymous volume is made), host path, or image reference.
    pub source: String,
    /// Cleaned path inside the container.
    pub target: String,
    /// Whether the volume's name or the bind's path was given by the user. A volume without one is
    /// anonymous and goes with `rm -v`.
    pub source_given: bool,
    /// Volume driver, empty for the default.
    pub driver: String,
    /// Mode as `inspect` shows it.
    pub mode: String,
    /// Whether the container may not write.
    pub read_only: bool,
    /// Propagation, empty where it does not apply.
    pub propagation: String,
    /// Whether a fresh volume stays empty.
    pub no_copy: bool,
    /// Path below the source that is mounted instead of it.
    pub subpath: String,
    /// Whether a missing host directory is made.
    pub create_source: bool,
    /// Whether mounts below the source stay out.
    pub non_recursive: bool,
    /// Whether read-only holds for the top mount only.
    pub read_only_top_only: bool,
    /// Labels for a volume that this mount creates.
    pub labels: Option<BTreeMap<String, String>>,
    /// Driver options for a volume that this mount creates.
    pub driver_options: Option<BTreeMap<String, String>>,
    /// Options of a tmpfs.
    pub tmpfs_options: Vec<String>,
}

impl MountEntry {
    pub(crate) fn new(kind: MountKind, origin: Origin, source: &str, target: &str) -> Self {
        Self {
            kind,
            origin,
            source: source.to_owned(),
            target: clean_path(target),
            source_given: !source.is_empty(),
            driver: String::new(),
            mode: String::new(),
            read_only: false,
            propagation: String::new(),
            no_copy: false,
            subpath: String::new(),
            create_source: false,
            non_recursive: false,
            read_only_top_only: false,
            labels: None,
            driver_options: None,
            tmpfs_options: Vec::new(),
        }
    }

    /// Whether the volume was made for this container alone.
    #[must_use]
    pub fn is_anonymous_volume(&self) -> bool {
        self.kind == MountKind::Volume && !self.source_given
    }
}

/// Everything that asks for mounts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requests<'a> {
    /// Mounts of other containers and whether they become read-only here, in order.
    pub volumes_from: &'a [(Vec<MountEntry>, bool)],
    /// `-v SRC:DST[:MODE]`.
    pub binds: &'a [String],
    /// `--mount`.
    pub mounts: &'a [Mount],
    /// `--tmpfs`.
    pub tmpfs: Option<&'a BTreeMap<String, String>>,
    /// `VOLUME` of the image and `-v PATH`.
    pub volumes: Option<&'a Set>,
    /// `--volume-driver`.
    pub volume_driver: &'a str,
}

/// Makes the plan: one entry for each target, parents before what lies below them.
///
/// # Errors
/// Docker's text for what is wrong, for instance `Duplicate mount point: /x`.
pub fn plan(requests: &Requests<'_>) -> Result<Vec<MountEntry>, ParseError> {
    let mut entries: BTreeMap<String, MountEntry> = BTreeMap::new();
    for (inherited, read_only) in requests.volumes_from {
        for entry in inherited {
            if let Some(entry) = inherit(entry, *read_only) {
                entries.insert(entry.target.clone(), entry);
            }
        }
    }
    let mut asked: BTreeMap<String, MountEntry> = BTreeMap::new();
    for raw in requests.binds {
        add(&mut asked, of_bind(raw, requests.volume_driver)?)?;
    }
    for mount in requests.mounts {
        add(&mut asked, of_mount(mount)?)?;
    }
    for (target, options) in requests.tmpfs.into_iter().flatten() {
        check_tmpfs_target(target)?;
        let mut entry = MountEntry::new(MountKind::Tmpfs, Origin::TmpfsFlag, "", target);
        entry.tmpfs_options = merge_tmpfs_options(options)?;
        add(&mut asked, entry)?;
    }
    entries.append(&mut asked);
    for target in requests.volumes.into_iter().flat_map(|set| set.keys()) {
        let entry = of_volume_path(target, requests.volume_driver)?;
        entries.entry(entry.target.clone()).or_insert(entry);
    }
    let mut ordered: Vec<MountEntry> = entries.into_values().collect();
    // The map has sorted by target already; a stable sort by depth keeps that among equals.
    ordered.sort_by_key(|entry| entry.target.matches('/').count());
    Ok(ordered)
}

/// What the user may not expect of `--volume-driver`.
pub fn warning(host_config: &HostConfig) -> Option<String> {
    let without_driver = |mount: &Mount| {
        let options = mount.volume_options.as_ref();
        let driver = options.and_then(|options| options.driver_config.as_ref());
        mount.kind == "volume" && driver.is_none_or(|driver| driver.name.is_empty())
    };
    let is_ignored = !host_config.volume_driver.is_empty()
        && host_config.mounts.iter().flatten().any(without_driver);
    is_ignored.then(|| {
        "the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. \
         Use '--mount type=volume,volume-driver=...' instead"
            .to_owned()
    })
}

/// Two requests of the user for one target are an error: one of them would be lost without a word.
fn add(asked: &mut BTreeMap<String, MountEntry>, entry: MountEntry) -> Result<(), ParseError> {
    let target = entry.target.clone();
    match asked.insert(target.clone(), entry) {
        None => Ok(()),
        Some(_) => Err(ParseError::new(format!("Duplicate mount point: {target}"))),
    }
}

/// A mount taken over from another container; its memory file systems stay its own.
fn inherit(entry: &MountEntry, read_only: bool) -> Option<MountEntry> {
    (entry.kind != MountKind::Tmpfs).then(|| MountEntry {
        origin: Origin::OtherContainer,
        read_only: entry.read_only || read_only,
        mode: String::new(),
        no_copy: true,
        ..entry.clone()
    })
}

fn of_bind(raw: &str, volume_driver: &str) -> Result<MountEntry, ParseError> {
    let flag = VolumeFlag::parse(raw)?;
    let mut entry = match &flag.source {
        VolumeSource::Anonymous => {
            MountEntry::new(MountKind::Volume, Origin::User, "", &flag.target)
        }
        VolumeSource::Volume(name) => {
            MountEntry::new(MountKind::Volume, Origin::User, name, &flag.target)
        }
        VolumeSource::Bind(path) => {
            MountEntry::new(MountKind::Bind, Origin::User, path, &flag.target)
        }
    };
    entry.read_only = flag.read_only;
    entry.no_copy = flag.no_copy;
    entry.mode = flag.mode;
    match entry.kind {
        MountKind::Bind => {
            entry.create_source = true;
            entry.propagation = flag.propagation.unwrap_or_else(|| DEFAULT_PROPAGATION.to_owned());
        }
        _ => {
            entry.driver = volume_driver.to_owned();
            if entry.mode.is_empty() {
                DEFAULT_VOLUME_MODE.clone_into(&mut entry.mode);
            }
        }
    }
    Ok(entry)
}

/// Propagation of binds unless told otherwise.
const DEFAULT_PROPAGATION: &str = "rprivate";
/// The mode that Docker shows for a named volume without one.
const DEFAULT_VOLUME_MODE: &str = "z";

fn of_mount(mount: &Mount) -> Result<MountEntry, ParseError> {
    check_mount(mount)?;
    let kind = match mount.kind.as_str() {
        "bind" => MountKind::Bind,
        "tmpfs" => MountKind::Tmpfs,
        "image" => MountKind::Image,
        _ => MountKind::Volume,
    };
    let mut entry = MountEntry::new(kind, Origin::User, &mount.source, &mount.target);
    entry.read_only = mount.read_only;
    match kind {
        MountKind::Bind => bind_options(&mut entry, mount),
        MountKind::Volume => volume_options(&mut entry, mount),
        MountKind::Tmpfs => entry.tmpfs_options = tmpfs_options(mount)?,
        MountKind::Image => {
            DEFAULT_PROPAGATION.clone_into(&mut entry.propagation);
            entry.read_only = true;
            entry.subpath = mount
                .image_options
                .as_ref()
                .map(|options| options.subpath.clone())
                .unwrap_or_default();
        }
    }
    Ok(entry)
}

fn bind_options(entry: &mut MountEntry, mount: &Mount) {
    entry.source = clean_path(&mount.source);
    DEFAULT_PROPAGATION.clone_into(&mut entry.propagation);
    if let Some(options) = &mount.bind_options {
        if !options.propagation.is_empty() {
            entry.propagation.clone_from(&options.propagation);
        }
        entry.create_source = options.create_mountpoint;
        entry.non_recursive = options.non_recursive;
        entry.read_only_top_only = options.read_only_non_recursive;
    }
}

fn volume_options(entry: &mut MountEntry, mount: &Mount) {
    DEFAULT_VOLUME_MODE.clone_into(&mut entry.mode);
    if let Some(options) = &mount.volume_options {
        entry.no_copy = options.no_copy;
        entry.subpath.clone_from(&options.subpath);
        entry.labels.clone_from(&options.labels);
        if let Some(driver) = &options.driver_config {
            entry.driver.clone_from(&driver.name);
            entry.driver_options.clone_from(&driver.options);
        }
    }
}

fn tmpfs_options(mount: &Mount) -> Result<Vec<String>, ParseError> {
    let mut words = Vec::new();
    if mount.read_only {
        words.push("ro".to_owned());
    }
    if let Some(options) = &mount.tmpfs_options {
        if options.size_bytes > 0 {
            words.push(format!("size={}", options.size_bytes));
        }
        if options.mode > 0 {
            words.push(format!("mode={:o}", options.mode));
        }
        words.extend(options.options.iter().flatten().map(|option| option.join("=")));
    }
    merge_tmpfs_options(&words.join(","))
}

fn of_volume_path(target: &str, volume_driver: &str) -> Result<MountEntry, ParseError> {
    // Docker lets these two pass here and fails inside the runtime.
    let cleaned = clean_path(target);
    if cleaned == "/" {
        return Err(ParseError::new("invalid specification: destination can't be '/'"));
    }
    if !cleaned.starts_with('/') {
        return Err(ParseError::new(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    let mut entry = MountEntry::new(MountKind::Volume, Origin::Anonymous, "", &cleaned);
    volume_driver.clone_into(&mut entry.driver);
    Ok(entry)
}

#[cfg(test)]
#[path = "mount_plan_properties.rs"]
mod properties;
#[cfg(test)]
#[path = "mount_plan_tests.rs"]
mod tests;
