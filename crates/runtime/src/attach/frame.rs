//! Frames: one byte of kind, three zero bytes, the payload's length (big endian), the payload.

use crate::error::Error;

/// The longest payload of a frame.
pub const PAYLOAD_MAX_BYTES: usize = 64 << 10;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 8;
/// A decoder gives its memory back when it is empty and holds more than this.
const KEEP_BYTES: usize = 4 << 10;

/// What a frame is about. The first three are Docker's stream numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Command to monitor: input; empty to announce that there will be some.
    Stdin = 0,
    /// Monitor to command: output.
    Stdout = 1,
    /// Monitor to command: error output.
    Stderr = 2,
    /// Command to monitor: no more input.
    StdinEnd = 3,
    /// Command to monitor: rows and columns of the terminal, 16 bits each.
    Resize = 4,
    /// Command to monitor: the command does what `finish` would do.
    TakenOver = 5,
    /// Monitor to command: exit code, one byte.
    Exit = 6,
    /// Starter to monitor: a part of the plan.
    Plan = 7,
    /// Starter to monitor: the plan is complete.
    PlanEnd = 8,
    /// Monitor to starter: the container runs.
    Ready = 9,
    /// Monitor to starter: it does not, and why.
    Failed = 10,
    /// Monitor to starter: it has begun with the plan; its process id, four bytes.
    Begun = 11,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        const ALL: [Kind; 12] = [
            Kind::Stdin,
            Kind::Stdout,
            Kind::Stderr,
            Kind::StdinEnd,
            Kind::Resize,
            Kind::TakenOver,
            Kind::Exit,
            Kind::Plan,
            Kind::PlanEnd,
            Kind::Ready,
            Kind::Failed,
            Kind::Begun,
        ];
        ALL.get(usize::from(byte)).copied()
    }
}

/// The bytes before a payload of at most [`PAYLOAD_MAX_BYTES`].
#[must_use]
pub fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(length <= PAYLOAD_MAX_BYTES);
    let mut header = [kind as u8, 0, 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    header
}

/// The payload of a [`Kind::Resize`] frame.
#[must_use]
pub fn resize_payload(rows: u16, columns: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (rows.to_be_bytes(), columns.to_be_bytes());
    [a, b, c, d]
}

/// Rows and columns of a [`Kind::Resize`] frame.
pub(crate) fn parse_resize(payload: &[u8]) -> Result<(u16, u16), Error> {
    match *payload {
        [a, b, c, d] => Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        _ => Err(Error::Frame { reason: "terminal size is not four bytes" }),
    }
}

/// One whole frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is about.
    pub kind: Kind,
    /// What it says.
    pub payload: &'a [u8],
}

/// Puts frames together from bytes as they arrive.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Takes bytes that have arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let rest = &self.buffer[self.start..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            if self.start == self.buffer.len() {
                self.start = 0;
                self.buffer.clear();
                self.buffer.shrink_to(KEEP_BYTES);
            }
            return Ok(None);
        };
        let [kind, zeros @ .., a, b, c, d] = *header;
        let kind = Kind::from_byte(kind).ok_or(Error::Frame { reason: "unknown kind" })?;
        if zeros != [0; 3] {
            return Err(Error::Frame { reason: "reserved bytes are not zero" });
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > PAYLOAD_MAX_BYTES {
            return Err(Error::Frame { reason: "payload is too long" });
        }
        if rest.len() < length {
            return Ok(None);
        }
        let from = self.start + HEADER_BYTES;
        self.start = from + length;
        Ok(Some(Frame { kind, payload: &self.buffer[from..from + length] }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_survive_being_cut_anywhere() {
        let mut bytes = header(Kind::Stdin, 3).to_vec();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(&header(Kind::StdinEnd, 0));
        bytes.extend_from_slice(&header(Kind::Resize, 4));
        bytes.extend_from_slice(&resize_payload(0x102, 3));
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.feed(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    found.push((frame.kind, frame.payload.to_vec()));
                }
            }
            let expected = [
                (Kind::Stdin, b"abc".to_vec()),
                (Kind::StdinEnd, vec![]),
                (Kind::Resize, vec![1, 2, 0, 3]),
            ];
            assert_eq!(found, expected, "cut at {cut}");
        }
        assert_eq!(parse_resize(&[1, 2, 0, 3]).unwrap(), (0x102, 3));
        assert!(parse_resize(&[1, 2, 0]).is_err());
    }

    #[test]
    fn malformed_frames_are_refused_before_their_payload() {
        let cases: [([u8; 8], &str); 3] = [
            ([12, 0, 0, 0, 0, 0, 0, 0], "unknown kind"),
            ([0, 0, 1, 0, 0, 0, 0, 0], "reserved bytes are not zero"),
            ([0, 0, 0, 0, 0, 1, 0, 1], "payload is too long"),
        ];
        for (bytes, expected) in cases {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            let error = decoder.next_frame().unwrap_err().to_string();
            assert_eq!(error, format!("malformed frame from the other side: {expected}"));
        }
    }
}
