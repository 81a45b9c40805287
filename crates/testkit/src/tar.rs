//! Writes tar archives byte by byte, also such as no honest program writes.

/// Type flag of a regular file.
pub const FILE: u8 = b'0';
/// Type flag of a hard link.
pub const HARD_LINK: u8 = b'1';
/// Type flag of a symbolic link.
pub const SYMLINK: u8 = b'2';
/// Type flag of a directory.
pub const DIRECTORY: u8 = b'5';
/// Type flag of PAX records for the next entry.
pub const PAX: u8 = b'x';

const BLOCK_BYTES: usize = 512;

/// An archive that grows.
#[derive(Clone, Debug, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    /// An empty archive.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with mode 0644, owned by root.
    #[must_use]
    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(Entry { name, content, ..Entry::default() })
    }

    /// Adds a directory with mode 0755, owned by root.
    #[must_use]
    pub fn directory(self, name: &str) -> Self {
        self.entry(Entry { name, kind: DIRECTORY, mode: 0o755, ..Entry::default() })
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, name: &str, link: &str) -> Self {
        self.entry(Entry { name, kind: SYMLINK, link, ..Entry::default() })
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hard_link(self, name: &str, link: &str) -> Self {
        self.entry(Entry { name, kind: HARD_LINK, link, ..Entry::default() })
    }

    /// Adds PAX records for the entry that comes next.
    #[must_use]
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let content: String = records.iter().map(|(key, value)| pax_record(key, value)).collect();
        self.entry(Entry {
            name: "PaxHeaders/0",
            kind: PAX,
            content: content.as_bytes(),
            ..Entry::default()
        })
    }

    /// Adds an entry.
    #[must_use]
    pub fn entry(mut self, entry: Entry<'_>) -> Self {
        self.bytes.extend(entry.header());
        self.bytes.extend(entry.content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        self
    }

    /// Closes the archive with its two empty blocks.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK_BYTES, 0);
        self.bytes
    }

    /// The archive without its end, as after a broken transfer.
    #[must_use]
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }
}

/// One entry, with fields that say what they like.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Name, at most 100 bytes.
    pub name: &'a str,
    /// Type flag.
    pub kind: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Target of a link, at most 100 bytes.
    pub link: &'a str,
    /// Content.
    pub content: &'a [u8],
    /// Size to claim instead of the content's.
    pub claimed_size: Option<u64>,
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            name: "",
            kind: FILE,
            mode: 0o644,
            uid: 0,
            gid: 0,
            link: "",
            content: b"",
            claimed_size: None,
        }
    }
}

impl Entry<'_> {
    fn header(&self) -> [u8; BLOCK_BYTES] {
        let mut header = [0; BLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        let size = self.claimed_size.unwrap_or(self.content.len() as u64);
        put(0, self.name.as_bytes());
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, format!("{:07o}\0", self.uid).as_bytes());
        put(116, format!("{:07o}\0", self.gid).as_bytes());
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, self.link.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }
}

/// Size of the image that an archive with plain headers makes: its files and, as `lstat` counts
/// them, its symbolic links.
#[must_use]
pub fn content_bytes(archive: &[u8]) -> u64 {
    let (mut at, mut sum) = (0, 0);
    while let Some(header) = archive.get(at..at + BLOCK_BYTES) {
        let digits = String::from_utf8_lossy(&header[124..135]);
        let size = u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        if matches!(header[156], FILE | 0) {
            sum += size;
        }
        if header[156] == SYMLINK {
            sum += header[157..257].iter().take_while(|byte| **byte != 0).map(|_| 1).sum::<u64>();
        }
        let blocks = usize::try_from(size).unwrap_or(0).div_ceil(BLOCK_BYTES);
        at += (1 + blocks) * BLOCK_BYTES;
    }
    sum
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn pax_record(key: &str, value: &str) -> String {
    let body = key.len() + value.len() + 3;
    let mut length = body + 1;
    while length.to_string().len() + body != length {
        length += 1;
    }
    format!("{length} {key}={value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_digits_of_a_record() {
        assert_eq!(pax_record("path", "x"), "9 path=x\n");
        assert_eq!(pax_record("path", "xxxxxxxxx"), "18 path=xxxxxxxxx\n");
    }

    #[test]
    fn writes_what_tar_reads() {
        let bytes = Tar::new().directory("d/").file("d/f", b"hello").symlink("l", "d/f").finish();
        assert_eq!(bytes.len() % BLOCK_BYTES, 0);
        let mut command = std::process::Command::new("tar");
        let output =
            crate::run(command.args(["-tf", "-"]), &bytes, std::time::Duration::from_secs(10));
        assert_eq!(output.ok(), "d/\nd/f\nl");
        assert_eq!(content_bytes(&bytes), 8);
    }
}
