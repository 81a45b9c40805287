//! The rules of the house that neither the compiler nor clippy checks.
//!
//! Every rule is a pure function from text to findings; only this file reads the disk. A finding
//! names file, line and rule; any finding fails the task.

mod arrows;
mod compat;
mod functions;
mod links;
mod rules;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the workspace's root.
    pub(crate) file: PathBuf,
    /// Line, from 1; 0 for the whole file.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// Checks the whole workspace and prints each finding.
pub(crate) fn run(root: &Path) -> Result<()> {
    let files = text_files(root)?;
    let mut findings = arrows::check(&manifests(&files));
    let sources =
        files.iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "rs"));
    let test_files =
        sources.flat_map(|(path, text)| rules::test_modules(path, text)).collect::<BTreeSet<_>>();
    for (path, text) in &files {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => findings.extend(rules::check(path, text, &test_files)),
            Some("md") => {
                findings.extend(links::check(path, text, &|target| root.join(target).exists()));
            }
            _ => {}
        }
        if path == Path::new(compat::PATH) {
            findings.extend(compat::check(text, &files));
        }
        findings.extend(rules::machine_paths(path, text));
    }
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, no findings", files.len());
        Ok(())
    } else {
        bail!("tidy: {} findings in {} files", findings.len(), files.len())
    }
}

/// The `Cargo.toml` of each crate, by folder name.
fn manifests(files: &BTreeMap<PathBuf, String>) -> BTreeMap<String, String> {
    files
        .iter()
        .filter_map(|(path, text)| {
            let words: Vec<&str> = path.iter().filter_map(|word| word.to_str()).collect();
            match words.as_slice() {
                ["crates", folder, "Cargo.toml"] => Some(((*folder).to_owned(), text.clone())),
                _ => None,
            }
        })
        .collect()
}

/// Every text file of the tree by path from the root, without build output and hidden folders.
fn text_files(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(folder) = pending.pop() {
        let place = root.join(&folder);
        for entry in
            std::fs::read_dir(&place).with_context(|| format!("read {}", place.display()))?
        {
            let entry = entry?;
            let name = entry.file_name();
            let path = folder.join(&name);
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if name != "target" && name != ".git" {
                    pending.push(path);
                }
            } else if kind.is_file() && name != "Cargo.lock" {
                let bytes = std::fs::read(entry.path())
                    .with_context(|| format!("read {}", path.display()))?;
                if let Ok(text) = String::from_utf8(bytes) {
                    found.insert(path, text);
                }
            }
        }
    }
    Ok(found)
}
