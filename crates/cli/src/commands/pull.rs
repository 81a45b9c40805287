//! `pull`, and the pull that `run` and `create` begin with where it is needed.

use std::io::IsTerminal as _;

use orlop_engine::{KeepPacked, PullOptions};
use orlop_types::Platform;
use orlop_types::reference::ImageReference;

use super::Session;
use crate::args::{Create, Pull};
use crate::failure::{Failure, Outcome};
use crate::transfer_display::{Surface, show};

/// Docker's words for a tag beside `--all-tags`.
pub const TAG_AND_ALL: &str = "tag can't be used with --all-tags/-a";

/// `pull`
pub fn pull(session: &mut Session<'_, '_>, args: &Pull) -> Outcome {
    let given: ImageReference = args.name.parse()?;
    let is_name_only = given.tag().is_none() && given.digest().is_none();
    if args.all_tags && !is_name_only {
        return Err(Failure::new(TAG_AND_ALL));
    }
    let reference = if args.all_tags { given } else { given.tag_or_latest() };
    if is_name_only && !args.all_tags && !args.quiet {
        session.streams.line("Using default tag: latest")?;
    }
    let options = PullOptions {
        all_tags: args.all_tags,
        platform: platform(args.platform.as_deref())?,
        parallel: usize::from(args.max_concurrent_downloads),
        keep_packed: if args.discard_packed { KeepPacked::Discard } else { KeepPacked::Keep },
        reference: reference.clone(),
        ..PullOptions::of(reference.clone())
    };
    session.streams.out.flush()?;
    let surface = surface(args.quiet, std::io::stdout().is_terminal(), Surface::Stdout);
    let engine = session.engine;
    show(surface, session.streams.out, |watch| engine.image_pull(&options, watch))??;
    let shown = if args.all_tags { reference.canonical_name() } else { reference.canonical() };
    session.streams.line(shown)?;
    Ok(0)
}

/// Pulls the image of a container that is to be made; everything is told on standard error.
pub fn pull_for(session: &mut Session<'_, '_>, flags: &Create) -> Result<(), Failure> {
    let (image, _) = flags.image_and_command();
    let reference: ImageReference = image.parse()?;
    let keep = std::env::var_os("ORLOP_DISCARD_PACKED").is_some_and(|value| value == "true");
    let options = PullOptions {
        platform: platform(flags.platform.as_deref())?,
        keep_packed: if keep { KeepPacked::Discard } else { KeepPacked::Keep },
        ..PullOptions::of(reference)
    };
    let surface = surface(flags.quiet, std::io::stderr().is_terminal(), Surface::Stderr);
    let engine = session.engine;
    show(surface, session.streams.err, |watch| engine.image_pull(&options, watch))??;
    Ok(())
}

/// Where progress is shown.
pub fn surface(quiet: bool, is_terminal: bool, terminal: Surface) -> Surface {
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    match (quiet, is_terminal && !is_dumb) {
        (true, _) => Surface::Nothing,
        (false, true) => terminal,
        (false, false) => Surface::Lines,
    }
}

/// An empty platform is none.
pub fn platform(text: Option<&str>) -> Result<Option<Platform>, Failure> {
    let text = text.filter(|text| !text.is_empty());
    Ok(text.map(str::parse).transpose()?)
}
