//! The files that the engine keeps for a container: `hostname`, `hosts`, `resolv.conf`.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use orlop_types::config::HostConfig;

use crate::Result;
use crate::error::system;

/// The host's resolver configuration.
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// The host's table of names.
const HOST_HOSTS: &str = "/etc/hosts";

/// What the files say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFacts<'a> {
    /// Host name of the container.
    pub hostname: &'a str,
    /// Domain name, often empty.
    pub domainname: &'a str,
    /// Address on its network, if it has one of its own.
    pub address: Option<Ipv4Addr>,
    /// Whether it shares the host's network.
    pub host_network: bool,
    /// Options that have a say.
    pub host_config: &'a HostConfig,
}

/// Writes the files into the container's directory. They are made anew at each start and so need
/// no sync.
pub(crate) fn write(directory: &Path, facts: &FileFacts<'_>) -> Result<()> {
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(system("write", &path))
    };
    put("hostname", &format!("{}\n", facts.hostname))?;
    let host_hosts =
        if facts.host_network { std::fs::read_to_string(HOST_HOSTS).ok() } else { None };
    put("hosts", &hosts(facts, host_hosts.as_deref()))?;
    let host = std::fs::read_to_string(HOST_RESOLV_CONF).unwrap_or_default();
    put("resolv.conf", &resolv_conf(facts, &host))
}

/// The text of `/etc/hosts`.
fn hosts(facts: &FileFacts<'_>, host: Option<&str>) -> String {
    let mut text = match host {
        Some(host) => host.to_owned(),
        None => "127.0.0.1\tlocalhost\n\
                 ::1\tlocalhost ip6-localhost ip6-loopback\n\
                 fe00::\tip6-localnet\n\
                 ff00::\tip6-mcastprefix\n\
                 ff02::1\tip6-allnodes\n\
                 ff02::2\tip6-allrouters\n"
            .to_owned(),
    };
    for extra in facts.host_config.extra_hosts.iter().flatten() {
        if let Some((name, address)) = extra.split_once([':', '=']) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}\t{name}", address.trim_matches(['[', ']']));
        }
    }
    if let Some(address) = facts.address {
        let full = if facts.domainname.is_empty() {
            facts.hostname.to_owned()
        } else {
            format!("{0}.{1} {0}", facts.hostname, facts.domainname)
        };
        let _ = writeln!(text, "{address}\t{full}");
    }
    text
}

/// The text of `/etc/resolv.conf`: the host's, without name servers that only the host can reach,
/// changed by `--dns`, `--dns-search` and `--dns-option`.
fn resolv_conf(facts: &FileFacts<'_>, host: &str) -> String {
    let mut servers = Vec::new();
    let mut search = Vec::new();
    let mut options = Vec::new();
    for line in host.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().map(str::to_owned)),
            Some("search" | "domain") => search = words.map(str::to_owned).collect(),
            Some("options") => options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    if !facts.host_network {
        servers.retain(|server| !server.starts_with("127.") && server != "::1");
    }
    let chosen = |mine: &Option<Vec<String>>, theirs: Vec<String>| match mine {
        Some(mine) if !mine.is_empty() => mine.clone(),
        _ => theirs,
    };
    let config = facts.host_config;
    let mut text = String::new();
    for server in chosen(&config.dns, servers) {
        let _ = writeln!(text, "nameserver {server}");
    }
    let search = chosen(&config.dns_search, search);
    // `--dns-search .` means none at all.
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    let options = chosen(&config.dns_options, options);
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(config: &HostConfig) -> FileFacts<'_> {
        FileFacts {
            hostname: "web",
            domainname: "",
            address: Some(Ipv4Addr::new(172, 17, 0, 2)),
            host_network: false,
            host_config: config,
        }
    }

    #[test]
    fn hosts_end_with_the_containers_own_name() {
        let config = HostConfig {
            extra_hosts: Some(vec!["db:10.0.0.1".to_owned()]),
            ..HostConfig::default()
        };
        let text = hosts(&facts(&config), None);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("10.0.0.1\tdb\n172.17.0.2\tweb\n"), "{text}");
    }

    #[test]
    fn loopback_name_servers_stay_with_the_host() {
        let config = HostConfig::default();
        let host = "# made\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch a.example b.example\noptions edns0\n";
        assert_eq!(
            resolv_conf(&facts(&config), host),
            "nameserver 192.0.2.1\nsearch a.example b.example\noptions edns0\n"
        );
        let chosen = HostConfig {
            dns: Some(vec!["192.0.2.9".to_owned()]),
            dns_search: Some(vec![".".to_owned()]),
            ..HostConfig::default()
        };
        assert_eq!(resolv_conf(&facts(&chosen), host), "nameserver 192.0.2.9\noptions edns0\n");
    }
}
