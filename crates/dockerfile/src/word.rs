//! The parts of an instruction: its name, its `--flags`, its arguments.

use crate::error::Error;
use crate::instruction::KeyValue;
use crate::json;
use crate::quote::go_quoted;

/// Name, flags and rest of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// The name as written.
    pub name: String,
    /// The flags with their quotes and escapes taken away.
    pub flags: Vec<String>,
    /// What follows, without white space around it.
    pub rest: String,
    /// The whole text, trimmed.
    pub text: String,
}

/// White space that divides words; unlike `char::is_whitespace` not the exotic kinds.
pub(crate) fn is_blank(letter: char) -> bool {
    matches!(letter, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

/// Splits an instruction.
pub(crate) fn statement(line: &str, escape: char) -> Statement {
    let text = line.trim();
    let (name, after) = match text.find(is_blank) {
        Some(at) => (text.get(..at), text.get(at..).map(|rest| rest.trim_start_matches(is_blank))),
        None => (Some(text), None),
    };
    let (flags, rest) = after.map(|after| flags(after, escape)).unwrap_or_default();
    Statement {
        name: name.unwrap_or_default().to_owned(),
        flags,
        rest: rest.trim().to_owned(),
        text: text.to_owned(),
    }
}

/// The arguments of an instruction, divided as its kind asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// Words, or one text; none where nothing was written.
    Words(Vec<String>),
    /// A JSON array.
    Exec(Vec<String>),
    /// `key=value` pairs.
    Pairs(Vec<KeyValue>),
    /// The type of a `HEALTHCHECK` and what follows.
    Health(String, Box<Arguments>),
    /// The instruction after `ONBUILD`.
    Trigger(Box<Statement>, Box<Arguments>),
}

impl Arguments {
    /// Whether `<<` in the instruction begins a here-document: in `RUN`, `COPY`, `ADD` and
    /// `ONBUILD` of them, not in exec form.
    pub(crate) fn may_begin_heredoc(&self, statement: &Statement) -> bool {
        match self {
            Self::Trigger(inner, arguments) => {
                // One level is enough: `ONBUILD ONBUILD` is refused.
                !matches!(**arguments, Self::Trigger(..)) && arguments.may_begin_heredoc(inner)
            }
            Self::Exec(_) => false,
            _ => matches!(statement.name.to_lowercase().as_str(), "run" | "copy" | "add"),
        }
    }
}

/// Divides an instruction's arguments. Unknown instructions have none.
///
/// # Errors
/// JSON arrays of other things than strings; `ENV` and `LABEL` without values.
pub(crate) fn arguments(statement: &Statement, escape: char) -> Result<Arguments, Error> {
    let rest = statement.rest.as_str();
    let one = || if rest.is_empty() { Vec::new() } else { vec![rest.to_owned()] };
    Ok(match statement.name.to_lowercase().as_str() {
        "add" | "copy" | "volume" => {
            json::strings(rest)?.map_or_else(|| Arguments::Words(fields(rest)), Arguments::Exec)
        }
        "cmd" | "entrypoint" | "run" | "shell" => {
            json::strings(rest)?.map_or_else(|| Arguments::Words(one()), Arguments::Exec)
        }
        "arg" => Arguments::Words(words(rest, escape)),
        "env" => Arguments::Pairs(pairs(rest, "ENV", escape)?),
        "label" => Arguments::Pairs(pairs(rest, "LABEL", escape)?),
        "expose" | "from" => Arguments::Words(fields(rest)),
        "maintainer" | "stopsignal" | "user" | "workdir" => Arguments::Words(one()),
        "healthcheck" => health(rest)?,
        "onbuild" if !rest.is_empty() => trigger(rest, escape)?,
        _ => Arguments::Words(Vec::new()),
    })
}

/// The instruction after `ONBUILD`; of `ONBUILD ONBUILD …` only the first two words matter.
fn trigger(rest: &str, escape: char) -> Result<Arguments, Error> {
    let inner = statement(rest, escape);
    let arguments = if inner.name.eq_ignore_ascii_case("onbuild") {
        Arguments::Words(Vec::new())
    } else {
        arguments(&inner, escape)?
    };
    Ok(Arguments::Trigger(Box::new(inner), Box::new(arguments)))
}

fn health(rest: &str) -> Result<Arguments, Error> {
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if kind.is_empty() {
        return Ok(Arguments::Words(Vec::new()));
    }
    let command = command.trim_start();
    let command = match json::strings(command)? {
        Some(words) => Arguments::Exec(words),
        None if command.is_empty() => Arguments::Words(Vec::new()),
        None => Arguments::Words(vec![command.to_owned()]),
    };
    Ok(Arguments::Health(kind.to_owned(), Box::new(command)))
}

/// `key=value…`, or the old `key value` with the rest of the line as the value.
fn pairs(rest: &str, name: &str, escape: char) -> Result<Vec<KeyValue>, Error> {
    let words = words(rest, escape);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if !first.contains('=') {
        let Some(at) = rest.find(is_blank) else {
            return Err(Error::new(format!("{name} must have two arguments")).at_word(rest));
        };
        let (key, value) = rest.split_at(at);
        let value = value.trim_start_matches(is_blank).to_owned();
        return Ok(vec![KeyValue { key: key.to_owned(), value, legacy: true }]);
    }
    words
        .iter()
        .map(|word| {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                Error::new(format!(
                    "Syntax error - can't find = in {}. Must be of the form: name=value",
                    go_quoted(word)
                ))
                .at_word(word)
            })?;
            Ok(KeyValue { key: key.to_owned(), value: value.to_owned(), legacy: false })
        })
        .collect()
}

/// Reads the words at the beginning that start with `--`, and gives the rest of the text.
fn flags(text: &str, escape: char) -> (Vec<String>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (found, rest);
        }
        let (word, quoted, after) = flag(rest, escape);
        rest = after;
        if word == "--" {
            return (found, rest);
        }
        if quoted || !word.is_empty() {
            found.push(word);
        }
    }
}

/// One flag without quotes and escapes, whether it had quotes, and what follows.
fn flag(text: &str, escape: char) -> (String, bool, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match quote {
            None if letter.is_whitespace() => {
                return (word, quoted, text.get(at..).unwrap_or_default());
            }
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                quoted = true;
            }
            Some(open) if letter == open => quote = None,
            _ if letter == escape => word.extend(letters.next().map(|(_, letter)| letter)),
            _ => word.push(letter),
        }
    }
    (word, quoted, "")
}

/// Divides a text into words at white space; quotes and escapes are kept but bind.
pub(crate) fn words(text: &str, escape: char) -> Vec<String> {
    let mut done = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if quote.is_none() && letter.is_whitespace() {
            if quoted || !word.is_empty() {
                done.push(std::mem::take(&mut word));
            }
            quoted = false;
            continue;
        }
        match quote {
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                quoted = true;
            }
            Some(open) if letter == open => quote = None,
            _ => {}
        }
        if letter == escape && quote != Some('\'') {
            // An escape character at the very end is dropped.
            let Some(next) = letters.next() else { break };
            word.push(letter);
            word.push(next);
        } else {
            word.push(letter);
        }
    }
    if quoted || !word.is_empty() {
        done.push(word);
    }
    done
}

/// Divides a text at white space alone; quotes mean nothing.
pub(crate) fn fields(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_blank) {
        let (word, after) = rest.split_at(at);
        out.push(word.to_owned());
        rest = after.trim_start_matches(is_blank);
    }
    out.push(rest.to_owned());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_at_the_first_other_word() {
        let parts = |text: &str| {
            let found = statement(text, '\\');
            (found.name, found.flags, found.rest)
        };
        let owned = |flags: &[&str]| flags.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (text, name, flags, rest) in [
            ("RUN", "RUN", &[] as &[&str], ""),
            ("  RUN  a  b ", "RUN", &[], "a  b"),
            ("RUN --x=1  --y a --z", "RUN", &["--x=1", "--y"], "a --z"),
            ("RUN --x='a b' --y=\"c d\" z", "RUN", &["--x=a b", "--y=c d"], "z"),
            ("RUN --x=a\\ b z", "RUN", &["--x=a b"], "z"),
            ("RUN --x -- --y", "RUN", &["--x"], "--y"),
            ("RUN -- --y", "RUN", &[], "--y"),
            ("RUN -x --y", "RUN", &[], "-x --y"),
            ("RUN --x=\\", "RUN", &["--x="], ""),
            ("RUN --x='a", "RUN", &["--x=a"], ""),
            ("COPY\t--from=a\tb\tc", "COPY", &["--from=a"], "b\tc"),
        ] {
            assert_eq!(parts(text), (name.into(), owned(flags), rest.into()), "{text}");
        }
    }

    #[test]
    fn words_keep_their_quotes_and_escapes() {
        for (text, expected) in [
            ("a b  c", &["a", "b", "c"] as &[&str]),
            ("a='b c' d", &["a='b c'", "d"]),
            ("a=\"b \\\" c\" d", &["a=\"b \\\" c\"", "d"]),
            ("a=b\\ c d", &["a=b\\ c", "d"]),
            ("a='b\\' c", &["a='b\\'", "c"]),
            ("'' b", &["''", "b"]),
            ("a \\", &["a"]),
            ("", &[]),
        ] {
            assert_eq!(words(text, '\\'), expected, "{text}");
        }
    }

    #[test]
    fn fields_know_no_quotes() {
        assert_eq!(fields("a 'b  c'\td"), ["a", "'b", "c'", "d"]);
        assert_eq!(fields(""), Vec::<String>::new());
    }
}
