//! The files that the engine keeps for a container: `hostname`, `hosts`, `resolv.conf`.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use orlop_types::config::HostConfig;
use orlop_types::network::NameServer;

use crate::Result;
use crate::error::system;

/// The host's resolver configuration.
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// The host's table of names.
const HOST_HOSTS: &str = "/etc/hosts";

/// Where a container's own resolver is.
const RESOLVER: &str = "127.0.0.11";

/// Servers that are asked for one name, as in Docker.
const NAME_SERVERS_MAX: usize = 3;
/// Stands for the host in `--add-host`.
pub(crate) const HOST_GATEWAY: &str = "host-gateway";

/// Docker's choice for a host that has no name server which a container could ask.
const PUBLIC_NAME_SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];
/// Copy of what `resolv.conf` was last made to say.
const RESOLV_CONF_MADE: &str = "resolv.conf.made";

/// What the files say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileFacts<'a> {
    /// Host name of the container.
    pub hostname: &'a str,
    /// Domain name, often empty.
    pub domainname: &'a str,
    /// Addresses on its networks.
    pub addresses: &'a [Ipv4Addr],
    /// Lines for links on the default bridge.
    pub linked: &'a [(Ipv4Addr, String)],
    /// Whether it shares the host's network.
    pub host_network: bool,
    /// Whether it has a resolver of its own.
    pub resolver: bool,
    /// What `host-gateway` stands for.
    pub host_gateway: Option<Ipv4Addr>,
    /// Options that have a say.
    pub host_config: &'a HostConfig,
}

/// Name servers for what a container's own resolver does not know: those of `--dns`, which the
/// container asks, or the host's, which are asked from the host.
pub(crate) fn name_servers(host_config: &HostConfig) -> Vec<NameServer> {
    let chosen = host_config.dns.iter().flatten().filter_map(|text| text.parse().ok());
    let chosen: Vec<NameServer> =
        chosen.map(|address| NameServer { address, from_host: false }).collect();
    if !chosen.is_empty() {
        return chosen;
    }
    let host = std::fs::read_to_string(HOST_RESOLV_CONF).unwrap_or_default();
    let servers = host.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok()
    });
    let servers: Vec<NameServer> = servers
        .take(NAME_SERVERS_MAX)
        .map(|address| NameServer { address, from_host: true })
        .collect();
    if !servers.is_empty() {
        return servers;
    }
    let public = PUBLIC_NAME_SERVERS.map(IpAddr::from);
    public.map(|address| NameServer { address, from_host: true }).into()
}

/// Writes the files into the container's directory. They are made anew at each start and so need
/// no sync; but `resolv.conf` stays as it is once somebody else has changed it, which the copy of what
/// was written last tells.
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
    let read = |name: &str| std::fs::read(directory.join(name)).ok();
    let is_changed = read(RESOLV_CONF_MADE)
        .zip(read("resolv.conf"))
        .is_some_and(|(made, present)| made != present);
    if is_changed {
        return Ok(());
    }
    let text = resolv_conf(facts, &host);
    put("resolv.conf", &text)?;
    put(RESOLV_CONF_MADE, &text)
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
            let gateway = facts.host_gateway.filter(|_| address == HOST_GATEWAY);
            let gateway = gateway.map(|gateway| gateway.to_string());
            let address = gateway.as_deref().unwrap_or(address);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}\t{name}", address.trim_matches(['[', ']']));
        }
    }
    for (address, names) in facts.linked {
        let _ = writeln!(text, "{address}\t{names}");
    }
    let mut full = facts.hostname.to_owned();
    if !facts.domainname.is_empty() {
        full = format!("{full}.{}", facts.domainname);
    }
    if let Some((short, _)) = full.clone().split_once('.') {
        full = format!("{full} {short}");
    }
    for address in facts.addresses {
        let _ = writeln!(text, "{address}\t{full}");
    }
    text
}

/// The text of `/etc/resolv.conf`: the host's, without name servers that only the host can reach, public
/// ones where none is left, changed by `--dns`, `--dns-search` and `--dns-option`.
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
        servers.retain(|server| {
            server.parse::<Ipv4Addr>().is_ok_and(|address| !address.is_loopback())
        });
        if servers.is_empty() {
            servers = PUBLIC_NAME_SERVERS.map(|address| address.to_string()).into();
        }
    }
    let chosen = |mine: &Option<Vec<String>>, theirs: Vec<String>| match mine {
        Some(mine) if !mine.is_empty() => mine.clone(),
        _ => theirs,
    };
    let config = facts.host_config;
    let mut text = String::new();
    let servers = match facts.resolver {
        true => vec![RESOLVER.to_owned()],
        false => chosen(&config.dns, servers),
    };
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    let search = chosen(&config.dns_search, search);
    // `--dns-search .` means none at all.
    if !search.is_empty() && search != ["."] {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    let mut options = chosen(&config.dns_options, options);
    // A name without dots may be a container's: it is asked for as it is.
    if facts.resolver && !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push("ndots:0".to_owned());
    }
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
            addresses: const { &[Ipv4Addr::new(172, 17, 0, 2)] },
            linked: &[],
            host_network: false,
            resolver: false,
            host_gateway: Some(Ipv4Addr::new(172, 17, 0, 1)),
            host_config: config,
        }
    }

    #[test]
    fn a_resolver_configuration_that_was_changed_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = |server: &str| HostConfig {
            dns: Some(vec![server.to_owned()]),
            ..HostConfig::default()
        };
        let path = directory.path().join("resolv.conf");
        let text = || std::fs::read_to_string(&path).expect("it was written");
        write(directory.path(), &facts(&config("192.0.2.1"))).expect("written");
        write(directory.path(), &facts(&config("192.0.2.2"))).expect("written again");
        assert!(text().starts_with("nameserver 192.0.2.2\n"), "{}", text());
        std::fs::write(&path, "nameserver 192.0.2.3\n").expect("changed");
        write(directory.path(), &facts(&config("192.0.2.4"))).expect("left alone");
        assert_eq!(text(), "nameserver 192.0.2.3\n");
    }

    #[test]
    fn hosts_end_with_the_containers_own_name() {
        let config = HostConfig {
            extra_hosts: Some(vec!["me:host-gateway".to_owned(), "db:10.0.0.1".to_owned()]),
            ..HostConfig::default()
        };
        let text = hosts(&facts(&config), None);
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"), "{text}");
        assert!(text.ends_with("172.17.0.1\tme\n10.0.0.1\tdb\n172.17.0.2\tweb\n"), "{text}");
    }

    #[test]
    fn loopback_name_servers_stay_with_the_host() {
        let config = HostConfig::default();
        let host = "# made\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch a.example b.example\noptions edns0\n";
        assert_eq!(
            resolv_conf(&facts(&config), host),
            "nameserver 192.0.2.1\nsearch a.example b.example\noptions edns0\n"
        );
        // Those of IPv6 cannot be reached from an IPv4 network.
        for nowhere in ["nameserver 127.0.0.53\nnameserver ::1\n", "nameserver 2001:db8::1\n", ""] {
            assert_eq!(
                resolv_conf(&facts(&config), nowhere),
                "nameserver 8.8.8.8\nnameserver 8.8.4.4\n",
                "{nowhere}"
            );
            let mine = FileFacts { host_network: true, ..facts(&config) };
            assert_eq!(resolv_conf(&mine, nowhere), nowhere);
        }
        let chosen = HostConfig {
            dns: Some(vec!["192.0.2.9".to_owned()]),
            dns_search: Some(vec![".".to_owned()]),
            ..HostConfig::default()
        };
        assert_eq!(resolv_conf(&facts(&chosen), host), "nameserver 192.0.2.9\noptions edns0\n");
    }

    #[test]
    fn a_container_with_a_resolver_asks_nobody_else() {
        let config = HostConfig {
            dns: Some(vec!["192.0.2.9".to_owned()]),
            dns_search: Some(vec!["a.example".to_owned()]),
            ..HostConfig::default()
        };
        let facts = FileFacts { resolver: true, ..facts(&config) };
        assert_eq!(
            resolv_conf(&facts, "nameserver 192.0.2.1\noptions edns0\n"),
            "nameserver 127.0.0.11\nsearch a.example\noptions edns0 ndots:0\n"
        );
        let names = name_servers(&config);
        assert_eq!((names.len(), names[0].from_host), (1, false));
    }
}
