//! Here-documents: which words of a line begin one, and what they hold.

use crate::error::Error;
use crate::instruction::Heredoc;
use crate::shell::Lexer;

fn nothing(_: &str) -> Option<String> {
    None
}

/// Reads a word as the beginning of a here-document: `<<EOF`, `3<<-"EOF"`; `None` where it is
/// none. The content is empty.
///
/// # Errors
/// The name has an open quote or a malformed substitution.
pub(crate) fn from_word(word: &str) -> Result<Option<Heredoc>, Error> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = word.split_at(digits);
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
    let name = rest.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
    if name.is_empty() || name.contains('<') {
        return Ok(None);
    }
    let lexer = Lexer { keep_unset: true, ..Lexer::new('\\') };
    let words = lexer.words(name, &nothing)?;
    let [plain] = words.as_slice() else { return Ok(None) };
    let raw = Lexer { raw_quotes: true, ..lexer }.words(name, &nothing)?;
    let [raw] = raw.as_slice() else {
        return Err(Error::new(format!(
            "internal lexing of heredoc produced inconsistent results: {name}"
        )));
    };
    Ok(Some(Heredoc {
        name: plain.clone(),
        content: String::new(),
        expand: quotes(plain) == quotes(raw),
        chomp,
        descriptor: number.parse().unwrap_or_default(),
    }))
}

fn quotes(text: &str) -> usize {
    text.matches(['\'', '"']).count()
}

/// The here-documents that a line begins, in order.
///
/// # Errors
/// As [`from_word`].
pub(crate) fn in_line(line: &str) -> Result<Vec<Heredoc>, Error> {
    let lexer = Lexer { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Lexer::new('\\') };
    // A line that can't be read as words (an open quote, for instance) begins none: it is the
    // shell's to complain about.
    let words = lexer.words(line, &nothing).unwrap_or_default();
    let mut found = Vec::new();
    for word in words {
        found.extend(from_word(&word)?);
    }
    Ok(found)
}

/// The text without the tabs that begin its lines.
pub(crate) fn chomp(text: &str) -> String {
    text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}

/// What step names show of a here-document: its first line.
pub(crate) fn summary(content: &str) -> String {
    let text = content.trim().replace("\r\n", "\n");
    match text.split_once('\n') {
        Some((first, _)) => format!("{first}..."),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_begin_a_here_document() {
        // (word, name, expand, chomp, descriptor)
        for (word, name, expand, chomp, descriptor) in [
            ("<<EOF", "EOF", true, false, 0),
            ("<<-EOF", "EOF", true, true, 0),
            ("3<<EOF", "EOF", true, false, 3),
            ("<<'EOF'", "EOF", false, false, 0),
            ("<<\"E O F\"", "E O F", false, false, 0),
            ("<< EOF", "EOF", true, false, 0),
            ("<<E\"O\"F", "EOF", false, false, 0),
            ("<<E\\'F", "E'F", true, false, 0),
        ] {
            let found = from_word(word).unwrap().expect(word);
            assert_eq!(
                (found.name.as_str(), found.expand, found.chomp, found.descriptor),
                (name, expand, chomp, descriptor),
                "{word}"
            );
        }
        for word in ["EOF", "<EOF", "<<<EOF", "<<", "<<-", "a<<EOF", "<<A<B"] {
            assert_eq!(from_word(word), Ok(None), "{word}");
        }
    }

    #[test]
    fn a_line_may_begin_several() {
        let names = |line: &str| -> Vec<String> {
            in_line(line).unwrap().into_iter().map(|doc| doc.name).collect()
        };
        assert_eq!(names("RUN cat <<A 3<<-B > x"), ["A", "B"]);
        assert_eq!(names("RUN cat <<A<<B"), Vec::<String>::new());
        assert_eq!(names("RUN echo '<<A'"), Vec::<String>::new());
        assert_eq!(names("RUN echo \\<<A"), Vec::<String>::new());
        assert_eq!(names("RUN echo it's <<A"), Vec::<String>::new());
    }

    #[test]
    fn leading_tabs_and_first_lines() {
        assert_eq!(chomp("\t\ta\n\tb\n \tc\n"), "a\nb\n \tc\n");
        assert_eq!(summary("\n a b\nc\n"), "a b...");
        assert_eq!(summary("one\n"), "one");
    }
}
