//! `inspect`: a container in Docker's own JSON shape.

use std::collections::BTreeMap;

use orlop_meta::{ContainerRecord, ContainerStatus, EndpointRecord};
use orlop_sys::mount::RootfsRecipe;
use orlop_types::network::PublishedPort;
use serde_json::{Value, json};

use crate::clock::NEVER;
use crate::create::writable_options;
use crate::merge::command;
use crate::mount_plan::{MountEntry, MountKind, Origin};
use crate::plan::entries;
use crate::ports::parse_container_port;
use crate::summary::network_name;
use crate::{Containers, Error, Result};

impl Containers<'_> {
    /// Everything about a container, as `docker inspect` shows it.
    pub fn inspect(&self, name: &str) -> Result<Value> {
        let container = self.get(name)?;
        let endpoint = self.store.read(|query| query.endpoint(&container.id))?;
        let words = command(&container.config);
        let directory = self.store.paths.container(&container.id);
        let file = |name: &str| directory.join(name).display().to_string();
        let log_path = match container.host_config.log_config.kind.as_str() {
            "json-file" | "" => self.log_path(&container.id).display().to_string(),
            _ => String::new(),
        };
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
            "ExecIDs": null,
            "HostConfig": container.host_config,
            "GraphDriver": self.graph_driver(&container)?,
            "Mounts": self.mounts(&container)?,
            "Config": container.config,
            "NetworkSettings": network_settings(&container, endpoint.as_ref()),
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
    json!({
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
    })
}

fn network_settings(container: &ContainerRecord, endpoint: Option<&EndpointRecord>) -> Value {
    let plan = endpoint.map(|endpoint| &endpoint.plan);
    let address = plan.map(|plan| plan.address.to_string()).unwrap_or_default();
    let gateway = plan.map(|plan| plan.gateway.to_string()).unwrap_or_default();
    let prefix_len = plan.map_or(0, |plan| plan.prefix_len);
    let mac = plan.map(|plan| mac_text(plan.mac)).unwrap_or_default();
    let network = json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "MacAddress": mac,
        "DriverOpts": null,
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": gateway,
        "IPAddress": address,
        "IPPrefixLen": prefix_len,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": null,
    });
    let name = network_name(&container.host_config.network_mode);
    json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": ports(container, plan.map(|plan| plan.ports.as_slice()).unwrap_or_default()),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": "",
        "Gateway": gateway,
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": address,
        "IPPrefixLen": prefix_len,
        "IPv6Gateway": "",
        "MacAddress": mac,
        "Networks": { name: network },
    })
}

/// Ports of a running container: published ones with their bindings, exposed ones with `null`.
fn ports(container: &ContainerRecord, published: &[PublishedPort]) -> Value {
    let mut ports: BTreeMap<String, Option<Vec<Value>>> = BTreeMap::new();
    if container.state.status.is_active() {
        for exposed in container.config.exposed_ports.iter().flat_map(|set| set.keys()) {
            if let Ok((port, protocol)) = parse_container_port(exposed) {
                ports.insert(format!("{port}/{}", protocol.as_str()), None);
            }
        }
    }
    for port in published {
        let key = format!("{}/{}", port.container_port, port.protocol.as_str());
        let binding =
            json!({ "HostIp": port.host_ip.to_string(), "HostPort": port.host_port.to_string() });
        ports.entry(key).or_default().get_or_insert_default().push(binding);
    }
    json!(ports)
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_written_with_colons() {
        assert_eq!(mac_text([2, 0x42, 0xac, 0x11, 0, 2]), "02:42:ac:11:00:02");
    }
}
