//! Mount namespaces for pieces of work: what is mounted in one is seen by nobody else.
//!
//! A namespace belongs to threads that live only as long as one piece of work, so the rest of the
//! process never changes its own. A [`MountSpace`] lives as long as its value; the process that dies
//! takes it along, so nothing is left mounted whatever happens.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags};
use rustix::thread::UnshareFlags;

use crate::mount::{MountAttr, MountError, Reach, mount_setattr, unshare_mount_namespace};
use crate::process::enter_namespace;

/// A mount namespace of its own.
#[derive(Debug)]
pub struct MountSpace {
    namespace: OwnedFd,
}

impl MountSpace {
    /// Makes a copy of the caller's namespace from which nothing gets out.
    pub fn new() -> io::Result<Self> {
        let namespace = on_a_thread(|| {
            unshare_mount_namespace().map_err(io::Error::other)?;
            Ok::<_, io::Error>(File::open("/proc/thread-self/ns/mnt")?.into())
        })?;
        Ok(Self { namespace: namespace? })
    }

    /// The namespace of a process.
    pub fn of_process(pid: i32) -> io::Result<Self> {
        Ok(Self { namespace: File::open(format!("/proc/{pid}/ns/mnt"))?.into() })
    }

    /// Runs a function in the namespace, on a thread of its own.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            unshare_directories()?;
            enter_namespace(&self.namespace)?;
            Ok(work())
        })?
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mounts".to_owned());
        let thread = thread.spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Gives the calling thread a root and working directory of its own, without which the kernel does
/// not let it change its mount namespace.
fn unshare_directories() -> io::Result<()> {
    // SAFETY: `UnshareFlags::FILES` is not among the flags, so no descriptor changes its meaning.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::FS)?;
    }
    Ok(())
}

/// Puts a detached mount onto an open file or directory of the caller's namespace.
pub fn attach_on(mount: impl AsFd, target: impl AsFd, name: &Path) -> Result<(), MountError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags).map_err(|errno| MountError {
        op: "mount on",
        target: name.to_owned(),
        kernel_text: String::new(),
        source: errno.into(),
    })
}

/// Forbids opening devices through a mount and those below it: for reading trees of others, in
/// which any name may turn into a device at any time.
pub fn forbid_devices(mount: impl AsFd) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: MountAttrFlags::MOUNT_ATTR_NODEV.bits().into(),
        ..MountAttr::default()
    };
    mount_setattr(mount.as_fd(), Reach::Recursive, &attr)
}

/// The number of the mount that an open file was reached through.
pub fn mount_id(file: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::confined::{LastLink, Root};
    use crate::mount::{attach, new_tmpfs};

    #[test]
    #[ignore = "root: CAP_SYS_ADMIN"]
    fn what_is_mounted_in_a_space_is_seen_through_it_alone() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let space = MountSpace::new().unwrap();
        let root = space
            .run(|| {
                let mount = new_tmpfs(&["mode=0700"]).unwrap();
                forbid_devices(&mount).unwrap();
                attach(&mount, directory.path()).unwrap();
                let root = Root::of_mount(mount).unwrap();
                root.create_dir("sub", 0o755).unwrap();
                let second = new_tmpfs(&["mode=0711"]).unwrap();
                let target = root.resolve("sub", LastLink::Follow).unwrap();
                attach_on(&second, target, Path::new("sub")).unwrap();
                root
            })
            .unwrap();
        // Seen through the descriptor from outside, across the inner mount, and by no name.
        assert_eq!(root.lstat("sub").unwrap().st_mode & 0o777, 0o711);
        assert!(inner.is_dir());
        let ids = [root.open_dir(".").unwrap(), root.open_dir("sub").unwrap()];
        assert_ne!(mount_id(&ids[0]).unwrap(), mount_id(&ids[1]).unwrap());
        // A mount point is only safe from removal where it is one.
        let refused = space.run(|| root.remove_tree("sub").unwrap_err().source).unwrap();
        assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!text.contains(directory.path().to_str().unwrap()), "{text}");
    }
}
