//! Words of a Dockerfile instruction: splitting, quotes, escapes and variables.
//!
//! Source of the rules: the Dockerfile reference, "Environment replacement" and "Escape". Splitting
//! keeps quotes and escapes in the words; [`expand`] takes them away and fills variables in, so that
//! a quoted `$` stays what it is.

use crate::error::ParseError;

/// Splits at white space outside quotes; quotes and backslashes stay in the words.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, letter) if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            // Nothing is special inside single quotes.
            (None | Some('"'), '\\') => {
                word.push('\\');
                word.extend(letters.next());
                continue;
            }
            _ => {}
        }
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Takes quotes and escapes away and replaces `$NAME`, `${NAME}`, `${NAME:-word}`, `${NAME:+word}`.
///
/// # Errors
/// `unexpected end of statement …` for an open quote, `syntax error: …` for a bad `${`.
pub(crate) fn expand(
    word: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ParseError> {
    let mut out = String::new();
    let mut rest = word;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\'' => {
                let Some((text, after)) = rest.split_once('\'') else {
                    return Err(open_quote('\''));
                };
                out.push_str(text);
                rest = after;
            }
            '"' => rest = expand_quoted(rest, lookup, &mut out)?,
            '\\' => {
                let next = rest.chars().next();
                out.extend(next);
                rest = &rest[next.map_or(0, char::len_utf8)..];
            }
            '$' => rest = expand_variable(rest, lookup, &mut out)?,
            _ => out.push(letter),
        }
    }
    Ok(out)
}

fn open_quote(quote: char) -> ParseError {
    ParseError::new(format!(
        "unexpected end of statement while looking for matching {}-quote",
        match quote {
            '"' => "double",
            _ => "single",
        }
    ))
}

/// Expands up to the closing double quote and returns what follows it.
fn expand_quoted<'a>(
    mut rest: &'a str,
    lookup: &dyn Fn(&str) -> Option<String>,
    out: &mut String,
) -> Result<&'a str, ParseError> {
    loop {
        let letter = rest.chars().next().ok_or_else(|| open_quote('"'))?;
        rest = &rest[letter.len_utf8()..];
        match letter {
            '"' => return Ok(rest),
            '$' => rest = expand_variable(rest, lookup, out)?,
            '\\' => {
                let next = rest.chars().next().ok_or_else(|| open_quote('"'))?;
                // Inside double quotes a backslash escapes only what is special there.
                if !matches!(next, '"' | '$' | '\\') {
                    out.push('\\');
                }
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
            _ => out.push(letter),
        }
    }
}

/// Expands a variable whose `$` is already read and returns what follows it.
fn expand_variable<'a>(
    rest: &'a str,
    lookup: &dyn Fn(&str) -> Option<String>,
    out: &mut String,
) -> Result<&'a str, ParseError> {
    let Some(braced) = rest.strip_prefix('{') else {
        let name_len = name_len(rest);
        if name_len == 0 {
            out.push('$');
            return Ok(rest);
        }
        out.push_str(&lookup(&rest[..name_len]).unwrap_or_default());
        return Ok(&rest[name_len..]);
    };
    let bad = || ParseError::new("syntax error: bad substitution");
    let (name, after) = braced.split_at(name_len(braced));
    if name.is_empty() {
        return Err(bad());
    }
    let value = lookup(name);
    if let Some(after) = after.strip_prefix('}') {
        out.push_str(&value.unwrap_or_default());
        return Ok(after);
    }
    // With a colon an empty value counts as none.
    let (value, operator) = match after.strip_prefix(':') {
        Some(operator) => (value.filter(|text| !text.is_empty()), operator),
        None => (value, after),
    };
    let end =
        closing_brace(operator).ok_or_else(|| ParseError::new("syntax error: missing '}'"))?;
    let (body, after) = (&operator[..end], &operator[end + 1..]);
    let (kind, word) = body.split_at_checked(1).ok_or_else(bad)?;
    match (kind, value) {
        ("-", None) | ("+", Some(_)) => out.push_str(&expand(word, lookup)?),
        ("+", None) => {}
        ("-" | "?", Some(value)) => out.push_str(&value),
        ("?", None) => {
            let why = if word.is_empty() { "is not allowed to be unset" } else { word };
            return Err(ParseError::new(format!("{name}: {why}")));
        }
        _ => return Err(ParseError::new(format!("unsupported modifier ({kind}) in substitution"))),
    }
    Ok(after)
}

/// Bytes of a variable name at the beginning; one digit is a name too.
fn name_len(text: &str) -> usize {
    match text.bytes().next() {
        Some(first) if first.is_ascii_digit() => 1,
        Some(first) if first.is_ascii_alphabetic() || first == b'_' => {
            text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
        }
        _ => 0,
    }
}

/// Offset of the brace that closes the current substitution.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn words_end_at_white_space_outside_quotes() {
        assert_eq!(split(r#"a  "b c"d 'e \' f\ g"#), ["a", "\"b c\"d", "'e \\'", "f\\ g"]);
        assert_eq!(split("  "), Vec::<String>::new());
    }

    #[test]
    fn variables_quotes_and_escapes() {
        for (word, want) in [
            ("$A", "1"),
            ("x${A}y$", "x1y$"),
            ("$AB", ""),
            ("'$A'", "$A"),
            ("\"$A b\"", "1 b"),
            ("\\$A", "$A"),
            ("\"\\$A \\x\"", "$A \\x"),
            ("a\\ b", "a b"),
            ("${NO:-d$A}", "d1"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${A:+set}", "set"),
            ("${NO:+set}", ""),
            ("${NO:-${A}}z", "1z"),
        ] {
            assert_eq!(expand(word, &lookup).unwrap(), want, "{word}");
        }
        for (word, want) in [
            ("'a", "unexpected end of statement while looking for matching single-quote"),
            ("\"a", "unexpected end of statement while looking for matching double-quote"),
            ("${}", "syntax error: bad substitution"),
            ("${A:-x", "syntax error: missing '}'"),
            ("${A:^x}", "unsupported modifier (^) in substitution"),
            ("${NO:?gone}", "NO: gone"),
        ] {
            assert_eq!(expand(word, &lookup).unwrap_err().to_string(), want, "{word}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|\\$|\\{|\\}|:|\\\\|\"|'){0,40}") {
            for word in split(&text) {
                let _ = expand(&word, &lookup);
            }
            let _ = expand(&text, &lookup);
        }

        #[test]
        fn single_quotes_keep_everything(text in "[^']{0,30}") {
            prop_assert_eq!(expand(&format!("'{text}'"), &lookup).unwrap(), text);
        }
    }
}
