//! Follows the links of a path one by one inside a root, and tells each.
//!
//! What comes out is a text to decide and to show by: whoever opens it resolves it again, confined by
//! the kernel, because a container may have changed it meanwhile.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use orlop_sys::confined::{LastLink, PathError, Root};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

/// Links that one resolution follows, as the kernel's own limit.
const LINKS_MAX: usize = 40;

/// A link on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkStep {
    /// The link's own absolute path, without links.
    pub(crate) link: PathBuf,
    /// What it says.
    pub(crate) target: PathBuf,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The absolute path inside the root, without links as far as it exists.
    pub(crate) path: PathBuf,
    /// What is there; nothing where the path leads nowhere.
    pub(crate) stat: Option<Stat>,
    /// The links on the way.
    pub(crate) links: Vec<LinkStep>,
}

/// Resolves a path from the root on; with [`LastLink::Keep`] a link at its end stands for itself.
pub(crate) fn resolve(root: &Root, path: &Path, last: LastLink) -> Result<Resolved, PathError> {
    let mut pending = split(path.as_os_str().as_bytes());
    let mut resolved =
        Resolved { path: PathBuf::from("/"), stat: Some(root.lstat("/")?), links: Vec::new() };
    while let Some(part) = pending.pop() {
        if part == b".." {
            resolved.path.pop();
            continue;
        }
        let next = resolved.path.join(OsStr::from_bytes(&part));
        let stat = if resolved.stat.is_some() { look(root, &next)? } else { None };
        if let Some(found) = &stat
            && FileType::from_raw_mode(found.st_mode) == FileType::Symlink
            && (last == LastLink::Follow || !pending.is_empty())
        {
            if resolved.links.len() == LINKS_MAX {
                return Err(PathError::new("follow the links of", path, Errno::LOOP));
            }
            let target = root.read_link(&next)?;
            if target.is_absolute() {
                resolved.path = PathBuf::from("/");
            }
            pending.extend(split(target.as_os_str().as_bytes()));
            resolved.links.push(LinkStep { link: next, target });
            continue;
        }
        resolved.path = next;
        resolved.stat = stat;
    }
    if resolved.stat.is_some() {
        // After a `..` at the end it still is that of what the path went up from.
        resolved.stat = look(root, &resolved.path)?;
    }
    Ok(resolved)
}

fn look(root: &Root, path: &Path) -> Result<Option<Stat>, PathError> {
    match root.lstat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(error)
            if matches!(
                error.io_kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The components in reverse order, without empty ones and `.`.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_inside_and_are_told() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        std::fs::create_dir_all(at("usr/lib")).unwrap();
        std::fs::write(at("usr/lib/x"), "").unwrap();
        symlink("usr/lib", at("lib")).unwrap();
        symlink("/lib/../lib/x", at("x")).unwrap();
        symlink("../../../../usr", at("up")).unwrap();
        symlink("/nowhere/at/all", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let root = Root::open(top.path()).unwrap();
        let go = |path: &str, last| {
            let resolved = resolve(&root, Path::new(path), last).unwrap();
            let path = resolved.path.to_str().unwrap().to_owned();
            (path, resolved.stat.is_some(), resolved.links.len())
        };
        let text = |path: &str, exists, links| (path.to_owned(), exists, links);
        assert_eq!(go("/x", LastLink::Follow), text("/usr/lib/x", true, 2));
        assert_eq!(go("x", LastLink::Keep), text("/x", true, 0));
        assert_eq!(go("/up/lib/", LastLink::Follow), text("/usr/lib", true, 1));
        assert_eq!(go("/dangling/a", LastLink::Follow), text("/nowhere/at/all/a", false, 1));
        assert_eq!(go("/usr/lib/..", LastLink::Follow), text("/usr", true, 0));
        assert_eq!(go("../..", LastLink::Follow), text("/", true, 0));
        assert_eq!(go("/usr/lib/x/y", LastLink::Follow), text("/usr/lib/x/y", false, 0));
        let error = resolve(&root, Path::new("/loop"), LastLink::Follow).unwrap_err();
        assert_eq!(error.source.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }
}
