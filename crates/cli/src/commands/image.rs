//! Commands about images.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use orlop_engine::{ImageRemoveOptions, ImportOptions, InspectKind, Removal};
use orlop_types::size::human_size;
use serde_json::Value;

use super::{Session, filters, for_each, inspect, is_missing};
use crate::args::{ImageGroup, Import, ListImages, PruneImages, RemoveImages};
use crate::failure::{Failure, Outcome};
use crate::progress::{Progress, Show};
use crate::rows::{self, Width};

/// Carries a command out.
pub fn dispatch(session: &mut Session<'_, '_>, command: ImageGroup) -> Outcome {
    match command {
        ImageGroup::Ls(args) => list(session, &args).map_err(|failure| failure.during("images")),
        ImageGroup::Inspect(args) => {
            inspect(session, &args.names, args.format.as_deref(), Some(InspectKind::Image))
        }
        ImageGroup::Import(args) => {
            import(session, args).map_err(|failure| failure.during("import"))
        }
        ImageGroup::Tag(args) => {
            let tagged = session.engine.image_tag(&args.source, &args.target);
            tagged.map(|()| 0).map_err(|error| Failure::from(error).during("tag"))
        }
        ImageGroup::Rm(args) => remove(session, &args),
        ImageGroup::Prune(args) => {
            prune(session, &args).map_err(|failure| failure.during("image prune"))
        }
    }
}

fn list(session: &mut Session<'_, '_>, args: &ListImages) -> Outcome {
    let mut chosen = filters(&args.list.filters)?;
    if let Some(reference) = &args.reference {
        chosen.insert("reference", reference);
    }
    let images = session.engine.image_list(&chosen)?;
    let width = if args.no_trunc { Width::Full } else { Width::Short };
    let now = Timestamp::now();
    let rows: Vec<Value> = images.iter().flat_map(|image| rows::image(image, width, now)).collect();
    let style = if args.digests { &rows::IMAGES_WITH_DIGESTS } else { &rows::IMAGES };
    let text = style.render(
        session.format(args.list.format.as_deref()).as_deref(),
        args.list.quiet,
        &rows,
    )?;
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

fn import(session: &mut Session<'_, '_>, args: Import) -> Outcome {
    let (source, total_bytes) = open_source(&args.source)?;
    let options = ImportOptions {
        reference: args.reference,
        changes: args.changes,
        message: args.message,
        platform: args.platform,
    };
    let progress = Progress::bytes("Importing", total_bytes, Show::Auto);
    let imported = session.engine.image_import(source, &options, &mut |bytes| progress.set(bytes));
    drop(progress);
    session.streams.line(imported?.as_str())?;
    Ok(0)
}

/// The archive, and its size where that is known.
fn open_source(source: &str) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if source == "-" {
        return Ok((Box::new(std::io::stdin()), None));
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return Err(Failure::new(format!("import from the address {source} is not supported yet"))
            .with_hint("fetch it first: `curl -L URL | orlop import - NAME`"));
    }
    let path = Path::new(source);
    let opened = File::open(path).and_then(|file| {
        let facts = file.metadata()?;
        Ok((file, facts))
    });
    let (file, facts) = opened.map_err(|error| Failure::new(format!("open {source}: {error}")))?;
    if facts.is_dir() {
        return Err(Failure::new(format!("{source} is a directory"))
            .with_hint(format!("`tar -C {source} -c . | orlop import - NAME`")));
    }
    Ok((Box::new(file), Some(facts.len()).filter(|bytes| *bytes > 0)))
}

fn remove(session: &mut Session<'_, '_>, args: &RemoveImages) -> Outcome {
    for_each(session, "rmi", &args.names, |session, name| {
        let options = ImageRemoveOptions { force: args.force };
        match session.engine.image_remove(name, options) {
            Ok(removals) => print_removals(session, &removals),
            // As in Docker: told, but a success.
            Err(error) if args.force && is_missing(&error) => {
                let text = Failure::from(error).during("rmi").lines();
                Ok(session.streams.err.write_all(text.as_bytes())?)
            }
            Err(error) => Err(error.into()),
        }
    })
}

fn print_removals(session: &mut Session<'_, '_>, removals: &[Removal]) -> Result<(), Failure> {
    for removal in removals {
        session.streams.line(match removal {
            Removal::Untagged(name) => format!("Untagged: {name}"),
            Removal::Deleted(id) => format!("Deleted: {id}"),
        })?;
    }
    Ok(())
}

fn prune(session: &mut Session<'_, '_>, args: &PruneImages) -> Outcome {
    let mut chosen = filters(&args.filters)?;
    chosen.insert("dangling", if args.all { "false" } else { "true" });
    let warning = match args.all {
        true => {
            "WARNING! This will remove all images without at least one container associated to them."
        }
        false => "WARNING! This will remove all dangling images.",
    };
    if !args.force && !session.streams.confirm(warning)? {
        return Ok(0);
    }
    let (removals, reclaimed) = session.engine.image_prune(&chosen)?;
    if !removals.is_empty() {
        session.streams.line("Deleted Images:")?;
        for removal in &removals {
            session.streams.line(match removal {
                Removal::Untagged(name) => format!("untagged: {name}"),
                Removal::Deleted(id) => format!("deleted: {id}"),
            })?;
        }
        session.streams.line("")?;
    }
    session.streams.line(format!("Total reclaimed space: {}", human_size(reclaimed as f64)))?;
    Ok(0)
}
