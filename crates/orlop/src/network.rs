//! Fits `orlop-net` to what the monitor asks of a network.
//!
//! Everything about the container's end points is in a file that the engine keeps
//! ([`NetworkState`]); it is read again at the end, because networks come and go while the container
//! runs.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use orlop_net::{Resolver, Sandbox};
use orlop_runtime::{ContainerNetwork, StartError};
use orlop_types::network::{BridgePlan, NetworkPlan, NetworkState};

/// Exit code of a start that failed for the network, as Docker has it.
const NETWORK_FAILED: u8 = 125;
/// File beside the state with the port of the container's resolver.
const PORT_FILE: &str = "resolver.port";

/// The kernel's bridges and rules.
#[derive(Debug, Default)]
pub(crate) struct KernelNetwork {
    entered: Option<Entered>,
}

/// A namespace of the container's own.
#[derive(Debug)]
struct Entered {
    state: PathBuf,
    sandbox: Sandbox,
    resolver: Option<Resolver>,
}

impl ContainerNetwork for KernelNetwork {
    fn enter(&mut self, plan: &NetworkPlan) -> Result<(), StartError> {
        match plan {
            NetworkPlan::Host => Ok(()),
            NetworkPlan::None => orlop_net::enter_none().map_err(|error| refused(&error)),
            NetworkPlan::Container { pid, start_ticks } => join(*pid, *start_ticks),
            NetworkPlan::Private { state } => self.enter_private(state),
        }
    }

    fn leave(&mut self) -> Result<(), StartError> {
        let Some(mut entered) = self.entered.take() else { return Ok(()) };
        let endpoints = match read_state(&entered.state) {
            Ok(state) => state.endpoints,
            // What was made at the start is known all the same.
            Err(error) => {
                tracing::warn!(%error, "the container's networks cannot be read");
                Vec::new()
            }
        };
        show(&endpoints, Shown::No);
        entered.sandbox.leave(&endpoints).map_err(|error| refused(&error))
    }

    fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.entered.as_ref()?.resolver.as_ref().map(Resolver::wake_fd)
    }

    fn work(&mut self) {
        if let Some(resolver) = self.entered.as_mut().and_then(|entered| entered.resolver.as_mut())
        {
            resolver.work();
        }
    }
}

impl KernelNetwork {
    fn enter_private(&mut self, state_path: &Path) -> Result<(), StartError> {
        let state = read_state(state_path).map_err(|error| refused(&error))?;
        let host = File::open("/proc/thread-self/ns/net").map_err(|error| refused(&error))?;
        let sandbox = Sandbox::enter(&state.endpoints).map_err(|error| refused(&error))?;
        let mut entered = Entered { state: state_path.to_owned(), sandbox, resolver: None };
        match open_resolver(state_path, &state, host) {
            Ok(resolver) => entered.resolver = Some(resolver),
            Err(error) if state.resolver.is_some() => {
                self.entered = Some(entered);
                return Err(error);
            }
            // Nothing asks it yet.
            Err(error) => tracing::warn!(%error, "no resolver"),
        }
        show(&state.endpoints, Shown::Yes);
        self.entered = Some(entered);
        Ok(())
    }
}

/// Opens the resolver, which is there before it is needed: a network with names may be connected
/// later, and then only the rule that leads to it is missing.
fn open_resolver(
    state_path: &Path,
    state: &NetworkState,
    host: File,
) -> Result<Resolver, StartError> {
    let resolver = Resolver::open(state_path, host).map_err(|error| refused(&error))?;
    let port = resolver.port().map_err(|error| refused(&error))?;
    let path = state_path.with_file_name(PORT_FILE);
    std::fs::write(&path, port.to_string()).map_err(|error| refused(&error))?;
    if state.resolver.is_some() {
        orlop_net::answer_here(port).map_err(|error| refused(&error))?;
    }
    Ok(resolver)
}

fn read_state(path: &Path) -> std::io::Result<NetworkState> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Whether others find the container by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Yes,
    No,
}

/// Shows or hides the container's names: the engine has written them under a name with a dot.
fn show(endpoints: &[BridgePlan], shown: Shown) {
    for path in endpoints.iter().filter_map(|endpoint| endpoint.names.as_ref()) {
        let Some(name) = path.file_name() else { continue };
        let hidden = path.with_file_name(format!(".{}", name.to_string_lossy()));
        let renamed = match shown {
            Shown::Yes => std::fs::rename(&hidden, path),
            Shown::No => std::fs::rename(path, &hidden),
        };
        match renamed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "names not shown or hidden");
            }
            _ => {}
        }
    }
}

/// Moves into the network namespace of another container.
fn join(pid: i32, start_ticks: u64) -> Result<(), StartError> {
    let gone = || StartError {
        exit_code: NETWORK_FAILED,
        message: "cannot join network namespace of a non running container".to_owned(),
    };
    let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(|_| gone())?;
    // Asked after it was opened: the pid may be another process's by now.
    match orlop_sys::process::start_ticks(pid) {
        Ok(Some(ticks)) if ticks == start_ticks => {}
        _ => return Err(gone()),
    }
    orlop_net::enter_existing(&namespace).map_err(|error| refused(&error))
}

/// One line with every cause.
fn refused(error: &dyn std::error::Error) -> StartError {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    StartError { exit_code: NETWORK_FAILED, message }
}
