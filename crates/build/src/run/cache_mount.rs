//! Cache mounts: ordinary volumes with a label.
//!
//! The name is made of the mount's id, so that people recognise it in `volume ls`, and of a digest of
//! everything that tells caches apart: namespace, id, and where its first content comes from. A second
//! volume (`…-2`) is made when a step may not share the first.
//!
//! Who uses a cache holds a kernel lock on `build-cache/<volume>` in the run directory, shared or
//! alone; the container's row refers to the volume, so that nobody removes it meanwhile. When it was
//! last used is the time of the volume's directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use orlop_archive::digest;
use orlop_container::StepVolume;
use orlop_meta::{Store, VolumeRecord};
use orlop_sys::confined::{Owner, Root, chown_fd};
use orlop_sys::mount::mount_rootfs;
use orlop_sys::tree;
use orlop_types::ErrorKind;
use orlop_volume::{NewVolume, Volumes};
use rustix::fs::{FlockOperation, Mode};

use super::{InputFiles, InputMount, RunBuild};
use crate::progress::StepProgress;
use crate::step::{Input, RunMountKind, RunStep, Sharing};
use crate::{Cancel, Error, Result};

/// Label of the volumes; its value is the cache's id.
pub const LABEL: &str = "io.orlop.build.cache.id";
/// How often a locked cache is asked for.
const LOCK_LOOK: Duration = Duration::from_millis(50);
/// Caches of one id that are in use at the same time: more steps than anybody runs.
const COPIES_MAX: u32 = 1000;
/// Characters of the id in a volume's name.
const SHOWN_MAX: usize = 40;
/// Hexadecimal digits of the digest in a volume's name.
const DIGEST_DIGITS: usize = 12;

/// A cache that a step uses, until this is dropped.
#[derive(Debug)]
pub(super) struct HeldCache {
    mount: StepVolume,
    _lock: File,
}

impl HeldCache {
    pub(super) fn mount(&self) -> StepVolume {
        self.mount.clone()
    }
}

/// One cache mount.
struct Wanted<'a> {
    id: &'a str,
    sharing: Sharing,
    from: Option<&'a (Input, String)>,
    mode: u32,
    owner: Owner,
}

/// Takes the caches of a step, waiting for those that only one step may use. They are locked in the
/// order of their names, so that two steps never wait for each other.
pub(super) fn take_all(
    build: &RunBuild<'_>,
    step: &RunStep,
    files: &dyn InputFiles,
    progress: StepProgress<'_>,
    cancel: &Cancel,
) -> Result<Vec<HeldCache>> {
    let mut wanted = Vec::new();
    for (index, mount) in step.mounts.iter().enumerate() {
        let RunMountKind::Cache { id, sharing, from, mode, uid, gid, read_only } = &mount.kind
        else {
            continue;
        };
        let owner = Owner { uid: *uid, gid: *gid };
        let cache = Wanted { id, sharing: *sharing, from: from.as_ref(), mode: *mode, owner };
        let name = volume_name(&build.settings.cache_namespace, &cache);
        wanted.push((name, index, cache, *read_only));
    }
    wanted.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut held: Vec<(usize, HeldCache)> = Vec::new();
    for (name, index, cache, read_only) in &wanted {
        // Twice in one step: it shares with itself.
        let mine = held.iter().find(|(_, held)| held.mount.volume.name.as_str() == name);
        let (volume, lock) = match mine {
            Some((_, held)) => {
                let lock = held._lock.try_clone().map_err(failed("lock", Path::new(name)))?;
                (held.mount.volume.clone(), lock)
            }
            None => take(build, name, cache, files, progress, cancel)?,
        };
        let target = step.mounts.get(*index).map(|mount| mount.target.clone()).unwrap_or_default();
        let mount = StepVolume { volume, target, read_only: *read_only };
        held.push((*index, HeldCache { mount, _lock: lock }));
    }
    // As the Dockerfile has them.
    held.sort_by_key(|(index, _)| *index);
    Ok(held.into_iter().map(|(_, held)| held).collect())
}

/// The first volume of a cache that may be used in the way that is asked for.
fn take(
    build: &RunBuild<'_>,
    name: &str,
    cache: &Wanted<'_>,
    files: &dyn InputFiles,
    progress: StepProgress<'_>,
    cancel: &Cancel,
) -> Result<(VolumeRecord, File)> {
    for copy in 1..=COPIES_MAX {
        let name = if copy == 1 { name.to_owned() } else { format!("{name}-{copy}") };
        let file = open_lock(build.store, &name)?;
        let lock = match cache.sharing {
            Sharing::Shared => FlockOperation::NonBlockingLockShared,
            Sharing::Private | Sharing::Locked => FlockOperation::NonBlockingLockExclusive,
        };
        let held = match cache.sharing {
            Sharing::Locked => {
                wait_for_lock(&file, lock, cache.id, progress, cancel).map(|()| true)?
            }
            Sharing::Shared | Sharing::Private => try_lock(&file, lock, &name)?,
        };
        if held {
            return Ok((prepare(build, &name, cache, files)?, file));
        }
    }
    let message = format!("cache mount {:?} is in use {COPIES_MAX} times", cache.id);
    Err(Error::failed(ErrorKind::Unavailable, message))
}

fn open_lock(store: &Store, name: &str) -> Result<File> {
    let directory = store.paths.run_root.join("build-cache");
    std::fs::create_dir_all(&directory).map_err(failed("make the directory", &directory))?;
    let path = directory.join(name);
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))
}

fn try_lock(file: &File, how: FlockOperation, name: &str) -> Result<bool> {
    match rustix::fs::flock(file, how) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(failed("lock", Path::new(name))(error.into())),
    }
}

fn wait_for_lock(
    file: &File,
    how: FlockOperation,
    id: &str,
    progress: StepProgress<'_>,
    cancel: &Cancel,
) -> Result<()> {
    let text = format!("waiting for cache mount {id:?}");
    let mut waited = false;
    while !try_lock(file, how, id)? {
        cancel.check()?;
        if !waited {
            progress.status(&text, 0, 0, false);
            waited = true;
        }
        std::thread::sleep(LOCK_LOOK);
    }
    if waited {
        progress.status(&text, 0, 0, true);
    }
    Ok(())
}

/// Makes a cache's volume, or finds it, and fills a new one.
fn prepare(
    build: &RunBuild<'_>,
    name: &str,
    cache: &Wanted<'_>,
    files: &dyn InputFiles,
) -> Result<VolumeRecord> {
    let volumes = Volumes::new(build.store);
    let (volume, _) = volumes.create(NewVolume {
        name: Some(name.to_owned()),
        driver: "local".to_owned(),
        labels: Some(BTreeMap::from([(LABEL.to_owned(), cache.id.to_owned())])),
        options: None,
    })?;
    let data = volumes.open(&volume)?;
    // By its files, not by who made it: a builder may have been killed in between.
    if tree::is_empty_dir(data.as_fd()).map_err(failed("list", Path::new(name)))? {
        match cache.from {
            Some((input, source)) => fill(&volumes, &volume, &files.mount(input, source)?)?,
            None => {
                let changed = chown_fd(data.as_fd(), cache.owner).and_then(|()| {
                    Ok(rustix::fs::fchmod(&data, Mode::from_raw_mode(cache.mode & 0o7777))?)
                });
                changed.map_err(failed("change the owner of cache", Path::new(name)))?;
            }
        }
    }
    let home = build.store.paths.volume(&volume.name);
    let used = File::open(&home).and_then(|home| home.set_modified(SystemTime::now()));
    used.map_err(failed("note the use of", &home))?;
    Ok(volume)
}

/// Fills a new cache with the files of an input.
fn fill(volumes: &Volumes<'_>, volume: &VolumeRecord, files: &InputMount) -> Result<()> {
    let layer = |error: orlop_layer::Error| Error::from(error);
    let mounted = mount_rootfs(&files.recipe).map_err(|error| layer(error.into()))?;
    let root = Root::of_mount(mounted).map_err(|error| layer(error.into()))?;
    let below = files.subpath.as_deref().unwrap_or(Path::new(""));
    let below = below.strip_prefix("/").unwrap_or(below);
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    let directory = root.open_dir(below).map_err(|error| layer(error.into()))?;
    volumes.populate(volume, Path::new(""), directory.as_fd())?;
    Ok(())
}

/// The name of a cache's first volume.
fn volume_name(namespace: &str, cache: &Wanted<'_>) -> String {
    let from = cache.from.map(|(input, source)| format!("{input:?} {source}"));
    let whole = serde_json::json!([namespace, cache.id, from]).to_string();
    let digest = digest::of_bytes(whole.as_bytes());
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
    let shown: String = cache.id.chars().map(plain).collect();
    let shown: String = shown.trim_matches(['-', '.', '_']).chars().take(SHOWN_MAX).collect();
    let digits = digest.hex().get(..DIGEST_DIGITS).unwrap_or_default();
    if shown.is_empty() { format!("cache-{digits}") } else { format!("cache-{shown}-{digits}") }
}

fn failed<'p>(operation: &'static str, path: &'p Path) -> impl Fn(std::io::Error) -> Error + 'p {
    move |error| {
        let message = format!("cannot {operation} `{}`: {error}", path.display());
        Error::failed(ErrorKind::of_io(&error), message)
    }
}

/// Whether a volume is a build's cache; its id.
#[must_use]
pub fn id_of(volume: &VolumeRecord) -> Option<&str> {
    volume.labels.as_ref()?.get(LABEL).map(String::as_str)
}

/// When a cache was last used, as far as the disk tells.
#[must_use]
pub fn last_used(store: &Store, volume: &VolumeRecord) -> Option<SystemTime> {
    let home: PathBuf = store.paths.volume(&volume.name);
    home.metadata().and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_caches_apart_and_people_what_they_are() {
        let name = |namespace: &str, id: &str, from: Option<&(Input, String)>| {
            let (sharing, owner) = (Sharing::Shared, Owner { uid: 0, gid: 0 });
            volume_name(namespace, &Wanted { id, sharing, from, mode: 0o755, owner })
        };
        let plain = name("", "/root/.cache/go-build", None);
        assert!(plain.starts_with("cache-root-.cache-go-build-"), "{plain}");
        assert!(plain.parse::<orlop_types::VolumeName>().is_ok());
        assert_eq!(plain, name("", "/root/.cache/go-build", None));
        assert_ne!(plain, name("mine", "/root/.cache/go-build", None));
        assert_ne!(plain, name("", "root/.cache/go-build", None));
        let from = (Input::Stage(1), "/".to_owned());
        assert_ne!(plain, name("", "/root/.cache/go-build", Some(&from)));
        assert!(name("", "日本", None).starts_with("cache-"));
        assert!(name("", &"x".repeat(300), None).len() < 64);
    }
}
