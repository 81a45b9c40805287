//! Runs the fuzz targets of `crates/fuzz` for a while, with a fixed random number.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::runner;

/// Runs `cargo xtask fuzz WORDS…`: the words of `orlop-fuzz`.
pub(crate) fn run(root: &Path, words: &[String]) -> Result<()> {
    let status = Command::new(runner::cargo())
        .args(["run", "--quiet", "--package", "orlop-fuzz", "--"])
        .args(words)
        .current_dir(root)
        .status()
        .context("start cargo")?;
    if status.success() { Ok(()) } else { bail!("fuzzing found something, see above") }
}
