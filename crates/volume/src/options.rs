//! Options of the `local` driver: `type`, `o`, `device`, `size` (pure functions).

use std::collections::BTreeMap;

use orlop_types::size::parse_ram_bytes;

use crate::{Error, Result, VolumeSource};

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

/// The file system that the options describe, if they describe one.
pub(crate) fn filesystem(options: Option<&BTreeMap<String, String>>) -> Option<VolumeSource> {
    let options = options?;
    let value = |name: &str| options.get(name).cloned().unwrap_or_default();
    if value("device").is_empty() {
        return None;
    }
    Some(VolumeSource::Filesystem {
        fstype: value("type"),
        options: value("o"),
        device: value("device"),
    })
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
            Some(VolumeSource::Filesystem {
                fstype: "tmpfs".to_owned(),
                options: String::new(),
                device: "tmpfs".to_owned()
            })
        );
    }
}
