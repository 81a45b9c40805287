//! Which proxy a request goes through.

/// Proxies by scheme, and the hosts that need none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://` addresses.
    pub http: Option<String>,
    /// For `https://` addresses.
    pub https: Option<String>,
    /// Hosts, domains (`.example.org`), addresses, `address/bits`, or `*`.
    pub none: Vec<String>,
}
