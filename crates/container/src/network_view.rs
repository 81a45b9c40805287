//! Networks as `network inspect` and `inspect` of a container show them.

use std::collections::BTreeMap;

use orlop_meta::{ConnectionRecord, ContainerRecord, EndpointRecord, NetworkRecord};
use orlop_types::network::{EndpointSettings, PublishedPort};
use serde_json::{Map, Value, json};

use crate::network::dns_names;
use crate::network_settings::DEFAULT_BRIDGE;
use crate::ports::parse_container_port;
use crate::{Containers, Result};

impl Containers<'_> {
    /// A network in Docker's JSON shape.
    pub fn network_document(
        &self,
        network: &NetworkRecord,
        endpoints: &[EndpointRecord],
    ) -> Result<Value> {
        let mut containers = BTreeMap::new();
        for endpoint in endpoints {
            let Some(container) = self.store.read(|query| query.container(&endpoint.container))?
            else {
                continue;
            };
            let plan = &endpoint.plan;
            containers.insert(
                endpoint.container.as_str().to_owned(),
                json!({
                    "Name": container.name,
                    "EndpointID": endpoint.id,
                    "MacAddress": mac_text(plan.mac),
                    "IPv4Address": format!("{}/{}", plan.address, plan.prefix_len),
                    "IPv6Address": "",
                }),
            );
        }
        let settings = &network.settings;
        Ok(json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created_at,
            "Scope": "local",
            "Driver": settings.driver,
            "EnableIPv4": true,
            "EnableIPv6": false,
            "IPAM": {
                "Driver": "default",
                "Options": settings.ipam_options,
                "Config": ipam_config(network),
            },
            "Internal": settings.internal,
            "Attachable": settings.attachable,
            "Ingress": false,
            "ConfigFrom": { "Network": "" },
            "ConfigOnly": false,
            "Containers": containers,
            "Options": settings.options,
            "Labels": settings.labels,
        }))
    }

    /// `NetworkSettings` of a container.
    pub(crate) fn network_settings(&self, container: &ContainerRecord) -> Result<Value> {
        let (connections, endpoints, networks) = self.store.read(|query| {
            let all = (
                query.connections(&container.id)?,
                query.endpoints(&container.id)?,
                query.networks()?,
            );
            Ok::<_, crate::Error>(all)
        })?;
        let mut shown = Map::new();
        let mut first = EndpointSettings::default();
        for connection in &connections {
            let network = networks.iter().find(|one| one.name == connection.network);
            let endpoint =
                network.and_then(|network| endpoints.iter().find(|one| one.network == network.id));
            let settings = endpoint_settings(container, connection, network, endpoint);
            if connection.network == DEFAULT_BRIDGE {
                first = settings.clone();
            }
            shown.insert(connection.network.clone(), json!(settings));
        }
        // Docker sorts the names, as every map of Go's.
        shown.sort_keys();
        let ports: Vec<PublishedPort> =
            endpoints.iter().flat_map(|one| one.plan.ports.iter().cloned()).collect();
        let sandbox = if endpoints.is_empty() { "" } else { container.id.as_str() };
        Ok(json!({
            "Bridge": "",
            "SandboxID": sandbox,
            "SandboxKey": if sandbox.is_empty() { String::new() } else { format!("/proc/{}/ns/net", container.state.pid) },
            "Ports": port_bindings(container, &ports),
            "HairpinMode": false,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": null,
            "SecondaryIPv6Addresses": null,
            "EndpointID": first.endpoint_id,
            "Gateway": first.gateway,
            "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "IPAddress": first.ip_address,
            "IPPrefixLen": first.ip_prefix_len,
            "IPv6Gateway": "",
            "MacAddress": first.mac_address,
            "Networks": shown,
        }))
    }
}

fn ipam_config(network: &NetworkRecord) -> Vec<Value> {
    let settings = &network.settings;
    let Some(subnet) = &settings.subnet else { return Vec::new() };
    let mut config = Map::new();
    config.insert("Subnet".to_owned(), json!(subnet));
    if let Some(range) = &settings.ip_range {
        config.insert("IPRange".to_owned(), json!(range));
    }
    // Docker shows the gateway that was asked for, or that of a network of its own choice.
    let shown = settings.gateway_is_chosen || !settings.subnet_is_chosen;
    if let Some(gateway) = settings.gateway.filter(|_| shown) {
        config.insert("Gateway".to_owned(), json!(gateway));
    }
    if !settings.aux_addresses.is_empty() {
        config.insert("AuxiliaryAddresses".to_owned(), json!(settings.aux_addresses));
    }
    vec![Value::Object(config)]
}

fn endpoint_settings(
    container: &ContainerRecord,
    connection: &ConnectionRecord,
    network: Option<&NetworkRecord>,
    endpoint: Option<&EndpointRecord>,
) -> EndpointSettings {
    let mut settings = connection.settings.clone();
    if let Some(network) = network {
        network.id.as_str().clone_into(&mut settings.network_id);
        if network.settings.driver == "bridge" && network.name != DEFAULT_BRIDGE {
            settings.dns_names = Some(dns_names(container, &connection.settings));
        }
    }
    if let Some(endpoint) = endpoint {
        let plan = &endpoint.plan;
        settings.endpoint_id.clone_from(&endpoint.id);
        settings.mac_address = mac_text(plan.mac);
        settings.gateway = plan.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        settings.ip_address = plan.address.to_string();
        settings.ip_prefix_len = plan.prefix_len;
    }
    settings
}

/// Ports of a running container: published ones with their bindings, exposed ones with `null`.
fn port_bindings(container: &ContainerRecord, published: &[PublishedPort]) -> Value {
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

pub(crate) fn mac_text(mac: [u8; 6]) -> String {
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
