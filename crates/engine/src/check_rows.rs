//! `system check`: whether the database is whole and its rows agree with each other.

use orlop_container::RemoveOptions;
use orlop_meta::{ContainerRecord, Durability};
use orlop_types::VolumeName;

use crate::check::CheckReport;
use crate::{Engine, Error, Repair, Result};

/// Tables whose rows only say that two objects belong together: one that leads nowhere says nothing.
const LINKS: [&str; 6] = [
    "container_images",
    "container_sizes",
    "container_volumes",
    "endpoints",
    "published_ports",
    "volume_sizes",
];

impl Engine {
    /// Asks SQLite; what it finds wrong with indexes alone is put right by making them anew.
    pub(crate) fn check_database(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        let lines = self.store.database().integrity()?;
        let only_indexes = lines.iter().all(|line| line.contains("index"));
        let mut repaired = false;
        if repair == Repair::Yes && !lines.is_empty() && only_indexes {
            self.store.database().rebuild_indexes()?;
            repaired = self.store.database().integrity()?.is_empty();
        }
        let hint = if only_indexes {
            ""
        } else {
            "; `orlop.db` must come from a backup (without one, move it away: volumes are found by their directories)"
        };
        for line in lines {
            let what = format!("the database is damaged: {line}{hint}");
            report.found(crate::Severity::Error, what, repaired);
        }
        self.check_references(repair, report)
    }

    /// Rows that refer to rows which are not there.
    fn check_references(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        for dangling in self.store.database().dangling()? {
            let is_link = LINKS.contains(&dangling.table.as_str());
            if is_link && repair == Repair::Yes {
                self.store.write::<_, Error>(Durability::Durable, |query| {
                    Ok(query.dangling_delete(&dangling)?)
                })?;
            }
            let what = format!(
                "a row of `{}` refers to `{}` and leads nowhere",
                dangling.table, dangling.parent
            );
            let severity = if is_link { crate::Severity::Warning } else { crate::Severity::Error };
            report.found(severity, what, is_link && repair == Repair::Yes);
        }
        Ok(())
    }

    /// Containers whose mounts name volumes that they do not hold, or that are gone.
    pub(crate) fn check_mounted_volumes(
        &self,
        repair: Repair,
        report: &mut CheckReport,
    ) -> Result<()> {
        for container in self.store.read(|query| query.containers())? {
            for name in orlop_container::mounted_volumes(&container)? {
                self.check_mounted_volume(&container, &name, repair, report)?;
            }
        }
        Ok(())
    }

    fn check_mounted_volume(
        &self,
        container: &ContainerRecord,
        name: &VolumeName,
        repair: Repair,
        report: &mut CheckReport,
    ) -> Result<()> {
        let (present, exists, users) = self.store.read::<_, Error>(|query| {
            let present = query.container(&container.id)?.is_some();
            Ok((present, query.volume(name)?.is_some(), query.volume_users(name)?))
        })?;
        let container_name = &container.name;
        if !present || users.contains(&container.id) {
            return Ok(());
        }
        if !exists {
            report.lost(format!("container {container_name} mounts volume {name}, which is gone"));
            return Ok(());
        }
        if repair == Repair::Yes {
            self.store.write::<_, Error>(Durability::Durable, |query| {
                Ok(query.volume_reference(&container.id, name)?)
            })?;
        }
        report.left_over(
            format!("container {container_name} mounts volume {name} without holding it"),
            repair == Repair::Yes,
        );
        Ok(())
    }

    /// A container of which nothing is on the disk was removed: the removal's row is not synced, so a
    /// power cut may bring the container's back.
    pub(crate) fn check_revived(
        &self,
        container: &ContainerRecord,
        repair: Repair,
        report: &mut CheckReport,
    ) -> Result<()> {
        let mut repaired = false;
        if repair == Repair::Yes {
            let removed = self.containers().remove(container.id.as_str(), RemoveOptions::default());
            repaired = removed.is_ok();
        }
        report.left_over(
            format!(
                "container {} has a row and nothing on the disk: it was removed, and a power cut brought the row back",
                container.name
            ),
            repaired,
        );
        Ok(())
    }
}
