//! Runs containers: the monitor process, the runtimes behind it, exec, attach and logs.
//!
//! [`launch`] starts `orlop monitor` with a [`plan::Plan`]; the monitor carries it out and writes
//! [`record`]s of what happened into the run directory. It needs neither the database nor a driver.

pub mod attach;
pub mod builtin;
pub mod capabilities;
pub mod cgroup;
mod console;
pub mod error;
mod executor;
pub mod external;
mod failure;
pub mod health;
pub mod host;
mod late;
pub mod launch;
pub mod limits;
pub mod log;
pub mod migration;
pub mod monitor;
pub mod plan;
mod prepare;
pub mod record;
pub mod restart;
pub mod seccomp;
pub mod spec;
pub mod stage;
#[cfg(test)]
mod test_plan;
mod unseen;
pub mod user;

pub use error::Error;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use orlop_types::network::NetworkPlan;

/// What creates, starts and ends the processes of a container (OCI runtime-spec, "Lifecycle").
///
/// Implemented by the library that is linked in and by external programs; one conformance suite
/// runs over both. Used by single-threaded processes only (the monitor, `exec`).
pub trait Runtime {
    /// Short name for `info`, for instance `builtin` or `runc`.
    fn name(&self) -> String;

    /// Creates the container: namespaces, mounts and the first process, which waits for `start`.
    ///
    /// The first process becomes a child of the caller (or of the nearest subreaper, which the
    /// caller must then be). Returns its pid in the caller's namespace.
    fn create(&self, bundle: &Bundle<'_>, stdio: Stdio) -> Result<CreatedProcess, StartError>;

    /// Lets the first process execute its command.
    fn start(&self, bundle: &Bundle<'_>) -> Result<(), StartError>;

    /// Adds a process to a running container; returns its pid, a child of the caller.
    fn exec(
        &self,
        bundle: &Bundle<'_>,
        process: &plan::ProcessPlan,
        stdio: Stdio,
    ) -> Result<CreatedProcess, StartError>;

    /// Removes what `create` made, killing what still runs; succeeds when there is nothing.
    fn delete(&self, bundle: &Bundle<'_>) -> Result<(), StartError>;
}

/// The implementation that a plan chooses.
#[must_use]
pub fn by_choice(choice: &plan::RuntimeChoice) -> Box<dyn Runtime> {
    match choice {
        plan::RuntimeChoice::Builtin => Box::new(builtin::Builtin),
        plan::RuntimeChoice::External(program) => {
            Box::new(external::External::new(program.clone()))
        }
    }
}

/// A container as a runtime sees it.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    /// The plan.
    pub plan: &'a plan::Plan,
    /// The mounted root file system, in the caller's mount namespace.
    pub rootfs: &'a Path,
    /// Where each of `plan.mounts` that is not a tmpfs was staged, by index, in the caller's mount
    /// namespace: already confined, read-only where asked for; the runtime only binds it.
    pub staged: &'a [Option<std::path::PathBuf>],
}

/// Standard streams of a new process.
#[derive(Debug)]
pub enum Stdio {
    /// Three open files.
    Files {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A new terminal; its master comes back in [`CreatedProcess::terminal`].
    Terminal,
}

/// A process that a runtime made.
#[derive(Debug)]
pub struct CreatedProcess {
    /// Process id in the caller's namespace.
    pub pid: i32,
    /// Master side of its terminal.
    pub terminal: Option<OwnedFd>,
}

/// Why a process could not be started, with the exit code that Docker gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{message}")]
pub struct StartError {
    /// 127 command not found, 126 not executable, 125 everything else.
    pub exit_code: u8,
    /// What failed, on what, and why, in one line.
    pub message: String,
}

/// How the monitor puts a container on its network; implemented over `orlop-net` by the binary.
pub trait ContainerNetwork {
    /// Puts the calling thread into the container's network namespace and sets it up there.
    fn enter(&mut self, plan: &NetworkPlan) -> Result<(), StartError>;

    /// Takes back what outlives the namespace (published ports); every step is tried.
    fn leave(&mut self) -> Result<(), StartError>;

    /// A file that becomes readable when [`ContainerNetwork::work`] has something to do.
    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Does what waits (questions about names) without waiting for anything.
    fn work(&mut self) {}
}
