//! Which proxy a request goes through, by Go's rules for `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`.

use std::net::IpAddr;

use url::Url;

/// Proxies by scheme, and the hosts that need none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://` addresses.
    pub http: Option<String>,
    /// For `https://` addresses.
    pub https: Option<String>,
    /// Hosts, domains (`.example.org`), addresses, `address/bits`, or `*`; each maybe with a port.
    pub none: Vec<String>,
}

impl std::fmt::Debug for Proxies {
    /// Leaves the addresses out: they may hold a password.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Proxies").field("none", &self.none).finish_non_exhaustive()
    }
}

impl Proxies {
    /// Reads the variables that `lookup` knows; upper case wins, as in Go.
    pub fn of_variables(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str, lower: &str| {
            lookup(upper).or_else(|| lookup(lower)).filter(|value| !value.is_empty())
        };
        Self {
            http: either("HTTP_PROXY", "http_proxy"),
            https: either("HTTPS_PROXY", "https_proxy"),
            none: split_list(&either("NO_PROXY", "no_proxy").unwrap_or_default()),
        }
    }

    /// Takes what `other` knows where this knows nothing.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.http = self.http.or(other.http);
        self.https = self.https.or(other.https);
        if self.none.is_empty() {
            self.none = other.none;
        }
        self
    }

    /// The proxy for an address, if it needs one.
    #[must_use]
    pub fn choose(&self, url: &Url) -> Option<Url> {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let proxy = proxy.as_ref()?;
        let host = url.host_str()?.trim_matches(['[', ']']);
        if is_loopback(host) || self.is_exempt(host, url.port_or_known_default()) {
            return None;
        }
        let full = if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") };
        full.parse().ok()
    }

    fn is_exempt(&self, host: &str, port: Option<u16>) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        self.none.iter().any(|rule| {
            if rule == "*" {
                return true;
            }
            if let (Some(address), Some((network, bits))) = (address, parse_network(rule)) {
                return contains(network, bits, address);
            }
            let (name, rule_port) = split_port(rule);
            if rule_port.is_some() && rule_port != port {
                return false;
            }
            let name = name.trim_matches(['[', ']']);
            if let Some(address) = address {
                return name.parse() == Ok(address);
            }
            let name = name.strip_prefix("*.").map_or(name, |_| name.trim_start_matches('*'));
            let host = host.to_ascii_lowercase();
            let name = name.to_ascii_lowercase();
            match name.strip_prefix('.') {
                Some(domain) => host.ends_with(&name) && host.len() > domain.len() + 1,
                None => host == name || host.ends_with(&format!(".{name}")),
            }
        })
    }
}

/// Splits a comma-separated list.
#[must_use]
pub fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Whether a host name or address is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Splits `host:port`; an IPv6 address without brackets has no port.
pub(crate) fn split_port(text: &str) -> (&str, Option<u16>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

/// Reads `address/bits`.
pub(crate) fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    Some((address.parse().ok()?, bits.parse().ok()?))
}

/// Whether an address is in a network.
pub(crate) fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    let bits = u32::from(bits);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(none: &str, url: &str) -> Option<String> {
        let proxies = Proxies {
            http: Some("proxy:3128".to_owned()),
            https: Some("http://secure:3129".to_owned()),
            none: split_list(none),
        };
        proxies.choose(&url.parse().expect("valid")).map(|url| url.to_string())
    }

    #[test]
    fn the_scheme_picks_the_proxy_and_exemptions_hold() {
        let plain = Some("http://proxy:3128/".to_owned());
        let secure = Some("http://secure:3129/".to_owned());
        for (none, url, want) in [
            ("", "http://a.example/x", &plain),
            ("", "https://a.example/x", &secure),
            ("", "http://localhost:5000/", &None),
            ("", "https://127.0.0.7:5000/", &None),
            ("", "https://[::1]:5000/", &None),
            ("*", "https://a.example/", &None),
            ("a.example", "https://a.example/", &None),
            ("A.EXAMPLE", "https://b.a.example/", &None),
            (".a.example", "https://a.example/", &secure),
            (".a.example", "https://b.a.example/", &None),
            ("*.a.example", "https://b.a.example/", &None),
            ("a.example", "https://xa.example/", &secure),
            ("a.example:444", "https://a.example/", &secure),
            ("a.example:443", "https://a.example/", &None),
            ("x , 10.0.0.0/8", "http://10.1.2.3:5000/", &None),
            ("10.0.0.0/8", "http://11.1.2.3:5000/", &plain),
            ("10.1.2.3", "http://10.1.2.3/", &None),
            ("fd00::/8", "http://[fd00::1]/", &None),
        ] {
            assert_eq!(&chosen(none, url), want, "{none} {url}");
        }
    }

    #[test]
    fn variables_in_upper_case_win() {
        let lookup = |name: &str| match name {
            "HTTP_PROXY" => Some("up".to_owned()),
            "http_proxy" => Some("low".to_owned()),
            "https_proxy" => Some("s".to_owned()),
            "NO_PROXY" => Some("a,,b ".to_owned()),
            _ => None,
        };
        let proxies = Proxies::of_variables(lookup);
        assert_eq!(proxies.http.as_deref(), Some("up"));
        assert_eq!(proxies.https.as_deref(), Some("s"));
        assert_eq!(proxies.none, ["a", "b"]);
    }
}
