//! From words to a [`Cli`], with Docker's conventions and texts where clap's differ.
//!
//! Docker's flags may be repeated (the last one counts), and a switch may be written `--rm=false`.

use std::error::Error as _;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _};

use super::Cli;
use crate::failure::Failure;

/// What the words say.
#[derive(Debug)]
pub enum Parsed {
    /// A command.
    Command(Box<Cli>),
    /// Help or a version, for standard output.
    Text(String),
}

/// Exit code for words that are not understood, as in Docker.
const BAD_FLAG: i32 = 125;

/// Parses the words, the program's name included.
pub fn parse(words: &[std::ffi::OsString]) -> Result<Parsed, Failure> {
    let parsed = docker_command()
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => Ok(Parsed::Command(Box::new(cli))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayVersion => Ok(Parsed::Text(error.to_string())),
            ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Ok(Parsed::Text(help(words, &error)))
            }
            _ => Err(failure(words, &error)),
        },
    }
}

/// Help of the plain command, in which switches do not show the value they may take.
fn help(words: &[std::ffi::OsString], error: &clap::Error) -> String {
    match Cli::command().try_get_matches_from(words) {
        Err(plain) if plain.kind() == error.kind() => plain.to_string(),
        _ => error.to_string(),
    }
}

/// The commands with Docker's conventions.
fn docker_command() -> Command {
    with_conventions(Cli::command())
}

fn with_conventions(command: Command) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.args_override_self(true).mut_args(|flag| {
        if !matches!(flag.get_action(), ArgAction::SetTrue) {
            // The word after a flag is its value, whatever it looks like.
            let takes_next = matches!(flag.get_action(), ArgAction::Set | ArgAction::Append)
                && !flag.is_positional()
                && !flag.is_require_equals_set();
            return if takes_next { flag.allow_hyphen_values(true) } else { flag };
        }
        flag.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(ValueParser::bool())
    });
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_conventions))
}

/// Turns clap's error into one line.
fn failure(words: &[std::ffi::OsString], error: &clap::Error) -> Failure {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let rendered = error.to_string();
    let command = command_of(words);
    let wrong = text(ContextKind::InvalidArg);
    let (why, code) = match error.kind() {
        ErrorKind::UnknownArgument if wrong.starts_with("--") => {
            (format!("unknown flag: {}", wrong.split('=').next().unwrap_or_default()), BAD_FLAG)
        }
        ErrorKind::UnknownArgument if wrong.starts_with('-') => {
            (format!("unknown shorthand flag: '{}'", wrong.trim_start_matches('-')), BAD_FLAG)
        }
        ErrorKind::UnknownArgument => {
            (format!("'{command}' does not accept the argument `{wrong}`"), 1)
        }
        ErrorKind::InvalidSubcommand => {
            (format!("unknown command: {command} {}", text(ContextKind::InvalidSubcommand)), 1)
        }
        ErrorKind::MissingSubcommand => (format!("'{command}' requires a command"), 1),
        ErrorKind::MissingRequiredArgument => (format!("'{command}' requires {wrong}"), 1),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if !wrong.is_empty() => {
            let flag = wrong.split([' ', '=']).next().unwrap_or_default();
            let value = text(ContextKind::InvalidValue);
            if value.is_empty() && words.last().is_some_and(|word| !word.is_empty()) {
                let why = format!("flag needs an argument: {flag}");
                return Failure { what: None, why, hint: see(&command), code: BAD_FLAG };
            }
            let reason = error.source().map(|reason| format!(": {reason}")).unwrap_or_default();
            (format!("invalid argument \"{value}\" for \"{flag}\" flag{reason}"), BAD_FLAG)
        }
        _ => {
            let line = rendered.lines().next().unwrap_or_default();
            (line.strip_prefix("error: ").unwrap_or(line).to_owned(), BAD_FLAG)
        }
    };
    Failure { what: None, why, hint: see(&command), code }
}

fn see(command: &str) -> Option<String> {
    Some(format!("see '{command} --help'"))
}

/// The command that the words name: `orlop volume rm`.
fn command_of(words: &[std::ffi::OsString]) -> String {
    let root = Cli::command();
    let (mut command, mut path) = (&root, vec![root.get_name()]);
    for word in words.iter().skip(1) {
        match command.find_subcommand(word) {
            Some(sub) => {
                path.push(sub.get_name());
                command = sub;
            }
            // Words of a command itself; what comes before a command are global options.
            None if !command.has_subcommands() => break,
            None => {}
        }
    }
    path.join(" ")
}
