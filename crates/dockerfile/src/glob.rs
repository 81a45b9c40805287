//! Go's `path.Match`: `*`, `?`, `[a-z]`, `[^a]` and `\x`, none of which crosses a `/`.

use crate::error::Error;

/// Whether a source is a pattern rather than a plain path.
#[must_use]
pub fn has_wildcards(text: &str) -> bool {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// A path that is no pattern, with the escapes taken away.
#[must_use]
pub fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' { out.extend(letters.next()) } else { out.push(letter) }
    }
    out
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Any letters but `/`.
    Star,
    /// One letter but `/`.
    Any,
    /// This letter.
    Letter(char),
    /// One of, or with `negated` none of, the ranges.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn takes(&self, letter: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => letter != '/',
            Self::Letter(own) => *own == letter,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != *negated
            }
        }
    }
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `syntax error in pattern`: an open or empty class, or a `\` at the end.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        Ok(Self { tokens: tokens(pattern)? })
    }

    /// Whether the whole name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let letters: Vec<char> = name.chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on when the letters after the last star don't fit: it takes one more.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match (self.tokens.get(token), letters.get(at)) {
                (None, None) => return true,
                (Some(Token::Star), _) => {
                    retry = Some((token, at));
                    token += 1;
                    continue;
                }
                (Some(other), Some(letter)) if other.takes(*letter) => {
                    token += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            let Some((star, from)) = retry else { return false };
            if letters.get(from).is_none_or(|letter| *letter == '/') {
                return false;
            }
            retry = Some((star, from + 1));
            token = star + 1;
            at = from + 1;
        }
    }
}

/// Whether a name matches a pattern.
///
/// # Errors
/// As [`Glob::new`].
pub fn matches(pattern: &str, name: &str) -> Result<bool, Error> {
    Glob::new(pattern).map(|glob| glob.matches(name))
}

pub(crate) fn tokens(pattern: &str) -> Result<Vec<Token>, Error> {
    let bad = || Error::new("syntax error in pattern").at_word(pattern);
    let mut out = Vec::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        out.push(match letter {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Letter(letters.next().ok_or_else(bad)?),
            '[' => class(&mut letters).ok_or_else(bad)?,
            other => Token::Letter(other),
        });
    }
    Ok(out)
}

/// The rest of a class; `None` where it isn't one.
pub(crate) fn class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = letters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if letters.peek() == Some(&']') && !ranges.is_empty() {
            letters.next();
            return Some(Token::Class { negated, ranges });
        }
        let low = class_letter(letters)?;
        let high = if letters.next_if_eq(&'-').is_some() { class_letter(letters)? } else { low };
        // A class must be closed behind its ranges.
        letters.peek()?;
        ranges.push((low, high));
    }
}

fn class_letter(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match letters.next()? {
        '-' | ']' => None,
        '\\' => letters.next(),
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        // Out of the table of Go's own tests.
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern, name), Ok(expected), "{pattern} {name}");
        }
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "a\\", "[a-b-c]"] {
            assert_eq!(
                matches(pattern, "a").unwrap_err().to_string(),
                "syntax error in pattern",
                "{pattern}"
            );
        }
    }

    #[test]
    fn wildcards_are_found_unless_escaped() {
        assert!(has_wildcards("a*") && has_wildcards("[a]") && has_wildcards("a/?"));
        assert!(!has_wildcards("a\\*b") && !has_wildcards("a/b"));
        assert_eq!(unescaped("a\\*b\\\\"), "a*b\\");
    }
}
