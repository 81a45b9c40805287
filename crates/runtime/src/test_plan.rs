//! A plan for unit tests: a container that is never started.

use std::path::Path;

use orlop_sys::mount::RootfsRecipe;
use orlop_types::ContainerId;
use orlop_types::network::NetworkPlan;

use crate::plan::{LogPlan, PLAN_VERSION, Plan, ProcessPlan, RuntimeChoice};

/// The smallest plan with this run directory.
pub(crate) fn plan(run_dir: &Path) -> Plan {
    Plan {
        version: PLAN_VERSION,
        container: ContainerId::of_bytes(&[0xa1; 32]),
        run_dir: run_dir.to_owned(),
        rootfs: RootfsRecipe::Directory { path: "/".into(), read_only: true },
        rootfs_read_only: false,
        mounts: Vec::new(),
        process: ProcessPlan::default(),
        hostname: "test".to_owned(),
        domainname: String::new(),
        cgroup: "/orlop-test/none".to_owned(),
        host_config: orlop_types::config::HostConfig::default(),
        network: NetworkPlan::None,
        log: LogPlan::None,
        health: None,
        shared: Default::default(),
        runtime: RuntimeChoice::Builtin,
        finish: Vec::new(),
        ends_with_starter: false,
    }
}
