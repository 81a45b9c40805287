//! Published and exposed ports: `-p [ip:][hostPort[-range]:]containerPort[-range][/proto]`, `--expose`.
//!
//! Texts and corner cases follow Docker 28; container ports come out as `80/tcp`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::{PortBinding, PortMap};
use crate::error::ParseError;

/// Parses one `-p` value into container ports and where each is published.
///
/// # Errors
/// Docker's text for whatever is wrong, for instance `Invalid hostPort: x`.
pub fn parse_publish(raw: &str) -> Result<Vec<(String, PortBinding)>, ParseError> {
    if raw.contains('=') {
        return parse_publish(&standard_notation(raw)?);
    }
    let mut parts = raw.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host_port = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    let (container, protocol) = split_protocol(container);
    if container.is_empty() {
        return Err(ParseError::new(format!("No port specified: {raw}<empty>")));
    }
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(ParseError::new(format!("Invalid proto: {protocol}")));
    }
    let address = parse_address(address)?;
    let ports = PortRange::parse(container)
        .map_err(|_| ParseError::new(format!("Invalid containerPort: {container}")))?;
    let hosts = match host_port {
        "" => None,
        text => Some(
            PortRange::parse(text)
                .map_err(|_| ParseError::new(format!("Invalid hostPort: {text}")))?,
        ),
    };
    if let Some(hosts) = hosts
        && hosts.last - hosts.first != ports.last - ports.first
        && ports.first != ports.last
    {
        return Err(ParseError::new(format!(
            "Invalid ranges specified for container and host Ports: {container} and {host_port}"
        )));
    }
    let published = (0..=ports.last - ports.first).map(|offset| {
        let host_port = match hosts {
            None => String::new(),
            // One container port with a range on the host: the engine takes a free one of it.
            Some(hosts) if ports.first == ports.last && hosts.first != hosts.last => {
                format!("{}-{}", hosts.first, hosts.last)
            }
            Some(hosts) => (hosts.first + offset).to_string(),
        };
        let binding = PortBinding { host_ip: address.clone(), host_port };
        (format!("{}/{protocol}", ports.first + offset), binding)
    });
    Ok(published.collect())
}

/// Parses all `-p` values into Docker's map; one port may be published more than once.
///
/// # Errors
/// As [`parse_publish`].
pub fn parse_publish_all<S: AsRef<str>>(raws: &[S]) -> Result<PortMap, ParseError> {
    let mut map = PortMap::new();
    for raw in raws {
        for (port, binding) in parse_publish(raw.as_ref())? {
            map.entry(port).or_default().get_or_insert_default().push(binding);
        }
    }
    Ok(map)
}

/// Parses one `--expose` value (`80`, `80-90/udp`) into container ports.
///
/// # Errors
/// Docker's text for whatever is wrong.
pub fn parse_expose(raw: &str) -> Result<Vec<String>, ParseError> {
    if raw.contains(':') {
        return Err(ParseError::new(format!("invalid port format for --expose: {raw}")));
    }
    let (ports, protocol) = split_protocol(raw);
    let range = PortRange::parse(ports).map_err(|error| {
        ParseError::new(format!("invalid range format for --expose: {ports}, error: {error}"))
    })?;
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(ParseError::new(format!("Invalid proto: {protocol}")));
    }
    Ok((range.first..=range.last).map(|port| format!("{port}/{protocol}")).collect())
}

/// An inclusive range of ports; one port is a range of length one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port, not below `first`.
    pub last: u16,
}

impl PortRange {
    /// Parses `80` or `80-90`.
    ///
    /// # Errors
    /// Docker's text for whatever is wrong.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::new("empty string specified for ports"));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (parse_port(first)?, parse_port(last)?);
        if last < first {
            return Err(ParseError::new(format!("invalid range specified for port: {text}")));
        }
        Ok(Self { first, last })
    }
}

/// A decimal port without a sign; the texts are those of Go's `strconv`, which Docker shows.
fn parse_port(text: &str) -> Result<u16, ParseError> {
    let why = if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        "invalid syntax"
    } else if let Ok(port) = text.parse() {
        return Ok(port);
    } else {
        "value out of range"
    };
    Err(ParseError::new(format!("strconv.ParseUint: parsing \"{text}\": {why}")))
}

/// Splits `80/udp`; without a protocol it is TCP.
fn split_protocol(text: &str) -> (&str, &str) {
    let mut parts = text.split('/');
    let port = parts.next().unwrap_or_default();
    match parts.next() {
        Some(protocol) if !protocol.is_empty() => (port, protocol),
        _ => (port, "tcp"),
    }
}

/// Checks an address of the host and takes the brackets of an IPv6 address away.
fn parse_address(text: &str) -> Result<String, ParseError> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.is_empty() && text.is_empty() || bare.parse::<IpAddr>().is_ok() {
        Ok(bare.to_owned())
    } else {
        Err(ParseError::new(format!("Invalid ip address: {text}")))
    }
}

/// Turns `published=8080,target=80,protocol=tcp` into `8080:80/tcp`.
fn standard_notation(raw: &str) -> Result<String, ParseError> {
    let mut fields = BTreeMap::new();
    for field in raw.split(',') {
        let Some((key, value)) = field.split_once('=') else {
            return Err(ParseError::new(format!(
                "invalid publish opts format (should be name=value but got '{field}')"
            )));
        };
        fields.insert(key, value);
    }
    let field = |key: &str| fields.get(key).copied().unwrap_or_default();
    let protocol = if field("protocol").is_empty() { "tcp" } else { field("protocol") };
    if [field("published"), field("target"), protocol].iter().any(|text| text.contains('=')) {
        return Err(ParseError::new(format!("invalid publish opts format: {raw}")));
    }
    Ok(format!("{}:{}/{protocol}", field("published"), field("target")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn published(raw: &str) -> Vec<String> {
        parse_publish(raw)
            .unwrap()
            .into_iter()
            .map(|(port, binding)| format!("{}|{}|{port}", binding.host_ip, binding.host_port))
            .collect()
    }

    #[test]
    fn publish_forms() {
        for (raw, want) in [
            ("80", vec!["||80/tcp"]),
            ("80/udp", vec!["||80/udp"]),
            ("80/TCP", vec!["||80/tcp"]),
            ("80/", vec!["||80/tcp"]),
            (":80", vec!["||80/tcp"]),
            ("::80", vec!["||80/tcp"]),
            ("8080:80", vec!["|8080|80/tcp"]),
            ("127.0.0.1:8080:80", vec!["127.0.0.1|8080|80/tcp"]),
            ("127.0.0.1::80", vec!["127.0.0.1||80/tcp"]),
            ("[::1]:80:80", vec!["::1|80|80/tcp"]),
            ("::1:80:80", vec!["::1|80|80/tcp"]),
            ("8000-8001:80-81", vec!["|8000|80/tcp", "|8001|81/tcp"]),
            ("8000-8001:80", vec!["|8000-8001|80/tcp"]),
            ("80-81", vec!["||80/tcp", "||81/tcp"]),
            ("published=8080,target=80", vec!["|8080|80/tcp"]),
            ("published=8080,target=80,protocol=udp", vec!["|8080|80/udp"]),
        ] {
            assert_eq!(published(raw), want, "{raw}");
        }
    }

    #[test]
    fn publish_errors_are_docker_s() {
        for (raw, want) in [
            ("", "No port specified: <empty>"),
            ("80:", "No port specified: 80:<empty>"),
            ("abc", "Invalid containerPort: abc"),
            ("99999", "Invalid containerPort: 99999"),
            ("90-80", "Invalid containerPort: 90-80"),
            ("-1", "Invalid containerPort: -1"),
            ("80/foo", "Invalid proto: foo"),
            ("1:2:3:4", "Invalid ip address: 1:2"),
            ("1.2.3:80:80", "Invalid ip address: 1.2.3"),
            ("localhost:80:80", "Invalid ip address: localhost"),
            ("1.2.3.4:80", "Invalid hostPort: 1.2.3.4"),
            ("65536:80", "Invalid hostPort: 65536"),
            (
                "80-82:80-81",
                "Invalid ranges specified for container and host Ports: 80-81 and 80-82",
            ),
        ] {
            assert_eq!(parse_publish(raw).unwrap_err().to_string(), want, "{raw}");
        }
    }

    #[test]
    fn one_port_can_be_published_twice() {
        let map = parse_publish_all(&["80:80", "81:80", "53:53/udp"]).unwrap();
        let ports: Vec<_> = map
            .iter()
            .map(|(port, bindings)| (port.as_str(), bindings.as_ref().unwrap().len()))
            .collect();
        assert_eq!(ports, [("53/udp", 1), ("80/tcp", 2)]);
    }

    #[test]
    fn expose_forms_and_errors() {
        assert_eq!(parse_expose("80").unwrap(), ["80/tcp"]);
        assert_eq!(parse_expose("80-81/udp").unwrap(), ["80/udp", "81/udp"]);
        for (raw, want) in [
            ("80:90", "invalid port format for --expose: 80:90"),
            ("", "invalid range format for --expose: , error: empty string specified for ports"),
            (
                "x",
                "invalid range format for --expose: x, error: strconv.ParseUint: parsing \"x\": invalid syntax",
            ),
            ("80/foo", "Invalid proto: foo"),
        ] {
            assert_eq!(parse_expose(raw).unwrap_err().to_string(), want, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(raw in "\\PC{0,40}") {
            let _ = parse_publish(&raw);
            let _ = parse_expose(&raw);
        }

        #[test]
        fn pairs_round_trip(host in 0_u16.., container in 0_u16.., udp in any::<bool>()) {
            let protocol = if udp { "udp" } else { "tcp" };
            let raw = format!("127.0.0.1:{host}:{container}/{protocol}");
            let want = format!("127.0.0.1|{host}|{container}/{protocol}");
            prop_assert_eq!(published(&raw), vec![want]);
        }

        #[test]
        fn ranges_of_equal_length_pair_up(first in 1_u16..60000, host in 1_u16..60000, more in 0_u16..50) {
            let ports = parse_publish(&format!("{host}-{}:{first}-{}", host + more, first + more)).unwrap();
            prop_assert_eq!(ports.len(), usize::from(more) + 1);
            prop_assert_eq!(&ports[usize::from(more)].0, &format!("{}/tcp", first + more));
            prop_assert_eq!(&ports[usize::from(more)].1.host_port, &(host + more).to_string());
        }
    }
}
