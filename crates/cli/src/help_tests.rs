//! Tests of help texts: whole screens where they are short, their shape where they are long.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::args;

fn help(path: &str, columns: usize) -> String {
    let path: Vec<String> = path.split_whitespace().map(str::to_owned).collect();
    text("orlop", &args::command(), &path, columns)
}

/// Every command that can be typed, hidden ones left out.
fn all_paths(command: &Command, path: &str) -> Vec<String> {
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let below = shown.flat_map(|sub| all_paths(sub, format!("{path} {}", sub.get_name()).trim()));
    std::iter::once(path.to_owned()).chain(below).collect()
}

#[test]
fn a_command_has_usage_aliases_options_and_examples() {
    assert_eq!(
        help("rm", 80),
        "Usage:  orlop rm [OPTIONS] CONTAINER [CONTAINER...]\n\n\
         Remove one or more containers\n\n\
         Aliases:\n  orlop container rm, orlop container remove, orlop rm\n\n\
         Options:\n  \
           -f, --force     Kill running containers first\n  \
           -v, --volumes   Remove the containers' anonymous volumes too\n"
    );
    assert_eq!(
        help("container rm", 80),
        help("rm", 80).replace("orlop rm [", "orlop container rm [")
    );
    assert_eq!(
        help("volume ls", 60),
        "Usage:  orlop volume ls [OPTIONS]\n\n\
         List volumes\n\n\
         Aliases:\n  orlop volume ls, orlop volume list\n\n\
         Options:\n  \
           -f, --filter FILTER   Only what matches, as `name=value`;\n                        \
                                 may be repeated\n      \
               --format FORMAT   `table`, `table TEMPLATE`, `json`,\n                        \
                                 or a Go template\n  \
           -q, --quiet           Print nothing but ids or names\n\n\
         Examples:\n  orlop volume ls --filter dangling=true\n"
    );
}

#[test]
fn a_group_lists_its_commands_as_docker_does() {
    assert_eq!(
        help("volume", 80),
        "Usage:  orlop volume COMMAND\n\n\
         Manage volumes\n\n\
         Commands:\n  \
           create      Create a volume\n  \
           inspect     Display detailed information on one or more volumes\n  \
           ls          List volumes\n  \
           prune       Remove unused local volumes\n  \
           rm          Remove one or more volumes\n\n\
         Run 'orlop volume COMMAND --help' for more information on a command.\n"
    );
}

#[test]
fn the_first_screen_is_grouped() {
    let screen = help("", 80);
    let headings: Vec<&str> =
        screen.lines().filter(|line| !line.starts_with(' ') && line.ends_with(':')).collect();
    assert_eq!(
        headings,
        ["Common Commands:", "Management Commands:", "Commands:", "Global Options:"]
    );
    assert!(
        screen.starts_with("Usage:  orlop [OPTIONS] COMMAND\n\nA container engine"),
        "{screen}"
    );
    for line in [
        "  run         Create and run a new container from an image\n",
        "  container   Manage containers\n",
        "  rmi         Remove one or more images\n",
        "  -s, --storage-driver NAME   ",
    ] {
        assert!(screen.contains(line), "{line}{screen}");
    }
    assert!(!screen.contains("container-ended") && !screen.contains("--tls"), "{screen}");
}

#[test]
fn every_name_of_a_command_is_told() {
    for (path, want) in [
        ("ps", "orlop container ls, orlop container list, orlop container ps, orlop ps"),
        ("container ls", "orlop container ls, orlop container list, orlop container ps, orlop ps"),
        ("images", "orlop image ls, orlop image list, orlop images"),
        ("rmi", "orlop image rm, orlop image remove, orlop rmi"),
        ("run", "orlop container run, orlop run"),
        ("info", "orlop system info, orlop info"),
        ("import", "orlop image import, orlop import"),
        ("volume rm", "orlop volume rm, orlop volume remove"),
    ] {
        assert!(help(path, 80).contains(&format!("\nAliases:\n  {want}\n")), "{}", help(path, 80));
    }
    assert!(!help("inspect", 80).contains("Aliases"), "containers have an `inspect` of their own");
}

#[test]
fn every_command_has_a_short_and_aligned_help() {
    for path in all_paths(&args::command(), "") {
        for columns in [80, 120] {
            let screen = help(&path, columns);
            let name = format!("orlop {path}");
            assert!(screen.starts_with(&format!("Usage:  {}", name.trim())), "{screen}");
            assert!(screen.lines().nth(2).is_some_and(|line| !line.is_empty()), "{screen}");
            let options = screen.split("Options:\n").nth(1).unwrap_or_default();
            for line in options.lines().take_while(|line| !line.is_empty()) {
                // A single word is never cut.
                let is_word = line.split_whitespace().count() == 1;
                assert!(is_word || line.chars().count() <= columns, "{path}: {line}");
                assert_eq!(line, line.trim_end(), "{path}");
            }
            assert!(!screen.contains("[default"), "{path}: {screen}");
        }
    }
}

#[test]
fn no_flag_stands_twice() {
    for path in all_paths(&args::command(), "") {
        let screen = help(&path, 80);
        let mut flags: Vec<&str> = screen
            .lines()
            .filter(|line| line.starts_with("  -") || line.starts_with("      --"))
            .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
            .collect();
        let count = flags.len();
        assert!(flags.is_sorted(), "{path}: {flags:?}");
        flags.dedup();
        assert_eq!(flags.len(), count, "{path}");
    }
}

#[test]
fn examples_can_be_parsed() {
    for (_, lines) in EXAMPLES {
        for line in *lines {
            // Enough of a shell for the examples: quotes keep words together.
            let mut words = vec![String::from("orlop"), String::new()];
            let mut quoted = false;
            for letter in line.chars() {
                match letter {
                    '\'' => quoted = !quoted,
                    ' ' if !quoted => words.push(String::new()),
                    letter => words.last_mut().unwrap().push(letter),
                }
            }
            let words: Vec<std::ffi::OsString> = words.into_iter().map(Into::into).collect();
            let parsed = args::parse("orlop", &words);
            assert!(matches!(parsed, Ok(args::Parsed::Command(_))), "{line}: {parsed:?}");
        }
    }
}
