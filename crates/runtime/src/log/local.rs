//! The format of Docker's `local` driver.
//!
//! Each record is its length in four bytes, the highest first, a protocol buffer message, and the
//! length again, so that a file can be read from its end. Fields: source (1), time in nanoseconds (2),
//! line without its line feed (3), whether it is a piece (4), which piece (5: last, id, ordinal),
//! attributes (6: name, value). Unknown fields are skipped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use jiff::Timestamp;

use super::{LogEntry, LogStream, Piece};

/// Bytes of the length before and behind a record.
pub(super) const FRAME_BYTES: u64 = 4;
/// A longer record is none of ours: a piece of a line has 16 KiB.
pub(super) const RECORD_MAX_BYTES: u64 = 1 << 20;

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// The fields that carry the attributes.
pub(super) fn attributes(attributes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in attributes {
        let mut pair = Vec::new();
        put_bytes(1, name.as_bytes(), &mut pair);
        put_bytes(2, value.as_bytes(), &mut pair);
        put_bytes(6, &pair, &mut out);
    }
    out
}

/// Appends one record.
pub(super) fn append(piece: &Piece<'_>, attributes: &[u8], out: &mut Vec<u8>) {
    let mut message = Vec::with_capacity(piece.text.len() + attributes.len() + 32);
    put_bytes(1, piece.stream.as_str().as_bytes(), &mut message);
    let nanoseconds = i64::try_from(piece.time.as_nanosecond()).unwrap_or(i64::MAX);
    put_number(2, nanoseconds.cast_unsigned(), &mut message);
    let is_end = piece.text.last() == Some(&b'\n');
    put_bytes(3, piece.text.strip_suffix(b"\n").unwrap_or(piece.text), &mut message);
    if piece.ordinal > 0 {
        put_number(4, 1, &mut message);
        let mut part = Vec::new();
        put_number(1, u64::from(is_end), &mut part);
        put_number(3, u64::from(piece.ordinal), &mut part);
        put_bytes(5, &part, &mut message);
    }
    message.extend_from_slice(attributes);
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&message);
    out.extend_from_slice(&length);
}

/// Reads the message of one record; `None` for what is none.
pub(super) fn parse(message: &[u8]) -> Option<LogEntry> {
    let mut stream = LogStream::Stdout;
    let (mut nanoseconds, mut line, mut is_piece, mut is_last) = (0_i64, Vec::new(), false, false);
    let mut attributes = BTreeMap::new();
    let mut rest = message;
    while !rest.is_empty() {
        match take_field(&mut rest)? {
            (1, Field::Bytes(b"stdout")) => stream = LogStream::Stdout,
            (1, Field::Bytes(b"stderr")) => stream = LogStream::Stderr,
            (2, Field::Number(number)) => nanoseconds = number.cast_signed(),
            (3, Field::Bytes(bytes)) => line = bytes.to_vec(),
            (4, Field::Number(number)) => is_piece = number != 0,
            (5, Field::Bytes(mut part)) => {
                while !part.is_empty() {
                    if let (1, Field::Number(number)) = take_field(&mut part)? {
                        is_last = number != 0;
                    }
                }
            }
            (6, Field::Bytes(mut pair)) => {
                let (mut name, mut value) = (String::new(), String::new());
                while !pair.is_empty() {
                    match take_field(&mut pair)? {
                        (1, Field::Bytes(bytes)) => name = text(bytes),
                        (2, Field::Bytes(bytes)) => value = text(bytes),
                        _ => {}
                    }
                }
                attributes.insert(name, value);
            }
            _ => {}
        }
    }
    if !is_piece || is_last {
        line.push(b'\n');
    }
    let time = Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()?;
    Some(LogEntry { stream, time, text: text(&line), attributes })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = take_number(rest)?;
    let field = match key & 7 {
        VARINT => Field::Number(take_number(rest)?),
        BYTES => {
            let length = usize::try_from(take_number(rest)?).ok()?;
            Field::Bytes(take(rest, length)?)
        }
        FIXED64 => take(rest, 8).map(|_| Field::Other)?,
        FIXED32 => take(rest, 4).map(|_| Field::Other)?,
        _ => return None,
    };
    Some((key >> 3, field))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn put_number(field: u64, number: u64, out: &mut Vec<u8>) {
    // As protocol buffers do it: what is zero is left out.
    if number != 0 {
        put_raw(field << 3 | VARINT, out);
        put_raw(number, out);
    }
}

fn put_bytes(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        put_raw(field << 3 | BYTES, out);
        put_raw(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn put_raw(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// How many bytes from the beginning of a file are whole records.
pub(super) fn whole_length(file: &File, size: u64) -> io::Result<u64> {
    // Nearly always the last record is whole.
    if size == 0 || last_record(file, size)?.is_some() {
        return Ok(size);
    }
    let mut position = 0;
    while let Some(next) = record_end(file, position, size)? {
        position = next;
    }
    Ok(position)
}

/// Where the record that ends at `end` begins; `None` if there is none.
pub(super) fn last_record(file: &File, end: u64) -> io::Result<Option<u64>> {
    let Some(tail) = end.checked_sub(FRAME_BYTES) else { return Ok(None) };
    let length = length_at(file, tail)?;
    let Some(start) = end.checked_sub(length + 2 * FRAME_BYTES) else { return Ok(None) };
    let matches = length <= RECORD_MAX_BYTES && length_at(file, start)? == length;
    Ok(matches.then_some(start))
}

/// Where the record that begins at `start` ends; `None` if it is not whole.
fn record_end(file: &File, start: u64, size: u64) -> io::Result<Option<u64>> {
    if start + FRAME_BYTES > size {
        return Ok(None);
    }
    let length = length_at(file, start)?;
    let end = start + length + 2 * FRAME_BYTES;
    if length > RECORD_MAX_BYTES || end > size || length_at(file, end - FRAME_BYTES)? != length {
        return Ok(None);
    }
    Ok(Some(end))
}

fn length_at(file: &File, position: u64) -> io::Result<u64> {
    let mut bytes = [0; FRAME_BYTES as usize];
    file.read_exact_at(&mut bytes, position)?;
    Ok(u64::from(u32::from_be_bytes(bytes)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn piece(text: &[u8], ordinal: u32) -> Piece<'_> {
        let time = Timestamp::new(1_700_000_000, 5).unwrap();
        Piece { stream: LogStream::Stderr, text, time, ordinal }
    }

    #[test]
    fn records_are_read_back() {
        let extra = attributes(&[("k".to_owned(), "v".to_owned())].into());
        for (text, ordinal, want) in
            [("line\n", 0, "line\n"), ("", 0, "\n"), ("part", 1, "part"), ("end\n", 2, "end\n")]
        {
            let mut record = Vec::new();
            append(&piece(text.as_bytes(), ordinal), &extra, &mut record);
            let length = record.len();
            assert_eq!(record[..4], record[length - 4..]);
            let entry = parse(&record[4..length - 4]).unwrap();
            assert_eq!((entry.text.as_str(), entry.stream), (want, LogStream::Stderr));
            assert_eq!(entry.time, Timestamp::new(1_700_000_000, 5).unwrap());
            assert_eq!(entry.attributes["k"], "v");
        }
    }

    #[test]
    fn the_bytes_are_docker_s() {
        let mut record = Vec::new();
        append(&piece(b"hi\n", 0), &[], &mut record);
        // source "stderr", time, line "hi".
        let mut want = vec![0, 0, 0, 22, 0x0a, 6];
        want.extend_from_slice(b"stderr");
        want.extend_from_slice(&[0x10, 0x85, 0x80, 0xa8, 0xd6, 0xb6, 0xd5, 0xf2, 0xcb, 0x17]);
        want.extend_from_slice(&[0x1a, 2, b'h', b'i']);
        want.extend_from_slice(&[0, 0, 0, 22]);
        assert_eq!(record.len(), want.len());
        assert_eq!(record[..12], want[..12]);
        assert_eq!(record[22..], want[22..]);
    }

    #[test]
    fn damaged_messages_are_none() {
        for bytes in [&[0x0a][..], &[0x0a, 9, 1], &[0xff; 12], &[0x07]] {
            assert!(parse(bytes).is_none(), "{bytes:?}");
        }
        assert_eq!(parse(&[]).unwrap().text, "\n");
    }
}
