//! From words to a [`Cli`], with Docker's conventions and texts where clap's differ.
//!
//! Docker's flags may be repeated (the last one counts), and a switch may be written `--rm=false`.

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory as _, FromArgMatches as _};

use super::{Cli, Command as Verb, usage};
use crate::failure::Failure;
use crate::help;

/// What the words say.
#[derive(Debug)]
pub enum Parsed {
    /// A command.
    Command(Box<Cli>),
    /// Help that was asked for, or a version: for standard output.
    Text(String),
    /// Help for a command that is not complete: for standard error.
    Incomplete(String),
}

/// Exit code for words that are not understood, as in Docker.
const BAD_FLAG: i32 = 125;

/// Parses the words, the program's name included.
pub fn parse(program: &str, words: &[OsString]) -> Result<Parsed, Failure> {
    let root = command();
    let parsed = root
        .clone()
        .try_get_matches_from(words)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(Cli { command: Verb::Help(topic), .. }) => help_topic(program, &root, &topic.words),
        Ok(cli) => Ok(Parsed::Command(Box::new(cli))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayVersion => {
                Ok(Parsed::Text(format!("orlop version {}\n", env!("CARGO_PKG_VERSION"))))
            }
            ErrorKind::DisplayHelp => Ok(Parsed::Text(help_text(program, &root, words))),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
                Ok(Parsed::Incomplete(help_text(program, &root, words)))
            }
            _ => Err(failure(program, &root, words, &error)),
        },
    }
}

/// The commands with Docker's conventions.
pub fn command() -> Command {
    with_conventions(Cli::command())
        // A second name that Docker knows in the group only.
        .mut_subcommand("container", |group| {
            group
                .mut_subcommand("rm", |remove| remove.alias("remove"))
                // Known here, too, but `ls` is the group's name for it.
                .mut_subcommand("ps", |list| list.hide(true))
                // Ours: the group shows what Docker's shows.
                .mut_subcommand("explain", |explain| explain.hide(true))
        })
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
            .value_parser(ValueParser::new(switch))
    });
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_conventions))
}

/// A switch's value in the words that Go knows.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")),
    }
}

fn help_text(program: &str, root: &Command, words: &[OsString]) -> String {
    help::text(program, root, &path_of(root, words), help::columns())
}

/// `help volume rm`
fn help_topic(program: &str, root: &Command, words: &[String]) -> Result<Parsed, Failure> {
    let mut path = Vec::new();
    let mut command = root;
    for (at, word) in words.iter().enumerate() {
        command = command.find_subcommand(word).ok_or_else(|| {
            let unknown = words.get(at..).unwrap_or_default().join(" ");
            Failure::new(format!("unknown help topic: {unknown}"))
                .with_hint(format!("see '{program} --help'"))
        })?;
        path.push(command.get_name().to_owned());
    }
    Ok(Parsed::Text(help::text(program, root, &path, help::columns())))
}

/// Turns clap's error into one line and a hint.
fn failure(program: &str, root: &Command, words: &[OsString], error: &clap::Error) -> Failure {
    let path = path_of(root, words);
    let command =
        path.iter().fold(root, |command, name| command.find_subcommand(name).unwrap_or(command));
    let name = help::spoken(program, &path);
    let see = format!("see '{name} --help'");
    let wrong = text(error, ContextKind::InvalidArg);
    let refuse =
        |why: String, code: i32, hint: String| Failure { what: None, why, hint: Some(hint), code };
    match error.kind() {
        ErrorKind::UnknownArgument if wrong.starts_with("--") => {
            let flag = wrong.split('=').next().unwrap_or_default();
            let similar = text(error, ContextKind::SuggestedArg);
            let hint = match is_slip(flag, &similar) {
                true => format!("did you mean '{similar}'? {see}"),
                false => see,
            };
            refuse(format!("unknown flag: {flag}"), BAD_FLAG, hint)
        }
        ErrorKind::UnknownArgument if wrong.len() > 1 && wrong.starts_with('-') => {
            let letter = wrong.trim_start_matches('-');
            let word = shorthand_word(words, letter).unwrap_or_else(|| wrong.clone());
            refuse(format!("unknown shorthand flag: '{letter}' in {word}"), BAD_FLAG, see)
        }
        ErrorKind::InvalidSubcommand => {
            let given = text(error, ContextKind::InvalidSubcommand);
            let similar = text(error, ContextKind::SuggestedSubcommand);
            let hint = match is_slip(&given, &similar) {
                true => format!("did you mean '{name} {similar}'? {see}"),
                false => see,
            };
            refuse(format!("unknown command: {name} {given}"), 1, hint)
        }
        ErrorKind::UnknownArgument
        | ErrorKind::MissingRequiredArgument
        | ErrorKind::TooFewValues
        | ErrorKind::TooManyValues
        | ErrorKind::WrongNumberOfValues
            if wrong == "-" || !wrong.starts_with('-') =>
        {
            let usage = help::usage(program, &path, command);
            refuse(format!("'{name}' {}", usage::arity(command)), 1, format!("usage: {usage}"))
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals
            if !wrong.is_empty() =>
        {
            refuse(invalid_value(command, words, error), BAD_FLAG, see)
        }
        ErrorKind::InvalidUtf8 => {
            let broken = words.iter().find(|word| word.to_str().is_none());
            let shown = broken.map(|word| word.to_string_lossy()).unwrap_or_default();
            refuse(format!("`{shown}` is not valid UTF-8"), BAD_FLAG, see)
        }
        _ => {
            let rendered = error.to_string();
            let line = rendered.lines().next().unwrap_or_default();
            refuse(line.strip_prefix("error: ").unwrap_or(line).to_owned(), BAD_FLAG, see)
        }
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        // The most similar one stands last.
        Some(ContextValue::Strings(texts)) => texts.last().cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// Whether one word may be the other with a slip of the finger or two: clap suggests words that
/// merely begin alike.
fn is_slip(given: &str, meant: &str) -> bool {
    let (given, meant): (Vec<char>, Vec<char>) = (given.chars().collect(), meant.chars().collect());
    // Edits that make the letters so far of one word those of the other; swapped neighbours are one.
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=meant.len()).collect();
    for (at, letter) in given.iter().enumerate() {
        let mut next = vec![at + 1];
        for (place, wanted) in meant.iter().enumerate() {
            let cost =
                |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX - 1);
            let mut least = (cost(&row, place) + usize::from(letter != wanted))
                .min(cost(&row, place + 1) + 1)
                .min(cost(&next, place) + 1);
            let is_swap = at > 0
                && place > 0
                && given.get(at - 1) == Some(wanted)
                && meant.get(place - 1) == Some(letter);
            if is_swap {
                least = least.min(cost(&before, place - 1) + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    let edits = row.last().copied().unwrap_or(usize::MAX);
    !meant.is_empty() && edits <= 2.min(meant.len() / 3).max(1)
}

/// The word of several letters in which an unknown one stands.
fn shorthand_word(words: &[OsString], letter: &str) -> Option<String> {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str());
    let found = words
        .find(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter));
    // From the letter on, as Docker shows it.
    found.and_then(|word| Some(format!("-{}", word.get(word.find(letter)?..)?)))
}

/// Docker's words for a flag without a value, or with a wrong one.
fn invalid_value(command: &Command, words: &[OsString], error: &clap::Error) -> String {
    let wrong = text(error, ContextKind::InvalidArg);
    let long = wrong.split([' ', '=', '[']).next().unwrap_or_default();
    let flag = command
        .get_arguments()
        .find(|flag| flag.get_long().is_some_and(|name| long.strip_prefix("--") == Some(name)));
    // Docker's flags of an older name are flags of their own, without a letter.
    let is_typed = |alias: &&str| {
        words.iter().filter_map(|word| word.to_str()).any(|word| {
            word.strip_prefix("--").is_some_and(|word| word.split('=').next() == Some(*alias))
        })
    };
    let older =
        flag.and_then(|flag| flag.get_all_aliases()?.into_iter().find(|alias| is_typed(alias)));
    let (long, short) = match older {
        Some(alias) => (format!("--{alias}"), None),
        None => (long.to_owned(), flag.and_then(Arg::get_short)),
    };
    let value = text(error, ContextKind::InvalidValue);
    if value.is_empty() && error.source().is_none() {
        let last = words.last().and_then(|word| word.to_str()).unwrap_or_default();
        return match short {
            Some(short) if !last.starts_with("--") && last.ends_with(short) => {
                format!("flag needs an argument: '{short}' in -{short}")
            }
            _ => format!("flag needs an argument: {long}"),
        };
    }
    let flag = match short {
        Some(short) => format!("-{short}, {long}"),
        None => long,
    };
    format!("invalid argument \"{value}\" for \"{flag}\" flag{}", reason(error, &value))
}

/// Why a value is wrong; what Rust's own parsers say is said as Go's do.
fn reason(error: &clap::Error, value: &str) -> String {
    let Some(source) = error.source() else { return String::new() };
    let syntax = |function: &str| format!(": strconv.{function}: parsing \"{value}\"");
    if let Some(number) = source.downcast_ref::<std::num::ParseIntError>() {
        let what = match number.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        return format!("{}: {what}", syntax("ParseInt"));
    }
    if source.is::<std::num::ParseFloatError>() {
        return format!("{}: invalid syntax", syntax("ParseFloat"));
    }
    format!(": {source}")
}

/// The names of the command that the words lead to: `volume`, `rm`.
fn path_of(root: &Command, words: &[OsString]) -> Vec<String> {
    let mut command = root;
    let mut path = Vec::new();
    let mut words = words.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if !command.has_subcommands() {
            break;
        }
        if word.starts_with('-') {
            match takes_next_word(command, &word) {
                // Its value may be the name of a command.
                Some(true) => drop(words.next()),
                Some(false) => {}
                None => break,
            }
            continue;
        }
        // What is not known here ends the path: the rest belongs to it.
        let Some(found) = command.find_subcommand(word.as_ref()) else { break };
        path.push(found.get_name().to_owned());
        command = found;
    }
    path
}

/// Whether a flag's value is the next word; nothing for a flag that is not known.
fn takes_next_word(command: &Command, word: &str) -> Option<bool> {
    let takes = |flag: &Arg| flag.get_action().takes_values() && !flag.is_require_equals_set();
    let mut flags = command.get_arguments();
    match word.strip_prefix("--") {
        Some(long) => {
            let (name, has_value) =
                long.split_once('=').map_or((long, false), |(name, _)| (name, true));
            let known = |flag: &&Arg| name == "help" || flag.get_long() == Some(name);
            flags.find(known).map(|flag| takes(flag) && name != "help" && !has_value)
        }
        None => {
            let last = word.chars().last();
            let known = |flag: &&Arg| last == Some('h') || flag.get_short() == last;
            flags.find(known).map(|flag| takes(flag) && last != Some('h'))
        }
    }
}
