//! `--network` in both notations, and the flags that go with it.
//!
//! Rules and texts are those of Docker 28's command line: flags such as `--ip` hold for the first
//! network; the long notation (`name=x,alias=y,ip=z`) may say the same for each.

use std::collections::BTreeMap;

use super::{EndpointIpamConfig, EndpointSettings, NetworkMode, NetworkingConfig};
use crate::error::ParseError;

/// One `--network` value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkOption {
    /// Name or id of the network, or a mode.
    pub target: String,
    /// Further names of the container on it.
    pub aliases: Vec<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// IPv4 address.
    pub ip: String,
    /// IPv6 address.
    pub ip6: String,
    /// Hardware address.
    pub mac_address: String,
    /// Link-local addresses.
    pub link_local_ips: Vec<String>,
    /// Names that only this container knows.
    pub links: Vec<String>,
    /// Which network has the default route.
    pub gw_priority: i64,
}

/// The values of all flags about networks, as given.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkFlags<'a> {
    /// `--network`, in order.
    pub networks: &'a [NetworkOption],
    /// `--network-alias`.
    pub aliases: &'a [String],
    /// `--link`.
    pub links: &'a [String],
    /// `--ip`.
    pub ip: &'a str,
    /// `--ip6`.
    pub ip6: &'a str,
    /// `--mac-address`.
    pub mac_address: &'a str,
    /// `--link-local-ip`.
    pub link_local_ips: &'a [String],
}

/// What the flags come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    /// For `HostConfig.NetworkMode`.
    pub mode: String,
    /// The networks and what is asked of each.
    pub config: NetworkingConfig,
    /// For `HostConfig.Links`: links on the default bridge.
    pub links: Vec<String>,
}

impl NetworkOption {
    /// Parses one `--network` value.
    ///
    /// # Errors
    /// Docker's text for whatever is wrong with the long notation.
    pub fn parse(raw: &str) -> Result<Self, ParseError> {
        if !is_long(raw) {
            return Ok(Self { target: raw.to_owned(), ..Self::default() });
        }
        let mut option = Self::default();
        for field in crate::mount_flag::split_csv(raw)? {
            let field = field.to_lowercase();
            let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty())
            else {
                return Err(ParseError::new(format!("invalid field {field}")));
            };
            let value = value.trim().to_owned();
            match key.trim() {
                "name" => option.target = value,
                "alias" => option.aliases.push(value),
                "ip" => option.ip = value,
                "ip6" => option.ip6 = value,
                "mac-address" => option.mac_address = value,
                "link-local-ip" => option.link_local_ips.push(value),
                "driver-opt" => {
                    let pair = value.split_once('=').filter(|(key, _)| !key.is_empty());
                    let (key, value) = pair.ok_or_else(|| {
                        ParseError::new("invalid key value pair format in driver options")
                    })?;
                    option.driver_opts.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                "gw-priority" => {
                    option.gw_priority = value.parse().map_err(|_| {
                        ParseError::new(format!("invalid gw-priority ({value}): invalid syntax"))
                    })?;
                }
                other => return Err(ParseError::new(format!("invalid field key {other}"))),
            }
        }
        if option.target.is_empty() {
            return Err(ParseError::new("network name/id is not specified"));
        }
        Ok(option)
    }

    /// Lets a flag speak for the first network, unless that has said it itself.
    fn apply(&mut self, flags: &NetworkFlags<'_>) -> Result<(), ParseError> {
        let both = |one: bool, other: bool, what: &str| match one && other {
            true => {
                Err(ParseError::new(format!("conflicting options: cannot specify both {what}")))
            }
            false => Ok(()),
        };
        let (aliases, links) = (!flags.aliases.is_empty(), !flags.links.is_empty());
        let local = !flags.link_local_ips.is_empty();
        both(!self.aliases.is_empty(), aliases, "--network-alias and per-network alias")?;
        both(!self.links.is_empty(), links, "--link and per-network links")?;
        both(!self.ip.is_empty(), !flags.ip.is_empty(), "--ip and per-network IPv4 address")?;
        both(!self.ip6.is_empty(), !flags.ip6.is_empty(), "--ip6 and per-network IPv6 address")?;
        both(
            !self.mac_address.is_empty(),
            !flags.mac_address.is_empty(),
            "--mac-address and per-network MAC address",
        )?;
        let what = "--link-local-ip and per-network link-local IP addresses";
        both(!self.link_local_ips.is_empty(), local, what)?;
        if aliases {
            self.aliases = flags.aliases.to_vec();
        }
        // On the default bridge a link belongs to the container, not to its end point.
        if links && NetworkMode::of(&self.target).is_user_defined() {
            self.links = flags.links.to_vec();
        }
        for (mine, flag) in [
            (&mut self.ip, flags.ip),
            (&mut self.ip6, flags.ip6),
            (&mut self.mac_address, flags.mac_address),
        ] {
            if !flag.is_empty() {
                flag.clone_into(mine);
            }
        }
        if local {
            self.link_local_ips = flags.link_local_ips.to_vec();
        }
        Ok(())
    }

    fn settings(&self) -> Result<EndpointSettings, ParseError> {
        if self.target.trim().is_empty() {
            return Err(ParseError::new("no name set for network"));
        }
        if !NetworkMode::of(&self.target).is_user_defined() {
            if !self.aliases.is_empty() {
                return Err(ParseError::new(
                    "network-scoped aliases are only supported for user-defined networks",
                ));
            }
            if !self.links.is_empty() {
                return Err(ParseError::new("links are only supported for user-defined networks"));
            }
        }
        if !self.mac_address.is_empty() {
            parse_mac(self.mac_address.trim()).ok_or_else(|| {
                ParseError::new(format!("{} is not a valid mac address", self.mac_address))
            })?;
        }
        let addresses = EndpointIpamConfig {
            ipv4_address: self.ip.clone(),
            ipv6_address: self.ip6.clone(),
            link_local_ips: Some(self.link_local_ips.clone()).filter(|list| !list.is_empty()),
        };
        let some = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
        Ok(EndpointSettings {
            ipam_config: Some(addresses).filter(|wanted| *wanted != EndpointIpamConfig::default()),
            links: some(&self.links),
            aliases: some(&self.aliases),
            mac_address: self.mac_address.clone(),
            driver_opts: Some(self.driver_opts.clone()).filter(|options| !options.is_empty()),
            gw_priority: self.gw_priority,
            ..EndpointSettings::default()
        })
    }
}

impl NetworkFlags<'_> {
    /// Decides mode, networks and links.
    ///
    /// # Errors
    /// Docker's `conflicting options: …` texts.
    pub fn request(&self) -> Result<NetworkRequest, ParseError> {
        let default = [NetworkOption { target: "default".to_owned(), ..NetworkOption::default() }];
        let given = if self.networks.is_empty() { &default[..] } else { self.networks };
        let mut request = NetworkRequest::default();
        let (mut user_defined, mut predefined) = (false, false);
        for (index, option) in given.iter().enumerate() {
            let mode = NetworkMode::of(&option.target);
            let is_user_defined = mode.is_user_defined();
            user_defined |= is_user_defined;
            predefined |= !is_user_defined;
            let mut option = option.clone();
            if index == 0 {
                option.apply(self)?;
                request.mode.clone_from(&option.target);
                if !is_user_defined {
                    request.links = self.links.to_vec();
                }
            }
            let settings = option.settings()?;
            if request.config.endpoints_config.contains_key(&option.target) {
                return Err(ParseError::new(format!(
                    "network \"{}\" is specified multiple times",
                    option.target
                )));
            }
            // One network without wishes says nothing that the mode does not.
            if given.len() > 1 || settings != EndpointSettings::default() {
                request.config.endpoints_config.insert(option.target, settings);
            }
        }
        if user_defined && predefined {
            return Err(ParseError::new(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ));
        }
        Ok(request)
    }
}

/// Reads `02:42:ac:11:00:02`, also with hyphens, or in groups of four digits with dots.
#[must_use]
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let digits: String = match text.as_bytes().get(2) {
        Some(separator @ (b':' | b'-')) if text.len() == 17 => {
            let parts: Vec<&str> = text.split(char::from(*separator)).collect();
            (parts.len() == 6 && parts.iter().all(|part| part.len() == 2))
                .then(|| parts.concat())?
        }
        _ if text.len() == 14 => {
            let parts: Vec<&str> = text.split('.').collect();
            (parts.len() == 3 && parts.iter().all(|part| part.len() == 4))
                .then(|| parts.concat())?
        }
        _ => return None,
    };
    let mut mac = [0; 6];
    for (index, byte) in mac.iter_mut().enumerate() {
        let pair = digits.get(index * 2..index * 2 + 2)?;
        if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(mac)
}

/// Docker's test for the long notation: `key=value` somewhere, of word characters.
fn is_long(raw: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    raw.as_bytes()
        .windows(3)
        .any(|three| three[1] == b'=' && is_word(three[0]) && is_word(three[2]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(raws: &[&str]) -> Vec<NetworkOption> {
        raws.iter().map(|raw| NetworkOption::parse(raw).unwrap()).collect()
    }

    fn request(raws: &[&str], flags: NetworkFlags<'_>) -> Result<NetworkRequest, String> {
        let networks = options(raws);
        NetworkFlags { networks: &networks, ..flags }.request().map_err(|error| error.to_string())
    }

    #[test]
    fn the_long_notation_says_it_for_one_network() {
        let option = NetworkOption::parse(
            "name=Shop,alias=a,alias=b,ip=10.0.0.9,mac-address=02:42:0a:00:00:09,gw-priority=-3,\
             driver-opt=x=y",
        )
        .unwrap();
        assert_eq!(option.target, "shop");
        assert_eq!(option.aliases, ["a", "b"]);
        assert_eq!((option.ip.as_str(), option.gw_priority), ("10.0.0.9", -3));
        assert_eq!(option.driver_opts["x"], "y");
        assert_eq!(NetworkOption::parse("container:a").unwrap().target, "container:a");
        for (raw, want) in [
            ("alias=x", "network name/id is not specified"),
            ("name=x,what=y", "invalid field key what"),
            ("name=x,gw-priority=y", "invalid gw-priority (y): invalid syntax"),
            ("name=x,driver-opt=y", "invalid key value pair format in driver options"),
            ("name=x,y", "invalid field y"),
        ] {
            assert_eq!(NetworkOption::parse(raw).unwrap_err().to_string(), want, "{raw}");
        }
    }

    #[test]
    fn flags_hold_for_the_first_network() {
        let aliases = ["db".to_owned()];
        let flags = NetworkFlags { aliases: &aliases, ip: "10.1.0.2", ..NetworkFlags::default() };
        let made = request(&["one", "two"], flags).unwrap();
        assert_eq!(made.mode, "one");
        let one = &made.config.endpoints_config["one"];
        assert_eq!(one.aliases, Some(vec!["db".to_owned()]));
        assert_eq!(one.ipam_config.as_ref().unwrap().ipv4_address, "10.1.0.2");
        assert_eq!(made.config.endpoints_config["two"], EndpointSettings::default());
        let plain = request(&[], NetworkFlags::default()).unwrap();
        assert_eq!((plain.mode.as_str(), plain.config.endpoints_config.len()), ("default", 0));
        let links = ["a:b".to_owned()];
        let flags = NetworkFlags { links: &links, ..NetworkFlags::default() };
        assert_eq!(request(&[], flags).unwrap().links, ["a:b"]);
        let linked = request(&["one"], flags).unwrap();
        assert!(linked.links.is_empty());
        assert_eq!(linked.config.endpoints_config["one"].links, Some(vec!["a:b".to_owned()]));
    }

    #[test]
    fn conflicts_are_told_in_docker_s_words() {
        let aliases = ["db".to_owned()];
        let alias = NetworkFlags { aliases: &aliases, ..NetworkFlags::default() };
        let ip = NetworkFlags { ip: "10.0.0.1", ..NetworkFlags::default() };
        let mac = NetworkFlags { mac_address: "no", ..NetworkFlags::default() };
        for (networks, flags, want) in [
            (
                &["name=x,alias=y"][..],
                alias,
                "conflicting options: cannot specify both --network-alias and per-network alias",
            ),
            (
                &["name=x,ip=10.0.0.2"],
                ip,
                "conflicting options: cannot specify both --ip and per-network IPv4 address",
            ),
            (&["x", "x"], NetworkFlags::default(), "network \"x\" is specified multiple times"),
            (
                &["x", "host"],
                NetworkFlags::default(),
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ),
            (
                &["bridge"],
                alias,
                "network-scoped aliases are only supported for user-defined networks",
            ),
            (&["x"], mac, "no is not a valid mac address"),
        ] {
            assert_eq!(request(networks, flags).unwrap_err(), want, "{networks:?}");
        }
    }

    #[test]
    fn hardware_addresses_are_read_as_go_reads_them() {
        let want = Some([2, 0x42, 0xac, 0x11, 0, 2]);
        for text in ["02:42:ac:11:00:02", "02-42-AC-11-00-02", "0242.ac11.0002"] {
            assert_eq!(parse_mac(text), want, "{text}");
        }
        for bad in ["", "02:42", "02:42:ac:11:00:0g", "02:42-ac:11:00:02", "+2:42:ac:11:00:02"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(raw in "\\PC{0,40}") {
            let _ = NetworkOption::parse(&raw);
            let _ = parse_mac(&raw);
        }
    }
}
