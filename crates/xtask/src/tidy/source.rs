//! A look at Rust source that knows strings and comments, nothing more.
//!
//! [`Source::new`] splits a file into two texts of the same shape: `code`, where comments and the
//! contents of strings are blanks, and `comments`, where everything but comments is. Both keep every
//! line break, so a position in one is a position in the file.

/// A file taken apart.
pub(super) struct Source {
    /// The file without comments and string contents.
    pub(super) code: String,
    /// Only the comments.
    pub(super) comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Text,
}

impl Source {
    /// Takes a file apart.
    pub(super) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut kinds = vec![Kind::Code; bytes.len()];
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let (kind, length) = if rest.starts_with(b"//") {
                (Kind::Comment, line_length(rest))
            } else if rest.starts_with(b"/*") {
                (Kind::Comment, block_comment_length(rest))
            } else if rest[0] == b'"' {
                (Kind::Text, string_length(rest))
            } else if let Some(length) = raw_string_length(bytes, at) {
                (Kind::Text, length)
            } else if rest[0] == b'\'' {
                char_length(rest).map_or((Kind::Code, 1), |length| (Kind::Text, length))
            } else {
                (Kind::Code, 1)
            };
            let end = (at + length.max(1)).min(bytes.len());
            kinds[at..end].fill(kind);
            at = end;
        }
        let keep = |wanted: Kind| -> String {
            let kept = bytes.iter().zip(&kinds).map(|(byte, kind)| match (*byte, *kind) {
                (b'\n', _) => b'\n',
                (byte, kind) if kind == wanted => byte,
                _ => b' ',
            });
            String::from_utf8_lossy(&kept.collect::<Vec<u8>>()).into_owned()
        };
        Self { code: keep(Kind::Code), comments: keep(Kind::Comment) }
    }

    /// Byte ranges of items marked `#[cfg(test)]`, in order.
    pub(super) fn test_items(&self) -> Vec<std::ops::Range<usize>> {
        const MARK: &str = "#[cfg(test)]";
        let mut found: Vec<std::ops::Range<usize>> = Vec::new();
        let mut from = 0;
        while let Some(offset) = self.code[from..].find(MARK) {
            let start = from + offset;
            let end = self.item_end(start + MARK.len());
            found.push(start..end);
            from = end.max(start + MARK.len());
        }
        found
    }

    /// End of the item that starts at `from`: its closing brace, or its `;` where it has no body.
    pub(super) fn item_end(&self, from: usize) -> usize {
        let bytes = self.code.as_bytes();
        let mut depth = 0_usize;
        for (offset, byte) in bytes[from..].iter().enumerate() {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return from + offset + 1;
                    }
                }
                b';' if depth == 0 => return from + offset + 1,
                _ => {}
            }
        }
        bytes.len()
    }
}

/// Line of a byte position, from 1.
pub(super) fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes()[..position.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// Positions where `word` stands by itself: no letter, digit or `_` before or after it.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    code.match_indices(word).map(|(position, _)| position).filter(move |position| {
        let before = position.checked_sub(1).map(|at| code.as_bytes()[at]);
        let after = code.as_bytes().get(position + word.len()).copied();
        !before.is_some_and(part_of_name) && !after.is_some_and(part_of_name)
    })
}

fn line_length(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of `r"…"`, `r#"…"#`, `br"…"` at `at`, if one starts there.
fn raw_string_length(bytes: &[u8], at: usize) -> Option<usize> {
    let inside_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let rest = &bytes[at..];
    let prefix = if rest.starts_with(b"br") || rest.starts_with(b"cr") { 2 } else { 1 };
    if rest[0] != b'r' && prefix == 1
        || (inside_name && bytes[at - 1] != b'b' && bytes[at - 1] != b'c')
    {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    let body = prefix + hashes + 1;
    let length = rest[body..].windows(end.len()).position(|window| window == end.as_slice());
    Some(length.map_or(rest.len(), |length| body + length + end.len()))
}

/// Length of a character literal; `None` for a lifetime.
fn char_length(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.iter().skip(3).position(|byte| *byte == b'\'')?;
        return Some(3 + end + 1);
    }
    // One character of up to four bytes, then the closing quote.
    (2..=5)
        .find(|end| rest.get(*end) == Some(&b'\''))
        .filter(|end| {
            std::str::from_utf8(&rest[1..*end]).is_ok_and(|text| text.chars().count() == 1)
        })
        .map(|end| end + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_and_strings_and_keeps_the_shape() {
        for (text, code) in [
            ("let a = \"x { y\"; // {", "let a =        ;     "),
            ("a /*{/*}*/*/ b", "a            b"),
            ("r#\"{ \" \"# }", "          }"),
            ("f::<'a>('{', '\\'', b'}')", "f::<'a>(   ,     , b   )"),
            ("\"\\\"{\" }", "      }"),
            ("str(\"a\nb\")", "str(  \n  )"),
        ] {
            let source = Source::new(text);
            assert_eq!(source.code, code, "{text}");
            assert_eq!(source.code.len(), text.len(), "{text}");
        }
        assert_eq!(Source::new("a // why").comments, "  // why");
    }

    #[test]
    fn finds_items_under_test() {
        let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() {} }\nfn c() {}\n#[cfg(test)]\nuse d;\n";
        let source = Source::new(text);
        let found: Vec<&str> = source.test_items().into_iter().map(|range| &text[range]).collect();
        assert_eq!(
            found,
            ["#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() {} }", "#[cfg(test)]\nuse d;"]
        );
    }

    #[test]
    fn finds_whole_words_only() {
        assert_eq!(words("unsafe_code unsafe { notunsafe", "unsafe").collect::<Vec<_>>(), [12]);
    }
}
