//! Fits `orlop-net` to what the monitor asks of a network.

use orlop_net::Endpoint;
use orlop_runtime::{ContainerNetwork, StartError};
use orlop_types::network::NetworkPlan;

/// Exit code of a start that failed for the network, as Docker has it.
const NETWORK_FAILED: u8 = 125;

/// The kernel's bridges and rules.
#[derive(Debug, Default)]
pub(crate) struct KernelNetwork {
    endpoint: Option<Endpoint>,
}

impl ContainerNetwork for KernelNetwork {
    fn enter(&mut self, plan: &NetworkPlan) -> Result<(), StartError> {
        match plan {
            NetworkPlan::Host => Ok(()),
            NetworkPlan::None => Endpoint::enter_none().map_err(|error| refused(&error)),
            NetworkPlan::Bridge(plan) => {
                self.endpoint = Some(Endpoint::enter(plan).map_err(|error| refused(&error))?);
                Ok(())
            }
        }
    }

    fn leave(&mut self) -> Result<(), StartError> {
        match self.endpoint.take() {
            Some(mut endpoint) => endpoint.leave().map_err(|error| refused(&error)),
            None => Ok(()),
        }
    }
}

/// One line with every cause.
fn refused(error: &dyn std::error::Error) -> StartError {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    StartError { exit_code: NETWORK_FAILED, message }
}
