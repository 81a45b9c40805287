//! `system check`: proves that the store is whole, and puts right what can be put right.
//!
//! Every row must have its directory and every directory its row. What a crash left half done is
//! only untidy (a warning, repaired by finishing or undoing it); what a row promises and the disk
//! does not have is lost (an error, which no program can repair).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use orlop_meta::{Durability, TrashKind};
use orlop_runtime::record::{Liveness, liveness};
use orlop_types::ContainerId;

use crate::{Engine, Error, Result};

/// How often, and at what distance, a look is taken at a run directory that is about to go, and how
/// many in a row must find no monitor.
const LAST_ACT_LOOKS: u32 = 150;
const DEAD_LOOKS: u32 = 10;
const LAST_ACT_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something that was promised is not there.
    Error,
    /// Something is left over; nothing is lost.
    Warning,
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub what: String,
    /// Whether it has been put right.
    pub repaired: bool,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// What was looked at, and how many of it.
    pub checked: Vec<(&'static str, u64)>,
    /// What is not as it must be.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Whether nothing is wrong any more.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.repaired)
    }

    fn counted(&mut self, what: &'static str, count: usize) {
        self.checked.push((what, count as u64));
    }

    pub(crate) fn found(&mut self, severity: Severity, what: String, repaired: bool) {
        self.findings.push(Finding { severity, what, repaired });
    }

    pub(crate) fn lost(&mut self, what: String) {
        self.found(Severity::Error, what, false);
    }

    pub(crate) fn left_over(&mut self, what: String, repaired: bool) {
        self.found(Severity::Warning, what, repaired);
    }
}

/// Whether to put right what can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Look only.
    No,
    /// Finish or undo what was cut off.
    Yes,
}

impl Engine {
    /// Checks the whole store.
    pub fn system_check(&self, repair: Repair) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        // Each look stands alone: where the database cannot be read, the next one may find more.
        self.look(&mut report, "the database", |report| self.check_database(repair, report));
        self.look(&mut report, "containers", |report| self.check_ended(repair, report));
        self.look(&mut report, "run state", |report| {
            self.check_run_directories(repair, report)?;
            self.check_control_groups(repair, report)?;
            self.check_networks(repair, report)?;
            self.check_volume_users(repair, report)
        });
        self.look(&mut report, "leftovers", |report| self.check_leftovers(repair, report));
        self.look(&mut report, "layers", |report| self.check_layers(report));
        self.look(&mut report, "images", |report| self.check_images(report));
        self.look(&mut report, "blobs", |report| self.check_content(repair, report));
        self.look(&mut report, "containers", |report| self.check_containers(repair, report));
        self.look(&mut report, "volumes", |report| {
            self.check_volumes(repair, report)?;
            self.check_mounted_volumes(repair, report)
        });
        if repair == Repair::Yes {
            self.look(&mut report, "what is idle", |_| {
                self.containers().release_idle()?;
                self.reap()
            });
        }
        Ok(report)
    }

    /// Takes one look; that it fails is a finding.
    fn look(
        &self,
        report: &mut CheckReport,
        what: &str,
        check: impl FnOnce(&mut CheckReport) -> Result<()>,
    ) {
        if let Err(error) = check(report) {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            report.lost(format!("cannot check {what}: {text}"));
        }
    }

    /// Containers whose state is behind what has become of them.
    fn check_ended(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        self.containers().settle_all()?;
        if repair == Repair::No {
            return Ok(());
        }
        for id in self.containers().undo_cut_starts()? {
            report.left_over(format!("the start of container {} was cut off", id.short()), true);
        }
        for id in self.containers().remove_ended()? {
            report
                .left_over(format!("container {} had ended and was not removed", id.short()), true);
        }
        self.images().remove_unreferenced_layers()?;
        Ok(())
    }

    /// Run directories without a container, and without a monitor that is about to remove them.
    fn check_run_directories(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        let directory = self.store.paths.run_root.join("containers");
        for name in names(&directory)? {
            let path = directory.join(&name);
            let known = match name.parse::<ContainerId>() {
                Ok(id) => self.store.read(|query| query.container(&id))?.is_some(),
                Err(_) => false,
            };
            if known || !is_abandoned(&path) {
                continue;
            }
            if repair == Repair::Yes {
                remove_directory(&path)?;
            }
            report.left_over(
                format!("run state `{name}` belongs to no container"),
                repair == Repair::Yes,
            );
        }
        Ok(())
    }

    /// Things that a crash cut off between two steps.
    fn check_leftovers(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        let Some(guard) = self.store.exclusive()? else {
            // A directory without a row may be on its way to one.
            return Ok(());
        };
        let staged = names(&self.store.paths.staging())?;
        let undone: Vec<_> = self
            .store
            .read(|query| query.trash())?
            .into_iter()
            .filter(|row| self.store.is_cut_off(row))
            .collect();
        // A reaper forgets a row before its directory goes: what is still there was meant.
        let rows = self.store.read(|query| query.trash())?;
        let undone: Vec<_> = undone.into_iter().filter(|row| rows.contains(row)).collect();
        let is_marked =
            |path: &Path| undone.iter().any(|row| self.store.paths.root.join(&row.path) == path);
        let orphans: Vec<_> =
            self.orphans()?.into_iter().filter(|(_, path)| !is_marked(path)).collect();
        drop(guard);
        for name in &staged {
            report.left_over(
                format!("staging directory `{name}` was abandoned"),
                repair == Repair::Yes,
            );
        }
        for row in &undone {
            report.left_over(
                format!("the deletion of {} `{}` was cut off", row.kind.as_str(), row.name),
                repair == Repair::Yes,
            );
        }
        for (what, path) in &orphans {
            report.left_over(
                format!("{what} `{}` has no owner", path.display()),
                repair == Repair::Yes,
            );
        }
        if repair == Repair::Yes && !(staged.is_empty() && undone.is_empty() && orphans.is_empty())
        {
            self.store.sweep()?;
            self.layers.sweep(&orlop_container::now_text())?;
            self.images().content().sweep()?;
            self.discard_orphans(&orphans)?;
        }
        Ok(())
    }

    /// Directories of layers and containers that no row owns. Volumes are never among them: a
    /// directory of a volume without a row is adopted.
    fn orphans(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let containers: HashSet<String> = self.store.read(|query| {
            let containers = query.containers()?;
            Ok::<_, Error>(
                containers.iter().map(|container| container.id.as_str().to_owned()).collect(),
            )
        })?;
        let directory = self.store.paths.containers();
        let mut orphans = Vec::new();
        for name in names(&directory)? {
            if !containers.contains(&name) {
                orphans.push(("container directory", directory.join(name)));
            }
        }
        orphans.extend(self.layers.orphans()?.into_iter().map(|path| ("layer directory", path)));
        let blobs = self.images().content().orphans()?;
        orphans.extend(blobs.into_iter().map(|path| ("blob", path)));
        Ok(orphans)
    }

    fn discard_orphans(&self, orphans: &[(&'static str, PathBuf)]) -> Result<()> {
        let now = orlop_container::now_text();
        for (what, path) in orphans.iter().filter(|(_, path)| path.exists()) {
            let record =
                self.store.trash_record(TrashKind::Container, what, path, "null".to_owned(), &now);
            self.store
                .write(Durability::Lazy, |query| Ok::<_, Error>(query.trash_insert(&record)?))?;
            self.store.carry_out(&record)?;
        }
        Ok(())
    }

    fn check_layers(&self, report: &mut CheckReport) -> Result<()> {
        let layers = self.store.read(|query| query.layers())?;
        report.counted("layers", layers.len());
        for layer in &layers {
            let path = self.layers.driver().home().join(&layer.key);
            let still = || self.store.read(|query| query.layer(&layer.chain_id));
            if !path.join("diff").is_dir() && still()?.is_some_and(|row| row.key == layer.key) {
                report.lost(format!(
                    "layer {} has lost its directory `{}`",
                    layer.chain_id,
                    path.display()
                ));
            }
        }
        Ok(())
    }

    fn check_images(&self, report: &mut CheckReport) -> Result<()> {
        let images = self.store.read(|query| query.images())?;
        report.counted("images", images.len());
        for image in &images {
            if orlop_archive::digest::of_bytes(image.config.as_bytes()) != *image.id.digest() {
                report
                    .lost(format!("the configuration of image {} does not match its id", image.id));
            }
        }
        Ok(())
    }

    /// Blobs that are not what their name says, or gone; without them an image is packed anew.
    fn check_content(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        let images = self.images();
        let content = images.content();
        let blobs = self.store.read(|query| query.contents())?;
        if !blobs.is_empty() {
            report.counted("blobs", blobs.len());
        }
        for blob in blobs {
            match content.verify(&blob.digest) {
                Err(orlop_image::Error::DamagedBlob(digest)) => {
                    // Between its row and its file it may have been removed.
                    if self.store.read(|query| query.content(&digest))?.is_none() {
                        continue;
                    }
                    let repaired = repair == Repair::Yes;
                    if repaired {
                        content.forget_damaged(&digest)?;
                    }
                    let path = self.store.paths.content(&digest);
                    let what = format!("blob `{}` is damaged or gone", path.display());
                    report.found(Severity::Error, what, repaired);
                }
                // Removed since the list was read.
                Err(orlop_image::Error::NoBlob(_)) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn check_containers(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        let containers = self.store.read(|query| query.containers())?;
        report.counted("containers", containers.len());
        for container in &containers {
            let key = orlop_layer::LayerKey::of_container(&container.id);
            let parts = [
                ("directory", self.store.paths.container(&container.id)),
                ("writable layer", self.layers.driver().directory(&key)),
            ];
            if parts.iter().all(|(_, path)| !path.exists()) {
                if self.store.read(|query| query.container(&container.id))?.is_some() {
                    self.check_revived(container, repair, report)?;
                }
                continue;
            }
            for (what, path) in parts {
                // It may have been removed since its row was read: rows go before directories.
                let still = || self.store.read(|query| query.container(&container.id));
                if !path.is_dir() && still()?.is_some() {
                    report.lost(format!(
                        "container {} has lost its {what} `{}`; `orlop rm` removes the rest",
                        container.name,
                        path.display()
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_volumes(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        let volumes = self.store.read(|query| query.volumes())?;
        report.counted("volumes", volumes.len());
        for volume in &volumes {
            let path = self.store.paths.volume(&volume.name);
            let still = || self.store.read(|query| query.volume(&volume.name));
            if volume.driver == "local" && !path.is_dir() && still()?.as_ref() == Some(volume) {
                report.lost(format!(
                    "volume {} has lost its directory `{}`",
                    volume.name,
                    path.display()
                ));
            }
        }
        let unowned = self.volumes().unowned()?;
        let adopted = if repair == Repair::Yes && !unowned.is_empty() {
            self.volumes().adopt_unowned()?
        } else {
            Vec::new()
        };
        for name in unowned {
            let repaired = adopted.iter().any(|volume| volume.name == name);
            report.left_over(
                format!("directory `{name}` is a volume that nobody recorded"),
                repaired,
            );
        }
        if repair == Repair::Yes {
            for (name, error) in self.volumes().settle_all()? {
                report.lost(format!(
                    "volume {name} was being filled and cannot be put right: {error}"
                ));
            }
        }
        Ok(())
    }
}

/// Whether a run directory without a container stays. A monitor whose container was removed by
/// somebody else may still unmount, and removes it as its last act, just after it has let go of its
/// lock.
fn is_abandoned(run_dir: &Path) -> bool {
    let mut dead_looks = 0;
    for _ in 0..LAST_ACT_LOOKS {
        if !run_dir.exists() {
            return false;
        }
        let is_dead = !matches!(liveness(run_dir), Ok(Liveness::Alive { .. }));
        dead_looks = if is_dead { dead_looks + 1 } else { 0 };
        if dead_looks == DEAD_LOOKS {
            return true;
        }
        std::thread::sleep(LAST_ACT_PAUSE);
    }
    false
}

/// Names of a directory's entries; one that does not exist has none.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::System {
        operation: "list",
        subject: directory.display().to_string(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    entries
        .map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()))
        .collect()
}

pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::System {
            operation: "remove",
            subject: path.display().to_string(),
            source: error,
        }),
        _ => Ok(()),
    }
}
