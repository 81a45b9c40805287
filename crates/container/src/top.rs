//! `top`: the processes of a container as the host's `ps` shows them.

use std::process::Command;

use orlop_meta::ContainerStatus;
use orlop_types::ParseError;

use crate::pause::{not_running, restarting};
use crate::{Containers, Error, Result};

/// What `ps` is called with unless the user says otherwise.
const DEFAULT_ARGS: [&str; 1] = ["-ef"];

/// A table of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessList {
    /// Headings.
    pub titles: Vec<String>,
    /// One row for each process; the last field holds blanks.
    pub processes: Vec<Vec<String>>,
}

impl Containers<'_> {
    /// Lists the processes of a container; `args` are those of `ps`.
    pub fn top(&self, name: &str, args: &[String]) -> Result<ProcessList> {
        let words: Vec<&str> = args.iter().flat_map(|arg| arg.split_ascii_whitespace()).collect();
        check_args(&words)?;
        let container = self.get(name)?;
        match container.state.status {
            ContainerStatus::Running | ContainerStatus::Paused => {}
            ContainerStatus::Restarting => return Err(restarting(container.id.as_str())),
            _ => return Err(not_running(&container.id)),
        }
        let pids = self.group(&container).and_then(|group| group.pids()).map_err(|source| {
            Error::System { operation: "list the processes of", subject: name.to_owned(), source }
        })?;
        let words = if words.is_empty() { DEFAULT_ARGS.to_vec() } else { words };
        let list = parse(&run_ps(&words, &pids)?, &pids)?;
        self.log_event(&container, "top")?;
        Ok(list)
    }
}

/// A heading that looks like the one of process ids would lead to wrong rows, as in Docker.
fn check_args(words: &[&str]) -> Result<(), ParseError> {
    for word in words {
        for part in word.split(',') {
            let named = part.split_once('=');
            if let Some((field, heading)) = named
                && heading.trim().starts_with("PID")
                && field != "pid"
            {
                let text = format!("specifying \"{field}={heading}\" is not allowed");
                return Err(ParseError::new(text));
            }
        }
    }
    Ok(())
}

/// Output of the host's `ps`, for these processes only where its options allow that.
fn run_ps(words: &[&str], pids: &[i32]) -> Result<String> {
    let chosen: Vec<String> = pids.iter().map(i32::to_string).collect();
    let chosen = format!("-q{}", chosen.join(","));
    let run = |extra: &[&str]| {
        let mut command = Command::new("ps");
        command.args(words).args(extra).env("LC_ALL", "C");
        command.output()
    };
    let cannot = |source: std::io::Error| {
        if source.kind() == std::io::ErrorKind::NotFound {
            let message = "cannot list processes: the program `ps` is not installed on this host; \
                           it is part of the package `procps`";
            return Error::Conflict { message: message.to_owned() };
        }
        Error::System { operation: "run", subject: "ps".to_owned(), source }
    };
    let output = run(&[&chosen]).map_err(cannot)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    // Some options (`f`, `-C`) cannot be used together with the choice of processes.
    let output = run(&[]).map_err(cannot)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("ps failed");
    Err(Error::Invalid(ParseError::new(format!("ps: {line}"))))
}

/// The rows of these processes.
fn parse(output: &str, pids: &[i32]) -> Result<ProcessList> {
    let mut lines = output.lines();
    let titles: Vec<String> = fields(lines.next().unwrap_or_default());
    let column = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| ParseError::new("Couldn't find PID field in ps output"))?;
    let mut list = ProcessList { titles, processes: Vec::new() };
    // Threads, shown with `m`, follow their process and have no number of their own.
    let mut belongs = false;
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let found = fields(line);
        match found.get(column).map(String::as_str) {
            None => continue,
            Some("-") => {}
            Some(text) => {
                let pid: i32 = text
                    .parse()
                    .map_err(|_| ParseError::new(format!("unexpected pid '{text}'")))?;
                belongs = pids.contains(&pid);
            }
        }
        if belongs {
            list.processes.push(row(found, list.titles.len()));
        }
    }
    Ok(list)
}

/// As many fields as there are titles; the last one takes the rest.
fn row(mut found: Vec<String>, count: usize) -> Vec<String> {
    if found.len() > count && count > 0 {
        let rest = found.split_off(count - 1).join(" ");
        found.push(rest);
    }
    found
}

fn fields(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_containers_processes_with_their_threads() {
        let output = "UID PID PPID CMD\nroot 1 0 /sbin/init  splash\nroot 20 1 sleep 5 6\nroot - - -\n\
                      root 30 1 other\nroot - - -\n";
        let list = parse(output, &[20]).expect("a table");
        assert_eq!(list.titles, ["UID", "PID", "PPID", "CMD"]);
        let rows: Vec<String> = list.processes.iter().map(|row| row.join("|")).collect();
        assert_eq!(rows, ["root|20|1|sleep 5 6", "root|-|-|-"]);
        let error = parse("UID CMD\n", &[]).expect_err("no ids").to_string();
        assert_eq!(error, "Couldn't find PID field in ps output");
    }

    #[test]
    fn headings_that_hide_the_ids_are_refused() {
        for fine in [&["-ef"][..], &["-o", "pid=PID,user"], &["aux"], &["-o", "user=NAME"]] {
            assert_eq!(check_args(fine), Ok(()), "{fine:?}");
        }
        let error = check_args(&["-o", "user=PID"]).expect_err("refused").to_string();
        assert_eq!(error, "specifying \"user=PID\" is not allowed");
    }
}
