//! Plays one case: makes its folder, builds, and says what came of it.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::case::{Case, EntryKind, Place};
use super::image;
use super::server::{PORT, Server};
use super::tree::Tree;
use crate::process::{Output, run};

/// Time that any one command may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The name that every case's image gets.
pub const IMAGE: &str = "corpus:case";

/// What came of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code and the essence of the reason, if it failed.
    pub failure: Option<Failure>,
    /// Lines about the result, and about warnings.
    pub lines: Vec<String>,
}

/// How a build failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: i32,
    /// The reason in one line.
    pub reason: String,
    /// Everything that the build wrote.
    pub all: String,
}

/// An engine, and the folder that its builds are played in.
#[derive(Debug)]
pub struct Player {
    folder: PathBuf,
    options: Vec<String>,
    env: Vec<(String, String)>,
    busybox: String,
    base: Tree,
}

impl Player {
    /// Makes the folders below `folder`; `words` is the engine's command, `options` go behind every
    /// `build`, `busybox` is the tar that the image `busybox` was imported from.
    ///
    /// # Errors
    /// When the folder cannot be made or the tar cannot be read.
    pub fn new(
        folder: &Path,
        words: &[String],
        options: &[&str],
        env: &[(&str, &str)],
        busybox: &str,
    ) -> Result<Self, String> {
        let mut base = Tree::default();
        let bytes = std::fs::read(busybox).map_err(|why| format!("read {busybox}: {why}"))?;
        base.apply(&bytes)?;
        let programs = folder.join("programs");
        let words: Vec<String> =
            words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
        write(&programs.join("docker"), script.as_bytes(), 0o755)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            options: options.iter().map(|word| (*word).to_owned()).collect(),
            env: env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            busybox: busybox.to_owned(),
            base,
        })
    }

    /// Builds a case.
    ///
    /// # Errors
    /// When it cannot be set up, or what came of it cannot be read.
    pub fn play(&self, case: &Case) -> Result<Outcome, String> {
        let work = self.folder.join("work");
        if work.exists() {
            remove(&work)?;
        }
        let context = work.join("context");
        make_folder(&context)?;
        for entry in &case.entries {
            let path = context.join(&entry.path);
            match &entry.kind {
                EntryKind::File(content) => {
                    write(&path, content.as_bytes(), entry.mode.unwrap_or(0o644))?;
                }
                EntryKind::Directory => {
                    make_folder(&path)?;
                    set_mode(&path, entry.mode.unwrap_or(0o755))?;
                }
                EntryKind::Link(target) => {
                    make_folder(path.parent().unwrap_or(&context))?;
                    std::os::unix::fs::symlink(target, &path)
                        .map_err(|why| format!("link {}: {why}", path.display()))?;
                }
            }
        }
        for line in &case.setup {
            let output = self.shell(case, line);
            if output.code != 0 {
                return Err(format!("the set-up failed: {output}"));
            }
        }
        let outcome = self.build(case, &work);
        remove(&work)?;
        outcome
    }

    fn build(&self, case: &Case, work: &Path) -> Result<Outcome, String> {
        let served = work.join("www");
        let server = if served.exists() {
            let server = Server::start(&served)
                .map_err(|why| format!("listen on port {PORT} of loopback: {why}"))?;
            Some(server)
        } else {
            None
        };
        let mut words = vec!["docker build".to_owned()];
        words.extend(self.options.iter().cloned());
        match case.place {
            Place::Image => words.push(format!("-t {IMAGE}")),
            Place::Folder => words.push("--output type=local,dest=../out".to_owned()),
            Place::Archive => words.push("--output type=tar,dest=../out".to_owned()),
            Place::Nowhere => {}
        }
        words.push(case.build.clone().unwrap_or_else(|| ".".to_owned()));
        let output = self.shell(case, &words.join(" "));
        drop(server);
        let mut lines = warnings(&output);
        if case.place == Place::Nowhere {
            lines.extend(output.stdout.lines().map(|line| format!("says {line}")));
        }
        if output.code != 0 {
            lines.extend(place_of_failure(&output.stderr));
            let failure = Failure {
                code: output.code,
                reason: reason(&output.stderr),
                all: format!("{}{}", output.stdout, output.stderr),
            };
            return Ok(Outcome { failure: Some(failure), lines });
        }
        let out = work.join("out");
        match case.place {
            Place::Image => lines.extend(self.saved(case, work)?),
            Place::Folder => {
                lines.extend(Tree::of_folder(&out)?.lines(&Tree::default(), case.mtime));
            }
            Place::Archive => {
                let bytes =
                    std::fs::read(&out).map_err(|why| format!("read {}: {why}", out.display()))?;
                let mut tree = Tree::default();
                tree.apply(&bytes)?;
                lines.extend(tree.lines(&Tree::default(), case.mtime));
            }
            Place::Nowhere => {}
        }
        Ok(Outcome { failure: None, lines })
    }

    fn saved(&self, case: &Case, work: &Path) -> Result<Vec<String>, String> {
        let archive = work.join("saved.tar");
        let output = self.shell(case, &format!("docker save -o ../saved.tar {IMAGE}"));
        if output.code != 0 {
            return Err(format!("the image cannot be saved: {output}"));
        }
        image::lines(&archive, &self.base, case.mtime, case.created)
    }

    fn shell(&self, case: &Case, line: &str) -> Output {
        let work = self.folder.join("work");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(work.join("context"))
            .env_clear()
            .env("PATH", format!("{}:{path}", self.folder.join("programs").display()))
            .env("HOME", &work)
            .env("BUSYBOX", &self.busybox)
            .env("SERVER", format!("http://127.0.0.1:{PORT}"))
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
        // Repositories with the same commits everywhere.
        for person in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{person}_NAME"), "somebody")
                .env(format!("GIT_{person}_EMAIL"), "somebody@example.org")
                .env(format!("GIT_{person}_DATE"), "2020-02-02T02:02:02Z");
        }
        let env = self.env.iter().chain(&case.env);
        command.envs(env.map(|(key, value)| (key, value)));
        run(&mut command, b"", LIMIT)
    }
}

impl Outcome {
    /// Whether `ours` is as good as this one, Docker's: the same result, or a refusal that says at
    /// least the same. What either warned of before it refused does not count.
    #[must_use]
    pub fn covers(&self, ours: &Self) -> bool {
        let (Some(docker), Some(refused)) = (&self.failure, &ours.failure) else {
            return self.failure.is_none() && ours.failure.is_none() && self.lines == ours.lines;
        };
        let names_line = self.lines.iter().any(|line| line.starts_with("at "));
        let count =
            |line: &&String| !line.starts_with("warn ") && (names_line || !line.starts_with("at "));
        let same = self.lines.iter().filter(count).eq(ours.lines.iter().filter(count));
        same && docker.code == refused.code && clean(&refused.all).contains(&docker.reason)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Some(Failure { code, reason, .. }) => writeln!(out, "fails {code}: {reason}")?,
            None => writeln!(out, "ok")?,
        }
        self.lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

/// Reads what [`Outcome`]'s `Display` wrote.
impl Outcome {
    pub(super) fn parse(lines: &[&str]) -> Result<Self, String> {
        let (first, rest) = lines.split_first().ok_or("an outcome is empty")?;
        let failure = match first.strip_prefix("fails ").and_then(|text| text.split_once(": ")) {
            Some((code, reason)) => Some(Failure {
                code: code.parse().map_err(|_| format!("`{code}` is no exit code"))?,
                reason: reason.to_owned(),
                all: reason.to_owned(),
            }),
            None if *first == "ok" => None,
            None => return Err(format!("neither `ok` nor `fails`: {first}")),
        };
        Ok(Self { failure, lines: rest.iter().map(|line| (*line).to_owned()).collect() })
    }
}

/// Lint warnings, each once, in order of lines.
fn warnings(output: &Output) -> Vec<String> {
    static WARNING: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"\b([A-Z][A-Za-z]*[a-z][A-Za-z]*): (.*) \(line (\d+)\)$").ok()
    });
    let Some(pattern) = &*WARNING else { return Vec::new() };
    let mut found: Vec<(u32, String)> = Vec::new();
    for line in output.stderr.lines() {
        if let Some(parts) = pattern.captures(line.trim_end()) {
            let number = parts[3].parse().unwrap_or(0);
            found.push((number, format!("warn {number} {}: {}", &parts[1], &parts[2])));
        }
    }
    found.sort();
    found.dedup();
    found.into_iter().map(|(_, line)| line).collect()
}

/// The line of the Dockerfile that a failed build points at.
fn place_of_failure(stderr: &str) -> Option<String> {
    let line = stderr.lines().find(|line| line.contains(" | >>> "))?;
    Some(format!("at {}", line.split('|').next()?.trim()))
}

/// The essence of why a build failed, from its standard error.
fn reason(stderr: &str) -> String {
    let said: Vec<&str> =
        stderr.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let lines = match said.iter().rposition(|line| line.starts_with("ERROR: ")) {
        // It may have several lines.
        Some(at) => said[at..].to_vec(),
        // What is last is no reason if it is about a step.
        None => said.last().copied().filter(|line| !line.starts_with('#')).into_iter().collect(),
    };
    let text = clean(&lines.join(" / "));
    let mut text = text.as_str();
    for prefix in [
        "ERROR: ",
        "failed to build: ",
        "failed to solve: ",
        "failed to compute cache key: ",
        "failed to load cache key: ",
        "failed to load LLB: ",
        "failed to marshal LLB definition: ",
        "Error response from daemon: ",
        "docker: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.to_owned()
}

/// Takes off what changes with every run.
fn clean(text: &str) -> String {
    static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"failed to calculate checksum of ref \S+: ", ""),
            (r"/\S*/overlay2/([0-9a-z]{20,}/merged)?", ""),
            (r"/\S*/work/context\b", "<context>"),
            (r"/\S*/buildkit-mount\d+", ""),
        ]
        .into_iter()
        .filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, with)))
        .collect()
    });
    let mut text = text.to_owned();
    for (pattern, with) in &*PATTERNS {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    text
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        make_folder(parent)?;
    }
    std::fs::write(path, bytes).map_err(|why| format!("write {}: {why}", path.display()))?;
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), String> {
    std::fs::File::open(path)
        .and_then(|file| file.set_permissions(std::fs::Permissions::from_mode(mode)))
        .map_err(|why| format!("change {}: {why}", path.display()))
}

fn make_folder(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|why| format!("create {}: {why}", path.display()))
}

fn remove(path: &Path) -> Result<(), String> {
    std::fs::remove_dir_all(path).map_err(|why| format!("remove {}: {why}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STDERR: &str = "#1 WARN: JSONArgsRecommended: JSON arguments (line 4)\n#1 DONE 0.0s\n\n - JSONArgsRecommended: JSON arguments (line 4)\nDockerfile:2\n--------------------\n   1 |     FROM busybox\n  12 | >>> COPY nope /\n--------------------\nERROR: failed to build: failed to solve: failed to compute cache key: failed to calculate checksum of ref cac0::wpf: \"/nope\": not found\n";

    fn output(stderr: &str) -> Output {
        Output { command: String::new(), code: 1, stdout: String::new(), stderr: stderr.to_owned() }
    }

    #[test]
    fn takes_the_essence_of_what_a_build_says() {
        assert_eq!(reason(STDERR), "\"/nope\": not found");
        assert_eq!(reason("docker: no such file\n\n"), "no such file");
        assert_eq!(place_of_failure(STDERR).unwrap(), "at 12");
        assert_eq!(warnings(&output(STDERR)), ["warn 4 JSONArgsRecommended: JSON arguments"]);
    }

    #[test]
    fn our_reason_may_say_more_but_not_less() {
        let docker = Outcome::parse(&["fails 1: not found", "at 2"]).unwrap();
        let ours = |all: &str, lines: &[&str]| Outcome {
            failure: Some(Failure { code: 1, reason: all.to_owned(), all: all.to_owned() }),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert!(docker.covers(&ours("x: not found (y)", &["at 2"])));
        assert!(!docker.covers(&ours("x: not found (y)", &["at 3"])));
        assert!(!docker.covers(&ours("missing", &["at 2"])));
        assert!(!docker.covers(&Outcome::default()));
        assert_eq!(docker.to_string(), "fails 1: not found\nat 2\n");
    }
}
