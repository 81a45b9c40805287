//! Rows of lists: Docker's fields and headings, from what the engine reports.
//!
//! Pure functions; the present moment is passed in. Fields stand in alphabetical order, which is the
//! order of Docker's `--format json`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_engine::{ContainerSizes, ContainerSummary, ImageSummary, VolumeInfo};
use orlop_types::duration::human_ago;
use orlop_types::reference::ImageReference;
use orlop_types::size::{human_size, table_size};
use serde_json::{Value, json};

use crate::format::{ListStyle, ellipsis};

/// What a table shows where there is nothing.
const NONE: &str = "<none>";
/// Characters of a command in `ps`.
const COMMAND_MAX_CHARS: usize = 20;
/// Characters of a mount in `ps`.
const MOUNT_MAX_CHARS: usize = 15;

/// `ps`
pub const CONTAINERS: ListStyle<'static> = ListStyle {
    row_type: "*formatter.ContainerContext",
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
    headings: &[
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Labels", "LABELS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Mounts", "MOUNTS"),
        ("Names", "NAMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
        ("Ports", "PORTS"),
        ("RunningFor", "CREATED"),
        ("Size", "SIZE"),
        ("State", "STATE"),
        ("Status", "STATUS"),
    ],
};

/// `ps --size`
pub const CONTAINERS_WITH_SIZES: ListStyle<'static> = ListStyle {
    table: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..CONTAINERS
};

/// The size of a container as `ps` shows it.
pub fn container_size(sizes: ContainerSizes) -> String {
    let own = table_size(sizes.writable_bytes);
    match sizes.root_bytes {
        0 => own,
        all => format!("{own} (virtual {})", table_size(all)),
    }
}

/// Headings of `images`.
const IMAGE_HEADINGS: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

/// `images`
pub const IMAGES: ListStyle<'static> = ListStyle {
    row_type: "*formatter.imageContext",
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
    headings: IMAGE_HEADINGS,
};

/// `images --digests`
pub const IMAGES_WITH_DIGESTS: ListStyle<'static> = ListStyle {
    row_type: "*formatter.imageContext",
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
    headings: IMAGE_HEADINGS,
};

/// `volume ls`
pub const VOLUMES: ListStyle<'static> = ListStyle {
    row_type: "*formatter.volumeContext",
    table: "{{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
    headings: &[
        ("Availability", "AVAILABILITY"),
        ("Driver", "DRIVER"),
        ("Group", "GROUP"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
};

/// Whether ids, commands and mounts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Cut, for tables.
    Short,
    /// In full (`--no-trunc`).
    Full,
}

/// `a=1,b=2`
fn labels_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
}

/// A time as Go prints it: `2026-11-18 11:06:40 +0000 UTC`.
fn go_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// One row of `ps`.
pub fn container(summary: &ContainerSummary, width: Width, now: Timestamp) -> Value {
    let short = width == Width::Short;
    let cut =
        |text: &str, max_chars| if short { ellipsis(text, max_chars) } else { text.to_owned() };
    let created = summary.created_at.parse::<Timestamp>().unwrap_or(Timestamp::UNIX_EPOCH);
    let mounts: Vec<String> =
        summary.mounts.iter().map(|mount| cut(mount, MOUNT_MAX_CHARS)).collect();
    // A volume's name never begins with a slash, a bind's source always does.
    let volumes = summary.mounts.iter().filter(|mount| !mount.starts_with('/')).count();
    json!({
        "Command": format!("\"{}\"", cut(&summary.command, COMMAND_MAX_CHARS)),
        "CreatedAt": go_time(created),
        "ID": if short { summary.id.short() } else { summary.id.as_str() },
        "Image": image_name(summary, short),
        "Label": summary.labels,
        "Labels": labels_text(&summary.labels),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": summary.names.join(","),
        "Networks": summary.networks.join(","),
        "Platform": null,
        "Ports": summary.ports,
        "RunningFor": human_ago(created, now),
        // Measured only when it is asked for.
        "Size": "0B",
        "State": summary.state,
        "Status": summary.status_text,
    })
}

/// The image's name, or its id where it has none any more.
fn image_name(summary: &ContainerSummary, short: bool) -> &str {
    match summary.image.strip_prefix("sha256:") {
        _ if summary.image.is_empty() => "<no image>",
        Some(digits) if short => digits.get(..12).unwrap_or(digits),
        _ => &summary.image,
    }
}

/// Rows of `images`: one for each name, or one without a name.
pub fn image(summary: &ImageSummary, width: Width, now: Timestamp) -> Vec<Value> {
    let created = Timestamp::from_second(summary.created).unwrap_or(Timestamp::UNIX_EPOCH);
    let bytes = summary.size;
    let row = |repository: &str, tag: &str, digest: &str| {
        json!({
            "Containers": "N/A",
            "CreatedAt": go_time(created),
            "CreatedSince": human_ago(created, now),
            "Digest": digest,
            "ID": if width == Width::Short { summary.id.short() } else { summary.id.as_str() },
            "Repository": repository,
            "SharedSize": "N/A",
            "Size": table_size(bytes),
            "Tag": tag,
            "UniqueSize": "N/A",
            "VirtualSize": human_size(bytes as f64),
        })
    };
    let digests: Vec<ImageReference> =
        summary.repo_digests.iter().filter_map(|digest| digest.parse().ok()).collect();
    let digest_of = |repository: &str| {
        let found = digests.iter().find(|digest| digest.familiar_name() == repository);
        found.and_then(ImageReference::digest).map_or(NONE, |digest| digest.as_str())
    };
    let rows: Vec<Value> = summary
        .repo_tags
        .iter()
        .filter_map(|tag| tag.parse::<ImageReference>().ok())
        .map(|name| {
            let repository = name.familiar_name();
            row(&repository, name.tag().unwrap_or(NONE), digest_of(&repository))
        })
        .collect();
    if rows.is_empty() { vec![row(NONE, NONE, NONE)] } else { rows }
}

/// One row of `volume ls`.
pub fn volume(volume: &VolumeInfo) -> Value {
    json!({
        "Availability": "N/A",
        "Driver": volume.driver,
        "Group": "N/A",
        "Label": volume.labels.clone().unwrap_or_default(),
        "Labels": volume.labels.as_ref().map(labels_text).unwrap_or_default(),
        "Links": "N/A",
        "Mountpoint": volume.mountpoint,
        "Name": volume.name,
        "Scope": volume.scope,
        "Size": "N/A",
        "Status": "N/A",
    })
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
