//! What the machine says about registries.

use crate::error::Result;
use crate::options::ClientOptions;

pub(crate) fn options_of_environment() -> Result<ClientOptions> {
    Ok(ClientOptions::default())
}
