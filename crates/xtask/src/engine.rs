//! A Docker that goldens are recorded from.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A Docker to record from.
pub(crate) struct Engine {
    /// Its command and the options that lead to its daemon.
    pub(crate) words: Vec<String>,
}

impl Engine {
    /// What a command says that must succeed.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<String> {
        let (program, options) = self.words.split_first().context("no docker command")?;
        let output = Command::new(program)
            .args(options)
            .args(words)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("start {program}"))?;
        if !output.status.success() {
            bail!("`{}` failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}
