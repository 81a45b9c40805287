//! `--help`: Docker's shape, from what the parser knows of each command.
//!
//! New commands and flags appear by themselves; only the headings of the first screen, commands with
//! an unusual second name, and examples stand in tables here.

use clap::{Arg, Command};

use crate::args::usage::{is_shown_flag, value_name, words};

/// Commands that the first screen shows first, in this order.
const COMMON: &[&str] =
    &["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "version", "info"];
/// Commands that have another name in their group.
const OTHER_NAMES: &[&[&str]] = &[
    &["image build", "builder build", "buildx build", "build"],
    &["image ls", "image list", "images"],
    &["image rm", "image remove", "rmi"],
    &["container ls", "container list", "container ps", "ps"],
];
/// Examples of commands whose flags have a language of their own.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("attach", &["attach --detach-keys ctrl-x web"]),
    (
        "build",
        &["build -t app:1 .", "build --target test --build-arg VERSION=2 -f ci/Dockerfile ."],
    ),
    ("cp", &["cp ./index.html web:/usr/share/nginx/html/", "cp web:/var/log/. ./log"]),
    ("exec", &["exec -it db psql -U postgres", "exec -u 1000 -w /tmp web id"]),
    ("images", &["images --filter dangling=true", "images --format '{{.Repository}}:{{.Tag}}'"]),
    ("import", &["import --change 'CMD [\"sh\"]' rootfs.tar.zst base:1"]),
    (
        "inspect",
        &["inspect --format '{{.State.Status}}' web", "inspect --format '{{json .Mounts}}' web"],
    ),
    ("logs", &["logs -f --tail 100 web", "logs --since 10m web"]),
    (
        "ps",
        &[
            "ps -a --filter status=exited",
            "ps --format 'table {{.Names}}\\t{{.Status}}\\t{{.Mounts}}'",
        ],
    ),
    (
        "run",
        &[
            "run --rm -it debian sh",
            "run -d --name db -v pgdata:/var/lib/postgresql/data postgres",
            "run -d -p 8080:80 --mount type=bind,src=./site,dst=/srv,readonly nginx",
        ],
    ),
    (
        "volume create",
        &["volume create data", "volume create -o type=none -o o=bind -o device=/srv/data data"],
    ),
    ("volume ls", &["volume ls --filter dangling=true"]),
];
/// Columns of a text that goes to no terminal.
const COLUMNS: usize = 80;
/// Longer lines are hard to read, however wide the terminal.
const COLUMNS_MAX: usize = 120;
/// Narrowest column of descriptions.
const DESCRIPTION_MIN: usize = 30;
/// Narrowest column of commands, as in Docker.
const COMMAND_MIN: usize = 11;

/// The columns to use: the terminal's where there is one.
pub fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { COLUMNS } else { columns.min(COLUMNS_MAX) }
}

/// The help of the command that `path` leads to, from `root`.
pub fn text(program: &str, root: &Command, path: &[String], columns: usize) -> String {
    let command = path.iter().fold(root, |command, name| {
        // The path was made of these names.
        command.find_subcommand(name).unwrap_or(command)
    });
    let mut out = format!("Usage:  {}\n\n", usage(program, path, command));
    if let Some(about) = command.get_about() {
        out.push_str(&format!("{about}\n"));
    }
    out.push_str(&aliases(program, root, path));
    if path.is_empty() {
        out.push_str(&first_screen(command));
    } else if command.has_subcommands() {
        out.push_str(&command_section("Commands", &commands(command, |_| true), COMMAND_MIN));
    }
    let heading = if path.is_empty() { "Global Options" } else { "Options" };
    out.push_str(&options(heading, command, columns));
    out.push_str(&examples(program, root, path));
    if command.has_subcommands() {
        let name = spoken(program, path);
        out.push_str(&format!(
            "\nRun '{name} COMMAND --help' for more information on a command.\n"
        ));
    }
    out
}

/// `docker volume rm`
pub fn spoken(program: &str, path: &[String]) -> String {
    std::iter::once(program).chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

/// `orlop rm [OPTIONS] CONTAINER [CONTAINER...]`
pub fn usage(program: &str, path: &[String], command: &Command) -> String {
    format!("{} {}", spoken(program, path), words(command)).trim_end().to_owned()
}

fn first_screen(root: &Command) -> String {
    let is_common = |command: &Command| COMMON.contains(&command.get_name());
    let mut common = commands(root, is_common);
    common.sort_by_key(|(name, _)| COMMON.iter().position(|known| known == name));
    let groups = commands(root, Command::has_subcommands);
    let others = commands(root, |command| !command.has_subcommands() && !is_common(command));
    // One width for all three, as they stand below each other.
    let width = longest(&[common.as_slice(), groups.as_slice(), others.as_slice()].concat());
    [("Common Commands", common), ("Management Commands", groups), ("Commands", others)]
        .map(|(heading, rows)| command_section(heading, &rows, width.max(COMMAND_MIN)))
        .concat()
}

/// Commands and what they do, each in one line, as in Docker.
fn command_section(heading: &str, rows: &[(String, String)], width: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = longest(rows).max(width);
    let lines: Vec<String> =
        rows.iter().map(|(name, about)| format!("  {name:width$} {about}\n")).collect();
    format!("\n{heading}:\n{}", lines.concat())
}

/// Names and descriptions, sorted by name.
fn commands(parent: &Command, wanted: impl Fn(&Command) -> bool) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = parent
        .get_subcommands()
        .filter(|command| !command.is_hide_set() && wanted(command))
        .map(|command| {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            (command.get_name().to_owned(), about)
        })
        .collect();
    rows.sort();
    rows
}

fn longest(rows: &[(String, String)]) -> usize {
    rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0)
}

/// Every name of the command, if there are several.
fn aliases(program: &str, root: &Command, path: &[String]) -> String {
    let here = path.join(" ");
    let mut names: Vec<String> = match OTHER_NAMES.iter().find(|names| names.contains(&&*here)) {
        Some(names) => names.iter().map(|&name| name.to_owned()).collect(),
        None => other_names(root, path),
    };
    names.retain(|name| exists(root, name));
    if names.len() < 2 {
        return String::new();
    }
    let names: Vec<String> = names.iter().map(|name| format!("{program} {name}")).collect();
    format!("\nAliases:\n  {}\n", names.join(", "))
}

fn exists(root: &Command, name: &str) -> bool {
    let mut words = name.split(' ');
    words.try_fold(root, |command, word| command.find_subcommand(word)).is_some()
}

/// The name in the group, its aliases there, and the short name.
fn other_names(root: &Command, path: &[String]) -> Vec<String> {
    let Some(name) = path.last() else { return Vec::new() };
    let about = |command: &Command| command.get_about().map(ToString::to_string);
    // A short name belongs to the group whose command of that name does the same.
    let own = match path {
        [_] => root.find_subcommand(name).and_then(about),
        _ => None,
    };
    let is_group = |group: &&Command| match path {
        [given, _] => group.get_name() == given,
        _ => matches!(group.get_name(), "container" | "image" | "system"),
    };
    let found = root
        .get_subcommands()
        .filter(is_group)
        .filter_map(|group| Some((group, group.find_subcommand(name)?)))
        .find(|(_, command)| own.is_none() || own == about(command));
    let Some((group, command)) = found else { return Vec::new() };
    let mut names = vec![format!("{} {}", group.get_name(), command.get_name())];
    names.extend(command.get_all_aliases().map(|alias| format!("{} {alias}", group.get_name())));
    let short = root.find_subcommand(command.get_name());
    if short.is_some_and(|short| about(short) == about(command)) {
        names.push(command.get_name().to_owned());
    }
    names
}

fn options(heading: &str, command: &Command, columns: usize) -> String {
    let mut flags: Vec<&Arg> =
        command.get_arguments().filter(|argument| is_shown_flag(argument)).collect();
    flags.sort_by_key(|flag| flag.get_long().unwrap_or_default());
    let rows: Vec<(String, String)> =
        flags.into_iter().map(|flag| (flag_text(flag), description(flag))).collect();
    section(heading, &rows, 3, columns)
}

/// `-e, --env NAME[=VALUE]`
fn flag_text(flag: &Arg) -> String {
    let short = flag.get_short().map_or("    ".to_owned(), |short| format!("-{short}, "));
    let long = flag.get_long().unwrap_or_default();
    // A switch may take a value (`--rm=false`), but nobody has to know.
    let is_switch = flag.is_require_equals_set() || !flag.get_action().takes_values();
    let value = if is_switch { String::new() } else { format!(" {}", value_name(flag)) };
    format!("{short}--{long}{value}")
}

fn description(flag: &Arg) -> String {
    let mut text = flag.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults = flag.get_default_values();
    if !flag.is_hide_default_value_set()
        && !flag.is_require_equals_set()
        && let [default] = defaults
        && !default.is_empty()
    {
        text.push_str(&format!(" (default {})", default.to_string_lossy()));
    }
    text
}

/// A heading and rows of two columns, the second one wrapped.
fn section(heading: &str, rows: &[(String, String)], gap: usize, columns: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    // Flags of an unusual length go on a line of their own instead of pushing all others aside.
    let limit = columns.saturating_sub(DESCRIPTION_MIN + gap + 2);
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .filter(|width| *width <= limit)
        .max()
        .unwrap_or(0);
    let room = columns.saturating_sub(2 + width + gap).max(DESCRIPTION_MIN);
    let indent = " ".repeat(2 + width + gap);
    let mut out = format!("\n{heading}:\n");
    for (name, about) in rows {
        let mut lines = wrap(about, room).into_iter();
        if name.chars().count() > width {
            out.push_str(&format!("  {name}\n{indent}"));
        } else {
            out.push_str(&format!("  {name:width$}{}", " ".repeat(gap)));
        }
        out.push_str(&lines.next().unwrap_or_default());
        for line in lines {
            out.push_str(&format!("\n{indent}{line}"));
        }
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
    out
}

fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

fn examples(program: &str, root: &Command, path: &[String]) -> String {
    let here = path.join(" ");
    let mut names = other_names(root, path);
    names.extend(
        OTHER_NAMES
            .iter()
            .filter(|all| all.contains(&&*here))
            .flat_map(|all| all.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()),
    );
    names.push(here);
    let Some((_, lines)) = EXAMPLES.iter().find(|(name, _)| names.iter().any(|own| own == name))
    else {
        return String::new();
    };
    let lines: Vec<String> = lines.iter().map(|line| format!("  {program} {line}\n")).collect();
    format!("\nExamples:\n{}", lines.concat())
}

#[cfg(test)]
#[path = "help_tests.rs"]
mod tests;
