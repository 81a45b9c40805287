//! `EXPOSE`: `port`, `first-last`, each with `/tcp`, `/udp` or `/sctp`.
//!
//! BuildKit still takes `ip:host:container` here and keeps the container's port only; so do we,
//! with a build check.

use std::net::IpAddr;

use crate::error::Error;
use crate::quote::go_quoted;

/// The ports that expanded `EXPOSE` words mean, as the image's config holds them: `80/tcp`.
///
/// # Errors
/// Ports, ranges, protocols and addresses that aren't any, in BuildKit's words.
pub fn expose_ports(words: &[String]) -> Result<Vec<String>, Error> {
    let mut ports = Vec::new();
    for word in words {
        ports.extend(one(word).map_err(|error| error.at_word(word))?);
    }
    Ok(ports)
}

/// A word's address, host port, container port and protocol.
pub(crate) struct Parts<'a> {
    pub address: &'a str,
    pub host_port: &'a str,
    pub port: &'a str,
    pub protocol: &'a str,
}

pub(crate) fn parts(word: &str) -> Parts<'_> {
    let (before, container) = word.rsplit_once(':').unwrap_or(("", word));
    let (address, host_port) = before.rsplit_once(':').unwrap_or(("", before));
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    Parts { address, host_port, port, protocol }
}

fn one(word: &str) -> Result<Vec<String>, Error> {
    let Parts { address, host_port, port, protocol } = parts(word);
    let invalid = |why: &str| Error::new(format!("invalid port: {}: {why}", go_quoted(word)));
    if port.is_empty() {
        return Err(invalid("no port specified"));
    }
    let lower = protocol.to_lowercase();
    let lower = match lower.as_str() {
        "" => "tcp",
        name @ ("tcp" | "udp" | "sctp") => name,
        _ => return Err(invalid(&format!("invalid proto: {protocol}"))),
    };
    let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    if !address.is_empty() && bare.unwrap_or(address).parse::<IpAddr>().is_err() {
        return Err(Error::new(format!("invalid IP address: {}", bare.unwrap_or(address))));
    }
    let (first, last) =
        range(port).ok_or_else(|| Error::new(format!("invalid containerPort: {port}")))?;
    if !host_port.is_empty() {
        let (host_first, host_last) =
            range(host_port).ok_or_else(|| Error::new(format!("invalid hostPort: {host_port}")))?;
        if last - first != host_last - host_first && first != last {
            return Err(Error::new(format!(
                "invalid ranges specified for container and host Ports: {port} and {host_port}"
            )));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{lower}")).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        // Go takes a sign.
        text.strip_prefix('+').unwrap_or(text).parse::<u16>().ok()
    };
    let Some((first, last)) = text.split_once('-') else {
        return number(text).map(|port| (port, port));
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_ports() {
        for (word, expected) in [
            ("80", &["80/tcp"] as &[&str]),
            ("80/UDP", &["80/udp"]),
            ("8000-8002/sctp", &["8000/sctp", "8001/sctp", "8002/sctp"]),
            ("0", &["0/tcp"]),
            ("127.0.0.1:8080:80", &["80/tcp"]),
            ("[::1]:8080:80", &["80/tcp"]),
            ("8080-8081:80", &["80/tcp"]),
            ("80/", &["80/tcp"]),
        ] {
            assert_eq!(expose_ports(&[word.to_owned()]).unwrap(), expected, "{word}");
        }
        for (word, message) in [
            ("", "invalid port: \"\": no port specified"),
            ("/tcp", "invalid port: \"/tcp\": no port specified"),
            ("80/icmp", "invalid port: \"80/icmp\": invalid proto: icmp"),
            ("abc", "invalid containerPort: abc"),
            ("70000", "invalid containerPort: 70000"),
            ("10-5", "invalid containerPort: 10-5"),
            ("x:80", "invalid hostPort: x"),
            ("999.0.0.1:1:80", "invalid IP address: 999.0.0.1"),
            ("1-2:80-85", "invalid ranges specified for container and host Ports: 80-85 and 1-2"),
        ] {
            assert_eq!(
                expose_ports(&[word.to_owned()]).unwrap_err().to_string(),
                message,
                "{word}"
            );
        }
    }
}
