//! Completion in shells: `orlop completion bash` prints a small script, which asks this program.
//!
//! The script sets [`VARIABLE`] to the shell's name and passes the words so far; [`answer`] prints
//! what may come next, in the form that this shell wants. Names of containers, images, volumes and
//! networks come from the store; a store that cannot be read has none.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, ValueCompleter};
use clap_complete::env::Shells;
use orlop_engine::{ContainerQuery, Engine, EngineOptions};
use orlop_types::filter::Filters;

use crate::args;
use crate::failure::{Failure, Outcome};
use crate::io::Streams;

/// Set by the script to the name of the shell that asks.
pub const VARIABLE: &str = "ORLOP_COMPLETE";
/// Shells that there is a script for.
const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Prints the script for a shell.
pub fn script(streams: &mut Streams<'_>, program: &str, shell: &str) -> Outcome {
    let shells = Shells::builtins();
    let Some(writer) = shells.completer(shell).filter(|_| SHELLS.contains(&shell)) else {
        return Err(Failure::new(format!("no completion for the shell `{shell}`"))
            .during("completion")
            .with_hint(format!("the shells are {}", SHELLS.join(", "))));
    };
    writer.write_registration(VARIABLE, program, program, program, &mut streams.out)?;
    Ok(0)
}

/// Answers the script. `words` are this program, `--`, and the words on the line.
pub fn answer(streams: &mut Streams<'_>, shell: &OsStr, words: &[OsString]) -> Outcome {
    let shell = shell.to_string_lossy();
    let shells = Shells::builtins();
    let Some(writer) = shells.completer(&shell) else {
        return Err(Failure::new(format!("no completion for the shell `{shell}`")));
    };
    let line: Vec<OsString> =
        words.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    let mut command = with_names(args::command(), &Arc::new(Store::of_line(&line)));
    command.build();
    // A word that cannot be completed is no failure to tell in the middle of typing.
    if let Err(error) = writer.write_complete(&mut command, line, None, &mut streams.out) {
        tracing::debug!(%error, "nothing to complete");
    }
    Ok(0)
}

/// What a value is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Volume,
    Network,
    Any,
}

impl Kind {
    /// By the name that usage lines give to the value.
    fn of(argument: &Arg) -> Option<Self> {
        let name = args::usage::value_name(argument);
        match name.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_').next()? {
            "CONTAINER" => Some(Self::Container),
            "IMAGE" | "SOURCE_IMAGE" | "REPOSITORY" => Some(Self::Image),
            "VOLUME" => Some(Self::Volume),
            "NETWORK" => Some(Self::Network),
            "NAME" if name == "NAME|ID" => Some(Self::Any),
            _ => None,
        }
    }
}

/// Adds names to every argument that is one, in all commands.
fn with_names(command: Command, store: &Arc<Store>) -> Command {
    let group = command.get_name().to_owned();
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.mut_args(|argument| match Kind::of(&argument) {
        // A new object's name is nobody's yet.
        Some(_) if group == "create" && !argument.is_positional() => argument,
        Some(kind) => {
            argument.add(ArgValueCompleter::new(Names { kind, store: Arc::clone(store) }))
        }
        None => argument,
    });
    names
        .into_iter()
        .fold(command, |command, name| command.mut_subcommand(name, |sub| with_names(sub, store)))
}

/// Names of one kind.
struct Names {
    kind: Kind,
    store: Arc<Store>,
}

impl ValueCompleter for Names {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let current = current.to_string_lossy();
        let mut names = self.store.names(self.kind).unwrap_or_default();
        names.retain(|name| name.starts_with(&*current));
        names.sort();
        names.dedup();
        names.into_iter().map(CompletionCandidate::new).collect()
    }
}

/// The store that the line means.
struct Store {
    root: PathBuf,
    run_root: Option<PathBuf>,
}

impl Store {
    fn of_line(line: &[OsString]) -> Self {
        let option = |name: &str| {
            let equals = format!("{name}=");
            let mut pairs = line.iter().zip(line.iter().skip(1).map(Some).chain([None]));
            pairs.find_map(|(word, next)| match word.to_str()?.strip_prefix(&equals) {
                Some(value) => Some(PathBuf::from(value)),
                None if word == name => next.map(PathBuf::from),
                None => None,
            })
        };
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        Self {
            root: option("--root")
                .or_else(|| variable("ORLOP_ROOT"))
                .unwrap_or_else(|| orlop_engine::DEFAULT_ROOT.into()),
            run_root: option("--run-root").or_else(|| variable("ORLOP_RUN_ROOT")),
        }
    }

    fn open(&self) -> Option<Engine> {
        // Looking for names must not make a store.
        if !Path::new(&self.root).join("orlop.db").exists() {
            return None;
        }
        let options = EngineOptions {
            root: self.root.clone(),
            run_root: self.run_root.clone(),
            storage_driver: None,
            global_arguments: Vec::new(),
        };
        Engine::open(options).ok()
    }

    fn names(&self, kind: Kind) -> Option<Vec<String>> {
        let engine = self.open()?;
        Some(match kind {
            Kind::Container => containers(&engine),
            Kind::Image => images(&engine),
            Kind::Volume => volumes(&engine),
            Kind::Network => networks(&engine),
            Kind::Any => {
                [containers(&engine), images(&engine), volumes(&engine), networks(&engine)].concat()
            }
        })
    }
}

fn containers(engine: &Engine) -> Vec<String> {
    let query = ContainerQuery { all: true, ..ContainerQuery::default() };
    let found = engine.container_list(&query).unwrap_or_default();
    found.into_iter().flat_map(|container| container.names).collect()
}

fn images(engine: &Engine) -> Vec<String> {
    let found = engine.image_list(&Filters::default()).unwrap_or_default();
    found
        .into_iter()
        .flat_map(|image| image.repo_tags)
        .map(|tag| tag.strip_suffix(":latest").map_or(tag.clone(), str::to_owned))
        .collect()
}

fn volumes(engine: &Engine) -> Vec<String> {
    let found = engine.volume_list(&Filters::default()).unwrap_or_default();
    found.into_iter().map(|volume| volume.name.to_string()).collect()
}

fn networks(engine: &Engine) -> Vec<String> {
    let found = engine.network_list(&Filters::default()).unwrap_or_default();
    found.into_iter().map(|network| network.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_store() {
        let line = |words: &str| words.split(' ').map(OsString::from).collect::<Vec<_>>();
        let store = Store::of_line(&line("orlop --root /r --run-root=/s rm "));
        assert_eq!((store.root.as_path(), store.run_root), (Path::new("/r"), Some("/s".into())));
    }

    #[test]
    fn values_are_known_by_their_names() {
        let kind = |name: &'static str| Kind::of(&Arg::new("x").value_name(name));
        assert_eq!(kind("CONTAINER"), Some(Kind::Container));
        assert_eq!(kind("IMAGE [COMMAND] [ARG...]"), Some(Kind::Image));
        assert_eq!(kind("CONTAINER[:MODE]"), Some(Kind::Container));
        assert_eq!(kind("NAME|ID"), Some(Kind::Any));
        assert_eq!(kind("NAME"), None);
        assert_eq!(kind("FILE"), None);
    }
}
