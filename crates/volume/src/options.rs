//! Options of the `local` driver: `type`, `o`, `device`, `size` (pure functions).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};

use orlop_sys::mount_filesystem::FilesystemRecipe;
use orlop_types::size::parse_ram_bytes;

use crate::{Error, Result};

const KNOWN: [&str; 4] = ["type", "o", "device", "size"];
/// Option, and the options that it needs, in the order in which Docker looks for them.
const NEEDS: [(&str, &[&str]); 3] =
    [("device", &["type"]), ("type", &["device"]), ("o", &["device", "type"])];

/// Refuses what Docker's `local` driver refuses; nothing is looked up.
pub(crate) fn check(name: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if let Some(option) = options.keys().find(|option| !KNOWN.contains(&option.as_str())) {
        return Err(Error::InvalidOption { name: name.to_owned(), option: option.clone() });
    }
    let given = |option: &str| options.get(option).is_some_and(|value| !value.is_empty());
    if let Some(size) = options.get("size") {
        let bytes = parse_ram_bytes(size)
            .map_err(|reason| Error::InvalidSize { name: name.to_owned(), reason })?;
        if bytes > 0 {
            return Err(Error::NoQuota { name: name.to_owned() });
        }
    }
    for (option, needs) in NEEDS {
        if given(option)
            && let Some(option) = needs.iter().find(|needed| !given(needed))
        {
            return Err(Error::MissingOption { name: name.to_owned(), option });
        }
    }
    if options.get("type").is_some_and(|kind| kind == "cifs")
        && options.get("device").is_some_and(|device| has_port(device))
    {
        return Err(Error::CifsPort { name: name.to_owned() });
    }
    Ok(())
}

/// The file system that the options describe, if they describe one, with host names as given.
pub(crate) fn filesystem(options: Option<&BTreeMap<String, String>>) -> Option<FilesystemRecipe> {
    let options = options?;
    let value = |name: &str| options.get(name).cloned().unwrap_or_default();
    if value("device").is_empty() {
        return None;
    }
    Some(FilesystemRecipe { fstype: value("type"), options: value("o"), device: value("device") })
}

/// Finds the address of a host.
pub(crate) type Resolve<'a> = &'a dyn Fn(&str) -> io::Result<IpAddr>;

/// Puts addresses in the place of host names, which the kernel cannot look up: that of `addr=` for
/// NFS and CIFS, else that of the device for CIFS. `nfs4` is left alone, as in Docker. The error
/// names the host.
pub(crate) fn resolve(
    mut recipe: FilesystemRecipe,
    lookup: Resolve<'_>,
) -> Result<FilesystemRecipe, (String, io::Error)> {
    if !matches!(recipe.fstype.as_str(), "nfs" | "cifs") {
        return Ok(recipe);
    }
    let find = |host: &str| lookup(host).map_err(|error| (host.to_owned(), error));
    let named = recipe.options.split(',').find_map(|word| word.strip_prefix("addr="));
    if let Some(host) = named.filter(|host| !host.is_empty()) {
        if host.parse::<Ipv4Addr>().is_err() {
            let found = format!("addr={}", find(host)?);
            recipe.options = recipe.options.replacen(&format!("addr={host}"), &found, 1);
        }
        return Ok(recipe);
    }
    if recipe.fstype == "cifs"
        && let Some((before, rest)) = recipe.device.split_once("//")
    {
        let host = rest.split('/').next().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        if !host.is_empty() && literal.parse::<IpAddr>().is_err() {
            let path = rest.strip_prefix(host).unwrap_or_default();
            recipe.device = format!("{before}//{}{path}", find(host)?);
        }
    }
    Ok(recipe)
}

/// Asks the system for the address of a host, IPv4 first.
pub(crate) fn lookup(host: &str) -> io::Result<IpAddr> {
    let found: Vec<IpAddr> = (host, 0).to_socket_addrs()?.map(|address| address.ip()).collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "no such host"))
}

/// Whether `//host:port/share` names a port.
fn has_port(device: &str) -> bool {
    let address = device.split_once("//").map_or(device, |(_, rest)| rest);
    let host = address.split('/').next().unwrap_or_default();
    match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').is_some_and(|(_, port)| port.starts_with(':')),
        None => host.contains(':'),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn refused_options_have_dockers_texts() {
        let table: [(&[(&str, &str)], &str); 9] = [
            (&[("foo", "1")], "create N: invalid option: \"foo\""),
            (&[("type", "tmpfs")], "create N: missing required option: \"device\""),
            (&[("device", "/x")], "create N: missing required option: \"type\""),
            (&[("o", "bind")], "create N: missing required option: \"device\""),
            (&[("o", "bind"), ("device", "/x")], "create N: missing required option: \"type\""),
            (&[("size", "10m")], "create N: quota size requested but no quota support"),
            (&[("size", "much")], "create N: invalid size: 'much'"),
            (
                &[("type", "cifs"), ("device", "//host:445/share")],
                "create N: port not allowed in CIFS device URL, include 'port' in 'o='",
            ),
            (
                &[("type", "cifs"), ("device", "//[fe80::1]:445/share")],
                "create N: port not allowed in CIFS device URL, include 'port' in 'o='",
            ),
        ];
        for (pairs, text) in table {
            let error = check("N", &options(pairs)).unwrap_err();
            assert_eq!(error.to_string(), text);
            assert_eq!(error.kind(), orlop_types::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn accepted_options_are_not_looked_up() {
        for pairs in [
            &[][..],
            &[("size", "0")],
            &[("type", "none"), ("o", "bind"), ("device", "/does/not/exist")],
            &[("type", "tmpfs"), ("device", "tmpfs")],
            &[("type", "cifs"), ("device", "//host/share:1"), ("o", "port=445")],
            &[("type", "cifs"), ("device", "//[fe80::1]/share")],
        ] {
            check("N", &options(pairs)).unwrap();
        }
    }

    #[test]
    fn a_device_makes_a_file_system() {
        assert_eq!(filesystem(None), None);
        assert_eq!(filesystem(Some(&options(&[("size", "0")]))), None);
        assert_eq!(
            filesystem(Some(&options(&[("type", "tmpfs"), ("device", "tmpfs")]))),
            Some(FilesystemRecipe {
                fstype: "tmpfs".to_owned(),
                options: String::new(),
                device: "tmpfs".to_owned()
            })
        );
    }

    #[test]
    fn host_names_become_addresses_where_docker_looks_them_up() {
        let lookup = |host: &str| match host {
            "server" => Ok(IpAddr::from([192, 0, 2, 7])),
            _ => Err(io::Error::other("no such host")),
        };
        let resolved = |fstype: &str, o: &str, device: &str| {
            let recipe = FilesystemRecipe {
                fstype: fstype.to_owned(),
                options: o.to_owned(),
                device: device.to_owned(),
            };
            resolve(recipe, &lookup)
                .map(|recipe| format!("{} {}", recipe.options, recipe.device))
                .map_err(|(host, error)| format!("{host}: {error}"))
        };
        let table = [
            ("nfs", "addr=server,rw", ":/x", Ok("addr=192.0.2.7,rw :/x")),
            ("nfs", "rw,addr=10.0.0.1", ":/x", Ok("rw,addr=10.0.0.1 :/x")),
            ("nfs4", "addr=server", ":/x", Ok("addr=server :/x")),
            ("nfs", "rw", "server:/x", Ok("rw server:/x")),
            ("nfs", "addr=none", ":/x", Err("none: no such host")),
            ("cifs", "addr=server", "//nas/x", Ok("addr=192.0.2.7 //nas/x")),
            ("cifs", "user=a", "//server/a/b", Ok("user=a //192.0.2.7/a/b")),
            ("cifs", "user=a", "//10.0.0.1/a", Ok("user=a //10.0.0.1/a")),
            ("cifs", "user=a", "//[fe80::1]/a", Ok("user=a //[fe80::1]/a")),
            ("cifs", "", "//gone/a", Err("gone: no such host")),
            ("ext4", "addr=none", "/dev/x", Ok("addr=none /dev/x")),
        ];
        for (fstype, o, device, want) in table {
            let want = want.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(resolved(fstype, o, device), want, "{fstype} {o} {device}");
        }
        assert_eq!(super::lookup("127.0.0.1").unwrap(), IpAddr::from([127, 0, 0, 1]));
    }
}
