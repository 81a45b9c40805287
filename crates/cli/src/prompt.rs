//! Questions at a terminal: a line, and a line that is not shown.

use std::io::Read as _;

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::io::Streams;

/// Longer answers are no answers.
const ANSWER_MAX_BYTES: usize = 4096;
/// What a shell gives to a process that ended by Ctrl-C.
const INTERRUPTED: i32 = 130;
/// Ctrl-C, Ctrl-D, backspace in its two forms, Ctrl-U: handled here while a secret is typed.
const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];
const KILL: u8 = 21;

/// Whether standard input is a terminal.
pub fn is_terminal() -> bool {
    isatty(std::io::stdin())
}

/// Asks for a line.
pub fn line(streams: &mut Streams<'_>, question: &str) -> Result<String, Failure> {
    write!(streams.out, "{question}")?;
    streams.out.flush()?;
    let text = read_line(streams)?;
    Ok(text.trim().to_owned())
}

/// Asks for a line that is not shown. The terminal's own keys are off meanwhile, so that Ctrl-C does
/// not leave it without echo.
pub fn secret(streams: &mut Streams<'_>, question: &str) -> Result<String, Failure> {
    // First this: whoever answers at once is not to be shown either.
    let quiet = Quiet::begin();
    write!(streams.out, "{question}")?;
    streams.out.flush()?;
    let text = read_line(streams);
    drop(quiet);
    streams.line("")?;
    Ok(text?.trim().to_owned())
}

/// Reads to the end of the line, byte by byte: what follows belongs to somebody else.
fn read_line(streams: &mut Streams<'_>) -> Result<String, Failure> {
    let mut answer = Vec::new();
    #[allow(clippy::unbuffered_bytes)]
    for byte in (&mut *streams.input).bytes() {
        let byte = byte.map_err(|error| Failure::new(format!("read the answer: {error}")))?;
        match byte {
            b'\n' | b'\r' | END => break,
            INTERRUPT => return Err(Failure::new("interrupted").with_code(INTERRUPTED)),
            KILL => answer.clear(),
            byte if BACKSPACE.contains(&byte) => {
                // A letter may be several bytes; all but its first are 10xxxxxx.
                while answer.pop().is_some_and(|last| last & 0xC0 == 0x80) {}
            }
            byte => answer.push(byte),
        }
        if answer.len() > ANSWER_MAX_BYTES {
            return Err(Failure::new("the answer is too long"));
        }
    }
    String::from_utf8(answer).map_err(|_| Failure::new("the answer is not UTF-8"))
}

/// The terminal without echo, line editing and signals, until this is dropped.
struct Quiet(Option<Termios>);

impl Quiet {
    fn begin() -> Self {
        // No terminal: nothing is shown anyway.
        let Ok(before) = tcgetattr(std::io::stdin()) else { return Self(None) };
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        match tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet) {
            Ok(()) => Self(Some(before)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // A terminal that went away needs nothing back.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn answer(typed: &[u8]) -> Result<String, Failure> {
        let (mut input, mut out, mut err) = (typed, Vec::new(), Vec::new());
        let mut streams = Streams { input: &mut input, out: &mut out, err: &mut err };
        secret(&mut streams, "Password: ")
    }

    #[test]
    fn keys_edit_what_is_not_shown() {
        assert_eq!(answer(b"abc\nrest").unwrap(), "abc");
        assert_eq!(answer("aä\x7fb\r".as_bytes()).unwrap(), "ab");
        assert_eq!(answer(b"wrong\x15right\n").unwrap(), "right");
        assert_eq!(answer(b"end").unwrap(), "end");
        assert_eq!(answer(b"ab\x03\n").unwrap_err().code, INTERRUPTED);
    }
}
