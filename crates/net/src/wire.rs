//! The bytes of netlink: attributes (type, length, value, padded to four bytes) and messages.
//!
//! Links, addresses and routes are written by `netlink-packet-route`; nf_tables is not covered by
//! it and is written with [`Attributes`]. Everything is *read* with [`attributes`], which steps over
//! what it does not know: a newer kernel's attribute must never make a container fail to start.

/// Marks an attribute whose value is made of attributes.
const NESTED: u16 = 0x8000;
/// The two top bits of an attribute's type are flags.
const TYPE_MASK: u16 = 0x3fff;
/// Length of a message's header.
pub(crate) const MESSAGE_HEADER: usize = 16;

/// A request: more attributes or an answer follow the header that the channel writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// What it asks for.
    pub(crate) kind: u16,
    /// `NLM_F_*` flags besides `NLM_F_REQUEST`.
    pub(crate) flags: u16,
    /// Everything after the header.
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// Appends the message, padded, as the `sequence`th of its channel.
    pub(crate) fn write(&self, sequence: u32, out: &mut Vec<u8>) {
        const REQUEST: u16 = 1;
        let length = u32::try_from(MESSAGE_HEADER + self.body.len()).expect("requests are small");
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&(self.flags | REQUEST).to_ne_bytes());
        out.extend_from_slice(&sequence.to_ne_bytes());
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(&self.body);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// A list of attributes being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(pub(crate) Vec<u8>);

impl Attributes {
    /// An empty list.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a value as it is.
    #[must_use]
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(4 + value.len()).expect("attributes stay below 64 KiB");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a number in network byte order, as nf_tables has all of its numbers.
    #[must_use]
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a string with its terminating zero.
    #[must_use]
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds a list within the list.
    #[must_use]
    pub(crate) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }
}

/// Reads a list of attributes; ends at the first that does not fit.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]])).checked_sub(4)?;
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let value = rest.get(..length)?;
        bytes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this type.
pub(crate) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

/// A number in the machine's byte order at an offset.
pub(crate) fn native_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    let value = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(value.try_into().ok()?))
}

/// A string up to its terminating zero.
pub(crate) fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let list =
            Attributes::new().text(1, "ab").nest(2, &Attributes::new().number(3, 0x0102_0304));
        let mut expected = vec![7, 0, 1, 0, b'a', b'b', 0, 0];
        expected.extend([12, 0, 2, 0x80, 8, 0, 3, 0, 1, 2, 3, 4]);
        assert_eq!(list.0, expected);
        let read: Vec<_> = attributes(&list.0).collect();
        assert_eq!(read, [(1, &b"ab\0"[..]), (2, &[8, 0, 3, 0, 1, 2, 3, 4][..])]);
    }

    #[test]
    fn broken_attributes_end_the_list() {
        for bytes in [&[][..], &[4, 0, 1], &[3, 0, 1, 0], &[9, 0, 1, 0, 1, 2, 3, 4]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
        // The padding of the last attribute may be missing.
        assert_eq!(attribute(&[5, 0, 1, 0, 9], 1), Some(&[9][..]));
    }

    #[test]
    fn a_message_has_its_length_flags_and_sequence() {
        let mut out = Vec::new();
        Message { kind: 0x0a06, flags: 0x0400, body: vec![1, 2, 3] }.write(7, &mut out);
        let expected = [19, 0, 0, 0, 6, 10, 1, 4, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0];
        assert_eq!(out, expected);
    }
}
