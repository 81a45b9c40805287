//! Git repositories as contexts and as sources of ADD: `ADDRESS.git[#REFERENCE[:DIRECTORY]]`.
//!
//! Done by the program `git`, which knows every transport and every way to log in. It is told neither
//! to ask anybody nor to use settings of the machine, and what is fetched is one commit without
//! history, its submodules likewise. Source: BuildKit `util/gitutil`, `source/git`.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use orlop_types::ErrorKind;

use crate::{Cancel, Error, Result};

/// A repository with what is wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// Address that `git` understands.
    pub remote: String,
    /// Branch, tag or commit; empty is the repository's default.
    pub reference: String,
    /// Directory in it; empty is the whole.
    pub subdirectory: String,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// Whether submodules are left out.
    pub without_submodules: bool,
    /// The commit, once it is known.
    pub commit: String,
    /// What the commit must be (or begin with); from the address.
    pub checksum: String,
}

/// Takes an address apart; `None` if it is no repository's.
pub fn parse(text: &str) -> Result<Option<GitSource>> {
    if text.starts_with("./") || text.starts_with("../") {
        return Ok(None);
    }
    let (whole, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (address, query) = whole.split_once('?').unwrap_or((whole, ""));
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    let is_repository = match scheme {
        Some("http" | "https") => address.ends_with(".git"),
        Some("git" | "ssh") => true,
        Some(_) => false,
        None => address.starts_with("github.com/") || is_scp(address),
    };
    if !is_repository {
        return Ok(None);
    }
    let remote = match scheme {
        None if address.starts_with("github.com/") => format!("https://{address}"),
        _ => address.to_owned(),
    };
    let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut source = GitSource {
        remote,
        reference: reference.to_owned(),
        subdirectory: crate::copy::clean_path(subdirectory),
        ..GitSource::default()
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        source.set(pair)?;
    }
    if source.reference.starts_with('-') || source.remote.starts_with('-') {
        return Err(Error::invalid(format!("invalid git reference {text:?}")));
    }
    Ok(Some(source))
}

/// `user@host:path`.
fn is_scp(address: &str) -> bool {
    let Some((host, path)) = address.split_once(':') else { return false };
    let Some((user, host)) = host.split_once('@') else { return false };
    let plain = |text: &str| {
        let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !text.is_empty() && text.bytes().all(byte)
    };
    plain(user) && plain(host) && !path.is_empty()
}

/// Compares a commit with what `--checksum` or the address wants.
pub(crate) fn check(checksum: &str, commit: &str) -> Result<()> {
    if commit.starts_with(checksum) {
        return Ok(());
    }
    Err(Error::invalid(format!("expected checksum to match {checksum}, got {commit}")))
}

impl GitSource {
    fn set(&mut self, pair: &str) -> Result<()> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let flag = || match value {
            "" | "1" | "t" | "true" => Ok(true),
            "0" | "f" | "false" => Ok(false),
            _ => Err(Error::invalid(format!("invalid {key} value: {value:?}"))),
        };
        match key {
            "keep-git-dir" => self.keep_git_dir = flag()?,
            "submodules" => self.without_submodules = !flag()?,
            "ref" | "tag" | "branch" | "subdir" | "checksum" | "commit" if value.is_empty() => {
                return Err(Error::invalid(format!("query {key:?} has no value")));
            }
            "ref" => self.reference = value.to_owned(),
            "tag" => {
                self.reference = format!("refs/tags/{}", value.trim_start_matches("refs/tags/"));
            }
            "branch" => {
                self.reference = format!("refs/heads/{}", value.trim_start_matches("refs/heads/"));
            }
            "subdir" => self.subdirectory = crate::copy::clean_path(value),
            "checksum" | "commit" => self.checksum = value.to_owned(),
            _ => return Err(Error::invalid(format!("unexpected query {key:?}"))),
        }
        Ok(())
    }

    /// Asks the repository which commit its reference names.
    pub(crate) fn resolve(&self, cancel: &Cancel) -> Result<String> {
        let commit = if is_commit(&self.reference) {
            self.reference.clone()
        } else {
            let wanted = if self.reference.is_empty() { "HEAD" } else { &self.reference };
            // A tag that is an object of its own has a second line, `^{}`, with its commit.
            let dereferenced = format!("{wanted}^{{}}");
            let words = ["ls-remote", "--", &self.remote, wanted, &dereferenced];
            let output = run(None, &words, cancel)?;
            find(&output, wanted).ok_or_else(|| {
                Error::failed(
                    ErrorKind::NotFound,
                    format!("repository does not contain ref {wanted}, output: {output:?}"),
                )
            })?
        };
        check(&self.checksum, &commit)?;
        Ok(commit)
    }

    /// Fetches the commit into an empty directory. What is wanted lies in [`Self::subdirectory`] then.
    pub(crate) fn checkout(&self, directory: &Path, cancel: &Cancel) -> Result<()> {
        let git = |words: &[&str]| run(Some(directory), words, cancel).map(drop);
        git(&["init", "--quiet"])?;
        git(&["remote", "add", "origin", &self.remote])?;
        let by_commit = git(&["fetch", "--quiet", "--depth=1", "origin", &self.commit]);
        if by_commit.is_err() && !cancel.is_cancelled() {
            // Servers need not give a commit by its name: then all that references lead to is fetched.
            let everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            git(&["fetch", "--quiet", "origin", everything[0], everything[1]])?;
        } else {
            by_commit?;
        }
        git(&["checkout", "--quiet", "--force", "--detach", &self.commit])?;
        if !self.without_submodules && directory.join(".gitmodules").exists() {
            git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        if !self.keep_git_dir {
            remove_git_directories(directory)?;
        }
        Ok(())
    }
}

fn is_commit(reference: &str) -> bool {
    matches!(reference.len(), 40 | 64) && reference.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The commit of a reference among the lines of `ls-remote`: tags' commits, then tags, then branches.
fn find(output: &str, wanted: &str) -> Option<String> {
    let lines: Vec<(&str, &str)> =
        output.lines().filter_map(|line| line.split_once('\t')).collect();
    let full = [
        format!("refs/tags/{wanted}^{{}}"),
        format!("{wanted}^{{}}"),
        format!("refs/tags/{wanted}"),
        format!("refs/heads/{wanted}"),
        wanted.to_owned(),
    ];
    let named = |name: &String| lines.iter().find(|(_, reference)| reference == name);
    full.iter().find_map(named).map(|(commit, _)| (*commit).to_owned())
}

/// Removes `.git` of the repository and of its submodules (where it is a file).
fn remove_git_directories(directory: &Path) -> Result<()> {
    let root = orlop_sys::confined::Root::open(directory).map_err(orlop_layer::Error::from)?;
    let output = std::fs::read_to_string(directory.join(".gitmodules")).unwrap_or_default();
    let submodules = output.lines().filter_map(|line| line.trim().strip_prefix("path"));
    let paths = submodules.filter_map(|rest| rest.trim_start().strip_prefix('='));
    for path in paths.map(str::trim).chain([""]) {
        root.remove_tree(Path::new(path).join(".git")).map_err(orlop_layer::Error::from)?;
    }
    Ok(())
}

/// Runs `git` and gives its standard output.
fn run(directory: Option<&Path>, words: &[&str], cancel: &Cancel) -> Result<String> {
    let mut command = Command::new("git");
    command
        .args(["-c", "protocol.file.allow=user", "-c", "advice.detachedHead=false"])
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(words)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let shown = words.first().copied().unwrap_or_default();
    let failed = |error: std::io::Error| {
        let text = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "the program `git` is not installed, which repositories need".to_owned()
            }
            _ => format!("cannot run `git {shown}`: {error}"),
        };
        Error::failed(ErrorKind::Unavailable, text)
    };
    let output = wait(command.spawn().map_err(failed)?, cancel)?.map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::failed(
            ErrorKind::Unavailable,
            format!("failed to run `git {shown}`: {}", said.trim_end().replace('\n', "; ")),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits for a program, and ends it when the build is cancelled.
fn wait(
    child: std::process::Child,
    cancel: &Cancel,
) -> Result<std::result::Result<Output, std::io::Error>> {
    let id = rustix::process::Pid::from_child(&child);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || child.wait_with_output());
        while !waiting.is_finished() {
            if cancel.is_cancelled() {
                // It may have ended just now; it is not waited for before the thread is joined.
                let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let output = waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        cancel.check()?;
        Ok(output)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let source = |remote: &str, reference: &str, subdirectory: &str| {
            Some(GitSource {
                remote: remote.to_owned(),
                reference: reference.to_owned(),
                subdirectory: subdirectory.to_owned(),
                ..GitSource::default()
            })
        };
        for (text, want) in [
            ("https://h/r.git", source("https://h/r.git", "", "")),
            ("https://h/r.git#v1", source("https://h/r.git", "v1", "")),
            ("https://h/r.git#v1:a/b", source("https://h/r.git", "v1", "a/b")),
            ("https://h/r.git#:a/../b/", source("https://h/r.git", "", "b")),
            ("https://h/r.git?branch=x&subdir=y", source("https://h/r.git", "refs/heads/x", "y")),
            ("git@h:p/r", source("git@h:p/r", "", "")),
            ("ssh://git@h/r", source("ssh://git@h/r", "", "")),
            ("git://h/r#m", source("git://h/r", "m", "")),
            ("github.com/o/r", source("https://github.com/o/r", "", "")),
            ("https://h/r", None),
            ("http://h/x.tar.gz", None),
            ("./github.com/o/r", None),
            ("some/file", None),
            ("a:b", None),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
        let kept =
            parse("https://h/r.git?keep-git-dir&submodules=false&commit=abc").unwrap().unwrap();
        assert!(kept.keep_git_dir && kept.without_submodules);
        assert_eq!(kept.checksum, "abc");
        for (text, message) in [
            ("https://h/r.git?x=1", "unexpected query \"x\""),
            ("https://h/r.git?ref=", "query \"ref\" has no value"),
            ("https://h/r.git?submodules=2", "invalid submodules value: \"2\""),
            (
                "https://h/r.git#--upload-pack=x",
                "invalid git reference \"https://h/r.git#--upload-pack=x\"",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn commits_of_references() {
        let output = "a\trefs/heads/v1\nb\trefs/tags/v1\nc\trefs/tags/v1^{}\nd\trefs/heads/x/v2\n";
        assert_eq!(find(output, "v1").as_deref(), Some("c"));
        assert_eq!(find(output, "refs/heads/v1").as_deref(), Some("a"));
        assert_eq!(find(output, "v2"), None);
        assert_eq!(find("e\tHEAD\n", "HEAD").as_deref(), Some("e"));
        assert!(is_commit(&"0a".repeat(20)) && !is_commit("v1"));
        assert!(check("0a0", "0a0b").is_ok());
        let error = check("ff", "0a").unwrap_err();
        assert_eq!(error.to_string(), "expected checksum to match ff, got 0a");
    }
}
