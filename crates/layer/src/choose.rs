//! Choosing the storage driver: what was asked for, what the store was made with, what works.
//!
//! The answer is kept in the store's settings, so that no command but the first one tries a mount.

use std::path::Path;

use orlop_meta::{Durability, Store};
use orlop_sys::confined::{LastLink, Root};
use orlop_sys::mount::{OverlayUpper, RootfsRecipe, mount_rootfs};
use orlop_sys::tree;
use rustix::fs::FileType;

use crate::driver::{StorageDriver, make_dir};
use crate::error::file;
use crate::{Error, OverlayDriver, Result, VfsDriver};

/// The setting that names the store's driver.
const SETTING: &str = "storage-driver";
/// Setting that holds why, for `info`.
const REASON_SETTING: &str = "storage-driver-reason";

/// A driver and why it is the one.
#[derive(Debug)]
pub struct Chosen {
    /// The driver.
    pub driver: Box<dyn StorageDriver>,
    /// One sentence for `info` and for the log.
    pub reason: String,
}

/// The driver that answers to a name in Docker's configuration.
fn known(name: &str) -> Result<&'static str> {
    match name {
        "overlay" | "overlay2" | "overlayfs" => Ok(OverlayDriver::NAME),
        "vfs" | "native" => Ok(VfsDriver::NAME),
        _ => Err(Error::UnknownDriver(name.to_owned())),
    }
}

fn open(store: &Store, name: &str) -> Result<Box<dyn StorageDriver>> {
    let home = store.paths.layers(name);
    match std::fs::create_dir(&home) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file("make the directory", &home)(error)),
    }
    if name == VfsDriver::NAME {
        return Ok(Box::new(VfsDriver::new(home)));
    }
    Ok(Box::new(OverlayDriver::new(home)))
}

/// Picks the driver: the one the store was made with, else the wanted one, else overlay, else vfs.
pub fn choose(store: &Store, wanted: Option<&str>) -> Result<Chosen> {
    let wanted_name = wanted.map(known).transpose()?;
    let (present, reason) = store
        .read::<_, Error>(|query| Ok((query.setting(SETTING)?, query.setting(REASON_SETTING)?)))?;
    if let Some(present) = present {
        let name = known(&present)?;
        match wanted_name {
            None => {
                return Ok(Chosen {
                    driver: open(store, name)?,
                    reason: reason.unwrap_or_else(|| "the store was made with it".to_owned()),
                });
            }
            Some(wanted) if wanted == name => {
                return Ok(Chosen {
                    driver: open(store, name)?,
                    reason: "it was asked for".to_owned(),
                });
            }
            Some(wanted) => {
                // An empty store has nothing to lose.
                if store.read::<_, Error>(|query| Ok(!query.layers()?.is_empty()))? {
                    return Err(Error::OtherDriver { present, wanted: wanted.to_owned() });
                }
            }
        }
    }
    let (name, reason) = match wanted_name {
        Some(OverlayDriver::NAME) => {
            probe_overlay(store)?;
            (OverlayDriver::NAME, "it was asked for".to_owned())
        }
        Some(name) => (name, "it was asked for".to_owned()),
        None => match probe_overlay(store) {
            Ok(()) => (OverlayDriver::NAME, "a test mount worked".to_owned()),
            Err(Error::Unusable { reason, .. }) => {
                (VfsDriver::NAME, format!("overlay does not work here: {reason}"))
            }
            Err(error) => return Err(error),
        },
    };
    let driver = open(store, name)?;
    store.write::<_, Error>(Durability::Lazy, |query| {
        query.setting_put(SETTING, name)?;
        Ok(query.setting_put(REASON_SETTING, &reason)?)
    })?;
    Ok(Chosen { driver, reason })
}

/// Tries what the overlay driver needs: two lower layers, entry types in listings, whiteouts and
/// `trusted` attributes. Nothing is attached anywhere.
fn probe_overlay(store: &Store) -> Result<()> {
    let staged = store.stage()?;
    let path = staged.path();
    probe_in(path).map_err(|reason| match reason {
        Ok(error) => error,
        Err(reason) => {
            Error::Unusable { driver: OverlayDriver::NAME, path: store.paths.root.clone(), reason }
        }
    })
}

/// An error that ends the choice, or the reason why overlay does not work.
type Verdict = std::result::Result<Error, String>;

fn probe_in(path: &Path) -> std::result::Result<(), Verdict> {
    let fatal = |error: Error| -> Verdict { Ok(error) };
    let directory = |name: &str| path.join(name);
    for name in ["low", "high", "low/d", "high/d", "upper", "work"] {
        make_dir(&directory(name), 0o755).map_err(fatal)?;
    }
    for name in ["low/d/a", "high/d/b"] {
        let full = directory(name);
        std::fs::write(&full, name).map_err(|error| fatal(file("write", &full)(error)))?;
    }
    let root = Root::open(path).map_err(|error| fatal(error.into()))?;
    let unusable = |what: &str| Err::<(), Verdict>(Err(what.to_owned()));
    let entries = tree_types(&root).map_err(|error| fatal(file("list", path)(error)))?;
    if entries.contains(&FileType::Unknown) {
        return unusable(
            "the file system does not give the type of entries (d_type; for xfs: ftype=1)",
        );
    }
    let recipe = RootfsRecipe::Overlay {
        lowers: vec![directory("high"), directory("low")],
        upper: Some(OverlayUpper {
            upper: directory("upper"),
            work: directory("work"),
            volatile: false,
        }),
    };
    let merged = mount_rootfs(&recipe).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        Err(format!("{error}: {cause}"))
    })?;
    let merged = Root::of_mount(merged).map_err(|error| fatal(error.into()))?;
    let names = merged.open_dir("d").map_err(|error| fatal(error.into()))?;
    let names = tree::list(std::os::fd::AsFd::as_fd(&names))
        .map_err(|error| fatal(file("list", path)(error)))?;
    if names.iter().map(|entry| entry.name.to_bytes()).collect::<Vec<_>>() != [b"a", b"b"] {
        return unusable("two layers do not become one");
    }
    merged.remove_tree("d/a").map_err(|error| Err(format!("{error}: {}", error.source)))?;
    let whiteout = root.lstat("upper/d/a").map_err(|error| fatal(error.into()))?;
    if FileType::from_raw_mode(whiteout.st_mode) != FileType::CharacterDevice
        || whiteout.st_rdev != 0
    {
        return unusable("a deletion does not become a device 0:0");
    }
    if let Err(error) = root.set_xattr("upper/d", c"trusted.overlay.opaque", b"y") {
        return Err(Err(format!("{error}: {}", error.source)));
    }
    root.resolve("upper/d", LastLink::Keep).map(drop).map_err(|error| fatal(error.into()))
}

fn tree_types(root: &Root) -> std::io::Result<Vec<FileType>> {
    let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = rustix::fs::RawDir::new(root.fd(), &mut buffer[..]);
    let mut types = Vec::new();
    while let Some(entry) = entries.next() {
        types.push(entry?.file_type());
    }
    Ok(types)
}
