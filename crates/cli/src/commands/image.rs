//! Commands about images.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use jiff::Timestamp;
use orlop_engine::{
    EarlyWriter, ImageRemoveOptions, ImportOptions, InspectKind, LayerPacking, LayoutForm,
    LayoutOptions, LayoutTarget, LoadOptions, LoadSource, Removal,
};
use orlop_registry::{Client, ClientOptions, DownloadRequest, Watch};
use orlop_types::size::human_size;
use serde_json::Value;

use super::{
    Session, filters, for_each, image_diff, image_edit, image_list_tree, image_tree, inspect,
    is_missing, pull, push,
};
use crate::args::{History, ImageGroup, Import, ListImages, Load, PruneImages, RemoveImages, Save};
use crate::failure::{Failure, Outcome};
use crate::history_rows;
use crate::output_file;
use crate::progress::{Progress, Show};
use crate::rows::{self, Width};

/// Carries a command out.
pub fn dispatch(session: &mut Session<'_, '_>, command: ImageGroup) -> Outcome {
    match command {
        ImageGroup::Build(args) => super::build::build(session, &args),
        ImageGroup::Ls(args) => list(session, &args).map_err(|failure| failure.during("images")),
        ImageGroup::Inspect(args) => {
            inspect(session, &args.names, args.format.as_deref(), Some(InspectKind::Image))
        }
        ImageGroup::Import(args) => {
            import(session, args).map_err(|failure| failure.during("import"))
        }
        ImageGroup::History(args) => {
            history(session, &args).map_err(|failure| failure.during("history"))
        }
        ImageGroup::Load(args) => load(session, args).map_err(|failure| failure.during("load")),
        ImageGroup::Pull(args) => {
            pull::pull(session, &args).map_err(|failure| failure.during("pull"))
        }
        ImageGroup::Push(args) => {
            push::push(session, &args).map_err(|failure| failure.during("push"))
        }
        ImageGroup::Save(args) => save(session, &args).map_err(|failure| failure.during("save")),
        ImageGroup::Tag(args) => {
            let tagged = session.engine.image_tag(&args.source, &args.target);
            tagged.map(|()| 0).map_err(|error| Failure::from(error).during("tag"))
        }
        ImageGroup::Rm(args) => remove(session, &args),
        ImageGroup::Prune(args) => {
            prune(session, &args).map_err(|failure| failure.during("image prune"))
        }
        ImageGroup::Tree(args) => {
            image_tree::tree(session, &args).map_err(|failure| failure.during("image tree"))
        }
        ImageGroup::Diff(args) => {
            image_diff::diff(session, &args).map_err(|failure| failure.during("image diff"))
        }
        ImageGroup::Flatten(args) => {
            image_edit::flatten(session, args).map_err(|failure| failure.during("image flatten"))
        }
        ImageGroup::Edit(args) => {
            image_edit::edit(session, *args).map_err(|failure| failure.during("image edit"))
        }
    }
}

fn list(session: &mut Session<'_, '_>, args: &ListImages) -> Outcome {
    let mut chosen = filters(&args.list.filters)?;
    if let Some(reference) = &args.reference {
        chosen.insert("reference", reference);
    }
    let images = session.engine.image_list(&chosen)?;
    if args.tree {
        return image_list_tree::list(session, args, &images);
    }
    let width = if args.no_trunc { Width::Full } else { Width::Short };
    let now = Timestamp::now();
    let rows: Vec<Value> = images.iter().flat_map(|image| rows::image(image, width, now)).collect();
    let style = if args.digests { &rows::IMAGES_WITH_DIGESTS } else { &rows::IMAGES };
    let format = session.format(args.list.format.as_deref());
    session.list(style, format.as_deref(), args.list.quiet, &rows)
}

fn import(session: &mut Session<'_, '_>, args: Import) -> Outcome {
    let Archive { source, total_bytes, message } = open_source(&args.source)?;
    let options = ImportOptions {
        reference: args.reference,
        changes: args.changes,
        message: args.message.or(message),
        platform: args.platform,
    };
    let progress = Progress::bytes("Importing", total_bytes, Show::Auto);
    let imported = session.engine.image_import(source, &options, &mut |bytes| progress.set(bytes));
    drop(progress);
    session.streams.line(imported?.as_str())?;
    Ok(0)
}

/// What `import` reads.
struct Archive {
    source: Box<dyn Read + Send>,
    /// Its size where that is known.
    total_bytes: Option<u64>,
    /// The image's comment, where it is not the usual one.
    message: Option<String>,
}

fn open_source(source: &str) -> Result<Archive, Failure> {
    if source == "-" {
        let source = Box::new(std::io::stdin());
        return Ok(Archive { source, total_bytes: None, message: None });
    }
    if source.starts_with("http://") || source.starts_with("https://") {
        return open_address(source);
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
    let total_bytes = Some(facts.len()).filter(|bytes| *bytes > 0);
    Ok(Archive { source: Box::new(file), total_bytes, message: None })
}

/// An archive behind an address; Docker's comment names it.
fn open_address(address: &str) -> Result<Archive, Failure> {
    let failed = |error: orlop_registry::Error| Failure::from(orlop_engine::Error::from(error));
    let options = ClientOptions::of_environment().map_err(failed)?;
    let client = Client::new(options).map_err(failed)?;
    let request = DownloadRequest { url: address.to_owned(), ..DownloadRequest::default() };
    let download = client.download(&request, &Watch::default()).map_err(failed)?;
    let message = Some(format!("Imported from {}", download.url));
    Ok(Archive { source: Box::new(download.body), total_bytes: download.length, message })
}

fn history(session: &mut Session<'_, '_>, args: &History) -> Outcome {
    let items = session.engine.image_history(&args.name, args.platform.as_deref())?;
    let width = if args.no_trunc { Width::Full } else { Width::Short };
    let now = Timestamp::now();
    let rows: Vec<Value> =
        items.iter().map(|item| history_rows::history(item, width, args.human, now)).collect();
    let format = session.format(args.format.as_deref());
    let style = if args.human { &history_rows::HISTORY } else { &history_rows::HISTORY_IN_NUMBERS };
    let text = style.render(format.as_deref(), args.quiet, &rows)?;
    session.streams.out.write_all(text.as_bytes())?;
    Ok(0)
}

fn load(session: &mut Session<'_, '_>, args: Load) -> Outcome {
    let (source, total_bytes) = match args.input.as_deref().filter(|input| !input.is_empty()) {
        Some(input) => open_archive(input)?,
        None => (LoadSource::File(standard_input()?), None),
    };
    let options = LoadOptions { platform: args.platform, ..LoadOptions::default() };
    let progress = Progress::bytes("Loading", total_bytes, Show::unless(args.quiet));
    let loaded = session.engine.image_load(source, &options, &|bytes| progress.add(bytes));
    drop(progress);
    for image in loaded? {
        for (name, before) in &image.renamed {
            session.streams.line(format!(
                "The image {name} already exists, renaming the old one with ID {before} to empty string"
            ))?;
        }
        if image.names.is_empty() {
            session.streams.line(format!("Loaded image ID: {}", image.id))?;
        }
        for name in &image.names {
            session.streams.line(format!("Loaded image: {name}"))?;
        }
    }
    Ok(0)
}

fn open_archive(input: &str) -> Result<(LoadSource, Option<u64>), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("open {input}: {error}"));
    let file = File::open(input).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if facts.is_dir() {
        return Ok((LoadSource::Directory(input.into()), None));
    }
    Ok((LoadSource::File(file), Some(facts.len()).filter(|bytes| *bytes > 0)))
}

/// Standard input, unless nothing can come from there.
fn standard_input() -> Result<File, Failure> {
    let empty = || Failure::new("requested load from stdin, but stdin is empty");
    if std::io::stdin().is_terminal() {
        return Err(empty());
    }
    let file = File::from(rustix::io::dup(rustix::stdio::stdin()).map_err(std::io::Error::from)?);
    let facts = file.metadata()?;
    if facts.is_file() && facts.len() == 0 { Err(empty()) } else { Ok(file) }
}

fn save(session: &mut Session<'_, '_>, args: &Save) -> Outcome {
    let (form, is_directory) = save_format(&args.format)?;
    let packing = match args.compression.as_deref() {
        None => LayerPacking::Kept,
        Some(text) => layer_packing(text)?,
    };
    let options = LayoutOptions { form, packing, ..LayoutOptions::default() };
    let path = args.output.as_deref().filter(|path| !path.is_empty());
    let engine = session.engine;
    if is_directory {
        let Some(path) = path else {
            return Err(Failure::new("a directory cannot be written to standard output")
                .with_hint("name one: `--output DIRECTORY`"));
        };
        let plan = engine.image_plan_save(&args.names, args.platform.as_deref(), options)?;
        let progress = Progress::bytes("Saving", Some(plan.total_bytes()), Show::Auto);
        let target = LayoutTarget::Directory(Path::new(path));
        let saved = engine.image_save(&plan, target, &|bytes| progress.add(bytes));
        drop(progress);
        return saved.map(|_| 0).map_err(Failure::from);
    }
    output_file::refuse_terminal(path)?;
    let plan = engine.image_plan_save(&args.names, args.platform.as_deref(), options)?;
    let progress = Progress::bytes("Saving", Some(plan.total_bytes()), Show::Auto);
    let result = output_file::write(&mut session.streams, path, "failed to save image", |file| {
        let mut output = EarlyWriter::new(file);
        let target = LayoutTarget::Tar(&mut output);
        engine.image_save(&plan, target, &|bytes| progress.add(bytes)).map_err(Failure::from)
    });
    drop(progress);
    result.map(|_| 0)
}

/// What `--format` means, and whether it is a directory. Podman's words are understood as well.
fn save_format(text: &str) -> Result<(LayoutForm, bool), Failure> {
    Ok(match text {
        "both" => (LayoutForm::Both, false),
        "oci" | "oci-archive" => (LayoutForm::Oci, false),
        "docker" | "docker-archive" => (LayoutForm::Docker, false),
        "oci-dir" => (LayoutForm::Oci, true),
        _ => {
            let why = format!("format `{text}` is not `both`, `oci`, `docker` or `oci-dir`");
            return Err(Failure::new(why));
        }
    })
}

/// A method with a level is what the user wants exactly; without, a kept form of the method will do.
fn layer_packing(text: &str) -> Result<LayerPacking, Failure> {
    let packing = text.parse().map_err(orlop_engine::Error::from)?;
    Ok(if text.contains(':') { LayerPacking::Exactly(packing) } else { LayerPacking::By(packing) })
}

fn remove(session: &mut Session<'_, '_>, args: &RemoveImages) -> Outcome {
    for_each(session, "rmi", &args.names, |session, name| {
        let options = ImageRemoveOptions { force: args.force };
        match session.engine.image_remove(name, options) {
            Ok(removals) => print_removals(session, &removals),
            // As in Docker: told, but a success.
            Err(error) if args.force && is_missing(&error) => {
                session.tell(&Failure::from(error).during("rmi"))
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
