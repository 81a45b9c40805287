//! The driver `local`: a directory below the store, or a file system that its options describe.
//!
//! `volume.json` beside `_data` repeats the row. The database is the truth; the file is only read
//! when a directory has no row (a creation was cut off, the directory was restored from a backup).
//! Reader rule: a file that cannot be read, or of a later version, counts as absent.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use orlop_meta::{Query, StagedDirectory, Store, Sync, TrashKind, TrashRecord, VolumeRecord};
use orlop_sys::mount_filesystem::SharedFilesystem;
use orlop_types::VolumeName;
use rustix::fs::{AtFlags, StatxFlags};

use crate::error::file;
use crate::{Error, Result, Scope, VolumeDriver, VolumeSource, lock, options};

/// Name of the driver that is used unless another one is asked for.
pub const LOCAL: &str = "local";
/// The directory that containers see.
const DATA: &str = "_data";
const SIDECAR: &str = "volume.json";
const SIDECAR_VERSION: u32 = 1;
/// Others may pass to the data, not look around.
const HOME_MODE: u32 = 0o701;
const DATA_MODE: u32 = 0o755;

/// Volumes that are directories of this machine.
#[derive(Clone, Copy, Debug)]
pub struct LocalDriver<'a> {
    store: &'a Store,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Sidecar {
    version: u32,
    #[serde(flatten)]
    record: VolumeRecord,
}

impl<'a> LocalDriver<'a> {
    /// The driver of one store.
    #[must_use]
    pub fn new(store: &'a Store) -> Self {
        Self { store }
    }

    pub(crate) fn home(&self, name: &VolumeName) -> PathBuf {
        self.store.paths.volume(name)
    }

    pub(crate) fn data(&self, name: &VolumeName) -> PathBuf {
        self.home(name).join(DATA)
    }

    /// What the directory says about itself.
    pub(crate) fn sidecar(&self, name: &VolumeName) -> Option<VolumeRecord> {
        let path = self.home(name).join(SIDECAR);
        let read = std::fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        match read {
            Ok(Sidecar { version: SIDECAR_VERSION, record }) if record.driver == LOCAL => {
                Some(VolumeRecord { name: name.clone(), ..record })
            }
            Ok(Sidecar { version, .. }) => {
                tracing::warn!(volume = %name, version, "unknown description of a volume");
                None
            }
            Err(error) => {
                tracing::debug!(volume = %name, %error, "no description of a volume");
                None
            }
        }
    }

    /// A volume whose directory was there first, by hand or from a creation that was cut off.
    fn adopt(&self, volume: &VolumeRecord) -> Result<()> {
        let home = self.home(&volume.name);
        if !home.is_dir() {
            return Err(Error::InTheWay { name: volume.name.clone(), path: home });
        }
        let data = home.join(DATA);
        if !data.is_dir() {
            make_directory(&data, DATA_MODE)?;
        }
        write_sidecar(&home, volume)
    }
}

impl VolumeDriver for LocalDriver<'_> {
    fn name(&self) -> &str {
        LOCAL
    }

    fn scope(&self) -> Scope {
        Scope::Local
    }

    fn check_options(&self, name: &str, given: &BTreeMap<String, String>) -> Result<()> {
        options::check(name, given)
    }

    fn exists(&self, name: &VolumeName) -> Result<bool> {
        Ok(self.data(name).is_dir())
    }

    /// Order: build in `staging/`, sync, rename, sync `volumes/`; the caller commits the row.
    fn create(&self, volume: &VolumeRecord) -> Result<Option<StagedDirectory>> {
        let home = self.home(&volume.name);
        if home.symlink_metadata().is_ok() {
            self.adopt(volume)?;
            return Ok(None);
        }
        let mut staged = self.store.stage()?;
        orlop_sys::fault::point("volume.create.staged");
        make_directory(&staged.path().join(DATA), DATA_MODE)?;
        write_sidecar(staged.path(), volume)?;
        set_mode(staged.path(), HOME_MODE)?;
        orlop_sys::fault::point("volume.create.built");
        staged.publish("", &home, Sync::Directory)?;
        Ok(Some(staged))
    }

    fn mark_removed(
        &self,
        query: &Query<'_>,
        volume: &VolumeRecord,
        now: &str,
    ) -> Result<Option<TrashRecord>> {
        let home = self.home(&volume.name);
        if home.symlink_metadata().is_err() {
            return Ok(None);
        }
        for path in [home.clone(), home.join(DATA)] {
            if is_mount_point(&path)? {
                return Err(Error::ActiveMounts { name: volume.name.clone(), path });
            }
        }
        let record = serde_json::to_string(volume).unwrap_or_else(|_| "null".to_owned());
        let name = volume.name.as_str();
        let trash = self.store.trash_record(TrashKind::Volume, name, &home, record, now);
        query.trash_insert(&trash)?;
        Ok(Some(trash))
    }

    fn finish_removal(&self, trash: &TrashRecord) -> Result<()> {
        self.store.carry_out(trash)?;
        // Nobody has it mounted, since nobody refers to it.
        if let Ok(name) = trash.name.parse::<VolumeName>() {
            let users = self.store.paths.volume_run(&name);
            match std::fs::remove_dir_all(&users) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::debug!(volume = %name, %error, "the run state of a volume stays");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn mountpoint(&self, volume: &VolumeRecord) -> PathBuf {
        self.data(&volume.name)
    }

    fn is_directory(&self, volume: &VolumeRecord) -> bool {
        options::filesystem(volume.options.as_ref()).is_none()
    }

    fn mount(&self, volume: &VolumeRecord) -> Result<VolumeSource> {
        let mountpoint = self.data(&volume.name);
        let Some(recipe) = options::filesystem(volume.options.as_ref()) else {
            return Ok(VolumeSource::Directory(mountpoint));
        };
        let recipe = options::resolve(recipe, &options::lookup).map_err(|(host, source)| {
            Error::Resolve { mountpoint: mountpoint.clone(), host, source }
        })?;
        let users = self.store.paths.volume_run(&volume.name);
        Ok(VolumeSource::Filesystem(SharedFilesystem { recipe, mountpoint, users }))
    }

    /// Nothing to do: what is mounted lives and dies with the monitor's mount namespace.
    fn unmount(&self, _volume: &VolumeRecord) -> Result<()> {
        Ok(())
    }
}

/// Identifies the mount that an open directory was reached through.
pub(crate) fn mount_id(directory: impl AsFd) -> rustix::io::Result<u64> {
    rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map(|stat| stat.stx_mnt_id)
}

/// Whether something is mounted on a path, seen from this process; `..` leads out of the mount.
fn is_mount_point(path: &Path) -> Result<bool> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let id = |path: &Path| {
        rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::MNT_ID)
            .map(|stat| stat.stx_mnt_id)
    };
    match id(path) {
        Ok(own) => {
            let parent = path.parent().unwrap_or(path);
            Ok(own != id(parent).map_err(file("look at", parent))?)
        }
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(file("look at", path)(error)),
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    std::fs::DirBuilder::new().mode(mode).create(path).map_err(file("make the directory", path))?;
    // The process's umask took bits away.
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    rustix::fs::fchmod(lock::open_directory(path)?, rustix::fs::Mode::from_raw_mode(mode))
        .map_err(file("set the mode of", path))
}

/// Not synced: after a power cut that took it, the row or the bare directory still counts.
fn write_sidecar(home: &Path, volume: &VolumeRecord) -> Result<()> {
    let sidecar = Sidecar { version: SIDECAR_VERSION, record: volume.clone() };
    let path = home.join(SIDECAR);
    let failed = file("write", &path);
    let mut text =
        serde_json::to_vec_pretty(&sidecar).map_err(std::io::Error::from).map_err(&failed)?;
    text.push(b'\n');
    let new = home.join("volume.json.new");
    // Options may hold passwords.
    let open =
        std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&new);
    open.and_then(|mut target| target.write_all(&text)).map_err(&failed)?;
    std::fs::rename(&new, &path).map_err(&failed)
}
