//! What each command does: one function for each, from parsed words to an exit code.

mod build;
mod builder;
mod buildx;
mod container;
mod copy;
mod disk_usage;
mod explain;
mod facts;
mod image;
mod image_diff;
mod image_edit;
mod image_list_tree;
mod image_tree;
mod inspect;
mod lifecycle;
mod network;
mod pull;
mod push;
pub mod registry;
mod run;
mod system;
mod system_prune;
mod volume;
mod writable;

use orlop_engine::Engine;
use orlop_types::ErrorKind;
use orlop_types::filter::Filters;
use serde_json::Value;

use inspect::inspect;

use crate::args::{
    Command, ContainerGroup, ImageGroup, ImageShortcut, SystemGroup, SystemShortcut,
};
use crate::failure::{Failure, Outcome};
use crate::format::ListStyle;
use crate::io::Streams;

/// A command and what it works with.
pub struct Session<'a, 's> {
    /// The engine on the chosen root.
    pub engine: &'a Engine,
    /// The command's streams.
    pub streams: Streams<'s>,
    /// Format for commands that were not told one.
    pub default_format: Option<String>,
    /// The name under which this program was called.
    pub program: &'static str,
}

impl Session<'_, '_> {
    /// The format of what a command shows: its own, or the one that holds for all.
    pub fn format(&self, own: Option<&str>) -> Option<String> {
        own.map(str::to_owned).or_else(|| self.default_format.clone())
    }

    /// Shows a list: every list command ends with this.
    pub fn list(
        &mut self,
        style: &ListStyle<'_>,
        format: Option<&str>,
        quiet: bool,
        rows: &[Value],
    ) -> Outcome {
        let text = style.render(format, quiet, rows)?;
        self.streams.out.write_all(text.as_bytes())?;
        Ok(0)
    }

    /// Tells about a failure that does not end the command; data that was written comes first.
    pub fn tell(&mut self, failure: &Failure) -> Result<(), Failure> {
        self.streams.out.flush()?;
        Ok(self.streams.err.write_all(failure.lines(self.program).as_bytes())?)
    }
}

/// Carries a command out.
pub fn dispatch(session: &mut Session<'_, '_>, command: Command) -> Outcome {
    match command {
        Command::Container(command) | Command::ContainerGroup(ContainerGroup::Common(command)) => {
            container::dispatch(session, command)
        }
        Command::ContainerGroup(ContainerGroup::Ls(args)) => {
            container::list(session, &args).map_err(|failure| failure.during("container ls"))
        }
        Command::ContainerGroup(ContainerGroup::Prune(args)) => {
            system_prune::containers(session, &args)
                .map_err(|failure| failure.during("container prune"))
        }
        Command::ContainerGroup(ContainerGroup::Inspect(args)) => {
            inspect::containers(session, &args)
        }
        Command::Image(ImageShortcut::Images(args)) => {
            image::dispatch(session, ImageGroup::Ls(args))
        }
        Command::Image(ImageShortcut::Import(args)) => {
            image::dispatch(session, ImageGroup::Import(args))
        }
        Command::Image(ImageShortcut::History(args)) => {
            image::dispatch(session, ImageGroup::History(args))
        }
        Command::Image(ImageShortcut::Load(args)) => {
            image::dispatch(session, ImageGroup::Load(args))
        }
        Command::Image(ImageShortcut::Pull(args)) => {
            image::dispatch(session, ImageGroup::Pull(args))
        }
        Command::Image(ImageShortcut::Push(args)) => {
            image::dispatch(session, ImageGroup::Push(args))
        }
        Command::Image(ImageShortcut::Save(args)) => {
            image::dispatch(session, ImageGroup::Save(args))
        }
        Command::Image(ImageShortcut::Tag(args)) => image::dispatch(session, ImageGroup::Tag(args)),
        Command::Image(ImageShortcut::Rmi(args)) => image::dispatch(session, ImageGroup::Rm(args)),
        Command::ImageGroup(command) => image::dispatch(session, command),
        Command::BuilderGroup(command) => builder::dispatch(session, command),
        Command::NetworkGroup(command) => network::dispatch(session, command),
        Command::VolumeGroup(command) => volume::dispatch(session, command),
        Command::System(SystemShortcut::Events(args)) => {
            system::dispatch(session, SystemGroup::Events(args))
        }
        Command::System(SystemShortcut::Info(args)) => {
            system::dispatch(session, SystemGroup::Info(args))
        }
        // Answered before an engine is opened.
        Command::System(SystemShortcut::Version(args)) => {
            let default_format = session.default_format.clone();
            facts::version(&mut session.streams, &args, default_format.as_deref())
        }
        Command::System(SystemShortcut::Reap) => system::reap(session),
        Command::System(SystemShortcut::ContainerEnded(args)) => {
            system::container_ended(session, &args.id)
        }
        Command::SystemGroup(command) => system::dispatch(session, command),
        Command::Build(args) => build::build(session, &args),
        Command::Inspect(args) => inspect::any(session, &args),
        // Answered before an engine is opened.
        Command::Completion(_) | Command::Help(_) | Command::Registry(_) => Ok(0),
    }
}

/// `version`, which needs no store.
pub fn version(
    streams: &mut Streams<'_>,
    args: &crate::args::Info,
    default_format: Option<&str>,
) -> Outcome {
    facts::version(streams, args, default_format)
}

/// Runs `action` for each name, goes on after failures, and exits with 1 if there was one.
fn for_each(
    session: &mut Session<'_, '_>,
    what: &str,
    names: &[String],
    mut action: impl FnMut(&mut Session<'_, '_>, &str) -> Result<(), Failure>,
) -> Outcome {
    let mut failures = Vec::new();
    for name in names {
        if let Err(failure) = action(session, name) {
            if failure.code == crate::failure::BROKEN_PIPE {
                return Err(failure);
            }
            failures.push(failure);
        }
    }
    tell_all(session, what, failures)
}

fn tell_all(session: &mut Session<'_, '_>, what: &str, failures: Vec<Failure>) -> Outcome {
    let code = i32::from(!failures.is_empty());
    for failure in failures {
        session.tell(&failure.during(what))?;
    }
    Ok(code)
}

/// Whether an error of a forced removal only says that there is nothing to remove.
fn is_missing(error: &orlop_engine::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

/// `--filter` values as the engine takes them.
fn filters(raws: &[String]) -> Result<Filters, Failure> {
    Filters::parse(raws).map_err(|error| {
        let wrong = raws.iter().find(|raw| !raw.is_empty() && !raw.contains('='));
        let raw = wrong.map_or("", String::as_str);
        Failure::new(format!("invalid argument \"{raw}\" for \"-f, --filter\" flag: {error}"))
            .with_code(crate::request::BAD_FLAG)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_pairs() {
        let chosen = filters(&["Name = a", "label!=x=y", ""].map(str::to_owned)).unwrap();
        assert_eq!(chosen.values("name").collect::<Vec<_>>(), ["a"]);
        assert_eq!(chosen.values("label!").collect::<Vec<_>>(), ["x=y"]);
        let failure = filters(&["x".to_owned()]).unwrap_err();
        assert_eq!(
            (failure.why.as_str(), failure.code),
            (
                "invalid argument \"x\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
                125
            )
        );
    }
}
