//! `system prune` and `container prune`.

use orlop_engine::{CachePruneOptions, Removal};
use orlop_types::filter::Filters;
use orlop_types::size::human_size;

use super::{Session, filters};
use crate::args::{PruneContainers, SystemPrune};
use crate::failure::{Failure, Outcome};

/// `container prune`
pub fn containers(session: &mut Session<'_, '_>, args: &PruneContainers) -> Outcome {
    let chosen = filters(&args.filters)?;
    let warning = "WARNING! This will remove all stopped containers.";
    if !args.force && !session.streams.confirm(warning)? {
        return Ok(0);
    }
    let reclaimed = prune_containers(session, &chosen)?;
    session.streams.line(total(reclaimed))?;
    Ok(0)
}

/// `system prune`
pub fn everything(session: &mut Session<'_, '_>, args: &SystemPrune) -> Outcome {
    let chosen = filters(&args.filters)?;
    if args.volumes && chosen.contains("until") {
        return Err(Failure::new(
            "ERROR: The \"until\" filter is not supported with \"--volumes\"",
        ));
    }
    chosen.check_names(&["label", "label!", "until"])?;
    if !args.force && !session.streams.confirm(&warning(args))? {
        return Ok(0);
    }
    let mut reclaimed = prune_containers(session, &chosen)?;
    let networks = session.engine.network_prune(&chosen)?;
    list(session, "Deleted Networks:", &networks)?;
    if args.volumes {
        let (names, bytes) = session.engine.volume_prune(&chosen)?;
        list(session, "Deleted Volumes:", &names)?;
        reclaimed += bytes;
    }
    let mut image_filters = chosen.clone();
    image_filters.insert("dangling", if args.all { "false" } else { "true" });
    let (removals, bytes) = session.engine.image_prune(&image_filters)?;
    let lines: Vec<String> = removals
        .iter()
        .map(|removal| match removal {
            Removal::Untagged(name) => format!("untagged: {name}"),
            Removal::Deleted(id) => format!("deleted: {id}"),
        })
        .collect();
    list(session, "Deleted Images:", &lines)?;
    reclaimed += prune_build_cache(session, args.all, &chosen)?;
    session.streams.line(total(reclaimed + bytes))?;
    Ok(0)
}

fn prune_containers(session: &mut Session<'_, '_>, chosen: &Filters) -> Result<u64, Failure> {
    let pruned = session.engine.container_prune(chosen)?;
    let ids: Vec<&str> = pruned.containers_deleted.iter().map(|id| id.as_str()).collect();
    list(session, "Deleted Containers:", &ids)?;
    Ok(pruned.space_reclaimed)
}

/// Records of the build cache have no labels: a filter by label keeps them all.
fn prune_build_cache(
    session: &mut Session<'_, '_>,
    all: bool,
    chosen: &Filters,
) -> Result<u64, Failure> {
    if chosen.contains("label") || chosen.contains("label!") {
        return Ok(0);
    }
    let options =
        CachePruneOptions { all, filters: chosen.clone(), ..CachePruneOptions::default() };
    let pruned = session.engine.build_cache_prune(&options)?;
    let ids: Vec<&str> = pruned.deleted.iter().map(|record| record.id.as_str()).collect();
    list(session, "Deleted build cache objects:", &ids)?;
    Ok(pruned.space_reclaimed)
}

/// A heading, the lines, an empty line; nothing without lines.
fn list(
    session: &mut Session<'_, '_>,
    heading: &str,
    lines: &[impl AsRef<str>],
) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    session.streams.line(heading)?;
    for line in lines {
        session.streams.line(line)?;
    }
    Ok(session.streams.line("")?)
}

fn total(bytes: u64) -> String {
    format!("Total reclaimed space: {}", human_size(bytes as f64))
}

/// What goes, in Docker's words.
fn warning(args: &SystemPrune) -> String {
    let mut lines = vec!["WARNING! This will remove:".to_owned()];
    let mut item = |text: &str| lines.push(format!("  - {text}"));
    item("all stopped containers");
    item("all networks not used by at least one container");
    if args.volumes {
        item("all anonymous volumes not used by at least one container");
    }
    item(if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    });
    item(if args.all { "all build cache" } else { "unused build cache" });
    if !args.filters.is_empty() {
        let mut chosen = args.filters.clone();
        chosen.sort();
        lines.push(String::new());
        lines.push("  Items to be pruned will be filtered with:".to_owned());
        lines.extend(chosen.iter().map(|filter| format!("  - {filter}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_names_what_goes() {
        let args =
            SystemPrune { all: true, volumes: true, force: false, filters: vec!["label=a".into()] };
        assert_eq!(
            warning(&args),
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all anonymous volumes not used by at least one container\n  - all images without at least one container \
             associated to them\n  - all build cache\n\n  Items to be pruned will be filtered with:\n  - label=a\n"
        );
    }
}
