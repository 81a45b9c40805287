//! Keeps a container's processes from looking into the one that is about to join them.
//!
//! A process that enters a running container is seen by everything in there before it executes its
//! command, and still holds what it came with: the database, the run directory, the caller's
//! streams. Root inside could open those through `/proc/PID/fd` (the class of CVE-2016-9962), so
//! the kernel is told to let nobody in; exec ends that by itself, so the command is as visible as
//! any other.

use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

use crate::StartError;
use crate::spec::refused;

/// As long as it lives, this process and those it forks cannot be looked into by processes that have
/// no more rights than they.
#[derive(Debug)]
pub(crate) struct Unseen {
    before: DumpableBehavior,
}

impl Unseen {
    /// Closes this process to others.
    pub(crate) fn begin() -> Result<Self, StartError> {
        let close = || -> rustix::io::Result<Self> {
            let before = dumpable_behavior()?;
            set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            Ok(Self { before })
        };
        close().map_err(|error| refused(format!("cannot close the process to others: {error}")))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // The kernel lets nobody set the third behaviour, which is as closed.
        if self.before == DumpableBehavior::Dumpable
            && let Err(error) = set_dumpable_behavior(self.before)
        {
            tracing::debug!(%error, "the process stays closed to debuggers");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_closed_to_others_only_for_as_long_as_it_is_needed() {
        let before = dumpable_behavior().unwrap();
        let outer = Unseen::begin().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        drop(Unseen::begin().unwrap());
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        drop(outer);
        assert_eq!(dumpable_behavior().unwrap(), before);
    }
}
