//! The mount grammar: `-v`, `--mount`, `--tmpfs`, `--volumes-from`.
//!
//! Two sides, as in Docker: what the command line accepts and sends ([`ClientVolume`],
//! [`parse_mount_flag`]) and what the engine makes of the strings it gets ([`VolumeFlag`],
//! [`check_mount`]). Nothing here looks at a file system: whether a bind's source exists is asked
//! by whoever mounts it. Texts are Docker's.

use crate::config::Mount;
use crate::error::ParseError;
pub use crate::mount_flag::parse_mount_flag;

/// What `-v` puts at the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// A fresh volume with a random name.
    Anonymous,
    /// A named volume; the volume driver decides whether the name is good.
    Volume(String),
    /// An absolute, cleaned path of the host.
    Bind(String),
}

/// One `HostConfig.Binds` string, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeFlag {
    /// The string as given.
    pub raw: String,
    /// What is mounted.
    pub source: VolumeSource,
    /// Cleaned, absolute path inside the container; never `/`.
    pub target: String,
    /// The third part as given, for instance `ro,z`.
    pub mode: String,
    /// Whether the container may not write.
    pub read_only: bool,
    /// Propagation word, if one was given (binds only).
    pub propagation: Option<String>,
    /// Whether a fresh volume stays empty (`nocopy`).
    pub no_copy: bool,
}

/// The groups of mode words; at most one word of each may be given.
const MODE_GROUPS: [&[&str]; 5] =
    [&["ro", "rw"], &["z", "Z"], PROPAGATIONS, &["nocopy"], &["consistent", "cached", "delegated"]];

/// The propagation words of a bind.
pub const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// Whether `mode` is a comma list of known words with at most one of each group.
fn is_mode(mode: &str) -> bool {
    let mut seen = [false; MODE_GROUPS.len()];
    mode.is_empty()
        || mode.split(',').all(|word| {
            MODE_GROUPS
                .iter()
                .position(|group| group.contains(&word))
                .is_some_and(|group| !std::mem::replace(&mut seen[group], true))
        })
}

impl VolumeFlag {
    /// Parses a `-v` string as the engine gets it.
    ///
    /// # Errors
    /// `invalid volume specification: 'RAW'`, alone or with the reason, or `invalid mode: x`.
    pub fn parse(raw: &str) -> Result<Self, ParseError> {
        let invalid = || ParseError::new(format!("invalid volume specification: '{raw}'"));
        let parts: Vec<&str> = raw.split(':').collect();
        let (source, target, mode) = match parts.as_slice() {
            ["", ..] => return Err(invalid()),
            [target] => ("", *target, ""),
            // `/foo:ro` is a slip, not a volume mounted on a relative path.
            [_, mode] if is_mode(mode) && !mode.is_empty() => return Err(invalid()),
            [source, target] => (*source, *target, ""),
            [source, target, mode] => (*source, *target, *mode),
            _ => return Err(invalid()),
        };
        if !is_mode(mode) {
            return Err(ParseError::new(format!("invalid mode: {mode}")));
        }
        let words: Vec<&str> = mode.split(',').collect();
        let flag = Self {
            raw: raw.to_owned(),
            source: match source {
                "" => VolumeSource::Anonymous,
                path if path.starts_with('/') => VolumeSource::Bind(clean_path(path)),
                name => VolumeSource::Volume(name.to_owned()),
            },
            target: clean_path(target),
            mode: mode.to_owned(),
            read_only: words.contains(&"ro"),
            propagation: words
                .iter()
                .find(|word| PROPAGATIONS.contains(word))
                .map(|&word| word.to_owned()),
            no_copy: words.contains(&"nocopy"),
        };
        flag.check(target).map_err(|error| {
            ParseError::new(format!("invalid volume specification: '{raw}': {error}"))
        })?;
        Ok(flag)
    }

    fn check(&self, target: &str) -> Result<(), ParseError> {
        let (kind, foreign) = match self.source {
            VolumeSource::Bind(_) => ("bind", self.no_copy.then_some("VolumeOptions")),
            _ => ("volume", self.propagation.is_some().then_some("BindOptions")),
        };
        let wrong = |why: String| invalid_mount(kind, &why);
        if let Some(field) = foreign {
            return Err(wrong(extra_field(field)));
        }
        check_target(target).map_err(|error| wrong(error.to_string()))
    }
}

fn invalid_mount(kind: &str, why: &str) -> ParseError {
    ParseError::new(format!("invalid mount config for type \"{kind}\": {why}"))
}

fn extra_field(field: &str) -> String {
    format!("field {field} must not be specified")
}

/// A path that must be absolute and not the root, as given by the user.
fn check_target(target: &str) -> Result<(), ParseError> {
    if target.is_empty() {
        return Err(ParseError::new("field Target must not be empty"));
    }
    if clean_path(&target.replace('\\', "/")) == "/" {
        return Err(ParseError::new("invalid specification: destination can't be '/'"));
    }
    check_absolute(target)
}

fn check_absolute(path: &str) -> Result<(), ParseError> {
    if path.starts_with('/') {
        Ok(())
    } else {
        Err(ParseError::new(format!("invalid mount path: '{path}' mount path must be absolute")))
    }
}

/// Checks everything about a structured mount (`HostConfig.Mounts`) that needs no file system.
///
/// # Errors
/// `invalid mount config for type "T": …` with Docker's reason.
pub fn check_mount(mount: &Mount) -> Result<(), ParseError> {
    mount_fault(mount).map_or(Ok(()), |why| Err(invalid_mount(&mount.kind, &why)))
}

/// Why a structured mount cannot be used, if so.
fn mount_fault(mount: &Mount) -> Option<String> {
    let foreign = [
        ("BindOptions", "bind", mount.bind_options.is_some()),
        ("VolumeOptions", "volume", mount.volume_options.is_some()),
        ("ImageOptions", "image", mount.image_options.is_some()),
        ("TmpfsOptions", "tmpfs", mount.tmpfs_options.is_some()),
    ];
    if !["bind", "volume", "tmpfs", "image"].contains(&mount.kind.as_str()) {
        return Some("mount type unknown".to_owned());
    }
    if let Some((field, ..)) = foreign.iter().find(|(_, kind, given)| *given && *kind != mount.kind)
    {
        return Some(extra_field(field));
    }
    if let Err(error) = check_target(&mount.target) {
        return Some(error.to_string());
    }
    match mount.kind.as_str() {
        "bind" => bind_fault(mount),
        "volume" => volume_fault(mount),
        "tmpfs" => tmpfs_fault(mount),
        _ => image_fault(mount),
    }
}

fn bind_fault(mount: &Mount) -> Option<String> {
    if mount.source.is_empty() {
        return Some("field Source must not be empty".to_owned());
    }
    if let Some(options) = &mount.bind_options
        && !options.propagation.is_empty()
        && !PROPAGATIONS.contains(&options.propagation.as_str())
    {
        return Some(format!("invalid propagation mode: {}", options.propagation));
    }
    check_absolute(&mount.source).err().map(|error| error.to_string())
}

fn volume_fault(mount: &Mount) -> Option<String> {
    let subpath = mount.volume_options.as_ref().map_or("", |options| options.subpath.as_str());
    if !subpath.is_empty() && mount.source.is_empty() {
        return Some("must not set Subpath when using anonymous volumes".to_owned());
    }
    if !subpath.is_empty() && !is_local_path(subpath) {
        return Some("subpath must be a relative path within the volume".to_owned());
    }
    (mount.read_only && mount.source.is_empty())
        .then(|| "must not set ReadOnly mode when using anonymous volumes".to_owned())
}

fn tmpfs_fault(mount: &Mount) -> Option<String> {
    if !mount.source.is_empty() {
        return Some(extra_field("Source"));
    }
    let options = mount.tmpfs_options.as_ref().and_then(|options| options.options.as_ref())?;
    options
        .iter()
        .find(|option| !matches!(option.as_slice(), [word] if word == "exec" || word == "noexec"))
        .map(|option| format!("invalid option: {}", option.join("=")))
}

fn image_fault(mount: &Mount) -> Option<String> {
    if mount.source.is_empty() {
        return Some("field Source must not be empty".to_owned());
    }
    let subpath = mount.image_options.as_ref().map_or("", |options| options.subpath.as_str());
    (!subpath.is_empty() && !is_local_path(subpath))
        .then(|| "subpath must be a relative path within the volume".to_owned())
}

/// Whether a path stays below the directory it is relative to, judged by its text alone.
#[must_use]
pub fn is_local_path(path: &str) -> bool {
    let mut depth = 0_usize;
    !path.is_empty()
        && !path.starts_with('/')
        && path.split('/').all(|part| match part {
            "" | "." => true,
            ".." => depth.checked_sub(1).is_some_and(|less| {
                depth = less;
                true
            }),
            _ => {
                depth += 1;
                true
            }
        })
}

/// The shortest path with the same meaning by text: no `.`, no `//`, `..` resolved; empty is `.`.
#[must_use]
pub fn clean_path(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if matches!(parts.last(), Some(&last) if last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            _ => parts.push(part),
        }
    }
    match (absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Makes a source that starts with `.` absolute; every other source stays as it is.
pub(crate) fn absolute_source(source: &str, cwd: &str) -> String {
    if source.starts_with('.') { clean_path(&format!("{cwd}/{source}")) } else { source.to_owned() }
}

/// Where the command line puts one `-v` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientVolume {
    /// `Config.Volumes`: a target alone.
    Anonymous(String),
    /// `HostConfig.Binds`: the string with an absolute source.
    Bind(String),
}

impl ClientVolume {
    /// Parses a `-v` value as the command line does; `cwd` is the caller's directory.
    ///
    /// A name of one letter is refused here. Docker's command line takes it for a Windows drive and
    /// mounts an anonymous volume on the path `a:/x`, so the data would be lost.
    ///
    /// # Errors
    /// `invalid empty volume spec`, or `invalid spec: RAW: …`.
    pub fn parse(raw: &str, cwd: &str) -> Result<Self, ParseError> {
        let invalid = |why: &str| Err(ParseError::new(format!("invalid spec: {raw}: {why}")));
        if raw.is_empty() {
            return Err(ParseError::new("invalid empty volume spec"));
        }
        let parts: Vec<&str> = raw.split(':').collect();
        if parts.len() > 3 {
            return invalid("too many colons");
        }
        if parts.iter().any(|part| part.is_empty()) {
            return invalid("empty section between colons");
        }
        match parts.as_slice() {
            [target] => Ok(Self::Anonymous((*target).to_owned())),
            [source, rest @ ..] => {
                if source.chars().count() == 1 && !matches!(*source, "/" | ".") {
                    return invalid(
                        "volume name is too short, names should be at least two alphanumeric characters",
                    );
                }
                Ok(Self::Bind(format!("{}:{}", absolute_source(source, cwd), rest.join(":"))))
            }
            [] => Err(ParseError::new("invalid empty volume spec")),
        }
    }
}

/// Splits `--tmpfs /path[:options]`.
#[must_use]
pub fn split_tmpfs_flag(raw: &str) -> (String, String) {
    let (target, options) = raw.split_once(':').unwrap_or((raw, ""));
    (target.to_owned(), options.to_owned())
}

/// Checks the target of a `--tmpfs`.
///
/// # Errors
/// The same texts as for other targets.
pub fn check_tmpfs_target(target: &str) -> Result<(), ParseError> {
    if clean_path(target) == "/" {
        return Err(ParseError::new("invalid specification: destination can't be '/'"));
    }
    check_absolute(target)
}

/// What every tmpfs of a container starts from.
const TMPFS_BASE: &[&str] = &["noexec", "nosuid", "nodev", "rprivate"];
/// Words that exclude each other: the last one given wins.
const TMPFS_GROUPS: &[&[&str]] = &[
    &["exec", "noexec"],
    &["suid", "nosuid"],
    &["dev", "nodev"],
    &["ro", "rw"],
    &["async", "sync"],
    &["dirsync"],
    &["atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime"],
    &["diratime", "nodiratime"],
    PROPAGATIONS,
    &["bind", "rbind"],
    &["defaults"],
    &["remount"],
    &["mand", "nomand"],
];
/// Words with a value.
const TMPFS_KEYS: &[&str] = &["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

/// Merges the options of `--tmpfs` into the engine's base options.
///
/// # Errors
/// `invalid tmpfs option "foo"`.
pub fn merge_tmpfs_options(options: &str) -> Result<Vec<String>, ParseError> {
    let mut merged: Vec<String> = TMPFS_BASE.iter().map(|&word| word.to_owned()).collect();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let key = option.split_once('=').map_or(option, |(key, _)| key);
        let group = TMPFS_GROUPS.iter().find(|group| group.contains(&option));
        match group {
            Some(group) => merged.retain(|word| !group.contains(&word.as_str())),
            None if option.contains('=') && TMPFS_KEYS.contains(&key) => {
                merged.retain(|word| word.split_once('=').is_none_or(|(other, _)| other != key));
            }
            None => return Err(ParseError::new(format!("invalid tmpfs option \"{option}\""))),
        }
        merged.push(option.to_owned());
    }
    Ok(merged)
}

/// One `--volumes-from` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumesFrom {
    /// Name or id of the other container.
    pub container: String,
    /// Whether everything taken over is read-only here.
    pub read_only: bool,
}

impl VolumesFrom {
    /// Parses `CONTAINER[:mode]`.
    ///
    /// # Errors
    /// `volumes-from specification cannot be an empty string` or `invalid mode: x`.
    pub fn parse(raw: &str) -> Result<Self, ParseError> {
        if raw.is_empty() {
            return Err(ParseError::new("volumes-from specification cannot be an empty string"));
        }
        let (container, mode) = raw.split_once(':').unwrap_or((raw, "rw"));
        let refused = |word: &str| word == "nocopy" || PROPAGATIONS.contains(&word);
        if !is_mode(mode) || mode.split(',').any(refused) {
            return Err(ParseError::new(format!("invalid mode: {mode}")));
        }
        let read_only = mode.split(',').any(|word| word == "ro");
        Ok(Self { container: container.to_owned(), read_only })
    }
}

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
