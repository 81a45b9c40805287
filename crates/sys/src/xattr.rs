//! Extended attributes by descriptor, and of one name in an open directory without following links.
//!
//! The kernel has no `*at` calls for extended attributes on the kernels we support, so a name in a
//! directory is reached as `/proc/self/fd/<directory>/<name>` with the `l…` calls: the first part is
//! a magic link to the very directory that is open, and the last one is not followed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The kernel's limit for one value (`XATTR_SIZE_MAX`) and for a list of names (`XATTR_LIST_MAX`).
pub const VALUE_MAX_BYTES: usize = 65_536;

/// One attribute: its full name (`security.capability`) and value.
pub type Attribute = (CString, Vec<u8>);

/// Whether the error says that this file system or file has no such attributes.
#[must_use]
pub fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(code) if code == libc::ENOTSUP || code == libc::ENOSYS)
}

/// Names the entry through the descriptor of its directory.
fn proc_path(directory: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

/// Names the open file itself, also when it was opened with `O_PATH`.
fn proc_fd(file: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn split_names(list: &[u8]) -> Vec<CString> {
    let mut names: Vec<CString> = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect();
    names.sort();
    names
}

fn collect(
    names: Result<usize, Errno>,
    list: &[u8],
    get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> io::Result<Vec<Attribute>> {
    let length = match names {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if length == 0 {
        return Ok(Vec::new());
    }
    let mut value = vec![0; VALUE_MAX_BYTES];
    let mut attributes = Vec::new();
    for name in split_names(&list[..length]) {
        match get(&name, &mut value) {
            Ok(length) => attributes.push((name, value[..length].to_vec())),
            // Removed since it was listed, or a name that this file system lists but does not give.
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(attributes)
}

/// Reads all attributes of an open file, sorted by name; none where they are unsupported.
pub fn all(file: BorrowedFd<'_>) -> io::Result<Vec<Attribute>> {
    let mut list = [0_u8; 4096];
    match rustix::fs::flistxattr(file, &mut list[..]) {
        Err(Errno::RANGE) => {
            let mut list = vec![0_u8; VALUE_MAX_BYTES];
            let length = rustix::fs::flistxattr(file, &mut list[..]);
            collect(length, &list, |name, value| rustix::fs::fgetxattr(file, name, value))
        }
        length => collect(length, &list, |name, value| rustix::fs::fgetxattr(file, name, value)),
    }
}

/// Reads all attributes of a name in a directory, sorted by name, without following a link.
pub fn all_at(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<Vec<Attribute>> {
    let path = proc_path(directory, name);
    let path = std::ffi::OsStr::from_bytes(&path);
    let mut list = vec![0_u8; 4096];
    let mut length = rustix::fs::llistxattr(path, &mut list[..]);
    if length == Err(Errno::RANGE) {
        list = vec![0_u8; VALUE_MAX_BYTES];
        length = rustix::fs::llistxattr(path, &mut list[..]);
    }
    collect(length, &list, |name, value| rustix::fs::lgetxattr(path, name, value))
}

/// Reads one attribute of an open file.
pub fn get(file: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; VALUE_MAX_BYTES];
    found(rustix::fs::fgetxattr(file, name, &mut value[..]), value)
}

/// Reads one attribute of a name in a directory without following a link.
pub fn get_at(directory: BorrowedFd<'_>, entry: &CStr, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = proc_path(directory, entry);
    let mut value = vec![0; VALUE_MAX_BYTES];
    found(rustix::fs::lgetxattr(std::ffi::OsStr::from_bytes(&path), name, &mut value[..]), value)
}

fn found(length: Result<usize, Errno>, mut value: Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    match length {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sets one attribute of an open file (not `O_PATH`).
pub fn set(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())?)
}

/// Sets one attribute of a name in a directory without following a link.
pub fn set_at(
    directory: BorrowedFd<'_>,
    entry: &CStr,
    name: &CStr,
    value: &[u8],
) -> io::Result<()> {
    let path = proc_path(directory, entry);
    Ok(rustix::fs::lsetxattr(std::ffi::OsStr::from_bytes(&path), name, value, XattrFlags::empty())?)
}

/// Removes one attribute of an open file; an absent one is no error.
pub fn remove(file: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::fremovexattr(file, name) {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Changes the mode of whatever an `O_PATH` descriptor names (no call takes the descriptor itself).
pub(crate) fn chmod_path_fd(file: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmod(proc_fd(file), rustix::fs::Mode::from_raw_mode(mode))?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn attributes_round_trip_by_descriptor_and_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(directory.path()).unwrap();
        let file = std::fs::File::create(directory.path().join("f")).unwrap();
        set(file.as_fd(), c"user.b", b"2").unwrap();
        set_at(handle.as_fd(), c"f", c"user.a", b"").unwrap();
        let want = vec![(c"user.a".to_owned(), vec![]), (c"user.b".to_owned(), b"2".to_vec())];
        let mine = |found: Vec<Attribute>| -> Vec<Attribute> {
            found.into_iter().filter(|(name, _)| name.to_bytes().starts_with(b"user.")).collect()
        };
        assert_eq!(mine(all(file.as_fd()).unwrap()), want);
        assert_eq!(mine(all_at(handle.as_fd(), c"f").unwrap()), want);
        assert_eq!(get_at(handle.as_fd(), c"f", c"user.b").unwrap(), Some(b"2".to_vec()));
        remove(file.as_fd(), c"user.b").unwrap();
        assert_eq!(get(file.as_fd(), c"user.b").unwrap(), None);
    }
}
