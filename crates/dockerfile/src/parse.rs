//! From logical lines to typed instructions and stages.

use crate::directive::Directives;
use crate::error::Error;
use crate::flag::{Flags, Takes};
use crate::heredoc;
use crate::instruction::{
    Add, ArgDefinition, Command, CommandLine, Copy, Healthcheck, Heredoc, InlineFile, Instruction,
    KeyValue, Run, RunDevice, RunNetwork, RunSecurity, Source, Sources,
};
use crate::line::{self, LogicalLine};
use crate::lint::{self, Lint};
use crate::mount::{MountFlag, fields, go_bool};
use crate::quote::go_quoted;
use crate::suggest::{Case, with_suggestion};
use crate::word::Arguments;

/// A parsed Dockerfile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// `# syntax=`, `# escape=`, `# check=`.
    pub directives: Directives,
    /// The `ARG` instructions before the first `FROM`.
    pub global_args: Vec<GlobalArg>,
    /// The stages in order; at least one.
    pub stages: Vec<Stage>,
    /// What the build checks say that need no more than the text, in the order of BuildKit;
    /// not filtered by `# check=`.
    pub warnings: Vec<Lint>,
}

/// An `ARG` instruction before the first `FROM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalArg {
    /// Where it was written.
    pub source: Source,
    /// Its names.
    pub definitions: Vec<ArgDefinition>,
}

/// A stage: a `FROM` and what follows up to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The image or earlier stage, unexpanded.
    pub base: String,
    /// `--platform`, unexpanded.
    pub platform: Option<String>,
    /// The name after `AS`, in lower case.
    pub name: Option<String>,
    /// The description out of a comment `# NAME text` above it.
    pub description: Option<String>,
    /// The `FROM` line.
    pub source: Source,
    /// What follows.
    pub instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// The stage of a name (its last one, if several have it), or of an index.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<usize> {
        let wanted = name.to_lowercase();
        self.stages.iter().rposition(|stage| stage.name.as_deref() == Some(wanted.as_str()))
    }
}

/// Parses a Dockerfile.
///
/// # Errors
/// Whatever BuildKit refuses, in its words, with the lines concerned.
pub fn parse(text: &str) -> Result<Dockerfile, Error> {
    if text.is_empty() {
        return Err(Error::new("the Dockerfile cannot be empty"));
    }
    let split = line::split(text)?;
    let mut file = Dockerfile { directives: split.directives, ..Dockerfile::default() };
    let mut warnings: Vec<Lint> =
        split.empty_continuations.into_iter().map(lint::empty_continuation).collect();
    for line in split.lines {
        let first = line.lines.first;
        let lines = line.lines;
        let prefix = format!("dockerfile parse error on line {first}: ");
        if line.statement.name.eq_ignore_ascii_case("from") {
            lint::from_casing(&line, &mut warnings);
            let stage = from(line).map_err(|error| error.within(&prefix).at(lines))?;
            if let Some(name) = &stage.name {
                let comments = &stage.source.comments;
                lint::description("FROM", &[name], comments, lines, &mut warnings);
            }
            file.stages.push(stage);
            continue;
        }
        if line.statement.name.eq_ignore_ascii_case("maintainer") {
            lint::maintainer(lines, &line.comments, &mut warnings);
        }
        let instruction = instruction(line).map_err(|error| error.within(&prefix).at(lines))?;
        if let Command::Arg(definitions) = &instruction.command {
            let names: Vec<&str> = definitions.iter().map(|arg| arg.name.as_str()).collect();
            let comments = &instruction.source.comments;
            lint::description("ARG", &names, comments, lines, &mut warnings);
        }
        match (file.stages.last_mut(), instruction) {
            (Some(stage), instruction) => stage.instructions.push(instruction),
            (None, Instruction { source, command: Command::Arg(definitions) }) => {
                file.global_args.push(GlobalArg { source, definitions });
            }
            (None, _) => {
                return Err(Error::new("no build stage in current context").at(lines));
            }
        }
    }
    if file.stages.is_empty() {
        return Err(Error::new("dockerfile contains no stages to build"));
    }
    lint::stages(&file, &mut warnings);
    file.warnings = warnings;
    Ok(file)
}

/// Parses one instruction, here-documents included: the text of an `ONBUILD` trigger.
///
/// # Errors
/// As [`parse`]; the text must be exactly one instruction that may stand in a stage.
pub fn parse_instruction(text: &str) -> Result<Instruction, Error> {
    let mut split = line::split(text)?;
    let (Some(line), true) = (split.lines.pop(), split.lines.is_empty()) else {
        return Err(Error::new("onbuild trigger should be a single expression"));
    };
    if line.statement.name.eq_ignore_ascii_case("from") {
        return Err(Error::new("FROM isn't allowed as an ONBUILD trigger"));
    }
    let lines = line.lines;
    instruction(line).map_err(|error| error.at(lines))
}

fn source(line: &LogicalLine) -> Source {
    Source {
        name: line.statement.name.clone(),
        text: line.statement.text.clone(),
        lines: line.lines,
        comments: line.comments.clone(),
    }
}

/// The description of a name in the comments above it.
fn description(comments: &[String], name: &str) -> Option<String> {
    comments
        .iter()
        .find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}

fn from(line: LogicalLine) -> Result<Stage, Error> {
    let source = source(&line);
    let Arguments::Words(words) = line.arguments else {
        return Err(Error::new("FROM requires either one or three arguments"));
    };
    let (base, name) = match words.as_slice() {
        [base] => (base.clone(), None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("as") => {
            (base.clone(), Some(stage_name(name)?))
        }
        _ => return Err(Error::new("FROM requires either one or three arguments")),
    };
    let flags = Flags::parse(&line.statement.flags, &[("platform", Takes::Value)])?;
    let description = name.as_ref().and_then(|name| description(&source.comments, name));
    let platform = flags.value("platform");
    Ok(Stage { base, platform, name, description, source, instructions: Vec::new() })
}

fn stage_name(written: &str) -> Result<String, Error> {
    let name = written.to_lowercase();
    let valid = name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
        });
    if valid {
        return Ok(name);
    }
    Err(Error::new(format!(
        "invalid name for build stage: {}, name can't start with a number or contain symbols",
        go_quoted(written)
    ))
    .at_word(written))
}

/// Types one instruction.
fn instruction(line: LogicalLine) -> Result<Instruction, Error> {
    let source = source(&line);
    let name = line.statement.name.to_uppercase();
    let flags = &line.statement.flags;
    let docs = line.heredocs;
    let command = match (name.as_str(), line.arguments) {
        ("ADD", arguments) => Command::Add(add(words(arguments), &docs, flags)?),
        ("COPY", arguments) => Command::Copy(copy(words(arguments), &docs, flags)?),
        ("ARG", arguments) => Command::Arg(arg(&words(arguments), &source.comments)?),
        ("CMD", arguments) => {
            no_flags(flags)?;
            Command::Cmd(command_line(arguments))
        }
        ("ENTRYPOINT", arguments) => {
            no_flags(flags)?;
            Command::Entrypoint(command_line(arguments))
        }
        ("ENV", arguments) => Command::Env(key_values("ENV", flags, arguments)?),
        ("LABEL", arguments) => Command::Label(key_values("LABEL", flags, arguments)?),
        ("EXPOSE", arguments) => {
            let mut ports = at_least_one("EXPOSE", words(arguments))?;
            no_flags(flags)?;
            ports.sort();
            Command::Expose(ports)
        }
        ("HEALTHCHECK", arguments) => Command::Healthcheck(health(arguments, flags)?),
        ("MAINTAINER", arguments) => {
            Command::Maintainer(exactly_one("MAINTAINER", arguments, flags)?)
        }
        ("ONBUILD", arguments) => Command::Onbuild(onbuild(&source.text, arguments, &docs, flags)?),
        ("RUN", arguments) => Command::Run(run(command_line(arguments), docs, flags)?),
        ("SHELL", arguments) => {
            no_flags(flags)?;
            Command::Shell(shell(arguments)?)
        }
        // BuildKit doesn't look at flags of STOPSIGNAL.
        ("STOPSIGNAL", arguments) => {
            Command::Stopsignal(exactly_one("STOPSIGNAL", arguments, &[])?)
        }
        ("USER", arguments) => Command::User(exactly_one("USER", arguments, flags)?),
        ("VOLUME", arguments) => Command::Volume(volume(words(arguments), flags)?),
        ("WORKDIR", arguments) => Command::Workdir(exactly_one("WORKDIR", arguments, flags)?),
        _ => {
            let written = &line.statement.name;
            let text = format!("unknown instruction: {written}");
            let text = with_suggestion(text, written, NAMES, Case::Ignored);
            return Err(Error::new(text).at_word(written));
        }
    };
    Ok(Instruction { source, command })
}

/// The names of all instructions.
const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn words(arguments: Arguments) -> Vec<String> {
    match arguments {
        Arguments::Words(words) | Arguments::Exec(words) => words,
        Arguments::Pairs(_) | Arguments::Health(..) | Arguments::Trigger(..) => Vec::new(),
    }
}

fn command_line(arguments: Arguments) -> CommandLine {
    match arguments {
        Arguments::Exec(words) => CommandLine::Exec(words),
        other => CommandLine::Shell(words(other).concat()),
    }
}

fn no_flags(flags: &[String]) -> Result<(), Error> {
    Flags::parse(flags, &[]).map(|_| ())
}

fn at_least_one<T>(name: &str, words: Vec<T>) -> Result<Vec<T>, Error> {
    if words.is_empty() {
        return Err(Error::new(format!("{name} requires at least one argument")));
    }
    Ok(words)
}

fn exactly_one(name: &str, arguments: Arguments, flags: &[String]) -> Result<String, Error> {
    let mut words = words(arguments);
    let (Some(word), true) = (words.pop(), words.is_empty()) else {
        return Err(Error::new(format!("{name} requires exactly one argument")));
    };
    no_flags(flags)?;
    Ok(word)
}

fn key_values(name: &str, flags: &[String], arguments: Arguments) -> Result<Vec<KeyValue>, Error> {
    no_flags(flags)?;
    let pairs = if let Arguments::Pairs(pairs) = arguments { pairs } else { Vec::new() };
    let pairs = at_least_one(name, pairs)?;
    if pairs.iter().any(|pair| pair.key.is_empty()) {
        return Err(Error::new(format!("{name} names can not be blank")));
    }
    Ok(pairs)
}

fn arg(words: &[String], comments: &[String]) -> Result<Vec<ArgDefinition>, Error> {
    if words.is_empty() {
        return Err(Error::new("ARG requires at least one argument"));
    }
    words
        .iter()
        .map(|word| {
            let (name, default) = match word.split_once('=') {
                Some(("", _)) => {
                    return Err(Error::new("ARG names can not be blank").at_word(word));
                }
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (word.as_str(), None),
            };
            let description = description(comments, name);
            Ok(ArgDefinition { name: name.to_owned(), default, description })
        })
        .collect()
}

fn has_destination(name: &str, words: &[String]) -> Result<(), Error> {
    if words.len() >= 2 {
        return Ok(());
    }
    Err(Error::new(format!(
        "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
    )))
}

fn sources(name: &str, mut words: Vec<String>, docs: &[Heredoc]) -> Result<Sources, Error> {
    let destination = words.pop().unwrap_or_default();
    // A word that can't be read as a here-document is a path like any other.
    let begins = |word: &str| heredoc::from_word(word).ok().flatten();
    if begins(&destination).is_some() {
        return Err(Error::new(format!("{name} cannot accept a heredoc as a destination"))
            .at_word(&destination));
    }
    let mut found = Sources { destination, ..Sources::default() };
    for word in words {
        let Some(doc) = begins(&word) else {
            found.paths.push(word);
            continue;
        };
        // Of several with one name the last one's content counts, as in BuildKit.
        let content = docs.iter().rev().find(|other| other.name == doc.name);
        let content = content.map(|other| other.content.clone()).unwrap_or_default();
        let doc = Heredoc { content, ..doc };
        let content = doc.text();
        found.files.push(InlineFile { name: doc.name, content, expand: doc.expand });
    }
    Ok(found)
}

fn add(words: Vec<String>, docs: &[Heredoc], flags: &[String]) -> Result<Add, Error> {
    has_destination("ADD", &words)?;
    let flags = Flags::parse(
        flags,
        &[
            ("chown", Takes::Value),
            ("chmod", Takes::Value),
            ("link", Takes::Bool),
            ("keep-git-dir", Takes::Bool),
            ("checksum", Takes::Value),
            ("unpack", Takes::Bool),
            ("exclude", Takes::Values),
        ],
    )?;
    Ok(Add {
        sources: sources("ADD", words, docs)?,
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        exclude: flags.values("exclude"),
        keep_git_dir: flags.switch("keep-git-dir"),
        checksum: flags.value("checksum"),
        unpack: flags.switch("unpack"),
    })
}

fn copy(words: Vec<String>, docs: &[Heredoc], flags: &[String]) -> Result<Copy, Error> {
    has_destination("COPY", &words)?;
    let flags = Flags::parse(
        flags,
        &[
            ("chown", Takes::Value),
            ("from", Takes::Value),
            ("chmod", Takes::Value),
            ("link", Takes::Bool),
            ("exclude", Takes::Values),
            ("parents", Takes::Bool),
        ],
    )?;
    Ok(Copy {
        sources: sources("COPY", words, docs)?,
        from: flags.value("from"),
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        parents: flags.switch("parents").unwrap_or_default(),
        exclude: flags.values("exclude"),
    })
}

fn run(line: CommandLine, heredocs: Vec<Heredoc>, flags: &[String]) -> Result<Run, Error> {
    let flags = Flags::parse(
        flags,
        &[
            ("mount", Takes::Values),
            ("network", Takes::Value),
            ("security", Takes::Value),
            ("device", Takes::Values),
        ],
    )?;
    let mount_flags = flags
        .values("mount")
        .iter()
        .map(|text| MountFlag::parse(text))
        .collect::<Result<_, _>>()?;
    let network = flags.values("network").pop();
    let network = match network.as_deref() {
        None | Some("default") => RunNetwork::Default,
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(other) => {
            return Err(
                Error::new(format!("invalid network mode {}", go_quoted(other))).at_word(other)
            );
        }
    };
    let security = flags.values("security").pop();
    let security = match security.as_deref() {
        None | Some("sandbox") => RunSecurity::Sandbox,
        Some("insecure") => RunSecurity::Insecure,
        Some(other) => {
            return Err(
                Error::new(format!("security {} is not valid", go_quoted(other))).at_word(other)
            );
        }
    };
    let devices =
        flags.values("device").iter().map(|text| device(text)).collect::<Result<_, _>>()?;
    Ok(Run { line, heredocs, mount_flags, mounts: Vec::new(), network, security, devices })
}

fn device(text: &str) -> Result<RunDevice, Error> {
    let mut device = RunDevice::default();
    for field in fields(text, "devices")? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => {
                device.required = go_bool(value).ok_or_else(|| {
                    Error::new(format!("invalid value for required: {value}")).at_word(&field)
                })?;
            }
            ("name", Some(value)) => {
                if !device.name.is_empty() {
                    return Err(Error::new(format!("device name already set to {}", device.name))
                        .at_word(&field));
                }
                value.clone_into(&mut device.name);
            }
            _ if device.name.is_empty() => device.name.clone_from(&field),
            (_, None) => {
                return Err(Error::new(format!(
                    "invalid field '{field}' must be a key=value pair"
                ))
                .at_word(&field));
            }
            (key, Some(_)) => {
                let text = format!("unexpected key '{key}' in '{field}'");
                let text = with_suggestion(text, key, ["name", "required"], Case::Sensitive);
                return Err(Error::new(text).at_word(&field));
            }
        }
    }
    Ok(device)
}

fn volume(words: Vec<String>, flags: &[String]) -> Result<Vec<String>, Error> {
    let words = at_least_one("VOLUME", words)?;
    no_flags(flags)?;
    let paths: Vec<String> = words.iter().map(|path| path.trim().to_owned()).collect();
    if paths.iter().any(String::is_empty) {
        return Err(Error::new("VOLUME specified can not be an empty string"));
    }
    Ok(paths)
}

fn shell(arguments: Arguments) -> Result<Vec<String>, Error> {
    match arguments {
        Arguments::Exec(words) => at_least_one("SHELL", words),
        other => {
            at_least_one("SHELL", words(other))?;
            Err(Error::new("SHELL requires the arguments to be in JSON form"))
        }
    }
}

fn onbuild(
    text: &str,
    arguments: Arguments,
    docs: &[Heredoc],
    flags: &[String],
) -> Result<String, Error> {
    let Arguments::Trigger(inner, _) = arguments else {
        return Err(Error::new("ONBUILD requires at least one argument"));
    };
    no_flags(flags)?;
    match inner.name.to_uppercase().as_str() {
        "ONBUILD" => {
            return Err(Error::new("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
                .at_word(&inner.name));
        }
        name @ ("MAINTAINER" | "FROM") => {
            return Err(Error::new(format!("{name} isn't allowed as an ONBUILD trigger"))
                .at_word(&inner.name));
        }
        _ => {}
    }
    let after = text.get("ONBUILD".len()..).unwrap_or_default();
    let mut expression = after.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']).to_owned();
    for doc in docs {
        expression.push('\n');
        expression.push_str(&doc.content);
        expression.push_str(&doc.name);
    }
    Ok(expression)
}

/// A health check's interval may not be shorter.
const MIN_INTERVAL_NS: i64 = 1_000_000;

fn health(arguments: Arguments, flags: &[String]) -> Result<Healthcheck, Error> {
    let Arguments::Health(kind, command) = arguments else {
        return Err(Error::new("HEALTHCHECK requires at least one argument"));
    };
    let kind = kind.to_uppercase();
    if kind == "NONE" {
        if !words(*command).is_empty() {
            return Err(Error::new("HEALTHCHECK NONE takes no arguments"));
        }
        return Ok(Healthcheck { test: vec![kind], ..Healthcheck::default() });
    }
    let flags = Flags::parse(
        flags,
        &["interval", "timeout", "start-period", "start-interval", "retries"]
            .map(|name| (name, Takes::Value)),
    )?;
    if kind != "CMD" {
        return Err(Error::new(format!(
            "Unknown type {} in HEALTHCHECK (try CMD)",
            go_quoted(&kind)
        )));
    }
    let exec = matches!(*command, Arguments::Exec(_));
    let command = words(*command);
    if command.is_empty() {
        return Err(Error::new("Missing command after HEALTHCHECK CMD"));
    }
    let mut test = vec![if exec { "CMD" } else { "CMD-SHELL" }.to_owned()];
    test.extend(command);
    Ok(Healthcheck {
        test,
        interval_ns: interval(&flags, "interval")?,
        timeout_ns: interval(&flags, "timeout")?,
        start_period_ns: interval(&flags, "start-period")?,
        start_interval_ns: interval(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn interval(flags: &Flags, name: &str) -> Result<i64, Error> {
    let Some(text) = flags.value(name) else { return Ok(0) };
    let duration = orlop_types::duration::parse_duration(&text)
        .map_err(|error| Error::new(error.to_string()).at_word(&text))?;
    if duration != 0 && duration < MIN_INTERVAL_NS {
        return Err(
            Error::new(format!("Interval \"{name}\" cannot be less than 1ms")).at_word(&text)
        );
    }
    Ok(duration)
}

fn retries(flags: &Flags) -> Result<i32, Error> {
    let Some(text) = flags.value("retries") else { return Ok(0) };
    let number: i32 = text.parse().map_err(|error: std::num::ParseIntError| {
        use std::num::IntErrorKind as Kind;
        let why = match error.kind() {
            Kind::PosOverflow | Kind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Error::new(format!("strconv.ParseInt: parsing {}: {why}", go_quoted(&text))).at_word(&text)
    })?;
    if number < 0 {
        return Err(Error::new(format!("--retries cannot be negative ({number})")).at_word(&text));
    }
    Ok(number)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
