//! `system df`.

use jiff::Timestamp;
use orlop_engine::{CacheUsage, ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
use orlop_template::Template;
use orlop_types::duration::human_ago;
use orlop_types::size::{human_size, table_size};
use serde_json::{Value, json};

use super::Session;
use crate::args::DiskFree;
use crate::failure::{Failure, Outcome};
use crate::format::ListStyle;
use crate::rows::{self, Width};

/// The summary.
const SUMMARY: ListStyle<'static> = ListStyle {
    row_type: "*formatter.diskUsageImagesContext",
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
    headings: &[
        ("Active", "ACTIVE"),
        ("Reclaimable", "RECLAIMABLE"),
        ("Size", "SIZE"),
        ("TotalCount", "TOTAL"),
        ("Type", "TYPE"),
    ],
};
const IMAGES: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
const CONTAINERS: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
const VOLUMES: &str = "{{.Name}}\t{{.Links}}\t{{.Size}}";
const BUILD_CACHE: ListStyle<'static> = ListStyle {
    row_type: "*formatter.buildCacheContext",
    table: "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}",
    quiet: "{{.ID}}",
    headings: &[
        ("CacheType", "CACHE TYPE"),
        ("CreatedSince", "CREATED"),
        ("ID", "CACHE ID"),
        ("LastUsedSince", "LAST USED"),
        ("Shared", "SHARED"),
        ("Size", "SIZE"),
        ("UsageCount", "USAGE"),
    ],
};

/// Characters of an id in tables.
const ID_CHARACTERS: usize = 12;

/// Carries the command out.
pub fn run(session: &mut Session<'_, '_>, args: &DiskFree) -> Outcome {
    let usage = session.engine.disk_usage()?;
    let chosen = session.format(args.format.as_deref());
    let text = match (chosen.as_deref().map(str::trim), args.verbose) {
        (None | Some("" | "table"), true) => verbose(&usage)?,
        (Some("json"), true) => format!("{}\n", verbose_document(&usage)),
        (Some(template), true) => {
            // As it is: Docker adds no line break here.
            Template::parse(template)?.render(&verbose_document(&usage))?
        }
        (format, false) => SUMMARY.render(format, false, &summary(&usage))?,
    };
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// One row for each type.
fn summary(usage: &DiskUsage) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, size: u64, reclaimable: String| {
        json!({
            "Active": active.to_string(),
            "Reclaimable": reclaimable,
            "Size": human_size(size as f64),
            "TotalCount": total.to_string(),
            "Type": kind,
        })
    };
    let active_images = usage.images.iter().filter(|image| image.summary.containers > 0);
    let used: u64 = active_images.clone().map(unique_bytes).sum();
    let layers = usage.layers_bytes + usage.packed_bytes;
    // Packed layers go with the layers that they are of; whose those are is not looked up.
    let packed_in_use = if used > 0 { usage.packed_bytes } else { 0 };
    let is_active = |container: &&ContainerUsage| {
        matches!(&*container.summary.state, "running" | "paused" | "restarting")
    };
    let sum = |containers: &mut dyn Iterator<Item = &ContainerUsage>| -> u64 {
        containers.map(|container| container.writable_bytes).sum()
    };
    let containers = sum(&mut usage.containers.iter());
    let idle = sum(&mut usage.containers.iter().filter(|container| !is_active(container)));
    // Caches of builds count as what they are for.
    let own = |volume: &&VolumeUsage| !volume.is_build_cache();
    let volumes: u64 = usage.volumes.iter().filter(own).map(|volume| volume.size_bytes).sum();
    let unused = usage.volumes.iter().filter(|volume| volume.references == 0);
    let unused_bytes: u64 = unused.clone().filter(own).map(|volume| volume.size_bytes).sum();
    let in_use = usage.build_cache.iter().filter(|record| record.in_use);
    let cache = build_cache_bytes(usage);
    let cache_in_use: u64 =
        in_use.clone().filter(|record| !record.shared).map(|record| record.size_bytes).sum();
    vec![
        row(
            "Images",
            usage.images.len(),
            active_images.count(),
            layers,
            share(layers.saturating_sub(used + packed_in_use), layers),
        ),
        row(
            "Containers",
            usage.containers.len(),
            usage.containers.iter().filter(is_active).count(),
            containers,
            share(idle, containers),
        ),
        row(
            "Local Volumes",
            usage.volumes.len(),
            usage.volumes.len() - unused.count(),
            volumes,
            share(unused_bytes, volumes),
        ),
        row(
            "Build Cache",
            usage.build_cache.len(),
            in_use.count(),
            cache,
            human_size(cache.saturating_sub(cache_in_use) as f64),
        ),
    ]
}

/// What only the build cache takes up.
fn build_cache_bytes(usage: &DiskUsage) -> u64 {
    let own = usage.build_cache.iter().filter(|record| !record.shared);
    own.map(|record| record.size_bytes).sum()
}

fn unique_bytes(image: &ImageUsage) -> u64 {
    image.summary.size.saturating_sub(image.shared_bytes)
}

/// `1.5GB (42%)`
fn share(part: u64, whole: u64) -> String {
    let size = human_size(part as f64);
    match part.saturating_mul(100).checked_div(whole) {
        Some(percent) => format!("{size} ({percent}%)"),
        None => size,
    }
}

/// Four tables.
fn verbose(usage: &DiskUsage) -> Result<String, Failure> {
    let [images, containers, volumes] = verbose_rows(usage);
    let now = Timestamp::now();
    let records: Vec<Value> =
        usage.build_cache.iter().map(|record| cache_row(record, Width::Short, now)).collect();
    let table = |style: &ListStyle<'_>, table, rows: &[Value]| {
        ListStyle { table, ..*style }.render(None, false, rows)
    };
    let headings = [("Links", "LINKS"), ("Name", "VOLUME NAME"), ("Size", "SIZE")];
    let volume_style = ListStyle { headings: &headings, ..rows::VOLUMES };
    let mut container_headings = rows::CONTAINERS.headings.to_vec();
    container_headings.retain(|(field, _)| *field != "Size");
    container_headings.push(("Size", "SIZE"));
    let container_style = ListStyle { headings: &container_headings, ..rows::CONTAINERS };
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\nBuild cache usage: \
         {}\n\n{}",
        table(&rows::IMAGES, IMAGES, &images)?,
        table(&container_style, CONTAINERS, &containers)?,
        table(&volume_style, VOLUMES, &volumes)?,
        human_size(build_cache_bytes(usage) as f64),
        table(&BUILD_CACHE, BUILD_CACHE.table, &records)?,
    ))
}

fn verbose_document(usage: &DiskUsage) -> Value {
    let [images, containers, volumes] = verbose_rows(usage);
    let now = Timestamp::now();
    let records: Vec<Value> =
        usage.build_cache.iter().map(|record| cache_row(record, Width::Full, now)).collect();
    json!({"Images": images, "Containers": containers, "Volumes": volumes, "BuildCache": records})
}

fn verbose_rows(usage: &DiskUsage) -> [Vec<Value>; 3] {
    let now = Timestamp::now();
    let image_row = |image: &ImageUsage| {
        let facts = [
            ("SharedSize", human_size(image.shared_bytes as f64)),
            ("UniqueSize", human_size(unique_bytes(image) as f64)),
            ("Containers", image.summary.containers.to_string()),
        ];
        let rows = rows::image(&image.summary, Width::Short, now);
        rows.into_iter().map(move |row| with(row, &facts)).collect::<Vec<_>>()
    };
    let container_row = |container: &ContainerUsage| {
        let row = rows::container(&container.summary, Width::Short, now);
        with(row, &[("Size", table_size(container.writable_bytes))])
    };
    let volume_row = |volume: &VolumeUsage| {
        let facts = [
            ("Links", volume.references.to_string()),
            ("Size", human_size(volume.size_bytes as f64)),
        ];
        with(rows::volume(&volume.info), &facts)
    };
    [
        usage.images.iter().flat_map(image_row).collect(),
        usage.containers.iter().map(container_row).collect(),
        usage.volumes.iter().map(volume_row).collect(),
    ]
}

/// One record of the build cache; what a build works on has a star.
fn cache_row(record: &CacheUsage, width: Width, now: Timestamp) -> Value {
    let mut id: String = match width {
        Width::Short => record.id.chars().take(ID_CHARACTERS).collect(),
        Width::Full => record.id.clone(),
    };
    if record.in_use {
        id.push('*');
    }
    json!({
        "CacheType": record.kind,
        "CreatedAt": record.created_at.to_string(),
        "CreatedSince": human_ago(record.created_at, now),
        "Description": record.description,
        "ID": id,
        "InUse": record.in_use.to_string(),
        "LastUsedAt": record.last_used_at.to_string(),
        "LastUsedSince": human_ago(record.last_used_at, now),
        "Parents": record.parents.join(", "),
        "Shared": record.shared.to_string(),
        "Size": human_size(record.size_bytes as f64),
        "UsageCount": record.usage_count.to_string(),
    })
}

fn with(mut row: Value, facts: &[(&str, String)]) -> Value {
    for (name, value) in facts {
        row[*name] = json!(value);
    }
    row
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_store_has_dockers_table() {
        let text = SUMMARY.render(None, false, &summary(&DiskUsage::default())).unwrap();
        assert_eq!(
            text,
            "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images          0         0         0B        0B\n\
             Containers      0         0         0B        0B\n\
             Local Volumes   0         0         0B        0B\n\
             Build Cache     0         0         0B        0B\n"
        );
        assert_eq!(
            verbose(&DiskUsage::default()).unwrap(),
            "Images space usage:\n\n\
             REPOSITORY   TAG       IMAGE ID   CREATED   SIZE      SHARED SIZE   UNIQUE SIZE   CONTAINERS\n\n\
             Containers space usage:\n\n\
             CONTAINER ID   IMAGE     COMMAND   LOCAL VOLUMES   SIZE      CREATED   STATUS    NAMES\n\n\
             Local Volumes space usage:\n\n\
             VOLUME NAME   LINKS     SIZE\n\n\
             Build cache usage: 0B\n\n\
             CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n"
        );
    }

    #[test]
    fn shares_are_percent() {
        assert_eq!(share(0, 0), "0B");
        assert_eq!(share(0, 10), "0B (0%)");
        assert_eq!(share(1_500_000, 3_000_000), "1.5MB (50%)");
    }
}
