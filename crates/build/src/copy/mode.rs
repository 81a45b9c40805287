//! `--chmod`: octal, or symbolic as `chmod` takes it (without a umask).

use crate::{Error, Result};

/// What becomes of a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chmod(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    /// Of user, group, others: as bits 4, 2, 1.
    who: u32,
    operation: u8,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Letters of `rwxXst`.
    Letters { read: bool, write: bool, execute: bool, search: bool, set_id: bool, sticky: bool },
    /// What user (6), group (3) or others (0) have: how far to shift.
    CopyOf(u32),
}

impl Chmod {
    /// Reads the flag's value.
    pub fn parse(text: &str) -> Result<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(|mode| Self(Form::Octal(mode))).ok_or_else(|| invalid(text));
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            clauses_of(part.as_bytes(), &mut clauses).ok_or_else(|| invalid(text))?;
        }
        Ok(Self(Form::Symbolic(clauses)))
    }

    /// The mode if it does not depend on what was there.
    #[must_use]
    pub fn octal(&self) -> Option<u32> {
        match self.0 {
            Form::Octal(mode) => Some(mode),
            Form::Symbolic(_) => None,
        }
    }

    /// The new mode of an object.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Form::Octal(mode) => *mode,
            Form::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_directory))
            }
        }
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!(
        "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
    ))
}

fn clauses_of(mut text: &[u8], clauses: &mut Vec<Clause>) -> Option<()> {
    let mut who = 0;
    while let [letter @ (b'u' | b'g' | b'o' | b'a'), rest @ ..] = text {
        who |= match letter {
            b'u' => 4,
            b'g' => 2,
            b'o' => 1,
            _ => 7,
        };
        text = rest;
    }
    let who = if who == 0 { 7 } else { who };
    if text.is_empty() {
        return None;
    }
    while let [operation @ (b'+' | b'-' | b'='), rest @ ..] = text {
        let end = rest.iter().position(|letter| b"+-=".contains(letter)).unwrap_or(rest.len());
        let (letters, rest) = rest.split_at(end);
        clauses.push(Clause { who, operation: *operation, what: what_of(letters)? });
        text = rest;
    }
    text.is_empty().then_some(())
}

fn what_of(letters: &[u8]) -> Option<What> {
    match letters {
        b"u" => return Some(What::CopyOf(6)),
        b"g" => return Some(What::CopyOf(3)),
        b"o" => return Some(What::CopyOf(0)),
        _ => {}
    }
    if !letters.iter().all(|letter| b"rwxXst".contains(letter)) {
        return None;
    }
    let has = |letter| letters.contains(&letter);
    Some(What::Letters {
        read: has(b'r'),
        write: has(b'w'),
        execute: has(b'x'),
        search: has(b'X'),
        set_id: has(b's'),
        sticky: has(b't'),
    })
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let (triple, special) = match self.what {
            What::CopyOf(shift) => (mode >> shift & 7, 0),
            What::Letters { read, write, execute, search, set_id, sticky } => {
                let execute = execute || (search && (is_directory || mode & 0o111 != 0));
                let triple = u32::from(read) << 2 | u32::from(write) << 1 | u32::from(execute);
                let mut special = 0;
                if set_id {
                    special |= if self.who & 4 != 0 { 0o4000 } else { 0 };
                    special |= if self.who & 2 != 0 { 0o2000 } else { 0 };
                }
                if sticky && self.who & 1 != 0 {
                    special |= 0o1000;
                }
                (triple, special)
            }
        };
        let spread = |triple: u32| {
            [(4, 6), (2, 3), (1, 0)]
                .iter()
                .filter(|(who, _)| self.who & who != 0)
                .fold(0, |bits, (_, shift)| bits | triple << shift)
        };
        let bits = spread(triple) | special;
        match self.operation {
            b'+' => mode | bits,
            b'-' => mode & !bits,
            _ => {
                let mut cleared = spread(7);
                cleared |= if self.who & 4 != 0 { 0o4000 } else { 0 };
                cleared |= if self.who & 2 != 0 { 0o2000 } else { 0 };
                cleared |= if self.who == 7 { 0o1000 } else { 0 };
                mode & !cleared | bits
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, file, directory) in [
            ("755", 0o755, 0o755),
            ("0", 0, 0),
            ("07777", 0o7777, 0o7777),
            ("u=rwX,go=rX", 0o644, 0o755),
            ("a+x", 0o751, 0o751),
            ("+x", 0o751, 0o751),
            ("go-rwx", 0o600, 0o600),
            ("u+s,g+s,+t", 0o7640, 0o7640),
            ("g=u", 0o660, 0o660),
            ("o=g", 0o644, 0o644),
            ("u=rw+x-w", 0o540, 0o540),
            ("a=", 0, 0),
            ("ug+rw,o+r", 0o664, 0o664),
        ] {
            let chmod = Chmod::parse(text).unwrap();
            assert_eq!(chmod.apply(0o640, false), file, "{text} of a file");
            assert_eq!(chmod.apply(0o640, true), directory, "{text} of a directory");
        }
        assert_eq!(Chmod::parse("a+X").unwrap().apply(0o610, false), 0o711);
    }

    #[test]
    fn what_is_no_mode_is_refused_in_buildkits_words() {
        for text in ["10000", "99", "foo", "u", "u+q", "+rw,", "u=ug", "-1"] {
            assert_eq!(
                Chmod::parse(text).unwrap_err().to_string(),
                format!(
                    "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                )
            );
        }
    }
}
