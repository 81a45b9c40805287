//! What names of registries mean, and what the machine says about them.

use std::path::PathBuf;

use crate::config_file::ConfigFile;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::options::ClientOptions;
use crate::proxy::{Proxies, contains, is_loopback, parse_network, split_port};

/// The host of references to Docker Hub.
pub(crate) const HUB: &str = orlop_types::reference::DEFAULT_HOST;
/// Where Docker Hub's registry answers.
const HUB_REGISTRY: &str = "registry-1.docker.io";
/// Directories with certificates for single registries.
const CERTIFICATE_DIRECTORIES: [&str; 2] = ["/etc/orlop/certs.d", "/etc/docker/certs.d"];
/// Files that may name mirrors and insecure registries; the first one that exists counts.
const SETTINGS: [&str; 2] = ["/etc/orlop/registries.json", "/etc/docker/daemon.json"];

/// The server behind a host of references.
pub(crate) fn registry_host(host: &str) -> &str {
    if is_hub(host) { HUB_REGISTRY } else { host }
}

/// Whether a host is one of Docker Hub's names.
pub(crate) fn is_hub(host: &str) -> bool {
    matches!(host, HUB | "index.docker.io" | HUB_REGISTRY)
}

/// Whether a registry may be spoken to without proof of who it is.
pub(crate) fn is_insecure(rules: &[String], host: &str, port: Option<u16>) -> bool {
    let bare = host.trim_matches(['[', ']']);
    is_loopback(bare)
        || rules.iter().any(|rule| {
            if let (Some((network, bits)), Ok(address)) = (parse_network(rule), bare.parse()) {
                return contains(network, bits, address);
            }
            let (name, rule_port) = split_port(rule);
            name.eq_ignore_ascii_case(host) && (rule_port.is_none() || rule_port == port)
        })
}

/// The members of a settings file that matter here.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Settings {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
}

pub(crate) fn options_of_environment() -> Result<ClientOptions> {
    let variable = |name: &str| std::env::var(name).ok();
    let credentials = Credentials::of_environment()?;
    let file = credentials.config_file()?;
    let settings = read_settings()?;
    Ok(ClientOptions {
        proxies: Proxies::of_variables(variable).or(default_proxies(&file)),
        credentials,
        mirrors: settings.registry_mirrors,
        insecure: settings.insecure_registries,
        certificate_directories: CERTIFICATE_DIRECTORIES.iter().map(PathBuf::from).collect(),
        ..ClientOptions::default()
    })
}

/// `proxies.default` of `config.json`.
fn default_proxies(file: &ConfigFile) -> Proxies {
    let Some(found) = file.proxies.get("default") else { return Proxies::default() };
    let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Proxies {
        http: filled(&found.http_proxy),
        https: filled(&found.https_proxy),
        none: crate::proxy::split_list(&found.no_proxy),
    }
}

fn read_settings() -> Result<Settings> {
    for path in SETTINGS.map(PathBuf::from) {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::ConfigFile { path, source }),
        };
        return serde_json::from_slice(&bytes).map_err(|error| Error::ConfigFile {
            path,
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        });
    }
    Ok(Settings::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_listed_registries_are_insecure() {
        let rules =
            ["10.0.0.0/8".to_owned(), "reg.example:5000".to_owned(), "lab.example".to_owned()];
        for (host, port, want) in [
            ("localhost", Some(5000), true),
            ("127.3.2.1", None, true),
            ("[::1]", Some(5000), true),
            ("10.9.8.7", Some(5000), true),
            ("11.9.8.7", Some(5000), false),
            ("reg.example", Some(5000), true),
            ("reg.example", Some(5001), false),
            ("LAB.example", Some(1), true),
            ("docker.io", None, false),
        ] {
            assert_eq!(is_insecure(&rules, host, port), want, "{host} {port:?}");
        }
    }
}
