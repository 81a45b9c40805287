//! What a path in a container is, as Docker's archive API tells it.

use rustix::fs::{FileType, Stat};
use serde::Serialize;

/// Bits of Go's `FileMode` beside the permissions.
mod go {
    pub(super) const DIRECTORY: u32 = 1 << 31;
    pub(super) const SYMLINK: u32 = 1 << 27;
    pub(super) const DEVICE: u32 = 1 << 26;
    pub(super) const PIPE: u32 = 1 << 25;
    pub(super) const SOCKET: u32 = 1 << 24;
    pub(super) const SET_UID: u32 = 1 << 23;
    pub(super) const SET_GID: u32 = 1 << 22;
    pub(super) const CHARACTERS: u32 = 1 << 21;
    pub(super) const STICKY: u32 = 1 << 20;
}

/// The document of the header `X-Docker-Container-Path-Stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathStat {
    /// Last component of the path; `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `FileMode`.
    pub mode: u32,
    /// RFC 3339 time of the last change of the content.
    pub mtime: String,
    /// For a link: where it leads in the end, as an absolute path inside the container.
    pub link_target: String,
}

impl PathStat {
    pub(crate) fn new(name: &str, stat: &Stat, link_target: String) -> Self {
        let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let mtime = jiff::Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or_default();
        Self {
            name: name.to_owned(),
            size: stat.st_size,
            mode: file_mode(stat.st_mode),
            mtime: mtime.to_string(),
            link_target,
        }
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.mode & go::DIRECTORY != 0
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.mode & go::SYMLINK != 0
    }

    /// What a copy cannot be written to, in Docker's words.
    #[must_use]
    pub fn no_destination(&self) -> Option<&'static str> {
        if self.mode & go::DEVICE != 0 {
            Some("got a device")
        } else if self.mode & go::SOCKET != 0 {
            Some("got a socket")
        } else {
            None
        }
    }
}

/// Go's `FileMode` for a mode of the kernel.
fn file_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => go::DIRECTORY,
        FileType::Symlink => go::SYMLINK,
        FileType::BlockDevice => go::DEVICE,
        FileType::CharacterDevice => go::DEVICE | go::CHARACTERS,
        FileType::Fifo => go::PIPE,
        FileType::Socket => go::SOCKET,
        _ => 0,
    };
    let extra = [(0o4000, go::SET_UID), (0o2000, go::SET_GID), (0o1000, go::STICKY)]
        .into_iter()
        .filter(|(bit, _)| mode & bit != 0)
        .fold(0, |bits, (_, bit)| bits | bit);
    kind | extra | mode & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        for (mode, want) in [
            (0o100_644, 0o644),
            (0o040_755, 0x8000_0000 | 0o755),
            (0o120_777, 0x0800_0000 | 0o777),
            (0o020_666, 0x0420_0000 | 0o666),
            (0o060_660, 0x0400_0000 | 0o660),
            (0o010_600, 0x0200_0000 | 0o600),
            (0o140_755, 0x0100_0000 | 0o755),
            (0o104_755, 0x0080_0000 | 0o755),
            (0o102_755, 0x0040_0000 | 0o755),
            (0o041_777, 0x8010_0000 | 0o777),
        ] {
            assert_eq!(file_mode(mode), want, "{mode:o}");
        }
    }
}
