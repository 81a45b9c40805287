//! Operations on networks.

use orlop_meta::{EndpointRecord, NetworkRecord};
use orlop_types::filter::Filters;
use orlop_types::network::EndpointSettings;
use serde_json::Value;

use crate::check::CheckReport;
use crate::{Engine, NewNetwork, Repair, Result};

/// One row of `network ls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSummary {
    /// Id, 64 digits.
    pub id: String,
    /// Name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// Whether it leads nowhere but to the host.
    pub internal: bool,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// RFC 3339 time.
    pub created_at: String,
    /// Running containers on it.
    pub endpoints: usize,
}

impl Engine {
    /// Creates a network; its id.
    pub fn network_create(&self, new: &NewNetwork) -> Result<String> {
        Ok(self.containers().network_create(new)?.as_str().to_owned())
    }

    /// Lists networks, by name.
    pub fn network_list(&self, filters: &Filters) -> Result<Vec<NetworkSummary>> {
        let row = |(network, endpoints): (NetworkRecord, Vec<EndpointRecord>)| NetworkSummary {
            id: network.id.as_str().to_owned(),
            name: network.name,
            driver: network.settings.driver,
            internal: network.settings.internal,
            labels: network.settings.labels,
            created_at: network.created_at,
            endpoints: endpoints.len(),
        };
        Ok(self.containers().network_list(filters)?.into_iter().map(row).collect())
    }

    /// Shows everything about a network.
    pub fn network_inspect(&self, name: &str) -> Result<Value> {
        let containers = self.containers();
        let (network, endpoints) = containers.network_inspect(name)?;
        Ok(containers.network_document(&network, &endpoints)?)
    }

    /// Removes a network that no running container is on.
    pub fn network_remove(&self, name: &str) -> Result<()> {
        Ok(self.containers().network_remove(name)?)
    }

    /// Removes the networks that no running container is on; their names.
    pub fn network_prune(&self, filters: &Filters) -> Result<Vec<String>> {
        Ok(self.containers().network_prune(filters)?)
    }

    /// Connects a container to a network.
    pub fn network_connect(
        &self,
        network: &str,
        container: &str,
        settings: &EndpointSettings,
    ) -> Result<()> {
        Ok(self.containers().network_connect(network, container, settings)?)
    }

    /// Takes a container off a network; with `force` also off one that is gone.
    pub fn network_disconnect(&self, network: &str, container: &str, force: bool) -> Result<()> {
        Ok(self.containers().network_disconnect(network, container, force)?)
    }

    /// Bridges, rules and names that no network owns.
    pub(crate) fn check_networks(&self, repair: Repair, report: &mut CheckReport) -> Result<()> {
        let repair = repair == Repair::Yes;
        for what in self.containers().network_leftovers(repair)? {
            report.left_over(what, repair);
        }
        Ok(())
    }
}
