//! `update`: changes limits and the restart policy of a container, also while it runs.
//!
//! Order: check, write the kernel's limits if the container runs, commit the row with the event. If
//! the commit fails, the former limits are written again.

use orlop_meta::{ContainerRecord, ContainerStatus, Durability};
use orlop_runtime::cgroup::ContainerCgroup;
use orlop_runtime::host::HostResources;
use orlop_runtime::limits;
use orlop_types::config::HostConfig;

use crate::settle::container_event;
use crate::validate::{self, Occasion};
use crate::{Containers, Error, Result, now_ns};

/// What is to change.
#[derive(Clone, Debug, Default)]
pub struct UpdateRequest {
    /// Limits that are not zero, and the restart policy if it has a name; nothing else counts.
    pub resources: HostConfig,
}

impl Containers<'_> {
    /// Changes a container; gives warnings.
    pub fn update(&self, name: &str, request: &UpdateRequest) -> Result<Vec<String>> {
        let mut wanted = request.resources.clone();
        let machine = HostResources::detect()?;
        let warnings = validate::host_config(&mut wanted, &machine, Occasion::Update)?;
        let id = self.id(name)?;
        let _operation = self.lock_operation(&id)?;
        let container = self.settle_locked(&id)?;
        let failed = |why: String| Error::conflict(format!("Cannot update container {id}: {why}"));
        if matches!(container.state.status, ContainerStatus::Removing | ContainerStatus::Dead) {
            let why = "container is marked for removal and cannot be \"update\"";
            return Err(failed(why.to_owned()));
        }
        let mut updated = container.clone();
        merge(&mut updated.host_config, &wanted).map_err(|why| failed(why.to_owned()))?;
        let runs =
            matches!(container.state.status, ContainerStatus::Running | ContainerStatus::Paused);
        if runs {
            set_limits(self, &container, &wanted).map_err(|error| {
                Error::Start(orlop_runtime::StartError {
                    exit_code: 125,
                    message: format!("Cannot update container {id}: {error}"),
                })
            })?;
        }
        orlop_sys::fault::point("container.update.limited");
        if container.state.status.is_active() {
            // What the monitor goes by when the container ends.
            orlop_runtime::restart::update(
                &self.store.paths.container_run(&id),
                &updated.host_config,
            )?;
        }
        let committed = self.store.write(Durability::Lazy, |query| {
            query.container_set_host_config(&id, &updated.host_config)?;
            query.event_insert(&container_event(&updated, "update", now_ns()))?;
            Ok::<_, Error>(())
        });
        if let Err(error) = committed {
            if runs && let Err(error) = set_limits(self, &container, &container.host_config) {
                tracing::warn!(container = %id, %error, "limits that were not kept hold until the container ends");
            }
            return Err(error);
        }
        // The monitor heeds it at the end of this run.
        let run_dir = self.store.paths.container_run(&id);
        orlop_runtime::restart::update(&run_dir, &updated.host_config)?;
        Ok(warnings)
    }
}

fn set_limits(
    containers: &Containers<'_>,
    container: &ContainerRecord,
    wanted: &HostConfig,
) -> std::io::Result<()> {
    let path = crate::plan::container_cgroup(&containers.store.paths.root, container);
    limits::set(&ContainerCgroup::new(&path)?, wanted)
}

/// Takes over what is wanted; the error is Docker's text for what cannot be had with what is there.
fn merge(present: &mut HostConfig, wanted: &HostConfig) -> Result<(), &'static str> {
    let both = |one: i64, other: i64| one > 0 && other > 0;
    if both(wanted.nano_cpus, present.cpu_period) {
        return Err(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        );
    }
    if both(wanted.nano_cpus, present.cpu_quota) {
        return Err(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        );
    }
    if both(wanted.cpu_period, present.nano_cpus) {
        return Err(
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        );
    }
    if both(wanted.cpu_quota, present.nano_cpus) {
        return Err(
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        );
    }
    if wanted.memory != 0 && wanted.memory > present.memory_swap && wanted.memory_swap == 0 {
        return Err(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    let policy = &wanted.restart_policy;
    if present.auto_remove && !validate::is_no_restart(policy) {
        return Err(
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        );
    }
    for (mine, theirs) in [
        (&mut present.cpu_shares, wanted.cpu_shares),
        (&mut present.nano_cpus, wanted.nano_cpus),
        (&mut present.cpu_period, wanted.cpu_period),
        (&mut present.cpu_quota, wanted.cpu_quota),
        (&mut present.memory, wanted.memory),
        (&mut present.memory_swap, wanted.memory_swap),
        (&mut present.memory_reservation, wanted.memory_reservation),
        (&mut present.cpu_realtime_period, wanted.cpu_realtime_period),
        (&mut present.cpu_realtime_runtime, wanted.cpu_realtime_runtime),
    ] {
        if theirs != 0 {
            *mine = theirs;
        }
    }
    for (mine, theirs) in [
        (&mut present.cpuset_cpus, &wanted.cpuset_cpus),
        (&mut present.cpuset_mems, &wanted.cpuset_mems),
    ] {
        if !theirs.is_empty() {
            mine.clone_from(theirs);
        }
    }
    if wanted.blkio_weight != 0 {
        present.blkio_weight = wanted.blkio_weight;
    }
    if let Some(limit) = wanted.pids_limit {
        present.pids_limit = Some(limit).filter(|&limit| limit > 0);
    }
    if !policy.name.is_empty() {
        present.restart_policy = policy.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> HostConfig {
        HostConfig { restart_policy: Default::default(), ..HostConfig::default() }
    }

    #[test]
    fn only_what_is_given_changes() {
        let mut present = HostConfig {
            memory: 64 << 20,
            memory_swap: 128 << 20,
            cpu_shares: 512,
            pids_limit: Some(10),
            ..HostConfig::default()
        };
        let before = present.clone();
        merge(&mut present, &nothing()).expect("nothing to do");
        assert_eq!(present, before);
        let mut wanted = HostConfig { memory: 32 << 20, pids_limit: Some(-1), ..nothing() };
        "always".clone_into(&mut wanted.restart_policy.name);
        merge(&mut present, &wanted).expect("good");
        assert_eq!((present.memory, present.memory_swap), (32 << 20, 128 << 20));
        assert_eq!((present.cpu_shares, present.pids_limit), (512, None));
        assert_eq!(present.restart_policy.name, "always");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let cases = [
            (
                HostConfig { cpu_period: 5000, ..HostConfig::default() },
                HostConfig { nano_cpus: 1, ..nothing() },
                "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
            ),
            (
                HostConfig { nano_cpus: 1, ..HostConfig::default() },
                HostConfig { cpu_quota: 5000, ..nothing() },
                "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
            ),
            (
                HostConfig { memory_swap: 20, ..HostConfig::default() },
                HostConfig { memory: 21, ..nothing() },
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            ),
        ];
        for (mut present, wanted, why) in cases {
            assert_eq!(merge(&mut present, &wanted), Err(why));
        }
        let mut present = HostConfig { auto_remove: true, ..HostConfig::default() };
        let mut wanted = nothing();
        "always".clone_into(&mut wanted.restart_policy.name);
        let why =
            "Restart policy cannot be updated because AutoRemove is enabled for the container";
        assert_eq!(merge(&mut present, &wanted), Err(why));
    }
}
