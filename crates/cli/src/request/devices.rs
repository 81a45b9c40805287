//! Flags that give devices: `--device`, `--device-cgroup-rule`, `--gpus`.

use orlop_types::ParseError;
use orlop_types::config::{DeviceMapping, DeviceRequest, HostConfig};

use super::check_all;
use crate::args::SecurityFlags;
use crate::failure::Failure;

/// Puts the flags into the configuration.
pub(super) fn apply(flags: &SecurityFlags, host: &mut HostConfig) -> Result<(), Failure> {
    let mut devices = Vec::new();
    let mut interface_names = Vec::new();
    for raw in &flags.device {
        if is_interface_name(raw) {
            interface_names.push(raw.clone());
        } else {
            devices.push(device(raw)?);
        }
    }
    host.devices = Some(devices);
    let rules = check_all(&flags.device_cgroup_rule, "--device-cgroup-rule", |raw| {
        if is_rule(raw) {
            Ok(raw.to_owned())
        } else {
            Err(ParseError::new(format!("invalid device cgroup format '{raw}'")))
        }
    })?;
    host.device_cgroup_rules = Some(rules).filter(|rules| !rules.is_empty());
    let mut requests = check_all(&flags.gpus, "--gpus", graphics_processors)?;
    if !interface_names.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".to_owned(),
            device_ids: Some(interface_names),
            ..DeviceRequest::default()
        });
    }
    host.device_requests = Some(requests).filter(|requests| !requests.is_empty());
    Ok(())
}

/// `vendor.com/class=device`: the name of a device of the container device interface.
fn is_interface_name(raw: &str) -> bool {
    let Some((kind, device)) = raw.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let begins_with_letter =
        |text: &str| text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let plain = |text: &str, more: &str| {
        !text.is_empty()
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
    };
    begins_with_letter(vendor)
        && begins_with_letter(class)
        && plain(vendor, "_-.")
        && plain(class, "_-")
        && plain(device, "_-.:")
}

/// `HOST[:CONTAINER][:MODE]`
fn device(raw: &str) -> Result<DeviceMapping, ParseError> {
    let parts: Vec<&str> = raw.split(':').collect();
    let bad = || ParseError::new(format!("bad format for path: {raw}"));
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, None),
        [host, mode] if is_mode(mode) => (*host, *host, Some(*mode)),
        [host, container] => (*host, *container, None),
        [host, container, mode] => (*host, *container, Some(*mode)),
        _ => return Err(bad()),
    };
    if host.is_empty() {
        return Err(bad());
    }
    if let Some(mode) = mode.filter(|mode| !is_mode(mode)) {
        return Err(ParseError::new(format!("bad mode specified: {mode}")));
    }
    if !container.starts_with('/') {
        return Err(ParseError::new(format!("{container} is not an absolute path")));
    }
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.unwrap_or("rwm").to_owned(),
    })
}

/// Some of `r`, `w` and `m`, each once.
fn is_mode(text: &str) -> bool {
    let once = |letter| text.bytes().filter(|&byte| byte == letter).count() <= 1;
    !text.is_empty()
        && text.bytes().all(|byte| b"rwm".contains(&byte))
        && b"rwm".iter().all(|&letter| once(letter))
}

/// `c 1:3 rwm`
fn is_rule(raw: &str) -> bool {
    let words: Vec<&str> = raw.split(' ').collect();
    let [kind, numbers, access] = words.as_slice() else { return false };
    let number = |text: &str| {
        text == "*" || (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    matches!(*kind, "a" | "b" | "c")
        && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
        && (1..=3).contains(&access.len())
        && access.bytes().all(|byte| b"rwm".contains(&byte))
}

/// `all`, a number, or `key=value,…`
fn graphics_processors(raw: &str) -> Result<DeviceRequest, ParseError> {
    let mut request = DeviceRequest { options: Some([].into()), ..DeviceRequest::default() };
    let mut seen: Vec<&str> = Vec::new();
    let fields = split_quoted(raw);
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field.as_str(), None),
        };
        if seen.contains(&key) {
            return Err(ParseError::new(format!(
                "gpu request key '{key}' can be specified only once"
            )));
        }
        seen.push(key);
        let list = |value: &str| value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match (key, value) {
            (count, None) => {
                seen.push("count");
                request.count = device_count(count)?;
            }
            ("driver", Some(value)) => value.clone_into(&mut request.driver),
            ("count", Some(value)) => request.count = device_count(value)?,
            ("device", Some(value)) => request.device_ids = Some(list(value)),
            ("capabilities", Some(value)) => {
                let mut all = list(value);
                all.push("gpu".to_owned());
                request.capabilities = Some(vec![all]);
            }
            ("options", Some(value)) => {
                let pair = |option: String| match option.split_once('=') {
                    Some((key, value)) => (key.to_owned(), value.to_owned()),
                    None => (option, String::new()),
                };
                request.options = Some(split_quoted(value).into_iter().map(pair).collect());
            }
            (key, Some(_)) => {
                return Err(ParseError::new(format!("unexpected key '{key}' in '{field}'")));
            }
        }
    }
    if !seen.contains(&"count") && request.device_ids.is_none() {
        request.count = 1;
    }
    request.capabilities.get_or_insert_with(|| vec![vec!["gpu".to_owned()]]);
    Ok(request)
}

fn device_count(text: &str) -> Result<i64, ParseError> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse().map_err(|_| {
        ParseError::new(format!(
            "invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"
        ))
    })
}

/// Splits at commas outside double quotes, and takes the quotes away.
fn split_quoted(raw: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for letter in raw.chars() {
        match (letter, fields.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => fields.push(String::new()),
            (letter, Some(field)) => field.push(letter),
            (_, None) => {}
        }
    }
    fields
}
