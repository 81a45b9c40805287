//! `info` and `version`, laid out as Docker does.

use orlop_types::size::binary_size;
use serde_json::{Value, json};

use super::Session;
use crate::args::Info;
use crate::failure::{Failure, Outcome};
use crate::format;
use crate::io::Streams;

/// The Docker Engine API whose behaviour the commands follow.
const API_VERSION: &str = "1.51";
/// The oldest one.
const MIN_API_VERSION: &str = "1.24";

/// `info`
pub fn info(session: &mut Session<'_, '_>, args: &Info) -> Outcome {
    let mut document = session.engine.info()?;
    if let Some(fields) = document.as_object_mut() {
        fields.insert("ClientInfo".to_owned(), client_info());
    }
    let chosen = session.format(args.format.as_deref());
    let out = &mut *session.streams.out;
    match chosen.as_deref() {
        None | Some("") => out.write_all(layout(&document).as_bytes())?,
        Some(format) => format::document(out, format, "", &document)?,
    }
    Ok(0)
}

fn client_info() -> Value {
    json!({"Debug": false, "Version": env!("CARGO_PKG_VERSION"), "Context": "default", "Plugins": [], "Warnings": null})
}

/// Docker's lines.
fn layout(document: &Value) -> String {
    let mut lines = vec![
        "Client:".to_owned(),
        format!(" Version:    {}", env!("CARGO_PKG_VERSION")),
        " Context:    default".to_owned(),
        " Debug Mode: false".to_owned(),
        String::new(),
        "Server:".to_owned(),
    ];
    let text = |name: &str| shown(&document[name]);
    let mut line = |indent: usize, name: &str, value: String| {
        lines.push(format!("{}{name}: {value}", " ".repeat(indent)));
    };
    line(1, "Containers", text("Containers"));
    line(2, "Running", text("ContainersRunning"));
    line(2, "Paused", text("ContainersPaused"));
    line(2, "Stopped", text("ContainersStopped"));
    line(1, "Images", text("Images"));
    line(1, "Server Version", text("ServerVersion"));
    line(1, "Storage Driver", text("Driver"));
    for pair in document["DriverStatus"].as_array().into_iter().flatten() {
        line(2, &shown(&pair[0]), shown(&pair[1]));
    }
    line(1, "Logging Driver", text("LoggingDriver"));
    line(1, "Cgroup Driver", text("CgroupDriver"));
    line(1, "Cgroup Version", text("CgroupVersion"));
    lines.push(" Plugins:".to_owned());
    for kind in ["Volume", "Network", "Log"] {
        lines.push(format!("  {kind}: {}", shown(&document["Plugins"][kind])));
    }
    lines.push(format!(" Swarm: {}", shown(&document["Swarm"]["LocalNodeState"])));
    let runtimes: Vec<&str> =
        document["Runtimes"].as_object().into_iter().flatten().map(|(name, _)| &**name).collect();
    lines.push(format!(" Runtimes: {}", runtimes.join(" ")));
    lines.push(format!(" Default Runtime: {}", text("DefaultRuntime")));
    lines.push(format!(" Init Binary: {}", text("InitBinary")));
    lines.push(" Security Options:".to_owned());
    for option in document["SecurityOptions"].as_array().into_iter().flatten() {
        security_option(&mut lines, option.as_str().unwrap_or_default());
    }
    let memory = document["MemTotal"].as_f64().unwrap_or(0.0);
    for (name, value) in [
        ("Kernel Version", text("KernelVersion")),
        ("Operating System", text("OperatingSystem")),
        ("OSType", text("OSType")),
        ("Architecture", text("Architecture")),
        ("CPUs", text("NCPU")),
        ("Total Memory", binary_size(memory)),
        ("Name", text("Name")),
        ("ID", text("ID")),
        ("Docker Root Dir", text("DockerRootDir")),
        ("Debug Mode", text("Debug")),
        ("Experimental", text("ExperimentalBuild")),
        ("Live Restore Enabled", text("LiveRestoreEnabled")),
    ] {
        lines.push(format!(" {name}: {value}"));
    }
    lines.join("\n") + "\n\n"
}

/// `name=seccomp,profile=builtin` takes a line for the name and one for each further fact.
fn security_option(lines: &mut Vec<String>, option: &str) {
    for (index, part) in option.split(',').enumerate() {
        let (key, value) = part.split_once('=').unwrap_or(("", part));
        if index == 0 {
            lines.push(format!("  {value}"));
        } else {
            let mut letters = key.chars();
            let name: String = letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect())
                .unwrap_or_default();
            lines.push(format!("   {name}: {value}"));
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// `version`
pub fn version(streams: &mut Streams<'_>, args: &Info, default_format: Option<&str>) -> Outcome {
    let document = version_document();
    let out = &mut *streams.out;
    match args.format.as_deref().or(default_format) {
        None | Some("") => out.write_all(version_layout(&document).as_bytes())?,
        Some(format) => format::document(out, format, "version", &document)
            .map_err(|failure: Failure| failure.during("version"))?,
    }
    Ok(0)
}

fn version_document() -> Value {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let (os, arch) = (std::env::consts::OS, go_architecture(std::env::consts::ARCH));
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "Client": {
            "Platform": {"Name": "orlop"},
            "Version": version,
            "ApiVersion": API_VERSION,
            "DefaultAPIVersion": API_VERSION,
            "Os": os,
            "Arch": arch,
            "Context": "default",
        },
        "Server": {
            "Platform": {"Name": "orlop"},
            "Components": [{
                "Name": "Engine",
                "Version": version,
                "Details": {
                    "ApiVersion": API_VERSION,
                    "MinAPIVersion": MIN_API_VERSION,
                    "Os": os,
                    "Arch": arch,
                    "KernelVersion": kernel,
                    "Experimental": "false",
                },
            }],
            "Version": version,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": MIN_API_VERSION,
            "Os": os,
            "Arch": arch,
            "KernelVersion": kernel,
        },
    })
}

fn version_layout(document: &Value) -> String {
    let client = &document["Client"];
    let server = &document["Server"];
    let text = |part: &Value, name: &str| shown(&part[name]);
    format!(
        "Client: orlop\n Version:           {}\n API version:       {}\n OS/Arch:           {}/{}\n Context:           \
         default\n\nServer: orlop\n Engine:\n  Version:          {}\n  API version:      {} (minimum version {})\n  \
         OS/Arch:          {}/{}\n  Experimental:     false\n",
        text(client, "Version"),
        text(client, "ApiVersion"),
        text(client, "Os"),
        text(client, "Arch"),
        text(server, "Version"),
        text(server, "ApiVersion"),
        text(server, "MinAPIVersion"),
        text(server, "Os"),
        text(server, "Arch"),
    )
}

/// Docker speaks of architectures in Go's words.
fn go_architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_docker_s_lines() {
        let document = json!({
            "Containers": 3, "ContainersRunning": 1, "Driver": "overlay",
            "DriverStatus": [["Backing Filesystem", "extfs"]],
            "Plugins": {"Volume": ["local"], "Network": ["bridge", "host"]},
            "Runtimes": {"builtin": {}, "runc": {}},
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "MemTotal": 8_000_000_000_u64,
        });
        let text = layout(&document);
        for part in [
            "Server:\n Containers: 3\n  Running: 1\n  Paused: \n",
            " Storage Driver: overlay\n  Backing Filesystem: extfs\n Logging Driver: \n",
            " Plugins:\n  Volume: local\n  Network: bridge host\n",
            " Runtimes: builtin runc\n",
            " Security Options:\n  seccomp\n   Profile: builtin\n Kernel Version: ",
            " Total Memory: 7.451GiB\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }

    #[test]
    fn versions_are_found_where_scripts_look() {
        let document = version_document();
        assert_eq!(document["Server"]["Version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["Client"]["ApiVersion"], API_VERSION);
        let text = version_layout(&document);
        assert!(text.starts_with("Client: orlop\n Version:           "), "{text}");
        assert!(text.contains("\nServer: orlop\n Engine:\n  Version:          "), "{text}");
    }
}
