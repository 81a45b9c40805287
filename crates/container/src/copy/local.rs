//! The host's side of a copy: what is at a path that the user typed.
//!
//! These paths are the user's own: links in them are followed as everywhere on the host.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::rules::{self, Destination, Source, There};
use super::{CopyError, text};
use crate::Result;

/// Links that a destination may lead over.
const LINKS_MAX: usize = 10;

/// A path as typed, made absolute; the slash or dot at its end stays.
pub(super) fn absolute(path: &str) -> Result<String> {
    let joined = std::path::absolute(path).map_err(CopyError::local("find", path))?;
    let joined = text(joined.as_os_str().as_bytes())?;
    Ok(rules::keep_end(&rules::clean(&joined), path))
}

/// What is to be copied from the host; with `follow`, what a link at the end of the path leads to.
pub(super) fn source(path: &str, follow: bool) -> Result<Source> {
    let real = |path: &str| -> Result<String> {
        let found = std::fs::canonicalize(path).map_err(CopyError::local("lstat", path))?;
        text(found.as_os_str().as_bytes())
    };
    let (resolved, name) = if follow {
        rules::followed(path, &real(path)?)
    } else {
        let at = path.rfind('/').map_or(0, |at| at + 1);
        let (parent, base) = path.split_at(at);
        let parent = real(parent)?;
        let resolved = format!("{}/{base}", parent.trim_end_matches('/'));
        let name = (path.ends_with('/') && rules::base(path) != rules::base(&resolved))
            .then(|| rules::base(path).to_owned());
        (resolved, name)
    };
    let stat = Path::new(&resolved).symlink_metadata();
    let stat = stat.map_err(CopyError::local("lstat", &resolved))?;
    Ok(Source { path: resolved, is_directory: stat.is_dir(), name })
}

/// Refuses what no copy can be written to.
pub(super) fn check_output(path: &str) -> Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let cleaned = rules::clean(path);
    let parent = Path::new(&cleaned).parent().unwrap_or(Path::new("/"));
    if let Err(error) = parent.metadata()
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(CopyError::NoParent(parent.display().to_string()).into());
    }
    let found = match Path::new(path).metadata() {
        Ok(stat) if stat.file_type().is_block_device() => "got a device",
        Ok(stat) if stat.file_type().is_char_device() => "got a device",
        Ok(stat) if stat.file_type().is_socket() => "got a socket",
        Err(error) if !is_missing(&error) => {
            return Err(CopyError::local("stat", path)(error).into());
        }
        _ => return Ok(()),
    };
    Err(CopyError::NoDestination { what: format!("invalid output path: \"{path}\""), found }.into())
}

/// A trailing slash on what is no directory is decided by the rules.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What is at the place where a copy is to go. A link stands for what it leads to, also where that is
/// not there yet.
pub(super) fn destination(path: &str) -> Result<Destination> {
    let mut path = path.to_owned();
    for _ in 0..=LINKS_MAX {
        let stat = match Path::new(&path).symlink_metadata() {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, _) = rules::split(&path);
                let stat = std::fs::metadata(&parent).map_err(CopyError::local("stat", &parent))?;
                if !stat.is_dir() {
                    return Err(CopyError::local("stat", &parent)(
                        rustix::io::Errno::NOTDIR.into(),
                    )
                    .into());
                }
                return Ok(Destination { path, there: There::Nothing });
            }
            Err(error) => return Err(CopyError::local("lstat", &path)(error).into()),
        };
        if !stat.is_symlink() {
            let there = if stat.is_dir() { There::Directory } else { There::File };
            return Ok(Destination { path, there });
        }
        let target = std::fs::read_link(&path).map_err(CopyError::local("readlink", &path))?;
        let target = text(target.as_os_str().as_bytes())?;
        path = match target.starts_with('/') {
            true => target,
            false => rules::clean(&format!("{}/{target}", rules::split(&path).0)),
        };
    }
    Err(CopyError::local("follow the links of", &path)(rustix::io::Errno::LOOP.into()).into())
}
