//! A command's words in Docker's notation, and how many of them it takes.
//!
//! Both come from the command's positional arguments. Where one list holds several things (`IMAGE
//! [COMMAND] [ARG...]`), the name of its value is written in full and taken as it stands.

use clap::{Arg, Command};

/// `[OPTIONS] CONTAINER [CONTAINER...]`
pub fn words(command: &Command) -> String {
    let mut words = Vec::new();
    if command.get_arguments().any(is_shown_flag) {
        words.push("[OPTIONS]".to_owned());
    }
    if command.has_subcommands() {
        words.push("COMMAND".to_owned());
    }
    words.extend(command.get_positionals().map(positional));
    words.join(" ")
}

/// Whether a help text lists the argument as an option.
pub fn is_shown_flag(argument: &Arg) -> bool {
    !argument.is_positional() && !argument.is_hide_set() && argument.get_id() != "help"
}

fn positional(argument: &Arg) -> String {
    let name = value_name(argument);
    if name.contains([' ', '|']) {
        return name;
    }
    let many = range(argument).1 > 1;
    match (argument.is_required_set(), many) {
        (true, true) => format!("{name} [{name}...]"),
        (true, false) => name,
        (false, true) => format!("[{name}...]"),
        (false, false) => format!("[{name}]"),
    }
}

/// The name of an argument's value.
pub fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    match names.first() {
        Some(name) => name.to_string(),
        None => argument.get_id().as_str().to_uppercase(),
    }
}

/// Fewest and most values of a positional argument.
fn range(argument: &Arg) -> (usize, usize) {
    let range = argument.get_num_args().unwrap_or_else(|| 1.into());
    // A list without a number of its own takes one value each time, as often as it comes.
    let list = matches!(argument.get_action(), clap::ArgAction::Append);
    let most = if list { usize::MAX } else { range.max_values() };
    let fewest = if argument.is_required_set() { range.min_values().max(1) } else { 0 };
    (fewest, most)
}

/// Docker's words for a wrong number of arguments: `requires at least 1 argument`.
pub fn arity(command: &Command) -> String {
    let (mut fewest, mut most) = (0_usize, 0_usize);
    for argument in command.get_positionals() {
        let (at_least, at_most) = range(argument);
        fewest += at_least;
        most = most.saturating_add(at_most);
    }
    let count = |number: usize| format!("{number} argument{}", if number == 1 { "" } else { "s" });
    match (fewest, most) {
        (_, 0) => "accepts no arguments".to_owned(),
        (fewest, most) if fewest == most => format!("requires {}", count(fewest)),
        (fewest, usize::MAX) => format!("requires at least {}", count(fewest)),
        (0, most) => format!("requires at most {}", count(most)),
        (fewest, most) => format!("requires at least {fewest} and at most {}", count(most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_follow_the_arguments() {
        let list = |name| Arg::new("x").value_name(name).action(clap::ArgAction::Append);
        let one = |id, required| Arg::new(id).value_name("A").required(required);
        let command = || Command::new("c").disable_help_flag(true);
        for (command, text, number) in [
            (command(), "", "accepts no arguments"),
            (
                command().arg(list("VOLUME").required(true).num_args(1..)),
                "VOLUME [VOLUME...]",
                "requires at least 1 argument",
            ),
            (
                command().arg(list("CONTAINER COMMAND [ARG...]").required(true).num_args(2..)),
                "CONTAINER COMMAND [ARG...]",
                "requires at least 2 arguments",
            ),
            (command().arg(one("a", false)), "[A]", "requires at most 1 argument"),
            (command().arg(one("a", true)), "A", "requires 1 argument"),
            (command().arg(one("a", true)).arg(one("b", true)), "A A", "requires 2 arguments"),
            (
                command().arg(one("a", true)).arg(one("b", false)),
                "A [A]",
                "requires at least 1 and at most 2 arguments",
            ),
            (command().arg(Arg::new("f").long("f")), "[OPTIONS]", "accepts no arguments"),
            (command().subcommand(Command::new("s")), "COMMAND", "accepts no arguments"),
        ] {
            assert_eq!((words(&command).as_str(), arity(&command).as_str()), (text, number));
        }
    }
}
