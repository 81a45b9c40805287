//! The directories of a store, and the moves between them.
//!
//! ```text
//! orlop.db                     the database
//! content/sha256/<digest>      manifests, configurations, blobs still needed
//! layers/<driver>/<key>/…      what the storage driver keeps
//! containers/<id>/             logs, hosts, hostname, resolv.conf
//! volumes/<name>/_data         data of volumes
//! staging/  trash/             on the same file system as the rest
//! ```

use std::io;
use std::path::{Path, PathBuf};

use orlop_types::{ContainerId, Digest, VolumeName};
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};

use crate::error::Error;
use crate::staging::StagedDirectory;
use crate::trash::TrashRecord;
use crate::{Database, Durability, Query, Result, TrashKind};

/// Mode of the root: others may pass to a path they were given, not look around.
const ROOT_MODE: u32 = 0o711;
/// Mode of directories that only the engine reads.
const PRIVATE_MODE: u32 = 0o700;
/// How often the database is opened on a full disk: as often as there are parts of what is kept.
const OPEN_ATTEMPTS: u32 = 4;

/// Where everything of one store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePaths {
    /// The store's root, absolute and without links.
    pub root: PathBuf,
    /// Run state: gone after a reboot.
    pub run_root: PathBuf,
}

impl StorePaths {
    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("orlop.db")
    }
    /// What one storage driver keeps.
    #[must_use]
    pub fn layers(&self, driver: &str) -> PathBuf {
        self.root.join("layers").join(driver)
    }
    /// A blob.
    #[must_use]
    pub fn content(&self, digest: &Digest) -> PathBuf {
        self.root.join("content/sha256").join(digest.hex())
    }
    /// All containers' directories.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }
    /// A container's own directory.
    #[must_use]
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }
    /// A container's run state.
    #[must_use]
    pub fn container_run(&self, id: &ContainerId) -> PathBuf {
        self.run_root.join("containers").join(id.as_str())
    }
    /// All volumes.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }
    /// A volume's directory; its data is in `_data` below it.
    #[must_use]
    pub fn volume(&self, name: &VolumeName) -> PathBuf {
        self.volumes().join(name.as_str())
    }
    /// Who has a volume mounted whose data is a file system of its own.
    #[must_use]
    pub fn volume_run(&self, name: &VolumeName) -> PathBuf {
        self.run_root.join("volumes").join(name.as_str())
    }
    /// Where things are built.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }
    /// Where deleted things wait.
    #[must_use]
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }
}

/// One store, opened.
#[derive(Debug)]
pub struct Store {
    /// Its directories.
    pub paths: StorePaths,
    database: Database,
}

/// What a sweep found and put right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Half-built directories that nobody works on any more.
    pub abandoned: usize,
    /// Deletions that were decided and not carried out.
    pub finished: usize,
}

/// Opens the database; on a full disk with what is kept for that, of which a container that fills the
/// disk may take a part.
fn open_database(paths: &StorePaths) -> Result<Database> {
    for _ in 0..OPEN_ATTEMPTS {
        match Database::open(&paths.database()) {
            Err(error) if error.is_full_disk() => crate::reserve::give_up_part(&paths.root),
            other => return other,
        }
    }
    Database::open(&paths.database())
}

impl Store {
    /// Opens the store, making what is missing.
    pub fn open(root: &Path, run_root: &Path) -> Result<Self> {
        make_directory(root, ROOT_MODE)?;
        let root = root.canonicalize().map_err(file("resolve", root))?;
        let run_root = std::path::absolute(run_root).map_err(file("resolve", run_root))?;
        let paths = StorePaths { root, run_root };
        let private =
            [paths.root.join("layers"), paths.containers(), paths.staging(), paths.trash()];
        if !paths.database().exists() {
            for directory in private {
                make_directory(&directory, PRIVATE_MODE)?;
            }
            make_directory(&paths.volumes(), ROOT_MODE)?;
        }
        make_directory(&paths.run_root.join("containers"), PRIVATE_MODE)?;
        let database = open_database(&paths)?;
        Ok(Self { paths, database })
    }

    /// Reads the database; see [`Database::read`].
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Query<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.database.read(work)
    }

    /// Changes the database in one transaction; see [`Database::write`].
    pub fn write<T, E: From<Error>>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Query<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.database.write(durability, work)
    }

    /// The database itself, for checks and for folding its log.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Begins to build something; see [`StagedDirectory`].
    pub fn stage(&self) -> Result<StagedDirectory> {
        StagedDirectory::create(&self.paths.staging())
    }

    /// Makes the trash row for a directory; insert it in the transaction that deletes the object.
    pub fn trash_record(
        &self,
        kind: TrashKind,
        name: &str,
        path: &Path,
        record: String,
        now: &str,
    ) -> TrashRecord {
        let relative = path.strip_prefix(&self.paths.root).unwrap_or(path).to_owned();
        TrashRecord {
            id: random_name(),
            kind,
            name: name.to_owned(),
            path: relative,
            record,
            created_at: now.to_owned(),
        }
    }

    /// Carries a committed deletion out: renames the directory into the trash. A directory that is
    /// not there counts as done, so repeating it after a crash is safe.
    pub fn carry_out(&self, record: &TrashRecord) -> Result<()> {
        let from = self.paths.root.join(&record.path);
        let to = self.paths.trash().join(&record.id);
        match rustix::fs::renameat_with(
            rustix::fs::CWD,
            &from,
            rustix::fs::CWD,
            &to,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(file("move to the trash", &from)(error.into())),
        }
    }

    /// Whether a deletion was decided and its rename never happened: then what stands at the path is
    /// what was deleted, and not something new of the same name.
    ///
    /// Only true of a row that is still there *after* this look, since [`Store::forget_trash`] takes
    /// the row away before the directory in the trash goes.
    #[must_use]
    pub fn is_cut_off(&self, record: &TrashRecord) -> bool {
        self.paths.root.join(&record.path).symlink_metadata().is_ok()
            && self.paths.trash().join(&record.id).symlink_metadata().is_err()
    }

    /// Carries out the deletions that a process decided and then died; gives their number.
    ///
    /// It happens inside a write to the database, so that no row goes meanwhile and each look at the
    /// directories is true (see [`Store::is_cut_off`]).
    pub fn finish_deletions(&self, which: impl Fn(&TrashRecord) -> bool) -> Result<usize> {
        let cut_off = |record: &TrashRecord| which(record) && self.is_cut_off(record);
        if !self.read::<_, Error>(|query| Ok(query.trash()?.iter().any(cut_off)))? {
            return Ok(0);
        }
        self.write(Durability::Lazy, |query| {
            let mut finished = 0;
            for record in query.trash()?.iter().filter(|record| cut_off(record)) {
                if owned_again(query, record)? {
                    // Cannot be by the protocol; if it is all the same, the living come first.
                    query.trash_delete(&record.id)?;
                    continue;
                }
                self.carry_out(record)?;
                finished += 1;
            }
            Ok(finished)
        })
    }

    /// Forgets the deletions that have been carried out. Whoever empties the trash lists it first,
    /// calls this, and only then deletes what it has listed: a row that outlived its directory in the
    /// trash would tell the next sweep to delete what has the same path by now.
    ///
    /// A volume's name comes back, so its rename is on the disk before its row is forgotten for good.
    pub fn forget_trash(&self) -> Result<()> {
        let done = |row: &TrashRecord| {
            self.paths.trash().join(&row.id).symlink_metadata().is_ok()
                || self.paths.root.join(&row.path).symlink_metadata().is_err()
        };
        // Those whose rename happens later are not on the disk after the sync.
        let mut rows = self.read(|query| query.trash())?;
        rows.retain(done);
        if rows.is_empty() {
            return Ok(());
        }
        let durability = if rows.iter().any(|row| row.kind == TrashKind::Volume) {
            for directory in [self.paths.volumes(), self.paths.trash()] {
                std::fs::File::open(&directory)
                    .and_then(|opened| opened.sync_all())
                    .map_err(file("sync", &directory))?;
            }
            Durability::Durable
        } else {
            Durability::Lazy
        };
        self.write(durability, |query| {
            rows.iter().try_for_each(|row| query.trash_delete(&row.id).map(drop))
        })
    }

    /// Finishes what crashed processes left: abandoned staging directories go to the trash and
    /// decided deletions are carried out. Does nothing while somebody is creating or deleting
    /// something, since a directory without a row may then be on its way to one.
    pub fn sweep(&self) -> Result<Option<Swept>> {
        let Some(_guard) = self.exclusive()? else { return Ok(None) };
        let mut swept = Swept { finished: self.finish_deletions(|_| true)?, abandoned: 0 };
        let staging = self.paths.staging();
        for entry in std::fs::read_dir(&staging).map_err(file("list", &staging))? {
            let entry = entry.map_err(file("list", &staging))?;
            let to = self.paths.trash().join(random_name());
            std::fs::rename(entry.path(), &to).map_err(file("move to the trash", &entry.path()))?;
            swept.abandoned += 1;
        }
        Ok(Some(swept))
    }

    /// Keeps sweeps and checks out for as long as the returned file is open: for deletions, between
    /// whose commit and rename a directory has no owner. Creations do the same by staging.
    pub fn changing(&self) -> Result<std::os::fd::OwnedFd> {
        let staging = self.paths.staging();
        let directory =
            rustix::fs::open(&staging, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| file("open", &staging)(error.into()))?;
        rustix::fs::flock(&directory, FlockOperation::LockShared)
            .map_err(|error| file("lock", &staging)(error.into()))?;
        Ok(directory)
    }

    /// Keeps changes out for as long as the returned file is open; `None` if one is under way.
    pub fn exclusive(&self) -> Result<Option<std::os::fd::OwnedFd>> {
        let staging = self.paths.staging();
        let directory =
            rustix::fs::open(&staging, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| file("open", &staging)(error.into()))?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(directory)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(file("lock", &staging)(error.into())),
        }
    }
}

/// Whether an object of the deleted one's name has a row, so that it owns what stands at the path.
fn owned_again(query: &Query<'_>, record: &TrashRecord) -> Result<bool> {
    Ok(match record.kind {
        TrashKind::Volume => match record.name.parse::<VolumeName>() {
            Ok(name) => query.volume(&name)?.is_some(),
            Err(_) => false,
        },
        TrashKind::Container => match record.name.parse::<ContainerId>() {
            Ok(id) => query.container(&id)?.is_some(),
            Err(_) => false,
        },
        TrashKind::Content => match record.name.parse::<Digest>() {
            Ok(digest) => query.content(&digest)?.is_some(),
            Err(_) => false,
        },
        TrashKind::Layer => false,
    })
}

/// Makes a directory with all above it; the mode is given to the last one only if it is new.
fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(file("make the directory", parent))?;
            }
            match std::fs::DirBuilder::new().mode(mode).create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    Err(file("make the directory", path)(error))
                }
                _ => Ok(()),
            }
        }
        Err(error) => Err(file("make the directory", path)(error)),
    }
}

/// A name that no one else uses: 16 random bytes in hexadecimal.
pub(crate) fn random_name() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub(crate) fn file<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::File { operation, path: path.to_owned(), source }
}
