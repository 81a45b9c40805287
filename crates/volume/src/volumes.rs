//! Volumes come and go.

use std::collections::BTreeMap;

use orlop_meta::{Durability, NewEvent, Query, Store, TrashKind, TrashRecord, VolumeRecord};
use orlop_types::VolumeName;

use crate::local::LOCAL;
use crate::{Error, LocalDriver, Result, VolumeDriver, VolumeSource, lock};

/// Label of volumes that nobody gave a name; its value is empty.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// What a new volume shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name; none or an empty one makes an anonymous volume.
    pub name: Option<String>,
    /// Its driver; empty takes the one that has the volume, else `local`.
    pub driver: String,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Driver options.
    pub options: Option<BTreeMap<String, String>>,
}

/// The volumes of one store.
#[derive(Clone, Copy, Debug)]
pub struct Volumes<'a> {
    pub(crate) store: &'a Store,
    pub(crate) local: LocalDriver<'a>,
}

impl<'a> Volumes<'a> {
    /// The volumes of a store.
    #[must_use]
    pub fn new(store: &'a Store) -> Self {
        Self { store, local: LocalDriver::new(store) }
    }

    /// Makes a volume, or gives the one that there is: then labels and options are ignored.
    /// Returns also whether it is new.
    ///
    /// Order: the driver makes the data and syncs it, then row and event are committed. A cut in
    /// between leaves a directory without a row, which the next look adopts as what it was to be.
    pub fn create(&self, new: NewVolume) -> Result<(VolumeRecord, bool)> {
        let wanted = new.driver.clone();
        let driver = self.driver(new.name.as_deref().unwrap_or_default(), &wanted)?;
        let volume = parse(new, driver)?;
        if let Some(existing) = self.existing(&volume.name, &wanted)? {
            return Ok((existing, false));
        }
        let none = BTreeMap::new();
        driver.check_options(volume.name.as_str(), volume.options.as_ref().unwrap_or(&none))?;
        let _changing = lock::exclusive(&self.store.paths.volumes())?;
        // Somebody may have made it since.
        if let Some(existing) = self.existing(&volume.name, &wanted)? {
            return Ok((existing, false));
        }
        self.finish_removal_of(&volume.name)?;
        let staged = driver.create(&volume)?;
        orlop_sys::fault::point("volume.create.published");
        let recorded = self.store.write::<_, Error>(Durability::Durable, |query| {
            // A row whose data somebody took away, and which nothing refers to.
            query.volume_delete(&volume.name)?;
            query.volume_insert(&volume)?;
            Ok(query.event_insert(&event("create", &volume))?)
        });
        if let Err(error) = recorded {
            if staged.is_some() {
                self.withdraw(&volume.name);
            }
            return Err(error);
        }
        orlop_sys::fault::point("volume.create.committed");
        drop(staged);
        tracing::info!(op = "volume create", volume = %volume.name, driver = volume.driver);
        Ok((volume, true))
    }

    /// Takes back the directory that a failed creation has made just now; the lock on `volumes/` has
    /// been held since, so that nobody has put anything in it. A row, if there is one all the same,
    /// keeps it.
    fn withdraw(&self, name: &VolumeName) {
        if !matches!(self.store.read::<_, Error>(|query| Ok(query.volume(name)?)), Ok(None)) {
            return;
        }
        let home = self.local.home(name);
        let trash = self.store.trash_record(
            TrashKind::Volume,
            name.as_str(),
            &home,
            "null".to_owned(),
            &now(),
        );
        if let Err(error) = self.store.carry_out(&trash) {
            tracing::debug!(volume = %name, %error, "cannot remove the directory of a failed creation");
        }
    }

    /// The volume of that name.
    pub fn find(&self, name: &str) -> Result<VolumeRecord> {
        let not_found = || Error::NotFound { name: name.to_owned() };
        let name: VolumeName = name.parse().map_err(|_| not_found())?;
        if let Some(volume) = self.store.read(|query| query.volume(&name))? {
            return Ok(volume);
        }
        self.adopt_one(&name)?.ok_or_else(not_found)
    }

    /// What containers mount for the volume. A copy-up that was cut off is finished first, so that
    /// nobody takes a half-filled volume for a whole one.
    pub fn source(&self, volume: &VolumeRecord) -> Result<VolumeSource> {
        let source = self.driver(volume.name.as_str(), &volume.driver)?.mount(volume)?;
        if matches!(source, VolumeSource::Directory(_)) {
            self.settle(volume)?;
        }
        Ok(source)
    }

    /// Removes a volume that no container refers to. By force an unknown name is no error; a volume
    /// in use stays in any case. Returns whether there was one.
    ///
    /// Order: row, trash record and event in one commit, then the rename into the trash.
    pub fn remove(&self, name: &str, force: Force) -> Result<bool> {
        let volume = match self.find(name) {
            Ok(volume) => volume,
            Err(Error::NotFound { .. }) if force == Force::Yes => return Ok(false),
            Err(error) => return Err(error),
        };
        let removed = self.remove_all(&[volume], OnRefusal::Fail)?;
        if removed.is_empty() && force == Force::No {
            return Err(Error::NotFound { name: name.to_owned() });
        }
        Ok(!removed.is_empty())
    }

    /// Removes the anonymous volumes of a creation that failed. Those that a container refers to
    /// stay. Returns the removed names.
    pub fn remove_anonymous_of(&self, names: &[VolumeName]) -> Result<Vec<VolumeName>> {
        let mut volumes = Vec::new();
        for name in names {
            volumes.extend(self.store.read(|query| query.volume(name))?);
        }
        self.remove_all(&volumes, OnRefusal::Skip)
    }

    /// Begins a removal that is part of somebody else's commit; see [`Removal`].
    pub fn begin_removal(&self) -> Result<Removal<'a>> {
        let changing = lock::exclusive(&self.store.paths.volumes())?;
        let busy = self.store.changing()?;
        Ok(Removal { volumes: *self, _changing: changing, _busy: busy, marked: Vec::new() })
    }

    /// Removes volumes in one commit; one that went in the meantime is left out of the answer.
    pub(crate) fn remove_all(
        &self,
        volumes: &[VolumeRecord],
        refusal: OnRefusal,
    ) -> Result<Vec<VolumeName>> {
        if volumes.is_empty() {
            return Ok(Vec::new());
        }
        let mut removal = self.begin_removal()?;
        orlop_sys::fault::point("volume.remove.locked");
        self.store.write(Durability::Durable, |query| {
            volumes.iter().try_for_each(|volume| removal.mark(query, volume, refusal))
        })?;
        removal.finish()
    }

    /// `None` if the volume is gone; inside, what is to be carried out after the commit.
    fn mark_removed(
        &self,
        query: &Query<'_>,
        volume: &VolumeRecord,
    ) -> Result<Option<Option<TrashRecord>>> {
        if query.volume(&volume.name)?.is_none() {
            return Ok(None);
        }
        let users = query.volume_users(&volume.name)?;
        if !users.is_empty() {
            return Err(Error::InUse { name: volume.name.clone(), users });
        }
        let driver = self.driver(volume.name.as_str(), &volume.driver)?;
        let trash = driver.mark_removed(query, volume, &now())?;
        query.volume_delete(&volume.name)?;
        query.event_insert(&event("destroy", volume))?;
        Ok(Some(trash))
    }

    /// Carries a removal out that was committed by a process which then died, so that its directory
    /// does not become part of a new volume of the same name. The lock on `volumes/` is held.
    pub(crate) fn finish_removal_of(&self, name: &VolumeName) -> Result<()> {
        let home = self.local.home(name);
        if home.symlink_metadata().is_err() {
            return Ok(());
        }
        let root = &self.store.paths.root;
        self.store.finish_deletions(|record| root.join(&record.path) == home)?;
        Ok(())
    }

    /// The driver of that name; empty is `local`.
    pub(crate) fn driver(&self, volume: &str, driver: &str) -> Result<&dyn VolumeDriver> {
        match driver {
            "" | LOCAL => Ok(&self.local),
            _ => Err(Error::UnknownDriver { name: volume.to_owned(), driver: driver.to_owned() }),
        }
    }

    /// The volume that is there already; a driver that was asked for by name must be its driver. A
    /// row without data does not count, unless containers refer to it.
    fn existing(&self, name: &VolumeName, driver: &str) -> Result<Option<VolumeRecord>> {
        let found = self.store.read(|query| {
            let Some(volume) = query.volume(name)? else { return Ok::<_, Error>(None) };
            Ok(Some((volume, query.volume_users(name)?)))
        })?;
        let Some((volume, users)) = found else { return Ok(None) };
        if !driver.is_empty() && volume.driver != driver {
            return Err(Error::TakenByDriver { name: name.clone(), driver: volume.driver });
        }
        if self.driver(name.as_str(), &volume.driver)?.exists(name)? {
            return Ok(Some(volume));
        }
        if users.is_empty() {
            return Ok(None);
        }
        Err(Error::Vanished { name: name.clone(), driver: volume.driver })
    }
}

/// A removal of volumes, committed together with something else.
///
/// Order: locks, the caller's transaction with [`Removal::mark_anonymous`] in it, the commit,
/// [`Removal::finish`]. The locks keep out who would make or adopt a volume of one of the names, and
/// sweeps.
#[derive(Debug)]
pub struct Removal<'a> {
    volumes: Volumes<'a>,
    _changing: lock::Held,
    _busy: std::os::fd::OwnedFd,
    marked: Vec<(VolumeRecord, Option<TrashRecord>)>,
}

impl Removal<'_> {
    /// Marks volumes as removed, inside the caller's transaction; which must be durable. Those that a
    /// container still refers to stay.
    pub fn mark_anonymous(&mut self, query: &Query<'_>, names: &[VolumeName]) -> Result<()> {
        for name in names {
            if let Some(volume) = query.volume(name)? {
                self.mark(query, &volume, OnRefusal::Skip)?;
            }
        }
        Ok(())
    }

    fn mark(&mut self, query: &Query<'_>, volume: &VolumeRecord, refusal: OnRefusal) -> Result<()> {
        match self.volumes.mark_removed(query, volume) {
            Ok(Some(trash)) => self.marked.push((volume.clone(), trash)),
            Ok(None) => {}
            Err(error @ (Error::InUse { .. } | Error::ActiveMounts { .. }))
                if refusal == OnRefusal::Skip =>
            {
                tracing::debug!(volume = %volume.name, %error, "volume stays");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Carries out what was committed. Returns the removed names.
    pub fn finish(self) -> Result<Vec<VolumeName>> {
        orlop_sys::fault::point("volume.remove.committed");
        let mut removed = Vec::new();
        for (volume, trash) in self.marked {
            if let Some(trash) = trash {
                self.volumes
                    .driver(volume.name.as_str(), &volume.driver)?
                    .finish_removal(&trash)?;
                orlop_sys::fault::point("volume.remove.renamed");
            }
            tracing::info!(op = "volume remove", volume = %volume.name);
            removed.push(volume.name);
        }
        Ok(removed)
    }
}

/// Whether to go on where Docker does so only by force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// Refuse.
    #[default]
    No,
    /// Go on.
    Yes,
}

/// What a removal of several volumes does about one that cannot go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnRefusal {
    /// Removes none of them.
    Fail,
    /// Leaves it.
    Skip,
}

fn parse(new: NewVolume, driver: &dyn VolumeDriver) -> Result<VolumeRecord> {
    let given = new.name.filter(|name| !name.is_empty());
    let anonymous = given.is_none();
    let name = match given {
        Some(name) => name.parse().map_err(|reason| Error::InvalidName { name, reason })?,
        None => VolumeName::anonymous(&rand::random()),
    };
    let mut labels = new.labels;
    if anonymous {
        labels.get_or_insert_default().insert(ANONYMOUS_LABEL.to_owned(), String::new());
    }
    Ok(VolumeRecord {
        name,
        driver: driver.name().to_owned(),
        labels,
        options: new.options,
        anonymous,
        created_at: now(),
    })
}

/// The time as Docker shows it for volumes: whole seconds.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn event(action: &str, volume: &VolumeRecord) -> NewEvent {
    NewEvent {
        time_ns: now_ns(),
        kind: "volume",
        action: action.to_owned(),
        actor: volume.name.to_string(),
        attributes: BTreeMap::from([("driver".to_owned(), volume.driver.clone())]),
    }
}

pub(crate) fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
