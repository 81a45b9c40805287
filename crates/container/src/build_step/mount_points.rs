//! Mount points that a step's image does not have: making them must not become part of its layer.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use orlop_layer::LayerStore;
use orlop_sys::confined::Root;
use orlop_sys::mount::mount_rootfs;
use orlop_types::ChainId;
use rustix::fs::FileType;

use crate::Result;

/// Links that are followed on the way to one mount point (the kernel's own limit).
const LINKS_MAX: u32 = 40;
/// What every container has mounted; images of a few files lack them.
const ALWAYS: [&str; 5] = ["/proc", "/sys", "/dev", "/dev/shm", "/dev/pts"];

/// The paths below the root that somebody makes when these targets are mounted, links resolved.
pub(super) fn missing<'p>(
    layers: &LayerStore,
    top: Option<&ChainId>,
    targets: impl Iterator<Item = &'p Path>,
) -> Result<Vec<PathBuf>> {
    let below = mount_rootfs(&layers.init_view(top)?).map_err(orlop_layer::Error::from)?;
    let below = Root::of_mount(below).map_err(orlop_layer::Error::from)?;
    let mut found = BTreeSet::new();
    for target in ALWAYS.iter().map(Path::new).chain(targets) {
        found.extend(missing_of(&below, target)?);
    }
    Ok(found.into_iter().collect())
}

/// The components of one path that are not there, where they will be.
fn missing_of(root: &Root, target: &Path) -> Result<Vec<PathBuf>> {
    let mut pending: Vec<PathBuf> = names(target);
    let mut path = PathBuf::new();
    let mut missing = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        if name == Path::new("..") {
            path.pop();
            continue;
        }
        path.push(&name);
        let kind = match root.lstat(&path) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(error) if error.io_kind() == std::io::ErrorKind::NotFound => {
                missing.push(path.clone());
                continue;
            }
            // Something else than a directory is on the way: the start says so.
            Err(error) if error.io_kind() == std::io::ErrorKind::NotADirectory => break,
            Err(error) => return Err(orlop_layer::Error::from(error).into()),
        };
        if kind != FileType::Symlink {
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            break;
        }
        let leads_to = root.read_link(&path).map_err(orlop_layer::Error::from)?;
        path.pop();
        if leads_to.is_absolute() {
            path = PathBuf::new();
        }
        pending.extend(names(&leads_to));
    }
    Ok(missing)
}

/// A path's names, the last one first; `..` stays.
fn names(path: &Path) -> Vec<PathBuf> {
    let is_name =
        |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_name).rev().map(|part| PathBuf::from(part.as_os_str())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_missing_is_named_where_links_lead() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("var/cache")).unwrap();
        std::fs::create_dir_all(at("etc")).unwrap();
        symlink("/run/lock", at("var/lock")).unwrap();
        symlink("../run/resolved/stub.conf", at("etc/resolv.conf")).unwrap();
        symlink("loop", at("loop")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        let root = Root::open(directory.path()).unwrap();
        let missing = |target: &str| {
            let found = missing_of(&root, Path::new(target)).unwrap();
            found.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(missing("/var/cache"), [""; 0]);
        assert_eq!(missing("/var/cache/apt/archives"), ["var/cache/apt", "var/cache/apt/archives"]);
        assert_eq!(missing("/var/lock/x"), ["run", "run/lock", "run/lock/x"]);
        let resolved = ["run", "run/resolved", "run/resolved/stub.conf"];
        assert_eq!(missing("/etc/resolv.conf"), resolved);
        assert_eq!(missing("/loop/x"), [""; 0]);
        assert_eq!(missing("/file/x"), [""; 0]);
        assert_eq!(missing("/../var/new"), ["var/new"]);
    }
}
