//! `push`.

use std::io::IsTerminal as _;

use orlop_engine::{Packing, PushOptions};
use orlop_types::reference::ImageReference;

use super::Session;
use super::pull::{TAG_AND_ALL, platform, surface};
use crate::args::Push;
use crate::failure::{Failure, Outcome};
use crate::transfer_display::{Surface, show};

/// `push`
pub fn push(session: &mut Session<'_, '_>, args: &Push) -> Outcome {
    let given: ImageReference = args.name.parse()?;
    let is_name_only = given.tag().is_none() && given.digest().is_none();
    if args.all_tags && !is_name_only {
        return Err(Failure::new(TAG_AND_ALL));
    }
    let reference = if args.all_tags { given } else { given.tag_or_latest() };
    if is_name_only && !args.all_tags && !args.quiet {
        session.streams.line("Using default tag: latest")?;
    }
    let packing: Option<Packing> = args.compression.as_deref().map(str::parse).transpose()?;
    let options = PushOptions {
        all_tags: args.all_tags,
        platform: platform(args.platform.as_deref())?,
        packing,
        parallel: usize::from(args.max_concurrent_uploads),
        ..PushOptions::of(reference.clone())
    };
    let options = PushOptions { reference: reference.clone(), ..options };
    session.streams.out.flush()?;
    let surface = surface(args.quiet, std::io::stdout().is_terminal(), Surface::Stdout);
    let engine = session.engine;
    show(surface, session.streams.out, |watch| engine.image_push(&options, watch))??;
    if args.quiet {
        let name = if args.all_tags { reference.canonical_name() } else { reference.canonical() };
        session.streams.line(name)?;
    }
    Ok(0)
}
