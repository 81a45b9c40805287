//! Names of entries: made relative and clean, or refused; whiteout markers.

use crate::Refusal;

/// Prefix of whiteouts in archives.
pub const WHITEOUT: &[u8] = b".wh.";
/// Prefix of markers that only one file system ever used.
pub const WHITEOUT_META: &[u8] = b".wh..wh.";
/// The marker of an opaque directory.
pub const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// Components of a name: what `PATH_MAX` allows of one-letter names is twice as much.
pub const DEPTH_MAX: usize = 1024;
/// Bytes of one component on every file system.
pub const NAME_MAX_BYTES: usize = 255;

/// What an entry's name means for unpacking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryName {
    /// The root itself, which entries do not change.
    Root,
    /// An object at this path.
    Object(Vec<u8>),
    /// The removal of the object at this path.
    Whiteout(Vec<u8>),
    /// Everything that lower layers have in this directory (empty: the root) is hidden.
    Opaque(Vec<u8>),
    /// A marker without meaning.
    Ignored,
}

/// Makes a name relative to the root, without `.`, `..` and empty components.
pub fn clean(name: &[u8]) -> Result<Vec<u8>, Refusal> {
    if name.contains(&0) {
        return Err(Refusal::InvalidName);
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop().ok_or(Refusal::Escapes)?;
            }
            part if part.len() > NAME_MAX_BYTES => return Err(Refusal::InvalidName),
            part => parts.push(part),
        }
    }
    if parts.len() > DEPTH_MAX {
        return Err(Refusal::TooDeep(DEPTH_MAX));
    }
    Ok(parts.join(&b'/'))
}

/// Parses an entry's name.
pub fn parse(name: &[u8]) -> Result<EntryName, Refusal> {
    let path = clean(name)?;
    if path.is_empty() {
        return Ok(EntryName::Root);
    }
    let (parent, last) = split(&path);
    if parent.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT_META)) {
        return Ok(EntryName::Ignored);
    }
    if parent.split(|byte| *byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
        return Err(Refusal::ReservedName);
    }
    if last == WHITEOUT_OPAQUE {
        return Ok(EntryName::Opaque(parent.to_vec()));
    }
    if last.starts_with(WHITEOUT_META) {
        return Ok(EntryName::Ignored);
    }
    match last.strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => Err(Refusal::ReservedName),
        Some(removed) => Ok(EntryName::Whiteout(join(parent, removed))),
        None => Ok(EntryName::Object(path)),
    }
}

/// Divides a clean path into its parent (empty: the root) and its last component.
#[must_use]
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// Puts a parent (empty: the root) and a name together.
#[must_use]
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, name].join(&b'/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        let object = |path: &[u8]| Ok(EntryName::Object(path.to_vec()));
        let long = [b'x'; 256];
        let deep = b"d/".repeat(1025);
        let cases: &[(&[u8], Result<EntryName, Refusal>)] = &[
            (b"a", object(b"a")),
            (b"/a/b/", object(b"a/b")),
            (b"./a//./b", object(b"a/b")),
            (b"a/../b", object(b"b")),
            (b".", Ok(EntryName::Root)),
            (b"/", Ok(EntryName::Root)),
            (b"..", Err(Refusal::Escapes)),
            (b"../x", Err(Refusal::Escapes)),
            (b"/a/../../x", Err(Refusal::Escapes)),
            (b"a\0b", Err(Refusal::InvalidName)),
            (&long, Err(Refusal::InvalidName)),
            (&deep, Err(Refusal::TooDeep(1024))),
            (b"d/.wh.x", Ok(EntryName::Whiteout(b"d/x".to_vec()))),
            (b".wh.x", Ok(EntryName::Whiteout(b"x".to_vec()))),
            (b"d/.wh..wh..opq", Ok(EntryName::Opaque(b"d".to_vec()))),
            (b".wh..wh..opq", Ok(EntryName::Opaque(Vec::new()))),
            (b".wh..wh.plnk/1.2", Ok(EntryName::Ignored)),
            (b".wh..wh.aufs", Ok(EntryName::Ignored)),
            (b"d/.wh.", Err(Refusal::ReservedName)),
            (b"d/.wh..", Err(Refusal::ReservedName)),
            (b"d/.wh...", Err(Refusal::ReservedName)),
            (b".wh.d/x", Err(Refusal::ReservedName)),
            (b"...", object(b"...")),
        ];
        for (name, want) in cases {
            assert_eq!(&parse(name), want, "{}", String::from_utf8_lossy(name));
        }
    }
}
