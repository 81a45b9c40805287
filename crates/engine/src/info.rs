//! `info`: what this engine is and what it works on.

use orlop_container::ContainerQuery;
use orlop_types::filter::Filters;
use serde_json::{Value, json};

use crate::{Engine, Result};

impl Engine {
    /// Facts about the engine, the store and the machine, with Docker's names where it has them.
    pub fn info(&self) -> Result<Value> {
        let query = ContainerQuery { all: true, last: None, filters: Filters::default() };
        let containers = self.containers().list(&query)?;
        let count =
            |state: &str| containers.iter().filter(|container| container.state == state).count();
        let (images, volumes) = self
            .store
            .read(|query| Ok::<_, crate::Error>((query.images()?.len(), query.volumes()?.len())))?;
        let uname = rustix::system::uname();
        let cgroup = if orlop_runtime::cgroup::is_unified() { "2" } else { "1" };
        Ok(json!({
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "Containers": containers.len(),
            "ContainersRunning": count("running"),
            "ContainersPaused": count("paused"),
            "ContainersStopped": containers.len() - count("running") - count("paused"),
            "Images": images,
            "Volumes": volumes,
            "Driver": self.layers.driver().name(),
            "DriverReason": self.layers.driver_reason(),
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": cgroup,
            "DefaultRuntime": "builtin",
            "KernelVersion": uname.release().to_string_lossy(),
            "OSType": "linux",
            "Architecture": uname.machine().to_string_lossy(),
            "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            "DockerRootDir": self.store.paths.root,
            "RunRoot": self.store.paths.run_root,
            "Name": uname.nodename().to_string_lossy(),
        }))
    }
}
