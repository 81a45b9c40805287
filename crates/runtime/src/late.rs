//! What the linked-in runtime must not do itself with `/dev`.
//!
//! It makes devices and links in whatever is mounted on `/dev`, and replaces `/dev/ptmx` there: in a
//! volume that fails at the second start, in the host's own `/dev` it destroys. So it gets a `/dev` of
//! its own, and what was asked for is put over it as the last step before the command.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_sys::mount::{self, Reach};
use orlop_sys::mount_space::attach_on;
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::Error;
use crate::plan::{MountSource, Plan, PlannedMount};
use crate::spec::clean;
use crate::user::RESOLVE;
use crate::{Bundle, StartError};

const DEVICES: &str = "/dev";

/// A mount that waits for its place.
#[derive(Clone, Debug)]
pub(crate) struct LateMount {
    mount: Arc<OwnedFd>,
    target: PathBuf,
}

/// Whether a planned mount waits: the one on `/dev`, and then all below it.
pub(crate) fn is_late(plan: &Plan, mount: &PlannedMount) -> bool {
    let on_devices =
        |mount: &PlannedMount| clean(&mount.target) == Path::new(DEVICES) && !is_tmpfs(mount);
    plan.mounts.iter().any(on_devices) && clean(&mount.target).starts_with(DEVICES)
}

fn is_tmpfs(mount: &PlannedMount) -> bool {
    matches!(mount.source, MountSource::Tmpfs { .. })
}

/// Clones the mounts that wait; to be called where they are staged.
pub(crate) fn prepare(bundle: &Bundle<'_>) -> Result<Vec<LateMount>, StartError> {
    let mut late = Vec::new();
    for (index, planned) in bundle.plan.mounts.iter().enumerate() {
        if !is_late(bundle.plan, planned) {
            continue;
        }
        let staged = bundle.staged.get(index).and_then(Option::as_deref);
        let mount = match (&planned.source, staged) {
            (MountSource::Tmpfs { options }, _) => mount::new_tmpfs(options),
            (_, Some(staged)) => mount::clone_tree(CWD, staged, Reach::Recursive),
            (_, None) => continue,
        };
        let mount = Arc::new(mount.map_err(Error::from)?);
        late.push(LateMount { mount, target: clean(&planned.target) });
    }
    Ok(late)
}

impl LateMount {
    /// Puts it into its place, in the container's own root.
    pub(crate) fn attach(&self) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("cannot mount on `{}`: {error}", self.target.display())
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).map_err(|error| failed(&error))?;
        let target = rustix::fs::openat2(root, &self.target, flags, Mode::empty(), RESOLVE)
            .map_err(|error| failed(&error))?;
        attach_on(&*self.mount, target, &self.target).map_err(|error| failed(&error))
    }
}
