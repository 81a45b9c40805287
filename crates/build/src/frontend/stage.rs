//! One stage while its instructions are gone through.

use orlop_dockerfile::StageLints;

use crate::document::{DEFAULT_PATH, Document};
use crate::frontend::{find, set};
use crate::graph::NodeId;
use orlop_types::image::HistoryEntry;

/// Comment of each entry of the history.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// A stage so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage {
    /// What makes its files; none of `scratch`.
    pub node: Option<NodeId>,
    pub document: Document,
    /// Entries of the history, and layers, that came with the base image.
    pub base_entries: usize,
    pub base_layers: usize,
    /// Variables that the next instruction sees: ENV and declared arguments.
    pub env: Vec<(String, String)>,
    /// Arguments declared so far, in order.
    pub build_args: Vec<(String, Option<String>)>,
    /// Absolute working directory.
    pub cwd: String,
    /// Whether this stage has set CMD itself.
    pub has_cmd: bool,
    pub lints: StageLints,
    /// How many of its steps are shown so far.
    pub shown: usize,
}

impl Stage {
    /// Takes the variables and the working directory out of the configuration.
    pub fn begin(&mut self) {
        let config = &mut self.document.config;
        if !config.env.iter().any(|pair| pair.starts_with("PATH=")) {
            config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for pair in &self.document.config.env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            set(&mut self.env, name, value);
        }
        self.cwd = "/".to_owned();
        if !self.document.config.working_dir.is_empty() {
            let directory = joined("/", &self.document.config.working_dir);
            self.document.config.working_dir.clone_from(&directory);
            self.cwd = directory;
        }
    }

    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        find(&self.env, name)
    }

    /// The names of all variables.
    pub fn names(&self) -> Vec<String> {
        self.env.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Adds an entry to the history.
    pub fn record(&mut self, created_by: String, makes_layer: bool) {
        self.document.history.push(HistoryEntry {
            created: None,
            created_by,
            author: String::new(),
            comment: HISTORY_COMMENT.to_owned(),
            empty_layer: !makes_layer,
        });
    }

    /// The words of a command behind the shell.
    pub fn with_shell(&self, text: &str) -> Vec<String> {
        let shell = &self.document.config.shell;
        let mut words = if shell.is_empty() {
            vec!["/bin/sh".to_owned(), "-c".to_owned()]
        } else {
            shell.clone()
        };
        words.push(text.to_owned());
        words
    }
}

/// A path below a directory, or the absolute path itself, without `.`, `..` and double slashes.
pub(crate) fn joined(directory: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A destination: absolute, with the slash at its end if it means a directory.
pub(crate) fn destination(directory: &str, path: &str) -> String {
    let mut whole = joined(directory, path);
    let is_directory =
        path.is_empty() || path.ends_with('/') || path == "." || path.ends_with("/.");
    if is_directory && !whole.ends_with('/') {
        whole.push('/');
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_working_directory() {
        for (directory, path, expected) in [
            ("/", "a", "/a"),
            ("/w", "a/../b", "/w/b"),
            ("/w", "/x//y/.", "/x/y"),
            ("/w", "../../..", "/"),
        ] {
            assert_eq!(joined(directory, path), expected);
        }
        for (path, expected) in
            [("a", "/w/a"), ("a/", "/w/a/"), (".", "/w/"), ("", "/w/"), ("/", "/"), ("./", "/w/")]
        {
            assert_eq!(destination("/w", path), expected);
        }
    }
}
