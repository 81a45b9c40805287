//! `inspect`: a container in Docker's own JSON shape.

use orlop_meta::{ContainerRecord, ContainerStatus};
use orlop_runtime::plan::LogFormat;
use orlop_sys::mount::RootfsRecipe;
use serde_json::{Value, json};

use crate::clock::NEVER;
use crate::create::writable_options;
use crate::merge::command;
use crate::mount_plan::{MountEntry, MountKind, Origin};
use crate::plan::entries;
use crate::{Containers, Error, Result, log_options};

impl Containers<'_> {
    /// Everything about a container, as `docker inspect` shows it.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let container = self.get(name)?;
        let words = command(&container.config);
        let exec_ids = Some(self.exec_ids(&container)).filter(|ids| !ids.is_empty());
        let directory = self.store.paths.container(&container.id);
        let file = |name: &str| directory.join(name).display().to_string();
        // Only the one that others may read is shown.
        let log_path = log_options::file(&container, &directory)
            .filter(|file| file.format == LogFormat::JsonFile)
            .map(|file| file.path.display().to_string())
            .unwrap_or_default();
        Ok(json!({
            "Id": container.id,
            "Created": container.created_at,
            "Path": words.first().cloned().unwrap_or_default(),
            "Args": words.get(1..).unwrap_or_default(),
            "State": state(&container),
            "Image": container.image_id,
            "ResolvConfPath": file("resolv.conf"),
            "HostnamePath": file("hostname"),
            "HostsPath": file("hosts"),
            "LogPath": log_path,
            "Name": format!("/{}", container.name),
            "RestartCount": container.state.restart_count,
            "Driver": self.layers.driver().name(),
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": exec_ids,
            "HostConfig": container.host_config,
            "GraphDriver": self.graph_driver(&container)?,
            "Mounts": self.mounts(&container)?,
            "Config": container.config,
            "NetworkSettings": self.network_settings(&container)?,
        }))
    }

    fn graph_driver(&self, container: &ContainerRecord) -> Result<Value> {
        let data = match self
            .layers
            .writable_recipe(&container.id, writable_options(&container.host_config))?
        {
            RootfsRecipe::Overlay { lowers, upper } => {
                let lowers: Vec<String> =
                    lowers.iter().map(|path| path.display().to_string()).collect();
                let (upper, work) = upper
                    .map(|upper| {
                        (upper.upper.display().to_string(), upper.work.display().to_string())
                    })
                    .unwrap_or_default();
                json!({ "LowerDir": lowers.join(":"), "MergedDir": "", "UpperDir": upper, "WorkDir": work })
            }
            RootfsRecipe::Directory { path, .. } => json!({ "SourceDir": path }),
        };
        Ok(json!({ "Data": data, "Name": self.layers.driver().name() }))
    }

    /// The mounts that Docker lists: all but those of `--tmpfs`.
    fn mounts(&self, container: &ContainerRecord) -> Result<Vec<Value>> {
        entries(container)?
            .iter()
            .filter(|entry| entry.origin != Origin::TmpfsFlag)
            .map(|entry| self.mount(entry))
            .collect()
    }

    fn mount(&self, entry: &MountEntry) -> Result<Value> {
        let mut shown = serde_json::Map::new();
        shown.insert("Type".to_owned(), entry.kind.as_str().into());
        if matches!(entry.kind, MountKind::Volume | MountKind::Image) {
            shown.insert("Name".to_owned(), entry.source.clone().into());
        }
        let source = match entry.kind {
            // A volume that is gone is shown without a path; the container may still be inspected.
            MountKind::Volume => match self.volume_directory(&entry.source) {
                Ok(path) => path.display().to_string(),
                Err(Error::Volume(_) | Error::Start(_)) => String::new(),
                Err(error) => return Err(error),
            },
            MountKind::Bind | MountKind::Image => entry.source.clone(),
            MountKind::Tmpfs => String::new(),
        };
        shown.insert("Source".to_owned(), source.into());
        shown.insert("Destination".to_owned(), entry.target.clone().into());
        if entry.kind == MountKind::Volume {
            shown.insert("Driver".to_owned(), entry.driver.clone().into());
        }
        shown.insert("Mode".to_owned(), entry.mode.clone().into());
        shown.insert("RW".to_owned(), (!entry.read_only).into());
        shown.insert("Propagation".to_owned(), entry.propagation.clone().into());
        Ok(Value::Object(shown))
    }
}

fn state(container: &ContainerRecord) -> Value {
    let state = &container.state;
    let is = |status| state.status == status;
    let mut shown = json!({
        "Status": state.status,
        "Running": state.status.is_active(),
        "Paused": is(ContainerStatus::Paused),
        "Restarting": is(ContainerStatus::Restarting),
        "OOMKilled": state.oom_killed,
        "Dead": is(ContainerStatus::Dead),
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at.as_deref().unwrap_or(NEVER),
        "FinishedAt": state.finished_at.as_deref().unwrap_or(NEVER),
    });
    if let (Some(health), Some(shown)) = (&state.health, shown.as_object_mut()) {
        shown.insert("Health".to_owned(), json!(health));
    }
    shown
}
