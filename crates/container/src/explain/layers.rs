//! Finds a path in the layers that a root file system is made of: which one supplies it, which older
//! versions are hidden, which one deleted it.
//!
//! Two ways of storing layers: as differences with deletions and opaque directories (overlay), and as
//! whole trees, of which each is compared with the one below (vfs). Paths come without links.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use orlop_sys::confined::{PathError, Result, Root, open_dir_at};
use orlop_sys::xattr;
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

/// What a layer does to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// What is seen comes from here.
    Supplies,
    /// Its entries of the directory are seen, too.
    Merges,
    /// It has a version that something above hides.
    Hidden,
    /// It deletes what is below.
    Deletes,
}

/// One layer that has to do with a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    /// Number of the layer in the list that was searched, uppermost first.
    pub(crate) layer: usize,
    /// What it does.
    pub(crate) role: Role,
    /// What it has there; nothing where it deletes.
    pub(crate) stat: Option<Stat>,
}

/// Searches layers of differences, uppermost first. Those from `counted` on are not mounted at all:
/// a layer above them hides everything.
pub(crate) fn in_differences(layers: &[Root], counted: usize, path: &Path) -> Result<Vec<Version>> {
    let mut versions: Vec<Version> = Vec::new();
    let mut visible = true;
    for (layer, root) in layers.iter().enumerate() {
        visible &= layer < counted;
        let found = find(root, path)?;
        let is_directory = found.stat.as_ref().is_some_and(is_directory);
        let supplied = versions.iter().any(|version| version.role == Role::Supplies);
        if let Some(stat) = found.stat {
            let role = match (visible, supplied) {
                (true, false) => Role::Supplies,
                (true, true) if is_directory => Role::Merges,
                _ => Role::Hidden,
            };
            versions.push(Version { layer, role, stat: Some(stat) });
            // A file hides whatever is below; a directory meets only directories.
            visible &= is_directory;
        }
        if found.deleted && visible && !supplied {
            versions.push(Version { layer, role: Role::Deletes, stat: None });
        }
        visible &= !found.hides_lower;
    }
    Ok(versions)
}

/// Searches whole trees, uppermost first.
pub(crate) fn in_trees(layers: &[Root], path: &Path) -> Result<Vec<Version>> {
    let stats = layers.iter().map(|root| Ok(find(root, path)?.stat)).collect::<Result<Vec<_>>>()?;
    let mut versions: Vec<Version> = Vec::new();
    for (layer, stat) in stats.iter().enumerate() {
        let below = stats.get(layer + 1).copied().flatten();
        let role = match (stat, &below) {
            (None, Some(_)) if versions.is_empty() => Role::Deletes,
            (None, _) => continue,
            (Some(stat), Some(below)) if same(stat, below) => continue,
            (Some(_), _) if versions.is_empty() => Role::Supplies,
            (Some(_), _) => Role::Hidden,
        };
        versions.push(Version { layer, role, stat: *stat });
    }
    Ok(versions)
}

/// Whether a tree has the same object as the one that it was copied from. The time of a directory
/// changes with its entries.
fn same(one: &Stat, other: &Stat) -> bool {
    let key = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let content = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    key(one) == key(other) && (is_directory(one) || content(one) == content(other))
}

#[derive(Default)]
struct Found {
    stat: Option<Stat>,
    /// The path, or a directory above it, is deleted here.
    deleted: bool,
    /// What lower layers have at the path is not seen.
    hides_lower: bool,
}

/// Looks for a path in one layer, name by name and without following links.
fn find(root: &Root, path: &Path) -> Result<Found> {
    let failed = |error: io::Error| PathError::new("look for", path, error);
    let mut found = Found::default();
    let mut directory: OwnedFd = root.open_dir(".")?;
    let path = path.as_os_str().as_bytes();
    let names: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        found.stat = Some(rustix::fs::fstat(&directory).map_err(|error| failed(error.into()))?);
    }
    for (at, name) in names.iter().enumerate() {
        let name = CString::new(*name).map_err(|error| failed(error.into()))?;
        let stat = match rustix::fs::statat(&directory, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)
        {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => break,
            Err(error) => return Err(failed(error.into())),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0 {
            (found.deleted, found.hides_lower) = (true, true);
            break;
        }
        let is_last = at + 1 == names.len();
        if is_last {
            found.stat = Some(stat);
        }
        if !is_directory(&stat) {
            // In the middle of the path, something else than a directory hides all below it.
            found.hides_lower = true;
            break;
        }
        directory = open_dir_at(directory.as_fd(), &name).map_err(failed)?;
        let opaque = xattr::get(directory.as_fd(), c"trusted.overlay.opaque").map_err(failed)?;
        found.hides_lower |= opaque.as_deref() == Some(b"y");
    }
    Ok(found)
}

pub(crate) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use orlop_sys::confined::Node;

    fn layers(count: usize) -> (tempfile::TempDir, Vec<Root>) {
        let top = tempfile::tempdir().unwrap();
        let roots = (0..count).map(|number| {
            let path = top.path().join(number.to_string());
            std::fs::create_dir(&path).unwrap();
            Root::open(&path).unwrap()
        });
        let roots = roots.collect();
        (top, roots)
    }

    fn told(versions: &[Version]) -> Vec<(usize, Role)> {
        versions.iter().map(|version| (version.layer, version.role)).collect()
    }

    #[test]
    #[ignore = "root: CAP_MKNOD, CAP_SYS_ADMIN"]
    fn differences_hide_merge_and_delete() {
        let (_top, roots) = layers(3);
        let [upper, middle, lower] = &roots[..] else { unreachable!() };
        for root in &roots {
            root.create_dir("d", 0o755).unwrap();
        }
        lower.create_file("d/old", 0o644).unwrap();
        middle.create_file("d/old", 0o600).unwrap();
        lower.create_file("d/gone", 0o644).unwrap();
        upper.create_node("d/gone", Node::Char(0, 0), 0).unwrap();
        lower.create_dir("o", 0o755).unwrap();
        lower.create_file("o/x", 0o644).unwrap();
        let opaque = middle.create_dir("o", 0o755).unwrap();
        xattr::set(opaque.as_fd(), c"trusted.overlay.opaque", b"y").unwrap();
        middle.create_file("file", 0o644).unwrap();
        lower.create_dir("file", 0o755).unwrap();
        lower.create_file("file/below", 0o644).unwrap();
        let search = |path: &str| told(&in_differences(&roots, 3, Path::new(path)).unwrap());
        assert_eq!(search("/d"), [(0, Role::Supplies), (1, Role::Merges), (2, Role::Merges)]);
        assert_eq!(search("/d/old"), [(1, Role::Supplies), (2, Role::Hidden)]);
        assert_eq!(search("/d/gone"), [(0, Role::Deletes), (2, Role::Hidden)]);
        assert_eq!(search("/d/gone/deep"), [(0, Role::Deletes)]);
        assert_eq!(search("/o"), [(1, Role::Supplies), (2, Role::Hidden)]);
        assert_eq!(search("/o/x"), [(2, Role::Hidden)]);
        assert_eq!(search("/file"), [(1, Role::Supplies), (2, Role::Hidden)]);
        assert_eq!(search("/file/below"), [(2, Role::Hidden)]);
        assert_eq!(search("/never"), []);
        assert_eq!(search("/").len(), 3);
        let cut = told(&in_differences(&roots, 2, Path::new("/d/old")).unwrap());
        assert_eq!(cut, [(1, Role::Supplies), (2, Role::Hidden)]);
    }

    #[test]
    fn whole_trees_are_compared_with_the_one_below() {
        let (_top, roots) = layers(3);
        let [upper, middle, lower] = &roots[..] else { unreachable!() };
        let time = orlop_sys::confined::FileTime { seconds: 1_000_000, nanoseconds: 5 };
        for (root, mode) in [(upper, 0o600), (middle, 0o600), (lower, 0o644)] {
            root.create_file("changed", mode).unwrap();
            root.create_file("old", 0o644).unwrap();
            for name in ["changed", "old"] {
                root.set_time(name, time).unwrap();
            }
        }
        for root in [middle, lower] {
            root.create_file("gone", 0o644).unwrap();
            root.set_time("gone", time).unwrap();
        }
        let search = |path: &str| told(&in_trees(&roots, Path::new(path)).unwrap());
        assert_eq!(search("/changed"), [(1, Role::Supplies), (2, Role::Hidden)]);
        assert_eq!(search("/old"), [(2, Role::Supplies)]);
        assert_eq!(search("/gone"), [(0, Role::Deletes), (2, Role::Hidden)]);
        assert_eq!(search("/never"), []);
    }
}
