//! `system check`: what crashes leave in the kernel and in the run directory.

use orlop_sys::mount_filesystem::SharedMount;
use orlop_types::VolumeName;

use crate::check::{CheckReport, names, remove_directory};
use crate::{Engine, Error, Repair, Result};

impl Engine {
    /// Control groups without a monitor.
    pub(crate) fn check_control_groups(
        &self,
        repair: Repair,
        report: &mut CheckReport,
    ) -> Result<()> {
        for id in self.containers().leftover_groups()? {
            let repaired = repair == Repair::Yes && self.containers().remove_group(&id)?;
            // It may have gone by itself meanwhile.
            if repaired || self.containers().leftover_groups()?.contains(&id) {
                report.left_over(
                    format!("the control group of container {} has no monitor", id.short()),
                    repaired,
                );
            }
        }
        Ok(())
    }

    /// Notes about users of mounted volumes: of volumes that are gone, or of processes that are.
    pub(crate) fn check_volume_users(
        &self,
        repair: Repair,
        report: &mut CheckReport,
    ) -> Result<()> {
        let directory = self.store.paths.run_root.join("volumes");
        for name in names(&directory)? {
            let path = directory.join(&name);
            let known = match name.parse::<VolumeName>() {
                Ok(volume) => self.store.read(|query| query.volume(&volume))?.is_some(),
                Err(_) => false,
            };
            let stale = SharedMount::stale(&path).map_err(|source| Error::System {
                operation: "read",
                subject: path.display().to_string(),
                source,
            })?;
            if known && stale == 0 {
                continue;
            }
            if repair == Repair::Yes {
                if known {
                    let forgotten =
                        SharedMount::lock(&path).and_then(|shared| shared.forget_stale());
                    forgotten.map_err(|source| Error::System {
                        operation: "tidy up",
                        subject: path.display().to_string(),
                        source,
                    })?;
                } else {
                    remove_directory(&path)?;
                }
            }
            let what = if known {
                format!("volume {name} is noted as mounted by a process that is gone")
            } else {
                format!("run state of volume `{name}` belongs to no volume")
            };
            report.left_over(what, repair == Repair::Yes);
        }
        Ok(())
    }
}
