//! `.dockerignore` and `--exclude`: which paths of a context are left out.
//!
//! Patterns are Go's with `**` for any number of directories; `!` takes back; the last pattern
//! that matches decides; a pattern that matches a directory matches everything below it.

use regex::Regex;

use crate::error::Error;
use crate::glob::{self, Glob, Token};

/// A list of patterns. Paths are relative to the context, with `/` between names.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
    takes_back: bool,
}

/// Which patterns matched a directory, for the paths below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Above {
    matched: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    takes_back: bool,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    /// The path itself.
    Exact,
    /// `text/**`: what begins like this.
    Prefix(String),
    /// `**/text`: what ends like this.
    Suffix(String),
    /// Everything else.
    Regex(Regex),
}

impl Ignore {
    /// Reads a `.dockerignore` file.
    ///
    /// # Errors
    /// A `!` alone, or a pattern that can't be read.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for line in text.lines() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let line = line.trim();
            let (mark, rest) = match line.strip_prefix('!') {
                Some(rest) => ("!", rest.trim()),
                None => ("", line),
            };
            let mut path = if rest.is_empty() { String::new() } else { cleaned(rest) };
            if path.len() > 1 && path.starts_with('/') {
                path.remove(0);
            }
            patterns.push(format!("{mark}{path}"));
        }
        Self::new(&patterns)
    }

    /// Takes patterns as `--exclude` gives them.
    ///
    /// # Errors
    /// As [`Ignore::parse`].
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, Error> {
        let mut all = Self::default();
        for pattern in patterns {
            let written = pattern.as_ref().trim();
            if written.is_empty() {
                continue;
            }
            let clean = cleaned(written);
            let (text, takes_back) = match clean.strip_prefix('!') {
                Some("") => return Err(Error::new("illegal exclusion pattern: \"!\"")),
                Some(rest) => (rest.to_owned(), true),
                None => (clean, false),
            };
            Glob::new(&text)?;
            let matcher = compiled(&text)?;
            all.takes_back |= takes_back;
            all.patterns.push(Pattern { text, takes_back, matcher });
        }
        Ok(all)
    }

    /// Whether there is no pattern at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether some pattern takes others back.
    #[must_use]
    pub fn takes_back(&self) -> bool {
        self.takes_back
    }

    /// The patterns as they are matched, with `!` where they take back.
    pub fn patterns(&self) -> impl Iterator<Item = String> + '_ {
        self.patterns
            .iter()
            .map(|pattern| format!("{}{}", if pattern.takes_back { "!" } else { "" }, pattern.text))
    }

    /// Whether a path is left out, by itself or because a directory above it is: what a walker
    /// from the top down to it finds.
    #[must_use]
    pub fn ignored(&self, path: &str) -> bool {
        let mut above = Above::default();
        for (at, _) in path.match_indices('/') {
            (_, above) = self.ignored_below(path.get(..at).unwrap_or_default(), &above);
        }
        self.ignored_below(path, &above).0
    }

    /// As [`Ignore::ignored`] for a walker that goes from directory to directory: `above` is what
    /// came back for the directory that holds the path (the default for the top).
    #[must_use]
    pub fn ignored_below(&self, path: &str, above: &Above) -> (bool, Above) {
        let mut ignored = false;
        let mut matched = vec![false; self.patterns.len()];
        for (index, (pattern, slot)) in self.patterns.iter().zip(&mut matched).enumerate() {
            let from_above = above.matched.get(index).copied().unwrap_or_default();
            // As Docker's walker: a pattern that could change nothing isn't asked, and so doesn't
            // count for what is below, either.
            if !from_above && pattern.takes_back != ignored {
                continue;
            }
            *slot = from_above || pattern.matches(path);
            if *slot {
                ignored = !pattern.takes_back;
            }
        }
        (ignored, Above { matched })
    }

    /// Whether something below a directory that is left out may be in all the same.
    #[must_use]
    pub fn may_hold_included(&self, directory: &str) -> bool {
        self.patterns
            .iter()
            .filter(|pattern| pattern.takes_back)
            .any(|pattern| pattern.may_match_below(directory))
    }
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => self.text == path,
            Matcher::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix.as_str())
                    || suffix.strip_prefix('/').is_some_and(|name| name == path)
            }
            Matcher::Regex(regex) => regex.is_match(path),
        }
    }

    /// Whether a longer path than the directory's may match; in doubt yes.
    fn may_match_below(&self, directory: &str) -> bool {
        let mut names = directory.split('/');
        for part in self.text.split('/') {
            if part.contains("**") {
                return true;
            }
            let Some(name) = names.next() else { return true };
            if !glob::matches(part, name).unwrap_or(true) {
                return false;
            }
        }
        false
    }
}

/// Go's `filepath.Clean`, `!` in front being a letter like any other.
fn cleaned(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => match names.last() {
                Some(&last) if last != ".." => {
                    names.pop();
                }
                _ if rooted => {}
                _ => names.push(".."),
            },
            other => names.push(other),
        }
    }
    match (rooted, names.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

/// What kind of pattern this is; the plain kinds spare a regular expression.
fn compiled(pattern: &str) -> Result<Matcher, Error> {
    let plain = |text: &str| !text.contains(['*', '?', '[', ']', '\\']);
    if plain(pattern) {
        return Ok(Matcher::Exact);
    }
    if let Some(prefix) = pattern.strip_suffix("**").filter(|rest| !rest.is_empty() && plain(rest))
    {
        return Ok(Matcher::Prefix(prefix.to_owned()));
    }
    if let Some(suffix) = pattern.strip_prefix("**").filter(|rest| plain(rest)) {
        return Ok(Matcher::Suffix(suffix.to_owned()));
    }
    let bad = || Error::new("syntax error in pattern").at_word(pattern);
    Regex::new(&expression(pattern).ok_or_else(bad)?).map(Matcher::Regex).map_err(|_| bad())
}

fn expression(pattern: &str) -> Option<String> {
    let mut out = String::from("^");
    let literal = |out: &mut String, letter: char| {
        out.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
    };
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '*' if letters.next_if_eq(&'*').is_some() => {
                // `**/` is `**`: any number of directories, also none.
                letters.next_if_eq(&'/');
                out.push_str(if letters.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '\\' => literal(&mut out, letters.next()?),
            '[' => {
                let Token::Class { negated, ranges } = glob::class(&mut letters)? else {
                    return None;
                };
                out.push_str(if negated { "[^" } else { "[" });
                for (low, high) in ranges {
                    class_letter(&mut out, low);
                    out.push('-');
                    class_letter(&mut out, high.max(low));
                }
                out.push(']');
            }
            other => literal(&mut out, other),
        }
    }
    out.push('$');
    Some(out)
}

fn class_letter(out: &mut String, letter: char) {
    if letter.is_ascii_punctuation() {
        out.push('\\');
    }
    out.push(letter);
}

#[cfg(test)]
#[path = "ignore_tests.rs"]
mod tests;
