//! `port`: where a container's ports are published.

use serde_json::Value;

use super::Session;
use crate::args::Port;
use crate::failure::{Failure, Outcome};

/// `port`
pub fn show(session: &mut Session<'_, '_>, args: &Port) -> Outcome {
    let document = session.engine.container_inspect(&args.name)?;
    let ports = &document["NetworkSettings"]["Ports"];
    let lines = match &args.port {
        Some(wanted) => one(ports, wanted, &args.name)?,
        None => all(ports),
    };
    for line in lines {
        session.streams.line(line)?;
    }
    Ok(0)
}

/// `127.0.0.1:8080`
fn binding(binding: &Value) -> String {
    let field = |name: &str| binding[name].as_str().unwrap_or_default().to_owned();
    let address = field("HostIp");
    let address = if address.contains(':') { format!("[{address}]") } else { address };
    format!("{address}:{}", field("HostPort"))
}

fn bindings(ports: &Value, key: &str) -> Vec<String> {
    let mut lines: Vec<String> = ports[key].as_array().into_iter().flatten().map(binding).collect();
    lines.sort();
    lines
}

/// Every published port, by its number.
fn all(ports: &Value) -> Vec<String> {
    let mut keys: Vec<&String> =
        ports.as_object().into_iter().flat_map(|ports| ports.keys()).collect();
    keys.sort_by_key(|key| {
        let (number, protocol) = key.split_once('/').unwrap_or((key, ""));
        (number.parse::<u32>().unwrap_or(u32::MAX), protocol.to_owned())
    });
    let lines = |key: &String| {
        bindings(ports, key).into_iter().map(|text| format!("{key} -> {text}")).collect::<Vec<_>>()
    };
    keys.into_iter().flat_map(lines).collect()
}

/// One port, by default of TCP.
fn one(ports: &Value, wanted: &str, name: &str) -> Result<Vec<String>, Failure> {
    let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    if number.parse::<u16>().is_err() {
        return Err(Failure::new(format!(
            "Error: invalid port ({wanted}): strconv.ParseUint: parsing \"{number}\": invalid syntax"
        )));
    }
    match bindings(ports, &format!("{number}/{protocol}")) {
        lines if lines.is_empty() => {
            Err(Failure::new(format!("Error: No public port '{wanted}' published for {name}")))
        }
        lines => Ok(lines),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_listed_by_number() {
        let ports = json!({
            "100/tcp": [{"HostIp": "0.0.0.0", "HostPort": "100"}, {"HostIp": "::", "HostPort": "100"}],
            "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
            "81/tcp": null,
            "80/udp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}],
        });
        assert_eq!(
            all(&ports),
            [
                "80/tcp -> 127.0.0.1:8080",
                "80/udp -> 127.0.0.1:8081",
                "100/tcp -> 0.0.0.0:100",
                "100/tcp -> [::]:100",
            ]
        );
        assert_eq!(one(&ports, "80", "c").unwrap(), ["127.0.0.1:8080"]);
        assert_eq!(one(&ports, "80/udp", "c").unwrap(), ["127.0.0.1:8081"]);
        for (wanted, why) in [
            ("81", "Error: No public port '81' published for c"),
            ("80/nosuch", "Error: No public port '80/nosuch' published for c"),
            ("x", "Error: invalid port (x): strconv.ParseUint: parsing \"x\": invalid syntax"),
        ] {
            assert_eq!(one(&ports, wanted, "c").unwrap_err().why, why);
        }
    }
}
