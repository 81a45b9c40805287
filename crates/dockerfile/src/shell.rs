//! Variables in words: `$name`, `${name…}` with every modifier, quotes and escapes.
//!
//! It mimics a shell the way BuildKit does, including where that differs from a shell: an unset
//! variable is empty, a name may be one special character, and a pattern knows only `*` and `?`.

use std::collections::BTreeSet;

use regex::Regex;

use crate::error::Error;
use crate::quote::go_quoted;

/// Finds the value of a variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// An expanded word and the names that it asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The text with its variables put in.
    pub text: String,
    /// Names that had a value.
    pub matched: BTreeSet<String>,
    /// Names that had none.
    pub unmatched: BTreeSet<String>,
}

/// How words are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer {
    /// The character that takes the meaning of the next one away.
    pub escape: char,
    /// Keeps quotes in the result.
    pub raw_quotes: bool,
    /// Keeps escape characters in the result.
    pub raw_escapes: bool,
    /// Treats quotes as any other character.
    pub plain_quotes: bool,
    /// Leaves variables without a value as they were written.
    pub keep_unset: bool,
}

impl Lexer {
    /// The rules for the words of an instruction.
    pub(crate) fn new(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            plain_quotes: false,
            keep_unset: false,
        }
    }

    /// Reads one text; the result is one word, whatever white space it holds.
    pub(crate) fn word(self, text: &str, lookup: Lookup<'_>) -> Result<Expansion, Error> {
        self.run(text, lookup).map(|(expansion, _)| expansion)
    }

    /// Reads one text as words that white space outside of quotes divides.
    pub(crate) fn words(self, text: &str, lookup: Lookup<'_>) -> Result<Vec<String>, Error> {
        self.run(text, lookup).map(|(_, words)| words)
    }

    fn run(self, text: &str, lookup: Lookup<'_>) -> Result<(Expansion, Vec<String>), Error> {
        let mut reader = Reader {
            lexer: self,
            letters: text.chars().collect(),
            at: 0,
            raw_escapes: self.raw_escapes,
            depth: 0,
            lookup,
            matched: BTreeSet::new(),
            unmatched: BTreeSet::new(),
        };
        let (result, words) = reader.until(None, self.raw_escapes).map_err(|error| {
            error.within(&format!("failed to process {}: ", go_quoted(text))).at_word(text)
        })?;
        let Reader { matched, unmatched, .. } = reader;
        Ok((Expansion { text: result, matched, unmatched }, words))
    }
}

/// Expands the variables, quotes and escapes of a word.
///
/// # Errors
/// An open quote, a malformed `${…}`, or a `${name?text}` that says so.
pub fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<String, Error> {
    Lexer::new(escape).word(word, lookup).map(|expansion| expansion.text)
}

/// As [`expand`], and tells which names were asked for.
///
/// # Errors
/// As [`expand`].
pub fn expand_with_names(word: &str, escape: char, lookup: Lookup<'_>) -> Result<Expansion, Error> {
    Lexer::new(escape).word(word, lookup)
}

/// Expands a text and divides it into words afterwards.
///
/// # Errors
/// As [`expand`].
pub fn expand_words(text: &str, escape: char, lookup: Lookup<'_>) -> Result<Vec<String>, Error> {
    Lexer::new(escape).words(text, lookup)
}

/// Expands the content of a here-document: variables only, quotes are text.
///
/// # Errors
/// As [`expand`].
pub fn expand_content(text: &str, lookup: Lookup<'_>) -> Result<Expansion, Error> {
    Lexer { plain_quotes: true, ..Lexer::new('\\') }.word(text, lookup)
}

/// `${a:-${b:-…}}` may nest this deep; a stack is no place for a stranger's file.
const MAX_DEPTH: usize = 100;

struct Reader<'a> {
    lexer: Lexer,
    letters: Vec<char>,
    at: usize,
    raw_escapes: bool,
    depth: usize,
    lookup: Lookup<'a>,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

/// The words found so far.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    open: String,
    inside: bool,
}

impl Words {
    fn letter(&mut self, letter: char) {
        if !letter.is_whitespace() {
            self.raw_letter(letter);
        } else if self.inside && !self.open.is_empty() {
            self.done.push(std::mem::take(&mut self.open));
            self.inside = false;
        }
    }

    fn raw_letter(&mut self, letter: char) {
        self.open.push(letter);
        self.inside = true;
    }

    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            self.letter(letter);
        }
    }

    fn raw_text(&mut self, text: &str) {
        self.open.push_str(text);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.done.push(self.open);
        }
        self.done
    }
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek();
        self.at += usize::from(letter.is_some());
        letter
    }

    /// Reads up to a letter, which is consumed, or to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::new("syntax error: substitutions are nested too deeply"));
        }
        self.depth += 1;
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.until_within(stop);
        self.raw_escapes = before;
        self.depth -= 1;
        result
    }

    fn until_within(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), Error> {
        let mut result = String::new();
        let mut words = Words::default();
        while let Some(letter) = self.peek() {
            if stop == Some(letter) {
                self.next();
                return Ok((result, words.finish()));
            }
            match letter {
                '$' => {
                    let value = self.dollar()?;
                    result.push_str(&value);
                    words.text(&value);
                }
                '<' => {
                    let text = self.less_than();
                    result.push_str(&text);
                    words.raw_text(&text);
                }
                '\'' | '"' if !self.lexer.plain_quotes => {
                    let text =
                        if letter == '"' { self.double_quote()? } else { self.single_quote()? };
                    result.push_str(&text);
                    words.raw_text(&text);
                }
                _ => {
                    self.next();
                    if letter != self.lexer.escape {
                        words.letter(letter);
                        result.push(letter);
                        continue;
                    }
                    if self.raw_escapes {
                        words.raw_letter(letter);
                        result.push(letter);
                    }
                    let Some(escaped) = self.next() else { break };
                    words.raw_letter(escaped);
                    result.push(escaped);
                }
            }
        }
        if let Some(stop) = stop {
            return Err(Error::new(format!(
                "unexpected end of statement while looking for matching {stop}"
            )));
        }
        Ok((result, words.finish()))
    }

    fn single_quote(&mut self) -> Result<String, Error> {
        let mut out = String::new();
        self.next();
        if self.lexer.raw_quotes {
            out.push('\'');
        }
        loop {
            match self.next() {
                None => {
                    return Err(Error::new(
                        "unexpected end of statement while looking for matching single-quote",
                    ));
                }
                Some('\'') => {
                    if self.lexer.raw_quotes {
                        out.push('\'');
                    }
                    return Ok(out);
                }
                Some(letter) => out.push(letter),
            }
        }
    }

    fn double_quote(&mut self) -> Result<String, Error> {
        let mut out = String::new();
        self.next();
        if self.lexer.raw_quotes {
            out.push('"');
        }
        loop {
            match self.peek() {
                None => {
                    return Err(Error::new(
                        "unexpected end of statement while looking for matching double-quote",
                    ));
                }
                Some('"') => {
                    self.next();
                    if self.lexer.raw_quotes {
                        out.push('"');
                    }
                    return Ok(out);
                }
                Some('$') => {
                    let value = self.dollar()?;
                    out.push_str(&value);
                }
                Some(letter) => {
                    self.next();
                    if letter != self.lexer.escape {
                        out.push(letter);
                        continue;
                    }
                    if self.raw_escapes {
                        out.push(letter);
                    }
                    match self.peek() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == letter => {
                            self.next();
                            out.push(next);
                        }
                        Some(_) => out.push(letter),
                    }
                }
            }
        }
    }

    /// `<`, or `<<` with the white space that may follow it before the word of a here-document.
    fn less_than(&mut self) -> String {
        self.next();
        let mut out = String::from("<");
        if self.peek() == Some('<') {
            self.next();
            out.push('<');
            while let Some(blank) = self.peek().filter(|letter| is_blank(*letter)) {
                self.next();
                out.push(blank);
            }
        }
        out
    }

    fn dollar(&mut self) -> Result<String, Error> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.value(&name) {
                Some(value) => value,
                None if self.lexer.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(Error::new("syntax error: missing '}'")),
            Some('{' | '}' | ':') => return Err(Error::new("syntax error: bad substitution")),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            Some('}') => Ok(match self.value(&name) {
                Some(value) => value,
                None if self.lexer.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => {
                let modifier = self.next();
                let written = format!(":{}", modifier.unwrap_or(char::REPLACEMENT_CHARACTER));
                self.modified(&name, modifier, &written)
            }
            Some('/') => self.replaced(&name),
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => {
                self.modified(&name, Some(modifier), &modifier.to_string())
            }
            other => Err(unsupported(&other.unwrap_or(char::REPLACEMENT_CHARACTER).to_string())),
        }
    }

    /// `${name-w}` and its kin; `written` is the modifier with its colon.
    fn modified(
        &mut self,
        name: &str,
        modifier: Option<char>,
        written: &str,
    ) -> Result<String, Error> {
        let empty_is_unset = written.starts_with(':');
        let pattern = matches!(modifier, Some('#' | '%'));
        if empty_is_unset && pattern {
            return Err(unsupported(written));
        }
        let word = self.enclosed('}', pattern, "syntax error: missing '}'")?;
        let value = self.value(name);
        if self.lexer.keep_unset && value.is_none() {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let present = value.clone().filter(|value| !(empty_is_unset && value.is_empty()));
        match modifier {
            Some('-') => Ok(present.unwrap_or(word)),
            Some('+') => Ok(present.map(|_| word).unwrap_or_default()),
            Some('?') => present.ok_or_else(|| {
                let why = if !word.is_empty() {
                    word.as_str()
                } else if value.is_none() {
                    "is not allowed to be unset"
                } else {
                    "is not allowed to be empty"
                };
                Error::new(format!("{name}: {why}"))
            }),
            Some(side @ ('#' | '%')) => {
                let greedy = word.starts_with(side);
                let pattern = if greedy { word.get(1..).unwrap_or_default() } else { &word };
                let value = value.unwrap_or_default();
                if side == '#' {
                    without_prefix(pattern, &value, greedy)
                } else {
                    let turned = without_prefix(
                        &turned_pattern(pattern),
                        &value.chars().rev().collect::<String>(),
                        greedy,
                    )?;
                    Ok(turned.chars().rev().collect())
                }
            }
            _ => Err(unsupported(written)),
        }
    }

    /// `${name/pattern/replacement}` and, with a second slash, all of them.
    fn replaced(&mut self, name: &str) -> Result<String, Error> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.enclosed('/', true, "syntax error: missing '/' in ${}")?;
        let replacement = self.enclosed('}', true, "syntax error: missing '}'")?;
        let value = self.value(name);
        if self.lexer.keep_unset && value.is_none() {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        let regex = compiled(&pattern, &pattern, true, false)?;
        if all {
            // As Go's ReplaceAllString, where `$1` in the replacement is a group.
            return Ok(regex.replace_all(&value, replacement.as_str()).into_owned());
        }
        Ok(regex.replacen(&value, 1, regex::NoExpand(&replacement)).into_owned())
    }

    /// Text up to a letter; at the end of everything the error is `missing`.
    fn enclosed(&mut self, stop: char, raw: bool, missing: &str) -> Result<String, Error> {
        match self.until(Some(stop), raw) {
            Ok((text, _)) => Ok(text),
            Err(_) if self.peek().is_none() => Err(Error::new(missing)),
            Err(error) => Err(error),
        }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(letter) = self.peek() {
            if name.is_empty() && letter.is_numeric() {
                while let Some(digit) = self.peek().filter(|letter| letter.is_numeric()) {
                    self.next();
                    name.push(digit);
                }
                return name;
            }
            if name.is_empty() && matches!(letter, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.next();
                return letter.to_string();
            }
            if !letter.is_alphanumeric() && letter != '_' {
                break;
            }
            self.next();
            name.push(letter);
        }
        name
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        let names = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        names.insert(name.to_owned());
        value
    }
}

fn unsupported(modifier: &str) -> Error {
    Error::new(format!("unsupported modifier ({modifier}) in substitution"))
}

/// White space of Go's scanner: blank, tab, line ends.
fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r')
}

fn without_prefix(pattern: &str, value: &str, greedy: bool) -> Result<String, Error> {
    let regex = compiled(pattern, pattern, greedy, true)?;
    let end = regex.find(value).map_or(0, |found| found.end());
    Ok(value.get(end..).unwrap_or_default().to_owned())
}

/// The regular expression of a pattern of `*`, `?` and escapes.
fn compiled(pattern: &str, shown: &str, greedy: bool, anchored: bool) -> Result<Regex, Error> {
    let invalid =
        |why: String| Error::new(format!("invalid pattern ({shown}) in substitution: {why}"));
    let mut text = String::from(if anchored { "^" } else { "" });
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '*' => text.push_str(if greedy { ".*" } else { ".*?" }),
            '?' => text.push('.'),
            '\\' => {
                // `\}` and `\/` are escaped for the sake of `${}`, not of the pattern.
                if matches!(letters.peek(), Some('}' | '/')) {
                    continue;
                }
                match letters.next() {
                    Some(escaped @ ('*' | '?' | '\\')) => {
                        text.push('\\');
                        text.push(escaped);
                    }
                    other => {
                        let other = other.unwrap_or(char::REPLACEMENT_CHARACTER);
                        return Err(invalid(format!("invalid escape '\\{other}'")));
                    }
                }
            }
            other => text.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    Regex::new(&text).map_err(|error| invalid(error.to_string()))
}

/// A pattern turned round, its escapes kept: `a\*c` becomes `c\*a`.
fn turned_pattern(pattern: &str) -> String {
    let mut pieces = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        let escaped = if letter == '\\' { letters.next() } else { None };
        pieces.push((letter, escaped));
    }
    pieces.iter().rev().flat_map(|(letter, escaped)| [Some(*letter), *escaped]).flatten().collect()
}

#[cfg(test)]
#[path = "shell_tests.rs"]
mod tests;
