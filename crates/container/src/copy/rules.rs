//! Where a copy goes and what it is called there: the rules of `cp`, without looking at any file.
//!
//! Docker's command line decides this itself (`cli/command/container/cp.go`, `go-archive/copy.go`);
//! the engine only packs and unpacks. Paths are texts, because a slash or a dot at the end means
//! something: `dir/.` is the content of `dir`, `link/` is what the link leads to.

use orlop_types::ParseError;

/// One of the two words of `cp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The container, if the path is inside one.
    pub container: Option<String>,
    /// The path.
    pub path: String,
}

impl Argument {
    /// Divides `CONTAINER:PATH`. A local path that holds a colon begins with `/` or `.`.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        let local = || Self { container: None, path: word.to_owned() };
        if word.starts_with('/') {
            return local();
        }
        match word.split_once(':') {
            Some((container, path)) if !container.starts_with('.') => Self {
                container: (!container.is_empty()).then(|| container.to_owned()),
                path: path.to_owned(),
            },
            _ => local(),
        }
    }
}

/// Which way a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Out of a container.
    Out {
        /// The container.
        container: String,
        /// Path inside it.
        source: String,
        /// Path on the host.
        destination: String,
    },
    /// Into a container.
    In {
        /// The container.
        container: String,
        /// Path on the host.
        source: String,
        /// Path inside the container.
        destination: String,
    },
}

impl Direction {
    /// Reads the two words of `cp`.
    ///
    /// # Errors
    /// Docker's text for words that name no copy.
    pub fn parse(source: &str, destination: &str) -> Result<Self, ParseError> {
        for (word, what) in [(source, "source"), (destination, "destination")] {
            if word.is_empty() {
                return Err(ParseError::new(format!("{what} can not be empty")));
            }
        }
        let (from, to) = (Argument::parse(source), Argument::parse(destination));
        match (from.container, to.container) {
            (Some(_), Some(_)) => {
                Err(ParseError::new("copying between containers is not supported"))
            }
            (None, None) => Err(ParseError::new("must specify at least one container source")),
            (Some(container), None) => {
                Ok(Self::Out { container, source: from.path, destination: to.path })
            }
            (None, Some(container)) => {
                Ok(Self::In { container, source: from.path, destination: to.path })
            }
        }
    }
}

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its path, as far as it was resolved.
    pub path: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// What it is called in the copy, where that is not the end of its path: a link that was followed
    /// gives its own name to what it leads to.
    pub name: Option<String>,
}

impl Source {
    /// Its name in the archive: `.` for the content of a directory, `/` for that of the root.
    #[must_use]
    pub fn archive_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| split(&self.path).1)
    }
}

/// What is at the place where the copy is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The path, as far as it was resolved.
    pub path: String,
    /// What is there.
    pub there: There,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// Nothing.
    Nothing,
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// Where an archive is unpacked, and what its first component is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// An existing directory.
    pub directory: String,
    /// The new name; without one it keeps its own.
    pub name: Option<String>,
}

/// Decides where a copy goes.
///
/// # Errors
/// Docker's texts `cannot copy directory` and `no such directory`.
pub fn place(source: &Source, destination: &Destination) -> Result<Placement, ParseError> {
    let (parent, base) = split(&destination.path);
    let renamed = Ok(Placement { directory: parent, name: Some(base) });
    match (destination.there, source.is_directory) {
        (There::Directory, _) => Ok(Placement { directory: destination.path.clone(), name: None }),
        (There::File, true) => Err(ParseError::new("cannot copy directory")),
        (There::Nothing, false) if asserts_directory(&destination.path) => {
            Err(ParseError::new("no such directory"))
        }
        (There::File, false) | (There::Nothing, _) => renamed,
    }
}

/// Takes out `.`, `..` and repeated slashes without looking at any file (Go's `filepath.Clean`).
#[must_use]
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// The last component, `/` for the root, `.` for nothing (Go's `filepath.Base`).
#[must_use]
pub fn base(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        trimmed => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

/// Whether the path means the content of a directory: it ends in a component `.`.
#[must_use]
pub fn is_content(path: &str) -> bool {
    base(path) == "."
}

/// Whether the path can only be a directory.
#[must_use]
pub fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || is_content(path)
}

/// Divides a path into its cleaned parent and its last component, which stays `.` if it was.
#[must_use]
pub fn split(path: &str) -> (String, String) {
    let cleaned = clean(path);
    if is_content(path) {
        return (cleaned, ".".to_owned());
    }
    match cleaned.rsplit_once('/') {
        None => (".".to_owned(), cleaned),
        Some(("", "")) => ("/".to_owned(), "/".to_owned()),
        Some(("", base)) => ("/".to_owned(), base.to_owned()),
        Some((parent, base)) => (parent.to_owned(), base.to_owned()),
    }
}

/// Gives a cleaned path the slash or dot at its end that the original had.
#[must_use]
pub fn keep_end(cleaned: &str, original: &str) -> String {
    let mut path = cleaned.to_owned();
    if is_content(original) && !is_content(&path) {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push('.');
    }
    if original.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// A path inside a container: relative to its root, whatever it begins with.
#[must_use]
pub fn inside(path: &str) -> String {
    keep_end(&clean(&format!("/{path}")), path)
}

/// The path and the name of what a followed link leads to.
#[must_use]
pub fn followed(link: &str, target: &str) -> (String, Option<String>) {
    let target = keep_end(target, link);
    let name = (base(link) != base(&target)).then(|| base(link).to_owned());
    (target, name)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
